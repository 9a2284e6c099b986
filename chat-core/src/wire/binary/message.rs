//! The body of a message frame.
//!
//! ```text
//! flags (1)   bits 0-1 priority, 2-3 order (ordered, unordered, latest), 4 a fragment, 5-6 sender, 7 not numbered
//! channel
//! sequence
//! time        difference to the frame before, zigzag; of the first frame to 2025-01-01; microseconds
//! [type]      length and name: in frames of type 0x7f
//! [sender]    length and name: where the flags say that it is given
//! id          4 * length, and as many bytes; or 4 * number + 1; or 4 * number + 2 for sender, '-', number
//! [index, count]   of a fragment
//! content     to the end of the frame
//! ```

use bytes::Bytes;

use super::super::frame::{MAX_MSG_ID_BYTES, MAX_MSG_TYPE_BYTES, MAX_SENDER_BYTES};
use super::super::{Content, DecodeError, Fragment, Frame, Label, MsgType, Order, Priority, varint};
use super::{Context, malformed};

/// Types from here to [`NAMED`] have this body, known or not.
pub(super) const FIRST: u8 = 0x40;
/// The type of a message whose type has no number.
pub(super) const NAMED: u8 = 0x7f;

/// How a frame is put down, found out before a byte is written: the length stands in front.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    code: u8,
    flags: u8,
    time: u64,
    type_name: Option<&'a str>,
    sender: Option<&'a [u8]>,
    id: Id<'a>,
    body_bytes: usize,
}

/// A `msg_id`, by the first form that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Id<'a> {
    Bytes(&'a [u8]),
    Number(u64),
    SenderNumber(u64),
}

impl<'a> Plan<'a> {
    pub(super) fn of(frame: &'a Frame, context: &Context<'_>) -> Self {
        let code = frame.msg_type.code().unwrap_or(NAMED);
        let type_name = (code == NAMED).then(|| frame.msg_type.as_str());
        let sender_form = match &frame.sender {
            sender if sender == context.own => SENDER_OWN,
            sender if sender == context.sender() => SENDER_SAME,
            _ => SENDER_GIVEN,
        };
        let sender = (sender_form == SENDER_GIVEN).then(|| frame.sender.as_bytes());
        let order = match frame.order {
            Order::Ordered => 0,
            Order::Unordered => 1,
            Order::Latest => 2,
        };
        let mut flags = frame.priority as u8 | order << ORDER_SHIFT | sender_form << SENDER_SHIFT;
        if frame.fragment.is_some() {
            flags |= FRAGMENT;
        }
        if frame.packet == 0 {
            flags |= UNNUMBERED;
        }
        let time = varint::zigzag(frame.timestamp_us.wrapping_sub(context.timestamp_us).cast_signed());
        let id = Id::of(frame);
        let mut plan = Self { code, flags, time, type_name, sender, id, body_bytes: 0 };
        let mut body_bytes = 1 + frame.content.len();
        plan.each_part(frame, |part| {
            body_bytes += match part {
                Part::Number(number) => varint::len(number),
                Part::Bytes(bytes) => bytes.len(),
            };
        });
        plan.body_bytes = body_bytes;
        plan
    }

    pub(super) fn encoded_len(&self) -> usize {
        1 + varint::len(self.body_bytes as u64) + self.body_bytes
    }

    pub(super) fn write(&self, out: &mut Vec<u8>, frame: &Frame) {
        out.push(self.code);
        varint::put(out, self.body_bytes as u64);
        out.push(self.flags);
        self.each_part(frame, |part| match part {
            Part::Number(number) => varint::put(out, number),
            Part::Bytes(bytes) => out.extend_from_slice(bytes),
        });
        out.extend_from_slice(frame.content.as_bytes());
    }

    /// What stands between the flags and the content: told once, so that the length and the bytes cannot disagree.
    fn each_part(&self, frame: &Frame, mut visit: impl FnMut(Part<'_>)) {
        visit(Part::Number(u64::from(frame.channel)));
        visit(Part::Number(frame.sequence_number));
        visit(Part::Number(self.time));
        for text in [self.type_name.map(str::as_bytes), self.sender].into_iter().flatten() {
            visit(Part::Number(text.len() as u64));
            visit(Part::Bytes(text));
        }
        match self.id {
            Id::Bytes(bytes) => {
                visit(Part::Number((bytes.len() as u64) << ID_SHIFT | ID_BYTES));
                visit(Part::Bytes(bytes));
            }
            Id::Number(number) => visit(Part::Number(number << ID_SHIFT | ID_NUMBER)),
            Id::SenderNumber(number) => visit(Part::Number(number << ID_SHIFT | ID_SENDER_NUMBER)),
        }
        if let Some(Fragment { index, count }) = frame.fragment {
            visit(Part::Number(u64::from(index)));
            visit(Part::Number(u64::from(count)));
        }
    }
}

enum Part<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Id<'a> {
    fn of(frame: &'a Frame) -> Self {
        let bytes = frame.msg_id.as_bytes();
        if let Some(number) = decimal(bytes) {
            return Self::Number(number);
        }
        let number = bytes.strip_prefix(frame.sender.as_bytes()).and_then(|rest| rest.strip_prefix(b"-"));
        number.and_then(decimal).map_or(Self::Bytes(bytes), Self::SenderNumber)
    }
}

/// The number that is written as exactly these digits, if it leaves room for the form.
fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 1 && digits[0] == b'0' || digits.len() > 19 {
        return None;
    }
    let number = digits.iter().try_fold(0_u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })?;
    (number < 1 << (64 - ID_SHIFT)).then_some(number)
}

/// Reads the body of a frame of type `code`. The content stays a slice of `raw`.
pub(super) fn read(
    raw: &Bytes,
    code: u8,
    body: &[u8],
    number: u64,
    context: &mut Context<'_>,
) -> Result<Frame, DecodeError> {
    let mut reader = Reader { rest: body };
    let flags = reader.byte()?;
    let packet = match (flags & UNNUMBERED != 0, number) {
        (true, _) => 0,
        (false, 0) => return Err(malformed("numbered frame in a packet without a number")),
        (false, number) => number,
    };
    let channel = reader.small("channel")?;
    let sequence_number = reader.number()?;
    let time = varint::unzigzag(reader.number()?);
    let timestamp_us = context.timestamp_us.wrapping_add(time.cast_unsigned());
    let msg_type = match MsgType::from_code(code) {
        Some(known) => known,
        None if code == NAMED => MsgType::from_name(reader.text(MAX_MSG_TYPE_BYTES)?),
        None => MsgType::Unknown(format!("type-{code:#04x}").into()),
    };
    let sender = match flags >> SENDER_SHIFT & 3 {
        SENDER_OWN => context.own.clone(),
        SENDER_SAME => context.sender().clone(),
        SENDER_GIVEN => reader.text(MAX_SENDER_BYTES)?.into(),
        _ => return Err(malformed("sender of an unknown form")),
    };
    let msg_id = reader.id(&sender)?;
    let fragment = if flags & FRAGMENT == 0 { None } else { Some(reader.fragment()?) };
    // A small content must not keep a large packet in memory while it waits for what comes before it.
    let is_small = raw.len() > LARGE_PACKET_BYTES && reader.rest.len() < raw.len() / 4;
    let bytes = if is_small { Bytes::copy_from_slice(reader.rest) } else { raw.slice_ref(reader.rest) };
    let content = Content::from_utf8(bytes)
        .map_err(|error| DecodeError::Malformed(format!("content is not UTF-8: {error}")))?;
    context.advance(&sender, timestamp_us);
    Ok(Frame {
        msg_id,
        msg_type,
        sender,
        content,
        timestamp_us,
        priority: Priority::from_number(flags & 3),
        sequence_number,
        packet,
        channel,
        order: order(flags)?,
        fragment,
    })
}

fn order(flags: u8) -> Result<Order, DecodeError> {
    match flags >> ORDER_SHIFT & 3 {
        0 => Ok(Order::Ordered),
        1 => Ok(Order::Unordered),
        2 => Ok(Order::Latest),
        _ => Err(malformed("order of an unknown kind")),
    }
}

/// What is left of a body.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.rest.split_first().ok_or_else(cut_off)?;
        self.rest = rest;
        Ok(first)
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        varint::take(&mut self.rest).ok_or_else(cut_off)
    }

    fn small(&mut self, what: &str) -> Result<u32, DecodeError> {
        let number = self.number()?;
        u32::try_from(number)
            .map_err(|_| DecodeError::Malformed(format!("{what} {number} is beyond 32 bits")))
    }

    /// A text of a length that stands before it and is at most `limit`.
    fn text(&mut self, limit: usize) -> Result<&'a str, DecodeError> {
        let length = self.number()?;
        self.bytes(length, limit)
    }

    fn bytes(&mut self, length: u64, limit: usize) -> Result<&'a str, DecodeError> {
        let length = usize::try_from(length).ok().filter(|&length| length <= limit);
        let length = length.ok_or_else(|| malformed("a name is longer than it may be"))?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or_else(cut_off)?;
        self.rest = rest;
        std::str::from_utf8(bytes).map_err(|error| DecodeError::Malformed(format!("name: {error}")))
    }

    fn id(&mut self, sender: &Label) -> Result<Label, DecodeError> {
        let head = self.number()?;
        let number = head >> ID_SHIFT;
        let id = match head & 3 {
            ID_BYTES => self.bytes(number, MAX_MSG_ID_BYTES)?.into(),
            ID_NUMBER => Label::numbered("", "", number),
            ID_SENDER_NUMBER => Label::numbered(sender, "-", number),
            _ => return Err(malformed("msg_id of an unknown form")),
        };
        if id.len() > MAX_MSG_ID_BYTES {
            return Err(malformed("msg_id is longer than it may be"));
        }
        Ok(id)
    }

    fn fragment(&mut self) -> Result<Fragment, DecodeError> {
        let (index, count) = (self.small("fragment index")?, self.small("fragment count")?);
        if index >= count {
            return Err(malformed("fragment index is not below its count"));
        }
        Ok(Fragment { index, count })
    }
}

fn cut_off() -> DecodeError {
    malformed("a frame ends within a field, or a number is longer than it need be")
}

/// Beyond a datagram of a usual path; up to here a content keeps its packet, whatever it is a part of.
const LARGE_PACKET_BYTES: usize = 2048;
const ORDER_SHIFT: u8 = 2;
const FRAGMENT: u8 = 0x10;
const SENDER_SHIFT: u8 = 5;
const SENDER_OWN: u8 = 0;
const SENDER_SAME: u8 = 1;
const SENDER_GIVEN: u8 = 2;
const UNNUMBERED: u8 = 0x80;
const ID_SHIFT: u32 = 2;
const ID_BYTES: u64 = 0;
const ID_NUMBER: u64 = 1;
const ID_SENDER_NUMBER: u64 = 2;
