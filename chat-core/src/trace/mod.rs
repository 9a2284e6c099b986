//! What a connection tells an observer: plain data, drained like any output.
//!
//! Tracing is off by default and then costs one branch. Every event carries the metrics as they are after it, so any
//! single event can be plotted alone.

pub mod qlog;
pub mod steps;
pub mod waits;

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use crate::congestion::State;

/// Something that happened in a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceEvent {
    pub at: Timestamp,
    pub kind: TraceKind,
    pub metrics: Metrics,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceKind {
    /// A numbered packet left, with so many bytes.
    Sent { packet: u64, size: ByteCount },
    /// A numbered packet of the peer came.
    Received { packet: u64 },
    /// A timer was set to go off after `set`, or is not needed any more.
    Timer { kind: TimerKind, set: Option<Duration> },
    /// An ack was taken in.
    Acked,
    /// A packet was declared lost.
    Lost { packet: u64, reason: LossReason },
    /// A segment was sent again, as `packet`, and why its last transmission counted as lost.
    Retransmitted { packet: u64, reason: LossReason },
    /// `packet` was sent to ask for an ack of the tail.
    Probed { packet: u64 },
    /// The retransmission timer fired, for the `count`-th time in a row.
    TimedOut { count: u32 },
    /// A packet declared lost was acknowledged after all.
    Spurious { packet: u64 },
    /// The probe timer fired, for the `count`-th time in a row. Nothing counts as lost by that.
    ProbeTimeout { count: u32 },
    /// Every loss of the latest reduction was spurious, and it was taken back.
    Undone,
    /// Everything sent over a long time was lost.
    PersistentCongestion,
    /// The path spoils ECN marks; packets leave unmarked from now on.
    EcnFailed,
    /// The connection moved to a new carrier.
    Rebound,
}

/// Which of the deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// An ack must leave.
    Ack,
    /// A packet that was overtaken counts as lost.
    Loss,
    /// The tail is probed, or the retransmission timer goes off.
    Probe,
}

/// Why a packet counts as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossReason {
    /// Three later packets were acknowledged.
    PacketThreshold,
    /// A later packet was acknowledged and 9/8 of an RTT has passed.
    TimeThreshold,
    /// The retransmission timer fired.
    Timeout,
    /// The peer reported a damaged frame.
    Nack,
    /// Its carrier was replaced.
    Rebind,
}

/// State of the transport at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metrics {
    pub cwnd: ByteCount,
    /// `None` while unlimited.
    pub ssthresh: Option<ByteCount>,
    pub in_flight: ByteCount,
    pub packets_in_flight: u64,
    /// `None` before the first sample.
    pub latest_rtt: Option<Duration>,
    pub min_rtt: Option<Duration>,
    /// `None` before the first sample.
    pub srtt: Option<Duration>,
    pub rttvar: Option<Duration>,
    /// Timeout of the timer in use, backoff included: the probe timeout, or in `classic` the RTO.
    pub rto: Duration,
    /// Probe or retransmission timeouts in a row.
    pub pto_count: u32,
    /// `None`: packets leave as fast as the window allows.
    pub pacing_rate: Option<Bitrate>,
    /// The latest sample of the rate at which the path delivers.
    pub delivery_rate: Option<Bitrate>,
    pub state: State,
}
