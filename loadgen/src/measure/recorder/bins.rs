//! Counts of latencies in bins, coarse enough to keep one set for each second or client.
//!
//! A bin is a 64th of its latency wide (1.6 %), or 1 µs; [`records::latency_bin`](crate::records::latency_bin) has wider
//! ones for what is only looked at.

use crate::distribution::HIGHEST_US;
use crate::records::{LATENCY_BINS, bin_range, latency_bin};

/// Counts by bin, all bins.
#[derive(Clone, Debug)]
pub(super) struct Dense {
    counts: Box<[u32]>,
    heat: Box<[u32]>,
    pub(super) max: u64,
}

/// Only bins with counts, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sparse {
    counts: Vec<(u16, u32)>,
    pub(super) heat: Vec<(u16, u32)>,
    pub(super) max: u64,
}

/// In which coarse bin each fine one begins, so that nobody computes a logarithm for each delivery.
#[derive(Clone, Debug)]
pub(super) struct Bins {
    heat_of: Box<[u16]>,
    heat_ends: Box<[u64]>,
}

impl Bins {
    pub(super) fn new() -> Self {
        let heat_of = (0..FINE).map(|bin| latency_bin(low(bin))).collect();
        // The first whole microsecond beyond each bin.
        let heat_ends = (0..LATENCY_BINS).map(|bin| {
            let mut end = bin_range(bin).1.ceil() as u64;
            while latency_bin(end) <= bin && bin + 1 < LATENCY_BINS {
                end += 1;
            }
            while end > 0 && latency_bin(end - 1) > bin {
                end -= 1;
            }
            end
        });
        Self { heat_of, heat_ends: heat_ends.collect() }
    }

    pub(super) fn record(&self, us: u64, into: &mut Dense) {
        let fine = fine(us);
        into.counts[fine] += 1;
        into.heat[usize::from(self.heat(us, fine))] += 1;
        into.max = into.max.max(us);
    }

    /// The coarse bin alone; as [`latency_bin`] would say.
    pub(super) fn coarse(&self, us: u64) -> u16 {
        self.heat(us, fine(us))
    }

    fn heat(&self, us: u64, fine: usize) -> u16 {
        let mut heat = self.heat_of[fine];
        // A fine bin is narrower than a coarse one, so this is one step at most, but for what is beyond the last.
        while usize::from(heat) + 1 < self.heat_ends.len() && us >= self.heat_ends[usize::from(heat)] {
            heat += 1;
        }
        heat
    }
}

impl Dense {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; FINE].into_boxed_slice(),
            heat: vec![0; usize::from(LATENCY_BINS)].into_boxed_slice(),
            max: 0,
        }
    }

    pub(super) fn clear(&mut self) {
        self.counts.fill(0);
        self.heat.fill(0);
        self.max = 0;
    }

    pub(super) fn sparse(&self) -> Sparse {
        let sparse = |counts: &[u32]| {
            let counts = (0_u16..).zip(counts.iter().copied());
            counts.filter(|&(_, count)| count > 0).collect()
        };
        Sparse { counts: sparse(&self.counts), heat: sparse(&self.heat), max: self.max }
    }
}

impl Sparse {
    /// The upper edge of the bin with the `q`-quantile (nearest rank) of what was recorded and `lost` more at infinity.
    pub(super) fn quantile(&self, q: f64, lost: u64) -> Option<u64> {
        let count: u64 = self.counts.iter().map(|&(_, count)| u64::from(count)).sum();
        let rank = ((q * (count + lost) as f64 - 1e-6).ceil() as u64).max(1);
        let mut below = 0;
        self.counts.iter().find_map(|&(bin, count)| {
            below += u64::from(count);
            (below >= rank).then(|| (low(usize::from(bin) + 1) - 1).min(self.max))
        })
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().map(|&(_, count)| u64::from(count)).sum()
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts = merged(&self.counts, &other.counts);
        self.heat = merged(&self.heat, &other.heat);
        self.max = self.max.max(other.max);
    }
}

fn merged(a: &[(u16, u32)], b: &[(u16, u32)]) -> Vec<(u16, u32)> {
    let mut sum: std::collections::BTreeMap<u16, u32> = a.iter().copied().collect();
    for &(bin, count) in b {
        let into = sum.entry(bin).or_default();
        *into = into.saturating_add(count);
    }
    sum.into_iter().collect()
}

/// Bin of a latency.
pub(in crate::measure) fn fine(us: u64) -> usize {
    let us = us.min(HIGHEST_US);
    if us < 2 * SPLIT {
        return us as usize;
    }
    let shift = us.ilog2() - SPLIT.ilog2();
    (u64::from(shift) * SPLIT + (us >> shift)) as usize
}

/// Smallest latency of a bin.
fn low(bin: usize) -> u64 {
    let bin = bin as u64;
    if bin < 2 * SPLIT {
        return bin;
    }
    let shift = bin / SPLIT - 1;
    (bin - shift * SPLIT) << shift
}

/// Bins in each octave.
const SPLIT: u64 = 64;
/// One more than the bin of the largest latency.
pub(in crate::measure) const FINE: usize = 1408;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_in_its_bin() {
        assert_eq!(fine(u64::MAX) + 1, fine(HIGHEST_US) + 1);
        assert!(fine(HIGHEST_US) < FINE);
        for us in (0..200_000).chain((200_000..HIGHEST_US).step_by(7919)) {
            let bin = fine(us);
            assert!(low(bin) <= us && us < low(bin + 1), "{us} in {bin}");
            assert!(low(bin + 1) - low(bin) <= 1.max(us / 63), "{us}");
        }
    }

    #[test]
    fn coarse_bins_are_those_of_the_records() {
        let bins = Bins::new();
        for us in (0..300_000).chain((300_000..HIGHEST_US).step_by(9973)) {
            assert_eq!(bins.coarse(us), latency_bin(us), "{us}");
        }
    }

    #[test]
    fn quantiles_count_what_is_lost() {
        let (bins, mut dense) = (Bins::new(), Dense::new());
        (1..=98).for_each(|us| bins.record(us, &mut dense));
        let sparse = dense.sparse();
        assert_eq!((sparse.quantile(0.5, 2), sparse.quantile(0.98, 2)), (Some(50), Some(98)));
        assert_eq!((sparse.quantile(0.99, 2), Sparse::default().quantile(0.5, 0)), (None, None));
        let mut twice = sparse.clone();
        twice.add(&sparse);
        assert_eq!((twice.count(), twice.quantile(0.5, 0)), (196, Some(49)));
    }
}
