//! What a message asks of its way: when it is passed on, and how long its sender tries.
//!
//! Order is the receiver's business and stands in the frame; reliability is the sender's alone. Every combination is
//! allowed, and messages of different kinds may share a channel (RFC 3758 and RFC 7496 have the same pair of questions).

use std::time::Duration;

use crate::wire::Order;

/// How a message is to be delivered. The default is ordered and reliable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Delivery {
    pub order: Order,
    pub reliability: Reliability,
}

/// How long a message is tried before it is given up with [`Event::Failed`](super::Event::Failed).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Reliability {
    /// Until it is acknowledged, or [`max_attempts`](crate::TransportConfig::max_attempts) of a piece are lost.
    #[default]
    Reliable,
    /// Until each piece was sent so often, at least once.
    Attempts(u32),
    /// Until so long after it was queued. Nothing of it leaves later than that; what is under way then may still arrive.
    Deadline(Duration),
}

/// Why a message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// A piece of it was sent as often as it may be.
    Attempts,
    /// Its deadline has passed.
    Deadline,
    /// A newer message of a latest-only kind makes it worthless.
    Superseded,
    /// A piece of it fits no packet, however small it was cut: its names are too long for the carrier.
    TooLong,
}

impl Delivery {
    /// Delivered as soon as it arrives, sent until it does.
    pub const UNORDERED: Self = Self { order: Order::Unordered, reliability: Reliability::Reliable };
    /// Only the newest counts; sent until it or a newer one arrives.
    pub const LATEST: Self = Self { order: Order::Latest, reliability: Reliability::Reliable };

    /// The same order, tried less hard.
    #[must_use]
    pub const fn with(self, reliability: Reliability) -> Self {
        Self { reliability, ..self }
    }
}
