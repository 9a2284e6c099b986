//! Persistent congestion: everything sent over a long time was lost (RFC 9002 section 7.6).
//!
//! Packets are told in the order of their numbers as they are decided, so a run of losses with no ack between is one
//! pair of times, and nothing is searched.
//!
//! Departure: a run needs [`RUN_MIN`] packets where the RFC asks for two. A chat that sends a line every few seconds
//! loses two in a row on a path with 10 % random loss once in a hundred lines, and its window should not collapse by that.

use std::time::Duration;

use units::Timestamp;

/// Watches for a long run of losses.
#[derive(Clone, Debug, Default)]
pub(crate) struct PersistentCongestion {
    run: Option<Run>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    first_sent: Timestamp,
    last_sent: Timestamp,
    packets: u32,
}

impl PersistentCongestion {
    /// A packet that asks for an ack, sent after the first RTT sample, was declared lost.
    pub(crate) fn on_lost(&mut self, sent_at: Timestamp) {
        let run = self.run.get_or_insert(Run { first_sent: sent_at, last_sent: sent_at, packets: 0 });
        run.last_sent = run.last_sent.max(sent_at);
        run.packets = run.packets.saturating_add(1);
    }

    /// A packet between the last loss and the next was acknowledged; or the run was not what it seemed.
    pub(crate) fn on_acked(&mut self) {
        self.run = None;
    }

    /// Whether the run has lasted longer than three times `timeout` (SRTT + max(4 RTTVAR, granularity) + ack delay, without
    /// backoff). If so, a new run begins.
    pub(crate) fn is_established(&mut self, timeout: Duration) -> bool {
        let established = self.run.is_some_and(|run| {
            run.packets >= RUN_MIN && run.last_sent.since(run.first_sent) > timeout * THRESHOLD
        });
        if established {
            self.run = None;
        }
        established
    }
}

/// kPersistentCongestionThreshold.
const THRESHOLD: u32 = 3;
const RUN_MIN: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const PTO: Duration = Duration::from_secs(2);

    #[test]
    fn the_example_of_the_rfc_is_persistent_congestion() {
        // RFC 9002 section 7.6.3: packet 1 is acknowledged; 2 to 8, sent at 1 to 6 s and 8 s, are lost when the ack of 9
        // comes. 8 - 1 = 7 s is more than 3 * 2 s.
        let mut watch = PersistentCongestion::default();
        watch.on_acked();
        for second in [1, 2, 3, 4, 5, 6, 8] {
            watch.on_lost(Timestamp::from_secs(second));
        }
        assert!(watch.is_established(PTO));
        assert!(!watch.is_established(PTO), "once");
    }

    #[test]
    fn an_ack_between_or_a_shorter_run_is_not() {
        let mut watch = PersistentCongestion::default();
        for second in [1, 2, 3, 4] {
            watch.on_lost(Timestamp::from_secs(second));
        }
        watch.on_acked();
        for second in [6, 7, 8, 12] {
            watch.on_lost(Timestamp::from_secs(second));
        }
        assert!(!watch.is_established(PTO), "6 s are not more than 6 s");
        watch.on_lost(Timestamp::from_millis(12_001));
        assert!(watch.is_established(PTO));
    }

    #[test]
    fn two_lost_lines_of_a_sparse_flow_are_not() {
        let mut watch = PersistentCongestion::default();
        watch.on_lost(Timestamp::from_secs(1));
        watch.on_lost(Timestamp::from_secs(60));
        assert!(!watch.is_established(PTO));
    }
}
