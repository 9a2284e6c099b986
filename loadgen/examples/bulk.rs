//! How fast a connection that always has something to send goes, in virtual time: goodput, queue and fairness of the
//! controllers over one bottleneck, beside what theory says.
//!
//! ```text
//! cargo run --release -p loadgen --example bulk -- --congestion reno --delay 25ms --link 'loss=1%' --seeds 5
//! cargo run --release -p loadgen --example bulk -- --congestion bbr --delay 25ms \
//!     --link 'rate=100Mbit/s queue=625kB loss=5%' --span 60s
//! cargo run --release -p loadgen --example bulk -- --congestion cubic,reno --delay 25ms \
//!     --link 'rate=10Mbit/s queue=62500B' --span 120s
//! ```
//! Each name after `--congestion` is one flow; all share the bottleneck of `--link`, which lies from senders to receivers.
//! `--back` is the way of the acks. One-way delay is the same for both. Every seed is a run of its own.

use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::config::Redundancy;
use chat_core::wire::Packet;
use chat_core::{
    CongestionControl, Connection, Content, Delays, Delivery, Event, MsgType, Outgoing, Priority,
    TransportConfig,
};
use clap::Parser;
use netem_proxy::link::{Link, Meta};
use netem_proxy::profile::LinkProfile;
use rand::RngExt;
use units::{ByteCount, Seed, Timestamp};

#[derive(Debug, Parser)]
#[command(about = "Bulk flows over one bottleneck, in virtual time")]
struct Options {
    /// Controllers, one for each flow: cubic,reno
    #[arg(long, default_value = "cubic", value_delimiter = ',')]
    congestion: Vec<CongestionControl>,
    /// One-way delay.
    #[arg(long, default_value = "25ms", value_parser = units::parse_duration)]
    delay: Duration,
    /// The bottleneck, as netem-proxy writes it, without its delay: 'rate=10Mbit/s queue=62500B loss=1%'.
    #[arg(long, default_value = "none")]
    link: String,
    /// The way back; 'jitter=1ms' breaks up the rhythm of the acks.
    #[arg(long, default_value = "none")]
    back: String,
    /// Measured time of each run, after the warm-up.
    #[arg(long, default_value = "100s", value_parser = units::parse_duration)]
    span: Duration,
    /// Not measured.
    #[arg(long, default_value = "10s", value_parser = units::parse_duration)]
    warmup: Duration,
    /// Runs, with seeds 1, 2, 3 …
    #[arg(long, default_value_t = 5)]
    seeds: u64,
    /// How long an ack may wait for company; 0ms acknowledges every packet, as the formulas assume (b = 1).
    #[arg(long, default_value = "5ms", value_parser = units::parse_duration)]
    ack_delay: Duration,
    /// Content of one message, in bytes: five of 220, with all around, fill a datagram of 1,200.
    #[arg(long, default_value_t = 220)]
    size: usize,
    /// Largest datagram; above 1,200 it is searched for.
    #[arg(long, default_value_t = 1200)]
    datagram: u64,
    /// Flows begin within so long of each other, at random.
    #[arg(long, default_value = "0s", value_parser = units::parse_duration)]
    jitter: Duration,
    /// Stop when the first flow has delivered so many bytes, and print how long that took.
    #[arg(long)]
    bytes: Option<u64>,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let profile = |text: &str| -> anyhow::Result<LinkProfile> {
        let delay = format!("delay={}ms", options.delay.as_secs_f64() * 1e3);
        let text = if text == "none" { delay } else { format!("{delay} {text}") };
        text.parse::<LinkProfile>().map_err(|error| anyhow::anyhow!("{text}: {error}"))
    };
    let (up, down) = (profile(&options.link)?, profile(&options.back)?);
    println!(
        "seed\tflow\tgoodput_kB/s\tmessages/s\tlost_%\tsrtt_ms\tjain\tqueue_ms_mean\tqueue_ms_p99\tretransmitted_%\tspurious\twindow_ms\tpacing_ms\tflow_ms\ttook_s"
    );
    for seed in 1..=options.seeds {
        let mut lab = Lab::new(&options, up.clone(), down.clone(), Seed::root(seed));
        lab.run();
        lab.print(seed, &options);
    }
    Ok(())
}

/// Two ends of one flow.
struct Flow {
    ends: [Connection; 2],
    carriers: [Carrier; 2],
    said: u64,
    /// Content bytes and messages that arrived within the measured time.
    delivered: u64,
    messages: u64,
    delivered_ever: u64,
    begins: Timestamp,
    /// What acknowledged messages waited for in all, and how many they were.
    waited: Delays,
    acked: u32,
}

/// What a link carries: whose, to which end, and the datagram.
#[derive(Clone)]
struct Parcel {
    flow: usize,
    bytes: Bytes,
}

struct Lab<'a> {
    options: &'a Options,
    now: Timestamp,
    flows: Vec<Flow>,
    /// Senders to receivers, and back.
    links: [Link<Parcel>; 2],
    /// Time in the queue and at the bottleneck, in microseconds, one for each packet.
    waits: Vec<u64>,
    packet: Packet,
    ended: Timestamp,
}

impl<'a> Lab<'a> {
    fn new(options: &'a Options, up: LinkProfile, down: LinkProfile, seed: Seed) -> Self {
        let mut rng = seed.fork("begin").rng();
        let flows = options.congestion.iter().map(|&congestion| {
            let config = TransportConfig {
                congestion,
                receive_window: ByteCount(64 << 20),
                max_queued_bytes: ByteCount(64 << 20),
                max_queued_messages: 1 << 16,
                redundancy: Redundancy::Off,
                max_ack_delay: options.ack_delay,
                max_datagram: ByteCount(options.datagram),
                ..TransportConfig::default()
            };
            let end = |name: &str| Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0);
            let carrier = |own: &str, peer: &str| {
                let mut carrier = Carrier::datagram(1);
                carrier.speak_binary(own.into(), peer.into());
                carrier
            };
            Flow {
                ends: [end("sender"), end("receiver")],
                carriers: [carrier("sender", "receiver"), carrier("receiver", "sender")],
                said: 0,
                delivered: 0,
                messages: 0,
                delivered_ever: 0,
                begins: Timestamp::ZERO + options.jitter.mul_f64(rng.random::<f64>()),
                waited: Delays::default(),
                acked: 0,
            }
        });
        Self {
            options,
            now: Timestamp::ZERO,
            flows: flows.collect(),
            links: [Link::new(up, seed.fork("up")), Link::new(down, seed.fork("down"))],
            waits: Vec::new(),
            packet: Packet::default(),
            ended: Timestamp::ZERO,
        }
    }

    fn run(&mut self) {
        let end = Timestamp::ZERO + self.options.warmup + self.options.span;
        for flow in 0..self.flows.len() {
            self.settle(flow);
        }
        while self.now < end && !self.is_done() {
            // 1. Wait for the earliest deadline.
            let connections =
                self.flows.iter().flat_map(|flow| flow.ends.iter().map(Connection::poll_timeout));
            let links = self.links.iter().map(Link::poll_timeout);
            let begins = self.flows.iter().map(|flow| Some(flow.begins).filter(|&begins| begins > self.now));
            let next = connections.chain(links).chain(begins).flatten().min();
            let next = next.expect("a heartbeat is always ahead");
            self.now = self.now.max(next);
            // 2. Feed what is due, 3. drain it.
            for link in 0..self.links.len() {
                self.arrive(link);
            }
            for flow in 0..self.flows.len() {
                let due = self.flows[flow].ends.iter().filter_map(Connection::poll_timeout).min();
                if due.is_some_and(|due| due <= self.now) || self.flows[flow].begins == self.now {
                    for end in &mut self.flows[flow].ends {
                        end.handle_timeout(self.now);
                    }
                    self.settle(flow);
                }
            }
        }
        self.ended = self.now;
    }

    fn is_done(&self) -> bool {
        self.options.bytes.is_some_and(|bytes| self.flows[0].delivered_ever >= bytes)
    }

    fn arrive(&mut self, link: usize) {
        while let Some(delivery) = self.links[link].poll_deliver(self.now) {
            if link == 0 && self.is_measured() {
                let way = delivery.due.since(delivery.arrived).saturating_sub(self.options.delay);
                self.waits.push(u64::try_from(way.as_micros()).unwrap_or(u64::MAX));
            }
            let Parcel { flow, bytes } = delivery.packet;
            // Up arrives at the receiver, which is end 1; down at the sender.
            let to = 1 - link;
            let target = &mut self.flows[flow];
            let mut packets = Vec::new();
            target.carriers[to].receive(&bytes, &mut packets).expect("the link damages nothing");
            for raw in packets {
                target.carriers[to].decode_into(&raw, &mut self.packet).expect("the link damages nothing");
                target.ends[to].handle_packet(self.now, &mut self.packet);
            }
            self.settle(flow);
        }
    }

    /// Keeps the sender supplied, drains both ends, and puts what they send on the links.
    fn settle(&mut self, flow: usize) {
        let measured = self.is_measured();
        let target = &mut self.flows[flow];
        while self.now >= target.begins && target.ends[0].unacked_messages() < BACKLOG {
            target.said += 1;
            target.ends[0]
                .send(self.now, message(target.said, self.options.size))
                .expect("the backlog is below the bounds");
        }
        for end in 0..2 {
            while let Some(event) = target.ends[end].poll_event() {
                if let Event::Acked { delays, .. } = event {
                    target.waited.window += delays.window;
                    target.waited.pacing += delays.pacing;
                    target.waited.flow += delays.flow;
                    target.acked += 1;
                }
                if let Event::Message(message) = event {
                    let bytes = message.content.len() as u64;
                    target.delivered_ever += bytes;
                    if measured {
                        target.delivered += bytes;
                        target.messages += 1;
                    }
                }
            }
            while let Some(bytes) = target.carriers[end].poll_transmit(self.now, &mut target.ends[end]) {
                let size = ByteCount(bytes.len() as u64 + IP_AND_UDP_BYTES);
                self.links[end].handle(self.now, Parcel { flow, bytes }, Meta::of_size(size));
            }
        }
    }

    fn is_measured(&self) -> bool {
        self.now >= Timestamp::ZERO + self.options.warmup
    }

    fn print(&mut self, seed: u64, options: &Options) {
        let span = self.ended.since(Timestamp::ZERO + self.options.warmup).as_secs_f64();
        let rates: Vec<f64> = self.flows.iter().map(|flow| flow.delivered as f64 / span / 1e3).collect();
        let (sum, squares) = (rates.iter().sum::<f64>(), rates.iter().map(|rate| rate * rate).sum::<f64>());
        let jain = sum * sum / (rates.len() as f64 * squares);
        self.waits.sort_unstable();
        let mean = self.waits.iter().sum::<u64>() as f64 / self.waits.len().max(1) as f64 / 1e3;
        let p99 = self.waits.get(self.waits.len() * 99 / 100).copied().unwrap_or(0) as f64 / 1e3;
        let counters = self.links[0].counters();
        let lost = 100.0 * counters.dropped() as f64 / counters.offered.max(1) as f64;
        for (flow, (rate, congestion)) in self.flows.iter().zip(rates.iter().zip(&options.congestion)) {
            let stats = flow.ends[0].stats();
            let srtt = flow.ends[0].metrics().srtt.map_or(0.0, |srtt| srtt.as_secs_f64() * 1e3);
            let mean_ms = |span: Duration| span.as_secs_f64() * 1e3 / f64::from(flow.acked.max(1));
            let again = 100.0 * stats.retransmits as f64 / stats.segments_sent.max(1) as f64;
            println!(
                "{seed}\t{congestion:?}\t{rate:.1}\t{:.1}\t{lost:.2}\t{srtt:.2}\t{jain:.3}\t{mean:.1}\t{p99:.1}\t{again:.2}\t{}\t{:.1}\t{:.1}\t{:.1}\t{:.3}",
                flow.messages as f64 / span,
                stats.spurious,
                mean_ms(flow.waited.window),
                mean_ms(flow.waited.pacing),
                mean_ms(flow.waited.flow),
                self.ended.as_secs_f64(),
            );
        }
    }
}

fn message(number: u64, size: usize) -> Outgoing {
    Outgoing {
        msg_id: number.to_string().into(),
        msg_type: MsgType::Chat,
        sender: "sender".into(),
        content: Content::of(&"x".repeat(size - 2)),
        timestamp_us: 0,
        priority: Priority::Bulk,
        channel: 1,
        delivery: Delivery::default(),
    }
}

/// Messages that wait or are under way: more than any window here.
const BACKLOG: usize = 16_384;
/// Of IPv4 and UDP, which a link's rate and queue count as any network does.
const IP_AND_UDP_BYTES: u64 = 28;
