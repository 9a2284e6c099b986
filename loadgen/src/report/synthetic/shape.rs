//! What synthetic runs are like, and whole records made of them.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::compare::{self, Compared, Rules};
use crate::distribution::Distribution;
use crate::records::RunFile;
use crate::report::saved::Saved;
use crate::result::{
    AssertResult, Cell, LatencySummary, Metrics, Repeat, RunInfo, RunResult, SelfCheck, Verdict,
};

use super::reno::reno;
use super::run::run;

/// One cell: chat in rooms behind lossy links.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Of the scenario.
    pub name: String,
    pub title: String,
    pub kind: &'static str,
    /// `virtual`, or `real` with health of the generator.
    pub driver: &'static str,
    pub clients: u32,
    /// Members of a room; a message goes to all but its sender.
    pub room: u32,
    /// Messages a second and client.
    pub rate: f64,
    pub warmup_s: u64,
    pub steady_s: u64,
    /// Of each direction, 0 to below 1, and the mean length of its bursts.
    pub loss: f64,
    pub burst: f64,
    /// Of each direction.
    pub delay_ms: f64,
    pub rate_bps: Option<u64>,
    /// Share of pairs that never arrive.
    pub given_up: f64,
    /// Seconds since the first phase began.
    pub outages: Vec<(f64, f64)>,
    /// All latencies beyond the path's delay are multiplied by it.
    pub slowness: f64,
    /// Bytes a second that each receiver hears; without it, what the workload makes of it.
    pub goodput: Option<f64>,
    /// The generator was too busy: every run is INVALID.
    pub busy: bool,
}

impl Default for Shape {
    /// A hundred clients behind 10 % loss and 50 ms each way.
    fn default() -> Self {
        Self {
            name: "loss10".to_owned(),
            title: "100 clients behind 10 % loss and 50 ms each way".to_owned(),
            kind: "loss",
            driver: "virtual",
            clients: 100,
            room: 10,
            rate: 2.0,
            warmup_s: 5,
            steady_s: 20,
            loss: 0.1,
            burst: 1.0,
            delay_ms: 50.0,
            rate_bps: Some(10_000_000),
            given_up: 0.0,
            outages: Vec::new(),
            slowness: 1.0,
            goodput: None,
            busy: false,
        }
    }
}

/// One axis of a sweep: its path, the values as the scenario writes them, and what a value changes.
#[derive(Clone, Debug)]
pub struct Vary {
    pub path: &'static str,
    pub values: Vec<Value>,
    pub apply: fn(&mut Shape, &Value),
}

impl Vary {
    /// Loss of both directions, as numbers from 0 to 1.
    #[must_use]
    pub fn loss(values: &[f64]) -> Self {
        Self {
            path: "link.lossy.both.loss.p",
            values: values.iter().map(|&value| json!(value)).collect(),
            apply: |shape, value| shape.loss = value.as_f64().unwrap_or(0.0),
        }
    }

    /// Mean length of bursts, in packets.
    #[must_use]
    pub fn burst(values: &[f64]) -> Self {
        Self {
            path: "link.lossy.both.loss.burst",
            values: values.iter().map(|&value| json!(value)).collect(),
            apply: |shape, value| shape.burst = value.as_f64().unwrap_or(1.0),
        }
    }

    /// Delay of both directions in milliseconds.
    #[must_use]
    pub fn delay(values: &[u32]) -> Self {
        Self {
            path: "link.lossy.both.delay.base",
            values: values.iter().map(|ms| json!(format!("{ms}ms"))).collect(),
            apply: |shape, value| {
                let text = value.as_str().unwrap_or("0ms");
                shape.delay_ms = text.trim_end_matches("ms").parse().unwrap_or(0.0);
            },
        }
    }

    /// Number of clients.
    #[must_use]
    pub fn clients(values: &[u32]) -> Self {
        Self {
            path: "clients.chat.count",
            values: values.iter().map(|&value| json!(value)).collect(),
            apply: |shape, value| {
                shape.clients = value.as_u64().unwrap_or(1) as u32;
                // A server that contends for its locks.
                let n = f64::from(shape.clients);
                shape.slowness = 1.0 + n / 300.0;
                let capacity = 2.0 * n / (1.0 + 0.0008 * (n - 1.0) + 2e-6 * n * (n - 1.0));
                shape.goodput = Some(capacity / n * 200.0 * f64::from(shape.room - 1));
            },
        }
    }

    /// Anything that has names only.
    #[must_use]
    pub fn names(path: &'static str, names: &[&str]) -> Self {
        Self {
            path,
            values: names.iter().map(|&name| json!(name)).collect(),
            apply: |shape, value| shape.slowness = 1.0 + value.as_str().map_or(0, str::len) as f64 / 20.0,
        }
    }
}

/// One cell, `repeats` times.
#[must_use]
pub fn chat(shape: &Shape, repeats: u32) -> Saved {
    grid(shape, &[], repeats)
}

/// The grid of all axes; the first varies slowest.
#[must_use]
pub fn grid(shape: &Shape, axes: &[Vary], repeats: u32) -> Saved {
    let mut points = vec![(shape.clone(), BTreeMap::new())];
    for axis in axes {
        let vary = |(shape, named): (Shape, BTreeMap<String, Value>)| {
            axis.values.iter().map(move |value| {
                let (mut shape, mut named) = (shape.clone(), named.clone());
                (axis.apply)(&mut shape, value);
                named.insert(axis.path.to_owned(), value.clone());
                (shape, named)
            })
        };
        points = points.into_iter().flat_map(vary).collect();
    }
    let mut saved = empty(shape);
    for (index, (shape, named)) in points.into_iter().enumerate() {
        let cell = index as u32;
        let runs = (0..repeats).map(|repeat| RunFile { axes: named.clone(), ..run(&shape, cell, repeat, 0) });
        let runs: Vec<RunFile> = runs.collect();
        saved.result.cells.push(fold(&runs, named));
        saved.runs.extend(runs);
    }
    if saved.result.cells.iter().any(|cell| cell.verdict == Verdict::Invalid) {
        saved.result.verdict = Verdict::Invalid;
    }
    saved
}

/// One cell with two arms, B a quarter slower than A.
#[must_use]
pub fn arms(shape: &Shape, repeats: u32) -> Saved {
    with_arm_b(chat(shape, repeats), |_| Shape { slowness: shape.slowness * 1.25, ..shape.clone() })
}

/// Adds to every run its B.
#[must_use]
pub fn with_arm_b(mut saved: Saved, shape_of: impl Fn(&RunFile) -> Shape) -> Saved {
    let b = |a: &RunFile| RunFile { axes: a.axes.clone(), ..run(&shape_of(a), a.cell, a.repeat, 1) };
    let runs: Vec<RunFile> = saved.runs.iter().map(b).collect();
    saved.runs.extend(runs);
    saved.runs.sort_by_key(|run| (run.cell, run.arm, run.repeat));
    let names = ["protocol.congestion=reno", "protocol.congestion=cubic"];
    saved.result.arms = names.map(str::to_owned).to_vec();
    let of = |arm| saved.runs.iter().filter(|run| run.arm == arm).cloned().collect::<Vec<RunFile>>();
    let found = compare::judge(&of(0), &of(1), &Rules::default(), None);
    saved.comparison = Some(Compared::tested(names[0], names[1], found));
    saved
}

fn empty(shape: &Shape) -> Saved {
    let both = json!({"loss": shape.loss, "delay": format!("{}ms", shape.delay_ms)});
    let scenario = json!({
        "schema": 1,
        "scenario": {"name": shape.name, "kind": shape.kind, "title": shape.title},
        "link": {"lossy": {"both": both}},
        "clients": [{"name": "chat", "count": shape.clients, "link": "lossy"}],
    });
    let run = RunInfo {
        id: "2026-01-02T03-04-05Z-4711".to_owned(),
        command: format!("loadgen --scenario scenarios/{}.toml", shape.name),
        seed: 42,
        driver: shape.driver.to_owned(),
        revision: "0.1.0 (0123abc)".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        duration_s: 1.5,
        machine: BTreeMap::from([("cores".to_owned(), json!(8)), ("cpu".to_owned(), json!("Example <CPU>"))]),
        interrupted: None,
    };
    let result = RunResult {
        schema: 1,
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        run,
        scenario,
        arms: Vec::new(),
        cells: Vec::new(),
    };
    Saved { result, runs: Vec::new(), traces: reno(), comparison: None }
}

/// The cell that its runs add up to.
fn fold(runs: &[RunFile], axes: BTreeMap<String, Value>) -> Cell {
    let mut metrics = runs.first().map(|run| run.metrics.clone()).unwrap_or_default();
    let mut delivery = Distribution::default();
    runs.iter().for_each(|run| delivery.merge(&run.all.delivery));
    metrics.latency.delivery = summary(&delivery);
    for run in runs.iter().skip(1) {
        add(&mut metrics, &run.metrics);
    }
    let invalid = runs.iter().any(|run| !run.invalid.is_empty());
    metrics.link.self_check = SelfCheck::Pass;
    let verdict = if invalid { Verdict::Invalid } else { Verdict::Pass };
    let assert = AssertResult {
        id: "tail".to_owned(),
        expr: "p99(delivery_latency) < 1500ms".to_owned(),
        value: metrics.latency.delivery.p99_us.map(|us| us as f64),
        verdict,
        reason: None,
        gate: true,
    };
    Cell {
        axes,
        verdict,
        asserts: vec![assert],
        links: runs.first().map(|run| run.links.clone()).unwrap_or_default(),
        repeats: runs.iter().map(|run| Repeat { seed: run.seed, metrics: run.metrics.clone() }).collect(),
        metrics,
    }
}

fn add(sum: &mut Metrics, more: &Metrics) {
    let (messages, other) = (&mut sum.messages, &more.messages);
    messages.intended += other.intended;
    messages.sent += other.sent;
    messages.acked += other.acked;
    messages.expected_deliveries += other.expected_deliveries;
    messages.delivered += other.delivered;
    messages.lost += other.lost;
    for (sum, more) in [(&mut sum.link.up, &more.link.up), (&mut sum.link.down, &more.link.down)] {
        sum.offered += more.offered;
        sum.delivered += more.delivered;
        sum.dropped_loss += more.dropped_loss;
    }
}

pub(super) fn summary(distribution: &Distribution) -> LatencySummary {
    LatencySummary {
        count: distribution.count(),
        min_us: distribution.quantile(0.0),
        mean_us: distribution.mean(),
        p50_us: distribution.quantile(0.5),
        p90_us: distribution.quantile(0.9),
        p99_us: distribution.quantile(0.99),
        p99_9_us: distribution.quantile(0.999),
        max_us: distribution.quantile(1.0),
    }
}
