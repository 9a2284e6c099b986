//! A server on loopback and clients that speak frames by hand, as one in another language would.
//!
//! Nothing here waits for a fixed time: reads have a deadline, and conditions are polled until theirs.

// Each test file is a program of its own and uses a part of this.
#![allow(dead_code, reason = "shared by several test programs")]
#![allow(unreachable_pub, reason = "a module of test programs, not of a library")]

use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::connection::AckRanges;
use chat_core::path::{Heard, Introduction};
use chat_core::secure::{Channel, Fingerprint, Trust, client_config};
use chat_core::wire::{FrameReader, Packet};
use chat_core::{Content, Frame, MsgType, Order, Priority};
use chat_server::admin::{AdminConfig, Token, TokenSource};
use chat_server::control::ServerStats;
use chat_server::{ServerConfig, ServerHandle, start};
use rustls::pki_types::ServerName;
use rustls::time_provider::DefaultTimeProvider;
use serde_json::Value;
use tokio::runtime::Runtime;
use units::{Seed, Timestamp};

pub const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A server and the runtime it lives in.
pub struct House {
    pub runtime: Runtime,
    pub server: ServerHandle,
}

impl House {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(change: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut config = ServerConfig::on_loopback(Seed::root(1));
        config.admin = Some(AdminConfig {
            token: TokenSource::Given(Token::parse(TOKEN, "test").unwrap()),
            ..AdminConfig::new(([127, 0, 0, 1], 0).into())
        });
        change(&mut config);
        let runtime = Runtime::new().unwrap();
        let server = runtime.block_on(start(config)).unwrap();
        Self { runtime, server }
    }

    pub fn stats(&self) -> ServerStats {
        self.runtime.block_on(self.server.stats()).expect("the server runs")
    }

    /// Polls the statistics until they are as they should be.
    pub fn eventually(&self, what: &str, check: impl Fn(&ServerStats) -> bool) {
        self.runtime.block_on(async {
            let polled = tokio::time::timeout(PATIENCE, async {
                while !check(&self.server.stats().await.expect("the server runs")) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            });
            assert!(polled.await.is_ok(), "not within {PATIENCE:?}: {what}: {:?}", self.server.stats().await);
        });
    }

    pub fn client(&self, user: &str) -> Client {
        Client::enter(self.server.tcp_addr(), user)
    }
}

/// One TCP connection.
pub struct Client {
    pub stream: TcpStream,
    reader: FrameReader,
    sent: u64,
}

impl Client {
    /// Without a `hello`.
    pub fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, reader: FrameReader::new(1 << 20), sent: 0 }
    }

    /// With a session.
    pub fn enter(to: SocketAddr, user: &str) -> Self {
        let mut client = Self::connect(to);
        client.write(&hello(user));
        assert_eq!(client.frame().expect("a welcome").msg_type, MsgType::Welcome);
        client
    }

    pub fn say(&mut self, msg_type: &str, content: &str) {
        self.sent += 1;
        let frame = frame(msg_type, content, self.sent);
        self.write(&frame);
    }

    pub fn write(&mut self, frame: &Frame) {
        self.bytes(&Carrier::stream().wrap(frame));
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame of this type; others before it are acknowledged and dropped.
    pub fn expect(&mut self, msg_type: &str) -> Frame {
        loop {
            let frame = self.frame().unwrap_or_else(|| panic!("the stream ended before a {msg_type}"));
            if frame.msg_type.as_str() == msg_type {
                return frame;
            }
        }
    }

    /// The next frame, acknowledged; `None` at the end of the stream.
    pub fn frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(body) = self.reader.poll_frame().unwrap() {
                let frame = Frame::decode(&body).unwrap();
                if frame.packet > 0 {
                    // The server may have closed already; then the end is what the test sees next.
                    let _ = self.stream.write_all(&Carrier::stream().wrap(&ack(frame.packet)));
                }
                return Some(frame);
            }
            let mut bytes = [0; 4096];
            let length = self.stream.read(&mut bytes).unwrap();
            if length == 0 {
                return None;
            }
            self.reader.push(&bytes[..length]);
        }
    }
}

/// One UDP peer.
pub struct UdpClient {
    pub socket: UdpSocket,
    pub carrier: Carrier,
    connection_id: u64,
    /// Between the carrier and the socket, for one who encrypts.
    channel: Option<RefCell<Channel>>,
    introduction: RefCell<Introduction>,
    sent: u64,
    /// Packets that came: some numbers are never sent, and whoever acknowledges one of those is put out.
    received: AckRanges,
}

impl UdpClient {
    pub fn new(to: SocketAddr, connection_id: u64) -> Self {
        let any: SocketAddr =
            if to.is_ipv4() { ([127, 0, 0, 1], 0).into() } else { "[::1]:0".parse().unwrap() };
        let socket = UdpSocket::bind(any).unwrap();
        socket.connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let introduction = RefCell::new(Introduction::new());
        Self {
            socket,
            carrier: Carrier::datagram(connection_id),
            connection_id,
            channel: None,
            introduction,
            sent: 0,
            received: AckRanges::default(),
        }
    }

    /// One who encrypts, and believes only the server with this certificate.
    pub fn sealed(to: SocketAddr, connection_id: u64, fingerprint: Fingerprint) -> Self {
        let config = client_config(Trust::Fingerprint(fingerprint), Arc::new(DefaultTimeProvider)).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let channel = Channel::client(HERE, config, name, connection_id).unwrap();
        let client = Self {
            carrier: Carrier::sealed_datagram(connection_id),
            channel: Some(RefCell::new(channel)),
            ..Self::new(to, connection_id)
        };
        client.flush();
        client
    }

    pub fn say(&mut self, msg_type: &str, content: &str) {
        self.sent += 1;
        let frame = frame(msg_type, content, self.sent);
        self.write(&frame);
    }

    pub fn write(&self, frame: &Frame) {
        let bytes = self.carrier.wrap(frame);
        match &self.channel {
            Some(channel) => channel.borrow_mut().send(&bytes),
            None => self.send(bytes),
        }
        self.flush();
    }

    fn send(&self, datagram: Bytes) {
        let bytes = self.introduction.borrow_mut().present(datagram);
        self.socket.send(&bytes).unwrap();
    }

    /// Sends what the channel has.
    fn flush(&self) {
        if let Some(channel) = &self.channel {
            while let Some(datagram) = channel.borrow_mut().poll_transmit(HERE) {
                self.send(datagram);
            }
        }
    }

    /// What the carrier is to see of a datagram.
    fn opened(&self, datagram: &[u8]) -> Vec<Bytes> {
        let Some(channel) = &self.channel else {
            return vec![Bytes::copy_from_slice(datagram)];
        };
        channel.borrow_mut().handle_datagram(HERE, datagram);
        self.flush();
        assert_eq!(channel.borrow().error(), None);
        std::iter::from_fn(|| channel.borrow_mut().poll_datagram()).collect()
    }

    /// Somebody who knows everything about this client and is elsewhere.
    pub fn copied(&self) -> Self {
        Self { sent: self.sent, ..Self::new(self.socket.peer_addr().unwrap(), self.connection_id) }
    }

    /// From another port from now on, as if behind a NAT that has forgotten the first.
    pub fn rebind(&mut self) {
        let (to, local) = (self.socket.peer_addr().unwrap(), self.socket.local_addr().unwrap());
        self.socket = UdpSocket::bind((local.ip(), 0)).unwrap();
        self.socket.connect(to).unwrap();
        self.socket.set_read_timeout(Some(PATIENCE)).unwrap();
    }

    /// The next frame of this type; others before it are acknowledged and dropped.
    pub fn expect(&mut self, msg_type: &str) -> Frame {
        let mut datagram = [0; 2048];
        loop {
            let length =
                self.socket.recv(&mut datagram).unwrap_or_else(|error| panic!("no {msg_type}: {error}"));
            if self.introduction.borrow_mut().handle_datagram(&datagram[..length]) == Heard::Retry {
                while let Some(bytes) = self.introduction.borrow_mut().poll_transmit() {
                    self.socket.send(&bytes).unwrap();
                }
                continue;
            }
            let mut packets = Vec::new();
            for plain in self.opened(&datagram[..length]) {
                self.carrier.receive(&plain, &mut packets).unwrap();
            }
            let frames: Vec<Frame> =
                packets.iter().flat_map(|raw| Packet::decode(raw).unwrap().frames).collect();
            if let Some(numbered) = frames.iter().find(|frame| frame.packet > 0) {
                self.received.insert(numbered.packet);
                self.write(&ack_of(&self.received));
            }
            for frame in frames.iter().filter(|frame| frame.msg_type == MsgType::PathChallenge) {
                self.write(&unnumbered("path_response", frame.content.as_str()));
            }
            if let Some(frame) = frames.into_iter().find(|frame| frame.msg_type.as_str() == msg_type) {
                return frame;
            }
        }
    }
}

pub fn hello(user: &str) -> Frame {
    frame("hello", &format!("{{\"version\":1,\"user\":\"{user}\"}}"), 0)
}

pub fn frame(msg_type: &str, content: &str, number: u64) -> Frame {
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

/// A frame that nobody acknowledges.
pub fn unnumbered(msg_type: &str, content: &str) -> Frame {
    frame(msg_type, content, 0)
}

pub fn error_code(frame: &Frame) -> String {
    let content: Value = frame.content.parse().unwrap();
    content["code"].as_str().unwrap_or_default().to_owned()
}

pub fn text_of(frame: &Frame) -> String {
    let content: Value = frame.content.parse().unwrap();
    content["text"].as_str().unwrap_or_default().to_owned()
}

/// Nothing is lost on loopback, so the time of a channel stands still and nothing in it is due.
const HERE: Timestamp = Timestamp::ZERO;
/// How long anything on loopback may take before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// Of everything up to this packet: on a stream no number is passed over.
fn ack(packet: u64) -> Frame {
    ack_of(&AckRanges::from(vec![(1, packet)]))
}

fn ack_of(received: &AckRanges) -> Frame {
    let ranges = serde_json::to_string(received).unwrap();
    let content = format!("{{\"ranges\":{ranges},\"window\":1048576,\"delay_us\":0}}");
    frame("ack", &content, 0)
}
