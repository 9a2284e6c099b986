//! Protection of packets after the handshake.
//!
//! ```text
//! 0x81  connection id (8)  phase (1 bit) and counter (31 bits)   { body of a plain datagram }   tag (16)
//! └─────────────────── associated data ──────────────────────┘  └───────── encrypted ────────┘
//! ```
//! The counter is the nonce, so it counts datagrams and is never used twice; it has nothing to do with packet numbers, which
//! stand inside. 31 of its 63 bits travel, and the receiver finds the others as in RFC 9000 appendix A.3. Keys change after a
//! bounded number of packets (RFC 9001 section 6): the phase bit says which of two are meant.

use std::fmt;

use bytes::Bytes;
use rustls::quic::{PacketKey, PacketKeySet, Secrets};

use super::replay::ReplayWindow;
use super::{SEALED, SEALED_HEADER_BYTES, TAG_BYTES, packet};
use crate::wire::datagram::{self, HEADER_BYTES, PLAIN_BINARY, SHORT_HEADER_BYTES};

/// Seals and opens the packets of one peer.
pub struct Seal {
    connection_id: u64,
    local: Box<dyn PacketKey>,
    remote: Box<dyn PacketKey>,
    /// Of the phase before: for packets that were under way when keys changed.
    previous_remote: Option<Box<dyn PacketKey>>,
    /// Ready-made, so that a packet of the next phase costs no more than another, whoever sent it.
    next: PacketKeySet,
    secrets: Secrets,
    phase: bool,
    /// The counter of the next packet.
    counter: u64,
    sealed_in_phase: u64,
    /// Smallest counter that the current keys have opened: the peer has them, too.
    opened_in_phase: Option<u64>,
    window: ReplayWindow,
    forgeries: u64,
    key_updates: u64,
    limits: SealLimits,
}

/// How much one key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealLimits {
    /// Packets sealed before the keys change. Far below what any cipher allows, so that a change is nothing rare.
    pub update_after: u64,
    /// Packets sealed before no more are: the peer does not follow. The cipher's own limit applies, too.
    pub confidentiality: u64,
    /// Packets that did not open before the connection ends. The cipher's own limit applies, too.
    pub integrity: u64,
}

impl Default for SealLimits {
    /// RFC 9001 section 6.6: AES-GCM may seal 2^23 packets; 2^20 leave the peer seven times as many to follow.
    fn default() -> Self {
        Self { update_after: 1 << 20, confidentiality: u64::MAX, integrity: u64::MAX }
    }
}

/// Nothing more can be sealed: the keys are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The limit of the cipher was reached before the peer changed its keys.
    #[error("the keys are used up")]
    KeysUsedUp,
    /// Not a datagram of this protocol, or none of this connection.
    #[error("not a plain datagram of this connection")]
    NotPlain,
}

/// A sealed packet was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Too short, of another form, or of another connection.
    #[error("not a sealed packet of this connection")]
    NotOurs,
    /// Its counter was seen before, or is too old to tell.
    #[error("repeated, or older than the window")]
    Replayed,
    /// Changed on the way, or sealed by somebody else.
    #[error("not sealed by the peer")]
    Forged,
    /// The limit of packets that did not open was reached.
    #[error("too many packets that the peer did not seal")]
    KeysUsedUp,
}

impl Seal {
    pub(crate) fn new(
        connection_id: u64,
        keys: rustls::quic::Keys,
        mut secrets: Secrets,
        limits: SealLimits,
    ) -> Self {
        let (local, remote) = (keys.local.packet, keys.remote.packet);
        let limits = SealLimits {
            update_after: limits.update_after,
            confidentiality: limits.confidentiality.min(local.confidentiality_limit()),
            integrity: limits.integrity.min(remote.integrity_limit()),
        };
        Self {
            connection_id,
            local,
            remote,
            previous_remote: None,
            next: secrets.next_packet_keys(),
            secrets,
            phase: false,
            counter: 0,
            sealed_in_phase: 0,
            opened_in_phase: None,
            window: ReplayWindow::default(),
            forgeries: 0,
            key_updates: 0,
            limits,
        }
    }

    /// Seals a plain datagram of either form: what stands behind its header is encrypted.
    ///
    /// # Errors
    /// If it is not a datagram of this connection, or the keys are used up.
    pub fn seal(&mut self, plain: &[u8]) -> Result<Bytes, SealError> {
        let body = self.body(plain).ok_or(SealError::NotPlain)?;
        // A change of keys may only follow one that the peer has followed (RFC 9001 section 6.1).
        if self.sealed_in_phase >= self.limits.update_after && self.opened_in_phase.is_some() {
            self.change_keys();
        }
        if self.sealed_in_phase >= self.limits.confidentiality || self.counter > MAX_COUNTER {
            return Err(SealError::KeysUsedUp);
        }
        let mut out = Vec::with_capacity(SEALED_HEADER_BYTES + body.len() + TAG_BYTES);
        out.push(SEALED);
        out.extend_from_slice(&self.connection_id.to_be_bytes());
        let phase = if self.phase { PHASE_BIT } else { 0 };
        out.extend_from_slice(&((self.counter & COUNTER_MASK) as u32 | phase).to_be_bytes());
        out.extend_from_slice(body);
        let (header, payload) = out.split_at_mut(SEALED_HEADER_BYTES);
        let tag = self
            .local
            .encrypt_in_place(self.counter, header, payload)
            .expect("a datagram is far shorter than what a cipher takes");
        out.extend_from_slice(tag.as_ref());
        self.counter += 1;
        self.sealed_in_phase += 1;
        Ok(out.into())
    }

    /// Opens a sealed packet: gives the plain datagram that was sealed.
    ///
    /// # Errors
    /// As [`OpenError`] says; the packet is then to be dropped, and after [`OpenError::KeysUsedUp`] the connection.
    pub fn open(&mut self, sealed: &[u8]) -> Result<Bytes, OpenError> {
        if !packet::is_sealed(sealed) || packet::connection_id(sealed) != Some(self.connection_id) {
            return Err(OpenError::NotOurs);
        }
        let (header, ciphertext) = sealed.split_at(SEALED_HEADER_BYTES);
        let field = u32::from_be_bytes(header[9..].try_into().expect("four bytes"));
        let counter = whole_counter(self.window.next(), u64::from(field) & COUNTER_MASK);
        if !self.window.is_fresh(counter) {
            return Err(OpenError::Replayed);
        }
        let generation = self.generation(field & PHASE_BIT != 0, counter);
        // Room for the longer of the plain headers, then the body.
        let mut out = vec![0; HEADER_BYTES];
        out.extend_from_slice(ciphertext);
        let key = match generation {
            Generation::Previous => self.previous_remote.as_ref().unwrap_or(&self.remote),
            Generation::Current => &self.remote,
            Generation::Next => &self.next.remote,
        };
        let Ok(body) = key.decrypt_in_place(counter, header, &mut out[HEADER_BYTES..]) else {
            self.forgeries += 1;
            let used_up = self.forgeries >= self.limits.integrity;
            return Err(if used_up { OpenError::KeysUsedUp } else { OpenError::Forged });
        };
        let (length, first) = (body.len(), body.first().copied());
        self.window.insert(counter);
        match generation {
            Generation::Previous => {}
            Generation::Current => {
                self.opened_in_phase = Some(self.opened_in_phase.map_or(counter, |least| least.min(counter)));
            }
            Generation::Next => {
                self.change_keys();
                self.opened_in_phase = Some(counter);
            }
        }
        out.truncate(HEADER_BYTES + length);
        Ok(self.put_plain_header(out, first))
    }

    /// Times that the keys were changed, by whichever side.
    #[must_use]
    pub fn key_updates(&self) -> u64 {
        self.key_updates
    }

    /// Packets that did not open.
    #[must_use]
    pub fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// Which keys a packet was sealed with (RFC 9001 section 6.3 and 6.5).
    fn generation(&self, phase: bool, counter: u64) -> Generation {
        if phase == self.phase {
            return Generation::Current;
        }
        let from_before = match (&self.previous_remote, self.opened_in_phase) {
            (None, _) => false,
            // We changed keys and the peer has not yet.
            (Some(_), None) => true,
            (Some(_), Some(first)) => counter < first,
        };
        if from_before { Generation::Previous } else { Generation::Next }
    }

    fn change_keys(&mut self) {
        let next = std::mem::replace(&mut self.next, self.secrets.next_packet_keys());
        self.local = next.local;
        self.previous_remote = Some(std::mem::replace(&mut self.remote, next.remote));
        self.phase = !self.phase;
        self.sealed_in_phase = 0;
        self.opened_in_phase = None;
        self.key_updates += 1;
    }

    /// What stands behind the header of a plain datagram of this connection.
    fn body<'a>(&self, plain: &'a [u8]) -> Option<&'a [u8]> {
        let header = match plain.first()? {
            b'S' => HEADER_BYTES,
            &PLAIN_BINARY => SHORT_HEADER_BYTES,
            _ => return None,
        };
        let (header, body) = plain.split_at_checked(header)?;
        let id = header.last_chunk().copied().map(u64::from_be_bytes)?;
        (id == self.connection_id && !body.is_empty()).then_some(body)
    }

    /// The length of a JSON frame begins with a zero byte, because no frame is that long; a binary packet never does.
    fn put_plain_header(&self, mut out: Vec<u8>, first: Option<u8>) -> Bytes {
        let id = self.connection_id.to_be_bytes();
        if first == Some(0) {
            let mut header = Vec::with_capacity(HEADER_BYTES);
            datagram::put_header(&mut header, self.connection_id);
            out[..HEADER_BYTES].copy_from_slice(&header);
            return out.into();
        }
        let start = HEADER_BYTES - SHORT_HEADER_BYTES;
        out[start] = PLAIN_BINARY;
        out[start + 1..HEADER_BYTES].copy_from_slice(&id);
        Bytes::from(out).slice(start..)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Generation {
    Previous,
    Current,
    Next,
}

/// RFC 9000 appendix A.3, for 31 bits: the counter nearest to `expected` that ends in these bits.
fn whole_counter(expected: u64, bits: u64) -> u64 {
    const WINDOW: u64 = COUNTER_MASK + 1;
    let candidate = (expected & !COUNTER_MASK) | bits;
    if candidate + WINDOW / 2 <= expected && candidate <= MAX_COUNTER - WINDOW {
        candidate + WINDOW
    } else if candidate > expected + WINDOW / 2 && candidate >= WINDOW {
        candidate - WINDOW
    } else {
        candidate
    }
}

impl fmt::Debug for Seal {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal")
            .field("connection_id", &self.connection_id)
            .field("counter", &self.counter)
            .field("key_updates", &self.key_updates)
            .finish_non_exhaustive()
    }
}

const PHASE_BIT: u32 = 1 << 31;
const COUNTER_MASK: u64 = (1 << 31) - 1;
/// RFC 9000 section 12.3: numbers end at 2^62 - 1.
const MAX_COUNTER: u64 = (1 << 62) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn counters_beyond_the_bits_on_the_wire() {
        assert_eq!(whole_counter(0, 5), 5);
        assert_eq!(whole_counter(1 << 31, 0), 1 << 31);
        assert_eq!(whole_counter(1 << 31, COUNTER_MASK), COUNTER_MASK);
        assert_eq!(whole_counter((1 << 31) - 1, 3), (1 << 31) + 3);
        assert_eq!(whole_counter(3, COUNTER_MASK), COUNTER_MASK, "nothing below zero");
    }

    proptest! {
        /// Whatever is within half the range of the newest is found again.
        #[test]
        fn a_counter_near_the_newest_is_found(expected in 0..MAX_COUNTER / 2, away in -(1_i64 << 30) + 1..1 << 30) {
            let counter = expected.saturating_add_signed(away);
            prop_assert_eq!(whole_counter(expected, counter & COUNTER_MASK), counter);
        }
    }
}
