//! What a connection tells an observer: plain data, drained like any output.
//!
//! Tracing is off by default and then costs one branch. Every event carries the metrics as they are after it, so any
//! single event can be plotted alone.

use std::time::Duration;

use units::{ByteCount, Timestamp};

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
    /// The connection moved to a new carrier.
    Rebound,
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
    /// `None` before the first sample.
    pub srtt: Option<Duration>,
    pub rttvar: Option<Duration>,
    /// Backoff included.
    pub rto: Duration,
    pub state: State,
}
