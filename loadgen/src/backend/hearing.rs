//! What a client hears: texts, and pieces that make a file together.

use std::collections::BTreeMap;

use units::Timestamp;

use super::arrival;
use crate::seen::Arrival;
use crate::workload;

/// Files that a client has heard the beginning of.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// By message.
    files: BTreeMap<u32, Heard>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Pieces so far: a file is told in order.
    pieces: u32,
    is_broken: bool,
}

impl Hearing {
    /// A text came. `None`: a piece of a file, and not the last.
    pub(super) fn hear(&mut self, recipient: u32, at: Timestamp, text: &str) -> Option<Arrival> {
        let Some(piece) = workload::parse_piece(text) else {
            return Some(arrival(recipient, at, text));
        };
        let size = u32::try_from(text.len()).unwrap_or(u32::MAX);
        let is_whole = size <= workload::MAX_TEXT
            && workload::piece(piece.file, piece.number, piece.count, size) == text;
        let heard = self.files.entry(piece.file).or_default();
        heard.is_broken |= !is_whole || heard.pieces != piece.number;
        heard.pieces += 1;
        let Heard { pieces, is_broken } = *heard;
        if piece.number + 1 < piece.count {
            if self.files.len() > MOST_FILES {
                self.files.pop_first();
            }
            return None;
        }
        self.files.remove(&piece.file);
        let intact = !is_broken && pieces == piece.count;
        Some(Arrival { recipient, message: Some(piece.file), at, intact })
    }
}

/// Beginnings of files whose end may not come, because their sender has left. A room full of senders has fewer.
const MOST_FILES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::piece;

    fn hear(hearing: &mut Hearing, text: &str) -> Option<(Option<u32>, bool)> {
        hearing.hear(3, Timestamp::ZERO, text).map(|arrival| (arrival.message, arrival.intact))
    }

    #[test]
    fn a_file_is_heard_with_its_last_piece_if_all_came_in_order() {
        let mut hearing = Hearing::default();
        assert_eq!(hear(&mut hearing, &piece(9, 0, 3, 50)), None);
        assert_eq!(hear(&mut hearing, &piece(9, 1, 3, 50)), None);
        assert_eq!(hear(&mut hearing, &workload::text(10, 40)), Some((Some(10), true)));
        assert_eq!(hear(&mut hearing, &piece(9, 2, 3, 30)), Some((Some(9), true)));
        assert!(hearing.files.is_empty());
    }

    #[test]
    fn a_missing_a_repeated_and_a_damaged_piece_spoil_a_file() {
        let damaged = piece(9, 0, 2, 50).replace(":j", ":z");
        assert_ne!(damaged, piece(9, 0, 2, 50));
        for first in [vec![], vec![piece(9, 0, 2, 50); 2], vec![damaged]] {
            let mut hearing = Hearing::default();
            assert!(first.iter().all(|text| hear(&mut hearing, text).is_none()));
            assert_eq!(hear(&mut hearing, &piece(9, 1, 2, 50)), Some((Some(9), false)));
        }
    }
}
