//! Waiting for a deadline or for input, to the microsecond.
//!
//! An emulator is as good as its timer, and the timers of asynchronous runtimes are a millisecond coarse. So each driver
//! is one thread around one [`Waiter`]: an epoll set, a [`Waker`] for other threads, and a wait that ends at an
//! absolute deadline. It sleeps until shortly before the deadline, with 1 ns of timer slack, and spins the rest, for
//! as long as a budget allows ([`budget`] decides, and is tested in virtual time). How punctual that was, the driver
//! records in a [`Lateness`].
//!
//! Left out: systems without epoll.

pub mod budget;
mod lateness;
pub mod realtime;
mod waiter;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use hdrhistogram::Histogram;

pub use lateness::{Lateness, MAX_LATENESS_NS};
pub use waiter::{Interest, Ready, Waiter, Waker};

/// How a thread waits for a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Timing {
    /// Sleeps to the deadline: some 25 µs late at the median, next to no processor time.
    Sleep,
    /// Sleeps to shortly before it, then spins, at most [`budget::SPIN_SHARE`] of one core.
    #[default]
    Hybrid,
    /// Spins whenever a deadline is pending, up to a whole core. For machines with cores to spare.
    Spin,
}

/// A [`Timing`] that is none of the three.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a way to wait; write sleep, hybrid or spin")]
pub struct ParseTimingError(String);

impl FromStr for Timing {
    type Err = ParseTimingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "sleep" => Ok(Self::Sleep),
            "hybrid" => Ok(Self::Hybrid),
            "spin" => Ok(Self::Spin),
            other => Err(ParseTimingError(other.to_owned())),
        }
    }
}

impl fmt::Display for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sleep => "sleep",
            Self::Hybrid => "hybrid",
            Self::Spin => "spin",
        })
    }
}

/// What waiting has cost so far.
#[derive(Clone, Debug)]
pub struct TimingStats {
    /// Time spent spinning.
    pub spun: Duration,
    /// Time since the [`Waiter`] was made.
    pub elapsed: Duration,
    /// Sleeps that ended by time, not by input.
    pub sleeps: u64,
    /// How late these ended, in nanoseconds, cut at [`MAX_LATENESS_NS`]: the timer of this machine, not of this program.
    pub wake_latency: Histogram<u64>,
}

impl TimingStats {
    /// Share of one core spent spinning, 0 to 1.
    #[must_use]
    pub fn share_spun(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.spun.as_secs_f64() / self.elapsed.as_secs_f64() }
    }
}

impl Default for TimingStats {
    fn default() -> Self {
        Self {
            spun: Duration::ZERO,
            elapsed: Duration::ZERO,
            sleeps: 0,
            wake_latency: Histogram::new(3).expect("three digits are within 0..=5"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for timing in [Timing::Sleep, Timing::Hybrid, Timing::Spin] {
            assert_eq!(timing.to_string().parse(), Ok(timing));
        }
        let error = "fast".parse::<Timing>().expect_err("not a way to wait");
        assert_eq!(error.to_string(), "\"fast\" is not a way to wait; write sleep, hybrid or spin");
    }

    #[test]
    fn nothing_waited_is_nothing_spun() {
        assert!(TimingStats::default().share_spun().abs() < f64::EPSILON);
    }
}
