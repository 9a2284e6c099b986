//! What lies between a connection and the bytes of one peer.
//!
//! A [`Carrier`] turns received bytes into packets and outgoing packets into what is written at once: one
//! length-prefixed frame on a stream, or one datagram with as many frames as fit. Everything above is the same on both.

use bytes::Bytes;
use units::Timestamp;

use crate::connection::Connection;
use crate::secure::SEALING_BYTES;
use crate::wire::datagram::{self, DatagramError, HEADER_BYTES, MAX_DATAGRAM_BYTES};
use crate::wire::framing::{LENGTH_BYTES, seal_length};
use crate::wire::{Frame, FrameReader, FramingError, MAX_FRAME_BYTES, PacketForm, PacketWriter};

/// How frames travel to and from one peer.
#[derive(Debug)]
pub enum Carrier {
    Stream {
        reader: FrameReader,
    },
    /// `limit`: largest datagram written, in bytes of UDP payload before it is sealed.
    Datagram {
        connection_id: u64,
        limit: usize,
    },
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

impl Carrier {
    #[must_use]
    pub fn stream() -> Self {
        Self::Stream { reader: FrameReader::new(MAX_FRAME_BYTES) }
    }

    #[must_use]
    pub fn datagram(connection_id: u64) -> Self {
        Self::Datagram { connection_id, limit: MAX_DATAGRAM_BYTES }
    }

    /// Datagrams that a [`Channel`](crate::secure::Channel) seals on their way out; they leave room for that.
    #[must_use]
    pub fn sealed_datagram(connection_id: u64) -> Self {
        Self::Datagram { connection_id, limit: MAX_DATAGRAM_BYTES - SEALING_BYTES }
    }

    /// Largest frame body that this carrier sends, in bytes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        match self {
            Self::Stream { .. } => MAX_FRAME_BYTES,
            Self::Datagram { limit, .. } => limit - HEADER_BYTES - LENGTH_BYTES,
        }
    }

    /// Packets in `bytes`, which are the next bytes of a stream or one whole datagram, as they stand; see
    /// [`Packet::decode`](crate::wire::Packet::decode). Packets before an error count.
    pub fn receive(&mut self, bytes: &[u8], packets: &mut Vec<Bytes>) -> Result<(), CarrierError> {
        match self {
            Self::Stream { reader } => {
                reader.push(bytes);
                while let Some(body) = reader.poll_frame()? {
                    packets.push(body);
                }
            }
            Self::Datagram { connection_id, .. } => {
                let (id, packet) = datagram::split(bytes)?;
                if id != *connection_id {
                    // Late, from a carrier that this one replaced on the same address.
                    return Err(CarrierError::OtherConnection);
                }
                packets.push(Bytes::copy_from_slice(packet));
            }
        }
        Ok(())
    }

    /// One frame outside any connection: a handshake, or an error to a stranger.
    #[must_use]
    pub fn wrap(&self, frame: &Frame) -> Bytes {
        let mut out = self.begin();
        let mut writer = PacketWriter::new(&mut out, self.form(), usize::MAX);
        writer.put(frame);
        let _ = writer.finish();
        self.end(&mut out);
        out.into()
    }

    /// The next packet that `connection` wants to send, as the bytes to write at once.
    pub fn poll_transmit(&self, now: Timestamp, connection: &mut Connection) -> Option<Bytes> {
        let limit = match self {
            Self::Stream { .. } => MAX_FRAME_BYTES,
            Self::Datagram { limit, .. } => limit - HEADER_BYTES,
        };
        let mut out = self.begin();
        let writer = PacketWriter::new(&mut out, self.form(), limit);
        if connection.poll_packet(now, writer) == 0 {
            return None;
        }
        self.end(&mut out);
        Some(out.into())
    }

    fn form(&self) -> PacketForm {
        match self {
            Self::Stream { .. } => PacketForm::JsonBare,
            Self::Datagram { .. } => PacketForm::JsonList,
        }
    }

    /// The bytes before a packet.
    fn begin(&self) -> Vec<u8> {
        match self {
            Self::Stream { .. } => {
                let mut out = Vec::with_capacity(512);
                out.extend_from_slice(&[0; LENGTH_BYTES]);
                out
            }
            Self::Datagram { connection_id, .. } => {
                let mut out = Vec::with_capacity(MAX_DATAGRAM_BYTES);
                datagram::put_header(&mut out, *connection_id);
                debug_assert_eq!(out.len(), HEADER_BYTES);
                out
            }
        }
    }

    /// What is known only behind a packet.
    fn end(&self, out: &mut [u8]) {
        if matches!(self, Self::Stream { .. }) {
            seal_length(out, 0);
        }
    }
}
