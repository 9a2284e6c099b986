//! How much the pacing thread may spin.
//!
//! Spinning is what makes deliveries punctual to a microsecond, and what takes a processor away from the programs
//! under test. So it has a budget: a share of elapsed time, saved up to a small amount. When it is used up, the
//! thread sleeps to the deadline and is some 25 µs late instead.

use std::time::Duration;

use units::Timestamp;

#[derive(Debug, Default)]
pub(super) struct SpinBudget {
    saved: Duration,
    updated: Timestamp,
}

impl SpinBudget {
    /// Whether there is enough saved for one spin.
    pub(super) fn may_spin(&mut self, now: Timestamp) -> bool {
        let earned = now.since(self.updated) / SHARE_DIVISOR;
        self.saved = (self.saved + earned).min(MOST_SAVED);
        self.updated = self.updated.max(now);
        self.saved >= super::SPIN_MARGIN
    }

    pub(super) fn spend(&mut self, span: Duration) {
        self.saved = self.saved.saturating_sub(span);
    }
}

/// One quarter of a processor: enough to spin before each of 4000 deadlines a second.
const SHARE_DIVISOR: u32 = 4;

/// Enough for a burst of 80 deadlines; more would let a long idle time pay for a long spin.
const MOST_SAVED: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_may_be_spun() {
        let mut budget = SpinBudget::default();
        let spin = super::super::SPIN_MARGIN;
        let mut spun = Duration::ZERO;
        // A deadline every 100 µs asks for 60 % of a processor.
        for tick in 0..100_000 {
            if budget.may_spin(Timestamp::from_micros(100 * tick)) {
                budget.spend(spin);
                spun += spin;
            }
        }
        let share = spun.as_secs_f64() / 10.0;
        assert!((0.249..0.251).contains(&share), "{share}");
    }

    #[test]
    fn idle_time_is_saved_only_up_to_a_bound() {
        let mut budget = SpinBudget::default();
        assert!(budget.may_spin(Timestamp::from_secs(3600)));
        budget.spend(MOST_SAVED);
        assert!(!budget.may_spin(Timestamp::from_secs(3600)));
    }
}
