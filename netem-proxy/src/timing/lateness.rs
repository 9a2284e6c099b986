//! How late packets were released.

use hdrhistogram::Histogram;
use units::Timestamp;

/// Release time minus due time of each packet. An early release would be a bug and is counted apart.
#[derive(Clone, Debug)]
pub struct Lateness {
    late: Histogram<u64>,
    early: u64,
}

/// One minute in nanoseconds, where a [`Lateness`] is cut; a release later than that has other problems.
pub const MAX_LATENESS_NS: u64 = 60_000_000_000;

impl Lateness {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub fn record(&mut self, released: Timestamp, due: Timestamp) {
        self.early += u64::from(released < due);
        record_nanos(&mut self.late, released, due);
    }

    pub fn merge(&mut self, other: &Self) {
        self.early += other.early;
        self.late.add(&other.late).expect("an auto-resizing histogram takes every other of its kind");
    }

    /// In nanoseconds, three significant digits; early releases are in it as 0.
    #[must_use]
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.late
    }

    /// Releases before their due time: 0, or the driver is broken.
    #[must_use]
    pub fn early(&self) -> u64 {
        self.early
    }
}

impl Default for Lateness {
    fn default() -> Self {
        Self { late: Histogram::new(3).expect("three digits are within 0..=5"), early: 0 }
    }
}

pub(super) fn record_nanos(histogram: &mut Histogram<u64>, later: Timestamp, earlier: Timestamp) {
    let nanos = later.as_nanos().saturating_sub(earlier.as_nanos()).min(MAX_LATENESS_NS);
    histogram.record(nanos).expect("an auto-resizing histogram takes every value up to the bound");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_releases_are_counted_apart_and_sums_add_up() {
        let at = Timestamp::from_micros;
        let mut lateness = Lateness::new();
        lateness.record(at(10), at(9));
        lateness.record(at(10), at(11));
        let mut sum = lateness.clone();
        sum.merge(&lateness);
        assert_eq!((sum.early(), sum.histogram().len(), sum.histogram().max()), (2, 4, 1000));
    }

    #[test]
    fn a_lateness_beyond_the_bound_is_cut() {
        let mut lateness = Lateness::new();
        lateness.record(Timestamp::NEVER, Timestamp::ZERO);
        let bound = MAX_LATENESS_NS as f64;
        assert!((lateness.histogram().max() as f64 / bound - 1.0).abs() < 1e-3);
    }
}
