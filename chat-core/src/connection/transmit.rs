//! Frames out: what may leave now, in which order.

use units::{ByteCount, Timestamp};

use super::Connection;
use super::send::{Resend, SegmentKey};
use crate::congestion::SentPacket;
use crate::trace::TraceKind;
use crate::wire::{Content, Frame, MsgType};

/// A segment that may leave.
struct Candidate {
    segment: SegmentKey,
    resend: Resend,
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
    /// Appends the next frame body to `out` if one may leave now and is at most `room` bytes long; returns its length,
    /// 0 if none. Call it until it gives 0.
    pub fn poll_frame(&mut self, now: Timestamp, room: usize, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let candidate = self.candidate();
        // An ack rides along with whatever leaves anyway.
        let ack_rides = self.acks.deadline.is_some() && (candidate.is_some() || self.heartbeat_due);
        if self.acks.is_due(now) || ack_rides {
            let window_end = self.receiver.window_end(self.config.receive_window);
            let content = Content::of(&self.acks.content(now, window_end));
            return self.put_own(now, room, out, MsgType::Ack, content, |connection| {
                connection.stats.acks_sent += 1;
                connection.acks.on_sent(window_end);
            });
        }
        if let Some(nack) = self.nacks.front() {
            let content = Content::of(nack);
            return self.put_own(now, room, out, MsgType::Nack, content, |connection| {
                connection.nacks.pop_front();
            });
        }
        if let Some(content) = self.bye.clone() {
            return self.put_own(now, room, out, MsgType::Bye, content, |connection| connection.bye = None);
        }
        let packet = self.sent.next_number();
        if let Some(candidate) = candidate {
            let Some(frame) = self.sender.frame(candidate.segment, packet) else {
                return 0;
            };
            let size = put(out, &frame, room);
            if size > 0 {
                self.on_segment_sent(now, &candidate, ByteCount(size as u64));
            }
            return size;
        }
        if self.heartbeat_due || self.forced.probe {
            let frame =
                self.own_frame(self.unix_us(now), MsgType::Heartbeat, Content::from_json("{}"), packet);
            let size = put(out, &frame, room);
            if size > 0 {
                self.heartbeat_due = false;
                self.forced.probe = false;
                self.on_packet_sent(now, ByteCount(size as u64), None);
            }
            return size;
        }
        debug_assert_eq!(out.len(), start);
        0
    }

    /// The segment to send next, if one may leave: within the congestion window, or on a permit.
    fn candidate(&mut self) -> Option<Candidate> {
        if let Some((segment, resend)) = self.sender.next(self.peer_window_end) {
            let size = self.sender.size(segment);
            let in_flight = self.sent.bytes_in_flight();
            if in_flight + size <= self.controller.cwnd() || self.sent.is_idle() {
                return Some(Candidate { segment, resend, permit: Permit::Window });
            }
            if resend == Resend::Yes && self.forced.retransmits > 0 {
                return Some(Candidate { segment, resend, permit: Permit::Retransmit });
            }
            if self.forced.probe {
                return Some(Candidate { segment, resend, permit: Permit::Probe });
            }
            return None;
        }
        if self.forced.probe {
            // RFC 8985 section 7.3: no new data, so the newest segment again.
            let segment = self.sent.last_in_flight().and_then(|(_, packet)| packet.segment)?;
            let resend = Resend::Yes;
            return self.sender.contains(segment).then_some(Candidate {
                segment,
                resend,
                permit: Permit::Probe,
            });
        }
        None
    }

    fn on_segment_sent(&mut self, now: Timestamp, candidate: &Candidate, size: ByteCount) {
        let packet = self.sent.next_number();
        let reason = self.sender.loss_reason(candidate.segment);
        self.sender.on_sent(candidate.segment);
        self.on_packet_sent(now, size, Some(candidate.segment));
        self.stats.segments_sent += 1;
        if candidate.resend == Resend::Yes && candidate.permit != Permit::Probe {
            self.forced.retransmits = self.forced.retransmits.saturating_sub(1);
        }
        if self.forced.probe {
            // Whatever leaves now asks for an ack of the tail.
            self.forced.probe = false;
            self.stats.probes += 1;
            self.emit(now, TraceKind::Probed { packet });
        }
        if candidate.resend == Resend::Yes {
            self.stats.retransmits += 1;
            if let Some(reason) = reason {
                self.stats.fast_retransmits += u64::from(reason == crate::trace::LossReason::PacketThreshold);
                self.emit(now, TraceKind::Retransmitted { packet, reason });
            }
        }
    }

    fn on_packet_sent(&mut self, now: Timestamp, size: ByteCount, segment: Option<SegmentKey>) {
        self.timers.on_packet_sent(now, self.sent.is_idle());
        let prior_in_flight = self.sent.bytes_in_flight();
        let number = self.sent.next_number();
        let delivery = self.rate.on_sent(now, size, prior_in_flight);
        self.sent.push(now, size, segment, delivery);
        let app_limited = delivery.app_limited;
        self.controller.on_sent(&SentPacket { at: now, number, size, prior_in_flight, app_limited });
        self.stats.bytes_sent += size.as_u64();
    }

    /// A frame without a packet number: not acknowledged, not counted in flight, not held back by any window.
    fn put_own(
        &mut self,
        now: Timestamp,
        room: usize,
        out: &mut Vec<u8>,
        msg_type: MsgType,
        content: Content,
        on_sent: impl FnOnce(&mut Self),
    ) -> usize {
        let frame = self.own_frame(self.unix_us(now), msg_type, content, 0);
        let size = put(out, &frame, room);
        if size > 0 {
            self.stats.bytes_sent += size as u64;
            on_sent(self);
        }
        size
    }

    fn unix_us(&self, now: Timestamp) -> u64 {
        self.unix_us_at_zero + now.as_micros()
    }
}

/// Encodes `frame` if it fits into `room` bytes; leaves `out` as it was if not.
fn put(out: &mut Vec<u8>, frame: &Frame, room: usize) -> usize {
    let start = out.len();
    let size = frame.encode(out);
    if size > room {
        out.truncate(start);
        return 0;
    }
    size
}
