//! What theory says a lossy link should cost: bounds and laws that figures are drawn against.
//!
//! Each formula is the published one with its own symbols, and each has assumptions that real transports break; figures
//! print them beside the curve. A measured point off the curve is a question, not an error: below the stairs there are
//! fast retransmits and tail probes, above them queueing and waiting in order. None of these is modelled here.

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

/// Chance that one of `tries` independent transmissions arrives: 1 − pᵏ.
pub(super) fn arrived_by(loss: f64, tries: u32) -> f64 {
    1.0 - loss.powi(tries as i32)
}

/// Chance that all of `recipients` have it by the k-th try each: (1 − pᵏ)ᴺ.
pub(super) fn all_arrived_by(loss: f64, tries: u32, recipients: f64) -> f64 {
    arrived_by(loss, tries).powf(recipients)
}

/// The steps of a message that goes up once and down to each of `recipients`, each hop repairing its own losses with the
/// timeout `rto_us`; the message is done when the last recipient has it. With one recipient these are the steps of
/// single deliveries.
///
/// With independent loss p a hop is crossed by the k-th try with probability 1 − pᵏ. If every lost try costs one
/// retransmission timeout, doubled each time (RFC 6298 section 5.5), latency can only take values on a staircase, and at
/// known quantiles: with 10 % loss on one hop at 90 %, 99 % and 99.9 %, on two hops the first step ends at 81 %. Ends
/// where less than one in a million is left.
pub(super) fn staircase(up: Hop, down: Hop, rto_us: f64, recipients: f64) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut before = 0.0;
    for timeouts in 0..(2_u64 << MOST_TRIES) {
        let until = done_by(up, down, recipients, timeouts);
        if until - before < 1e-12 {
            continue;
        }
        before = until;
        let latency_us = up.delay_us + down.delay_us + timeouts as f64 * rto_us;
        steps.push(Step { timeouts, latency_us, until });
        if until > 1.0 - 1e-6 {
            break;
        }
    }
    steps
}

/// Chance that everything is done within so many timeouts.
fn done_by(up: Hop, down: Hop, recipients: f64, timeouts: u64) -> f64 {
    let tries = (1..=MOST_TRIES).map(|tries| (tries, timeouts_before(tries - 1)));
    tries
        .take_while(|&(_, waited)| waited <= timeouts)
        .map(|(k, waited)| {
            let exactly = up.loss.powi(k as i32 - 1) * (1.0 - up.loss);
            let left = (1..=MOST_TRIES).take_while(|&k| timeouts_before(k - 1) <= timeouts - waited).count();
            exactly * all_arrived_by(down.loss, left as u32, recipients)
        })
        .sum()
}

/// With doubling, `lost` failed tries in a row wait 1 + 2 + 4 … timeouts.
fn timeouts_before(lost: u32) -> u64 {
    (1 << lost) - 1
}

/// A path as the laws of bulk transfer see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Path {
    pub(super) segment_bytes: f64,
    pub(super) rtt_s: f64,
    /// First retransmission timeout.
    pub(super) timeout_s: f64,
}

impl Path {
    /// Bits a second of a Reno sender that never times out: MSS/RTT · √(3/2p), one ack a segment.
    ///
    /// Mathis, Semke, Mahdavi and Ott, "The macroscopic behavior of the TCP congestion avoidance algorithm", 1997,
    /// equation 3. Assumes periodic loss and no timeouts: an upper bound beyond a few percent of loss.
    pub(super) fn mathis(self, loss: f64) -> f64 {
        self.segment_bytes * 8.0 / self.rtt_s * (1.5 / loss).sqrt()
    }

    /// Bits a second of a Reno sender with timeouts, one ack a segment (b = 1), window never limited by the receiver.
    ///
    /// Padhye, Firoiu, Towsley and Kurose, "Modeling TCP throughput: a simple model and its empirical validation",
    /// SIGCOMM 1998, equation 30.
    pub(super) fn pftk(self, loss: f64) -> f64 {
        let recovery = self.rtt_s * (2.0 * loss / 3.0).sqrt();
        let stalls = (3.0 * (3.0 * loss / 8.0).sqrt()).min(1.0);
        let timeouts = self.timeout_s * stalls * loss * (1.0 + 32.0 * loss * loss);
        self.segment_bytes * 8.0 / (recovery + timeouts)
    }
}

/// Share of a full link that selective repeat keeps: 1 − p. Bertsekas and Gallager, "Data Networks", section 2.4.
pub(super) fn selective_repeat(loss: f64) -> f64 {
    1.0 - loss
}

/// Share of a full link that go-back-N keeps when each loss throws away a window of `window` packets:
/// (1 − p) / (1 − p + Wp). The same source.
pub(super) fn go_back_n(loss: f64, window: f64) -> f64 {
    (1.0 - loss) / (1.0 - loss + window * loss)
}

/// Eight losses in a row are beyond what any figure shows.
const MOST_TRIES: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    const LOSSY: Hop = Hop { loss: 0.1, delay_us: 50_000.0 };
    const CLEAN: Hop = Hop { loss: 0.0, delay_us: 50_000.0 };

    #[test]
    fn steps_of_one_lossy_hop_stand_at_one_minus_p_to_the_k() {
        for (up, down) in [(LOSSY, CLEAN), (CLEAN, LOSSY)] {
            let steps = staircase(up, down, 200_000.0, 1.0);
            for (k, step) in (1..).zip(&steps).take(5) {
                assert!((step.until - (1.0 - 0.1_f64.powi(k))).abs() < 1e-9, "try {k}: {step:?}");
            }
            let latencies: Vec<f64> = steps.iter().take(4).map(|step| step.latency_us / 1000.0).collect();
            assert_eq!(latencies, [100.0, 300.0, 700.0, 1_500.0]);
        }
    }

    #[test]
    fn ten_percent_on_two_hops_gives_the_known_quantiles() {
        let steps = staircase(LOSSY, LOSSY, 200_000.0, 1.0);
        // (1-p)^2; then one loss on either hop: 2p(1-p)^2; then one on each: p^2(1-p)^2.
        assert!((steps[0].until - 0.81).abs() < 1e-9);
        assert!((steps[1].until - 0.972).abs() < 1e-9);
        assert!((steps[2].until - 0.9801).abs() < 1e-9);
        let latencies: Vec<f64> = steps.iter().take(4).map(|step| step.latency_us / 1000.0).collect();
        assert_eq!(latencies, [100.0, 300.0, 500.0, 700.0]);
    }

    #[test]
    fn without_loss_there_is_one_step() {
        let steps = staircase(CLEAN, CLEAN, 200_000.0, 1.0);
        assert_eq!(steps.len(), 1);
        assert!((steps[0].until - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_thousand_recipients_at_ten_percent_need_four_tries() {
        assert!((all_arrived_by(0.1, 3, 1000.0) - 0.3677).abs() < 1e-4);
        assert!((all_arrived_by(0.1, 4, 1000.0) - 0.9048).abs() < 1e-4);
        let steps = staircase(CLEAN, LOSSY, 200_000.0, 1000.0);
        let until = |timeouts| steps.iter().find(|step| step.timeouts == timeouts).map_or(0.0, |s| s.until);
        assert!((until(3) - 0.3677).abs() < 1e-4 && (until(7) - 0.9048).abs() < 1e-4);
    }

    #[test]
    fn laws_of_bulk_transfer_give_the_published_numbers() {
        let path = Path { segment_bytes: 1200.0, rtt_s: 0.1, timeout_s: 0.4 };
        assert!((path.mathis(0.1) / 1e3 - 372.0).abs() < 0.5, "{}", path.mathis(0.1));
        assert!((path.pftk(0.1) / 1e3 - 170.0).abs() < 0.5, "{}", path.pftk(0.1));
        // Without timeouts to speak of, both are the same law.
        assert!((path.pftk(1e-6) / path.mathis(1e-6) - 1.0).abs() < 0.01);
        assert!((go_back_n(0.1, 32.0) - 0.22).abs() < 0.001);
        assert!((selective_repeat(0.1) - 0.9).abs() < 1e-12);
    }
}
