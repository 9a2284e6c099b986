//! How many datagrams a second the UDP relay carries, and how many it loses on its own account.
//!
//! A sender and a receiver in this process, one flow, a link that does nothing. Each row stands next to a control: the
//! same sender straight to the same receiver. The sender uses sendmmsg without GSO, so that the relay meets single
//! datagrams; the receiver is plain (recvmmsg) or takes what the kernel keeps together (GRO). The last column is the
//! processor time of the relay's thread for a packet, kernel included: on a busy machine it says more than the rates.
//! Prints a table; asserts nothing, because what it measures is this machine as much as this program.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use netem_proxy::proxy::{ProxyConfig, ProxyHandle, datagrams};
use netem_proxy::timing::{Timing, Waiter};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg, setsockopt, sockopt};
use units::{Clock, Timestamp};

const SPAN: Duration = Duration::from_secs(2);
const SIZES: [usize; 2] = [100, 1200];
/// Datagrams a second; `None` is as many as the sender can.
const RATES: [Option<u32>; 4] = [Some(50_000), Some(150_000), Some(330_000), None];
/// Datagrams sent or read in one call.
const BATCH: usize = 32;
const RECEIVE_BUFFER: usize = 16 << 20;
/// The receiver has everything when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Nothing,
    Relay,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    Plain,
    Gro,
}

fn main() -> io::Result<()> {
    println!("one flow, {} s a row; thousands of datagrams a second", SPAN.as_secs());
    println!(
        "{:<10}{:>6}{:>10}{:>10}{:>10}  {:>14}{:>14}{:>9}{:>12}",
        "path",
        "bytes",
        "receiver",
        "offered",
        "received",
        "lost by relay",
        "lost at ends",
        "spun %",
        "ns/packet"
    );
    for size in SIZES {
        for rate in RATES {
            for through in [Through::Nothing, Through::Relay] {
                row(size, rate, Receiver::Plain, through)?;
            }
        }
        for through in [Through::Nothing, Through::Relay] {
            row(size, None, Receiver::Gro, through)?;
        }
    }
    Ok(())
}

fn row(size: usize, rate: Option<u32>, receiver: Receiver, through: Through) -> io::Result<()> {
    let clock = Clock::start();
    let sink = UdpSocket::bind("127.0.0.1:0")?;
    enlarge(&sink);
    sink.set_read_timeout(Some(QUIET))?;
    let mut target = sink.local_addr()?;
    let proxy = match through {
        Through::Nothing => None,
        Through::Relay => Some(start(target)?),
    };
    if let Some(proxy) = &proxy {
        target = proxy.local_addr();
    }
    let is_done = Arc::new(AtomicBool::new(false));
    let counting = thread::spawn({
        let is_done = Arc::clone(&is_done);
        move || count(&sink, receiver, clock, &is_done)
    });
    let begun = clock.now();
    let sent = send(target, size, rate, clock)?;
    let sending = clock.now().since(begun);
    is_done.store(true, Ordering::Relaxed);
    let (received, latest) = counting.join().expect("no panic")?;
    let receiving = latest.since(begun);
    let thousands = |count: u64, span: Duration| format!("{:.1}", count as f64 / span.as_secs_f64() / 1e3);
    let (mut name, mut by_relay, mut spun, mut cost) = ("control", 0, "-".to_owned(), "-".to_owned());
    if let Some(proxy) = proxy {
        let used = processor_time("datagrams");
        let counts = proxy.stop();
        name = "relay";
        by_relay = counts.io_overrun + counts.kernel_drops + counts.undeliverable;
        spun = format!("{:.1}", 100.0 * counts.timing.share_spun());
        if let Some(used) = used {
            cost = format!("{:.0}", used.as_nanos() as f64 / counts.up.delivered.max(1) as f64);
        }
    }
    println!(
        "{name:<10}{size:>6}{:>10}{:>10}{:>10}  {by_relay:>14}{:>14}{spun:>9}{cost:>12}",
        if receiver == Receiver::Gro { "gro" } else { "plain" },
        thousands(sent, sending),
        thousands(received, receiving),
        sent - received - by_relay.min(sent - received),
    );
    Ok(())
}

fn start(upstream: SocketAddr) -> io::Result<ProxyHandle> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    datagrams::start_observed(ProxyConfig::between(listen, upstream), None)
}

/// What the thread of that name has used so far, by its schedstat; `None` where there is none.
fn processor_time(name: &str) -> Option<Duration> {
    for task in std::fs::read_dir("/proc/self/task").ok()?.flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
        if read("comm")?.trim() == name {
            let nanos = read("schedstat")?.split_whitespace().next()?.parse().ok()?;
            return Some(Duration::from_nanos(nanos));
        }
    }
    None
}

fn enlarge(socket: &UdpSocket) {
    if setsockopt(socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).is_err() {
        eprintln!("the receiver's buffer cannot be forced; it may lose more than it has to");
    }
}

/// Sends for [`SPAN`]; returns how many.
fn send(target: SocketAddr, size: usize, rate: Option<u32>, clock: Clock) -> io::Result<u64> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(target)?;
    let payload = vec![0; size];
    // Smaller batches at a low rate, so that they come at least 1000 times a second.
    let batch = rate.map_or(BATCH, |rate| BATCH.min((rate / 5_000).max(1) as usize));
    let slices: Vec<[IoSlice<'_>; 1]> = vec![[IoSlice::new(&payload)]; batch];
    let addrs = vec![None::<SockaddrIn>; batch];
    let mut headers = MultiHeaders::preallocate(batch, None);
    let mut waiter = Waiter::new(clock, Timing::Sleep)?;
    let mut events = Vec::new();
    let (begun, mut sent) = (clock.now(), 0_u64);
    while clock.now().since(begun) < SPAN {
        if let Some(rate) = rate {
            let due = begun + Duration::from_secs_f64(sent as f64 / f64::from(rate));
            waiter.wait(Some(due), &mut events)?;
        }
        let fd = socket.as_raw_fd();
        sent += sendmmsg(fd, &mut headers, &slices, &addrs, [], MsgFlags::empty())?.count() as u64;
    }
    Ok(sent)
}

/// How many came, and when the last one did.
fn count(
    sink: &UdpSocket,
    receiver: Receiver,
    clock: Clock,
    is_done: &AtomicBool,
) -> io::Result<(u64, Timestamp)> {
    let (mut received, mut latest) = (0, clock.now());
    let mut read: Box<dyn FnMut() -> io::Result<u64>> = match receiver {
        Receiver::Plain => plain(sink),
        Receiver::Gro => gro(sink)?,
    };
    loop {
        match read() {
            Ok(count) => {
                received += count;
                latest = clock.now();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if is_done.load(Ordering::Relaxed) {
                    return Ok((received, latest));
                }
            }
            Err(error) => return Err(error),
        }
    }
}

fn plain(sink: &UdpSocket) -> Box<dyn FnMut() -> io::Result<u64> + '_> {
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    Box::new(move || {
        let mut storage = [[0_u8; 2048]; BATCH];
        let mut slices: Vec<[IoSliceMut<'_>; 1]> =
            storage.iter_mut().map(|place| [IoSliceMut::new(place)]).collect();
        let flags = MsgFlags::MSG_WAITFORONE;
        Ok(recvmmsg(sink.as_raw_fd(), &mut headers, &mut slices, flags, None)?.count() as u64)
    })
}

fn gro(sink: &UdpSocket) -> io::Result<Box<dyn FnMut() -> io::Result<u64> + '_>> {
    let state = quinn_udp::UdpSocketState::new(sink.into())?;
    // That made it non-blocking, for an event loop that this is not.
    sink.set_nonblocking(false)?;
    let mut storage = vec![0_u8; 65_536];
    Ok(Box::new(move || {
        let mut meta = [quinn_udp::RecvMeta::default()];
        state.recv(sink.into(), &mut [IoSliceMut::new(&mut storage)], &mut meta)?;
        Ok(meta[0].len.div_ceil(meta[0].stride.max(1)) as u64)
    }))
}
