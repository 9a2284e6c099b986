//! A session against the real engine, over a path made by hand, in virtual time.

use std::collections::BTreeMap;

use chat_core::message::ErrorCode;
use chat_core::wire::Packet;

use super::*;

/// What the test plays: the network between one session and a server that answers by hand.
struct World {
    session: Session,
    now: Timestamp,
    connects: usize,
    /// Frames that left, by type.
    left: Vec<Frame>,
    /// Binary packets that left.
    binary: usize,
    reader: Carrier,
    events: Vec<SessionEvent>,
}

impl World {
    fn new() -> Self {
        Self::speaking(Codec::Json)
    }

    fn speaking(codec: Codec) -> Self {
        let config =
            SessionConfig { codec, ..SessionConfig::new("alice", CarrierKind::Stream, Seed::root(3)) };
        let mut world = Self {
            session: Session::new(Timestamp::ZERO, config),
            now: Timestamp::ZERO,
            connects: 0,
            left: Vec::new(),
            binary: 0,
            reader: Carrier::stream(),
            events: Vec::new(),
        };
        world.session.start(world.now);
        world.drain();
        world
    }

    fn drain(&mut self) {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Connect => {
                    self.connects += 1;
                    self.reader = Carrier::stream();
                }
                Output::Transmit(bytes) => {
                    let mut packets = Vec::new();
                    self.reader.receive(&bytes, &mut packets).unwrap();
                    self.binary += packets.iter().filter(|raw| raw[0] < 0x20).count();
                    self.left.extend(packets.iter().flat_map(|raw| Packet::decode(raw).unwrap().frames));
                }
                Output::Close => {}
            }
        }
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    fn wait(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.session.poll_timeout().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.session.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    fn connected(&mut self) {
        self.session.on_connected(self.now);
        self.drain();
    }

    fn serve(&mut self, msg_type: MsgType, content: &str, number: u64) {
        let frame = Frame {
            msg_id: "s".into(),
            msg_type,
            sender: "server".into(),
            content: Content::from_json(content),
            timestamp_us: 0,
            priority: Priority::Control,
            sequence_number: number,
            packet: number,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        };
        self.session.handle_bytes(self.now, &Carrier::stream().wrap(&frame));
        self.drain();
    }

    fn welcome(&mut self, resumed: bool) {
        self.welcome_in("json", resumed);
    }

    fn welcome_in(&mut self, codec: &str, resumed: bool) {
        let attempt = self.session.attempt;
        let content = format!(
            r#"{{"version":1,"session":1,"resume_token":"t0","resumed":{resumed},"user":"alice","attempt":{attempt},
            "codec":"{codec}",
            "heartbeat_ms":5000,"idle_timeout_ms":20000,
            "limits":{{"frame_bytes":1,"message_bytes":1,"text_bytes":1,"rooms_per_user":1}}}}"#
        );
        self.serve(MsgType::Welcome, &content, 0);
    }

    fn sent(&self, msg_type: &MsgType) -> Vec<&Frame> {
        self.left.iter().filter(|frame| frame.msg_type == *msg_type).collect()
    }

    fn count(&self) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for frame in &self.left {
            *count.entry(frame.msg_type.as_str().to_owned()).or_default() += 1;
        }
        count
    }
}

#[test]
fn hello_is_repeated_until_welcome_comes() {
    let mut world = World::new();
    world.connected();
    world.wait(Duration::from_millis(1600));
    assert_eq!(world.count()["hello"], 3, "at 0, 0.5 and 1.5 s");
    world.welcome(false);
    world.wait(Duration::from_secs(3));
    assert_eq!(world.count()["hello"], 3);
    assert!(world.session.is_ready());
}

#[test]
fn the_codec_changes_with_the_welcome_and_with_each_carrier() {
    let mut world = World::speaking(Codec::Binary);
    world.session.join(world.now, "lobby").unwrap();
    world.connected();
    assert_eq!(world.sent(&MsgType::Hello).len(), 1);
    assert_eq!(world.binary, 0, "a hello is JSON");
    world.welcome_in("binary", false);
    assert_eq!((world.sent(&MsgType::Join).len(), world.binary), (1, 1));
    world.session.on_disconnected(world.now, "reset");
    world.wait(Duration::from_millis(100));
    world.connected();
    world.welcome_in("json", true);
    assert_eq!((world.sent(&MsgType::Join).len(), world.binary), (2, 1), "this server has no binary codec");
}

#[test]
fn a_server_without_the_codec_is_spoken_to_in_json() {
    let mut world = World::speaking(Codec::Binary);
    world.connected();
    let refusal =
        r#"{"code":"unsupported","text":"codec \"binary\" is not spoken here; use json","fatal":true}"#;
    world.serve(MsgType::Error, refusal, 0);
    assert!(!world.session.is_closed());
    world.wait(Duration::from_secs(1));
    world.connected();
    let codecs: Vec<String> = world
        .sent(&MsgType::Hello)
        .iter()
        .map(|hello| hello.content.parse::<Hello>().unwrap().codec)
        .collect();
    assert_eq!(codecs, ["binary", "json"]);
    world.serve(MsgType::Error, refusal, 0);
    assert!(world.session.is_closed(), "JSON is all there is left");
}

#[test]
fn what_is_said_before_the_welcome_waits_for_it() {
    let mut world = World::new();
    world.session.join(world.now, "lobby").unwrap();
    world.connected();
    assert!(world.sent(&MsgType::Join).is_empty());
    world.welcome(false);
    assert_eq!(world.sent(&MsgType::Join).len(), 1);
}

#[test]
fn a_broken_carrier_is_replaced_and_the_token_presented() {
    let mut world = World::new();
    world.connected();
    world.welcome(false);
    world.session.on_disconnected(world.now, "reset");
    world.drain();
    world.wait(Duration::from_millis(100));
    assert_eq!(world.connects, 2);
    world.connected();
    let hello = world.left.last().unwrap();
    assert!(hello.content.as_str().contains("\"resume\":\"t0\""));
    world.welcome(true);
    assert_eq!(world.events.last(), Some(&SessionEvent::Connected { session: 1, resumed: true }));
}

#[test]
fn an_unacknowledged_message_is_sent_again_on_the_new_carrier_with_its_number() {
    let mut world = World::new();
    world.connected();
    world.welcome(false);
    let id = world.session.say(world.now, "lobby", "hi").unwrap();
    world.drain();
    world.session.on_disconnected(world.now, "reset");
    world.wait(Duration::from_millis(100));
    world.connected();
    world.welcome(true);
    let said = world.sent(&MsgType::Chat);
    assert_eq!(said.len(), 2);
    assert_eq!(said[0].sequence_number, said[1].sequence_number);
    assert_ne!(said[0].packet, said[1].packet, "a packet number is never used again");
    let packet = said[1].packet;
    world.serve(MsgType::Ack, &format!("{{\"ranges\":[[{packet},{packet}]]}}"), 0);
    assert!(world.events.contains(&SessionEvent::Acked(id)));
}

#[test]
fn a_server_that_forgot_us_is_joined_again_before_anything_is_said() {
    let mut world = World::new();
    world.connected();
    world.welcome(false);
    world.session.join(world.now, "lobby").unwrap();
    world.session.say(world.now, "lobby", "hi").unwrap();
    world.drain();
    world.session.on_disconnected(world.now, "server restarted");
    world.wait(Duration::from_millis(100));
    world.connected();
    world.left.clear();
    world.welcome(false);
    let types: Vec<&str> = world.left.iter().map(|frame| frame.msg_type.as_str()).collect();
    assert_eq!(types, ["join", "chat"]);
    let sequence: Vec<u64> = world.left.iter().map(|frame| frame.sequence_number).collect();
    assert_eq!(sequence, [1, 2], "a fresh session counts anew, in one channel");
}

#[test]
fn a_refused_name_ends_the_session_with_the_reason() {
    let mut world = World::new();
    world.connected();
    world.serve(MsgType::Error, r#"{"code":"name_taken","text":"taken","fatal":true}"#, 0);
    assert!(world.session.is_closed());
    let Some(SessionEvent::Closed(Closed::Refused(error))) = world.events.last() else {
        panic!("{:?}", world.events);
    };
    assert_eq!(error.code, ErrorCode::NameTaken);
}

#[test]
fn a_name_held_by_our_own_lost_hello_is_tried_again() {
    let mut world = World::new();
    world.connected();
    // No welcome comes; the next carrier finds the name taken.
    world.wait(Duration::from_secs(11));
    assert_eq!(world.connects, 2);
    world.connected();
    world.serve(MsgType::Error, r#"{"code":"name_taken","text":"taken","fatal":true}"#, 0);
    assert!(!world.session.is_closed());
    world.wait(Duration::from_secs(11));
    world.connected();
    world.welcome(false);
    assert!(world.session.is_ready());
}

#[test]
fn a_server_that_does_not_answer_is_tried_again_less_and_less_often() {
    let mut world = World::new();
    for _ in 0..6 {
        world.session.on_disconnected(world.now, "connection refused");
        world.drain();
        world.wait(Duration::from_secs(11));
    }
    let pauses: Vec<Duration> = world
        .events
        .iter()
        .filter_map(|event| match event {
            SessionEvent::Disconnected { retry_in, .. } => Some(*retry_in),
            _ => None,
        })
        .collect();
    assert!(pauses.len() >= 6);
    assert!(
        pauses[0] <= Duration::from_millis(100) && pauses[5] >= Duration::from_millis(1600),
        "{pauses:?}"
    );
}

#[test]
fn quitting_says_bye() {
    let mut world = World::new();
    world.connected();
    world.welcome(false);
    world.session.quit(world.now);
    world.drain();
    assert_eq!(world.count()["bye"], 1);
    assert_eq!(world.events.last(), Some(&SessionEvent::Closed(Closed::Quit)));
}

#[test]
fn the_longest_name_makes_no_message_id_too_long() {
    let id = MessageId(u64::MAX);
    let on_wire = id.on_wire(&"𝒜".repeat(32));
    assert!(on_wire.len() <= 64, "{on_wire}");
    assert_eq!(MessageId::from_reply(&on_wire), Some(id));
    assert_eq!(MessageId::from_reply("stats"), None);
}

#[test]
fn a_challenge_is_answered_at_once_with_the_same_bytes() {
    let mut world = World::new();
    world.session.start(world.now);
    world.connected();
    world.serve(MsgType::PathChallenge, r#"{"data":"0123456789abcdef"}"#, 0);
    assert!(world.sent(&MsgType::PathResponse).is_empty(), "not before the welcome");
    world.welcome(false);
    world.serve(MsgType::PathChallenge, r#"{"data":"0123456789abcdef"}"#, 0);
    world.serve(MsgType::PathChallenge, r#"{"data":"of another length"}"#, 0);
    let answers = world.sent(&MsgType::PathResponse);
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0].content.as_str(), r#"{"data":"0123456789abcdef"}"#);
}

#[test]
fn a_challenge_is_answered_in_the_codec_of_the_session() {
    let mut world = World::speaking(Codec::Binary);
    world.connected();
    world.welcome_in("binary", false);
    let before = world.binary;
    world.serve(MsgType::PathChallenge, r#"{"data":"0123456789abcdef"}"#, 0);
    assert_eq!(world.sent(&MsgType::PathResponse).len(), 1);
    assert_eq!(world.binary, before + 1);
}
