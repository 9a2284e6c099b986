//! Constants of the algorithm. Gains are percentages, so that no decision needs a fraction.

use std::time::Duration;

/// Pacing gain of Startup: 4 ln 2, the least that doubles the sending rate every round (section 5.3.1).
pub(super) const STARTUP_PACING_GAIN: u64 = 277;
/// Drain undoes in one round what the window gain of 2 let Startup queue (section 5.3.2).
pub(super) const DRAIN_PACING_GAIN: u64 = 50;
/// The least that lets flows of unequal shares converge, given the gain of ProbeBW_UP (section 5.3.3.1).
pub(super) const DOWN_PACING_GAIN: u64 = 90;
pub(super) const CRUISE_PACING_GAIN: u64 = 100;
pub(super) const UP_PACING_GAIN: u64 = 125;

/// Window gain of every state but two.
pub(super) const DEFAULT_CWND_GAIN: u64 = 200;
/// In ProbeBW_UP the window must not hide what the higher rate could find.
pub(super) const UP_CWND_GAIN: u64 = 225;
pub(super) const PROBE_RTT_CWND_GAIN: u64 = 50;

/// Packets are paced this much below the bandwidth, so that a queue drains rather than grows (section 5.6.2).
pub(super) const PACING_MARGIN_PERCENT: u64 = 1;

/// `BBR.LossThresh`: loss over one round that says a probe went too high, in thousandths.
pub(super) const LOSS_THRESHOLD_PERMILLE: u64 = 20;
/// `BBR.Beta`, a percentage: no reaction to loss is stronger than CUBIC's.
pub(super) const BETA: u64 = 70;
/// `BBR.Headroom`, a percentage of the long-term bound left to other flows.
pub(super) const HEADROOM: u64 = 15;
/// `BBR.MinPipeCwnd`, in segments: two on their way there and two acks on their way back.
pub(super) const MIN_PIPE_SEGMENTS: u64 = 4;

/// A delivery rate below 125 % of the best so far is no growth, and so many rounds without growth fill the pipe.
pub(super) const FULL_BW_GROWTH: u64 = 125;
pub(super) const FULL_BW_ROUNDS: u32 = 3;
/// `BBRStartupFullLossCnt`: gaps lost in one round before loss ends Startup.
pub(super) const STARTUP_FULL_LOSS_COUNT: u32 = 6;
/// Rounds after which Drain gives up on reaching the bandwidth-delay product (section 5.3.2).
pub(super) const DRAIN_ROUNDS_MAX: u64 = 3;

/// `BBR.ExtraAckedFilterLen`, in rounds; Startup remembers one.
pub(super) const EXTRA_ACKED_ROUNDS: u64 = 10;
pub(super) const EXTRA_ACKED_ROUNDS_STARTUP: u64 = 1;

/// `BBR.MinRTTFilterLen`.
pub(super) const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// `BBR.ProbeRTTInterval`: the same for everybody, so that flows drain the queue together.
pub(super) const PROBE_RTT_INTERVAL: Duration = Duration::from_secs(5);
/// `BBR.ProbeRTTDuration`.
pub(super) const PROBE_RTT_DURATION: Duration = Duration::from_millis(200);

/// Wall-clock time between bandwidth probes: this, and up to a second more by chance (section 5.3.3.5).
pub(super) const PROBE_WAIT_BASE: Duration = Duration::from_secs(2);
pub(super) const PROBE_WAIT_SPREAD_MICROS: u64 = 1_000_000;
/// Round trips between probes at most, so that Reno flows of up to as many packets keep their share.
pub(super) const RENO_ROUNDS_MAX: u64 = 63;
/// Growth of the long-term bound doubles each round up to 2^30 segments (section 5.3.3.6).
pub(super) const PROBE_UP_ROUNDS_MAX: u32 = 30;

/// One quantum is what leaves in a millisecond, within these bounds (section 5.6.3).
pub(super) const SEND_QUANTUM_SPAN: Duration = Duration::from_millis(1);
pub(super) const SEND_QUANTUM_MAX: u64 = 64 << 10;
pub(super) const SEND_QUANTUM_MIN_SEGMENTS: u64 = 2;

/// Round trip assumed for the pacing rate before one was measured (section 5.6.2).
pub(super) const NOMINAL_RTT: Duration = Duration::from_millis(1);
/// Lowest pacing rate, in bits a second: a packet of 1,200 bytes still leaves every 1.2 s, so a model gone wrong cannot
/// silence a connection before its acks can correct it. The draft names no floor.
pub(super) const PACING_RATE_MIN: u64 = 8_000;
