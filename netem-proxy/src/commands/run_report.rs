//! What `netem-proxy run` tells at the end.

use std::fmt::Write as _;

use hdrhistogram::Histogram;
use netem_proxy::tun::{DirectionOutcome, SessionOutcome};
use serde_json::json;

use super::rows::rows;
use super::run::Plan;

pub(super) fn render(plan: &Plan, outcome: &SessionOutcome) -> String {
    if plan.as_json { document(plan, outcome) } else { table(plan, outcome) }
}

/// For people.
fn table(plan: &Plan, outcome: &SessionOutcome) -> String {
    let SessionOutcome { up, down, .. } = outcome;
    let mut out = format!("{:<24}{:>14}{:>14}\n", "", "up", "down");
    let mut line = |name: &str, up: String, down: String| {
        let _ = writeln!(out, "{name:<24}{up:>14}{down:>14}");
    };
    for (name, value) in rows(&up.counters, &down.counters) {
        line(name, value(&up.counters).to_string(), value(&down.counters).to_string());
    }
    for (name, quantile) in [("model delay p50", 0.5), ("model delay p99", 0.99)] {
        let delay = |of: &DirectionOutcome| scaled(&of.delays, quantile, 1e3, "ms");
        line(name, delay(up), delay(down));
    }
    for (name, quantile) in [("lateness p50", 0.5), ("lateness p99", 0.99)] {
        let lateness = |of: &DirectionOutcome| scaled(of.lateness.histogram(), quantile, 1e3, "µs");
        line(name, lateness(up), lateness(down));
    }
    line("kernel drops", outcome.guest_drops.tx.to_string(), outcome.base_drops.tx.to_string());
    line("not taken by kernel", outcome.base_drops.rx.to_string(), outcome.guest_drops.rx.to_string());
    line("lost by the emulator", up.io.io_overrun.to_string(), down.io.io_overrun.to_string());
    let faults: Vec<String> = outcome.faults().iter().map(ToString::to_string).collect();
    let verdict = if faults.is_empty() { "yes".to_owned() } else { format!("no: {}", faults.join("; ")) };
    let _ = writeln!(out, "seed {}, valid: {verdict}", plan.seed);
    out
}

/// For programs. Delays in µs, lateness in ns.
fn document(plan: &Plan, outcome: &SessionOutcome) -> String {
    let direction = |profile: String, of: &DirectionOutcome, kernel_drops: u64, not_taken: u64| {
        json!({
            "spec": profile,
            "counters": of.counters,
            "delay_us": quantiles(&of.delays),
            "lateness_ns": quantiles(of.lateness.histogram()),
            "early": of.lateness.early(),
            "flows": of.flows,
            "io": of.io,
            "kernel_drops": kernel_drops,
            "not_taken": not_taken,
            "spin_share": of.timing.share_spun(),
        })
    };
    let faults: Vec<String> = outcome.faults().iter().map(ToString::to_string).collect();
    let document = json!({
        "seed": plan.seed,
        "valid": faults.is_empty(),
        "faults": faults,
        "up": direction(plan.up.to_string(), &outcome.up, outcome.guest_drops.tx, outcome.base_drops.rx),
        "down": direction(plan.down.to_string(), &outcome.down, outcome.base_drops.tx, outcome.guest_drops.rx),
    });
    format!("{document:#}\n")
}

fn scaled(histogram: &Histogram<u64>, quantile: f64, per_unit: f64, unit: &str) -> String {
    if histogram.is_empty() {
        return "-".to_owned();
    }
    format!("{:.3} {unit}", histogram.value_at_quantile(quantile) as f64 / per_unit)
}

fn quantiles(histogram: &Histogram<u64>) -> serde_json::Value {
    let at = |quantile| (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile));
    json!({"count": histogram.len(), "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "p99_9": at(0.999), "max": at(1.0)})
}
