//! What a message says: its number, then letters that depend on it, so that a recipient can check every byte.
//!
//! The letters are the alphabet again and again, begun at a place that depends on the number. Both making and checking are
//! a few copies or comparisons of long runs: a generator does one of them for each delivery, and it should be the server
//! that is measured.

use std::fmt::Write;

/// The text of message `id`: `#0000002a:` and then letters, exactly `size` bytes of ASCII, at least [`MIN_TEXT`].
///
/// A text that was cut or glued from two messages differs; see [`is_text`].
#[must_use]
pub fn text(id: u32, size: u32) -> String {
    let mut text = String::with_capacity(size.max(MIN_TEXT) as usize);
    let _ = write!(text, "#{id:08x}:");
    let mut rest = size.saturating_sub(MIN_TEXT) as usize;
    while rest > 0 {
        let run = run(id, rest);
        text.push_str(run);
        rest -= run.len();
    }
    text
}

/// Whether `said` is [`text()`] of message `id` and of its own length, which is all that a recipient knows.
#[must_use]
pub fn is_text(id: u32, said: &str) -> bool {
    if said.len() > MAX_TEXT as usize || parse_text(said) != Some(id) {
        return false;
    }
    let mut rest = &said.as_bytes()[MIN_TEXT as usize..];
    while !rest.is_empty() {
        let run = run(id, rest.len());
        let (begun, later) = rest.split_at(run.len());
        if begun != run.as_bytes() {
            return false;
        }
        rest = later;
    }
    true
}

/// The next letters of message `id`, at most `len`. A run is whole alphabets unless it is the last, so every run of a
/// message begins at the same place.
fn run(id: u32, len: usize) -> &'static str {
    let from = (id as usize) % ALPHABET;
    &LETTERS[from..from + len.min(RUN)]
}

const ALPHABET: usize = 26;
/// Whole alphabets that hold most messages in one run.
const RUN: usize = 10 * ALPHABET;
const LETTERS: &str = concat!(
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
    "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz",
);

/// The number of the message that `text` claims to be; `None` for a text that [`text()`] does not make.
#[must_use]
pub fn parse_text(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('#')?.get(..8)?;
    let canonical = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if !canonical || text.as_bytes().get(9) != Some(&b':') {
        return None;
    }
    u32::from_str_radix(digits, 16).ok()
}

/// One piece of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilePiece {
    /// The message that the file is.
    pub file: u32,
    /// From 0.
    pub number: u32,
    /// Pieces of the file.
    pub count: u32,
}

/// The text of a piece of file `file`: `%0000002a.000003/000010:` and then letters, exactly `size` bytes of ASCII, at least
/// [`MIN_PIECE`]. `number` and `count` are below 2^24.
#[must_use]
pub fn piece(file: u32, number: u32, count: u32, size: u32) -> String {
    let mut text = String::with_capacity(size.max(MIN_PIECE) as usize);
    let _ = write!(text, "%{file:08x}.{number:06x}/{count:06x}:");
    let letters =
        (0_u32..).map(|at| char::from(b'a' + (file.wrapping_add(number).wrapping_add(at) % 26) as u8));
    text.extend(letters.take(size.saturating_sub(MIN_PIECE) as usize));
    text
}

/// The piece that `text` claims to be; `None` for a text that [`piece()`] does not make.
#[must_use]
pub fn parse_piece(text: &str) -> Option<FilePiece> {
    let head = text.strip_prefix('%')?.get(..MIN_PIECE as usize - 1)?.strip_suffix(':')?;
    let (file, rest) = head.split_once('.')?;
    let (number, count) = rest.split_once('/')?;
    let hex = |digits: &str, length: usize| {
        let canonical = digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        (canonical && digits.len() == length).then(|| u32::from_str_radix(digits, 16).ok())?
    };
    Some(FilePiece { file: hex(file, 8)?, number: hex(number, 6)?, count: hex(count, 6)? })
}

/// Bytes of the numbers in front of a piece.
pub const MIN_PIECE: u32 = 24;

/// Bytes of the number in front: the shortest text.
pub const MIN_TEXT: u32 = 10;

/// Longest text; with its envelope, in either codec, it stays below the connection's largest message of 1 MiB.
pub const MAX_TEXT: u32 = 1 << 19;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_is_its_number_and_letters() {
        assert_eq!(text(42, 16), "#0000002a:qrstuv");
        assert_eq!(text(42, 3), "#0000002a:");
        assert_eq!(parse_text("#0000002A:"), None);
        assert_eq!(parse_text("#0000002a"), None);
    }

    proptest! {
        #[test]
        fn the_number_reads_back_and_the_size_is_exact(id: u32, size in MIN_TEXT..2000) {
            let text = text(id, size);
            prop_assert_eq!(text.len(), size as usize);
            prop_assert!(text.is_ascii());
            prop_assert_eq!(parse_text(&text), Some(id));
            let letter = |at: usize| char::from(b'a' + ((id as usize + at) % 26) as u8);
            let expected: String = (0..text.len() - MIN_TEXT as usize).map(letter).collect();
            prop_assert_eq!(&text[MIN_TEXT as usize..], expected);
        }

        #[test]
        fn only_the_text_itself_is_intact(id: u32, size in MIN_TEXT..2000, at: prop::sample::Index, other: u32) {
            let said = text(id, size);
            prop_assert!(is_text(id, &said));
            prop_assert_eq!(is_text(other, &said), other == id);
            let mut damaged = said.clone().into_bytes();
            let at = at.index(damaged.len());
            damaged[at] = if damaged[at] == b'!' { b'?' } else { b'!' };
            prop_assert!(!is_text(id, &String::from_utf8(damaged).expect("ascii")));
        }

        #[test]
        fn a_piece_reads_back_and_is_no_text(file: u32, number in 0_u32..1 << 24, size in MIN_PIECE..2000) {
            let piece = piece(file, number, (1 << 24) - 1, size);
            prop_assert_eq!(piece.len(), size as usize);
            let read = FilePiece { file, number, count: (1 << 24) - 1 };
            prop_assert_eq!(parse_piece(&piece), Some(read));
            prop_assert_eq!(parse_text(&piece), None);
            prop_assert_eq!(parse_piece(&text(file, size)), None);
        }

        #[test]
        fn no_text_panics(text in "[%#]?.*") {
            let _ = (parse_text(&text), parse_piece(&text));
        }
    }
}
