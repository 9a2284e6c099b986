//! What is to leave, in order, and how much of it one system call takes.

use std::net::SocketAddr;

use bytes::Bytes;
use chat_core::path::Ecn;

/// Datagrams that wait to leave. A driver fills it while it drains a machine and sends it once.
#[derive(Debug, Default)]
pub struct Outbox {
    waiting: Vec<Leaving>,
    /// Runs are put together here.
    pub(crate) scratch: Vec<u8>,
}

#[derive(Clone, Debug)]
pub(crate) struct Leaving {
    pub(crate) to: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Bytes,
}

/// What became of an [`Outbox`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams the kernel took, their bytes, and the system calls that needed.
    pub datagrams: u64,
    pub bytes: u64,
    pub calls: u64,
    /// Datagrams it did not take: they are lost.
    pub errors: u64,
}

impl Outbox {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn push(&mut self, to: SocketAddr, ecn: Ecn, bytes: Bytes) {
        self.waiting.push(Leaving { to, ecn, bytes });
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(crate) fn take(&mut self) -> Vec<Leaving> {
        std::mem::take(&mut self.waiting)
    }

    /// Gives the memory back for the next time.
    pub(crate) fn give_back(&mut self, mut waiting: Vec<Leaving>) {
        waiting.clear();
        self.waiting = waiting;
    }
}

/// How many of those waiting can leave as one: for the same peer with the same mark, equally long, the last perhaps
/// shorter. `limit` tells how many of a length one call may have.
pub(crate) fn run_len(waiting: &[Leaving], limit: impl Fn(usize) -> usize) -> usize {
    let Some((first, rest)) = waiting.split_first() else { return 0 };
    let length = first.bytes.len();
    let mut len = 1;
    for next in rest.iter().take(limit(length).saturating_sub(1)) {
        let fits = next.to == first.to && next.ecn == first.ecn && !next.bytes.is_empty();
        if !fits || next.bytes.len() > length {
            break;
        }
        len += 1;
        if next.bytes.len() < length {
            break;
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaving(port: u16, ecn: Ecn, len: usize) -> Leaving {
        let to = SocketAddr::from(([127, 0, 0, 1], port));
        Leaving { to, ecn, bytes: Bytes::from(vec![0; len]) }
    }

    fn plain(lens: &[usize]) -> Vec<Leaving> {
        lens.iter().map(|len| leaving(1, Ecn::NotEct, *len)).collect()
    }

    #[test]
    fn a_run_ends_at_another_length_mark_or_peer() {
        let run = |waiting: &[Leaving]| run_len(waiting, |_| 64);
        assert_eq!(run(&plain(&[9, 9, 9])), 3);
        assert_eq!(run(&plain(&[9, 5, 5])), 2, "only the last may be shorter");
        assert_eq!((run(&plain(&[9, 10])), run(&plain(&[9, 0])), run(&[])), (1, 1, 0));
        assert_eq!(run(&[leaving(1, Ecn::NotEct, 9), leaving(1, Ecn::Ect0, 9)]), 1);
        assert_eq!(run(&[leaving(1, Ecn::NotEct, 9), leaving(2, Ecn::NotEct, 9)]), 1);
    }

    #[test]
    fn a_call_takes_no_more_than_it_may() {
        assert_eq!(run_len(&plain(&[9; 10]), |_| 4), 4);
        assert_eq!(run_len(&plain(&[9; 10]), |_| 0), 1);
    }
}
