//! Runs a proxy until a signal ends it, and tells what happened to the packets.

use std::fmt::Write as _;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use netem_proxy::link::LinkCounters;
use netem_proxy::proxy::{ProxyConfig, ProxyHandle, ProxySnapshot, datagrams, frames};
use serde_json::json;
use units::{Clock, Seed};

use super::rows::rows;
use super::signals::Signals;
use crate::cli::{Failure, RelayArgs, RelayKind, RelayPlan, print, refuse_rebind};

pub(crate) fn run(kind: RelayKind, args: &RelayArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan().map_err(Failure::Usage)?;
    if kind == RelayKind::Frames {
        refuse_rebind(&[&plan.up, &plan.down], "frames").map_err(Failure::Usage)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(relay(kind, &plan, args.json))
}

async fn relay(kind: RelayKind, plan: &RelayPlan, as_json: bool) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    allow_many_files();
    let clock = Clock::start();
    let watch = plan.watch.start(clock, [&plan.up, &plan.down]).map_err(Failure::Usage)?;
    let config = ProxyConfig {
        clock,
        up: plan.up.clone(),
        down: plan.down.clone(),
        scope: plan.scope,
        seed: Seed::root(plan.seed),
        timing: plan.timing.timing,
        realtime: plan.timing.realtime,
        idle_timeout: plan.idle_timeout,
        ..ProxyConfig::between(plan.listen, plan.upstream)
    };
    let started = match kind {
        RelayKind::Frames => frames::start_observed(config, watch.observer()),
        RelayKind::Datagrams => datagrams::start_observed(config, watch.observer()),
    };
    let proxy = started.map_err(|error| Failure::Usage(cannot_start(plan, &error)))?;
    let announcement = format!("listening on {}\nseed {}\n", proxy.local_addr(), plan.seed);
    // With --json, stdout is the one document.
    if as_json {
        tell!("{announcement}")
    } else {
        print(&announcement)?
    }

    let ended = tokio::select! {
        ended = signals.next() => ended,
        never = report_every(plan.stats_interval, &proxy) => match never {},
    };
    let counts = proxy.stop();
    tell!("{}", watch.finish());
    print(&if as_json { document(plan, &counts) } else { table(&counts) })?;
    Ok(ended)
}

fn cannot_start(plan: &RelayPlan, error: &io::Error) -> anyhow::Error {
    let listen = plan.listen;
    // Asking for real-time priority fails with a sentence of its own; only a socket has a number from the system.
    if error.raw_os_error().is_none() {
        return anyhow!("--realtime: {error}");
    }
    anyhow!("cannot listen on {listen}: {error}; choose another address, or port 0 for a free one")
}

/// Each flow is a socket or two; the soft limit of 1024 files is there for programs that use `select`.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

async fn report_every(interval: Option<Duration>, proxy: &ProxyHandle) -> std::convert::Infallible {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await; // The first is at once.
    loop {
        ticks.tick().await;
        let counts = proxy.snapshot();
        let (flows, up, down) = (counts.flows_open, brief(&counts.up), brief(&counts.down));
        tell_line!("flows {flows}  up {up}  down {down}  late {}", punctuality(&counts));
    }
}

fn brief(counters: &LinkCounters) -> String {
    let LinkCounters { offered, delivered, queued, .. } = counters;
    format!("{offered} offered, {delivered} delivered, {} dropped, {queued} under way", counters.dropped())
}

/// For people: one row for each cause, one column for each direction.
fn table(counts: &ProxySnapshot) -> String {
    let mut out = format!("{:<24}{:>14}{:>14}\n", "", "up", "down");
    let mut line = |name: &str, up: String, down: String| {
        let _ = writeln!(out, "{name:<24}{up:>14}{down:>14}");
    };
    for (name, value) in rows(&counts.up, &counts.down) {
        line(name, value(&counts.up).to_string(), value(&counts.down).to_string());
    }
    for (name, quantile) in [("model delay p50", 0.5), ("model delay p99", 0.99)] {
        let delay = |delays: &Histogram<u64>| milliseconds(delays, quantile, 1e3);
        line(name, delay(&counts.up_delays), delay(&counts.down_delays));
    }
    let _ = writeln!(out, "release lateness {}", punctuality(counts));
    let _ = writeln!(
        out,
        "flows {}, malformed {}, refused {}, undeliverable {}, lost by the proxy itself {}, by the kernel before it {}",
        counts.flows,
        counts.malformed,
        counts.refused,
        counts.undeliverable,
        counts.io_overrun,
        counts.kernel_drops
    );
    out
}

/// How late packets left, how many left too early (none), and what it cost.
fn punctuality(counts: &ProxySnapshot) -> String {
    let spun = 100.0 * counts.timing.share_spun();
    if counts.lateness.is_empty() {
        return format!("-, spun {spun:.1} % of a core");
    }
    let at = |quantile| counts.lateness.value_at_quantile(quantile) as f64 / 1e3;
    let (p50, p99, p99_9, max) = (at(0.5), at(0.99), at(0.999), at(1.0));
    let early = counts.early;
    format!(
        "p50 {p50:.1}, p99 {p99:.1}, p99.9 {p99_9:.1}, max {max:.1} µs, early {early}, spun {spun:.1} % of a core"
    )
}

fn milliseconds(histogram: &Histogram<u64>, quantile: f64, per_millisecond: f64) -> String {
    if histogram.is_empty() {
        return "-".to_owned();
    }
    format!("{:.3} ms", histogram.value_at_quantile(quantile) as f64 / per_millisecond)
}

/// For programs. Times in µs; lateness in ns.
fn document(plan: &RelayPlan, counts: &ProxySnapshot) -> String {
    let direction = |profile: String, counters: &LinkCounters, delays| json!({"spec": profile, "counters": counters, "delay_us": quantiles(delays)});
    let document = json!({
        "seed": plan.seed,
        "flows": counts.flows,
        "up": direction(plan.up.to_string(), &counts.up, &counts.up_delays),
        "down": direction(plan.down.to_string(), &counts.down, &counts.down_delays),
        "lateness_ns": quantiles(&counts.lateness),
        "early": counts.early,
        "timing": {
            "how": plan.timing.timing.to_string(),
            "realtime": plan.timing.realtime,
            "share_spun": counts.timing.share_spun(),
            "wake_latency_ns": quantiles(&counts.timing.wake_latency),
        },
        "io_overrun": counts.io_overrun,
        "kernel_drops": counts.kernel_drops,
        "malformed": counts.malformed,
        "refused": counts.refused,
        "undeliverable": counts.undeliverable,
        "back_pressure": counts.back_pressure,
        "rebinds": counts.rebinds,
    });
    format!("{document:#}\n")
}

fn quantiles(histogram: &Histogram<u64>) -> serde_json::Value {
    let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    json!({"count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0)})
}
