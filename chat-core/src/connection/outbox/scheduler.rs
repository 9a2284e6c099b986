//! Whose turn it is: strict priority, and within a priority a deficit round robin over the channels with something to
//! send (Shreedhar and Varghese, 1995).
//!
//! A channel may send a quantum times its weight, then it is the next one's turn. The quantum is one segment, so a large
//! message takes turns with whatever else waits, fragment by fragment (the aim of RFC 8260), and a small message on another
//! channel waits for one segment of it at most.

use std::collections::VecDeque;

use super::channel::Channel;
use super::{Head, Outbox, Pick};
use crate::wire::Priority;

/// The channels that have something to send, by priority; the one at the front has its turn.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    rings: [VecDeque<u32>; Priority::ALL.len()],
}

impl Scheduler {
    /// Whether no channel has a place in any ring.
    pub(super) fn is_empty(&self) -> bool {
        self.rings.iter().all(VecDeque::is_empty)
    }

    /// Gives a channel a place at the end of its priority's ring, if it has none.
    pub(super) fn activate(&mut self, channels: &mut [Channel], index: u32, class: Priority) {
        let queue = &mut channels[index as usize].queues[class as usize];
        if queue.is_active {
            return;
        }
        queue.is_active = true;
        queue.deficit = 0;
        self.rings[class as usize].push_back(index);
    }
}

impl Outbox {
    /// The segment whose turn it is in one priority. Asking again gives the same until it is sent.
    pub(super) fn turn(&mut self, class: Priority, window_end: u64) -> Option<Pick> {
        let mut blocked = 0;
        while let Some(&index) = self.scheduler.rings[class as usize].front() {
            match self.head(index, class, window_end) {
                Head::Empty => {
                    self.scheduler.rings[class as usize].pop_front();
                    self.channels[index as usize].queues[class as usize].is_active = false;
                }
                Head::Blocked => {
                    blocked += 1;
                    self.channels[index as usize].queues[class as usize].deficit = 0;
                    self.next_turn(class);
                    if blocked >= self.scheduler.rings[class as usize].len() {
                        return None;
                    }
                }
                Head::Segment(pick) => {
                    let size = self.size(pick).as_u64();
                    if self.channels[index as usize].queues[class as usize].deficit >= size {
                        return Some(pick);
                    }
                    // Its turn is over, or has just begun.
                    blocked = 0;
                    self.next_turn(class);
                }
            }
        }
        None
    }

    fn next_turn(&mut self, class: Priority) {
        let ring = &mut self.scheduler.rings[class as usize];
        ring.rotate_left(1);
        if let Some(&index) = ring.front() {
            let channel = &mut self.channels[index as usize];
            channel.queues[class as usize].deficit += QUANTUM * u64::from(channel.weight);
        }
    }
}

/// What a channel of weight 1 may send in a turn, in bytes: a segment of the largest datagram. More would let a large
/// message delay a small one longer; less would only make the rings turn more often.
const QUANTUM: u64 = 1200;
