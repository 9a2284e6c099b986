//! Shares: how many of `n` independent packets met a fate of chance `p`.

use statrs::function::beta::beta_reg;

/// Chance of at most `hits` among `n` with probability `p` each.
fn at_most(hits: u64, n: u64, p: f64) -> f64 {
    if hits >= n {
        return 1.0;
    }
    if p <= 0.0 || p >= 1.0 {
        return if p <= 0.0 { 1.0 } else { 0.0 };
    }
    // P(X <= k) = I_{1-p}(n-k, k+1).
    beta_reg((n - hits) as f64, hits as f64 + 1.0, 1.0 - p)
}

/// Exact two-sided p-value: twice the smaller tail, one at most.
#[must_use]
pub fn binomial_p_value(hits: u64, n: u64, p: f64) -> f64 {
    let below = at_most(hits, n, p);
    let above = if hits == 0 { 1.0 } else { 1.0 - at_most(hits - 1, n, p) };
    (2.0 * below.min(above)).min(1.0)
}

/// The exact interval of probabilities that `hits` of `n` do not contradict (Clopper and Pearson, Biometrika 26,
/// 1934). `confidence` is for example 0.999.
#[must_use]
pub fn clopper_pearson(hits: u64, n: u64, confidence: f64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let tail = (1.0 - confidence) / 2.0;
    // Both tails are monotonic in p, so halving the interval finds where they cross.
    let low = if hits == 0 { 0.0 } else { crossing(|p| 1.0 - at_most(hits - 1, n, p) > tail) };
    let high = if hits == n { 1.0 } else { crossing(|p| at_most(hits, n, p) <= tail) };
    (low, high)
}

/// Where a condition on a probability turns true; it must stay true above.
fn crossing(is_above: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if is_above(middle) { high = middle } else { low = middle }
    }
    high
}

/// To 10^-15, where doubles near a half end.
const HALVINGS: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn near(value: f64, expected: f64, tolerance: f64) {
        assert!((value - expected).abs() < tolerance, "{value} is not {expected}");
    }

    #[test]
    fn intervals_are_those_of_the_tables() {
        // 10 of 100 at 95 %: 4.90 % to 17.62 %.
        let (low, high) = clopper_pearson(10, 100, 0.95);
        near(low, 0.0490, 5e-5);
        near(high, 0.1762, 5e-5);
        // None of 20: 1 - 0.025^(1/20).
        let (low, high) = clopper_pearson(0, 20, 0.95);
        near(low, 0.0, 1e-12);
        near(high, 1.0 - 0.025_f64.powf(0.05), 1e-9);
        let (low, high) = clopper_pearson(20, 20, 0.95);
        near(low, 0.025_f64.powf(0.05), 1e-9);
        near(high, 1.0, 1e-12);
    }

    #[test]
    fn p_values_are_sums_of_the_binomial() {
        // Two or fewer heads of ten: (1 + 10 + 45) / 1024; both sides twice that.
        near(binomial_p_value(2, 10, 0.5), 2.0 * 56.0 / 1024.0, 1e-12);
        near(binomial_p_value(8, 10, 0.5), 2.0 * 56.0 / 1024.0, 1e-12);
        near(binomial_p_value(5, 10, 0.5), 1.0, 1e-12);
        near(binomial_p_value(0, 10, 0.0), 1.0, 1e-12);
        near(binomial_p_value(1, 10, 0.0), 0.0, 1e-12);
        near(binomial_p_value(10, 10, 1.0), 1.0, 1e-12);
    }

    #[test]
    fn a_million_packets_are_no_problem() {
        // Near the mean, the normal approximation: 3 sd of sqrt(10^6 0.01 0.99) = 99.5.
        near(binomial_p_value(10_298, 1_000_000, 0.01), 0.0028, 2e-4);
        let (low, high) = clopper_pearson(10_000, 1_000_000, 0.999);
        near((high - low) / 2.0, 3.2905 * 99.499e-6, 1e-6);
    }
}
