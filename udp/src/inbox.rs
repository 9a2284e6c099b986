//! What one read brought.

use std::io::IoSliceMut;
use std::net::SocketAddr;

use chat_core::path::Ecn;
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta};

/// Room for one batch; made once and used again.
#[derive(Debug)]
pub struct Inbox {
    storage: Vec<u8>,
    meta: [RecvMeta; BATCH_SIZE],
    count: usize,
}

/// Datagrams of one sender that came together: one, or several of `stride` bytes of which the last may be shorter.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    pub from: SocketAddr,
    pub ecn: Ecn,
    pub bytes: &'a [u8],
    pub stride: usize,
}

impl Inbox {
    #[must_use]
    pub fn new() -> Self {
        Self { storage: vec![0; PLACE * BATCH_SIZE], meta: [RecvMeta::default(); BATCH_SIZE], count: 0 }
    }

    /// What the last read brought.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let places = self.storage.chunks_exact(PLACE).zip(&self.meta).take(self.count);
        places.map(|(place, meta)| Message {
            from: meta.addr,
            ecn: ecn_of(meta.ecn),
            bytes: &place[..meta.len],
            stride: meta.stride,
        })
    }

    /// Whether the last read brought as many messages as there is room for, so that more may wait.
    pub(crate) fn is_full(&self) -> bool {
        self.count == BATCH_SIZE
    }

    pub(crate) fn fill(
        &mut self,
        read: impl FnOnce(&mut [IoSliceMut<'_>], &mut [RecvMeta]) -> std::io::Result<usize>,
    ) -> std::io::Result<()> {
        let mut chunks = self.storage.chunks_exact_mut(PLACE);
        let mut places: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().expect("as many places as messages")));
        self.count = 0;
        self.count = read(&mut places, &mut self.meta)?;
        Ok(())
    }
}

impl Default for Inbox {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> Message<'a> {
    /// The datagrams, in order. One of no length at all is one, too.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let whole = self.bytes.is_empty().then_some(self.bytes);
        whole.into_iter().chain(self.bytes.chunks(self.stride.max(1)))
    }
}

pub(crate) fn ecn_of(codepoint: Option<EcnCodepoint>) -> Ecn {
    codepoint.map_or(Ecn::NotEct, |codepoint| Ecn::from_bits(codepoint as u8))
}

pub(crate) fn codepoint_of(ecn: Ecn) -> Option<EcnCodepoint> {
    EcnCodepoint::from_bits(ecn.bits())
}

/// The longest message there is: a UDP payload, or several kept together.
const PLACE: usize = 65_535;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_split_where_the_kernel_joined_it() {
        let split = |len: usize, stride| {
            let from = SocketAddr::from(([127, 0, 0, 1], 1));
            let bytes = vec![0; len];
            let message = Message { from, ecn: Ecn::NotEct, bytes: &bytes, stride };
            message.datagrams().map(<[u8]>::len).collect::<Vec<_>>()
        };
        assert_eq!(split(250, 100), [100, 100, 50]);
        assert_eq!((split(7, 7), split(0, 0)), (vec![7], vec![0]));
    }

    #[test]
    fn codepoints_are_the_same_here_and_there() {
        for ecn in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
            assert_eq!(ecn_of(codepoint_of(ecn)), ecn);
        }
    }
}
