//! The data of the page, within its budget.
//!
//! A page is at most two megabytes, however large the sweep. Numbers by run (for the sweep explorer) and percentile
//! curves are kept for all runs; time plots and the slowest messages take what is left, fairly: the first repeat of every
//! cell before any second one. What was left out is told on the page, and is in `runs/`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::distribution::Distribution;
use crate::record::TraceEvent;
use crate::records::{Exemplar, RunFile};
use crate::report::figure::TimeSequence;
use crate::report::format;
use crate::report::origin::{cell_name, short_path};
use crate::report::runs::Pooled;
use crate::result::RunResult;

use super::detail::{Message, Time};

/// What the page draws from.
#[derive(Clone, Copy, Debug)]
pub(in crate::report) struct Data<'a> {
    pub(in crate::report) result: &'a RunResult,
    /// By cell, arm and repeat.
    pub(in crate::report) runs: &'a [RunFile],
    pub(in crate::report) pooled: &'a [Pooled],
    pub(in crate::report) arms: &'a [String],
    pub(in crate::report) sequence: Option<&'a TimeSequence>,
}

/// The data as JSON that can stand in a script element, and what went in.
#[derive(Clone, Debug)]
pub(in crate::report) struct Embedded<'a> {
    pub(in crate::report) json: String,
    /// The messages that the page can show, in the order of their indices there.
    pub(in crate::report) exemplars: Vec<(&'a RunFile, &'a Exemplar)>,
    /// What was left out, as sentences.
    pub(in crate::report) omissions: Vec<String>,
}

#[derive(Serialize)]
struct Head<'a> {
    cells: Vec<CellHead>,
    axes: Vec<Axis>,
    arms: &'a [String],
    metrics: Vec<MetricHead>,
    grid: Grid,
}

#[derive(Serialize)]
struct CellHead {
    name: String,
    axes: BTreeMap<String, String>,
}

/// What the explorer can put across, as lines or as small plots.
#[derive(Serialize)]
struct Axis {
    path: String,
    name: String,
    values: Vec<String>,
    /// The values as numbers, if all of them are.
    numbers: Option<Vec<f64>>,
}

#[derive(Serialize)]
struct MetricHead {
    id: &'static str,
    name: &'static str,
    unit: &'static str,
}

#[derive(Serialize)]
struct Grid {
    step: f64,
}

/// One run, or all repeats of a cell pooled.
#[derive(Serialize)]
struct Run {
    c: u32,
    /// `null`: pooled.
    r: Option<u32>,
    a: u32,
    n: u64,
    /// Messages.
    m: u64,
    lost: u64,
    max: Option<u64>,
    invalid: bool,
    /// In the order of the metrics; `null` is lost, [`NOT_MEASURED`] what it says.
    v: Vec<Option<f64>>,
    /// Delivery latency on the grid; `null` is lost.
    q: Vec<Option<u64>>,
    /// Service latency likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    s: Option<Vec<Option<u64>>>,
    e: Vec<Stated>,
}

/// Quantile, value, low, high, whether firm, design effect.
type Stated = (f64, Option<u64>, Option<u64>, Option<u64>, bool, f64);

#[derive(Serialize)]
struct Sequence {
    client: u32,
    side: crate::record::Side,
    is_thinned: bool,
    /// Seconds after which nothing is told.
    cut_s: Option<f64>,
    /// When, packet, what, bytes in flight.
    packets: Vec<(u64, u64, TraceEvent, u64)>,
}

impl<'a> Data<'a> {
    /// The data in at most about `budget` bytes.
    pub(in crate::report) fn embed(&self, budget: usize) -> Embedded<'a> {
        let mut head = json(&self.head());
        // What follows goes into the same object.
        head.pop();
        let sequence = json(&self.sequence.map(sequence));
        let with_service = self.runs.len() <= MOST_WITH_SERVICE;
        let mut runs: Vec<String> = self.runs.iter().map(|run| json(&self.run(run, with_service))).collect();
        let repeated = self.pooled.iter().filter(|pooled| pooled.repeats > 1);
        let pooled: Vec<String> = repeated.map(|pooled| json(&self.pooled(pooled, with_service))).collect();
        let fixed = head.len() + sequence.len() + runs.iter().chain(&pooled).map(String::len).sum::<usize>();
        let left = budget.saturating_sub(fixed);
        let (exemplars, messages, used) = self.messages(left / 3);
        let mut omissions = Vec::new();
        if !with_service {
            omissions.push(format!("Curves of service latency: with more than {MOST_WITH_SERVICE} runs only delivery latency is kept."));
        }
        let kept = self.add_time(&mut runs, left.saturating_sub(used));
        if kept < self.runs.len() {
            omissions.push(format!(
                "Plots over time are kept for {kept} of {} runs, first repeats before later ones.",
                self.runs.len()
            ));
        }
        let all: usize = self.runs.iter().map(|run| run.exemplars.len()).sum();
        if exemplars.len() < all {
            omissions.push(format!(
                "Timelines are kept for {} of {all} slow messages, the slowest of each cell first.",
                exemplars.len()
            ));
        }
        runs.extend(pooled);
        let text = format!(
            "{head},\"runs\":[{}],\"exemplars\":[{}],\"sequence\":{sequence}}}",
            runs.join(","),
            messages.join(",")
        );
        Embedded { json: text.replace('<', "\\u003c"), exemplars, omissions }
    }

    fn head(&self) -> Head<'a> {
        let cells = self.result.cells.iter().map(|cell| CellHead {
            name: cell_name(cell),
            axes: cell.axes.iter().map(|(path, value)| (path.clone(), format::json(value))).collect(),
        });
        let metrics = METRICS.iter().map(|&(id, name, unit, _)| MetricHead { id, name, unit });
        Head {
            cells: cells.collect(),
            axes: self.axes(),
            arms: self.arms,
            metrics: metrics.collect(),
            grid: Grid { step: STEP },
        }
    }

    fn axes(&self) -> Vec<Axis> {
        let mut values: BTreeMap<&String, Vec<&Value>> = BTreeMap::new();
        for (path, value) in self.result.cells.iter().flat_map(|cell| &cell.axes) {
            let known = values.entry(path).or_default();
            if !known.contains(&value) {
                known.push(value);
            }
        }
        let axis = |(path, values): (&String, Vec<&Value>)| Axis {
            path: path.clone(),
            name: short_path(path),
            values: values.iter().map(|value| format::json(value)).collect(),
            numbers: values.iter().map(|value| number(value)).collect(),
        };
        let mut axes: Vec<Axis> = values.into_iter().map(axis).collect();
        if self.arms.len() > 1 {
            let arms = Axis {
                path: "arm".to_owned(),
                name: "arm".to_owned(),
                values: self.arms.to_vec(),
                numbers: None,
            };
            axes.push(arms);
        }
        // The axis with most values is the one to put across.
        axes.sort_by_key(|axis| (axis.numbers.is_none(), std::cmp::Reverse(axis.values.len())));
        axes
    }

    fn run(&self, run: &RunFile, with_service: bool) -> Run {
        let delivery = &run.all.delivery;
        let estimates = run.quantiles.iter();
        Run {
            c: run.cell,
            r: Some(run.repeat),
            a: run.arm,
            n: delivery.count(),
            m: run.metrics.messages.intended,
            lost: delivery.lost(),
            max: delivery.range().map(|(_, most)| most),
            invalid: !run.invalid.is_empty(),
            v: METRICS
                .iter()
                .map(|(_, _, _, of)| of(run).map(|value| value.map_or(NOT_MEASURED, short)))
                .collect(),
            q: curve(delivery),
            s: with_service.then(|| curve(&run.all.service)),
            e: estimates
                .map(|e| (e.q, e.value_us, e.low_us, e.high_us, e.is_firm, short(e.design_effect)))
                .collect(),
        }
    }

    fn pooled(&self, pooled: &Pooled, with_service: bool) -> Run {
        let delivery = &pooled.all.delivery;
        let estimates = pooled.quantiles.iter();
        Run {
            c: pooled.cell,
            r: None,
            a: pooled.arm,
            n: delivery.count(),
            m: pooled.messages,
            lost: delivery.lost(),
            max: delivery.range().map(|(_, most)| most),
            invalid: false,
            v: Vec::new(),
            q: curve(delivery),
            s: with_service.then(|| curve(&pooled.all.service)),
            e: estimates
                .map(|e| (e.q, e.value_us, e.low_us, e.high_us, e.is_firm, short(e.design_effect)))
                .collect(),
        }
    }

    /// Adds plots over time to the runs, as many as fit; returns how many.
    fn add_time(&self, runs: &mut [String], budget: usize) -> usize {
        let mut order: Vec<usize> = (0..self.runs.len()).collect();
        order.sort_by_key(|&index| (self.runs[index].repeat, self.runs[index].arm, self.runs[index].cell));
        let rows = if self.runs.len() > FEW_RUNS { ROWS_OF_MANY } else { MOST_ROWS };
        let (mut used, mut kept) = (0, 0);
        for index in order {
            let Some(time) = Time::of(&self.runs[index], rows) else { continue };
            let text = json(&time);
            used += text.len();
            if used > budget {
                break;
            }
            kept += 1;
            let run = &mut runs[index];
            run.pop();
            run.push_str(&format!(",\"t\":{text}}}"));
        }
        kept
    }

    /// The slowest messages, as many as fit: of each cell the slowest, then of each the second, and so on.
    fn messages(&self, budget: usize) -> (Vec<(&'a RunFile, &'a Exemplar)>, Vec<String>, usize) {
        let mut cells: BTreeMap<u32, Vec<(&RunFile, &Exemplar)>> = BTreeMap::new();
        for run in self.runs {
            cells.entry(run.cell).or_default().extend(run.exemplars.iter().map(|exemplar| (run, exemplar)));
        }
        for messages in cells.values_mut() {
            messages.sort_by_key(|(_, exemplar)| std::cmp::Reverse(latency(exemplar)));
        }
        let longest = cells.values().map(Vec::len).max().unwrap_or(0);
        let turns =
            (0..longest).flat_map(|rank| cells.values().filter_map(move |messages| messages.get(rank)));
        let mut used = 0;
        let mut kept = Vec::new();
        for &(run, exemplar) in turns {
            let text = json(&Message::of(run, exemplar));
            if used + text.len() > budget {
                break;
            }
            used += text.len() + 1;
            kept.push((run, exemplar, text));
        }
        // In a table, the slowest stands first.
        kept.sort_by_key(|(_, exemplar, _)| std::cmp::Reverse(latency(exemplar)));
        let (mut exemplars, mut texts) = (Vec::new(), Vec::new());
        for (run, exemplar, text) in kept {
            exemplars.push((run, exemplar));
            texts.push(text);
        }
        (exemplars, texts, used)
    }
}

fn sequence(of: &TimeSequence) -> Sequence {
    let packets =
        of.packets.iter().map(|packet| (packet.at_us, packet.packet, packet.event, packet.in_flight_bytes));
    Sequence {
        client: of.client,
        side: of.side,
        is_thinned: of.is_thinned,
        cut_s: of.cut_us.map(|us| us as f64 / 1e6),
        packets: packets.collect(),
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data without maps of other keys than text")
}

/// For sorting; what never arrived is slowest.
pub(in crate::report) fn latency(exemplar: &Exemplar) -> u64 {
    exemplar.delivered_us.map_or(u64::MAX, |at| at.saturating_sub(exemplar.intended_us))
}

/// Delivery latency at equal steps of nines, as far as there are samples, in three digits.
fn curve(distribution: &Distribution) -> Vec<Option<u64>> {
    let n = distribution.count();
    if n == 0 {
        return Vec::new();
    }
    let steps = ((n as f64).log10().min(MOST_NINES) / STEP).ceil() as u32 + 1;
    let q = |step: u32| 1.0 - 10f64.powf(-f64::from(step) * STEP);
    (0..=steps).map(|step| distribution.quantile(q(step)).map(three_digits)).collect()
}

fn three_digits(us: u64) -> u64 {
    let unit = 10_u64.pow(us.max(1).ilog10().saturating_sub(3));
    (us + unit / 2) / unit * unit
}

/// Enough digits for a plot.
fn short(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return 0.0;
    }
    let unit = 10f64.powf(value.abs().log10().floor() - 4.0);
    let rounded = (value / unit).round() * unit;
    // The product carries the dust of binary fractions; through text it loses it.
    format!("{rounded:.6e}").parse().unwrap_or(rounded)
}

/// A value of an axis as a number: `10%`, `50ms`, `2Mbit/s` and bare numbers.
fn number(value: &Value) -> Option<f64> {
    let Value::String(text) = value else { return value.as_f64() };
    if let Some(percent) = text.strip_suffix('%') {
        return percent.trim().parse().ok();
    }
    if let Ok(span) = units::parse_duration(text) {
        return Some(span.as_secs_f64() * 1e3);
    }
    let rate = text.parse::<units::Bitrate>().ok().map(|rate| rate.bits_per_second() as f64);
    let per_second = || text.strip_suffix("/s").and_then(|number| number.trim().parse().ok());
    let size = || text.parse::<units::ByteCount>().ok().map(|size| size.as_u64() as f64);
    rate.or_else(per_second).or_else(size).or_else(|| text.parse().ok())
}

/// `None`: lost. `Some(None)`: there is no such value.
type Metric = (&'static str, &'static str, &'static str, fn(&RunFile) -> Option<Option<f64>>);

/// No metric is negative.
const NOT_MEASURED: f64 = -1.0;

/// What the explorer can show; the unit is one of the script's.
const METRICS: [Metric; 18] = [
    ("p50", "p50 of delivery latency", "us", |run| of(&run.all.delivery, 0.5)),
    ("p90", "p90 of delivery latency", "us", |run| of(&run.all.delivery, 0.9)),
    ("p99", "p99 of delivery latency", "us", |run| of(&run.all.delivery, 0.99)),
    ("p99.9", "p99.9 of delivery latency", "us", |run| of(&run.all.delivery, 0.999)),
    ("service_p99", "p99 of service latency", "us", |run| of(&run.all.service, 0.99)),
    ("completion_p99", "p99 until the last recipient had it", "us", |run| of(&run.all.completion, 0.99)),
    ("ack_rtt_p50", "p50 of time to acknowledgement", "us", |run| of(&run.all.ack_rtt, 0.5)),
    ("connect_p99", "p99 of time to connect", "us", |run| of(&run.connect, 0.99)),
    ("lost", "lost pairs", "share", |run| {
        Some(share(run.metrics.messages.lost, run.metrics.messages.expected_deliveries))
    }),
    ("sent", "messages sent", "per_s", |run| Some(Some(run.metrics.throughput.sent_per_s))),
    ("delivered", "deliveries", "per_s", |run| Some(Some(run.metrics.throughput.delivered_per_s))),
    ("goodput", "goodput", "bytes_per_s", |run| Some(Some(run.metrics.throughput.goodput_bytes_per_s))),
    ("retransmits", "retransmits among segments", "share", |run| {
        Some(share(run.metrics.transport.retransmits, run.metrics.transport.segments_sent))
    }),
    ("timeouts", "timeouts", "count", |run| Some(Some(run.metrics.transport.timeouts as f64))),
    ("wire_up", "bytes on the wire a message, up", "bytes", |run| {
        Some(run.metrics.wire.up_bytes_per_message)
    }),
    ("wire_down", "bytes on the wire a message, down", "bytes", |run| {
        Some(run.metrics.wire.down_bytes_per_message)
    }),
    ("lag_p99", "p99 of schedule lag", "us", |run| of(&run.health.lag, 0.99)),
    ("hiccup", "longest pause of the generator", "us", |run| of(&run.health.hiccups, 1.0)),
];

fn of(distribution: &Distribution, q: f64) -> Option<Option<f64>> {
    if distribution.is_empty() {
        return Some(None);
    }
    distribution.quantile(q).map(|us| Some(us as f64))
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// In nines: 20 points for each tenfold rarer percentile, finer than a line on a page shows.
const STEP: f64 = 0.05;
/// One in a million; beyond it the largest is told.
const MOST_NINES: f64 = 6.0;
/// A second curve for each run would cost half a megabyte with many.
const MOST_WITH_SERVICE: usize = 60;
/// Rows of a plot over time: more than pixels of a narrow screen; fewer where there are many runs.
const MOST_ROWS: usize = 600;
const ROWS_OF_MANY: usize = 120;
const FEW_RUNS: usize = 10;
