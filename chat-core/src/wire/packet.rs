//! A packet: what is lost or arrives as a whole, and what one packet number names.
//!
//! On a stream a packet is one JSON frame, because the frame is what an emulator or a relay between the peers may drop. In
//! a datagram it is all frames of the datagram, which share one packet number: they have one fate, so one ack tells it,
//! and three small frames in one datagram are no three later packets.
//!
//! ```text
//! on a stream     {…}                                   behind the 4-byte length of the stream
//!                 one binary packet                     behind the same length
//! in a datagram   { length (4, big-endian)  {…} }…      behind the header of the datagram; a length of 0 ends the
//!                                                       frames, what follows is padding
//!                 one binary packet                     behind the short header of the datagram
//! ```
//! The first byte tells the forms apart: `{` a bare JSON frame, 0 the high byte of a length (no frame has 16 MiB), 1 to
//! 0x1f a [`binary`] packet. A binary packet holds as many frames on a stream as in a datagram: whoever drops it drops
//! them together.

use bytes::Bytes;

use super::binary::{self, Origin, Protection, Writing};
use super::framing::{LENGTH_BYTES, seal_length};
use super::{Content, DecodeError, Frame, Label, MsgType, Order, Priority};
use crate::connection::AckContent;

/// A packet, decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Packet {
    pub frames: Vec<Frame>,
    /// Acks of a binary packet, which need no text between the bytes and what they mean. In JSON they are frames.
    pub acks: Vec<AckContent>,
}

impl Packet {
    /// Whether it begins with a frame of this type.
    #[must_use]
    pub fn is(&self, msg_type: &MsgType) -> bool {
        self.frames.first().is_some_and(|frame| frame.msg_type == *msg_type)
    }

    /// Reads a packet of any form, from a peer whose name is not known; whole or not at all.
    pub fn decode(raw: &Bytes) -> Result<Self, DecodeError> {
        let mut packet = Self::default();
        packet.decode_into(raw, &Origin::default())?;
        Ok(packet)
    }

    /// Reads a packet of any form in place of this one, whose memory it uses; empty if it cannot be read.
    pub fn decode_into(&mut self, raw: &Bytes, origin: &Origin) -> Result<(), DecodeError> {
        self.frames.clear();
        self.acks.clear();
        let outcome = match raw.first() {
            Some(&first) if binary::is_binary(first) => binary::decode(raw, origin, self),
            Some(0) => self.decode_list(raw),
            _ => Frame::decode(raw).map(|frame| self.frames.push(frame)),
        };
        if outcome.is_err() {
            self.frames.clear();
            self.acks.clear();
        }
        outcome
    }

    fn decode_list(&mut self, raw: &[u8]) -> Result<(), DecodeError> {
        for body in (Bodies { rest: raw }) {
            let body = body.ok_or_else(|| {
                DecodeError::Malformed("a frame is longer than what is left of its datagram".to_owned())
            })?;
            self.check_room()?;
            self.frames.push(Frame::decode(body)?);
        }
        Ok(())
    }

    /// Refuses what would be one frame or ack too many.
    pub(super) fn check_room(&self) -> Result<(), DecodeError> {
        if self.frames.len() + self.acks.len() < MAX_PACKET_FRAMES {
            return Ok(());
        }
        Err(DecodeError::Malformed(format!("more than {MAX_PACKET_FRAMES} frames in one packet")))
    }

    /// Whether the packet of a datagram holds whole frames and nothing else, whatever is in them.
    #[must_use]
    pub fn is_whole(raw: &[u8]) -> bool {
        if raw.first().is_some_and(|&first| binary::is_binary(first)) {
            return binary::is_whole(raw);
        }
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
    /// A binary packet on a stream: a second frame only while both stay short, because what is long is lost together.
    BinaryStream,
    /// A binary packet in a datagram.
    BinaryDatagram,
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
    binary: Writing<'a>,
}

impl<'a> PacketWriter<'a> {
    /// A packet of at most `limit` bytes at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, form: PacketForm, limit: usize) -> Self {
        let binary = Writing::new(&binary::NOBODY, Protection::Checksum);
        Self { start: out.len(), out, form, limit, frames: 0, binary }
    }

    /// Says who writes: what is `origin.name`'s own needs no sender in a binary packet, whose reader must know the same
    /// [`Origin`]; and what finds damage. Before the first frame.
    #[must_use]
    pub fn from(mut self, origin: &'a Origin) -> Self {
        self.binary = Writing::new(&origin.name, origin.protection);
        self
    }

    /// Largest packet, in bytes.
    #[must_use]
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Changes it. What was put already stays.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Appends a frame if it fits; leaves the packet as it was if not.
    pub fn put(&mut self, frame: &Frame) -> bool {
        if self.is_full() {
            return false;
        }
        let before = self.out.len();
        let limit = self.binary_limit();
        match self.form {
            PacketForm::JsonBare => {
                frame.encode(self.out);
            }
            PacketForm::JsonList => {
                self.out.extend_from_slice(&[0; LENGTH_BYTES]);
                frame.encode(self.out);
                seal_length(self.out, before);
            }
            PacketForm::BinaryStream | PacketForm::BinaryDatagram => {
                let fits = self.binary.put(self.out, self.start, limit, frame);
                self.frames += usize::from(fits);
                return fits;
            }
        }
        if self.len() > self.limit {
            self.out.truncate(before);
            return false;
        }
        self.frames += 1;
        true
    }

    /// Appends an ack of `sender` if it fits, stamped with `unix_us`, microseconds since the Unix epoch.
    pub fn put_ack(&mut self, ack: &AckContent, sender: &Label, unix_us: u64) -> bool {
        if matches!(self.form, PacketForm::BinaryStream | PacketForm::BinaryDatagram) {
            let limit = self.binary_limit();
            let fits = self.binary.put_ack(self.out, self.start, limit, ack);
            self.frames += usize::from(fits);
            return fits;
        }
        self.put(&Frame {
            msg_id: Label::EMPTY,
            msg_type: MsgType::Ack,
            sender: sender.clone(),
            content: Content::of(ack),
            timestamp_us: unix_us,
            priority: Priority::Control,
            sequence_number: 0,
            packet: 0,
            channel: 0,
            order: Order::Ordered,
            fragment: None,
        })
    }

    /// Fills the packet with bytes that say nothing, up to `length` bytes or the limit. After the last frame; a bare
    /// JSON frame has no padding.
    pub fn pad_to(&mut self, length: usize) {
        let length = length.min(self.limit);
        match self.form {
            PacketForm::JsonBare => {}
            PacketForm::JsonList => self.out.resize(self.out.len().max(self.start + length), 0),
            PacketForm::BinaryStream | PacketForm::BinaryDatagram => {
                self.binary.pad(self.out, self.start, length);
            }
        }
    }

    /// Bytes that [`Self::put`] would add for `frame`, found without writing it. Exact for a binary packet, but for its
    /// number, which the first numbered frame brings; at most so many in JSON.
    #[must_use]
    pub fn frame_len(&self, frame: &Frame) -> usize {
        match self.form {
            PacketForm::JsonBare => frame.encoded_len_max(),
            PacketForm::JsonList => LENGTH_BYTES + frame.encoded_len_max(),
            PacketForm::BinaryStream | PacketForm::BinaryDatagram => self.binary.frame_len(frame),
        }
    }

    /// Largest packet with one frame more.
    fn binary_limit(&self) -> usize {
        match self.form {
            PacketForm::BinaryStream if self.frames > 0 => self.limit.min(STREAM_PACKET_BYTES),
            _ => self.limit,
        }
    }

    /// Whether it holds one frame and no more, whatever its length.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.form == PacketForm::JsonBare
    }

    /// Whether no further frame can fit, however short.
    #[must_use]
    pub fn is_full(&self) -> bool {
        if self.frames >= MAX_PACKET_FRAMES {
            return true;
        }
        match self.form {
            PacketForm::JsonBare => self.frames > 0,
            PacketForm::JsonList => self.room() <= LENGTH_BYTES,
            PacketForm::BinaryStream | PacketForm::BinaryDatagram => {
                self.len() + MIN_FRAME_BYTES > self.binary_limit()
            }
        }
    }

    /// Bytes written so far, and those that the end of the packet will add.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.form {
            PacketForm::BinaryStream | PacketForm::BinaryDatagram => self.binary.len(self.out, self.start),
            PacketForm::JsonBare | PacketForm::JsonList => self.out.len() - self.start,
        }
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
        if matches!(self.form, PacketForm::BinaryStream | PacketForm::BinaryDatagram)
            && self.out.len() > self.start
        {
            self.binary.finish(self.out, self.start);
        }
        self.out.len() - self.start
    }
}

/// On a stream, a packet that would become longer by another frame ends: as long as a datagram, so that what an emulator
/// drops between the peers is no larger on one than on the other.
const STREAM_PACKET_BYTES: usize = super::datagram::MAX_DATAGRAM_BYTES;
/// Frames and acks of one packet: more than datagrams of usual length hold of the shortest messages. A packet of a
/// megabyte could bring half a million, each with work of its own.
pub(super) const MAX_PACKET_FRAMES: usize = 512;
/// No binary frame but padding is shorter.
const MIN_FRAME_BYTES: usize = 2;

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
    fn a_packet_of_too_many_frames_is_malformed_and_never_written() {
        for form in [PacketForm::JsonList, PacketForm::BinaryDatagram] {
            let mut out = Vec::new();
            let mut writer = PacketWriter::new(&mut out, form, 1 << 20);
            let written = std::iter::repeat_with(|| writer.put(&frame("x"))).take_while(|&put| put).count();
            assert_eq!(written, MAX_PACKET_FRAMES, "{form:?}");
            let _ = writer.finish();
            assert_eq!(Packet::decode(&out.into()).unwrap().frames.len(), MAX_PACKET_FRAMES, "{form:?}");
        }
        let mut list = Vec::new();
        for _ in 0..=MAX_PACKET_FRAMES {
            let start = list.len();
            list.extend_from_slice(&[0; LENGTH_BYTES]);
            frame("x").encode(&mut list);
            seal_length(&mut list, start);
        }
        // Form, packet number 1, and heartbeats without a body.
        let mut binary = vec![0x01 | 0x02 | 0x04, 1];
        binary.extend([2, 0].repeat(MAX_PACKET_FRAMES + 1));
        let sum = crc32c::crc32c(&binary);
        binary.extend_from_slice(&sum.to_be_bytes());
        for raw in [list, binary] {
            let outcome = Packet::decode(&raw.into());
            assert!(
                matches!(&outcome, Err(DecodeError::Malformed(reason)) if reason.contains("frames")),
                "{outcome:?}"
            );
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
