//! Drawn sizes and spans.

use std::time::Duration;

use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use units::{Rng, Seed};

use super::text::{MAX_TEXT, MIN_TEXT};
use crate::scenario::{Size, SpanLaw, WorkloadKind};

/// The sizes of one stream.
#[derive(Debug)]
pub(super) struct Sizes {
    /// A fixed or a recorded size draws nothing.
    rng: Option<Rng>,
    /// Sizes so far.
    count: u64,
}

impl Sizes {
    pub(super) fn new(size: &Size, seed: &Seed) -> Self {
        let rng = (!matches!(size, Size::Fixed(_) | Size::Trace(_))).then(|| seed.fork("size").rng());
        Self { rng, count: 0 }
    }

    /// The next one, in bytes.
    pub(super) fn next(&mut self, size: &Size, kind: WorkloadKind) -> u32 {
        let count = self.count;
        self.count += 1;
        let longest = if kind == WorkloadKind::File { MAX_FILE } else { MAX_TEXT };
        match (size, &mut self.rng) {
            (&Size::Uniform { min, max }, Some(rng)) => rng.random_range(min..=max),
            (&Size::LogNormal { median, p99 }, Some(rng)) => {
                let bytes = lognormal(median.into(), p99.into(), rng);
                (bytes.round() as u32).clamp(MIN_TEXT, longest)
            }
            (&Size::Pareto { min, alpha, cap }, Some(rng)) => {
                (pareto(min.into(), alpha, rng).round() as u32).clamp(min, cap)
            }
            (Size::Trace(trace), _) => {
                let place = count % trace.bytes.len().max(1) as u64;
                trace.bytes.get(place as usize).copied().unwrap_or(MIN_TEXT)
            }
            (
                &Size::Fixed(size)
                | &Size::Uniform { min: size, .. }
                | &Size::LogNormal { median: size, .. }
                | &Size::Pareto { min: size, .. },
                _,
            ) => size,
        }
    }
}

/// A span by its law.
pub(super) fn span(law: &SpanLaw, rng: &mut Rng) -> Duration {
    let seconds = match *law {
        SpanLaw::Fixed(span) => return span,
        SpanLaw::Exponential { mean } => {
            let drawn: f64 = Exp1.sample(rng);
            drawn * mean.as_secs_f64()
        }
        SpanLaw::Uniform { min, max } => {
            min.as_secs_f64() + rng.random::<f64>() * (max.saturating_sub(min)).as_secs_f64()
        }
        SpanLaw::LogNormal { median, p99 } => lognormal(median.as_secs_f64(), p99.as_secs_f64(), rng),
        SpanLaw::Pareto { min, alpha, cap } => pareto(min.as_secs_f64(), alpha, rng).min(cap.as_secs_f64()),
    };
    Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST_SPAN).min(LONGEST_SPAN)
}

fn lognormal(median: f64, p99: f64, rng: &mut Rng) -> f64 {
    let sigma = (p99 / median).ln() / Z99;
    let z: f64 = StandardNormal.sample(rng);
    median * (sigma * z).exp()
}

/// By inversion: the chance to be above x is (min / x)^alpha.
fn pareto(min: f64, alpha: f64, rng: &mut Rng) -> f64 {
    min * (1.0 - rng.random::<f64>()).powf(-1.0 / alpha)
}

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

/// Longest file; as long as a scenario may ask for.
const MAX_FILE: u32 = 1 << 30;

/// A year is longer than any run, and far from where times overflow.
const LONGEST_SPAN: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::scenario::SizeTrace;

    fn drawn(size: &Size, count: usize) -> Vec<u32> {
        let mut sizes = Sizes::new(size, &Seed::root(42));
        (0..count).map(|_| sizes.next(size, WorkloadKind::Room)).collect()
    }

    fn spans(law: SpanLaw, count: usize) -> Vec<f64> {
        let mut rng = Seed::root(42).rng();
        (0..count).map(|_| span(&law, &mut rng).as_secs_f64()).collect()
    }

    #[test]
    fn a_pareto_tail_falls_by_its_exponent_and_ends_at_the_cap() {
        let sizes = drawn(&Size::Pareto { min: 100, alpha: 1.3, cap: 10_000 }, 20_000);
        assert!(sizes.iter().all(|size| (100..=10_000).contains(size)));
        // P(X > x) = (min / x)^alpha; a share p of 20,000 has a standard error of sqrt(p (1 - p) / 20,000), four of them.
        for (above, share) in [(200.0, 0.5_f64.powf(1.3)), (1000.0, 0.1_f64.powf(1.3))] {
            let measured = sizes.iter().filter(|&&size| f64::from(size) > above).count() as f64 / 2e4;
            let error = 4.0 * (share * (1.0 - share) / 2e4).sqrt();
            assert!((measured - share).abs() < error, "above {above}: {measured}, not {share}");
        }
        // What would be larger is the cap: a share of 0.01^1.3 = 0.25 %.
        let capped = sizes.iter().filter(|&&size| size == 10_000).count();
        assert!((22..=80).contains(&capped), "{capped}");
    }

    #[test]
    fn recorded_sizes_come_in_their_order_and_again() {
        let trace = Size::Trace(Arc::new(SizeTrace { name: "t".to_owned(), bytes: vec![10, 30, 20] }));
        assert_eq!(drawn(&trace, 7), [10, 30, 20, 10, 30, 20, 10]);
    }

    #[test]
    fn spans_follow_their_laws() {
        let ms = Duration::from_millis;
        assert_eq!(spans(SpanLaw::Fixed(ms(7)), 2), [0.007, 0.007]);
        let share = |spans: &[f64], below: f64| {
            spans.iter().filter(|&&span| span <= below).count() as f64 / spans.len() as f64
        };
        // Four standard errors of a share at 10,000 draws are 0.02 at the most.
        let exponential = spans(SpanLaw::Exponential { mean: ms(100) }, 10_000);
        assert!((share(&exponential, 0.1) - (1.0 - (-1.0_f64).exp())).abs() < 0.02);
        let uniform = spans(SpanLaw::Uniform { min: ms(100), max: ms(300) }, 10_000);
        assert!((share(&uniform, 0.15) - 0.25).abs() < 0.02);
        assert!(uniform.iter().all(|span| (0.1..=0.3).contains(span)));
        let lognormal = spans(SpanLaw::LogNormal { median: ms(100), p99: ms(400) }, 10_000);
        assert!((share(&lognormal, 0.1) - 0.5).abs() < 0.02 && (share(&lognormal, 0.4) - 0.99).abs() < 0.004);
        let pareto = spans(SpanLaw::Pareto { min: ms(100), alpha: 2.0, cap: ms(1000) }, 10_000);
        assert!((share(&pareto, 0.2) - 0.75).abs() < 0.02);
        assert!(pareto.iter().all(|span| (0.1..=1.0).contains(span)));
    }
}
