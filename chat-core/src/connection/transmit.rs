//! Packets out: what may leave now, in which order.

use units::{ByteCount, Timestamp};

use super::Connection;
use super::outbox::{Kind, SegmentKey};
use super::sent::Segments;
use crate::congestion::{RttView, SentPacket};
use crate::trace::TraceKind;
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
    /// gives 0.
    pub fn poll_packet(&mut self, now: Timestamp, mut writer: PacketWriter<'_>) -> usize {
        let number = self.sent.next_number();
        self.plan_copies(now);
        let candidate = self.candidate(now);
        if candidate.is_none() && self.sender.next(now, self.peer_window_end).is_some() {
            self.redundancy.on_crowded(now, self.rtt.smoothed());
        }
        // An ack rides along with whatever leaves anyway.
        let ack_rides = self.acks.deadline.is_some() && (candidate.is_some() || self.heartbeat_due);
        if self.acks.is_due(now) || ack_rides {
            self.put_ack(now, &mut writer);
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
        if let Some(candidate) = candidate {
            self.put_segments(now, number, candidate, &mut writer, &mut segments);
        }
        self.put_copies(now, number, &mut writer, &mut segments);
        let mut has_heartbeat = false;
        if segments.is_empty() && (self.heartbeat_due || self.forced.probe) {
            let frame =
                self.own_frame(self.unix_us(now), MsgType::Heartbeat, Content::empty_object(), number);
            if writer.put(&frame) {
                self.heartbeat_due = false;
                self.forced.probe = false;
                has_heartbeat = true;
            }
        }
        let size = writer.finish();
        if !segments.is_empty() || has_heartbeat {
            self.on_packet_sent(now, ByteCount(size as u64), segments);
        } else {
            self.stats.bytes_sent += size as u64;
        }
        size
    }

    fn put_ack(&mut self, now: Timestamp, writer: &mut PacketWriter<'_>) {
        let window_end = self.receiver.window_end(self.config.receive_window);
        let mut ack = self.acks.content(now, window_end);
        let rtt = self.rtt.smoothed().unwrap_or(self.config.initial_rto);
        ack.channels = self.receiver.channel_windows(&self.config, now, rtt);
        if writer.put_ack(&ack, &self.name, self.unix_us(now)) {
            self.stats.acks_sent += 1;
            self.acks.on_sent(window_end);
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
            if is_there || !writer.put(&frame) {
                return;
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
        let plan = self.redundancy.plan(now, rtt, self.sent.packets_in_flight(), self.controller.cwnd());
        self.sender.set_plan(plan);
    }

    /// Adds copies to the packet, or sends those that are due alone, as far as they fit; never beyond the congestion window.
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
            let room = ByteCount(size.as_u64() * COPY_ROOM);
            let flight = self.sent.bytes_in_flight() + written + room;
            let Some(frame) = self.sender.frame(copy, number) else {
                return;
            };
            let has_room = flight <= self.controller.cwnd();
            if !has_room || !writer.put(&frame) {
                // What does not fit behind other frames may leave in the next packet; what has no room there either is
                // left out.
                if !has_room || writer.is_empty() {
                    self.stats.copies_withheld += self.sender.withhold_copies(now);
                }
                break;
            }
            segments.push(copy);
            self.sender.on_sent(now, copy, number);
            self.stats.redundant_segments += 1;
        }
        let from = if is_alone && !segments.is_empty() { 0 } else { before };
        let copied = (writer.len() - from) as u64;
        self.stats.redundant_bytes += copied;
        self.redundancy.on_copied(copied);
    }

    /// The segment to send next, if one may leave: within the congestion window, or on a permit.
    fn candidate(&mut self, now: Timestamp) -> Option<Candidate> {
        if let Some(candidate) = self.next_within_window(now, ByteCount::ZERO) {
            return Some(candidate);
        }
        if let Some(segment) = self.sender.next(now, self.peer_window_end) {
            if self.sent.is_idle() {
                return Some(Candidate { segment, permit: Permit::Window });
            }
            if segment.kind == Kind::Lost && self.forced.retransmits > 0 {
                return Some(Candidate { segment, permit: Permit::Retransmit });
            }
            if self.forced.probe {
                return Some(Candidate { segment, permit: Permit::Probe });
            }
            return None;
        }
        if self.forced.probe {
            // RFC 8985 section 7.3: no new data, so the newest segment again.
            let newest =
                self.sent.last_in_flight().and_then(|(_, packet)| packet.segments.first().copied())?;
            let segment = newest.again();
            let may_leave = self.sender.may_repeat(segment, self.config.max_attempts);
            return may_leave.then_some(Candidate { segment, permit: Permit::Probe });
        }
        None
    }

    /// The segment to send next, if it fits the congestion window behind `written` bytes of the same packet.
    fn next_within_window(&mut self, now: Timestamp, written: ByteCount) -> Option<Candidate> {
        let segment = self.sender.next(now, self.peer_window_end)?;
        let flight = self.sent.bytes_in_flight() + written + self.sender.size(segment);
        (flight <= self.controller.cwnd()).then_some(Candidate { segment, permit: Permit::Window })
    }

    fn on_segment_sent(&mut self, now: Timestamp, packet: u64, candidate: &Candidate) {
        let reason = self.sender.loss_reason(candidate.segment);
        self.sender.on_sent(now, candidate.segment, packet);
        self.stats.segments_sent += 1;
        if candidate.segment.kind == Kind::Lost && candidate.permit != Permit::Probe {
            self.forced.retransmits = self.forced.retransmits.saturating_sub(1);
        }
        if self.forced.probe {
            // Whatever leaves now asks for an ack of the tail.
            self.forced.probe = false;
            self.stats.probes += 1;
            self.emit(now, TraceKind::Probed { packet });
        }
        if candidate.segment.kind == Kind::Lost {
            self.stats.retransmits += 1;
            if let Some(reason) = reason {
                self.stats.fast_retransmits += u64::from(reason == crate::trace::LossReason::PacketThreshold);
                self.emit(now, TraceKind::Retransmitted { packet, reason });
            }
        }
    }

    fn on_packet_sent(&mut self, now: Timestamp, size: ByteCount, segments: Segments) {
        if self.has_idled(now) {
            self.controller.on_idle();
        }
        self.timers.on_packet_sent(now, self.sent.is_idle());
        let prior_in_flight = self.sent.bytes_in_flight();
        let number = self.sent.next_number();
        let delivery = self.rate.on_sent(now, size, prior_in_flight);
        let carries_new = segments.iter().any(|segment| segment.kind == Kind::Fresh);
        self.redundancy.on_sent(now, size, carries_new);
        self.sent.push(now, size, segments, delivery);
        let app_limited = delivery.app_limited;
        self.controller.on_sent(&SentPacket { at: now, number, size, prior_in_flight, app_limited });
        self.stats.bytes_sent += size.as_u64();
        self.emit(now, TraceKind::Sent { packet: number, size });
    }

    fn unix_us(&self, now: Timestamp) -> u64 {
        self.unix_us_at_zero + now.as_micros()
    }
}

/// A copy leaves only if so many of its size would fit the congestion window: what is new must find room too when its time
/// comes, and a copy that delays it costs more than it can gain.
const COPY_ROOM: u64 = 3;
