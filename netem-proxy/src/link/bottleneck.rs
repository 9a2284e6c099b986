//! The slowest hop: a rate, and a queue before it.
//!
//! Serialisation of a packet begins when it arrives or when the one before it ended, whichever is later, and takes
//! size / rate. With drop-tail both are known on arrival, so there is nothing to do at departure. Every size counts
//! as it is given; overheads of lower layers are the caller's.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use super::queue::Queue;
use crate::profile::QueueLimit;

#[derive(Debug)]
pub(super) struct Bottleneck {
    rate: Option<Bitrate>,
    queue: Queue,
    /// When the last bit of the last admitted packet is sent.
    free_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// Admitted; its last bit is sent at this time.
    Leaves(Timestamp),
    Full,
}

impl Bottleneck {
    pub(super) fn new(rate: Option<Bitrate>, limit: QueueLimit) -> Self {
        Self { rate, queue: Queue::new(limit), free_at: Timestamp::ZERO }
    }

    /// The packets that wait keep the departure they were promised at the old rate.
    pub(super) fn configure(&mut self, rate: Option<Bitrate>, limit: QueueLimit) {
        self.rate = rate;
        self.queue.configure(limit);
    }

    pub(super) fn admit(&mut self, now: Timestamp, size: ByteCount) -> Admission {
        self.queue.advance(now);
        let transmit_time = self.rate.map_or(Duration::ZERO, |rate| rate.transmit_time(size));
        let sent = self.free_at.max(now) + transmit_time;
        if sent > now {
            if !self.queue.has_room(size) {
                return Admission::Full;
            }
            self.queue.push(sent, size);
        }
        self.free_at = sent;
        Admission::Leaves(sent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ByteCount = ByteCount(1250);

    fn ten_megabit(limit: QueueLimit) -> Bottleneck {
        Bottleneck::new(Bitrate::from_bits_per_second(10_000_000), limit)
    }

    #[test]
    fn packets_leave_one_transmit_time_apart() {
        let mut bottleneck = ten_megabit(QueueLimit::Infinite);
        for n in 1..=1000 {
            let leaves = bottleneck.admit(Timestamp::ZERO, SIZE);
            assert_eq!(leaves, Admission::Leaves(Timestamp::from_millis(n)));
        }
    }

    #[test]
    fn an_idle_bottleneck_saves_up_nothing() {
        let mut bottleneck = ten_megabit(QueueLimit::Infinite);
        bottleneck.admit(Timestamp::ZERO, SIZE);
        let late = Timestamp::from_secs(5);
        assert_eq!(bottleneck.admit(late, SIZE), Admission::Leaves(late + Duration::from_millis(1)));
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_frees_a_place_at_each_departure() {
        let mut bottleneck = ten_megabit(QueueLimit::Packets(2));
        assert_eq!(bottleneck.admit(Timestamp::ZERO, SIZE), Admission::Leaves(Timestamp::from_millis(1)));
        assert_eq!(bottleneck.admit(Timestamp::ZERO, SIZE), Admission::Leaves(Timestamp::from_millis(2)));
        assert_eq!(bottleneck.admit(Timestamp::ZERO, SIZE), Admission::Full);
        let first_gone = Timestamp::from_millis(1);
        assert_eq!(bottleneck.admit(first_gone, SIZE), Admission::Leaves(Timestamp::from_millis(3)));
        assert_eq!(bottleneck.admit(first_gone, SIZE), Admission::Full);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_no_limit_applies() {
        let mut bottleneck = Bottleneck::new(None, QueueLimit::Bytes(ByteCount(1)));
        assert_eq!(bottleneck.admit(Timestamp::ZERO, SIZE), Admission::Leaves(Timestamp::ZERO));
    }

    #[test]
    fn a_new_rate_does_not_overtake_what_waits_at_the_old_one() {
        let mut bottleneck = ten_megabit(QueueLimit::Infinite);
        bottleneck.admit(Timestamp::ZERO, SIZE);
        bottleneck.configure(None, QueueLimit::Infinite);
        assert_eq!(bottleneck.admit(Timestamp::ZERO, SIZE), Admission::Leaves(Timestamp::from_millis(1)));
    }
}
