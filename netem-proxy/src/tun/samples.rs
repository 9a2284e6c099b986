//! Packets made by hand, for tests.

use super::checksum;
use super::frame::Frame;
use super::packet::{IpHeader, TCP, UDP, V6_LEN, Version, seal_v4};
use super::pool::Pool;
use super::vnet::{GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM, VnetHeader};

/// A (super)packet as Linux would hand it over, its checksum left to be filled in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) version: Version,
    pub(super) protocol: u8,
    pub(super) payload: usize,
    pub(super) segment: u16,
    pub(super) tcp_flags: u8,
    pub(super) tcp_options: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            version: Version::V4,
            protocol: TCP,
            payload: 1000,
            segment: 1000,
            tcp_flags: 0x18,
            tcp_options: 12,
        }
    }
}

pub(super) fn bytes_of(sample: &Sample) -> Vec<u8> {
    let transport_header = if sample.protocol == TCP { 20 + sample.tcp_options } else { 8 };
    let transport_length = transport_header + sample.payload;
    let mut packet = Vec::new();
    match sample.version {
        Version::V4 => {
            packet.extend([0x45, 2]);
            packet.extend(((20 + transport_length) as u16).to_be_bytes());
            packet.extend([0xff, 0xfe, 0x40, 0, 64, sample.protocol, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2]);
            seal_v4(&mut packet);
        }
        Version::V6 => {
            packet.extend([0x60, 0x20, 0, 0]);
            packet.extend((transport_length as u16).to_be_bytes());
            packet.extend([sample.protocol, 64]);
            packet.extend(1..=32);
        }
    }
    let start = packet.len();
    packet.extend([0x03, 0xe8, 0, 80]);
    if sample.protocol == TCP {
        packet.extend(0xffff_fc00_u32.to_be_bytes());
        packet.extend(7_u32.to_be_bytes());
        packet.extend([((transport_header / 4) << 4) as u8, sample.tcp_flags, 0x10, 0, 0, 0, 0, 0]);
        packet.extend(std::iter::repeat_n(1, sample.tcp_options));
    } else {
        packet.extend((transport_length as u16).to_be_bytes());
        packet.extend([0, 0]);
    }
    packet.extend((0..sample.payload).map(|at| ((at * 31) >> 3) as u8));

    let offset = if sample.protocol == TCP { 16 } else { 6 };
    let addresses = if sample.version == Version::V4 { 12..20 } else { 8..40 };
    let pseudo = checksum::pseudo_header(&packet[addresses], sample.protocol, transport_length);
    packet[start + offset..start + offset + 2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
    let gso_type = match (sample.payload > usize::from(sample.segment), sample.protocol, sample.version) {
        (false, ..) => GSO_NONE,
        (true, UDP, _) => GSO_UDP,
        (true, _, Version::V4) => GSO_TCP4,
        (true, _, Version::V6) => GSO_TCP6,
    };
    let vnet = VnetHeader {
        flags: NEEDS_CSUM,
        gso_type,
        hdr_len: 0,
        gso_size: if gso_type == GSO_NONE { 0 } else { sample.segment },
        csum_start: start as u16,
        csum_offset: offset as u16,
    };
    [vnet.to_bytes().as_slice(), &packet].concat()
}

pub(super) fn frame_from(bytes: &[u8]) -> Frame {
    let read = |buffer: &mut [u8]| {
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    };
    Frame::new(Pool::default().read(read).expect("no error"))
}

pub(super) fn frame_of(sample: &Sample) -> Frame {
    frame_from(&bytes_of(sample))
}

/// Whether length fields and both checksums of a complete packet are right.
pub(super) fn is_valid(packet: &[u8]) -> bool {
    let Some(ip) = IpHeader::parse(packet) else { return false };
    let field = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let is_header_right = match ip.version {
        Version::V4 => field(2) == packet.len() && checksum::fold(checksum::add(0, &packet[..20])) == 0xffff,
        Version::V6 => field(4) + V6_LEN == packet.len(),
    };
    let length = packet.len() - ip.transport;
    let is_length_right = ip.protocol != UDP || field(ip.transport + 4) == length;
    let pseudo = checksum::pseudo_header(&packet[ip.addresses()], ip.protocol, length);
    is_header_right
        && is_length_right
        && checksum::fold(checksum::add(pseudo, &packet[ip.transport..])) == 0xffff
}
