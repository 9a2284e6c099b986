//! Do delays follow their law?

use super::chance::independence;
use super::feed::{STEADY, feed};
use super::{Case, Measure};
use crate::law::DelayLaw;
use crate::profile::DelayModel;
use crate::stats::{autocorrelation, kolmogorov_smirnov, normal_cdf};

/// Every packet takes exactly the delay.
pub(super) fn constant(case: &Case<'_>) -> Vec<Measure> {
    let delays = feed(case, STEADY).delays();
    let configured = case.profile.mean_delay().as_nanos() as f64;
    let worst = delays.iter().map(|delay| (delay - configured).abs()).fold(0.0, f64::max);
    vec![Measure::exact("ns", 0.0, worst, 0.0).named("largest error")]
}

/// Kolmogorov-Smirnov against the law, and no memory.
pub(super) fn law(case: &Case<'_>) -> Vec<Measure> {
    let delays = feed(case, STEADY).delays();
    let memory = independence(&delays);
    // This law's function takes microseconds, so fewer packets must do.
    let step = if matches!(case.profile.delay, DelayModel::ParetoNormal { .. }) { 20 } else { 1 };
    vec![against_law(case, delays.into_iter().step_by(step).collect()), memory]
}

/// The same law in spite of the correlation, and the correlation.
pub(super) fn correlated(case: &Case<'_>) -> Vec<Measure> {
    let delays = feed(case, STEADY).delays();
    let rho = case.profile.delay_correlation;
    let measured = autocorrelation(&delays, 1);
    let configured = match case.profile.delay {
        // Pearson's r of the uniform places of two normal numbers with correlation rho.
        DelayModel::Uniform { .. } => 6.0 / std::f64::consts::PI * (rho / 2.0).asin(),
        _ => rho,
    };
    // So far apart that what is left of the correlation (below 10^-6) does not disturb a test of independent values.
    let step = (1e-6_f64.ln() / rho.ln()).ceil() as usize;
    let apart: Vec<f64> = delays.iter().copied().step_by(step.max(1)).collect();
    vec![
        against_law(case, apart),
        Measure::exact("r", configured, measured, CORRELATION_TOLERANCE).named("lag 1"),
    ]
}

/// As promised in docs/EMULATION.md; the sd at a million packets is 0.001.
const CORRELATION_TOLERANCE: f64 = 0.02;

fn against_law(case: &Case<'_>, mut delays: Vec<f64>) -> Measure {
    let limit = 1.95 / (delays.len() as f64).sqrt();
    let found = kolmogorov_smirnov(&mut delays, |delay| cdf(&case.profile.delay, delay));
    Measure::chance("D", 0.0, found.statistic, limit, found.p_value)
}

/// The distribution functions, written down from their definitions and not from the code under test. Nanoseconds;
/// delays are rounded to whole ones, which is 10^-7 of the spans tested.
fn cdf(model: &DelayModel, delay: f64) -> f64 {
    let nanos = |span: &std::time::Duration| span.as_nanos() as f64;
    match model {
        DelayModel::Uniform { base, jitter } => {
            let (base, jitter) = (nanos(base), nanos(jitter));
            ((delay - base + jitter + 0.5) / (2.0 * jitter + 1.0)).clamp(0.0, 1.0)
        }
        DelayModel::Normal { base, jitter } => normal_cdf((delay - nanos(base)) / nanos(jitter)),
        DelayModel::LogNormal { base, jitter } => {
            let variance = (1.0 + (nanos(jitter) / nanos(base)).powi(2)).ln();
            let mean = nanos(base).ln() - variance / 2.0;
            normal_cdf((delay.ln() - mean) / variance.sqrt())
        }
        DelayModel::Exponential { base, jitter } => {
            1.0 - (-((delay - nanos(base)) / nanos(jitter)).max(0.0)).exp()
        }
        // Shape 3: mean 3/2, sd sqrt(3)/2 of the scale.
        DelayModel::Pareto { base, jitter } => {
            let scale = nanos(jitter) / (3.0_f64.sqrt() / 2.0);
            let place = delay - nanos(base) + 1.5 * scale;
            if place <= scale { 0.0 } else { 1.0 - (scale / place).powi(3) }
        }
        // A quarter of a normal and three quarters of a Pareto deviation: a convolution, by the law's own account.
        // The shape of both is tested above.
        other => DelayLaw::new(other)
            .map_or(f64::NAN, |law| law.cdf(std::time::Duration::from_nanos(delay.max(0.0) as u64))),
    }
}
