//! What stands in a crypto datagram, and the first bytes of the encrypted forms.
//!
//! ```text
//! 0x82  connection id (8)  level (1)  counter (4)  { alert (1)  acked (4)  offset (4)  length (2)  bytes  zeros }  tag (16)
//! └────────────────── associated data ──────────┘  └──────────────────── encrypted ─────────────────────────────┘
//! ```
//! Numbers are big-endian. Even the first level is encrypted, with keys that everybody can derive from the connection id
//! (RFC 9001 section 5.2): that hides nothing, but a damaged or blindly forged datagram does not get as far as TLS, where it
//! would end the handshake.

use rustls::quic::PacketKey;

use super::{CRYPTO, SEALED, TAG_BYTES};
use crate::wire::datagram::MAX_DATAGRAM_BYTES;

/// Which keys protect a crypto datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Keys from the connection id.
    Initial = 0,
    /// Keys from the first messages of TLS.
    Handshake = 1,
}

impl Level {
    pub(crate) const ALL: [Self; 2] = [Self::Initial, Self::Handshake];
}

/// The inside of a crypto datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CryptoBody<'a> {
    /// Code of the fatal alert that ends the handshake; 0: none (as an alert it would be `close_notify`, never fatal).
    pub(crate) alert: u8,
    /// Bytes of the receiver's stream of this level that its peer has had, from the first without a hole.
    pub(crate) acked: u32,
    /// Place of `bytes` in the sender's stream of this level.
    pub(crate) offset: u32,
    pub(crate) bytes: &'a [u8],
}

/// Whether this may be a crypto datagram.
#[must_use]
pub fn is_crypto(datagram: &[u8]) -> bool {
    datagram.first() == Some(&CRYPTO) && datagram.len() >= CRYPTO_HEADER_BYTES + BODY_HEADER_BYTES + TAG_BYTES
}

/// Whether this may be a sealed packet.
#[must_use]
pub fn is_sealed(datagram: &[u8]) -> bool {
    datagram.first() == Some(&SEALED) && datagram.len() > super::SEALED_HEADER_BYTES + TAG_BYTES
}

/// The connection id of an encrypted datagram; `None` if it is not of these forms.
#[must_use]
pub fn connection_id(datagram: &[u8]) -> Option<u64> {
    if !is_crypto(datagram) && !is_sealed(datagram) {
        return None;
    }
    datagram.get(1..9)?.try_into().ok().map(u64::from_be_bytes)
}

/// The level and counter of a crypto datagram; `None` for levels that are not known.
pub(crate) fn crypto_header(datagram: &[u8]) -> Option<(Level, u32)> {
    if !is_crypto(datagram) {
        return None;
    }
    let level = *Level::ALL.get(usize::from(datagram[9]))?;
    let counter = datagram[10..CRYPTO_HEADER_BYTES].try_into().map(u32::from_be_bytes).ok()?;
    Some((level, counter))
}

/// Writes and encrypts one crypto datagram; `padded` to the full size. The counter must be new for this key.
pub(crate) fn seal_crypto(
    key: &dyn PacketKey,
    connection_id: u64,
    (level, counter): (Level, u32),
    body: &CryptoBody<'_>,
    padded: bool,
) -> Result<Vec<u8>, rustls::Error> {
    let mut out = Vec::with_capacity(MAX_DATAGRAM_BYTES);
    out.push(CRYPTO);
    out.extend_from_slice(&connection_id.to_be_bytes());
    out.push(level as u8);
    out.extend_from_slice(&counter.to_be_bytes());
    out.push(body.alert);
    out.extend_from_slice(&body.acked.to_be_bytes());
    out.extend_from_slice(&body.offset.to_be_bytes());
    let length = u16::try_from(body.bytes.len()).expect("a piece fits its datagram");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(body.bytes);
    if padded {
        out.resize(MAX_DATAGRAM_BYTES - TAG_BYTES, 0);
    }
    let (header, payload) = out.split_at_mut(CRYPTO_HEADER_BYTES);
    let tag = key.encrypt_in_place(u64::from(counter), header, payload)?;
    out.extend_from_slice(tag.as_ref());
    Ok(out)
}

/// Decrypts the inside of a crypto datagram, in its own place. `None` if it is not what the peer sent.
pub(crate) fn open_crypto<'a>(key: &dyn PacketKey, datagram: &'a mut [u8]) -> Option<CryptoBody<'a>> {
    let (_, counter) = crypto_header(datagram)?;
    let (header, payload) = datagram.split_at_mut_checked(CRYPTO_HEADER_BYTES)?;
    let plain = key.decrypt_in_place(u64::from(counter), header, payload).ok()?;
    let (fields, rest) = plain.split_first_chunk::<BODY_HEADER_BYTES>()?;
    let [alert, a0, a1, a2, a3, o0, o1, o2, o3, l0, l1] = *fields;
    let bytes = rest.get(..usize::from(u16::from_be_bytes([l0, l1])))?;
    let acked = u32::from_be_bytes([a0, a1, a2, a3]);
    Some(CryptoBody { alert, acked, offset: u32::from_be_bytes([o0, o1, o2, o3]), bytes })
}

const CRYPTO_HEADER_BYTES: usize = 1 + 8 + 1 + 4;
const BODY_HEADER_BYTES: usize = 1 + 4 + 4 + 2;
/// Handshake bytes that fit one datagram.
pub(crate) const PIECE_BYTES: usize =
    MAX_DATAGRAM_BYTES - CRYPTO_HEADER_BYTES - BODY_HEADER_BYTES - TAG_BYTES;
