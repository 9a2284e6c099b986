//! One user's session, without sockets: what to connect, what to say, what was heard.
//!
//! The session owns the [`Connection`] and outlives the carriers it runs over. When a carrier breaks it asks for another
//! after a pause that grows and is jittered, presents its token, and goes on where it was; if the server has forgotten
//! the session it joins its rooms again and sends again what was not acknowledged. To its owner each message is heard
//! once, and each sent message ends in [`SessionEvent::Acked`] or [`SessionEvent::Failed`].
//!
//! # Calling order
//! [`start`](Session::start) once; then feed one input, drain [`poll_output`](Session::poll_output) and
//! [`poll_event`](Session::poll_event), and wait until [`poll_timeout`](Session::poll_timeout).

mod backoff;
mod event;
mod incoming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::config::Profile;
use chat_core::message::{Hello, RoomRequest, Say, SayPrivate, Text};
use chat_core::path::{Ecn, forms};
use chat_core::trace::TraceEvent;
use chat_core::trace::waits::{WaitLog, Waited};
use chat_core::wire::{Codec, Packet};
use chat_core::{
    CarrierHint, Connection, Content, Delivery, Frame, MsgType, Order, Outgoing, PROTOCOL_VERSION, Priority,
    SendError, SendKey, TransportConfig,
};
use rand::RngExt;
use serde::Serialize;
use units::{ByteCount, Rng, Seed, Timestamp};

use backoff::Backoff;

pub use event::{Closed, SessionEvent};

/// Settings of one session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub user: Arc<str>,
    pub carrier: CarrierKind,
    pub transport: TransportConfig,
    /// The codec to ask for. A server that does not have it is spoken to in JSON.
    pub codec: Codec,
    /// First pause before connecting again, and the longest.
    pub reconnect: (Duration, Duration),
    /// How long connecting and the handshake may take before another carrier is tried.
    pub connect_timeout: Duration,
    /// For jitter and connection ids.
    pub seed: Seed,
    /// Wall-clock microseconds since the Unix epoch at [`Timestamp::ZERO`].
    pub unix_us_at_zero: u64,
}

/// What the driver connects with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CarrierKind {
    /// Plain, or inside TLS: the frames are the same.
    Stream,
    Datagram,
    /// The driver seals each datagram.
    SealedDatagram,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Open a carrier, then report [`Session::on_connected`] or [`Session::on_disconnected`]. An older one is closed.
    Connect,
    /// Write these bytes to the stream, or send them as one datagram.
    Transmit(Bytes),
    /// Close the carrier, after what was written before.
    Close,
}

/// Names a message from its submission to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct MessageId(pub u64);

impl MessageId {
    /// The message that an answer's `reply_to` names, if it is one of this session's.
    #[must_use]
    pub fn from_reply(reply_to: &str) -> Option<Self> {
        reply_to.rsplit_once('-')?.1.parse().ok().map(Self)
    }

    /// The `msg_id` on the wire. It begins with the user's name for people who read traces.
    fn on_wire(self, user: &str) -> String {
        format!("{}-{}", user.chars().take(NAME_IN_ID).collect::<String>(), self.0)
    }
}

/// One user's session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    connection: Connection,
    carrier: Option<Carrier>,
    token: Option<String>,
    /// Opens the session again before the first welcome has brought a token.
    nonce: String,
    /// Counts hellos of new carriers, so that late welcomes of older ones are told apart.
    attempt: u64,
    /// When the hello of the present carrier left, if only one did.
    greeted: Option<Timestamp>,
    backoff: Backoff,
    /// Rooms to join again if the server forgets the session.
    rooms: BTreeSet<Arc<str>>,
    channels: BTreeMap<Arc<str>, u32>,
    submitted: BTreeMap<SendKey, MessageId>,
    next_message: u64,
    outputs: VecDeque<Output>,
    events: VecDeque<SessionEvent>,
    rng: Rng,
    reconnects: u64,
    /// Times in a row that our name was taken after an earlier hello of ours.
    ghosts_met: u32,
    tracing: bool,
    waits: WaitLog,
    /// What the next hello asks for.
    codec: Codec,
    /// What a packet is decoded into.
    packet: Packet,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not started, or over.
    Closed,
    /// Until this time, then connects.
    Waiting {
        until: Timestamp,
    },
    /// The driver was asked to connect.
    Connecting {
        deadline: Timestamp,
    },
    /// The carrier is open; `hello` is repeated until `welcome` comes.
    Greeting {
        deadline: Timestamp,
        repeat: Timestamp,
        interval: Duration,
    },
    Ready,
}

impl Session {
    #[must_use]
    pub fn new(now: Timestamp, config: SessionConfig) -> Self {
        let mut transport = config.transport.clone();
        let datagrams = match config.carrier {
            CarrierKind::Stream => None,
            CarrierKind::Datagram => Some(Carrier::datagram(0)),
            CarrierKind::SealedDatagram => Some(Carrier::sealed_datagram(0)),
        };
        if let Some(carrier) = datagrams {
            transport.mss = transport.mss.min(ByteCount(carrier.max_body() as u64));
        }
        transport.carrier = transport.carrier_assumed.unwrap_or(match config.carrier {
            CarrierKind::Datagram | CarrierKind::SealedDatagram => CarrierHint::Datagram,
            CarrierKind::Stream => CarrierHint::FifoStream,
        });
        if transport.profile == Profile::Modern {
            transport.skip_seed = Some(config.seed.fork("skips").rng().random());
        }
        Self {
            connection: Connection::new(now, transport, config.user.clone(), config.unix_us_at_zero),
            backoff: Backoff::new(config.reconnect),
            nonce: format!("{:032x}", config.seed.fork("nonce").rng().random::<u128>()),
            rng: config.seed.rng(),
            codec: config.codec,
            packet: Packet::default(),
            config,
            state: State::Closed,
            carrier: None,
            token: None,
            attempt: 0,
            greeted: None,
            rooms: BTreeSet::new(),
            channels: BTreeMap::new(),
            submitted: BTreeMap::new(),
            next_message: 0,
            outputs: VecDeque::new(),
            events: VecDeque::new(),
            reconnects: 0,
            ghosts_met: 0,
            tracing: false,
            waits: WaitLog::default(),
        }
    }

    /// Asks for the first carrier.
    pub fn start(&mut self, now: Timestamp) {
        self.connect(now);
    }

    /// The carrier that [`Output::Connect`] asked for is open.
    pub fn on_connected(&mut self, now: Timestamp) {
        let State::Connecting { deadline } = self.state else {
            return;
        };
        self.carrier = Some(match self.config.carrier {
            CarrierKind::Stream => Carrier::stream(),
            CarrierKind::Datagram => Carrier::datagram(self.rng.random()),
            CarrierKind::SealedDatagram => Carrier::sealed_datagram(self.rng.random()),
        });
        self.attempt += 1;
        self.greeted = Some(now);
        self.state = State::Greeting { deadline, repeat: now + HELLO_INTERVAL, interval: HELLO_INTERVAL };
        self.send_hello(now);
    }

    /// Before [`Self::on_connected`]: the socket of this datagram carrier sets and reads ECN, and forbids fragments.
    pub fn on_capable_socket(&mut self) {
        self.connection.on_capable_socket();
    }

    /// The carrier could not be opened, or broke.
    pub fn on_disconnected(&mut self, now: Timestamp, reason: &str) {
        if !matches!(self.state, State::Closed | State::Waiting { .. }) {
            self.reconnect(now, reason);
        }
    }

    /// The server is not who it should be. Trying again would not change that, so the session is over.
    pub fn on_untrusted(&mut self, reason: &str) {
        self.close(Closed::Untrusted(reason.to_owned()));
    }

    /// One whole datagram came, with this mark.
    pub fn handle_datagram(&mut self, now: Timestamp, ecn: Ecn, bytes: &[u8]) {
        if self.state == State::Ready {
            self.connection.handle_ecn(ecn);
        }
        self.handle_bytes(now, bytes);
    }

    /// Bytes came: the next of a stream, in pieces of any size, or one whole datagram.
    pub fn handle_bytes(&mut self, now: Timestamp, bytes: &[u8]) {
        let Some(carrier) = &mut self.carrier else {
            return;
        };
        let mut packets = Vec::new();
        let outcome = carrier.receive(bytes, &mut packets);
        for packet in packets {
            self.handle_packet(now, &packet);
        }
        if let Err(error) = outcome
            && self.config.carrier == CarrierKind::Stream
        {
            self.reconnect(now, &format!("the server sent no frames of this protocol: {error}"));
        }
        self.drain(now);
    }

    /// Does what is due. Calls that come early do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        match self.state {
            State::Closed => {}
            State::Waiting { until } if until <= now => self.connect(now),
            State::Connecting { deadline } | State::Greeting { deadline, .. } if deadline <= now => {
                self.reconnect(now, "the server does not answer");
            }
            State::Greeting { deadline, repeat, interval } if repeat <= now => {
                let interval = (interval * 2).min(MAX_HELLO_INTERVAL);
                self.state = State::Greeting { deadline, repeat: now + interval, interval };
                // A welcome does not say which hello it answers.
                self.greeted = None;
                self.send_hello(now);
            }
            State::Ready => {
                self.connection.handle_timeout(now);
                self.drain(now);
            }
            State::Waiting { .. } | State::Connecting { .. } | State::Greeting { .. } => {}
        }
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        match self.state {
            State::Closed => None,
            State::Waiting { until } => Some(until),
            State::Connecting { deadline } => Some(deadline),
            State::Greeting { deadline, repeat, .. } => Some(deadline.min(repeat)),
            State::Ready => self.connection.poll_timeout(),
        }
    }

    /// The next thing to do; drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The next thing heard; drain it after every input.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.events.pop_front()
    }

    /// Joins a room; answered by [`SessionEvent::Joined`] or an error.
    pub fn join(&mut self, now: Timestamp, room: &str) -> Result<MessageId, SendError> {
        let room: Arc<str> = room.into();
        let channel = self.channel(&room);
        let request = Content::of(&RoomRequest { room: room.to_string() });
        self.rooms.insert(room);
        self.submit(now, MsgType::Join, request, Priority::Control, channel)
    }

    /// Leaves a room; answered by [`SessionEvent::Left`] or an error.
    pub fn leave(&mut self, now: Timestamp, room: &str) -> Result<MessageId, SendError> {
        let channel = self.channel(&room.into());
        self.rooms.remove(room);
        let request = Content::of(&RoomRequest { room: room.to_owned() });
        self.submit(now, MsgType::Leave, request, Priority::Control, channel)
    }

    /// Says something in a room.
    pub fn say(&mut self, now: Timestamp, room: &str, text: &str) -> Result<MessageId, SendError> {
        self.say_with(now, room, text, Delivery::default())
    }

    /// Says something in a room, delivered in another way than ordered and reliable. The server passes an unordered or
    /// latest-only line on unordered; how long it is tried concerns the way to the server.
    pub fn say_with(
        &mut self,
        now: Timestamp,
        room: &str,
        text: &str,
        delivery: Delivery,
    ) -> Result<MessageId, SendError> {
        let channel = self.channel(&room.into());
        // Beside the ordered lines, which it must not hold up.
        let beside = if delivery.order == Order::Ordered { 0 } else { ROOM_CHANNELS };
        let say = Content::of(&Say { room: room.to_owned(), text: text.to_owned() });
        self.submit_with(now, MsgType::Chat, say, Priority::Chat, channel + beside, delivery)
    }

    /// Says something long in a room, which gives way to everything else that this session says: it goes as bulk, on a
    /// channel of its own, so it comes in order with what else is said so, and with nothing else.
    pub fn say_in_bulk(&mut self, now: Timestamp, room: &str, text: &str) -> Result<MessageId, SendError> {
        let say = Content::of(&Say { room: room.to_owned(), text: text.to_owned() });
        self.submit(now, MsgType::Chat, say, Priority::Bulk, BULK_CHANNEL)
    }

    /// Says something to one user.
    pub fn say_private(&mut self, now: Timestamp, to: &str, text: &str) -> Result<MessageId, SendError> {
        let say = Content::of(&SayPrivate { to: to.to_owned(), text: text.to_owned() });
        self.submit(now, MsgType::Private, say, Priority::Chat, PRIVATE_CHANNEL)
    }

    /// Says something to everyone on the server.
    pub fn broadcast(&mut self, now: Timestamp, text: &str) -> Result<MessageId, SendError> {
        let say = Content::of(&Text { text: text.to_owned() });
        self.submit(now, MsgType::Broadcast, say, Priority::Chat, PRIVATE_CHANNEL)
    }

    /// Asks who is in a room.
    pub fn list(&mut self, now: Timestamp, room: &str) -> Result<MessageId, SendError> {
        let request = Content::of(&RoomRequest { room: room.to_owned() });
        self.submit(now, MsgType::List, request, Priority::Control, CONTROL_CHANNEL)
    }

    /// Asks which rooms there are.
    pub fn list_rooms(&mut self, now: Timestamp) -> Result<MessageId, SendError> {
        self.submit(now, MsgType::Rooms, Content::from_json("{}"), Priority::Control, CONTROL_CHANNEL)
    }

    /// Asks the server what it knows of this connection.
    pub fn ask_stats(&mut self, now: Timestamp) -> Result<MessageId, SendError> {
        self.submit(now, MsgType::Stats, Content::from_json("{}"), Priority::Control, CONTROL_CHANNEL)
    }

    /// Says goodbye and ends the session. What is not acknowledged yet is given up; see [`Self::is_settled`].
    pub fn quit(&mut self, now: Timestamp) {
        if self.state == State::Ready {
            self.connection.say_bye("quit");
            self.drain(now);
        }
        self.close(Closed::Quit);
    }

    /// Whether everything that was submitted has been acknowledged or has failed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.connection.is_settled()
    }

    /// Whether the server has welcomed this session on the present carrier.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// Whether the session is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    #[must_use]
    pub fn user(&self) -> &Arc<str> {
        &self.config.user
    }

    /// The transport underneath, for its metrics and counters.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How often a broken carrier was replaced.
    #[must_use]
    pub fn reconnects(&self) -> u64 {
        self.reconnects
    }

    /// Records transport events for [`Self::poll_trace`].
    pub fn set_tracing(&mut self, on: bool) {
        self.tracing = on;
        self.connection.set_tracing(on);
    }

    pub fn poll_trace(&mut self) -> Option<TraceEvent> {
        self.connection.poll_trace()
    }

    /// Whether to tell what each message waited for, and what happened to it if anything did.
    pub fn set_wait_tracing(&mut self, on: bool) {
        self.waits.set_on(on);
        self.connection.set_step_tracing(on);
    }

    /// What a message of ours waited for at this end, once it is acknowledged, or one of others, once it is heard.
    pub fn poll_wait(&mut self) -> Option<Waited> {
        self.waits.pop()
    }

    /// Waits that were dropped because nobody asked for them in time.
    #[must_use]
    pub fn waits_forgotten(&self) -> u64 {
        self.waits.forgotten()
    }

    fn submit(
        &mut self,
        now: Timestamp,
        msg_type: MsgType,
        content: Content,
        priority: Priority,
        channel: u32,
    ) -> Result<MessageId, SendError> {
        self.submit_with(now, msg_type, content, priority, channel, Delivery::default())
    }

    fn submit_with(
        &mut self,
        now: Timestamp,
        msg_type: MsgType,
        content: Content,
        priority: Priority,
        channel: u32,
        delivery: Delivery,
    ) -> Result<MessageId, SendError> {
        let id = MessageId(self.next_message);
        let message = Outgoing {
            msg_id: id.on_wire(&self.config.user).into(),
            msg_type,
            sender: (&self.config.user).into(),
            content,
            timestamp_us: self.unix_us(now),
            priority,
            channel,
            delivery,
        };
        let key = self.connection.send(now, message)?;
        self.next_message += 1;
        self.submitted.insert(key, id);
        self.drain(now);
        Ok(id)
    }

    fn connect(&mut self, now: Timestamp) {
        self.state = State::Connecting { deadline: now + self.config.connect_timeout };
        self.outputs.push_back(Output::Connect);
    }

    /// Gives up the present carrier and plans the next.
    fn reconnect(&mut self, now: Timestamp, reason: &str) {
        self.carrier = None;
        self.outputs.push_back(Output::Close);
        let pause = self.backoff.next(&mut self.rng);
        self.state = State::Waiting { until: now + pause };
        self.reconnects += 1;
        self.events.push_back(SessionEvent::Disconnected { reason: reason.to_owned(), retry_in: pause });
    }

    fn close(&mut self, why: Closed) {
        if self.state == State::Closed {
            return;
        }
        self.state = State::Closed;
        self.carrier = None;
        self.outputs.push_back(Output::Close);
        self.events.push_back(SessionEvent::Closed(why));
    }

    fn send_hello(&mut self, now: Timestamp) {
        let hello = Hello {
            version: PROTOCOL_VERSION,
            codec: self.codec.to_string(),
            user: self.config.user.to_string(),
            resume: self.token.clone(),
            nonce: Some(self.nonce.clone()),
            attempt: self.attempt,
        };
        let frame = Frame {
            msg_id: format!("hello-{}", self.attempt).into(),
            ..self.own_frame(now, MsgType::Hello, Content::of(&hello))
        };
        if let Some(carrier) = &self.carrier {
            let mut bytes = carrier.wrap(&frame);
            if let Some(limit) = carrier.max_datagram() {
                // RFC 9000 section 8.1: a first datagram as long as later ones may be, so that a path which does not carry
                // them is found out before anything depends on it.
                bytes = forms::padded(bytes, limit - forms::TOKEN_OVERHEAD);
            }
            self.outputs.push_back(Output::Transmit(bytes));
        }
    }

    /// A frame outside the connection.
    fn own_frame(&self, now: Timestamp, msg_type: MsgType, content: Content) -> Frame {
        Frame {
            msg_id: "".into(),
            msg_type,
            sender: (&self.config.user).into(),
            content,
            timestamp_us: self.unix_us(now),
            priority: Priority::Control,
            sequence_number: 0,
            packet: 0,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        }
    }

    /// The last steps of every input: act on what the connection says, and collect what it wants to send.
    fn drain(&mut self, now: Timestamp) {
        self.drain_connection(now);
        if self.state != State::Ready {
            return;
        }
        if let Some(carrier) = &self.carrier {
            while let Some(bytes) = carrier.poll_transmit(now, &mut self.connection) {
                self.outputs.push_back(Output::Transmit(bytes));
            }
        }
    }

    /// Each room has a channel of its own, so that a lost line of one holds up no other.
    fn channel(&mut self, room: &Arc<str>) -> u32 {
        let next = FIRST_ROOM_CHANNEL + u32::try_from(self.channels.len()).unwrap_or(0) % ROOM_CHANNELS;
        *self.channels.entry(room.clone()).or_insert(next)
    }

    fn unix_us(&self, now: Timestamp) -> u64 {
        self.config.unix_us_at_zero + now.as_micros()
    }
}

impl SessionConfig {
    /// Defaults for `user`, with this seed.
    #[must_use]
    pub fn new(user: &str, carrier: CarrierKind, seed: Seed) -> Self {
        Self {
            user: user.into(),
            carrier,
            transport: TransportConfig::default(),
            codec: Codec::Json,
            reconnect: (Duration::from_millis(100), Duration::from_secs(10)),
            connect_timeout: Duration::from_secs(10),
            seed,
            unix_us_at_zero: 0,
        }
    }
}

/// First pause before an unanswered `hello` is repeated; doubled each time. Shorter than the 1 s of RFC 6298 (2.1),
/// because a `hello` is small, rare and idempotent.
const HELLO_INTERVAL: Duration = Duration::from_millis(500);
const MAX_HELLO_INTERVAL: Duration = Duration::from_secs(4);
/// Characters of the user's name in a `msg_id`: at four bytes each and with 21 for the number, below its 64 bytes.
const NAME_IN_ID: usize = 10;
const CONTROL_CHANNEL: u32 = 0;
const PRIVATE_CHANNEL: u32 = 1;
const FIRST_ROOM_CHANNEL: u32 = 2;
/// Beyond this many rooms in one session, rooms share channels; a server allows 1,024.
const ROOM_CHANNELS: u32 = 500;
/// Behind the ordered and the other lines of rooms; below the 1,024 channels of a connection.
const BULK_CHANNEL: u32 = FIRST_ROOM_CHANNEL + 2 * ROOM_CHANNELS;

#[cfg(test)]
mod tests;
