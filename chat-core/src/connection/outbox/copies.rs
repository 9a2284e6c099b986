//! Segments that are sent again before they are known to be lost.
//!
//! The [`Plan`] says what is wanted; here is the memory of what could be copied, and when. Nothing here decides whether a
//! copy fits the congestion window: who asks must, and tells with [`Outbox::withhold_copies`] when it does not. A copy
//! that cannot leave in its time is not made up for later: by then it would only add to a queue.

use std::collections::VecDeque;
use std::time::Duration;

use units::Timestamp;

use super::{Kind, Outbox, Pick, SegmentKey};
use crate::connection::redundancy::Plan;

#[derive(Debug, Default)]
pub(super) struct Copies {
    plan: Plan,
    /// Retransmissions that are to be sent a second time, in the order of `due`.
    echoes: VecDeque<Echo>,
    /// Segments sent for the first time lately, oldest first.
    recent: VecDeque<Recent>,
    /// Counts the packets that carried something new.
    turn: u64,
    /// The packet that had this turn.
    turn_packet: u64,
}

#[derive(Debug)]
struct Echo {
    key: SegmentKey,
    /// From when on it may ride in another packet: back to back, both copies would share the fate of one burst.
    not_before: Timestamp,
    /// When it leaves in a packet of its own.
    due: Timestamp,
}

#[derive(Debug)]
struct Recent {
    key: SegmentKey,
    turn: u64,
    /// Copies made.
    made: u8,
    /// The packet of the last one, or of the first transmission.
    packet: u64,
    /// When a copy leaves in a packet of its own; `None`: copies only ride.
    solo_at: Option<Timestamp>,
}

impl Copies {
    /// Whether nothing is remembered.
    fn is_empty(&self) -> bool {
        self.echoes.is_empty() && self.recent.is_empty()
    }

    /// A retransmission left.
    pub(super) fn on_resent(&mut self, now: Timestamp, key: SegmentKey) {
        if self.plan.echo {
            let key = SegmentKey { kind: Kind::Copy, ..key };
            bounded_push(&mut self.echoes, Echo { key, not_before: now + ECHO_MIN, due: now + ECHO_MAX });
        }
    }

    /// A segment left for the first time. `is_eager`: it is not held up by what comes before it, so its copies should not
    /// wait for the next packets.
    pub(super) fn on_first_sent(&mut self, now: Timestamp, key: SegmentKey, packet: u64, is_eager: bool) {
        if self.turn_packet != packet {
            self.turn_packet = packet;
            self.turn += 1;
        }
        if self.plan.copies == 0 {
            return;
        }
        let is_solo = self.plan.solo_all || is_eager && self.plan.solo_eager;
        let solo_at = is_solo.then(|| now + self.plan.solo_delay);
        let key = SegmentKey { kind: Kind::Copy, ..key };
        bounded_push(&mut self.recent, Recent { key, turn: self.turn, made: 0, packet, solo_at });
    }

    pub(super) fn on_copy_sent(&mut self, now: Timestamp, key: SegmentKey, packet: u64) {
        self.echoes.retain(|echo| !echo.key.is_same_segment(key));
        if let Some(recent) = self.recent.iter_mut().find(|recent| recent.key.is_same_segment(key)) {
            recent.made += 1;
            recent.packet = packet;
            recent.solo_at = recent.solo_at.map(|_| now + self.plan.solo_delay);
        }
    }
}

impl Recent {
    /// Whether a copy should ride in `packet`, the packet of turn `turn`.
    fn rides(&self, plan: &Plan, turn: u64, packet: u64) -> bool {
        let wanted = &plan.offsets[..usize::from(plan.copies).min(plan.offsets.len())];
        self.packet != packet && wanted.iter().any(|&offset| self.turn + u64::from(offset) == turn)
    }
}

impl Outbox {
    pub(crate) fn set_plan(&mut self, plan: Plan) {
        self.copies.plan = plan;
    }

    /// Bytes of the congestion window that a copy leaves free, at least.
    pub(crate) fn copy_reserve(&self) -> u64 {
        self.copies.plan.reserve
    }

    /// A copy to put into `packet`, which holds `written` so far, or to send alone if nothing is in it.
    pub(crate) fn next_copy(&mut self, now: Timestamp, packet: u64, written: &[SegmentKey]) -> Option<Pick> {
        if self.copies.is_empty() {
            return None;
        }
        self.forget_settled();
        let copies = &self.copies;
        let plan = copies.plan;
        let is_fit = |key: SegmentKey| !written.iter().any(|other| other.is_same_segment(key));
        let echo = copies.echoes.iter().find(|echo| {
            let from = if written.is_empty() { echo.due } else { echo.not_before };
            from <= now && is_fit(echo.key)
        });
        if let Some(echo) = echo {
            return Some(echo.key);
        }
        let carries_new = copies.turn_packet == packet && !written.is_empty();
        // The newest first: they have the most to gain.
        let recent = copies.recent.iter().rev().find(|recent| {
            recent.made < plan.copies
                && is_fit(recent.key)
                && (carries_new && recent.rides(&plan, copies.turn, packet)
                    || recent.solo_at.is_some_and(|at| at <= now))
        })?;
        Some(recent.key)
    }

    /// When the next copy leaves in a packet of its own.
    pub(crate) fn copy_deadline(&self) -> Option<Timestamp> {
        if self.copies.is_empty() {
            return None;
        }
        let alive = |key: SegmentKey| self.segments.get(key.slot).is_some();
        let echo = self.copies.echoes.iter().find(|echo| alive(echo.key)).map(|echo| echo.due);
        let solo = self
            .copies
            .recent
            .iter()
            .filter(|recent| recent.made < self.copies.plan.copies && alive(recent.key));
        let solo = solo.filter_map(|recent| recent.solo_at).min();
        echo.into_iter().chain(solo).min()
    }

    /// There is no room for the copies that are due: they are left out. Returns how many.
    pub(crate) fn withhold_copies(&mut self, now: Timestamp) -> u64 {
        let copies = &mut self.copies;
        let before = copies.echoes.len();
        copies.echoes.retain(|echo| echo.due > now);
        let mut withheld = (before - copies.echoes.len()) as u64;
        for recent in &mut copies.recent {
            if recent.made < copies.plan.copies && recent.solo_at.is_some_and(|at| at <= now) {
                recent.solo_at = None;
                withheld += 1;
            }
        }
        withheld
    }

    /// Drops what was acknowledged, or is known to be lost and waits to be sent again anyway.
    fn forget_settled(&mut self) {
        let (segments, messages) = (&self.segments, &self.messages);
        let is_open = |key: SegmentKey| {
            segments.get(key.slot).is_some_and(|segment| {
                !segment.queued
                    && messages
                        .get(segment.message)
                        .is_some_and(|message| !message.failed && message.doomed.is_none())
            })
        };
        self.copies.echoes.retain(|echo| is_open(echo.key));
        let reach = self.copies.plan.reach();
        let turn = self.copies.turn;
        self.copies.recent.retain(|recent| {
            is_open(recent.key) && (recent.solo_at.is_some() || recent.turn + reach >= turn)
        });
    }
}

fn bounded_push<T>(queue: &mut VecDeque<T>, value: T) {
    // The oldest has had its chance.
    if queue.len() == MAX_REMEMBERED {
        queue.pop_front();
    }
    queue.push_back(value);
}

/// A second copy of a retransmission rides with what leaves from here on …
const ECHO_MIN: Duration = Duration::from_millis(1);
/// … and leaves alone after this: long enough for a short burst to be over, short against any round trip that hurts.
const ECHO_MAX: Duration = Duration::from_millis(4);
/// Segments that may still be copied: a thin flow has far fewer under way.
const MAX_REMEMBERED: usize = 32;
