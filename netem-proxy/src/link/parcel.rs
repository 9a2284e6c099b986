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

/// What will happen to a packet that gets through the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Fate {
    /// The bit to flip.
    pub(super) corrupt: Option<u64>,
    pub(super) delay: Duration,
    /// Taken out of the line, and this much later than its delay.
    pub(super) held_back: Option<Duration>,
    /// Lost behind the bottleneck.
    pub(super) lost_on_wire: bool,
    pub(super) is_doubled: bool,
    /// Lost where it was made; only netem does that.
    pub(super) copy_is_lost: bool,
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
