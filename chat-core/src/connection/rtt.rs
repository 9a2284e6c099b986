//! Round-trip time and the retransmission timeout, after RFC 6298
//! (<https://www.rfc-editor.org/rfc/rfc6298#section-2>).
//!
//! Every sample is unambiguous, because packet numbers name transmissions and are never used again: Karn's rule (section
//! 3) has nothing to exclude. Departure: the sample is reduced by the ack delay that the receiver reports, where that
//! does not push it below the smallest RTT seen (RFC 9002 section 5.3), since our acks may wait for company; the RTO then
//! allows for that wait. In the `classic` profile acks do not wait and both are as in RFC 6298.

use std::time::Duration;

use crate::config::{CarrierHint, TransportConfig};

/// SRTT, RTTVAR and what follows from them.
#[derive(Clone, Debug)]
pub(crate) struct RttEstimator {
    smoothed: Option<Duration>,
    variance: Duration,
    latest: Duration,
    min: Duration,
    /// Consecutive timeouts; the RTO is doubled for each.
    backoff: u32,
}

impl RttEstimator {
    pub(crate) fn new() -> Self {
        Self {
            smoothed: None,
            variance: Duration::ZERO,
            latest: Duration::ZERO,
            min: Duration::MAX,
            backoff: 0,
        }
    }

    /// Takes one sample: `elapsed` from a transmission to its first ack, of which the receiver held `ack_delay`.
    /// Returns the sample as it was used.
    pub(crate) fn on_sample(&mut self, elapsed: Duration, ack_delay: Duration) -> Duration {
        self.min = self.min.min(elapsed);
        let adjusted = elapsed.saturating_sub(ack_delay);
        let sample = if adjusted >= self.min { adjusted } else { elapsed };
        self.latest = sample;
        // Section 2.3: RTTVAR first, with the old SRTT (RFC 9002 prints the other order; 6298 says MUST).
        match self.smoothed {
            None => {
                self.smoothed = Some(sample);
                self.variance = sample / 2;
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(sample)) / 4;
                self.smoothed = Some((smoothed * 7 + sample) / 8);
            }
        }
        self.backoff = 0;
        sample
    }

    /// A timeout: the next RTO is twice as long (5.5).
    pub(crate) fn on_timeout(&mut self) {
        self.backoff = self.backoff.saturating_add(1).min(MAX_BACKOFF);
    }

    /// Retransmission timeout, backoff and clamps included.
    #[must_use]
    pub(crate) fn rto(&self, config: &TransportConfig) -> Duration {
        let base = match self.smoothed {
            None => config.initial_rto,
            // The samples leave out what the receiver held back, so the timer has to allow for it (RFC 9002 section 6.2.1).
            Some(smoothed) => smoothed + (self.variance * 4).max(GRANULARITY) + config.max_ack_delay,
        };
        let clamped = base.clamp(config.rto_min, config.rto_max);
        clamped.saturating_mul(1 << self.backoff).min(config.rto_max)
    }

    /// How long a packet may go unacknowledged before a probe asks for it, without backoff (RFC 9002 section 6.2.1). On a
    /// byte stream what is late is being sent again below us, at the earliest after the 200 ms that kernels take for the
    /// least RTO: only beyond that and an RTT can a missing ack mean anything else.
    pub(crate) fn probe_timeout(&self, config: &TransportConfig) -> Duration {
        // Section 6.2.2: before any sample, as if the first one were being taken.
        let smoothed = self.smoothed.unwrap_or(config.initial_rtt);
        let timeout = match self.smoothed {
            Some(_) => self.base_timeout(config.max_ack_delay),
            None => smoothed * 3 + config.max_ack_delay,
        };
        let floor = match config.carrier {
            CarrierHint::Datagram => config.pto_min,
            CarrierHint::FifoStream => KERNEL_RTO_MIN + smoothed,
        };
        timeout.max(floor)
    }

    /// SRTT + max(4 RTTVAR, granularity) + ack delay, without floor; zero SRTT before the first sample.
    pub(crate) fn base_timeout(&self, max_ack_delay: Duration) -> Duration {
        self.smoothed.unwrap_or_default() + (self.variance * 4).max(GRANULARITY) + max_ack_delay
    }

    /// The probe timeout, doubled for each that has expired, up to the largest RTO.
    pub(crate) fn probe_backoff(&self, config: &TransportConfig) -> Duration {
        self.probe_timeout(config).saturating_mul(1 << self.backoff).min(config.rto_max)
    }

    /// The larger of the smoothed and the latest RTT, which ages are compared with (RFC 9002 section 6.1.2).
    pub(crate) fn longest(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| smoothed.max(self.latest))
    }

    /// Something was acknowledged: the next probe timeout is not doubled (RFC 9002 section 6.2.1).
    pub(crate) fn on_progress(&mut self) {
        self.backoff = 0;
    }

    /// The path has changed so much that the smallest RTT may be another (RFC 9002 section 5.2).
    pub(crate) fn on_persistent_congestion(&mut self) {
        self.min = self.latest;
    }

    /// The latest sample; `None` before the first.
    #[must_use]
    pub(crate) fn latest(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.latest)
    }

    /// The shortest sample seen, ack delay included; `None` before the first.
    #[must_use]
    pub(crate) fn min(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.min)
    }

    #[must_use]
    pub(crate) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    #[must_use]
    pub(crate) fn variance(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.variance)
    }

    pub(crate) fn backoff(&self) -> u32 {
        self.backoff
    }
}

/// kGranularity of RFC 9002: timers below a millisecond would fire on scheduling noise.
const GRANULARITY: Duration = Duration::from_millis(1);
/// The least RTO of Linux and of the BSDs.
const KERNEL_RTO_MIN: Duration = Duration::from_millis(200);
/// 2^16 times any RTO is beyond every clamp; keeps the shift in range.
const MAX_BACKOFF: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rfc() -> TransportConfig {
        let max_ack_delay = Duration::ZERO;
        TransportConfig { rto_min: MS, rto_max: MS * 60_000, max_ack_delay, ..TransportConfig::default() }
    }

    fn rto_after(samples: &[u32]) -> Duration {
        let mut rtt = RttEstimator::new();
        for &sample in samples {
            rtt.on_sample(MS * sample, Duration::ZERO);
        }
        rtt.rto(&rfc())
    }

    #[test]
    fn before_any_sample_the_rto_is_one_second() {
        assert_eq!(RttEstimator::new().rto(&rfc()), MS * 1000);
    }

    #[test]
    fn a_steady_rtt_of_100_ms_gives_the_textbook_sequence() {
        // RTO = 100 + 4 * 50 * (3/4)^(n-1).
        assert_eq!(rto_after(&[100]), MS * 300);
        assert_eq!(rto_after(&[100; 2]), MS * 250);
        assert_eq!(rto_after(&[100; 3]), Duration::from_micros(212_500));
    }

    #[test]
    fn the_probe_timeout_has_no_floor_of_200_ms_but_on_a_stream() {
        let config = TransportConfig { max_ack_delay: MS * 5, ..TransportConfig::default() };
        let stream = TransportConfig { carrier: CarrierHint::FifoStream, ..config.clone() };
        let mut rtt = RttEstimator::new();
        // RFC 9002 section 6.2.2: 333 + 4 * 333/2 ms, and the ack delay.
        assert_eq!(rtt.probe_timeout(&config), MS * 999 + MS * 5);
        for _ in 0..30 {
            rtt.on_sample(MS * 100, Duration::ZERO);
        }
        assert!(rtt.probe_timeout(&config) < MS * 107, "{:?}", rtt.probe_timeout(&config));
        assert_eq!(rtt.probe_timeout(&stream), MS * 300);
        let backoff = |rtt: &RttEstimator| rtt.probe_backoff(&stream);
        let mut seen = vec![];
        for _ in 0..5 {
            seen.push(backoff(&rtt));
            rtt.on_timeout();
        }
        assert_eq!(seen, [MS * 300, MS * 600, MS * 1200, MS * 2400, MS * 4800]);
        rtt.on_progress();
        assert_eq!(backoff(&rtt), MS * 300);
        for _ in 0..30 {
            rtt.on_sample(MS, Duration::ZERO);
        }
        assert_eq!(
            RttEstimator { variance: Duration::ZERO, smoothed: Some(MS), ..rtt }.probe_timeout(&config),
            MS * 20
        );
    }

    #[test]
    fn the_worked_sequences_of_a_steady_and_of_a_stepping_rtt() {
        let micros = Duration::from_micros;
        let steady = [300_000, 250_000, 212_500, 184_375, 163_281];
        for (samples, expected) in (1..).zip(steady) {
            assert_eq!(rto_after(&vec![100; samples]).as_micros(), expected, "{samples} samples");
        }
        assert!(rto_after(&[100; 8]).abs_diff(micros(126_700)) < micros(50));
        assert!(rto_after(&[100; 20]).abs_diff(MS * 101) < micros(200));
        // From 100 to 200 ms, beginning without variance.
        let mut rtt =
            RttEstimator { smoothed: Some(MS * 100), min: MS * 100, latest: MS * 100, ..RttEstimator::new() };
        let step = [212_500, 285_938, 331_445, 357_178, 369_199, 371_845_u64].map(|expected| {
            rtt.on_sample(MS * 200, Duration::ZERO);
            (rtt.rto(&rfc()), micros(expected))
        });
        for (found, expected) in step {
            assert!(found.abs_diff(expected) < micros(100), "{found:?} for {expected:?}");
        }
    }

    #[test]
    fn variance_uses_the_old_smoothed_rtt() {
        // RTTVAR = 3/4 * 0 + 1/4 * |100 - 200| = 25 (not 21.9), SRTT = 112.5: 112.5 + 100 = 212.5 ms.
        let mut rtt = RttEstimator::new();
        rtt.on_sample(MS * 100, Duration::ZERO);
        rtt.variance = Duration::ZERO;
        rtt.on_sample(MS * 200, Duration::ZERO);
        assert_eq!(rtt.rto(&rfc()), Duration::from_micros(212_500));
    }

    #[test]
    fn backoff_doubles_up_to_the_clamp_and_a_sample_ends_it() {
        let config = TransportConfig { rto_min: MS * 200, rto_max: MS * 1000, ..TransportConfig::default() };
        let mut rtt = RttEstimator::new();
        rtt.on_sample(MS * 10, Duration::ZERO);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(rtt.rto(&config));
            rtt.on_timeout();
        }
        assert_eq!(seen, [MS * 200, MS * 400, MS * 800, MS * 1000]);
        rtt.on_sample(MS * 10, Duration::ZERO);
        assert_eq!(rtt.rto(&config), MS * 200);
    }

    #[test]
    fn the_receivers_delay_does_not_push_a_sample_below_the_minimum() {
        let mut rtt = RttEstimator::new();
        rtt.on_sample(MS * 50, Duration::ZERO);
        rtt.on_sample(MS * 52, MS * 25);
        assert_eq!(rtt.latest, MS * 52);
        rtt.on_sample(MS * 80, MS * 25);
        assert_eq!(rtt.latest, MS * 55);
    }
}
