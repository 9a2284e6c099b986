//! Packets that were sent: a ring indexed by packet number.
//!
//! Packet numbers are consecutive, so looking one up is an index and the ring is in sending order by itself. A packet
//! stays until everything older is settled; one declared lost stays a little longer, because an ack that still comes for
//! it tells that the loss was spurious.

use std::collections::VecDeque;

use smallvec::SmallVec;
use units::{ByteCount, Timestamp};

use super::outbox::SegmentKey;
use crate::congestion::Delivery;

/// The segments of one packet; a datagram rarely holds more than four.
pub(crate) type Segments = SmallVec<[SegmentKey; 4]>;

/// One transmission.
#[derive(Clone, Debug)]
pub(crate) struct SentPacket {
    pub(crate) sent_at: Timestamp,
    /// Bytes of the frame body, which count as in flight.
    pub(crate) size: ByteCount,
    /// What it carried; empty for a heartbeat.
    pub(crate) segments: Segments,
    /// What had been delivered when it left.
    pub(crate) delivery: Delivery,
    /// It left with ECT(0).
    pub(crate) is_marked: bool,
    /// Highest number of the ack that travelled with it; 0: none did.
    pub(crate) ack_largest: u64,
    pub(crate) state: PacketState,
    /// Once acknowledged or passed over: this packet and so many below it are that, at least.
    pub(crate) settled_run: u64,
}

/// What a packet was when it was settled. Its segments stay with it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled {
    pub(crate) sent_at: Timestamp,
    pub(crate) size: ByteCount,
    pub(crate) delivery: Delivery,
    pub(crate) is_marked: bool,
    pub(crate) ack_largest: u64,
    pub(crate) segments: usize,
    /// State before.
    pub(crate) state: PacketState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketState {
    InFlight,
    Lost {
        at: Timestamp,
        /// A threshold says so, and the controller was told: an ack that still comes refutes both.
        told: bool,
    },
    Acked,
    /// Never sent: its number was passed over.
    Skipped,
}

/// The ring. Packet numbers begin at 1.
#[derive(Debug)]
pub(crate) struct SentPackets {
    packets: VecDeque<SentPacket>,
    /// Number of the packet at the front.
    first: u64,
    bytes_in_flight: ByteCount,
    packets_in_flight: u64,
    /// Packets looked at by [`Self::open_below`], ever.
    #[cfg(test)]
    pub(crate) looked_at: u64,
}

impl SentPackets {
    pub(crate) fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            first: 1,
            bytes_in_flight: ByteCount::ZERO,
            packets_in_flight: 0,
            #[cfg(test)]
            looked_at: 0,
        }
    }

    /// The number that the next packet will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    /// Enters the packet that has just left, in flight.
    pub(crate) fn push(&mut self, packet: SentPacket) {
        self.bytes_in_flight += packet.size;
        self.packets_in_flight += 1;
        self.packets.push_back(packet);
    }

    /// Passes over the next number.
    pub(crate) fn skip(&mut self, now: Timestamp) {
        self.packets.push_back(SentPacket {
            sent_at: now,
            size: ByteCount::ZERO,
            segments: Segments::new(),
            delivery: Delivery::default(),
            is_marked: false,
            ack_largest: 0,
            state: PacketState::Skipped,
            settled_run: 1,
        });
    }

    pub(crate) fn get(&self, number: u64) -> Option<&SentPacket> {
        self.packets.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Settles a packet and returns what it was before, if that changed.
    pub(crate) fn mark(&mut self, number: u64, state: PacketState) -> Option<Settled> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let packet = self.packets.get_mut(index)?;
        if matches!(packet.state, PacketState::Acked | PacketState::Skipped) || packet.state == state {
            return None;
        }
        let before = Settled {
            sent_at: packet.sent_at,
            size: packet.size,
            delivery: packet.delivery,
            is_marked: packet.is_marked,
            ack_largest: packet.ack_largest,
            segments: packet.segments.len(),
            state: packet.state,
        };
        packet.state = state;
        packet.settled_run = u64::from(state == PacketState::Acked);
        if before.state == PacketState::InFlight {
            self.bytes_in_flight -= before.size;
            self.packets_in_flight -= 1;
        }
        Some(before)
    }

    /// The controller is told of the loss of a packet.
    pub(crate) fn note_told(&mut self, number: u64) {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(packet) = index.and_then(|index| self.packets.get_mut(index))
            && let PacketState::Lost { told, .. } = &mut packet.state
        {
            *told = true;
        }
    }

    /// The oldest packet in flight with a number below `end`, from `from` on.
    pub(crate) fn next_in_flight(&self, from: u64, end: u64) -> Option<(u64, &SentPacket)> {
        let mut number = from.max(self.first);
        while number < end.min(self.next_number()) {
            let packet = self.get(number)?;
            if packet.state == PacketState::InFlight {
                return Some((number, packet));
            }
            number += 1;
        }
        None
    }

    /// The highest number in `low..=high` that an ack can still tell something of: in flight, or lost.
    ///
    /// Settled packets are passed over in runs, and each packet that is looked at learns of a longer one (the path halving
    /// of disjoint sets; Tarjan and van Leeuwen, 1984). So what a peer repeats costs next to nothing, however wide its
    /// ranges and however large the ring, and in whatever order it acknowledged before.
    pub(crate) fn open_below(&mut self, low: u64, high: u64) -> Option<u64> {
        let lowest = low.max(self.first);
        let mut number = high.min(self.next_number().checked_sub(1)?);
        while number >= lowest {
            #[cfg(test)]
            {
                self.looked_at += 1;
            }
            let index = usize::try_from(number - self.first).ok()?;
            let run = self.packets.get(index)?.settled_run;
            if run == 0 {
                return Some(number);
            }
            // Below the run; the packet there may know of a run that continues it.
            let below = number.saturating_sub(run);
            if below < self.first {
                return None;
            }
            let next = usize::try_from(below - self.first).ok()?;
            let longer = run + self.packets.get(next)?.settled_run;
            self.packets.get_mut(index)?.settled_run = longer;
            number = number.saturating_sub(longer);
        }
        None
    }

    /// Segment `index` of a packet.
    pub(crate) fn segment(&self, number: u64, index: usize) -> Option<SegmentKey> {
        self.get(number)?.segments.get(index).copied()
    }

    /// Forgets settled packets at the front; lost ones once `forget_lost_before` has passed them.
    pub(crate) fn prune(&mut self, forget_lost_before: Timestamp) {
        while let Some(packet) = self.packets.front() {
            let settled = match packet.state {
                PacketState::InFlight => false,
                PacketState::Acked | PacketState::Skipped => true,
                PacketState::Lost { at, .. } => {
                    at < forget_lost_before || self.packets.len() > MAX_REMEMBERED
                }
            };
            if !settled {
                break;
            }
            self.packets.pop_front();
            self.first += 1;
        }
    }

    /// Counts what is in flight, packet by packet.
    #[cfg(test)]
    pub(crate) fn count_in_flight(&self) -> (ByteCount, u64) {
        let in_flight = self.packets.iter().filter(|packet| packet.state == PacketState::InFlight);
        in_flight.fold((ByteCount::ZERO, 0), |(bytes, packets), packet| (bytes + packet.size, packets + 1))
    }

    pub(crate) fn bytes_in_flight(&self) -> ByteCount {
        self.bytes_in_flight
    }

    pub(crate) fn packets_in_flight(&self) -> u64 {
        self.packets_in_flight
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.packets_in_flight == 0
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }
}

/// Beyond this many remembered packets, lost ones are forgotten at once: spurious-loss detection is not worth more memory.
const MAX_REMEMBERED: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet() -> SentPacket {
        SentPacket {
            sent_at: Timestamp::ZERO,
            size: ByteCount(100),
            segments: Segments::new(),
            delivery: Delivery::default(),
            is_marked: false,
            ack_largest: 0,
            state: PacketState::InFlight,
            settled_run: 0,
        }
    }

    #[test]
    fn a_skipped_number_is_neither_in_flight_nor_acknowledged() {
        let mut sent = SentPackets::new();
        sent.skip(Timestamp::ZERO);
        sent.push(packet());
        assert!(sent.mark(1, PacketState::Acked).is_none());
        assert_eq!((sent.packets_in_flight(), sent.next_number()), (1, 3));
        assert_eq!(sent.next_in_flight(0, u64::MAX).map(|(number, _)| number), Some(2));
        sent.mark(2, PacketState::Acked);
        sent.prune(Timestamp::ZERO);
        assert_eq!(sent.first(), 3);
    }

    proptest! {
        #[test]
        fn what_is_open_is_found_whatever_was_settled_before(
            acked in proptest::collection::vec(1u64..80, 0..80), lost in proptest::collection::vec(1u64..80, 0..20),
            asked in proptest::collection::vec((1u64..80, 0u64..80), 1..20), pruned in any::<bool>(),
        ) {
            let mut sent = SentPackets::new();
            for number in 1..80 {
                if number % 13 == 0 { sent.skip(Timestamp::ZERO) } else { sent.push(packet()) }
            }
            for number in lost {
                sent.mark(number, PacketState::Lost { at: Timestamp::ZERO, told: true });
            }
            for (round, number) in acked.into_iter().enumerate() {
                sent.mark(number, PacketState::Acked);
                if pruned {
                    sent.prune(Timestamp::ZERO);
                }
                let (low, span) = asked[round % asked.len()];
                let is_open = |number: &u64| {
                    sent.get(*number).is_some_and(|packet| {
                        !matches!(packet.state, PacketState::Acked | PacketState::Skipped)
                    })
                };
                let open = (low..=low + span).rev().find(is_open);
                prop_assert_eq!(sent.open_below(low, low + span), open);
            }
        }
    }

    #[test]
    fn a_range_that_is_repeated_costs_a_few_looks_however_wide_it_is() {
        const PACKETS: u64 = 4_000;
        let mut sent = SentPackets::new();
        for _ in 0..PACKETS {
            sent.push(packet());
        }
        // One by one and not in order, so that no run is known from the outset; the first stays open.
        for odd in [0, 1] {
            for number in (2..=PACKETS).filter(|number| number % 2 == odd) {
                sent.mark(number, PacketState::Acked);
            }
        }
        let mut total = 0;
        for round in 0..1_000 {
            sent.looked_at = 0;
            assert_eq!(sent.open_below(2, PACKETS - round % 7), None);
            total += sent.looked_at;
        }
        assert!(total < 3 * PACKETS, "{total} looks for 1,000 times the same");
        sent.looked_at = 0;
        assert_eq!(sent.open_below(1, PACKETS), Some(1));
        assert!(sent.looked_at <= 3, "{} looks", sent.looked_at);
    }

    #[test]
    fn bytes_in_flight_are_the_sum_of_unsettled_packets() {
        let mut sent = SentPackets::new();
        for _ in 0..3 {
            sent.push(packet());
        }
        sent.mark(2, PacketState::Acked);
        assert!(sent.mark(2, PacketState::Acked).is_none(), "a second ack changes nothing");
        assert_eq!(sent.bytes_in_flight(), ByteCount(200));
        sent.mark(1, PacketState::Lost { at: Timestamp::ZERO, told: true });
        assert_eq!(sent.bytes_in_flight(), ByteCount(100));
        assert!(sent.mark(1, PacketState::Acked).is_some(), "a late ack of a lost packet is told");
        sent.prune(Timestamp::ZERO);
        assert_eq!((sent.first(), sent.next_number()), (3, 4));
    }
}
