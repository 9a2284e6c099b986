//! A packet: what is lost or arrives as a whole, and what one packet number names.
//!
//! On a stream a packet is one JSON frame, because the frame is what an emulator or a relay between the peers may drop. In
//! a datagram it is all frames of the datagram, which share one packet number: they have one fate, so one ack tells it,
//! and three small frames in one datagram are no three later packets.
//!
//! ```text
//! on a stream     {…}                                   behind the 4-byte length of the stream
//! in a datagram   { length (4, big-endian)  {…} }…      behind the header of the datagram; a length of 0 ends the
//!                                                       frames, what follows is padding
//! ```
//! The first byte tells the forms apart: `{` a bare JSON frame, 0 the high byte of a length (no frame has 16 MiB).

use bytes::Bytes;

use super::framing::{LENGTH_BYTES, seal_length};
use super::{DecodeError, Frame, MsgType};

/// A packet, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet {
    pub frames: Vec<Frame>,
}

impl Packet {
    /// Whether it begins with a frame of this type.
    #[must_use]
    pub fn is(&self, msg_type: &MsgType) -> bool {
        self.frames.first().is_some_and(|frame| frame.msg_type == *msg_type)
    }

    /// Reads a packet of any form; whole or not at all.
    pub fn decode(raw: &Bytes) -> Result<Self, DecodeError> {
        if raw.first() != Some(&0) {
            return Ok(Self { frames: vec![Frame::decode(raw)?] });
        }
        let bodies = Bodies { rest: raw };
        let frames = bodies.map(|body| {
            let body = body.ok_or_else(|| {
                DecodeError::Malformed("a frame is longer than what is left of its datagram".to_owned())
            })?;
            Frame::decode(body)
        });
        Ok(Self { frames: frames.collect::<Result<_, _>>()? })
    }

    /// Whether the packet of a datagram holds whole frames and nothing else, whatever is in them.
    #[must_use]
    pub fn is_whole(raw: &[u8]) -> bool {
        let mut bodies = Bodies { rest: raw };
        bodies.next().is_some_and(|body| body.is_some()) && bodies.all(|body| body.is_some())
    }
}

/// The bodies in a datagram; `None` for one that is not whole, and nothing after it. Padding is not seen.
struct Bodies<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Bodies<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = self.rest.len().min(LENGTH_BYTES);
        if self.rest[..length].iter().all(|&byte| byte == 0) {
            return None;
        }
        let split = self
            .rest
            .split_first_chunk::<LENGTH_BYTES>()
            .and_then(|(length, rest)| rest.split_at_checked(u32::from_be_bytes(*length) as usize));
        self.rest = split.map_or(&[], |(_, rest)| rest);
        Some(split.map(|(body, _)| body))
    }
}

/// How the frames of a packet are put down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PacketForm {
    /// One JSON frame, bare.
    JsonBare,
    /// JSON frames, each behind its length.
    JsonList,
}

/// Puts down one packet, frame by frame.
#[derive(Debug)]
pub struct PacketWriter<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    form: PacketForm,
    /// Largest packet, in bytes.
    limit: usize,
    frames: usize,
}

impl<'a> PacketWriter<'a> {
    /// A packet of at most `limit` bytes at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, form: PacketForm, limit: usize) -> Self {
        Self { start: out.len(), out, form, limit, frames: 0 }
    }

    /// Appends a frame if it fits; leaves the packet as it was if not.
    pub fn put(&mut self, frame: &Frame) -> bool {
        if self.is_full() {
            return false;
        }
        let before = self.out.len();
        match self.form {
            PacketForm::JsonBare => {
                frame.encode(self.out);
            }
            PacketForm::JsonList => {
                self.out.extend_from_slice(&[0; LENGTH_BYTES]);
                frame.encode(self.out);
                seal_length(self.out, before);
            }
        }
        if self.len() > self.limit {
            self.out.truncate(before);
            return false;
        }
        self.frames += 1;
        true
    }

    /// Whether no further frame can fit, however short.
    #[must_use]
    pub fn is_full(&self) -> bool {
        match self.form {
            PacketForm::JsonBare => self.frames > 0,
            PacketForm::JsonList => self.room() <= LENGTH_BYTES,
        }
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len() - self.start
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Bytes left for further frames.
    #[must_use]
    pub fn room(&self) -> usize {
        self.limit.saturating_sub(self.len())
    }

    /// Ends the packet and returns its size in bytes; 0 if no frame was put.
    #[must_use]
    pub fn finish(self) -> usize {
        self.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Content, Order, Priority};

    fn frame(text: &str) -> Frame {
        Frame {
            msg_id: "m".into(),
            msg_type: MsgType::Chat,
            sender: "alice".into(),
            content: Content::of(&text),
            timestamp_us: 0,
            priority: Priority::Chat,
            sequence_number: 1,
            packet: 1,
            channel: 1,
            order: Order::Ordered,
            fragment: None,
        }
    }

    #[test]
    fn a_bare_packet_holds_one_frame_and_a_list_as_many_as_fit() {
        for (form, expected) in [(PacketForm::JsonBare, 1), (PacketForm::JsonList, 3)] {
            let mut out = b"before".to_vec();
            let mut writer = PacketWriter::new(&mut out, form, 600);
            let mut put = 0;
            while writer.put(&frame(&"x".repeat(20))) {
                put += 1;
            }
            assert_eq!(put, expected, "{form:?}");
            let size = writer.finish();
            let packet = Packet::decode(&Bytes::copy_from_slice(&out[6..])).unwrap();
            assert_eq!((packet.frames.len(), out.len()), (expected, 6 + size));
        }
    }

    #[test]
    fn a_damaged_frame_spoils_its_packet() {
        let mut out = Vec::new();
        let mut writer = PacketWriter::new(&mut out, PacketForm::JsonList, 1000);
        assert!(writer.put(&frame("one")) && writer.put(&frame("two")));
        let at = out.windows(3).position(|window| window == b"two").unwrap();
        out[at] ^= 1;
        assert!(matches!(Packet::decode(&out.into()), Err(DecodeError::Checksum { packet: 1, .. })));
    }
}
