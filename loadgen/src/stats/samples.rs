//! Two sets of runs: are they different, and by how much?
//!
//! One value for each run, five or so on each side: too few for a law of large numbers, few enough to go through every
//! way in which the runs could have been labelled. All tests are two-sided and exact while that is possible.
//!
//! Values may be infinite (a percentile among lost messages); they are ranked, and infinite ones are equal.

use netem_proxy::stats::normal_p_value;

/// How far a second set of runs is from a first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shift {
    /// The typical difference `b − a`: the median of all differences between one of each (Hodges and Lehmann, Annals of
    /// Mathematical Statistics 34, 1963).
    pub typical: f64,
    /// Bounds of at least 95 %, those of the rank test turned around; infinite where there are too few runs.
    pub low: f64,
    pub high: f64,
}

/// Mann and Whitney's test (Annals of Mathematical Statistics 18, 1947): the chance that two sets of the same law are at
/// least so far apart in their ranks. Equal values share their mean rank. Exact up to [`EXACT`] values in all, by
/// the permutation law of these very ranks; normal with corrections for ties and continuity beyond. 1 for an empty set.
#[must_use]
pub fn mann_whitney(a: &[f64], b: &[f64]) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 1.0;
    }
    let ranks = doubled_ranks(a, b);
    let sum: usize = ranks[..a.len()].iter().sum();
    if ranks.len() > EXACT {
        return normal_rank_test(&ranks, a.len(), sum);
    }
    let law = rank_sums(&ranks, a.len());
    // Twice the mean of the sum of doubled ranks, so that it is whole.
    let middle = 2 * a.len() * (ranks.len() + 1);
    let distance = (2 * sum).abs_diff(middle);
    let extreme = law.iter().enumerate().filter(|(sum, _)| (2 * sum).abs_diff(middle) >= distance);
    (extreme.map(|(_, ways)| ways).sum::<f64>() / law.iter().sum::<f64>()).min(1.0)
}

/// The typical difference `b − a` and its interval. `None` for an empty set.
#[must_use]
pub fn shift(a: &[f64], b: &[f64]) -> Option<Shift> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    // Two that are both infinite do not differ.
    let difference = |a: f64, b: f64| if a == b { 0.0 } else { b - a };
    let mut differences: Vec<f64> =
        a.iter().flat_map(|&a| b.iter().map(move |&b| difference(a, b))).collect();
    differences.sort_by(f64::total_cmp);
    let count = differences.len();
    let typical = f64::midpoint(differences[(count - 1) / 2], differences[count / 2]);
    let place = interval_place(a.len(), b.len());
    let (low, high) = match place {
        Some(place) => (differences[place], differences[count - 1 - place]),
        None => (f64::NEG_INFINITY, f64::INFINITY),
    };
    Some(Shift { typical: if typical.is_nan() { 0.0 } else { typical }, low, high })
}

/// The smallest p-value that [`mann_whitney`] can give for so many runs: 2 / (n choose k). 0.1 for 3 and 3, 0.029 for 4
/// and 4, 0.0079 for 5 and 5.
#[must_use]
pub fn smallest_p(a: usize, b: usize) -> f64 {
    (2.0 / choose(a + b, a)).min(1.0)
}

/// p-values as they stand after looking at all of them: Holm's, adjusted (Scandinavian Journal of Statistics 6, 1979). One
/// at most `alpha` is rejected at `alpha`, as by [`netem_proxy::stats::holm`].
#[must_use]
pub fn holm_adjusted(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|&a, &b| p_values[a].total_cmp(&p_values[b]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut largest = 0.0_f64;
    for (rank, &place) in order.iter().enumerate() {
        largest = largest.max(p_values[place] * (p_values.len() - rank) as f64).min(1.0);
        adjusted[place] = largest;
    }
    adjusted
}

/// Which difference in order bounds the 95 % interval, counted from 0 at either end: as many as the rank test, without
/// ties, leaves in a tail of 2.5 %. `None`: even the outermost are too near.
fn interval_place(a: usize, b: usize) -> Option<usize> {
    if a + b > EXACT {
        let (a, b) = (a as f64, b as f64);
        let spread = 1.959_964 * (a * b * (a + b + 1.0) / 12.0).sqrt();
        let place = (a * b / 2.0 - spread).floor() as i64 - 1;
        return usize::try_from(place).ok();
    }
    let ranks: Vec<usize> = (1..=a + b).map(|rank| 2 * rank).collect();
    let law = rank_sums(&ranks, a);
    let total: f64 = law.iter().sum();
    // U counts from the smallest rank sum upwards, in doubled ranks two at a time.
    let least = a * (a + 1);
    let mut tail = 0.0;
    for (u, ways) in law.iter().skip(least).step_by(2).enumerate() {
        tail += ways / total;
        if tail > 0.025 {
            return u.checked_sub(1);
        }
    }
    None
}

/// Ranks times two, which are whole even where equal values share them; those of `a` first.
fn doubled_ranks(a: &[f64], b: &[f64]) -> Vec<usize> {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    let rank = |value: f64| {
        let below = all.iter().filter(|&&other| other < value).count();
        let equal = all.iter().filter(|&&other| other == value).count();
        2 * below + equal + 1
    };
    all.iter().map(|&value| rank(value)).collect()
}

/// In how many ways `size` of `ranks` give each sum.
fn rank_sums(ranks: &[usize], size: usize) -> Vec<f64> {
    let most: usize = ranks.iter().sum();
    let mut ways = vec![vec![0.0; most + 1]; size + 1];
    ways[0][0] = 1.0;
    for &rank in ranks {
        for taken in (1..=size).rev() {
            for sum in (rank..=most).rev() {
                ways[taken][sum] += ways[taken - 1][sum - rank];
            }
        }
    }
    ways.swap_remove(size)
}

fn normal_rank_test(doubled: &[usize], size: usize, sum: usize) -> f64 {
    let (n, k) = (doubled.len() as f64, size as f64);
    let u = sum as f64 / 2.0 - k * (k + 1.0) / 2.0;
    let mut sorted = doubled.to_vec();
    sorted.sort_unstable();
    let ties: f64 =
        sorted.chunk_by(|a, b| a == b).map(|tie| (tie.len() as f64).powi(3) - tie.len() as f64).sum();
    let variance = k * (n - k) / 12.0 * (n + 1.0 - ties / (n * (n - 1.0)));
    if variance <= 0.0 {
        return 1.0;
    }
    let distance = ((u - k * (n - k) / 2.0).abs() - 0.5).max(0.0);
    normal_p_value(distance / variance.sqrt())
}

fn choose(n: usize, k: usize) -> f64 {
    (0..k.min(n - k)).fold(1.0, |ways, step| ways * (n - step) as f64 / (step + 1) as f64).round()
}

/// Values for which the law of ranks is computed: half a millisecond; the normal law is within 10^-4 of it there.
pub const EXACT: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;

    const A: [f64; 5] = [100.0, 103.0, 99.0, 101.0, 104.0];
    const SLOW: [f64; 5] = [120.0, 125.0, 119.0, 121.0, 123.0];

    #[test]
    fn apart_is_as_rare_as_labels_allow() {
        for (n, p) in [(3, 0.1), (4, 2.0 / 70.0), (5, 2.0 / 252.0)] {
            assert!((mann_whitney(&A[..n], &SLOW[..n]) - p).abs() < 1e-12);
            assert!((smallest_p(n, n) - p).abs() < 1e-12);
        }
        assert!((mann_whitney(&A, &A) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn ranks_are_those_of_the_tables() {
        // Critical U at 5 %, two-sided, 5 and 5: 2 (p = 0.0317), but not 3 (p = 0.0556).
        let two = [1.0, 2.0, 3.0, 4.0, 7.0];
        let other = [5.0, 6.0, 8.0, 9.0, 10.0];
        assert!((mann_whitney(&two, &other) - 8.0 / 252.0).abs() < 1e-12);
        let three = [1.0, 2.0, 3.0, 4.0, 8.0];
        let other = [5.0, 6.0, 7.0, 9.0, 10.0];
        assert!((mann_whitney(&three, &other) - 14.0 / 252.0).abs() < 1e-12);
        assert_eq!(
            (interval_place(5, 5), interval_place(4, 4), interval_place(3, 3)),
            (Some(2), Some(0), None)
        );
        // Of 10 and 10 the critical U is 23, of 8 and 8 it is 13.
        assert_eq!((interval_place(10, 10), interval_place(8, 8)), (Some(23), Some(13)));
    }

    #[test]
    fn equal_values_share_their_ranks() {
        // {1, 1} against {1, 2}: sums of two of the ranks 2, 2, 2, 4 are 4 (three ways) and 6 (three): all as far.
        assert!((mann_whitney(&[1.0, 1.0], &[1.0, 2.0]) - 1.0).abs() < 1e-12);
        let lost = [f64::INFINITY; 5];
        assert!((mann_whitney(&A, &lost) - 2.0 / 252.0).abs() < 1e-12);
        assert!((mann_whitney(&lost, &lost) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn many_values_are_normal() {
        let a: Vec<f64> = (0..30).map(|n| f64::from(n * 7 % 30)).collect();
        let b: Vec<f64> = a.iter().map(|value| value + 5.5).collect();
        let ranks = doubled_ranks(&a, &b);
        let normal = normal_rank_test(&ranks, 30, ranks[..30].iter().sum());
        assert!((mann_whitney(&a, &b) - normal).abs() < 2e-3, "{normal}");
    }

    #[test]
    fn the_shift_is_the_median_of_differences() {
        let shift = shift(&A, &SLOW).expect("runs");
        assert!((shift.typical - 20.0).abs() < 1e-12, "{shift:?}");
        assert!(15.0 < shift.low && shift.low < 20.0 && 20.0 < shift.high && shift.high < 26.0, "{shift:?}");
        let few = super::shift(&A[..3], &SLOW[..3]).expect("runs");
        assert_eq!((few.low, few.high), (f64::NEG_INFINITY, f64::INFINITY));
        let lost = super::shift(&A, &[f64::INFINITY; 5]).expect("runs");
        assert_eq!((lost.typical, lost.low), (f64::INFINITY, f64::INFINITY));
        let both = super::shift(&[f64::INFINITY; 5], &[f64::INFINITY; 5]).expect("runs");
        assert_eq!((both.typical, both.low, both.high), (0.0, 0.0, 0.0));
    }

    #[test]
    fn adjusted_values_reject_what_holm_rejects() {
        let p = [0.01, 0.04, 0.03, 0.005];
        let adjusted = holm_adjusted(&p);
        for (value, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert!((value - expected).abs() < 1e-12, "{adjusted:?}");
        }
        let rejected: Vec<bool> = adjusted.iter().map(|&p| p <= 0.05).collect();
        assert_eq!(rejected, netem_proxy::stats::holm(&p, 0.05));
    }
}
