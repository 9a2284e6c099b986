//! Round-trip time and the retransmission timeout, after RFC 6298
//! (<https://www.rfc-editor.org/rfc/rfc6298#section-2>).
//!
//! Every sample is unambiguous, because packet numbers name transmissions and are never used again: Karn's rule (section
//! 3) has nothing to exclude. Departure: the sample is reduced by the ack delay that the receiver reports, where that
//! does not push it below the smallest RTT seen (RFC 9002 section 5.3), since our acks may wait for company; the RTO then
//! allows for that wait. In the `classic` profile acks do not wait and both are as in RFC 6298.

use std::time::Duration;

use crate::config::TransportConfig;

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

    /// How long the last packet of a flight may go unacknowledged before a probe asks for it (RFC 9002 section 6.2.1).
    /// `None` before the first sample.
    pub(crate) fn probe_timeout(&self, peer_max_ack_delay: Duration) -> Option<Duration> {
        self.smoothed.map(|smoothed| smoothed + (self.variance * 4).max(GRANULARITY) + peer_max_ack_delay)
    }

    /// Age at which a packet older than an acknowledged one counts as lost: 9/8 of the RTT (RFC 9002 section 6.1.2).
    pub(crate) fn loss_delay(&self) -> Option<Duration> {
        self.smoothed.map(|smoothed| (smoothed.max(self.latest) * 9 / 8).max(GRANULARITY))
    }

    /// The shortest sample seen, ack delay included; `None` before the first.
    #[must_use]
    pub(crate) fn min(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.min)
    }

    /// The latest sample, as it was used.
    #[must_use]
    pub(crate) fn latest(&self) -> Option<Duration> {
        self.smoothed.map(|_| self.latest)
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
