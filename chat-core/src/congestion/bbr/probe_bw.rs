//! The cycle of ProbeBW: yield, cruise, refill the pipe, probe for more (section 5.3.3).

use std::time::Duration;

use rand::RngExt;
use units::Timestamp;

use super::params::{
    HEADROOM, PROBE_UP_ROUNDS_MAX, PROBE_WAIT_BASE, PROBE_WAIT_SPREAD_MICROS, RENO_ROUNDS_MAX,
};
use super::{Ack, Bbr, State, UNBOUNDED, control};

/// Bookkeeping of one cycle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cycle {
    /// Wall-clock start, and how long to wait for the next probe.
    pub(super) stamp: Timestamp,
    pub(super) probe_wait: Duration,
    pub(super) ack_phase: AckPhase,
    /// Acks now tell of a bandwidth probe, which loss may end once.
    pub(super) is_probe_sample: bool,
    pub(super) prev_probe_too_high: bool,
    pub(super) prev_probe_precautionary: bool,
    /// Bytes to be acknowledged for each segment that `inflight_longterm` grows.
    pub(super) acked_per_increment: u64,
    pub(super) up_acked: u64,
    pub(super) up_rounds: u32,
}

/// What the acks that arrive now tell about (section 2.11).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AckPhase {
    Init,
    Refilling,
    ProbeStarting,
    ProbeFeedback,
    ProbeStopping,
}

#[derive(PartialEq, Eq)]
enum Transition {
    Decided,
    None,
}

impl Default for Cycle {
    fn default() -> Self {
        Self {
            stamp: Timestamp::ZERO,
            probe_wait: Duration::ZERO,
            ack_phase: AckPhase::Init,
            is_probe_sample: false,
            prev_probe_too_high: false,
            prev_probe_precautionary: false,
            acked_per_increment: UNBOUNDED,
            up_acked: 0,
            up_rounds: 0,
        }
    }
}

impl Bbr {
    pub(super) fn is_probe_bw(&self) -> bool {
        matches!(
            self.state,
            State::ProbeBwDown | State::ProbeBwCruise | State::ProbeBwRefill | State::ProbeBwUp
        )
    }

    pub(super) fn start_probe_bw_down(&mut self, now: Timestamp) {
        self.reset_congestion_signals();
        self.cycle.acked_per_increment = UNBOUNDED;
        self.pick_probe_wait();
        self.cycle.stamp = now;
        self.cycle.ack_phase = AckPhase::ProbeStopping;
        self.start_round();
        self.state = State::ProbeBwDown;
    }

    pub(super) fn start_probe_bw_cruise(&mut self) {
        self.state = State::ProbeBwCruise;
    }

    pub(super) fn start_probe_bw_refill(&mut self) {
        self.reset_shortterm_model();
        self.cycle.up_rounds = 0;
        self.cycle.up_acked = 0;
        self.cycle.prev_probe_precautionary = false;
        self.cycle.ack_phase = AckPhase::Refilling;
        self.start_round();
        self.state = State::ProbeBwRefill;
    }

    fn start_probe_bw_up(&mut self, ack: &Ack) {
        self.cycle.ack_phase = AckPhase::ProbeStarting;
        self.start_round();
        self.full_pipe.reset(ack.delivery_rate);
        self.state = State::ProbeBwUp;
        self.raise_longterm_slope();
    }

    pub(super) fn update_probe_bw_cycle(&mut self, ack: &Ack) {
        if !self.full_pipe.reached
            || self.adapt_longterm_model(ack) == Transition::Decided
            || !self.is_probe_bw()
        {
            return;
        }
        let state = self.state;
        match state {
            State::ProbeBwDown if self.is_time_to_probe(ack.now) => self.start_probe_bw_refill(),
            State::ProbeBwDown if self.is_time_to_cruise() => self.start_probe_bw_cruise(),
            State::ProbeBwCruise if self.is_time_to_probe(ack.now) => self.start_probe_bw_refill(),
            State::ProbeBwRefill if self.rounds.starts => {
                self.cycle.is_probe_sample = true;
                self.start_probe_bw_up(ack);
            }
            State::ProbeBwUp if self.is_time_to_go_down(ack) => {
                self.cycle.prev_probe_too_high = false;
                self.start_probe_bw_down(ack.now);
            }
            _ => {}
        }
    }

    fn is_time_to_cruise(&self) -> bool {
        self.in_flight <= self.inflight_with_headroom()
            && self.in_flight <= self.inflight_of(self.max_bw.get())
    }

    fn is_time_to_go_down(&mut self, ack: &Ack) -> bool {
        if self.cycle.prev_probe_too_high && ack.prior_in_flight + self.mss > self.inflight_longterm {
            // This volume was too much the last time: touch it and step back; no excess loss allows a longer probe.
            self.cycle.prev_probe_precautionary = true;
            return true;
        }
        if self.is_cwnd_limited() && self.cwnd >= self.inflight_longterm {
            // The plateau is our own bound's, not the path's.
            self.full_pipe.reset(ack.delivery_rate);
            return false;
        }
        self.full_pipe.now
    }

    fn is_time_to_probe(&self, now: Timestamp) -> bool {
        now > self.cycle.stamp + self.cycle.probe_wait || self.is_reno_coexistence_probe_time()
    }

    /// A Reno flow of the same volume would have grown by a segment in each round and be due for its loss.
    fn is_reno_coexistence_probe_time(&self) -> bool {
        let reno_rounds = self.target_inflight() / self.mss.max(1);
        self.rounds.since_probe_up >= reno_rounds.min(RENO_ROUNDS_MAX)
    }

    fn pick_probe_wait(&mut self) {
        self.rounds.since_probe_up = self.rng.random_range(0..=1);
        let spread = self.rng.random_range(0..PROBE_WAIT_SPREAD_MICROS);
        self.cycle.probe_wait = PROBE_WAIT_BASE + Duration::from_micros(spread);
    }

    pub(super) fn is_cwnd_limited(&self) -> bool {
        self.cwnd_limited.this_round || self.cwnd_limited.last_round
    }

    pub(super) fn inflight_with_headroom(&self) -> u64 {
        if self.inflight_longterm == UNBOUNDED {
            return UNBOUNDED;
        }
        let headroom = control::percent(self.inflight_longterm, HEADROOM).max(self.mss);
        self.inflight_longterm.saturating_sub(headroom).max(self.min_pipe_cwnd())
    }

    fn raise_longterm_slope(&mut self) {
        let growth = 1_u64 << self.cycle.up_rounds;
        self.cycle.up_rounds = (self.cycle.up_rounds + 1).min(PROBE_UP_ROUNDS_MAX);
        self.cycle.acked_per_increment = (self.cwnd / growth).max(self.mss).max(1);
    }

    fn probe_longterm_upward(&mut self, ack: &Ack) {
        if !self.is_cwnd_limited() || self.cwnd < self.inflight_longterm {
            return;
        }
        self.cycle.up_acked += ack.sample.newly_acked;
        let steps = self.cycle.up_acked / self.cycle.acked_per_increment;
        self.cycle.up_acked -= steps * self.cycle.acked_per_increment;
        self.inflight_longterm = self.inflight_longterm.saturating_add(steps.saturating_mul(self.mss));
        if self.rounds.starts {
            self.raise_longterm_slope();
        }
    }

    /// Follows what the acks tell of, moves the bandwidth window, and raises `inflight_longterm` where loss allows it.
    fn adapt_longterm_model(&mut self, ack: &Ack) -> Transition {
        if self.cycle.ack_phase == AckPhase::ProbeStarting && self.rounds.starts {
            self.cycle.ack_phase = AckPhase::ProbeFeedback;
        }
        if self.cycle.ack_phase == AckPhase::ProbeStopping && self.rounds.starts {
            self.cycle.is_probe_sample = false;
            self.cycle.ack_phase = AckPhase::Init;
            if self.is_probe_bw() && !ack.app_limited {
                self.max_bw.advance();
            }
            if self.is_probe_bw() && self.cycle.prev_probe_precautionary && !self.cycle.prev_probe_too_high {
                self.start_probe_bw_refill();
                return Transition::Decided;
            }
        }
        if self.inflight_longterm == UNBOUNDED || self.is_too_high(ack.sample.lost, ack.sample.tx_in_flight) {
            return Transition::None;
        }
        self.inflight_longterm = self.inflight_longterm.max(ack.sample.tx_in_flight);
        if self.state == State::ProbeBwUp {
            self.probe_longterm_upward(ack);
        }
        Transition::None
    }
}
