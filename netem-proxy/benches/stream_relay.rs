//! How much a stream relay costs: throughput, round trips and connections, without a proxy, through ours, and through
//! HAProxy where it is installed.
//!
//! Prints a table; asserts nothing, because what it measures is this machine as much as this program. Both ends run on
//! the same cores as the proxy, so compare rows of one run only. Takes less than 90 s.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use netem_proxy::stream::{Engine, EngineConfig, StreamConfig, StreamProxy};
use netem_proxy::timing::Timing;
use units::{Clock, Seed};

const WARM_UP: Duration = Duration::from_millis(300);
const SPAN: Duration = Duration::from_millis(2500);
const MANY: usize = 100;
const CLIENTS: usize = 8;
const BUFFER: usize = 128 * 1024;

fn main() -> io::Result<()> {
    let clock = Clock::start();
    let server = Server::start()?;
    println!("{} s a figure; both ends on the same {} cores", SPAN.as_secs_f64(), cores());
    println!(
        "{:<22}{:>14}{:>14}{:>12}{:>12}{:>14}",
        "path", "1 stream", "100 streams", "p50 64 B", "p99 64 B", "connections"
    );
    println!("{:<22}{:>14}{:>14}{:>12}{:>12}{:>14}", "", "Gbit/s", "Gbit/s", "µs", "µs", "per s");
    row("direct", clock, &server, server.address)?;
    for (name, threads, timing) in [
        ("ours, 1 thread", 1, Timing::Hybrid),
        ("ours, 2 threads", 2, Timing::Hybrid),
        ("ours, 2, sleep", 2, Timing::Sleep),
        ("ours, 2, spin", 2, Timing::Spin),
    ] {
        let (_engine, proxy) = ours(clock, threads, timing, server.address)?;
        row(name, clock, &server, proxy.local_addr())?;
    }
    match HaProxy::start(server.address)? {
        Some(haproxy) => row("HAProxy, 1 thread", clock, &server, haproxy.address)?,
        None => println!("SKIPPED: HAProxy is not installed; there is nothing to compare with"),
    }
    row("direct again", clock, &server, server.address)
}

fn row(name: &str, clock: Clock, server: &Server, address: SocketAddr) -> io::Result<()> {
    let one = throughput(clock, server, address, 1)?;
    let many = throughput(clock, server, address, MANY)?;
    let trips = round_trips(clock, address)?;
    let connections = connections(clock, address)?;
    let micros = |quantile| trips.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "{name:<22}{one:>14.1}{many:>14.1}{:>12.1}{:>12.1}{connections:>14.0}",
        micros(0.5),
        micros(0.99)
    );
    Ok(())
}

fn ours(
    clock: Clock,
    threads: usize,
    timing: Timing,
    upstream: SocketAddr,
) -> io::Result<(Engine, StreamProxy)> {
    let config = EngineConfig { threads: Some(threads), timing, ..EngineConfig::new(clock, Seed::root(1)) };
    let engine = Engine::start(config)?;
    let proxy = engine.open(StreamConfig::new(
        "bench",
        "127.0.0.1:0",
        &upstream.to_string(),
        engine.seed_for("bench"),
    ));
    Ok((engine, proxy.map_err(io::Error::other)?))
}

/// Gbit/s from clients to the server, over so many connections.
fn throughput(clock: Clock, server: &Server, address: SocketAddr, streams: usize) -> io::Result<f64> {
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for _ in 0..streams {
        let mut stream = TcpStream::connect(address)?;
        let over = Arc::clone(&over);
        threads.push(std::thread::spawn(move || {
            let buffer = vec![SINK; BUFFER];
            while !over.load(Ordering::Relaxed) && stream.write_all(&buffer).is_ok() {}
        }));
    }
    rest(clock, WARM_UP);
    let (begun, before) = (clock.now(), server.sunk.load(Ordering::Relaxed));
    rest(clock, SPAN);
    let bytes = server.sunk.load(Ordering::Relaxed) - before;
    let seconds = clock.now().since(begun).as_secs_f64();
    over.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| drop(thread.join()));
    rest(clock, WARM_UP);
    Ok(bytes as f64 * 8.0 / 1e9 / seconds)
}

/// Times of 64-byte round trips, one at a time, in nanoseconds.
fn round_trips(clock: Clock, address: SocketAddr) -> io::Result<Histogram<u64>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut times = Histogram::new(3).expect("three digits");
    let mut message = [ECHO; 64];
    let begun = clock.now();
    while clock.now().since(begun) < SPAN {
        let sent = clock.now();
        stream.write_all(&message)?;
        stream.read_exact(&mut message)?;
        let nanos = u64::try_from(clock.now().since(sent).as_nanos()).unwrap_or(u64::MAX);
        times.record(nanos).expect("an auto-resizing histogram");
    }
    Ok(times)
}

/// Connections a second, each with one byte there and back.
fn connections(clock: Clock, address: SocketAddr) -> io::Result<f64> {
    let begun = clock.now();
    let one_client = move || -> io::Result<u64> {
        let mut count = 0;
        while clock.now().since(begun) < SPAN {
            let mut stream = TcpStream::connect(address)?;
            let mut byte = [ECHO];
            stream.write_all(&byte)?;
            stream.read_exact(&mut byte)?;
            // A reset instead of an end, or the ports run out in TIME_WAIT.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            count += 1;
        }
        Ok(count)
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| std::thread::spawn(one_client)).collect();
    let mut count = 0;
    for client in clients {
        count += client.join().expect("no panic")?;
    }
    Ok(count as f64 / clock.now().since(begun).as_secs_f64())
}

/// Swallows streams that begin with [`SINK`] and answers those that begin with [`ECHO`].
struct Server {
    address: SocketAddr,
    sunk: Arc<AtomicU64>,
}

const SINK: u8 = b's';
const ECHO: u8 = b'e';

impl Server {
    fn start() -> io::Result<Self> {
        let listener = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(4096)?;
        let listener: TcpListener = listener.into();
        let address = listener.local_addr()?;
        let sunk = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&sunk);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                std::thread::spawn(move || serve(stream, &count));
            }
        });
        Ok(Self { address, sunk })
    }
}

fn serve(mut stream: TcpStream, sunk: &AtomicU64) {
    let _ = stream.set_nodelay(true);
    let mut small = [0; 64];
    let Ok(count @ 1..) = stream.read(&mut small) else { return };
    if small[0] == SINK {
        let mut buffer = vec![0; BUFFER];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            sunk.fetch_add(count as u64, Ordering::Relaxed);
        }
        return;
    }
    let mut count = count;
    while stream.write_all(&small[..count]).is_ok() {
        match stream.read(&mut small) {
            Ok(more @ 1..) => count = more,
            _ => return,
        }
    }
}

/// A HAProxy in TCP mode, ended when dropped.
struct HaProxy {
    child: Child,
    address: SocketAddr,
    config: PathBuf,
}

impl HaProxy {
    /// `None` if it is not installed.
    fn start(upstream: SocketAddr) -> io::Result<Option<Self>> {
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let config = std::env::temp_dir().join(format!("stream-relay-{}.cfg", std::process::id()));
        let text = format!(
            "global\n nbthread 1\n maxconn 4000\ndefaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n \
             timeout server 60s\nlisten bench\n bind {address}\n server one {upstream}\n"
        );
        std::fs::write(&config, text)?;
        let mut command = Command::new("haproxy");
        command.args(["-db", "-q", "-f"]).arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let haproxy = Self { child, address, config };
        let clock = Clock::start();
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Ok(Some(haproxy));
            }
            rest(clock, Duration::from_millis(50));
        }
        Err(io::Error::other("HAProxy does not listen"))
    }
}

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_file(&self.config);
    }
}

fn rest(clock: Clock, span: Duration) {
    let until = clock.now() + span;
    while clock.now() < until {
        std::thread::park_timeout(until.since(clock.now()));
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
