//! What lies between a connection and the bytes of one peer.
//!
//! A [`Carrier`] turns received bytes into packets and outgoing packets into what is written at once: one
//! length-prefixed frame on a stream, or one datagram with as many frames as fit; in the binary codec, one packet of
//! several frames on both. Everything above is the same on both.
//!
//! A carrier begins in JSON, in which the handshake is. What was agreed there is told by [`Carrier::speak_binary`], and
//! concerns only what is written: a reader takes what comes.

use bytes::Bytes;
use units::Timestamp;

use crate::config::CarrierHint;
use crate::connection::Connection;
use crate::secure::{self, SEALING_BYTES};
use crate::wire::datagram::{
    self, DatagramError, HEADER_BYTES, MAX_BODY_BYTES, MAX_DATAGRAM_BYTES, SHORT_HEADER_BYTES,
};
use crate::wire::framing::{LENGTH_BYTES, seal_length};
use crate::wire::{
    Codec, DecodeError, Frame, FrameReader, FramingError, Label, MAX_FRAME_BYTES, Origin, Packet, PacketForm,
    PacketWriter,
};

/// How frames travel to and from one peer.
#[derive(Debug)]
pub struct Carrier {
    kind: Kind,
    /// Both ends, once binary packets are written.
    binary: Option<Ends>,
}

#[derive(Debug)]
enum Kind {
    Stream {
        reader: FrameReader,
    },
    /// `limit`: largest datagram written, in bytes of UDP payload before it is sealed.
    Datagram {
        connection_id: u64,
        limit: usize,
        is_sealed: bool,
    },
}

/// Who speaks at either end.
#[derive(Debug)]
struct Ends {
    own: Origin,
    peer: Origin,
}

/// The bytes of a peer cannot be told apart into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    #[error(transparent)]
    Framing(#[from] FramingError),
    #[error(transparent)]
    Datagram(#[from] DatagramError),
    #[error("datagram of another connection")]
    OtherConnection,
}

/// Largest frame body that every carrier holds, in bytes: that of JSON in a datagram that is sealed.
pub const SMALLEST_BODY_BYTES: usize = MAX_BODY_BYTES - SEALING_BYTES;

impl Carrier {
    #[must_use]
    pub fn stream() -> Self {
        Self { kind: Kind::Stream { reader: FrameReader::new(MAX_FRAME_BYTES) }, binary: None }
    }

    #[must_use]
    pub fn datagram(connection_id: u64) -> Self {
        Self {
            kind: Kind::Datagram { connection_id, limit: MAX_DATAGRAM_BYTES, is_sealed: false },
            binary: None,
        }
    }

    /// Datagrams that a [`Channel`](crate::secure::Channel) seals on their way out; they leave room for that.
    #[must_use]
    pub fn sealed_datagram(connection_id: u64) -> Self {
        let limit = MAX_DATAGRAM_BYTES - SEALING_BYTES;
        Self { kind: Kind::Datagram { connection_id, limit, is_sealed: true }, binary: None }
    }

    /// Writes binary packets from now on: the handshake has agreed on it. `own` is the name that this end has in the
    /// session, `peer` that of the other; frames of these leave their sender out.
    pub fn speak_binary(&mut self, own: Label, peer: Label) {
        let origin = |name| Origin { name, ..Origin::default() };
        self.binary = Some(Ends { own: origin(own), peer: origin(peer) });
    }

    /// What packets are written in.
    #[must_use]
    pub fn codec(&self) -> Codec {
        if self.binary.is_some() { Codec::Binary } else { Codec::Json }
    }

    /// Reads one of the packets that [`Self::receive`] gave, of either codec, in place of `packet`; see
    /// [`Packet::decode_into`].
    pub fn decode_into(&self, raw: &Bytes, packet: &mut Packet) -> Result<(), DecodeError> {
        match &self.binary {
            Some(ends) => packet.decode_into(raw, &ends.peer),
            None => packet.decode_into(raw, &Origin::default()),
        }
    }

    /// What a connection may take for granted of it.
    #[must_use]
    pub fn hint(&self) -> CarrierHint {
        match self.kind {
            Kind::Stream { .. } => CarrierHint::FifoStream,
            Kind::Datagram { .. } => CarrierHint::Datagram,
        }
    }

    /// Largest frame body that this carrier sends, in bytes. That of JSON, whatever the codec, as a session may go on in
    /// another.
    #[must_use]
    pub fn max_body(&self) -> usize {
        match &self.kind {
            Kind::Stream { .. } => MAX_FRAME_BYTES,
            Kind::Datagram { limit, .. } => limit - HEADER_BYTES - LENGTH_BYTES,
        }
    }

    /// Largest datagram that this carrier makes, before anything is put around it; `None` for a stream.
    #[must_use]
    pub fn max_datagram(&self) -> Option<usize> {
        match &self.kind {
            Kind::Stream { .. } => None,
            Kind::Datagram { limit, .. } => Some(*limit),
        }
    }

    /// Packets in `bytes`, which are the next bytes of a stream or one whole datagram, as they stand; see
    /// [`Self::decode_into`]. Packets before an error count.
    pub fn receive(&mut self, bytes: &[u8], packets: &mut impl Extend<Bytes>) -> Result<(), CarrierError> {
        match &mut self.kind {
            Kind::Stream { reader } => {
                reader.push(bytes);
                while let Some(body) = reader.poll_frame()? {
                    // What is kept of a binary packet keeps its memory, which here would be that of the whole buffer.
                    let is_binary = body.first().is_some_and(|&first| first != b'{');
                    packets.extend([if is_binary { Bytes::copy_from_slice(&body) } else { body }]);
                }
            }
            Kind::Datagram { connection_id, .. } => {
                let (id, packet) = datagram::split(bytes)?;
                if id != *connection_id {
                    // Late, from a carrier that this one replaced on the same address.
                    return Err(CarrierError::OtherConnection);
                }
                packets.extend([Bytes::copy_from_slice(packet)]);
            }
        }
        Ok(())
    }

    /// One frame outside any connection: a handshake, or an error to a stranger. In JSON, whatever was agreed.
    #[must_use]
    pub fn wrap(&self, frame: &Frame) -> Bytes {
        let mut out = self.begin(Codec::Json);
        let mut writer = PacketWriter::new(&mut out, self.form(Codec::Json), usize::MAX);
        writer.put(frame);
        let _ = writer.finish();
        self.end(&mut out);
        out.into()
    }

    /// One unnumbered frame of a session, outside its connection, in the codec that was agreed.
    #[must_use]
    pub fn wrap_agreed(&self, frame: &Frame) -> Bytes {
        let Some(ends) = &self.binary else {
            return self.wrap(frame);
        };
        let mut out = self.begin(Codec::Binary);
        let mut writer = PacketWriter::new(&mut out, self.form(Codec::Binary), usize::MAX).from(&ends.own);
        writer.put(frame);
        let _ = writer.finish();
        self.end(&mut out);
        out.into()
    }

    /// How long `datagram`, one of this carrier, is as UDP payload, in bytes: with its seal, if it gets one.
    #[must_use]
    pub fn length_on_wire(&self, datagram: &[u8]) -> usize {
        match &self.kind {
            Kind::Datagram { is_sealed: true, .. } => secure::sealed_len(datagram),
            Kind::Datagram { .. } | Kind::Stream { .. } => datagram.len(),
        }
    }

    /// The next packet that `connection` wants to send, as the bytes to write at once.
    pub fn poll_transmit(&self, now: Timestamp, connection: &mut Connection) -> Option<Bytes> {
        let codec = self.codec();
        let mut out = self.begin(codec);
        let limit = match &self.kind {
            Kind::Stream { .. } => MAX_FRAME_BYTES,
            Kind::Datagram { limit, .. } => limit - out.len(),
        };
        let mut writer = PacketWriter::new(&mut out, self.form(codec), limit);
        if let Some(ends) = &self.binary {
            writer = writer.from(&ends.own);
        }
        if connection.poll_packet(now, writer) == 0 {
            return None;
        }
        self.end(&mut out);
        Some(out.into())
    }

    fn form(&self, codec: Codec) -> PacketForm {
        match (&self.kind, codec) {
            (Kind::Stream { .. }, Codec::Json) => PacketForm::JsonBare,
            (Kind::Stream { .. }, Codec::Binary) => PacketForm::BinaryStream,
            (Kind::Datagram { .. }, Codec::Json) => PacketForm::JsonList,
            (Kind::Datagram { .. }, Codec::Binary) => PacketForm::BinaryDatagram,
        }
    }

    /// The bytes before a packet.
    fn begin(&self, codec: Codec) -> Vec<u8> {
        let mut out = Vec::with_capacity(USUAL_BYTES);
        match &self.kind {
            Kind::Stream { .. } => {
                out.extend_from_slice(&[0; LENGTH_BYTES]);
                out
            }
            Kind::Datagram { connection_id, .. } => {
                match codec {
                    Codec::Json => datagram::put_header(&mut out, *connection_id),
                    Codec::Binary => datagram::put_short_header(&mut out, *connection_id),
                }
                debug_assert!([HEADER_BYTES, SHORT_HEADER_BYTES].contains(&out.len()));
                out
            }
        }
    }

    /// What is known only behind a packet.
    fn end(&self, out: &mut [u8]) {
        if matches!(self.kind, Kind::Stream { .. }) {
            seal_length(out, 0);
        }
    }
}

/// Room for a packet that is begun: an acknowledgement and a line of chat. One that turns out longer moves, one that turns
/// out empty costs little, because allocators keep blocks of this size at hand (glibc's up to 1,032 bytes).
const USUAL_BYTES: usize = 512;
