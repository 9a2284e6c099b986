//! Which packets are lost: the rules alone, without packets, timers or side effects.
//!
//! A packet is lost when enough later ones were acknowledged (RFC 9002 section 6.1.1), or when one later packet was and
//! it is older than an RTT and a reordering window (section 6.1.2, RACK of RFC 8985). Both thresholds adapt: a packet
//! that is acknowledged after it was declared lost shows how far the path reorders, and widens them; sixteen recoveries
//! without that bring them back (RFC 8985 section 6.2, step 4). Both rules are monotone, a younger packet is never lost
//! before an older one, so a caller walks up from the oldest and stops at the first survivor.
//!
//! In the `classic` profile a packet is lost when three later ones *were acknowledged*, which is the duplicate-ack rule
//! of RFC 5681; else when one *three numbers higher* was, which needs fewer acks to arrive.

use std::time::Duration;

use units::Timestamp;

use crate::config::{CarrierHint, TransportConfig};
use crate::trace::LossReason;

/// The thresholds of one connection, and what they are compared with.
#[derive(Clone, Debug)]
pub(crate) struct LossDetector {
    rule: Rule,
    /// The highest packet numbers acknowledged, highest first, as many as the base threshold; 0 where there are fewer.
    newest: Vec<u64>,
    /// Present packet threshold.
    packets: u64,
    /// Present reordering window, in eighths of the RTT.
    eighths: u32,
    /// Losses in a row, by round, of which none proved spurious.
    recoveries: u32,
    /// The window is not widened again by packets below this: once in a round trip.
    widened_until: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    /// Count of later acks.
    Count,
    /// Distance in packet numbers, and age.
    DistanceAndAge,
    /// Distance alone: nothing overtakes on a byte stream.
    Distance,
}

/// What is to be said of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Lost(LossReason),
    /// It will be lost then, if nothing is heard of it.
    LostAt(Timestamp),
    /// Only acks can tell.
    Undecided,
}

impl LossDetector {
    pub(crate) fn new(config: &TransportConfig) -> Self {
        let rule = match (config.time_threshold, config.carrier) {
            (false, _) => Rule::Count,
            (true, CarrierHint::Datagram) => Rule::DistanceAndAge,
            (true, CarrierHint::FifoStream) => Rule::Distance,
        };
        let threshold = config.packet_threshold.clamp(1, 1000);
        let mut detector = Self {
            rule,
            newest: vec![0; usize::try_from(threshold).unwrap_or(1)],
            packets: 0,
            eighths: 1,
            recoveries: 0,
            widened_until: 0,
        };
        detector.packets = detector.base();
        detector
    }

    /// The carrier may be another: the thresholds begin anew, what was acknowledged stands.
    pub(crate) fn on_new_path(&mut self, config: &TransportConfig) {
        let newest = std::mem::take(&mut self.newest);
        *self = Self { newest, ..Self::new(config) };
    }

    pub(crate) fn on_acked(&mut self, number: u64) {
        if let Some(at) = self.newest.iter().position(|&newest| number > newest) {
            self.newest[at..].rotate_right(1);
            self.newest[at] = number;
        }
    }

    /// The highest packet number acknowledged; 0 for none.
    pub(crate) fn newest(&self) -> u64 {
        self.newest.first().copied().unwrap_or(0)
    }

    /// Judges packet `number`, in flight since `sent_at`. `rtt` is the larger of the smoothed and the latest one.
    pub(crate) fn judge(
        &self,
        now: Timestamp,
        number: u64,
        sent_at: Timestamp,
        rtt: Option<Duration>,
    ) -> Verdict {
        if number >= self.newest() {
            return Verdict::Undecided;
        }
        let by_number = match self.rule {
            Rule::Count => self.newest.last().is_some_and(|&last| number < last),
            Rule::DistanceAndAge | Rule::Distance => number + self.packets <= self.newest(),
        };
        if by_number {
            return Verdict::Lost(LossReason::PacketThreshold);
        }
        match rtt.filter(|_| self.rule == Rule::DistanceAndAge) {
            None => Verdict::Undecided,
            Some(rtt) => {
                let due = sent_at + self.age(rtt);
                if due <= now { Verdict::Lost(LossReason::TimeThreshold) } else { Verdict::LostAt(due) }
            }
        }
    }

    /// Age at which a packet that was overtaken counts as lost: 9/8 of the RTT while nothing else was learnt.
    pub(crate) fn age(&self, rtt: Duration) -> Duration {
        (rtt + rtt * self.eighths / 8).max(GRANULARITY)
    }

    /// A round with losses has begun.
    pub(crate) fn on_recovery(&mut self) {
        self.recoveries += 1;
        if self.recoveries >= RECOVERIES_TO_FORGET {
            self.packets = self.base();
            self.eighths = 1;
            self.recoveries = 0;
        }
    }

    /// Packet `number`, declared lost, was acknowledged after all. `next_packet` is the number of the next one sent.
    pub(crate) fn on_spurious(&mut self, number: u64, next_packet: u64) {
        if self.rule == Rule::Count {
            return;
        }
        let overtaken_by = self.newest().saturating_sub(number);
        self.packets = self.packets.max((overtaken_by + 1).min(PACKETS_MAX));
        self.recoveries = 0;
        if number >= self.widened_until {
            self.widened_until = next_packet;
            self.eighths = (self.eighths + 1).min(EIGHTHS_MAX);
        }
    }

    fn base(&self) -> u64 {
        match self.rule {
            // What overtakes another on a byte stream shows that the other was dropped.
            Rule::Distance => 1,
            Rule::Count | Rule::DistanceAndAge => self.newest.len() as u64,
        }
    }
}

/// kGranularity of RFC 9002 section 6.1.2.
const GRANULARITY: Duration = Duration::from_millis(1);
/// Reordering by more packets than this is left to time.
const PACKETS_MAX: u64 = 20;
/// RFC 8985 section 6.2: the window is bounded by the smoothed RTT.
const EIGHTHS_MAX: u32 = 8;
/// RFC 8985 section 6.2 step 4.
const RECOVERIES_TO_FORGET: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;

    const RTT: Duration = Duration::from_millis(80);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn detector(carrier: CarrierHint) -> LossDetector {
        LossDetector::new(&TransportConfig { carrier, ..TransportConfig::default() })
    }

    fn judge(detector: &LossDetector, now: u64, number: u64, sent: u64) -> Verdict {
        detector.judge(at(now), number, at(sent), Some(RTT))
    }

    #[test]
    fn three_numbers_or_nine_eighths_of_an_rtt_lose_a_packet() {
        let mut detector = detector(CarrierHint::Datagram);
        assert_eq!(judge(&detector, 1000, 1, 0), Verdict::Undecided, "nothing later was acknowledged");
        detector.on_acked(3);
        assert_eq!(judge(&detector, 85, 1, 0), Verdict::LostAt(at(90)));
        assert_eq!(judge(&detector, 90, 1, 0), Verdict::Lost(LossReason::TimeThreshold));
        detector.on_acked(4);
        assert_eq!(judge(&detector, 85, 1, 0), Verdict::Lost(LossReason::PacketThreshold));
        assert_eq!(judge(&detector, 85, 2, 0), Verdict::LostAt(at(90)));
        assert_eq!(judge(&detector, 1000, 5, 0), Verdict::Undecided);
    }

    #[test]
    fn classic_counts_acks_and_knows_no_time() {
        let mut detector = LossDetector::new(&TransportConfig::new(Profile::Classic));
        for number in [9, 5] {
            detector.on_acked(number);
        }
        assert_eq!(judge(&detector, 1000, 1, 0), Verdict::Undecided);
        detector.on_acked(2);
        assert_eq!(judge(&detector, 1000, 1, 0), Verdict::Lost(LossReason::PacketThreshold));
    }

    #[test]
    fn on_a_stream_a_gap_is_a_loss_and_time_is_none() {
        let mut detector = detector(CarrierHint::FifoStream);
        detector.on_acked(2);
        assert_eq!(judge(&detector, 0, 1, 0), Verdict::Lost(LossReason::PacketThreshold));
        assert_eq!(judge(&detector, 10_000, 3, 0), Verdict::Undecided);
    }

    #[test]
    fn reordering_widens_the_thresholds_within_bounds_and_sixteen_recoveries_forget_it() {
        let mut detector = detector(CarrierHint::Datagram);
        detector.on_acked(10);
        detector.on_spurious(4, 12);
        assert_eq!((detector.packets, detector.eighths), (7, 2));
        detector.on_spurious(5, 12);
        assert_eq!(detector.eighths, 2, "once in a round");
        for round in 1..20 {
            detector.on_acked(100 * round + 90);
            detector.on_spurious(100 * round, 100 * round + 95);
        }
        assert_eq!((detector.packets, detector.eighths), (PACKETS_MAX, EIGHTHS_MAX));
        assert_eq!(detector.age(RTT), 2 * RTT);
        for _ in 0..RECOVERIES_TO_FORGET {
            detector.on_recovery();
        }
        assert_eq!((detector.packets, detector.age(RTT)), (3, Duration::from_millis(90)));
    }
}
