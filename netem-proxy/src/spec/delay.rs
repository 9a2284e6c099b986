//! Delay as text: the keys `delay`, `jitter`, `dist` and `correlation`, which only together mean something.

use std::time::Duration;

use units::{Probability, format_duration, parse_duration};

use super::SpecError;
use super::value::{ValueError, set_once, shape};
use crate::profile::{DelayModel, LinkProfile};

/// The keys of delay that were written.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DelaySpec {
    pub delay: Option<Duration>,
    pub jitter: Option<Duration>,
    pub dist: Option<Distribution>,
    pub correlation: Option<Probability>,
}

/// The law of jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Distribution {
    #[default]
    Uniform,
    Normal,
}

/// Which of the keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DelayKey {
    Delay,
    Jitter,
    Dist,
    Correlation,
}

impl DelaySpec {
    pub(super) fn set(&mut self, key: DelayKey, value: &str) -> Result<(), ValueError> {
        match key {
            DelayKey::Delay => set_once(&mut self.delay, parse_duration(value)?),
            DelayKey::Jitter => set_once(&mut self.jitter, parse_duration(value)?),
            DelayKey::Dist => set_once(&mut self.dist, parse_dist(value)?),
            DelayKey::Correlation => set_once(&mut self.correlation, value.parse()?),
        }
    }

    /// These keys, and those of `base` where this one is silent.
    #[must_use]
    pub fn over(self, base: DelaySpec) -> DelaySpec {
        DelaySpec {
            delay: self.delay.or(base.delay),
            jitter: self.jitter.or(base.jitter),
            dist: self.dist.or(base.dist),
            correlation: self.correlation.or(base.correlation),
        }
    }

    /// The law, and the correlation of successive delays.
    pub(super) fn model(self) -> Result<(DelayModel, f64), SpecError> {
        let base = self.delay.unwrap_or_default();
        let model = match (self.jitter, self.dist) {
            (None, None) => DelayModel::Constant(base),
            (None, Some(_)) => return Err(SpecError::DistWithoutJitter),
            (Some(jitter), None | Some(Distribution::Uniform)) => DelayModel::Uniform { base, jitter },
            (Some(jitter), Some(Distribution::Normal)) => DelayModel::Normal { base, jitter },
        };
        Ok((model, self.correlation.map_or(0.0, Probability::get)))
    }
}

fn parse_dist(text: &str) -> Result<Distribution, ValueError> {
    match text {
        "uniform" => Ok(Distribution::Uniform),
        "normal" => Ok(Distribution::Normal),
        _ => Err(shape(text, "uniform or normal")),
    }
}

/// Appends the words that [`DelaySpec::set`] reads back.
pub(super) fn print_delay(profile: &LinkProfile, words: &mut Vec<String>) {
    let (base, jitter, dist) = match profile.delay {
        DelayModel::Constant(base) => (base, None, ""),
        DelayModel::Trace(_) => (Duration::ZERO, None, ""),
        DelayModel::LogNormal { base, jitter }
        | DelayModel::Exponential { base, jitter }
        | DelayModel::Pareto { base, jitter }
        | DelayModel::ParetoNormal { base, jitter }
        | DelayModel::Table { base, jitter, .. }
        | DelayModel::Uniform { base, jitter } => (base, Some(jitter), ""),
        DelayModel::Normal { base, jitter } => (base, Some(jitter), " dist=normal"),
    };
    if !base.is_zero() {
        words.push(format!("delay={}", format_duration(base)));
    }
    words.extend(jitter.map(|jitter| format!("jitter={}{dist}", format_duration(jitter))));
    if profile.delay_correlation != 0.0
        && let Some(correlation) = Probability::new(profile.delay_correlation)
    {
        words.push(format!("correlation={correlation}"));
    }
}
