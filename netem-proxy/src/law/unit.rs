//! A place in a distribution, exact in both tails.

use super::normal;

/// A uniform draw as the probability below and above it.
///
/// Both are kept because a float near one has no digits left for the upper tail: with them, the rarest long delay is as
/// exact as the rarest short one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    below: f64,
    above: f64,
}

impl Unit {
    /// The middle of the `draw`-th of 2^64 equal parts.
    #[must_use]
    pub fn from_draw(draw: u64) -> Self {
        Self { below: middle(draw), above: middle(!draw) }
    }

    /// Where `z` stands in the standard normal law.
    #[must_use]
    pub fn from_normal(z: f64) -> Self {
        Self { below: normal::cdf(z), above: normal::cdf(-z) }
    }

    /// A probability, for tables and integrals; `below` within 0 to 1, exclusive.
    #[must_use]
    pub fn new(below: f64) -> Self {
        Self { below, above: 1.0 - below }
    }

    #[must_use]
    pub fn below(self) -> f64 {
        self.below
    }

    #[must_use]
    pub fn above(self) -> f64 {
        self.above
    }
}

fn middle(draw: u64) -> f64 {
    // 2^-64 is exact; the sum is rounded to 53 bits, which moves it by less than one part in 2^53.
    (draw as f64 + 0.5) * 5.421_010_862_427_522e-20
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_tails_are_as_fine_as_the_draw() {
        let (low, high) = (Unit::from_draw(0), Unit::from_draw(u64::MAX));
        assert_eq!(low.below(), 0.5_f64.powi(65));
        assert_eq!(high.above(), 0.5_f64.powi(65));
        let middle = Unit::from_draw(1 << 63);
        assert_eq!((middle.below(), middle.above()), (0.5, 0.5));
    }
}
