//! What lies between a connection and the bytes of one peer.
//!
//! A [`Carrier`] turns received bytes into frame bodies and outgoing frames into what is written at once: one
//! length-prefixed frame on a stream, or one datagram with as many frames as fit. Everything above is the same on both.

use bytes::Bytes;
use units::Timestamp;

use crate::connection::Connection;
use crate::wire::datagram::{self, DatagramError, HEADER_BYTES, MAX_DATAGRAM_BYTES};
use crate::wire::framing::{LENGTH_BYTES, seal_length};
use crate::wire::{Frame, FrameReader, FramingError, MAX_FRAME_BYTES};

/// How frames travel to and from one peer.
#[derive(Debug)]
pub enum Carrier {
    Stream { reader: FrameReader },
    Datagram { connection_id: u64 },
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
        Self::Datagram { connection_id }
    }

    /// Largest frame body that this carrier sends, in bytes.
    #[must_use]
    pub fn max_body(&self) -> usize {
        match self {
            Self::Stream { .. } => MAX_FRAME_BYTES,
            Self::Datagram { .. } => datagram::MAX_BODY_BYTES,
        }
    }

    /// Bodies in `bytes`, which are the next bytes of a stream or one whole datagram. Bodies before an error count.
    pub fn receive(&mut self, bytes: &[u8], bodies: &mut Vec<Bytes>) -> Result<(), CarrierError> {
        match self {
            Self::Stream { reader } => {
                reader.push(bytes);
                while let Some(body) = reader.poll_frame()? {
                    bodies.push(body);
                }
            }
            Self::Datagram { connection_id } => {
                let (id, frames) = datagram::split(bytes)?;
                if id != *connection_id {
                    // Late, from a carrier that this one replaced on the same address.
                    return Err(CarrierError::OtherConnection);
                }
                for body in frames {
                    bodies.push(Bytes::copy_from_slice(body?));
                }
            }
        }
        Ok(())
    }

    /// One frame outside any connection: a handshake, or an error to a stranger.
    #[must_use]
    pub fn wrap(&self, frame: &Frame) -> Bytes {
        let mut out = self.begin();
        put_frame(&mut out, |body| frame.encode(body));
        out.into()
    }

    /// The next bytes that `connection` wants to send, at most one frame on a stream, at most one datagram otherwise.
    pub fn poll_transmit(&self, now: Timestamp, connection: &mut Connection) -> Option<Bytes> {
        let limit = match self {
            Self::Stream { .. } => usize::MAX,
            Self::Datagram { .. } => MAX_DATAGRAM_BYTES,
        };
        let mut out = self.begin();
        let empty = out.len();
        loop {
            // The first frame always goes; the connection cuts its segments so that one fits.
            let room =
                if out.len() == empty { usize::MAX } else { limit.saturating_sub(out.len() + LENGTH_BYTES) };
            let before = out.len();
            let sent = put_frame(&mut out, |body| connection.poll_frame(now, room, body));
            if sent == 0 {
                out.truncate(before);
                break;
            }
            if matches!(self, Self::Stream { .. }) {
                break;
            }
        }
        (out.len() > empty).then(|| out.into())
    }

    fn begin(&self) -> Vec<u8> {
        match self {
            Self::Stream { .. } => Vec::with_capacity(512),
            Self::Datagram { connection_id } => {
                let mut out = Vec::with_capacity(MAX_DATAGRAM_BYTES);
                datagram::put_header(&mut out, *connection_id);
                debug_assert_eq!(out.len(), HEADER_BYTES);
                out
            }
        }
    }
}

/// Appends what `encode` writes behind its length; returns the length of the body.
fn put_frame(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>) -> usize) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    let length = encode(out);
    seal_length(out, start);
    length
}
