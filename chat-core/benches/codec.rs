//! What one message costs to write and to read in either codec, and how many bytes it takes: alone in its packet, and as
//! one of three. And whether the sum of a body that many recipients share is worth keeping.

use std::hint::black_box;

use bytes::Bytes;
use chat_core::wire::{Origin, Packet, PacketForm, PacketWriter};
use chat_core::{Content, Frame, MsgType, Order, Priority};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};

const FORMS: [(&str, PacketForm); 2] =
    [("json", PacketForm::JsonList), ("binary", PacketForm::BinaryDatagram)];

fn line(number: u64) -> Frame {
    Frame {
        msg_id: format!("alice-{number}").into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::of(&serde_json::json!({ "room": "lobby", "text": "x".repeat(174) })),
        timestamp_us: 1_795_258_600_000_000 + 20_000 * number,
        priority: Priority::Chat,
        sequence_number: number,
        packet: 9000,
        channel: 2,
        order: Order::Ordered,
        fragment: None,
    }
}

fn write(out: &mut Vec<u8>, form: PacketForm, origin: &Origin, frames: &[Frame]) -> usize {
    out.clear();
    let mut writer = PacketWriter::new(out, form, usize::MAX).from(origin);
    for frame in frames {
        assert!(writer.put(frame), "nothing limits it");
    }
    writer.finish()
}

/// From the server, so that the binary codec has a sender to write.
fn codecs(criterion: &mut Criterion) {
    let origin = Origin { name: "server".into(), ..Origin::default() };
    let lines = [line(8001), line(8002), line(8003)];
    for count in [1, 3] {
        let mut group = criterion.benchmark_group(format!("{count} of 200 B content in a packet"));
        group.throughput(Throughput::Elements(count as u64));
        for (name, form) in FORMS {
            let frames = &lines[..count];
            let mut out = Vec::with_capacity(2048);
            let bytes = write(&mut out, form, &origin, frames);
            eprintln!("{name}: {count} frames of 200 B content take {bytes} bytes");
            group.bench_function(format!("{name} encode"), |bencher| {
                let mut out = Vec::with_capacity(2048);
                bencher.iter(|| write(&mut out, form, &origin, black_box(frames)));
            });
            let raw = Bytes::from(out);
            group.bench_function(format!("{name} decode"), |bencher| {
                let mut packet = Packet::default();
                bencher.iter(|| packet.decode_into(black_box(&raw), &origin));
            });
        }
        group.finish();
    }
}

/// The sum of a shared body: made again by each recipient's packet, or kept and combined with that of the header.
fn shared_sum(criterion: &mut Criterion) {
    let (header, body) = ([7_u8; 24], [42_u8; 200]);
    let kept = crc32c::crc32c(&body);
    let mut group = criterion.benchmark_group("sum of a packet with a shared body of 200 B");
    group.bench_function("summed again", |bencher| {
        bencher.iter(|| crc32c::crc32c_append(crc32c::crc32c(black_box(&header)), black_box(&body)));
    });
    group.bench_function("combined", |bencher| {
        bencher
            .iter(|| crc32c::crc32c_combine(crc32c::crc32c(black_box(&header)), black_box(kept), body.len()));
    });
    group.finish();
}

criterion_group!(benches, codecs, shared_sum);
criterion_main!(benches);
