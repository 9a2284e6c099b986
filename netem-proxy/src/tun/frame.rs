//! What one read from a TUN device brings: a packet, or a superpacket that stands for many.
//!
//! A kernel that may leave segmentation to the device hands over up to 64 KiB at once. To a link this is some forty
//! packets, each with a fate of its own. So a frame keeps the bytes as they came, once, and a unit is a number in
//! it: deciding costs no copy. What comes out of the link in a row is written in one piece again, with headers made
//! for exactly the units that survived ([`Frame::compose`]); a frame that nothing happened to goes out as it came in.
//!
//! The pieces are those the kernel itself would make (TCP: RFC 9293 section 3.1, as segmented by Linux): the IP
//! identification counts up, FIN and PSH belong to the last piece, CWR to the first. A checksum that was left to be
//! filled in stays so, with the length of the new piece; only a damaged packet is completed first, so that its
//! receiver can notice.

use std::ops::Range;

use units::ByteCount;

use super::checksum;
use super::packet::{IpHeader, V6_LEN, Version, mark_congestion, seal_v4};
use super::pool::Buffer;
use super::vnet::{GSO_ECN, GSO_NONE, GSO_TCP4, GSO_TCP6, GSO_UDP, NEEDS_CSUM, VNET_LEN, VnetHeader};
use crate::link::{Ecn, Meta, flip_bit};

/// A packet or superpacket with its [`VnetHeader`] before it.
#[derive(Debug)]
pub struct Frame {
    buffer: Buffer,
    vnet: VnetHeader,
    shape: Shape,
    flow: u64,
    ecn: Ecn,
}

/// How a frame is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// One packet, whatever it is.
    Whole,
    Segments(Segments),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segments {
    version: Version,
    kind: Kind,
    /// Where the transport header begins in the packet.
    transport: usize,
    /// Length of all headers, repeated in each unit.
    headers: usize,
    /// Payload of each unit but the last, which may have less.
    payload: usize,
    count: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Units of one frame, next to each other.
pub type Units = Range<u32>;

impl Frame {
    /// Takes what was read. A superpacket that makes no sense is one unit; [`is_unsplit`](Self::is_unsplit) tells.
    ///
    /// `buffer` begins with the header of [`VNET_LEN`] bytes; one that is shorter is an empty packet.
    #[must_use]
    pub fn new(buffer: Buffer) -> Self {
        let vnet = VnetHeader::parse(buffer.bytes()).unwrap_or_default();
        let packet = buffer.bytes().get(VNET_LEN..).unwrap_or_default();
        let header = IpHeader::parse(packet);
        let shape =
            header.and_then(|ip| Segments::find(vnet, ip, packet)).map_or(Shape::Whole, Shape::Segments);
        let flow = header.map_or(0, |ip| ip.flow(packet));
        let ecn = header.map_or(Ecn::NotCapable, |ip| ip.ecn);
        Self { vnet, shape, flow, ecn, buffer }
    }

    /// How many packets this is to a link; at least 1.
    #[must_use]
    pub fn count(&self) -> u32 {
        match self.shape {
            Shape::Whole => 1,
            Shape::Segments(segments) => segments.count,
        }
    }

    /// What the link is told of one unit; its size is that of the IP packet.
    #[must_use]
    pub fn meta(&self, unit: u32) -> Meta {
        let size = match self.shape {
            Shape::Whole => self.packet().len(),
            Shape::Segments(segments) => {
                segments.headers + segments.payload_of(&(unit..unit + 1), self.packet().len()).len()
            }
        };
        Meta { size: ByteCount(size as u64), flow: self.flow, ecn: self.ecn }
    }

    /// Whether this is a superpacket that could not be cut, and so meets one fate as a whole.
    #[must_use]
    pub fn is_unsplit(&self) -> bool {
        self.vnet.gso_type & !GSO_ECN != GSO_NONE && self.shape == Shape::Whole
    }

    /// The bytes to write for `units`: the header made into `head`, and after it the payload returned.
    ///
    /// `mark` sets "congestion experienced" in all of them.
    pub fn compose<'a>(&'a self, units: Units, mark: bool, head: &mut Vec<u8>) -> &'a [u8] {
        head.clear();
        let is_all = units.len() == self.count() as usize;
        match self.shape {
            _ if is_all && !mark => self.buffer.bytes(),
            Shape::Segments(segments) => {
                let payload = segments.payload_of(&units, self.packet().len());
                self.head_of(segments, units, payload.len(), head);
                if mark {
                    mark_congestion(&mut head[VNET_LEN..]);
                }
                &self.packet()[payload]
            }
            Shape::Whole => {
                head.extend_from_slice(self.buffer.bytes());
                if mark && head.len() > VNET_LEN {
                    mark_congestion(&mut head[VNET_LEN..]);
                }
                &[]
            }
        }
    }

    /// One unit as it looks on a wire, with its checksum complete, behind an empty [`VnetHeader`].
    ///
    /// `flip` names a bit to turn over, counted from the first of the IP header.
    pub fn materialize(&self, unit: u32, mark: bool, flip: Option<u64>, packet: &mut Vec<u8>) {
        let payload = self.compose(unit..unit + 1, mark, packet);
        packet.extend_from_slice(payload);
        let Some(vnet) = VnetHeader::parse(packet) else { return };
        packet[..VNET_LEN].fill(0);
        let bytes = &mut packet[VNET_LEN..];
        complete_checksum(vnet, bytes);
        if let Some(bit) = flip {
            flip_bit(bytes, bit);
        }
    }

    /// A number for the flow it belongs to ([`IpHeader::flow`]).
    #[must_use]
    pub fn flow(&self) -> u64 {
        self.flow
    }

    /// Bytes that were read, the [`VnetHeader`] among them.
    #[must_use]
    pub fn length(&self) -> usize {
        self.buffer.bytes().len()
    }

    pub(super) fn vnet(&self) -> VnetHeader {
        self.vnet
    }

    pub(super) fn packet(&self) -> &[u8] {
        self.buffer.bytes().get(VNET_LEN..).unwrap_or_default()
    }

    fn head_of(&self, segments: Segments, units: Units, payload: usize, head: &mut Vec<u8>) {
        let Segments { transport, headers, .. } = segments;
        let is_several = units.len() > 1;
        let gso_type = match (is_several, units.start) {
            (false, _) => GSO_NONE,
            (true, 0) => self.vnet.gso_type,
            (true, _) => self.vnet.gso_type & !GSO_ECN,
        };
        let vnet = VnetHeader {
            gso_type,
            gso_size: if is_several { self.vnet.gso_size } else { 0 },
            hdr_len: headers as u16,
            ..self.vnet
        };
        head.extend_from_slice(&vnet.to_bytes());
        head.extend_from_slice(&self.packet()[..headers]);
        let packet = &mut head[VNET_LEN..];
        let length = headers + payload;
        match segments.version {
            Version::V4 => {
                packet[2..4].copy_from_slice(&(length as u16).to_be_bytes());
                add_16(&mut packet[4..6], units.start as u16);
                seal_v4(packet);
            }
            Version::V6 => packet[4..6].copy_from_slice(&((length - V6_LEN) as u16).to_be_bytes()),
        }
        match segments.kind {
            Kind::Tcp => {
                let offset = (segments.payload as u32).wrapping_mul(units.start);
                add_32(&mut packet[transport + 4..transport + 8], offset);
                if units.end < segments.count {
                    packet[transport + 13] &= !(FIN | PSH);
                }
                if units.start > 0 {
                    packet[transport + 13] &= !CWR;
                }
            }
            Kind::Udp => {
                let length = (length - transport) as u16;
                packet[transport + 4..transport + 6].copy_from_slice(&length.to_be_bytes());
            }
        }
        let (field, protocol) = match segments.kind {
            Kind::Tcp => (transport + TCP_CHECKSUM, super::packet::TCP),
            Kind::Udp => (transport + UDP_CHECKSUM, super::packet::UDP),
        };
        let addresses = match segments.version {
            Version::V4 => 12..20,
            Version::V6 => 8..40,
        };
        let sum = checksum::pseudo_header(&packet[addresses], protocol, length - transport);
        packet[field..field + 2].copy_from_slice(&checksum::fold(sum).to_be_bytes());
    }
}

impl Segments {
    /// How to cut a superpacket, if it is one and its headers agree with what it says.
    fn find(vnet: VnetHeader, ip: IpHeader, packet: &[u8]) -> Option<Self> {
        let kind = match (vnet.gso_type & !GSO_ECN, ip.version) {
            (GSO_TCP4, Version::V4) | (GSO_TCP6, Version::V6) => Kind::Tcp,
            (GSO_UDP, _) => Kind::Udp,
            _ => return None,
        };
        let transport = ip.transport;
        let (protocol, checksum, headers) = match kind {
            Kind::Tcp => {
                let words = packet.get(transport + 12)? >> 4;
                (super::packet::TCP, TCP_CHECKSUM, transport + usize::from(words.max(5)) * 4)
            }
            Kind::Udp => (super::packet::UDP, UDP_CHECKSUM, transport + 8),
        };
        let is_sane = ip.protocol == protocol
            && !ip.is_fragment
            && vnet.flags & NEEDS_CSUM != 0
            && usize::from(vnet.csum_start) == transport
            && usize::from(vnet.csum_offset) == checksum
            && vnet.gso_size > 0
            && packet.len() > headers
            && packet.len() <= MAX_PACKET;
        let payload = usize::from(vnet.gso_size);
        let count = is_sane.then(|| (packet.len() - headers).div_ceil(payload))?;
        let count = u32::try_from(count).ok().filter(|&count| count <= MAX_UNITS)?;
        Some(Self { version: ip.version, kind, transport, headers, payload, count })
    }

    /// Where the payload of `units` stands in a packet of this length.
    fn payload_of(&self, units: &Units, packet: usize) -> Range<usize> {
        let at = |unit: u32| (self.headers + self.payload * unit as usize).min(packet);
        at(units.start)..at(units.end)
    }
}

/// Fills in what [`NEEDS_CSUM`] asks for.
fn complete_checksum(vnet: VnetHeader, packet: &mut [u8]) {
    let start = usize::from(vnet.csum_start);
    let field = start + usize::from(vnet.csum_offset);
    if !vnet.needs_checksum() || field + 2 > packet.len() {
        return;
    }
    // The field itself holds the sum of the pseudo header, so it is summed with the rest.
    let sum = !checksum::fold(checksum::add(0, &packet[start..]));
    // In UDP zero means "no checksum" (RFC 768); the other zero of ones' complement says the same to TCP.
    let sum = if sum == 0 { 0xffff } else { sum };
    packet[field..field + 2].copy_from_slice(&sum.to_be_bytes());
}

fn add_16(field: &mut [u8], add: u16) {
    let value = u16::from_be_bytes([field[0], field[1]]).wrapping_add(add);
    field.copy_from_slice(&value.to_be_bytes());
}

fn add_32(field: &mut [u8], add: u32) {
    let value = u32::from_be_bytes([field[0], field[1], field[2], field[3]]).wrapping_add(add);
    field.copy_from_slice(&value.to_be_bytes());
}

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;
const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;

/// The longest packet whose length fits its header. IPv6 counts without its 40 bytes, but Linux does not go beyond.
const MAX_PACKET: usize = 65_535;

/// 64 KiB in pieces of 16 bytes; Linux cuts no TCP finer than 48 and no UDP into more than 128. More is nonsense.
const MAX_UNITS: u32 = 4096;
