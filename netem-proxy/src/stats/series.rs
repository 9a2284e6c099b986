//! Sequences: does the order of a sample matter, and is a division fair?

use super::{Outcome, normal_p_value};

/// Of a 0/1 sequence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Runs {
    pub count: u64,
    /// z, and how often independence gives at least so odd a number of runs.
    pub outcome: Outcome,
}

/// Wald and Wolfowitz' test of independence: the number of runs, given how many of each kind there are (Annals of
/// Mathematical Statistics 11, 1940). `None` unless both kinds occur and the normal approximation holds (ten each).
#[must_use]
pub fn runs(sequence: &[bool]) -> Option<Runs> {
    let ones = sequence.iter().filter(|&&one| one).count() as f64;
    let total = sequence.len() as f64;
    let zeros = total - ones;
    if ones.min(zeros) < 10.0 {
        return None;
    }
    let count = 1 + sequence.windows(2).filter(|pair| pair[0] != pair[1]).count() as u64;
    let product = 2.0 * ones * zeros;
    let mean = product / total + 1.0;
    let variance = product * (product - total) / (total * total * (total - 1.0));
    let z = (count as f64 - mean) / variance.sqrt();
    Some(Runs { count, outcome: Outcome { statistic: z, p_value: normal_p_value(z) } })
}

/// Pearson's r between a series and itself `lag` later, with the mean and variance of the whole; zero for a constant
/// or too short series. Of N independent values it is normal with standard deviation 1/√N.
#[must_use]
pub fn autocorrelation(series: &[f64], lag: usize) -> f64 {
    let (mean, deviation) = mean_and_deviation(series);
    if lag >= series.len() || deviation == 0.0 {
        return 0.0;
    }
    let products = series.iter().zip(&series[lag..]).map(|(a, b)| (a - mean) * (b - mean));
    products.sum::<f64>() / (series.len() as f64 * deviation * deviation)
}

/// Mean and standard deviation (of the sample itself, not of its population); zeros for an empty one.
#[must_use]
pub fn mean_and_deviation(series: &[f64]) -> (f64, f64) {
    if series.is_empty() {
        return (0.0, 0.0);
    }
    let count = series.len() as f64;
    let mean = series.iter().sum::<f64>() / count;
    let variance = series.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}

/// Jain's fairness: one when all get the same, 1/n when one gets all (DEC-TR-301, 1984). One for nobody.
#[must_use]
pub fn jain_index(shares: &[f64]) -> f64 {
    let squares = shares.iter().map(|share| share * share).sum::<f64>();
    if squares == 0.0 {
        return 1.0;
    }
    shares.iter().sum::<f64>().powi(2) / (shares.len() as f64 * squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_of_each_in_six_runs_are_too_few() {
        // Mean 11, variance 200 * 180 / (400 * 19) = 4.737: z = -5 / 2.176.
        let mut sequence = Vec::new();
        for (length, value) in [(4, true), (3, false), (3, true), (4, false), (3, true), (3, false)] {
            sequence.extend(std::iter::repeat_n(value, length));
        }
        let found = runs(&sequence).expect("ten of each");
        assert_eq!(found.count, 6);
        assert!((found.outcome.statistic + 2.2973).abs() < 1e-3, "{found:?}");
        assert!((found.outcome.p_value - 0.0216).abs() < 1e-4, "{found:?}");
        assert_eq!(runs(&[true; 100]), None);
    }

    #[test]
    fn a_series_that_alternates_is_its_own_opposite_one_later() {
        let series: Vec<f64> = (0..1000).map(|n| f64::from(n % 2)).collect();
        assert!((autocorrelation(&series, 1) + 0.999).abs() < 1e-9);
        assert!((autocorrelation(&series, 2) - 0.998).abs() < 1e-9);
        assert!((autocorrelation(&series, 0) - 1.0).abs() < 1e-12);
        assert!(autocorrelation(&[3.0; 10], 1).abs() < 1e-12);
        assert!(autocorrelation(&series, 5000).abs() < 1e-12);
    }

    #[test]
    fn fairness_is_one_for_equals_and_a_share_for_one_who_has_all() {
        assert!((jain_index(&[5.0; 4]) - 1.0).abs() < 1e-12);
        assert!((jain_index(&[9.0, 0.0, 0.0, 0.0]) - 0.25).abs() < 1e-12);
        // (1 + 2 + 3)^2 / (3 * 14).
        assert!((jain_index(&[1.0, 2.0, 3.0]) - 36.0 / 42.0).abs() < 1e-12);
    }
}
