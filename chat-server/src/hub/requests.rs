//! What a user can ask for: one function for each message type.

use std::collections::BTreeSet;
use std::sync::Arc;

use chat_core::message::{
    History, HistoryLine, Joined, Left, Line, Members, RoomInfo, RoomList, RoomRequest, Say, SayPrivate,
};
use chat_core::name;
use chat_core::wire::excerpt;
use serde::de::DeserializeOwned;

use super::room::Room;
use super::{
    Content, ErrorCode, Hub, Incoming, MsgType, NoticeEvent, Refusal, SessionId, Text, Timestamp, channel,
};

impl Hub {
    pub(super) fn dispatch(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        match &message.msg_type {
            MsgType::Chat => self.chat(now, session, user, message),
            MsgType::Private => self.private(now, session, user, message),
            MsgType::Broadcast => self.broadcast(now, session, user, message),
            MsgType::Join => self.join(now, session, user, message),
            MsgType::Leave => self.part(now, session, user, message),
            MsgType::List => self.list(now, session, message),
            MsgType::Rooms => self.room_list(now, session, message),
            other => {
                self.counters.unknown_types += 1;
                let known = "chat, private, broadcast, join, leave, list or rooms";
                let text =
                    format!("this server does not take \"{}\" from a client; send {known}", other.as_str());
                Err(Refusal::new(ErrorCode::UnknownType, text))
            }
        }
    }

    fn chat(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        let say: Say = read(message)?;
        self.check_text(&say.text)?;
        let timestamp = self.unix_us(now) as f64 / 1e6;
        let Some(room) = self.rooms.get_mut(&*say.room).filter(|room| room.members.contains(&session)) else {
            let text = format!("you are not in \"{}\"; join it first", excerpt(&say.room));
            return Err(Refusal::new(ErrorCode::NotInRoom, text));
        };
        let seq = room.next_seq();
        room.last_active = now;
        let content = Content::of(&Line { room: room.name.clone(), seq, text: say.text.clone() });
        room.remember(HistoryLine { seq, sender: user.clone(), timestamp, text: say.text }, &self.config);
        let channel = channel::of_room(room.number);
        let recipients: Vec<SessionId> =
            room.members.iter().copied().filter(|&member| member != session).collect();
        self.fan_out(now, &recipients, user, message, &content, channel);
        Ok(())
    }

    fn private(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        let say: SayPrivate = read(message)?;
        self.check_text(&say.text)?;
        let Some(to) = self.session_of(&say.to) else {
            let text =
                format!("nobody here is called \"{}\"; \"list\" tells who is in a room", excerpt(&say.to));
            return Err(Refusal::new(ErrorCode::NoSuchUser, text));
        };
        let content = Content::of(&Text { text: say.text });
        self.fan_out(now, &[to], user, message, &content, channel::of_sender(session));
        Ok(())
    }

    fn broadcast(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        let say: Text = read(message)?;
        self.check_text(&say.text)?;
        let content = Content::of(&say);
        let recipients: Vec<SessionId> =
            self.users.keys().copied().filter(|&other| other != session).collect();
        self.fan_out(now, &recipients, user, message, &content, channel::of_sender(session));
        Ok(())
    }

    fn join(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        let request: RoomRequest = read(message)?;
        let room_name = name::room(&request.room)?;
        let limit = self.config.rooms_per_user;
        let may_join = |rooms: &BTreeSet<Arc<str>>| rooms.contains(&room_name) || rooms.len() < limit;
        if !self.users.get(&session).is_some_and(|user| may_join(&user.rooms)) {
            let text = format!("you are in {limit} rooms, which is the limit; leave one first");
            return Err(Refusal::new(ErrorCode::TooManyRooms, text));
        }
        self.make_room(now, &room_name)?;
        let rooms = self.users.get_mut(&session).map(|user| &mut user.rooms);
        let is_new = rooms.is_some_and(|rooms| rooms.insert(room_name.clone()));
        if is_new {
            if let Some(room) = self.rooms.get_mut(&room_name) {
                room.members.insert(session);
                room.last_active = now;
            }
            self.notice_in_room(now, &room_name, NoticeEvent::Join, user, Some(session));
        }
        let Some(room) = self.rooms.get(&room_name) else {
            return Ok(());
        };
        let lines = room.history();
        let joined = Joined {
            room: room_name.clone(),
            reply_to: message.msg_id.clone(),
            seq: room.seq(),
            history: lines.len() as u64,
            members: room.members.len() as u64,
        };
        // On the room's own channel, so that no line overtakes the answer.
        let channel = channel::of_room(room.number);
        self.reply_on(now, session, MsgType::Join, &joined, channel);
        if !lines.is_empty() {
            self.reply_on(now, session, MsgType::History, &History { room: room_name, lines }, channel);
        }
        Ok(())
    }

    fn part(
        &mut self,
        now: Timestamp,
        session: SessionId,
        user: &Arc<str>,
        message: &Incoming,
    ) -> Result<(), Refusal> {
        let request: RoomRequest = read(message)?;
        let room_name: Arc<str> = request.room.into();
        let was_in = self.users.get_mut(&session).is_some_and(|user| user.rooms.remove(&room_name));
        if !was_in {
            let text = format!("you are not in \"{}\"", excerpt(&room_name));
            return Err(Refusal::new(ErrorCode::NotInRoom, text));
        }
        self.leave_room(now, session, user, &room_name);
        self.reply(now, session, MsgType::Leave, &Left { room: room_name, reply_to: message.msg_id.clone() });
        Ok(())
    }

    fn list(&mut self, now: Timestamp, session: SessionId, message: &Incoming) -> Result<(), Refusal> {
        let request: RoomRequest = read(message)?;
        let Some(room) = self.rooms.get(&*request.room) else {
            let text = format!("there is no room \"{}\"; \"rooms\" lists them", excerpt(&request.room));
            return Err(Refusal::new(ErrorCode::NoSuchRoom, text));
        };
        let members = room.members.iter().filter_map(|member| self.users.get(member));
        let users = members.map(|user| user.name.clone()).take(MAX_LISTED_MEMBERS).collect();
        let members = Members { room: room.name.clone(), users, reply_to: message.msg_id.clone() };
        self.reply(now, session, MsgType::List, &members);
        Ok(())
    }

    fn room_list(&mut self, now: Timestamp, session: SessionId, message: &Incoming) -> Result<(), Refusal> {
        let rooms = self.rooms.values().map(|room| RoomInfo {
            room: room.name.clone(),
            members: room.members.len() as u64,
            joined: room.members.contains(&session),
        });
        let rooms = rooms.take(MAX_LISTED_ROOMS).collect();
        self.reply(now, session, MsgType::Rooms, &RoomList { rooms, reply_to: message.msg_id.clone() });
        Ok(())
    }

    /// Hands one line on; its content is serialised once and shared.
    fn fan_out(
        &mut self,
        now: Timestamp,
        recipients: &[SessionId],
        user: &Arc<str>,
        message: &Incoming,
        content: &Content,
        channel: u32,
    ) {
        self.counters.lines_in += 1;
        self.counters.lines_out += recipients.len() as u64;
        for &to in recipients {
            let (msg_id, msg_type) = (message.msg_id.clone(), message.msg_type.clone());
            self.push(now, to, msg_id, msg_type, user.into(), content.clone(), channel, message.order);
        }
    }

    /// Makes sure that the room exists. At the bound, the empty room that was quiet longest gives way.
    fn make_room(&mut self, now: Timestamp, name: &Arc<str>) -> Result<(), Refusal> {
        if self.rooms.contains_key(name) {
            return Ok(());
        }
        if self.rooms.len() >= self.config.rooms {
            let empty = self.rooms.values().filter(|room| room.members.is_empty());
            let Some(quietest) = empty.min_by_key(|room| room.last_active).map(|room| room.name.clone())
            else {
                let text = format!("the server has {} rooms, which is its limit", self.config.rooms);
                return Err(Refusal::new(ErrorCode::Full, text));
            };
            self.rooms.remove(&quietest);
        }
        self.next_room = self.next_room.wrapping_add(1);
        self.rooms.insert(name.clone(), Room::new(name.clone(), self.next_room, now));
        Ok(())
    }

    fn check_text(&self, text: &str) -> Result<(), Refusal> {
        let limit = self.config.text_bytes;
        if text.len() <= limit {
            return Ok(());
        }
        let text = format!("a line has at most {limit} bytes, this one {}; split it", text.len());
        Err(Refusal::new(ErrorCode::TextTooLong, text))
    }
}

fn read<T: DeserializeOwned>(message: &Incoming) -> Result<T, Refusal> {
    message.content.parse().map_err(|error| {
        let text = format!(
            "the content does not fit \"{}\": {}",
            message.msg_type.as_str(),
            excerpt(&error.to_string())
        );
        Refusal::new(ErrorCode::BadContent, text)
    })
}

/// Rooms in one answer, so that it stays one message.
const MAX_LISTED_ROOMS: usize = 1000;
/// Names in one answer, for the same reason; `join` tells how many members there are.
const MAX_LISTED_MEMBERS: usize = 1000;
