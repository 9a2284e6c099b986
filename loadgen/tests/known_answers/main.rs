//! Systems whose answer is known by formula, measured as any run is: through the recorder, the virtual driver, the intervals and
//! the verdicts. Whoever breaks one of these on the way breaks a formula here.

mod bulk;
mod laws;
mod links;
mod recorder;
mod staircase;

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use loadgen::backend::{RunPlan, ServerAt, sim};
use loadgen::measure::{Outcome, RunIndex, measure};
use loadgen::records::QuantileEstimate;
use loadgen::scenario::{Scenario, load, load_str};
use units::Seed;

/// A shipped scenario with some of its values changed.
fn shipped(name: &str, sets: &[&str]) -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios").join(name);
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    load(&path, &sets).unwrap_or_else(|error| panic!("{error}")).scenario
}

fn written(text: &str, sets: &[&str]) -> Scenario {
    let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
    load_str("known.toml", text, &sets).unwrap_or_else(|error| panic!("{error}")).scenario
}

/// One run in virtual time, measured.
fn run(scenario: &Scenario, seed: u64) -> Outcome {
    let plan = RunPlan { scenario: scenario.clone(), seed: Seed::root(seed), server: ServerAt::InProcess };
    let record = sim::run(&plan, &AtomicBool::new(false), &mut |_| ControlFlow::Continue(()));
    let record = record.unwrap_or_else(|error| panic!("{error}"));
    let outcome = measure(scenario, record, RunIndex { cell: 0, repeat: 0 });
    let messages = &outcome.run.metrics.messages;
    assert_eq!((messages.lost, messages.throttled, messages.duplicated), (0, 0, 0), "{messages:?}");
    assert_eq!((&outcome.run.invalid, &outcome.run.failures), (&vec![], &vec![]));
    outcome
}

/// Whether the stated interval holds `truth`, up to the width of a bucket, which is 0.1 %.
fn holds(estimate: &QuantileEstimate, truth_us: f64) -> bool {
    let low = estimate.low_us.map_or(0.0, |us| us as f64);
    let high = estimate.high_us.map_or(f64::INFINITY, |us| us as f64);
    low * 0.999 <= truth_us && truth_us <= high * 1.001
}

fn stated(quantiles: &[QuantileEstimate], q: f64) -> &QuantileEstimate {
    quantiles.iter().find(|estimate| (estimate.q - q).abs() < 1e-9).expect("reports state it")
}
