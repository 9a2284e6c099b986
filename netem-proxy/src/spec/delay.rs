//! Delay as text: the keys `delay`, `jitter`, `dist` and `correlation`, which only together mean something.

use std::sync::Arc;
use std::time::Duration;

use units::{Probability, format_duration, parse_duration};

use super::value::{ValueError, call, set_once, shape};
use super::{SpecError, file};
use crate::profile::{DelayModel, DelayTable, DelayTrace, LinkProfile};

/// The keys of delay that were written.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct DelaySpec {
    pub delay: Option<DelayBase>,
    pub jitter: Option<Duration>,
    pub dist: Option<Distribution>,
    pub correlation: Option<Probability>,
}

/// What `delay` says.
#[derive(Clone, Debug, PartialEq)]
pub enum DelayBase {
    Span(Duration),
    Trace(Arc<DelayTrace>),
}

/// The law of jitter.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum Distribution {
    #[default]
    Uniform,
    Normal,
    LogNormal,
    Exponential,
    Pareto,
    ParetoNormal,
    Table(Arc<DelayTable>),
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
            DelayKey::Delay => set_once(&mut self.delay, parse_base(value)?),
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
        let correlation = self.correlation.map_or(0.0, Probability::get);
        let base = match self.delay {
            None => Duration::ZERO,
            Some(DelayBase::Span(base)) => base,
            Some(DelayBase::Trace(trace)) if self.jitter.is_none() && self.dist.is_none() => {
                return Ok((DelayModel::Trace(trace), correlation));
            }
            Some(DelayBase::Trace(_)) => return Err(SpecError::JitterOnTrace),
        };
        let model = match (self.jitter, self.dist) {
            (None, None) => DelayModel::Constant(base),
            (None, Some(_)) => return Err(SpecError::DistWithoutJitter),
            (Some(jitter), dist) => dist.unwrap_or_default().model(base, jitter),
        };
        Ok((model, correlation))
    }
}

impl Distribution {
    fn model(self, base: Duration, jitter: Duration) -> DelayModel {
        match self {
            Self::Uniform => DelayModel::Uniform { base, jitter },
            Self::Normal => DelayModel::Normal { base, jitter },
            Self::LogNormal => DelayModel::LogNormal { base, jitter },
            Self::Exponential => DelayModel::Exponential { base, jitter },
            Self::Pareto => DelayModel::Pareto { base, jitter },
            Self::ParetoNormal => DelayModel::ParetoNormal { base, jitter },
            Self::Table(table) => DelayModel::Table { base, jitter, table },
        }
    }
}

fn parse_base(text: &str) -> Result<DelayBase, ValueError> {
    match call(text, "trace") {
        Some(path) => Ok(DelayBase::Trace(Arc::new(file::read(path.trim(), DelayTrace::parse)?))),
        None => Ok(DelayBase::Span(parse_duration(text)?)),
    }
}

fn parse_dist(text: &str) -> Result<Distribution, ValueError> {
    match text {
        "uniform" => Ok(Distribution::Uniform),
        "normal" => Ok(Distribution::Normal),
        "lognormal" => Ok(Distribution::LogNormal),
        "exponential" => Ok(Distribution::Exponential),
        "pareto" => Ok(Distribution::Pareto),
        "paretonormal" => Ok(Distribution::ParetoNormal),
        _ => match call(text, "table") {
            Some(path) => Ok(Distribution::Table(Arc::new(file::read(path.trim(), DelayTable::parse)?))),
            None => Err(shape(
                text,
                "uniform or normal, lognormal, exponential, pareto, paretonormal or table(FILE)",
            )),
        },
    }
}

/// Appends the words that [`DelaySpec::set`] reads back.
pub(super) fn print_delay(profile: &LinkProfile, words: &mut Vec<String>) {
    let (base, jitter, dist) = match profile.delay {
        DelayModel::Constant(base) => (base, None, String::new()),
        DelayModel::Trace(ref trace) => {
            words.push(format!("delay=trace({})", trace.name));
            (Duration::ZERO, None, String::new())
        }
        DelayModel::Uniform { base, jitter } => (base, Some(jitter), String::new()),
        DelayModel::Normal { base, jitter } => (base, Some(jitter), " dist=normal".to_owned()),
        DelayModel::LogNormal { base, jitter } => (base, Some(jitter), " dist=lognormal".to_owned()),
        DelayModel::Exponential { base, jitter } => (base, Some(jitter), " dist=exponential".to_owned()),
        DelayModel::Pareto { base, jitter } => (base, Some(jitter), " dist=pareto".to_owned()),
        DelayModel::ParetoNormal { base, jitter } => (base, Some(jitter), " dist=paretonormal".to_owned()),
        DelayModel::Table { base, jitter, ref table } => {
            (base, Some(jitter), format!(" dist=table({})", table.name))
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        text.parse::<LinkProfile>().expect_err("a wrong spec").to_string()
    }

    #[test]
    fn tables_and_traces_come_from_their_files() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.dist");
        std::fs::write(&path, "-8192 0 8192\n").expect("written");
        let text = format!("delay=50ms jitter=5ms dist=table({}) correlation=25%", path.display());
        let profile: LinkProfile = text.parse().expect("valid");
        assert_eq!(profile.to_string(), text);
        assert_eq!(profile.mean_delay(), Duration::from_millis(50));

        std::fs::write(&path, "0s 20ms\n2s 40ms\n").expect("written");
        let text = format!("delay=trace({})", path.display());
        let profile: LinkProfile = text.parse().expect("valid");
        assert_eq!(profile.to_string(), text);
        assert_eq!(profile.mean_delay(), Duration::from_millis(20));
        let with_jitter = format!("{text} jitter=5ms");
        assert!(error(&with_jitter).contains("a trace says every delay itself"));
        std::fs::write(&path, "5s").expect("written");
        assert!(error(&text).ends_with("x.dist: line 1: write a time and a delay, for example 1.5s 40ms"));
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (text, message) in [
            ("jitter=5ms dist=gauss", "write uniform or normal, lognormal"),
            ("jitter=5ms dist=table(/nowhere)", "dist: /nowhere: No such file"),
            ("jitter=5ms dist=lognormal", "needs a mean above zero"),
            ("delay=5ms jitter=1ms correlation=100%", "write 0% to below 100%"),
            ("correlation=200%", "is not a probability"),
            ("delay=trace(/nowhere)", "delay: /nowhere: No such file"),
        ] {
            let error = error(text);
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(
            kind in 0..6, base in 1_u64..100_000_000_000, jitter in 0_u64..100_000_000_000, permille in 0_u32..1000,
        ) {
            let (base, jitter) = (Duration::from_nanos(base), Duration::from_nanos(jitter));
            let dist = match kind {
                0 => Distribution::Uniform,
                1 => Distribution::Normal,
                2 => Distribution::LogNormal,
                3 => Distribution::Exponential,
                4 => Distribution::Pareto,
                _ => Distribution::ParetoNormal,
            };
            let correlation = format!("{}%", f64::from(permille) / 10.0).parse::<Probability>().expect("a percentage");
            let profile = LinkProfile {
                delay: dist.model(base.max(jitter), jitter),
                delay_correlation: correlation.get(),
                ..LinkProfile::default()
            };
            prop_assert_eq!(profile.to_string().parse(), Ok(profile));
        }
    }
}
