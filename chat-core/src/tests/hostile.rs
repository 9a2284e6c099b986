//! Frames that are valid one by one, from a peer that means no good.

use bytes::Bytes;
use units::Timestamp;

use crate::config::TransportConfig;
use crate::connection::Connection;
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
        if connection.poll_packet(NOW, PacketWriter::new(&mut out, PacketForm::JsonList, 1165)) == 0 {
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
