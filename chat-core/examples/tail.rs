//! How late the latest messages of a thin stream are, and what it costs to have them earlier, in virtual time.
//!
//! ```text
//! cargo run --release -p chat-core --example tail -- [MESSAGES [SEEDS [CONGESTION [json] [ROWS …]]]]
//! ```
//! ROWS names the rows to run, of each column those that are named: `bursts ordered 20`.
//!
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
    let words: Vec<String> = arguments.collect();
    if words.iter().any(|word| !WORDS.contains(&word.as_str())) {
        usage();
    }
    let is_json = words.iter().any(|word| word == "json");
    println!(
        "{messages} messages, {seeds} seeds, {congestion:?}, {}",
        if is_json { "json" } else { "binary" }
    );
    println!(
        "loss    order      spacing  redundancy  p50 ms  p99 ms  (of each seed)  p99.9 ms  window ms  B/message  back  rescued"
    );
    for row in rows(&words) {
        let spacing = Duration::from_millis(row.spacing_ms);
        let count = if row.spacing_ms == 20 { messages } else { messages / 5 };
        let config = TransportConfig { congestion, redundancy: row.redundancy, ..TransportConfig::default() };
        let runs: Vec<Run> = (1..=seeds)
            .map(|seed| run(config.clone(), row.delivery, spacing, count, row.mean_burst, is_json, seed))
            .collect();
        let all: Vec<u64> = runs.iter().flat_map(|run| run.latencies.iter().copied()).collect();
        let of_each: Vec<f64> =
            runs.iter().map(|run| percentile(&run.latencies, 990) as f64 / 1000.0).collect();
        let (mean, spread) = interval(&of_each);
        let sum = |value: fn(&Run) -> u64| runs.iter().map(value).sum::<u64>();
        println!(
            "{:<8}{:<11}{:>4} ms  {:<10}{:>8}{:>8}{:>16}{:>10}{:>11}{:>11}{:>6}{:>9}",
            row.loss,
            row.order,
            row.spacing_ms,
            row.kind,
            percentile(&all, 500) / 1000,
            percentile(&all, 990) / 1000,
            format!("{mean:.0} \u{b1} {spread:.0}"),
            percentile(&all, 999) / 1000,
            sum(|run| run.held_by_window_us) / (1000 * seeds),
            sum(|run| run.bytes) / (count * seeds),
            sum(|run| run.bytes_back) / (count * seeds),
            sum(|run| run.rescued),
        );
    }
}

struct Row {
    loss: &'static str,
    mean_burst: u64,
    order: &'static str,
    delivery: Delivery,
    spacing_ms: u64,
    kind: &'static str,
    redundancy: Redundancy,
}

/// All rows that the words do not leave out: of each column, those named, or all if none is.
fn rows(words: &[String]) -> Vec<Row> {
    let wants = |column: &[&str], name: &str| {
        let is_named = |name: &str| words.iter().any(|word| word == name);
        is_named(name) || !column.iter().any(|other| is_named(other))
    };
    let mut rows = Vec::new();
    for (loss, mean_burst) in [("iid", 1), ("bursts", 3)] {
        for (order, delivery) in [("ordered", Delivery::default()), ("unordered", Delivery::UNORDERED)] {
            for (name, spacing_ms) in [("20", 20), ("250", 250)] {
                for (kind, redundancy) in [
                    ("off", Redundancy::Off),
                    ("twice", Redundancy::Twice),
                    ("bundle", Redundancy::Bundle(BundleConfig::default())),
                ] {
                    let is_wanted = wants(&["iid", "bursts"], loss)
                        && wants(&["ordered", "unordered"], order)
                        && wants(&["20", "250"], name)
                        && wants(&["off", "twice", "bundle"], kind);
                    if is_wanted {
                        rows.push(Row { loss, mean_burst, order, delivery, spacing_ms, kind, redundancy });
                    }
                }
            }
        }
    }
    rows
}

const WORDS: [&str; 10] =
    ["json", "iid", "bursts", "ordered", "unordered", "20", "250", "off", "twice", "bundle"];

fn usage() -> ! {
    eprintln!("error: write MESSAGES, SEEDS and a controller, as in: tail 15000 5 fixed:32 bursts ordered");
    std::process::exit(2);
}

/// Mean of a sample, and half of the width of its 95 % interval (Student).
fn interval(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let Some(&quantile) = values.len().checked_sub(2).map(|index| STUDENT.get(index).unwrap_or(&2.26)) else {
        return (mean, f64::NAN);
    };
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    (mean, quantile * (variance / count).sqrt())
}

/// 97.5 % quantiles of Student's distribution with 1, 2, 3 … degrees of freedom; with more, that of 9 is a little wide.
const STUDENT: [f64; 9] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26];

struct Run {
    /// Microseconds from when each message was said.
    latencies: Vec<u64>,
    bytes: u64,
    bytes_back: u64,
    /// How long messages waited for the congestion window, together.
    held_by_window_us: u64,
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
    let mut held_by_window_us = 0;
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
                match event {
                    Event::Message(message) => {
                        latencies.push((now.as_micros()).saturating_sub(message.timestamp_us));
                    }
                    Event::Acked { delays, .. } => held_by_window_us += delays.window.as_micros() as u64,
                    _ => {}
                }
            }
        }
    }
    let stats = ends[0].connection.stats();
    let (bytes, bytes_back) = (ends[0].bytes, ends[1].bytes);
    Run { latencies, bytes, bytes_back, held_by_window_us, rescued: stats.rescued }
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
