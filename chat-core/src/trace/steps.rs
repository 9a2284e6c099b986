//! What happened to single messages on their way to the peer: each loss, each repetition, each timer that went off.
//!
//! For whoever asks why one message took so long. A message that nothing happens to, which are most, costs nothing even
//! while the log is on: its steps begin with its first trouble, which names the packet that it had left in. The log is off
//! by default and then costs one branch.

use std::collections::BTreeMap;

use units::Timestamp;

use super::LossReason;

/// One thing that happened to a message at its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    pub at: Timestamp,
    /// In which packet, or about which.
    pub packet: u64,
    pub kind: StepKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// It, or a piece of it, left for the first time.
    Sent,
    /// The packet was declared lost.
    Lost(LossReason),
    /// It left again, and why its last transmission counted as lost.
    Retransmitted(LossReason),
    /// A copy left before anything was known to be lost.
    Copied,
    /// It left again to ask for an ack of the tail.
    Probed,
    /// The retransmission or probe timer went off while the packet was in flight.
    TimedOut,
    /// The packet had been declared lost, and was acknowledged after all.
    Spurious,
    /// The last missing piece was acknowledged, by this packet.
    Acked,
}

/// The steps of messages that are under way.
#[derive(Clone, Debug, Default)]
pub(crate) struct StepLog {
    is_on: bool,
    /// By the number of the message; only those that something happened to.
    steps: BTreeMap<u64, Vec<Step>>,
    left_out: u64,
}

impl StepLog {
    pub(crate) fn set_on(&mut self, on: bool) {
        self.is_on = on;
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Something happened to a message whose last packet so far was `packet`, which left at `sent_at`.
    pub(crate) fn push(&mut self, message: u64, sent: (Timestamp, u64), step: Step) {
        if !self.is_on {
            return;
        }
        let is_known = self.steps.contains_key(&message);
        if !is_known && self.steps.len() == MESSAGES_MAX {
            self.left_out += 1;
            return;
        }
        let steps = self.steps.entry(message).or_default();
        let (sent_at, packet) = sent;
        let left_before = steps.iter().any(|step| step.packet == packet && step.kind.leaves());
        if !left_before && sent_at < step.at {
            self.left_out += keep(steps, Step { at: sent_at, packet, kind: StepKind::Sent });
        }
        self.left_out += keep(steps, step);
    }

    /// The same, if something had happened to it before.
    pub(crate) fn push_on(&mut self, message: u64, step: Step) {
        if let Some(steps) = self.steps.get_mut(&message) {
            self.left_out += keep(steps, step);
        }
    }

    /// What happened to a message, in order of time; it is forgotten.
    pub(crate) fn take(&mut self, message: u64) -> Vec<Step> {
        let mut steps = self.steps.remove(&message).unwrap_or_default();
        // A piece that left early may get into trouble late.
        steps.sort_by_key(|step| step.at);
        steps
    }

    /// Steps for which there was no room.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl StepKind {
    /// Whether the message left with it.
    #[must_use]
    pub fn leaves(self) -> bool {
        matches!(self, Self::Sent | Self::Retransmitted(_) | Self::Copied | Self::Probed)
    }
}

/// How many had no room: the end of a long story is kept in place of its middle.
fn keep(steps: &mut Vec<Step>, step: Step) -> u64 {
    let is_full = steps.len() == STEPS_MAX;
    if is_full {
        steps.remove(STEPS_MAX / 2);
    }
    steps.push(step);
    u64::from(is_full)
}

/// Of one message; a line that was sent twenty times has about sixty.
pub const STEPS_MAX: usize = 64;
/// Messages in trouble at once that are told of: as many as may wait in a queue of a client. What happens to further ones
/// is counted.
const MESSAGES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn lost(ms: u64, packet: u64) -> Step {
        Step { at: at(ms), packet, kind: StepKind::Lost(LossReason::Timeout) }
    }

    #[test]
    fn a_log_that_is_off_keeps_nothing() {
        let mut log = StepLog::default();
        log.push(0, (at(0), 1), lost(5, 1));
        assert_eq!((log.take(0), log.left_out()), (Vec::new(), 0));
    }

    #[test]
    fn steps_begin_with_the_packet_that_met_trouble_and_are_in_order_of_time() {
        let mut log = StepLog::default();
        log.set_on(true);
        log.push(7, (at(10), 4), lost(90, 4));
        log.push(7, (at(11), 5), lost(95, 5));
        log.push_on(7, Step { at: at(140), packet: 6, kind: StepKind::Acked });
        log.push_on(8, Step { at: at(140), packet: 6, kind: StepKind::Acked });
        let steps: Vec<_> = log.take(7).into_iter().map(|step| (step.at, step.packet)).collect();
        assert_eq!(steps, [(at(10), 4), (at(11), 5), (at(90), 4), (at(95), 5), (at(140), 6)]);
        assert!(log.take(7).is_empty() && log.take(8).is_empty());
    }

    #[test]
    fn a_long_story_loses_its_middle_and_says_so() {
        let mut log = StepLog::default();
        log.set_on(true);
        (0..100).for_each(|ms| log.push(1, (at(0), 1), lost(ms + 1, 1)));
        assert_eq!(log.left_out(), 101 - STEPS_MAX as u64);
        let steps = log.take(1);
        assert_eq!((steps.len(), steps[0].at, steps[STEPS_MAX - 1].at), (STEPS_MAX, at(0), at(100)));
    }

    #[test]
    fn messages_beyond_the_bound_are_counted() {
        let mut log = StepLog::default();
        log.set_on(true);
        (0..=MESSAGES_MAX as u64).for_each(|message| log.push(message, (at(0), 1), lost(5, 1)));
        assert_eq!((log.left_out(), log.steps.len()), (1, MESSAGES_MAX));
    }
}
