//! How punctual the proxies are: release lateness and added delay on loopback, for each way to wait, at several rates.
//!
//! Prints a table; asserts nothing, because what it measures is this machine as much as this program. The control row
//! (no proxy) shows what sender, kernel and receiver take; take it away from the others to see what the proxy adds.
//! `early` counts packets released before their time and has to be 0. `cargo bench --bench lateness -- sleep hybrid`
//! leaves out the other ways.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::Duration;

use hdrhistogram::Histogram;
use netem_proxy::proxy::{ProxyConfig, ProxyHandle, datagrams, frames};
use netem_proxy::timing::Timing;
use units::{Clock, Timestamp};

const DELAY: Duration = Duration::from_millis(10);
const RATES: [u32; 3] = [100, 1_000, 10_000];
const SPAN: Duration = Duration::from_secs(2);
const SIZE: usize = 200;
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];
/// Loopback may drop when a thread is not scheduled; a row with less than all packets still ends.
const GIVE_UP: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    println!("one way, {SIZE} bytes, delay 10 ms, {} s a row; times in µs", SPAN.as_secs());
    println!("{:<22}{:>36}{:>8}{:>8}{:>36}", "", "release lateness", "", "spun", "one-way delay, less 10 ms");
    println!(
        "{:<15}{:>7}{:>9}{:>9}{:>9}{:>9}{:>8}{:>8}{:>9}{:>9}{:>9}{:>9}",
        "path", "per s", "p50", "p99", "p99.9", "max", "early", "%", "p50", "p99", "p99.9", "max"
    );
    let asked: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let is_asked = |timing: Timing| asked.is_empty() || asked.contains(&timing.to_string());
    for rate in RATES {
        udp(rate, None)?;
        for timing in [Timing::Sleep, Timing::Hybrid, Timing::Spin].into_iter().filter(|how| is_asked(*how)) {
            udp(rate, Some(timing))?;
        }
        if is_asked(Timing::Hybrid) {
            tcp(rate, None)?;
            tcp(rate, Some(Timing::Hybrid))?;
        }
    }
    Ok(())
}

fn config(clock: Clock, upstream: SocketAddr, timing: Timing) -> ProxyConfig {
    let up = "delay=10ms".parse().expect("a valid spec");
    ProxyConfig { up, clock, timing, ..ProxyConfig::between(SocketAddr::new(upstream.ip(), 0), upstream) }
}

fn udp(rate: u32, timing: Option<Timing>) -> io::Result<()> {
    let clock = Clock::start();
    let server = UdpSocket::bind("127.0.0.1:0")?;
    server.set_read_timeout(Some(GIVE_UP))?;
    let mut target = server.local_addr()?;
    let start = |timing| datagrams::start_observed(config(clock, target, timing), None);
    let proxy = timing.map(start).transpose()?;
    target = proxy.as_ref().map_or(target, ProxyHandle::local_addr);
    let client = UdpSocket::bind("127.0.0.1:0")?;
    client.connect(target)?;
    let sender = send_paced(clock, rate, move |packet| client.send(packet).map(drop));
    let mut owd = Histogram::new(3).expect("three digits");
    let mut buffer = [0; SIZE];
    for _ in 0..count(rate) {
        match server.recv(&mut buffer) {
            Ok(_) => record(&mut owd, clock, &buffer),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                break;
            }
            Err(error) => return Err(error),
        }
    }
    sender.join().expect("no panic");
    row("UDP", timing, rate, proxy, &owd);
    Ok(())
}

fn tcp(rate: u32, timing: Option<Timing>) -> io::Result<()> {
    let clock = Clock::start();
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut target = listener.local_addr()?;
    let start = |timing| frames::start_observed(config(clock, target, timing), None);
    let proxy = timing.map(start).transpose()?;
    target = proxy.as_ref().map_or(target, ProxyHandle::local_addr);
    let mut client = TcpStream::connect(target)?;
    client.set_nodelay(true)?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(GIVE_UP))?;
    let mut frame = Vec::with_capacity(4 + SIZE);
    let sender = send_paced(clock, rate, move |packet| {
        frame.clear();
        frame.extend_from_slice(&(SIZE as u32).to_be_bytes());
        frame.extend_from_slice(packet);
        client.write_all(&frame)
    });
    let mut owd = Histogram::new(3).expect("three digits");
    let mut buffer = [0; 4 + SIZE];
    for _ in 0..count(rate) {
        server.read_exact(&mut buffer)?;
        record(&mut owd, clock, &buffer[4..]);
    }
    sender.join().expect("no panic");
    row("frames", timing, rate, proxy, &owd);
    Ok(())
}

fn count(rate: u32) -> u32 {
    rate * u32::try_from(SPAN.as_secs()).expect("a few seconds")
}

/// Sends packets that begin with the time of their sending, from a thread of its own.
fn send_paced(
    clock: Clock,
    rate: u32,
    mut send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) -> thread::JoinHandle<()> {
    let gap = Duration::from_secs(1) / rate;
    thread::spawn(move || {
        let begun = clock.now();
        let mut packet = [0; SIZE];
        for n in 0..count(rate) {
            let left = (begun + gap * n).since(clock.now());
            thread::park_timeout(left);
            packet[..8].copy_from_slice(&clock.now().as_nanos().to_be_bytes());
            if send(&packet).is_err() {
                return;
            }
        }
    })
}

fn record(owd: &mut Histogram<u64>, clock: Clock, packet: &[u8]) {
    let now = clock.now();
    let sent = packet.first_chunk().expect("eight bytes");
    let sent = Timestamp::from_nanos(u64::from_be_bytes(*sent));
    let nanos = u64::try_from(now.since(sent).as_nanos()).unwrap_or(u64::MAX);
    owd.record(nanos.min(60_000_000_000)).expect("an auto-resizing histogram");
}

fn row(path: &str, timing: Option<Timing>, rate: u32, proxy: Option<ProxyHandle>, owd: &Histogram<u64>) {
    let micros =
        |histogram: &Histogram<u64>| QUANTILES.map(|at| histogram.value_at_quantile(at) as f64 / 1e3);
    let configured = if timing.is_some() { DELAY.as_secs_f64() * 1e6 } else { 0.0 };
    let added = micros(owd).map(|micros| format!("{:.1}", micros - configured));
    let (mut late, mut early, mut spun) = (QUANTILES.map(|_| "-".to_owned()), "-".to_owned(), "-".to_owned());
    if let Some(proxy) = proxy {
        let counts = proxy.stop();
        late = micros(&counts.lateness).map(|micros| format!("{micros:.1}"));
        early = counts.early.to_string();
        spun = format!("{:.1}", 100.0 * counts.timing.share_spun());
    }
    let name = format!("{path} {}", timing.map_or_else(|| "control".to_owned(), |timing| timing.to_string()));
    println!(
        "{name:<15}{rate:>7}{:>9}{:>9}{:>9}{:>9}{early:>8}{spun:>8}{:>9}{:>9}{:>9}{:>9}",
        late[0], late[1], late[2], late[3], added[0], added[1], added[2], added[3]
    );
}
