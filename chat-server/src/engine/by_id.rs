//! Tables by a number of ours: of a peer or a session.
//!
//! Every datagram asks them a dozen times, so a look-up is one multiplication and one place in memory, where a tree of
//! ten thousand is walked through four or five. SipHash guards against chosen keys, and nobody can choose these: they
//! are counted up. Such a table is in no order; whoever goes through it sorts, or does what no order changes.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Values by [`PeerId`](super::PeerId) or [`SessionId`](crate::hub::SessionId).
pub(crate) type ById<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// For keys that are one number.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(u64::from(byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // 2^64 divided by the golden ratio: neighbours land far apart, in the high bits, too, from which the table takes
        // its tags (Knuth, volume 3, section 6.4). The rotation brings high bits to where the place comes from.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn neighbours_differ_in_places_and_tags() {
        let hasher = BuildHasherDefault::<IdHasher>::default();
        let hashes: Vec<u64> = (1..=4096_u64).map(|id| hasher.hash_one(id)).collect();
        let distinct = |part: &dyn Fn(u64) -> u64| {
            hashes.iter().map(|&hash| part(hash)).collect::<std::collections::BTreeSet<_>>().len()
        };
        // As many places as keys: by chance 1 - 1/e of them, 2,589, would be taken.
        assert!(distinct(&|hash| hash % 4096) >= 2_589);
        assert_eq!(distinct(&|hash| hash >> 57), 128);
    }
}
