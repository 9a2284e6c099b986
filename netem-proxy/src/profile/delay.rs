//! How long a packet is under way, as a value.

use std::sync::Arc;
use std::time::Duration;

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
    /// Pareto with mean `base` and standard deviation `jitter`, shape 3.
    Pareto {
        base: Duration,
        jitter: Duration,
    },
    /// A quarter of a normal and three quarters of a Pareto deviation, as netem's `paretonormal` is meant to be.
    ParetoNormal {
        base: Duration,
        jitter: Duration,
    },
    /// `base + jitter * x`, with x from a table of the quantiles of a law.
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
    pub(super) fn mean(&self) -> Duration {
        match *self {
            Self::Constant(base)
            | Self::Uniform { base, .. }
            | Self::LogNormal { base, .. }
            | Self::Pareto { base, .. }
            | Self::ParetoNormal { base, .. }
            | Self::Table { base, .. } => base,
            Self::Exponential { base, jitter } => base + jitter,
            Self::Trace(ref trace) => trace.steps.first().map_or(Duration::ZERO, |&(_, delay)| delay),
            Self::Normal { base, jitter } if jitter.is_zero() => base,
            Self::Normal { base, jitter } => {
                // E max(0, X) = mu Phi(mu/sigma) + sigma phi(mu/sigma): the cut moves the mean up.
                let (mu, sigma) = (base.as_secs_f64(), jitter.as_secs_f64());
                let z = mu / sigma;
                let density = (-z * z / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
                let mean = mu * normal_cdf(z) + sigma * density;
                Duration::try_from_secs_f64(mean).unwrap_or(base)
            }
        }
    }
}

/// The standard normal distribution function, to 1.5e-7 (Abramowitz and Stegun 7.1.26, for x >= 0).
fn normal_cdf(x: f64) -> f64 {
    const COEFFICIENTS: [f64; 5] =
        [0.254_829_592, -0.284_496_736, 1.421_413_741, -1.453_152_027, 1.061_405_429];
    let y = x / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * y);
    let series = COEFFICIENTS.iter().rev().fold(0.0, |sum, c| (sum + c) * t);
    let erfc = series * (-y * y).exp();
    1.0 - erfc / 2.0
}
