//! Frames in a datagram: a small header, then length-prefixed bodies.
//!
//! ```text
//! 'S' 'Q'  version (1)  connection id (8, big-endian)  { length (4, big-endian)  body }…
//! ```
//! The client draws the connection id; a server tells its peers apart by address *and* id, so neither a reused port nor
//! a guessed id mixes two of them up.

use super::framing::LENGTH_BYTES;
use crate::PROTOCOL_VERSION;

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 11;
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

/// Splits a datagram into its connection id and its packet.
pub fn split(datagram: &[u8]) -> Result<(u64, &[u8]), DatagramError> {
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

    proptest! {
        #[test]
        fn no_bytes_make_splitting_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = split(&bytes);
        }
    }
}
