//! What loss alone should cost: the retransmission staircase.
//!
//! With independent loss p a hop is crossed at the k-th try with probability p^(k−1)·(1−p). If every lost try costs one
//! retransmission timeout, doubled each time (RFC 6298 section 5.5), latency can only take values on a staircase, and at
//! known quantiles: with 10 % loss on two hops the first step ends at 81 %. Measured latency below the stairs is
//! the work of fast retransmit and tail probes, latency above them is queueing, in-order waiting and acknowledgement
//! delay: none of these is modelled here.

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hop {
    /// Mean loss, 0 to below 1.
    pub(super) loss: f64,
    pub(super) delay_us: f64,
}

/// One step: up to quantile `until`, latency is `latency_us`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// Timeouts waited on both hops together.
    pub(super) timeouts: u64,
    pub(super) latency_us: f64,
    pub(super) until: f64,
}

/// The steps of a delivery over two hops, each repairing its own losses with the timeout `rto_us`.
///
/// Ends where less than one in a million is left.
pub(super) fn staircase(up: Hop, down: Hop, rto_us: f64) -> Vec<Step> {
    let mut waits = vec![0.0_f64; (2 << MOST_TRIES) as usize];
    for first in 0..MOST_TRIES {
        for second in 0..MOST_TRIES {
            let probability = (1.0 - up.loss)
                * up.loss.powi(first as i32)
                * (1.0 - down.loss)
                * down.loss.powi(second as i32);
            waits[(timeouts_before(first) + timeouts_before(second)) as usize] += probability;
        }
    }
    let mut steps = Vec::new();
    let mut until = 0.0;
    for (timeouts, probability) in waits.into_iter().enumerate() {
        if probability <= 0.0 {
            continue;
        }
        until += probability;
        let latency_us = up.delay_us + down.delay_us + timeouts as f64 * rto_us;
        steps.push(Step { timeouts: timeouts as u64, latency_us, until });
        if until > 1.0 - 1e-6 {
            break;
        }
    }
    steps
}

/// With doubling, `lost` failed tries in a row wait 1 + 2 + 4 … timeouts.
fn timeouts_before(lost: u32) -> u64 {
    (1 << lost) - 1
}

/// Eight losses in a row are beyond what any figure shows.
const MOST_TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_percent_on_two_hops_gives_the_known_quantiles() {
        let hop = Hop { loss: 0.1, delay_us: 50_000.0 };
        let steps = staircase(hop, hop, 200_000.0);
        // (1-p)^2; then one loss on either hop: 2p(1-p)^2; then one on each: p^2(1-p)^2.
        assert!((steps[0].until - 0.81).abs() < 1e-9);
        assert!((steps[1].until - 0.972).abs() < 1e-9);
        assert!((steps[2].until - 0.9801).abs() < 1e-9);
        let latencies: Vec<f64> = steps.iter().take(4).map(|step| step.latency_us / 1000.0).collect();
        assert_eq!(latencies, [100.0, 300.0, 500.0, 700.0]);
    }

    #[test]
    fn without_loss_there_is_one_step() {
        let hop = Hop { loss: 0.0, delay_us: 20_000.0 };
        let steps = staircase(hop, hop, 200_000.0);
        assert_eq!(steps.len(), 1);
        assert!((steps[0].until - 1.0).abs() < 1e-12);
    }
}
