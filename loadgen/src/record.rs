//! The saved records of a run: what reports are drawn from.
//!
//! `deliveries.csv` is the ledger: one row for each (message, recipient) pair. `traces.csv` holds what the traced
//! connections told of themselves. Times are microseconds since the repeat began.

use serde::{Deserialize, Serialize};

/// One row of `deliveries.csv`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Index into `cells` of `result.json`.
    pub cell: u32,
    pub repeat: u32,
    /// Name of the phase in which the message was meant to be sent.
    pub phase: String,
    /// 1 if that phase is recorded (enters the statistics), 0 if not (warm-up).
    pub recorded: u8,
    pub workload: String,
    /// Index of the message within its repeat.
    pub message: u32,
    /// Index of the sending client.
    pub sender: u32,
    pub recipient: u32,
    pub size_bytes: u32,
    pub intended_us: u64,
    /// Empty: never handed to the protocol.
    pub submitted_us: Option<u64>,
    /// Empty: not acknowledged to the sender.
    pub acked_us: Option<u64>,
    /// Empty: lost.
    pub delivered_us: Option<u64>,
    pub status: DeliveryStatus,
    /// What it waited for on both hops together; empty where that is not known.
    #[serde(default)]
    pub wait_window_us: Option<u64>,
    #[serde(default)]
    pub wait_pacing_us: Option<u64>,
    #[serde(default)]
    pub wait_flow_us: Option<u64>,
    #[serde(default)]
    pub wait_loss_us: Option<u64>,
    #[serde(default)]
    pub wait_order_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    Delivered,
    /// A second arrival of a pair that was already delivered (an extra row).
    Duplicate,
    /// Delivered after a later message of the same sender in the same conversation.
    OutOfOrder,
    /// Arrived with other content than was sent.
    Corrupted,
    Lost,
    /// The recipient had left; not expected.
    Excused,
    /// Did not arrive; its sender gave it up, as its delivery allows. Not expected.
    Expired,
    /// Did not arrive; a newer message of a latest-only workload did. Not expected.
    Superseded,
}

impl DeliveryStatus {
    /// Whether a row stands for a pair that should have been delivered.
    #[must_use]
    pub fn is_expected(self) -> bool {
        !matches!(self, Self::Duplicate | Self::Excused | Self::Expired | Self::Superseded)
    }
}

/// One row of `traces.csv`. Metrics are filled on every row, so that any row can be plotted alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TraceRow {
    pub cell: u32,
    pub repeat: u32,
    /// Index of the client whose connection this is.
    pub client: u32,
    /// Which end spoke.
    pub side: Side,
    pub at_us: u64,
    pub event: TraceEvent,
    /// Packet number the event is about.
    pub packet: Option<u64>,
    pub cwnd_bytes: u64,
    /// Empty while unlimited.
    pub ssthresh_bytes: Option<u64>,
    pub in_flight_bytes: u64,
    /// Empty before the first sample.
    pub srtt_us: Option<u64>,
    pub rttvar_us: Option<u64>,
    pub rto_us: u64,
    /// Empty before the first sample.
    #[serde(default)]
    pub min_rtt_us: Option<u64>,
    /// Bits a second. Empty: as fast as the window allows.
    #[serde(default)]
    pub pacing_bps: Option<u64>,
    /// Bits a second, the latest sample. Empty before the first.
    #[serde(default)]
    pub delivery_bps: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The client's end: governs client to server.
    Client,
    /// The server's end: governs server to client.
    Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TraceEvent {
    /// The metrics changed (after an ack).
    Metrics,
    /// A packet was declared lost by the packet or time threshold.
    Lost,
    /// A segment was sent again.
    Retransmit,
    /// Sent again because three later packets were acknowledged.
    FastRetransmit,
    /// A tail probe was sent.
    Probe,
    /// The retransmission timer fired.
    Timeout,
    /// A packet declared lost turned out to have arrived.
    Spurious,
    /// The connection moved to a new carrier (reconnect).
    Rebind,
}
