//! Frames in: acks and losses, duplicates, messages for the receiving half.

use std::borrow::BorrowMut;
use std::time::Duration;

use units::Timestamp;

use super::inbox::Received;
use super::loss::Verdict;
use super::timer::THIN_PACKETS;
use super::{AckContent, Connection, Event, MAX_CHANNEL_WINDOWS, MtuLost, Nack, PacketState};
use crate::congestion::AckedPacket;
use crate::path::Ecn;
use crate::trace::steps::StepKind;
use crate::trace::{LossReason, TraceKind};
use crate::wire::{DecodeError, Frame, MsgType, Packet};

impl Connection {
    /// Takes one packet of the peer; one that is lent can be decoded into again. Handshake frames do not
    /// belong here; they are ignored.
    pub fn handle_packet(&mut self, now: Timestamp, mut packet: impl BorrowMut<Packet>) {
        let packet = packet.borrow_mut();
        let ecn = std::mem::take(&mut self.arrived_with);
        self.stats.ecn_ce += u64::from(ecn == Ecn::Ce);
        self.timers.on_heard(now);
        // Frames that share a packet number stand together. It is acknowledged if every one of them could be taken.
        let mut open: Option<(u64, bool)> = None;
        for ack in &packet.acks {
            self.handle_ack(now, ack);
        }
        if packet.frames.iter().any(|frame| frame.msg_type == MsgType::Heartbeat) {
            // Once for all of them: it looks at every channel.
            self.receiver.repeat_windows();
        }
        for frame in packet.frames.drain(..) {
            let number = frame.packet;
            if number > MAX_NUMBER || frame.sequence_number > MAX_NUMBER {
                self.violation("packet or sequence number beyond 2^62".to_owned());
                return;
            }
            if let Some((before, taken)) = open.filter(|&(before, _)| before != number) {
                self.note_packet(now, before, taken, ecn);
                open = None;
            }
            let taken = self.handle_frame(now, frame);
            if number != 0 {
                open = Some((number, taken && open.is_none_or(|(_, before)| before)));
            }
        }
        if let Some((number, taken)) = open {
            self.note_packet(now, number, taken, ecn);
        }
    }

    fn note_packet(&mut self, now: Timestamp, number: u64, taken: bool, ecn: Ecn) {
        self.stats.packets_received += 1;
        self.emit(now, TraceKind::Received { packet: number });
        if taken && !self.acks.on_arrival(now, number, ecn, &self.config) {
            self.stats.duplicate_packets += 1;
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
                self.receiver.on_bye(&self.config, frame);
            }
            MsgType::Hello
            | MsgType::Welcome
            | MsgType::PathChallenge
            | MsgType::PathResponse
            | MsgType::Heartbeat => {}
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
            if frame.packet != 0 && self.acks.ranges.contains(frame.packet) {
                return true;
            }
            let received = self.receiver.on_unnumbered(&self.config, frame);
            self.stats.refused_no_room += u64::from(received == Received::NoRoom);
            return received != Received::NoRoom;
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
        if let Some(skipped) = self.skips.caught(&ack.ranges) {
            self.violation(format!("ack of packet {skipped}, which was never sent"));
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
        let (prior_in_flight, prior_packets) = (self.sent.bytes_in_flight(), self.sent.packets_in_flight());
        let oldest_before =
            self.sent.next_in_flight(self.first_undecided, u64::MAX).map(|(number, _)| number);
        let newest_before = self.loss.newest();
        let (rtt_sample, marked) = self.settle_acked(now, ack, largest);
        if self.acked.is_empty() {
            return;
        }
        if oldest_before.is_some_and(|oldest| self.acked.iter().all(|packet| packet.number > oldest)) {
            self.stats.dup_acks += 1;
        }
        let ecn_ce = if largest > newest_before { self.take_marks(now, marked, ack) } else { 0 };
        self.timers.on_progress(now);
        if prior_packets > THIN_PACKETS {
            self.timers.on_busy(now);
        }
        if self.config.time_threshold {
            self.rtt.on_progress();
        }
        self.detect_losses(now);
        self.tell_controller(now, prior_in_flight, rtt_sample, ecn_ce);
        // A lost packet is remembered for two timeouts, so that an ack which still comes for it is seen as spurious.
        self.sent.prune(now - 2 * self.rtt.probe_timeout(&self.config));
        self.emit(now, TraceKind::Acked);
    }

    /// Marks the packets of `ack` and takes the RTT sample. The newly acknowledged ones are in `self.acked` afterwards;
    /// returns the sample and how many of them had left with an ECN mark.
    fn settle_acked(&mut self, now: Timestamp, ack: &AckContent, largest: u64) -> (Option<Duration>, u64) {
        let (mut rtt_sample, mut marked) = (None, 0);
        self.acked.clear();
        self.fresh_acks.clear();
        // What earlier acks listed is settled, and passed over in a few steps.
        for &(low, high) in ack.ranges.as_slice() {
            let mut top = high;
            while let Some(number) = self.sent.open_below(low, top) {
                self.fresh_acks.push(number);
                top = number - 1;
            }
        }
        for index in 0..self.fresh_acks.len() {
            let number = self.fresh_acks[index];
            let Some(packet) = self.sent.mark(number, PacketState::Acked) else {
                continue;
            };
            // Not of the path before a rebind.
            if number == largest && packet.sent_at >= self.path_since {
                // Not clamped: when an ack got lost, the next one tells how long the packet has waited since. The
                // smallest RTT seen bounds what a peer can make us believe.
                let delay = Duration::from_micros(ack.delay_us);
                rtt_sample = Some(self.rtt.on_sample(now.since(packet.sent_at), delay));
                self.sampled_since.get_or_insert(now);
            }
            marked += u64::from(packet.is_marked);
            self.redundancy.on_acked();
            self.loss.on_acked(number);
            if let PacketState::Lost { at, told } = packet.state {
                self.note_steps(now, number, StepKind::Spurious);
                self.on_spurious(now, number, at, told);
            }
            if packet.ack_largest > 0 {
                self.acks.on_ack_of_ack(packet.ack_largest);
            }
            let (size, sent_at, delivery) = (packet.size, packet.sent_at, packet.delivery);
            self.note_length_acked(now, number, size);
            self.acked.push(AckedPacket { number, size, sent_at, delivery });
            for index in 0..packet.segments {
                if let Some(segment) = self.sent.segment(number, index) {
                    let finished = self.sender.on_acked(segment, &mut self.stats);
                    self.note_finished(now, finished, number, sent_at);
                }
            }
        }
        self.acked.reverse();
        (rtt_sample, marked)
    }

    /// Packet `number`, declared lost at `lost_at`, was acknowledged: the thresholds were too tight, and if that is so for
    /// all losses of its flight, its window is given back. One that was given up for another reason than its age or its
    /// distance, of which the controller was not `told`, says nothing of either.
    fn on_spurious(&mut self, now: Timestamp, number: u64, lost_at: Timestamp, told: bool) {
        self.stats.spurious += 1;
        self.persistent.on_acked();
        self.emit(now, TraceKind::Spurious { packet: number });
        if !told {
            return;
        }
        self.loss.on_spurious(number, self.sent.next_number());
        if self.episode.on_spurious(number, lost_at) {
            self.stats.undone += 1;
            self.controller.on_spurious(now);
            self.emit(now, TraceKind::Undone);
        }
    }

    /// Packets newly marked by a queue, of `acked` that left with a mark and arrived.
    fn take_marks(&mut self, now: Timestamp, acked: u64, ack: &AckContent) -> u64 {
        let had_failed = self.ecn_path.has_failed();
        let marks = self.ecn_path.on_ack(acked, ack.ecn);
        self.stats.ecn_ce_told += marks;
        if self.ecn_path.has_failed() && !had_failed {
            self.stats.ecn_failures += 1;
            self.emit(now, TraceKind::EcnFailed);
        }
        marks
    }

    /// Declares packets lost, from the oldest undecided one up to the first that may still arrive, and sets the timer for
    /// that one. Those lost now are in `self.lost` afterwards. A packet is passed over once in its life, so this costs no
    /// more than what it decides.
    pub(super) fn detect_losses(&mut self, now: Timestamp) {
        self.timers.loss = None;
        self.lost.clear();
        let rtt = self.rtt.longest();
        if self.first_undecided < self.sent.first() {
            // What was forgotten meanwhile had been acknowledged.
            self.persistent.on_acked();
            self.first_undecided = self.sent.first();
        }
        while self.first_undecided < self.loss.newest() {
            let number = self.first_undecided;
            let Some((state, sent_at)) = self.sent.get(number).map(|packet| (packet.state, packet.sent_at))
            else {
                break;
            };
            match state {
                PacketState::Acked => self.persistent.on_acked(),
                PacketState::Lost { .. } | PacketState::Skipped => {}
                PacketState::InFlight => match self.loss.judge(now, number, sent_at, rtt) {
                    Verdict::Lost(reason) => self.lose(now, number, sent_at, reason),
                    Verdict::LostAt(due) => {
                        self.timers.loss = Some(due);
                        break;
                    }
                    Verdict::Undecided => break,
                },
            }
            self.first_undecided += 1;
        }
    }

    /// A loss that says something of the path.
    fn lose(&mut self, now: Timestamp, number: u64, sent_at: Timestamp, reason: LossReason) {
        let Some(packet) = self.declare_lost(now, number, reason) else {
            return;
        };
        let verdict = self.note_length_lost(now, number, packet.size, reason);
        if verdict != MtuLost::Packet || sent_at < self.path_since {
            // Too long for the path, or of the path before: no sign of congestion on this one.
            self.rate.on_lost(packet.size);
            self.forced.retransmits |= u32::from(verdict != MtuLost::Probe);
            return;
        }
        self.sent.note_told(number);
        self.lost.push(packet);
        if self.sampled_since.is_some_and(|since| since < sent_at) {
            self.persistent.on_lost(sent_at);
        }
        if self.episode.on_lost(now, number, self.sent.next_number()) {
            self.loss.on_recovery();
        }
        self.timers.on_busy(now);
        // RFC 5681 section 3.2 step 2: the first retransmission leaves at once.
        self.forced.retransmits = self.forced.retransmits.max(1);
    }

    /// A damaged frame is as good as lost, but says nothing of congestion.
    fn handle_nack(&mut self, now: Timestamp, number: u64) {
        if self.sent.get(number).is_some_and(|packet| packet.state == PacketState::InFlight) {
            if let Some(packet) = self.declare_lost(now, number, LossReason::Nack) {
                self.length.on_damaged(now, number, packet.size);
            }
            self.forced.retransmits = self.forced.retransmits.max(1);
        }
    }

    pub(super) fn violation(&mut self, reason: String) {
        self.receiver.push_event(Event::Violation { reason });
    }
}

/// Far beyond any session, and far from where adding one overflows.
const MAX_NUMBER: u64 = 1 << 62;
/// Damaged frames reported in one go; more in one batch tell nothing new.
const MAX_NACKS: usize = 16;
