//! Startup, Drain, ProbeRTT, and the restart from idle (sections 5.3.1, 5.3.2, 5.3.4 and 5.4).

use units::Timestamp;

use super::params::{DRAIN_ROUNDS_MAX, PROBE_RTT_CWND_GAIN, PROBE_RTT_DURATION, STARTUP_FULL_LOSS_COUNT};
use super::probe_bw::AckPhase;
use super::{Ack, Bbr, State};

/// Progress of ProbeRTT.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProbeRtt {
    /// When it may end: set once the volume in flight is small enough.
    pub(super) done_at: Option<Timestamp>,
    round_done: bool,
    /// Samples of packets sent while so much, to so much, was delivered are too low by our own doing.
    limited: Option<(u64, u64)>,
}

impl ProbeRtt {
    /// Whether a packet sent when `delivered` bytes had arrived was held back by ProbeRTT. The draft marks the connection
    /// application-limited; the marks are the sampler's, so the controller keeps its own.
    pub(super) fn covers(&self, delivered: u64) -> bool {
        self.limited.is_some_and(|(from, until)| (from..=until).contains(&delivered))
    }

    fn mark_limited(&mut self, delivered: u64, in_flight: u64) {
        let from = self.limited.map_or(delivered, |(from, _)| from);
        self.limited = Some((from, delivered + in_flight));
    }
}

impl Bbr {
    pub(super) fn enter_startup(&mut self) {
        self.state = State::Startup;
    }

    pub(super) fn check_startup_done(&mut self, ack: &Ack) {
        self.check_startup_high_loss(ack);
        if self.state == State::Startup && self.full_pipe.reached {
            self.state = State::Drain;
            self.drain_start_round = self.rounds.count;
        }
        if self.latest.loss_round_starts {
            self.lost_gaps_in_round = 0;
        }
    }

    /// Section 5.3.1.3: loss fills the pipe if recovery lasted a full round, over 2 % of it were lost, in six gaps.
    fn check_startup_high_loss(&mut self, ack: &Ack) {
        let is_high = self.state == State::Startup
            && !self.full_pipe.reached
            && self.latest.loss_round_starts
            && ack.was_in_recovery
            && self.lost_gaps_in_round >= STARTUP_FULL_LOSS_COUNT
            && self.is_too_high(ack.sample.lost, ack.sample.tx_in_flight);
        if is_high {
            self.undo.state = Some(State::Startup);
            self.startup_ended_by_loss = true;
            self.full_pipe.now = true;
            self.full_pipe.reached = true;
            self.inflight_longterm = self.bdp().max(self.latest.inflight).max(self.min_pipe_cwnd());
        }
    }

    pub(super) fn check_drain_done(&mut self, now: Timestamp) {
        if self.state == State::Drain
            && (self.in_flight <= self.inflight(100)
                || self.rounds.count > self.drain_start_round + DRAIN_ROUNDS_MAX)
        {
            self.start_probe_bw_down(now);
        }
    }

    pub(super) fn check_probe_rtt(&mut self, ack: &Ack) {
        if self.state != State::ProbeRtt && self.min_rtt.probe_expired && !self.idle_restart {
            self.save_cwnd();
            self.state = State::ProbeRtt;
            self.probe_rtt = ProbeRtt::default();
            self.cycle.ack_phase = AckPhase::ProbeStopping;
            self.start_round();
        }
        if self.state == State::ProbeRtt {
            self.handle_probe_rtt(ack.now);
        }
        if ack.sample.delivered > 0 {
            self.idle_restart = false;
        }
    }

    fn handle_probe_rtt(&mut self, now: Timestamp) {
        self.probe_rtt.mark_limited(self.delivered, self.in_flight);
        if self.probe_rtt.done_at.is_none() {
            if self.in_flight <= self.probe_rtt_cwnd() {
                self.probe_rtt.done_at = Some(now + PROBE_RTT_DURATION);
                self.probe_rtt.round_done = false;
                self.start_round();
            }
            return;
        }
        self.probe_rtt.round_done |= self.rounds.starts;
        if self.probe_rtt.round_done {
            self.check_probe_rtt_done(now);
        }
    }

    fn check_probe_rtt_done(&mut self, now: Timestamp) {
        if self.probe_rtt.done_at.is_none_or(|done_at| now <= done_at) {
            return;
        }
        self.min_rtt.schedule_probe(now);
        self.restore_cwnd();
        self.reset_shortterm_model();
        if self.full_pipe.reached {
            // Raising the volume now may cause loss, so the clock of the next probe begins anew; and what DOWN is for
            // has just been done.
            self.start_probe_bw_down(now);
            self.start_probe_bw_cruise();
        } else {
            self.enter_startup();
        }
    }

    pub(super) fn probe_rtt_cwnd(&self) -> u64 {
        self.bdp_multiple(PROBE_RTT_CWND_GAIN).max(self.min_pipe_cwnd())
    }

    /// Section 5.4.1: packets leave at exactly the bandwidth; idleness has drained the queue as well as ProbeRTT would.
    pub(super) fn restart_from_idle(&mut self, now: Timestamp) {
        self.idle_restart = true;
        self.aggregation.restart(now);
        if self.is_probe_bw() {
            self.set_pacing_rate_with_gain(100);
        } else if self.state == State::ProbeRtt {
            self.check_probe_rtt_done(now);
        }
    }
}
