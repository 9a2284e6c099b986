//! Delivery opportunities at recorded times, as mahimahi's `mm-link` counts them.
//!
//! Each opportunity carries 1,504 bytes: several small packets, or a part of a large one, whose remainder takes the
//! next. A packet leaves with the opportunity that carries its last byte. What an opportunity finds nothing for is
//! wasted, and it finds only what arrived before it. The recording repeats with its last value as the period.

use std::sync::Arc;
use std::time::Duration;

use units::{ByteCount, Timestamp};

use crate::profile::DeliveryTrace;

#[derive(Debug)]
pub(super) struct Trace {
    recorded: Arc<DeliveryTrace>,
    /// The opportunity in use, and what it can still carry.
    place: Place,
    at: Timestamp,
    left: u64,
}

/// Opportunity `index` of the `round`-th repetition; ordered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    round: u64,
    index: usize,
}

impl Trace {
    pub(super) fn new(recorded: Arc<DeliveryTrace>) -> Self {
        Self { recorded, place: Place { round: 0, index: 0 }, at: Timestamp::ZERO, left: 0 }
    }

    pub(super) fn is_of(&self, recorded: &Arc<DeliveryTrace>) -> bool {
        Arc::ptr_eq(&self.recorded, recorded) || self.recorded == *recorded
    }

    /// What waits from `now` on is taken by the opportunity in use if that is still to come, or the one behind it, else by
    /// the first after `now`, and not before the promise of an earlier rate.
    pub(super) fn ready(&self, now: Timestamp, free_at: Timestamp, origin: Timestamp) -> Timestamp {
        if self.at > now {
            return self.ready_again(origin);
        }
        self.time(self.first_after(now.max(free_at), origin), origin)
    }

    pub(super) fn ready_again(&self, origin: Timestamp) -> Timestamp {
        if self.left > 0 { self.at } else { self.time(self.after(self.place), origin) }
    }

    pub(super) fn serve(&mut self, at: Timestamp, size: ByteCount, origin: Timestamp) -> Timestamp {
        let mut remaining = size.as_u64();
        if !(self.left > 0 && self.at == at) {
            // The one before `at` is the last that was not for this packet; several may share a time.
            let next = self.after(self.place);
            let place = if self.at > Timestamp::ZERO && self.time(next, origin) == at {
                next
            } else {
                self.first_after(at - Duration::from_nanos(1), origin)
            };
            self.use_opportunity(place, origin);
        }
        while remaining > self.left {
            remaining -= self.left;
            self.use_opportunity(self.after(self.place), origin);
        }
        self.left -= remaining;
        self.at
    }

    fn use_opportunity(&mut self, place: Place, origin: Timestamp) {
        self.place = place;
        self.at = self.time(place, origin);
        self.left = DeliveryTrace::OPPORTUNITY.as_u64();
    }

    fn after(&self, place: Place) -> Place {
        if place.index + 1 < self.recorded.opportunities_ms.len() {
            Place { index: place.index + 1, ..place }
        } else {
            Place { round: place.round + 1, index: 0 }
        }
    }

    fn time(&self, place: Place, origin: Timestamp) -> Timestamp {
        let into = self.recorded.opportunities_ms.get(place.index).copied().unwrap_or(0);
        let millis = self.period().saturating_mul(place.round).saturating_add(into);
        origin + Duration::from_millis(millis)
    }

    /// The first opportunity later than `now`.
    fn first_after(&self, now: Timestamp, origin: Timestamp) -> Place {
        // Before the origin lies nothing: the first opportunity comes after it, or at it.
        let Some(elapsed) = now.as_nanos().checked_sub(origin.as_nanos()) else {
            return Place { round: 0, index: 0 };
        };
        let millis = elapsed / 1_000_000;
        let (mut round, into) = (millis / self.period(), millis % self.period());
        // At a whole period the last opportunities of the round before are at this very time, and gone.
        let index = self.recorded.opportunities_ms.partition_point(|&at| at <= into);
        if index == self.recorded.opportunities_ms.len() {
            round += 1;
            return Place { round, index: 0 };
        }
        Place { round, index }
    }

    /// Milliseconds; a trace without one does not pass validation, and read as one millisecond it cannot divide by zero.
    fn period(&self) -> u64 {
        self.recorded.opportunities_ms.last().copied().unwrap_or(1).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `mm-link` as its documentation describes it, opportunity by opportunity: (arrival in ns, size) to departures.
    fn by_hand(opportunities_ms: &[u64], packets: &[(u64, u64)]) -> Vec<u64> {
        let period = *opportunities_ms.last().expect("not empty");
        let mut departures = Vec::new();
        let mut queue: std::collections::VecDeque<(u64, u64)> = packets.iter().copied().collect();
        let mut in_transit = 0;
        for step in 0.. {
            let at = (step / opportunities_ms.len() as u64 * period
                + opportunities_ms[step as usize % opportunities_ms.len()])
                * 1_000_000;
            let mut budget = 1504;
            while budget > 0 {
                if in_transit == 0 {
                    // Only what arrived before this opportunity.
                    let Some((_, size)) = queue.pop_front_if(|(arrived, _)| *arrived < at) else { break };
                    in_transit = size;
                }
                let sent = budget.min(in_transit);
                in_transit -= sent;
                budget -= sent;
                if in_transit == 0 {
                    departures.push(at);
                }
            }
            if queue.is_empty() && in_transit == 0 {
                return departures;
            }
        }
        unreachable!("the loop is endless")
    }

    /// The server alone behind an endless queue.
    fn by_server(opportunities_ms: &[u64], packets: &[(u64, u64)]) -> Vec<u64> {
        let recorded = DeliveryTrace { name: "test".into(), opportunities_ms: opportunities_ms.to_vec() };
        let mut trace = Trace::new(Arc::new(recorded));
        let mut departures = Vec::new();
        let mut free_at = Timestamp::ZERO;
        let mut ready = Timestamp::ZERO;
        for &(arrived, size) in packets {
            let arrived = Timestamp::from_nanos(arrived);
            // Waiting when the server came back for it, or arriving at an empty queue.
            let was_waiting = !departures.is_empty() && arrived < ready;
            let at = if was_waiting { ready } else { trace.ready(arrived, Timestamp::ZERO, Timestamp::ZERO) };
            free_at = free_at.max(trace.serve(at, ByteCount(size), Timestamp::ZERO));
            ready = trace.ready_again(Timestamp::ZERO);
            departures.push(free_at.as_nanos());
        }
        departures
    }

    #[test]
    fn departures_are_those_of_the_documented_accounting() {
        for opportunities in [vec![1], vec![0, 0, 3, 3, 3, 7], vec![5, 5, 6, 20], vec![100]] {
            let mut packets = Vec::new();
            let mut rng = units::Seed::root(4).rng();
            let mut arrived = 1;
            for _ in 0..2000 {
                let draw = rand::Rng::next_u64(&mut rng);
                arrived += draw % 3_000_000;
                packets.push((arrived, (draw >> 32) % 4000 + 1));
            }
            assert_eq!(
                by_server(&opportunities, &packets),
                by_hand(&opportunities, &packets),
                "{opportunities:?}"
            );
        }
    }

    #[test]
    fn full_packets_of_a_steady_trace_leave_one_each_opportunity() {
        let packets: Vec<_> = (0..100).map(|_| (0, 1504)).collect();
        let departures = by_server(&[2], &packets);
        assert!(departures.iter().zip(1..).all(|(&at, n)| at == n * 2_000_000));
    }
}
