//! A server that answers after an exponential time and stops once for a while, told to a recorder as drivers tell it.
//!
//! The generator is held up by the stall as well, as a closed loop would be: it hands over late what it meant to send within. So
//! the time from handing over to delivery knows nothing of the stall, and that from intended does.

use std::sync::Arc;
use std::time::Duration;

use loadgen::backend::Cast;
use loadgen::backend::waits::NotTold;
use loadgen::measure::{Recorded, Recorder};
use loadgen::records::RunFile;
use loadgen::result::{Metrics, Verdict};
use loadgen::scenario::Scenario;
use loadgen::seen::{Arrival, Seen};
use loadgen::verdict::judge_runs;
use loadgen::workload::{Intent, Target};
use rand::RngExt;
use units::{Seed, Timestamp};

use super::laws::{quantile, stalled};
use super::{holds, stated, written};

const MESSAGES: u32 = 20_000;
const RUN_US: f64 = 100e6;
const STALL_US: f64 = 5e6;
const STALL_AT_US: f64 = 40e6;
const MEAN_US: f64 = 20e3;

/// Eleven in one room, so ten hear each message; in what order is of no interest here.
const ROOM: &str = r#"schema = 1
scenario.name = "known"
clients = [{ name = "room", count = 11, rooms = { size = 11 } }]
phase = [{ name = "steady", duration = "100s" }]
workload = [{ name = "talk", arrival = { rate = "18/s" }, delivery = { order = "unordered" } }]
"#;

fn analytic(q: f64) -> f64 {
    let exponential = |x: f64| (-x.max(0.0) / MEAN_US).exp();
    quantile(&|x| stalled(&exponential, STALL_US / RUN_US, STALL_US, x), q)
}

fn record(scenario: &Scenario, seed: &str) -> Recorded {
    let cast = Arc::new(Cast::new(scenario, String::new()));
    let mut recorder = Recorder::new(scenario, cast, Err(NotTold::Baseline));
    recorder.begin(Timestamp::ZERO);
    let mut rng = Seed::root(5).fork(seed).rng();
    let offset = rng.random::<f64>();
    let at = |us: f64| Timestamp::from_micros(us as u64);
    for id in 0..MESSAGES {
        let intended = (f64::from(id) + offset) * RUN_US / f64::from(MESSAGES);
        let is_stalled = (STALL_AT_US..STALL_AT_US + STALL_US).contains(&intended);
        let handed_over = if is_stalled { STALL_AT_US + STALL_US } else { intended };
        let intent = Intent {
            id,
            workload: 0,
            sender: 0,
            target: Target::Room(0),
            intended: at(intended),
            phase: 0,
            size: 200,
        };
        recorder.on(Seen::Intent(intent));
        recorder.on(Seen::Submitted { message: id, at: at(handed_over) });
        let mut after: [f64; 10] = std::array::from_fn(|_| -MEAN_US * (1.0 - rng.random::<f64>()).ln());
        after.sort_by(f64::total_cmp);
        for (recipient, after) in (1..).zip(after) {
            let at = at(handed_over + after);
            recorder.on(Seen::Arrived(Arrival { recipient, message: Some(id), at, intact: true }));
        }
        recorder.on(Seen::Acked { message: id, at: at(handed_over + 1.0) });
    }
    recorder.finish(scenario, Timestamp::ZERO + Duration::from_secs(120))
}

#[test]
fn percentiles_from_intended_time_are_the_analytic_ones() {
    let recorded = record(&written(ROOM, &[]), "stall");
    assert_eq!((recorded.messages.delivered, recorded.messages.lost), (u64::from(MESSAGES) * 10, 0));
    for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
        let found = stated(&recorded.quantiles, q);
        assert!(
            found.is_firm && holds(found, analytic(q)),
            "p{}: {} not in {found:?}",
            q * 100.0,
            analytic(q)
        );
    }
    // The ten recipients of a message share its wait.
    assert!(stated(&recorded.quantiles, 0.99).design_effect > 5.0);
}

#[test]
fn the_service_curve_does_not_know_of_the_stall() {
    let recorded = record(&written(ROOM, &[]), "stall");
    let exponential = |x: f64| (-x / MEAN_US).exp();
    for q in [0.5, 0.9, 0.99] {
        let (found, truth) =
            (recorded.all.service.quantile(q).expect("all arrived"), quantile(&exponential, q));
        // 200,000 independent samples: p99 of an exponential law is off by 0.5 % of itself (one standard deviation).
        assert!((found as f64 / truth - 1.0).abs() < 0.02, "p{}: {found} for {truth}", q * 100.0);
    }
    assert!(analytic(0.99) > 40.0 * quantile(&exponential, 0.99));
}

#[test]
fn verdicts_are_passed_on_the_analytic_percentile() {
    let judged = |limit: &str| {
        let assert = format!("assert = [{{ id = \"tail\", expr = \"p99(delivery_latency) < {limit}\" }}]\n");
        let scenario = written(&format!("{ROOM}{assert}"), &[]);
        let recorded = record(&scenario, "stall");
        let metrics = Metrics { messages: recorded.messages.clone(), ..Metrics::default() };
        let run = RunFile { metrics, all: recorded.all, quantiles: recorded.quantiles, ..RunFile::default() };
        judge_runs(&scenario, &[run]).verdict
    };
    // A stall of 5 s in 100: the slowest fifth of those whom it met waited for more than 4 s.
    assert!((analytic(0.99) - 4.02e6).abs() < 1e4, "{}", analytic(0.99));
    assert_eq!((judged("4100ms"), judged("3900ms")), (Verdict::Pass, Verdict::Fail));
}
