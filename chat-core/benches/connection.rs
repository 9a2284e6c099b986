//! What a message costs on its whole way through two connections, and how much faster than real time a bad path runs.
//!
//! Everything that a shell does for a connection is in it, after every input and every deadline: packets are asked for until
//! there are none, events are taken, the next deadline is read. What belongs to the socket and the cipher is not.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use chat_core::wire::{Origin, Packet, PacketForm, PacketWriter};
use chat_core::{Connection, Content, Delivery, Event, MsgType, Outgoing, Priority, TransportConfig};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rand::RngExt;
use units::{Rng, Seed, Timestamp};

/// Two ends, the datagrams between them, and what is used again and again.
struct Path {
    now: Timestamp,
    delay: Duration,
    /// Of every hundred datagrams, in either direction.
    lost_percent: u32,
    rng: Rng,
    ends: [Connection; 2],
    /// What each end named when it had been drained.
    deadlines: [Option<Timestamp>; 2],
    origins: [Origin; 2],
    /// Datagrams from each end, with the time at which they arrive.
    ways: [VecDeque<(Timestamp, Bytes)>; 2],
    body: Vec<u8>,
    arrivals: BytesMut,
    packet: Packet,
    message: Outgoing,
    heard: u64,
}

impl Path {
    fn new(delay: Duration, lost_percent: u32) -> Self {
        let now = Timestamp::ZERO;
        let message = Outgoing {
            msg_id: "alice-1".into(),
            msg_type: MsgType::Chat,
            sender: "alice".into(),
            content: Content::of(&"x".repeat(200)),
            timestamp_us: 1_577_836_800_000_000,
            priority: Priority::Chat,
            channel: 2,
            delivery: Delivery::default(),
        };
        let names = ["alice", "bob"];
        Self {
            now,
            delay,
            lost_percent,
            rng: Seed::root(SEED).rng(),
            ends: names.map(|name| Connection::new(now, TransportConfig::default(), name.into(), 0)),
            deadlines: [None, None],
            origins: names.map(|name| Origin { name: name.into(), ..Origin::default() }),
            ways: [VecDeque::with_capacity(64), VecDeque::with_capacity(64)],
            body: Vec::with_capacity(2048),
            arrivals: BytesMut::with_capacity(65_536),
            packet: Packet::default(),
            message,
            heard: 0,
        }
    }

    /// `count` messages at once, and all that happens within `span` after it.
    fn burst(&mut self, count: u64, span: Duration) {
        for _ in 0..count {
            self.ends[0].send(self.now, self.message.clone()).expect("earlier ones were acknowledged");
        }
        self.drain(0);
        let end = self.now + span;
        while let Some(next) = self.next_at().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            for to in [1, 0] {
                let arrived = self.arrive(to);
                let is_due = self.deadlines[to].is_some_and(|deadline| deadline <= self.now);
                if is_due {
                    self.ends[to].handle_timeout(self.now);
                }
                if arrived || is_due {
                    self.drain(to);
                }
            }
        }
        self.now = end;
    }

    fn next_at(&self) -> Option<Timestamp> {
        let arrivals = self.ways.iter().filter_map(|way| way.front().map(|(at, _)| *at));
        arrivals.chain(self.deadlines.into_iter().flatten()).min()
    }

    fn arrive(&mut self, to: usize) -> bool {
        let mut any = false;
        while let Some((_, raw)) = self.ways[1 - to].pop_front_if(|(at, _)| *at <= self.now) {
            self.packet.decode_into(&raw, &self.origins[1 - to]).expect("what a connection sends is sound");
            self.ends[to].handle_packet(self.now, &mut self.packet);
            // Taken before the next packet, so that the bytes are free again.
            while let Some(event) = self.ends[to].poll_event() {
                self.heard += u64::from(matches!(event, Event::Message(_)));
            }
            any = true;
        }
        any
    }

    fn drain(&mut self, from: usize) {
        loop {
            self.body.clear();
            let writer = PacketWriter::new(&mut self.body, PacketForm::BinaryDatagram, 1185);
            if self.ends[from].poll_packet(self.now, writer.from(&self.origins[from])) == 0 {
                break;
            }
            if self.lost_percent > 0 && self.rng.random_range(0..100) < self.lost_percent {
                continue;
            }
            self.arrivals.reserve(self.body.len());
            self.arrivals.extend_from_slice(&self.body);
            self.ways[from].push_back((self.now + self.delay, self.arrivals.split().freeze()));
        }
        while let Some(event) = self.ends[from].poll_event() {
            assert!(!matches!(event, Event::Failed { .. }), "the path is not that bad");
        }
        self.deadlines[from] = self.ends[from].poll_timeout();
    }
}

/// Both ends together: one of them costs half of the time told for an element.
fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("both ends, 200 B a message, binary");
    for (name, count, span) in BURSTS {
        group.throughput(Throughput::Elements(count));
        group.bench_function(name, |bencher| {
            let mut path = Path::new(Duration::from_millis(5), 0);
            for _ in 0..WARM_UP {
                path.burst(count, span);
            }
            bencher.iter(|| path.burst(count, span));
            assert_eq!(path.ends[0].stats().retransmits, 0, "nothing gets lost");
            assert_eq!(path.heard, path.ends[0].stats().messages_out, "everything arrives");
        });
    }
    group.finish();
}

/// A minute of a lossy path, from the first packet on. Real time over this is the speed of a simulation.
fn virtual_time(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("60 s of 50 messages a second");
    group.throughput(Throughput::Elements(60 * 50));
    group.bench_function("10 % lost both ways, 50 ms each way", |bencher| {
        bencher.iter(|| {
            let mut path = Path::new(Duration::from_millis(50), 10);
            for _ in 0..60 * 50 {
                path.burst(1, Duration::from_millis(20));
            }
            assert!(path.heard > 2900, "messages arrive: {}", path.heard);
            path.heard
        });
    });
    group.finish();
}

/// How many messages at once, and how often.
const BURSTS: [(&str, u64, Duration); 2] =
    [("one each 20 ms", 1, Duration::from_millis(20)), ("32 at once", 32, Duration::from_millis(100))];
/// Until tables have their size and the window holds a burst.
const WARM_UP: u32 = 5_000;
const SEED: u64 = 1;

criterion_group!(benches, messages, virtual_time);
criterion_main!(benches);
