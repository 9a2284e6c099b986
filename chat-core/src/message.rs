//! What the contents of the message types mean.
//!
//! Requests carry what is asked; the answer has the same type and names the request in `reply_to`. Unknown fields are
//! ignored on both sides.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::path::ChallengeData;
use crate::wire::Label;

/// `hello`, client to server: the first frame on a carrier, repeated until the `welcome` comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub version: u8,
    /// The codec that the client would like: `json`, or `binary` where the server has it. The `welcome` decides.
    #[serde(default = "json")]
    pub codec: String,
    pub user: String,
    /// The token of a session to go on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// Drawn once by the client for its whole session; opens the session again while no `welcome` has brought a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// Names this try; the answer repeats it. A server answers a repeated `hello` with the same `welcome`.
    #[serde(default)]
    pub attempt: u64,
}

/// `welcome`, server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    pub version: u8,
    /// Names the session in logs and in `admin`; no secret.
    pub session: u64,
    /// Secret; presenting it in a `hello` goes on with this session.
    pub resume_token: String,
    /// Whether the session that `resume` named goes on. If not, this is a new one: join again, send again.
    pub resumed: bool,
    pub user: String,
    pub attempt: u64,
    /// The codec of what both sides write on this carrier after this frame; left out for `json`.
    #[serde(default = "json", skip_serializing_if = "is_json")]
    pub codec: String,
    pub heartbeat_ms: u64,
    /// A peer not heard from for so long is dead.
    pub idle_timeout_ms: u64,
    pub limits: Limits,
}

/// `path_challenge`, and the `path_response` that repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathProof {
    /// Eight random bytes, as sixteen hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub data: ChallengeData,
}

/// What a server accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub frame_bytes: u64,
    pub message_bytes: u64,
    /// Bytes of text in one chat line.
    pub text_bytes: u64,
    pub rooms_per_user: u64,
}

/// `join`, `leave` and `list`, client to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRequest {
    pub room: String,
}

/// `join`, server to client: you are in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    pub room: Arc<str>,
    pub reply_to: Label,
    /// `seq` of the newest line in the room; what follows is higher.
    pub seq: u64,
    /// How many lines of history follow in `history`.
    pub history: u64,
    pub members: u64,
}

/// `leave`, server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    pub room: Arc<str>,
    pub reply_to: Label,
}

/// `chat`, client to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Say {
    pub room: String,
    pub text: String,
}

/// `chat`, server to client, and each line of a `history`: someone said something in a room.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub room: Arc<str>,
    /// Counts the lines of the room, chat and notices together, from 1 without gaps.
    pub seq: u64,
    pub text: String,
}

/// `private`, client to server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SayPrivate {
    pub to: String,
    pub text: String,
}

/// `broadcast`, client to server; and `private` and `broadcast`, server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    pub text: String,
}

/// `system`, server to client: a notice. With a room it has a `seq` like a chat line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notice {
    pub event: NoticeEvent,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<Arc<str>>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeEvent {
    Join,
    Leave,
    /// From the operator.
    Announcement,
    /// The server drains and will close.
    Shutdown,
    #[serde(other)]
    Other,
}

/// `history`, server to client: earlier lines of a room, oldest first, after a `join`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    pub room: Arc<str>,
    pub lines: Vec<HistoryLine>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    pub seq: u64,
    pub sender: Arc<str>,
    /// Seconds since the Unix epoch, when the server took the line in.
    pub timestamp: f64,
    pub text: String,
}

/// `list`, server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub room: Arc<str>,
    pub users: Vec<Arc<str>>,
    pub reply_to: Label,
}

/// `rooms`, server to client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomList {
    pub rooms: Vec<RoomInfo>,
    pub reply_to: Label,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    pub room: Arc<str>,
    pub members: u64,
    /// Whether the asker is in it.
    pub joined: bool,
}

/// `error`, either way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorContent {
    pub code: ErrorCode,
    /// What was wrong, and what to do.
    pub text: String,
    /// The `msg_id` it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Label>,
    /// Whether the sender of this error closes the connection now.
    #[serde(default)]
    pub fatal: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The bytes are no frames of this protocol.
    Malformed,
    /// A frame above the limit.
    FrameTooLong,
    /// Protocol version or codec not spoken here.
    Unsupported,
    /// A frame before `hello`, or on an unknown datagram connection: say `hello` first.
    HelloFirst,
    /// `hello` did not come in time.
    HelloTimeout,
    BadName,
    NameTaken,
    /// The message type is not known here.
    UnknownType,
    /// The content does not fit the type.
    BadContent,
    NotInRoom,
    NoSuchRoom,
    NoSuchUser,
    TextTooLong,
    TooManyRooms,
    /// The server has as many connections, sessions or rooms as it allows.
    Full,
    /// The peer does not keep up with its messages.
    SlowConsumer,
    /// Another connection took the session over.
    Replaced,
    Kicked,
    ShuttingDown,
    /// Acks or channels that break the protocol.
    Violation,
    #[serde(other)]
    Other,
}

mod hexadecimal {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    pub(super) fn serialize<S: Serializer>(data: &[u8; 8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", u64::from_be_bytes(*data)))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 8], D::Error> {
        let digits = String::deserialize(deserializer)?;
        let is_sound = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u64::from_str_radix(&digits, 16).ok().filter(|_| is_sound);
        number.map(u64::to_be_bytes).ok_or_else(|| D::Error::custom("not sixteen hexadecimal digits"))
    }
}

fn json() -> String {
    "json".to_owned()
}

fn is_json(codec: &str) -> bool {
    codec == "json"
}
