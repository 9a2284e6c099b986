//! From the model to what the connection obeys: pacing rate, quantum and window (section 5.6).

use std::time::Duration;

use units::Bitrate;

use super::params::{
    CRUISE_PACING_GAIN, DEFAULT_CWND_GAIN, DOWN_PACING_GAIN, DRAIN_PACING_GAIN, PACING_MARGIN_PERCENT,
    PACING_RATE_MIN, PROBE_RTT_CWND_GAIN, SEND_QUANTUM_MAX, SEND_QUANTUM_MIN_SEGMENTS, SEND_QUANTUM_SPAN,
    STARTUP_PACING_GAIN, UP_CWND_GAIN, UP_PACING_GAIN,
};
use super::{Ack, Bbr, State, UNBOUNDED};

impl Bbr {
    pub(super) fn pacing_gain(&self) -> u64 {
        match self.state {
            State::Startup => STARTUP_PACING_GAIN,
            State::Drain => DRAIN_PACING_GAIN,
            State::ProbeBwDown => DOWN_PACING_GAIN,
            State::ProbeBwUp => UP_PACING_GAIN,
            _ => CRUISE_PACING_GAIN,
        }
    }

    pub(super) fn cwnd_gain(&self) -> u64 {
        match self.state {
            State::ProbeBwUp => UP_CWND_GAIN,
            State::ProbeRtt => PROBE_RTT_CWND_GAIN,
            _ => DEFAULT_CWND_GAIN,
        }
    }

    /// Before the first sample of the round-trip time the pacing rate was a guess; this replaces it, once.
    pub(super) fn note_smoothed_rtt(&mut self, smoothed: Option<Duration>) {
        let Some(srtt) = smoothed.filter(|srtt| !self.has_seen_rtt && !srtt.is_zero()) else {
            return;
        };
        self.has_seen_rtt = true;
        let nominal = rate_of(self.initial_cwnd, srtt);
        self.pacing_rate = percent(nominal, STARTUP_PACING_GAIN).max(PACING_RATE_MIN);
    }

    pub(super) fn set_pacing_rate(&mut self) {
        self.set_pacing_rate_with_gain(self.pacing_gain());
    }

    /// Until the pipe was full once, the rate only rises: samples of an idle application must not slow Startup down.
    pub(super) fn set_pacing_rate_with_gain(&mut self, gain: u64) {
        let rate = percent(percent(self.bw, gain), 100 - PACING_MARGIN_PERCENT).max(PACING_RATE_MIN);
        if self.bw > 0 && (self.full_pipe.reached || rate > self.pacing_rate) {
            self.pacing_rate = rate;
        }
    }

    pub(super) fn set_send_quantum(&mut self) {
        self.send_quantum = bytes_in(self.pacing_rate, SEND_QUANTUM_SPAN)
            .min(SEND_QUANTUM_MAX)
            .max(SEND_QUANTUM_MIN_SEGMENTS * self.mss);
    }

    /// `BBR.bdp`.
    pub(super) fn bdp(&self) -> u64 {
        self.bdp_multiple(100)
    }

    pub(super) fn bdp_multiple(&self, gain: u64) -> u64 {
        self.bdp_multiple_of(self.bw, gain)
    }

    fn bdp_multiple_of(&self, bw: u64, gain: u64) -> u64 {
        self.min_rtt.value.map_or(self.initial_cwnd, |min_rtt| percent(bytes_in(bw, min_rtt), gain))
    }

    /// The volume that `gain` times the bandwidth-delay product amounts to in packets and quanta.
    pub(super) fn inflight(&self, gain: u64) -> u64 {
        self.with_quantization(self.bdp_multiple(gain))
    }

    /// The same for one bandwidth-delay product of `bw`.
    pub(super) fn inflight_of(&self, bw: u64) -> u64 {
        self.with_quantization(self.bdp_multiple_of(bw, 100))
    }

    fn with_quantization(&self, inflight: u64) -> u64 {
        let inflight = inflight.max(self.send_quantum).max(self.min_pipe_cwnd());
        if self.state == State::ProbeBwUp { inflight.saturating_add(2 * self.mss) } else { inflight }
    }

    fn max_inflight(&self) -> u64 {
        self.with_quantization(self.bdp_multiple(self.cwnd_gain()).saturating_add(self.aggregation.extra()))
    }

    /// What we want in flight: the bandwidth-delay product, unless congestion cut the window.
    pub(super) fn target_inflight(&self) -> u64 {
        self.bdp().min(self.cwnd)
    }

    pub(super) fn set_cwnd(&mut self, ack: &Ack) {
        let max_inflight = self.max_inflight();
        let grown = self.cwnd.saturating_add(ack.sample.newly_acked);
        if self.full_pipe.reached {
            self.cwnd = grown.min(max_inflight);
        } else if self.cwnd < max_inflight || self.delivered < self.initial_cwnd {
            self.cwnd = grown;
        }
        self.cwnd = self.cwnd.max(self.min_pipe_cwnd());
        if self.state == State::ProbeRtt {
            self.cwnd = self.cwnd.min(self.probe_rtt_cwnd());
        }
        self.bound_cwnd_for_model();
    }

    fn bound_cwnd_for_model(&mut self) {
        let cap = match self.state {
            State::ProbeBwCruise | State::ProbeRtt => self.inflight_with_headroom(),
            _ if self.is_probe_bw() => self.inflight_longterm,
            _ => UNBOUNDED,
        };
        self.cwnd = self.cwnd.min(cap.min(self.inflight_shortterm).max(self.min_pipe_cwnd()));
    }

    pub(super) fn save_cwnd(&mut self) {
        let is_modulated = self.in_recovery || self.state == State::ProbeRtt;
        self.prior_cwnd = if is_modulated { self.prior_cwnd.max(self.cwnd) } else { self.cwnd };
    }

    pub(super) fn restore_cwnd(&mut self) {
        self.cwnd = self.cwnd.max(self.prior_cwnd);
    }
}

/// `gain` percent of `value`, rounded down, never above `u64::MAX`.
pub(super) fn percent(value: u64, gain: u64) -> u64 {
    u64::try_from(u128::from(value) * u128::from(gain) / 100).unwrap_or(u64::MAX)
}

/// Bytes that `bits_per_second` carry in `span`.
pub(super) fn bytes_in(bits_per_second: u64, span: Duration) -> u64 {
    Bitrate::from_bits_per_second(bits_per_second).map_or(0, |rate| rate.bytes_in(span).as_u64())
}

/// Bits a second that `bytes` in `span` amount to.
pub(super) fn rate_of(bytes: u64, span: Duration) -> u64 {
    let bits = u128::from(bytes) * 8 * 1_000_000_000 / span.as_nanos().max(1);
    u64::try_from(bits).unwrap_or(u64::MAX)
}
