//! What loss does to the model, and how it is undone when the loss was none (sections 5.5.10 and 5.5.11).

use units::Timestamp;

use super::loss_floor::{RoundVerdict, share};
use super::params::{BETA, LOSS_THRESHOLD_PERMILLE};
use super::{Ack, AckBatch, Bbr, State, UNBOUNDED, control};
use crate::congestion::LostPacket;

/// What is put back if a recovery proves spurious.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Undo {
    /// The state that loss ended, if it did: Startup or ProbeBW_UP.
    pub(super) state: Option<State>,
    pub(super) bw_shortterm: u64,
    pub(super) inflight_shortterm: u64,
    pub(super) inflight_longterm: u64,
}

impl Bbr {
    /// `HandleLostPacket` for each packet of the batch.
    pub(super) fn on_losses(&mut self, batch: &AckBatch<'_>) {
        let total = batch.rate.map_or(0, |rate| rate.total_lost);
        let newly: u64 = batch.lost.iter().map(|packet| packet.size.as_u64()).sum();
        let mut lost = total.saturating_sub(newly);
        for packet in batch.lost {
            lost += packet.size.as_u64();
            self.loss_floor.on_lost(packet.size.as_u64());
            self.enter_recovery(packet.number, batch.next_packet);
            self.note_loss();
            self.count_gap(packet.number);
            if self.cycle.is_probe_sample {
                self.judge_probe(batch.now, packet, lost.saturating_sub(packet.delivery.lost));
            }
        }
    }

    /// Marks of congestion (RFC 3168): each counts like a lost packet, whatever the floor is.
    pub(super) fn on_marks(&mut self, batch: &AckBatch<'_>) {
        if batch.ecn_ce == 0 {
            return;
        }
        self.note_loss();
        self.ce_in_round = self.ce_in_round.saturating_add(batch.ecn_ce.saturating_mul(self.mss));
        let tx_in_flight = batch.rate.map_or(0, |rate| rate.tx_in_flight);
        let app_limited = batch.rate.is_some_and(|rate| rate.app_limited);
        if self.cycle.is_probe_sample && self.ce_in_round > share(tx_in_flight, LOSS_THRESHOLD_PERMILLE) {
            self.handle_inflight_too_high(batch.now, tx_in_flight, app_limited);
        }
    }

    fn enter_recovery(&mut self, number: u64, next_packet: u64) {
        if number < self.recover {
            return;
        }
        self.save_state_upon_loss();
        self.in_recovery = true;
        self.recover = next_packet;
    }

    /// A packet sent after the loss was seen has arrived: recovery is over, and the window that it found is restored.
    pub(super) fn leave_recovery(&mut self, batch: &AckBatch<'_>) {
        if self.in_recovery && batch.acked.iter().any(|packet| packet.number >= self.recover) {
            self.in_recovery = false;
            self.restore_cwnd();
        }
    }

    fn note_loss(&mut self) {
        if !self.loss_in_round {
            self.latest.loss_round_delivered = self.delivered;
            if !self.in_recovery {
                self.save_state_upon_loss();
            }
        }
        self.loss_in_round = true;
    }

    fn count_gap(&mut self, number: u64) {
        if number != self.gap_continues_at || self.lost_gaps_in_round == 0 {
            self.lost_gaps_in_round += 1;
        }
        self.gap_continues_at = number + 1;
    }

    /// Whether `lost` of `tx_in_flight` bytes is more than a probe may lose: 2 %, above the floor.
    pub(super) fn is_too_high(&self, lost: u64, tx_in_flight: u64) -> bool {
        lost > self.loss_floor.tolerated(tx_in_flight, self.mss, LOSS_THRESHOLD_PERMILLE)
    }

    fn judge_probe(&mut self, now: Timestamp, packet: &LostPacket, lost: u64) {
        let tx_in_flight = packet.delivery.tx_in_flight;
        if self.is_too_high(lost, tx_in_flight) {
            let volume = self.inflight_at_loss(packet.size.as_u64(), lost, tx_in_flight);
            if self.loss_floor.permille() == 0 {
                self.longterm_before_proof.get_or_insert(self.inflight_longterm);
            }
            self.handle_inflight_too_high(now, volume, packet.delivery.app_limited);
        }
    }

    /// The volume in flight at which loss crossed the threshold, within the packet that shows it: solved from
    /// (lost before + x) / (in flight before + x) = threshold.
    fn inflight_at_loss(&self, size: u64, lost: u64, tx_in_flight: u64) -> u64 {
        let before = tx_in_flight.saturating_sub(size);
        let lost_before = lost.saturating_sub(size);
        let threshold = (LOSS_THRESHOLD_PERMILLE + self.loss_floor.permille()).min(999);
        let budget = share(before, threshold).saturating_sub(lost_before);
        before.saturating_add(budget.saturating_mul(1000) / (1000 - threshold))
    }

    fn handle_inflight_too_high(&mut self, now: Timestamp, tx_in_flight: u64, app_limited: bool) {
        self.cycle.prev_probe_too_high = true;
        self.cycle.is_probe_sample = false;
        if !app_limited {
            self.inflight_longterm = tx_in_flight.max(control::percent(self.target_inflight(), BETA));
        }
        if self.state == State::ProbeBwUp {
            self.undo.state = Some(State::ProbeBwUp);
            self.start_probe_bw_down(now);
        }
    }

    pub(super) fn update_congestion_signals(&mut self, ack: &Ack) {
        self.update_max_bw(ack);
        self.loss_floor.on_acked(ack.sample.newly_acked, ack.rtt);
        if !self.latest.loss_round_starts {
            return;
        }
        self.adapt_shortterm_bounds(ack.now);
        self.loss_in_round = false;
        self.ce_in_round = 0;
    }

    /// Once per round, outside of probing: slow down towards what is delivered, unless the loss is not ours.
    fn adapt_shortterm_bounds(&mut self, now: Timestamp) {
        let probes = matches!(self.state, State::Startup | State::ProbeBwRefill | State::ProbeBwUp);
        if probes {
            self.loss_floor.skip_round();
            return;
        }
        if !self.cycle.is_probe_sample {
            self.loss_floor.expire(now);
        }
        let verdict = self.loss_floor.on_round(now, self.mss, self.min_rtt.value);
        if !self.loss_in_round && verdict != RoundVerdict::Proved {
            // A path that loses at random would hardly let a round through: what probes found before was true.
            self.longterm_before_proof = None;
            return;
        }
        match verdict {
            RoundVerdict::Floor if self.ce_in_round == 0 => {}
            RoundVerdict::Proved if self.ce_in_round == 0 => self.forgive_losses(),
            _ => self.reduce_shortterm_bounds(),
        }
    }

    /// The losses so far were not ours: what they took is given back, and if they ended Startup it goes on.
    fn forgive_losses(&mut self) {
        self.reset_shortterm_model();
        self.cycle.prev_probe_too_high = false;
        if let Some(before) = self.longterm_before_proof.take() {
            self.inflight_longterm = self.inflight_longterm.max(before);
        }
        if std::mem::take(&mut self.startup_ended_by_loss) && self.state != State::ProbeRtt {
            self.inflight_longterm = UNBOUNDED;
            self.full_pipe.reset(0);
            self.full_pipe.reached = false;
            self.enter_startup();
        }
    }

    fn reduce_shortterm_bounds(&mut self) {
        if self.bw_shortterm == UNBOUNDED {
            self.bw_shortterm = self.max_bw.get();
        }
        if self.inflight_shortterm == UNBOUNDED {
            self.inflight_shortterm = self.cwnd;
        }
        self.bw_shortterm = self.latest.bw.max(control::percent(self.bw_shortterm, BETA));
        self.inflight_shortterm = self.latest.inflight.max(control::percent(self.inflight_shortterm, BETA));
    }

    pub(super) fn reset_shortterm_model(&mut self) {
        self.bw_shortterm = UNBOUNDED;
        self.inflight_shortterm = UNBOUNDED;
    }

    pub(super) fn reset_congestion_signals(&mut self) {
        self.loss_in_round = false;
        self.ce_in_round = 0;
        self.latest.bw = 0;
        self.latest.inflight = 0;
    }

    pub(super) fn save_state_upon_loss(&mut self) {
        self.save_cwnd();
        self.undo = Undo {
            state: None,
            bw_shortterm: self.bw_shortterm,
            inflight_shortterm: self.inflight_shortterm,
            inflight_longterm: self.inflight_longterm,
        };
    }

    /// `HandleSpuriousLossDetection`: nothing was lost after all.
    pub(super) fn undo_spurious(&mut self) {
        self.in_recovery = false;
        self.restore_cwnd();
        self.loss_in_round = false;
        self.full_pipe.reset(0);
        self.bw_shortterm = self.bw_shortterm.max(self.undo.bw_shortterm);
        self.inflight_shortterm = self.inflight_shortterm.max(self.undo.inflight_shortterm);
        self.inflight_longterm = self.inflight_longterm.max(self.undo.inflight_longterm);
        match self.undo.state.take() {
            Some(State::Startup) if self.state != State::Startup => {
                self.full_pipe.reached = false;
                if self.state != State::ProbeRtt {
                    self.enter_startup();
                }
            }
            Some(State::ProbeBwUp) if !matches!(self.state, State::ProbeBwUp | State::ProbeRtt) => {
                // The probe was not too high after all, so the next one need not be cautious.
                self.cycle.prev_probe_too_high = false;
                self.start_probe_bw_refill();
            }
            _ => {}
        }
    }
}
