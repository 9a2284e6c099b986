//! Cuts a chunk into slices of about one size.

use rand::{Rng as _, RngExt as _};
use units::Rng;

/// Halves what is too long, at a random place near the middle, until it is short enough; the order of slices is kept.
///
/// The halves still to be cut are kept on a stack, so that a chunk cut into single bytes needs a few entries only.
#[derive(Debug)]
pub(super) struct Slicer {
    average: u64,
    variation: u64,
    /// Lengths of what is left of the head chunk, the next one last; empty between chunks.
    stack: Vec<u64>,
}

impl Slicer {
    pub(super) fn new(average: u64, variation: u64) -> Self {
        // Slices of no bytes cut nothing; a variation above the average would ask for negative ones.
        let average = average.max(1);
        Self { average, variation: variation.min(average - 1), stack: Vec::new() }
    }

    /// The length of the next slice of a head chunk of which `left` bytes are left.
    pub(super) fn next(&mut self, left: usize, rng: &mut Rng) -> usize {
        if self.stack.is_empty() {
            self.stack.push(left as u64);
        }
        let mut length = self.stack.pop().expect("pushed above");
        while length.saturating_sub(self.average) > self.variation {
            let shift = if self.variation == 0 { 0 } else { rng.random_range(0..2 * self.variation) };
            let cut = (length / 2 + shift).saturating_sub(self.variation).clamp(1, length - 1);
            self.stack.push(length - cut);
            length = cut;
        }
        usize::try_from(length).unwrap_or(left).min(left)
    }
}

/// Uniform on -1 to below 1.
pub(super) fn signed_unit(rng: &mut Rng) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 52) as f64;
    (rng.next_u64() >> 11) as f64 * SCALE - 1.0
}

#[cfg(test)]
mod tests {
    use units::Seed;

    use super::*;

    fn slices(len: usize, average: u64, variation: u64) -> Vec<usize> {
        let mut slicer = Slicer::new(average, variation);
        let mut rng = Seed::root(1).rng();
        let mut left = len;
        let mut out = Vec::new();
        while left > 0 {
            let slice = slicer.next(left, &mut rng);
            assert!(slice > 0);
            left -= slice;
            out.push(slice);
        }
        assert!(slicer.stack.is_empty());
        out
    }

    #[test]
    fn slices_add_up_and_are_short_enough() {
        for (average, variation) in [(64, 0), (64, 10), (1, 0), (1, 50), (0, 0), (100_000, 5)] {
            let out = slices(32_768, average, variation);
            assert_eq!(out.iter().sum::<usize>(), 32_768);
            let most = average.max(1) + variation.min(average.max(1) - 1);
            assert!(out.iter().all(|&slice| slice as u64 <= most), "{average} {variation}");
        }
    }

    #[test]
    fn a_power_of_two_without_variation_is_cut_evenly() {
        assert_eq!(slices(1024, 256, 0), [256; 4]);
        assert_eq!(slices(3, 1, 0), [1; 3]);
    }
}
