//! The trace of drops, for those who ask.
//!
//! Off by default: most drivers only need counters. Bounded, so that a trace nobody reads cannot eat the memory of
//! the program that forgot about it.

use std::collections::VecDeque;

use units::Timestamp;

use super::meta::Meta;

/// One packet dropped, and the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent<P> {
    pub at: Timestamp,
    /// Which packet offered to the link, counted from 1.
    pub number: u64,
    /// Whether it was the second of two.
    pub copy: bool,
    pub meta: Meta,
    pub cause: DropCause,
    pub packet: P,
}

/// Which stage dropped a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// Larger than the MTU.
    Mtu,
    /// Arrived while the link was dark.
    Blackout,
    /// Arrived in a down time of a flap.
    Flap,
    /// More packets than [`MAX_HELD`] waited for a gate to open.
    Hold,
    /// Loss before the queue.
    Loss,
    /// Loss behind the bottleneck.
    LossWire,
    /// The queue was full.
    Queue,
    /// CoDel, alone or in each queue of FQ-CoDel.
    CoDel,
    Pie,
    Red,
    /// FQ-CoDel was full and took from the longest queue.
    Fq,
}

impl DropCause {
    pub const ALL: [DropCause; 11] = [
        DropCause::Mtu,
        DropCause::Blackout,
        DropCause::Flap,
        DropCause::Hold,
        DropCause::Loss,
        DropCause::LossWire,
        DropCause::Queue,
        DropCause::CoDel,
        DropCause::Pie,
        DropCause::Red,
        DropCause::Fq,
    ];

    /// A word for tables and logs; the counter is `dropped_` and this.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            DropCause::Mtu => "mtu",
            DropCause::Blackout => "blackout",
            DropCause::Flap => "flap",
            DropCause::Hold => "hold",
            DropCause::Loss => "loss",
            DropCause::LossWire => "loss_wire",
            DropCause::Queue => "queue",
            DropCause::CoDel => "codel",
            DropCause::Pie => "pie",
            DropCause::Red => "red",
            DropCause::Fq => "fq",
        }
    }
}

/// Packets that wait for a gate to open; the next one is dropped. A second of 64,000 packets a second, some 10 MiB
/// without the packets themselves.
pub const MAX_HELD: usize = 65_536;

/// Events held until polled; beyond it the newest are only counted. A gate that opens can drop all it held, and the
/// copy of each, in one call.
pub const MAX_EVENTS: usize = 2 * MAX_HELD;

#[derive(Debug)]
pub(super) struct EventLog<P> {
    is_on: bool,
    events: VecDeque<LinkEvent<P>>,
    missed: u64,
}

impl<P> Default for EventLog<P> {
    fn default() -> Self {
        Self::new(false)
    }
}

impl<P> EventLog<P> {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, events: VecDeque::new(), missed: 0 }
    }

    pub(super) fn push(&mut self, event: LinkEvent<P>) {
        if !self.is_on {
            return;
        }
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.missed += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<LinkEvent<P>> {
        self.events.pop_front()
    }

    pub(super) fn take_missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}
