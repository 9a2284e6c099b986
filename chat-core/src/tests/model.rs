//! Random operations on two connections, with what must hold after each of them.
//!
//! A seed picks the settings and some hundred operations: say something, let time pass to a timer or beyond it, deliver the
//! oldest or any datagram, lose, repeat, mark or damage one, take what arrived or let it lie, change the path. Then the
//! weather ends, and everything must come to rest: each message settled once and passed on once, in order where order was
//! asked for. A failure prints its seed and the command that plays it alone; `SQUALL_MODEL_SEEDS=n` plays more of them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use rand::seq::IndexedRandom;
use units::{ByteCount, Rng, Seed, Timestamp};

use crate::config::{BundleConfig, CarrierHint, CongestionControl, Profile, Redundancy, TransportConfig};
use crate::connection::{Connection, Delivery, Event, INITIAL_WINDOW, Outgoing, Reliability, SendKey};
use crate::path::Ecn;
use crate::wire::{Content, MsgType, Order, Packet, PacketForm, PacketWriter, Priority};

const MS: Duration = Duration::from_millis(1);

#[test]
fn what_must_hold_holds_with_reno() {
    play(CongestionControl::Reno);
}

#[test]
fn what_must_hold_holds_with_cubic() {
    play(CongestionControl::Cubic);
}

#[test]
fn what_must_hold_holds_with_bbr() {
    play(CongestionControl::Bbr);
}

#[test]
fn what_must_hold_holds_with_a_fixed_window() {
    play(CongestionControl::Fixed { segments: 8 });
}

fn play(congestion: CongestionControl) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SQUALL_MODEL_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SQUALL_MODEL_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| World::new(seed, congestion).run());
        let filter = match congestion {
            CongestionControl::Reno => "with_reno",
            CongestionControl::Cubic => "with_cubic",
            CongestionControl::Bbr => "with_bbr",
            CongestionControl::Fixed { .. } => "with_a_fixed_window",
        };
        let command = format!(
            "SQUALL_MODEL_SEED={seed} cargo test -p chat-core --lib model::what_must_hold_holds_{filter}"
        );
        assert!(outcome.is_ok(), "seed {seed} fails; play it alone: {command}");
    }
}

/// What was said with one key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    channel: u32,
    text: u64,
    order: Order,
    fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Open,
    Acked,
    Failed,
}

/// One end, and what it has said and heard.
struct End {
    connection: Connection,
    said: BTreeMap<SendKey, Said>,
    /// What the peer's messages said, by channel and kind of order.
    heard: BTreeMap<(u32, u8), Vec<u64>>,
    /// Packets under way to the peer, each with its mark.
    wire: VecDeque<(Bytes, Ecn)>,
    next_text: u64,
}

struct World {
    rng: Rng,
    now: Timestamp,
    ends: [End; 2],
    config: TransportConfig,
    form: PacketForm,
    /// Longest packet of the path at present.
    limit: usize,
    /// Share of messages that are cut into pieces.
    long: f64,
    operations: u32,
}

impl World {
    fn new(seed: u64, congestion: CongestionControl) -> Self {
        let mut rng = Seed::root(seed).rng();
        let profile = if rng.random_bool(0.3) { Profile::Classic } else { Profile::Modern };
        let carrier = if rng.random_bool(0.3) { CarrierHint::FifoStream } else { CarrierHint::Datagram };
        let form = match (carrier, rng.random_bool(0.3)) {
            (CarrierHint::FifoStream, true) => PacketForm::JsonBare,
            (CarrierHint::FifoStream, false) => PacketForm::BinaryStream,
            (CarrierHint::Datagram, true) => PacketForm::JsonList,
            (CarrierHint::Datagram, false) => PacketForm::BinaryDatagram,
        };
        let redundancy = match rng.random_range(0..3) {
            0 => Redundancy::Off,
            1 => Redundancy::Twice,
            _ => Redundancy::Bundle(BundleConfig::default()),
        };
        let config = TransportConfig {
            congestion,
            carrier,
            redundancy,
            ecn: carrier == CarrierHint::Datagram && rng.random_bool(0.5),
            skip_seed: rng.random_bool(0.5).then_some(seed),
            // What a peer assumes before it hears of a window is granted.
            receive_window: ByteCount(rng.random_range(INITIAL_WINDOW..200_000)),
            max_message: ByteCount(rng.random_range(6_000..20_000)),
            max_queued_messages: rng.random_range(4..100),
            max_channels: 4,
            pacing: rng.random_bool(0.5),
            hystart: rng.random_bool(0.5),
            prr: rng.random_bool(0.5),
            seed,
            idle_timeout: Duration::from_secs(1 << 30),
            max_attempts: u32::MAX,
            ..TransportConfig::new(profile)
        };
        let end = |name: &str| End {
            connection: Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0),
            said: BTreeMap::new(),
            heard: BTreeMap::new(),
            wire: VecDeque::new(),
            next_text: 0,
        };
        let mut ends = [end("a"), end("b")];
        // As in life: traces are on now and then, and must not change anything.
        ends[0].connection.set_tracing(rng.random_bool(0.1));
        let long = *[0.02, 0.1, 0.6].choose(&mut rng).expect("three shares");
        let operations = rng.random_range(OPERATIONS);
        Self { ends, now: Timestamp::ZERO, rng, config, form, limit: LIMITS[0], long, operations }
    }

    fn run(mut self) {
        for _ in 0..self.operations {
            let end = self.rng.random_range(0..2);
            match self.rng.random_range(0..100) {
                0..22 => self.say(end),
                22..35 => self.pass_time(),
                35..58 => self.deliver(end, 0),
                58..65 => {
                    let any = self.any_packet(end);
                    self.deliver(end, any);
                }
                65..75 => {
                    let any = self.any_packet(end);
                    self.ends[end].wire.remove(any);
                }
                75..79 => self.repeat(end),
                79..83 => self.damage(end),
                83..86 => self.mark(end),
                86..89 => self.limit = LIMITS[self.rng.random_range(0..LIMITS.len())],
                89..98 => self.fire_timer(end),
                98 => self.migrate(end),
                _ => self.rebind(),
            }
            // Applications take their time.
            let takes = [self.rng.random_bool(0.7), self.rng.random_bool(0.7)];
            self.drain(takes);
            self.check();
        }
        self.come_to_rest();
        self.check_what_was_heard();
    }

    fn say(&mut self, from: usize) {
        let size = match self.rng.random_bool(self.long) {
            true => self.rng.random_range(1_000..5_900),
            false => self.rng.random_range(1..300),
        };
        let order = match self.rng.random_range(0..10) {
            0..5 => Order::Ordered,
            5..8 => Order::Unordered,
            _ => Order::Latest,
        };
        let reliability = match self.rng.random_range(0..10) {
            0..7 => Reliability::Reliable,
            7 => Reliability::Attempts(self.rng.random_range(1..4)),
            _ => Reliability::Deadline(MS * self.rng.random_range(0..500)),
        };
        let channel = self.rng.random_range(0..4);
        let priority = Priority::ALL[self.rng.random_range(0..Priority::ALL.len())];
        let end = &mut self.ends[from];
        end.next_text += 1;
        let text = end.next_text;
        let message = Outgoing {
            msg_id: text.to_string().into(),
            msg_type: MsgType::Chat,
            sender: "x".into(),
            content: Content::of(&(text, "x".repeat(size))),
            timestamp_us: 0,
            priority,
            channel,
            delivery: Delivery { order, reliability },
        };
        if let Ok(key) = end.connection.send(self.now, message) {
            end.said.insert(key, Said { channel, text, order, fate: Fate::Open });
        }
    }

    fn pass_time(&mut self) {
        self.now += MS * self.rng.random_range(0..300);
        for end in &mut self.ends {
            end.connection.handle_timeout(self.now);
        }
    }

    fn fire_timer(&mut self, end: usize) {
        let connection = &mut self.ends[end].connection;
        if let Some(due) = connection.poll_timeout() {
            // A timer that goes off late, but never by more than a second: a heartbeat is far ahead.
            self.now = self.now.max(due.min(self.now + Duration::from_secs(1)));
            connection.handle_timeout(self.now);
        }
    }

    /// A byte stream keeps the order, whatever is taken out of it.
    fn any_packet(&mut self, from: usize) -> usize {
        let waiting = self.ends[from].wire.len();
        let is_stream = self.config.carrier == CarrierHint::FifoStream;
        if waiting == 0 || is_stream { 0 } else { self.rng.random_range(0..waiting) }
    }

    /// The `index`-th packet of `from` arrives.
    fn deliver(&mut self, from: usize, index: usize) {
        if let Some((bytes, mark)) = self.ends[from].wire.remove(index) {
            self.arrive(1 - from, &bytes, mark);
        }
    }

    fn arrive(&mut self, at: usize, bytes: &Bytes, mark: Ecn) {
        let connection = &mut self.ends[at].connection;
        match Packet::decode(bytes) {
            Ok(packet) => {
                connection.handle_ecn(mark);
                connection.handle_packet(self.now, packet);
            }
            Err(error) => connection.handle_damaged(self.now, &error),
        }
    }

    fn repeat(&mut self, from: usize) {
        if self.config.carrier == CarrierHint::Datagram
            && let Some((bytes, mark)) = self.ends[from].wire.front().cloned()
        {
            self.arrive(1 - from, &bytes, mark);
        }
    }

    fn damage(&mut self, from: usize) {
        if let Some((bytes, mark)) = self.ends[from].wire.pop_front() {
            let mut damaged = bytes.to_vec();
            let bit = self.rng.random_range(0..damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            self.arrive(1 - from, &damaged.into(), mark);
        }
    }

    /// A queue marks a packet, or something on the way wipes its mark out.
    fn mark(&mut self, from: usize) {
        let any = self.any_packet(from);
        let wipes = self.rng.random_bool(0.1);
        if let Some((_, mark)) = self.ends[from].wire.get_mut(any).filter(|(_, mark)| *mark == Ecn::Ect0) {
            *mark = if wipes { Ecn::NotEct } else { Ecn::Ce };
        }
    }

    fn migrate(&mut self, end: usize) {
        let is_same_host = self.rng.random_bool(0.5);
        self.ends[end].connection.on_migrated(self.now, is_same_host);
    }

    /// Both ends take another carrier; what was under way is gone with the old one.
    fn rebind(&mut self) {
        for end in &mut self.ends {
            end.wire.clear();
            end.connection.rebind(self.now);
        }
    }

    /// Lets both ends send what they may, and those applications that do so now take what arrived.
    fn drain(&mut self, takes: [bool; 2]) {
        for (end, takes) in self.ends.iter_mut().zip(takes) {
            // Taking messages may open the window and make an ack due.
            while takes && let Some(event) = end.connection.poll_event() {
                end.hear(event);
            }
            for polls in 0.. {
                assert!(polls < 10_000, "poll_packet never ends");
                let mut body = Vec::new();
                let mark = end.connection.codepoint();
                let writer = PacketWriter::new(&mut body, self.form, self.limit);
                if end.connection.poll_packet(self.now, writer) == 0 {
                    break;
                }
                end.wire.push_back((body.into(), mark));
            }
            // Too many under way are lost, oldest first, as in any queue.
            while end.wire.len() > MAX_WIRE {
                end.wire.pop_front();
            }
            while end.connection.poll_trace().is_some() {}
        }
    }

    fn check(&self) {
        for end in &self.ends {
            let connection = &end.connection;
            connection.check();
            let cwnd = connection.metrics().cwnd.as_u64();
            let floor = self.cwnd_floor();
            assert!(cwnd >= floor, "a congestion window of {cwnd} B is below its floor of {floor} B");
            let outstanding = connection.metrics().packets_in_flight > 0 || connection.unacked_messages() > 0;
            assert!(
                !outstanding || connection.poll_timeout().is_some(),
                "data is outstanding and no timer is set"
            );
        }
    }

    /// Smallest congestion window, in bytes.
    fn cwnd_floor(&self) -> u64 {
        let mss = self.config.mss.as_u64();
        match self.config.congestion {
            CongestionControl::Fixed { segments } => segments * mss,
            // A timeout leaves BBR one segment until the next ack.
            CongestionControl::Bbr => mss,
            CongestionControl::Reno | CongestionControl::Cubic => {
                self.config.min_cwnd.min(self.config.loss_window) * mss
            }
        }
    }

    /// The weather ends: nothing is lost any more, and every message has to be settled within a day.
    fn come_to_rest(&mut self) {
        let end_of_day = self.now + Duration::from_secs(86_400);
        while self.now < end_of_day {
            self.drain([true; 2]);
            self.check();
            if self.is_at_rest() {
                return;
            }
            let arrivals = [std::mem::take(&mut self.ends[0].wire), std::mem::take(&mut self.ends[1].wire)];
            if arrivals.iter().any(|arrivals| !arrivals.is_empty()) {
                self.now += 10 * MS;
                for (from, arrivals) in arrivals.into_iter().enumerate() {
                    for (bytes, mark) in arrivals {
                        self.arrive(1 - from, &bytes, mark);
                    }
                }
            } else {
                let next = self.ends.iter().filter_map(|end| end.connection.poll_timeout()).min();
                self.now = self.now.max(next.expect("something is unsettled, so a timer is set"));
            }
            for end in &mut self.ends {
                end.connection.handle_timeout(self.now);
            }
        }
        let [a, b] = &self.ends;
        panic!("it does not come to rest: {:?} {:?}", a.connection.stats(), b.connection.stats());
    }

    /// Nothing is unsettled, and whoever said it knows.
    fn is_at_rest(&self) -> bool {
        self.ends.iter().all(|end| end.connection.is_settled())
            && self.ends.iter().all(|end| end.said.values().all(|said| said.fate != Fate::Open))
    }

    fn check_what_was_heard(&self) {
        for (from, to) in [(0, 1), (1, 0)] {
            let heard = &self.ends[to].heard;
            for (&(channel, order), texts) in heard {
                let mut sorted = texts.clone();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), texts.len(), "each message once: {texts:?}");
                assert!(
                    order == Order::Unordered as u8 || sorted == *texts,
                    "in the order of channel {channel}, kind {order}: {texts:?}"
                );
            }
            for said in self.ends[from].said.values() {
                let texts = heard.get(&(said.channel, said.order as u8));
                let was_heard = texts.is_some_and(|texts| texts.contains(&said.text));
                // A latest-only message that comes after a newer one is acknowledged, and nobody wants it.
                let must = said.fate == Fate::Acked && said.order != Order::Latest;
                assert!(was_heard || !must, "{said:?} was acknowledged and not passed on");
            }
            let spoken = self.ends[from].said.len();
            let heard: usize = heard.values().map(Vec::len).sum();
            assert!(heard <= spoken, "nothing is heard that was not said");
        }
    }
}

impl End {
    fn hear(&mut self, event: Event) {
        match event {
            Event::Message(message) => {
                let (text, _): (u64, String) = message.content.parse().expect("what was said is heard");
                self.heard.entry((message.channel, message.order as u8)).or_default().push(text);
            }
            Event::Acked { key, .. } => self.settle(key, Fate::Acked),
            Event::Failed { key, .. } => self.settle(key, Fate::Failed),
            Event::Violation { reason } => panic!("honest peers break no rule: {reason}"),
            Event::Dead => panic!("nobody is dead within a day"),
            Event::Refused { reason, .. } => panic!("nothing said is refused: {reason}"),
            Event::Skipped { .. } | Event::Bye { .. } => {}
        }
    }

    fn settle(&mut self, key: SendKey, fate: Fate) {
        let said = self.said.get_mut(&key).expect("only what was said is settled");
        assert_eq!(said.fate, Fate::Open, "a message is settled once, {said:?} is {fate:?} too");
        said.fate = fate;
    }
}

/// Seeds for each controller in every run of the tests, 10,000 in all: some ten seconds of one core.
const SEEDS: u64 = 2_500;
/// From one message or two, to several windows of them with losses, timeouts and a change of path.
const OPERATIONS: Range<u32> = 20..400;
/// Longest packets that paths carry: a segment in either form, Ethernet, jumbo frames.
const LIMITS: [usize; 3] = [1_189, 1_452, 8_900];
/// Packets under way in one direction.
const MAX_WIRE: usize = 200;
