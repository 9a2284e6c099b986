//! The only place where a real clock is read.
//!
//! `clippy.toml` forbids `Instant::now` and `SystemTime::now` everywhere else. A shell makes one [`Clock`] when it
//! starts and turns it into [`Timestamp`]s for the cores it drives.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::Timestamp;

/// A monotonic clock that starts at [`Timestamp::ZERO`] when it is made. Copies share the same zero.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
    unix_at_zero: f64,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    #[must_use]
    pub fn start() -> Self {
        Self { zero: Instant::now(), unix_at_zero: wall_clock() }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
    #[must_use]
    pub fn now(&self) -> Timestamp {
        let nanos = Instant::now().saturating_duration_since(self.zero).as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The std instant that `at` stands for, for APIs that sleep until an `Instant`.
    #[must_use]
    pub fn instant(&self, at: Timestamp) -> Instant {
        self.zero + at.since(Timestamp::ZERO)
    }

    /// Seconds since the Unix epoch at this clock's zero; what a core adds to `now` to print a wall time.
    #[must_use]
    pub fn unix_at_zero(&self) -> f64 {
        self.unix_at_zero
    }
}

/// Seconds since the Unix epoch, by the system's wall clock. For labels only: it may step.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
#[must_use]
pub fn wall_clock() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
