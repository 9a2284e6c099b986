//! Latency samples in which what never arrived counts as infinitely late.
//!
//! What tests hold histograms against: samples kept exactly and sorted, where a rank is the nearest-rank definition, the
//! smallest value that at least `q` of all pairs stay at or below.

use std::collections::BTreeMap;

use crate::record::{DeliveryRow, DeliveryStatus};

/// Sorted latencies in µs, and how many pairs have none.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Samples {
    arrived_us: Vec<u64>,
    lost: u64,
}

/// What stands at one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rank {
    Arrived(u64),
    Lost,
}

impl Samples {
    fn collect(latencies: impl Iterator<Item = Option<u64>>) -> Self {
        let mut samples = Self::default();
        for latency in latencies {
            match latency {
                Some(us) => samples.arrived_us.push(us),
                None => samples.lost += 1,
            }
        }
        samples.arrived_us.sort_unstable();
        samples
    }

    /// From intended to delivered: every recorded pair that was expected.
    pub(super) fn delivery<'a>(rows: impl IntoIterator<Item = &'a DeliveryRow>) -> Self {
        let expected = rows.into_iter().filter(|row| is_expected(row));
        Self::collect(expected.map(|row| arrival(row).map(|at| at.saturating_sub(row.intended_us))))
    }

    /// From handed to the protocol to delivered: recorded pairs whose message was submitted.
    pub(super) fn service<'a>(rows: impl IntoIterator<Item = &'a DeliveryRow>) -> Self {
        let expected = rows.into_iter().filter(|row| is_expected(row));
        Self::collect(expected.filter_map(|row| {
            let submitted = row.submitted_us?;
            Some(arrival(row).map(|at| at.saturating_sub(submitted)))
        }))
    }

    /// From handed to the protocol to acknowledged: one sample for each recorded message that was submitted.
    pub(super) fn ack_rtt<'a>(rows: impl IntoIterator<Item = &'a DeliveryRow>) -> Self {
        let mut messages = BTreeMap::new();
        for row in rows.into_iter().filter(|row| row.recorded == 1) {
            if let Some(submitted) = row.submitted_us {
                let rtt = row.acked_us.map(|at| at.saturating_sub(submitted));
                messages.insert((row.cell, row.repeat, row.message), rtt);
            }
        }
        Self::collect(messages.into_values())
    }

    /// Arrived and lost together.
    pub(super) fn count(&self) -> u64 {
        self.arrived_us.len() as u64 + self.lost
    }

    /// What arrived, ascending, in µs.
    pub(super) fn arrived_us(&self) -> &[u64] {
        &self.arrived_us
    }

    /// The sample at quantile `q` in `0..=1`; `None` without samples.
    pub(super) fn at(&self, q: f64) -> Option<Rank> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        // 0.99 * 100 is 99.00000000000001 in binary; the slack keeps a whole rank whole.
        let rank = ((q * count as f64 - 1e-6).ceil().max(1.0) as u64).min(count);
        Some(match self.arrived_us.get(rank as usize - 1) {
            Some(&us) => Rank::Arrived(us),
            None => Rank::Lost,
        })
    }
}

/// Whether the row is a pair of the statistics: recorded, expected, and not a second arrival.
pub(super) fn is_expected(row: &DeliveryRow) -> bool {
    row.recorded == 1 && row.status.is_expected()
}

/// When the right content arrived. A corrupted arrival is none.
pub(super) fn arrival(row: &DeliveryRow) -> Option<u64> {
    match row.status {
        DeliveryStatus::Delivered | DeliveryStatus::OutOfOrder => row.delivered_us,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(arrived: impl Iterator<Item = u64>, lost: usize) -> Samples {
        Samples::collect(arrived.map(Some).chain(std::iter::repeat_n(None, lost)))
    }

    #[test]
    fn ranks_are_nearest_ranks() {
        let hundred = samples(1..=100, 0);
        assert_eq!(hundred.at(0.0), Some(Rank::Arrived(1)));
        assert_eq!(hundred.at(0.5), Some(Rank::Arrived(50)));
        assert_eq!(hundred.at(0.99), Some(Rank::Arrived(99)));
        assert_eq!(hundred.at(0.991), Some(Rank::Arrived(100)));
        assert_eq!(hundred.at(1.0), Some(Rank::Arrived(100)));
    }

    #[test]
    fn lost_pairs_stand_above_every_latency() {
        let samples = samples(1..=98, 2);
        assert_eq!(samples.at(0.98), Some(Rank::Arrived(98)));
        assert_eq!(samples.at(0.99), Some(Rank::Lost));
        assert_eq!(samples.count(), 100);
    }

    #[test]
    fn no_samples_have_no_percentile() {
        assert_eq!(Samples::default().at(0.5), None);
    }
}
