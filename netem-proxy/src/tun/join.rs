//! Packets that a kernel had cut already, written as one superpacket.
//!
//! What a network card does on receiving ("generic receive offload"): packets of one flow that come one behind the
//! other, and differ in nothing but what counts up, are handed to the stack at once, with the length of a piece beside
//! them. Nothing is lost by it: cut again, the superpacket gives the packets it was made of, byte for byte (but for
//! an identification of IPv4 that is unused). Each packet has met its own fate in the link before, and none waits here
//! for another.
//!
//! A packet is joined only if its checksum is right, or was left to be filled in by a sender on this machine: the
//! receiving kernel does not look at it again.

use super::checksum;
use super::frame::Frame;
use super::packet::{IpHeader, TCP, UDP, V4_LEN, V6_LEN, Version, seal_v4};
use super::vnet::{GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM, VNET_LEN, VnetHeader};

/// What may be joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Joining {
    pub tcp: bool,
    /// Kernels take joined UDP from Linux 6.2 on.
    pub udp: bool,
}

/// Several packets, ready to be written as one.
#[derive(Debug)]
pub struct Train {
    /// As the first packet came, with the payload of the others behind it.
    bytes: Vec<u8>,
    first: Car,
    count: u32,
    /// The last one was shorter than the others, or said that it is the last.
    is_closed: bool,
}

/// A packet that could be one of several.
#[derive(Clone, Copy, Debug)]
struct Car {
    version: Version,
    protocol: u8,
    /// Where the transport header begins.
    transport: usize,
    /// Length of all headers.
    headers: usize,
    payload: usize,
    /// FIN or PSH of TCP: nothing may follow.
    is_last: bool,
}

impl Train {
    /// Joins two packets, if the second one continues the first.
    #[must_use]
    pub fn couple(first: &Frame, second: &Frame, joining: Joining) -> Option<Self> {
        if first.flow() != second.flow() {
            return None;
        }
        let car = Car::find(first, joining)?;
        // Looked at before anything is copied: most packets that cannot be joined are found out here.
        let next = Car::find(second, joining)?;
        if car.is_last || !car.is_continued_by(first.packet(), 1, next, second.packet()) {
            return None;
        }
        if !car.is_intact(first) || !next.is_intact(second) {
            return None;
        }
        let mut bytes = Vec::with_capacity(VNET_LEN + MAX_PACKET);
        bytes.resize(VNET_LEN, 0);
        bytes.extend_from_slice(first.packet());
        let mut train = Self { bytes, first: car, count: 1, is_closed: false };
        train.take(next, second.packet());
        Some(train)
    }

    /// Takes one more packet, if it continues the last.
    pub fn append(&mut self, next: &Frame, joining: Joining) -> bool {
        if self.is_closed || self.count == MAX_CARS {
            return false;
        }
        let Some(car) = Car::find(next, joining) else { return false };
        let fits = self.bytes.len() - VNET_LEN + car.payload <= MAX_PACKET
            && self.first.is_continued_by(&self.bytes[VNET_LEN..], self.count, car, next.packet())
            && car.is_intact(next);
        if fits {
            self.take(car, next.packet());
        }
        fits
    }

    /// Packets in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The bytes to write: the headers into `head`, and after them the payload returned.
    pub fn compose<'a>(&'a self, head: &mut Vec<u8>) -> &'a [u8] {
        let Car { version, protocol, transport, headers, payload, .. } = self.first;
        let length = self.bytes.len() - VNET_LEN;
        let (gso_type, field) = match (protocol, version) {
            (UDP, _) => (GSO_UDP, UDP_CHECKSUM),
            (_, Version::V4) => (GSO_TCP4, TCP_CHECKSUM),
            (_, Version::V6) => (GSO_TCP6, TCP_CHECKSUM),
        };
        let vnet = VnetHeader {
            flags: NEEDS_CSUM,
            gso_type,
            hdr_len: headers as u16,
            gso_size: payload as u16,
            csum_start: transport as u16,
            csum_offset: field as u16,
        };
        head.clear();
        head.extend_from_slice(&vnet.to_bytes());
        head.extend_from_slice(&self.bytes[VNET_LEN..VNET_LEN + headers]);
        let packet = &mut head[VNET_LEN..];
        match version {
            Version::V4 => {
                packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                seal_v4(packet);
            }
            Version::V6 => packet[4..6].copy_from_slice(&((length - V6_LEN) as u16).to_be_bytes()),
        }
        if protocol == UDP {
            packet[transport + 4..transport + 6]
                .copy_from_slice(&((length - transport) as u16).to_be_bytes());
        }
        let sum = checksum::pseudo_header(&packet[addresses(version)], protocol, length - transport);
        packet[transport + field..][..2].copy_from_slice(&checksum::fold(sum).to_be_bytes());
        &self.bytes[VNET_LEN + headers..]
    }

    fn take(&mut self, car: Car, packet: &[u8]) {
        self.bytes.extend_from_slice(&packet[car.headers..]);
        self.count += 1;
        self.is_closed = car.is_last || car.payload < self.first.payload;
        if car.is_last {
            // FIN and PSH of a superpacket are those of its last piece.
            self.bytes[VNET_LEN + car.transport + 13] |= packet[car.transport + 13] & (FIN | PSH);
        }
    }
}

impl Car {
    /// `None` for what stands alone: superpackets, fragments, options and extension headers of IP, no payload, flags of
    /// TCP that mean more than "here is data", UDP without a checksum, lengths that disagree.
    fn find(frame: &Frame, joining: Joining) -> Option<Self> {
        let (packet, vnet) = (frame.packet(), frame.vnet());
        if vnet.gso_type != GSO_NONE {
            return None;
        }
        let ip = IpHeader::parse(packet)?;
        let (plain, length) = match ip.version {
            Version::V4 => (V4_LEN, usize::from(u16_at(packet, 2)?)),
            Version::V6 => (V6_LEN, usize::from(u16_at(packet, 4)?) + V6_LEN),
        };
        let transport = ip.transport;
        if transport != plain || length != packet.len() || ip.is_fragment {
            return None;
        }
        let (headers, is_last) = match ip.protocol {
            TCP if joining.tcp => {
                let flags = *packet.get(transport + 13)?;
                let words = usize::from(packet[transport + 12] >> 4);
                if words < 5 || flags & ACK == 0 || flags & (SYN | RST | URG | CWR) != 0 {
                    return None;
                }
                (transport + words * 4, flags & (FIN | PSH) != 0)
            }
            UDP if joining.udp => {
                let is_summed = u16_at(packet, transport + UDP_CHECKSUM)? != 0 || vnet.needs_checksum();
                let is_sane = usize::from(u16_at(packet, transport + 4)?) == length - transport;
                (is_summed && is_sane).then_some((transport + 8, false))?
            }
            _ => return None,
        };
        let payload = packet.len().checked_sub(headers).filter(|&payload| payload > 0)?;
        Some(Self { version: ip.version, protocol: ip.protocol, transport, headers, payload, is_last })
    }

    /// Whether `next` is the packet that follows `count` like this one, which stands in `packet`.
    fn is_continued_by(self, packet: &[u8], count: u32, next: Self, next_packet: &[u8]) -> bool {
        let Self { version, protocol, transport, headers, payload, .. } = self;
        let is_like = (version, protocol, transport, headers)
            == (next.version, next.protocol, next.transport, next.headers)
            && next.payload <= payload;
        if !is_like {
            return false;
        }
        let (a, b) = (&packet[..headers], &next_packet[..headers]);
        let is_same_ip = match version {
            Version::V4 => {
                let (old, new) = (u16::from_be_bytes([a[4], a[5]]), u16::from_be_bytes([b[4], b[5]]));
                // The number counts up, unless it means nothing (RFC 6864 section 4.1: "don't fragment" is set) and
                // the sender leaves it at zero, as Linux does in UDP without a connection.
                let is_unused = protocol == UDP && a[6] & DONT_FRAGMENT != 0 && old == 0 && new == 0;
                a[..2] == b[..2]
                    && a[6..10] == b[6..10]
                    && a[12..20] == b[12..20]
                    && (is_unused || new == old.wrapping_add(count as u16))
            }
            Version::V6 => a[..4] == b[..4] && a[6..V6_LEN] == b[6..V6_LEN],
        };
        let (a, b) = (&a[transport..], &b[transport..]);
        let is_same_transport = match protocol {
            UDP => a[..4] == b[..4],
            _ => {
                let offset = (payload as u32).wrapping_mul(count);
                let (old, new) = (u32_at(a, 4), u32_at(b, 4));
                a[..4] == b[..4]
                    && new == old.wrapping_add(offset)
                    && a[8..13] == b[8..13]
                    && a[13] & !(FIN | PSH) == b[13] & !(FIN | PSH)
                    && a[14..TCP_CHECKSUM] == b[14..TCP_CHECKSUM]
                    && a[18..] == b[18..]
            }
        };
        is_same_ip && is_same_transport
    }

    /// Whether its checksum is right, or is to be filled in.
    fn is_intact(self, frame: &Frame) -> bool {
        let (packet, vnet) = (frame.packet(), frame.vnet());
        if self.version == Version::V4 && checksum::fold(checksum::add(0, &packet[..V4_LEN])) != 0xffff {
            return false;
        }
        if vnet.needs_checksum() {
            let field = if self.protocol == UDP { UDP_CHECKSUM } else { TCP_CHECKSUM };
            return usize::from(vnet.csum_start) == self.transport && usize::from(vnet.csum_offset) == field;
        }
        let length = packet.len() - self.transport;
        let pseudo = checksum::pseudo_header(&packet[addresses(self.version)], self.protocol, length);
        checksum::fold(checksum::add(pseudo, &packet[self.transport..])) == 0xffff
    }
}

fn addresses(version: Version) -> std::ops::Range<usize> {
    match version {
        Version::V4 => 12..20,
        Version::V6 => 8..40,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;
const CWR: u8 = 0x80;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const DONT_FRAGMENT: u8 = 0x40;

/// The longest packet whose length fits the header of IPv4.
const MAX_PACKET: usize = 65_535;

/// What kernels before 6.9 take at most in UDP; TCP of the usual MTU is 45 in 64 KiB.
const MAX_CARS: u32 = 64;
