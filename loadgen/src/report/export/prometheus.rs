//! `metrics.prom`: the numbers of a report in Prometheus' text format, for its textfile collector or a push gateway.
//!
//! Seconds and bytes, as that world counts. Labels are the scenario, each axis of the sweep, and the arm of an A/B run; a
//! lost percentile is `+Inf`, an unknown value has no line.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeSet;
use std::fmt::Write as _;

use crate::records::{QuantileEstimate, RunFile};
use crate::report::content::verdict_word;
use crate::report::format;
use crate::report::origin::Origin;
use crate::report::runs::{Pooled, Told};
use crate::result::{Cell, LatencySummary};

/// Lines by family: all of one stand together, after its help and type.
#[derive(Default)]
struct Text {
    families: Vec<(&'static str, String)>,
}

impl Text {
    fn line(&mut self, family: &'static Family, suffix: &str, labels: &str, value: f64) {
        let place = self.families.iter().position(|(name, _)| *name == family.name).unwrap_or_else(|| {
            let head = format!("# HELP {0} {1}\n# TYPE {0} {2}\n", family.name, family.help, family.kind);
            self.families.push((family.name, head));
            self.families.len() - 1
        });
        let lines = &mut self.families[place].1;
        let _ = writeln!(lines, "{}{suffix}{{{labels}}} {}", family.name, number(value));
    }
}

struct Family {
    name: &'static str,
    help: &'static str,
    kind: &'static str,
}

pub(super) fn write(told: &Told<'_>, origin: &Origin<'_>) -> String {
    let mut text = Text::default();
    let labels = LabelNames::of(&told.result.cells);
    let scenario = label("scenario", &origin.name);
    for (index, cell) in told.result.cells.iter().enumerate() {
        let here = [scenario.clone(), labels.of_cell(cell)].into_iter().filter(|text| !text.is_empty());
        let here = here.collect::<Vec<_>>().join(",");
        text.line(&VERDICT, "", &format!("{here},{}", label("verdict", verdict_word(cell.verdict))), 1.0);
        for assert in &cell.asserts {
            let holds = format!(
                "{here},{},{}",
                label("id", &assert.id),
                label("verdict", verdict_word(assert.verdict))
            );
            text.line(&ASSERT, "", &holds, f64::from(u8::from(verdict_word(assert.verdict) == "PASS")));
        }
        let pooled: Vec<&Pooled> =
            told.pooled.iter().filter(|pooled| pooled.cell as usize == index).collect();
        if pooled.is_empty() {
            summary(&mut text, &DELIVERY, &here, &cell.metrics.latency.delivery);
            summary(&mut text, &SERVICE, &here, &cell.metrics.latency.service);
        }
        for pooled in pooled {
            let arm = ["a", "b"].get(pooled.arm as usize).copied().unwrap_or("other");
            let here = if told.has_arms() { format!("{here},{}", label("arm", arm)) } else { here.clone() };
            latencies(&mut text, &here, pooled);
            counts(&mut text, &here, &told.runs_of(pooled.cell, pooled.arm).collect::<Vec<_>>());
        }
    }
    text.families.into_iter().map(|(_, lines)| lines).collect()
}

fn latencies(text: &mut Text, here: &str, pooled: &Pooled) {
    let state = |q: f64| label("quantile", &q.to_string());
    for estimate in &pooled.quantiles {
        let QuantileEstimate { q, value_us, low_us, high_us, .. } = *estimate;
        let labels = format!("{here},{}", state(q));
        text.line(&DELIVERY, "", &labels, seconds(value_us));
        if estimate.deliveries > 0 {
            text.line(&DELIVERY_LOW, "", &labels, seconds(low_us));
            text.line(&DELIVERY_HIGH, "", &labels, seconds(high_us));
        }
    }
    let delivery = &pooled.all.delivery;
    text.line(&DELIVERY, "_count", here, delivery.count() as f64);
    if let Some(mean) = delivery.mean() {
        text.line(&DELIVERY, "_sum", here, mean / 1e6 * delivery.count() as f64);
    }
    let service = &pooled.all.service;
    for estimate in pooled.quantiles.iter().filter(|_| !service.is_empty()) {
        text.line(
            &SERVICE,
            "",
            &format!("{here},{}", state(estimate.q)),
            seconds(service.quantile(estimate.q)),
        );
    }
    text.line(&SERVICE, "_count", here, service.count() as f64);
}

/// The same from `result.json` alone.
fn summary(text: &mut Text, family: &'static Family, here: &str, summary: &LatencySummary) {
    if summary.count > 0 {
        let known = [
            ("0.5", summary.p50_us),
            ("0.9", summary.p90_us),
            ("0.99", summary.p99_us),
            ("0.999", summary.p99_9_us),
        ];
        for (q, us) in known {
            text.line(family, "", &format!("{here},{}", label("quantile", q)), seconds(us));
        }
    }
    text.line(family, "_count", here, summary.count as f64);
}

/// What of a run is counted.
type Count = fn(&RunFile) -> u64;

fn counts(text: &mut Text, here: &str, runs: &[&RunFile]) {
    let sum = |of: Count| runs.iter().map(|run| of(run)).sum::<u64>() as f64;
    let states: [(&str, Count); 5] = [
        ("intended", |run| run.metrics.messages.intended),
        ("sent", |run| run.metrics.messages.sent),
        ("acked", |run| run.metrics.messages.acked),
        ("failed", |run| run.metrics.messages.failed),
        ("throttled", |run| run.metrics.messages.throttled),
    ];
    for (state, of) in states {
        text.line(&MESSAGES, "", &format!("{here},{}", label("state", state)), sum(of));
    }
    let ends: [(&str, Count); 6] = [
        ("expected", |run| run.metrics.messages.expected_deliveries),
        ("delivered", |run| run.metrics.messages.delivered),
        ("lost", |run| run.metrics.messages.lost),
        ("duplicated", |run| run.metrics.messages.duplicated),
        ("reordered", |run| run.metrics.messages.reordered),
        ("corrupted", |run| run.metrics.messages.corrupted),
    ];
    for (end, of) in ends {
        text.line(&DELIVERIES, "", &format!("{here},{}", label("state", end)), sum(of));
    }
    text.line(&RUNS, "", here, runs.len() as f64);
    text.line(&INVALID, "", here, sum(|run| u64::from(!run.invalid.is_empty())));
    text.line(&SEGMENTS, "", here, sum(|run| run.metrics.transport.segments_sent));
    text.line(&RETRANSMITS, "", here, sum(|run| run.metrics.transport.retransmits));
    text.line(&TIMEOUTS, "", here, sum(|run| run.metrics.transport.timeouts));
    text.line(&DROPS, "", here, sum(|run| run.metrics.health.harness_drops));
    let mean =
        |of: fn(&RunFile) -> f64| runs.iter().map(|run| of(run)).sum::<f64>() / runs.len().max(1) as f64;
    text.line(&GOODPUT, "", here, mean(|run| run.metrics.throughput.goodput_bytes_per_s));
}

/// What the axes are called as labels, each its own name.
struct LabelNames {
    /// Path of the axis, and its label.
    names: Vec<(String, String)>,
}

impl LabelNames {
    fn of(cells: &[Cell]) -> Self {
        let paths: BTreeSet<&String> = cells.iter().flat_map(|cell| cell.axes.keys()).collect();
        let mut taken: BTreeSet<String> = RESERVED.map(str::to_owned).into();
        let mut names = Vec::new();
        for path in paths {
            let plain: String =
                path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
            // A label begins with a letter; two underscores at the beginning are Prometheus' own.
            let plain = if plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
                plain
            } else {
                format!("axis_{plain}")
            };
            let mut name = plain.clone();
            for copy in 2.. {
                if taken.insert(name.clone()) {
                    break;
                }
                name = format!("{plain}_{copy}");
            }
            names.push((path.clone(), name));
        }
        Self { names }
    }

    fn of_cell(&self, cell: &Cell) -> String {
        let labels = self
            .names
            .iter()
            .filter_map(|(path, name)| Some(label(name, &format::json(cell.axes.get(path)?))));
        labels.collect::<Vec<_>>().join(",")
    }
}

/// `name="value"`, escaped as the format asks.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

/// What is lost, or has no bound, is later than any time.
fn seconds(us: Option<u64>) -> f64 {
    us.map_or(f64::INFINITY, |us| us as f64 / 1e6)
}

fn number(value: f64) -> String {
    if value.is_infinite() { "+Inf".to_owned() } else { value.to_string() }
}

const RESERVED: [&str; 8] = ["scenario", "arm", "quantile", "verdict", "id", "state", "le", "job"];

const fn gauge(name: &'static str, help: &'static str) -> Family {
    Family { name, help, kind: "gauge" }
}

static VERDICT: Family = gauge("loadgen_verdict", "The verdict of a cell; always 1.");
static ASSERT: Family = gauge("loadgen_assert", "Whether an assertion holds.");
static DELIVERY: Family = Family {
    name: "loadgen_delivery_latency_seconds",
    help: "From intended to delivered, lost ones at infinity.",
    kind: "summary",
};
static SERVICE: Family = Family {
    name: "loadgen_service_latency_seconds",
    help: "From handed to the protocol to delivered.",
    kind: "summary",
};
static DELIVERY_LOW: Family = gauge(
    "loadgen_delivery_latency_low_seconds",
    "Lower bound of the 95 % interval of a delivery percentile.",
);
static DELIVERY_HIGH: Family = gauge(
    "loadgen_delivery_latency_high_seconds",
    "Upper bound of the 95 % interval of a delivery percentile.",
);
static MESSAGES: Family =
    gauge("loadgen_messages", "Recorded messages of all repeats, by what became of them.");
static DELIVERIES: Family =
    gauge("loadgen_deliveries", "Recorded pairs of message and recipient, by their end.");
static RUNS: Family = gauge("loadgen_runs", "Repeats.");
static INVALID: Family =
    gauge("loadgen_invalid_runs", "Repeats that say nothing about the system under test.");
static SEGMENTS: Family = gauge("loadgen_segments", "Packets with data that were sent.");
static RETRANSMITS: Family = gauge("loadgen_retransmits", "Packets with data that was sent before.");
static TIMEOUTS: Family = gauge("loadgen_timeouts", "Retransmission timers that fired.");
static DROPS: Family = gauge("loadgen_harness_drops", "Packets that the generator itself lost.");
static GOODPUT: Family = gauge("loadgen_goodput_bytes_per_second", "Payload delivered, mean of repeats.");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape, Vary};

    fn sweep() -> String {
        let shape = Shape {
            clients: 10,
            steady_s: 3,
            given_up: 0.05,
            name: "odd \"name\"\\\n".to_owned(),
            ..Shape::default()
        };
        let saved = synthetic::grid(&shape, &[Vary::loss(&[0.0, 0.1]), Vary::delay(&[10])], 2);
        let told = Told::of(&saved.result, &saved.runs);
        write(&told, &Origin::of(&saved.result))
    }

    /// The grammar of the format, as far as we use it.
    fn check(text: &str) {
        let mut families: Vec<String> = Vec::new();
        for line in text.lines() {
            let name_of = |text: &str| text.split([' ', '{']).next().unwrap_or("").to_owned();
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                assert!(!families.contains(&name_of(rest)), "{rest} is declared twice");
                families.push(name_of(rest));
            } else if !line.starts_with("# HELP ") {
                let family = families.last().expect("a type comes first");
                let name = name_of(line);
                let suffix = name.strip_prefix(family.as_str()).expect("lines of a family stand together");
                assert!(["", "_count", "_sum"].contains(&suffix), "{line}");
                let (labels, value) = line[name.len()..].rsplit_once(' ').expect("a value");
                assert!(value == "+Inf" || value.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
                assert!(labels.starts_with('{') && labels.ends_with('}'), "{line}");
            }
        }
    }

    #[test]
    fn every_line_follows_the_format() {
        let text = sweep();
        check(&text);
        assert!(text.contains("scenario=\"odd \\\"name\\\"\\\\\\n\""), "{text}");
        assert!(text.contains("link_lossy_both_loss_p=\"0.1\",quantile=\"0.99\"} +Inf"), "{text}");
        let distinct: BTreeSet<&str> =
            text.lines().filter_map(|line| line.rsplit_once(' ')).map(|(series, _)| series).collect();
        assert_eq!(distinct.len(), text.lines().count(), "no series twice");
    }

    #[test]
    fn a_result_alone_has_its_percentiles() {
        let saved = synthetic::small();
        let text = write(&Told::of(&saved.result, &[]), &Origin::of(&saved.result));
        check(&text);
        assert!(text.contains("quantile=\"0.99\""), "{text}");
    }
}
