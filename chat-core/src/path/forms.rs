//! What the first byte of a datagram says.
//!
//! ```text
//! 'S' 'Q'  version  connection id (8)  frames …          readable
//! 0x80 … 0x82       connection id (8)  …                 binary, sealed, handshake of the cipher
//! 0x83              connection id (8)  token             retry: server to client
//! 0x84              connection id (8)  length (1)  token  whole datagram of any form above 0x83's
//! ```
//! The connection id stands in the clear in every form, so that a datagram finds its peer before anything is known of
//! what is in it. Retry and token are forms of their own instead of frames: they are read and written by something that
//! has no state of the peer, and must not, before its address is known to be real (RFC 9000 section 8.1).

use bytes::{BufMut, Bytes};

use crate::wire::datagram::MAX_DATAGRAM_BYTES;

/// One binary packet, to the end of the datagram.
pub const PLAIN: u8 = 0x80;
/// A protected packet.
pub const SEALED: u8 = 0x81;
/// Bytes of the handshake that makes the keys.
pub const CRYPTO: u8 = 0x82;
/// An address token for a stranger.
pub const RETRY: u8 = 0x83;
/// A datagram that presents a token.
pub const WITH_TOKEN: u8 = 0x84;

/// Longest token that a client must be ready to give back, in bytes. Ours have 20; the rest is for other servers.
pub const MAX_TOKEN_BYTES: usize = 64;
/// What presenting a token of ours adds to a datagram. 1,200 bytes and this are 1,230, two less than what the smallest
/// IPv6 path carries (1,280 less 48 of headers), so a datagram never becomes too long by it.
pub const TOKEN_OVERHEAD: usize = SHORT_HEADER + 1 + super::token::TOKEN_BYTES;

/// The connection id of a datagram in any form; `None` if it has none of ours.
#[must_use]
pub fn connection_id(datagram: &[u8]) -> Option<u64> {
    let id = match datagram {
        [b'S', b'Q', _, id @ ..] => id,
        [PLAIN..=WITH_TOKEN, id @ ..] => id,
        _ => return None,
    };
    id.first_chunk().map(|id| u64::from_be_bytes(*id))
}

/// A datagram with which a server answers a stranger.
#[must_use]
pub fn retry(connection_id: u64, token: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(SHORT_HEADER + token.len());
    out.put_u8(RETRY);
    out.put_u64(connection_id);
    out.put_slice(token);
    out.into()
}

/// The connection id and the token of a retry; `None` if the datagram is not one, or not a possible one.
#[must_use]
pub fn read_retry(datagram: &[u8]) -> Option<(u64, &[u8])> {
    let (RETRY, rest) = datagram.split_first().map(|(form, rest)| (*form, rest))? else {
        return None;
    };
    let (id, token) = rest.split_first_chunk()?;
    (1..=MAX_TOKEN_BYTES).contains(&token.len()).then_some((u64::from_be_bytes(*id), token))
}

/// `inner`, a whole datagram, behind a token.
///
/// # Panics
/// If the token is longer than [`MAX_TOKEN_BYTES`]; [`read_retry`] gives none that is.
#[must_use]
pub fn with_token(connection_id: u64, token: &[u8], inner: &[u8]) -> Bytes {
    assert!(token.len() <= MAX_TOKEN_BYTES, "a token longer than any retry carries");
    let mut out = Vec::with_capacity(SHORT_HEADER + 1 + token.len() + inner.len());
    out.put_u8(WITH_TOKEN);
    out.put_u64(connection_id);
    out.put_u8(token.len() as u8);
    out.put_slice(token);
    out.put_slice(inner);
    out.into()
}

/// The token of a datagram and what is behind it. `None` if the datagram does not present one, is cut off, or names
/// another connection outside than inside; what is inside is no retry and presents no second token.
#[must_use]
pub fn read_with_token(datagram: &[u8]) -> Option<(u64, &[u8], &[u8])> {
    let (WITH_TOKEN, rest) = datagram.split_first().map(|(form, rest)| (*form, rest))? else {
        return None;
    };
    let (id, rest) = rest.split_first_chunk()?;
    let (length, rest) = rest.split_first()?;
    let (token, inner) = rest.split_at_checked(usize::from(*length))?;
    let id = u64::from_be_bytes(*id);
    let is_sound = token.len() <= MAX_TOKEN_BYTES
        && connection_id(inner) == Some(id)
        && !matches!(inner.first(), Some(&(RETRY | WITH_TOKEN)));
    is_sound.then_some((id, token, inner))
}

/// `datagram` lengthened to `length` bytes, if its form knows padding: in the readable form a length of zero ends the
/// frames.
#[must_use]
pub fn padded(datagram: Bytes, length: usize) -> Bytes {
    if !datagram.starts_with(b"SQ") || datagram.len() >= length {
        return datagram;
    }
    let mut out = Vec::with_capacity(length);
    out.extend_from_slice(&datagram);
    out.resize(length, 0);
    out.into()
}

/// Form and connection id.
const SHORT_HEADER: usize = 9;
const _: () = assert!(MAX_DATAGRAM_BYTES + TOKEN_OVERHEAD <= 1232);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::{Packet, datagram};

    #[test]
    fn every_form_tells_its_connection() {
        let mut readable = Vec::new();
        datagram::put_header(&mut readable, 7);
        assert_eq!(connection_id(&readable), Some(7));
        for form in PLAIN..=WITH_TOKEN {
            assert_eq!(connection_id(&[form, 0, 0, 0, 0, 0, 0, 0, 7]), Some(7));
        }
        for noise in [&b"GET / HTTP/1.1"[..], b"SQ\x010000000", &[0x85; 9], &[0x80; 8], b""] {
            assert_eq!(connection_id(noise), None);
        }
    }

    #[test]
    fn a_token_inside_a_token_is_refused() {
        let inner = retry(7, b"t");
        assert_eq!(read_with_token(&with_token(7, b"token", &inner)), None);
        let inner = with_token(7, b"token", &[PLAIN, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert!(read_with_token(&inner).is_some());
        assert_eq!(read_with_token(&with_token(7, b"token", &inner)), None);
        assert_eq!(read_with_token(&with_token(8, b"token", &[PLAIN, 0, 0, 0, 0, 0, 0, 0, 7])), None);
    }

    #[test]
    fn padding_is_invisible() {
        let mut readable = Vec::new();
        datagram::put_header(&mut readable, 7);
        let frame = br#"{"msg_id":"h","msg_type":"bye","sender":"a","content":{},"timestamp":0,"checksum":"0a6ee8b1"}"#;
        readable.extend_from_slice(&u32::try_from(frame.len()).unwrap().to_be_bytes());
        readable.extend_from_slice(frame);
        let decode = |bytes: &[u8]| {
            let (id, packet) = datagram::split(bytes).unwrap();
            assert!(Packet::is_whole(packet));
            (id, Packet::decode(&Bytes::copy_from_slice(packet)).unwrap())
        };
        let plain = decode(&readable);
        for length in [0, readable.len() + 1, readable.len() + 3, 1200] {
            let padded = padded(readable.clone().into(), length);
            assert_eq!(padded.len(), length.max(readable.len()));
            assert_eq!(decode(&padded), plain);
        }
        assert!(!Packet::is_whole(&[0; 100]), "nothing but padding");
        let binary = Bytes::from_static(&[PLAIN, 0, 0, 0, 0, 0, 0, 0, 7]);
        assert_eq!(padded(binary.clone(), 1200), binary);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            id in any::<u64>(),
            token in proptest::collection::vec(any::<u8>(), 1..=MAX_TOKEN_BYTES),
            rest in proptest::collection::vec(any::<u8>(), 0..50),
        ) {
            let bare = retry(id, &token);
            prop_assert_eq!(read_retry(&bare), Some((id, &token[..])));
            let mut inner = vec![SEALED];
            inner.extend_from_slice(&id.to_be_bytes());
            inner.extend_from_slice(&rest);
            let whole = with_token(id, &token, &inner);
            prop_assert_eq!(read_with_token(&whole), Some((id, &token[..], &inner[..])));
            prop_assert_eq!(connection_id(&whole), Some(id));
        }

        #[test]
        fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = (connection_id(&bytes), read_retry(&bytes), read_with_token(&bytes));
        }
    }
}
