//! What a person sees: events in, lines out. A value, without a screen.
//!
//! Each line is one thing that happened. The room is named only when there is more than one to be in; a broken
//! connection is told once, however many tries follow; and what others wrote passes [`crate::text::safe`].

use std::collections::BTreeSet;
use std::sync::Arc;

use chat_client::session::{MessageId, SessionEvent};
use chat_core::message::{ErrorContent, History, Joined, Left, Members, Notice, NoticeEvent, RoomList};
use units::Timestamp;

use super::paint::{Paint, Style};
use super::presence::{Change, Presence};
use super::said::SaidLines;
use super::stats;
use super::time::time_of_day;
use crate::heard::Heard;
use crate::text::safe;

#[derive(Debug)]
pub(crate) struct View {
    settings: ViewSettings,
    rooms: BTreeSet<Arc<str>>,
    /// Where plain lines go.
    current: Option<Arc<str>>,
    link: Link,
    heard: Heard,
    presence: Presence,
    said: SaidLines,
}

#[derive(Clone, Debug)]
pub(crate) struct ViewSettings {
    pub(crate) user: Arc<str>,
    pub(crate) server: String,
    pub(crate) paint: Paint,
    /// Wall-clock microseconds since the Unix epoch at [`Timestamp::ZERO`].
    pub(crate) unix_us_at_zero: u64,
    /// Seconds east of Greenwich.
    pub(crate) utc_offset: i64,
}

/// Whom an own line went to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    Room(Arc<str>),
    User(Arc<str>),
    Everyone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// Never connected so far; whether that was told.
    New {
        told: bool,
    },
    Up,
    Down,
}

impl View {
    pub(crate) fn new(settings: ViewSettings) -> Self {
        Self {
            heard: Heard::new(settings.user.clone()),
            settings,
            rooms: BTreeSet::new(),
            current: None,
            link: Link::New { told: false },
            presence: Presence::default(),
            said: SaidLines::default(),
        }
    }

    /// The room that plain lines go to, and whether they can.
    pub(crate) fn prompt(&self) -> String {
        let place = self.current.as_deref().unwrap_or("(no room)");
        match self.link {
            Link::Up => format!("{place}> "),
            Link::New { .. } | Link::Down => format!("{place} (offline)> "),
        }
    }

    pub(crate) fn current(&self) -> Option<Arc<str>> {
        self.current.clone()
    }

    /// Makes `room` the current one if we are in it.
    pub(crate) fn switch(&mut self, room: &Arc<str>) -> bool {
        let is_in = self.rooms.contains(room);
        if is_in {
            self.current = Some(room.clone());
        }
        is_in
    }

    /// Own lines on their way.
    pub(crate) fn unsettled(&self) -> usize {
        self.said.unsettled()
    }

    /// An own line was sent: its echo.
    pub(crate) fn on_said(
        &mut self,
        now: Timestamp,
        id: MessageId,
        audience: &Audience,
        text: &str,
    ) -> String {
        self.said.note(id, text);
        let own = self.settings.paint.paint(Style::Own, &self.settings.user);
        let who = match audience {
            Audience::Room(room) => format!("{}{own}", self.room_label(room)),
            Audience::User(user) => format!("{own} to {}", self.name(user)),
            Audience::Everyone => format!("{own} to all"),
        };
        let echo = self.line(now, self.unix_us(now), &who, text);
        self.after_presence(echo)
    }

    /// Lines for an event, each with its line feed; often one, sometimes none.
    pub(crate) fn on_event(&mut self, now: Timestamp, event: SessionEvent) -> String {
        let lines = match event {
            SessionEvent::Connected { resumed, .. } => self.on_connected(resumed),
            SessionEvent::Disconnected { reason, .. } => self.on_disconnected(&reason),
            SessionEvent::Joined(joined) => self.on_joined(joined),
            SessionEvent::Left(left) => self.on_left(&left),
            SessionEvent::Line { sender, timestamp_us, line } => {
                self.heard.on_line(&line.room, line.seq);
                let who = format!("{}{}", self.room_label(&line.room), self.name(&sender));
                self.line(now, timestamp_us, &who, &line.text)
            }
            SessionEvent::Private { sender, timestamp_us, text } => {
                let who = format!("{} to you", self.name(&sender));
                self.line(now, timestamp_us, &who, &text)
            }
            SessionEvent::Broadcast { sender, timestamp_us, text } => {
                let who = format!("{} to all", self.name(&sender));
                self.line(now, timestamp_us, &who, &text)
            }
            SessionEvent::History(history) => self.on_history(now, history),
            SessionEvent::Notice(notice) => return self.on_notice(now, notice),
            SessionEvent::Members(members) => self.on_members(&members),
            SessionEvent::Rooms(list) => self.on_rooms(&list),
            SessionEvent::Stats(answer) => self.dim(&stats::render(&answer)),
            SessionEvent::Acked(id) => {
                self.said.settle(id);
                return String::new();
            }
            SessionEvent::Failed(id) => {
                self.said.settle(id);
                match self.said.quote(id) {
                    Some(quote) => self.alarm(&format!("not delivered: {quote}; send it again")),
                    None => self.alarm("a request got no answer; try it again"),
                }
            }
            SessionEvent::Error(error) => self.on_error(&error),
            SessionEvent::Missed { reason } => self.alarm(&format!("something was not heard: {reason}")),
            // Why the session is over is told after the prompt has gone.
            SessionEvent::Closed(_) => String::new(),
        };
        self.after_presence(lines)
    }

    /// When [`Self::handle_timeout`] wants to be called.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.presence.poll_timeout()
    }

    /// Shows what has waited long enough.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) -> String {
        if self.presence.poll_timeout().is_some_and(|due| due <= now) {
            self.take_presence()
        } else {
            String::new()
        }
    }

    /// A line that something went wrong.
    pub(crate) fn alarm(&self, text: &str) -> String {
        format!("{}\n", self.settings.paint.paint(Style::Alarm, &format!("! {}", safe(text))))
    }

    /// Lines of our own that may be overlooked.
    pub(crate) fn dim(&self, lines: &str) -> String {
        lines
            .lines()
            .map(|line| format!("{}\n", self.settings.paint.paint(Style::Dim, &safe(line))))
            .collect()
    }

    fn on_connected(&mut self, resumed: bool) -> String {
        let before = std::mem::replace(&mut self.link, Link::Up);
        let ViewSettings { server, user, .. } = &self.settings;
        match before {
            Link::New { .. } => self.dim(&format!("* connected to {server} as {user} (/help)")),
            Link::Down if resumed => self.dim("* connected again, nothing was lost"),
            Link::Down => {
                self.dim("* connected again to a server that had forgotten us; rooms are joined again")
            }
            Link::Up => String::new(),
        }
    }

    fn on_disconnected(&mut self, reason: &str) -> String {
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up => {
                self.alarm(&format!("connection lost: {reason}; connecting again, what you type is kept"))
            }
            Link::New { told } => {
                self.link = Link::New { told: true };
                if told {
                    return String::new();
                }
                self.alarm(&format!("{reason}; trying again, Ctrl-C gives up"))
            }
            Link::Down => String::new(),
        }
    }

    fn on_joined(&mut self, joined: Joined) -> String {
        self.heard.on_joined(&joined.room, joined.seq);
        if !self.rooms.insert(joined.room.clone()) {
            // Joined again after a reconnect; the person never left.
            return String::new();
        }
        let line = match joined.members.saturating_sub(1) {
            0 => format!("* you are in {}, alone so far", joined.room),
            1 => format!("* you are in {} with one other", joined.room),
            others => format!("* you are in {} with {others} others", joined.room),
        };
        self.current = Some(joined.room);
        self.dim(&line)
    }

    fn on_left(&mut self, left: &Left) -> String {
        self.rooms.remove(&left.room);
        self.heard.on_left(&left.room);
        if self.current.as_ref() == Some(&left.room) {
            self.current = self.rooms.first().cloned();
        }
        self.dim(&format!("* you left {}", left.room))
    }

    fn on_history(&mut self, now: Timestamp, history: History) -> String {
        let room = history.room.clone();
        let lines = self.heard.unheard(history);
        if lines.is_empty() {
            return String::new();
        }
        let count = if lines.len() == 1 { "one line".to_owned() } else { format!("{} lines", lines.len()) };
        let mut shown = vec![format!("--- {count} from before, in {room} ---")];
        let offset = self.settings.utc_offset;
        shown.extend(lines.iter().map(|line| {
            let time = time_of_day((line.timestamp * 1e6) as u64, self.unix_us(now), offset);
            format!("  {time} {}: {}", safe(&line.sender), safe(&line.text))
        }));
        self.dim(&shown.join("\n"))
    }

    /// Comings and goings wait for company; the rest is shown at once.
    fn on_notice(&mut self, now: Timestamp, notice: Notice) -> String {
        if let (Some(room), Some(seq)) = (&notice.room, notice.seq) {
            self.heard.on_line(room, seq);
        }
        let change = match notice.event {
            NoticeEvent::Join => Some(Change::Joined),
            NoticeEvent::Leave => Some(Change::Left),
            NoticeEvent::Announcement | NoticeEvent::Shutdown | NoticeEvent::Other => None,
        };
        if let (Some(change), Some(room), Some(user)) = (change, &notice.room, &notice.user) {
            self.presence.note(now, room.clone(), user.clone(), change);
            return String::new();
        }
        let line = match notice.event {
            NoticeEvent::Shutdown => self.alarm(&format!("the server is going down: {}", notice.text)),
            _ if notice.text.is_empty() => String::new(),
            _ => self.line(now, self.unix_us(now), "server to all", &notice.text),
        };
        self.after_presence(line)
    }

    fn on_members(&self, members: &Members) -> String {
        let users: Vec<&str> = members.users.iter().map(|user| &**user).collect();
        self.dim(&format!("* {} in {}: {}", users.len(), members.room, users.join(", ")))
    }

    fn on_rooms(&self, list: &RoomList) -> String {
        if list.rooms.is_empty() {
            return self.dim("* no rooms yet; /join NAME makes one");
        }
        let rooms = list.rooms.iter().take(MAX_LISTED);
        let mut lines: Vec<String> = rooms
            .map(|info| {
                let here = if info.joined { ", you are in" } else { "" };
                format!("  {} ({}{here})", info.room, info.members)
            })
            .collect();
        if list.rooms.len() > MAX_LISTED {
            lines.push(format!("  and {} more", list.rooms.len() - MAX_LISTED));
        }
        self.dim(&lines.join("\n"))
    }

    fn on_error(&self, error: &ErrorContent) -> String {
        let about = error.reply_to.as_deref().and_then(MessageId::from_reply);
        match about.and_then(|id| self.said.quote(id)) {
            Some(quote) => self.alarm(&format!("not said: {quote}: {}", error.text)),
            None => self.alarm(&error.text),
        }
    }

    fn line(&self, now: Timestamp, at_us: u64, who: &str, text: &str) -> String {
        let time = time_of_day(at_us, self.unix_us(now), self.settings.utc_offset);
        format!("{} {who}: {}\n", self.settings.paint.paint(Style::Dim, &time), safe(text))
    }

    fn room_label(&self, room: &str) -> String {
        if self.rooms.len() > 1 { format!("[{}] ", safe(room)) } else { String::new() }
    }

    fn name(&self, name: &str) -> String {
        self.settings.paint.paint(Style::Name, &safe(name))
    }

    /// Comings and goings that happened before `lines`, then these.
    fn after_presence(&mut self, lines: String) -> String {
        if lines.is_empty() { lines } else { self.take_presence() + &lines }
    }

    fn take_presence(&mut self) -> String {
        self.presence.take().iter().map(|line| self.dim(&format!("* {line}"))).collect()
    }

    fn unix_us(&self, now: Timestamp) -> u64 {
        self.settings.unix_us_at_zero + now.as_micros()
    }
}

/// Rooms in one answer on the screen.
const MAX_LISTED: usize = 30;

#[cfg(test)]
mod tests;
