//! The steps that figure F1 draws in grey: independent loss, repaired by timeouts alone, delivers by the k-th try with
//! probability 1 − pᵏ, after 2ᵏ⁻¹ − 1 timeouts.

use loadgen::stats::clopper_pearson;

use super::{run, shipped};

#[test]
fn the_steps_stand_at_one_minus_p_to_the_k() {
    for (p, set) in [(0.1, "10%"), (0.3, "30%")] {
        let loss = format!("link.lossy.up.loss.p={set}");
        let scenario =
            shipped("staircase.toml", &[&loss, "phase.steady.duration=200s", "measure.deliveries=none"]);
        let outcome = run(&scenario, 1);
        let delivery = &outcome.run.all.delivery;
        let count = delivery.count();
        assert!(count >= 4_900, "{count}");
        for tries in 1..=3 {
            // 50 ms up, and a timeout of 200 ms that doubles; half a timeout later nothing else can have come.
            let until_ms = 50 + 200 * ((1 << (tries - 1)) - 1) + 100;
            let by_then = delivery.count_at_or_below(until_ms * 1000);
            let (low, high) = clopper_pearson(by_then, count, 0.999);
            let truth = 1.0 - f64::powi(p, tries);
            assert!(low <= truth && truth <= high, "p = {p}, {tries} tries: {by_then} of {count}, {truth}");
            // And nothing comes between two steps.
            let at_step = delivery.count_at_or_below((until_ms - 95) * 1000);
            assert!(at_step as f64 >= 0.99 * by_then as f64, "p = {p}, {tries} tries: {at_step}, {by_then}");
        }
    }
}
