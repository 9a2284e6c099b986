//! The few numbers of a distribution that tables show.

use crate::distribution::Distribution;
use crate::result::LatencySummary;

pub(crate) fn summarise(distribution: &Distribution) -> LatencySummary {
    let range = distribution.range();
    LatencySummary {
        count: distribution.count(),
        min_us: range.map(|(min, _)| min),
        mean_us: distribution.mean(),
        p50_us: distribution.quantile(0.5),
        p90_us: distribution.quantile(0.9),
        p99_us: distribution.quantile(0.99),
        p99_9_us: distribution.quantile(0.999),
        max_us: range.filter(|_| distribution.lost() == 0).map(|(_, max)| max),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_leaves_no_mean_and_no_maximum() {
        let mut distribution = Distribution::default();
        (1..=98).for_each(|us| distribution.record(Some(us)));
        distribution.record(None);
        distribution.record(None);
        let summary = summarise(&distribution);
        assert_eq!((summary.count, summary.p50_us, summary.p90_us), (100, Some(50), Some(90)));
        assert_eq!((summary.p99_us, summary.mean_us, summary.max_us), (None, None, None));
    }

    #[test]
    fn nothing_measured_states_nothing() {
        assert_eq!(summarise(&Distribution::default()), LatencySummary::default());
    }
}
