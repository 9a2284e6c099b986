//! Sending state of one channel: what waits in it, and the sequence numbers it has given.

use std::collections::VecDeque;

use super::SegmentKey;
use super::slab::Slot;
use crate::wire::Priority;

#[derive(Debug)]
pub(super) struct Channel {
    /// Share of its priority's turns, relative to the other channels.
    pub(super) weight: u32,
    pub(super) last_sequence: u64,
    pub(super) queues: [Queue; Priority::ALL.len()],
    /// Messages that have sequence numbers, oldest first, with their first number; finished ones leave at the front.
    pub(super) started: VecDeque<(u64, Slot)>,
    /// The newest latest-only message, while it is not finished.
    pub(super) latest: Option<Slot>,
    /// Content bytes of segments sent at least once, ever.
    pub(super) window_used: u64,
    /// Right edge of the peer's window for this channel; unlimited until it tells one.
    pub(super) window_end: u64,
}

/// What waits in one priority.
#[derive(Debug, Default)]
pub(super) struct Queue {
    pub(super) lost: VecDeque<SegmentKey>,
    pub(super) fresh: VecDeque<SegmentKey>,
    /// Live segments in `fresh`.
    pub(super) unsent: u32,
    /// In the scheduler's ring.
    pub(super) is_active: bool,
    /// Bytes it may send before the next channel's turn.
    pub(super) deficit: u64,
}

impl Channel {
    pub(super) fn new() -> Self {
        Self {
            weight: 1,
            last_sequence: 0,
            queues: Default::default(),
            started: VecDeque::new(),
            latest: None,
            window_used: 0,
            window_end: u64::MAX,
        }
    }

    /// The queue for a message in order: its own priority, or the later one of what waits already, which it must not
    /// overtake.
    pub(super) fn queue_in_order(&self, priority: Priority) -> Priority {
        let waiting = Priority::ALL.into_iter().rev().find(|&queue| self.queues[queue as usize].unsent > 0);
        waiting.map_or(priority, |waiting| waiting.max(priority))
    }
}
