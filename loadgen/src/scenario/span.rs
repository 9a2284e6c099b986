//! Random spans of time: how long a session lasts, how long a person thinks.

use std::time::Duration;

/// The law of a span.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SpanLaw {
    Fixed(Duration),
    Exponential {
        mean: Duration,
    },
    Uniform {
        min: Duration,
        max: Duration,
    },
    /// By its median and 99th percentile.
    LogNormal {
        median: Duration,
        p99: Duration,
    },
    /// The chance to be longer than x is (min / x)^alpha; what would be longer than `cap` is `cap`.
    Pareto {
        min: Duration,
        alpha: f64,
        cap: Duration,
    },
}

impl SpanLaw {
    pub const ZERO: Self = Self::Fixed(Duration::ZERO);
}
