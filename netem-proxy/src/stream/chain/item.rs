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

/// Charged for each item besides its bytes: what an allocation and entries of queues come to, so that a stream of single
/// bytes is bounded as well; and so much that a closed gate of a link never holds too many.
const ITEM_OVERHEAD: usize = 512;

/// Pieces that one more read can be cut into when the bound is not reached yet.
const PIECES_OF_A_READ: usize = 32;

const _: () = assert!(super::MOST_BOUND / (ITEM_OVERHEAD + 1) + PIECES_OF_A_READ < crate::link::MAX_HELD);
