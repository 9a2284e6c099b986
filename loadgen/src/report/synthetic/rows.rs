//! Rows that look like those of real runs: chat under loss, a sweep, and a textbook sawtooth.
//!
//! Seeded and small in code rather than faithful: each hop loses with its probability and waits a doubling timeout, as
//! the theory has it, with some jitter so that curves look like curves.

use std::collections::BTreeMap;

use rand::RngExt;
use serde_json::json;
use units::{Rng, Seed};

use crate::record::{DeliveryRow, DeliveryStatus};
use crate::result::{
    AssertResult, Cell, DelayCauses, DirectionFacts, Health, Latencies, LatencySummary, LinkDirection,
    LinkFacts, Links, Messages, Metrics, Repeat, RunInfo, RunResult, SelfCheck, Throughput, Transport,
    Verdict, Wire,
};

use crate::report::saved::Saved;

use super::reno::reno;
use super::samples::{Rank, Samples};
use super::told;

/// Whether the transport gives up on some messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::report) enum Loss {
    None,
    TwoPercent,
}

/// What the generator varies.
#[derive(Clone, Copy, Debug)]
struct Shape {
    cell: u32,
    repeat: u32,
    clients: u32,
    seconds: u64,
    p: f64,
    lost: f64,
}

/// 20 clients for 10 seconds: quick to draw.
pub(in crate::report) fn small() -> Saved {
    one_cell(SMALL)
}

/// 100 clients for 25 seconds under 10 % loss each way.
pub(in crate::report) fn loss10(loss: Loss) -> Saved {
    let lost = if loss == Loss::TwoPercent { 0.02 } else { 0.0 };
    one_cell(Shape { cell: 0, repeat: 0, clients: 100, seconds: 25, p: 0.1, lost })
}

/// Seven loss rates, three repeats each; the last cells lose messages for good.
pub(in crate::report) fn sweep() -> Saved {
    let losses = [0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3];
    let mut saved = one_cell(Shape { cell: 0, repeat: 0, clients: 20, seconds: 10, p: 0.0, lost: 0.0 });
    saved.result.cells.clear();
    let mut all = Vec::new();
    for (index, p) in losses.into_iter().enumerate() {
        let lost = if p > 0.15 { 0.003 } else { 0.0 };
        let shape = |repeat| Shape { cell: index as u32, repeat, clients: 20, seconds: 10, p, lost };
        let rows: Vec<Vec<DeliveryRow>> = (0..3).map(|repeat| deliveries(shape(repeat))).collect();
        let repeats: Vec<Repeat> = rows
            .iter()
            .enumerate()
            .map(|(seed, rows)| Repeat { seed: seed as u64, metrics: metrics(rows, shape(0)) })
            .collect();
        let rows: Vec<DeliveryRow> = rows.into_iter().flatten().collect();
        let mut pooled = cell(&rows, shape(0));
        pooled.metrics.throughput = repeats[0].metrics.throughput.clone();
        pooled.axes =
            BTreeMap::from([("link.lossy.both.loss.p".to_owned(), json!(format!("{}%", p * 100.0)))]);
        pooled.repeats = repeats;
        saved.result.cells.push(pooled);
        all.extend(rows);
    }
    saved.runs = told::runs(&saved.result, &all);
    saved
}

/// Two controllers and a long name: cells without an order.
pub(in crate::report) fn categories() -> Saved {
    let mut saved = sweep();
    for (cell, name) in saved.result.cells.iter_mut().zip(["reno", "fixed:8", "fixed:32"]) {
        cell.axes = BTreeMap::from([("protocol.congestion".to_owned(), json!(name))]);
    }
    saved.result.cells.truncate(3);
    saved.runs.retain(|run| run.cell < 3);
    for run in &mut saved.runs {
        run.axes.clone_from(&saved.result.cells[run.cell as usize].axes);
    }
    saved
}

/// Two outages of a second; what was sent into them waits for their end.
pub(in crate::report) fn outage() -> Saved {
    let mut saved = small();
    let event = json!({"at": "6s", "for": "1s", "every": "2s", "set": {"both": {"blackhole": true}}});
    saved.result.scenario["link"]["lossy"]["event"] = json!([event]);
    let mut rows = deliveries(SMALL);
    for row in &mut rows {
        let since = (row.intended_us % 2_000_000) as i64;
        if row.intended_us > 6_000_000 && since < 1_000_000 {
            row.delivered_us = row.delivered_us.map(|at| at + 1_000_000 - since as u64);
        }
        if row.intended_us > 6_000_000 && row.message.is_multiple_of(40) {
            (row.delivered_us, row.status) = (None, DeliveryStatus::Lost);
        }
    }
    saved.runs = told::runs(&saved.result, &rows);
    saved
}

/// A bulk sender under classic Reno with periodic loss and one timeout, 60 s, 100 ms round trip.
pub(in crate::report) fn sawtooth() -> Saved {
    Saved { traces: reno(), ..small() }
}

fn one_cell(shape: Shape) -> Saved {
    let rows = deliveries(shape);
    let scenario = json!({
        "schema": 1,
        "scenario": {"name": "loss10", "kind": "loss", "title": "100 clients, 10 % loss each way, 50 ms"},
        "link": {"lossy": {"both": {"loss": "10%", "delay": "50ms"}}},
    });
    let run = RunInfo {
        id: "2026-01-02T03-04-05Z-4711".to_owned(),
        command: "loadgen --scenario scenarios/loss10.toml".to_owned(),
        seed: 42,
        driver: "virtual".to_owned(),
        revision: "0.1.0 (0123abc)".to_owned(),
        started_at: "2026-01-02T03:04:05Z".to_owned(),
        duration_s: 1.5,
        machine: BTreeMap::from([("cores".to_owned(), json!(8)), ("cpu".to_owned(), json!("Example <CPU>"))]),
        interrupted: None,
    };
    let cells = vec![cell(&rows, shape)];
    let (verdict, reasons, arms) = (Verdict::Pass, Vec::new(), Vec::new());
    let result = RunResult { schema: 1, verdict, reasons, run, scenario, arms, cells };
    let runs = told::runs(&result, &rows);
    Saved { result, runs, traces: reno().into_iter().take(400).collect(), comparison: None }
}

const SMALL: Shape = Shape { cell: 0, repeat: 0, clients: 20, seconds: 10, p: 0.1, lost: 0.0 };

fn deliveries(shape: Shape) -> Vec<DeliveryRow> {
    let mut rng = Seed::root(42).fork(&format!("{}/{}", shape.cell, shape.repeat)).rng();
    let mut rows = Vec::new();
    // Two messages a second and client, as a Poisson process of them all.
    let gap = 1e6 / (2.0 * f64::from(shape.clients));
    let mut at = 0.0;
    for message in 0.. {
        at += -gap * (1.0 - rng.random::<f64>()).ln();
        if at > shape.seconds as f64 * 1e6 {
            break;
        }
        let sender = rng.random_range(0..shape.clients);
        let up = hop(shape.p, &mut rng);
        for recipient in (0..10).map(|member| sender / 10 * 10 + member).filter(|&other| other != sender) {
            rows.push(delivery(shape, &mut rng, Sent { message, sender, recipient, at: at as u64, up }));
        }
    }
    rows
}

/// One message on its way to one recipient.
#[derive(Clone, Copy)]
struct Sent {
    message: u32,
    sender: u32,
    recipient: u32,
    at: u64,
    up: u64,
}

fn delivery(shape: Shape, rng: &mut Rng, sent: Sent) -> DeliveryRow {
    let submitted = sent.at + 40;
    let delivered = submitted + sent.up + hop(shape.p, rng);
    let recorded = u8::from(sent.at > 5_000_000);
    let lost = recorded == 1 && rng.random::<f64>() < shape.lost;
    DeliveryRow {
        cell: shape.cell,
        repeat: shape.repeat,
        phase: if recorded == 1 { "steady" } else { "warm-up" }.to_owned(),
        recorded,
        workload: "room-chat".to_owned(),
        message: sent.message,
        sender: sent.sender,
        recipient: sent.recipient,
        size_bytes: 200,
        intended_us: sent.at,
        submitted_us: Some(submitted),
        acked_us: Some(submitted + sent.up + 50_000),
        delivered_us: (!lost).then_some(delivered),
        status: if lost { DeliveryStatus::Lost } else { DeliveryStatus::Delivered },
        wait_window_us: None,
        wait_pacing_us: None,
        wait_flow_us: None,
        wait_loss_us: None,
        wait_order_us: None,
    }
}

/// Microseconds for one hop: 50 ms, and a doubling timeout for each loss.
fn hop(p: f64, rng: &mut Rng) -> u64 {
    let mut us = 50_000 + rng.random_range(0..3_000);
    let mut timeout = 210_000;
    while rng.random::<f64>() < p {
        // Half of the losses are repaired sooner, by the acks of later messages.
        us += if rng.random::<f64>() < 0.5 { timeout } else { timeout * 7 / 10 };
        timeout *= 2;
    }
    us
}

fn cell(rows: &[DeliveryRow], shape: Shape) -> Cell {
    let metrics = metrics(rows, shape);
    let direction = |p: f64| DirectionFacts {
        loss: p,
        delay_us: 50_000,
        jitter_us: 0,
        rate_bps: None,
        spec: format!("loss={}% delay=50ms", p * 100.0),
    };
    let assert = AssertResult {
        id: "tail".to_owned(),
        expr: "p99(delivery_latency) < 1500ms".to_owned(),
        value: metrics.latency.delivery.p99_us.map(|us| us as f64),
        verdict: Verdict::Pass,
        reason: None,
        gate: true,
    };
    Cell {
        axes: BTreeMap::new(),
        verdict: Verdict::Pass,
        asserts: vec![assert],
        links: vec![LinkFacts { name: "lossy".to_owned(), up: direction(shape.p), down: direction(shape.p) }],
        repeats: vec![Repeat { seed: 42, metrics: metrics.clone() }],
        metrics,
    }
}

fn metrics(rows: &[DeliveryRow], shape: Shape) -> Metrics {
    let recorded: Vec<&DeliveryRow> = rows.iter().filter(|row| row.recorded == 1).collect();
    let lost = recorded.iter().filter(|row| row.status == DeliveryStatus::Lost).count() as u64;
    let expected = recorded.len() as u64;
    let messages = expected / 9;
    let seconds = (shape.seconds - 5) as f64;
    let offered = expected * 2;
    let direction = LinkDirection {
        offered,
        delivered: (offered as f64 * (1.0 - shape.p)) as u64,
        dropped_loss: (offered as f64 * shape.p) as u64,
        delay_p50_us: Some(50_000),
        delay_p99_us: Some(50_000),
        ..LinkDirection::default()
    };
    let retransmits = (offered as f64 * shape.p * 1.02) as u64;
    Metrics {
        delay_causes: DelayCauses::default(),
        messages: Messages {
            intended: messages,
            sent: messages,
            acked: messages,
            expected_deliveries: expected,
            delivered: expected - lost,
            lost,
            ..Messages::default()
        },
        wire: Wire {
            messages,
            up_packets: offered,
            down_packets: offered,
            up_bytes: 300 * offered,
            down_bytes: 280 * offered,
            up_bytes_per_message: Some(300.0 * offered as f64 / messages as f64),
            down_bytes_per_message: Some(280.0 * offered as f64 / messages as f64),
        },
        latency: Latencies {
            delivery: summary(&Samples::delivery(recorded.iter().copied())),
            service: summary(&Samples::service(recorded.iter().copied())),
            ack_rtt: summary(&Samples::ack_rtt(recorded.iter().copied())),
            connect: LatencySummary::default(),
        },
        throughput: Throughput {
            sent_per_s: messages as f64 / seconds,
            delivered_per_s: (expected - lost) as f64 / seconds,
            goodput_bytes_per_s: (expected - lost) as f64 * 200.0 / seconds,
        },
        transport: Transport {
            segments_sent: offered + retransmits,
            retransmits,
            fast_retransmits: retransmits / 3,
            timeouts: retransmits / 5,
            probe_timeouts: 0,
            probes: 0,
            spurious: 3,
            dup_acks: retransmits,
            redundant_segments: 0,
            redundant_bytes: 0,
            srtt_us: Some(104_000),
            rto_us: Some(210_000),
            cwnd_max_bytes: 40_000,
        },
        link: Links {
            up: direction.clone(),
            down: direction,
            self_check: SelfCheck::Pass,
            self_check_reasons: Vec::new(),
        },
        health: Health { schedule_lag_p50_us: Some(40), schedule_lag_p99_us: Some(40), ..Health::default() },
    }
}

fn summary(samples: &Samples) -> LatencySummary {
    let at = |q| match samples.at(q) {
        Some(Rank::Arrived(us)) => Some(us),
        _ => None,
    };
    LatencySummary {
        count: samples.count(),
        min_us: at(0.0),
        mean_us: Some(samples.arrived_us().iter().sum::<u64>() as f64 / samples.count().max(1) as f64),
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p99_9_us: at(0.999),
        max_us: at(1.0),
    }
}
