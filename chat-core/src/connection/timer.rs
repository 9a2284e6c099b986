//! Deadlines of one connection, and what happens at each.
//!
//! There is one timer: the earliest deadline. Each follows from a few points in time and the RTT, so nothing is armed or
//! cancelled, and a call that comes early, late or twice finds out by itself what is due.
//!
//! With the time threshold (`modern`), a silent path is probed (RFC 9002 section 6.2): that declares nothing lost and
//! takes nothing from the window. Departures, for chat: while at most [`THIN_PACKETS`] are in flight, the timer counts
//! from the oldest of them and not from the newest, or a line every 100 ms would keep putting it off; and two probes
//! leave from the first expiry on unless much is in flight, a few milliseconds apart. Without it (`classic`), the
//! RTO of RFC 6298 section 5 declares packets lost and collapses the window.

use std::time::Duration;

use units::Timestamp;

use super::delays::Hold;
use super::outbox::SegmentKey;
use super::{Connection, Event};
use crate::config::CarrierHint;
use crate::congestion::Timeout;
use crate::trace::steps::StepKind;
use crate::trace::{LossReason, TraceKind};

/// Points in time that the deadlines are counted from. The deadlines themselves follow from them and the RTT.
#[derive(Debug)]
pub(super) struct Timers {
    /// When the oldest undecided packet gets lost by the time threshold.
    pub(super) loss: Option<Timestamp>,
    /// Last time the retransmission timer was (re)started (RFC 6298 section 5).
    restarted: Timestamp,
    /// When the probe timer expired last, if nothing was acknowledged since.
    expired: Option<Timestamp>,
    /// When acks and losses last told of more than a few packets: before that, none of these has a time of its own.
    busy: Timestamp,
    /// When the second probe of a pair leaves.
    second_probe: Option<Timestamp>,
    /// When the last numbered packet left.
    last_sent: Timestamp,
    last_heard: Timestamp,
    /// Unanswered questions whether the peer's window has opened.
    window_probes: u32,
    /// The same for the windows of channels, and when the last one was asked.
    channel_probes: u32,
    channel_asked: Timestamp,
}

impl Timers {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            loss: None,
            restarted: now,
            expired: None,
            busy: now,
            second_probe: None,
            last_sent: now,
            last_heard: now,
            window_probes: 0,
            channel_probes: 0,
            channel_asked: now,
        }
    }

    pub(super) fn on_heard(&mut self, now: Timestamp) {
        self.last_heard = now;
    }

    /// Something was newly acknowledged.
    pub(super) fn on_progress(&mut self, now: Timestamp) {
        self.restarted = now;
        self.expired = None;
        self.second_probe = None;
    }

    /// Something was declared lost, or settled while more than [`THIN_PACKETS`] were in flight.
    pub(super) fn on_busy(&mut self, now: Timestamp) {
        self.busy = now;
    }

    /// The peer's window has opened further.
    pub(super) fn on_window_grown(&mut self) {
        self.window_probes = 0;
    }

    /// The peer's window for a channel has opened further.
    pub(super) fn on_channel_window_grown(&mut self) {
        self.channel_probes = 0;
    }

    /// A numbered packet leaves; `was_idle`: nothing was in flight before it.
    pub(super) fn on_packet_sent(&mut self, now: Timestamp, was_idle: bool) {
        self.last_sent = now;
        if was_idle {
            self.restarted = now;
        }
    }
}

impl Connection {
    /// When [`Self::handle_timeout`] wants to be called next. `None` once the peer is dead.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.is_dead {
            return None;
        }
        let recovery = if self.sent.is_idle() {
            Some(self.timers.last_sent + self.idle_interval())
        } else {
            Some(self.timers.loss.unwrap_or_else(|| self.recovery_deadline()))
        };
        let second_probe = self.timers.second_probe.filter(|_| !self.sent.is_idle());
        let idle = self.timers.last_heard + self.config.idle_timeout;
        let (copies, messages) = (self.sender.copy_deadline(), self.sender.next_deadline());
        let window = self.channel_probe_deadline();
        let mut earliest = idle;
        for deadline in
            [recovery, second_probe, self.acks.deadline, self.pacing_release(), copies, messages, window]
        {
            earliest = deadline.map_or(earliest, |deadline| earliest.min(deadline));
        }
        Some(earliest)
    }

    /// Does what is due at `now`. Calls that come early do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.is_dead {
            return;
        }
        if self.timers.last_heard + self.config.idle_timeout <= now {
            self.is_dead = true;
            self.receiver.push_event(Event::Dead);
            return;
        }
        self.sender.expire(now);
        if self.channel_probe_deadline().is_some_and(|due| due <= now) {
            self.heartbeat_due = true;
            self.timers.channel_probes += 1;
            self.timers.channel_asked = now;
        }
        if self.sent.is_idle() {
            if self.timers.last_sent + self.idle_interval() <= now {
                self.heartbeat_due = true;
                self.timers.window_probes += 1;
            }
            return;
        }
        if self.timers.second_probe.is_some_and(|due| due <= now) {
            self.timers.second_probe = None;
            self.forced.probes += 1;
        }
        match self.timers.loss {
            Some(due) if due <= now => self.on_loss_timer(now),
            Some(_) => {}
            None if self.recovery_deadline() > now => {}
            None if self.config.time_threshold => self.on_probe_timeout(now),
            None => self.on_rto(now),
        }
    }

    fn on_loss_timer(&mut self, now: Timestamp) {
        let flight_size = self.sent.bytes_in_flight();
        self.detect_losses(now);
        if !self.lost.is_empty() {
            self.tell_controller(now, flight_size, None, 0);
        }
        if self.timers.loss.is_some() || self.recovery_deadline() > now {
            return;
        }
        // A probe is due in the same instant. What was just declared lost leaves now and asks for an ack as a probe would, so
        // the probe timer counts from here.
        if self.lost.is_empty() {
            self.on_probe_timeout(now);
        } else {
            self.timers.expired = Some(now);
        }
    }

    /// RFC 9002 section 6.2.4.
    fn on_probe_timeout(&mut self, now: Timestamp) {
        let is_first = self.rtt.backoff() == 0;
        self.rtt.on_timeout();
        self.stats.probe_timeouts += 1;
        self.timers.expired = Some(now);
        self.forced.probes = self.forced.probes.max(1);
        let is_pair =
            self.config.carrier == CarrierHint::Datagram && self.sent.packets_in_flight() <= PAIR_PACKETS;
        if is_pair || !is_first {
            self.timers.second_probe = Some(now + self.config.probe_spacing);
        }
        self.note_timeout(now);
        self.emit(now, TraceKind::ProbeTimeout { count: self.rtt.backoff() });
        self.give_up_doomed(now);
    }

    /// A probe never declares a packet lost; but what must not be sent again would then wait for ever on a silent path.
    /// Its packets are given up, and nothing is concluded of the path. One whose segments were all acknowledged by another
    /// transmission holds nothing up: it stays, for its ack to come.
    fn give_up_doomed(&mut self, now: Timestamp) {
        let mut from = self.first_undecided;
        while let Some((number, packet)) = self.sent.next_in_flight(from, u64::MAX) {
            from = number + 1;
            let is_repeatable =
                |segment: &SegmentKey| self.sender.may_repeat(segment.again(), self.config.max_attempts);
            if packet.segments.iter().any(|&segment| self.sender.is_waiting(segment))
                && !packet.segments.iter().any(is_repeatable)
                && let Some(lost) = self.declare_lost(now, number, LossReason::Timeout)
            {
                self.rate.on_lost(lost.size);
            }
        }
    }

    /// RFC 6298 section 5.4 to 5.6. The oldest packet counts as lost, and with it those that are older than an RTT
    /// (RFC 8985 section 6.3); younger ones may still be under way.
    fn on_rto(&mut self, now: Timestamp) {
        let flight_size = self.sent.bytes_in_flight();
        let repeated = self.rtt.backoff() > 0;
        self.rtt.on_timeout();
        self.stats.timeouts += 1;
        self.note_timeout(now);
        let age = self.rtt.longest().map_or(Duration::ZERO, |rtt| self.loss.age(rtt));
        let mut from = 0;
        while let Some((number, packet)) = self.sent.next_in_flight(from, u64::MAX) {
            if from != 0 && packet.sent_at + age > now {
                break;
            }
            from = number + 1;
            self.heartbeat_due |= packet.segments.is_empty();
            if let Some(lost) = self.declare_lost(now, number, LossReason::Timeout) {
                self.rate.on_lost(lost.size);
            }
        }
        let next_packet = self.sent.next_number();
        self.first_undecided = self.first_undecided.max(self.sent.first());
        self.controller.on_timeout(&Timeout { now, next_packet, flight_size, repeated });
        self.forced.retransmits = 1;
        self.timers.restarted = now;
        self.refresh_pacing();
        self.emit(now, TraceKind::TimedOut { count: self.rtt.backoff() });
    }

    /// The timer went off for what is in flight: its oldest packets, which it waited for.
    fn note_timeout(&mut self, now: Timestamp) {
        if !self.steps.is_on() {
            return;
        }
        let mut from = self.first_undecided;
        for _ in 0..TIMED_OUT_MAX {
            let Some((number, _)) = self.sent.next_in_flight(from, u64::MAX) else {
                return;
            };
            from = number + 1;
            self.note_steps(now, number, StepKind::TimedOut);
        }
    }

    /// When the probe timer expires, or in `classic` the RTO; something is in flight.
    fn recovery_deadline(&self) -> Timestamp {
        if !self.config.time_threshold {
            return self.timers.restarted + self.rtt.rto(&self.config);
        }
        let oldest = self.sent.next_in_flight(self.first_undecided, u64::MAX);
        let since = match oldest {
            Some((_, packet)) if self.sent.packets_in_flight() <= THIN_PACKETS => {
                packet.sent_at.max(self.timers.busy)
            }
            _ => self.timers.last_sent,
        };
        let since = self.timers.expired.map_or(since, |expired| since.max(expired));
        since + self.rtt.probe_backoff(&self.config)
    }

    /// The timeout of the timer in use, backoff included.
    pub(super) fn recovery_timeout(&self) -> Duration {
        if self.config.time_threshold {
            self.rtt.probe_backoff(&self.config)
        } else {
            self.rtt.rto(&self.config)
        }
    }

    /// Whether acks are overdue: the oldest packet in flight should have been heard of, and nothing was for half a round
    /// trip. A sender that goes on learns of it long before the probe timer, which counts from the newest packet.
    pub(super) fn is_silent(&self, now: Timestamp) -> bool {
        let Some(rtt) = self.rtt.smoothed() else {
            return false;
        };
        let oldest = self.sent.next_in_flight(self.first_undecided, u64::MAX);
        oldest.is_some_and(|(_, packet)| {
            packet.sent_at + rtt + rtt / 8 < now && self.timers.restarted + rtt / 2 < now
        })
    }

    /// When the pacer lets the next packet go, if it is what holds it up.
    fn pacing_release(&self) -> Option<Timestamp> {
        let rate = self.pacing_rate.filter(|_| self.hold.running() == Some(Hold::Pacing))?;
        Some(self.pacer.release_at(rate, self.mss()))
    }

    /// Whether nothing was sent for longer than an RTO, and nothing is under way (RFC 5681 section 4.1).
    pub(super) fn has_idled(&self, now: Timestamp) -> bool {
        self.sent.is_idle() && now.since(self.timers.last_sent) > self.rtt.rto(&self.config)
    }

    /// When the peer is asked whether the window of a channel has opened, if something waits for it. Other channels may be
    /// busy meanwhile, so this does not wait until nothing is in flight.
    fn channel_probe_deadline(&self) -> Option<Timestamp> {
        let patience = self.recovery_timeout().saturating_mul(1 << self.timers.channel_probes.min(8));
        let since = self.timers.channel_asked.max(self.timers.restarted);
        self.sender.waits_for_channel().then(|| since + patience.min(self.config.heartbeat))
    }

    /// How long nothing may be sent while nothing is in flight: until the next heartbeat, or, when data waits for the
    /// peer's window, until it is asked again, less and less often.
    fn idle_interval(&self) -> Duration {
        // What was queued just now waits for nobody.
        if self.hold.running() != Some(Hold::Flow) {
            return self.config.heartbeat;
        }
        let patience = self.recovery_timeout().saturating_mul(1 << self.timers.window_probes.min(8));
        patience.min(self.config.heartbeat)
    }
}

/// Up to this many packets in flight, nothing that is sent later can tell of their loss soon, so each has its own time.
pub(super) const THIN_PACKETS: u64 = 2;
/// Packets that a timer going off is told of; it is for the oldest.
const TIMED_OUT_MAX: usize = 64;
/// Up to this many packets in flight, a second probe is a small part of what is at stake.
const PAIR_PACKETS: u64 = 8;
