//! Numbers in as few bytes as they need: seven bits a byte, least significant first (LEB128), the top bit says that
//! more follow. Signed ones are folded (0, -1, 1, -2, …) so that small differences stay short either way.

/// Appends `value`: one byte below 128, ten at most.
pub(super) fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the difference from `before` to `value`, which may be negative; any two numbers have one.
pub(super) fn put_difference(out: &mut Vec<u8>, before: u64, value: u64) {
    put(out, fold(value.wrapping_sub(before).cast_signed()));
}

/// Appends a length and the bytes.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Small for small numbers of either sign.
pub(super) fn fold(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

pub(super) fn unfold(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// Reads what the functions above wrote; every method is `None` at a premature end or an impossible number.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes not yet read: what a list of unknown length can hold at most.
    pub(super) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn difference(&mut self, before: u64) -> Option<u64> {
        Some(before.wrapping_add(unfold(self.number()?).cast_unsigned()))
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        Some(taken)
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let count = usize::try_from(self.number()?).ok()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_take_one_byte_and_the_largest_ten() {
        for (value, length) in [(0, 1), (127, 1), (128, 2), (16_383, 2), (16_384, 3), (u64::MAX, 10)] {
            let mut out = Vec::new();
            put(&mut out, value);
            assert_eq!(out.len(), length, "{value}");
        }
    }

    #[test]
    fn an_eleventh_byte_or_a_65th_bit_is_no_number() {
        assert_eq!(Cursor::new(&[0xff; 11]).number(), None);
        let too_large = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert_eq!(Cursor::new(&too_large).number(), None);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(value: u64, before: u64, folded: i64) {
            let mut out = Vec::new();
            put(&mut out, value);
            put_difference(&mut out, before, value);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(cursor.number(), Some(value));
            prop_assert_eq!(cursor.difference(before), Some(value));
            prop_assert!(cursor.is_empty());
            prop_assert_eq!(unfold(fold(folded)), folded);
        }
    }
}
