//! Blocks of a pcapng file (<https://datatracker.ietf.org/doc/draft-ietf-opsawg-pcapng/>), little-endian.

use crate::pacer::Direction;

/// Where a packet was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Before the link.
    In,
    /// Behind it.
    Out,
    /// Nowhere any more.
    Dropped,
}

/// One packet of a file.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    pub direction: Direction,
    pub side: Side,
    /// Nanoseconds since 1970.
    pub unix_nanos: u64,
    /// An IP packet, whole or its beginning.
    pub bytes: &'a [u8],
    /// What it had, in bytes; not less than `bytes`.
    pub original_len: usize,
    pub comment: &'a str,
}

/// Writes blocks. A file is [`begin`](Self::begin), packets, statistics.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encoder;

impl Encoder {
    /// The section header and the six interfaces.
    pub fn begin(self, out: &mut Vec<u8>) {
        block(out, SECTION_HEADER, |body| {
            body.extend(BYTE_ORDER_MAGIC.to_le_bytes());
            body.extend(1_u16.to_le_bytes());
            body.extend(0_u16.to_le_bytes());
            // The length of the section is not known yet.
            body.extend(u64::MAX.to_le_bytes());
            option(body, SHB_USER_APPLICATION, concat!("netem-proxy ", env!("CARGO_PKG_VERSION")).as_bytes());
            end_of_options(body);
        });
        for (direction, side) in INTERFACES {
            block(out, INTERFACE_DESCRIPTION, |body| {
                body.extend(LINKTYPE_RAW.to_le_bytes());
                body.extend(0_u16.to_le_bytes());
                body.extend(SNAP_LENGTH.to_le_bytes());
                option(body, IF_NAME, name(direction, side).as_bytes());
                option(body, IF_DESCRIPTION, description(direction, side).as_bytes());
                option(body, IF_TIMESTAMP_RESOLUTION, &[9]);
                end_of_options(body);
            });
        }
    }

    /// One packet.
    pub fn packet(self, packet: &Packet<'_>, out: &mut Vec<u8>) {
        block(out, ENHANCED_PACKET, |body| {
            body.extend(interface(packet.direction, packet.side).to_le_bytes());
            timestamp(body, packet.unix_nanos);
            for length in [packet.bytes.len(), packet.original_len] {
                body.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
            }
            padded(body, packet.bytes);
            option(body, COMMENT, packet.comment.as_bytes());
            let direction: u32 = if packet.side == Side::In { INBOUND } else { OUTBOUND };
            option(body, EPB_FLAGS, &direction.to_le_bytes());
            end_of_options(body);
        });
    }

    /// Statistics of one interface: packets seen there, and those that are missing from the file.
    pub fn statistics(
        self,
        (direction, side): (Direction, Side),
        unix_nanos: u64,
        seen: u64,
        lost: u64,
        out: &mut Vec<u8>,
    ) {
        block(out, INTERFACE_STATISTICS, |body| {
            body.extend(interface(direction, side).to_le_bytes());
            timestamp(body, unix_nanos);
            option(body, ISB_RECEIVED, &seen.to_le_bytes());
            option(body, ISB_DROPPED, &lost.to_le_bytes());
            end_of_options(body);
        });
    }
}

/// In the order of their numbers.
pub(super) const INTERFACES: [(Direction, Side); 6] = [
    (Direction::Up, Side::In),
    (Direction::Up, Side::Out),
    (Direction::Up, Side::Dropped),
    (Direction::Down, Side::In),
    (Direction::Down, Side::Out),
    (Direction::Down, Side::Dropped),
];

pub(super) fn interface(direction: Direction, side: Side) -> u32 {
    let base = match direction {
        Direction::Up => 0,
        Direction::Down => 3,
    };
    base + match side {
        Side::In => 0,
        Side::Out => 1,
        Side::Dropped => 2,
    }
}

fn name(direction: Direction, side: Side) -> &'static str {
    match (direction, side) {
        (Direction::Up, Side::In) => "up in",
        (Direction::Up, Side::Out) => "up out",
        (Direction::Up, Side::Dropped) => "up dropped",
        (Direction::Down, Side::In) => "down in",
        (Direction::Down, Side::Out) => "down out",
        (Direction::Down, Side::Dropped) => "down dropped",
    }
}

fn description(direction: Direction, side: Side) -> String {
    let way = match direction {
        Direction::Up => "client to server",
        Direction::Down => "server to client",
    };
    match side {
        Side::In => format!("{way}, before the link"),
        Side::Out => format!("{way}, behind the link"),
        Side::Dropped => format!("{way}, dropped by the link"),
    }
}

/// Type, length, body, length again.
fn block(out: &mut Vec<u8>, kind: u32, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend(kind.to_le_bytes());
    out.extend([0; 4]);
    body(out);
    let length = u32::try_from(out.len() - start + 4).expect("blocks are cut at the snap length");
    out.extend(length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&length.to_le_bytes());
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = &value[..value.len().min(usize::from(u16::MAX))];
    out.extend(code.to_le_bytes());
    out.extend(u16::try_from(value.len()).expect("cut above").to_le_bytes());
    padded(out, value);
}

fn end_of_options(out: &mut Vec<u8>) {
    out.extend([0; 4]);
}

/// To a multiple of four bytes.
fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes);
    out.extend(std::iter::repeat_n(0, bytes.len().next_multiple_of(4) - bytes.len()));
}

/// High half first.
fn timestamp(out: &mut Vec<u8>, unix_nanos: u64) {
    out.extend(((unix_nanos >> 32) as u32).to_le_bytes());
    out.extend((unix_nanos as u32).to_le_bytes());
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const INTERFACE_DESCRIPTION: u32 = 1;
const INTERFACE_STATISTICS: u32 = 5;
const ENHANCED_PACKET: u32 = 6;

const COMMENT: u16 = 1;
const SHB_USER_APPLICATION: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TIMESTAMP_RESOLUTION: u16 = 9;
const EPB_FLAGS: u16 = 2;
const ISB_RECEIVED: u16 = 4;
const ISB_DROPPED: u16 = 5;

const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// IPv4 or IPv6, as the first four bits say, with nothing around it.
const LINKTYPE_RAW: u16 = 101;

/// The longest IPv4 packet.
pub(super) const SNAP_LENGTH: u32 = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_block_is_laid_out_as_the_draft_says() {
        let mut out = Vec::new();
        let packet = Packet {
            direction: Direction::Down,
            side: Side::In,
            unix_nanos: 0x1122_3344_5566_7788,
            bytes: &[0x45, 1, 2, 3, 4],
            original_len: 9,
            comment: "hello",
        };
        Encoder.packet(&packet, &mut out);
        let expected: Vec<u8> = [
            &[6, 0, 0, 0, 64, 0, 0, 0][..],
            &[3, 0, 0, 0],
            &[0x44, 0x33, 0x22, 0x11, 0x88, 0x77, 0x66, 0x55],
            &[5, 0, 0, 0, 9, 0, 0, 0],
            &[0x45, 1, 2, 3, 4, 0, 0, 0],
            &[1, 0, 5, 0, b'h', b'e', b'l', b'l', b'o', 0, 0, 0],
            &[2, 0, 4, 0, 1, 0, 0, 0],
            &[0, 0, 0, 0],
            &[64, 0, 0, 0],
        ]
        .concat();
        assert_eq!(out, expected);
    }

    #[test]
    fn a_file_begins_with_its_magic_and_six_interfaces() {
        let mut out = Vec::new();
        Encoder.begin(&mut out);
        assert_eq!(out[..4], [0x0a, 0x0d, 0x0d, 0x0a]);
        assert_eq!(out[8..12], [0x4d, 0x3c, 0x2b, 0x1a]);
        let (mut rest, mut interfaces) = (&out[..], 0);
        while !rest.is_empty() {
            let kind = u32::from_le_bytes(rest[..4].try_into().expect("four"));
            let length = u32::from_le_bytes(rest[4..8].try_into().expect("four")) as usize;
            assert!(length.is_multiple_of(4));
            assert_eq!(rest[length - 4..length], rest[4..8]);
            interfaces += u32::from(kind == INTERFACE_DESCRIPTION);
            rest = &rest[length..];
        }
        assert_eq!(interfaces, 6);
        for (number, (direction, side)) in (0..).zip(INTERFACES) {
            assert_eq!(interface(direction, side), number);
        }
    }
}
