//! Distributions in which what never arrived is infinitely late.

use hdrhistogram::Histogram;

use crate::backend::histogram_us;
use crate::result::LatencySummary;

/// A histogram of microseconds, and how many samples are at infinity.
#[derive(Clone, Debug)]
pub(super) struct Distribution {
    finite: Histogram<u64>,
    infinite: u64,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { finite: histogram_us(), infinite: 0 }
    }
}

impl Distribution {
    pub(super) fn of(histogram: &Histogram<u64>) -> Self {
        let mut distribution = Self::default();
        // Values above the bound are recorded at it; both bounds are minutes.
        for value in histogram.iter_recorded() {
            distribution.finite.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
        distribution
    }

    /// `None` is a sample at infinity.
    pub(super) fn record(&mut self, us: Option<u64>) {
        match us {
            Some(us) => self.finite.saturating_record(us.max(1)),
            None => self.infinite += 1,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.finite.add(&other.finite).expect("all distributions have the same bounds");
        self.infinite += other.infinite;
    }

    pub(super) fn count(&self) -> u64 {
        self.finite.len() + self.infinite
    }

    /// The smallest value that at least `q` of all samples stay at or below (nearest rank), to three digits. `None`
    /// without samples, or where the rank falls among those at infinity.
    pub(super) fn quantile(&self, q: f64) -> Option<u64> {
        let rank = ((q * self.count() as f64).ceil() as u64).max(1);
        if self.count() == 0 || rank > self.finite.len() {
            return None;
        }
        let within = rank as f64 / self.finite.len() as f64;
        // The histogram answers with the top of its bucket, which can pass the largest sample.
        Some(self.finite.value_at_quantile(within).min(self.finite.max()))
    }
}

pub(super) fn summarise(distribution: &Distribution) -> LatencySummary {
    let finite = &distribution.finite;
    let complete = distribution.infinite == 0 && !finite.is_empty();
    LatencySummary {
        count: distribution.count(),
        min_us: (!finite.is_empty()).then(|| finite.min()),
        mean_us: complete.then(|| finite.mean()),
        p50_us: distribution.quantile(0.5),
        p90_us: distribution.quantile(0.9),
        p99_us: distribution.quantile(0.99),
        p99_9_us: distribution.quantile(0.999),
        max_us: complete.then(|| finite.max()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_message_is_a_sample_at_infinity() {
        let mut distribution = Distribution::default();
        (1..=98).for_each(|us| distribution.record(Some(us)));
        distribution.record(None);
        distribution.record(None);
        let summary = summarise(&distribution);
        assert_eq!((summary.count, summary.p50_us, summary.p90_us), (100, Some(50), Some(90)));
        assert_eq!((summary.p99_us, summary.mean_us, summary.max_us), (None, None, None));
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let mut distribution = Distribution::default();
        [10, 20, 30, 40].iter().for_each(|&us| distribution.record(Some(us)));
        assert_eq!(distribution.quantile(0.5), Some(20));
        assert_eq!(distribution.quantile(0.51), Some(30));
        assert_eq!(distribution.quantile(1.0), Some(40));
    }

    #[test]
    fn merging_is_as_if_recorded_together() {
        let (mut a, mut b, mut both) =
            (Distribution::default(), Distribution::default(), Distribution::default());
        for us in 0..1000 {
            if us % 3 == 0 {
                a.record(Some(us * 37))
            } else {
                b.record(Some(us * 37))
            }
            both.record(Some(us * 37));
        }
        a.merge(&b);
        assert_eq!(summarise(&a), summarise(&both));
    }

    #[test]
    fn nothing_measured_states_nothing() {
        assert_eq!(summarise(&Distribution::default()), LatencySummary::default());
    }
}
