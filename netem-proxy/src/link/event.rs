//! The trace of drops, for those who ask.
//!
//! Off by default: most drivers only need counters. Bounded, so that a trace nobody reads cannot eat the memory of
//! the program that forgot about it.

use std::collections::VecDeque;

use units::{ByteCount, Timestamp};

/// One packet dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    pub at: Timestamp,
    /// Which packet offered to the link, counted from 1.
    pub number: u64,
    pub size: ByteCount,
    pub cause: DropCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DropCause {
    Blackout,
    Loss,
    Queue,
}

/// Events held until polled; beyond it the newest are only counted. 4096 of them are 160 KiB.
pub const MAX_EVENTS: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct EventLog {
    is_on: bool,
    events: VecDeque<LinkEvent>,
    missed: u64,
}

impl EventLog {
    pub(super) fn new(is_on: bool) -> Self {
        Self { is_on, ..Self::default() }
    }

    pub(super) fn push(&mut self, event: LinkEvent) {
        if !self.is_on {
            return;
        }
        if self.events.len() < MAX_EVENTS {
            self.events.push_back(event);
        } else {
            self.missed += 1;
        }
    }

    pub(super) fn pop(&mut self) -> Option<LinkEvent> {
        self.events.pop_front()
    }

    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}
