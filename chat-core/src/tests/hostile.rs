//! Frames that are valid one by one, from a peer that means no good.

use bytes::Bytes;
use units::{ByteCount, Timestamp};

use crate::config::{CongestionControl, TransportConfig};
use crate::connection::{
    AckContent, AckRanges, ChannelWindows, Connection, Delivery, Event, Failure, Outgoing,
};
use crate::wire::{Content, Fragment, Frame, MsgType, Order, Packet, PacketForm, PacketWriter, Priority};

const NOW: Timestamp = Timestamp::from_secs(1);

fn connection() -> Connection {
    Connection::new(Timestamp::ZERO, TransportConfig::default(), "server".into(), 0)
}

fn frame(msg_type: MsgType, packet: u64) -> Frame {
    Frame {
        msg_id: "m".into(),
        msg_type,
        sender: "mallory".into(),
        content: Content::empty_object(),
        timestamp_us: 0,
        priority: Priority::Chat,
        sequence_number: 0,
        packet,
        channel: 1,
        order: Order::Ordered,
        fragment: None,
    }
}

fn take(connection: &mut Connection, frame: Frame) {
    connection.handle_packet(NOW, Packet { frames: vec![frame], acks: Vec::new() });
}

/// Packets that leave now, in datagrams of JSON.
fn drain(connection: &mut Connection) -> Vec<Packet> {
    let mut packets = Vec::new();
    loop {
        let mut out = Vec::new();
        if connection.poll_packet(NOW, PacketWriter::new(&mut out, PacketForm::JsonList, 1189)) == 0 {
            return packets;
        }
        packets.push(Packet::decode(&Bytes::from(out)).unwrap());
        assert!(packets.len() < 1000, "it never comes to rest");
    }
}

fn piece(order: Order, sequence_number: u64, fragment: Option<Fragment>) -> Frame {
    Frame { order, sequence_number, fragment, ..frame(MsgType::Chat, sequence_number) }
}

#[test]
fn pieces_do_not_swallow_a_frame_in_order_that_stands_between_them() {
    let mut connection = connection();
    let part = |index| Some(Fragment { index, count: 3 });
    take(&mut connection, piece(Order::Ordered, 3, None));
    take(&mut connection, piece(Order::Unordered, 2, part(0)));
    take(&mut connection, piece(Order::Unordered, 4, part(2)));
    assert_eq!(connection.poll_event(), None, "neither whole nor in turn");
    connection.check();
}

#[test]
fn a_skip_over_frames_that_wait_drops_them() {
    for order in [Order::Ordered, Order::Unordered] {
        let mut connection = connection();
        take(&mut connection, piece(Order::Ordered, 2, None));
        take(&mut connection, piece(Order::Ordered, 3, None));
        let skip = Frame {
            content: Content::of(&serde_json::json!({ "bytes": 2, "count": 3 })),
            ..piece(order, 1, None)
        };
        take(&mut connection, Frame { msg_type: MsgType::Skip, ..skip });
        take(&mut connection, piece(Order::Ordered, 4, None));
        let events: Vec<_> = std::iter::from_fn(|| connection.poll_event()).collect();
        assert!(
            matches!(&events[..], [Event::Skipped { .. }, Event::Message(_)]),
            "{order:?}: 4 comes next: {events:?}"
        );
        connection.check();
    }
}

#[test]
fn holes_of_an_unordered_channel_are_bounded_and_can_still_be_filled() {
    let mut connection = connection();
    for number in 1..=600 {
        take(&mut connection, piece(Order::Unordered, 2 * number, None));
    }
    assert_eq!(connection.stats().refused_no_room, 600 - 256);
    for number in 1..=1200 {
        take(&mut connection, piece(Order::Unordered, number, None));
    }
    let messages = std::iter::from_fn(|| connection.poll_event()).count();
    assert_eq!((messages, connection.stats().refused_no_room), (1200, 600 - 256));
}

/// Takes 4,000 frames of 1,000 bytes each, twice, with an application that takes nothing in between. Returns how many
/// messages waited each time.
fn flood(config: TransportConfig, frame: impl Fn(u64) -> Frame) -> [u64; 2] {
    let mut connection = Connection::new(Timestamp::ZERO, config, "server".into(), 0);
    let content = Content::from_json("1".repeat(1000));
    let mut next = 1;
    [(); 2].map(|()| {
        for _ in 0..4000 {
            let before = connection.stats().refused_no_room;
            take(&mut connection, Frame { content: content.clone(), ..frame(next) });
            // What was refused comes again, under another number.
            next += u64::from(connection.stats().refused_no_room == before);
        }
        connection.check();
        std::iter::from_fn(|| connection.poll_event()).count() as u64
    })
}

#[test]
fn messages_in_any_order_stay_within_the_window() {
    let window = 100_000;
    for order in [Order::Ordered, Order::Unordered, Order::Latest] {
        let config = TransportConfig { receive_window: ByteCount(window), ..TransportConfig::default() };
        assert_eq!(flood(config, |number| piece(order, number, None)), [window / 1000; 2], "{order:?}");
    }
}

#[test]
fn messages_without_a_number_have_a_bound_of_their_own() {
    for packet in [0, 1] {
        let config = TransportConfig { receive_window: ByteCount(100_000), ..TransportConfig::default() };
        let unnumbered = |number| frame(MsgType::Chat, packet * number);
        // Twice the window, at 256 bytes each beside the content.
        assert_eq!(flood(config.clone(), unnumbered), [200_256 / 1256; 2], "packet {packet}");
        let bye = |number| frame(MsgType::Bye, packet * number);
        assert_eq!(flood(config, bye), [200_256 / 1256; 2], "packet {packet}");
    }
}

#[test]
fn skips_that_nobody_hears_of_are_bounded() {
    for order in [Order::Ordered, Order::Unordered] {
        let config = TransportConfig { receive_window: ByteCount(100_000), ..TransportConfig::default() };
        let heard = flood(config, |number| Frame { msg_type: MsgType::Skip, ..piece(order, number, None) });
        assert!(heard.iter().all(|&heard| (100..1000).contains(&heard)), "{order:?}: {heard:?}");
    }
}

#[test]
fn whole_messages_of_many_pieces_are_bounded_once_they_are_whole() {
    for order in [Order::Ordered, Order::Unordered] {
        let config = TransportConfig { max_message: ByteCount(10_000), ..TransportConfig::default() };
        let part = |number: u64| Fragment { index: ((number - 1) % 4) as u32, count: 4 };
        let heard = flood(config, |number| piece(order, number, Some(part(number))));
        assert_eq!(heard[0], heard[1], "{order:?}");
        // Four times the largest message and the one that goes beyond; of ordered ones the window counts the last piece.
        assert_eq!(heard[0], if order == Order::Ordered { 14 } else { 10 }, "{order:?}");
    }
}

#[test]
fn frames_that_cost_no_window_are_bounded_by_the_memory_they_take() {
    let mut connection = connection();
    let content = Content::of(&serde_json::json!({ "bytes": 0, "padding": "x".repeat(1000) }));
    // Beyond a hole at 1 in each channel, so that everything would have to be held; three channels, because one alone is
    // bounded by the numbers it may have open.
    let (channels, numbers) = (3, 16_000);
    for packet in 0..channels * numbers {
        let frame = Frame {
            content: content.clone(),
            channel: u32::try_from(packet / numbers).unwrap() + 1,
            sequence_number: packet % numbers + 2,
            ..frame(MsgType::Skip, packet + 1)
        };
        take(&mut connection, frame);
    }
    let held = channels * numbers - connection.stats().refused_no_room;
    // A skip is kept without its padding, in 256 bytes and some twenty of content.
    let bound = TransportConfig::default().receive_window.as_u64() + 16_385 * 256;
    assert!(held * 256 <= bound && held > 15_000, "{held} held");
}

fn outgoing(name: String, content: &str) -> Outgoing {
    Outgoing {
        msg_id: name.as_str().into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::of(&content),
        timestamp_us: 0,
        priority: Priority::Chat,
        channel: 1,
        delivery: Delivery::default(),
    }
}

#[test]
fn names_that_must_be_escaped_leave_room_for_their_pieces() {
    let mut connection = connection();
    connection.send(NOW, outgoing("\u{1}".repeat(64), &"x".repeat(3000))).unwrap();
    let frames: usize = drain(&mut connection).iter().map(|packet| packet.frames.len()).sum();
    assert!(frames >= 5, "{frames} pieces");
    assert!(
        std::iter::from_fn(|| connection.poll_event()).all(|event| !matches!(event, Event::Failed { .. }))
    );
}

#[test]
fn a_message_that_no_packet_holds_fails_and_holds_up_no_other() {
    let mut connection = connection();
    let key = connection
        .send(NOW, Outgoing { sender: "\u{2}".repeat(190).as_str().into(), ..outgoing("m".to_owned(), "x") })
        .unwrap();
    connection.send(NOW, outgoing("next".to_owned(), "y")).unwrap();
    let packets = drain(&mut connection);
    assert!(packets.iter().any(|packet| packet.frames.iter().any(|frame| frame.msg_id.as_str() == "next")));
    let failed = Event::Failed { key, cause: Failure::TooLong };
    assert!(std::iter::from_fn(|| connection.poll_event()).any(|event| event == failed));
}

#[test]
fn an_ack_of_numbers_too_long_for_a_packet_leaves_shortened() {
    let mut connection = connection();
    for step in (0..40).rev() {
        take(&mut connection, frame(MsgType::Heartbeat, (1 << 62) - 2 * step));
    }
    for channel in 1..=20 {
        let message =
            Frame { channel, sequence_number: 1, ..frame(MsgType::Chat, (1 << 60) + u64::from(channel)) };
        take(&mut connection, message);
    }
    while connection.poll_event().is_some() {}
    let packets = drain(&mut connection);
    assert!(packets.iter().any(|packet| packet.is(&MsgType::Ack)), "the newest ranges are told");
    assert!(connection.poll_timeout().is_none_or(|at| at > NOW), "nothing is due any more");
}

#[test]
fn acks_that_repeat_much_make_little_work() {
    const PACKETS: u64 = 900;
    let config = TransportConfig {
        congestion: CongestionControl::Fixed { segments: 10_000 },
        pacing: false,
        ..TransportConfig::default()
    };
    let mut connection = Connection::new(Timestamp::ZERO, config, "server".into(), 0);
    let ack = |connection: &mut Connection, ranges: Vec<(u64, u64)>| {
        let ranges = AckRanges::from(ranges);
        let window = Some(1 << 20);
        let ack = AckContent { ranges, window, channels: ChannelWindows::new(), delay_us: 0, ecn: None };
        connection.handle_packet(NOW, Packet { frames: Vec::new(), acks: vec![ack] });
    };
    let mut sent = 0;
    while sent < PACKETS {
        connection.send(NOW, outgoing("m".to_owned(), &"x".repeat(700))).unwrap();
        sent += drain(&mut connection).len() as u64;
        if sent == 2 {
            // Opens the window, which is small at first.
            ack(&mut connection, vec![(2, 2)]);
        }
    }
    // The first stays under way, so nothing is forgotten; each ack says little, so that the last one tells of few.
    for number in (2..=PACKETS).rev() {
        ack(&mut connection, vec![(number, number)]);
    }
    let before = connection.packets_looked_at();
    for round in 0..1_000 {
        // Wide and narrow in turn, with nothing new in either.
        ack(&mut connection, vec![(2, PACKETS - round % 5)]);
        ack(&mut connection, vec![(PACKETS, PACKETS)]);
    }
    let looks = connection.packets_looked_at() - before;
    assert!(looks < 2 * PACKETS + 4_000, "{looks} looks in 2,000 acks that said nothing new");
    connection.check();
}
