//! Deadlines of one connection, and what happens at each.

use std::time::Duration;

use units::Timestamp;

use super::{Connection, Event};
use crate::congestion::Timeout;
use crate::trace::{LossReason, TraceKind};

/// Points in time that the deadlines are counted from. The deadlines themselves follow from them and the RTT.
#[derive(Debug)]
pub(super) struct Timers {
    /// When the oldest undecided packet gets lost by the time threshold.
    pub(super) loss: Option<Timestamp>,
    /// Last time the retransmission timer was (re)started (RFC 6298 section 5).
    restarted: Timestamp,
    /// When the last numbered packet left.
    last_sent: Timestamp,
    last_heard: Timestamp,
    /// A probe was sent since the last progress.
    probed: bool,
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
            last_sent: now,
            last_heard: now,
            probed: false,
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
        self.probed = false;
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
            self.timers.loss.or_else(|| self.probe_deadline()).or_else(|| Some(self.rto_deadline()))
        };
        let idle = Some(self.timers.last_heard + self.config.idle_timeout);
        let messages = self.sender.copy_deadline().into_iter().chain(self.sender.next_deadline()).min();
        [recovery, idle, self.acks.deadline, messages, self.channel_probe_deadline()]
            .into_iter()
            .flatten()
            .min()
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
        } else if let Some(due) = self.timers.loss {
            if due <= now {
                self.on_loss_timer(now);
            }
        } else if let Some(due) = self.probe_deadline() {
            if due <= now {
                self.timers.probed = true;
                self.timers.restarted = now;
                self.forced.probe = true;
            }
        } else if self.rto_deadline() <= now {
            self.on_rto(now);
        }
    }

    fn on_loss_timer(&mut self, now: Timestamp) {
        let flight_size = self.sent.bytes_in_flight();
        let lost = self.detect_losses(now);
        if !lost.is_empty() {
            self.tell_controller(now, &[], &lost, flight_size, None);
        }
    }

    /// RFC 6298 section 5.4 to 5.6. The oldest packet counts as lost, and with it those that are older than an RTT
    /// (RFC 8985 section 6.3); younger ones may still be under way.
    fn on_rto(&mut self, now: Timestamp) {
        let flight_size = self.sent.bytes_in_flight();
        let repeated = self.rtt.backoff() > 0;
        self.rtt.on_timeout();
        self.stats.timeouts += 1;
        let age = self.rtt.loss_delay().unwrap_or(Duration::ZERO);
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
        self.controller.on_timeout(&Timeout { now, next_packet, flight_size, repeated });
        self.forced.retransmits = 1;
        self.timers.restarted = now;
        self.emit(now, TraceKind::TimedOut { count: self.rtt.backoff() });
    }

    /// Whether nothing was sent for longer than an RTO, and nothing is under way (RFC 5681 section 4.1).
    pub(super) fn has_idled(&self, now: Timestamp) -> bool {
        self.sent.is_idle() && now.since(self.timers.last_sent) > self.rtt.rto(&self.config)
    }

    fn rto_deadline(&self) -> Timestamp {
        self.timers.restarted + self.rtt.rto(&self.config)
    }

    /// When the tail is probed, if it is: once after the last progress, before the RTO (RFC 8985 section 7).
    fn probe_deadline(&self) -> Option<Timestamp> {
        if !self.config.time_threshold || self.timers.probed || self.rtt.backoff() > 0 {
            return None;
        }
        let timeout = self.rtt.probe_timeout(self.config.max_ack_delay)?;
        Some((self.timers.last_sent.max(self.timers.restarted) + timeout).min(self.rto_deadline()))
    }

    /// When the peer is asked whether the window of a channel has opened, if something waits for it. Other channels may be
    /// busy meanwhile, so this does not wait until nothing is in flight.
    fn channel_probe_deadline(&self) -> Option<Timestamp> {
        let patience = self.rtt.rto(&self.config).saturating_mul(1 << self.timers.channel_probes.min(8));
        let since = self.timers.channel_asked.max(self.timers.restarted);
        self.sender.waits_for_channel().then(|| since + patience.min(self.config.heartbeat))
    }

    /// How long nothing may be sent while nothing is in flight: until the next heartbeat, or, when data waits for the
    /// peer's window, until it is asked again, less and less often.
    fn idle_interval(&self) -> Duration {
        if self.sender.is_empty() {
            return self.config.heartbeat;
        }
        let patience = self.rtt.rto(&self.config).saturating_mul(1 << self.timers.window_probes.min(8));
        patience.min(self.config.heartbeat)
    }
}
