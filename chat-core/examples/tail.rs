//! How late the latest messages of a thin stream are, and what it costs to have them earlier, in virtual time.
//!
//! ```text
//! cargo run --release -p chat-core --example tail -- [MESSAGES [SEEDS [CONGESTION [json]]]]
//! ```
//! Messages of 200 bytes in the binary codec, 50 ms one way, 10 % of the packets lost in both directions: independently, or in bursts of three
//! on average (Gilbert–Elliott). Each row is one kind of redundancy; seeds are paired, so rows met the same losses as long
//! as they sent the same packets. Bytes count everything forward, acks excluded, with 28 bytes of UDP and IPv4 headers a
//! datagram.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::wire::Packet;
use chat_core::{
    BundleConfig, Connection, Content, Delivery, Event, MsgType, Outgoing, Priority, Redundancy,
    TransportConfig,
};
use rand::RngExt;
use units::{Rng, Seed, Timestamp};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| match arguments.next().map(|text| text.parse()) {
        None => default,
        Some(Ok(number)) => number,
        Some(Err(_)) => usage(),
    };
    let (messages, seeds) = (number(15_000), number(5));
    let congestion = arguments.next().map_or_else(
        || TransportConfig::default().congestion,
        |text| text.parse().unwrap_or_else(|_| usage()),
    );
    let is_json = arguments.next().is_some_and(|codec| codec == "json");
    println!(
        "{messages} messages, {seeds} seeds, {congestion:?}, {}",
        if is_json { "json" } else { "binary" }
    );
    println!("loss    order      spacing  redundancy  p50 ms  p99 ms (worst)  p99.9 ms   B/message  rescued");
    let kinds = [
        ("off", Redundancy::Off),
        ("twice", Redundancy::Twice),
        ("bundle", Redundancy::Bundle(BundleConfig::default())),
    ];
    for (loss, mean_burst) in [("iid", 1), ("bursts", 3)] {
        for (order, delivery) in [("ordered", Delivery::default()), ("unordered", Delivery::UNORDERED)] {
            for spacing_ms in [20, 250] {
                for (name, redundancy) in kinds {
                    let spacing = Duration::from_millis(spacing_ms);
                    let count = if spacing_ms == 20 { messages } else { messages / 5 };
                    let runs: Vec<Run> = (1..=seeds)
                        .map(|seed| {
                            let config =
                                TransportConfig { congestion, redundancy, ..TransportConfig::default() };
                            run(config, delivery, spacing, count, mean_burst, is_json, seed)
                        })
                        .collect();
                    let all: Vec<u64> = runs.iter().flat_map(|run| run.latencies.iter().copied()).collect();
                    let worst = runs.iter().map(|run| percentile(&run.latencies, 990)).max().unwrap_or(0);
                    let bytes = runs.iter().map(|run| run.bytes).sum::<u64>() / (count * seeds);
                    let rescued = runs.iter().map(|run| run.rescued).sum::<u64>();
                    println!(
                        "{loss:<8}{order:<11}{spacing_ms:>4} ms  {name:<10}{:>8}{:>8} {:>8}{:>10}{bytes:>12}{rescued:>9}",
                        percentile(&all, 500) / 1000,
                        percentile(&all, 990) / 1000,
                        format!("({})", worst / 1000),
                        percentile(&all, 999) / 1000,
                    );
                }
            }
        }
    }
}

fn usage() -> ! {
    eprintln!("error: write MESSAGES, SEEDS and a controller, as in: tail 15000 5 fixed:32");
    std::process::exit(2);
}

struct Run {
    /// Microseconds from when each message was said.
    latencies: Vec<u64>,
    bytes: u64,
    rescued: u64,
}

fn run(
    config: TransportConfig,
    delivery: Delivery,
    spacing: Duration,
    count: u64,
    mean_burst: u64,
    is_json: bool,
    seed: u64,
) -> Run {
    let seed = Seed::root(seed);
    let mut ends = ["a", "b"].map(|name| End {
        connection: Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0),
        carrier: Carrier::datagram(7),
        wire: VecDeque::new(),
        loss: Loss::new(mean_burst, seed.fork(name).rng()),
        bytes: 0,
    });
    if !is_json {
        let [a, b] = &mut ends;
        a.carrier.speak_binary("a".into(), "b".into());
        b.carrier.speak_binary("b".into(), "a".into());
    }
    let mut latencies = vec![];
    let mut said = 0;
    let mut now = Timestamp::ZERO;
    let end = Timestamp::ZERO + spacing * u32::try_from(count).expect("a few thousand messages") + DRAIN;
    loop {
        // 1. Wait for the earliest of messages, arrivals and deadlines.
        let next_said =
            (said < count).then(|| Timestamp::ZERO + spacing * u32::try_from(said).unwrap_or(u32::MAX));
        let arrivals = ends.iter().filter_map(|end| end.wire.front().map(|&(at, _)| at));
        let deadlines = ends.iter().filter_map(|end| end.connection.poll_timeout());
        let next = arrivals.chain(deadlines).chain(next_said).min().unwrap_or(end).max(now);
        if next >= end || latencies.len() as u64 == count {
            break;
        }
        now = next;
        // 2. Feed what is due.
        if next_said.is_some_and(|at| at <= now) {
            ends[0].connection.send(now, message(now, said, delivery)).expect("far below the bounds");
            said += 1;
        }
        for end in &mut ends {
            while let Some((_, bytes)) = end.wire.pop_front_if(|&mut (at, _)| at <= now) {
                let mut packets = Vec::new();
                end.carrier.receive(&bytes, &mut packets).expect("what was sent is sound");
                for packet in packets {
                    let mut frames = Packet::default();
                    end.carrier.decode_into(&packet, &mut frames).expect("nothing is damaged");
                    let packet = frames;
                    end.connection.handle_packet(now, packet);
                }
            }
            end.connection.handle_timeout(now);
        }
        // 3. Drain, and act on the outputs.
        for from in 0..2 {
            while let Some(bytes) = ends[from].poll(now) {
                if !ends[from].loss.next() {
                    ends[1 - from].wire.push_back((now + DELAY, bytes));
                }
            }
            while let Some(event) = ends[from].connection.poll_event() {
                if let Event::Message(message) = event {
                    latencies.push((now.as_micros()).saturating_sub(message.timestamp_us));
                }
            }
        }
    }
    let stats = ends[0].connection.stats();
    Run { latencies, bytes: ends[0].bytes, rescued: stats.rescued }
}

/// A connection, the datagrams under way to it, and the losses of those that it sends.
struct End {
    connection: Connection,
    carrier: Carrier,
    wire: VecDeque<(Timestamp, Bytes)>,
    loss: Loss,
    bytes: u64,
}

impl End {
    fn poll(&mut self, now: Timestamp) -> Option<Bytes> {
        let bytes = self.carrier.poll_transmit(now, &mut self.connection)?;
        self.bytes += bytes.len() as u64 + UDP_IP_BYTES;
        Some(bytes)
    }
}

fn message(now: Timestamp, number: u64, delivery: Delivery) -> Outgoing {
    let head = format!("{{\"n\":{number:>8},\"text\":\"");
    let text = "x".repeat(MESSAGE_BYTES - head.len() - 2);
    Outgoing {
        msg_id: format!("a-{number}").into(),
        msg_type: MsgType::Chat,
        sender: "a".into(),
        content: Content::from_json(format!("{head}{text}\"}}")),
        timestamp_us: now.as_micros(),
        priority: Priority::Chat,
        channel: 1,
        delivery,
    }
}

/// Loss of 10 % of the packets, in bursts of a mean length.
struct Loss {
    /// Chance that the bad state begins, and that it ends, at each packet; both states are sure of what they do.
    begin: f64,
    end: f64,
    is_bad: bool,
    rng: Rng,
}

impl Loss {
    fn new(mean_burst: u64, rng: Rng) -> Self {
        if mean_burst == 1 {
            return Self { begin: LOSS, end: 1.0 - LOSS, is_bad: false, rng };
        }
        let end = 1.0 / mean_burst as f64;
        Self { begin: end * LOSS / (1.0 - LOSS), end, is_bad: false, rng }
    }

    /// Whether the next packet is lost.
    fn next(&mut self) -> bool {
        let chance = if self.is_bad { 1.0 - self.end } else { self.begin };
        self.is_bad = self.rng.random::<f64>() < chance;
        self.is_bad
    }
}

/// The value that so many of a thousand do not exceed.
fn percentile(values: &[u64], permille: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get((sorted.len() * permille).div_ceil(1000).saturating_sub(1)).copied().unwrap_or(0)
}

const DELAY: Duration = Duration::from_millis(50);
const LOSS: f64 = 0.1;
const MESSAGE_BYTES: usize = 200;
const UDP_IP_BYTES: u64 = 28;
/// How long the last messages may take.
const DRAIN: Duration = Duration::from_secs(30);
