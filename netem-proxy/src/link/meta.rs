//! What a link is told of a packet.

use units::ByteCount;

/// What a link is told of a packet; it never looks inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Size at the layer of the shell: a frame with its length, a datagram's payload, an IP packet.
    pub size: ByteCount,
    /// Which flow it belongs to, for disciplines that tell flows apart. Any number; equal means the same flow.
    pub flow: u64,
    pub ecn: Ecn,
}

/// Whether a packet may be marked instead of dropped (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Ecn {
    #[default]
    NotCapable,
    /// ECT(0) or ECT(1).
    Capable,
    /// Marked already, by somebody before this link.
    Experienced,
}

impl Meta {
    /// A packet of `size`, of flow 0, that cannot be marked.
    #[must_use]
    pub fn of_size(size: ByteCount) -> Self {
        Self { size, flow: 0, ecn: Ecn::NotCapable }
    }
}
