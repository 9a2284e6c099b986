//! As much of an IP packet as a link has to know.
//!
//! The emulator carries any packet; what it cannot read it carries as it is. It looks for three things only: the flow
//! a packet belongs to, whether it may be marked, and where its transport header begins.

use std::ops::Range;

use crate::link::Ecn;

/// What an IP header says. IPv4: RFC 791; IPv6: RFC 8200.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    pub version: Version,
    /// The transport protocol: 6 for TCP, 17 for UDP, 1 and 58 for ICMP.
    pub protocol: u8,
    /// Where the transport header begins.
    pub transport: usize,
    /// Whether it is a piece of a larger packet. Only the first piece has ports.
    pub is_fragment: bool,
    pub ecn: Ecn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V4,
    V6,
}

impl IpHeader {
    /// Reads the header; `None` if these bytes are no IP packet, or are cut short within its header.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let transport = usize::from(packet[0] & 0xf) * 4;
        if transport < V4_LEN || packet.len() < transport {
            return None;
        }
        let fragment = u16::from_be_bytes([packet[6], packet[7]]);
        // Flag "more fragments" or an offset.
        let is_fragment = fragment & 0x3fff != 0;
        Some(Self { version: Version::V4, protocol: packet[9], transport, is_fragment, ecn: ecn(packet[1]) })
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<V6_LEN>()?;
        let (mut protocol, mut transport, mut is_fragment) = (header[6], V6_LEN, false);
        for _ in 0..MAX_EXTENSIONS {
            let length = match protocol {
                // Hop-by-hop options, routing, destination options.
                0 | 43 | 60 => usize::from(*packet.get(transport + 1)?) * 8 + 8,
                44 => 8,
                _ => break,
            };
            // What follows is a piece of a packet, which only in the first one begins with a header.
            is_fragment = protocol == 44;
            protocol = *packet.get(transport)?;
            transport += length;
            if is_fragment {
                break;
            }
        }
        // The traffic class lies across the first two bytes.
        let class = header[0] << 4 | header[1] >> 4;
        (packet.len() >= transport).then_some(Self {
            version: Version::V6,
            protocol,
            transport,
            is_fragment,
            ecn: ecn(class),
        })
    }

    /// Where source and destination address stand.
    #[must_use]
    pub fn addresses(&self) -> Range<usize> {
        match self.version {
            Version::V4 => 12..20,
            Version::V6 => 8..40,
        }
    }

    /// A number for the flow: protocol, addresses and, where there are any, ports (FNV-1a, so that it is the same on
    /// every machine). Fragments go by their addresses, so that all pieces of a packet have the same.
    #[must_use]
    pub fn flow(&self, packet: &[u8]) -> u64 {
        let has_ports = matches!(self.protocol, TCP | UDP) && !self.is_fragment;
        let ports = packet.get(self.transport..self.transport + 4).filter(|_| has_ports).unwrap_or_default();
        let bytes = packet[self.addresses()].iter().chain(ports).chain(std::slice::from_ref(&self.protocol));
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
    }
}

/// Sets "congestion experienced" (RFC 3168 section 5) in a packet whose header was read before.
pub(super) fn mark_congestion(packet: &mut [u8]) {
    match packet.first().map(|first| first >> 4) {
        Some(4) if packet.len() >= V4_LEN => {
            packet[1] |= 0b11;
            seal_v4(packet);
        }
        Some(6) if packet.len() >= V6_LEN => packet[1] |= 0b11 << 4,
        _ => {}
    }
}

/// Writes the header checksum of IPv4.
pub(super) fn seal_v4(packet: &mut [u8]) {
    let length = (usize::from(packet[0] & 0xf) * 4).clamp(V4_LEN, packet.len());
    packet[10..12].fill(0);
    let sum = !super::checksum::fold(super::checksum::add(0, &packet[..length]));
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
}

fn ecn(class: u8) -> Ecn {
    match class & 0b11 {
        0 => Ecn::NotCapable,
        0b11 => Ecn::Experienced,
        _ => Ecn::Capable,
    }
}

pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub(super) const V4_LEN: usize = 20;
pub(super) const V6_LEN: usize = 40;
/// RFC 8200 section 4.1 knows fewer kinds than this, each at most once (one of them twice).
const MAX_EXTENSIONS: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 192.0.2.1:1000 to 192.0.2.2:80, TCP.
    fn v4(class: u8, fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, class, 0, 24, 0, 7, 0, 0, 64, TCP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        packet.extend([0x03, 0xe8, 0, 80]);
        seal_v4(&mut packet);
        packet
    }

    #[test]
    fn flows_are_told_apart_by_ports_but_not_in_fragments() {
        let flow = |packet: &[u8]| IpHeader::parse(packet).expect("valid").flow(packet);
        let (whole, mut other) = (v4(0, 0), v4(0, 0));
        other[23] = 81;
        assert_ne!(flow(&whole), flow(&other));
        let (first, later) = (v4(0, 0x2000), v4(0, 100));
        assert_eq!(flow(&first), flow(&later));
        assert!(IpHeader::parse(&first).expect("valid").is_fragment);
    }

    #[test]
    fn marking_keeps_the_header_checksum_right() {
        let mut packet = v4(0b10, 0);
        assert_eq!(IpHeader::parse(&packet).expect("valid").ecn, Ecn::Capable);
        mark_congestion(&mut packet);
        assert_eq!(IpHeader::parse(&packet).expect("valid").ecn, Ecn::Experienced);
        assert_eq!(super::super::checksum::fold(super::super::checksum::add(0, &packet[..20])), 0xffff);

        let mut packet = [0; 40];
        packet[..7].copy_from_slice(&[0x60, 0x10, 0, 0, 0, 0, 59]);
        assert_eq!(IpHeader::parse(&packet).expect("valid").ecn, Ecn::Capable);
        mark_congestion(&mut packet);
        assert_eq!(IpHeader::parse(&packet).expect("valid").ecn, Ecn::Experienced);
    }

    #[test]
    fn extension_headers_are_stepped_over() {
        let mut packet = vec![0x60, 0, 0, 0, 0, 0, 0, 64];
        packet.resize(V6_LEN, 1);
        packet.extend([44, 0, 0, 0, 0, 0, 0, 0]); // Hop-by-hop, then a fragment header, then UDP.
        packet.extend([UDP, 0, 0, 1, 0, 0, 0, 9]);
        packet.extend([0; 8]);
        let header = IpHeader::parse(&packet).expect("valid");
        assert_eq!((header.protocol, header.transport, header.is_fragment), (UDP, 56, true));
    }

    #[test]
    fn what_follows_a_fragment_header_is_no_extension_header() {
        let piece = |offset: u8, payload: [u8; 8]| {
            let mut packet = vec![0x60, 0, 0, 0, 0, 0, 44, 64];
            packet.resize(V6_LEN, 1);
            packet.extend([60, 0, 0, offset << 3 | 1, 0, 0, 0, 9]); // Then destination options.
            packet.extend(payload);
            packet
        };
        let first = piece(0, [UDP, 0, 1, 4, 0, 0, 0, 0]);
        // Read as options, this payload says that they are longer than the packet.
        let later = piece(1, [UDP, 200, 7, 7, 7, 7, 7, 7]);
        let read =
            |packet: &[u8]| IpHeader::parse(packet).map(|header| (header.transport, header.flow(packet)));
        assert_eq!(read(&later).map(|(transport, _)| transport), Some(48));
        assert_eq!(read(&first), read(&later), "all pieces are of one flow");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), version in 0_u8..16) {
            if let Some(first) = bytes.first_mut() {
                *first = *first & 0xf | version << 4;
            }
            if let Some(header) = IpHeader::parse(&bytes) {
                prop_assert!(header.transport <= bytes.len());
                let _ = header.flow(&bytes);
            }
            mark_congestion(&mut bytes);
        }
    }
}
