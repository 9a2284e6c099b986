//! When messages of an open loop are meant to be sent.

use std::sync::Arc;
use std::time::Duration;

/// The process behind a schedule. Its mean rate stands beside it ([`Pace::Open`](super::Pace::Open)).
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    /// Exponential gaps.
    Poisson,
    /// Evenly spaced, each client at its own seeded offset.
    Constant,
    /// Gaps of a gamma law with this coefficient of variation, above 0: below 1 more even than Poisson, above more
    /// bursty.
    Gamma { cv: f64 },
    /// A Poisson process whose rate switches between calm and busy after exponential times of these means. In busy the
    /// rate is `factor` (above 1) times that in calm.
    Mmpp { factor: f64, calm: Duration, busy: Duration },
    /// `count` messages at once, every `every`; each client at its own seeded offset.
    Burst { count: u32, every: Duration },
    /// As recorded; begins again at its end.
    Trace(Arc<ArrivalTrace>),
}

/// Recorded times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalTrace {
    /// The file it came from.
    pub name: String,
    /// Since the first phase began, ascending; the last one is above zero and also the period.
    pub times: Vec<Duration>,
}

impl ArrivalTrace {
    /// Messages a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let period = self.times.last().map_or(0.0, Duration::as_secs_f64);
        if period > 0.0 { self.times.len() as f64 / period } else { 0.0 }
    }
}
