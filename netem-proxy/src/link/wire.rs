//! What left the bottleneck and has not arrived.
//!
//! Packets whose due times come in order, which is nearly all of them, stand in a ring; only what overtakes or is
//! overtaken goes through a heap. Ties in time leave in the order in which they were put on the wire.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use units::Timestamp;

use super::parcel::Parcel;

#[derive(Debug)]
pub(super) struct Wire<P> {
    line: VecDeque<InFlight<P>>,
    strays: BinaryHeap<InFlight<P>>,
    next_seq: u64,
}

#[derive(Debug)]
pub(super) struct InFlight<P> {
    pub(super) due: Timestamp,
    /// Breaks ties in time.
    seq: u64,
    pub(super) parcel: Parcel<P>,
}

impl<P> Wire<P> {
    pub(super) fn new() -> Self {
        Self { line: VecDeque::new(), strays: BinaryHeap::new(), next_seq: 0 }
    }

    pub(super) fn push(&mut self, due: Timestamp, parcel: Parcel<P>) {
        let in_flight = InFlight { due, seq: self.next_seq, parcel };
        self.next_seq += 1;
        // A packet held back far behind the others would make strays of all that follow it.
        let is_in_line =
            !in_flight.parcel.fate.is_held_back && self.line.back().is_none_or(|last| last.due <= due);
        if is_in_line {
            self.line.push_back(in_flight);
        } else {
            self.strays.push(in_flight);
        }
    }

    pub(super) fn next_due(&self) -> Option<Timestamp> {
        match (self.line.front(), self.strays.peek()) {
            (Some(line), Some(stray)) => Some(line.due.min(stray.due)),
            (Some(one), None) | (None, Some(one)) => Some(one.due),
            (None, None) => None,
        }
    }

    pub(super) fn pop_due(&mut self, now: Timestamp) -> Option<InFlight<P>> {
        let stray_is_first = match (self.line.front(), self.strays.peek()) {
            (Some(line), Some(stray)) => stray.key() < line.key(),
            (line, _) => line.is_none(),
        };
        if !stray_is_first {
            return self.line.pop_front_if(|first| first.due <= now);
        }
        if self.strays.peek()?.due > now {
            return None;
        }
        self.strays.pop()
    }

    /// Whether nothing on it can be overtaken by what it carries already.
    pub(super) fn is_in_line(&self) -> bool {
        self.strays.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.line.clear();
        self.strays.clear();
    }
}

impl<P> InFlight<P> {
    fn key(&self) -> (Timestamp, u64) {
        (self.due, self.seq)
    }
}

impl<P> Ord for InFlight<P> {
    /// The earliest is the greatest: `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl<P> PartialOrd for InFlight<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for InFlight<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for InFlight<P> {}
