//! One direction of one level's handshake bytes: an ordered stream over datagrams.
//!
//! A handshake is a few thousand bytes that are needed from the first to the last, so the simplest thing that is right is
//! used: cumulative acknowledgement, and everything unacknowledged again when the timer fires. What came early is kept.

use std::collections::BTreeMap;

use super::packet::PIECE_BYTES;

/// Bytes on their way to the peer.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    bytes: Vec<u8>,
    acked: usize,
    /// What was handed out since the last timeout.
    sent: usize,
}

impl Outgoing {
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next piece that should go, with its offset.
    pub(crate) fn poll_piece(&mut self) -> Option<(u32, &[u8])> {
        let window = self.bytes.len().min(self.acked + PIECES_AT_ONCE * PIECE_BYTES);
        let start = self.sent;
        let end = window.min(start + PIECE_BYTES);
        if start >= end {
            return None;
        }
        self.sent = end;
        Some((u32::try_from(start).ok()?, &self.bytes[start..end]))
    }

    /// The peer has everything before `offset`. Says whether that is news; an offset that was never sent is none.
    pub(crate) fn on_ack(&mut self, offset: u32) -> bool {
        let offset = offset as usize;
        if offset <= self.acked || offset > self.bytes.len() {
            return false;
        }
        self.acked = offset;
        self.sent = self.sent.max(offset);
        true
    }

    /// The peer has shown in another way that it has all of it.
    pub(crate) fn finish(&mut self) {
        self.acked = self.bytes.len();
        self.sent = self.acked;
    }

    /// Sends again what is not acknowledged.
    pub(crate) fn rewind(&mut self) {
        self.sent = self.acked;
    }

    pub(crate) fn is_outstanding(&self) -> bool {
        self.acked < self.bytes.len()
    }

    /// Where a datagram without bytes stands.
    pub(crate) fn offset(&self) -> u32 {
        u32::try_from(self.acked).unwrap_or(u32::MAX)
    }
}

/// Bytes from the peer, put in order.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    /// Bytes taken in order so far.
    taken: usize,
    /// Pieces that came before their turn, by offset. None begins before `taken`, so each holds something new.
    early: BTreeMap<usize, Vec<u8>>,
    early_bytes: usize,
}

/// More than a handshake has; the peer is no peer of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Incoming {
    /// Takes a piece and returns what is now in order; empty if nothing is new. Early bytes beyond the bound are dropped,
    /// because the peer sends them again.
    pub(crate) fn handle_piece(&mut self, offset: u32, bytes: &[u8]) -> Result<Vec<u8>, Overflow> {
        let offset = offset as usize;
        let end = offset.saturating_add(bytes.len());
        if end > MAX_STREAM_BYTES {
            return Err(Overflow);
        }
        if end <= self.taken {
            return Ok(Vec::new());
        }
        if offset > self.taken {
            self.keep(offset, bytes);
            return Ok(Vec::new());
        }
        let mut ordered = bytes[self.taken - offset..].to_vec();
        self.taken = end;
        while let Some(entry) = self.early.first_entry() {
            if *entry.key() > self.taken {
                break;
            }
            let (start, piece) = entry.remove_entry();
            self.early_bytes -= piece.len();
            if start + piece.len() > self.taken {
                ordered.extend_from_slice(&piece[self.taken - start..]);
                self.taken = start + piece.len();
            }
        }
        Ok(ordered)
    }

    /// What the peer may forget.
    pub(crate) fn acked(&self) -> u32 {
        u32::try_from(self.taken).unwrap_or(u32::MAX)
    }

    fn keep(&mut self, offset: usize, bytes: &[u8]) {
        let known = self.early.get(&offset).map_or(0, Vec::len);
        if bytes.len() <= known || self.early_bytes - known + bytes.len() > EARLY_BYTES {
            return;
        }
        self.early_bytes += bytes.len() - known;
        self.early.insert(offset, bytes.to_vec());
    }
}

/// Handshake bytes that one level may have: four times the certificate chains seen on the web's largest sites.
pub(crate) const MAX_STREAM_BYTES: usize = 40 << 10;
/// Bytes kept that came before their turn: a whole window of pieces.
const EARLY_BYTES: usize = PIECES_AT_ONCE * PIECE_BYTES;
/// Pieces sent without an acknowledgement: the initial window of RFC 9002 section 7.2, so that a handshake is no worse to a
/// network than the data after it.
const PIECES_AT_ONCE: usize = 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pieces_in_any_order_come_out_in_order() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.handle_piece(4, b"efgh"), Ok(vec![]));
        assert_eq!(incoming.handle_piece(2, b"cdef"), Ok(vec![]));
        assert_eq!(incoming.acked(), 0);
        assert_eq!(incoming.handle_piece(0, b"abc"), Ok(b"abcdefgh".to_vec()));
        assert_eq!(incoming.handle_piece(0, b"abc"), Ok(vec![]));
        assert_eq!(incoming.acked(), 8);
    }

    #[test]
    fn a_stream_beyond_its_bound_is_refused() {
        let mut incoming = Incoming::default();
        assert_eq!(incoming.handle_piece(u32::MAX, b"x"), Err(Overflow));
        assert_eq!(incoming.handle_piece(MAX_STREAM_BYTES as u32, b"x"), Err(Overflow));
    }

    #[test]
    fn early_bytes_are_kept_within_their_bound() {
        let mut incoming = Incoming::default();
        for offset in 1..30_000_u32 {
            incoming.handle_piece(offset, b"xy").unwrap();
        }
        assert!(incoming.early_bytes <= EARLY_BYTES);
        assert_eq!(incoming.early.values().map(Vec::len).sum::<usize>(), incoming.early_bytes);
    }

    #[test]
    fn an_ack_of_what_was_never_written_is_ignored() {
        let mut outgoing = Outgoing::default();
        outgoing.push(b"hello");
        assert!(!outgoing.on_ack(6));
        assert!(outgoing.on_ack(5));
        assert!(!outgoing.is_outstanding() && outgoing.poll_piece().is_none());
    }

    proptest! {
        /// Whatever is lost, doubled or reordered on the way, the bytes come out once and in order.
        #[test]
        fn the_stream_survives_its_path(
            length in 0..20_000_usize,
            fates in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8), 0..100),
        ) {
            let bytes: Vec<u8> = (0..length).map(|at| (at * 31 % 251) as u8).collect();
            let (mut outgoing, mut incoming) = (Outgoing::default(), Incoming::default());
            outgoing.push(&bytes);
            let mut fates = fates.into_iter();
            let mut received = Vec::new();
            // Each fate spoils at most one round; after them two rounds carry two windows of ten pieces.
            for _round in 0..110 {
                let mut pieces = Vec::new();
                while let Some((offset, piece)) = outgoing.poll_piece() {
                    pieces.push((offset, piece.to_vec()));
                }
                while !pieces.is_empty() {
                    let Some((index, fate)) = fates.next() else {
                        let (offset, piece) = pieces.remove(0);
                        received.extend(incoming.handle_piece(offset, &piece).unwrap());
                        continue;
                    };
                    let at = index.index(pieces.len());
                    let (offset, piece) = if fate == 0 { pieces[at].clone() } else { pieces.swap_remove(at) };
                    if fate < 2 {
                        received.extend(incoming.handle_piece(offset, &piece).unwrap());
                    }
                }
                outgoing.on_ack(incoming.acked());
                outgoing.rewind();
            }
            prop_assert!(!outgoing.is_outstanding());
            prop_assert_eq!(received, bytes);
        }
    }
}
