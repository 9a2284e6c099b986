//! What controllers that answer losses have in common: one reduction for each round trip, the recovery after it, its
//! undoing, and the window's floor and use.
//!
//! Two parts are exchangeable: how slow start ends ([`SlowStart`]) and how congestion avoidance grows ([`Avoidance`]).
//!
//! A packet number tells which round trip a packet belongs to, so no clock decides that: losses of packets sent before
//! the latest reduction belong to it, and the first ack of a packet sent after it ends the recovery (RFC 9002 section
//! 7.3.2). In the `classic` profile the window is ssthresh during recovery (the pipe algorithm of RFC 6675; the inflation
//! by duplicate acks of RFC 5681 is for senders that cannot tell what left the network); otherwise proportional rate
//! reduction leads there.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use super::avoidance::{Avoidance, AvoidanceAck, Ratio};
use super::prr::{Prr, PrrAck};
use super::slow_start::SlowStart;
use super::validation::Usage;
use super::{AckBatch, Controller, SentPacket, State, Timeout};
use crate::config::TransportConfig;

/// A loss-based controller.
#[derive(Clone, Debug)]
pub struct LossBased<A, S> {
    settings: Settings,
    cwnd: u64,
    /// `u64::MAX` while unlimited.
    ssthresh: u64,
    avoidance: A,
    slow_start: S,
    /// As they were at the start, for a new path.
    fresh_slow_start: S,
    recovery: Option<Recovery>,
    /// Losses below this packet number belong to a reduction already made (`recover` of RFC 6582).
    recover: u64,
    usage: Usage,
    /// What the latest reduction took, until it cannot be given back.
    undo: Option<Undo<A, S>>,
}

/// The part of the configuration that acts here. Sizes are bytes.
#[derive(Clone, Debug)]
struct Settings {
    mss: u64,
    initial_cwnd: u64,
    initial_ssthresh: Option<u64>,
    min_cwnd: u64,
    min_cwnd_thin: u64,
    loss_window: u64,
    prr: bool,
    pacing: bool,
    validation: bool,
    abe: bool,
}

#[derive(Clone, Debug)]
struct Recovery {
    prr: Option<Prr>,
    /// The oldest hole; 0 if it was no loss that began the recovery.
    first_lost: u64,
}

#[derive(Clone, Debug)]
struct Undo<A, S> {
    cwnd: u64,
    ssthresh: u64,
    recover: u64,
    avoidance: A,
    slow_start: S,
}

impl<A: Avoidance, S: SlowStart> LossBased<A, S> {
    #[must_use]
    pub fn new(config: &TransportConfig, avoidance: A, slow_start: S) -> Self {
        let settings = Settings {
            mss: config.mss.as_u64().max(1),
            initial_cwnd: config.initial_cwnd.max(1),
            initial_ssthresh: config.initial_ssthresh,
            min_cwnd: config.min_cwnd.max(1),
            min_cwnd_thin: config.min_cwnd_thin,
            loss_window: config.loss_window.max(1),
            prr: config.prr,
            pacing: config.pacing,
            validation: config.cwnd_validation,
            abe: config.abe,
        };
        Self {
            cwnd: settings.initial_window(),
            ssthresh: settings.initial_threshold(),
            settings,
            avoidance,
            fresh_slow_start: slow_start.clone(),
            slow_start,
            recovery: None,
            recover: 0,
            usage: Usage::new(),
            undo: None,
        }
    }

    fn is_in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// The smallest window: a thin flow keeps more.
    fn floor(&self, now: Timestamp) -> u64 {
        self.thin_floor(now).max(self.settings.min_cwnd.saturating_mul(self.settings.mss))
    }

    fn thin_floor(&self, now: Timestamp) -> u64 {
        let is_thin = self.settings.validation && self.usage.is_thin(now);
        if is_thin { self.settings.min_cwnd_thin.saturating_mul(self.settings.mss) } else { 0 }
    }

    /// One reduction (RFC 5681 equation 4, RFC 9438 section 4.6).
    fn reduce(&mut self, batch: &AckBatch<'_>, cause: Cause) {
        let factor = self.factor(cause);
        let basis = self.basis(batch.prior_in_flight.as_u64());
        self.undo = (cause == Cause::Loss).then(|| self.saved());
        self.avoidance.on_reduction(self.demand(basis), self.settings.mss);
        self.slow_start.on_congestion();
        self.ssthresh = factor.of(basis).max(2 * self.settings.mss).max(self.floor(batch.now));
        self.recover = batch.next_packet;
        self.usage.on_reduction(batch.now, batch.in_flight.as_u64());
        let prr = self.settings.prr.then(|| Prr::new(self.ssthresh, batch.prior_in_flight.as_u64()));
        let first_lost = batch.lost.first().map_or(0, |packet| packet.number);
        self.recovery = Some(Recovery { prr, first_lost });
        if !self.settings.prr {
            self.cwnd = self.ssthresh;
        }
    }

    /// RFC 8511 section 3 is about congestion avoidance; a mark in slow start is answered like a loss.
    fn factor(&self, cause: Cause) -> Ratio {
        match cause {
            Cause::Mark if self.settings.abe && !self.is_in_slow_start() => A::ON_MARK,
            Cause::Mark | Cause::Loss => A::ON_LOSS,
        }
    }

    /// What of the window is reduced: what was in flight (RFC 5681), or has shown to arrive (RFC 7661).
    fn basis(&self, flight_size: u64) -> u64 {
        if self.settings.validation { self.usage.proven(self.cwnd, flight_size) } else { flight_size }
    }

    /// The window that met the congestion, which avoidance will climb back to: all of it if it was used.
    fn demand(&self, basis: u64) -> u64 {
        if self.usage.fills() { self.cwnd.max(basis) } else { basis }
    }

    fn saved(&self) -> Undo<A, S> {
        Undo {
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            recover: self.recover,
            avoidance: self.avoidance.clone(),
            slow_start: self.slow_start.clone(),
        }
    }

    fn leave_recovery_if_over(&mut self, batch: &AckBatch<'_>) {
        let is_over = batch.acked.last().is_some_and(|packet| packet.number >= self.recover);
        if is_over && self.recovery.take().is_some() {
            self.cwnd = self.ssthresh;
        }
    }

    fn recover_with(&mut self, batch: &AckBatch<'_>, delivered: u64) {
        let floor = self.floor(batch.now);
        let Some(Recovery { prr: Some(prr), first_lost }) = &mut self.recovery else {
            return;
        };
        let fills_hole = batch.acked.first().is_some_and(|packet| packet.number <= *first_lost);
        let ack = PrrAck {
            delivered,
            in_flight: batch.in_flight.as_u64(),
            is_safe: fills_hole && batch.lost.is_empty(),
            mss: self.settings.mss,
        };
        if let Some(cwnd) = prr.on_ack(&ack) {
            // RFC 9937 has no floor; RFC 9002 section 7.2 has, and a thin flow would otherwise wait for its own acks.
            self.cwnd = cwnd.max(floor);
        }
    }

    fn grow(&mut self, batch: &AckBatch<'_>, bytes: u64) {
        let cwnd = if self.is_in_slow_start() {
            // In slow start half of the window is enough: acks of a window that just doubled cannot fill it yet. Counted in
            // whole segments, as frames that are a little smaller would otherwise never make room for one more.
            let mss = self.settings.mss;
            let useful = self.usage.flight().div_ceil(mss).saturating_mul(2 * mss);
            if useful <= self.cwnd {
                self.slow_start.on_unused();
                return;
            }
            let growth = self.slow_start.on_ack(batch, bytes, self.settings.mss);
            let cwnd = self.cwnd.saturating_add(growth.bytes).min(useful).min(self.ssthresh).max(self.cwnd);
            if growth.is_over {
                self.ssthresh = cwnd;
                self.avoidance.on_slow_start_over(cwnd);
            }
            cwnd
        } else if self.usage.fills() {
            let (cwnd, mss) = (self.cwnd, self.settings.mss);
            self.avoidance.on_ack(&AvoidanceAck { now: batch.now, bytes, cwnd, mss, rtt: batch.rtt })
        } else {
            self.avoidance.on_unused(batch.now);
            return;
        };
        self.cwnd = cwnd.clamp(self.cwnd, MAX_CWND.max(self.cwnd));
    }

    /// RFC 7661 section 4.4.3: a window that nobody uses is not kept for ever.
    fn forget_unused(&mut self, now: Timestamp) {
        if !self.settings.validation || self.recovery.is_some() {
            return;
        }
        for _ in 0..self.usage.take_unused_periods(now).min(MAX_HALVINGS) {
            if self.ssthresh != u64::MAX {
                self.ssthresh = self.ssthresh.max(Ratio::new(3, 4).of(self.cwnd));
            }
            self.cwnd = (self.cwnd / 2).max(self.settings.initial_window().min(self.cwnd));
        }
    }
}

impl<A: Avoidance, S: SlowStart> Controller for LossBased<A, S> {
    fn on_sent(&mut self, sent: &SentPacket) {
        if sent.prior_in_flight == ByteCount::ZERO {
            self.avoidance.on_unused(sent.at);
            self.forget_unused(sent.at);
        }
        self.usage.on_sent(sent, self.cwnd, self.settings.mss);
        if let Some(Recovery { prr: Some(prr), .. }) = &mut self.recovery {
            prr.on_sent(sent.size.as_u64());
        }
    }

    fn on_idle(&mut self) {
        if !self.settings.validation {
            self.cwnd = self.cwnd.min(self.settings.initial_window());
        }
    }

    fn on_acks(&mut self, batch: &AckBatch<'_>) {
        let delivered = batch.acked.iter().map(|packet| packet.size.as_u64()).sum();
        self.usage.on_acks(batch, delivered, self.cwnd, self.settings.mss);
        let recover = self.recover;
        let was_in_recovery = self.recovery.is_some();
        self.leave_recovery_if_over(batch);
        let is_new = |number: u64| number >= recover;
        if batch.lost.last().is_some_and(|packet| is_new(packet.number)) {
            self.reduce(batch, Cause::Loss);
        } else if batch.ecn_ce > 0 && batch.acked.last().is_some_and(|packet| is_new(packet.number)) {
            self.reduce(batch, Cause::Mark);
        }
        if self.recovery.is_some() {
            self.recover_with(batch, delivered);
        } else {
            let counts = |number: u64| !was_in_recovery || is_new(number);
            let acked = batch.acked.iter().filter(|packet| counts(packet.number));
            let bytes = acked.map(|packet| packet.size.as_u64()).sum();
            if bytes > 0 {
                self.grow(batch, bytes);
                self.forget_unused(batch.now);
            }
        }
    }

    fn on_timeout(&mut self, timeout: &Timeout) {
        if !timeout.repeated {
            let basis = self.basis(timeout.flight_size.as_u64());
            self.undo = Some(self.saved());
            self.avoidance.on_timeout(self.demand(basis));
            self.ssthresh = A::ON_LOSS.of(basis).max(2 * self.settings.mss).max(self.floor(timeout.now));
        }
        // The loss window, whatever the initial window was.
        let loss_window = self.settings.loss_window.saturating_mul(self.settings.mss);
        self.cwnd = loss_window.max(self.thin_floor(timeout.now));
        self.slow_start.on_congestion();
        self.recover = timeout.next_packet;
        self.recovery = None;
        self.usage.on_reduction(timeout.now, 0);
    }

    fn on_persistent_congestion(&mut self, now: Timestamp) {
        // RFC 9002 section 7.6.2. The reduction before it set ssthresh.
        self.avoidance.on_timeout(self.cwnd);
        self.cwnd = self.floor(now);
        self.slow_start.on_congestion();
        self.recovery = None;
        self.undo = None;
        self.usage.on_reduction(now, 0);
    }

    /// RFC 9438 section 4.9, for every controller. Marks are never spurious, so they cannot be undone.
    fn on_spurious(&mut self, now: Timestamp) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        self.recovery = None;
        self.cwnd = self.cwnd.max(undo.cwnd);
        self.ssthresh = undo.ssthresh.max(2 * self.settings.mss);
        self.recover = undo.recover;
        self.avoidance = undo.avoidance;
        self.slow_start = undo.slow_start;
        // The time of the recovery is not one in which the window was used.
        self.avoidance.on_unused(now);
    }

    fn on_new_path(&mut self) {
        self.cwnd = self.settings.initial_window();
        self.ssthresh = self.settings.initial_threshold();
        self.avoidance.reset();
        self.slow_start = self.fresh_slow_start.clone();
        self.recovery = None;
        self.undo = None;
        self.usage = Usage::new();
    }

    /// Windows are bytes, so they stay; a window that is still the initial one is counted anew (RFC 9002 section 7.2).
    fn on_mss(&mut self, mss: ByteCount) {
        let is_initial = self.cwnd == self.settings.initial_window() && self.recover == 0;
        let is_initial_threshold = self.ssthresh == self.settings.initial_threshold();
        self.settings.mss = mss.as_u64().max(1);
        if is_initial {
            self.cwnd = self.settings.initial_window();
        }
        if is_initial_threshold {
            self.ssthresh = self.settings.initial_threshold();
        }
        let floor = self.settings.min_cwnd.saturating_mul(self.settings.mss);
        self.cwnd = self.cwnd.max(floor.min(self.settings.loss_window.saturating_mul(self.settings.mss)));
        self.ssthresh = self.ssthresh.max(2 * self.settings.mss);
    }

    fn cwnd(&self) -> ByteCount {
        ByteCount(self.cwnd)
    }

    fn ssthresh(&self) -> Option<ByteCount> {
        (self.ssthresh != u64::MAX).then_some(ByteCount(self.ssthresh))
    }

    /// RFC 9002 section 7.7: a quarter faster than the window needs, twice as fast while it doubles. In recovery the window
    /// may be small for a moment because little is in flight; what counts is where it leads to.
    fn pacing_rate(&self, srtt: Option<Duration>) -> Option<Bitrate> {
        let srtt = srtt.filter(|srtt| self.settings.pacing && !srtt.is_zero())?;
        let gain =
            if self.is_in_slow_start() && self.recovery.is_none() { SLOW_START_GAIN } else { PACING_GAIN };
        let window = if self.recovery.is_some() { self.cwnd.max(self.ssthresh) } else { self.cwnd };
        let bits = u128::from(gain.of(window)) * 8 * 1_000_000_000 / srtt.as_nanos();
        Bitrate::from_bits_per_second(u64::try_from(bits).unwrap_or(u64::MAX).max(1))
    }

    fn state(&self) -> State {
        if self.recovery.is_some() {
            State::FastRecovery
        } else if !self.is_in_slow_start() {
            State::CongestionAvoidance
        } else if self.slow_start.is_conservative() {
            State::ConservativeSlowStart
        } else {
            State::SlowStart
        }
    }
}

impl Settings {
    fn initial_window(&self) -> u64 {
        self.initial_cwnd.saturating_mul(self.mss)
    }

    fn initial_threshold(&self) -> u64 {
        self.initial_ssthresh.map_or(u64::MAX, |segments| segments.saturating_mul(self.mss))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Loss,
    /// Congestion experienced (RFC 3168).
    Mark,
}

/// 1 TiB: no path holds it, and no arithmetic on windows below it overflows.
const MAX_CWND: u64 = 1 << 40;
/// Halving a window so often leaves the initial one.
const MAX_HALVINGS: u32 = 40;
const PACING_GAIN: Ratio = Ratio::new(5, 4);
const SLOW_START_GAIN: Ratio = Ratio::new(2, 1);
