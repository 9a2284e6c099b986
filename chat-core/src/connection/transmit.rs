//! Packets out: what may leave now, in which order.

use smallvec::SmallVec;
use units::{ByteCount, Timestamp};

use super::Connection;
use super::delays::Hold;
use super::outbox::{Kind, SegmentKey};
use super::redundancy::Plan;
use super::sent::{self, PacketState, Segments};
use crate::config::CarrierHint;
use crate::congestion::{RttView, SentPacket};
use crate::path::Ecn;
use crate::trace::TraceKind;
use crate::trace::steps::StepKind;
use crate::wire::{Content, MsgType, PacketWriter};

/// A segment that may leave.
struct Candidate {
    segment: SegmentKey,
    /// Which permit it uses, if it goes beyond the congestion window.
    permit: Permit,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Permit {
    Window,
    Retransmit,
    Probe,
}

impl Connection {
    /// Puts the next packet into `writer` if one may leave now; returns its size in bytes, 0 if none. Call it until it
    /// gives 0. Packets should leave with the codepoint [`Self::codepoint`].
    pub fn poll_packet(&mut self, now: Timestamp, mut writer: PacketWriter<'_>) -> usize {
        let number = self.next_number(now);
        self.lengthen(&mut writer);
        self.plan_copies(now);
        let candidate = self.candidate(now);
        let waits_for_path = matches!(self.hold.running(), Some(Hold::Window | Hold::Pacing));
        if candidate.is_none() && waits_for_path {
            self.redundancy.on_crowded(now, self.rtt.smoothed());
        }
        // An ack rides along with whatever leaves anyway.
        let has_data = candidate.is_some() || self.heartbeat_due;
        let mut ack = AckSent::No;
        if self.acks.is_due(now) || self.acks.deadline.is_some() && has_data {
            ack = self.put_ack(now, number, &mut writer);
        }
        while let Some(nack) = self.nacks.front() {
            let frame = self.own_frame(self.unix_us(now), MsgType::Nack, Content::of(nack), 0);
            if !writer.put(&frame) {
                break;
            }
            self.nacks.pop_front();
        }
        if let Some(content) = self.bye.clone() {
            let frame = self.own_frame(self.unix_us(now), MsgType::Bye, content, 0);
            if writer.put(&frame) {
                self.bye = None;
            }
        }
        let mut segments = Segments::new();
        match candidate {
            Some(Candidate { permit: Permit::Probe, .. }) => {
                self.put_probe(now, number, &mut writer, &mut segments);
            }
            Some(candidate) => self.put_segments(now, number, candidate, &mut writer, &mut segments),
            None => {}
        }
        self.put_copies(now, number, &mut writer, &mut segments);
        let mut is_numbered = !segments.is_empty() || ack == AckSent::Numbered;
        if segments.is_empty() && (self.heartbeat_due || self.forced.probes > 0) {
            let frame =
                self.own_frame(self.unix_us(now), MsgType::Heartbeat, Content::empty_object(), number);
            if writer.put(&frame) {
                self.heartbeat_due = false;
                self.note_probe(now, number);
                is_numbered = true;
            }
        }
        let is_search = writer.is_empty() && self.put_search(now, number, &mut writer);
        is_numbered |= is_search;
        let size = writer.finish();
        if is_search {
            self.length.on_search_sent(number, size);
        }
        let has_ack = ack != AckSent::No;
        if has_ack {
            self.stats.acks_numbered += u64::from(is_numbered);
            let window_end = self.receiver.window_end(self.config.receive_window);
            self.acks.on_sent(window_end, is_numbered);
        }
        if is_numbered {
            let largest = self.acks.ranges.largest().filter(|_| has_ack);
            self.on_packet_sent(now, ByteCount(size as u64), segments, largest.unwrap_or(0));
        } else {
            self.stats.bytes_sent += size as u64;
        }
        size
    }

    /// The number of the next packet, past one that is skipped.
    fn next_number(&mut self, now: Timestamp) -> u64 {
        // Only where something was acknowledged already, so that no handshake of packets meets a hole.
        let may_skip = self.config.carrier == CarrierHint::Datagram && self.loss.newest() > 0;
        if may_skip && self.skips.takes(self.sent.next_number()) {
            self.sent.skip(now);
        }
        self.sent.next_number()
    }

    /// Puts an ack. If it is time for the peer to acknowledge one and the window has room, a heartbeat travels with it; an
    /// ack that has a packet to itself gets a number itself.
    fn put_ack(&mut self, now: Timestamp, number: u64, writer: &mut PacketWriter<'_>) -> AckSent {
        let window_end = self.receiver.window_end(self.config.receive_window);
        let mut ack = self.acks.content(now, window_end);
        let rtt = self.rtt.smoothed().unwrap_or(self.config.initial_rto);
        ack.channels = self.receiver.channel_windows(&self.config, now, rtt);
        let flight = self.sent.bytes_in_flight() + ByteCount(ACK_BYTES);
        let wants_number = self.acks.wants_number() && flight <= self.controller.cwnd();
        let is_alone = wants_number && writer.is_bare();
        let unix_us = self.unix_us(now);
        loop {
            let fits = if is_alone {
                writer.put(&self.own_frame(unix_us, MsgType::Ack, Content::of(&ack), number))
            } else {
                writer.put_ack(&ack, &self.name, unix_us)
            };
            if fits {
                break;
            }
            // One that never left would stay due for ever. Windows can follow in the next; what the oldest ranges say
            // the peer finds out by sending once more.
            if !ack.channels.is_empty() {
                self.receiver.untell(&ack.channels);
                ack.channels.clear();
            } else if !ack.ranges.halve() {
                return AckSent::No;
            }
        }
        self.stats.acks_sent += 1;
        self.heartbeat_due |= wants_number && !is_alone;
        if is_alone { AckSent::Numbered } else { AckSent::Plain }
    }

    /// Fills a probe with what has waited longest for an ack: what was lost is repaired by it, and where nothing was, a
    /// repetition asks as well as anything new. RFC 9002 section 6.2.4 prefers new data; but new data that may not leave
    /// within the window would be delivered behind the hole anyway.
    fn put_probe(
        &mut self,
        now: Timestamp,
        number: u64,
        writer: &mut PacketWriter<'_>,
        segments: &mut Segments,
    ) {
        for segment in self.oldest_unacked() {
            let Some(frame) = self.sender.frame(segment, number) else {
                continue;
            };
            if !writer.put(&frame) {
                break;
            }
            segments.push(segment);
            self.note_repeat(now, segment, number, StepKind::Probed);
            self.sender.on_sent(now, segment, number);
            self.stats.segments_sent += 1;
            self.stats.retransmits += 1;
        }
        if !segments.is_empty() {
            self.note_probe(now, number);
        }
    }

    /// Segments in flight, the oldest first, as many as a probe may take.
    fn oldest_unacked(&self) -> SmallVec<[SegmentKey; PROBE_SEGMENTS]> {
        let mut found = SmallVec::new();
        let mut from = self.first_undecided;
        while let Some((number, packet)) = self.sent.next_in_flight(from, u64::MAX) {
            from = number + 1;
            for &segment in &packet.segments {
                let segment = segment.again();
                let is_there = found.iter().any(|other: &SegmentKey| other.is_same_segment(segment));
                if !is_there && self.sender.may_repeat(segment, self.config.max_attempts) {
                    found.push(segment);
                }
                if found.len() == PROBE_SEGMENTS {
                    return found;
                }
            }
        }
        found
    }

    /// Whatever leaves now asks for an ack of the tail.
    fn note_probe(&mut self, now: Timestamp, packet: u64) {
        if self.forced.probes > 0 {
            self.forced.probes -= 1;
            self.stats.probes += 1;
            self.emit(now, TraceKind::Probed { packet });
        }
    }

    /// Fills the packet with segments, beginning with `candidate`, as far as they fit and may leave.
    fn put_segments(
        &mut self,
        now: Timestamp,
        number: u64,
        candidate: Candidate,
        writer: &mut PacketWriter<'_>,
        segments: &mut Segments,
    ) {
        let mut next = Some(candidate);
        while let Some(candidate) = next {
            let Some(frame) = self.sender.frame(candidate.segment, number) else {
                return;
            };
            let is_there = segments.iter().any(|segment| segment.is_same_segment(candidate.segment));
            if is_there {
                return;
            }
            if !writer.put(&frame) {
                if !writer.is_empty() {
                    return;
                }
                // It fits no other packet either, and would hold up everything behind it.
                self.sender.on_too_long(candidate.segment);
                next = self
                    .next_within_window(now, ByteCount::ZERO)
                    .filter(|other| !other.segment.is_same_segment(candidate.segment));
                continue;
            }
            segments.push(candidate.segment);
            self.on_segment_sent(now, number, &candidate);
            if writer.is_full() {
                return;
            }
            let written = ByteCount(writer.len() as u64);
            next = self.next_within_window(now, written);
        }
    }

    /// Brings the plan for copies up to date.
    fn plan_copies(&mut self, now: Timestamp) {
        let rtt = RttView { latest: None, smoothed: self.rtt.smoothed(), min: self.rtt.min() };
        let is_silent = self.is_silent(now);
        self.redundancy.on_silence(is_silent);
        let plan = match self.config.carrier {
            // What the stream below loses, it sends again itself; a copy would only wait behind it.
            CarrierHint::FifoStream => Plan::default(),
            CarrierHint::Datagram => {
                self.redundancy.plan(now, rtt, self.sent.packets_in_flight(), self.controller.cwnd())
            }
        };
        self.sender.set_plan(plan);
    }

    /// Adds copies to the packet, or sends those that are due alone, as far as they fit; never beyond the congestion window
    /// or against the pacer.
    fn put_copies(
        &mut self,
        now: Timestamp,
        number: u64,
        writer: &mut PacketWriter<'_>,
        segments: &mut Segments,
    ) {
        let before = writer.len();
        let is_alone = segments.is_empty();
        while let Some(copy) = self.sender.next_copy(now, number, segments) {
            let written = ByteCount(writer.len() as u64);
            let size = self.sender.size(copy);
            let room = (size.as_u64() * COPY_ROOM).max(size.as_u64() + self.sender.copy_reserve());
            let flight = self.sent.bytes_in_flight() + written + ByteCount(room);
            let Some(frame) = self.sender.frame(copy, number) else {
                return;
            };
            let is_paced = self.pacing_rate.is_none() || self.pacer.may_send(now);
            let has_room = is_paced && flight <= self.controller.cwnd();
            if !has_room || !writer.put(&frame) {
                // What does not fit behind other frames may leave in the next packet; what has no room there either is
                // left out.
                if !has_room || writer.is_empty() {
                    self.stats.copies_withheld += self.sender.withhold_copies(now);
                }
                break;
            }
            segments.push(copy);
            self.note_repeat(now, copy, number, StepKind::Copied);
            self.sender.on_sent(now, copy, number);
            self.stats.redundant_segments += 1;
        }
        let from = if is_alone && !segments.is_empty() { 0 } else { before };
        let copied = (writer.len() - from) as u64;
        self.stats.redundant_bytes += copied;
        self.redundancy.on_copied(copied);
    }

    /// The segment to send next, if one may leave: within the congestion window and at the pacing rate, or on a permit.
    fn candidate(&mut self, now: Timestamp) -> Option<Candidate> {
        if self.forced.probes > 0
            && let Some(&segment) = self.oldest_unacked().first()
        {
            return Some(Candidate { segment, permit: Permit::Probe });
        }
        let (candidate, hold) = self.choose(now);
        self.hold.set(now, hold);
        candidate
    }

    /// The same without probes, and what holds up the next segment if none may leave.
    fn choose(&mut self, now: Timestamp) -> (Option<Candidate>, Option<Hold>) {
        let Some(segment) = self.sender.next(now, self.peer_window_end) else {
            if self.sent.bytes_in_flight() + self.mss() <= self.controller.cwnd() {
                // There is room, and nothing to fill it with.
                self.rate.on_app_limited(self.sent.bytes_in_flight());
            }
            self.stats.span_stalls +=
                u64::from(self.sender.waits_for_span() && self.hold.running() != Some(Hold::Flow));
            return (None, self.sender.is_blocked().then_some(Hold::Flow));
        };
        let permit = if segment.kind == Kind::Lost && self.forced.retransmits > 0 {
            Permit::Retransmit
        } else if self.sent.is_idle() {
            Permit::Window
        } else if self.sent.bytes_in_flight() + self.needed_room(segment) > self.controller.cwnd() {
            return (None, Some(Hold::Window));
        } else {
            Permit::Window
        };
        if permit == Permit::Window && self.pacing_rate.is_some() && !self.pacer.may_send(now) {
            return (None, Some(Hold::Pacing));
        }
        (Some(Candidate { segment, permit }), None)
    }

    /// Room that the window must have for the next packet. If more waits than one packet holds, a whole one: small packets
    /// in every gap of the window would be lost as often as large ones and carry less (the silly window of RFC 9293 section
    /// 3.8.6.2.1).
    fn needed_room(&self, segment: SegmentKey) -> ByteCount {
        let waits = self.sender.unacked_bytes().saturating_sub(self.sent.bytes_in_flight().as_u64());
        let size = self.sender.size(segment);
        if waits > self.mss().as_u64() { self.mss().max(size) } else { size }
    }

    /// The segment to send next, if it fits the congestion window behind `written` bytes of the same packet.
    fn next_within_window(&mut self, now: Timestamp, written: ByteCount) -> Option<Candidate> {
        let segment = self.sender.next(now, self.peer_window_end)?;
        let flight = self.sent.bytes_in_flight() + written + self.sender.size(segment);
        (flight <= self.controller.cwnd()).then_some(Candidate { segment, permit: Permit::Window })
    }

    fn on_segment_sent(&mut self, now: Timestamp, packet: u64, candidate: &Candidate) {
        let reason = self.sender.loss_reason(candidate.segment);
        if candidate.segment.kind == Kind::Fresh
            && let Some(key) = self.sender.message(candidate.segment)
        {
            self.waits.on_fresh(now, key.number(), self.hold.read(now));
        }
        self.sender.on_sent(now, candidate.segment, packet);
        self.stats.segments_sent += 1;
        if candidate.segment.kind == Kind::Lost {
            self.forced.retransmits = self.forced.retransmits.saturating_sub(1);
            self.stats.retransmits += 1;
            if let Some(reason) = reason {
                self.note_repeat(now, candidate.segment, packet, StepKind::Retransmitted(reason));
                self.stats.fast_retransmits += u64::from(reason == crate::trace::LossReason::PacketThreshold);
                self.emit(now, TraceKind::Retransmitted { packet, reason });
            }
        }
        self.note_probe(now, packet);
    }

    fn on_packet_sent(&mut self, now: Timestamp, size: ByteCount, segments: Segments, ack_largest: u64) {
        if self.has_idled(now) {
            self.controller.on_idle();
        }
        let was_idle = self.sent.is_idle();
        self.timers.on_packet_sent(now, was_idle);
        let prior_in_flight = self.sent.bytes_in_flight();
        let number = self.sent.next_number();
        let delivery = self.rate.on_sent(now, size, prior_in_flight);
        let carries_new = segments.iter().any(|segment| segment.kind == Kind::Fresh);
        self.redundancy.on_sent(now, size, carries_new);
        let is_marked = self.ecn_path.codepoint() == Ecn::Ect0;
        self.ecn_path.on_sent();
        self.sent.push(sent::SentPacket {
            sent_at: now,
            size,
            segments,
            delivery,
            is_marked,
            ack_largest,
            state: PacketState::InFlight,
            settled_run: 0,
        });
        let app_limited = self.sender.next(now, self.peer_window_end).is_none();
        if let Some(rate) = self.pacing_rate {
            self.pacer.on_sent(now, size, rate, self.mss());
        }
        self.controller.on_sent(&SentPacket { at: now, number, size, prior_in_flight, app_limited });
        if was_idle {
            self.refresh_pacing();
        }
        self.stats.bytes_sent += size.as_u64();
        self.emit(now, TraceKind::Sent { packet: number, size });
    }

    pub(super) fn unix_us(&self, now: Timestamp) -> u64 {
        self.unix_us_at_zero + now.as_micros()
    }
}

/// A copy leaves only if so many of its size would fit the congestion window: what is new must find room too when its time
/// comes, and a copy that delays it costs more than it can gain.
const COPY_ROOM: u64 = 3;
/// Whether an ack is part of the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
enum AckSent {
    No,
    Plain,
    /// With a packet number of its own.
    Numbered,
}

/// Bytes that a numbered ack takes of the window, about: a JSON frame with a few ranges.
const ACK_BYTES: u64 = 400;
/// Segments that a probe repeats at most. A datagram holds a handful; more would be guessing.
const PROBE_SEGMENTS: usize = 8;
