//! What a frame and a message cost: encode, decode, and the whole way through two connections on a perfect path.

use std::time::Duration;

use chat_core::wire::{Frame, Packet, PacketForm, PacketWriter};
use chat_core::{Connection, Content, Delivery, MsgType, Outgoing, Priority, TransportConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use units::Timestamp;

fn message(number: u64) -> Outgoing {
    Outgoing {
        msg_id: format!("alice-{number}").into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::of(&serde_json::json!({ "room": "lobby", "text": "x".repeat(200) })),
        timestamp_us: 1_577_836_800_000_000,
        priority: Priority::Chat,
        channel: 2,
        delivery: Delivery::default(),
    }
}

fn frames(criterion: &mut Criterion) {
    let mut connection = Connection::new(Timestamp::ZERO, TransportConfig::default(), "alice".into(), 0);
    connection.send(Timestamp::ZERO, message(1)).expect("the queue is empty");
    let mut body = Vec::new();
    connection.poll_packet(Timestamp::ZERO, PacketWriter::new(&mut body, PacketForm::JsonBare, usize::MAX));
    let frame = Frame::decode(&body).expect("what a connection sends is sound");
    let mut group = criterion.benchmark_group("frame of 200 B text");
    group.throughput(Throughput::Elements(1));
    group.bench_function("decode", |bencher| bencher.iter(|| Frame::decode(std::hint::black_box(&body))));
    let mut out = Vec::with_capacity(1024);
    group.bench_function("encode", |bencher| {
        bencher.iter(|| {
            out.clear();
            std::hint::black_box(&frame).encode(&mut out)
        });
    });
    group.finish();
}

/// Sends one message and lets both ends settle; both pay for frames, acks and timers.
fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("two connections");
    group.throughput(Throughput::Elements(1));
    group.bench_function("message of 200 B, acknowledged", |bencher| {
        let mut now = Timestamp::ZERO;
        let ends = ["alice", "bob"];
        let mut ends = ends.map(|name| Connection::new(now, TransportConfig::default(), name.into(), 0));
        let mut number = 0;
        bencher.iter(|| {
            number += 1;
            now += Duration::from_millis(10);
            ends[0].send(now, message(number)).expect("everything before was acknowledged");
            for (from, to) in [(0, 1), (1, 0)] {
                ends[from].handle_timeout(now);
                let mut body = Vec::new();
                while ends[from]
                    .poll_packet(now, PacketWriter::new(&mut body, PacketForm::JsonBare, usize::MAX))
                    > 0
                {
                    let packet = Packet::decode(&body.into()).expect("what a connection sends is sound");
                    ends[to].handle_packet(now, packet);
                    body = Vec::new();
                }
                // An ack that waits for company leaves when its time is over.
                now += Duration::from_millis(6);
                while ends[to].poll_event().is_some() {}
            }
            while ends[0].poll_event().is_some() {}
        });
        assert!(ends[0].is_settled());
    });
    group.finish();
}

criterion_group!(benches, frames, messages);
criterion_main!(benches);
