//! Where a message's time went at its sender.
//!
//! A message cannot watch what holds it up, there may be thousands. Instead the connection keeps three clocks, each
//! running while the next message is held by one cause; what a message waited for is the difference between their
//! readings when it was queued and when it first left. That is exact, and costs the same for one message and for many.

use std::collections::VecDeque;
use std::time::Duration;

use units::Timestamp;

/// What a message waited for at its sender, from queueing to the transmission that was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Delays {
    /// For room in the congestion window.
    pub window: Duration,
    /// For its turn at the pacing rate.
    pub pacing: Duration,
    /// For room at the peer: in its receive window or that of the channel, or among the numbers and pieces that it
    /// remembers while something older is missing.
    pub flow: Duration,
    /// From the first transmission of its last piece to the transmission that completed it; zero if nothing of it had to
    /// be sent again after that.
    pub loss: Duration,
}

/// What holds up the next message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Hold {
    Window,
    Pacing,
    Flow,
}

/// A reading of the three clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    window: Duration,
    pacing: Duration,
    flow: Duration,
}

impl Held {
    /// What was waited for since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Delays {
        Delays {
            window: self.window.saturating_sub(earlier.window),
            pacing: self.pacing.saturating_sub(earlier.pacing),
            flow: self.flow.saturating_sub(earlier.flow),
            loss: Duration::ZERO,
        }
    }
}

/// The three clocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct HoldClock {
    held: Held,
    running: Option<Hold>,
    since: Timestamp,
}

impl HoldClock {
    /// From `now` on the next message is held up by `hold`, or by nothing.
    pub(crate) fn set(&mut self, now: Timestamp, hold: Option<Hold>) {
        if self.running != hold {
            self.held = self.read(now);
            self.since = now;
            self.running = hold;
        }
    }

    pub(crate) fn running(&self) -> Option<Hold> {
        self.running
    }

    pub(crate) fn read(&self, now: Timestamp) -> Held {
        let mut held = self.held;
        let elapsed = now.since(self.since);
        match self.running {
            None => {}
            Some(Hold::Window) => held.window += elapsed,
            Some(Hold::Pacing) => held.pacing += elapsed,
            Some(Hold::Flow) => held.flow += elapsed,
        }
        held
    }
}

/// What the messages under way waited for: a ring by their consecutive numbers.
#[derive(Debug, Default)]
pub(crate) struct WaitLog {
    waits: VecDeque<Wait>,
    /// Number of the message at the front.
    first: u64,
}

#[derive(Clone, Copy, Debug)]
struct Wait {
    queued: Held,
    delays: Delays,
    has_left: bool,
    /// When its last piece left for the first time.
    last_fresh: Timestamp,
    is_done: bool,
}

impl WaitLog {
    /// Message `number` was queued, the one after the last.
    pub(crate) fn on_queued(&mut self, number: u64, held: Held) {
        if self.waits.is_empty() {
            self.first = number;
        }
        if self.waits.len() == WAITS_MAX {
            self.waits.pop_front();
            self.first += 1;
        }
        let (delays, last_fresh) = (Delays::default(), Timestamp::ZERO);
        self.waits.push_back(Wait { queued: held, delays, has_left: false, last_fresh, is_done: false });
    }

    /// A piece of it left for the first time.
    pub(crate) fn on_fresh(&mut self, now: Timestamp, number: u64, held: Held) {
        let Some(wait) = self.get_mut(number) else {
            return;
        };
        if !wait.has_left {
            wait.has_left = true;
            wait.delays = held.since(wait.queued);
        }
        wait.last_fresh = now;
    }

    /// Its last missing piece was acknowledged, by the transmission that left at `sent_at`.
    pub(crate) fn on_acked(&mut self, number: u64, sent_at: Timestamp) -> Delays {
        let Some(wait) = self.get_mut(number) else {
            return Delays::default();
        };
        wait.is_done = true;
        let delays = Delays { loss: sent_at.since(wait.last_fresh), ..wait.delays };
        self.forget_done();
        delays
    }

    /// It was given up.
    pub(crate) fn on_failed(&mut self, number: u64) {
        if let Some(wait) = self.get_mut(number) {
            wait.is_done = true;
        }
        self.forget_done();
    }

    fn forget_done(&mut self) {
        while self.waits.front().is_some_and(|wait| wait.is_done) {
            self.waits.pop_front();
            self.first += 1;
        }
    }

    fn get_mut(&mut self, number: u64) -> Option<&mut Wait> {
        self.waits.get_mut(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

/// Messages between the oldest that is not settled and the newest; of one that is overtaken by more than four times the
/// messages that may be queued at all, the delays are not known any more and told as zero.
const WAITS_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_message_sees_its_own_share_of_what_held_all() {
        let mut clock = HoldClock::default();
        let early = clock.read(at(0));
        clock.set(at(10), Some(Hold::Window));
        let late = clock.read(at(25));
        clock.set(at(30), Some(Hold::Pacing));
        clock.set(at(32), None);
        let end = clock.read(at(100));
        assert_eq!(end.since(early), Delays { window: ms(20), pacing: ms(2), ..Delays::default() });
        assert_eq!(end.since(late), Delays { window: ms(5), pacing: ms(2), ..Delays::default() });
    }

    #[test]
    fn a_message_remembers_its_waits_until_it_is_settled_in_any_order() {
        let (mut clock, mut log) = (HoldClock::default(), WaitLog::default());
        log.on_queued(0, clock.read(at(0)));
        clock.set(at(0), Some(Hold::Flow));
        log.on_queued(1, clock.read(at(4)));
        clock.set(at(10), None);
        log.on_fresh(at(10), 0, clock.read(at(10)));
        log.on_fresh(at(12), 1, clock.read(at(12)));
        assert_eq!(log.on_acked(1, at(132)), Delays { flow: ms(6), loss: ms(120), ..Delays::default() });
        assert_eq!(log.waits.len(), 2, "the older one is still under way");
        assert_eq!(log.on_acked(0, at(10)), Delays { flow: ms(10), ..Delays::default() });
        assert!(log.waits.is_empty());
    }
}
