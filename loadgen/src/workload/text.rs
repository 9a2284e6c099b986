//! What a message says: its number, then letters that depend on it, so that a recipient can check every byte.

use std::fmt::Write;

/// The text of message `id`: `#0000002a:` and then letters, exactly `size` bytes of ASCII, at least [`MIN_TEXT`].
///
/// Recipients compare what arrived with `text(id, size)`; the letters begin at a place that depends on the number, so
/// a text that was cut or glued from two messages differs.
#[must_use]
pub fn text(id: u32, size: u32) -> String {
    let mut text = String::with_capacity(size.max(MIN_TEXT) as usize);
    let _ = write!(text, "#{id:08x}:");
    let letters = (0_u32..).map(|at| char::from(b'a' + (id.wrapping_add(at) % 26) as u8));
    text.extend(letters.take(size.saturating_sub(MIN_TEXT) as usize));
    text
}

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
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_text(&text);
        }
    }
}
