//! What a session tells its owner.

use std::sync::Arc;
use std::time::Duration;

use chat_core::message::{ErrorContent, History, Joined, Left, Line, Members, Notice, RoomList};

use super::MessageId;

/// Something happened.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// The server welcomed us. `resumed`: the session goes on after a broken carrier.
    Connected {
        session: u64,
        resumed: bool,
    },
    /// The carrier broke; another is tried after `retry_in`.
    Disconnected {
        reason: String,
        retry_in: Duration,
    },
    /// The session is over.
    Closed(Closed),
    /// Every byte of a message was acknowledged by the server.
    Acked(MessageId),
    /// A message was given up after all its attempts. It may or may not have arrived.
    Failed(MessageId),
    Joined(Joined),
    Left(Left),
    /// Someone said something in a room.
    Line {
        sender: Arc<str>,
        timestamp_us: u64,
        line: Line,
    },
    Private {
        sender: Arc<str>,
        timestamp_us: u64,
        text: String,
    },
    Broadcast {
        sender: Arc<str>,
        timestamp_us: u64,
        text: String,
    },
    History(History),
    Notice(Notice),
    Members(Members),
    Rooms(RoomList),
    /// What the server knows of our connection.
    Stats(serde_json::Value),
    /// The server refused something. Fatal ones come as [`SessionEvent::Closed`] or `Disconnected` as well.
    Error(ErrorContent),
    /// A message was given up by the server, or could not be read: something was not heard.
    Missed {
        reason: String,
    },
}

/// Why a session is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// By our own wish.
    Quit,
    /// The server refused us for good.
    Refused(ErrorContent),
    /// The server did not prove that it is the one meant.
    Untrusted(String),
}
