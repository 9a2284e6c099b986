//! The binary codec: the same frames as in JSON, in a seventh of the bytes around their contents.
//!
//! ```text
//! packet   first (1)  [number (varint)]  { frame }…  [CRC32C (4, big-endian), over everything before it]
//! frame    type (1)   length (varint)    body        or the single byte 0, which is padding
//! ```
//! A packet stands for itself: nothing in it refers to another packet, so loss and reordering cannot make it unreadable,
//! and a relay, a trace or a test can read any of them. That is why packet numbers are whole: cut against what was
//! acknowledged (RFC 9000 section 17.1) they would save one byte in most packets. Within a packet a frame may lean on
//! the one before it, for its sender and its time.
//!
//! Each frame says its length, so types of a later protocol are passed over. Decoding copies no content: it stays a
//! slice of the received bytes. The sum is over the packet as a whole. Keeping the sum of a shared body and combining it with that
//! of the header is possible, but a combination is a product of matrices: `benches/codec.rs` shows some 7 µs for it, and
//! some 30 ns for summing a body of 200 bytes again.

mod ack;
mod message;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use super::{Content, DecodeError, Frame, Label, MsgType, Order, Packet, Priority, varint};
use crate::connection::AckContent;

/// Who wrote what is decoded, and what stands for its bytes.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// The name under which the peer speaks, which its own frames leave out.
    pub name: Label,
    pub protection: Protection,
}

/// What finds damage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protection {
    /// The packet's own checksum, which must be there.
    #[default]
    Checksum,
    /// A cipher around the packet; a checksum may be left out.
    Cipher,
}

/// What is known of a packet while it is written.
#[derive(Debug)]
pub(super) struct Writing<'a> {
    protection: Protection,
    /// 0 until a numbered frame came.
    number: u64,
    context: Context<'a>,
}

/// What a frame may lean on: the one before it in the packet.
#[derive(Clone, Debug)]
struct Context<'a> {
    /// Who speaks where no sender is given: the writer of the packet.
    own: &'a Label,
    /// Who spoke in the frame before, if another.
    other: Option<Label>,
    timestamp_us: u64,
}

impl<'a> Context<'a> {
    fn new(own: &'a Label) -> Self {
        Self { own, other: None, timestamp_us: EPOCH_US }
    }

    fn sender(&self) -> &Label {
        self.other.as_ref().unwrap_or(self.own)
    }

    /// A frame of `sender` was read or written.
    fn advance(&mut self, sender: &Label, timestamp_us: u64) {
        if sender != self.sender() {
            self.other = (sender != self.own).then(|| sender.clone());
        }
        self.timestamp_us = timestamp_us;
    }
}

/// Writes what has no sender of its own.
pub(super) static NOBODY: Label = Label::EMPTY;

impl<'a> Writing<'a> {
    pub(super) fn new(own: &'a Label, protection: Protection) -> Self {
        Self { protection, number: 0, context: Context::new(own) }
    }

    /// Appends a frame to the packet that begins at `start`, if then the whole packet has at most `limit` bytes.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, start: usize, limit: usize, frame: &Frame) -> bool {
        if frame.packet != 0 && self.number != 0 && frame.packet != self.number {
            // A packet has one number.
            return false;
        }
        if let Some(ack) = plain_ack(frame) {
            return self.put_ack(out, start, limit, &ack);
        }
        let is_heartbeat = is_plain_heartbeat(frame);
        let plan = message::Plan::of(frame, &self.context);
        let frame_bytes = if is_heartbeat { HEARTBEAT.len() } else { plan.encoded_len() };
        let number_bytes = if frame.packet != 0 && self.number == 0 { varint::len(frame.packet) } else { 0 };
        if self.len(out, start) + frame_bytes + number_bytes > limit {
            return false;
        }
        self.open(out, start);
        if number_bytes > 0 {
            self.number = frame.packet;
            varint::put(out, frame.packet);
            // In front of what is not numbered: an ack, as a rule, of some ten bytes.
            out[start + 1..].rotate_right(number_bytes);
        }
        if is_heartbeat {
            out.extend_from_slice(&HEARTBEAT);
        } else {
            plan.write(out, frame);
            self.context.advance(&frame.sender, frame.timestamp_us);
        }
        true
    }

    /// Appends an ack, if then the packet has at most `limit` bytes.
    pub(super) fn put_ack(&self, out: &mut Vec<u8>, start: usize, limit: usize, ack: &AckContent) -> bool {
        let length = ack::body_len(ack);
        if self.len(out, start) + 1 + varint::len(length as u64) + length > limit {
            return false;
        }
        self.open(out, start);
        out.push(ACK);
        varint::put(out, length as u64);
        ack::write(out, ack);
        true
    }

    /// Fills the packet up to `length` bytes; nothing if it has as many.
    pub(super) fn pad(&self, out: &mut Vec<u8>, start: usize, length: usize) {
        self.open(out, start);
        let missing = length.saturating_sub(self.len(out, start));
        out.resize(out.len() + missing, PADDING);
    }

    /// Bytes of the packet if it ended now.
    pub(super) fn len(&self, out: &[u8], start: usize) -> usize {
        let written = (out.len() - start).max(1);
        written + if self.protection == Protection::Checksum { SUM_BYTES } else { 0 }
    }

    /// What a frame would add to the packet, in bytes, without its number.
    pub(super) fn frame_len(&self, frame: &Frame) -> usize {
        if is_plain_heartbeat(frame) {
            return HEARTBEAT.len();
        }
        message::Plan::of(frame, &self.context).encoded_len()
    }

    pub(super) fn finish(self, out: &mut Vec<u8>, start: usize) {
        let numbered = if self.number == 0 { 0 } else { NUMBERED };
        out[start] = FORM | numbered;
        if self.protection == Protection::Checksum {
            out[start] |= SUMMED;
            let sum = crc32c::crc32c(&out[start..]);
            out.extend_from_slice(&sum.to_be_bytes());
        }
    }

    fn open(&self, out: &mut Vec<u8>, start: usize) {
        if out.len() == start {
            out.push(FORM);
        }
    }
}

/// Whether `first` begins a binary packet; a JSON body begins with `{`, a list of them with 0.
pub(super) fn is_binary(first: u8) -> bool {
    (1..=0x1f).contains(&first)
}

/// Whether these bytes are a packet with its checksum, whatever is in it.
pub(super) fn is_whole(raw: &[u8]) -> bool {
    split(raw, Protection::Checksum).is_ok()
}

/// Reads a packet into `packet`, behind what is there.
pub(super) fn decode(raw: &Bytes, origin: &Origin, packet: &mut Packet) -> Result<(), DecodeError> {
    let (number, mut rest) = split(raw, origin.protection)?;
    let mut context = Context::new(&origin.name);
    while let Some((&code, after)) = rest.split_first() {
        rest = after;
        if code == PADDING {
            continue;
        }
        let length = varint::take(&mut rest).and_then(|length| usize::try_from(length).ok());
        let Some((body, after)) = length.and_then(|length| rest.split_at_checked(length)) else {
            return Err(malformed("a frame is longer than what is left of its packet"));
        };
        rest = after;
        match code {
            ACK | HEARTBEAT_CODE | message::FIRST..=message::NAMED => packet.check_room()?,
            _ => {}
        }
        match code {
            ACK => packet
                .acks
                .push(ack::read(body).ok_or_else(|| malformed("ranges of an ack are not in order"))?),
            HEARTBEAT_CODE => packet.frames.push(heartbeat(number, &context)?),
            message::FIRST..=message::NAMED => {
                packet.frames.push(message::read(raw, code, body, number, &mut context)?);
            }
            // Of a later protocol, and nothing that a message's order could depend on.
            _ => {}
        }
    }
    Ok(())
}

/// Checks the sum and gives the number, 0 if there is none, and the frames.
fn split(raw: &[u8], protection: Protection) -> Result<(u64, &[u8]), DecodeError> {
    let Some((&first, rest)) = raw.split_first() else {
        return Err(malformed("packet without bytes"));
    };
    if first & !(NUMBERED | SUMMED) != FORM {
        return Err(DecodeError::Malformed(format!(
            "binary packet of form {first:#04x}, which is not known"
        )));
    }
    let mut frames = rest;
    let mut sums = None;
    if first & SUMMED != 0 {
        let Some((body, sum)) = rest.split_last_chunk::<SUM_BYTES>() else {
            return Err(malformed("packet without bytes"));
        };
        frames = body;
        sums = Some((u32::from_be_bytes(*sum), crc32c::crc32c(&raw[..raw.len() - SUM_BYTES])));
    } else if protection == Protection::Checksum {
        return Err(malformed("packet without its checksum"));
    }
    let number = if first & NUMBERED == 0 { Some(0) } else { varint::take(&mut frames) };
    if let Some((found, computed)) = sums.filter(|(found, computed)| found != computed) {
        return Err(DecodeError::Checksum {
            packet: number.unwrap_or(0),
            found: format!("{found:08x}").into(),
            computed: format!("{computed:08x}").into(),
        });
    }
    match number {
        Some(0) if first & NUMBERED != 0 => Err(malformed("packet number 0")),
        Some(number) => Ok((number, frames)),
        None => Err(malformed("packet number cannot be read")),
    }
}

/// The ack in a frame, if nothing else is in it that anybody reads.
fn plain_ack(frame: &Frame) -> Option<AckContent> {
    let is_plain = frame.msg_type == MsgType::Ack && is_bare(frame) && frame.packet == 0;
    is_plain.then(|| frame.content.parse::<AckContent>().ok())?.filter(ack::is_sound)
}

fn is_plain_heartbeat(frame: &Frame) -> bool {
    frame.msg_type == MsgType::Heartbeat
        && is_bare(frame)
        && frame.packet != 0
        && frame.content.as_bytes() == b"{}"
}

/// Whether a frame is outside every channel and has no name.
fn is_bare(frame: &Frame) -> bool {
    frame.msg_id.is_empty()
        && frame.sequence_number == 0
        && frame.channel == 0
        && frame.priority == Priority::Control
        && frame.order == Order::Ordered
        && frame.fragment.is_none()
}

fn heartbeat(number: u64, context: &Context<'_>) -> Result<Frame, DecodeError> {
    if number == 0 {
        return Err(malformed("heartbeat in a packet without a number"));
    }
    Ok(Frame {
        msg_id: Label::EMPTY,
        msg_type: MsgType::Heartbeat,
        sender: context.own.clone(),
        content: Content::empty_object(),
        timestamp_us: 0,
        priority: Priority::Control,
        sequence_number: 0,
        packet: number,
        channel: 0,
        order: Order::Ordered,
        fragment: None,
    })
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed(reason.to_owned())
}

/// First byte: this form, with one or both of the bits below. Others of 1 to 0x1f are for later forms.
const FORM: u8 = 0x01;
/// A packet number follows.
const NUMBERED: u8 = 0x02;
/// A checksum is at the end.
const SUMMED: u8 = 0x04;
const SUM_BYTES: usize = 4;
/// Frame types below [`message::FIRST`] are the transport's own.
const PADDING: u8 = 0x00;
const ACK: u8 = 0x01;
const HEARTBEAT_CODE: u8 = 0x02;
const HEARTBEAT: [u8; 2] = [HEARTBEAT_CODE, 0];
/// 2025-01-01, from where the first time in a packet is counted: it then has seven bytes until 2033.
const EPOCH_US: u64 = 1_735_689_600_000_000;
