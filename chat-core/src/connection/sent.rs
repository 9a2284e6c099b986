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
    pub(crate) state: PacketState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PacketState {
    InFlight,
    Lost { at: Timestamp },
    Acked,
}

/// The ring. Packet numbers begin at 1.
#[derive(Debug)]
pub(crate) struct SentPackets {
    packets: VecDeque<SentPacket>,
    /// Number of the packet at the front.
    first: u64,
    bytes_in_flight: ByteCount,
    packets_in_flight: u64,
}

impl SentPackets {
    pub(crate) fn new() -> Self {
        Self { packets: VecDeque::new(), first: 1, bytes_in_flight: ByteCount::ZERO, packets_in_flight: 0 }
    }

    /// The number that the next packet will have.
    pub(crate) fn next_number(&self) -> u64 {
        self.first + self.packets.len() as u64
    }

    pub(crate) fn push(
        &mut self,
        sent_at: Timestamp,
        size: ByteCount,
        segments: Segments,
        delivery: Delivery,
    ) {
        self.packets.push_back(SentPacket {
            sent_at,
            size,
            segments,
            delivery,
            state: PacketState::InFlight,
        });
        self.bytes_in_flight += size;
        self.packets_in_flight += 1;
    }

    pub(crate) fn get(&self, number: u64) -> Option<&SentPacket> {
        self.packets.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Settles a packet and returns what it was before, if that changed.
    pub(crate) fn mark(&mut self, number: u64, state: PacketState) -> Option<SentPacket> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let packet = self.packets.get_mut(index)?;
        if packet.state == PacketState::Acked || packet.state == state {
            return None;
        }
        let before = packet.clone();
        packet.state = state;
        if before.state == PacketState::InFlight {
            self.bytes_in_flight -= before.size;
            self.packets_in_flight -= 1;
        }
        Some(before)
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

    /// The newest packet in flight.
    pub(crate) fn last_in_flight(&self) -> Option<(u64, &SentPacket)> {
        let newest_first = self.packets.iter().rev().zip((self.first..self.next_number()).rev());
        newest_first
            .map(|(packet, number)| (number, packet))
            .find(|(_, packet)| packet.state == PacketState::InFlight)
    }

    /// Forgets settled packets at the front; lost ones once `forget_lost_before` has passed them.
    pub(crate) fn prune(&mut self, forget_lost_before: Timestamp) {
        while let Some(packet) = self.packets.front() {
            let settled = match packet.state {
                PacketState::InFlight => false,
                PacketState::Acked => true,
                PacketState::Lost { at } => at < forget_lost_before || self.packets.len() > MAX_REMEMBERED,
            };
            if !settled {
                break;
            }
            self.packets.pop_front();
            self.first += 1;
        }
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
    use super::*;

    #[test]
    fn bytes_in_flight_are_the_sum_of_unsettled_packets() {
        let mut sent = SentPackets::new();
        for _ in 0..3 {
            sent.push(Timestamp::ZERO, ByteCount(100), Segments::new(), Delivery::default());
        }
        sent.mark(2, PacketState::Acked);
        assert!(sent.mark(2, PacketState::Acked).is_none(), "a second ack changes nothing");
        assert_eq!(sent.bytes_in_flight(), ByteCount(200));
        sent.mark(1, PacketState::Lost { at: Timestamp::ZERO });
        assert_eq!(sent.bytes_in_flight(), ByteCount(100));
        assert!(sent.mark(1, PacketState::Acked).is_some(), "a late ack of a lost packet is told");
        sent.prune(Timestamp::ZERO);
        assert_eq!((sent.first(), sent.next_number()), (3, 4));
    }
}
