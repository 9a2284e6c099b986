//! Packet numbers that arrived, as ranges.
//!
//! Packet numbers are never reused, so lost ones stay holes for ever and the set would grow with every loss. Only the
//! newest [`MAX_RANGES`] ranges are kept: a sender has long repaired what lies below them, and a late packet from there
//! is still recognised by its sequence number.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// Ranges reported in one ack and remembered in all; 32 holes are a window of heavy loss.
pub(crate) const MAX_RANGES: usize = 32;

/// A set of packet numbers, newest range first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(u64, u64)>", into = "Vec<(u64, u64)>")]
pub struct AckRanges {
    /// Up to four are kept in place: an ack is made, copied and read without touching an allocator.
    ranges: SmallVec<[(u64, u64); 4]>,
    /// Numbers up to this one are known to have been told; they count as there, and are not listed.
    forgotten: u64,
}

impl From<Vec<(u64, u64)>> for AckRanges {
    fn from(ranges: Vec<(u64, u64)>) -> Self {
        Self { ranges: ranges.into(), forgotten: 0 }
    }
}

impl From<AckRanges> for Vec<(u64, u64)> {
    fn from(acked: AckRanges) -> Self {
        acked.ranges.into_vec()
    }
}

impl AckRanges {
    /// Adds `packet`; false if it was there.
    pub fn insert(&mut self, packet: u64) -> bool {
        if packet <= self.forgotten {
            return false;
        }
        let ranges = &mut self.ranges;
        // First range that does not lie wholly above the packet.
        let at = ranges.partition_point(|&(low, _)| low > packet);
        if ranges.get(at).is_some_and(|&(_, high)| high >= packet) {
            return false;
        }
        let extends_below = at > 0 && ranges[at - 1].0 == packet + 1;
        let extends_above = ranges.get(at).is_some_and(|&(_, high)| high + 1 == packet);
        match (extends_below, extends_above) {
            (true, true) => {
                ranges[at - 1].0 = ranges[at].0;
                ranges.remove(at);
            }
            (true, false) => ranges[at - 1].0 = packet,
            (false, true) => ranges[at].1 = packet,
            (false, false) => {
                ranges.insert(at, (packet, packet));
                ranges.truncate(MAX_RANGES);
            }
        }
        true
    }

    /// Adds a range below all others, as a decoder reads them.
    pub(crate) fn push_below(&mut self, low: u64, high: u64) {
        self.ranges.push((low, high));
    }

    /// Drops the older half of the ranges; false if there is only one.
    pub(crate) fn halve(&mut self) -> bool {
        let count = self.ranges.len();
        self.ranges.truncate(count.div_ceil(2));
        self.ranges.len() < count
    }

    #[must_use]
    pub fn contains(&self, packet: u64) -> bool {
        let at = self.ranges.partition_point(|&(low, _)| low > packet);
        packet <= self.forgotten || self.ranges.get(at).is_some_and(|&(_, high)| high >= packet)
    }

    /// The peer knows of everything up to `largest`: the ranges below are dropped. The newest one stays, so that an ack
    /// always has something to say.
    pub fn forget_up_to(&mut self, largest: u64) {
        let newest = self.ranges.first().copied();
        self.ranges.retain(|range| range.1 > largest || Some(*range) == newest);
        if let Some(&(low, _)) = self.ranges.last() {
            self.forgotten = self.forgotten.max(largest.min(low - 1));
        }
    }

    /// Ranges `(low, high)`, both inclusive, highest first.
    #[must_use]
    pub fn as_slice(&self) -> &[(u64, u64)] {
        &self.ranges
    }

    #[must_use]
    pub fn largest(&self) -> Option<u64> {
        self.ranges.first().map(|&(_, high)| high)
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Whether a peer's ranges are well formed: non-empty, not too many, each in order, from high to low, disjoint, no zero.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let ordered = self.ranges.iter().all(|&(low, high)| 1 <= low && low <= high);
        let descending = self.ranges.windows(2).all(|pair| pair[1].1 < pair[0].0);
        !self.ranges.is_empty() && self.ranges.len() <= MAX_PEER_RANGES && ordered && descending
    }
}

/// A peer may report more ranges than we do, but not without end.
const MAX_PEER_RANGES: usize = 256;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_a_set_holds(packets in proptest::collection::vec(1u64..40, 0..60)) {
            let mut ranges = AckRanges::default();
            let mut set = BTreeSet::new();
            for packet in packets {
                prop_assert_eq!(ranges.insert(packet), set.insert(packet));
            }
            let listed: BTreeSet<u64> = ranges.as_slice().iter().flat_map(|&(low, high)| low..=high).collect();
            prop_assert!(ranges.is_empty() || ranges.is_valid());
            prop_assert_eq!(listed, set);
        }
    }

    #[test]
    fn what_the_peer_knows_is_forgotten_and_still_counts_as_there() {
        let mut ranges = AckRanges::from(vec![(20, 30), (10, 12), (1, 5)]);
        ranges.forget_up_to(11);
        assert_eq!(ranges.as_slice(), [(20, 30), (10, 12)]);
        ranges.forget_up_to(25);
        assert_eq!(ranges.as_slice(), [(20, 30)], "the newest stays");
        assert!(ranges.contains(3) && ranges.contains(7) && !ranges.insert(15));
        assert!(!ranges.contains(31) && ranges.insert(31));
    }

    #[test]
    fn only_the_newest_ranges_are_kept() {
        let mut ranges = AckRanges::default();
        for packet in 1..=100 {
            ranges.insert(packet * 2);
        }
        assert_eq!(ranges.as_slice().len(), MAX_RANGES);
        assert_eq!(ranges.largest(), Some(200));
    }

    #[test]
    fn malformed_ranges_of_a_peer_are_refused() {
        for wrong in [vec![], vec![(0, 3)], vec![(5, 4)], vec![(1, 2), (3, 4)], vec![(4, 6), (2, 4)]] {
            assert!(!AckRanges::from(wrong.clone()).is_valid(), "{wrong:?}");
        }
        assert!(AckRanges::from(vec![(4, 6), (1, 2)]).is_valid());
    }
}
