//! Frames in: acks and losses, duplicates, messages for the receiving half.

use std::borrow::BorrowMut;

use units::Timestamp;

use super::inbox::Received;
use super::{AckContent, AckRanges, Connection, Event, MAX_CHANNEL_WINDOWS, Nack, PacketState};
use crate::congestion::{AckedPacket, LostPacket};
use crate::trace::{LossReason, TraceKind};
use crate::wire::{DecodeError, Frame, MsgType, Packet};

/// What this end owes the peer in acknowledgements.
#[derive(Debug, Default)]
pub(super) struct AckState {
    pub(super) ranges: AckRanges,
    /// When the highest packet arrived.
    largest_at: Timestamp,
    /// Packets that arrived since the last ack left.
    unacknowledged: u32,
    /// When the next ack must leave at the latest; `None`: nothing to acknowledge.
    pub(super) deadline: Option<Timestamp>,
    /// Right edge of the receive window in the last ack.
    pub(super) window_told: u64,
}

impl AckState {
    /// An ack must leave at once.
    pub(super) fn demand(&mut self) {
        if !self.ranges.is_empty() {
            self.deadline = Some(Timestamp::ZERO);
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn on_sent(&mut self, window_end: u64) {
        self.unacknowledged = 0;
        self.deadline = None;
        self.window_told = window_end;
    }

    /// The content of an ack that leaves now.
    pub(super) fn content(&self, now: Timestamp, window_end: u64) -> AckContent {
        let delay_us = u64::try_from(now.since(self.largest_at).as_micros()).unwrap_or(u64::MAX);
        AckContent { ranges: self.ranges.clone(), window: Some(window_end), channels: Vec::new(), delay_us }
    }
}

impl Connection {
    /// Takes one packet of the peer; one that is lent can be decoded into again. Handshake frames do not belong here; they are ignored.
    pub fn handle_packet(&mut self, now: Timestamp, mut packet: impl BorrowMut<Packet>) {
        let packet = packet.borrow_mut();
        self.timers.on_heard(now);
        // Frames that share a packet number stand together. It is acknowledged if every one of them could be taken.
        let mut open: Option<(u64, bool)> = None;
        for ack in &packet.acks {
            self.handle_ack(now, ack);
        }
        for frame in packet.frames.drain(..) {
            let number = frame.packet;
            if number > MAX_NUMBER || frame.sequence_number > MAX_NUMBER {
                self.violation("packet or sequence number beyond 2^62".to_owned());
                return;
            }
            if let Some((before, taken)) = open.filter(|&(before, _)| before != number) {
                self.note_packet(now, before, taken);
                open = None;
            }
            let taken = self.handle_frame(now, frame);
            if number != 0 {
                open = Some((number, taken && open.is_none_or(|(_, before)| before)));
            }
        }
        if let Some((number, taken)) = open {
            self.note_packet(now, number, taken);
        }
    }

    fn note_packet(&mut self, now: Timestamp, number: u64, taken: bool) {
        self.stats.packets_received += 1;
        self.emit(now, TraceKind::Received { packet: number });
        if taken {
            self.note_arrival(now, number);
        }
    }

    /// Takes one frame; false if there was no room for it.
    fn handle_frame(&mut self, now: Timestamp, frame: Frame) -> bool {
        match &frame.msg_type {
            MsgType::Ack => match frame.content.parse::<AckContent>() {
                Ok(ack) => self.handle_ack(now, &ack),
                Err(error) => self.violation(format!("ack cannot be read: {error}")),
            },
            MsgType::Nack => {
                if let Ok(nack) = frame.content.parse::<Nack>() {
                    self.handle_nack(now, nack.packet);
                }
            }
            MsgType::Bye => {
                self.receiver.push_event(Event::Bye { content: frame.content });
            }
            MsgType::Hello | MsgType::Welcome | MsgType::PathChallenge | MsgType::PathResponse => {}
            MsgType::Heartbeat => self.receiver.repeat_windows(),
            _ => return self.handle_message(now, frame),
        }
        true
    }

    /// Notes that a body arrived that is not a sound frame, and will tell the peer which.
    pub fn handle_damaged(&mut self, now: Timestamp, error: &DecodeError) {
        self.timers.on_heard(now);
        self.stats.checksum_errors += 1;
        let packet = match error {
            DecodeError::Checksum { packet, .. } => *packet,
            DecodeError::Malformed(_) => 0,
        };
        if self.nacks.len() < MAX_NACKS {
            self.nacks.push_back(Nack { packet, reason: error.to_string() });
        }
    }

    fn handle_message(&mut self, now: Timestamp, frame: Frame) -> bool {
        if frame.sequence_number == 0 {
            // Outside any channel; a client that leaves reliability to its carrier does not number its packets either.
            if frame.packet == 0 || !self.acks.ranges.contains(frame.packet) {
                self.receiver.on_unnumbered(frame);
            }
            return true;
        }
        match self.receiver.on_message(&self.config, now, frame, &mut self.stats) {
            Received::New => true,
            Received::Duplicate => {
                self.stats.duplicate_messages += 1;
                true
            }
            Received::NoRoom => {
                self.stats.refused_no_room += 1;
                false
            }
            Received::TooManyChannels => {
                let limit = self.config.max_channels;
                self.violation(format!("more than {limit} channels in use"));
                false
            }
        }
    }

    /// Enters a packet into the ack ranges and decides when the ack leaves: at once for every second packet, a gap or a
    /// duplicate (RFC 5681 section 4.2), else within the ack delay.
    fn note_arrival(&mut self, now: Timestamp, packet: u64) {
        let expected = self.acks.ranges.largest().map_or(1, |largest| largest + 1);
        if !self.acks.ranges.insert(packet) {
            self.stats.duplicate_packets += 1;
            self.acks.demand();
            return;
        }
        if packet >= expected {
            self.acks.largest_at = now;
        }
        self.acks.unacknowledged += 1;
        let at_once = packet != expected
            || self.acks.unacknowledged >= ACK_EVERY
            || self.acks.ranges.as_slice().len() > 1 && self.config.max_ack_delay.is_zero();
        let deadline = if at_once { now } else { now + self.config.max_ack_delay };
        self.acks.deadline = Some(self.acks.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
    }

    /// The steps of an ack, in their fixed order: validate, settle packets, sample the RTT, detect losses, tell the
    /// controller, rearm the timers, trace.
    fn handle_ack(&mut self, now: Timestamp, ack: &AckContent) {
        let Some(largest) = ack.ranges.largest().filter(|_| ack.ranges.is_valid()) else {
            self.violation("ack with malformed ranges".to_owned());
            return;
        };
        if largest >= self.sent.next_number() {
            self.violation(format!("ack of packet {largest}, which was never sent"));
            return;
        }
        let window_end = ack.window.unwrap_or(u64::MAX);
        if window_end > self.peer_window_end {
            self.peer_window_end = window_end;
            self.timers.on_window_grown();
        }
        for &(channel, end) in ack.channels.iter().take(MAX_CHANNEL_WINDOWS) {
            if self.sender.on_channel_window(channel, end) {
                self.timers.on_channel_window_grown();
            }
        }
        let prior_in_flight = self.sent.bytes_in_flight();
        let oldest_before =
            self.sent.next_in_flight(self.first_undecided, u64::MAX).map(|(number, _)| number);
        let (acked, rtt_sample) = self.settle_acked(now, ack, largest);
        if acked.is_empty() {
            return;
        }
        if oldest_before.is_some_and(|oldest| acked.iter().all(|packet| packet.number > oldest)) {
            self.stats.dup_acks += 1;
        }
        let lost = self.detect_losses(now);
        self.tell_controller(now, &acked, &lost, prior_in_flight, rtt_sample);
        self.timers.on_progress(now);
        // A lost packet is remembered for a few RTTs, so that an ack which still comes for it is seen as spurious.
        self.sent.prune(now - 3 * self.rtt.rto(&self.config));
        self.emit(now, TraceKind::Acked);
    }

    /// Marks the packets of `ack`, takes the RTT sample, and returns the newly acknowledged ones and the sample.
    fn settle_acked(
        &mut self,
        now: Timestamp,
        ack: &AckContent,
        largest: u64,
    ) -> (Vec<AckedPacket>, Option<std::time::Duration>) {
        let mut acked = Vec::new();
        let mut rtt_sample = None;
        for &(low, high) in ack.ranges.as_slice() {
            if high < self.sent.first() {
                break;
            }
            for number in (low.max(self.sent.first())..=high).rev() {
                let Some(packet) = self.sent.mark(number, PacketState::Acked) else {
                    continue;
                };
                // Not of the path before a rebind.
                if number == largest && packet.sent_at >= self.path_since {
                    // Not clamped: when an ack got lost, the next one tells how long the packet has waited since. The
                    // smallest RTT seen bounds what a peer can make us believe.
                    let delay = std::time::Duration::from_micros(ack.delay_us);
                    rtt_sample = Some(self.rtt.on_sample(now.since(packet.sent_at), delay));
                }
                if matches!(packet.state, PacketState::Lost { .. }) {
                    self.stats.spurious += 1;
                    self.emit(now, TraceKind::Spurious { packet: number });
                }
                self.redundancy.on_acked();
                self.note_newest(number);
                acked.push(AckedPacket {
                    number,
                    size: packet.size,
                    sent_at: packet.sent_at,
                    delivery: packet.delivery,
                });
                for segment in packet.segments {
                    let finished = self.sender.on_acked(segment, &mut self.stats);
                    self.note_finished(finished);
                }
            }
        }
        acked.reverse();
        (acked, rtt_sample)
    }

    fn note_newest(&mut self, number: u64) {
        if let Some(at) = self.newest_acked.iter().position(|&newest| number > newest) {
            self.newest_acked[at..].rotate_right(1);
            self.newest_acked[at] = number;
        }
    }

    /// Declares packets lost by the packet and the time threshold, arms the timer for those that are not old enough yet,
    /// and returns those lost now.
    pub(super) fn detect_losses(&mut self, now: Timestamp) -> Vec<LostPacket> {
        let newest = self.newest_acked.first().copied().unwrap_or(0);
        // Below this, at least `packet_threshold` later packets were acknowledged.
        let by_count = self.newest_acked.last().copied().unwrap_or(0);
        let loss_delay = self.rtt.loss_delay().filter(|_| self.config.time_threshold);
        let mut lost = Vec::new();
        self.timers.loss = None;
        let mut from = self.first_undecided;
        let mut undecided = None;
        while let Some((number, packet)) = self.sent.next_in_flight(from, newest) {
            from = number + 1;
            let reason = if number < by_count {
                Some(LossReason::PacketThreshold)
            } else {
                match loss_delay.map(|delay| packet.sent_at + delay) {
                    Some(due) if due <= now => Some(LossReason::TimeThreshold),
                    Some(due) => {
                        self.timers.loss = Some(self.timers.loss.map_or(due, |earlier| earlier.min(due)));
                        None
                    }
                    None => None,
                }
            };
            match reason {
                Some(reason) => {
                    lost.extend(self.declare_lost(now, number, reason));
                    // RFC 5681 section 3.2 step 2: the first retransmission leaves at once.
                    self.forced.retransmits = self.forced.retransmits.max(1);
                }
                None => undecided = undecided.or(Some(number)),
            }
        }
        self.first_undecided = undecided.unwrap_or_else(|| newest.max(self.first_undecided));
        lost
    }

    /// A damaged frame is as good as lost, but says nothing of congestion.
    fn handle_nack(&mut self, now: Timestamp, number: u64) {
        if self.sent.get(number).is_some_and(|packet| packet.state == PacketState::InFlight) {
            self.declare_lost(now, number, LossReason::Nack);
            self.forced.retransmits = self.forced.retransmits.max(1);
        }
    }

    pub(super) fn violation(&mut self, reason: String) {
        self.receiver.push_event(Event::Violation { reason });
    }
}

/// Every second packet is acknowledged at once (RFC 5681 section 4.2).
const ACK_EVERY: u32 = 2;
/// Far beyond any session, and far from where adding one overflows.
const MAX_NUMBER: u64 = 1 << 62;
/// Damaged frames reported in one go; more in one batch tell nothing new.
const MAX_NACKS: usize = 16;
