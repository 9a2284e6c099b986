//! The same conversation in both codecs: what arrives, and what is known to have arrived, is the same.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rand::RngExt;
use units::{Rng, Seed, Timestamp};

use crate::carrier::Carrier;
use crate::config::TransportConfig;
use crate::connection::{Connection, Delivery, Event, Incoming, Outgoing, SendKey};
use crate::wire::{Codec, Content, Label, MsgType, Packet, Priority};

/// Two ends behind carriers of one kind and codec, and a path that loses, doubles and delays.
struct Talk {
    ends: [End; 2],
    now: Timestamp,
    rng: Rng,
    loss: f64,
    /// Under way, by arrival; ties in the order of sending.
    path: BTreeMap<(Timestamp, u64), (usize, Bytes)>,
    sent: u64,
    bytes: usize,
}

struct End {
    connection: Connection,
    carrier: Carrier,
    heard: Vec<Incoming>,
    acked: BTreeSet<SendKey>,
    packet: Packet,
}

/// What one end says: where from, channel, length.
type Line = (usize, u32, usize);

const NAMES: [&str; 2] = ["alice", "server"];

/// What an end heard by channel, what was acknowledged to it, and whether it is settled.
type Outcome<'a> = (BTreeMap<u32, Vec<Incoming>>, &'a BTreeSet<SendKey>, bool);

impl Talk {
    fn new(codec: Codec, is_stream: bool, loss: f64, seed: u64) -> Self {
        let end = |index: usize| {
            let config = TransportConfig::default();
            let mut carrier = if is_stream { Carrier::stream() } else { Carrier::datagram(7) };
            if codec == Codec::Binary {
                carrier.speak_binary(NAMES[index].into(), NAMES[1 - index].into());
            }
            assert_eq!(carrier.codec(), codec);
            End {
                connection: Connection::new(Timestamp::ZERO, config, NAMES[index].into(), 0),
                carrier,
                heard: vec![],
                acked: BTreeSet::new(),
                packet: Packet::default(),
            }
        };
        let rng = Seed::root(seed).rng();
        Self {
            ends: [end(0), end(1)],
            now: Timestamp::ZERO,
            rng,
            loss,
            path: BTreeMap::new(),
            sent: 0,
            bytes: 0,
        }
    }

    fn say(&mut self, number: usize, (from, channel, length): Line) {
        // The server passes on what others say.
        let sender: Label =
            if from == 1 && number.is_multiple_of(2) { "bob".into() } else { NAMES[from].into() };
        let message = Outgoing {
            msg_id: Label::numbered(&sender, "-", number as u64),
            msg_type: MsgType::Chat,
            sender,
            content: Content::of(&"\u{e9}\n".repeat(length / 3)),
            timestamp_us: 1_795_258_600_000_000 + number as u64,
            priority: Priority::Chat,
            channel,
            delivery: Delivery::default(),
        };
        self.ends[from].connection.send(self.now, message).expect("within the bounds");
        self.drain();
    }

    fn drain(&mut self) {
        for from in [0, 1] {
            while let Some(bytes) =
                self.ends[from].carrier.poll_transmit(self.now, &mut self.ends[from].connection)
            {
                self.sent += 1;
                self.bytes += bytes.len();
                if self.rng.random::<f64>() >= self.loss {
                    let delay = Duration::from_micros(self.rng.random_range(20_000..30_000));
                    self.path.insert((self.now + delay, self.sent), (1 - from, bytes));
                }
            }
            let end = &mut self.ends[from];
            while let Some(event) = end.connection.poll_event() {
                match event {
                    Event::Message(mut message) => {
                        // A measurement, which differs with the sizes of packets.
                        message.order_wait = Duration::ZERO;
                        end.heard.push(message);
                    }
                    Event::Acked { key, .. } => drop(end.acked.insert(key)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.path.first_key_value().map(|(&(at, _), _)| at);
            let deadlines = self.ends.each_ref().map(|end| end.connection.poll_timeout());
            let next = [arrival, deadlines[0], deadlines[1]].into_iter().flatten().min();
            let Some(next) = next.filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.path.pop_first().expect("it was seen");
                let End { connection, carrier, packet, .. } = &mut self.ends[to];
                let mut packets = Vec::new();
                carrier.receive(&bytes, &mut packets).expect("written by a carrier");
                for raw in packets {
                    carrier.decode_into(&raw, packet).expect("nothing is damaged");
                    connection.handle_packet(self.now, &mut *packet);
                }
            } else {
                for end in &mut self.ends {
                    end.connection.handle_timeout(self.now);
                }
            }
            self.drain();
        }
    }

    /// What each end heard in each channel, and what it knows to have arrived.
    fn outcome(&self) -> Vec<Outcome<'_>> {
        let by_channel = |end: &End| {
            let mut heard: BTreeMap<u32, Vec<Incoming>> = BTreeMap::new();
            for message in &end.heard {
                // Packets of another length take other delays of a path that reorders.
                let message = Incoming { order_wait: Duration::ZERO, ..message.clone() };
                heard.entry(message.channel).or_default().push(message);
            }
            heard
        };
        self.ends.iter().map(|end| (by_channel(end), &end.acked, end.connection.is_settled())).collect()
    }
}

fn talk(codec: Codec, is_stream: bool, loss: f64, seed: u64, lines: &[Line]) -> Talk {
    let mut talk = Talk::new(codec, is_stream, loss, seed);
    for (number, &line) in lines.iter().enumerate() {
        talk.say(number, line);
        talk.run(Duration::from_millis(if number % 3 == 0 { 30 } else { 0 }));
    }
    talk.run(Duration::from_secs(120));
    talk
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn both_codecs_tell_the_same_events(
        lines in proptest::collection::vec((0usize..2, 0u32..4, 0usize..3000), 1..20),
        is_stream: bool, loss in 0.0..0.2, seed: u64,
    ) {
        let json = talk(Codec::Json, is_stream, loss, seed, &lines);
        let binary = talk(Codec::Binary, is_stream, loss, seed, &lines);
        prop_assert!(json.outcome().iter().all(|(_, _, settled)| *settled));
        prop_assert_eq!(json.outcome(), binary.outcome());
    }
}

#[test]
fn binary_conversations_take_fewer_bytes() {
    let lines: Vec<Line> = (0..300).map(|_| (0, 2, 200)).collect();
    let sizes = [Codec::Json, Codec::Binary].map(|codec| talk(codec, false, 0.0, 1, &lines).bytes);
    // Two acks for three messages and the headers; JSON spends some 200 bytes on each envelope.
    assert!(sizes[1] * 100 < sizes[0] * 70, "{sizes:?}");
}
