//! Frames in: the answer to `hello`, and what the connection hands up.

use bytes::Bytes;
use chat_core::message::{ErrorCode, ErrorContent, PathProof, Text, Welcome};
use chat_core::trace::waits::Wait;
use chat_core::wire::{Codec, DecodeError, Packet};
use chat_core::{Connection, Content, Event, Frame, Incoming, MsgType, SendKey, name};
use serde::de::DeserializeOwned;
use units::Timestamp;

use super::{Closed, MessageId, Output, Session, SessionEvent, State};

impl Session {
    pub(super) fn handle_packet(&mut self, now: Timestamp, raw: &Bytes) {
        let Some(carrier) = &self.carrier else {
            return;
        };
        // Used again for every packet.
        let mut packet = std::mem::take(&mut self.packet);
        let decoded = carrier.decode_into(raw, &mut packet);
        self.handle_decoded(now, decoded.map(|()| &mut packet));
        self.packet = packet;
    }

    fn handle_decoded(&mut self, now: Timestamp, decoded: Result<&mut Packet, DecodeError>) {
        match (self.state, decoded) {
            (State::Greeting { .. }, Ok(packet)) => {
                if let Some(frame) = packet.frames.first() {
                    self.handle_greeting(now, frame);
                }
            }
            (State::Ready, Ok(packet)) if packet.is(&MsgType::Welcome) => {}
            (State::Ready, Ok(packet)) => {
                self.answer_challenges(now, packet);
                self.connection.handle_packet(now, packet);
                self.drain_connection(now);
            }
            (State::Ready, Err(error)) => self.connection.handle_damaged(now, &error),
            // A damaged welcome: the hello is repeated. Anything else without a carrier is late.
            _ => {}
        }
    }

    /// The server asks whether we are where we seem to be: each question gets its answer at once, from wherever we are.
    fn answer_challenges(&mut self, now: Timestamp, packet: &Packet) {
        for frame in packet.frames.iter().filter(|frame| frame.msg_type == MsgType::PathChallenge) {
            if let (Ok(proof), Some(carrier)) = (frame.content.parse::<PathProof>(), &self.carrier) {
                let answer = self.own_frame(now, MsgType::PathResponse, Content::of(&proof));
                self.outputs.push_back(Output::Transmit(carrier.wrap_agreed(&answer)));
            }
        }
    }

    /// Waiting for `welcome`. Numbered frames that overtook it are dropped; the server sends them again.
    fn handle_greeting(&mut self, now: Timestamp, frame: &Frame) {
        match &frame.msg_type {
            MsgType::Welcome => match frame.content.parse::<Welcome>() {
                Ok(welcome) if welcome.attempt == self.attempt => self.on_welcome(now, welcome),
                Ok(_) => {}
                Err(error) => self.reconnect(now, &format!("the welcome cannot be read: {error}")),
            },
            MsgType::Error => {
                if let Ok(error) = frame.content.parse::<ErrorContent>() {
                    self.handle_error(now, error);
                }
            }
            _ => {}
        }
    }

    /// Whether an earlier hello of ours may hold the name. A server gives up on a silent peer after its idle timeout, so
    /// after some tries it is someone else's.
    fn may_be_own_ghost(&self) -> bool {
        (self.attempt > 1 || self.token.is_some()) && self.ghosts_met < MAX_GHOSTS
    }

    fn on_welcome(&mut self, now: Timestamp, welcome: Welcome) {
        let first = self.token.is_none();
        self.ghosts_met = 0;
        self.token = Some(welcome.resume_token);
        if welcome.codec == Codec::Binary.as_str()
            && let Some(carrier) = &mut self.carrier
        {
            carrier.speak_binary((&self.config.user).into(), name::SERVER.into());
        }
        self.backoff.reset();
        self.state = State::Ready;
        if let Some(sent) = self.greeted.take() {
            self.connection.set_initial_rtt(now.since(sent));
        }
        if !first && !welcome.resumed {
            let reason = "the server had forgotten this session; what was said meanwhile is not heard";
            self.events.push_back(SessionEvent::Missed { reason: reason.to_owned() });
            self.begin_anew(now);
        } else {
            self.connection.rebind(now);
        }
        self.events.push_back(SessionEvent::Connected { session: welcome.session, resumed: welcome.resumed });
    }

    /// The server has forgotten the session: joins the rooms again, then sends again what was not acknowledged.
    fn begin_anew(&mut self, now: Timestamp) {
        let transport = self.connection.config().clone();
        let mut fresh =
            Connection::new(now, transport, self.config.user.clone(), self.config.unix_us_at_zero);
        fresh.set_tracing(self.tracing);
        fresh.set_step_tracing(self.waits.is_on());
        let old = std::mem::replace(&mut self.connection, fresh);
        let submitted = std::mem::take(&mut self.submitted);
        let rooms = self.rooms.clone();
        for room in &rooms {
            if self.join(now, room).is_err() {
                let reason = format!("\"{room}\" could not be joined again: too much is waiting");
                self.events.push_back(SessionEvent::Missed { reason });
            }
        }
        for (key, message) in old.into_unacked() {
            let Some(&id) = submitted.get(&key) else {
                continue;
            };
            if message.msg_type == MsgType::Join {
                // Joined above already.
                self.events.push_back(SessionEvent::Acked(id));
                continue;
            }
            match self.connection.send(now, message) {
                Ok(key) => {
                    self.submitted.insert(key, id);
                }
                Err(_) => self.events.push_back(SessionEvent::Failed(id)),
            }
        }
    }

    fn tell_steps(&mut self, key: SendKey, id: MessageId) {
        let steps = self.connection.take_steps(key);
        self.waits.push_steps(|| id.on_wire(&self.config.user).into(), steps);
    }

    /// Tells what happened to messages that are still under way, as far as it is known; for the end of a measurement.
    pub fn tell_unfinished(&mut self) {
        for (key, id) in self.submitted.clone() {
            self.tell_steps(key, id);
        }
    }

    /// Acts on what the connection says, until it is quiet.
    pub(super) fn drain_connection(&mut self, now: Timestamp) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Message(message) => {
                    let order = Wait::Order { span: message.order_wait, at: now };
                    self.waits.push(message.msg_id.clone(), order);
                    self.handle_message(now, &message);
                }
                Event::Acked { key, delays } => {
                    let Some(id) = self.submitted.remove(&key) else {
                        continue;
                    };
                    self.tell_steps(key, id);
                    if self.waits.is_on() {
                        self.waits.push(id.on_wire(&self.config.user).into(), Wait::Sent(delays));
                    }
                    self.events.push_back(SessionEvent::Acked(id));
                }
                Event::Failed { key, .. } => {
                    if let Some(id) = self.submitted.remove(&key) {
                        self.tell_steps(key, id);
                        self.events.push_back(SessionEvent::Failed(id));
                    }
                }
                Event::Skipped { .. } => {
                    let reason = "the server gave up on a message to us".to_owned();
                    self.events.push_back(SessionEvent::Missed { reason });
                }
                Event::Refused { reason, .. } => self.events.push_back(SessionEvent::Missed { reason }),
                Event::Violation { reason } => {
                    self.reconnect(now, &format!("the server broke the protocol: {reason}"))
                }
                Event::Bye { .. } => self.reconnect(now, "the server said goodbye"),
                Event::Dead => self.reconnect(now, "the server is silent"),
            }
        }
    }

    fn handle_message(&mut self, now: Timestamp, message: &Incoming) {
        let event = match &message.msg_type {
            MsgType::Chat => read(message).map(|line| SessionEvent::Line {
                sender: message.sender.clone().into(),
                timestamp_us: message.timestamp_us,
                line,
            }),
            MsgType::Private => read::<Text>(message).map(|Text { text }| SessionEvent::Private {
                sender: message.sender.clone().into(),
                timestamp_us: message.timestamp_us,
                text,
            }),
            MsgType::Broadcast => read::<Text>(message).map(|Text { text }| SessionEvent::Broadcast {
                sender: message.sender.clone().into(),
                timestamp_us: message.timestamp_us,
                text,
            }),
            MsgType::Join => read(message).map(SessionEvent::Joined),
            MsgType::Leave => read(message).map(SessionEvent::Left),
            MsgType::History => read(message).map(SessionEvent::History),
            MsgType::System => read(message).map(SessionEvent::Notice),
            MsgType::List => read(message).map(SessionEvent::Members),
            MsgType::Rooms => read(message).map(SessionEvent::Rooms),
            MsgType::Stats => read(message).map(SessionEvent::Stats),
            MsgType::Error => match read::<ErrorContent>(message) {
                Ok(error) => {
                    self.handle_error(now, error);
                    return;
                }
                Err(event) => Err(event),
            },
            other => {
                Err(format!("a message of type \"{}\", which this client does not know", other.as_str()))
            }
        };
        self.events.push_back(event.unwrap_or_else(|reason| SessionEvent::Missed { reason }));
    }

    /// An error is for the user, or ends the carrier, or ends the session.
    fn handle_error(&mut self, now: Timestamp, error: ErrorContent) {
        if !error.fatal {
            self.events.push_back(SessionEvent::Error(error));
            return;
        }
        match error.code {
            // Perhaps by ourselves: a hello whose welcome never came leaves a session that only time ends.
            ErrorCode::NameTaken if self.may_be_own_ghost() => {
                self.ghosts_met += 1;
                let reason = error.text.clone();
                self.events.push_back(SessionEvent::Error(error));
                self.reconnect(now, &reason);
            }
            // A server from before there was another codec.
            ErrorCode::Unsupported if self.codec != Codec::Json => {
                self.codec = Codec::Json;
                self.reconnect(now, &error.text);
            }
            ErrorCode::Unsupported
            | ErrorCode::BadName
            | ErrorCode::NameTaken
            | ErrorCode::Kicked
            | ErrorCode::Replaced
            | ErrorCode::SlowConsumer => self.close(Closed::Refused(error)),
            _ => {
                let reason = error.text.clone();
                self.events.push_back(SessionEvent::Error(error));
                self.reconnect(now, &reason);
            }
        }
    }
}

fn read<T: DeserializeOwned>(message: &Incoming) -> Result<T, String> {
    let parsed = message.content.parse();
    parsed
        .map_err(|error| format!("a \"{}\" of the server cannot be read: {error}", message.msg_type.as_str()))
}

/// Tries while the name is taken, perhaps by an earlier hello of ours: with pauses up to 10 s they outlast the 20 s after
/// which a server gives up on a silent peer.
const MAX_GHOSTS: u32 = 10;
