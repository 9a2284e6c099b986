//! Yes or no from one random number.
//!
//! The comparison is between integers, so the same draw means the same on every machine; a float comparison would
//! depend on how the draw was turned into a float.

use units::Probability;

/// A probability, ready to be compared with uniform 64-bit draws.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chance {
    threshold: u64,
    /// A probability of one has no 64-bit threshold.
    is_certain: bool,
}

impl Chance {
    pub(super) fn hits(self, draw: u64) -> bool {
        self.is_certain || draw < self.threshold
    }
}

impl From<Probability> for Chance {
    fn from(p: Probability) -> Self {
        Self { threshold: p.threshold(), is_certain: p.is_one() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_never_hits_and_one_always() {
        assert!(!Chance::from(Probability::ZERO).hits(0));
        assert!(Chance::from(Probability::ONE).hits(u64::MAX));
    }

    #[test]
    fn a_quarter_hits_the_lowest_quarter_of_draws() {
        let quarter = Chance::from(Probability::new(0.25).expect("in range"));
        assert!(quarter.hits((1 << 62) - 1));
        assert!(!quarter.hits(1 << 62));
    }
}
