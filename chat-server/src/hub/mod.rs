//! The chat itself: who is here, which rooms there are, who hears what.
//!
//! The hub is a value. It knows sessions by number and never waits for one: what it wants to say goes out through
//! [`Hub::poll_output`], and whoever cannot keep up is the engine's concern. It has never heard of connections, sockets
//! or acknowledgements.

mod channel;
mod requests;
mod room;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use chat_core::message::{ErrorCode, ErrorContent, Notice, NoticeEvent, RoomInfo, Text};
use chat_core::{Content, Incoming, Label, MsgType, Order, Outgoing, Priority};
use serde::Serialize;
use units::Timestamp;

use room::Room;

/// Names a session for as long as the server runs; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct SessionId(pub u64);

/// Bounds of the chat. Reaching one is answered with an `error` that names it.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Bytes of text in one line.
    pub text_bytes: usize,
    pub rooms_per_user: usize,
    /// Rooms kept; empty ones give way first, the longest idle first.
    pub rooms: usize,
    /// Lines a room remembers for those who join.
    pub history_lines: usize,
    /// Their text, in bytes.
    pub history_bytes: usize,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            text_bytes: 4096,
            rooms_per_user: 64,
            rooms: 10_000,
            history_lines: 50,
            // A full history is one message of at most 64 segments or so, even on a thin line.
            history_bytes: 64 << 10,
        }
    }
}

/// Something to send to one session.
#[derive(Clone, Debug, PartialEq)]
pub struct HubOutput {
    pub to: SessionId,
    pub message: Outgoing,
}

/// Rooms, users and the lines between them.
#[derive(Debug)]
pub struct Hub {
    config: HubConfig,
    users: BTreeMap<SessionId, User>,
    by_name: BTreeMap<Arc<str>, SessionId>,
    rooms: BTreeMap<Arc<str>, Room>,
    outputs: VecDeque<HubOutput>,
    counters: HubCounters,
    next_room: u32,
    next_notice: u64,
    /// Wall-clock microseconds since the Unix epoch at [`Timestamp::ZERO`].
    unix_us_at_zero: u64,
}

#[derive(Debug)]
struct User {
    name: Arc<str>,
    rooms: BTreeSet<Arc<str>>,
}

/// Counters of the chat; they only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct HubCounters {
    /// Lines taken in: chat, private and broadcast.
    pub lines_in: u64,
    /// Copies of lines handed on to recipients.
    pub lines_out: u64,
    /// Requests answered with an error, unknown types included.
    pub errors: u64,
    /// Of these, messages of an unknown type.
    pub unknown_types: u64,
}

impl Hub {
    #[must_use]
    pub fn new(config: HubConfig, unix_us_at_zero: u64) -> Self {
        Self {
            config,
            users: BTreeMap::new(),
            by_name: BTreeMap::new(),
            rooms: BTreeMap::new(),
            outputs: VecDeque::new(),
            counters: HubCounters::default(),
            next_room: 0,
            next_notice: 0,
            unix_us_at_zero,
        }
    }

    /// The session that has this name.
    #[must_use]
    pub fn session_of(&self, name: &str) -> Option<SessionId> {
        self.by_name.get(name).copied()
    }

    /// A user arrives. The name must be free.
    ///
    /// # Panics
    /// If it is not; the engine has asked before.
    pub fn enter(&mut self, session: SessionId, name: Arc<str>) {
        let before = self.by_name.insert(name.clone(), session);
        assert!(before.is_none(), "the engine admits a name once");
        self.users.insert(session, User { name, rooms: BTreeSet::new() });
    }

    /// A user is gone for good: leaves every room, with a notice to those who stay.
    pub fn leave(&mut self, now: Timestamp, session: SessionId) {
        let Some(user) = self.users.remove(&session) else {
            return;
        };
        self.by_name.remove(&user.name);
        for room in &user.rooms {
            self.leave_room(now, session, &user.name, room);
        }
    }

    /// Takes one message of a user.
    pub fn handle_message(&mut self, now: Timestamp, session: SessionId, message: &Incoming) {
        let Some(user) = self.users.get(&session) else {
            return;
        };
        let name = user.name.clone();
        if let Err(refusal) = self.dispatch(now, session, &name, message) {
            self.counters.errors += 1;
            self.reply(
                now,
                session,
                MsgType::Error,
                &ErrorContent {
                    code: refusal.code,
                    text: refusal.text,
                    reply_to: Some(message.msg_id.clone()),
                    fatal: false,
                },
            );
        }
    }

    /// The operator speaks to all.
    pub fn announce(&mut self, now: Timestamp, event: NoticeEvent, text: &str) -> usize {
        let notice = Notice { event, room: None, seq: None, user: None, text: text.to_owned() };
        let sessions: Vec<SessionId> = self.users.keys().copied().collect();
        for &session in &sessions {
            self.reply(now, session, MsgType::System, &notice);
        }
        sessions.len()
    }

    /// The next thing to send; drain it after every input.
    pub fn poll_output(&mut self) -> Option<HubOutput> {
        self.outputs.pop_front()
    }

    #[must_use]
    pub fn counters(&self) -> &HubCounters {
        &self.counters
    }

    /// Rooms with their members counted, in the order of their names.
    #[must_use]
    pub fn rooms(&self) -> Vec<RoomInfo> {
        let rooms = self.rooms.values();
        rooms
            .map(|room| RoomInfo {
                room: room.name.clone(),
                members: room.members.len() as u64,
                joined: false,
            })
            .collect()
    }

    /// The rooms a session is in.
    #[must_use]
    pub fn rooms_of(&self, session: SessionId) -> Vec<Arc<str>> {
        self.users.get(&session).map(|user| user.rooms.iter().cloned().collect()).unwrap_or_default()
    }

    fn leave_room(&mut self, now: Timestamp, session: SessionId, name: &Arc<str>, room_name: &Arc<str>) {
        let Some(room) = self.rooms.get_mut(room_name) else {
            return;
        };
        room.members.remove(&session);
        room.last_active = now;
        self.notice_in_room(now, room_name, NoticeEvent::Leave, name, None);
    }

    /// Tells the members of a room, all but `except`, that `user` came or went.
    fn notice_in_room(
        &mut self,
        now: Timestamp,
        room_name: &Arc<str>,
        event: NoticeEvent,
        user: &Arc<str>,
        except: Option<SessionId>,
    ) {
        let Some(room) = self.rooms.get_mut(room_name) else {
            return;
        };
        let seq = room.next_seq();
        let notice = Notice {
            event,
            room: Some(room.name.clone()),
            seq: Some(seq),
            user: Some(user.clone()),
            text: String::new(),
        };
        let (channel, content) = (channel::of_room(room.number), Content::of(&notice));
        let members: Vec<SessionId> =
            room.members.iter().copied().filter(|&member| Some(member) != except).collect();
        let msg_id = self.notice_id();
        for to in members {
            self.push(
                now,
                to,
                msg_id.clone(),
                MsgType::System,
                chat_core::name::SERVER.into(),
                content.clone(),
                channel,
                Order::Ordered,
            );
        }
    }

    /// Sends to one session, outside any conversation.
    fn reply(&mut self, now: Timestamp, to: SessionId, msg_type: MsgType, content: &impl Serialize) {
        self.reply_on(now, to, msg_type, content, channel::CONTROL);
    }

    fn reply_on(
        &mut self,
        now: Timestamp,
        to: SessionId,
        msg_type: MsgType,
        content: &impl Serialize,
        channel: u32,
    ) {
        let msg_id = self.notice_id();
        let (sender, content) = (chat_core::name::SERVER.into(), Content::of(content));
        self.push(now, to, msg_id, msg_type, sender, content, channel, Order::Ordered);
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the fields of one envelope; a struct would only repeat Outgoing"
    )]
    fn push(
        &mut self,
        now: Timestamp,
        to: SessionId,
        msg_id: Label,
        msg_type: MsgType,
        sender: Label,
        content: Content,
        channel: u32,
        order: Order,
    ) {
        let priority = match msg_type {
            MsgType::Chat | MsgType::Private | MsgType::Broadcast | MsgType::System | MsgType::History => {
                Priority::Chat
            }
            _ => Priority::Control,
        };
        let timestamp_us = self.unix_us(now);
        let (channel, delivery) = channel::for_order(channel, order);
        let message =
            Outgoing { msg_id, msg_type, sender, content, timestamp_us, priority, channel, delivery };
        self.outputs.push_back(HubOutput { to, message });
    }

    fn notice_id(&mut self) -> Label {
        self.next_notice += 1;
        Label::numbered("s", "", self.next_notice)
    }

    fn unix_us(&self, now: Timestamp) -> u64 {
        self.unix_us_at_zero + now.as_micros()
    }
}

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    code: ErrorCode,
    /// What was wrong, and what to do.
    text: String,
}

impl Refusal {
    fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

impl From<chat_core::name::NameError> for Refusal {
    fn from(error: chat_core::name::NameError) -> Self {
        Self::new(ErrorCode::BadName, error.to_string())
    }
}

#[cfg(test)]
mod tests;
