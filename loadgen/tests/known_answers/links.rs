//! Links with a given law of delay and nothing else: what people measure of a room is then a formula.
//!
//! A sender's way up is shared by all who hear a message, each one's way down is its own, and both are even over 20 to 100 ms.
//! Nothing is lost, and the transport is told to send nothing twice and to hold nothing back, so that only the links act.

use super::laws::{TwoUniforms, quantile, stalled};
use super::{holds, run, stated, written};
use loadgen::measure::Outcome;

const DELAYS: TwoUniforms = TwoUniforms { base_us: 60e3, half_us: 40e3 };
const HEARERS: i32 = 10;

const ROOMS: &str = r#"schema = 1
scenario.name = "known"
link.up.up = { delay = { base = "60ms", jitter = "40ms", dist = "uniform", keep_order = false } }
link.down.down = { delay = { base = "60ms", jitter = "40ms", dist = "uniform", keep_order = false } }
clients = [
  { name = "speaker", count = 10, link = "up", rooms = { count = 10 } },
  { name = "hearer", count = 100, link = "down", rooms = { count = 10 } },
]
phase = [{ name = "steady", duration = "40s" }, { name = "drain", drain = "30s" }]
workload = [{ name = "talk", clients = ["speaker"], arrival = { process = "constant", rate = "5/s" }, delivery = { order = "unordered" } }]
measure.deliveries = "none"
[protocol]
profile = "classic"
congestion = "fixed:64"
codec = "binary"
packet_threshold = 1000
initial_rto = "30s"
rto_min = "30s"
"#;

/// All that the senders say between 20 and 22 s waits at the entrance of their links.
const HOLD: &str = r#"link.up.event=[{ at = "20s", for = "2s", set = { up = { hold = true } } }]"#;

fn p(outcome: &Outcome, q: f64) -> f64 {
    outcome.run.all.delivery.quantile(q).expect("all arrived") as f64
}

#[test]
fn intervals_of_a_fan_out_hold_the_analytic_percentiles() {
    let scenario = written(ROOMS, &["phase.steady.duration=20s"]);
    let (mut held, mut asked) = (0, 0);
    for seed in 1..=8 {
        let outcome = run(&scenario, seed);
        assert!(outcome.run.metrics.messages.delivered >= 9_900);
        for q in [0.5, 0.9, 0.95, 0.99] {
            let (found, truth) = (stated(&outcome.run.quantiles, q), quantile(&|x| DELAYS.later(x), q));
            asked += 1;
            held += u32::from(holds(found, truth));
            // Whatever an interval says, no percentile may be far off: its ends are 5 % away at p50.
            assert!((p(&outcome, q) / truth - 1.0).abs() < 0.06, "p{}: {found:?}, {truth}", q * 100.0);
        }
        // The last of ten is later than any one of them, and by how much is known, too.
        let last = outcome.run.all.completion.quantile(0.9).expect("all arrived") as f64;
        let truth = quantile(&|x| DELAYS.last_later(HEARERS, x), 0.9);
        assert!((last / truth - 1.0).abs() < 0.03, "{last} {truth}");
    }
    // At 95 % more than 5 of 32 are missed once in 200 such tests, were they independent.
    assert!(asked == 32 && held >= 27, "{held} of {asked}");
}

#[test]
fn a_link_that_stops_is_in_the_percentiles_of_an_open_loop_and_not_in_those_of_a_closed_one() {
    let later = |x: f64| stalled(&|x| DELAYS.later(x), 2.0 / 40.0, 2e6, x);
    let open = run(&written(ROOMS, &[HOLD]), 3);
    for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
        let (found, truth) = (stated(&open.run.quantiles, q), quantile(&later, q));
        assert!(holds(found, truth), "p{}: {truth} not in {found:?}", q * 100.0);
    }
    // Each of the ten waits once and says nothing meanwhile, so of some 125 messages each one was late: below one in a hundred.
    let closed = run(&written(&ROOMS.replace(OPEN, CLOSED), &[HOLD]), 3);
    assert!(p(&closed, 0.99) < 200e3 && quantile(&later, 0.99) > 1.7e6, "{}", p(&closed, 0.99));
}

const OPEN: &str = r#"arrival = { process = "constant", rate = "5/s" }"#;
const CLOSED: &str = r#"loop = "closed", think = "200ms""#;
