//! The whole emulator in wall time: a sender, the datagram relay, a receiver, all on loopback.
//!
//! Wall time is the machine's as much as ours. So every measurement stands beside a control, the same packets
//! through the same relay without any weather, taken immediately before: what the control already loses or delays
//! is not the link's. If the control's own delays spread too far, nothing can be said, and the line is
//! [`Judgement::Invalid`] instead of failed.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use socket2::SockRef;
use units::{Clock, Seed, Timestamp};

use crate::profile::LinkProfile;
use crate::proxy::{ProxyConfig, ProxySnapshot, datagrams};
use crate::stats::{clopper_pearson, kolmogorov_smirnov};
use crate::timing::{Timing, Waiter};

/// A line of the table.
#[derive(Clone, Debug, Serialize)]
pub struct SystemFinding {
    pub property: &'static str,
    pub link: &'static str,
    pub unit: &'static str,
    /// What it should be, or the bound of what it may be.
    pub configured: f64,
    pub measured: f64,
    /// Where `measured` may be.
    pub interval: (f64, f64),
    pub judgement: Judgement,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Judgement {
    Ok,
    Failed,
    /// The control spread too far: the machine was too busy for a statement.
    Invalid,
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct SystemReport {
    pub findings: Vec<SystemFinding>,
    /// 99th percentiles of the controls' one-way delays less their medians, in µs.
    pub control_p99_us: Vec<f64>,
}

impl SystemReport {
    /// The worst of all lines.
    #[must_use]
    pub fn judgement(&self) -> Judgement {
        let has = |judgement| self.findings.iter().any(|finding| finding.judgement == judgement);
        if has(Judgement::Failed) {
            Judgement::Failed
        } else if has(Judgement::Invalid) {
            Judgement::Invalid
        } else {
            Judgement::Ok
        }
    }
}

/// A control that spreads further makes its line invalid.
pub const MAX_CONTROL_P99: Duration = Duration::from_micros(200);

/// Measures everything; half a minute.
///
/// # Errors
/// When the system refuses sockets or threads.
pub fn run(seed: u64) -> io::Result<SystemReport> {
    let mut bench = Bench { seed: Seed::root(seed), findings: Vec::new(), controls: Vec::new() };
    bench.constant_delay()?;
    bench.delay_law()?;
    bench.loss()?;
    bench.rate()?;
    bench.spurious_loss()?;
    Ok(SystemReport { findings: bench.findings, control_p99_us: bench.controls })
}

struct Bench {
    seed: Seed,
    findings: Vec<SystemFinding>,
    controls: Vec<f64>,
}

/// Packets at an even pace.
#[derive(Clone, Copy)]
struct Load {
    packets: usize,
    per_second: u64,
    size: usize,
}

impl Bench {
    fn constant_delay(&mut self) -> io::Result<()> {
        const LINK: &str = "delay=10ms";
        let load = Load { packets: 3_000, per_second: 1_000, size: 200 };
        let (control, is_quiet) = self.control(load)?;
        let run = self.send(LINK, load)?;
        let mut errors = run.delays_us();
        errors.sort_by(f64::total_cmp);
        let error = |share| quantile(&errors, share) - 10_000.0 - control.median_us();
        // The targets of docs/EMULATION.md for one-way delay.
        self.note("one-way delay error, median", LINK, "µs", 0.0, error(0.5), (-15.0, 15.0), is_quiet);
        self.note("one-way delay error, p99", LINK, "µs", 0.0, error(0.99), (-15.0, 100.0), is_quiet);
        let late = |share| run.snapshot.lateness.value_at_quantile(share) as f64 / 1e3;
        self.note("release lateness, p50", LINK, "µs", 0.0, late(0.5), (0.0, 1.0), is_quiet);
        self.note("release lateness, p99", LINK, "µs", 0.0, late(0.99), (0.0, 25.0), is_quiet);
        self.note("released early", LINK, "packets", 0.0, run.snapshot.early as f64, (0.0, 0.0), true);
        Ok(())
    }

    fn delay_law(&mut self) -> io::Result<()> {
        const LINK: &str = "delay=10ms jitter=5ms order=allow";
        let load = Load { packets: 10_000, per_second: 2_000, size: 200 };
        let (control, is_quiet) = self.control(Load { packets: 2_000, ..load })?;
        let mut delays: Vec<f64> = self.send(LINK, load)?.delays_us();
        delays.iter_mut().for_each(|delay| *delay -= control.median_us());
        let limit = 1.95 / (delays.len() as f64).sqrt();
        let found = kolmogorov_smirnov(&mut delays, |delay| ((delay - 5_000.0) / 10_000.0).clamp(0.0, 1.0));
        self.note("uniform law", LINK, "D", 0.0, found.statistic, (0.0, limit), is_quiet);
        Ok(())
    }

    fn loss(&mut self) -> io::Result<()> {
        const LINK: &str = "loss=1%";
        let load = Load { packets: 50_000, per_second: 20_000, size: 200 };
        let run = self.send(LINK, load)?;
        let lost = (load.packets - run.received.len()) as u64;
        let (low, high) = clopper_pearson(lost, load.packets as u64, 0.999);
        let measured = lost as f64 / load.packets as f64 * 100.0;
        let is_ok = (low..=high).contains(&0.01);
        let half = (high - low) / 2.0 * 100.0;
        self.note("loss", LINK, "%", 1.0, measured, (1.0 - half, 1.0 + half), true);
        if let Some(last) = self.findings.last_mut() {
            // The exact interval decides; what is shown is its width around the configured value.
            last.judgement = if is_ok { Judgement::Ok } else { Judgement::Failed };
        }
        let unexplained = lost as f64 - run.snapshot.up.dropped_loss as f64;
        self.note("losses without a cause", LINK, "packets", 0.0, unexplained, (0.0, 0.0), true);
        Ok(())
    }

    fn rate(&mut self) -> io::Result<()> {
        const LINK: &str = "rate=20Mbit/s queue=infinite";
        // A quarter more than the link carries, for five seconds.
        let load = Load { packets: 13_000, per_second: 2_600, size: 1_200 };
        let (_, is_quiet) = self.control(Load { packets: 2_600, ..load })?;
        let run = self.send(LINK, load)?;
        let (Some(first), Some(last)) = (run.received.first(), run.received.last()) else { return Ok(()) };
        let bits = (run.received.len() - 1) as f64 * load.size as f64 * 8.0;
        let measured = bits / last.at.since(first.at).as_secs_f64() / 1e6;
        // 0.1 % and one packet.
        let tolerance = 20.0 * (0.001 + 1.0 / run.received.len() as f64);
        self.note("rate", LINK, "Mbit/s", 20.0, measured, (20.0 - tolerance, 20.0 + tolerance), is_quiet);
        Ok(())
    }

    fn spurious_loss(&mut self) -> io::Result<()> {
        const LINK: &str = "none, 150,000 packets/s";
        let load = Load { packets: 300_000, per_second: 150_000, size: 100 };
        let run = self.send("none", load)?;
        let snapshot = &run.snapshot;
        let ours = snapshot.io_overrun + snapshot.kernel_drops + snapshot.undeliverable;
        let missing = load.packets as f64 - run.received.len() as f64;
        let pace = load.packets as f64 / run.took.as_secs_f64();
        // A sender that did not reach the pace has not asked the question.
        let is_asked = pace >= load.per_second as f64 * 0.98;
        self.note("lost by the relay", LINK, "packets", 0.0, ours as f64, (0.0, 0.0), is_asked);
        self.note("lost in all", LINK, "packets", 0.0, missing, (0.0, 0.0), is_asked);
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the columns of a line, in their order")]
    fn note(
        &mut self,
        property: &'static str,
        link: &'static str,
        unit: &'static str,
        configured: f64,
        measured: f64,
        interval: (f64, f64),
        is_valid: bool,
    ) {
        let judgement = match (is_valid, (interval.0..=interval.1).contains(&measured)) {
            (false, _) => Judgement::Invalid,
            (true, true) => Judgement::Ok,
            (true, false) => Judgement::Failed,
        };
        self.findings.push(SystemFinding { property, link, unit, configured, measured, interval, judgement });
    }

    /// The same packets without weather, and whether the machine was quiet.
    fn control(&mut self, load: Load) -> io::Result<(Run, bool)> {
        let run = self.send("none", load)?;
        let mut delays = run.delays_us();
        delays.sort_by(f64::total_cmp);
        let spread = quantile(&delays, 0.99);
        self.controls.push(spread);
        Ok((run, spread <= MAX_CONTROL_P99.as_micros() as f64))
    }

    fn send(&self, spec: &str, load: Load) -> io::Result<Run> {
        let receiver = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        // As much as the system gives: what is lost behind the relay is not the relay's.
        SockRef::from(&receiver).set_recv_buffer_size(64 << 20)?;
        receiver.set_read_timeout(Some(QUIET))?;
        let clock = Clock::start();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let up: LinkProfile = spec.parse().map_err(|error| io::Error::other(format!("{error}")))?;
        let config =
            ProxyConfig { up, seed: self.seed, clock, ..ProxyConfig::between(any, receiver.local_addr()?) };
        let proxy = datagrams::start_observed(config, None)?;
        let sender = UdpSocket::bind(any)?;
        sender.connect(proxy.local_addr())?;
        let is_sent = AtomicBool::new(false);
        let (received, took) = std::thread::scope(|scope| {
            let receiving = scope.spawn(|| receive(&receiver, clock, load, &is_sent));
            let took = pace(&sender, clock, load);
            is_sent.store(true, Ordering::Release);
            (receiving.join().unwrap_or_default(), took)
        });
        Ok(Run { received, took: took?, snapshot: proxy.stop() })
    }
}

/// When nothing has come for so long after the last packet was sent, nothing comes any more. Longer than any delay
/// configured here.
const QUIET: Duration = Duration::from_millis(500);

struct Run {
    received: Vec<Received>,
    took: Duration,
    snapshot: ProxySnapshot,
}

#[derive(Clone, Copy)]
struct Received {
    sent: Timestamp,
    at: Timestamp,
}

impl Run {
    fn delays_us(&self) -> Vec<f64> {
        self.received.iter().map(|packet| packet.at.since(packet.sent).as_nanos() as f64 / 1e3).collect()
    }

    fn median_us(&self) -> f64 {
        let mut delays = self.delays_us();
        delays.sort_by(f64::total_cmp);
        quantile(&delays, 0.5)
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = (sorted.len().saturating_sub(1) as f64 * share).round() as usize;
    sorted.get(place).copied().unwrap_or(f64::NAN)
}

/// Sends each packet at its time, or in a burst what the sender is behind.
fn pace(sender: &UdpSocket, clock: Clock, load: Load) -> io::Result<Duration> {
    let timing = if load.per_second > 10_000 { Timing::Sleep } else { Timing::Hybrid };
    let mut waiter = Waiter::new(clock, timing)?;
    let mut events = Vec::new();
    let mut payload = vec![0; load.size];
    let begun = clock.now();
    for packet in 0..load.packets as u64 {
        let due = begun + Duration::from_nanos(packet * 1_000_000_000 / load.per_second);
        while clock.now() < due {
            waiter.wait(Some(due), &mut events)?;
        }
        payload[..8].copy_from_slice(&clock.now().as_nanos().to_le_bytes());
        sender.send(&payload)?;
    }
    Ok(clock.now().since(begun))
}

fn receive(socket: &UdpSocket, clock: Clock, load: Load, is_sent: &AtomicBool) -> Vec<Received> {
    let mut received = Vec::with_capacity(load.packets);
    let mut buffer = [0; 2048];
    while received.len() < load.packets {
        match socket.recv(&mut buffer) {
            Ok(8..) => {
                let at = clock.now();
                let sent = u64::from_le_bytes(*buffer.first_chunk().expect("eight bytes"));
                received.push(Received { sent: Timestamp::from_nanos(sent), at });
            }
            Ok(_) => {}
            Err(_) if is_sent.load(Ordering::Acquire) => break,
            Err(_) => {}
        }
    }
    received
}
