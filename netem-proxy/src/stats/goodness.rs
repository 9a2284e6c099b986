//! Laws: does a sample follow a distribution that is known completely?

use statrs::function::gamma::gamma_ur;

use super::Outcome;

/// Pearson's χ² of counts against expected counts. Neighbours are put together until `MIN_EXPECTED` are expected in
/// each bin, so order the bins by what they mean. `None` if fewer than two bins are left.
#[must_use]
pub fn chi_square(observed: &[u64], expected: &[f64]) -> Option<Outcome> {
    let mut bins: Vec<(f64, f64)> = Vec::new();
    let (mut seen, mut meant) = (0.0, 0.0);
    for (count, mean) in observed.iter().zip(expected) {
        seen += *count as f64;
        meant += mean;
        if meant >= MIN_EXPECTED {
            bins.push((seen, meant));
            (seen, meant) = (0.0, 0.0);
        }
    }
    // What is left over is too little for a bin of its own.
    if let Some(last) = bins.last_mut() {
        last.0 += seen;
        last.1 += meant;
    }
    if bins.len() < 2 {
        return None;
    }
    let statistic = bins.iter().map(|(seen, meant)| (seen - meant).powi(2) / meant).sum::<f64>();
    let freedom = (bins.len() - 1) as f64;
    let p_value = if statistic > 0.0 { gamma_ur(freedom / 2.0, statistic / 2.0) } else { 1.0 };
    Some(Outcome { statistic, p_value })
}

/// Cochran's rule for Pearson's approximation.
const MIN_EXPECTED: f64 = 5.0;

/// χ² of run lengths (1, 2, 3, …) against the geometric law in which a run ends after each packet with `p_end`.
/// `None` for too few runs.
#[must_use]
pub fn geometric(lengths: &[u64], p_end: f64) -> Option<Outcome> {
    let longest = lengths.iter().copied().max()?;
    // Beyond these, less than one run is expected in all bins together; the last bin takes the tail.
    let bins = usize::try_from(longest).unwrap_or(usize::MAX).clamp(2, MAX_BINS);
    let mut observed = vec![0_u64; bins];
    for &length in lengths {
        let bin = usize::try_from(length.max(1) - 1).unwrap_or(usize::MAX).min(bins - 1);
        observed[bin] += 1;
    }
    let count = lengths.len() as f64;
    let mut longer = 1.0;
    let mut expected = Vec::with_capacity(bins);
    for bin in 0..bins {
        let share = if bin == bins - 1 { longer } else { longer * p_end };
        expected.push(count * share);
        longer -= share;
    }
    chi_square(&observed, &expected)
}

/// Lengths that are told apart.
const MAX_BINS: usize = 10_000;

/// One-sample Kolmogorov-Smirnov: the largest distance D between the sample's distribution and `cdf`, which must be
/// continuous. Sorts the sample.
#[must_use]
pub fn kolmogorov_smirnov(sample: &mut [f64], cdf: impl Fn(f64) -> f64) -> Outcome {
    sample.sort_by(f64::total_cmp);
    let count = sample.len() as f64;
    let mut statistic = 0.0_f64;
    for (place, &value) in sample.iter().enumerate() {
        let below = place as f64 / count;
        let share = cdf(value);
        statistic = statistic.max(share - below).max(below + 1.0 / count - share);
    }
    let root = count.sqrt();
    // Stephens' correction for finite samples (JRSS B 32, 1970); without effect for large ones.
    let p_value = kolmogorov_tail((root + 0.12 + 0.11 / root) * statistic);
    Outcome { statistic, p_value }
}

/// Chance that √N·D is above `x` for large samples: 2 Σ (-1)^(k-1) exp(-2 k² x²).
#[must_use]
pub fn kolmogorov_tail(x: f64) -> f64 {
    if x < 0.2 {
        // The series converges badly there, and the tail is one to twelve digits.
        return 1.0;
    }
    let term = |k: i32| (-2.0 * f64::from(k * k) * x * x).exp() * if k % 2 == 1 { 2.0 } else { -2.0 };
    (1..=100).map(term).sum::<f64>().clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mendels_peas_fit_his_law() {
        // 315, 108, 101 and 32 of 556 against 9:3:3:1; χ² = 0.470 with three degrees of freedom, p = 0.925.
        let expected = [9.0, 3.0, 3.0, 1.0].map(|part| 556.0 * part / 16.0);
        let found = chi_square(&[315, 108, 101, 32], &expected).expect("four bins");
        assert!((found.statistic - 0.470).abs() < 5e-4, "{found:?}");
        assert!((found.p_value - 0.925).abs() < 5e-4, "{found:?}");
    }

    #[test]
    fn small_bins_are_put_together() {
        assert_eq!(chi_square(&[1, 2], &[1.5, 1.5]), None);
        let joined = chi_square(&[3, 3, 6, 1], &[2.5, 2.5, 5.0, 3.0]).expect("two bins");
        assert!((joined.statistic - (1.0 / 5.0 + 1.0 / 8.0)).abs() < 1e-12);
    }

    #[test]
    fn the_tail_of_kolmogorov_is_that_of_the_tables() {
        for (x, p) in [(1.2238, 0.10), (1.3581, 0.05), (1.6276, 0.01), (1.9495, 0.001)] {
            assert!((kolmogorov_tail(x) - p).abs() < p * 1e-3, "{x}");
        }
        assert!((kolmogorov_tail(0.1) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn the_distance_is_the_largest_on_either_side_of_a_step() {
        let mut middles: Vec<f64> = (0..10).map(|n| (f64::from(n) + 0.5) / 10.0).collect();
        let found = kolmogorov_smirnov(&mut middles, |x| x);
        assert!((found.statistic - 0.05).abs() < 1e-12 && found.p_value > 0.99);
        let mut shifted = [0.9, 0.7, 0.8];
        assert!((kolmogorov_smirnov(&mut shifted, |x| x).statistic - 0.7).abs() < 1e-12);
    }

    #[test]
    fn runs_of_a_fair_coin_are_geometric_and_fixed_ones_are_not() {
        // 2048 runs in the exact proportions of p = 1/2.
        let mut lengths = Vec::new();
        for length in 1..=11_u64 {
            lengths.extend(std::iter::repeat_n(length, 1 << (11 - length)));
        }
        assert!(geometric(&lengths, 0.5).expect("enough").p_value > 0.999);
        assert!(geometric(&vec![2; 2048], 0.5).expect("enough").p_value < 1e-12);
        assert_eq!(geometric(&[], 0.5), None);
    }
}
