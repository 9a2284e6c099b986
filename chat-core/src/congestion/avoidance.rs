//! Congestion avoidance: how the window grows once ssthresh is reached, and how much a congestion takes.
//!
//! What is here differs between loss-based controllers; what they share is in [`LossBased`](super::LossBased).

use std::fmt::Debug;

use units::Timestamp;

use super::RttView;

/// The part of a loss-based controller that gives it its name. Sizes are bytes.
pub trait Avoidance: Clone + Debug + Send {
    /// What a loss leaves of the window.
    const ON_LOSS: Ratio;
    /// What an ECN mark leaves of it (RFC 8511 section 3).
    const ON_MARK: Ratio;

    /// The window is about to be reduced from `cwnd`.
    fn on_reduction(&mut self, cwnd: u64, mss: u64);

    /// As [`on_reduction`](Self::on_reduction), by a timeout or persistent congestion: slow start follows.
    fn on_timeout(&mut self, cwnd: u64);

    /// Slow start ended at `cwnd` without a loss.
    fn on_slow_start_over(&mut self, cwnd: u64);

    /// The window after an ack in congestion avoidance, when it was used. At least `cwnd`.
    fn on_ack(&mut self, ack: &AvoidanceAck) -> u64;

    /// Time passes until `now` that does not count: nothing was in flight, or the window was not used.
    fn on_unused(&mut self, now: Timestamp);

    /// The path is a new one.
    fn reset(&mut self);
}

/// An ack in congestion avoidance.
#[derive(Clone, Copy, Debug)]
pub struct AvoidanceAck {
    pub now: Timestamp,
    /// Bytes newly acknowledged.
    pub bytes: u64,
    pub cwnd: u64,
    pub mss: u64,
    pub rtt: RttView,
}

/// A fraction, exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ratio {
    pub numerator: u64,
    pub denominator: u64,
}

impl Ratio {
    /// `numerator / denominator`.
    #[must_use]
    pub const fn new(numerator: u64, denominator: u64) -> Self {
        Self { numerator, denominator }
    }

    /// That part of `value`, rounded down.
    #[must_use]
    pub fn of(self, value: u64) -> u64 {
        let scaled = u128::from(value) * u128::from(self.numerator) / u128::from(self.denominator);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    }
}
