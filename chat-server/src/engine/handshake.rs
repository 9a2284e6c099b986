//! `hello` and `welcome`: which session a carrier belongs to.
//!
//! The handshake is not numbered and may be lost, repeated or damaged like anything else, so it is idempotent: a client
//! repeats its `hello` until the `welcome` comes, and a repeated `hello` gets the same answer.

use std::sync::Arc;

use chat_core::config::Profile;
use chat_core::message::{ErrorCode, Hello, Limits, Welcome};
use chat_core::wire::{Codec, MAX_FRAME_BYTES, UnknownCodec};
use chat_core::{Connection, Content, Frame, MsgType, PROTOCOL_VERSION, name};
use rand::RngExt;
use units::{ByteCount, Timestamp};

use super::outbox::UnderWay;
use super::{Engine, Output, PeerId, Session};
use crate::hub::SessionId;

impl Engine {
    pub(super) fn handle_hello(&mut self, now: Timestamp, peer: PeerId, frame: &Frame) {
        let hello: Hello = match frame.content.parse() {
            Ok(hello) => hello,
            Err(error) => {
                self.refuse_hello(now, peer, ErrorCode::BadContent, format!("hello cannot be read: {error}"));
                return;
            }
        };
        if let Some(id) = self.peers.get(&peer).and_then(|entry| entry.session) {
            // Its welcome got lost, or this is a copy of an earlier hello.
            let resumed = self.sessions.get(&id).is_some_and(|session| session.resumes > 0);
            self.send_welcome(now, peer, id, resumed, hello.attempt);
            return;
        }
        if self.is_stale(&hello) {
            // A copy of a hello whose carrier was given up for a later one; following it would cut the client off.
            self.counters.hellos_stale += 1;
            return;
        }
        let codec = hello.codec.parse::<Codec>();
        let unsupported = |error: UnknownCodec| (ErrorCode::Unsupported, error.to_string());
        let admitted =
            codec.map_err(unsupported).and_then(|codec| Ok((codec, self.admit(now, peer, &hello)?)));
        match admitted {
            Ok((codec, (id, resumed))) => {
                if codec == Codec::Binary && self.config.binary {
                    self.speak_binary(peer, id);
                }
                self.send_welcome(now, peer, id, resumed, hello.attempt);
            }
            Err((code, text)) => self.refuse_hello(now, peer, code, text),
        }
    }

    /// The welcome itself is still JSON; what follows it on this carrier is binary.
    fn speak_binary(&mut self, peer: PeerId, id: SessionId) {
        if let (Some(session), Some(entry)) = (self.sessions.get(&id), self.peers.get_mut(&peer)) {
            entry.carrier.speak_binary(name::SERVER.into(), (&session.user).into());
        }
    }

    /// Whether a later attempt than this has gone on with the session already. Clients that do not count say 0.
    fn is_stale(&self, hello: &Hello) -> bool {
        let session = self.session_named(hello).and_then(|id| self.sessions.get(&id));
        hello.attempt != 0 && session.is_some_and(|session| hello.attempt <= session.attempt)
    }

    /// The session that a `hello` may go on with: by its token, or, before the welcome brought one, by its nonce.
    fn session_named(&self, hello: &Hello) -> Option<SessionId> {
        let by_token = hello.resume.as_deref().and_then(|token| self.by_token.get(token)).copied();
        let by_nonce = || {
            let id = self.hub.session_of(&hello.user)?;
            let nonce = hello.nonce.as_ref().filter(|nonce| nonce.len() >= MIN_NONCE_BYTES)?;
            (self.sessions.get(&id)?.nonce.as_ref() == Some(nonce)).then_some(id)
        };
        let is_users =
            |id: &SessionId| self.sessions.get(id).is_some_and(|session| *session.user == *hello.user);
        by_token.or_else(by_nonce).filter(is_users)
    }

    /// Finds or makes the session for a `hello` and binds it to the peer.
    fn admit(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        hello: &Hello,
    ) -> Result<(SessionId, bool), (ErrorCode, String)> {
        if hello.version != PROTOCOL_VERSION {
            let text = format!("version {} is not spoken here; use {PROTOCOL_VERSION}", hello.version);
            return Err((ErrorCode::Unsupported, text));
        }
        let user = name::user(&hello.user).map_err(|error| (ErrorCode::BadName, error.to_string()))?;
        if let Some(id) = self.session_named(hello) {
            self.resume(now, peer, id, hello.attempt);
            return Ok((id, true));
        }
        if self.draining {
            return Err((ErrorCode::ShuttingDown, "the server is shutting down; try later".to_owned()));
        }
        if let Some(id) = self.hub.session_of(&user) {
            if self.sessions.get(&id).is_some_and(|session| session.peer.is_some()) {
                return Err((ErrorCode::NameTaken, format!("\"{user}\" is taken; choose another name")));
            }
            // Its carrier is gone and its client has started anew.
            self.forget_session(now, id);
        }
        Ok((self.start(now, peer, user, hello), false))
    }

    fn start(&mut self, now: Timestamp, peer: PeerId, user: Arc<str>, hello: &Hello) -> SessionId {
        self.next_session += 1;
        let id = SessionId(self.next_session);
        let token: Arc<str> = format!("{:032x}", self.tokens.random::<u128>()).into();
        let mut transport = self.config.transport.clone();
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.session = Some(id);
            transport.mss = transport.mss.min(ByteCount(entry.carrier.max_body() as u64));
            transport.carrier = transport.carrier_assumed.unwrap_or(entry.carrier.hint());
        }
        if transport.profile == Profile::Modern {
            transport.skip_seed = Some(self.skips.random());
        }
        let server: Arc<str> = name::SERVER.into();
        let mut connection = Connection::new(now, transport, server, self.config.unix_us_at_zero);
        connection.set_tracing(self.config.trace_users.contains(&*user));
        connection.set_step_tracing(self.config.trace_waits);
        self.counters.sessions_started += 1;
        tracing::info!(session = id.0, user = &*user, "session started");
        self.by_token.insert(token.clone(), id);
        self.hub.enter(id, user.clone());
        let session = Session {
            user,
            token,
            connection,
            peer: Some(peer),
            since: now,
            last_seen: now,
            deadline: None,
            resumes: 0,
            attempt: hello.attempt,
            nonce: hello.nonce.clone().filter(|nonce| nonce.len() <= MAX_NONCE_BYTES),
            under_way: UnderWay::default(),
        };
        self.sessions.insert(id, Box::new(session));
        self.dirty.insert(id);
        id
    }

    /// Goes on with a session on another peer. An older carrier that is still open is closed.
    fn resume(&mut self, now: Timestamp, peer: PeerId, id: SessionId, attempt: u64) {
        if let Some(old) = self.sessions.get(&id).and_then(|session| session.peer).filter(|&old| old != peer)
        {
            let text = "this session goes on over another connection".to_owned();
            self.close_with(now, old, ErrorCode::Replaced, text);
        }
        let carrier = self.peers.get_mut(&peer).map(|entry| {
            entry.session = Some(id);
            entry.carrier.hint()
        });
        if let Some(session) = self.sessions.get_mut(&id) {
            session.peer = Some(peer);
            session.last_seen = now;
            session.resumes += 1;
            session.attempt = attempt;
            if let Some(carrier) = carrier {
                session.connection.set_carrier(carrier);
            }
            session.connection.rebind(now);
            self.counters.sessions_resumed += 1;
            tracing::info!(session = id.0, user = &*session.user, "session resumed");
        }
        self.dirty.insert(id);
    }

    fn send_welcome(&mut self, now: Timestamp, peer: PeerId, id: SessionId, resumed: bool, attempt: u64) {
        let (Some(session), Some(entry)) = (self.sessions.get(&id), self.peers.get(&peer)) else {
            return;
        };
        let transport = session.connection.config();
        let millis = |span: std::time::Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let welcome = Welcome {
            version: PROTOCOL_VERSION,
            session: id.0,
            resume_token: session.token.to_string(),
            resumed,
            user: session.user.to_string(),
            attempt,
            codec: entry.carrier.codec().to_string(),
            heartbeat_ms: millis(transport.heartbeat),
            idle_timeout_ms: millis(transport.idle_timeout),
            limits: Limits {
                frame_bytes: MAX_FRAME_BYTES as u64,
                message_bytes: transport.max_message.as_u64(),
                text_bytes: self.config.hub.text_bytes as u64,
                rooms_per_user: self.config.hub.rooms_per_user as u64,
            },
        };
        let frame = self.own_frame(now, MsgType::Welcome, Content::of(&welcome));
        let bytes = entry.carrier.wrap(&frame);
        match &mut self.weather {
            Some(weather) => weather.handle_outbound(now, peer, bytes),
            None => self.outputs.push_back(Output::Transmit { peer, bytes }),
        }
    }

    fn refuse_hello(&mut self, now: Timestamp, peer: PeerId, code: ErrorCode, text: String) {
        self.counters.hellos_refused += 1;
        self.close_with(now, peer, code, text);
    }
}

/// A shorter one can be guessed: 16 hexadecimal digits are 64 bits.
const MIN_NONCE_BYTES: usize = 16;
/// It is kept with the session.
const MAX_NONCE_BYTES: usize = 64;
