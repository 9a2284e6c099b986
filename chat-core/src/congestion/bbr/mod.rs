//! BBRv3: a congestion controller that models the path instead of waiting for its buffer to overflow.
//!
//! Follows draft-ietf-ccwg-bbr-06 (<https://datatracker.ietf.org/doc/draft-ietf-ccwg-bbr/>); section numbers in this
//! folder are its own. The model has two sides: the *rate* at which the path delivers (a maximum over two probing cycles
//! of delivery-rate samples) and the *volume* that fills it (that rate times the least round-trip time). Packets are
//! paced at the rate, the window is twice the volume, and both are bounded by what loss has taught: for long
//! (`inflight_longterm`, what a probe found to be too much) and for short (`bw_shortterm` and `inflight_shortterm`, what
//! this cycle lost).
//!
//! ```text
//!  Startup ──> Drain ──> ProbeBW: DOWN ──> CRUISE ──> REFILL ──> UP ──┐
//!     ^                             ^────────────────────────────────┘
//!     └──────── ProbeRTT (every 5 s without a lower round trip) ──> back to CRUISE, or to Startup if it had not ended
//! ```
//!
//! # Where things are
//! - `params`: the constants and why they are what they are.
//! - `filter`: windowed maxima.
//! - `model`: rounds, bandwidth, round-trip time, ack aggregation, the full-pipe estimator.
//! - `states`: Startup, Drain, ProbeRTT and the restart from idle.
//! - `probe_bw`: the cycle DOWN, CRUISE, REFILL, UP, and the growth of `inflight_longterm`.
//! - `bounds`: what loss, marks and their being spurious do to the bounds.
//! - `loss_floor`: telling loss that we cause from loss that we do not.
//! - `control`: pacing rate, quantum, window.
//! - `thin`: the room of a flow that has nothing waiting.
//!
//! # Numbers
//! All arithmetic is on integers (bytes, bits a second, nanoseconds, gains in percent), so a trace is the same on every
//! machine. The only chance is how long a cycle waits before it probes; it is drawn from
//! [`TransportConfig::seed`](crate::TransportConfig::seed), so the same seed gives the same trace.
//!
//! # Departures from the draft, and why
//! | section | draft | here |
//! |---|---|---|
//! | 5.5.10 | every lossy round outside of probing lowers the short-term bounds; over 2 % ends a probe | loss that was *shown* not to depend on our rate is a floor (`loss_floor`) and only what exceeds it counts; [`TransportConfig::loss_floor_max_permille`](crate::TransportConfig::loss_floor_max_permille) bounds it, 0 restores the draft |
//! | 5.5.11.1 | undo state is saved at the first loss of every round | at the first loss of a recovery episode: an episode of two rounds would save what its first round had already reduced |
//! | 5.3.3.6 | a precautionary probe ends when inflight reaches the bound | what counts is inflight before the ack, as in the Linux code, and a segment less is enough: after the ack, and in bytes, it never quite reaches a bound that is also the window's |
//! | 5.6.4.4 | after a retransmission timeout cwnd is inflight + 1 packet | one packet until the next ack; then the floor of four holds again. Used by the `classic` profile only |
//! | 5.5.6 | the bandwidth filter advances every cycle | not after a cycle without a sample, as the Linux code does: forgetting needs something to replace it |
//! | 5.6.4 | no window is below four packets | that of a flow that lately had nothing waiting not below [`TransportConfig::min_cwnd_thin`](crate::TransportConfig::min_cwnd_thin), ten (`thin`); the model keeps four |
//! | none | ECN is not specified | a mark counts like a lost packet, never excused by the floor (RFC 3168 section 5) |
//! | none | no lowest rate | 8 kbit/s |
//! | none | persistent congestion is not specified | window of four segments, round-trip times measured anew (RFC 9002 sections 5.2 and 7.6) |
//!
//! What the floor is worth, measured by `tests/shares.rs` with one bandwidth-delay product of buffer and loss before the
//! queue, over 40 s from the 20th on (goodput over the capacity that loss leaves / mean queue over that product):
//!
//! | path | no loss | 1 % | 5 % | 10 % | 5 %, bound 0 |
//! |---|---|---|---|---|---|
//! | 100 Mbit/s, 50 ms | 0.97 / 0.06 | 0.97 / 0.05 | 0.97 / 0.03 | 0.97 / 0.01 | 0.01 |
//! | 10 Mbit/s, 50 ms | | 0.96 / 0.06 | 0.96 / 0.05 | 0.96 / 0.03 | |
//! | 10 Mbit/s, 20 ms | | 0.94 / 0.19 | 0.97 / 0.14 | 0.96 / 0.11 | |
//! | 2 Mbit/s, 50 ms | | 0.94 / 0.31 | 0.88 / 0.20 | 0.84 / 0.15 | |
//! | 100 Mbit/s, loss behind the queue | | 0.96 / 0.06 | 0.93 / 0.04 | 0.88 / 0.03 | |
//!
//! Behind the queue a lost packet has used the link already; pacing at the rate that arrives then leaves the
//! share p of it idle once more. Pacing faster by the floor would win that back, and would keep a policer dropping if the floor were wrong.
//!
//! The risk of the floor: a policer or a shallow buffer whose losses persisted although less is sent than it delivered
//! would be taken for a radio link. Both go quiet within a round when the rate falls to what was delivered, so the proof
//! fails, and tests show it. Where a *competitor* keeps a very shallow buffer overflowing (less than an eighth of the
//! bandwidth-delay product, so that no delay shows it), the proof can succeed, and for ten seconds this flow keeps its
//! rate instead of yielding, as BBRv1 does always. Whoever shares such a bottleneck sets the bound to 0.
//!
//! # Tests
//! The 22 cases of the draft's appendix carry its titles in `tests/`; the table there tells them from ours.

mod bounds;
mod control;
mod filter;
mod loss_floor;
mod model;
mod params;
mod probe_bw;
mod states;
mod thin;

#[cfg(test)]
mod tests;

use std::time::Duration;

use units::{Bitrate, ByteCount, Rng, Seed, Timestamp};

use self::bounds::Undo;
use self::loss_floor::LossFloor;
use self::model::{AckAggregation, FullPipe, LatestDelivery, MinRtt, Rounds};
use self::params::{MIN_PIPE_SEGMENTS, NOMINAL_RTT, STARTUP_PACING_GAIN};
use self::thin::ThinFlow;
use super::{AckBatch, Controller, RateSample, SentPacket, State, Timeout};
use crate::config::TransportConfig;

/// "Infinity" of the draft: no bound.
const UNBOUNDED: u64 = u64::MAX;

/// The controller. Volumes are bytes, bandwidths bits a second.
#[derive(Clone, Debug)]
pub struct Bbr {
    mss: u64,
    initial_cwnd: u64,
    rng: Rng,

    state: State,
    cwnd: u64,
    pacing_rate: u64,
    send_quantum: u64,
    has_seen_rtt: bool,
    /// `C.delivered` and `C.inflight`, as the latest batch told them.
    delivered: u64,
    in_flight: u64,

    // Model of the path.
    max_bw: filter::CycleMax,
    /// `BBR.bw`: the rate in use, short-term bound applied.
    bw: u64,
    min_rtt: MinRtt,
    rounds: Rounds,
    latest: LatestDelivery,
    full_pipe: FullPipe,
    aggregation: AckAggregation,
    loss_floor: LossFloor,

    // Bounds.
    bw_shortterm: u64,
    inflight_shortterm: u64,
    inflight_longterm: u64,
    /// The long-term bound before probes cut it for loss while no floor was proved; a proof gives it back.
    longterm_before_proof: Option<u64>,
    undo: Undo,

    // Loss recovery.
    in_recovery: bool,
    /// Losses below this packet number belong to a recovery that began already.
    recover: u64,
    prior_cwnd: u64,
    loss_in_round: bool,
    ce_in_round: u64,
    /// Gaps lost in this round, and the number that the next loss of the same gap would have.
    lost_gaps_in_round: u32,
    gap_continues_at: u64,

    cycle: probe_bw::Cycle,
    drain_start_round: u64,
    startup_ended_by_loss: bool,
    probe_rtt: states::ProbeRtt,
    idle_restart: bool,
    cwnd_limited: CwndLimited,
    thin: ThinFlow,
}

/// `C.is_cwnd_limited`: whether the window was used up in this round or in the last one.
#[derive(Clone, Copy, Debug, Default)]
struct CwndLimited {
    this_round: bool,
    last_round: bool,
}

/// What an ack says, with the draft's `RS` names: [`RateSample`] after the controller's own view was applied to it.
#[derive(Clone, Copy, Debug)]
struct Ack {
    now: Timestamp,
    sample: RateSample,
    /// Bits a second, 0 if there is none.
    delivery_rate: u64,
    app_limited: bool,
    /// Round trip of the newest packet acknowledged.
    rtt: Option<Duration>,
    /// `C.inflight` before the ack.
    prior_in_flight: u64,
    was_in_recovery: bool,
}

impl Bbr {
    #[must_use]
    pub fn new(config: &TransportConfig) -> Self {
        let mss = config.mss.as_u64();
        let initial_cwnd = config.initial_cwnd.saturating_mul(mss);
        let rng = Seed::root(config.seed).fork("congestion/bbr").rng();
        let loss_floor = LossFloor::new(config.loss_floor_max_permille);
        Self::fresh(mss, initial_cwnd, rng, loss_floor, ThinFlow::new(config))
    }

    fn fresh(mss: u64, initial_cwnd: u64, rng: Rng, loss_floor: LossFloor, thin: ThinFlow) -> Self {
        let initial_cwnd = initial_cwnd.max(MIN_PIPE_SEGMENTS * mss);
        let nominal = control::rate_of(initial_cwnd, NOMINAL_RTT);
        Self {
            mss,
            initial_cwnd,
            rng,
            state: State::Startup,
            cwnd: initial_cwnd,
            pacing_rate: control::percent(nominal, STARTUP_PACING_GAIN),
            send_quantum: params::SEND_QUANTUM_MIN_SEGMENTS * mss,
            has_seen_rtt: false,
            delivered: 0,
            in_flight: 0,
            max_bw: filter::CycleMax::default(),
            bw: 0,
            min_rtt: MinRtt::default(),
            rounds: Rounds::default(),
            latest: LatestDelivery::default(),
            full_pipe: FullPipe::default(),
            aggregation: AckAggregation::default(),
            loss_floor,
            bw_shortterm: UNBOUNDED,
            inflight_shortterm: UNBOUNDED,
            inflight_longterm: UNBOUNDED,
            longterm_before_proof: None,
            undo: Undo::default(),
            in_recovery: false,
            recover: 0,
            prior_cwnd: 0,
            loss_in_round: false,
            ce_in_round: 0,
            lost_gaps_in_round: 0,
            gap_continues_at: 0,
            cycle: probe_bw::Cycle::default(),
            drain_start_round: 0,
            startup_ended_by_loss: false,
            probe_rtt: states::ProbeRtt::default(),
            idle_restart: false,
            cwnd_limited: CwndLimited::default(),
            thin,
        }
    }

    /// `UpdateOnACK` of section 5.2.3; the order is the draft's.
    fn update_on_ack(&mut self, ack: &Ack) {
        self.update_latest_delivery(ack);
        self.update_congestion_signals(ack);
        self.update_ack_aggregation(ack);
        self.check_full_bw(ack);
        self.check_startup_done(ack);
        self.check_drain_done(ack.now);
        self.update_probe_bw_cycle(ack);
        self.update_min_rtt(ack);
        self.check_probe_rtt(ack);
        self.advance_latest_delivery(ack);
        self.bw = self.max_bw.get().min(self.bw_shortterm);

        self.set_pacing_rate();
        self.set_send_quantum();
        self.set_cwnd(ack);
    }

    /// The batch as this controller reads it. `None` if nothing was acknowledged.
    fn read_ack(&self, batch: &AckBatch<'_>) -> Option<Ack> {
        let sample = batch.rate.filter(|rate| rate.newly_acked > 0)?;
        let newest = batch.acked.iter().max_by_key(|packet| (packet.sent_at, packet.number))?;
        Some(Ack {
            now: batch.now,
            sample,
            delivery_rate: sample.delivery_rate.map_or(0, Bitrate::bits_per_second),
            app_limited: sample.app_limited || self.probe_rtt.covers(sample.prior_delivered),
            rtt: Some(batch.now.since(newest.sent_at)).filter(|rtt| !rtt.is_zero()),
            prior_in_flight: batch.prior_in_flight.as_u64(),
            was_in_recovery: self.in_recovery,
        })
    }

    fn min_pipe_cwnd(&self) -> u64 {
        MIN_PIPE_SEGMENTS * self.mss
    }
}

impl Controller for Bbr {
    fn on_sent(&mut self, sent: &SentPacket) {
        self.in_flight = sent.prior_in_flight.as_u64();
        if self.in_flight == 0 && sent.app_limited {
            self.restart_from_idle(sent.at);
        }
        self.in_flight += sent.size.as_u64();
        self.thin.on_sent(sent.at, sent.app_limited);
        // Less than a full packet would still fit: the window is used up.
        self.cwnd_limited.this_round |= self.in_flight + self.mss > self.cwnd().as_u64();
    }

    fn on_acks(&mut self, batch: &AckBatch<'_>) {
        self.in_flight = batch.in_flight.as_u64();
        if let Some(rate) = batch.rate {
            self.delivered = rate.total_delivered;
        }
        self.note_smoothed_rtt(batch.rtt.smoothed);
        self.thin.on_acks(batch.now, batch.rtt.smoothed);
        let ack = self.read_ack(batch);
        self.on_losses(batch);
        self.on_marks(batch);
        if let Some(ack) = ack {
            self.leave_recovery(batch);
            self.update_on_ack(&ack);
        }
    }

    fn on_timeout(&mut self, timeout: &Timeout) {
        self.save_cwnd();
        if !timeout.repeated {
            self.save_state_upon_loss();
        }
        self.recover = timeout.next_packet;
        self.in_recovery = true;
        self.cwnd = self.mss;
    }

    fn on_persistent_congestion(&mut self, _now: Timestamp) {
        self.save_cwnd();
        self.cwnd = self.min_pipe_cwnd();
        self.min_rtt = MinRtt::default();
    }

    fn on_spurious(&mut self, _now: Timestamp) {
        self.undo_spurious();
    }

    fn on_new_path(&mut self) {
        let loss_floor = self.loss_floor.forget();
        *self = Self::fresh(self.mss, self.initial_cwnd, self.rng.clone(), loss_floor, self.thin.clone());
    }

    fn on_mss(&mut self, mss: ByteCount) {
        self.mss = mss.as_u64();
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
    }

    fn cwnd(&self) -> ByteCount {
        ByteCount(self.cwnd.max(self.thin.floor(self.mss)))
    }

    /// BBR has no such threshold.
    fn ssthresh(&self) -> Option<ByteCount> {
        None
    }

    fn pacing_rate(&self, _srtt: Option<Duration>) -> Option<Bitrate> {
        Bitrate::from_bits_per_second(self.pacing_rate)
    }

    fn state(&self) -> State {
        self.state
    }
}
