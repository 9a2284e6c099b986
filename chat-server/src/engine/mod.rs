//! The server as a value: connections + hub. Bytes in, bytes out.
//!
//! The engine knows its peers by number; what a peer is (a TCP stream, an address with a connection id, a client in the
//! simulator) only the driver knows. A *peer* is one carrier; a *session* is one user, and outlives its carriers: when
//! one breaks, the session waits, detached, and a `hello` with its token goes on with it on another peer.
//!
//! A slow reader delays nobody: what it does not acknowledge waits in its own connection, up to a bound, and at the bound
//! the session ends with an `error slow_consumer` that is counted ([`Counters::slow_consumers`]). Dropping single
//! messages instead would break the promise that nothing is lost in silence.
//!
//! # Calling order
//! Feed one input ([`connect`](Engine::connect), [`handle_bytes`](Engine::handle_bytes),
//! [`disconnect`](Engine::disconnect), [`handle_timeout`](Engine::handle_timeout), or a command), then drain
//! [`poll_output`](Engine::poll_output), then wait until [`poll_timeout`](Engine::poll_timeout).

mod commands;
mod handshake;
mod outbox;
mod path;
mod weather;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::{Carrier, CarrierError};
use chat_core::connection::Stats;
use chat_core::message::{ErrorCode, ErrorContent};
use chat_core::trace::TraceEvent;
use chat_core::trace::waits::{MAX_WAITS, Wait, Waited};
use chat_core::wire::{DecodeError, FramingError, Packet};
use chat_core::{
    Connection, Content, Delays, Event, Frame, Incoming, Label, MsgType, Order, Priority, SendKey,
    TransportConfig,
};
use rustc_hash::FxHashMap;
use serde::Serialize;
use units::{Rng, Seed, Timestamp};

use crate::hub::{Hub, HubConfig, SessionId};

pub use commands::NotFound;
pub use weather::{Simulation, SimulationCounters};

use outbox::UnderWay;
use path::Via;
use weather::{Released, Weather};

/// Names one carrier: a TCP connection, or an address with a connection id. Never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct PeerId(pub u64);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these bytes to the stream, or send them as one datagram.
    Transmit { peer: PeerId, bytes: Bytes },
    /// Send these bytes as one datagram to this address of the peer, which may not be the one it is known by.
    TransmitTo { peer: PeerId, to: SocketAddr, bytes: Bytes },
    /// The peer has moved: everything else goes to this address from now on.
    Migrate { peer: PeerId, to: SocketAddr },
    /// Close the carrier, after what was written before; the engine has forgotten the peer.
    Close { peer: PeerId },
}

/// Settings of the server's core.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub hub: HubConfig,
    pub transport: TransportConfig,
    /// Carriers open at once, with or without a session.
    pub max_peers: usize,
    /// How long a peer may take to say `hello`.
    pub hello_timeout: Duration,
    /// How long a session waits for its client to come back.
    pub session_ttl: Duration,
    /// Whether clients that ask for the binary codec get it; without it they are told to speak JSON.
    pub binary: bool,
    /// Keep traces of sessions whose user name is in this list; for measuring.
    pub trace_users: BTreeSet<String>,
    /// Tell what each message waited for, and what happened to it if anything did; for measuring.
    pub trace_waits: bool,
    /// For tokens and simulated weather.
    pub seed: Seed,
    /// Wall-clock microseconds since the Unix epoch at [`Timestamp::ZERO`].
    pub unix_us_at_zero: u64,
}

impl EngineConfig {
    /// Defaults, with this seed.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        Self {
            hub: HubConfig::default(),
            transport: TransportConfig::default(),
            max_peers: 20_000,
            hello_timeout: Duration::from_secs(10),
            session_ttl: Duration::from_secs(60),
            binary: true,
            trace_users: BTreeSet::new(),
            trace_waits: false,
            seed,
            unix_us_at_zero: 0,
        }
    }
}

/// Connections + hub.
#[derive(Debug)]
pub struct Engine {
    config: EngineConfig,
    hub: Hub,
    /// By numbers that nobody outside chooses, so a quick hash is enough. In no order: whoever goes through sorts.
    peers: FxHashMap<PeerId, Peer>,
    /// Boxed: a session is 2.4 KiB, and a table has places for more than it holds.
    sessions: FxHashMap<SessionId, Box<Session>>,
    by_token: BTreeMap<Arc<str>, SessionId>,
    /// Every deadline of a session or of a peer without one, earliest first.
    deadlines: BTreeSet<(Timestamp, Due)>,
    /// Those that one call works on; used again.
    due: Vec<(Timestamp, Due)>,
    /// Sessions whose connection may have something to say.
    dirty: BTreeSet<SessionId>,
    outputs: VecDeque<Output>,
    weather: Option<Weather>,
    counters: Counters,
    /// Transport counters of sessions that have ended.
    past: Stats,
    next_session: u64,
    tokens: Rng,
    /// For path challenges.
    challenges: Rng,
    /// For the packet numbers that a session skips.
    skips: Rng,
    draining: bool,
    traces: VecDeque<(Arc<str>, TraceEvent)>,
    /// Of the user named, at most [`MAX_WAITS`].
    waits: VecDeque<(Arc<str>, Waited)>,
    waits_forgotten: u64,
    /// Packets of one input, and what each is decoded into; used again.
    received: Vec<Bytes>,
    packet: Packet,
}

/// One carrier.
#[derive(Debug)]
struct Peer {
    carrier: Carrier,
    session: Option<SessionId>,
    /// For people: an address, or a client's number.
    address: String,
    since: Timestamp,
    /// Where its datagrams come from; `None` for a stream.
    via: Option<Via>,
}

/// One user.
#[derive(Debug)]
struct Session {
    user: Arc<str>,
    token: Arc<str>,
    connection: Connection,
    /// `None` while detached.
    peer: Option<PeerId>,
    since: Timestamp,
    /// When it was detached, or last heard from.
    last_seen: Timestamp,
    /// Its entry in `deadlines`.
    deadline: Option<Timestamp>,
    resumes: u64,
    /// The `attempt` of the hello that opened its carrier.
    attempt: u64,
    /// The client's own secret, good before it has the token.
    nonce: Option<String>,
    /// Messages under way, while what they wait for is told.
    under_way: UnderWay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Session(SessionId),
    Hello(PeerId),
    Path(PeerId),
}

/// What happened to peers, good and bad; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Counters {
    pub peers_accepted: u64,
    /// Carriers refused because `max_peers` were open.
    pub peers_refused: u64,
    pub sessions_started: u64,
    pub sessions_resumed: u64,
    /// Sessions that waited for their client until their time was over.
    pub sessions_expired: u64,
    /// Messages that waited for those clients.
    pub sessions_expired_messages: u64,
    /// `hello`s refused: bad or taken name, wrong version.
    pub hellos_refused: u64,
    /// Late copies of `hello`s that a later one has replaced; not answered.
    pub hellos_stale: u64,
    /// Peers that said nothing in time.
    pub hello_timeouts: u64,
    /// Bodies or datagrams that are no frames of this protocol.
    pub malformed: u64,
    /// Length prefixes above the limit.
    pub frames_too_long: u64,
    /// Frames with a wrong checksum.
    pub bad_checksums: u64,
    /// Frames before `hello`.
    pub hello_first: u64,
    /// Acks or channels that break the protocol.
    pub violations: u64,
    /// Sessions ended because they did not keep up: the policy at the bound of the outbox.
    pub slow_consumers: u64,
    /// Messages of those sessions that were waiting when they ended.
    pub slow_consumer_messages: u64,
    pub kicked: u64,
    /// Questions whether a peer has moved, to its new address and to its old.
    pub path_challenges: u64,
    /// Peers that had moved, and were followed.
    pub paths_moved: u64,
    /// New addresses that did not answer, or whose peer was heard from its old one.
    pub paths_failed: u64,
    /// New addresses of peers that had not moved: somebody copied their datagrams.
    pub paths_refuted: u64,
}

impl Engine {
    #[must_use]
    pub fn new(config: EngineConfig) -> Self {
        Self {
            hub: Hub::new(config.hub.clone(), config.unix_us_at_zero),
            peers: FxHashMap::default(),
            sessions: FxHashMap::default(),
            by_token: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            due: Vec::new(),
            dirty: BTreeSet::new(),
            outputs: VecDeque::new(),
            weather: None,
            counters: Counters::default(),
            past: Stats::default(),
            next_session: 0,
            tokens: config.seed.fork("server/tokens").rng(),
            challenges: config.seed.fork("server/challenges").rng(),
            skips: config.seed.fork("server/skips").rng(),
            draining: false,
            traces: VecDeque::new(),
            waits: VecDeque::new(),
            waits_forgotten: 0,
            received: Vec::new(),
            packet: Packet::default(),
            config,
        }
    }

    /// A carrier was opened. `address` is for people only.
    pub fn connect(&mut self, now: Timestamp, peer: PeerId, carrier: Carrier, address: String) {
        if self.peers.len() >= self.config.max_peers {
            self.counters.peers_refused += 1;
            let text = format!(
                "the server has {} connections, which is its limit; try later",
                self.config.max_peers
            );
            let frame = self.error_frame(now, ErrorCode::Full, text, None);
            self.outputs.push_back(Output::Transmit { peer, bytes: carrier.wrap(&frame) });
            self.outputs.push_back(Output::Close { peer });
            return;
        }
        self.counters.peers_accepted += 1;
        self.peers.insert(peer, Peer { carrier, session: None, address, since: now, via: None });
        self.deadlines.insert((now + self.config.hello_timeout, Due::Hello(peer)));
    }

    /// Bytes came: the next of a stream, in pieces of any size, or one whole datagram.
    pub fn handle_bytes(&mut self, now: Timestamp, peer: PeerId, bytes: &[u8]) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let mut packets = std::mem::take(&mut self.received);
        let outcome = entry.carrier.receive(bytes, &mut packets);
        for packet in packets.drain(..) {
            match &mut self.weather {
                Some(weather) => weather.handle_inbound(now, peer, packet),
                None => self.handle_packet(now, peer, &packet),
            }
        }
        self.received = packets;
        if let Err(error) = outcome {
            self.refuse_bytes(now, peer, error);
        }
        self.release_weather(now);
        self.settle(now);
    }

    /// A carrier broke or was closed by the other side. Its session waits for another.
    pub fn disconnect(&mut self, now: Timestamp, peer: PeerId) {
        self.remove_peer(now, peer);
        self.settle(now);
    }

    /// Does what is due. Calls that come early do nothing.
    ///
    /// Each deadline that stands at the call is taken at most once. One that comes back although it has passed waits for
    /// the next call: it costs time then, but does not keep everybody else from being heard.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        let mut due = std::mem::take(&mut self.due);
        due.extend(self.deadlines.iter().take_while(|&&(at, _)| at <= now));
        for entry in due.drain(..) {
            // One before it may have ended or moved it.
            if !self.deadlines.remove(&entry) {
                continue;
            }
            match entry.1 {
                Due::Hello(peer) => self.on_hello_timeout(now, peer),
                Due::Path(peer) => self.on_path_timeout(now, peer),
                Due::Session(id) => self.on_session_timeout(now, id),
            }
            self.settle(now);
        }
        self.due = due;
        self.release_weather(now);
        self.settle(now);
    }

    /// The next thing to do; drain it after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let weather = self.weather.as_ref().and_then(Weather::poll_timeout);
        [self.deadlines.first().map(|&(at, _)| at), weather].into_iter().flatten().min()
    }

    /// Trace events of the traced users' connections, this end.
    pub fn poll_trace(&mut self) -> Option<(Arc<str>, TraceEvent)> {
        self.traces.pop_front()
    }

    /// What a message waited for at this end, if the engine was told to say so: one of a client when it has come, and one
    /// for a client, who is named, when it is acknowledged.
    pub fn poll_wait(&mut self) -> Option<(Arc<str>, Waited)> {
        self.waits.pop_front()
    }

    /// Waits that were dropped because nobody took them: for one who does not drain, the oldest are forgotten.
    #[must_use]
    pub fn waits_forgotten(&self) -> u64 {
        self.waits_forgotten
    }

    fn tell_wait(&mut self, user: &Arc<str>, msg_id: Label, wait: Wait) {
        if self.waits.len() == MAX_WAITS {
            self.waits.pop_front();
            self.waits_forgotten += 1;
        }
        self.waits.push_back((user.clone(), Waited { msg_id, wait }));
    }

    fn handle_packet(&mut self, now: Timestamp, peer: PeerId, raw: &Bytes) {
        let Some(entry) = self.peers.get(&peer) else {
            return;
        };
        let session = entry.session;
        // Used again for every packet of every peer.
        let mut packet = std::mem::take(&mut self.packet);
        let decoded = entry.carrier.decode_into(raw, &mut packet);
        self.handle_decoded(now, peer, session, decoded.map(|()| &mut packet));
        self.packet = packet;
    }

    fn handle_decoded(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        session: Option<SessionId>,
        decoded: Result<&mut Packet, DecodeError>,
    ) {
        if let Err(error) = &decoded {
            match error {
                DecodeError::Malformed(_) => self.counters.malformed += 1,
                DecodeError::Checksum { .. } => self.counters.bad_checksums += 1,
            }
        }
        match (session, decoded) {
            (_, Ok(packet)) if packet.is(&MsgType::Hello) => {
                self.handle_hello(now, peer, &packet.frames[0]);
            }
            (Some(id), Ok(packet)) => {
                self.note_responses(now, peer, packet);
                let mark = self.mark_of(peer);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.last_seen = now;
                    let before = session.connection.news();
                    session.connection.handle_ecn(mark);
                    session.connection.handle_packet(now, packet);
                    let after = session.connection.news();
                    let (is_news, is_ack) = (after != before, after.1 > before.1);
                    self.dirty.insert(id);
                    if is_ack {
                        self.note_acked(peer);
                    }
                    self.drain_events(now, id);
                    if is_news {
                        self.on_news(now, peer);
                    }
                }
            }
            (Some(id), Err(error)) => {
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.connection.handle_damaged(now, &error);
                    self.dirty.insert(id);
                }
            }
            (None, Ok(packet)) => {
                self.counters.hello_first += 1;
                let first = packet.frames.first().map_or("nothing", |frame| frame.msg_type.as_str());
                let text = format!("\"{first}\" before hello; say hello first");
                self.close_with(now, peer, ErrorCode::HelloFirst, text);
            }
            (None, Err(error)) => {
                self.close_with(now, peer, ErrorCode::Malformed, error.to_string());
            }
        }
    }

    /// Acts on what a connection says, until it is quiet.
    fn drain_events(&mut self, now: Timestamp, id: SessionId) {
        while let Some(event) = self.sessions.get_mut(&id).and_then(|session| session.connection.poll_event())
        {
            match event {
                Event::Message(message) if message.msg_type == MsgType::Stats => {
                    self.answer_stats(now, id, &message)
                }
                Event::Message(message) if message.msg_type == MsgType::Error => {
                    tracing::debug!(
                        session = id.0,
                        error = message.content.as_str(),
                        "a client reports an error"
                    );
                }
                Event::Message(message) => {
                    self.note_order_wait(now, id, &message);
                    self.hub.handle_message(now, id, &message);
                }
                Event::Refused { msg_id, reason } => {
                    let frame = self.error_frame(now, ErrorCode::BadContent, reason, Some(msg_id));
                    self.send_unnumbered(id, &frame);
                }
                Event::Violation { reason } => {
                    self.counters.violations += 1;
                    self.end_session(now, id, ErrorCode::Violation, reason);
                }
                Event::Bye { .. } => self.forget_session(now, id),
                Event::Dead => self.drop_carrier(now, id),
                Event::Failed { key, .. } => {
                    self.tell_end(id, key, None);
                    // Counted in the connection's stats; the skip that replaces the message tells the client.
                    tracing::warn!(session = id.0, "a message could not be delivered in all its attempts");
                }
                Event::Acked { key, delays } => self.tell_end(id, key, Some(delays)),
                Event::Skipped { .. } => {}
            }
        }
    }

    fn note_order_wait(&mut self, now: Timestamp, id: SessionId, message: &Incoming) {
        if !self.config.trace_waits {
            return;
        }
        if let Some(user) = self.sessions.get(&id).map(|session| session.user.clone()) {
            self.tell_wait(&user, message.msg_id.clone(), Wait::Order { span: message.order_wait, at: now });
        }
    }

    /// A message was acknowledged, or has failed and has no delays.
    fn tell_end(&mut self, id: SessionId, key: SendKey, delays: Option<Delays>) {
        let told = self.sessions.get_mut(&id).and_then(|session| {
            let msg_id = session.under_way.remove(key)?;
            Some((session.user.clone(), msg_id, session.connection.take_steps(key)))
        });
        let Some((user, msg_id, steps)) = told else {
            return;
        };
        if !steps.is_empty() {
            self.tell_wait(&user, msg_id.clone(), Wait::Steps(steps.into()));
        }
        if let Some(delays) = delays {
            self.tell_wait(&user, msg_id, Wait::Sent(delays));
        }
    }

    /// Tells what happened to messages that are still under way, as far as it is known; for the end of a measurement.
    pub fn tell_unfinished(&mut self) {
        let mut sessions = std::mem::take(&mut self.sessions);
        let mut in_order: Vec<(SessionId, &mut Box<Session>)> =
            sessions.iter_mut().map(|(&id, session)| (id, session)).collect();
        in_order.sort_unstable_by_key(|&(id, _)| id);
        in_order.into_iter().for_each(|(_, session)| self.tell_unfinished_of(session));
        self.sessions = sessions;
    }

    fn tell_unfinished_of(&mut self, session: &mut Session) {
        for (key, msg_id) in session.under_way.iter() {
            let steps = session.connection.take_steps(key);
            if !steps.is_empty() {
                self.tell_wait(&session.user, msg_id.clone(), Wait::Steps(steps.into()));
            }
        }
    }

    /// The last steps of every input: hand the hub's output to connections, collect what those want to send, and note
    /// their deadlines anew.
    fn settle(&mut self, now: Timestamp) {
        self.hand_out(now);
        while let Some(id) = self.dirty.pop_first() {
            self.transmit(now, id);
            self.reschedule(id);
            // A fatal condition found while handing out ends further sessions.
            self.hand_out(now);
        }
    }

    /// Collects what one session's connection wants to send now.
    fn transmit(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if let Some((peer, entry)) = session.peer.and_then(|peer| Some((peer, self.peers.get(&peer)?))) {
            while let Some(bytes) = entry.carrier.poll_transmit(now, &mut session.connection) {
                match &mut self.weather {
                    Some(weather) => weather.handle_outbound(now, peer, bytes),
                    None => self.outputs.push_back(Output::Transmit { peer, bytes }),
                }
            }
        }
        while let Some(event) = session.connection.poll_trace() {
            self.traces.push_back((session.user.clone(), event));
        }
    }

    /// Enters the session's next deadline.
    fn reschedule(&mut self, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        let deadline = match session.peer {
            Some(_) => session.connection.poll_timeout(),
            None => Some(session.last_seen + self.config.session_ttl),
        };
        if session.deadline != deadline {
            if let Some(before) = session.deadline {
                self.deadlines.remove(&(before, Due::Session(id)));
            }
            if let Some(at) = deadline {
                self.deadlines.insert((at, Due::Session(id)));
            }
            session.deadline = deadline;
        }
    }

    fn on_session_timeout(&mut self, now: Timestamp, id: SessionId) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.deadline = None;
        if session.peer.is_some() {
            session.connection.handle_timeout(now);
            self.dirty.insert(id);
            self.drain_events(now, id);
        } else {
            self.counters.sessions_expired += 1;
            self.counters.sessions_expired_messages += session.connection.unacked_messages() as u64;
            tracing::info!(session = id.0, user = &*session.user, "session expired");
            self.forget_session(now, id);
        }
    }

    fn on_hello_timeout(&mut self, now: Timestamp, peer: PeerId) {
        if self.peers.get(&peer).is_some_and(|entry| entry.session.is_none()) {
            self.counters.hello_timeouts += 1;
            let text = format!("no hello within {:?}", self.config.hello_timeout);
            self.close_with(now, peer, ErrorCode::HelloTimeout, text);
        }
    }

    /// The bytes of a peer cannot be told apart into frames: a stream has to be closed, a datagram is just dropped.
    fn refuse_bytes(&mut self, now: Timestamp, peer: PeerId, error: CarrierError) {
        match error {
            CarrierError::Framing(FramingError::TooLong { length, .. }) => {
                self.counters.frames_too_long += 1;
                let hint = hint_for_prefix(length);
                self.close_with(now, peer, ErrorCode::FrameTooLong, format!("{error}{hint}"));
            }
            CarrierError::Framing(FramingError::Empty) => {
                self.counters.malformed += 1;
                self.close_with(now, peer, ErrorCode::Malformed, error.to_string());
            }
            CarrierError::Datagram(_) | CarrierError::OtherConnection => self.counters.malformed += 1,
        }
    }

    /// Sends an error outside any connection and closes the carrier; a session it had waits for another.
    fn close_with(&mut self, now: Timestamp, peer: PeerId, code: ErrorCode, text: String) {
        let frame = self.error_frame(now, code, text, None);
        let Some(entry) = self.peers.get(&peer) else {
            return;
        };
        self.outputs.push_back(Output::Transmit { peer, bytes: entry.carrier.wrap(&frame) });
        self.outputs.push_back(Output::Close { peer });
        self.remove_peer(now, peer);
    }

    /// Forgets a carrier; a session it had waits for another.
    fn remove_peer(&mut self, now: Timestamp, peer: PeerId) {
        let Some(entry) = self.peers.remove(&peer) else {
            return;
        };
        if let Some(weather) = &mut self.weather {
            weather.forget(peer);
        }
        self.forget_path(peer, entry.via.as_ref());
        self.deadlines.remove(&(entry.since + self.config.hello_timeout, Due::Hello(peer)));
        if let Some(session) = entry.session {
            self.detach(now, session);
        }
    }

    /// The session has no carrier any more and waits for its client.
    fn detach(&mut self, now: Timestamp, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.peer = None;
            session.last_seen = now;
            self.dirty.insert(id);
        }
    }

    /// The peer is silent: closes its carrier. The session waits.
    fn drop_carrier(&mut self, now: Timestamp, id: SessionId) {
        if let Some(peer) = self.sessions.get(&id).and_then(|session| session.peer) {
            self.outputs.push_back(Output::Close { peer });
            self.remove_peer(now, peer);
        }
    }

    /// Ends a session with an error to its client.
    fn end_session(&mut self, now: Timestamp, id: SessionId, code: ErrorCode, text: String) {
        if let Some(peer) = self.sessions.get(&id).and_then(|session| session.peer) {
            self.close_with(now, peer, code, text);
        }
        self.forget_session(now, id);
    }

    /// The session is over: its user leaves, its carrier is closed.
    fn forget_session(&mut self, now: Timestamp, id: SessionId) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.tell_unfinished_of(&mut session);
        self.past += session.connection.stats();
        self.by_token.remove(&session.token);
        self.dirty.remove(&id);
        if let Some(at) = session.deadline {
            self.deadlines.remove(&(at, Due::Session(id)));
        }
        if let Some(peer) = session.peer {
            self.outputs.push_back(Output::Close { peer });
            self.remove_peer(now, peer);
        }
        self.hub.leave(now, id);
    }

    fn send_unnumbered(&mut self, id: SessionId, frame: &Frame) {
        let peer = self.sessions.get(&id).and_then(|session| session.peer);
        if let Some((peer, entry)) = peer.and_then(|peer| Some((peer, self.peers.get(&peer)?))) {
            self.outputs.push_back(Output::Transmit { peer, bytes: entry.carrier.wrap_agreed(frame) });
        }
    }

    /// What a stranger is told who gets no connection; for the driver, which sends it and forgets them.
    #[must_use]
    pub fn refusal(&self, now: Timestamp, carrier: &Carrier, code: ErrorCode, text: &str) -> Bytes {
        carrier.wrap(&self.error_frame(now, code, text.to_owned(), None))
    }

    fn error_frame(&self, now: Timestamp, code: ErrorCode, text: String, reply_to: Option<Label>) -> Frame {
        let fatal = reply_to.is_none();
        self.own_frame(now, MsgType::Error, Content::of(&ErrorContent { code, text, reply_to, fatal }))
    }

    fn own_frame(&self, now: Timestamp, msg_type: MsgType, content: Content) -> Frame {
        Frame {
            msg_id: "".into(),
            msg_type,
            sender: chat_core::name::SERVER.into(),
            content,
            timestamp_us: self.config.unix_us_at_zero + now.as_micros(),
            priority: Priority::Control,
            sequence_number: 0,
            packet: 0,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        }
    }

    /// Takes what the simulated weather lets through by now.
    fn release_weather(&mut self, now: Timestamp) {
        while let Some(released) = self.weather.as_mut().and_then(|weather| weather.poll_released(now)) {
            match released {
                Released::Inbound { peer, body } => {
                    self.handle_packet(now, peer, &body);
                    self.settle(now);
                }
                Released::Outbound { peer, bytes } => {
                    if self.peers.contains_key(&peer) {
                        self.outputs.push_back(Output::Transmit { peer, bytes });
                    }
                }
            }
        }
    }
}

/// A guess at what a peer speaks whose first bytes are no length of ours.
fn hint_for_prefix(length: u32) -> &'static str {
    match &length.to_be_bytes() {
        b"GET " | b"POST" | b"HEAD" | b"PUT " => "; this looks like HTTP, the admin port speaks that",
        [b'{', ..] => "; this looks like JSON without the 4-byte length before it",
        [0x16, 0x03, ..] => "; this looks like TLS, which this port does not speak",
        _ => "",
    }
}

#[cfg(test)]
mod tests;
