//! What travels through a chain.

use bytes::Bytes;
use units::Timestamp;

/// A piece of the stream, or its end. Nothing follows an end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::stream) enum Item {
    Data(Bytes),
    End(End),
}

/// How a direction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::stream) enum End {
    /// The source has no more to say: the destination's write side is shut down, the other direction goes on.
    Eof,
    /// The whole connection is closed.
    Close,
    /// The whole connection is reset (RST).
    Reset,
}

impl Item {
    /// What it costs to hold: its bytes, and what the queue needs for it.
    pub(super) fn cost(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len() + ITEM_OVERHEAD,
            Self::End(_) => 0,
        }
    }
}

/// An item and when it came to where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    pub(super) at: Timestamp,
    pub(super) item: Item,
}

/// Memory of a queue entry, so that a stream of single bytes is bounded as well.
const ITEM_OVERHEAD: usize = 64;
