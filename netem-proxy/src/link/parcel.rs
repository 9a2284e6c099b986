//! A packet inside the link, with all that was decided about it when it arrived.

use std::time::Duration;

use units::{ByteCount, Timestamp};

use super::meta::{Ecn, Meta};

#[derive(Clone, Debug)]
pub(super) struct Parcel<P> {
    /// Which packet offered to the link, counted from 1; a copy has the number of its original.
    pub(super) number: u64,
    pub(super) arrived: Timestamp,
    pub(super) meta: Meta,
    pub(super) fate: Fate,
    pub(super) copy: bool,
    /// A queue discipline marked it instead of dropping it.
    pub(super) mark: bool,
    pub(super) packet: P,
}

/// What will happen to a packet that gets through the queue. Small, because packets are moved a lot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Fate {
    /// The bit to flip, plus one; zero is none.
    corrupt: u64,
    delay_ns: u64,
    /// Taken out of the line; the delay contains by how much it is later for that.
    pub(super) is_held_back: bool,
    /// Lost behind the bottleneck.
    pub(super) lost_on_wire: bool,
    pub(super) is_doubled: bool,
    /// Lost where it was made; only netem does that.
    pub(super) copy_is_lost: bool,
}

impl Fate {
    pub(super) fn new(corrupt: Option<u64>, delay: Duration, held_back: Option<Duration>) -> Self {
        let delay = delay.saturating_add(held_back.unwrap_or_default());
        Self {
            // A packet has fewer bits than 2^64 - 1.
            corrupt: corrupt.map_or(0, |bit| bit.saturating_add(1)),
            delay_ns: u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX),
            is_held_back: held_back.is_some(),
            ..Self::default()
        }
    }

    pub(super) fn corrupt(&self) -> Option<u64> {
        self.corrupt.checked_sub(1)
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay_ns)
    }
}

impl<P> Parcel<P> {
    pub(super) fn size(&self) -> ByteCount {
        self.meta.size
    }

    /// Whether it may be marked instead of dropped; one marked already may be marked again (RFC 3168 section 5).
    pub(super) fn can_be_marked(&self) -> bool {
        self.meta.ecn != Ecn::NotCapable
    }
}
