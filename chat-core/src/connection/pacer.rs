//! Pacing: packets leave at a rate instead of in bursts as large as the window (RFC 9002 section 7.7).
//!
//! Kept as the time at which credit is exactly used up. Before it the sender is in debt, after it in credit; credit is
//! capped, so that a flow which was quiet may begin with a short burst. All times are whole nanoseconds, and each packet
//! adds its own transmission time, so nothing is rounded away over a long run.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

/// When the next packet may leave.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pacer {
    even_at: Timestamp,
}

impl Pacer {
    /// Whether a packet may leave at `now`: any, as long as the sender is not in debt.
    pub(crate) fn may_send(&self, now: Timestamp) -> bool {
        self.even_at <= now
    }

    /// A packet of `size` leaves at `rate`, also one that did not ask.
    pub(crate) fn on_sent(&mut self, now: Timestamp, size: ByteCount, rate: Bitrate, mss: ByteCount) {
        let credit = now.since(self.even_at).min(burst_time(rate, mss));
        let cost = rate.transmit_time(size);
        self.even_at = if self.even_at > now { self.even_at + cost } else { (now - credit) + cost };
    }

    /// When to ask again. Not as soon as one packet may leave but when [`QUANTUM`] worth of them may, so that a fast flow
    /// wakes its driver a thousand times a second and not for every packet; a slow one waits for its packet alone.
    pub(crate) fn release_at(&self, rate: Bitrate, mss: ByteCount) -> Timestamp {
        self.even_at + QUANTUM.saturating_sub(rate.transmit_time(mss))
    }
}

/// The time that the largest burst takes at `rate`: ten packets, the initial window that RFC 9002 section 7.7 allows in
/// one go, or [`BURST`] where that is more.
fn burst_time(rate: Bitrate, mss: ByteCount) -> Duration {
    rate.transmit_time(ByteCount(mss.as_u64() * BURST_PACKETS)).max(BURST)
}

/// A driver's timers are late by about a millisecond.
const QUANTUM: Duration = Duration::from_millis(1);
const BURST: Duration = Duration::from_millis(2);
const BURST_PACKETS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: ByteCount = ByteCount(1000);

    /// Sends 1,000-byte packets whenever allowed until `end`, waking up when told.
    fn departures(rate: u64, end: Timestamp) -> Vec<Timestamp> {
        let rate = Bitrate::from_bits_per_second(rate).unwrap();
        let mut pacer = Pacer::default();
        let mut now = Timestamp::from_secs(1);
        let mut left = Vec::new();
        while now < end {
            if pacer.may_send(now) {
                pacer.on_sent(now, MSS, rate, MSS);
                left.push(now);
            } else {
                now = pacer.release_at(rate, MSS);
            }
        }
        left
    }

    #[test]
    fn a_quiet_flow_begins_with_ten_packets_and_goes_on_at_its_rate() {
        // 8 Mbit/s: a packet a millisecond.
        let left = departures(8_000_000, Timestamp::from_millis(1100));
        let burst = left.iter().take_while(|&&at| at == Timestamp::from_secs(1)).count();
        // Credit of ten, and the packet that brings it into debt.
        assert_eq!(burst, 11);
        assert_eq!(left.len(), 11 + 99);
        assert!(left[11..].windows(2).all(|pair| pair[1].since(pair[0]) == Duration::from_millis(1)));
    }

    #[test]
    fn a_fast_flow_wakes_once_a_millisecond_and_keeps_its_rate() {
        // 1 Gbit/s: 125 packets a millisecond.
        let left = departures(1_000_000_000, Timestamp::from_secs(2));
        let mut wakes = left.clone();
        wakes.dedup();
        assert!((990..=1010).contains(&wakes.len()), "{} wakes in a second", wakes.len());
        assert!((124_800..=125_400).contains(&left.len()), "{} packets in a second", left.len());
    }

    #[test]
    fn what_does_not_ask_is_paid_for_all_the_same() {
        let rate = Bitrate::from_bits_per_second(8_000_000).unwrap();
        let mut pacer = Pacer::default();
        let now = Timestamp::from_secs(1);
        for _ in 0..30 {
            pacer.on_sent(now, MSS, rate, MSS);
        }
        assert!(!pacer.may_send(now + Duration::from_millis(19)));
        assert!(pacer.may_send(now + Duration::from_millis(20)));
    }
}
