//! Files of one sender: each a train of messages, one behind the other.
//!
//! The server has no service for files. A file is said into a room as bulk, in pieces that a connection takes whole, and
//! only a few of them are handed over before the first is acknowledged: a sender that handed over a whole file would
//! fill its session's queue and measure that. Files of one client follow each other, as they share a channel.

use std::collections::{BTreeMap, VecDeque};

use chat_client::session::MessageId;

use crate::workload::MIN_PIECE;

/// The files that a client has to send.
#[derive(Debug, Default)]
pub(super) struct Trains {
    waiting: VecDeque<Train>,
    /// Pieces handed over and not acknowledged: which file each is of.
    under_way: BTreeMap<MessageId, u32>,
    /// Pieces of each file that are not acknowledged.
    unacked: BTreeMap<u32, u32>,
}

#[derive(Clone, Copy, Debug)]
struct Train {
    file: u32,
    size: u32,
    place: u16,
    next: u32,
}

/// One message of a train.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) file: u32,
    pub(super) number: u32,
    /// Of how many.
    pub(super) count: u32,
    /// Bytes of text.
    pub(super) size: u32,
    /// The room it is for.
    pub(super) place: u16,
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Piece,
    /// The last of this file.
    Done(u32),
}

impl Trains {
    /// Takes a file; `false`: there are too many already.
    pub(super) fn push(&mut self, file: u32, size: u32, place: u16) -> bool {
        if self.unacked.len() >= MOST_FILES {
            return false;
        }
        let train = Train { file, size, place, next: 0 };
        self.unacked.insert(file, train.pieces());
        self.waiting.push_back(train);
        true
    }

    /// The next piece to hand over, if there is one and it may go; report [`Self::on_taken`].
    pub(super) fn next(&self) -> Option<Piece> {
        let train = self.waiting.front().filter(|_| self.under_way.len() < WINDOW)?;
        Some(train.piece())
    }

    /// The session took the piece under this number.
    pub(super) fn on_taken(&mut self, id: MessageId) {
        if let Some(train) = self.waiting.front_mut() {
            self.under_way.insert(id, train.file);
            train.next += 1;
            if train.next == train.pieces() {
                self.waiting.pop_front();
            }
        }
    }

    /// `None`: it is no piece that is under way.
    pub(super) fn on_acked(&mut self, id: MessageId) -> Option<Progress> {
        let file = self.under_way.remove(&id)?;
        let left = self.unacked.get_mut(&file).map(|left| {
            *left -= 1;
            *left
        });
        if left != Some(0) {
            // More to come, or of a file that was given up meanwhile.
            return Some(Progress::Piece);
        }
        self.unacked.remove(&file);
        Some(Progress::Done(file))
    }

    /// A piece was given up, and with it its file, if that was not known yet.
    pub(super) fn on_failed(&mut self, id: MessageId) -> Option<u32> {
        let file = self.under_way.remove(&id)?;
        self.waiting.retain(|train| train.file != file);
        self.unacked.remove(&file).map(|_| file)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.unacked.is_empty()
    }

    /// Gives up everything; the files that were not done.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        std::mem::take(self).unacked.into_keys().collect()
    }
}

impl Train {
    fn pieces(&self) -> u32 {
        self.size.div_ceil(PIECE).max(1)
    }

    fn piece(&self) -> Piece {
        let (count, number) = (self.pieces(), self.next);
        let size = if number + 1 < count { PIECE } else { self.size - PIECE * (count - 1) };
        // A piece has to say what it is.
        Piece { file: self.file, number, count, size: size.max(MIN_PIECE), place: self.place }
    }
}

/// Bytes of text in a piece: a dozen datagrams, so that what is around it costs little.
const PIECE: u32 = 16 << 10;

/// Pieces handed over and not acknowledged: 1 MiB, the product of 100 Mbit/s and 80 ms, and a quarter of what a session
/// takes (`max_queued_bytes`).
const WINDOW: usize = 64;

/// Files of one client that are not done; one more is throttled.
const MOST_FILES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn take_all(trains: &mut Trains, first: u64) -> Vec<Piece> {
        let mut pieces = Vec::new();
        while let Some(piece) = trains.next() {
            trains.on_taken(MessageId(first + pieces.len() as u64));
            pieces.push(piece);
        }
        pieces
    }

    #[test]
    fn a_file_is_cut_into_pieces_that_are_its_size_together() {
        let mut trains = Trains::default();
        assert!(trains.push(7, 3 * PIECE + 100, 1));
        let pieces = take_all(&mut trains, 0);
        assert_eq!(pieces.iter().map(|piece| piece.size).collect::<Vec<_>>(), [PIECE, PIECE, PIECE, 100]);
        assert!(pieces.iter().zip(0..).all(|(piece, number)| {
            (piece.number, piece.count, piece.file, piece.place) == (number, 4, 7, 1)
        }));
        let ends: Vec<_> = (0..4).map(|id| trains.on_acked(MessageId(id))).collect();
        assert_eq!(ends[2..], [Some(Progress::Piece), Some(Progress::Done(7))]);
        assert!(trains.is_empty());
        assert_eq!(trains.on_acked(MessageId(3)), None);
        // The shortest last piece still has its number.
        assert!(trains.push(8, PIECE + 1, 0));
        assert_eq!(take_all(&mut trains, 10)[1].size, MIN_PIECE);
    }

    #[test]
    fn only_a_window_of_pieces_is_under_way_and_files_follow_each_other() {
        let mut trains = Trains::default();
        let window = u32::try_from(WINDOW).unwrap();
        assert!(trains.push(1, (window - 1) * PIECE, 0) && trains.push(2, 5 * PIECE, 0));
        let pieces = take_all(&mut trains, 0);
        assert_eq!(pieces.len(), WINDOW);
        assert_eq!(pieces[WINDOW - 1].file, 2);
        assert_eq!(trains.on_acked(MessageId(0)), Some(Progress::Piece));
        assert_eq!(take_all(&mut trains, 100).len(), 1);
        // A piece that is given up takes its file with it, once.
        assert_eq!(trains.on_failed(MessageId(100)), Some(2));
        assert_eq!(trains.on_failed(MessageId(WINDOW as u64 - 1)), None);
        assert_eq!(take_all(&mut trains, 200).len(), 0);
        assert_eq!(trains.clear(), [1]);
    }

    #[test]
    fn a_file_behind_one_that_is_given_up_goes_on_when_its_pieces_end() {
        let mut trains = Trains::default();
        let window = u32::try_from(WINDOW).unwrap();
        assert!(trains.push(1, 2 * window * PIECE, 0) && trains.push(2, PIECE, 0));
        assert_eq!(take_all(&mut trains, 0).len(), WINDOW);
        assert_eq!(trains.on_failed(MessageId(0)), Some(1));
        // One place was free at once; the others come with the ends of its other pieces, which are told.
        assert_eq!(take_all(&mut trains, 100).iter().map(|piece| piece.file).collect::<Vec<_>>(), [2]);
        assert!(trains.push(3, PIECE, 0));
        assert_eq!(trains.next(), None);
        assert_eq!(trains.on_acked(MessageId(1)), Some(Progress::Piece));
        assert_eq!(take_all(&mut trains, 200).iter().map(|piece| piece.file).collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn who_has_too_many_files_is_refused() {
        let mut trains = Trains::default();
        assert!((0..64).all(|file| trains.push(file, 100, 0)));
        assert!(!trains.push(64, 100, 0));
    }
}
