//! Where a quantile may lie: ranks that bound it, whatever the distribution is.
//!
//! Of n independent samples, how many stay at or below the true q-quantile is binomial (n, q). The interval is made of
//! the order statistics that the tails of this law leave (Thompson, Annals of Mathematical Statistics 7, 1936; David and
//! Nagaraja, *Order Statistics*, section 7.1). The binomial tail is an incomplete beta function, so n need not be whole:
//! dependent samples are worth fewer, and n is then the effective number ([`super::cluster`]).

use statrs::distribution::{ContinuousCDF, Normal, StudentsT};
use statrs::function::beta::beta_reg;

/// Bounds of a quantile as shares of all samples, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// `None`: so few samples have no lower bound.
    pub low: Option<f64>,
    /// `None`: so few samples have no upper bound.
    pub high: Option<f64>,
}

/// The 95 % interval of the `q`-quantile of `samples` independent samples, as shares between which it lies.
///
/// 2.5 % on each side; where one side has no bound, all 5 % are on the other. `q` is between 0 and 1.
#[must_use]
pub fn interval(samples: f64, q: f64) -> Shares {
    let both = ranks(samples, q, MISS / 2.0);
    let one = ranks(samples, q, MISS);
    Shares {
        low: if both.high.is_none() { one.low } else { both.low },
        high: if both.low.is_none() { one.high } else { both.high },
    }
}

/// Samples from which a quantile is stated without a mark: ten beyond it, 10 / (1 − q).
#[must_use]
pub fn samples_to_state(q: f64) -> u64 {
    // 1 − 0.99 is 0.010000000000000009; the slack keeps a whole number whole.
    (10.0 / (1.0 - q) - 1e-6).ceil() as u64
}

/// Student's t that `freedom` degrees of freedom exceed on either side with 5 % chance; 1.96 for many.
#[must_use]
pub fn student(freedom: f64) -> f64 {
    if freedom >= MANY {
        return NORMAL;
    }
    StudentsT::new(0.0, 1.0, freedom.max(1.0)).map_or(NORMAL, |law| law.inverse_cdf(1.0 - MISS / 2.0))
}

/// With chance `tail` at most, the quantile is below the low rank; the same for the high one.
fn ranks(samples: f64, q: f64, tail: f64) -> Shares {
    if samples * q.min(1.0 - q) >= MANY {
        let spread = normal_quantile(tail) * (q * (1.0 - q) / samples).sqrt();
        return Shares { low: Some(q + spread), high: Some((q - spread).min(1.0)) };
    }
    // P(X >= x) of a binomial law, continued between whole x.
    let at_least = |x: f64| match x {
        x if x <= 0.0 => 1.0,
        x if x >= samples + 1.0 => 0.0,
        x => beta_reg(x, samples - x + 1.0, q),
    };
    // Quantile below the x-th sample: fewer than x are at or below it.
    let low = last(0.0, samples + 1.0, |x| 1.0 - at_least(x) <= tail);
    let high = last(0.0, samples + 1.0, |x| at_least(x) > tail);
    // The x-th of n samples stands for the shares from (x − 1)/n to x/n; its middle is taken, as n is not whole.
    let share = |x: f64| (x - 0.5) / samples;
    Shares { low: (low >= 1.0).then(|| share(low)), high: (high <= samples).then(|| share(high).min(1.0)) }
}

/// The normal deviate that a share `p` stays below.
fn normal_quantile(p: f64) -> f64 {
    Normal::standard().inverse_cdf(p)
}

/// Where a condition that holds at `from` ends to hold.
fn last(from: f64, until: f64, holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (from, until);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

/// Intervals are of 95 %.
const MISS: f64 = 0.05;
const NORMAL: f64 = 1.959_964;
/// From here on laws are normal to five digits, and series of the exact ones converge slowly.
const MANY: f64 = 1e6;
/// A millionth of a rank among 10^12 samples.
const HALVINGS: u32 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    /// As whole ranks, counted from 1.
    fn whole(samples: u32, q: f64) -> (f64, f64) {
        let shares = interval(samples.into(), q);
        let rank = |share: Option<f64>| share.map_or(f64::NAN, |share| share * f64::from(samples) + 0.5);
        (rank(shares.low), rank(shares.high))
    }

    #[test]
    fn ranks_of_the_median_are_those_of_the_tables() {
        // Conover, Practical Nonparametric Statistics, section 3.2: of 20 samples the 6th and the 15th hold the median
        // with 95.9 %. Continued ranks cut the rest away, so they lie within one rank inside of it.
        let (low, high) = whole(20, 0.5);
        assert!((6.0..7.0).contains(&low) && (14.0..=15.0).contains(&high), "{low} {high}");
        assert!((low + high - 21.0).abs() < 1e-6, "the median is in the middle");
    }

    #[test]
    fn many_samples_have_the_normal_interval() {
        let (low, high) = whole(1_000_000, 0.99);
        let spread = 1.959_964 * (1e6_f64 * 0.99 * 0.01).sqrt();
        assert!((low - (990_000.0 - spread)).abs() < 2.0, "{low}");
        assert!((high - (990_000.0 + spread)).abs() < 2.0, "{high}");
    }

    #[test]
    fn the_exact_and_the_normal_interval_meet() {
        let (exact, normal) = (interval(1.99e6, 0.5), interval(2.01e6, 0.5));
        let half = |shares: Shares| shares.high.unwrap_or(f64::NAN) - 0.5;
        assert!((half(exact) / half(normal) - 1.0).abs() < 0.01, "{exact:?} {normal:?}");
    }

    #[test]
    fn bounds_take_as_many_samples_as_published() {
        assert!(interval(368.0, 0.99).high.is_some());
        assert_eq!(interval(366.0, 0.99).high, None);
        assert_eq!([0.5, 0.9, 0.99, 0.999].map(samples_to_state), [20, 100, 1_000, 10_000]);
    }

    #[test]
    fn without_one_bound_the_other_takes_all_the_risk() {
        // P(at most x − 1 of 100 below p99) = 5 % instead of 2.5 %, so the bound is nearer.
        let (low, _) = whole(100, 0.99);
        assert!(low > ranks(100.0, 0.99, MISS / 2.0).low.expect("a bound") * 100.0 + 0.5);
        assert_eq!(interval(3.0, 0.5), Shares { low: None, high: None });
    }

    #[test]
    fn student_is_that_of_the_tables() {
        for (freedom, t) in [(1.0, 12.706), (4.0, 2.776), (9.0, 2.262), (30.0, 2.042), (1e6, 1.960)] {
            assert!((student(freedom) - t).abs() < 6e-4, "{freedom}: {}", student(freedom));
        }
    }
}
