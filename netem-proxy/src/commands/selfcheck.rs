//! Does the link do what it says? Packets in virtual time, configured against observed.
//!
//! Each check compares one statistic with the interval that holds 99.9 % of its values under the configuration. One
//! check in a thousand seeds fails by chance; the default seed is fixed, so a failure there is a defect.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use netem_proxy::link::Link;
use netem_proxy::profile::{DelayModel, LinkProfile, LossModel};
use serde::Serialize;
use units::{ByteCount, Seed, Timestamp};

use crate::cli::{Failure, SelfcheckArgs, print};

pub(crate) fn run(args: &SelfcheckArgs) -> Result<ExitCode, Failure> {
    let mut checks = Vec::new();
    for spec in PROFILES {
        let profile: LinkProfile = spec.parse().context(spec)?;
        let seen = observe(&profile, args);
        checks.extend(judge(spec, &profile, &seen));
    }
    let is_good = checks.iter().all(|check| check.pass);
    if args.json {
        let document = serde_json::json!({"pass": is_good, "packets": args.packets, "seed": args.seed, "checks": checks});
        print(&format!("{document:#}\n"))?;
    } else {
        print(&table(&checks, args))?;
    }
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Each stage alone, and some together.
const PROFILES: [&str; 9] = [
    "none",
    "loss=10%",
    "loss=ge(p=1%,r=30%)",
    "loss=ge(p=2%,r=20%,bad=50%,good=1%)",
    "loss=every(10)",
    "delay=50ms jitter=5ms order=allow",
    "delay=50ms jitter=5ms dist=normal order=allow",
    "rate=10Mbit/s queue=infinite",
    "loss=1% delay=20ms jitter=2ms order=allow duplicate=1% corrupt=0.1%",
];

const SIZE: ByteCount = ByteCount(1250);

/// The two-sided 99.9 % quantile of the normal distribution.
const Z: f64 = 3.2905;

#[derive(Debug, Serialize)]
struct Check {
    spec: &'static str,
    what: &'static str,
    unit: &'static str,
    configured: f64,
    observed: f64,
    /// Half-width of the interval around `configured`.
    tolerance: f64,
    pass: bool,
}

/// Delays are whole nanoseconds.
const NANOSECOND_MS: f64 = 1e-6;

/// What came out of one profile.
struct Seen {
    counters: netem_proxy::link::LinkCounters,
    delays_ms: Vec<f64>,
    /// When the last packet left.
    end: Timestamp,
}

fn observe(profile: &LinkProfile, args: &SelfcheckArgs) -> Seen {
    let mut link = Link::new(profile.clone(), Seed::root(args.seed).fork("selfcheck"));
    // A bottleneck is offered everything at once; otherwise 100 µs apart, as fast as 100 Mbit/s.
    let gap = if profile.rate.is_some() { Duration::ZERO } else { Duration::from_micros(100) };
    let mut now = Timestamp::ZERO;
    let mut seen = Seen { counters: *link.counters(), delays_ms: Vec::new(), end: Timestamp::ZERO };
    for number in 0..args.packets {
        link.handle_packet(now, number, SIZE);
        now += gap;
        take(&mut link, now, &mut seen);
    }
    take(&mut link, Timestamp::NEVER, &mut seen);
    seen.counters = *link.counters();
    seen
}

fn take(link: &mut Link<u64>, until: Timestamp, seen: &mut Seen) {
    while let Some(delivery) = link.poll_deliver(until) {
        seen.delays_ms.push(delivery.due.since(delivery.arrived).as_secs_f64() * 1e3);
        seen.end = delivery.due;
    }
}

fn judge(spec: &'static str, profile: &LinkProfile, seen: &Seen) -> Vec<Check> {
    let counters = &seen.counters;
    let check = |what, unit, configured: f64, observed: f64, tolerance: f64| {
        let pass = (observed - configured).abs() <= tolerance;
        Check { spec, what, unit, configured, observed, tolerance, pass }
    };
    let unaccounted = counters.offered as f64 + counters.duplicated as f64
        - (counters.delivered + counters.dropped() + counters.queued()) as f64;
    let mut checks = vec![check("unaccounted", "packets", 0.0, unaccounted, 0.0)];
    let share = |what, p: f64, inflation: f64, hits: u64, of: u64| {
        let tolerance = Z * (p * (1.0 - p) * inflation / of as f64).sqrt();
        check(what, "%", p * 100.0, hits as f64 / of as f64 * 100.0, tolerance * 100.0)
    };
    match profile.loss.clone() {
        LossModel::None => checks.push(share("loss", 0.0, 1.0, counters.dropped_loss, counters.offered)),
        LossModel::EveryNth { n } => {
            let expected = (counters.offered / n) as f64;
            checks.push(check("losses", "packets", expected, counters.dropped_loss as f64, 0.0));
        }
        _ => {
            let inflation = variance_inflation(profile);
            checks.push(share(
                "loss",
                profile.mean_loss(),
                inflation,
                counters.dropped_loss,
                counters.offered,
            ));
        }
    }
    if !profile.duplicate.is_zero() {
        let survivors = counters.offered - counters.dropped_loss;
        checks.push(share("duplicated", profile.duplicate.get(), 1.0, counters.duplicated, survivors));
    }
    if !profile.corrupt.is_zero() {
        checks.push(share("corrupted", profile.corrupt.get(), 1.0, counters.corrupted, counters.delivered));
    }
    if let Some(rate) = profile.bitrate() {
        let observed = counters.delivered_bytes as f64 * 8.0 / seen.end.as_secs_f64() / 1e6;
        let configured = rate.bits_per_second() as f64 / 1e6;
        // Transmit times are rounded up to whole nanoseconds.
        let tolerance = configured / rate.transmit_time(SIZE).as_nanos() as f64;
        checks.push(check("rate", "Mbit/s", configured, observed, tolerance));
    } else {
        checks.push(delay_check(profile, seen, check));
    }
    checks
}

fn delay_check(
    profile: &LinkProfile,
    seen: &Seen,
    check: impl Fn(&'static str, &'static str, f64, f64, f64) -> Check,
) -> Check {
    let count = seen.delays_ms.len() as f64;
    let jitter = profile.jitter().as_secs_f64() * 1e3;
    let deviation = match profile.delay {
        DelayModel::Constant(_) => 0.0,
        DelayModel::Uniform { .. } => jitter / 3.0_f64.sqrt(),
        _ => jitter,
    };
    let mean = seen.delays_ms.iter().sum::<f64>() / count;
    let configured = profile.mean_delay().as_secs_f64() * 1e3;
    check("mean delay", "ms", configured, mean, Z * deviation / count.sqrt() + NANOSECOND_MS)
}

/// Losses of a chain come in runs, so their share varies more than that of independent ones. With the state's
/// autocorrelation rho = 1 - p - r, the variance of the share of bad is (1 + rho) / (1 - rho) times the binomial one;
/// only the part of the variance that comes from the state is inflated.
fn variance_inflation(profile: &LinkProfile) -> f64 {
    let LossModel::GilbertElliott { p, r, loss_bad, loss_good } = profile.loss else { return 1.0 };
    let (p, r) = (p.get(), r.get());
    let (bad, rho) = (p / (p + r), 1.0 - p - r);
    let mean = profile.mean_loss();
    let from_state = bad * (1.0 - bad) * (loss_bad.get() - loss_good.get()).powi(2);
    1.0 + from_state / (mean * (1.0 - mean)) * ((1.0 + rho) / (1.0 - rho) - 1.0)
}

fn table(checks: &[Check], args: &SelfcheckArgs) -> String {
    let width = PROFILES.iter().map(|spec| spec.len()).max().unwrap_or(0);
    let mut out = format!("{} packets a profile, seed {}; intervals hold 99.9 %\n", args.packets, args.seed);
    for check in checks {
        let Check { spec, what, unit, configured, observed, tolerance, pass } = check;
        let verdict = if *pass { "ok" } else { "FAILED" };
        out += &format!(
            "{spec:<width$}  {what:<11} {configured:>10.4} ± {tolerance:<8.4} {observed:>10.4} {unit:<8} {verdict}\n"
        );
    }
    out
}
