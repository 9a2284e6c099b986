//! Two distributions over each other: where they part, and by how much at each quantile.
//!
//! With a million deliveries everything differs, so nothing here has a p-value: it says where to look. Decisions compare
//! runs ([`super::samples`]).

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;

use super::cluster;

/// The largest distance between two distribution functions.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distance {
    /// Kolmogorov and Smirnov's D, 0 to 1: the largest difference of the shares of samples at or below a latency.
    pub d: f64,
    /// Where it is, in microseconds; `null` where the difference is in what never arrived.
    pub at_us: Option<u64>,
    /// Share of `a` minus share of `b` at or below it: positive where `b` is slower.
    pub difference: f64,
}

/// The difference of one quantile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantileShift {
    pub q: f64,
    /// `null`: never arrived, or no samples.
    pub a_us: Option<u64>,
    pub b_us: Option<u64>,
    /// `b / a`, and the 95 % band around it; `null` where a side is infinite.
    pub ratio: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// Where two distributions are farthest apart, to the width of a histogram's bucket. `None` if one is empty.
#[must_use]
pub fn distance(a: &Distribution, b: &Distribution) -> Option<Distance> {
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (all_a, all_b) = (a.count() as f64, b.count() as f64);
    let mut steps: Vec<(u64, f64)> = Vec::new();
    steps.extend(a.slots().map(|(us, count)| (us, count as f64 / all_a)));
    steps.extend(b.slots().map(|(us, count)| (us, -(count as f64) / all_b)));
    steps.sort_by_key(|&(us, _)| us);
    let mut difference = 0.0;
    let mut farthest = Distance { d: 0.0, at_us: None, difference: 0.0 };
    for same in steps.chunk_by(|a, b| a.0 == b.0) {
        difference += same.iter().map(|(_, share)| share).sum::<f64>();
        if difference.abs() > farthest.d + 1e-12 {
            farthest = Distance { d: difference.abs(), at_us: Some(same[0].0), difference };
        }
    }
    Some(farthest)
}

/// The shift function (Doksum, Annals of Statistics 2, 1974) at the quantiles that reports state, as ratios. The band adds the
/// relative intervals of both sides as independent ones do: √(x² + y²) in logarithms.
#[must_use]
pub fn quantile_shifts(a: &Side<'_>, b: &Side<'_>) -> Vec<QuantileShift> {
    cluster::REPORTED.iter().map(|&q| quantile_shift(a, b, q)).collect()
}

/// A distribution, and what was sampled to get it.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    pub distribution: &'a Distribution,
    pub messages: u64,
    /// Of each quantile of [`cluster::REPORTED`], in that order; 1 where one is missing.
    pub design_effects: &'a [f64],
}

fn quantile_shift(a: &Side<'_>, b: &Side<'_>, q: f64) -> QuantileShift {
    let estimate = |side: &Side<'_>| {
        let place = cluster::REPORTED.iter().position(|&known| known == q);
        let effect = place.and_then(|place| side.design_effects.get(place)).copied().unwrap_or(1.0);
        cluster::estimate(side.distribution, q, side.messages, effect)
    };
    let (left, right) = (estimate(a), estimate(b));
    let log = |us: Option<u64>| us.filter(|&us| us > 0).map(|us| (us as f64).ln());
    let part = |value: Option<u64>, bound: Option<u64>| Some((log(value)? - log(bound)?).abs());
    let together = |x: Option<f64>, y: Option<f64>| Some(x?.hypot(y?));
    let down = together(part(right.value_us, right.low_us), part(left.value_us, left.high_us));
    let up = together(part(right.value_us, right.high_us), part(left.value_us, left.low_us));
    let difference = log(right.value_us).zip(log(left.value_us)).map(|(b, a)| b - a);
    let bound = |away: Option<f64>, sign: f64| Some((difference? + sign * away?).exp());
    QuantileShift {
        q,
        a_us: left.value_us,
        b_us: right.value_us,
        ratio: difference.map(f64::exp),
        low: bound(down, -1.0),
        high: bound(up, 1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>, lost: u64) -> Distribution {
        let mut distribution = Distribution::default();
        values.into_iter().for_each(|us| distribution.record(Some(us)));
        (0..lost).for_each(|_| distribution.record(None));
        distribution
    }

    #[test]
    fn the_distance_is_where_shares_part() {
        let (a, b) = (of(1..=100, 0), of(51..=150, 0));
        let found = distance(&a, &b).expect("samples");
        assert!(
            (found.d - 0.5).abs() < 1e-12 && (50..=100).contains(&found.at_us.expect("finite")),
            "{found:?}"
        );
        assert!(found.difference > 0.0, "b is slower");
        assert!(distance(&a, &a).expect("samples").d < 1e-12);
        assert_eq!(distance(&a, &Distribution::default()), None);
    }

    #[test]
    fn lost_messages_part_distributions_too() {
        let found = distance(&of(1..=100, 0), &of(1..=75, 25)).expect("samples");
        assert!((found.d - 0.25).abs() < 1e-12, "{found:?}");
    }

    #[test]
    fn a_slowdown_shows_at_every_quantile_within_its_band() {
        // Latencies that grow by the same factor from each to the next, so that ranks show in values.
        let latencies =
            |scale: f64| (1..=20_000).map(move |n| (scale * (f64::from(n) / 4_000.0).exp()) as u64);
        let (a, b) = (of(latencies(10_000.0), 0), of(latencies(12_000.0), 0));
        let side = |distribution| Side { distribution, messages: 20_000, design_effects: &[] };
        let shifts = quantile_shifts(&side(&a), &side(&b));
        assert_eq!(shifts[5].high, None, "20,000 samples do not bound p99.99");
        for shift in &shifts[..5] {
            let (low, high) = (shift.low.expect("bound"), shift.high.expect("bound"));
            assert!((shift.ratio.expect("finite") - 1.2).abs() < 0.005, "{shift:?}");
            assert!(low < 1.2015 && 1.1985 < high && high - low < 0.2, "{shift:?}");
        }
    }
}
