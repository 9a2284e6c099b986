//! Runs a proxy until a signal ends it, and tells what happened to the packets.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hdrhistogram::Histogram;
use netem_proxy::link::LinkCounters;
use netem_proxy::proxy::{ProxyConfig, ProxyHandle, ProxySnapshot, datagrams, frames};
use serde_json::json;
use units::{Clock, Seed};

use crate::cli::{Failure, RelayArgs, RelayKind, RelayPlan, print};

pub(crate) fn run(kind: RelayKind, args: &RelayArgs) -> Result<ExitCode, Failure> {
    let plan = args.plan().map_err(Failure::Usage)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    runtime.block_on(relay(kind, &plan, args.json))
}

async fn relay(kind: RelayKind, plan: &RelayPlan, as_json: bool) -> Result<ExitCode, Failure> {
    let mut signals = Signals::listen()?;
    let config = ProxyConfig {
        listen: plan.listen,
        upstream: plan.upstream,
        up: plan.up.clone(),
        down: plan.down.clone(),
        scope: plan.scope,
        seed: Seed::root(plan.seed),
        clock: Clock::start(),
    };
    let started = match kind {
        RelayKind::Frames => frames::start(config).await,
        RelayKind::Datagrams => datagrams::start(config).await,
    };
    let proxy = started.map_err(|error| {
        let listen = plan.listen;
        Failure::Usage(anyhow!(
            "cannot listen on {listen}: {error}; choose another address, or port 0 for a free one"
        ))
    })?;
    let announcement = format!("listening on {}\nseed {}\n", proxy.local_addr(), plan.seed);
    // With --json, stdout is the one document.
    if as_json {
        eprint!("{announcement}")
    } else {
        print(&announcement)?
    }

    let ended = tokio::select! {
        ended = signals.next() => ended,
        never = report_every(plan.stats_interval, &proxy) => match never {},
    };
    let counts = proxy.stop();
    print(&if as_json { document(plan, &counts) } else { table(&counts) })?;
    Ok(match ended {
        Ended::Interrupt => ExitCode::from(130),
        Ended::Terminate => ExitCode::SUCCESS,
    })
}

#[derive(Clone, Copy)]
enum Ended {
    Interrupt,
    Terminate,
}

/// Made before the address is announced: whoever reads it may stop us at once.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
        let terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
        Ok(Self { interrupt, terminate })
    }

    async fn next(&mut self) -> Ended {
        tokio::select! {
            _ = self.interrupt.recv() => Ended::Interrupt,
            _ = self.terminate.recv() => Ended::Terminate,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> Ended {
        match tokio::signal::ctrl_c().await {
            Ok(()) => Ended::Interrupt,
            // Without a way to hear of Ctrl-C, the system's own handling ends the program.
            Err(_) => std::future::pending().await,
        }
    }
}

async fn report_every(interval: Option<Duration>, proxy: &ProxyHandle) -> std::convert::Infallible {
    let Some(interval) = interval else { return std::future::pending().await };
    let mut ticks = tokio::time::interval(interval);
    ticks.tick().await; // The first is at once.
    loop {
        ticks.tick().await;
        let counts = proxy.snapshot();
        eprintln!("flows {}  up {}  down {}", counts.flows_open, brief(&counts.up), brief(&counts.down));
    }
}

fn brief(counters: &LinkCounters) -> String {
    let LinkCounters { offered, delivered, queued, .. } = counters;
    format!("{offered} offered, {delivered} delivered, {} dropped, {queued} under way", counters.dropped())
}

/// For people: one row for each cause, one column for each direction.
fn table(counts: &ProxySnapshot) -> String {
    type Row = (&'static str, fn(&LinkCounters) -> u64);
    const ROWS: [Row; 12] = [
        ("offered", |c| c.offered),
        ("delivered", |c| c.delivered),
        ("dropped: loss", |c| c.dropped_loss),
        ("dropped: queue full", |c| c.dropped_queue),
        ("dropped: blackout", |c| c.dropped_blackout),
        ("dropped: at the end", |c| c.dropped_closed),
        ("duplicated", |c| c.duplicated),
        ("corrupted", |c| c.corrupted),
        ("reordered", |c| c.reordered),
        ("under way", |c| c.queued),
        ("bytes offered", |c| c.offered_bytes),
        ("bytes delivered", |c| c.delivered_bytes),
    ];
    let mut out = format!("{:<22}{:>14}{:>14}\n", "", "up", "down");
    let mut line = |name: &str, up: String, down: String| {
        let _ = writeln!(out, "{name:<22}{up:>14}{down:>14}");
    };
    for (name, value) in ROWS {
        line(name, value(&counts.up).to_string(), value(&counts.down).to_string());
    }
    for (name, quantile) in [("delay p50", 0.5), ("delay p99", 0.99)] {
        let delay = |delays: &Histogram<u64>| milliseconds(delays, quantile, 1e3);
        line(name, delay(&counts.up_delays), delay(&counts.down_delays));
    }
    let lateness = |quantile| milliseconds(&counts.lateness, quantile, 1e6);
    let _ = writeln!(out, "release lateness p50 {}, p99 {}", lateness(0.5), lateness(0.99));
    let _ = writeln!(
        out,
        "flows {}, malformed {}, refused {}, undeliverable {}, lost by the proxy itself {}",
        counts.flows, counts.malformed, counts.refused, counts.undeliverable, counts.io_overrun
    );
    out
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
        "io_overrun": counts.io_overrun,
        "malformed": counts.malformed,
        "refused": counts.refused,
        "undeliverable": counts.undeliverable,
        "back_pressure": counts.back_pressure,
    });
    format!("{document:#}\n")
}

fn quantiles(histogram: &Histogram<u64>) -> serde_json::Value {
    let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    json!({"count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0)})
}
