//! Distributions in which what never arrived is infinitely late.
//!
//! Leaving lost messages out would flatter every percentile: with 2 % lost, the honest p99 is "never". Values are
//! microseconds in an HDR histogram of three digits; what is at infinity is a count beside it. Distributions are merged,
//! and percentiles taken from what was merged; percentiles are never averaged.
//!
//! On disk a distribution is its histogram in HdrHistogram's own compressed form (V2 with deflate, in base64), which other
//! viewers read too.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// A histogram of microseconds, and how many samples are at infinity.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Distribution {
    finite: Histogram<u64>,
    infinite: u64,
}

/// As `runs/*.json` writes it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Saved {
    /// All samples, those at infinity included.
    count: u64,
    /// Samples at infinity.
    lost: u64,
    /// The finite ones; empty without any.
    hdr: String,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { finite: empty(), infinite: 0 }
    }
}

impl Distribution {
    /// The same samples in our bounds. Values above them are recorded at the largest, which is two minutes.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut distribution = Self::default();
        for value in histogram.iter_recorded() {
            distribution.finite.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
        distribution
    }

    /// One sample in microseconds; `None` is one at infinity. Never allocates.
    pub fn record(&mut self, us: Option<u64>) {
        match us {
            Some(us) => self.finite.saturating_record(us.max(1)),
            None => self.infinite += 1,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.finite.add(&other.finite).expect("all distributions have the same bounds");
        self.infinite += other.infinite;
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        self.finite.reset();
        self.infinite = 0;
    }

    /// All samples, those at infinity included.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.finite.len() + self.infinite
    }

    /// Samples at infinity.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.infinite
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count() == 0
    }

    /// The finite samples.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.finite
    }

    /// The smallest value in microseconds that at least `q` of all samples stay at or below (nearest rank), to three
    /// digits. `None` without samples, or where the rank falls among those at infinity.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<u64> {
        let count = self.count();
        // 0.99 * 100 is 99.00000000000001 in binary; the slack keeps a whole rank whole.
        self.at_rank(((q * count as f64 - 1e-6).ceil() as u64).clamp(1, count.max(1)))
    }

    /// The value of the `rank`-th smallest sample, counted from 1. `None` without such a sample, or where it is at
    /// infinity.
    #[must_use]
    pub fn at_rank(&self, rank: u64) -> Option<u64> {
        if rank == 0 || rank > self.finite.len() {
            return None;
        }
        let within = rank as f64 / self.finite.len() as f64;
        // The histogram answers with the top of its bucket, which can pass the largest sample.
        Some(self.finite.value_at_quantile(within).min(self.finite.max()))
    }

    /// Finite samples at or below `us`, to the width of a bucket.
    #[must_use]
    pub fn count_at_or_below(&self, us: u64) -> u64 {
        self.finite.count_between(0, us)
    }

    /// Smallest and largest finite sample.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        (!self.finite.is_empty()).then(|| (self.finite.min(), self.finite.max()))
    }

    /// Mean in microseconds; `None` without samples, or with one at infinity.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        (self.infinite == 0 && !self.finite.is_empty()).then(|| self.finite.mean())
    }
}

/// An empty histogram of microseconds: 1 µs to 2 min, 3 digits; 144 KiB.
pub(crate) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are sound")
}

/// Longer than anybody waits for a chat message; a sample above it is recorded at it.
pub const HIGHEST_US: u64 = 120_000_000;

impl From<Distribution> for Saved {
    fn from(distribution: Distribution) -> Self {
        let Distribution { finite, infinite } = distribution;
        let mut bytes = Vec::new();
        if !finite.is_empty() {
            V2DeflateSerializer::new()
                .serialize(&finite, &mut bytes)
                .expect("a histogram of our bounds fits its serial form");
        }
        Self { count: finite.len() + infinite, lost: infinite, hdr: STANDARD.encode(bytes) }
    }
}

impl TryFrom<Saved> for Distribution {
    type Error = String;

    fn try_from(saved: Saved) -> Result<Self, String> {
        let mut distribution = Self { infinite: saved.lost, ..Self::default() };
        if !saved.hdr.is_empty() {
            let bytes = STANDARD.decode(&saved.hdr).map_err(|error| format!("hdr is no base64: {error}"))?;
            let histogram: Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .map_err(|error| format!("hdr is no V2 histogram: {error}"))?;
            distribution.finite.add(&histogram).map_err(|error| format!("hdr is out of range: {error}"))?;
        }
        if distribution.count() != saved.count {
            return Err(format!("hdr holds {} samples, count says {}", distribution.count(), saved.count));
        }
        Ok(distribution)
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
    fn a_lost_message_is_a_sample_at_infinity() {
        let distribution = of(1..=98, 2);
        assert_eq!((distribution.count(), distribution.quantile(0.5)), (100, Some(50)));
        assert_eq!((distribution.quantile(0.98), distribution.quantile(0.99)), (Some(98), None));
        assert_eq!(distribution.mean(), None);
    }

    #[test]
    fn percentiles_are_nearest_rank() {
        let distribution = of([10, 20, 30, 40], 0);
        assert_eq!(distribution.quantile(0.0), Some(10));
        assert_eq!(distribution.quantile(0.5), Some(20));
        assert_eq!(distribution.quantile(0.51), Some(30));
        assert_eq!(distribution.quantile(1.0), Some(40));
        assert_eq!(of(1..=100, 0).quantile(0.99), Some(99));
    }

    #[test]
    fn merging_is_as_if_recorded_together() {
        let (mut a, b) = (of((0..500).map(|us| us * 74), 1), of((0..500).map(|us| us * 74 + 37), 2));
        a.merge(&b);
        assert_eq!(a, of((0..1000).map(|us| us * 37), 3));
    }

    #[test]
    fn what_is_saved_reads_back() {
        for distribution in [of([], 0), of([], 3), of((1..2000).map(|us| us * us), 7)] {
            let text = serde_json::to_string(&distribution).expect("plain data");
            assert_eq!(serde_json::from_str::<Distribution>(&text).expect("just written"), distribution);
        }
    }

    #[test]
    fn a_broken_histogram_is_refused() {
        for hdr in ["!", "AAAA"] {
            let text = format!("{{\"count\":1,\"lost\":0,\"hdr\":\"{hdr}\"}}");
            assert!(serde_json::from_str::<Distribution>(&text).is_err(), "{hdr}");
        }
        assert!(serde_json::from_str::<Distribution>("{\"count\":1,\"lost\":0,\"hdr\":\"\"}").is_err());
    }
}
