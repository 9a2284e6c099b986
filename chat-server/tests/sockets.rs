//! The server behind real sockets: what good peers get, and that bad ones disturb nobody.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use chat_core::MsgType;
use chat_core::carrier::Carrier;
use chat_core::trace::waits::{Wait, Waited};
use chat_server::endpoint::AddressValidation;
use chat_server::{ServerConfig, StartError, TakenWaits, start};
use common::{Client, House, PATIENCE, UdpClient, error_code, frame, hello, text_of};
use units::Seed;

#[test]
fn two_clients_talk_over_tcp() {
    let house = House::new();
    let (mut alice, mut bob) = (house.client("alice"), house.client("bob"));
    for client in [&mut alice, &mut bob] {
        client.say("join", r#"{"room":"lobby"}"#);
        client.expect("join");
    }
    bob.say("chat", r#"{"room":"lobby","text":"hi alice"}"#);
    let heard = alice.expect("chat");
    assert_eq!((&*heard.sender, text_of(&heard).as_str()), ("bob", "hi alice"));
}

#[test]
fn tcp_and_udp_clients_share_a_room() {
    let house = House::new();
    let mut alice = house.client("alice");
    alice.say("join", r#"{"room":"lobby"}"#);
    alice.expect("join");
    let mut bob = UdpClient::new(house.server.udp_addr().unwrap(), 77);
    bob.write(&hello("bob"));
    bob.expect("welcome");
    bob.say("join", r#"{"room":"lobby"}"#);
    bob.expect("join");
    bob.say("chat", r#"{"room":"lobby","text":"by datagram"}"#);
    assert_eq!(text_of(&alice.expect("chat")), "by datagram");
    alice.say("chat", r#"{"room":"lobby","text":"by stream"}"#);
    assert_eq!(text_of(&bob.expect("chat")), "by stream");
}

#[test]
fn ipv6_works_on_both_transports() {
    let localhost = "[::1]:0".parse().unwrap();
    let house = House::with(|config| (config.tcp, config.udp) = (localhost, Some(localhost)));
    house.client("alice");
    let mut bob = UdpClient::new(house.server.udp_addr().unwrap(), 1);
    bob.write(&hello("bob"));
    bob.expect("welcome");
}

#[test]
fn bad_peers_are_told_why_and_others_go_on() {
    let house = House::with(|config| config.engine.hello_timeout = Duration::from_millis(300));
    let tcp = house.server.tcp_addr();
    let mut alice = house.client("alice");
    alice.say("join", r#"{"room":"lobby"}"#);
    alice.expect("join");

    for (bytes, code) in [
        (&b"\0\0\0\x05hello"[..], "malformed"),
        (&b"\xff\xff\xff\xff and so on"[..], "frame_too_long"),
        (&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], "frame_too_long"),
        (&b"\0\0\0\0"[..], "malformed"),
        // Half a frame and silence.
        (&b"\0\0\x01\0{\"msg_id\""[..], "hello_timeout"),
        (&b""[..], "hello_timeout"),
    ] {
        let mut bad = Client::connect(tcp);
        bad.bytes(bytes);
        assert_eq!(error_code(&bad.expect("error")), code, "{bytes:?}");
        assert_eq!(bad.frame(), None, "the stream ends after the error");
    }
    let mut early = Client::connect(tcp);
    early.say("chat", r#"{"room":"lobby","text":"hi"}"#);
    assert_eq!(error_code(&early.expect("error")), "hello_first");

    let stats = house.stats();
    let seen = (
        stats.events.malformed,
        stats.events.frames_too_long,
        stats.events.hello_timeouts,
        stats.events.hello_first,
    );
    assert_eq!(seen, (2, 2, 2, 1));
    alice.say("rooms", "{}");
    alice.expect("rooms");
}

#[test]
fn damage_and_unknown_types_cost_no_connection() {
    let house = House::new();
    let mut alice = house.client("alice");
    let mut damaged = Carrier::stream().wrap(&frame("rooms", r#"{"x":"yyyy"}"#, 1)).to_vec();
    let at = damaged.windows(4).position(|window| window == b"yyyy").unwrap();
    damaged[at] ^= 1;
    alice.bytes(&damaged);
    assert_eq!(alice.expect("nack").msg_type, MsgType::Nack);
    alice.say("dance", "{}");
    assert_eq!(error_code(&alice.expect("error")), "unknown_type");
    alice.say("rooms", "{}");
    alice.expect("rooms");
    let stats = house.stats();
    assert_eq!((stats.events.bad_checksums, stats.chat.unknown_types), (1, 1));
}

#[test]
fn the_error_reaches_a_peer_that_is_still_sending() {
    let house = House::new();
    let mut bad = Client::connect(house.server.tcp_addr());
    // Unread bytes at a close would make the kernel answer with a reset, which destroys the error.
    bad.bytes(&u32::MAX.to_be_bytes());
    for _ in 0..100 {
        bad.stream.write_all(&[0; 1000]).unwrap();
    }
    assert_eq!(error_code(&bad.expect("error")), "frame_too_long");
}

#[test]
fn a_closed_connection_detaches_its_session_and_a_token_brings_it_back() {
    let house = House::new();
    let mut alice = Client::connect(house.server.tcp_addr());
    alice.write(&hello("alice"));
    let welcome: serde_json::Value = alice.expect("welcome").content.parse().unwrap();
    let token = welcome["resume_token"].as_str().unwrap().to_owned();
    drop(alice);
    house.eventually("detached", |stats| stats.detached == 1 && stats.peers == 0);
    let mut again = Client::connect(house.server.tcp_addr());
    let content = format!("{{\"version\":1,\"user\":\"alice\",\"resume\":\"{token}\"}}");
    again.write(&frame("hello", &content, 0));
    let welcome: serde_json::Value = again.expect("welcome").content.parse().unwrap();
    assert_eq!(welcome["resumed"], true);
    assert_eq!(house.stats().events.sessions_resumed, 1);
}

#[test]
fn foreign_datagrams_get_no_reply_and_strangers_an_error() {
    for (policy, answers) in [(AddressValidation::Never, 1), (AddressValidation::Always, 2)] {
        foreign_datagrams(policy, answers);
    }
}

/// `answers`: datagrams that a stranger with a frame gets, the token included.
fn foreign_datagrams(policy: AddressValidation, answers: u64) {
    let house = House::with(|config| config.udp_retry = policy);
    let mut peer = UdpClient::new(house.server.udp_addr().unwrap(), 5);
    peer.socket.send(b"\0\0\0\x05hello").unwrap();
    peer.socket.send(b"SQ\x01\0\0\0\0\0\0\0\x05").unwrap();
    // One byte of body: an error would be more than three times as large, a token larger.
    peer.socket.send(b"SQ\x01\0\0\0\0\0\0\0\x06\0\0\0\x01x").unwrap();
    house.eventually("counted", |stats| {
        let withheld = stats.net.datagrams_withheld + stats.net.retries_withheld;
        stats.net.datagrams_malformed == 2 && withheld == 1 && stats.peers == 0
    });
    peer.say("rooms", "{}");
    // The first answer is to this frame: those before it got none.
    assert_eq!(error_code(&peer.expect("error")), "hello_first");
    assert_eq!(house.stats().net.datagrams_out, answers);
    assert_eq!(house.stats().peers, 0);
}

#[test]
fn an_answer_to_a_stranger_is_at_most_three_times_the_question() {
    for (policy, times) in [(AddressValidation::Never, 3), (AddressValidation::Always, 1)] {
        let house = House::with(|config| config.udp_retry = policy);
        for (id, frame) in [(1, hello("a")), (2, frame("chat", "{}", 1))] {
            let peer = UdpClient::new(house.server.udp_addr().unwrap(), id);
            peer.write(&frame);
            let question = peer.carrier.wrap(&frame).len();
            let mut answer = [0; 2048];
            let length = peer.socket.recv(&mut answer).unwrap();
            assert!(length <= times * question, "{length} for {question}");
        }
    }
}

#[test]
fn a_reader_that_stops_reading_delays_nobody() {
    let house = House::new();
    let (mut alice, mut bob) = (house.client("alice"), house.client("bob"));
    let mut deaf = house.client("deaf");
    for client in [&mut alice, &mut bob, &mut deaf] {
        client.say("join", r#"{"room":"lobby"}"#);
        client.expect("join");
    }
    let text = "x".repeat(500);
    for line in 1..=500 {
        alice.say("chat", &format!("{{\"room\":\"lobby\",\"text\":\"{line} {text}\"}}"));
        // A line may come twice (a tail probe); this client does not drop duplicates.
        while !text_of(&bob.expect("chat")).starts_with(&format!("{line} ")) {}
    }
    assert_eq!(house.stats().chat.lines_in, 500);
    drop(deaf);
}

#[test]
fn a_client_that_floods_and_never_reads_delays_nobody() {
    let house = House::new();
    let mut bob = house.client("bob");
    let mut flood = house.client("flood");
    let flooding = std::thread::spawn(move || {
        for number in 1..=20_000 {
            let bytes = Carrier::stream().wrap(&frame("rooms", "{}", number));
            if flood.stream.write_all(&bytes).is_err() {
                break;
            }
        }
        flood
    });
    let clock = house.server.clock();
    for _ in 0..50 {
        let asked = clock.now();
        bob.say("rooms", "{}");
        bob.expect("rooms");
        let took = clock.now().since(asked);
        assert!(took < Duration::from_secs(2), "an answer took {took:?} beside a flood");
    }
    drop(flooding.join().unwrap());
    house.eventually("the flood is gone", |stats| stats.peers == 1);
}

#[test]
fn beyond_the_limit_a_connection_is_refused_with_a_reason() {
    let house = House::with(|config| config.engine.max_peers = 1);
    let _alice = house.client("alice");
    let mut second = Client::connect(house.server.tcp_addr());
    assert_eq!(error_code(&second.expect("error")), "full");
    assert_eq!(second.frame(), None);
}

#[test]
fn shutdown_waits_for_acknowledgements_and_says_goodbye() {
    let house = House::new();
    let mut alice = house.client("alice");
    let done = house.runtime.block_on(async {
        let reader = tokio::task::spawn_blocking(move || {
            let notice = alice.expect("system");
            let goodbye = error_code(&alice.expect("error"));
            (notice.content.as_str().to_owned(), goodbye, alice.frame().is_none())
        });
        tokio::time::timeout(PATIENCE, house.server.shutdown(PATIENCE)).await.expect("drained in time");
        reader.await.unwrap()
    });
    let (notice, goodbye, ended) = done;
    assert!(notice.contains("shutdown"), "{notice}");
    assert_eq!((goodbye.as_str(), ended), ("shutting_down", true));
    assert!(house.runtime.block_on(house.server.stats()).is_none());
    assert!(TcpStream::connect(house.server.tcp_addr()).is_err(), "the port is closed");
    house.runtime.block_on(house.server.wait());
}

#[test]
fn shutdown_does_not_wait_longer_than_it_is_told_to() {
    let house = House::new();
    // Says hello and never acknowledges anything.
    let mut mute = Client::connect(house.server.tcp_addr());
    mute.write(&hello("mute"));
    mute.expect("welcome");
    house.runtime.block_on(house.server.shutdown(Duration::from_millis(50)));
    let mut rest = Vec::new();
    mute.stream.read_to_end(&mut rest).unwrap();
    assert!(String::from_utf8_lossy(&rest).contains("shutting_down"));
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let house = House::new();
    let taken = house.server.tcp_addr();
    let config = ServerConfig { tcp: taken, ..ServerConfig::on_loopback(Seed::root(1)) };
    let error = house.runtime.block_on(start(config)).unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }));
    let expected =
        format!("{taken} (chat, tcp) is in use; choose another with --listen, or :0 for a free one");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn traces_of_the_users_asked_for_can_be_taken_once() {
    let house = House::with(|config| config.engine.trace_users = ["alice".to_owned()].into());
    let (mut alice, mut bob) = (house.client("alice"), house.client("bob"));
    for client in [&mut alice, &mut bob] {
        client.say("join", r#"{"room":"lobby"}"#);
        client.expect("join");
    }
    alice.say("rooms", "{}");
    alice.expect("rooms");
    let traces = house.runtime.block_on(house.server.take_traces());
    assert!(!traces.is_empty() && traces.iter().all(|(user, _)| &**user == "alice"));
}

#[test]
fn waits_can_be_taken_once_and_there_are_none_unless_they_were_asked_for() {
    for is_asked in [true, false] {
        let house = House::with(|config| config.engine.trace_waits = is_asked);
        let mut alice = house.client("alice");
        alice.say("join", r#"{"room":"lobby"}"#);
        alice.expect("join");
        let taken = || house.runtime.block_on(house.server.take_waits()).unwrap();
        let first = taken();
        assert_eq!(first.waits.iter().any(|(user, _)| &**user == "alice"), is_asked, "{first:?}");
        assert_eq!((first.forgotten, first.waits.is_empty()), (0, !is_asked));
        // What alice's join waited for at its receiver is told once.
        let joins = |taken: &TakenWaits| {
            let order = |waited: &Waited| matches!(waited.wait, Wait::Order { .. });
            taken.waits.iter().filter(|(_, waited)| order(waited)).count()
        };
        assert_eq!((joins(&first), joins(&taken())), (usize::from(is_asked), 0));
    }
}

#[test]
fn a_socket_that_somebody_else_made_is_a_door_like_the_servers_own() {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
    let other = listener.local_addr().unwrap();
    let house = House::with(|config| config.listeners = vec![listener]);
    let (mut alice, mut bob) = (Client::enter(other, "alice"), house.client("bob"));
    for client in [&mut alice, &mut bob] {
        client.say("join", r#"{"room":"lobby"}"#);
        client.expect("join");
    }
    alice.say("chat", r#"{"room":"lobby","text":"through the other door"}"#);
    assert_eq!(text_of(&bob.expect("chat")), "through the other door");
    house.runtime.block_on(house.server.shutdown(Duration::ZERO));
    assert!(TcpStream::connect(other).is_err(), "it closes with the server");
}
