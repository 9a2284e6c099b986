//! The faults of Linux' netem, as a value.

use std::time::Duration;

use rand::Rng as _;
use units::{Probability, Seed};

use super::{DelayModel, LinkProfile, LossModel, Order, ProfileError};
use crate::law::netem::{self, Crandom};

/// Repeats the kernel's recurrences, for comparing with measurements made there. What each number does is in
/// [`crate::law::netem`]; correlations are the kernel's own, which keep neither means nor widths.
///
/// The correlation of delay is [`LinkProfile::delay_correlation`], which under this profile means the kernel's.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct NetemCompat {
    pub loss_correlation: Probability,
    pub duplicate_correlation: Probability,
    pub corrupt_correlation: Probability,
    /// Chance that a packet whose turn it is leaves at once, without delay.
    pub reorder: Probability,
    pub reorder_correlation: Probability,
    /// Every `gap`-th packet may leave at once; 0 is none, 1 every one.
    pub gap: u32,
}

impl NetemCompat {
    pub(super) fn validate(&self, profile: &LinkProfile) -> Result<(), ProfileError> {
        let wrong = |what| Err(ProfileError::NotInNetem { what });
        match profile.loss {
            LossModel::Burst { .. } => return wrong("loss=burst"),
            LossModel::EveryNth { .. } => return wrong("loss=every"),
            LossModel::List(_) => return wrong("loss=list"),
            LossModel::Trace(_) => return wrong("loss=trace"),
            _ => {}
        }
        match profile.delay {
            DelayModel::LogNormal { .. } => return wrong("dist=lognormal"),
            DelayModel::Exponential { .. } => return wrong("dist=exponential"),
            DelayModel::Trace(_) => return wrong("delay=trace"),
            _ => {}
        }
        if profile.reorder.is_some() {
            return wrong("reorder=P/SPAN");
        }
        if profile.order == Order::Fifo && !self.reorder.is_zero() {
            return Err(ProfileError::ReorderInFifo);
        }
        Ok(())
    }

    /// Share of packets that really are lost.
    pub(super) fn mean_loss(&self, model: &LossModel) -> f64 {
        match *model {
            LossModel::Bernoulli { p } => netem::true_share(p, self.loss_correlation),
            ref other => other.mean(),
        }
    }
}

/// What `profile` really does where it imitates netem, one sentence each; empty without `compat`.
///
/// Shares are those of the recurrence in the long run. Jitter is measured over 2^18 delays with a fixed seed, because
/// what the kernel's modulo leaves of a correlation has no formula: to 1 %, and 0.01 of correlation.
#[must_use]
pub fn warnings(profile: &LinkProfile) -> Vec<String> {
    let Some(compat) = &profile.compat else { return Vec::new() };
    let mut warnings = Vec::new();
    let mut share = |what: &str, done: &str, p: Probability, correlation: Probability| {
        if !p.is_zero() && !correlation.is_zero() {
            let really = percentage(netem::true_share(p, correlation));
            warnings.push(format!("{what} {p} with correlation {correlation}: netem really {done} {really}"));
        }
    };
    if let LossModel::Bernoulli { p } = profile.loss {
        share("loss", "loses", p, compat.loss_correlation);
    }
    share("duplicate", "duplicates", profile.duplicate, compat.duplicate_correlation);
    share("corrupt", "corrupts", profile.corrupt, compat.corrupt_correlation);
    if compat.gap > 0 {
        share("reorder", "reorders", compat.reorder, compat.reorder_correlation);
    }
    warnings.extend(jitter_warning(profile));
    warnings
}

fn jitter_warning(profile: &LinkProfile) -> Option<String> {
    let jitter = profile.jitter();
    if jitter.is_zero() {
        return None;
    }
    let law = NetemJitter::of(&profile.delay)?;
    let correlation = Probability::new(profile.delay_correlation).unwrap_or_default();
    let seen = law.measure(jitter, correlation);
    let is_as_configured = (seen.deviation / law.configured - 1.0).abs() < 0.01
        && seen.mean.abs() < 0.01
        && (seen.correlation - correlation.get()).abs() < 0.01;
    if is_as_configured {
        return None;
    }
    let sigma = jitter.as_secs_f64() * 1e3;
    Some(format!(
        "jitter {} with correlation {correlation}: netem really has a standard deviation of {:.3} ms, a mean {:+.3} ms \
         off, and a correlation of {:.2}",
        units::format_duration(jitter),
        seen.deviation * sigma,
        seen.mean * sigma,
        seen.correlation
    ))
}

/// A share for people: three digits that count.
pub(crate) fn percentage(share: f64) -> String {
    let percent = share * 100.0;
    if percent < 0.0001 { "less than 0.0001%".to_owned() } else { format!("{}%", significant(percent)) }
}

/// Three digits that count.
fn significant(value: f64) -> String {
    let digits = (2.0 - value.abs().log10().floor()).clamp(0.0, 8.0) as usize;
    format!("{value:.digits$}")
}

/// A law of the kernel's jitter.
struct NetemJitter {
    table: Option<Vec<i16>>,
    /// The standard deviation that its name promises, in units of `jitter`.
    configured: f64,
}

/// In units of `jitter`.
struct Seen {
    mean: f64,
    deviation: f64,
    correlation: f64,
}

impl NetemJitter {
    fn of(model: &DelayModel) -> Option<Self> {
        let table = match model {
            DelayModel::Uniform { .. } => {
                return Some(Self { table: None, configured: 1.0 / 3.0_f64.sqrt() });
            }
            DelayModel::Normal { .. } => netem::normal_table(),
            DelayModel::Pareto { .. } => netem::pareto_table(),
            DelayModel::ParetoNormal { .. } => netem::pareto_normal_table(),
            DelayModel::Table { table, .. } => {
                let entry = |&entry: &i32| entry.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                table.quantiles.iter().map(entry).collect()
            }
            _ => return None,
        };
        Some(Self { table: Some(table), configured: 1.0 })
    }

    fn measure(&self, jitter: Duration, correlation: Probability) -> Seen {
        const DELAYS: u32 = 1 << 18;
        let mut rng = Seed::root(0).fork("netem/jitter").rng();
        let mut walk = Crandom::new(correlation, rng.next_u32());
        let sigma = u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX);
        let delays: Vec<f64> = (0..DELAYS)
            .map(|_| netem::tabledist(0, sigma, walk.next(rng.next_u32()), self.table.as_deref()) as f64)
            .map(|delay| delay / sigma as f64)
            .collect();
        let count = f64::from(DELAYS);
        let mean = delays.iter().sum::<f64>() / count;
        let variance = delays.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / count;
        let covariance =
            delays.windows(2).map(|pair| (pair[0] - mean) * (pair[1] - mean)).sum::<f64>() / count;
        Seen { mean, deviation: variance.sqrt(), correlation: covariance / variance.max(f64::MIN_POSITIVE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(spec: &str) -> Vec<String> {
        warnings(&spec.parse().expect("a valid spec"))
    }

    #[test]
    fn the_true_rates_are_told() {
        assert_eq!(
            of("loss=10% duplicate=30% compat=netem(loss-corr=25%,duplicate-corr=25%)"),
            [
                "loss 10% with correlation 25%: netem really loses 1.75%",
                "duplicate 30% with correlation 25%: netem really duplicates 23.3%",
            ]
        );
        let rare = of("loss=1% compat=netem(loss-corr=50%)");
        assert_eq!(rare, ["loss 1% with correlation 50%: netem really loses less than 0.0001%"]);
    }

    #[test]
    fn jitter_is_told_only_where_it_is_off() {
        assert!(of("delay=100ms jitter=10ms compat=netem").is_empty());
        let lost = of("delay=100ms jitter=10ms correlation=25% compat=netem");
        assert_eq!(lost.len(), 1, "{lost:?}");
        assert!(lost[0].contains("deviation of 5.7") && lost[0].ends_with("correlation of 0.00"), "{lost:?}");
        let narrow = of("delay=100ms jitter=10ms dist=pareto compat=netem");
        assert!(narrow[0].contains("deviation of 8.2") && narrow[0].contains("-0.3"), "{narrow:?}");
    }

    #[test]
    fn without_compat_there_is_nothing_to_warn_of() {
        assert!(of("loss=10% delay=100ms jitter=10ms correlation=25%").is_empty());
    }

    #[test]
    fn what_the_kernel_does_not_have_is_refused() {
        for (spec, message) in [
            ("loss=burst(1%,len=3) compat=netem", "netem has no loss=burst"),
            ("delay=1ms jitter=1ms dist=lognormal compat=netem", "netem has no dist=lognormal"),
            ("reorder=1%/5ms compat=netem", "netem has no reorder=P/SPAN"),
            ("delay=5ms compat=netem(reorder=5%)", "add order=allow"),
        ] {
            let error = spec.parse::<LinkProfile>().expect_err("refused").to_string();
            assert!(error.contains(message), "{spec}: {error}");
        }
        // netem cuts at zero what a uniform law would put before now.
        assert!("jitter=5ms compat=netem".parse::<LinkProfile>().is_ok());
    }
}
