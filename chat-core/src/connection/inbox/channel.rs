//! Receiving state of one channel: what has come, what waits for what comes before it, and what is not whole yet.

use std::collections::VecDeque;
use std::time::Duration;

use units::Timestamp;

use crate::connection::{Event, Incoming};
use crate::wire::{Content, Fragment, Frame, MsgType, Order};

#[derive(Debug, Default)]
pub(super) struct Channel {
    /// Every sequence number up to this one is settled: passed on, skipped, or outdated.
    floor: u64,
    /// Settled numbers above the floor, as disjoint ranges, ascending.
    settled: VecDeque<(u64, u64)>,
    /// Frames above the floor that wait, by sequence number.
    held: VecDeque<Held>,
    /// Pieces of an ordered message of which the rest is missing.
    partial: String,
    pieces: u32,
    /// When the newest of them came.
    piece_at: Timestamp,
    /// The newest latest-only message that was passed on.
    latest: u64,
    /// Window bytes of this channel that were handled, ever, and what the peer was told of it.
    pub(super) taken: u64,
    pub(super) window: super::window::ChannelWindow,
}

#[derive(Debug)]
pub(super) struct Held {
    pub(super) frame: Frame,
    at: Timestamp,
}

/// What a frame completed.
#[derive(Debug)]
pub(super) enum Completed {
    Event(Event),
    /// A latest-only message that is older than one passed on before.
    Outdated,
    /// A piece of an ordered message; more must come.
    Piece,
}

impl Held {
    /// A frame that came at `at`.
    pub(super) fn new(at: Timestamp, frame: Frame) -> Self {
        Self { frame, at }
    }
}

impl Channel {
    /// Whether this sequence number was handled, or waits.
    pub(super) fn knows(&self, sequence: u64) -> bool {
        if sequence <= self.floor {
            return true;
        }
        let at = self.settled.partition_point(|&(_, high)| high < sequence);
        self.settled.get(at).is_some_and(|&(low, _)| low <= sequence) || self.find(sequence).is_ok()
    }

    pub(super) fn floor(&self) -> u64 {
        self.floor
    }

    pub(super) fn partial_bytes(&self) -> u64 {
        self.partial.len() as u64
    }

    /// Frames that wait.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Frame> {
        self.held.iter().map(|held| &held.frame)
    }

    fn find(&self, sequence: u64) -> Result<usize, usize> {
        self.held.binary_search_by_key(&sequence, |held| held.frame.sequence_number)
    }

    /// Keeps a frame until what it waits for comes.
    pub(super) fn hold(&mut self, now: Timestamp, frame: Frame) {
        if let Err(at) = self.find(frame.sequence_number) {
            self.held.insert(at, Held { frame, at: now });
        }
    }

    /// Enters sequence numbers, both ends inclusive, as handled.
    pub(super) fn settle(&mut self, low: u64, high: u64) {
        let low = low.max(self.floor + 1);
        if low > high {
            return;
        }
        if low == self.floor + 1 && self.settled.is_empty() {
            self.floor = high;
            return;
        }
        // All ranges that touch the new one become one with it.
        let from = self.settled.partition_point(|&(_, end)| end + 1 < low);
        let to = self.settled.partition_point(|&(start, _)| start <= high + 1);
        let merged = self
            .settled
            .range(from..to)
            .fold((low, high), |(low, high), &(start, end)| (low.min(start), high.max(end)));
        if from == to {
            self.settled.insert(from, merged);
        } else {
            self.settled[from] = merged;
            self.settled.drain(from + 1..to);
        }
        if self.settled.front().is_some_and(|&(low, _)| low == self.floor + 1)
            && let Some((_, high)) = self.settled.pop_front()
        {
            self.floor = high;
        }
    }

    /// Whether a number may be entered: one that touches no other needs a place of its own.
    pub(super) fn has_place(&self, sequence: u64) -> bool {
        if self.settled.len() < MAX_SETTLED || sequence == self.floor + 1 {
            return true;
        }
        let at = self.settled.partition_point(|&(_, end)| end + 1 < sequence);
        self.settled.get(at).is_some_and(|&(start, _)| start <= sequence + 1)
    }

    /// Takes out what waits in a stretch of numbers, both ends inclusive.
    pub(super) fn drain_held(&mut self, low: u64, high: u64) -> impl Iterator<Item = Held> {
        let from = self.held.partition_point(|held| held.frame.sequence_number < low);
        let to = self.held.partition_point(|held| held.frame.sequence_number <= high);
        self.held.drain(from..to.max(from))
    }

    /// Whether something of the numbers from `first` on, `count` of them, is settled: a message of which that is so can
    /// not become whole any more.
    pub(super) fn is_broken(&self, first: u64, count: u64) -> bool {
        if first <= self.floor {
            return true;
        }
        let at = self.settled.partition_point(|&(_, high)| high < first);
        self.settled.get(at).is_some_and(|&(low, _)| low < first + count)
    }

    /// The next ordered frame whose turn has come, if it is here.
    pub(super) fn pop_in_order(&mut self) -> Option<Held> {
        let front = self.held.front()?;
        if front.frame.sequence_number != self.floor + 1 || front.frame.order != Order::Ordered {
            return None;
        }
        self.held.pop_front()
    }

    /// Drops the pieces that wait and lie in a skipped stretch of numbers, the rest of their message included. Each is
    /// given to `dropped`.
    pub(super) fn drop_pieces_of(&mut self, low: u64, high: u64, mut dropped: impl FnMut(&Frame)) {
        let mut at = 0;
        while let Some(held) = self.held.get(at) {
            let frame = &held.frame;
            let is_hit = frame.fragment.is_some_and(|Fragment { index, count }| {
                let first = frame.sequence_number.saturating_sub(u64::from(index));
                first <= high && low < first + u64::from(count)
            });
            if is_hit && frame.order != Order::Ordered {
                dropped(frame);
                let sequence = frame.sequence_number;
                self.held.remove(at);
                self.settle(sequence, sequence);
            } else {
                at += 1;
            }
        }
    }

    /// Takes the message out whose piece `sequence` has just come, if it is whole: its pieces, in order.
    pub(super) fn take_whole(&mut self, sequence: u64, fragment: Fragment) -> Option<Vec<Held>> {
        let first = sequence.checked_sub(u64::from(fragment.index)).filter(|&first| first > 0)?;
        let count = fragment.count as usize;
        let from = self.find(first).ok()?;
        let span = (first..).zip(0..fragment.count);
        let mut found = 0;
        for (held, (sequence, _)) in self.held.range(from..).zip(span) {
            // A frame in order may stand in between if the peer's numbers make no sense; it is no piece.
            if held.frame.sequence_number != sequence
                || held.frame.order == Order::Ordered
                || held.frame.fragment.is_none()
            {
                return None;
            }
            found += 1;
        }
        if found < count || count == 0 {
            return None;
        }
        Some(self.held.drain(from..from + count).collect())
    }

    /// The next frame in order. `limit` bounds what is put together, in bytes.
    pub(super) fn assemble(&mut self, now: Timestamp, held: Held, limit: u64) -> Completed {
        let Held { frame, at } = held;
        let Some(fragment) = frame.fragment else {
            return Completed::Event(Event::Message(incoming(frame, now.since(at))));
        };
        if fragment.index == 0 {
            self.forget_partial();
        }
        let too_long = (self.partial.len() + frame.content.len()) as u64 > limit;
        if fragment.index != self.pieces || too_long {
            self.forget_partial();
            // Pieces that follow a refused one are dropped with it; the peer is told once, at the first.
            let reason = if too_long { "message is larger than the limit" } else { "a fragment is missing" };
            if fragment.index == 0 || too_long {
                let reason = reason.to_owned();
                return Completed::Event(Event::Refused { msg_id: frame.msg_id, reason });
            }
            return Completed::Piece;
        }
        self.partial.push_str(frame.content.as_str());
        self.pieces += 1;
        self.piece_at = self.piece_at.max(at);
        if self.pieces < fragment.count {
            return Completed::Piece;
        }
        let (text, whole_at) = (std::mem::take(&mut self.partial), self.piece_at);
        self.forget_partial();
        Completed::Event(joined(frame, text, now.since(whole_at)))
    }

    /// The pieces of an ordered message are dropped.
    pub(super) fn forget_partial(&mut self) {
        self.partial.clear();
        self.pieces = 0;
        self.piece_at = Timestamp::ZERO;
    }

    /// A whole message that waits for nothing.
    pub(super) fn pass_on(&mut self, sequence: u64, order: Order, event: Event) -> Completed {
        if order == Order::Latest {
            if sequence < self.latest {
                return Completed::Outdated;
            }
            self.latest = sequence;
        }
        Completed::Event(event)
    }
}

/// Stretches of settled numbers above the floor that a channel remembers. Beyond it only what closes or widens one is
/// taken, so a hole can always be filled; honest peers have a handful.
const MAX_SETTLED: usize = 256;

/// Puts the pieces of a message together.
pub(super) fn join(pieces: Vec<Held>) -> Option<Event> {
    let count = pieces.len() as u32;
    let is_sound = |(index, held): (u32, &Held)| held.frame.fragment == Some(Fragment { index, count });
    let sound = (0..).zip(&pieces).all(is_sound);
    let text: String = pieces.iter().map(|held| held.frame.content.as_str()).collect();
    let frame = pieces.into_iter().next_back()?.frame;
    if !sound {
        let reason = "its fragments do not fit together".to_owned();
        return Some(Event::Refused { msg_id: frame.msg_id, reason });
    }
    Some(joined(frame, text, Duration::ZERO))
}

fn joined(mut frame: Frame, text: String, order_wait: Duration) -> Event {
    match Content::checked(text) {
        Ok(content) => {
            frame.content = content;
            Event::Message(incoming(frame, order_wait))
        }
        Err(error) => Event::Refused {
            msg_id: frame.msg_id,
            reason: format!("the joined fragments are not JSON: {error}"),
        },
    }
}

pub(super) fn incoming(frame: Frame, order_wait: Duration) -> Incoming {
    debug_assert!(frame.msg_type != MsgType::Skip, "a skip is no message");
    Incoming {
        msg_id: frame.msg_id,
        msg_type: frame.msg_type,
        sender: frame.sender,
        content: frame.content,
        timestamp_us: frame.timestamp_us,
        priority: frame.priority,
        channel: frame.channel,
        order: frame.order,
        order_wait,
    }
}
