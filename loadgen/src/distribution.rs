//! Distributions in which what never arrived is infinitely late.
//!
//! Leaving lost messages out would flatter every percentile: with 2 % lost, the honest p99 is "never". Values are
//! microseconds in an HDR histogram of three digits; what is at infinity is a count beside it. Distributions are merged,
//! and percentiles taken from what was merged; percentiles are never averaged.
//!
//! On disk a distribution is its histogram in HdrHistogram's own compressed form (V2 with deflate, in base64), which other
//! viewers read too.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

/// A histogram of microseconds, and how many samples are at infinity.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(try_from = "Saved", into = "Saved")]
pub struct Distribution {
    finite: Finite,
    infinite: u64,
}

/// The finite samples. A report holds thousands of distributions and fills none; only what is recorded into has a slot for
/// each value there could be.
#[derive(Clone, Debug)]
enum Finite {
    /// Slots that are not empty, ascending: the largest value of each, and its count.
    Few(Vec<Slot>),
    /// All slots: 144 KiB.
    Dense(Box<Histogram<u64>>),
}

/// The largest value that belongs to it, and how many samples do.
type Slot = (u64, u64);

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

impl Default for Finite {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl Finite {
    fn dense(&mut self) -> &mut Histogram<u64> {
        if let Self::Few(slots) = self {
            let mut histogram = empty();
            slots.iter().for_each(|&(us, count)| histogram.saturating_record_n(us, count));
            *self = Self::Dense(Box::new(histogram));
        }
        match self {
            Self::Dense(histogram) => histogram,
            Self::Few(_) => unreachable!("it was just made dense"),
        }
    }

    fn few(histogram: &Histogram<u64>) -> Self {
        let recorded = histogram.iter_recorded();
        Self::Few(recorded.map(|value| (value.value_iterated_to(), value.count_at_value())).collect())
    }

    fn len(&self) -> u64 {
        match self {
            Self::Few(slots) => slots.iter().map(|&(_, count)| count).sum(),
            Self::Dense(histogram) => histogram.len(),
        }
    }

    /// The slot with the `rank`-th smallest sample, which there is.
    fn at_rank(&self, rank: u64, count: u64) -> u64 {
        match self {
            Self::Few(slots) => {
                let mut below = 0;
                let slot = slots.iter().find(|&&(_, count)| {
                    below += count;
                    below >= rank
                });
                slot.or(slots.last()).map_or(0, |&(us, _)| us)
            }
            // The middle of the rank: `rank / count` times `count` can come out above `rank` in binary. And the histogram
            // answers with the top of its slot, which can pass the largest sample.
            Self::Dense(histogram) => {
                histogram.value_at_quantile((rank as f64 - 0.5) / count as f64).min(histogram.max())
            }
        }
    }
}

/// Equal when every slot is, however they are kept.
impl PartialEq for Distribution {
    fn eq(&self, other: &Self) -> bool {
        self.infinite == other.infinite && self.slots().eq(other.slots())
    }
}

impl Distribution {
    /// The same samples in our bounds. Values above them are recorded at the largest, which is two minutes.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut all = empty();
        for value in histogram.iter_recorded() {
            all.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
        Self { finite: Finite::few(&all), infinite: 0 }
    }

    /// One sample in microseconds; `None` is one at infinity. Allocates with the first finite sample and never again.
    pub fn record(&mut self, us: Option<u64>) {
        match us {
            Some(us) => self.finite.dense().saturating_record(us.max(1)),
            None => self.infinite += 1,
        }
    }

    pub fn merge(&mut self, other: &Self) {
        self.infinite += other.infinite;
        match (&mut self.finite, &other.finite) {
            (_, Finite::Few(more)) if more.is_empty() => {}
            (Finite::Few(slots), Finite::Few(more)) => *slots = merged(slots, more),
            (Finite::Few(slots), Finite::Dense(more)) if slots.is_empty() => self.finite = Finite::few(more),
            (finite, Finite::Few(more)) => {
                let histogram = finite.dense();
                more.iter().for_each(|&(us, count)| histogram.saturating_record_n(us, count));
            }
            (finite, Finite::Dense(more)) => {
                finite.dense().add(&**more).expect("all distributions have the same bounds");
            }
        }
    }

    /// Gives back the memory of slots that are empty; nothing more is to be recorded.
    pub fn compact(&mut self) {
        if let Finite::Dense(histogram) = &self.finite {
            self.finite = Finite::few(histogram);
        }
    }

    /// Forgets all samples and keeps the memory.
    pub fn clear(&mut self) {
        match &mut self.finite {
            Finite::Few(slots) => slots.clear(),
            Finite::Dense(histogram) => histogram.reset(),
        }
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

    /// The finite samples, ascending: slots that are not empty, each with its largest value in microseconds and its count.
    pub fn slots(&self) -> impl Iterator<Item = (u64, u64)> {
        let (few, dense) = match &self.finite {
            Finite::Few(slots) => (slots.as_slice(), None),
            Finite::Dense(histogram) => ([].as_slice(), Some(histogram.iter_recorded())),
        };
        let dense = dense.into_iter().flatten();
        few.iter().copied().chain(dense.map(|value| (value.value_iterated_to(), value.count_at_value())))
    }

    /// The finite samples as a histogram, for what only that can tell.
    #[must_use]
    pub fn to_histogram(&self) -> Histogram<u64> {
        let mut copy = self.clone();
        copy.finite.dense();
        match copy.finite {
            Finite::Dense(histogram) => *histogram,
            Finite::Few(_) => unreachable!("it was just made dense"),
        }
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
        let count = self.finite.len();
        (rank > 0 && rank <= count).then(|| self.finite.at_rank(rank, count))
    }

    /// Finite samples at or below `us`, to the width of a slot.
    #[must_use]
    pub fn count_at_or_below(&self, us: u64) -> u64 {
        let top = SHAPE.highest_equivalent(us);
        match &self.finite {
            Finite::Few(slots) => {
                slots.iter().take_while(|&&(value, _)| value <= top).map(|&(_, count)| count).sum()
            }
            Finite::Dense(histogram) => histogram.count_between(0, us),
        }
    }

    /// Smallest and largest finite sample, to the width of a slot.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        match &self.finite {
            Finite::Few(slots) => {
                let (first, last) = (slots.first()?.0, slots.last()?.0);
                Some((SHAPE.lowest_equivalent(first), last))
            }
            Finite::Dense(histogram) => (!histogram.is_empty()).then(|| (histogram.min(), histogram.max())),
        }
    }

    /// Mean in microseconds; `None` without samples, or with one at infinity.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        let count = self.finite.len();
        (self.infinite == 0 && count > 0).then(|| {
            let part = |(us, n): (u64, u64)| SHAPE.median_equivalent(us) as f64 * n as f64 / count as f64;
            self.slots().map(part).sum()
        })
    }
}

/// Both, ascending.
fn merged(a: &[Slot], b: &[Slot]) -> Vec<Slot> {
    let mut sum = Vec::with_capacity(a.len().max(b.len()));
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x.0 == y.0 => {
                let slot = (x.0, x.1 + y.1);
                a.next();
                b.next();
                Some(slot)
            }
            (Some(x), Some(y)) if x.0 < y.0 => a.next(),
            (Some(_), None) => a.next(),
            _ => b.next(),
        };
        match next {
            Some(slot) => sum.push(slot),
            None => return sum,
        }
    }
}

/// The middle of the slot of a value in microseconds.
pub(crate) fn middle(us: u64) -> u64 {
    SHAPE.median_equivalent(us)
}

/// Knows which values share a slot.
static SHAPE: LazyLock<Histogram<u64>> = LazyLock::new(empty);

/// An empty histogram of microseconds: 1 µs to 2 min, 3 digits; 144 KiB.
pub(crate) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US, 3).expect("constant bounds are sound")
}

/// Longer than anybody waits for a chat message; a sample above it is recorded at it.
pub const HIGHEST_US: u64 = 120_000_000;

impl From<Distribution> for Saved {
    fn from(distribution: Distribution) -> Self {
        let (count, lost) = (distribution.count(), distribution.lost());
        let mut bytes = Vec::new();
        if count > lost {
            V2DeflateSerializer::new()
                .serialize(&distribution.to_histogram(), &mut bytes)
                .expect("a histogram of our bounds fits its serial form");
        }
        Self { count, lost, hdr: STANDARD.encode(bytes) }
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
            let has_our_bounds = histogram.low() == SHAPE.low() && histogram.sigfig() == SHAPE.sigfig();
            if !has_our_bounds || histogram.max() > SHAPE.highest_equivalent(HIGHEST_US) {
                return Err(
                    "hdr is out of range: not microseconds from 1 to 2 min in three digits".to_owned()
                );
            }
            distribution.finite = Finite::few(&histogram);
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
    fn every_rank_of_every_count_is_its_own() {
        for count in 1..=200 {
            let distribution = of(1..=count, 0);
            assert!((1..=count).all(|rank| distribution.at_rank(rank) == Some(rank)), "of {count}");
        }
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
    fn few_slots_answer_as_all_of_them_do() {
        let dense = of((1..3000).map(|us| us * us % 7_000_000), 5);
        let mut few = dense.clone();
        few.compact();
        assert!(matches!((&dense.finite, &few.finite), (Finite::Dense(_), Finite::Few(_))));
        assert_eq!(dense, few);
        assert_eq!((dense.range(), dense.count(), dense.lost()), (few.range(), few.count(), few.lost()));
        for step in 0..=1000 {
            let q = f64::from(step) / 1000.0;
            assert_eq!(dense.quantile(q), few.quantile(q), "{q}");
        }
        for us in [0, 1, 17, 2047, 2048, 5001, 999_999, 6_999_999, 119_000_000] {
            assert_eq!(dense.count_at_or_below(us), few.count_at_or_below(us), "{us}");
        }
        let other = of((1..500).map(|us| us * 777), 2);
        let mut compact = other.clone();
        compact.compact();
        let pairs = [(&dense, &other), (&dense, &compact), (&few, &other), (&few, &compact)];
        let sums = pairs.map(|(a, b)| {
            let mut sum = a.clone();
            sum.merge(b);
            sum
        });
        assert!(sums.iter().all(|sum| *sum == sums[0]));
        let (mut all, mut compact) = (of(1..100, 0), of(1..100, 0));
        compact.compact();
        assert_eq!(all.mean(), compact.mean());
        compact.record(Some(7));
        all.record(Some(7));
        assert_eq!(all, compact);
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
