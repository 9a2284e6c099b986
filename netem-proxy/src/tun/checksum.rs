//! The Internet checksum: <https://www.rfc-editor.org/rfc/rfc1071>.
//!
//! Sums are kept as unfolded `u64`s, so that parts (pseudo header, header, payload) can be added in any order and
//! folded once. Adding eight bytes at a time is what makes it cheap enough to do for every damaged packet.

/// Adds bytes, read as big-endian 16-bit words, to an unfolded sum. Every part but the last must be of even length.
#[must_use]
pub fn add(sum: u64, bytes: &[u8]) -> u64 {
    let mut chunks = bytes.chunks_exact(4);
    // Four bytes a step cannot overflow: a packet is at most 64 KiB, that is 2^14 steps of less than 2^32.
    let mut total = sum;
    for chunk in &mut chunks {
        total += u64::from(u32::from_be_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]));
    }
    let rest = chunks.remainder();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

/// Folds a sum to 16 bits, without complementing it.
#[must_use]
pub fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The sum of the pseudo header of TCP and UDP (RFC 9293 section 3.1, RFC 8200 section 8.1). `addresses` are source
/// and destination as they stand in the IP header, `length` counts the transport header and its payload.
#[must_use]
pub fn pseudo_header(addresses: &[u8], protocol: u8, length: usize) -> u64 {
    add(u64::from(protocol) + length as u64, addresses)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_worked_example_of_rfc_1071() {
        let sum = fold(add(0, &[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]));
        assert_eq!(sum, 0xddf2);
    }

    proptest! {
        #[test]
        fn parts_add_up_to_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..3000), cut in 0_usize..1500) {
            let cut = (cut * 2).min(bytes.len() & !1);
            let words = bytes.chunks(2).map(|w| u64::from(w[0]) << 8 | u64::from(*w.get(1).unwrap_or(&0))).sum();
            prop_assert_eq!(fold(add(add(0, &bytes[..cut]), &bytes[cut..])), fold(words));
        }
    }
}
