//! Known answers: a system whose latencies are known by formula, measured as a run would be.
//!
//! The server answers each message after an exponential time, and stops for a while once: what arrives meanwhile waits for
//! its end. Open loop with even spacing, so that the law of intended-to-delivered follows: of a run of T with a stall of S,
//! a share S/T meets the stall and waits what is left of it, evenly spread over 0 to S. The generator is held back by
//! the stall as well, as a closed loop would be, so the time from handing over to delivery knows nothing of it.

use rand::RngExt;
use units::Seed;

use super::cluster::Messages;
use crate::distribution::Distribution;

const RUN_US: f64 = 100e6;
const STALL_US: f64 = 5e6;
const STALL_AT_US: f64 = 40e6;
const MEAN_US: f64 = 20e3;
const MESSAGES: u32 = 20_000;
const RECIPIENTS: usize = 10;

/// Share of deliveries later than `x` after they were intended: without the stall exp(−x/m), with it (waiting W even
/// over 0..S) the same of W + an exponential time.
fn later(x: f64) -> f64 {
    let stalled = STALL_US / RUN_US;
    let plain = (-x / MEAN_US).exp();
    let rest = (1.0 - (x / STALL_US)).max(0.0);
    let within = MEAN_US / STALL_US * ((-(x - STALL_US).max(0.0) / MEAN_US).exp() - plain);
    (1.0 - stalled) * plain + stalled * (rest + within)
}

fn analytic(q: f64) -> f64 {
    let (mut low, mut high) = (0.0, RUN_US);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if later(middle) > 1.0 - q { low = middle } else { high = middle }
    }
    low
}

/// What one curve holds.
#[derive(Default)]
struct Curve {
    messages: Messages,
    deliveries: Distribution,
}

impl Curve {
    fn settle(&mut self, latencies_us: &mut [u64]) {
        latencies_us.iter().for_each(|&us| self.deliveries.record(Some(us)));
        self.messages.settle(latencies_us, 0);
    }
}

/// The run from intended time, and from the time when the message was handed over.
fn measure(seed: &str) -> (Curve, Curve) {
    let mut rng = Seed::root(5).fork(seed).rng();
    let (mut delivery, mut service) = (Curve::default(), Curve::default());
    let offset = rng.random::<f64>();
    for n in 0..MESSAGES {
        let intended = (f64::from(n) + offset) * RUN_US / f64::from(MESSAGES);
        let is_stalled = (STALL_AT_US..STALL_AT_US + STALL_US).contains(&intended);
        let handed_over = if is_stalled { STALL_AT_US + STALL_US } else { intended };
        let after: [f64; RECIPIENTS] = std::array::from_fn(|_| -MEAN_US * (1.0 - rng.random::<f64>()).ln());
        delivery.settle(&mut after.map(|after| (handed_over + after - intended) as u64));
        service.settle(&mut after.map(|after| after as u64));
    }
    (delivery, service)
}

#[test]
fn percentiles_from_intended_time_are_the_analytic_ones() {
    let (delivery, _) = measure("stall");
    for q in [0.5, 0.9, 0.95, 0.99, 0.999] {
        let (found, truth) = (delivery.messages.estimate(&delivery.deliveries, q), analytic(q));
        let (low, high) = (found.low_us.expect("bounded") as f64, found.high_us.expect("bounded") as f64);
        // Buckets are 0.1 % wide.
        assert!(low * 0.999 <= truth && truth <= high * 1.001, "p{}: {truth} not in {found:?}", q * 100.0);
        assert!(found.is_firm);
    }
}

#[test]
fn the_service_curve_does_not_know_of_the_stall() {
    let (delivery, service) = measure("stall");
    let p99 = |curve: &Curve| curve.messages.estimate(&curve.deliveries, 0.99);
    let (seen, hidden) = (p99(&delivery), p99(&service));
    assert!(hidden.high_us.expect("bounded") as f64 * 10.0 < analytic(0.99), "{hidden:?}");
    assert!(seen.value_us > Some(3_900_000) && seen.design_effect > 5.0, "{seen:?}");
}
