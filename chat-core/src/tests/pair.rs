//! Two connections and a path between them, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use units::{Rng, Seed, Timestamp};

use crate::config::{CongestionControl, Profile, TransportConfig};
use crate::connection::{AckContent, Connection, Delivery, Event, Incoming, Outgoing, SendKey};
use crate::path::Ecn;
use crate::trace::TraceEvent;
use crate::wire::{Content, Frame, MsgType, Order, Packet, PacketForm, PacketWriter, Priority};

/// What happens to frames, the same way in both directions.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    pub(super) delay: Duration,
    /// Added to the delay, uniform from zero; reorders.
    pub(super) jitter: Duration,
    pub(super) loss: f64,
    pub(super) duplicate: f64,
    pub(super) damage_p: f64,
    pub(super) blackhole: bool,
    /// Every so many numbered packets of A, one is lost; 0 for none.
    pub(super) lose_every: u64,
    /// Packets lost by number.
    pub(super) lose: Vec<(Side, u64)>,
    /// Packets damaged by number.
    pub(super) damage: Vec<(Side, u64)>,
    /// Packets that take longer, by number.
    pub(super) late: Vec<(Side, u64, Duration)>,
    /// Packets that a queue marks, by number.
    pub(super) mark: Vec<(Side, u64)>,
    /// Clears ECN marks.
    pub(super) bleaches: bool,
    /// Sides whose acks are lost.
    pub(super) lose_acks_of: Vec<Side>,
    pub(super) seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    A,
    B,
}

impl Side {
    pub(super) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

#[derive(Debug)]
pub(super) struct End {
    pub(super) connection: Connection,
    pub(super) received: Vec<(Timestamp, Incoming)>,
    pub(super) events: Vec<Event>,
    pub(super) trace: Vec<TraceEvent>,
    /// Whether the application takes its messages.
    pub(super) reads: bool,
    sent: Vec<(u32, String)>,
    /// Ranges in the last ack that left.
    pub(super) ack_ranges: usize,
}

impl End {
    /// Whether message `key` was acknowledged.
    pub(super) fn acked(&self, key: SendKey) -> bool {
        self.events.iter().any(|event| matches!(event, Event::Acked { key: acked, .. } if *acked == key))
    }
}

#[derive(Debug)]
pub(super) struct Pair {
    pub(super) a: End,
    pub(super) b: End,
    pub(super) path: Path,
    now: Timestamp,
    rng: Rng,
    /// Frames under way, by arrival; ties in the order of sending.
    wire: BTreeMap<(Timestamp, u64), (Side, Vec<u8>, Ecn)>,
    frames: u64,
    data_packets: u64,
}

impl Pair {
    pub(super) fn new(path: Path) -> Self {
        Self::with_config(path, TransportConfig::default())
    }

    pub(super) fn classic(path: Path) -> Self {
        Self::with_config(path, TransportConfig::new(Profile::Classic))
    }

    pub(super) fn with_config(path: Path, config: TransportConfig) -> Self {
        let end = |name: &str| {
            let mut connection = Connection::new(Timestamp::ZERO, config.clone(), name.into(), 0);
            connection.set_tracing(true);
            End {
                connection,
                received: vec![],
                events: vec![],
                trace: vec![],
                reads: true,
                sent: vec![],
                ack_ranges: 0,
            }
        };
        Self {
            a: end("a"),
            b: end("b"),
            now: Timestamp::ZERO,
            rng: Seed::root(path.seed).rng(),
            path,
            wire: BTreeMap::new(),
            frames: 0,
            data_packets: 0,
        }
    }

    /// Gives A a constant window of so many segments.
    pub(super) fn set_window(&mut self, segments: u64) {
        let config = TransportConfig {
            congestion: CongestionControl::Fixed { segments },
            ..self.a.connection.config().clone()
        };
        self.a.connection = Connection::new(self.now, config, "a".into(), 0);
        self.a.connection.set_tracing(true);
    }

    pub(super) fn say(&mut self, side: Side, channel: u32, text: &str) -> SendKey {
        self.say_with(side, channel, text, Priority::Chat, Delivery::default())
    }

    pub(super) fn say_with(
        &mut self,
        side: Side,
        channel: u32,
        text: &str,
        priority: Priority,
        delivery: Delivery,
    ) -> SendKey {
        let now = self.now;
        let end = self.end_mut(side);
        end.sent.push((channel, text.to_owned()));
        let message = Outgoing {
            msg_id: end.sent.len().to_string().into(),
            msg_type: MsgType::Chat,
            sender: "x".into(),
            content: Content::of(&text),
            timestamp_us: 0,
            priority,
            channel,
            delivery,
        };
        let key = end.connection.send(now, message).expect("tests stay within the bounds");
        self.drain();
        key
    }

    /// Steps from event to event until `end`.
    pub(super) fn run_until(&mut self, end: Timestamp) {
        // Deadlines that are met without time passing; a few follow from each other.
        let mut repeats = 0;
        loop {
            // 1. Wait for the earliest of arrivals and deadlines.
            let arrival = self.wire.first_key_value().map(|(&(at, _), _)| at);
            let deadlines = [self.a.connection.poll_timeout(), self.b.connection.poll_timeout()];
            let next = [arrival, deadlines[0], deadlines[1]].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = self.now.max(end);
                return;
            };
            repeats = if next > self.now || arrival == Some(next) { 0 } else { repeats + 1 };
            assert!(repeats < 10, "the deadlines {deadlines:?} stay at {}", self.now);
            self.now = self.now.max(next);
            // 2. Feed one input.
            if arrival == Some(next) {
                let (_, (to, body, ecn)) = self.wire.pop_first().expect("its key was just seen");
                self.deliver(to, &body, ecn);
            } else {
                let now = self.now;
                for connection in [&mut self.a.connection, &mut self.b.connection] {
                    connection.handle_timeout(now);
                    let after = (*connection.stats(), connection.metrics());
                    connection.handle_timeout(now);
                    let again = (*connection.stats(), connection.metrics());
                    assert_eq!(after, again, "a timeout that comes twice does something");
                }
            }
            // 3. Drain, and act on the outputs.
            self.drain();
        }
    }

    pub(super) fn drain(&mut self) {
        for side in [Side::A, Side::B] {
            let now = self.now;
            let mut bodies = Vec::new();
            loop {
                let mut body = Vec::new();
                if self.end_mut(side).connection.poll_packet(now, one_frame(&mut body)) == 0 {
                    break;
                }
                bodies.push(body);
                assert!(bodies.len() < 100_000, "poll_packet never ends");
            }
            for body in bodies {
                self.transmit(side, body);
            }
            let end = self.end_mut(side);
            while end.reads {
                match end.connection.poll_event() {
                    Some(Event::Message(message)) => end.received.push((now, message)),
                    Some(event) => end.events.push(event),
                    None => break,
                }
            }
            end.trace.extend(std::iter::from_fn(|| end.connection.poll_trace()));
        }
    }

    pub(super) fn rebind(&mut self) {
        let now = self.now;
        self.a.connection.rebind(now);
        self.b.connection.rebind(now);
        self.drain();
    }

    pub(super) fn inject_ack(&mut self, side: Side, content: &str) {
        self.inject(side, MsgType::Ack, Content::from_json(content), 0, 0);
    }

    /// Hands `side` a frame that its peer never sent.
    pub(super) fn inject(
        &mut self,
        side: Side,
        msg_type: MsgType,
        content: Content,
        packet: u64,
        sequence: u64,
    ) {
        let frame = Frame {
            msg_id: "".into(),
            msg_type,
            sender: "x".into(),
            content,
            timestamp_us: 0,
            priority: Priority::Control,
            sequence_number: sequence,
            packet,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        };
        let now = self.now;
        self.end_mut(side).connection.handle_packet(now, Packet { frames: vec![frame], ..Packet::default() });
        self.drain();
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// The number of the next packet that `side` sends.
    pub(super) fn next_packet(&self, side: Side) -> u64 {
        self.end(side).connection.next_packet()
    }

    pub(super) fn end(&self, side: Side) -> &End {
        match side {
            Side::A => &self.a,
            Side::B => &self.b,
        }
    }

    fn end_mut(&mut self, side: Side) -> &mut End {
        match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        }
    }

    pub(super) fn texts(&self, side: Side) -> Vec<String> {
        self.end(side).received.iter().map(|(_, message)| message.content.parse().unwrap()).collect()
    }

    pub(super) fn sent_on(&self, side: Side, channel: u32) -> Vec<String> {
        let sent = self.end(side).sent.iter().filter(|(on, _)| *on == channel);
        sent.map(|(_, text)| text.clone()).collect()
    }

    pub(super) fn received_on(&self, side: Side, channel: u32) -> Vec<String> {
        let received = self.end(side).received.iter().filter(|(_, message)| message.channel == channel);
        received.map(|(_, message)| message.content.parse().unwrap()).collect()
    }

    fn deliver(&mut self, to: Side, body: &[u8], ecn: Ecn) {
        let now = self.now;
        let connection = &mut self.end_mut(to).connection;
        match Packet::decode(&Bytes::copy_from_slice(body)) {
            Ok(packet) => {
                connection.handle_ecn(ecn);
                connection.handle_packet(now, packet);
            }
            Err(error) => connection.handle_damaged(now, &error),
        }
    }

    fn transmit(&mut self, from: Side, mut body: Vec<u8>) {
        let frame = Frame::decode(&body).expect("what a connection sends is sound");
        if frame.msg_type == MsgType::Ack {
            let ack: AckContent = frame.content.parse().expect("an ack of ours can be read");
            self.end_mut(from).ack_ranges = ack.ranges.as_slice().len();
        }
        let ecn = match self.end(from).connection.codepoint() {
            Ecn::Ect0 if self.path.bleaches => Ecn::NotEct,
            Ecn::Ect0 if self.path.mark.contains(&(from, frame.packet)) => Ecn::Ce,
            ecn => ecn,
        };
        let late = self.path.late.iter().find(|late| (late.0, late.1) == (from, frame.packet));
        let late = late.map_or(Duration::ZERO, |late| late.2);
        let numbered = from == Side::A && frame.packet != 0;
        self.data_packets += u64::from(numbered);
        let periodic =
            self.path.lose_every > 0 && numbered && self.data_packets.is_multiple_of(self.path.lose_every);
        let ack_lost = frame.msg_type == MsgType::Ack && self.path.lose_acks_of.contains(&from);
        let named = self.path.lose.contains(&(from, frame.packet));
        let (lost, twice, damaged) =
            (self.chance(self.path.loss), self.chance(self.path.duplicate), self.chance(self.path.damage_p));
        if lost || periodic || ack_lost || named || self.path.blackhole {
            return;
        }
        if damaged {
            let bit = self.rng.random_range(0..body.len() * 8);
            body[bit / 8] ^= 1 << (bit % 8);
        }
        if self.path.damage.contains(&(from, frame.packet)) {
            // The last letter of the text: still JSON, so the receiver can name the packet.
            let text = frame.content.as_str().as_bytes();
            let at = body
                .windows(text.len())
                .position(|window| window == text)
                .expect("the content is in the body");
            body[at + text.len() - 2] ^= 1;
        }
        for _ in 0..1 + u32::from(twice) {
            let jitter = self.path.jitter.mul_f64(self.rng.random::<f64>());
            self.frames += 1;
            let at = self.now + self.path.delay + jitter + late;
            self.wire.insert((at, self.frames), (from.other(), body.clone(), ecn));
        }
    }

    fn chance(&mut self, p: f64) -> bool {
        self.rng.random::<f64>() < p
    }
}

/// A packet as on a stream: one bare frame.
fn one_frame(body: &mut Vec<u8>) -> PacketWriter<'_> {
    PacketWriter::new(body, PacketForm::JsonBare, usize::MAX)
}
