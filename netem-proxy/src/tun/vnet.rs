//! The header that a TUN device of the kind `IFF_VNET_HDR` puts before each packet.
//!
//! It is the `virtio_net_hdr` of the virtio specification, section 5.1.6
//! (<https://docs.oasis-open.org/virtio/virtio/v1.2/virtio-v1.2.html>), ten bytes in the byte order of the machine: it
//! says which checksum is still to be filled in, and into what pieces a packet larger than the MTU is to be cut.

/// A `virtio_net_hdr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct VnetHeader {
    /// [`NEEDS_CSUM`] or nothing that concerns us.
    pub flags: u8,
    /// One of `GSO_*`, and perhaps [`GSO_ECN`].
    pub gso_type: u8,
    /// Length of all headers; a hint that writers do not always keep, so nothing here relies on it.
    pub hdr_len: u16,
    /// Payload bytes of each piece but the last.
    pub gso_size: u16,
    /// Where summing begins, and how far behind that the sum belongs.
    pub csum_start: u16,
    pub csum_offset: u16,
}

impl VnetHeader {
    /// Reads the first [`VNET_LEN`] bytes; `None` if there are fewer.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.first_chunk::<VNET_LEN>()?;
        let pair = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Some(Self {
            flags: bytes[0],
            gso_type: bytes[1],
            hdr_len: pair(2),
            gso_size: pair(4),
            csum_start: pair(6),
            csum_offset: pair(8),
        })
    }

    #[must_use]
    pub fn to_bytes(self) -> [u8; VNET_LEN] {
        let mut bytes = [0; VNET_LEN];
        bytes[0] = self.flags;
        bytes[1] = self.gso_type;
        for (at, value) in
            [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)]
        {
            bytes[at..at + 2].copy_from_slice(&value.to_ne_bytes());
        }
        bytes
    }

    #[must_use]
    pub fn needs_checksum(self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }
}

pub const VNET_LEN: usize = 10;
/// The checksum field holds the sum of the pseudo header; the rest is to be added.
pub const NEEDS_CSUM: u8 = 1;
pub const GSO_NONE: u8 = 0;
pub const GSO_TCP4: u8 = 1;
pub const GSO_TCP6: u8 = 4;
/// UDP segmentation, each piece a datagram of its own.
pub const GSO_UDP: u8 = 5;
/// The first piece carries the flag CWR, and only that one may.
pub const GSO_ECN: u8 = 0x80;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_header_survives_the_wire(bytes in any::<[u8; VNET_LEN]>()) {
            prop_assert_eq!(VnetHeader::parse(&bytes).map(VnetHeader::to_bytes), Some(bytes));
        }
    }
}
