//! The model of the path: rounds, bandwidth, round-trip time, aggregation, and whether the pipe is full (section 5.5).

use std::time::Duration;

use units::Timestamp;

use super::filter::WindowedMax;
use super::params::{
    EXTRA_ACKED_ROUNDS, EXTRA_ACKED_ROUNDS_STARTUP, FULL_BW_GROWTH, FULL_BW_ROUNDS, MIN_RTT_WINDOW,
    PROBE_RTT_INTERVAL,
};
use super::{Ack, Bbr, control};

/// Packet-timed round trips (section 5.5.1): one ends when a packet is acknowledged that was sent after it began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rounds {
    pub(super) count: u64,
    /// The batch in hand ends a round.
    pub(super) starts: bool,
    /// `BBR.next_round_delivered`.
    next_delivered: u64,
    pub(super) since_probe_up: u64,
}

/// What one round delivered at best, and where the round of the latest loss ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LatestDelivery {
    pub(super) bw: u64,
    pub(super) inflight: u64,
    pub(super) loss_round_starts: bool,
    pub(super) loss_round_delivered: u64,
}

/// The estimator of a filled pipe (section 5.3.1.2).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FullPipe {
    /// Some time in the life of the connection.
    pub(super) reached: bool,
    /// Since the estimator was last reset.
    pub(super) now: bool,
    pub(super) bw: u64,
    pub(super) count: u32,
}

/// Two minima of the round-trip time: over 5 s, which schedules ProbeRTT, and over 10 s, which is the model's.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MinRtt {
    /// `BBR.min_rtt`; `None` is the draft's infinity.
    pub(super) value: Option<Duration>,
    stamp: Timestamp,
    probe_delay: Option<Duration>,
    probe_stamp: Timestamp,
    pub(super) probe_expired: bool,
}

/// How much more than the bandwidth explains was acknowledged at once (section 5.5.9).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AckAggregation {
    filter: WindowedMax,
    interval_start: Timestamp,
    delivered: u64,
}

impl AckAggregation {
    /// `BBR.extra_acked`, in bytes.
    pub(super) fn extra(&self) -> u64 {
        self.filter.get()
    }

    pub(super) fn restart(&mut self, now: Timestamp) {
        self.interval_start = now;
    }
}

impl MinRtt {
    /// The next ProbeRTT is due an interval from now.
    pub(super) fn schedule_probe(&mut self, now: Timestamp) {
        self.probe_stamp = now;
    }
}

impl FullPipe {
    pub(super) fn reset(&mut self, bw: u64) {
        self.bw = bw;
        self.count = 0;
        self.now = false;
    }
}

impl Bbr {
    pub(super) fn start_round(&mut self) {
        self.rounds.next_delivered = self.delivered;
    }

    fn update_round(&mut self, ack: &Ack) {
        self.rounds.starts = ack.sample.prior_delivered >= self.rounds.next_delivered;
        if self.rounds.starts {
            self.start_round();
            self.rounds.count += 1;
            self.rounds.since_probe_up += 1;
            self.cwnd_limited.last_round = std::mem::take(&mut self.cwnd_limited.this_round);
        }
    }

    pub(super) fn update_max_bw(&mut self, ack: &Ack) {
        self.update_round(ack);
        if ack.delivery_rate > 0 && (ack.delivery_rate >= self.max_bw.get() || !ack.app_limited) {
            self.max_bw.update(ack.delivery_rate);
        }
    }

    pub(super) fn update_latest_delivery(&mut self, ack: &Ack) {
        self.latest.loss_round_starts = false;
        self.latest.bw = self.latest.bw.max(ack.delivery_rate);
        self.latest.inflight = self.latest.inflight.max(ack.sample.delivered);
        if ack.sample.prior_delivered >= self.latest.loss_round_delivered {
            self.latest.loss_round_delivered = self.delivered;
            self.latest.loss_round_starts = true;
        }
    }

    pub(super) fn advance_latest_delivery(&mut self, ack: &Ack) {
        if self.latest.loss_round_starts {
            self.latest.bw = ack.delivery_rate;
            self.latest.inflight = ack.sample.delivered;
        }
    }

    pub(super) fn update_ack_aggregation(&mut self, ack: &Ack) {
        let interval = ack.now.since(self.aggregation.interval_start);
        let mut expected = control::bytes_in(self.bw, interval);
        if self.aggregation.delivered <= expected {
            self.aggregation.delivered = 0;
            self.aggregation.interval_start = ack.now;
            expected = 0;
        }
        self.aggregation.delivered += ack.sample.newly_acked;
        let extra = self.aggregation.delivered.saturating_sub(expected).min(self.cwnd);
        let window = if self.full_pipe.reached { EXTRA_ACKED_ROUNDS } else { EXTRA_ACKED_ROUNDS_STARTUP };
        self.aggregation.filter.update(self.rounds.count, extra, window);
    }

    pub(super) fn check_full_bw(&mut self, ack: &Ack) {
        if self.full_pipe.now || !self.rounds.starts || ack.app_limited {
            return;
        }
        if ack.delivery_rate >= control::percent(self.full_pipe.bw, FULL_BW_GROWTH) {
            self.full_pipe.reset(ack.delivery_rate);
            return;
        }
        self.full_pipe.count += 1;
        self.full_pipe.now = self.full_pipe.count >= FULL_BW_ROUNDS;
        self.full_pipe.reached |= self.full_pipe.now;
    }

    pub(super) fn update_min_rtt(&mut self, ack: &Ack) {
        let filter = &mut self.min_rtt;
        filter.probe_expired = ack.now > filter.probe_stamp + PROBE_RTT_INTERVAL;
        if let Some(rtt) = ack.rtt
            && (filter.probe_delay.is_none_or(|delay| rtt < delay) || filter.probe_expired)
        {
            filter.probe_delay = Some(rtt);
            filter.probe_stamp = ack.now;
        }
        let has_expired = ack.now > filter.stamp + MIN_RTT_WINDOW;
        let is_lower = match (filter.probe_delay, filter.value) {
            (Some(delay), Some(value)) => delay < value,
            (delay, None) => delay.is_some(),
            (None, Some(_)) => false,
        };
        if is_lower || (has_expired && filter.probe_delay.is_some()) {
            filter.value = filter.probe_delay;
            filter.stamp = filter.probe_stamp;
        }
    }
}
