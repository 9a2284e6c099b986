//! What waits before the bottleneck.
//!
//! Drop-tail only: the packet that finds the queue full is the one that goes. A queue discipline that drops others
//! (CoDel, at departure) is another type with the same place in the chain.

use std::collections::VecDeque;

use units::{ByteCount, Timestamp};

use crate::profile::QueueLimit;

/// Packets that have not been sent to their last bit, the one in service included.
#[derive(Debug)]
pub(super) struct Queue {
    limit: QueueLimit,
    /// When each is sent, and its size; in that order.
    waiting: VecDeque<(Timestamp, ByteCount)>,
    bytes: ByteCount,
}

impl Queue {
    /// [`QueueLimit::Default`], in packets: the limit of Linux' netem.
    pub(super) const DEFAULT_PACKETS: u64 = 1000;

    pub(super) fn new(limit: QueueLimit) -> Self {
        Self { limit, waiting: VecDeque::new(), bytes: ByteCount::ZERO }
    }

    /// A lower limit drops nobody who waits already.
    pub(super) fn configure(&mut self, limit: QueueLimit) {
        self.limit = limit;
    }

    /// Forgets what was sent by `now`.
    pub(super) fn advance(&mut self, now: Timestamp) {
        while let Some((_, size)) = self.waiting.pop_front_if(|(sent, _)| *sent <= now) {
            self.bytes -= size;
        }
    }

    /// Whether one more packet of `size` fits.
    pub(super) fn has_room(&self, size: ByteCount) -> bool {
        let packets = self.waiting.len() as u64;
        match self.limit {
            QueueLimit::Infinite => true,
            QueueLimit::Default => packets < Self::DEFAULT_PACKETS,
            QueueLimit::Packets(limit) => packets < limit,
            QueueLimit::Time(_) | QueueLimit::Bdp(_) => true,
            QueueLimit::Bytes(limit) => self.bytes + size <= limit,
        }
    }

    /// `sent` must not be before that of the packet pushed last.
    pub(super) fn push(&mut self, sent: Timestamp, size: ByteCount) {
        self.waiting.push_back((sent, size));
        self.bytes += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_counted_and_given_back() {
        let mut queue = Queue::new(QueueLimit::Bytes(ByteCount(2500)));
        queue.push(Timestamp::from_millis(1), ByteCount(1000));
        queue.push(Timestamp::from_millis(2), ByteCount(1000));
        assert!(queue.has_room(ByteCount(500)));
        assert!(!queue.has_room(ByteCount(501)));
        queue.advance(Timestamp::from_millis(1));
        assert!(queue.has_room(ByteCount(1500)));
    }

    #[test]
    fn packets_are_counted_including_the_one_in_service() {
        let mut queue = Queue::new(QueueLimit::Packets(2));
        queue.push(Timestamp::from_millis(1), ByteCount(1));
        assert!(queue.has_room(ByteCount(9000)));
        queue.push(Timestamp::from_millis(2), ByteCount(1));
        assert!(!queue.has_room(ByteCount(1)));
        queue.advance(Timestamp::from_millis(2));
        assert!(queue.has_room(ByteCount(1)));
    }
}
