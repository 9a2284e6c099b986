//! Is a sample what it should be? Tests of distributions, for `netem-proxy selfcheck` and for our own tests.
//!
//! Each test takes what was seen and what was configured, and gives a p-value: how often a correct link would look at
//! least so odd. Parameters are always the configured ones and never fitted to the sample, so no test needs
//! Lilliefors' kind of correction. Many tests at once are judged together ([`holm`]), or some would fail by chance.
//!
//! This is analysis after the fact: floats and the usual functions are fine here, and nothing of it decides anything
//! in a link.

mod goodness;
mod proportion;
mod series;

use statrs::function::erf::erfc;

pub use goodness::{chi_square, geometric, kolmogorov_smirnov, kolmogorov_tail};
pub use proportion::{binomial_p_value, clopper_pearson};
pub use series::{Runs, autocorrelation, jain_index, mean_and_deviation, runs};

/// A statistic and how often it is at least so extreme under the hypothesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// χ², D or z, as the test says.
    pub statistic: f64,
    /// 0 to 1.
    pub p_value: f64,
}

/// Two-sided p-value of a standard normal deviate.
#[must_use]
pub fn normal_p_value(z: f64) -> f64 {
    erfc(z.abs() / std::f64::consts::SQRT_2)
}

/// The standard normal distribution function.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    erfc(-x / std::f64::consts::SQRT_2) / 2.0
}

/// Which hypotheses are rejected when all are tested together and the chance to reject any true one is at most
/// `alpha`: Holm's step-down method (Scandinavian Journal of Statistics 6, 1979).
#[must_use]
pub fn holm(p_values: &[f64], alpha: f64) -> Vec<bool> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut rejected = vec![false; p_values.len()];
    for (rank, &place) in order.iter().enumerate() {
        // Not `>`: a p-value that is no number is a test that did not work.
        if p_values[place] > alpha / (p_values.len() - rank) as f64 {
            break;
        }
        rejected[place] = true;
    }
    rejected
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_tails_are_those_of_the_tables() {
        for (z, p) in [(0.0, 1.0), (1.959_964, 0.05), (-2.575_829, 0.01), (3.290_527, 0.001)] {
            assert!((normal_p_value(z) - p).abs() < 1e-6, "{z}");
        }
        assert!((normal_cdf(1.0) - 0.841_344_746).abs() < 1e-9);
    }

    #[test]
    fn holm_rejects_from_the_smallest_until_one_passes() {
        // 0.005 <= 0.05/4, 0.01 <= 0.05/3, 0.03 > 0.05/2: the last two stay, although 0.04 < 0.05.
        assert_eq!(holm(&[0.01, 0.04, 0.03, 0.005], 0.05), [true, false, false, true]);
        assert_eq!(holm(&[], 0.05), [] as [bool; 0]);
        assert_eq!(holm(&[0.06], 0.05), [false]);
    }
}
