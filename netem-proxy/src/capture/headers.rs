//! IP, UDP and TCP headers for payloads that a relay knows without theirs.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::link::Ecn;

/// From whom to whom a payload goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub from: SocketAddr,
    pub to: SocketAddr,
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    Udp,
    /// With the sequence number of its first byte.
    Tcp {
        sequence: u32,
    },
}

/// Puts headers around `payload`, appended to `out`, and returns how many bytes of it had room.
///
/// An IPv4 and an IPv6 address together give an IPv6 packet with the first one mapped (RFC 4291 section 2.5.5.2).
pub fn wrap(
    addresses: Addresses,
    transport: Transport,
    ecn: Ecn,
    payload: &[u8],
    out: &mut Vec<u8>,
) -> usize {
    let header = match transport {
        Transport::Udp => UDP_HEADER,
        Transport::Tcp { .. } => TCP_HEADER,
    };
    let bits: u8 = match ecn {
        Ecn::NotCapable => 0,
        Ecn::Capable => 2,
        Ecn::Experienced => 3,
    };
    let room = MAX_PACKET - IPV6_HEADER - header;
    let payload = &payload[..payload.len().min(room)];
    let length = u16::try_from(header + payload.len()).expect("cut to the room");
    let protocol = match transport {
        Transport::Udp => 17,
        Transport::Tcp { .. } => 6,
    };
    let mut sum = Sum::default();
    match (addresses.from.ip(), addresses.to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let start = out.len();
            out.extend([0x45, bits]);
            out.extend((length + IPV4_HEADER as u16).to_be_bytes());
            // No identification, do not fragment, 64 hops.
            out.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
            out.extend(from.octets());
            out.extend(to.octets());
            let mut own = Sum::default();
            own.add(&out[start..]);
            let checksum = own.checksum().to_be_bytes();
            out[start + 10..start + 12].copy_from_slice(&checksum);
            sum.add(&from.octets());
            sum.add(&to.octets());
        }
        (from, to) => {
            let (from, to) = (as_v6(from), as_v6(to));
            // The traffic class stands across two bytes.
            out.extend([0x60, bits << 4, 0, 0]);
            out.extend(length.to_be_bytes());
            out.extend([protocol, 64]);
            out.extend(from.octets());
            out.extend(to.octets());
            sum.add(&from.octets());
            sum.add(&to.octets());
        }
    }
    sum.add(&[0, protocol]);
    sum.add(&length.to_be_bytes());
    let start = out.len();
    out.extend(addresses.from.port().to_be_bytes());
    out.extend(addresses.to.port().to_be_bytes());
    let place = match transport {
        Transport::Udp => {
            out.extend(length.to_be_bytes());
            out.extend([0; 2]);
            6
        }
        Transport::Tcp { sequence } => {
            out.extend(sequence.to_be_bytes());
            // Acknowledges nothing that we know of; 20 bytes of header, PSH and ACK, the largest window.
            out.extend([0, 0, 0, 0, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
            16
        }
    };
    out.extend(payload);
    sum.add(&out[start..]);
    // Zero means "none" in UDP, where its twin stands for it (RFC 768).
    let checksum = match (transport, sum.checksum()) {
        (Transport::Udp, 0) => 0xffff,
        (_, checksum) => checksum,
    };
    out[start + place..start + place + 2].copy_from_slice(&checksum.to_be_bytes());
    payload.len()
}

const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;

/// The longest packet that IPv4 can express, used for both.
const MAX_PACKET: usize = 65_535;

fn as_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// The Internet checksum (RFC 1071).
#[derive(Clone, Copy, Default)]
struct Sum(u64);

impl Sum {
    /// Parts must have even lengths, but for the last one.
    fn add(&mut self, bytes: &[u8]) {
        for pair in bytes.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            self.0 += u64::from(u16::from_be_bytes([pair[0], low]));
        }
    }

    fn checksum(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        !(sum as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(from: &str, to: &str) -> Addresses {
        Addresses { from: from.parse().expect("an address"), to: to.parse().expect("an address") }
    }

    /// The sum over everything, checksum included, is all ones.
    fn is_valid(pseudo: &[&[u8]], segment: &[u8]) -> bool {
        let mut sum = Sum::default();
        pseudo.iter().for_each(|part| sum.add(part));
        sum.add(segment);
        sum.checksum() == 0
    }

    #[test]
    fn a_datagram_gets_headers_with_valid_checksums() {
        let mut out = Vec::new();
        let there = addresses("10.0.0.1:5000", "192.0.2.7:53");
        assert_eq!(wrap(there, Transport::Udp, Ecn::Capable, b"hello", &mut out), 5);
        assert_eq!((out.len(), out[1], out[9]), (33, 2, 17));
        assert!(is_valid(&[], &out[..20]), "IPv4 header");
        assert!(is_valid(&[&out[12..20], &[0, 17, 0, 13]], &out[20..]), "UDP");
        assert_eq!(out[20..24], [0x13, 0x88, 0, 53]);
    }

    #[test]
    fn a_frame_between_families_is_ipv6_and_tcp() {
        let mut out = Vec::new();
        let there = addresses("10.0.0.1:5000", "[2001:db8::1]:80");
        wrap(there, Transport::Tcp { sequence: 0x0102_0304 }, Ecn::Experienced, &[9; 7], &mut out);
        assert_eq!((out.len(), out[0], out[1], out[6]), (67, 0x60, 0x30, 6));
        assert_eq!(out[18..24], [0xff, 0xff, 10, 0, 0, 1]);
        assert_eq!(out[44..48], [1, 2, 3, 4]);
        assert!(is_valid(&[&out[8..40], &[0, 6, 0, 27]], &out[40..]), "TCP");
    }

    #[test]
    fn what_is_too_long_is_cut() {
        let mut out = Vec::new();
        let there = addresses("10.0.0.1:5000", "10.0.0.2:80");
        let kept = wrap(there, Transport::Tcp { sequence: 0 }, Ecn::NotCapable, &[0; 100_000], &mut out);
        assert_eq!((kept, out.len()), (65_475, 65_515));
    }
}
