//! Numbers of one to ten bytes: LEB128, seven bits a byte, the low ones first, the high bit set on all but the last.
//!
//! Taken rather than the form of RFC 9000 section 16 because it covers all 64 bits, which `packet` and `sequence_number`
//! have in the JSON codec, and because the numbers of a chat fit it better: windows, sequence numbers and time
//! differences between 2^14 and 2^21 take three bytes where the other takes four. Each number has one form only: a last
//! byte of zero is refused, so that a packet cannot be written in two ways.

/// Longest form, in bytes: 64 bits at seven a byte.
pub const MAX_BYTES: usize = 10;

/// Appends `value`.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put`] appends.
#[must_use]
pub fn len(value: u64) -> usize {
    // A zero has one significant digit too.
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Takes a number from the front of `bytes`; `None`, and nothing taken, if it is cut off, longer than it need be, or
/// beyond 64 bits.
pub fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (index, &byte) in bytes.iter().take(MAX_BYTES).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            let overlong = byte == 0 && index > 0;
            let too_large = index == MAX_BYTES - 1 && byte > 1;
            if overlong || too_large {
                return None;
            }
            *bytes = &bytes[index + 1..];
            return Some(value);
        }
    }
    None
}

/// A difference as an unsigned number that is small when the difference is: 0, -1, 1, -2 … become 0, 1, 2, 3 …
#[must_use]
pub fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

/// The difference that [`zigzag`] made `value` from.
#[must_use]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoded(value: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, value);
        out
    }

    /// Every string of up to three bytes is either the one form of its number, followed by what is left, or refused.
    #[test]
    fn every_short_string_is_the_form_of_its_number_or_refused() {
        let mut taken = 0;
        for length in 0..=3 {
            for bits in 0_u32..1 << (8 * length) {
                let bytes = &bits.to_be_bytes()[4 - length..];
                let mut rest = bytes;
                match take(&mut rest) {
                    Some(value) => {
                        let used = length - rest.len();
                        assert_eq!(encoded(value), bytes[..used], "{bytes:?}");
                        assert_eq!(len(value), used);
                        taken += 1;
                    }
                    None => {
                        assert_eq!(rest, bytes, "nothing is taken of a refused number");
                        let cut = bytes.iter().all(|&byte| byte >= 0x80);
                        let overlong = bytes.iter().position(|&byte| byte < 0x80);
                        assert!(cut || overlong.is_some_and(|at| at > 0 && bytes[at] == 0), "{bytes:?}");
                    }
                }
            }
        }
        // Begins with a short byte; or a long and a short one but 0; or two long ones and a short one but 0.
        let expected = [1 << 7, (1 << 15) + (1 << 7) * 127, (1 << 23) + (1 << 15) * 127 + (1 << 14) * 127];
        assert_eq!(taken, expected.iter().sum::<u32>());
    }

    #[test]
    fn every_cut_and_every_longer_form_is_refused() {
        for shift in 0..64 {
            for value in [(1_u64 << shift) - 1, 1 << shift, u64::MAX >> shift] {
                let whole = encoded(value);
                for end in 0..whole.len() {
                    assert_eq!(take(&mut &whole[..end]), None, "{value} cut to {end}");
                }
                let mut longer = whole.clone();
                *longer.last_mut().unwrap() |= 0x80;
                longer.push(0);
                assert_eq!(take(&mut &longer[..]), None, "{value} with a byte too many");
            }
        }
        let mut beyond = [0x80; 10];
        beyond[9] = 2;
        assert_eq!(take(&mut &beyond[..]), None, "2^64");
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value: u64, shift in 0u32..64, after: u8) {
            let value = value >> shift;
            let mut bytes = encoded(value);
            prop_assert_eq!(bytes.len(), len(value));
            bytes.push(after);
            let mut rest = &bytes[..];
            prop_assert_eq!(take(&mut rest), Some(value));
            prop_assert_eq!(rest, &[after]);
        }

        #[test]
        fn zigzag_has_an_inverse(difference: i64) {
            prop_assert_eq!(unzigzag(zigzag(difference)), difference);
        }
    }
}
