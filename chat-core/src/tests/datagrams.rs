//! Two connections that exchange datagrams over a path of a certain MTU, in virtual time.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use units::{ByteCount, Timestamp};

use super::pair::Side;
use crate::carrier::Carrier;
use crate::config::TransportConfig;
use crate::connection::{Connection, Delivery, Event, Outgoing};
use crate::secure::SEALING_BYTES;
use crate::trace::TraceKind;
use crate::wire::datagram::MAX_DATAGRAM_BYTES;
use crate::wire::{Content, MsgType, Packet, Priority};

const DELAY: Duration = Duration::from_millis(20);
const MS: Duration = Duration::from_millis(1);

struct End {
    connection: Connection,
    carrier: Carrier,
    texts: Vec<String>,
    /// Length of each datagram that left.
    lengths: Vec<usize>,
}

/// Both ends, and what is between them: A's datagrams are dropped if they are longer than `mtu`.
struct World {
    ends: [End; 2],
    mtu: usize,
    /// What seals a datagram.
    sealing: usize,
    /// One in so many of A's datagrams is lost; 0: none.
    lose_every: usize,
    now: Timestamp,
    wire: BTreeMap<(Timestamp, u64), (usize, Bytes)>,
    count: u64,
}

impl World {
    fn new(mtu: usize, binary: bool, sealed: bool) -> Self {
        let config = TransportConfig::default().with_capable_socket();
        let end = |own: &str, peer: &str| {
            let mut carrier = if sealed { Carrier::sealed_datagram(7) } else { Carrier::datagram(7) };
            if binary {
                carrier.speak_binary(own.into(), peer.into());
            }
            let mss = config.mss.min(ByteCount(carrier.max_body() as u64));
            let config = TransportConfig { mss, ecn: false, ..config.clone() };
            let mut connection = Connection::new(Timestamp::ZERO, config, own.into(), 0);
            connection.set_tracing(true);
            End { connection, carrier, texts: vec![], lengths: vec![] }
        };
        Self {
            ends: [end("a", "b"), end("b", "a")],
            mtu,
            sealing: if sealed { SEALING_BYTES } else { 0 },
            lose_every: 0,
            now: Timestamp::ZERO,
            wire: BTreeMap::new(),
            count: 0,
        }
    }

    fn a(&self) -> &Connection {
        &self.ends[0].connection
    }

    fn longest(&self) -> usize {
        self.ends[0].lengths.iter().copied().max().unwrap_or(0)
    }

    /// The longest of them that the path let through.
    fn carried(&self) -> usize {
        let lengths = self.ends[0].lengths.iter().copied();
        lengths.filter(|&length| length <= self.mtu).max().unwrap_or(0)
    }

    fn say(&mut self, text: &str) {
        self.say_on(0, 0, text);
    }

    fn say_on(&mut self, channel: u32, timestamp_us: u64, text: &str) {
        let message = Outgoing {
            msg_id: "m".into(),
            msg_type: MsgType::Chat,
            sender: "a".into(),
            content: Content::of(&text),
            timestamp_us,
            priority: Priority::Chat,
            channel,
            delivery: Delivery::default(),
        };
        self.ends[0].connection.send(self.now, message).expect("tests stay within the bounds");
    }

    /// What is on its way is lost with the carriers before.
    fn go_on_over(&mut self, carrier: impl Fn() -> Carrier) {
        self.wire.clear();
        for end in &mut self.ends {
            end.carrier = carrier();
            end.connection.set_carrier(end.carrier.hint());
            end.connection.rebind(self.now);
        }
    }

    fn drain(&mut self) {
        for from in 0..2 {
            let end = &mut self.ends[from];
            while let Some(bytes) = end.carrier.poll_transmit(self.now, &mut end.connection) {
                let length = bytes.len() + self.sealing;
                end.lengths.push(length);
                self.count += 1;
                let is_unlucky = self.lose_every > 0 && end.lengths.len().is_multiple_of(self.lose_every);
                if from == 1 || length <= self.mtu && !is_unlucky {
                    self.wire.insert((self.now + DELAY, self.count), (1 - from, bytes));
                }
            }
            while let Some(event) = end.connection.poll_event() {
                match event {
                    Event::Message(message) => end.texts.push(message.content.parse().expect("a text")),
                    Event::Acked { .. } => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    fn run_until(&mut self, end: Timestamp) {
        loop {
            self.drain();
            let arrival = self.wire.first_key_value().map(|(&(at, _), _)| at);
            let deadlines = self.ends.iter().filter_map(|end| end.connection.poll_timeout()).min();
            let Some(next) = arrival.into_iter().chain(deadlines).min().filter(|&next| next <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let (_, (to, bytes)) = self.wire.pop_first().expect("its key was just seen");
                let mut packets = Vec::new();
                let end = &mut self.ends[to];
                end.carrier.receive(&bytes, &mut packets).expect("a datagram of this session");
                for raw in packets {
                    let mut packet = Packet::default();
                    end.carrier.decode_into(&raw, &mut packet).expect("what a carrier writes can be read");
                    end.connection.handle_packet(self.now, packet);
                }
            } else {
                self.ends.iter_mut().for_each(|end| end.connection.handle_timeout(self.now));
            }
        }
    }

    /// Eight short lines at once, every `gap`: enough to fill a datagram of any length.
    fn talk(&mut self, rounds: usize, gap: Duration) {
        for _ in 0..rounds {
            for _ in 0..8 {
                self.say(&"x".repeat(200));
            }
            self.run_until(self.now + gap);
        }
    }
}

fn each_form() -> impl Iterator<Item = (bool, bool)> {
    [(false, false), (false, true), (true, false), (true, true)].into_iter()
}

#[test]
fn a_good_path_gets_long_datagrams_after_one_probe() {
    for (binary, sealed) in each_form() {
        let mut world = World::new(1500, binary, sealed);
        world.talk(20, 100 * MS);
        world.run_until(world.now + Duration::from_secs(1));
        assert_eq!(world.longest(), 1452, "binary {binary}, sealed {sealed}");
        assert_eq!((world.a().stats().length_probes, world.a().stats().packets_lost), (1, 0));
        assert_eq!(world.ends[1].texts.len(), 160);
        assert!(world.ends[0].lengths.iter().filter(|&&length| length > MAX_DATAGRAM_BYTES).count() > 10);
        // B has said nothing that was acknowledged, and has nothing to gain.
        assert_eq!(world.ends[1].connection.stats().length_probes, 0);
    }
}

#[test]
fn the_search_ends_within_a_step_of_a_narrower_path_and_costs_no_message_and_no_window() {
    for (binary, sealed) in each_form() {
        let mut world = World::new(1400, binary, sealed);
        world.talk(40, 100 * MS);
        world.run_until(world.now + Duration::from_secs(1));
        let (sent, carried) = (&world.ends[0].lengths, world.carried());
        assert!((1400 - 16..=1400).contains(&carried), "{carried}: binary {binary}, sealed {sealed}");
        let stats = world.a().stats();
        assert!(stats.length_probes <= 3 * 6, "{} probes", stats.length_probes);
        assert_eq!((stats.black_holes, stats.retransmits, world.ends[1].texts.len()), (0, 0, 320));
        let sent_late = &sent[sent.len() - 20..];
        assert!(sent_late.iter().all(|&length| length <= 1400), "the search is over: {sent_late:?}");
        // No controller was told of a loss.
        assert_eq!(world.a().metrics().ssthresh, None);
    }
}

#[test]
fn a_path_that_swallows_long_datagrams_is_found_out_within_three_probe_timeouts() {
    for (binary, sealed) in each_form() {
        let mut world = World::new(1500, binary, sealed);
        world.talk(20, 100 * MS);
        assert_eq!(world.longest(), 1452);
        world.mtu = 1240;
        let (narrowed, before) = (world.now, world.a().stats().probe_timeouts);
        world.talk(20, 100 * MS);
        let stats = *world.a().stats();
        assert_eq!(stats.black_holes, 1, "binary {binary}, sealed {sealed}");
        let timeouts = stats.probe_timeouts - before;
        assert!(timeouts <= 3, "{timeouts} probe timeouts");
        world.run_until(narrowed + Duration::from_secs(5));
        assert_eq!(world.ends[1].texts.len(), 320);
        // The search that follows finds what the path carries now.
        world.ends[0].lengths.clear();
        world.run_until(narrowed + Duration::from_secs(12));
        world.talk(60, 100 * MS);
        let (carried, last) = (world.carried(), world.ends[0].lengths.len() - 50);
        assert!((1240 - 16..=1240).contains(&carried), "{carried}: binary {binary}, sealed {sealed}");
        assert!(world.ends[0].lengths[last..].iter().all(|&length| length <= 1240), "the search is over");
        assert_eq!((world.a().stats().black_holes, world.ends[1].texts.len()), (1, 800));
    }
}

#[test]
fn losses_that_have_nothing_to_do_with_the_length_are_no_black_hole() {
    let mut world = World::new(1500, true, false);
    world.lose_every = 7;
    world.talk(300, 50 * MS);
    world.run_until(world.now + Duration::from_secs(2));
    assert_eq!((world.a().stats().black_holes, world.longest(), world.ends[1].texts.len()), (0, 1452, 2400));
    let lost = world.ends[0].connection.stats().packets_lost;
    assert!(lost > 50, "{lost} lost");
}

#[test]
fn another_path_is_searched_anew_and_another_port_is_not() {
    let mut world = World::new(1500, true, false);
    world.talk(10, 100 * MS);
    world.ends[0].connection.on_migrated(world.now, true);
    assert!(world.a().metrics().srtt.is_some());
    world.talk(2, 100 * MS);
    assert_eq!(world.a().stats().length_probes, 1);
    world.ends[0].connection.on_migrated(world.now, false);
    assert_eq!(world.a().metrics().srtt, None);
    world.ends[0].lengths.clear();
    world.talk(1, MS);
    assert!(world.longest() <= MAX_DATAGRAM_BYTES, "{}", world.longest());
    world.talk(4, 100 * MS);
    assert_eq!((world.a().stats().length_probes, world.longest()), (2, 1452));
}

#[test]
fn losses_from_before_a_move_to_another_host_are_no_congestion_there() {
    for is_same_host in [false, true] {
        let mut world = World::new(1500, true, false);
        world.talk(10, 100 * MS);
        world.mtu = 0;
        world.talk(1, 5 * MS);
        world.mtu = 1500;
        world.ends[0].connection.on_migrated(world.now, is_same_host);
        world.talk(10, 100 * MS);
        let was_reduced = world.a().metrics().ssthresh.is_some();
        assert_eq!((was_reduced, world.ends[1].texts.len()), (is_same_host, 168));
    }
}

#[test]
fn an_ack_of_a_skipped_number_ends_the_session_and_honest_ones_do_not() {
    let config = TransportConfig { skip_seed: Some(3), ..TransportConfig::default() };
    let mut pair = super::pair::Pair::with_config(
        super::pair::Path { delay: 5 * MS, ..super::pair::Path::default() },
        config,
    );
    for _ in 0..600 {
        pair.say(Side::A, 0, "a line");
        pair.run_until(pair.now() + 20 * MS);
    }
    let violated =
        |pair: &super::pair::Pair| pair.a.events.iter().any(|event| matches!(event, Event::Violation { .. }));
    assert!(!violated(&pair), "the honest peer is accused");
    let sent: Vec<u64> = pair
        .a
        .trace
        .iter()
        .filter_map(|event| match event.kind {
            TraceKind::Sent { packet, .. } => Some(packet),
            _ => None,
        })
        .collect();
    let last = *sent.last().unwrap();
    assert!((sent.len() as u64) < last, "no number of {last} was skipped");
    // What an optimist acknowledges: everything there must have been by now.
    pair.inject_ack(Side::A, &format!(r#"{{"ranges":[[1,{last}]]}}"#));
    assert!(violated(&pair));
}

#[test]
fn what_was_cut_for_a_plain_carrier_or_a_stream_goes_on_over_a_sealed_one() {
    for is_stream in [false, true] {
        let mut world = World::new(1500, false, false);
        let at = 1_795_258_600_123_456;
        // Numbers of many digits, so that the envelope takes the room that cutting leaves it.
        for number in 0..300 {
            world.say_on(1000, at, &number.to_string());
        }
        world.run_until(Timestamp::from_secs(5));
        // In several pieces, and the longest that is left whole by a cut to 1,185 bytes. None of them arrives.
        let said = ["x".repeat(1500), "y".repeat(1185 - 188)];
        said.iter().for_each(|text| world.say_on(1000, at, text));
        world.mtu = 0;
        if is_stream {
            world.go_on_over(Carrier::stream);
        }
        world.run_until(Timestamp::from_secs(6));
        world.go_on_over(|| Carrier::sealed_datagram(7));
        (world.mtu, world.sealing) = (1500, SEALING_BYTES);
        world.run_until(Timestamp::from_secs(30));
        assert_eq!(world.ends[1].texts[300..], said, "over a stream first: {is_stream}");
        assert!(world.a().is_settled());
    }
}
