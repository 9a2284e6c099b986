//! Laws of delay, made ready to be drawn from.

use std::sync::Arc;
use std::time::Duration;

use super::{Unit, normal};
use crate::profile::{DelayModel, DelayTable};

/// A law of delay: nanoseconds by place in the distribution.
///
/// Everything is exact to the rounding of `f64`, then rounded to whole nanoseconds and cut at zero. Spans are cut to
/// 2^62 ns (146 years), so that sums of two cannot overflow.
#[derive(Clone, Debug, PartialEq)]
pub struct DelayLaw {
    shape: Shape,
    /// Nanoseconds.
    base: u64,
    jitter: u64,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    Constant,
    Uniform,
    Normal,
    /// Logarithms of nanoseconds: mean and standard deviation.
    LogNormal {
        mean: f64,
        deviation: f64,
    },
    Exponential,
    Pareto,
    ParetoNormal,
    Table(Arc<DelayTable>),
}

impl DelayLaw {
    /// The law of `model`; `None` for a recording, which has none.
    #[must_use]
    pub fn new(model: &DelayModel) -> Option<Self> {
        let (shape, base, jitter) = match *model {
            DelayModel::Constant(base) => (Shape::Constant, base, Duration::ZERO),
            DelayModel::Uniform { base, jitter } => (Shape::Uniform, base, jitter),
            DelayModel::Normal { base, jitter } => (Shape::Normal, base, jitter),
            DelayModel::LogNormal { base, jitter } => (log_normal(base, jitter), base, jitter),
            DelayModel::Exponential { base, jitter } => (Shape::Exponential, base, jitter),
            DelayModel::Pareto { base, jitter } => (Shape::Pareto, base, jitter),
            DelayModel::ParetoNormal { base, jitter } => (Shape::ParetoNormal, base, jitter),
            DelayModel::Table { base, jitter, ref table } => (Shape::Table(Arc::clone(table)), base, jitter),
            DelayModel::Trace(_) => return None,
        };
        let shape = if jitter.is_zero() { Shape::Constant } else { shape };
        Some(Self { shape, base: nanos(base), jitter: nanos(jitter) })
    }

    /// Whether every draw gives the same.
    #[must_use]
    pub fn is_constant(&self) -> bool {
        self.shape == Shape::Constant
    }

    /// The delay of a packet whose draw is `draw`.
    #[must_use]
    pub fn of_draw(&self, draw: u64) -> Duration {
        match &self.shape {
            Shape::Constant => Duration::from_nanos(self.base),
            Shape::Uniform => {
                let offset = scale(draw, self.uniform_width());
                Duration::from_nanos((self.base + offset).saturating_sub(self.jitter))
            }
            Shape::Table(table) => self.entry(table, scale(draw, table.quantiles.len() as u64)),
            _ => self.at(Unit::from_draw(draw)),
        }
    }

    /// The delay at the place `z` of a standard normal law, which is how correlated packets come.
    #[must_use]
    pub fn of_normal(&self, z: f64) -> Duration {
        match self.shape {
            Shape::Constant => Duration::from_nanos(self.base),
            // Their own shapes: no need to go through the distribution function and back.
            Shape::Normal => self.deviate(z),
            Shape::LogNormal { mean, deviation } => rounded(libm::exp(mean + deviation * z)),
            _ => self.at(Unit::from_normal(z)),
        }
    }

    /// The delay below which a share of `unit` of all packets stays.
    #[must_use]
    pub fn at(&self, unit: Unit) -> Duration {
        match self.shape {
            Shape::Constant => Duration::from_nanos(self.base),
            Shape::Uniform => {
                let offset = (unit.below() * self.uniform_width() as f64) as u64;
                let offset = offset.min(self.uniform_width() - 1);
                Duration::from_nanos((self.base + offset).saturating_sub(self.jitter))
            }
            Shape::Normal => self.deviate(normal::quantile(unit)),
            Shape::LogNormal { mean, deviation } => {
                rounded(libm::exp(mean + deviation * normal::quantile(unit)))
            }
            Shape::Exponential => self.deviate(-libm::log(unit.above())),
            Shape::Pareto => self.deviate(pareto(unit)),
            Shape::ParetoNormal => self.deviate(pareto_normal(unit)),
            Shape::Table(ref table) => {
                let place = (unit.below() * table.quantiles.len() as f64) as u64;
                self.entry(table, place)
            }
        }
    }

    /// Share of packets whose delay is at most `delay`.
    #[must_use]
    pub fn cdf(&self, delay: Duration) -> f64 {
        let nanos = nanos(delay);
        let deviation = || (nanos as f64 - self.base as f64) / self.jitter as f64;
        match self.shape {
            Shape::Constant => f64::from(u8::from(nanos >= self.base)),
            Shape::Uniform => {
                let up_to = (nanos + 1 + self.jitter).saturating_sub(self.base);
                (up_to as f64 / self.uniform_width() as f64).min(1.0)
            }
            Shape::Normal => normal::cdf(deviation()),
            Shape::LogNormal { .. } if nanos == 0 => 0.0,
            Shape::LogNormal { mean, deviation } => normal::cdf((libm::log(nanos as f64) - mean) / deviation),
            Shape::Exponential => 1.0 - libm::exp(-deviation().max(0.0)),
            Shape::Pareto => {
                let x = deviation() * PARETO_DEVIATION + PARETO_MEAN;
                if x <= 1.0 { 0.0 } else { 1.0 - 1.0 / (x * x * x) }
            }
            Shape::ParetoNormal => bisect(|unit| pareto_normal(unit) <= deviation()),
            Shape::Table(ref table) => {
                let count = table.quantiles.len() as u64;
                let at_most = partition(count, |place| self.entry(table, place) <= delay);
                at_most as f64 / count.max(1) as f64
            }
        }
    }

    /// Mean over the whole law, the cut at zero included. Closed where there is a formula, else the mean of 4096 equal
    /// parts, which is within a thousandth of `jitter`.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let (base, jitter) = (self.base as f64, self.jitter as f64);
        match self.shape {
            Shape::Constant | Shape::LogNormal { .. } => Duration::from_nanos(self.base),
            Shape::Uniform if self.jitter <= self.base => Duration::from_nanos(self.base),
            Shape::Exponential => Duration::from_nanos(self.base + self.jitter),
            Shape::Normal => {
                // E max(0, X) = mu Phi(mu/sigma) + sigma phi(mu/sigma): the cut moves the mean up.
                let z = base / jitter;
                rounded(base * normal::cdf(z) + jitter * normal::density(z))
            }
            Shape::Pareto => {
                // X = a + c Y with Y in 1.. of density 3/y^4; what is above t = -a/c counts.
                let scale = jitter / PARETO_DEVIATION;
                let offset = base - PARETO_MEAN * scale;
                let t = (-offset / scale).max(1.0);
                rounded(offset / (t * t * t) + PARETO_MEAN * scale / (t * t))
            }
            Shape::Uniform | Shape::ParetoNormal => {
                let part = |k: u32| self.at(Unit::new((f64::from(k) + 0.5) / 4096.0)).as_nanos() as f64;
                rounded((0..4096).map(part).sum::<f64>() / 4096.0)
            }
            Shape::Table(ref table) => {
                let count = table.quantiles.len() as u64;
                let sum: f64 = (0..count).map(|place| self.entry(table, place).as_nanos() as f64).sum();
                rounded(sum / count.max(1) as f64)
            }
        }
    }

    /// `base` and so many times `jitter`.
    fn deviate(&self, deviation: f64) -> Duration {
        rounded(self.base as f64 + deviation * self.jitter as f64)
    }

    /// Whole nanoseconds a uniform delay may take.
    fn uniform_width(&self) -> u64 {
        self.jitter.saturating_mul(2).saturating_add(1)
    }

    /// Entry `place` of a table; each is as likely as the other, as in netem.
    fn entry(&self, table: &DelayTable, place: u64) -> Duration {
        let last = table.quantiles.len().saturating_sub(1);
        let place = usize::try_from(place).unwrap_or(last).min(last);
        let Some(&quantile) = table.quantiles.get(place) else { return Duration::from_nanos(self.base) };
        let scale = i128::from(DelayTable::SCALE);
        // Rounded to the nearest, away from zero at a half.
        let product = i128::from(quantile) * i128::from(self.jitter);
        let offset = (product + product.signum() * scale / 2) / scale;
        let nanos = (i128::from(self.base) + offset).clamp(0, i128::from(u64::MAX));
        Duration::from_nanos(u64::try_from(nanos).expect("clamped to it"))
    }
}

/// Mean and standard deviation of a Pareto law of shape 3 that begins at 1: 3/2 and sqrt(3)/2. Shape 3 is what netem's
/// table was made from, and the smallest whole one whose deviation is finite.
const PARETO_MEAN: f64 = 1.5;
const PARETO_DEVIATION: f64 = 0.866_025_403_784_438_6;

/// In standard deviations from the mean; at least -0.577.
fn pareto(unit: Unit) -> f64 {
    (1.0 / libm::cbrt(unit.above()) - PARETO_MEAN) / PARETO_DEVIATION
}

/// A quarter of a normal and three quarters of a Pareto deviation at the same place, as netem's table is made, but
/// scaled so that its standard deviation is one. The two rise together: their correlation is 0.678353 (by integration),
/// so the sum has a deviation of sqrt(1/16 + 9/16 + 6/16 x 0.678353) = 0.937754.
fn pareto_normal(unit: Unit) -> f64 {
    (0.25 * normal::quantile(unit) + 0.75 * pareto(unit)) / 0.937_753_856_873_551_4
}

fn log_normal(base: Duration, jitter: Duration) -> Shape {
    if base.is_zero() {
        // A law above zero with mean zero has only one member.
        return Shape::Constant;
    }
    let (base, jitter) = (nanos(base) as f64, nanos(jitter) as f64);
    let ratio = jitter / base;
    let variance = libm::log1p(ratio * ratio);
    Shape::LogNormal { mean: libm::log(base) - variance / 2.0, deviation: variance.sqrt() }
}

/// The greatest probability at which `is_below` still holds, to 2^-60.
fn bisect(is_below: impl Fn(Unit) -> bool) -> f64 {
    let (mut low, mut high) = (0.0_f64, 1.0_f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if middle <= 0.0 || middle >= 1.0 {
            break;
        }
        *(if is_below(Unit::new(middle)) { &mut low } else { &mut high }) = middle;
    }
    low
}

/// How many of `0..count` satisfy a predicate that holds for the first ones only.
fn partition(count: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = u64::midpoint(low, high);
        if holds(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// Maps a uniform draw to `0..width`. The bias is below width / 2^64.
#[must_use]
pub fn scale(draw: u64, width: u64) -> u64 {
    ((u128::from(draw) * u128::from(width)) >> 64) as u64
}

/// The cast saturates, which is the cut at zero.
fn rounded(nanos: f64) -> Duration {
    Duration::from_nanos(nanos.round() as u64)
}

/// At most 2^62, so that sums of two cannot overflow; that is 146 years.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(1 << 62)
}
