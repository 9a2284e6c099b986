//! Frames in a datagram: a small header, then length-prefixed bodies.
//!
//! ```text
//! 'S' 'Q'  version (1)  connection id (8, big-endian)  { length (4, big-endian)  body }…     JSON
//! 0x80                  connection id (8, big-endian)  one binary packet                    once it was negotiated
//! ```
//! A first byte of 0x80 or more is a short form. It needs no magic and no version: before one is sent, a handshake in
//! the long form has shown that both sides speak it. Those above 0x80 belong to the layers that wrap datagrams.
//!
//! The client draws the connection id; a server tells its peers apart by address *and* id, so neither a reused port nor
//! a guessed id mixes two of them up.

use super::framing::LENGTH_BYTES;
use crate::PROTOCOL_VERSION;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 11;
/// First byte of a datagram with one binary packet, and nothing that protects it.
pub const PLAIN_BINARY: u8 = 0x80;
/// Bytes before a binary packet.
pub const SHORT_HEADER_BYTES: usize = 9;
/// Largest datagram sent, in bytes of UDP payload: RFC 9000 section 14 takes 1,200 as what every path carries.
pub const MAX_DATAGRAM_BYTES: usize = 1200;
/// Largest frame body that fits alone.
pub const MAX_BODY_BYTES: usize = MAX_DATAGRAM_BYTES - HEADER_BYTES - LENGTH_BYTES;

/// Why a datagram is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    #[error("datagram does not begin with the header of this protocol")]
    NotOurs,
    #[error("datagram of protocol version {0}, this side speaks {PROTOCOL_VERSION}")]
    Version(u8),
}

/// Writes the header.
pub fn put_header(out: &mut Vec<u8>, connection_id: u64) {
    out.extend_from_slice(b"SQ");
    out.push(PROTOCOL_VERSION);
    out.extend_from_slice(&connection_id.to_be_bytes());
}

/// Writes the header of a binary packet.
pub fn put_short_header(out: &mut Vec<u8>, connection_id: u64) {
    out.push(PLAIN_BINARY);
    out.extend_from_slice(&connection_id.to_be_bytes());
}

/// Splits a datagram of either form into its connection id and its packet.
pub fn split(datagram: &[u8]) -> Result<(u64, &[u8]), DatagramError> {
    if let Some(([PLAIN_BINARY, id @ ..], packet)) = datagram.split_first_chunk::<SHORT_HEADER_BYTES>() {
        return Ok((u64::from_be_bytes(*id), packet));
    }
    let Some((header, rest)) = datagram.split_first_chunk::<HEADER_BYTES>() else {
        return Err(DatagramError::NotOurs);
    };
    let [b'S', b'Q', version, id @ ..] = header else {
        return Err(DatagramError::NotOurs);
    };
    if *version != PROTOCOL_VERSION {
        return Err(DatagramError::Version(*version));
    }
    Ok((u64::from_be_bytes(*id), rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn foreign_datagrams_are_told_apart() {
        assert_eq!(split(b"GET / HTTP/1.1").unwrap_err(), DatagramError::NotOurs);
        assert_eq!(split(b"SQ").unwrap_err(), DatagramError::NotOurs);
        assert_eq!(split(b"SQ\x0900000000").unwrap_err(), DatagramError::Version(9));
    }

    #[test]
    fn both_headers_carry_the_connection_id() {
        for put in [put_header, put_short_header] {
            let mut datagram = Vec::new();
            put(&mut datagram, 0x0123_4567_89ab_cdef);
            datagram.extend_from_slice(b"packet");
            assert_eq!(split(&datagram), Ok((0x0123_4567_89ab_cdef, &b"packet"[..])));
        }
        assert_eq!(split(&[PLAIN_BINARY; 8]), Err(DatagramError::NotOurs));
        assert_eq!(split(&[0x81; 40]), Err(DatagramError::NotOurs), "a form of another layer");
    }

    proptest! {
        #[test]
        fn no_bytes_make_splitting_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&bytes);
        }
    }
}
