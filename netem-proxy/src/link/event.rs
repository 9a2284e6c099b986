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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    Blackout,
    Loss,
    Queue,
}

/// Events held until polled; beyond it the newest are only counted. 4096 of them are 160 KiB.
pub const MAX_EVENTS: usize = 4096;

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

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}
