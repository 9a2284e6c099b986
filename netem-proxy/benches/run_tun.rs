//! How fast kernel TCP and UDP pass through the link of `netem-proxy run`, beside a veth pair in the same run.
//!
//! `cargo bench -p netem-proxy --bench run_tun`. Needs root, /dev/net/tun, and for the control the program `ip`; under a
//! minute. Sender and receiver are threads of this program in two namespaces of their own, so they, the two kernels
//! and the link share the processors of this machine.

#[cfg(target_os = "linux")]
fn main() {
    // `cargo test --benches` only wants to know whether it starts.
    if std::env::args().any(|argument| argument == "--bench") {
        linux::run();
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    use std::time::Duration;

    use netem_proxy::tun::{Ends, Namespace, Offload, Session, SessionConfig};
    use nix::sys::socket::{setsockopt, sockopt};
    use units::{Clock, Seed, Timestamp};

    const SPAN: Duration = Duration::from_millis(1500);
    const ROUNDS: usize = 3;

    pub(super) fn run() {
        if !rustix::process::geteuid().is_root() || !std::path::Path::new("/dev/net/tun").exists() {
            eprintln!("SKIPPED: run_tun needs root and /dev/net/tun");
            return;
        }
        println!("TCP: one stream, cubic, Gbit/s received. UDP: 100 bytes of payload, packets/s received.");
        println!(
            "{:<34}{:>22}{:>14}{:>10}{:>18}",
            "path", "TCP median (range)", "UDP flood", "lost", "lost at 150 k/s"
        );
        let only = std::env::var("RUN_TUN").ok();
        let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
        if wanted("veth") {
            match Veth::new() {
                Some(veth) => measure("veth pair, no emulator", &veth),
                None => eprintln!("SKIPPED: the veth control needs the program ip"),
            }
        }
        for (name, up, offload) in [
            ("link, nothing configured", "none", Offload::On),
            ("link, --no-offload", "none", Offload::Off),
            ("link, 10 ms up", "delay=10ms", Offload::On),
            ("link, 10 ms up, --no-offload", "delay=10ms", Offload::Off),
            ("link, loss 0.01% up", "loss=0.01%", Offload::On),
        ] {
            if !wanted(name) {
                continue;
            }
            let up = up.parse().expect("a spec");
            let config = SessionConfig { up, offload, ..SessionConfig::new(Seed::root(1), Ends::Isolated) };
            let session = Session::start(config).expect("root may");
            measure(name, &session);
            let outcome = session.stop().expect("counters");
            let lateness = outcome.up.lateness.histogram();
            println!(
                "  {} reads, {} writes for {} packets; kernel drops {}, overrun {}, lateness p50 {} p99 {} ns, mem waits {}",
                outcome.up.io.reads,
                outcome.up.io.writes,
                outcome.up.counters.delivered,
                outcome.kernel_drops(),
                outcome.up.io.io_overrun,
                lateness.value_at_quantile(0.5),
                lateness.value_at_quantile(0.99),
                outcome.up.io.back_pressure,
            );
        }
    }

    /// Two network stacks with something between them.
    trait Path {
        fn left<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T;
        fn right<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T;
        fn right_address(&self) -> Ipv4Addr;
    }

    impl Path for Session {
        fn left<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
            self.in_guest(job)
        }

        fn right<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
            self.in_base(job)
        }

        fn right_address(&self) -> Ipv4Addr {
            self.addresses().base().v4
        }
    }

    /// The control: a cable between two namespaces.
    struct Veth {
        left: Namespace,
        right: Namespace,
    }

    impl Veth {
        fn new() -> Option<Self> {
            let (left, right) = (Namespace::new().ok()?, Namespace::new().ok()?);
            let thread = right.run(|| rustix::thread::gettid().as_raw_nonzero().get());
            let ip = |namespace: &Namespace, line: String| {
                namespace.run(move || {
                    let done = Command::new("ip").args(line.split(' ')).status();
                    done.ok().filter(std::process::ExitStatus::success)
                })
            };
            ip(&left, format!("link add v0 type veth peer name v1 netns {thread}"))?;
            for (namespace, device, address) in [(&left, "v0", "198.18.0.2"), (&right, "v1", "198.18.0.1")] {
                ip(namespace, format!("addr add {address}/24 dev {device}"))?;
                ip(namespace, format!("link set {device} up"))?;
            }
            Some(Self { left, right })
        }
    }

    impl Path for Veth {
        fn left<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
            self.left.run(job)
        }

        fn right<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
            self.right.run(job)
        }

        fn right_address(&self) -> Ipv4Addr {
            Ipv4Addr::new(198, 18, 0, 1)
        }
    }

    fn measure(name: &str, path: &impl Path) {
        let clock = Clock::start();
        let mut rates: Vec<f64> = (0..ROUNDS).map(|_| tcp(path, clock)).collect();
        rates.sort_by(f64::total_cmp);
        let (rate, lost) = udp(path, clock, None);
        let (_, lost_paced) = udp(path, clock, Some(150_000.0));
        println!(
            "{name:<34}{:>22}{rate:>14.0}{:>9.2}%{:>17.4}%",
            format!("{:.2} ({:.2}-{:.2})", rates[ROUNDS / 2], rates[0], rates[ROUNDS - 1]),
            lost * 100.0,
            lost_paced * 100.0
        );
    }

    /// Gbit/s that arrive in [`SPAN`], after a tenth of a second to get going.
    fn tcp(path: &impl Path, clock: Clock) -> f64 {
        let listener = path.right(|| {
            let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
            set_buffers(&listener);
            listener
        });
        let port = listener.local_addr().expect("bound").port();
        let to = SocketAddr::from((path.right_address(), port));
        let received = Arc::new(AtomicU64::new(0));
        let is_over = Arc::new(AtomicBool::new(false));
        let (count, over) = (received.clone(), is_over.clone());
        let receiver = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("the sender");
            let mut buffer = vec![0; 256 * 1024];
            while !over.load(Ordering::Relaxed) {
                match stream.read(&mut buffer) {
                    Ok(0) | Err(_) => break,
                    Ok(length) => count.fetch_add(length as u64, Ordering::Relaxed),
                };
            }
        });
        let mut stream = path.left(move || {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
            set_buffers(&socket);
            rustix::net::sockopt::set_tcp_congestion(&socket, "cubic").expect("cubic is always there");
            socket.connect(&to.into()).expect("the receiver");
            TcpStream::from(socket)
        });
        let over = is_over.clone();
        let sender = std::thread::spawn(move || {
            let chunk = vec![7; 128 * 1024];
            while !over.load(Ordering::Relaxed) && stream.write_all(&chunk).is_ok() {}
        });
        wait(Duration::from_millis(300));
        let (begun, before) = (clock.now(), received.load(Ordering::Relaxed));
        wait(SPAN);
        let (ended, after) = (clock.now(), received.load(Ordering::Relaxed));
        is_over.store(true, Ordering::Relaxed);
        let _ = (receiver.join(), sender.join());
        (after - before) as f64 * 8.0 / ended.since(begun).as_secs_f64() / 1e9
    }

    /// Packets/s that arrive, and the share that does not.
    fn udp(path: &impl Path, clock: Clock, rate: Option<f64>) -> (f64, f64) {
        let receiver = path.right(|| {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20)).expect("root may");
            socket.set_read_timeout(Some(Duration::from_secs(1))).expect("a timeout");
            socket
        });
        let to = SocketAddr::from((path.right_address(), receiver.local_addr().expect("bound").port()));
        let sender = path.left(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
            socket.connect(to).expect("an address");
            socket
        });
        let receiver = std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            let (mut count, mut first, mut last) = (0_u64, Timestamp::ZERO, Timestamp::ZERO);
            while receiver.recv(&mut buffer).is_ok() {
                if count == 0 {
                    first = clock.now();
                }
                if count % 256 == 0 {
                    last = clock.now();
                }
                count += 1;
            }
            (count, last.since(first))
        });
        let begun = clock.now();
        let mut sent = 0_u64;
        while clock.now().since(begun) < SPAN {
            let due = rate.map_or(u64::MAX, |rate| (clock.now().since(begun).as_secs_f64() * rate) as u64);
            for _ in 0..due.saturating_sub(sent).min(32) {
                sent += u64::from(sender.send(&[0; 100]).is_ok());
            }
        }
        let (count, span) = receiver.join().expect("no panic");
        (count as f64 / span.as_secs_f64(), 1.0 - count as f64 / sent as f64)
    }

    /// Room for 10 Gbit/s at 20 ms.
    fn set_buffers(socket: &impl AsFd) {
        for set in [
            setsockopt(socket, sockopt::SndBufForce, &(24 << 20)),
            setsockopt(socket, sockopt::RcvBufForce, &(24 << 20)),
        ] {
            set.expect("root may");
        }
    }

    #[expect(clippy::disallowed_methods, reason = "the bench waits for time to pass, and for nothing else")]
    fn wait(span: Duration) {
        std::thread::sleep(span);
    }
}
