//! The binary codec against the JSON one, and against bytes that no encoder wrote.

use proptest::prelude::*;

use super::*;
use crate::connection::{AckRanges, MAX_CHANNEL_WINDOWS};
use crate::wire::datagram::{SHORT_HEADER_BYTES, put_short_header};
use crate::wire::{EcnCounts, Fragment, PacketForm, PacketWriter};

fn chat(sequence: u64, text: &str) -> Frame {
    Frame {
        msg_id: format!("alice-{sequence}").into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::of(&serde_json::json!({ "room": "lobby", "text": text })),
        timestamp_us: 1_795_258_600_000_000 + 20_000 * sequence,
        priority: Priority::Chat,
        sequence_number: sequence,
        packet: 300,
        channel: 2,
        order: Order::Ordered,
        fragment: None,
    }
}

fn origin(name: &str) -> Origin {
    Origin { name: name.into(), protection: Protection::Checksum }
}

/// One packet of these frames, all of which must fit.
fn encoded(frames: &[Frame], origin: &Origin) -> Bytes {
    let mut out = Vec::new();
    let mut writer = PacketWriter::new(&mut out, PacketForm::BinaryDatagram, usize::MAX).from(origin);
    let mut is_numbered = false;
    for frame in frames {
        let number = if frame.packet == 0 || is_numbered { 0 } else { varint::len(frame.packet) };
        is_numbered |= frame.packet != 0;
        let expected = writer.len() + writer.frame_len(frame) + number;
        assert!(writer.put(frame), "{frame:?}");
        // An ack that came as a frame is written shorter.
        assert!(writer.len() == expected || frame.msg_type == MsgType::Ack && writer.len() < expected);
    }
    let length = writer.len();
    assert_eq!(writer.finish(), length, "the length is known before the end");
    out.into()
}

fn decoded(raw: &Bytes, origin: &Origin) -> Result<Packet, DecodeError> {
    let mut packet = Packet::default();
    packet.decode_into(raw, origin).map(|()| packet)
}

fn through_json(frame: &Frame) -> Frame {
    let mut body = Vec::new();
    frame.encode(&mut body);
    Frame::decode(&body).unwrap()
}

fn ranges_of(packets: impl Iterator<Item = u64>) -> AckRanges {
    let mut ranges = AckRanges::default();
    for packet in packets {
        ranges.insert(packet);
    }
    ranges
}

/// Sums a packet that was changed.
fn resum(packet: &mut [u8]) {
    let end = packet.len() - SUM_BYTES;
    let sum = crc32c::crc32c(&packet[..end]);
    packet[end..].copy_from_slice(&sum.to_be_bytes());
}

#[test]
fn three_messages_of_200_bytes_fit_700_with_all_headers() {
    let content = chat(1, &"x".repeat(200 - r#"{"room":"lobby","text":""}"#.len())).content;
    assert_eq!(content.len(), 200);
    let frames = [8001, 8002, 8003].map(|number| Frame { content: content.clone(), ..chat(number, "") });
    let sized = |frames: &[Frame], origin: &Origin| {
        let mut datagram = Vec::new();
        put_short_header(&mut datagram, 7);
        datagram.len() + encoded(frames, origin).len()
    };
    let alice = origin("alice");
    let one = sized(&frames[..1], &alice);
    // Type, length (2), flags, channel, sequence (2), time (7), id (3) and content; header, form, number (2) and sum.
    assert_eq!(one, 16 + 17 + 200);
    let three = sized(&frames, &alice);
    assert_eq!(three, 16 + 17 + 2 * 13 + 600);
    assert!(28 + three <= 700);
    // From the server the name of whoever speaks comes on top, once.
    assert_eq!(sized(&frames, &origin("server")), three + 1 + 5);
}

#[test]
fn a_packet_of_one_ack_is_small() {
    let ranges = ranges_of((1..=5).chain([7]).chain(9..=12));
    let ack = AckContent {
        ranges,
        window: Some(1_060_000),
        channels: Default::default(),
        delay_us: 1800,
        ecn: None,
    };
    let mut out = Vec::new();
    let mut writer = PacketWriter::new(&mut out, PacketForm::BinaryDatagram, 1000);
    assert!(writer.put_ack(&ack, &"alice".into(), 0));
    assert_eq!(writer.finish(), 20);
    let packet = decoded(&out.into(), &Origin::default()).unwrap();
    assert_eq!((packet.acks, packet.frames), (vec![ack], vec![]));
}

#[test]
fn what_is_decoded_stays_where_it_arrived() {
    let raw = encoded(&[chat(1, "one"), chat(2, "two")], &origin("alice"));
    let range = raw.as_ptr_range();
    for frame in decoded(&raw, &origin("alice")).unwrap().frames {
        let content = frame.content.as_bytes().as_ptr_range();
        assert!(range.start <= content.start && content.end <= range.end);
        assert!(!range.contains(&frame.content.detached().as_bytes().as_ptr()));
    }
}

#[test]
fn a_small_content_keeps_no_large_packet() {
    let raw = encoded(&[chat(1, "small"), chat(2, &"x".repeat(4000))], &origin("alice"));
    let frames = decoded(&raw, &origin("alice")).unwrap().frames;
    let within = |frame: &Frame| raw.as_ptr_range().contains(&frame.content.as_bytes().as_ptr());
    assert_eq!([within(&frames[0]), within(&frames[1])], [false, true]);
}

#[test]
fn any_flipped_bit_is_noticed() {
    let raw = encoded(&[chat(1, "one"), chat(2, "two")], &origin("alice"));
    for bit in 0..raw.len() * 8 {
        let mut damaged = raw.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(decoded(&damaged.into(), &origin("alice")).is_err(), "bit {bit}");
    }
}

#[test]
fn a_wrong_sum_names_the_packet() {
    let mut raw = encoded(&[chat(1, "one")], &origin("alice")).to_vec();
    raw[30] ^= 1;
    assert!(matches!(decoded(&raw.into(), &origin("alice")), Err(DecodeError::Checksum { packet: 300, .. })));
}

#[test]
fn every_cut_packet_is_refused() {
    let raw = encoded(&[chat(1, "one"), chat(2, "two")], &origin("alice"));
    for end in 0..raw.len() {
        assert!(decoded(&raw.slice(..end), &origin("alice")).is_err(), "cut to {end}");
        // With a right sum the cut is found in the frames, unless it is between them.
        let mut cut = raw[..end.max(8)].to_vec();
        cut.extend_from_slice(&[0; SUM_BYTES]);
        resum(&mut cut);
        match decoded(&cut.into(), &origin("alice")) {
            Ok(packet) => assert!(packet.frames.len() < 2 || end == raw.len() - SUM_BYTES, "cut to {end}"),
            Err(error) => assert!(matches!(error, DecodeError::Malformed(_)), "{error}"),
        }
    }
}

#[test]
fn a_checksum_is_left_out_only_inside_a_cipher() {
    let cipher = Origin { protection: Protection::Cipher, ..origin("alice") };
    let (plain, sealed) = (encoded(&[chat(1, "x")], &origin("alice")), encoded(&[chat(1, "x")], &cipher));
    assert_eq!(sealed.len() + SUM_BYTES, plain.len());
    assert_eq!(decoded(&sealed, &cipher).unwrap().frames, [chat(1, "x")]);
    assert_eq!(decoded(&plain, &cipher).unwrap().frames, [chat(1, "x")]);
    assert!(decoded(&sealed, &origin("alice")).is_err());
    assert!(Packet::is_whole(&plain) && !Packet::is_whole(&sealed) && !Packet::is_whole(&plain[..20]));
}

#[test]
fn frames_of_a_later_protocol_are_passed_over_and_types_kept() {
    let mut raw = encoded(&[chat(1, "one")], &origin("alice")).to_vec();
    raw.truncate(raw.len() - SUM_BYTES);
    raw.extend_from_slice(&[0x33, 3, 1, 2, 3, 0xc0, 1, 9, PADDING, PADDING]);
    // A message whose type has no number here: all of its body is readable.
    raw.extend_from_slice(&[0x7e, 7, 1, 2, 2, 0, 0, b'{', b'}']);
    raw.extend_from_slice(&[0; SUM_BYTES]);
    resum(&mut raw);
    let frames = decoded(&raw.into(), &origin("alice")).unwrap().frames;
    assert_eq!(frames.len(), 2);
    assert_eq!(frames[1].msg_type, MsgType::Unknown("type-0x7e".into()));
    assert_eq!((frames[1].sequence_number, frames[1].channel, frames[1].packet), (2, 2, 300));
}

#[test]
fn numbers_beyond_their_bounds_are_refused() {
    // Flags, then: channel of 33 bits; overlong sequence; msg_id of 65 bytes; type name of 65; fragment 1 of 1.
    let bodies: [&[u8]; 7] = [
        &[1, 0x80, 0x80, 0x80, 0x80, 0x10, 1, 0, 0, b'1'],
        &[1, 0, 0x81, 0x00, 0, 0, b'1'],
        &[&[1, 0, 1, 0, 0x84, 0x02][..], &[b'x'; 70]].concat(),
        &[1, 0, 1, 0, 3, b'1'],
        &[0x11, 0, 1, 0, 0, 1, 1, b'1'],
        &[0x61, 0, 1, 0, 0, b'1'],
        &[0x0d, 0, 1, 0, 0, b'1'],
    ];
    for body in bodies {
        let mut raw = vec![FORM | NUMBERED | SUMMED, 5, 0x42, u8::try_from(body.len()).unwrap()];
        raw.extend_from_slice(body);
        raw.extend_from_slice(&[0; SUM_BYTES]);
        resum(&mut raw);
        assert!(matches!(decoded(&raw.into(), &origin("a")), Err(DecodeError::Malformed(_))), "{body:?}");
    }
    for ack in [
        &[0, 5, 0, 0, 5][..],
        &[0, 5, 0, 1, 1, 3, 0],
        &[0, 5, 0, 0x80, 2, 0],
        &[1, 5, 0, 0, 1],
        &[2, 5, 0, 0, 1, 65],
        &[],
    ] {
        assert_eq!(ack::read(ack), None, "{ack:?}");
    }
}

#[test]
fn a_packet_has_one_number_and_frames_without_one() {
    let mut out = Vec::new();
    let mut writer = PacketWriter::new(&mut out, PacketForm::BinaryDatagram, 1000);
    let unnumbered = Frame { packet: 0, sequence_number: 0, ..chat(1, "loose") };
    assert!(writer.put(&unnumbered));
    assert!(writer.put(&chat(1, "one")));
    assert!(!writer.put(&Frame { packet: 301, ..chat(2, "two") }));
    assert!(writer.put(&unnumbered));
    writer.pad_to(500);
    assert_eq!(writer.finish(), 500);
    let frames = decoded(&out.into(), &Origin::default()).unwrap().frames;
    assert_eq!(frames, [unnumbered.clone(), chat(1, "one"), unnumbered]);
}

#[test]
fn a_stream_packs_short_frames_and_leaves_long_ones_alone() {
    for (text, expected) in [("x".repeat(100), 8), ("x".repeat(3000), 1)] {
        let (mut out, alice) = (Vec::new(), origin("alice"));
        let mut writer = PacketWriter::new(&mut out, PacketForm::BinaryStream, 1 << 20).from(&alice);
        let put = (1..).take_while(|&number| writer.put(&chat(number, &text))).count();
        assert_eq!(put, expected);
        assert_eq!(writer.finish(), out.len());
    }
    const { assert!(SHORT_HEADER_BYTES < crate::wire::datagram::HEADER_BYTES) };
}

fn msg_type() -> impl Strategy<Value = MsgType> {
    let unknown = "dance[a-z]{0,20}".prop_map(|name| MsgType::Unknown(name.into()));
    prop_oneof![
        9 => (0x40u8..0x56).prop_map(|code| MsgType::from_code(code).expect("all are given")),
        1 => unknown,
    ]
}

prop_compose! {
    fn any_frame(packet: u64)(
        msg_type in msg_type(),
        sender in prop_oneof![Just("alice".to_owned()), Just("server".to_owned()), ".{0,20}"],
        id in prop_oneof![
            any::<u64>().prop_map(|number| number.to_string()), "0[0-9]{0,3}", "[a-z]{0,64}", Just("!".to_owned()),
        ],
        id_number: u64,
        text in ".{0,200}",
        numbers: (u64, u32, u64),
        shift in (0u32..64, 0u32..32, 0u32..64),
        is_numbered: bool,
        priority in 0u8..3,
        order in prop_oneof![Just(Order::Ordered), Just(Order::Unordered), Just(Order::Latest)],
        fragment in proptest::option::of((0u32..5, 0u32..10).prop_map(|(index, more)| {
            Fragment { index, count: index + 1 + more }
        })),
    ) -> Frame {
        let content = if fragment.is_some() { Content::from_json(text) } else { Content::of(&text) };
        let id = if id == "!" { format!("{}-{}", sender, id_number >> shift.0) } else { id };
        let id = if id.len() > 64 { String::new() } else { id };
        Frame {
            msg_id: id.into(), msg_type, sender: sender.into(), content,
            // Exact in the seconds of the JSON codec.
            timestamp_us: (numbers.2 >> shift.2) % 4_000_000_000_000_000,
            priority: Priority::from_number(priority),
            sequence_number: numbers.0 >> shift.0, packet: if is_numbered { packet } else { 0 },
            channel: numbers.1 >> shift.1, order, fragment,
        }
    }
}

fn any_frames() -> impl Strategy<Value = Vec<Frame>> {
    (1u64..=u64::MAX, 0u32..64)
        .prop_flat_map(|(number, shift)| proptest::collection::vec(any_frame((number >> shift).max(1)), 1..6))
}

prop_compose! {
    fn any_ack()(
        packets in proptest::collection::btree_set(1u64..200, 1..60),
        above: u64, shift in 8u32..64, window in proptest::option::of(any::<u64>()), delay_us: u64,
        ecn in proptest::option::of(any::<[u64; 3]>()),
        channels in proptest::collection::vec(any::<(u32, u64)>(), 0..=MAX_CHANNEL_WINDOWS),
    ) -> AckContent {
        let ranges = ranges_of(packets.into_iter().map(|packet| packet + (above >> shift)));
        let ecn = ecn.map(EcnCounts::from);
        AckContent { ranges, window, channels: channels.into(), delay_us, ecn }
    }
}

proptest! {
    /// Whatever JSON carries, the binary codec carries, and nothing of it differs.
    #[test]
    fn both_codecs_carry_the_same_frames(frames in any_frames(), own in "(alice|server|bob)?") {
        let origin = origin(&own);
        let packet = decoded(&encoded(&frames, &origin), &origin).unwrap();
        let expected: Vec<Frame> = frames.iter().map(through_json).collect();
        prop_assert_eq!(packet.frames, expected);
    }

    #[test]
    fn both_codecs_carry_the_same_acks(ack in any_ack(), name in "[a-z]{0,10}") {
        let mut outs = [vec![], vec![]];
        for (out, form) in outs.iter_mut().zip([PacketForm::JsonBare, PacketForm::BinaryDatagram]) {
            let mut writer = PacketWriter::new(out, form, usize::MAX);
            prop_assert!(writer.put_ack(&ack, &name.as_str().into(), 5_000_000));
            prop_assert!(writer.finish() > 0);
        }
        let [json, binary] = outs;
        let frame = Packet::decode(&json.into()).unwrap().frames.remove(0);
        prop_assert_eq!(&frame.content.parse::<AckContent>().unwrap(), &ack);
        prop_assert_eq!(Packet::decode(&binary.into()).unwrap().acks, vec![ack.clone()]);
        // An ack that comes as a frame, as from a test or a bridge, is written as an ack.
        let raw = encoded(&[frame], &origin(""));
        prop_assert_eq!(Packet::decode(&raw).unwrap().acks, vec![ack]);
    }

    #[test]
    fn no_bytes_make_decoding_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), first in 0u8..8) {
        if let Some(form) = bytes.first_mut() {
            *form = first;
        }
        let cipher = Origin { protection: Protection::Cipher, ..Origin::default() };
        let _ = decoded(&bytes.clone().into(), &cipher);
        if bytes.len() > SUM_BYTES {
            bytes[0] |= SUMMED;
            resum(&mut bytes);
        }
        let _ = decoded(&bytes.into(), &origin("x"));
    }

    /// A sound packet with some bytes changed and a right sum: read or refused, and what is read can be written again.
    #[test]
    fn what_is_read_can_be_written(
        frames in any_frames(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let origin = origin("alice");
        let mut raw = encoded(&frames, &origin).to_vec();
        for (at, byte) in changes {
            let at = at.index(raw.len());
            raw[at] = byte;
        }
        raw[0] |= SUMMED;
        resum(&mut raw);
        if let Ok(packet) = decoded(&raw.into(), &origin) {
            let frames = packet.frames;
            if !frames.is_empty() {
                prop_assert_eq!(decoded(&encoded(&frames, &origin), &origin).unwrap().frames, frames);
            }
        }
    }

    #[test]
    fn a_reused_packet_reads_as_a_new_one(first in any_frames(), second in any_frames()) {
        let mut packet = Packet::default();
        packet.decode_into(&encoded(&first, &origin("")), &Origin::default()).unwrap();
        let second = encoded(&second, &origin(""));
        packet.decode_into(&second, &Origin::default()).unwrap();
        prop_assert_eq!(&packet, &Packet::decode(&second).unwrap());
        prop_assert!(packet.decode_into(&Bytes::from_static(&[9]), &Origin::default()).is_err());
        prop_assert_eq!(packet, Packet::default());
    }
}
