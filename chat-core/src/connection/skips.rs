//! Packet numbers that are never sent (RFC 9000 section 21.4).
//!
//! A peer that acknowledges what it has not received makes its sender faster than the path is. It cannot know which
//! numbers do not exist, so a range that holds one of them gives it away.

use rand::RngExt;
use smallvec::SmallVec;
use units::{Rng, Seed};

use super::AckRanges;

/// Chooses the numbers, and remembers the latest.
#[derive(Debug)]
pub(crate) struct Skips {
    rng: Option<Rng>,
    next: u64,
    recent: SmallVec<[u64; REMEMBERED]>,
}

impl Skips {
    /// Draws from `seed`; `None`: nothing is ever skipped.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        let mut rng = seed.map(|seed| Seed::root(seed).fork("skipped packets").rng());
        let next = rng.as_mut().map_or(u64::MAX, gap);
        Self { rng, next, recent: SmallVec::new() }
    }

    /// Whether packet `number`, the next one, is to be passed over.
    pub(crate) fn takes(&mut self, number: u64) -> bool {
        let Some(rng) = self.rng.as_mut().filter(|_| number >= self.next) else {
            return false;
        };
        self.next = number + gap(rng);
        if self.recent.len() == REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(number);
        true
    }

    /// A number of `ranges` that was never sent.
    pub(crate) fn caught(&self, ranges: &AckRanges) -> Option<u64> {
        self.recent.iter().copied().find(|&number| ranges.contains(number))
    }
}

fn gap(rng: &mut Rng) -> u64 {
    rng.random_range(GAP)
}

/// One number in about 300: each is a gap that the receiver reports at once, and 300 packets ahead of the truth is as far
/// as a liar gets.
const GAP: std::ops::Range<u64> = 100..500;
/// Windows hold fewer numbers than four gaps, but for the largest; older ones are history.
const REMEMBERED: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_of_everything_is_caught_and_an_honest_one_is_not() {
        let mut skips = Skips::new(Some(7));
        let mut honest = AckRanges::default();
        let mut skipped = 0;
        for number in 1..=2000 {
            if skips.takes(number) {
                skipped += 1;
            } else {
                honest.insert(number);
            }
        }
        assert!((4..=20).contains(&skipped), "{skipped} skipped");
        assert_eq!(skips.caught(&honest), None);
        assert!(skips.caught(&AckRanges::from(vec![(1, 2000)])).is_some());
    }

    #[test]
    fn without_a_seed_nothing_is_skipped() {
        let mut skips = Skips::new(None);
        assert!((1..10_000).all(|number| !skips.takes(number)));
    }
}
