//! Bulk transfer beside the law of Padhye, Firoiu, Towsley and Kurose ("Modeling TCP throughput", SIGCOMM 1998, equation 30).

use loadgen::scenario::Scenario;

use super::{run, shipped};

/// Packets a second: b = 1, first timeout `t0`, no limit by the receiver.
fn pftk(rtt: f64, t0: f64, p: f64) -> f64 {
    let timeouts = t0 * (3.0 * (3.0 * p / 8.0).sqrt()).min(1.0) * p * (1.0 + 32.0 * p * p);
    1.0 / (rtt * (2.0 * p / 3.0).sqrt() + timeouts)
}

/// Packets a second that arrive, of two messages each.
fn goodput(scenario: &Scenario, seed: u64) -> f64 {
    let outcome = run(scenario, seed);
    let metrics = &outcome.run.metrics;
    let packets = metrics.link.up.delivered as f64 / metrics.wire.messages as f64;
    assert!((0.49..0.56).contains(&packets), "{packets} packets a message");
    metrics.throughput.delivered_per_s / 2.0
}

#[test]
fn reno_goes_as_fast_as_pftk_says() {
    for (p, set) in [(0.001, "0.1%"), (0.005, "0.5%"), (0.01, "1%"), (0.02, "2%"), (0.05, "5%")] {
        let loss = format!("link.lossy.up.loss.p={set}");
        let (warmup, steady) = ("phase.warmup.duration=10s", "phase.steady.duration=50s");
        let scenario = shipped("reno_law.toml", &[&loss, warmup, steady, "measure.deliveries=none"]);
        let ratios: Vec<f64> = (1..=3).map(|seed| goodput(&scenario, seed) / pftk(0.05, 0.2, p)).collect();
        let mean = ratios.iter().sum::<f64>() / 3.0;
        // The goal is 0.9 to 1.1 for long runs; three of 50 s scatter by some 7 % each, so their mean by 4 %.
        assert!((0.85..1.15).contains(&mean), "{set}: {mean:.3} of the law, {ratios:.3?}");
    }
}
