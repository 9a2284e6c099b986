//! Joining packets, by property: cut again, a superpacket gives what it was made of.

use proptest::prelude::*;

use super::frame::Frame;
use super::join::{Joining, Train};
use super::packet::{TCP, UDP, Version};
use super::samples::{Sample, frame_from, frame_of};
use super::vnet::VNET_LEN;

const ALL: Joining = Joining { tcp: true, udp: true };

fn samples() -> impl Strategy<Value = Sample> {
    let version = prop_oneof![Just(Version::V4), Just(Version::V6)];
    let protocol = prop_oneof![Just(TCP), Just(UDP)];
    let tcp_flags = prop_oneof![Just(0x10), Just(0x18), Just(0x11), Just(0x50)];
    (version, protocol, 2_u16..60, 200_u16..1000, 0_usize..200, tcp_flags, 0_usize..=10).prop_map(
        |(version, protocol, count, segment, less, tcp_flags, options)| Sample {
            version,
            protocol,
            payload: usize::from(count) * usize::from(segment) - less,
            segment,
            tcp_flags,
            tcp_options: options * 4,
        },
    )
}

/// Each packet of a superpacket as it looks on a wire, its checksum complete.
fn wire(frame: &Frame) -> Vec<Vec<u8>> {
    let unit = |number| {
        let mut packet = Vec::new();
        frame.materialize(number, false, None, &mut packet);
        packet
    };
    (0..frame.count()).map(unit).collect()
}

fn join(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let frames: Vec<Frame> = packets.iter().map(|packet| frame_from(packet)).collect();
    let mut written = Vec::new();
    let mut rest = &frames[..];
    while let [first, behind @ ..] = rest {
        rest = behind;
        let Some(mut train) = behind.first().and_then(|second| Train::couple(first, second, ALL)) else {
            written.push([&[0; VNET_LEN], first.packet()].concat());
            continue;
        };
        rest = &rest[1..];
        while rest.first().is_some_and(|next| train.append(next, ALL)) {
            rest = &rest[1..];
        }
        let mut bytes = Vec::new();
        let payload = train.compose(&mut bytes);
        bytes.extend_from_slice(payload);
        written.push(bytes);
    }
    written
}

fn cut(written: &[Vec<u8>]) -> Vec<Vec<u8>> {
    written.iter().flat_map(|bytes| wire(&frame_from(bytes))).collect()
}

/// Without the identification, where that is unused: UDP of IPv4 that is not to be fragmented.
fn unnumbered(mut packet: Vec<u8>) -> Vec<u8> {
    if packet[VNET_LEN] == 0x45 && packet[VNET_LEN + 6] & 0x40 != 0 && packet[VNET_LEN + 9] == UDP {
        packet[VNET_LEN + 4..VNET_LEN + 6].fill(0);
        packet[VNET_LEN + 10..VNET_LEN + 12].fill(0);
    }
    packet
}

proptest! {
    #[test]
    fn what_was_cut_is_joined_and_cut_into_the_same(sample in samples()) {
        let packets = wire(&frame_of(&sample));
        let written = join(&packets);
        prop_assert_eq!(written.len(), 1);
        prop_assert!(!frame_from(&written[0]).is_unsplit());
        prop_assert_eq!(cut(&written), packets);
    }

    /// Whatever is lost, doubled, exchanged or changed: no byte that goes in comes out otherwise.
    #[test]
    fn nothing_is_changed_by_joining(
        sample in samples(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
        at in 0_usize..100, value in any::<u8>(), which in any::<prop::sample::Index>(),
    ) {
        let all = wire(&frame_of(&sample));
        let mut packets: Vec<Vec<u8>> = order.iter().map(|index| index.get(&all).clone()).collect();
        let packet = which.index(packets.len());
        if let Some(byte) = packets[packet].get_mut(VNET_LEN + at) {
            *byte = value;
        }
        let out: Vec<_> = cut(&join(&packets)).into_iter().map(unnumbered).collect();
        let packets: Vec<_> = packets.into_iter().map(unnumbered).collect();
        prop_assert_eq!(out, packets);
    }

    #[test]
    fn the_same_in_their_order_with_one_changed(sample in samples(), at in 0_usize..300, value in any::<u8>(), which in any::<prop::sample::Index>()) {
        let mut packets = wire(&frame_of(&sample));
        let packet = which.index(packets.len());
        if let Some(byte) = packets[packet].get_mut(VNET_LEN + at) {
            *byte = value;
        }
        let out = cut(&join(&packets));
        prop_assert_eq!(out, packets);
    }

    #[test]
    fn garbage_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120), version in 0_u8..16, protocol in prop_oneof![Just(TCP), Just(UDP)]) {
        if bytes.len() > VNET_LEN + 9 {
            bytes[..VNET_LEN].fill(0);
            bytes[VNET_LEN] = 5 | version << 4;
            bytes[VNET_LEN + 9] = protocol;
        }
        let frame = frame_from(&bytes);
        let _ = Train::couple(&frame, &frame, ALL);
    }
}

#[test]
fn a_wrong_checksum_stands_alone() {
    let mut packets = wire(&frame_of(&Sample { payload: 3000, ..Sample::default() }));
    assert_eq!(join(&packets).len(), 1);
    *packets[1].last_mut().expect("payload") ^= 1;
    assert_eq!(join(&packets).len(), 3);
}

#[test]
fn datagrams_without_a_number_are_joined_and_without_a_checksum_are_not() {
    let mut packets = wire(&frame_of(&Sample { protocol: UDP, payload: 3000, ..Sample::default() }));
    for packet in &mut packets {
        packet[VNET_LEN + 4..VNET_LEN + 6].fill(0);
        super::packet::seal_v4(&mut packet[VNET_LEN..]);
    }
    assert_eq!(join(&packets).len(), 1);
    packets[1][VNET_LEN + 26..VNET_LEN + 28].fill(0);
    assert_eq!(join(&packets).len(), 3);
}

#[test]
fn what_may_not_be_joined_is_not() {
    let pair = |protocol| {
        let packets = wire(&frame_of(&Sample { protocol, payload: 2000, ..Sample::default() }));
        [frame_from(&packets[0]), frame_from(&packets[1])]
    };
    let ([tcp, tcp_next], [udp, udp_next]) = (pair(TCP), pair(UDP));
    assert!(Train::couple(&tcp, &tcp_next, Joining { tcp: true, udp: false }).is_some());
    assert!(Train::couple(&udp, &udp_next, Joining { tcp: true, udp: false }).is_none());
    assert!(Train::couple(&tcp, &tcp_next, Joining::default()).is_none());
}
