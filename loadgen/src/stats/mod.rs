//! Statistics of what was measured: pure functions, values in and values out.
//!
//! Two questions. *How sure is a percentile?* [`cluster`] and [`rank`]: the recipients of one message share its way to
//! the server, so messages are what was sampled, and deliveries are not. What each formula means for a reader, and where
//! it comes from, is in `docs/METRICS.md`. *Are two builds different?* [`samples`], where one run is one value, however many
//! messages it had; [`curve`] shows where. [`series`] and [`scaling`] are about time and size. What tests links is shared:
//! [`netem_proxy::stats`].
//!
//! Nothing here draws a random number where a closed form will do, so the same records give the same intervals.

pub mod cluster;
pub mod curve;
pub mod rank;
pub mod samples;
pub mod scaling;
pub mod series;

#[cfg(test)]
mod known;

pub use netem_proxy::stats::{clopper_pearson, holm, jain_index};

/// Wilson's interval of 95 % of a share, `hits` of `n` (JASA 22, 1927): for figures, where an exact one
/// ([`clopper_pearson`]) is wider than it needs to be. 0 to 1 for an empty sample.
#[must_use]
pub fn wilson(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (n, p) = (n as f64, hits as f64 / n as f64);
    let z2 = 1.959_964_f64.powi(2);
    let middle = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt() / (1.0 + z2 / n);
    ((middle - half).max(0.0), (middle + half).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_is_that_of_the_tables() {
        // 10 of 100: 5.52 % to 17.44 % (Newcombe, Statistics in Medicine 17, 1998, table I of method 3).
        let (low, high) = wilson(10, 100);
        assert!((low - 0.0552).abs() < 5e-5 && (high - 0.1744).abs() < 5e-5, "{low} {high}");
        assert_eq!((wilson(0, 0), wilson(0, 20).0, wilson(20, 20).1), ((0.0, 1.0), 0.0, 1.0));
    }
}
