//! Thin flows with copies, at a bottleneck shared with others: what copies may take, and that they stop when a queue
//! grows.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use units::{Bitrate, ByteCount, Rng, Seed, Timestamp};

use super::MS;
use crate::carrier::Carrier;
use crate::config::{BundleConfig, CongestionControl, Redundancy, TransportConfig};
use crate::connection::{Connection, Delivery, Event, Outgoing};
use crate::wire::{Content, MsgType, Packet, Priority};

#[test]
fn a_bundled_flow_takes_no_more_than_half_beside_a_bulk_flow() {
    for congestion in [CongestionControl::Cubic, CongestionControl::Reno] {
        // Two round trips of 50 ms at the bottleneck's rate, but at least ten packets.
        for (rate, queue) in [(10_000_000, 125_000), (500_000, 12_000)] {
            let what = format!("{congestion:?} at {rate} bit/s");
            let flows = vec![Flow::bulk(congestion), Flow::chat(congestion, 20 * MS)];
            let mut lab = Lab::new(rate, queue, flows);
            lab.run_until(Timestamp::from_secs(10));
            let before: Vec<u64> = lab.flows.iter().map(|flow| flow.passed).collect();
            let copied_before = lab.flows[1].sender().stats().redundant_bytes;
            lab.run_until(Timestamp::from_secs(40));
            let passed: Vec<u64> =
                lab.flows.iter().zip(before).map(|(flow, before)| flow.passed - before).collect();
            let share = passed[1] as f64 / (passed[0] + passed[1]) as f64;
            assert!(share <= 0.5, "{what}: the thin flow has {share} of it");
            let copied = lab.flows[1].sender().stats().redundant_bytes - copied_before;
            let copied_share = copied as f64 / passed[1] as f64;
            if rate == 500_000 {
                assert!(copied_share < 0.25, "{what}: {copied_share} are copies in spite of the queue");
            }
        }
    }
}

#[test]
fn ten_bundled_flows_do_not_drive_each_other_into_collapse() {
    // 25 messages a second of some 290 bytes are 58 kbit/s for each: with a copy of everything more than there is.
    let flows = (0..10).map(|_| Flow::chat(CongestionControl::Cubic, 40 * MS)).collect();
    let mut lab = Lab::new(1_000_000, 25_000, flows);
    lab.run_until(Timestamp::from_secs(40));
    for flow in &mut lab.flows {
        let (said, heard) = (flow.said as usize, flow.latencies.len());
        assert!(heard * 100 >= said * 98, "{heard} of {said} arrived");
        flow.latencies.sort_unstable();
        let p99 = flow.latencies[heard * 99 / 100];
        assert!(p99 < 500 * MS, "the 99th percentile is {p99:?}");
    }
}

/// Two ends of one flow.
struct Flow {
    ends: [Connection; 2],
    carriers: [Carrier; 2],
    /// Time between messages; zero: there is always one.
    spacing: Duration,
    said: u64,
    next_at: Timestamp,
    /// Bytes that passed the bottleneck.
    passed: u64,
    latencies: Vec<Duration>,
}

impl Flow {
    fn new(congestion: CongestionControl, redundancy: Redundancy, spacing: Duration) -> Self {
        let config = TransportConfig { congestion, redundancy, ..TransportConfig::default() };
        let end = |name: &str| Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0);
        let mut carriers = [Carrier::datagram(1), Carrier::datagram(1)];
        carriers[0].speak_binary("a".into(), "b".into());
        carriers[1].speak_binary("b".into(), "a".into());
        let ends = [end("a"), end("b")];
        Self { ends, carriers, spacing, said: 0, next_at: Timestamp::ZERO, passed: 0, latencies: vec![] }
    }

    fn bulk(congestion: CongestionControl) -> Self {
        Self::new(congestion, Redundancy::Off, Duration::ZERO)
    }

    fn chat(congestion: CongestionControl, spacing: Duration) -> Self {
        Self::new(congestion, Redundancy::Bundle(BundleConfig::default()), spacing)
    }

    fn sender(&self) -> &Connection {
        &self.ends[0]
    }

    fn deadline(&self) -> Option<Timestamp> {
        let said = (!self.spacing.is_zero()).then_some(self.next_at);
        self.ends.iter().filter_map(Connection::poll_timeout).chain(said).min()
    }

    fn speak(&mut self, now: Timestamp) {
        if self.spacing.is_zero() {
            while self.ends[0].unacked_messages() < BACKLOG {
                self.send(now, 950, Priority::Bulk);
            }
        }
        while !self.spacing.is_zero() && self.next_at <= now {
            self.send(now, 200, Priority::Chat);
            self.next_at += self.spacing;
        }
    }

    fn send(&mut self, now: Timestamp, size: usize, priority: Priority) {
        self.said += 1;
        let message = Outgoing {
            msg_id: self.said.to_string().into(),
            msg_type: MsgType::Chat,
            sender: "a".into(),
            content: Content::of(&"x".repeat(size)),
            timestamp_us: now.as_micros(),
            priority,
            channel: 1,
            delivery: Delivery::default(),
        };
        self.ends[0].send(now, message).expect("the backlog is below the bounds");
    }
}

struct Parcel {
    flow: usize,
    bytes: Bytes,
    arrives: Timestamp,
}

/// Flows through one queue that drops at its tail; the way back only takes time. One packet of thirty gets lost behind the
/// queue, so that copies pay.
struct Lab {
    now: Timestamp,
    flows: Vec<Flow>,
    rate: Bitrate,
    queue: Duration,
    busy_until: Timestamp,
    ways: [VecDeque<Parcel>; 2],
    rng: Rng,
}

impl Lab {
    fn new(rate: u64, queue: u64, flows: Vec<Flow>) -> Self {
        let rate = Bitrate::from_bits_per_second(rate).expect("not zero");
        Self {
            now: Timestamp::ZERO,
            flows,
            rate,
            queue: rate.transmit_time(ByteCount(queue)),
            busy_until: Timestamp::ZERO,
            ways: [VecDeque::new(), VecDeque::new()],
            rng: Seed::root(SEED).rng(),
        }
    }

    fn run_until(&mut self, end: Timestamp) {
        loop {
            // 1. Wait for the earliest of arrivals, messages and deadlines.
            let arrivals = self.ways.iter().filter_map(|way| way.front().map(|parcel| parcel.arrives));
            let deadlines = self.flows.iter().filter_map(Flow::deadline);
            let next = arrivals.chain(deadlines).min().expect("a heartbeat is always ahead").max(self.now);
            if next > end {
                return;
            }
            self.now = next;
            // 2. Feed what is due.
            for to in [1, 0] {
                self.arrive(to);
            }
            for flow in &mut self.flows {
                flow.speak(next);
                for end in &mut flow.ends {
                    end.handle_timeout(next);
                }
            }
            // 3. Drain.
            for index in 0..self.flows.len() {
                self.drain(index);
            }
        }
    }

    fn arrive(&mut self, to: usize) {
        let now = self.now;
        while let Some(parcel) = self.ways[1 - to].pop_front_if(|parcel| parcel.arrives <= now) {
            let flow = &mut self.flows[parcel.flow];
            let mut packets = Vec::new();
            flow.carriers[to].receive(&parcel.bytes, &mut packets).expect("nothing is damaged");
            for packet in packets {
                let mut frames = Packet::default();
                flow.carriers[to].decode_into(&packet, &mut frames).expect("nothing is damaged");
                flow.ends[to].handle_packet(now, frames);
            }
        }
    }

    fn drain(&mut self, index: usize) {
        let now = self.now;
        for from in 0..2 {
            loop {
                let flow = &mut self.flows[index];
                let Some(bytes) = flow.carriers[from].poll_transmit(now, &mut flow.ends[from]) else {
                    break;
                };
                self.transmit(from, Parcel { flow: index, bytes, arrives: now + DELAY });
            }
            let flow = &mut self.flows[index];
            while let Some(event) = flow.ends[from].poll_event() {
                if let Event::Message(message) = event {
                    let said_at = Duration::from_micros(message.timestamp_us);
                    flow.latencies.push(now.since(Timestamp::ZERO).saturating_sub(said_at));
                }
            }
        }
    }

    fn transmit(&mut self, from: usize, mut parcel: Parcel) {
        if from == 0 {
            let start = self.busy_until.max(self.now);
            if start.since(self.now) > self.queue {
                return;
            }
            let size = parcel.bytes.len() as u64 + IP_AND_UDP_BYTES;
            self.busy_until = start + self.rate.transmit_time(ByteCount(size));
            self.flows[parcel.flow].passed += size;
            if self.rng.random_range(0..LOSE_ONE_OF) == 0 {
                return;
            }
            parcel.arrives = self.busy_until + DELAY;
        }
        self.ways[from].push_back(parcel);
    }
}

const SEED: u64 = 1;
const DELAY: Duration = Duration::from_millis(25);
const LOSE_ONE_OF: u32 = 30;
const IP_AND_UDP_BYTES: u64 = 28;
/// More than any window here.
const BACKLOG: usize = 400;
