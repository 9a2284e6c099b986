//! How punctual the proxies are: release lateness and added delay on loopback, at several packet rates.
//!
//! Prints a table; asserts nothing, because what it measures is this machine as much as this program. Take the control
//! row (no proxy) away from the others to see what the proxy adds.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hdrhistogram::Histogram;
use netem_proxy::profile::LinkProfile;
use netem_proxy::proxy::{ProxyConfig, ProxyHandle, Scope, datagrams, frames};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use units::{Clock, Seed, Timestamp};

const DELAY: &str = "delay=10ms";
const RATES: [u32; 3] = [100, 1_000, 10_000];
const SPAN: Duration = Duration::from_secs(3);
const SIZE: usize = 200;

#[tokio::main]
async fn main() -> io::Result<()> {
    println!("one way, {SIZE} bytes, {DELAY}, {} s a row; times in µs", SPAN.as_secs());
    println!("{:<12}{:>8}  {:>26}  {:>26}", "", "", "release lateness", "one-way delay minus 10 ms");
    println!(
        "{:<12}{:>8}  {:>8} {:>8} {:>8}  {:>8} {:>8} {:>8}",
        "path", "per s", "p50", "p99", "p99.9", "p50", "p99", "p99.9"
    );
    for rate in RATES {
        udp(rate, Through::Nothing).await?;
        udp(rate, Through::Proxy).await?;
        tcp(rate, Through::Nothing).await?;
        tcp(rate, Through::Proxy).await?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Nothing,
    Proxy,
}

fn config(clock: Clock, upstream: SocketAddr) -> ProxyConfig {
    let up: LinkProfile = DELAY.parse().expect("a valid spec");
    let listen = SocketAddr::new(upstream.ip(), 0);
    ProxyConfig {
        up,
        down: LinkProfile::default(),
        scope: Scope::PerFlow,
        seed: Seed::root(1),
        clock,
        ..ProxyConfig::between(listen, upstream)
    }
}

async fn udp(rate: u32, through: Through) -> io::Result<()> {
    let clock = Clock::start();
    let server = UdpSocket::bind("127.0.0.1:0").await?;
    let mut target = server.local_addr()?;
    let mut proxy = None;
    if through == Through::Proxy {
        let started = datagrams::start(config(clock, target)).await?;
        target = started.local_addr();
        proxy = Some(started);
    }
    let client = std::net::UdpSocket::bind("127.0.0.1:0")?;
    client.connect(target)?;
    let count = count(rate);
    send_paced(clock, rate, count, move |packet| client.send(packet).map(drop));
    let mut owd = Histogram::new(3).expect("three digits");
    let mut buffer = [0; SIZE];
    for _ in 0..count {
        // Loopback may drop when this thread is not scheduled; a row with less than all packets still ends.
        let Ok(read) = tokio::time::timeout(Duration::from_secs(1), server.recv(&mut buffer)).await else {
            break;
        };
        read?;
        record(&mut owd, clock, &buffer);
    }
    row("UDP", rate, proxy, &owd);
    Ok(())
}

async fn tcp(rate: u32, through: Through) -> io::Result<()> {
    let clock = Clock::start();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let mut target = listener.local_addr()?;
    let mut proxy = None;
    if through == Through::Proxy {
        let started = frames::start(config(clock, target)).await?;
        target = started.local_addr();
        proxy = Some(started);
    }
    let client = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    let client = client.into_std()?;
    client.set_nonblocking(false)?;
    let (mut server, _) = listener.accept().await?;
    let count = count(rate);
    let mut frame = Vec::with_capacity(4 + SIZE);
    send_paced(clock, rate, count, move |packet| {
        frame.clear();
        frame.extend_from_slice(&(SIZE as u32).to_be_bytes());
        frame.extend_from_slice(packet);
        io::Write::write_all(&mut &client, &frame)
    });
    let mut owd = Histogram::new(3).expect("three digits");
    let mut buffer = [0; SIZE];
    for _ in 0..count {
        server.read_u32().await?;
        server.read_exact(&mut buffer).await?;
        record(&mut owd, clock, &buffer);
    }
    server.shutdown().await?;
    row("TCP frames", rate, proxy, &owd);
    Ok(())
}

fn count(rate: u32) -> u32 {
    rate * u32::try_from(SPAN.as_secs()).expect("a few seconds")
}

/// Sends packets that begin with the time of their sending, from a thread of its own.
fn send_paced(
    clock: Clock,
    rate: u32,
    count: u32,
    mut send: impl FnMut(&[u8]) -> io::Result<()> + Send + 'static,
) {
    let gap = Duration::from_secs(1) / rate;
    std::thread::spawn(move || {
        let begun = clock.now();
        let mut packet = [0; SIZE];
        for n in 0..count {
            let left = (begun + gap * n).since(clock.now());
            std::thread::park_timeout(left);
            packet[..8].copy_from_slice(&clock.now().as_nanos().to_be_bytes());
            if send(&packet).is_err() {
                return;
            }
        }
    });
}

fn record(owd: &mut Histogram<u64>, clock: Clock, packet: &[u8; SIZE]) {
    let now = clock.now();
    let (sent, _) = packet.split_first_chunk().expect("eight bytes");
    let sent = Timestamp::from_nanos(u64::from_be_bytes(*sent));
    let nanos = u64::try_from(now.since(sent).as_nanos()).unwrap_or(u64::MAX);
    owd.record(nanos.min(60_000_000_000)).expect("an auto-resizing histogram");
}

fn row(path: &str, rate: u32, proxy: Option<ProxyHandle>, owd: &Histogram<u64>) {
    const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];
    let is_control = proxy.is_none();
    let lateness = proxy.map(|proxy| proxy.stop().lateness);
    let late = QUANTILES.map(|quantile| match &lateness {
        Some(lateness) => format!("{:.1}", lateness.value_at_quantile(quantile) as f64 / 1e3),
        None => "-".to_owned(),
    });
    let configured = if is_control { 0.0 } else { 10_000.0 };
    let added = QUANTILES.map(|quantile| owd.value_at_quantile(quantile) as f64 / 1e3 - configured);
    let name = if is_control { format!("{path} control") } else { path.to_owned() };
    println!(
        "{name:<18}{rate:>6}  {:>8} {:>8} {:>8}  {:>8.1} {:>8.1} {:>8.1}",
        late[0], late[1], late[2], added[0], added[1], added[2]
    );
}
