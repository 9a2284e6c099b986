//! How long a packet is under way, as a value.

use std::sync::Arc;
use std::time::Duration;

use super::ProfileError;
use crate::law::DelayLaw;

/// How long a packet is under way after it left the bottleneck. Every law is cut at zero.
#[derive(Clone, Debug, PartialEq)]
pub enum DelayModel {
    Constant(Duration),
    /// Uniform on `base - jitter ..= base + jitter`; `jitter <= base`.
    Uniform {
        base: Duration,
        jitter: Duration,
    },
    /// Normal with mean `base` and standard deviation `jitter`.
    Normal {
        base: Duration,
        jitter: Duration,
    },
    /// Log-normal with mean `base` and standard deviation `jitter`.
    LogNormal {
        base: Duration,
        jitter: Duration,
    },
    /// `base` and an exponential addition of mean `jitter`.
    Exponential {
        base: Duration,
        jitter: Duration,
    },
    /// Pareto with mean `base` and standard deviation `jitter`, shape 3; no delay is below `base - 0.577 jitter`.
    Pareto {
        base: Duration,
        jitter: Duration,
    },
    /// A quarter of a normal and three quarters of a Pareto deviation, as netem's `paretonormal` is meant to be.
    ParetoNormal {
        base: Duration,
        jitter: Duration,
    },
    /// `base + jitter * x`, with x one of the entries of a table, all equally likely.
    Table {
        base: Duration,
        jitter: Duration,
        table: Arc<DelayTable>,
    },
    /// Delay by model time, from a recording.
    Trace(Arc<DelayTrace>),
}

/// Quantiles of a standardised law in ascending order, as in netem's `.dist` files: entry / 8192 standard deviations.
#[derive(Clone, Debug, PartialEq)]
pub struct DelayTable {
    /// Where it came from: a file, or the name of a law.
    pub name: String,
    pub quantiles: Vec<i32>,
}

/// Steps of a delay over time since the link's origin: each holds from its time on, the last one for ever.
#[derive(Clone, Debug, PartialEq)]
pub struct DelayTrace {
    pub name: String,
    /// Ascending in time.
    pub steps: Vec<(Duration, Duration)>,
}

impl Default for DelayModel {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

impl DelayModel {
    /// Mean delay, the cut at zero included; of a recording, the mean over its time.
    #[must_use]
    pub fn mean(&self) -> Duration {
        match self {
            Self::Trace(trace) => trace.mean(),
            law => DelayLaw::new(law).map_or(Duration::ZERO, |law| law.mean()),
        }
    }

    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match *self {
            Self::Uniform { base, jitter } if jitter > base => {
                Err(ProfileError::JitterAboveDelay { base, jitter })
            }
            Self::LogNormal { base, jitter } if base.is_zero() && !jitter.is_zero() => {
                Err(ProfileError::LogNormalWithoutDelay)
            }
            Self::Table { ref table, .. } if table.quantiles.is_empty() => Err(ProfileError::EmptyTable),
            Self::Trace(ref trace) if trace.steps.is_empty() => Err(ProfileError::EmptyDelayTrace),
            _ => Ok(()),
        }
    }
}
