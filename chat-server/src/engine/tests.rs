//! The engine against hand-made peers: what good, bad and silent ones get.

use chat_core::wire::{FrameReader, Origin, PacketForm, PacketWriter};

use super::*;

/// A stream peer that speaks frames by hand, as a client in another language would.
struct Peer {
    id: PeerId,
    reader: FrameReader,
    next: u64,
    closed: bool,
}

struct World {
    engine: Engine,
    now: Timestamp,
    peers: Vec<Peer>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut EngineConfig)) -> Self {
        let mut config = EngineConfig::new(Seed::root(1));
        change(&mut config);
        Self { engine: Engine::new(config), now: Timestamp::ZERO, peers: Vec::new() }
    }

    fn connect(&mut self) -> usize {
        let id = PeerId(self.peers.len() as u64 + 1);
        self.engine.connect(self.now, id, Carrier::stream(), format!("test:{}", id.0));
        self.peers.push(Peer { id, reader: FrameReader::new(1 << 20), next: 0, closed: false });
        self.peers.len() - 1
    }

    /// Feeds raw bytes of one peer and returns the frames that came back to it.
    fn bytes(&mut self, peer: usize, bytes: &[u8]) -> Vec<Frame> {
        self.engine.handle_bytes(self.now, self.peers[peer].id, bytes);
        self.drain();
        self.frames(peer)
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            match output {
                Output::Transmit { peer, bytes } => {
                    self.peers[peer.0 as usize - 1].reader.push(&bytes);
                }
                Output::Close { peer } => self.peers[peer.0 as usize - 1].closed = true,
                Output::TransmitTo { .. } | Output::Migrate { .. } => unreachable!("streams do not move"),
            }
        }
    }

    /// Frames that came to a peer, acks left out.
    fn frames(&mut self, peer: usize) -> Vec<Frame> {
        let reader = &mut self.peers[peer].reader;
        std::iter::from_fn(|| reader.poll_frame().unwrap())
            .flat_map(|body| Packet::decode(&body).unwrap().frames)
            .filter(|frame| frame.msg_type != MsgType::Ack)
            .collect()
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.engine.poll_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.engine.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn say(&mut self, peer: usize, msg_type: &str, content: &str) -> Vec<Frame> {
        self.peers[peer].next += 1;
        let number = self.peers[peer].next;
        let bytes = wire(&frame(msg_type, content, number));
        self.bytes(peer, &bytes)
    }

    fn hello(&mut self, peer: usize, user: &str, resume: Option<&str>) -> Vec<Frame> {
        let resume = resume.map_or(String::new(), |token| format!(",\"resume\":\"{token}\""));
        let content = format!("{{\"version\":1,\"user\":\"{user}\"{resume}}}");
        let bytes = wire(&frame("hello", &content, 0));
        self.bytes(peer, &bytes)
    }

    fn enter(&mut self, user: &str) -> (usize, String) {
        let peer = self.connect();
        let welcome = self.hello(peer, user, None).remove(0);
        let welcome: serde_json::Value = welcome.content.parse().unwrap();
        (peer, welcome["resume_token"].as_str().unwrap().to_owned())
    }
}

fn frame(msg_type: &str, content: &str, number: u64) -> Frame {
    Frame {
        msg_id: format!("m{number}").into(),
        msg_type: MsgType::from_name(msg_type),
        sender: "me".into(),
        content: Content::from_json(content),
        timestamp_us: 0,
        priority: Priority::Chat,
        sequence_number: number,
        packet: number,
        channel: 0,
        order: Order::Ordered,
        fragment: None,
    }
}

fn wire(frame: &Frame) -> Vec<u8> {
    Carrier::stream().wrap(frame).to_vec()
}

fn error_code(frame: &Frame) -> String {
    assert_eq!(frame.msg_type, MsgType::Error, "{frame:?}");
    let content: serde_json::Value = frame.content.parse().unwrap();
    content["code"].as_str().unwrap().to_owned()
}

#[test]
fn two_users_talk_in_a_room() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    let (bob, _) = world.enter("bob");
    world.say(alice, "join", r#"{"room":"lobby"}"#);
    world.say(bob, "join", r#"{"room":"lobby"}"#);
    world.frames(alice);
    world.say(bob, "chat", r#"{"room":"lobby","text":"hi"}"#);
    let heard = world.frames(alice);
    assert_eq!((heard[0].msg_type.clone(), &*heard[0].sender), (MsgType::Chat, "bob"));
}

#[test]
fn each_kind_of_garbage_gets_an_error_and_is_counted_while_others_go_on() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    world.say(alice, "join", r#"{"room":"lobby"}"#);

    let http = world.connect();
    let answer = world.bytes(http, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(error_code(&answer[0]), "frame_too_long");
    let huge = world.connect();
    let answer = world.bytes(huge, &u32::MAX.to_be_bytes());
    assert_eq!(error_code(&answer[0]), "frame_too_long");
    let garbage = world.connect();
    let answer = world.bytes(garbage, b"\0\0\0\x05hello");
    assert_eq!(error_code(&answer[0]), "malformed");
    let early = world.connect();
    let answer = world.say(early, "chat", r#"{"room":"lobby","text":"hi"}"#);
    assert_eq!(error_code(&answer[0]), "hello_first");
    for peer in [http, huge, garbage, early] {
        assert!(world.peers[peer].closed);
    }

    let half = world.connect();
    world.bytes(half, &[0, 0, 1]);
    let silent = world.connect();
    world.wait(Duration::from_secs(11));
    for peer in [half, silent] {
        let frames = world.frames(peer);
        assert_eq!(error_code(&frames[0]), "hello_timeout");
        assert!(world.peers[peer].closed);
    }

    let events = world.engine.stats(world.now).events;
    let seen = (events.frames_too_long, events.malformed, events.hello_first, events.hello_timeouts);
    assert_eq!(seen, (2, 1, 1, 2));
    let answer = world.say(alice, "rooms", "{}");
    // This peer acknowledges nothing, so earlier answers come again beside the new one.
    assert!(answer.iter().any(|frame| frame.msg_type == MsgType::Rooms), "alice is served as before");
}

#[test]
fn a_bad_checksum_gets_a_nack_with_the_packet_and_the_connection_lives_on() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    world.peers[alice].next = 1;
    let mut bytes = wire(&frame("rooms", r#"{"x":"yyyy"}"#, 1));
    let at = bytes.windows(4).position(|window| window == b"yyyy").unwrap();
    bytes[at] ^= 1;
    let answer = world.bytes(alice, &bytes);
    assert_eq!(answer[0].msg_type, MsgType::Nack);
    assert!(answer[0].content.as_str().starts_with("{\"packet\":1,"));
    let again = wire(&frame("rooms", r#"{"x":"yyyy"}"#, 1));
    assert_eq!(world.bytes(alice, &again)[0].msg_type, MsgType::Rooms);
    assert_eq!(world.engine.stats(world.now).events.bad_checksums, 1);
}

#[test]
fn an_unknown_type_gets_an_error_and_the_connection_lives_on() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    let answer = world.say(alice, "dance", "{}");
    assert_eq!(error_code(&answer[0]), "unknown_type");
    assert_eq!(world.say(alice, "rooms", "{}")[0].msg_type, MsgType::Rooms);
    assert_eq!(world.engine.stats(world.now).chat.unknown_types, 1);
}

#[test]
fn names_are_checked_and_taken_once() {
    let mut world = World::new();
    world.enter("alice");
    let twin = world.connect();
    assert_eq!(error_code(&world.hello(twin, "alice", None)[0]), "name_taken");
    let odd = world.connect();
    assert_eq!(error_code(&world.hello(odd, "a b", None)[0]), "bad_name");
    assert!(world.peers[odd].closed);
}

/// Says hello with this codec, and gives the codec of the welcome.
fn agreed(world: &mut World, peer: usize, user: &str, codec: &str, resume: &str) -> (String, String) {
    let resume = if resume.is_empty() { String::new() } else { format!(",\"resume\":\"{resume}\"") };
    let content = format!("{{\"version\":1,\"codec\":\"{codec}\",\"user\":\"{user}\"{resume}}}");
    let frames = world.bytes(peer, &wire(&frame("hello", &content, 0)));
    let welcome: chat_core::message::Welcome = frames[0].content.parse().unwrap();
    (welcome.codec, welcome.resume_token)
}

/// A packet that a client called `user` writes once binary is agreed.
fn binary(frames: &[Frame], user: &str) -> Vec<u8> {
    let origin = Origin { name: user.into(), ..Origin::default() };
    let mut out = vec![0; 4];
    let mut writer = PacketWriter::new(&mut out, PacketForm::BinaryStream, 1000).from(&origin);
    assert!(frames.iter().all(|frame| writer.put(frame)));
    let length = u32::try_from(writer.finish()).unwrap();
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

#[test]
fn the_codec_is_what_the_client_asks_for_and_the_server_has() {
    let mut world = World::new();
    let peer = world.connect();
    assert_eq!(agreed(&mut world, peer, "alice", "binary", "").0, "binary");
    let joins =
        [frame("join", r#"{"room":"lobby"}"#, 1)].map(|join| Frame { sender: "alice".into(), ..join });
    world.engine.handle_bytes(world.now, world.peers[peer].id, &binary(&joins, "alice"));
    world.drain();
    let bodies: Vec<_> = std::iter::from_fn(|| world.peers[peer].reader.poll_frame().unwrap()).collect();
    assert!(bodies.iter().all(|body| body[0] < 0x20), "all of it is binary");
    // The server leaves out its own name, and a reader who does not know who wrote has none to put there.
    let packets: Vec<Packet> = bodies.iter().map(|body| Packet::decode(body).unwrap()).collect();
    assert_eq!(packets.iter().map(|packet| packet.acks.len()).sum::<usize>(), 1);
    let answer = packets.iter().flat_map(|packet| &packet.frames).next().unwrap();
    assert_eq!((&answer.msg_type, &*answer.sender), (&MsgType::Join, ""));
    assert!(answer.content.as_str().contains("\"reply_to\":\"m1\""));

    let plain = world.connect();
    assert_eq!(agreed(&mut world, plain, "bob", "json", "").0, "json");
    let other = world.connect();
    let content = r#"{"version":1,"codec":"smoke","user":"carol"}"#;
    let frames = world.bytes(other, &wire(&frame("hello", content, 0)));
    assert_eq!(error_code(&frames[0]), "unsupported");

    let mut json_only = World::with(|config| config.binary = false);
    let peer = json_only.connect();
    assert_eq!(agreed(&mut json_only, peer, "alice", "binary", "").0, "json");
}

#[test]
fn a_session_goes_on_in_another_codec() {
    let mut world = World::new();
    let alice = world.connect();
    let (_, token) = agreed(&mut world, alice, "alice", "binary", "");
    let (bob, _) = world.enter("bob");
    let join = Frame { sender: "alice".into(), ..frame("join", r#"{"room":"lobby"}"#, 1) };
    world.bytes(alice, &binary(&[join], "alice"));
    world.say(bob, "join", r#"{"room":"lobby"}"#);
    world.engine.disconnect(world.now, world.peers[alice].id);
    world.say(bob, "chat", r#"{"room":"lobby","text":"meanwhile"}"#);
    let back = world.connect();
    let frames = world.hello(back, "alice", Some(&token));
    let chat = frames.iter().find(|frame| frame.msg_type == MsgType::Chat).unwrap();
    assert_eq!(&*chat.sender, "bob");
    assert!(chat.content.as_str().contains("meanwhile"));
}

#[test]
fn a_repeated_hello_gets_the_same_welcome() {
    let mut world = World::new();
    let peer = world.connect();
    let first = world.hello(peer, "alice", None);
    let second = world.hello(peer, "alice", None);
    assert_eq!(first[0].content, second[0].content);
    assert_eq!(world.engine.stats(world.now).events.sessions_started, 1);
}

#[test]
fn a_session_outlives_its_carrier_and_what_was_said_meanwhile_comes_once_in_order() {
    let mut world = World::new();
    let (alice, token) = world.enter("alice");
    let (bob, _) = world.enter("bob");
    world.say(alice, "join", r#"{"room":"lobby"}"#);
    world.say(bob, "join", r#"{"room":"lobby"}"#);
    world.frames(alice);
    world.engine.disconnect(world.now, world.peers[alice].id);
    for text in ["one", "two"] {
        world.say(bob, "chat", &format!(r#"{{"room":"lobby","text":"{text}"}}"#));
        world.wait(Duration::from_secs(1));
    }
    let back = world.connect();
    let frames = world.hello(back, "alice", Some(&token));
    assert!(frames[0].content.as_str().contains("\"resumed\":true"));
    let numbered = |frame: &Frame| frame.msg_type == MsgType::Chat;
    let lines: Vec<Frame> = frames.into_iter().filter(numbered).collect();
    let texts: Vec<String> =
        lines.iter().map(|line| line.content.parse::<chat_core::message::Line>().unwrap().text).collect();
    assert_eq!(texts, ["one", "two"]);
}

#[test]
fn a_session_that_nobody_comes_back_to_expires_and_frees_its_name() {
    let mut world = World::new();
    let (alice, token) = world.enter("alice");
    world.engine.disconnect(world.now, world.peers[alice].id);
    world.wait(Duration::from_secs(61));
    assert_eq!(world.engine.stats(world.now).events.sessions_expired, 1);
    let back = world.connect();
    let frames = world.hello(back, "alice", Some(&token));
    assert!(frames[0].content.as_str().contains("\"resumed\":false"));
}

#[test]
fn a_client_whose_welcome_got_lost_finds_its_session_by_its_nonce() {
    let mut world = World::new();
    let hello = |attempt: u64, nonce: &str| {
        let content = format!(r#"{{"version":1,"user":"alice","attempt":{attempt},"nonce":"{nonce}"}}"#);
        wire(&frame("hello", &content, 0))
    };
    let first = world.connect();
    world.bytes(first, &hello(1, "0123456789abcdef"));
    let thief = world.connect();
    assert_eq!(error_code(&world.bytes(thief, &hello(1, "fedcba9876543210"))[0]), "name_taken");
    let second = world.connect();
    assert_eq!(world.bytes(second, &hello(2, "0123456789abcdef"))[0].msg_type, MsgType::Welcome);
    assert_eq!(world.engine.stats(world.now).events.sessions_started, 1);
    let guess = world.connect();
    assert_eq!(error_code(&world.bytes(guess, &hello(3, ""))[0]), "name_taken");
}

#[test]
fn a_late_copy_of_an_old_hello_does_not_take_the_session_back() {
    let mut world = World::new();
    let hello = |attempt: u64, token: &str| {
        let content = format!(r#"{{"version":1,"user":"alice","attempt":{attempt},"resume":"{token}"}}"#);
        wire(&frame("hello", &content, 0))
    };
    let (first, token) = world.enter("alice");
    world.engine.disconnect(world.now, world.peers[first].id);
    let second = world.connect();
    assert_eq!(world.bytes(second, &hello(3, &token))[0].msg_type, MsgType::Welcome);
    let late = world.connect();
    assert!(world.bytes(late, &hello(2, &token)).is_empty());
    assert!(!world.peers[second].closed);
    assert_eq!(world.engine.stats(world.now).events.hellos_stale, 1);
}

#[test]
fn another_users_token_does_not_open_a_session() {
    let mut world = World::new();
    let (_, token) = world.enter("alice");
    let thief = world.connect();
    let frames = world.hello(thief, "mallory", Some(&token));
    assert!(frames[0].content.as_str().contains("\"resumed\":false"));
    assert!(frames[0].content.as_str().contains("\"user\":\"mallory\""));
}

#[test]
fn a_reader_that_never_acknowledges_is_ended_at_its_bound_and_delays_nobody() {
    let mut world = World::with(|config| config.transport.max_queued_messages = 50);
    let (slow, _) = world.enter("slow");
    let (bob, _) = world.enter("bob");
    for peer in [slow, bob] {
        world.say(peer, "join", r#"{"room":"lobby"}"#);
    }
    for number in 0..60 {
        world.say(bob, "chat", &format!(r#"{{"room":"lobby","text":"{number}"}}"#));
    }
    assert!(world.peers[slow].closed);
    let last = world.frames(slow).pop().unwrap();
    assert_eq!(error_code(&last), "slow_consumer");
    let events = world.engine.stats(world.now).events;
    assert_eq!((events.slow_consumers, events.slow_consumer_messages), (1, 50));
    assert_eq!(world.say(bob, "rooms", "{}")[0].msg_type, MsgType::Rooms);
}

#[test]
fn simulated_loss_and_delay_act_on_live_connections_at_once_and_end_by_themselves() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    let simulation = Simulation {
        loss: units::Probability::ZERO,
        delay: Duration::from_millis(50),
        duration: Some(Duration::from_secs(5)),
    };
    world.engine.simulate(world.now, Some(simulation));
    assert!(world.say(alice, "rooms", "{}").is_empty(), "still under way");
    world.wait(Duration::from_millis(99));
    assert!(world.frames(alice).is_empty());
    world.wait(Duration::from_millis(2));
    assert_eq!(world.frames(alice)[0].msg_type, MsgType::Rooms);
    let status = world.engine.stats(world.now).simulation.unwrap();
    assert!(status.active && status.delay_ms == 50.0 && status.counters.up_offered == 1);

    world.wait(Duration::from_secs(6));
    assert_eq!(world.say(alice, "rooms", "{}")[0].msg_type, MsgType::Rooms);
    assert!(!world.engine.stats(world.now).simulation.unwrap().active);

    world.engine.simulate(world.now, Some(Simulation { loss: units::Probability::ONE, ..simulation }));
    assert!(world.say(alice, "rooms", "{}").is_empty());
    world.wait(Duration::from_secs(1));
    assert!(world.frames(alice).is_empty());
    assert_eq!(world.engine.stats(world.now).simulation.unwrap().counters.up_dropped, 1);
}

#[test]
fn a_deadline_that_stays_in_the_past_is_taken_once_a_call() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    // Against all rules: a session whose carrier is gone without a word, so that its heartbeat never leaves and stays due.
    world.engine.peers.remove(&world.peers[alice].id);
    let session = world.engine.sessions.values().next().unwrap();
    world.now = session.connection.poll_timeout().unwrap();
    for _ in 0..3 {
        world.engine.handle_timeout(world.now);
        assert!(world.engine.poll_timeout().is_some_and(|at| at <= world.now), "still due");
    }
}

#[test]
fn an_operator_can_list_kick_announce_and_close() {
    let mut world = World::new();
    let (alice, _) = world.enter("alice");
    let (bob, _) = world.enter("bob");
    assert_eq!(world.engine.clients(world.now).len(), 2);
    assert_eq!(world.engine.broadcast(world.now, "maintenance at noon"), 2);
    world.drain();
    assert_eq!(world.frames(alice)[0].msg_type, MsgType::System);
    assert!(world.engine.kick(world.now, "nobody", "spam").is_err());
    world.engine.kick(world.now, "alice", "spam").unwrap();
    world.drain();
    assert!(world.peers[alice].closed && !world.peers[bob].closed);
    world.engine.start_drain(world.now, "restarting");
    let late = world.connect();
    assert_eq!(error_code(&world.hello(late, "carol", None)[0]), "shutting_down");
    world.engine.close_all(world.now);
    world.drain();
    assert!(world.peers[bob].closed);
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_the_engine_panic(
        pieces in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 0..80), 0..20),
        greet in proptest::prelude::any::<bool>(),
    ) {
        let mut world = World::new();
        let peer = if greet { world.enter("alice").0 } else { world.connect() };
        for piece in pieces {
            world.engine.handle_bytes(world.now, world.peers[peer].id, &piece);
            while world.engine.poll_output().is_some() {}
        }
        world.engine.connect(world.now, PeerId(99), Carrier::datagram(7), String::new());
        world.engine.handle_bytes(world.now, PeerId(99), b"SQ\x01\0\0\0\0\0\0\0\x07\0\0\0\x02{}");
    }
}
