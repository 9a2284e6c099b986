//! What a driver tells while a run goes on: one small value for each thing that happened.
//!
//! Both drivers speak this, and a recorder ([`crate::measure`]) listens; nothing is kept by the driver itself. Calling
//! order: an intent comes before everything about its message; what happened to one recipient comes in the order in which
//! it happened there. Between different clients order is not promised, so every value carries its own time.

use units::Timestamp;

use crate::workload::Intent;

/// One observation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// The schedule asks for a message; ids come in order, without gaps.
    Intent(Intent),
    /// It was handed to the protocol.
    Submitted { message: u32, at: Timestamp },
    /// The protocol did not take it: its sender was at its bound.
    Refused { message: u32 },
    /// The server has all of it.
    Acked { message: u32, at: Timestamp },
    /// It has come as far as a transport that tells of no acknowledgement lets anybody see.
    Received { message: u32 },
    /// The protocol gave it up.
    Failed { message: u32, at: Timestamp },
    /// A client heard a text.
    Arrived(Arrival),
    /// A client begins to connect, for the first time or after it had left.
    Connecting { client: u32, at: Timestamp },
    /// It was welcomed.
    Connected { client: u32, at: Timestamp, is_resumed: bool },
    /// It will not be (any more).
    Refusal { client: u32, at: Timestamp },
    /// One that had left is back in its rooms: from here on it is a recipient again.
    Present { client: u32, at: Timestamp },
    /// It left, with a goodbye or without one: from here on it is no recipient, and what it has not heard it is excused
    /// from, though a session that goes on later may hear it.
    Gone { client: u32, at: Timestamp, is_abrupt: bool },
}

impl Seen {
    /// When it happened; `None`: the value does not say.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Intent(intent) => Some(intent.intended),
            Self::Arrived(arrival) => Some(arrival.at),
            Self::Submitted { at, .. }
            | Self::Acked { at, .. }
            | Self::Failed { at, .. }
            | Self::Connecting { at, .. }
            | Self::Connected { at, .. }
            | Self::Refusal { at, .. }
            | Self::Present { at, .. }
            | Self::Gone { at, .. } => Some(*at),
            Self::Refused { .. } | Self::Received { .. } => None,
        }
    }
}

/// A text heard by a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub recipient: u32,
    /// `None`: the text names no message of ours.
    pub message: Option<u32>,
    pub at: Timestamp,
    /// Whether the text is the one that was sent.
    pub intact: bool,
}
