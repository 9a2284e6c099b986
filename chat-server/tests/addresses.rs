//! UDP peers behind real sockets: addresses that prove themselves, that change, and that are stolen.

mod common;

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use chat_core::MsgType;
use chat_core::carrier::Carrier;
use chat_core::path::forms;
use chat_core::wire::Packet;
use chat_server::Tls;
use chat_server::endpoint::AddressValidation;
use common::{House, PATIENCE, UdpClient, hello, text_of};
use netem_proxy::profile::{Gate, LinkProfile};
use netem_proxy::proxy::{ProxyConfig, datagrams};

/// A UDP client in the lobby.
fn enter(to: SocketAddr, user: &str, id: u64) -> UdpClient {
    enter_as(UdpClient::new(to, id), user)
}

fn enter_as(mut client: UdpClient, user: &str) -> UdpClient {
    client.write(&hello(user));
    client.expect("welcome");
    client.say("join", r#"{"room":"lobby"}"#);
    client.expect("join");
    client
}

#[test]
fn a_stranger_is_answered_by_a_token_and_enters_with_it() {
    let house = House::new();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(house.server.udp_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let bytes = Carrier::datagram(7).wrap(&hello("alice"));
    socket.send(&bytes).unwrap();
    let mut reply = [0; 2048];
    let length = socket.recv(&mut reply).unwrap();
    assert!(length <= bytes.len());
    let (id, token) = forms::read_retry(&reply[..length]).expect("a retry");
    assert_eq!(id, 7);
    let stats = house.stats();
    assert_eq!((stats.peers, stats.net.retries_sent), (0, 1), "nothing is kept of a stranger");
    for forged in [&[0; 20][..], &token[..19]] {
        socket.send(&forms::with_token(7, forged, &bytes)).unwrap();
    }
    socket.send(&forms::with_token(7, token, &bytes)).unwrap();
    house.eventually("let in", |stats| stats.clients == 1);
    let net = house.stats().net;
    assert_eq!((net.tokens_refused, net.tokens_accepted), (2, 1));
}

#[test]
fn without_tokens_a_stranger_enters_at_once() {
    let house = House::with(|config| config.udp_retry = AddressValidation::Never);
    enter(house.server.udp_addr().unwrap(), "alice", 7);
    assert_eq!(house.stats().net.retries_sent, 0);
}

#[test]
fn what_it_acknowledges_lifts_its_limit() {
    let house = House::with(|config| config.udp_retry = AddressValidation::Never);
    let mut alice = enter(house.server.udp_addr().unwrap(), "alice", 7);
    let mut bob = house.client("bob");
    bob.say("join", r#"{"room":"lobby"}"#);
    bob.expect("join");
    // More than three times what an acknowledgement of it has.
    let line = format!("{{\"room\":\"lobby\",\"text\":\"{}\"}}", "x".repeat(800));
    let mut withheld = Vec::new();
    for _ in 0..30 {
        bob.say("chat", &line);
        alice.expect("chat");
        withheld.push(house.stats().net.datagrams_withheld);
    }
    assert_eq!(withheld[0], withheld[29], "{withheld:?}");
}

#[test]
fn a_client_behind_a_nat_that_forgets_it_keeps_its_session() {
    let house = House::new();
    let alice = enter(house.server.udp_addr().unwrap(), "alice", 7);
    keeps_its_session(&house, alice);
}

#[test]
fn so_does_one_that_encrypts() {
    let tls = Tls::fresh(&["localhost".to_owned()]).unwrap();
    let fingerprint = tls.fingerprint();
    let house = House::with(|config| config.tls = Some(tls));
    let alice = UdpClient::sealed(house.server.udp_addr().unwrap(), 7, fingerprint);
    keeps_its_session(&house, enter_as(alice, "alice"));
    let net = house.stats().net;
    assert_eq!((net.datagrams_malformed, net.datagrams_forged), (0, 0));
}

/// Alice is in the lobby over UDP.
fn keeps_its_session(house: &House, mut alice: UdpClient) {
    let mut bob = house.client("bob");
    bob.say("join", r#"{"room":"lobby"}"#);
    bob.expect("join");
    alice.rebind();
    alice.say("chat", r#"{"room":"lobby","text":"from elsewhere"}"#);
    assert_eq!(text_of(&bob.expect("chat")), "from elsewhere");
    bob.say("chat", r#"{"room":"lobby","text":"still there?"}"#);
    assert_eq!(text_of(&alice.expect("chat")), "still there?");
    house.eventually("moved", |stats| stats.events.paths_moved == 1);
    let stats = house.stats();
    assert_eq!((stats.events.sessions_started, stats.events.sessions_resumed), (2, 0));
}

#[test]
fn the_emulators_rebind_is_followed() {
    let house = House::new();
    let gate = Gate::Rebind { at: Duration::from_millis(300), every: Some(Duration::from_millis(700)) };
    let profile = LinkProfile { gates: vec![gate], ..LinkProfile::default() };
    let server = house.server.udp_addr().unwrap();
    let config = ProxyConfig { up: profile, ..ProxyConfig::between("127.0.0.1:0".parse().unwrap(), server) };
    let proxy = house.runtime.block_on(datagrams::start(config)).unwrap();
    let mut alice = enter(proxy.local_addr(), "alice", 7);
    let mut bob = house.client("bob");
    bob.say("join", r#"{"room":"lobby"}"#);
    bob.expect("join");
    // Until it was moved twice, however long that takes on this machine.
    for said in 0.. {
        let moved = house.stats().events.paths_moved;
        if moved >= 2 {
            break;
        }
        bob.say("chat", &format!("{{\"room\":\"lobby\",\"text\":\"line {said}\"}}"));
        assert_eq!(text_of(&alice.expect("chat")), format!("line {said}"), "{moved} moves");
        alice.say("rooms", "{}");
        alice.expect("rooms");
    }
    assert!(proxy.stop().rebinds >= 2);
    let stats = house.stats();
    assert_eq!((stats.events.sessions_started, stats.detached), (2, 0));
}

#[test]
fn whoever_copies_a_clients_datagrams_gets_none_of_its_own() {
    let house = House::new();
    let mut alice = enter(house.server.udp_addr().unwrap(), "alice", 7);
    // Knows the connection id and the numbers, is faster, and answers the challenge. Over plain UDP nothing stops it
    // from speaking in alice's name, which is what encryption is for.
    let mut thief = alice.copied();
    thief.say("rooms", "{}");
    let mut datagram = [0; 2048];
    let length = thief.socket.recv(&mut datagram).expect("a challenge");
    let mut packets = Vec::new();
    thief.carrier.receive(&datagram[..length], &mut packets).unwrap();
    let packet = Packet::decode(&packets[0]).unwrap();
    assert_eq!(packet.frames[0].msg_type, MsgType::PathChallenge, "nothing else goes there");
    // Alice answers hers from where she is, and gets what was meant for her.
    alice.expect("rooms");
    thief.write(&common::unnumbered("path_response", packet.frames[0].content.as_str()));
    house.eventually("refused", |stats| stats.events.paths_refuted + stats.events.paths_failed == 1);
    assert_eq!(house.stats().events.paths_moved, 0);
}
