//! Whether the path carries ECN marks, and what they say (RFC 9000 section 13.4.2).
//!
//! The peer counts the codepoints of the packets that it receives. If its counts do not add up with what was sent, the
//! path clears or rewrites marks, and a sender that relied on them would not hear of congestion; then it sends unmarked
//! for the rest of the path.

use crate::path::Ecn;
use crate::wire::EcnCounts;

/// One direction of one path.
#[derive(Clone, Debug, Default)]
pub(crate) struct EcnPath {
    is_wanted: bool,
    has_failed: bool,
    /// Packets sent with ECT(0), ever.
    sent: u64,
    /// Of these on this path, lost before any was acknowledged.
    lost_first: u64,
    any_acked: bool,
    /// Counts of the latest ack.
    told: EcnCounts,
}

impl EcnPath {
    pub(crate) fn new(is_wanted: bool) -> Self {
        Self { is_wanted, ..Self::default() }
    }

    /// The path is another, and may treat marks otherwise. The peer's counts go on.
    pub(crate) fn on_new_path(&mut self, is_wanted: bool) {
        *self = Self { is_wanted, sent: self.sent, told: self.told, ..Self::default() };
    }

    /// The codepoint for the next packets.
    pub(crate) fn codepoint(&self) -> Ecn {
        if self.is_wanted && !self.has_failed { Ecn::Ect0 } else { Ecn::NotEct }
    }

    pub(crate) fn on_sent(&mut self) {
        self.sent += u64::from(self.codepoint() == Ecn::Ect0);
    }

    /// A marked packet was lost. A path that drops all of the first ones drops them for their mark (section 13.4.2.1).
    pub(crate) fn on_lost(&mut self) {
        if !self.any_acked {
            self.lost_first += 1;
            self.has_failed |= self.lost_first >= FIRST_PACKETS;
        }
    }

    /// An ack that moved the largest number forward, with `acked` marked packets newly acknowledged. Returns how many
    /// packets were newly reported as marked by a queue.
    pub(crate) fn on_ack(&mut self, acked: u64, counts: Option<EcnCounts>) -> u64 {
        if !self.is_wanted || self.has_failed {
            return 0;
        }
        self.any_acked |= acked > 0;
        let Some(counts) = counts else {
            self.has_failed |= acked > 0;
            return 0;
        };
        let before = std::mem::replace(&mut self.told, counts);
        // Both are the peer's own numbers: a sum that overflows cannot be right.
        let marked = |counts: EcnCounts| counts.ect0.checked_add(counts.ce);
        let grown = marked(counts).zip(marked(before)).and_then(|(now, then)| now.checked_sub(then));
        let shrank = counts.ce < before.ce || counts.ect0 < before.ect0;
        // Marks that nobody sent, fewer than were acknowledged, or more than were sent.
        let is_wrong = shrank
            || counts.ect1 != before.ect1
            || grown.is_none_or(|grown| grown < acked)
            || counts.ect0.saturating_add(counts.ce) > self.sent;
        if is_wrong {
            self.has_failed = true;
            return 0;
        }
        counts.ce - before.ce
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }
}

/// RFC 9000 section 13.4.2: the first ten packets of a path test it.
const FIRST_PACKETS: u64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn path(sent: u64) -> EcnPath {
        let mut path = EcnPath::new(true);
        for _ in 0..sent {
            path.on_sent();
        }
        path
    }

    fn counts(ect0: u64, ect1: u64, ce: u64) -> Option<EcnCounts> {
        Some(EcnCounts { ect0, ect1, ce })
    }

    #[test]
    fn marks_of_a_queue_are_told_once() {
        let mut path = path(10);
        assert_eq!(path.on_ack(3, counts(3, 0, 0)), 0);
        assert_eq!(path.on_ack(3, counts(4, 0, 2)), 2);
        assert_eq!(path.on_ack(1, counts(5, 0, 2)), 0);
        assert_eq!(path.codepoint(), Ecn::Ect0);
    }

    #[test]
    fn a_path_that_changes_marks_is_not_trusted() {
        for wrong in [
            None,
            counts(2, 0, 0),
            counts(3, 1, 0),
            counts(11, 0, 0),
            counts(0, 3, 0),
            counts(u64::MAX, 0, 9),
        ] {
            let mut path = path(10);
            assert_eq!(path.on_ack(3, wrong), 0);
            assert_eq!(path.codepoint(), Ecn::NotEct, "{wrong:?}");
            path.on_new_path(true);
            assert_eq!(path.codepoint(), Ecn::Ect0, "another path, another try");
        }
        let mut path = path(10);
        path.on_ack(3, counts(2, 0, 1));
        path.on_ack(1, counts(4, 0, 0));
        assert!(path.has_failed(), "counts never shrink");
    }

    #[test]
    fn ten_lost_first_packets_end_the_trial_and_an_ack_saves_it() {
        let mut path = path(20);
        for _ in 0..9 {
            path.on_lost();
        }
        assert_eq!(path.codepoint(), Ecn::Ect0);
        path.on_lost();
        assert_eq!(path.codepoint(), Ecn::NotEct);
        let mut path = self::path(40);
        path.on_ack(1, counts(1, 0, 0));
        for _ in 0..30 {
            path.on_lost();
        }
        assert_eq!(path.codepoint(), Ecn::Ect0);
    }
}
