//! Cutting and joining superpackets, by property.

use proptest::prelude::*;

use super::checksum;
use super::frame::{Frame, Units};
use super::packet::{IpHeader, TCP, UDP, Version};
use super::samples::{Sample, bytes_of, frame_from, frame_of, is_valid};
use super::vnet::VNET_LEN;

fn samples() -> impl Strategy<Value = Sample> {
    let version = prop_oneof![Just(Version::V4), Just(Version::V6)];
    let protocol = prop_oneof![Just(TCP), Just(UDP)];
    (version, protocol, 1_usize..30_000, 200_u16..3000, any::<u8>(), 0_usize..=10).prop_map(
        |(version, protocol, payload, segment, tcp_flags, options)| Sample {
            version,
            protocol,
            payload,
            segment,
            tcp_flags,
            tcp_options: options * 4,
        },
    )
}

fn unit(frame: &Frame, number: u32, flip: Option<u64>) -> Vec<u8> {
    let mut packet = Vec::new();
    frame.materialize(number, false, flip, &mut packet);
    packet.split_off(VNET_LEN)
}

fn joined(frame: &Frame, units: Units, mark: bool) -> Frame {
    let mut bytes = Vec::new();
    let payload = frame.compose(units, mark, &mut bytes);
    bytes.extend_from_slice(payload);
    frame_from(&bytes)
}

fn u32_at(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().expect("four bytes"))
}

proptest! {
    #[test]
    fn units_are_valid_packets_and_carry_the_payload(sample in samples()) {
        let frame = frame_of(&sample);
        prop_assert_eq!(frame.count() as usize, sample.payload.div_ceil(sample.segment.into()));
        prop_assert!(!frame.is_unsplit());
        let whole = bytes_of(&sample).split_off(VNET_LEN);
        let headers = whole.len() - sample.payload;
        let mut payload = Vec::new();
        for number in 0..frame.count() {
            let packet = unit(&frame, number, None);
            prop_assert!(is_valid(&packet));
            prop_assert_eq!(packet.len() as u64, frame.meta(number).size.as_u64());
            let ip = IpHeader::parse(&packet).expect("valid");
            if ip.version == Version::V4 {
                let id = u16::from_be_bytes([packet[4], packet[5]]);
                prop_assert_eq!(id, 0xfffe_u16.wrapping_add(number as u16));
            }
            if ip.protocol == TCP {
                let sequence = 0xffff_fc00_u32.wrapping_add(payload.len() as u32);
                prop_assert_eq!(u32_at(&packet, ip.transport + 4), sequence);
                let mut flags = sample.tcp_flags;
                if number + 1 < frame.count() { flags &= !0x09 } // FIN and PSH: only the last.
                if number > 0 { flags &= !0x80 } // CWR: only the first.
                prop_assert_eq!(packet[ip.transport + 13], flags);
            }
            payload.extend_from_slice(&packet[headers..]);
        }
        prop_assert_eq!(&payload, &whole[headers..]);
    }

    #[test]
    fn a_joined_run_is_cut_into_the_same_units_again(sample in samples(), a in any::<u32>(), b in any::<u32>()) {
        let frame = frame_of(&sample);
        let (a, b) = (a % frame.count(), b % frame.count());
        let units = a.min(b)..a.max(b) + 1;
        let run = joined(&frame, units.clone(), false);
        prop_assert_eq!(run.count() as usize, units.len());
        for (number, original) in units.enumerate() {
            prop_assert_eq!(unit(&run, number as u32, None), unit(&frame, original, None));
        }
    }

    #[test]
    fn a_marked_run_stays_valid(sample in samples(), first in any::<u32>()) {
        let frame = frame_of(&sample);
        let run = joined(&frame, first % frame.count()..frame.count(), true);
        for number in 0..run.count() {
            let packet = unit(&run, number, None);
            prop_assert!(is_valid(&packet));
            prop_assert_eq!(IpHeader::parse(&packet).expect("valid").ecn, crate::link::Ecn::Experienced);
        }
    }

    #[test]
    fn a_flipped_bit_is_one_bit_and_no_receiver_takes_it(sample in samples(), number in any::<u32>(), bit in any::<u64>()) {
        let frame = frame_of(&sample);
        let number = number % frame.count();
        let bit = bit % (frame.meta(number).size.as_u64() * 8);
        let (right, wrong) = (unit(&frame, number, None), unit(&frame, number, Some(bit)));
        let flipped: u32 = right.iter().zip(&wrong).map(|(a, b)| (a ^ b).count_ones()).sum();
        prop_assert_eq!(flipped, 1);
        let ip = IpHeader::parse(&right).expect("valid");
        if bit >= ip.transport as u64 * 8 {
            prop_assert!(!is_valid(&wrong));
        }
    }

    #[test]
    fn garbage_is_carried_and_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..300), flip in any::<u64>(), gso in 0_u8..8, version in 0_u8..16) {
        if bytes.len() > VNET_LEN {
            bytes[1] = gso;
            bytes[VNET_LEN] = bytes[VNET_LEN] & 0xf | version << 4;
        }
        let frame = frame_from(&bytes);
        let mut head = Vec::new();
        prop_assert_eq!(frame.compose(0..frame.count(), false, &mut head), &bytes[..]);
        for number in 0..frame.count() {
            let _ = frame.meta(number);
            frame.materialize(number, true, Some(flip), &mut head);
            let _ = frame.compose(number..number + 1, true, &mut head);
        }
    }

    #[test]
    fn nearly_right_superpackets_never_panic(sample in samples(), at in 0_usize..80, value in any::<u8>(), cut in 0_usize..200) {
        let mut bytes = bytes_of(&sample);
        let position = at % bytes.len();
        bytes[position] = value;
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        let frame = frame_from(&bytes);
        let mut head = Vec::new();
        for number in 0..frame.count() {
            frame.materialize(number, true, Some(7), &mut head);
        }
    }
}

#[test]
fn a_superpacket_that_cannot_be_cut_is_told() {
    let mut bytes = bytes_of(&Sample { payload: 5000, ..Sample::default() });
    bytes[4..6].fill(0); // gso_size
    let frame = frame_from(&bytes);
    assert!(frame.is_unsplit() && frame.count() == 1);
}

#[test]
fn a_checksum_that_comes_out_as_zero_is_sent_as_ones() {
    // All-zero payload apart from what brings the sum to zero.
    let mut sample = Sample { protocol: UDP, payload: 2, segment: 1000, ..Sample::default() };
    sample.tcp_options = 0;
    let mut bytes = bytes_of(&sample);
    let packet = &mut bytes[VNET_LEN..];
    packet[28..30].fill(0);
    let rest = checksum::fold(checksum::add(0, &packet[20..]));
    packet[28..30].copy_from_slice(&(!rest).to_be_bytes());
    let packet = unit(&frame_from(&bytes), 0, None);
    assert_eq!(packet[26..28], [0xff, 0xff]);
    assert!(is_valid(&packet));
}
