//! How many answers a second go to strangers.
//!
//! An answer to a forged address is a datagram that somebody gets who did not ask. Each is smaller than what provoked
//! it; this bounds their number, whatever comes in. A token bucket in whole answers, counted in nanoseconds of credit.

use std::time::Duration;

use units::Timestamp;

/// A token bucket for stateless replies.
#[derive(Clone, Copy, Debug)]
pub struct ReplyLimit {
    /// When the bucket would be full if nothing more were taken.
    full_at: Timestamp,
}

/// Answers to strangers in a second, in the long run. More clients than that do not arrive at a chat server unless it has
/// just restarted; those that are left out repeat their `hello`. At 29 bytes each this is 1.2 Mbit/s to people who may
/// not have asked.
pub const REPLIES_PER_SECOND: u32 = 5_000;
/// Answers at once after a quiet time: as many as a second's, so that a restart is not slowed further.
pub const REPLIES_AT_ONCE: u32 = 5_000;

impl ReplyLimit {
    /// A full bucket.
    #[must_use]
    pub fn new() -> Self {
        Self { full_at: Timestamp::ZERO }
    }

    /// Whether one more answer may go out now; takes it if so.
    pub fn take(&mut self, now: Timestamp) -> bool {
        let full_at = self.full_at.max(now) + COST;
        let is_allowed = full_at.since(now) <= COST * REPLIES_AT_ONCE;
        if is_allowed {
            self.full_at = full_at;
        }
        is_allowed
    }
}

impl Default for ReplyLimit {
    fn default() -> Self {
        Self::new()
    }
}

/// How long the bucket needs for one answer.
const COST: Duration = Duration::from_nanos(1_000_000_000 / REPLIES_PER_SECOND as u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_the_burst_and_then_the_rate() {
        let mut limit = ReplyLimit::new();
        let begin = Timestamp::from_secs(100);
        let at_once = (0..100_000).filter(|_| limit.take(begin)).count();
        assert_eq!(at_once, REPLIES_AT_ONCE as usize);
        // 100,000 datagrams a second for three seconds.
        let later = (1..=300_000u64).filter(|step| limit.take(begin + Duration::from_micros(10 * step)));
        assert_eq!(later.count(), 3 * REPLIES_PER_SECOND as usize);
    }

    #[test]
    fn quiet_fills_the_bucket_and_no_further() {
        let mut limit = ReplyLimit::new();
        let drain = |limit: &mut ReplyLimit, now| (0..10_000).filter(|_| limit.take(now)).count();
        assert_eq!(drain(&mut limit, Timestamp::from_secs(1)), REPLIES_AT_ONCE as usize);
        assert_eq!(drain(&mut limit, Timestamp::from_secs(3600)), REPLIES_AT_ONCE as usize);
    }
}
