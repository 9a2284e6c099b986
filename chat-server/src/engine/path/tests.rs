use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::path::forms;
use chat_core::wire::Codec;
use chat_core::{Frame, Order, Priority};
use units::Seed;

use super::*;
use crate::engine::EngineConfig;

const PEER: PeerId = PeerId(1);
/// What sealing adds to a binary datagram.
const SEAL: usize = 20;

/// A client whose connection is at `home`, and the server.
struct World {
    engine: Engine,
    client: Carrier,
    now: Timestamp,
    packets: u64,
    home: SocketAddr,
}

impl World {
    fn new(carrier: impl Fn() -> Carrier, codec: Codec) -> Self {
        let home = "192.0.2.1:4000".parse().unwrap();
        let mut engine = Engine::new(EngineConfig::new(Seed::root(1)));
        engine.connect(Timestamp::ZERO, PEER, carrier(), "test".to_owned());
        engine.locate(PEER, home);
        let mut world = Self { engine, client: carrier(), now: Timestamp::ZERO, packets: 0, home };
        let hello = format!(r#"{{"version":1,"user":"alice","codec":"{codec}"}}"#);
        world.from(home, MsgType::Hello, &hello);
        if codec == Codec::Binary {
            world.client.speak_binary("alice".into(), "server".into());
        }
        world
    }

    /// A frame of the client in a datagram from `from`; its plain length. `hello` and answers have no number.
    fn from(&mut self, from: SocketAddr, msg_type: MsgType, content: &str) -> usize {
        let is_numbered = msg_type == MsgType::Heartbeat;
        self.packets += u64::from(is_numbered);
        let frame = Frame {
            msg_id: "".into(),
            msg_type,
            sender: "alice".into(),
            content: Content::from_json(content),
            timestamp_us: 1_795_258_600_000_000,
            priority: Priority::Control,
            sequence_number: 0,
            packet: if is_numbered { self.packets } else { 0 },
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        };
        let datagram = self.client.wrap_agreed(&frame);
        self.engine.handle_datagram(self.now, PEER, from, Ecn::NotEct, &datagram);
        datagram.len()
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.engine.poll_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.engine.handle_timeout(self.now);
        }
        self.now = end;
    }

    /// Challenges that left, with where to and as they were written, and the last address that everything is to go to.
    fn challenges(&mut self) -> (Vec<(SocketAddr, Bytes)>, Option<SocketAddr>) {
        let (mut challenges, mut moved) = (Vec::new(), None);
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::TransmitTo { to, bytes, .. } => challenges.push((to, bytes)),
                Output::Migrate { to, .. } => moved = Some(to),
                Output::Transmit { .. } | Output::Close { .. } => {}
            }
        }
        (challenges, moved)
    }

    fn read(&mut self, datagram: &[u8]) -> Frame {
        let mut packets = Vec::new();
        self.client.receive(datagram, &mut packets).unwrap();
        let mut packet = Packet::default();
        self.client.decode_into(&packets[0], &mut packet).unwrap();
        packet.frames.remove(0)
    }
}

fn elsewhere() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

#[test]
fn challenges_and_answers_are_in_the_codec_that_was_agreed() {
    for (codec, form) in [(Codec::Json, b'S'), (Codec::Binary, forms::PLAIN)] {
        let mut world = World::new(|| Carrier::datagram(7), codec);
        world.from(elsewhere(), MsgType::Heartbeat, "{}");
        world.from(elsewhere(), MsgType::Heartbeat, "{}");
        // One bare heartbeat in binary does not pay for a question yet; the second does when it is repeated.
        world.wait(Duration::from_secs(1));
        let (challenges, moved) = world.challenges();
        let (to, bytes) = challenges.iter().find(|(to, _)| *to == elsewhere()).expect("a question");
        assert_eq!((*to, bytes[0], moved), (elsewhere(), form, None), "{codec}");
        let question = world.read(bytes);
        assert_eq!(question.msg_type, MsgType::PathChallenge);
        world.from(elsewhere(), MsgType::PathResponse, question.content.as_str());
        world.wait(Duration::from_secs(1));
        assert_eq!(world.challenges().1, Some(elsewhere()), "{codec}");
    }
}

#[test]
fn a_peer_is_where_its_flow_is_also_if_its_first_datagram_comes_from_elsewhere() {
    let mut world = World::new(|| Carrier::datagram(7), Codec::Binary);
    world.from(world.home, MsgType::Heartbeat, "{}");
    assert!(world.challenges().0.is_empty());
    let mut engine = Engine::new(EngineConfig::new(Seed::root(1)));
    engine.connect(Timestamp::ZERO, PEER, Carrier::datagram(7), "test".to_owned());
    engine.locate(PEER, world.home);
    let mut moved = World { engine, client: Carrier::datagram(7), packets: 0, ..world };
    moved.from(elsewhere(), MsgType::Hello, r#"{"version":1,"user":"alice"}"#);
    moved.from(elsewhere(), MsgType::Heartbeat, "{}");
    let (challenges, migrated) = moved.challenges();
    let asked: Vec<_> = challenges.iter().map(|(to, _)| *to).collect();
    assert_eq!((asked, migrated), (vec![elsewhere(), moved.home], None), "nothing goes there unasked");
}

#[test]
fn seals_count_in_what_an_unproven_address_is_sent() {
    let mut world = World::new(|| Carrier::sealed_datagram(7), Codec::Binary);
    world.challenges();
    let mut received = world.from(elsewhere(), MsgType::Heartbeat, "{}") + SEAL;
    let mut sent = 0;
    for round in 0..5 {
        world.wait(Duration::from_secs(2));
        let asked = world.challenges().0.into_iter().filter(|(to, _)| *to == elsewhere());
        sent += asked.map(|(_, bytes)| bytes.len() + SEAL).sum::<usize>();
        assert!(sent <= 3 * received, "round {round}: {sent} of {received}");
        received += world.from(elsewhere(), MsgType::Heartbeat, "{}") + SEAL;
    }
    assert!(sent > 0, "one that is encrypted has enough of a datagram to be asked");
}
