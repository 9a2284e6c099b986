//! How much of the receive window one channel may take, and when its peer is told.
//!
//! The window of the connection bounds memory; that of a channel keeps one that waits for a lost packet, or floods, from
//! taking all of it and so holding up the others. It begins small, and doubles whenever the peer uses more than half of
//! it within two round trips: then it is the window that limits the flow. A peer that is told nothing of a channel is
//! bound by the connection's window alone.

use std::time::Duration;

use units::Timestamp;

#[derive(Debug)]
pub(super) struct ChannelWindow {
    size: u64,
    /// Right edge in the last ack that told one; 0: never told.
    told: u64,
    /// When, and what had been taken by then.
    told_at: Timestamp,
    taken_then: u64,
    /// Acks that still repeat it: any of them may get lost.
    repeats: u8,
    /// It waits in the list of those to look at.
    pub(super) is_listed: bool,
}

impl Default for ChannelWindow {
    fn default() -> Self {
        Self {
            size: WINDOW_START,
            told: 0,
            told_at: Timestamp::ZERO,
            taken_then: 0,
            repeats: 0,
            is_listed: false,
        }
    }
}

impl ChannelWindow {
    /// Notes what has been taken by now; `max` is the largest window. Whether there is something to tell.
    pub(super) fn on_taken(&mut self, now: Timestamp, taken: u64, rtt: Duration, max: u64) -> bool {
        if taken + self.size - self.told < self.size / UPDATE_SHARE && self.told != 0 {
            return false;
        }
        let is_fast = now.since(self.told_at) < rtt.saturating_mul(2);
        if self.told != 0 && is_fast && taken - self.taken_then > self.size / 2 {
            self.size = (self.size * 2).min(max);
        }
        if !is_fast || self.told == 0 {
            self.taken_then = taken;
            self.told_at = now;
        }
        self.told = self.told.max(taken + self.size.min(max));
        self.repeats = REPEATS;
        true
    }

    /// The edge to put into an ack that leaves now, and whether the next one should repeat it.
    pub(super) fn tell(&mut self) -> Option<(u64, bool)> {
        self.repeats = self.repeats.checked_sub(1)?;
        Some((self.told, self.repeats > 0))
    }

    /// The ack that [`Self::tell`] was for had no room for it.
    pub(super) fn untell(&mut self) {
        self.repeats = self.repeats.saturating_add(1).min(REPEATS);
    }

    /// The peer may have missed it.
    pub(super) fn repeat(&mut self) {
        if self.told != 0 {
            self.repeats = self.repeats.max(1);
        }
    }
}

/// What a channel is granted at first: TCP's largest window without scaling, and far more than chat needs.
const WINDOW_START: u64 = 65_536;
/// The peer is told when a quarter of the window was taken since.
const UPDATE_SHARE: u64 = 4;
/// One lost ack in ten, twice in a row: one window in a thousand waits for the peer's question.
const REPEATS: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(100);

    #[test]
    fn a_window_that_limits_the_flow_doubles_up_to_its_bound() {
        let mut window = ChannelWindow::default();
        let mut now = Timestamp::from_secs(1);
        assert!(window.on_taken(now, 0, RTT, 1 << 20));
        let mut edges = Vec::new();
        for _ in 0..40 {
            // A peer that always sends up to the edge within half a round trip.
            let taken = window.told;
            now += RTT / 2;
            assert!(window.on_taken(now, taken, RTT, 1 << 20));
            edges.push(window.told - taken);
        }
        assert!(edges.is_sorted() && edges.ends_with(&[1 << 20]), "{edges:?}");
    }

    #[test]
    fn a_slow_flow_is_told_each_quarter_and_keeps_its_window() {
        let mut window = ChannelWindow::default();
        window.on_taken(Timestamp::ZERO, 0, RTT, 1 << 20);
        let mut told = 0;
        for step in 1..=64 {
            told += u32::from(window.on_taken(Timestamp::from_secs(step), step * 1024, RTT, 1 << 20));
        }
        assert_eq!((told, window.size), (4, WINDOW_START));
    }
}
