//! Measures that many checks share.

use super::{Measure, Z};
use crate::stats::{autocorrelation, binomial_p_value, normal_p_value, runs};

/// A share of independent packets against its probability, exactly.
pub(super) fn share(hits: u64, of: u64, p: f64) -> Measure {
    let measured = hits as f64 / of.max(1) as f64 * 100.0;
    let tolerance = Z * (p * (1.0 - p) / of.max(1) as f64).sqrt() * 100.0;
    Measure::chance("%", p * 100.0, measured, tolerance, binomial_p_value(hits, of, p))
}

/// A number that is normal around `configured` with standard deviation `sigma`.
pub(super) fn normal(unit: &'static str, configured: f64, measured: f64, sigma: f64) -> Measure {
    let p_value = normal_p_value((measured - configured) / sigma);
    Measure::chance(unit, configured, measured, Z * sigma, p_value)
}

/// The largest of the autocorrelations at lags 1 to 20, which for independent values are normal with sd 1/√N each.
pub(super) fn independence(series: &[f64]) -> Measure {
    let found: Vec<f64> = (1..=LAGS).map(|lag| autocorrelation(series, lag)).collect();
    let largest = found.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(0.0);
    let root = (series.len() as f64).sqrt();
    // Šidák: the smallest of 20 independent p-values.
    let one = normal_p_value(largest * root);
    let p_value = 1.0 - (1.0 - one).powi(LAGS as i32);
    // 3.9/√N is where 20 lags together have one chance in 500.
    Measure::chance("r", 0.0, largest, 3.9 / root, p_value).named("lag 1-20")
}

const LAGS: usize = 20;

/// The number of runs in a sequence of yes and no.
pub(super) fn runs_of(sequence: &[bool]) -> Option<Measure> {
    let found = runs(sequence)?;
    let z = found.outcome.statistic;
    Some(Measure::chance("z", 0.0, z, Z, found.outcome.p_value).named("runs"))
}
