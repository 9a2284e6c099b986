//! How long a packet is under way after the bottleneck.
//!
//! Delays are whole nanoseconds. Uniform jitter is integer arithmetic on one draw; normal jitter is `rand_distr`'s
//! ziggurat, which uses `exp` and `ln` for about one draw in a hundred, so its last nanosecond may differ between
//! math libraries.

use std::time::Duration;

use rand_distr::{Distribution, StandardNormal};
use units::{Rng, Seed};

use crate::profile::{DelayModel, LinkProfile};

#[derive(Debug)]
pub(super) struct Delay {
    rng: Rng,
    model: DelayModel,
}

impl Delay {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        Self { rng: seed.rng(), model: profile.delay.clone() }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        self.model = profile.delay.clone();
    }

    /// The delay of packet `number`, counted from 1, which arrived `at` after the link's origin; asked once for each
    /// packet, in order.
    pub(super) fn draw(&mut self, _number: u64, _at: Duration) -> Duration {
        match self.model {
            DelayModel::Constant(delay) => delay,
            DelayModel::Uniform { base, jitter } => {
                let width = nanos(jitter).saturating_mul(2).saturating_add(1);
                let offset = scale(rand::Rng::next_u64(&mut self.rng), width);
                Duration::from_nanos((nanos(base) + offset).saturating_sub(nanos(jitter)))
            }
            DelayModel::Trace(_) => Duration::ZERO,
            DelayModel::Normal { base, jitter }
            | DelayModel::LogNormal { base, jitter }
            | DelayModel::Exponential { base, jitter }
            | DelayModel::Pareto { base, jitter }
            | DelayModel::ParetoNormal { base, jitter }
            | DelayModel::Table { base, jitter, .. } => {
                let deviation: f64 = StandardNormal.sample(&mut self.rng);
                // The cast saturates, which is the cut at zero.
                Duration::from_nanos((nanos(base) as f64 + deviation * nanos(jitter) as f64).round() as u64)
            }
        }
    }
}

/// Maps a uniform draw to `0..width`. The bias is below width / 2^64.
pub(super) fn scale(draw: u64, width: u64) -> u64 {
    ((u128::from(draw) * u128::from(width)) >> 64) as u64
}

/// At most 2^62, so that sums of two cannot overflow; that is 146 years.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX).min(1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(50);
    const JITTER: Duration = Duration::from_millis(5);
    const COUNT: u32 = 200_000;

    fn draws(model: DelayModel) -> Vec<f64> {
        let profile = LinkProfile { delay: model, ..LinkProfile::default() };
        let mut delay = Delay::new(&profile, Seed::root(11));
        (1..=COUNT).map(|number| delay.draw(number.into(), Duration::ZERO).as_secs_f64() * 1e3).collect()
    }

    fn moments(samples: &[f64]) -> (f64, f64) {
        let n = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / n;
        let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
        (mean, variance.sqrt())
    }

    #[test]
    fn uniform_jitter_has_its_moments_and_its_bounds() {
        let samples = draws(DelayModel::Uniform { base: BASE, jitter: JITTER });
        let (mean, sd) = moments(&samples);
        let expected_sd = 5.0 / 3.0_f64.sqrt();
        // Standard errors: sd/sqrt(n) of the mean; for the sd, sd*sqrt((kurtosis-1)/4n) with kurtosis 1.8.
        let n = f64::from(COUNT);
        assert!((mean - 50.0).abs() < 5.0 * expected_sd / n.sqrt(), "mean {mean}");
        assert!((sd - expected_sd).abs() < 5.0 * expected_sd * (0.8 / (4.0 * n)).sqrt(), "sd {sd}");
        assert!(samples.iter().all(|&ms| (45.0..=55.0).contains(&ms)));
    }

    #[test]
    fn normal_jitter_has_its_moments() {
        let (mean, sd) = moments(&draws(DelayModel::Normal { base: BASE, jitter: JITTER }));
        let n = f64::from(COUNT);
        assert!((mean - 50.0).abs() < 5.0 * 5.0 / n.sqrt(), "mean {mean}");
        assert!((sd - 5.0).abs() < 5.0 * 5.0 / (2.0 * n).sqrt(), "sd {sd}");
    }

    #[test]
    fn normal_jitter_is_cut_at_zero() {
        let samples = draws(DelayModel::Normal { base: Duration::from_millis(1), jitter: JITTER });
        let cut = samples.iter().filter(|&&ms| ms == 0.0).count() as f64;
        // P(N(1, 5) < 0) = Phi(-0.2) = 0.4207.
        let n = f64::from(COUNT);
        assert!((cut / n - 0.4207).abs() < 5.0 * (0.4207 * 0.5793 / n).sqrt() + 1e-4, "{cut} cut");
    }

    #[test]
    fn absurd_spans_do_not_overflow() {
        for model in [
            DelayModel::Uniform { base: Duration::MAX, jitter: Duration::MAX },
            DelayModel::Uniform { base: Duration::ZERO, jitter: Duration::MAX },
            DelayModel::Normal { base: Duration::MAX, jitter: Duration::MAX },
        ] {
            let profile = LinkProfile { delay: model, ..LinkProfile::default() };
            Delay::new(&profile, Seed::root(1)).draw(1, Duration::ZERO);
        }
    }
}
