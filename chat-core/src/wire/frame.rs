//! One frame: the JSON envelope, its checksum, encode and decode side by side.
//!
//! The envelope has exactly the fields of `docs/PROTOCOL.md`; `packet`, `channel`, `order` and `fragment` are left out
//! when they say nothing. Unknown fields are ignored and unknown types are kept as [`MsgType::Unknown`], so that old and new peers
//! can talk.
//!
//! The checksum is CRC32C over the body *as sent*, with the eight hexadecimal digits of the checksum itself replaced by
//! `00000000`. That covers every byte and needs no canonical JSON: a receiver finds the digits, zeroes them, and sums.

use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Content, Label};

/// One frame, decoded. Sequence number, packet number and channel are zero where a frame is not numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Names the message; the same on every transmission. At most 64 bytes.
    pub msg_id: Label,
    pub msg_type: MsgType,
    /// Who says so. A server never trusts it from a client.
    pub sender: Label,
    pub content: Content,
    /// Microseconds since the Unix epoch; on the wire, seconds with six decimals.
    pub timestamp_us: u64,
    pub priority: Priority,
    /// Position in the channel, from 1; the same on every transmission. 0: not part of a channel.
    pub sequence_number: u64,
    /// Names this transmission, from 1, never used again. 0: not acknowledged.
    pub packet: u64,
    /// Messages of one channel are delivered in order; a hole in one channel holds up no other.
    pub channel: u32,
    /// When the receiver passes it on; the same on every transmission.
    pub order: Order,
    /// Present when the content is a piece of a larger message.
    pub fragment: Option<Fragment>,
}

/// Piece `index` of `count`. The content is then a JSON string; the strings of all pieces, joined, are the JSON text of
/// the message's content. Pieces have consecutive sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Fragment {
    pub index: u32,
    pub count: u32,
}

/// When a receiver passes a message on, relative to the others of its channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// After everything that comes before it in the channel.
    #[default]
    Ordered,
    /// As soon as it is whole.
    Unordered,
    /// As soon as it is whole, unless something newer of this kind was passed on before: then never.
    Latest,
}

/// Control before chat before bulk: lower numbers are sent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    Control = 0,
    Chat = 1,
    Bulk = 2,
}

/// What a frame is. The reference lists each with its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MsgType {
    Hello,
    Welcome,
    Chat,
    Private,
    Broadcast,
    Group,
    System,
    Ack,
    Nack,
    Heartbeat,
    Join,
    Leave,
    List,
    Rooms,
    Stats,
    History,
    FileOffer,
    FileChunk,
    Control,
    Skip,
    Error,
    Bye,
    /// Asks whether the peer is where it seems to be.
    PathChallenge,
    /// Says so.
    PathResponse,
    /// A type of a later protocol; answered with an `error`, and the connection lives on.
    Unknown(Box<str>),
}

/// Why a body is not a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The body is not JSON, or not an envelope. The text names the field and the position.
    #[error("not a frame: {0}")]
    Malformed(String),
    /// The envelope can be read but its checksum does not agree, so no field can be trusted.
    #[error("checksum of packet {packet} is {found}, the body sums to {computed}")]
    Checksum { packet: u64, found: Box<str>, computed: Box<str> },
}

impl Frame {
    /// Appends the body to `out` and returns its length.
    pub fn encode(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        out.extend_from_slice(b"{\"msg_id\":");
        put_string(out, &self.msg_id);
        out.extend_from_slice(b",\"msg_type\":");
        put_string(out, self.msg_type.as_str());
        out.extend_from_slice(b",\"sender\":");
        put_string(out, &self.sender);
        out.extend_from_slice(b",\"content\":");
        if self.fragment.is_some() {
            put_string(out, self.content.as_str());
        } else {
            out.extend_from_slice(self.content.as_bytes());
        }
        out.extend_from_slice(b",\"timestamp\":");
        put_number(out, self.timestamp_us / 1_000_000, 1);
        out.push(b'.');
        put_number(out, self.timestamp_us % 1_000_000, 6);
        out.extend_from_slice(b",\"checksum\":\"");
        let digits = out.len()..out.len() + CHECKSUM_DIGITS;
        out.extend_from_slice(ZERO_DIGITS);
        put_field(out, b"\",\"priority\":", self.priority as u64);
        put_field(out, b",\"sequence_number\":", self.sequence_number);
        if self.packet != 0 {
            put_field(out, b",\"packet\":", self.packet);
        }
        if self.channel != 0 {
            put_field(out, b",\"channel\":", self.channel.into());
        }
        match self.order {
            Order::Ordered => {}
            Order::Unordered => out.extend_from_slice(b",\"order\":\"unordered\""),
            Order::Latest => out.extend_from_slice(b",\"order\":\"latest\""),
        }
        if let Some(Fragment { index, count }) = self.fragment {
            put_field(out, b",\"fragment\":{\"index\":", index.into());
            put_field(out, b",\"count\":", count.into());
            out.push(b'}');
        }
        out.push(b'}');
        let sum = hex_digits(crc32c::crc32c(&out[start..]));
        out[digits].copy_from_slice(&sum);
        out.len() - start
    }

    /// Bytes of the JSON body at most, without writing it.
    #[must_use]
    pub fn encoded_len_max(&self) -> usize {
        // Six bytes for a control character in a string; the content of a whole message stands as it is.
        let names = self.msg_id.len() + self.sender.len() + self.msg_type.as_str().len();
        let content = self.content.len() * if self.fragment.is_some() { MAX_ESCAPE_BYTES } else { 1 };
        MAX_ENVELOPE_BYTES + MAX_ESCAPE_BYTES * names + content
    }

    /// Reads one body and verifies its checksum.
    pub fn decode(body: &[u8]) -> Result<Self, DecodeError> {
        let text = std::str::from_utf8(body).map_err(|error| {
            DecodeError::Malformed(format!("not UTF-8 after byte {}", error.valid_up_to()))
        })?;
        let envelope: Envelope<'_> = serde_json::from_str(text)
            .map_err(|error| DecodeError::Malformed(excerpt(&error.to_string())))?;
        envelope.verify(body)?;
        envelope.into_frame()
    }
}

/// The envelope as it stands in the text. Borrowed, so that the checksum's place in the body is known.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    msg_id: Cow<'a, str>,
    #[serde(borrow)]
    msg_type: Cow<'a, str>,
    #[serde(borrow)]
    sender: Cow<'a, str>,
    #[serde(borrow)]
    content: &'a RawValue,
    timestamp: f64,
    checksum: &'a str,
    #[serde(default = "chat_priority")]
    priority: u8,
    #[serde(default)]
    sequence_number: u64,
    #[serde(default)]
    packet: u64,
    #[serde(default)]
    channel: u32,
    #[serde(default)]
    order: Order,
    #[serde(default)]
    fragment: Option<Fragment>,
}

impl Envelope<'_> {
    fn verify(&self, body: &[u8]) -> Result<(), DecodeError> {
        if self.checksum.len() != CHECKSUM_DIGITS {
            return Err(DecodeError::Malformed("checksum is not eight hexadecimal digits".to_owned()));
        }
        let digits = range_within(body, self.checksum);
        let sum = crc32c::crc32c(&body[..digits.start]);
        let sum = crc32c::crc32c_append(sum, ZERO_DIGITS);
        let sum = crc32c::crc32c_append(sum, &body[digits.end..]);
        if hex_digits(sum).eq_ignore_ascii_case(self.checksum.as_bytes()) {
            return Ok(());
        }
        Err(DecodeError::Checksum {
            packet: self.packet,
            found: excerpt(self.checksum).into(),
            computed: format!("{sum:08x}").into(),
        })
    }

    fn into_frame(self) -> Result<Frame, DecodeError> {
        if self.msg_id.len() > MAX_MSG_ID_BYTES {
            return Err(DecodeError::Malformed(format!("msg_id is longer than {MAX_MSG_ID_BYTES} bytes")));
        }
        if self.msg_type.len() > MAX_MSG_TYPE_BYTES {
            return Err(DecodeError::Malformed(format!(
                "msg_type is longer than {MAX_MSG_TYPE_BYTES} bytes"
            )));
        }
        if self.sender.len() > MAX_SENDER_BYTES {
            return Err(DecodeError::Malformed(format!("sender is longer than {MAX_SENDER_BYTES} bytes")));
        }
        if self.fragment.is_some_and(|fragment| fragment.index >= fragment.count) {
            return Err(DecodeError::Malformed("fragment index is not below its count".to_owned()));
        }
        let content = match self.fragment {
            None => Content::from_json(self.content.get()),
            Some(_) => {
                let piece: String = serde_json::from_str(self.content.get()).map_err(|_| {
                    DecodeError::Malformed("the content of a fragment must be a string".to_owned())
                })?;
                Content::from_json(piece)
            }
        };
        Ok(Frame {
            msg_id: (&*self.msg_id).into(),
            msg_type: MsgType::from_name(&self.msg_type),
            sender: (&*self.sender).into(),
            content,
            // Saturates: negative and absurd times become 0 and the end of time, they are for display only.
            timestamp_us: (self.timestamp * 1e6).round() as u64,
            priority: Priority::from_number(self.priority),
            sequence_number: self.sequence_number,
            packet: self.packet,
            channel: self.channel,
            order: self.order,
            fragment: self.fragment,
        })
    }
}

impl Priority {
    /// All priorities, most urgent first.
    pub const ALL: [Priority; 3] = [Priority::Control, Priority::Chat, Priority::Bulk];

    /// Numbers above 2 are bulk.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Control,
            1 => Self::Chat,
            _ => Self::Bulk,
        }
    }
}

macro_rules! message_types {
    ($($variant:ident = $name:literal $code:literal),+ $(,)?) => {
        impl MsgType {
            #[must_use]
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$variant => $name,)+
                    Self::Unknown(name) => name,
                }
            }

            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)+
                    other => Self::Unknown(other.into()),
                }
            }

            /// Its number in the binary codec; `None`: it is written out by name.
            #[must_use]
            pub fn code(&self) -> Option<u8> {
                match self {
                    $(Self::$variant => Some($code),)+
                    Self::Unknown(_) => None,
                }
            }

            /// The type with this number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                match code {
                    $($code => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

// The numbers are those of the binary codec: never given to another type.
message_types! {
    Hello = "hello" 0x40, Welcome = "welcome" 0x41, Chat = "chat" 0x42, Private = "private" 0x43,
    Broadcast = "broadcast" 0x44, Group = "group" 0x45, System = "system" 0x46, Ack = "ack" 0x47,
    Nack = "nack" 0x48, Heartbeat = "heartbeat" 0x49, Join = "join" 0x4a, Leave = "leave" 0x4b,
    List = "list" 0x4c, Rooms = "rooms" 0x4d, Stats = "stats" 0x4e, History = "history" 0x4f,
    FileOffer = "file_offer" 0x50, FileChunk = "file_chunk" 0x51, Control = "control" 0x52,
    Skip = "skip" 0x53, Error = "error" 0x54, Bye = "bye" 0x55, PathChallenge = "path_challenge" 0x56,
    PathResponse = "path_response" 0x57,
}

/// The beginning of a text that a peer wrote, short enough to be sent back to it.
#[must_use]
pub fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(MAX_EXCERPT_CHARS).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

fn chat_priority() -> u8 {
    Priority::Chat as u8
}

/// Where `part`, a borrowed slice of `whole`, stands in it.
fn range_within(whole: &[u8], part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("writing to memory does not fail");
}

fn put_field(out: &mut Vec<u8>, name: &[u8], number: u64) {
    out.extend_from_slice(name);
    put_number(out, number, 1);
}

/// Puts `number` in decimal, with zeros before it up to `width` digits. Formatting by the standard library is a third of the
/// time of a frame.
fn put_number(out: &mut Vec<u8>, number: u64, width: usize) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    out.extend(std::iter::repeat_n(b'0', width.saturating_sub(digits.len())));
    out.extend_from_slice(digits);
}

/// Eight digits, lower case.
fn hex_digits(sum: u32) -> [u8; CHECKSUM_DIGITS] {
    std::array::from_fn(|place| b"0123456789abcdef"[((sum >> (28 - 4 * place)) & 0xf) as usize])
}

/// Enough to recognise what is meant; an answer must not grow with what it answers.
const MAX_EXCERPT_CHARS: usize = 100;
/// `\u0000`.
const MAX_ESCAPE_BYTES: usize = 6;
/// An envelope with every field and the largest numbers, without its names and content.
const MAX_ENVELOPE_BYTES: usize = 320;
const CHECKSUM_DIGITS: usize = 8;
const ZERO_DIGITS: &[u8; CHECKSUM_DIGITS] = b"00000000";
/// Enough for a UUID with a prefix; a bound because identifiers are remembered.
pub(super) const MAX_MSG_ID_BYTES: usize = 64;
/// Types are short words.
pub(super) const MAX_MSG_TYPE_BYTES: usize = 64;
/// Four bytes for each of the 32 characters of the longest user name.
pub(super) const MAX_SENDER_BYTES: usize = 128;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame() -> Frame {
        Frame {
            msg_id: "a-1".into(),
            msg_type: MsgType::Chat,
            sender: "alice".into(),
            content: Content::from_json(r#"{"room":"lobby","text":"hi \"checksum\":\"deadbeef\""}"#),
            timestamp_us: 1_234_567_890_123_000,
            priority: Priority::Chat,
            sequence_number: 42,
            packet: 7,
            channel: 3,
            order: Order::Ordered,
            fragment: None,
        }
    }

    fn encoded(frame: &Frame) -> Vec<u8> {
        let mut out = Vec::new();
        frame.encode(&mut out);
        out
    }

    #[test]
    fn the_envelope_has_exactly_the_documented_fields() {
        let body = encoded(&Frame { packet: 0, channel: 0, ..frame() });
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let mut fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        fields.sort_unstable();
        assert_eq!(
            fields,
            [
                "checksum",
                "content",
                "msg_id",
                "msg_type",
                "priority",
                "sender",
                "sequence_number",
                "timestamp"
            ]
        );
        assert_eq!(value["timestamp"], 1_234_567_890.123);
    }

    #[test]
    fn numbers_are_as_the_standard_library_puts_them() {
        for number in [0, 1, 9, 10, 99_999, 1_000_000, u64::from(u32::MAX), u64::MAX] {
            for width in [1, 6] {
                let mut out = Vec::new();
                put_number(&mut out, number, width);
                assert_eq!(String::from_utf8(out).unwrap(), format!("{number:0width$}"));
            }
        }
        for sum in [0, 1, 0xdead_beef, u32::MAX] {
            assert_eq!(hex_digits(sum), format!("{sum:08x}").as_bytes());
        }
    }

    #[test]
    fn the_documented_example_has_the_documented_checksum() {
        // The worked example of docs/PROTOCOL.md; CRC32C of "123456789" is e3069283 (RFC 3720 appendix B.4).
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        let body = br#"{"msg_id":"m1","msg_type":"join","sender":"alice","content":{"room":"lobby"},"timestamp":1234567890.123,"checksum":"ab9a8ede","priority":0,"sequence_number":1,"packet":1}"#;
        let frame = Frame::decode(body).unwrap();
        assert_eq!(frame.msg_type, MsgType::Join);
        assert_eq!((frame.sequence_number, frame.packet), (1, 1));
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        let body = encoded(&frame());
        for bit in 0..body.len() * 8 {
            let mut damaged = body.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            match Frame::decode(&damaged) {
                Err(_) => {}
                // The checksum is read without regard to case, so one bit of a letter may flip without harm.
                Ok(decoded) => assert_eq!(decoded, frame(), "bit {bit} changed the frame unnoticed"),
            }
        }
    }

    #[test]
    fn unknown_fields_and_types_are_kept_apart_from_errors() {
        let text = r#"{"future":1,"msg_id":"x","msg_type":"dance","sender":"a","content":null,"timestamp":1,"checksum":"00000000","priority":9,"sequence_number":1}"#;
        let sum = format!("{:08x}", crc32c::crc32c(text.as_bytes()));
        let body = text.replace("00000000", &sum);
        let frame = Frame::decode(body.as_bytes()).unwrap();
        assert_eq!(frame.msg_type, MsgType::Unknown("dance".into()));
        assert_eq!(frame.priority, Priority::Bulk);
    }

    #[test]
    fn a_missing_field_is_named() {
        let error = Frame::decode(br#"{"msg_id":"x"}"#).unwrap_err();
        assert!(error.to_string().contains("missing field `msg_type`"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_encoded_decodes(
            msg_id in "[a-zA-Z0-9\"\\\\-]{0,40}", sender in ".{0,20}", text in ".{0,300}",
            numbers in any::<(u64, u64, u32)>(), priority in 0u8..3, micros in 0u64..4_000_000_000_000_000,
            order in prop_oneof![Just(Order::Ordered), Just(Order::Unordered), Just(Order::Latest)],
            fragment in proptest::option::of((0u32..5).prop_map(|index| Fragment { index, count: 5 })),
        ) {
            let content = if fragment.is_some() {
                Content::from_json(text)
            } else {
                Content::of(&serde_json::json!({ "text": text }))
            };
            let frame = Frame {
                msg_id: msg_id.into(), msg_type: MsgType::Private, sender: sender.into(), content,
                timestamp_us: micros, priority: Priority::from_number(priority),
                sequence_number: numbers.0, packet: numbers.1, channel: numbers.2, order, fragment,
            };
            prop_assert_eq!(Frame::decode(&encoded(&frame)), Ok(frame));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Frame::decode(&bytes);
        }

        #[test]
        fn no_damage_makes_decoding_panic(at in 0usize..250, byte in any::<u8>()) {
            let mut body = encoded(&frame());
            let at = at % body.len();
            body[at] = byte;
            let _ = Frame::decode(&body);
        }
    }
}
