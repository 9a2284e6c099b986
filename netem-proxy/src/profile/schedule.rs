//! How a link changes over time, as a value.
//!
//! A step carries the whole link as it is from then on, so that nobody who follows a schedule has to know how keys are
//! laid over each other; and the text of what it changes, so that it prints as it was written.

use std::time::Duration;

use units::{Bitrate, Probability};

use super::{DelayModel, LinkProfile, LossModel, ProfileError, RateModel, Reorder};

/// One change of a link, at a time since its origin.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    pub at: Duration,
    /// Numbers move in a straight line for so long; everything else changes at once, at `at`.
    pub over: Option<Duration>,
    /// What was written: the keys that change, as a SPEC.
    pub set: String,
    /// The link after the change, without a schedule.
    pub profile: Box<LinkProfile>,
}

pub(super) fn validate(schedule: &[Step]) -> Result<(), ProfileError> {
    for step in schedule {
        if step.over == Some(Duration::ZERO) {
            return Err(ProfileError::EmptyRamp { at: step.at });
        }
        step.profile.validate()?;
    }
    for pair in schedule.windows(2) {
        if pair[1].at < pair[0].at.saturating_add(pair[0].over.unwrap_or_default()) {
            return Err(ProfileError::StepsOverlap { at: pair[1].at });
        }
    }
    Ok(())
}

impl LinkProfile {
    /// The link `passed` into a ramp from `from` to `to` that takes `over`.
    ///
    /// Numbers of the same kind on both sides lie between: rates, base delay and jitter of one law, loss, duplication,
    /// corruption, reordering, correlation. Loss that begins or ends ramps from or to 0 %. Everything else is `to`'s.
    #[must_use]
    pub fn between(from: &LinkProfile, to: &LinkProfile, passed: Duration, over: Duration) -> LinkProfile {
        if passed >= over {
            return LinkProfile { schedule: Vec::new(), ..to.clone() };
        }
        let place = Place { passed: passed.as_nanos(), over: over.as_nanos() };
        LinkProfile {
            loss: loss(place, &from.loss, &to.loss),
            duplicate: place.probability(from.duplicate, to.duplicate),
            corrupt: place.probability(from.corrupt, to.corrupt),
            rate: rate(place, from.rate.as_ref(), to.rate.clone()),
            delay: delay(place, &from.delay, &to.delay),
            delay_correlation: place.number(from.delay_correlation, to.delay_correlation),
            reorder: match (from.reorder, to.reorder) {
                (Some(from), Some(to)) => Some(Reorder {
                    p: place.probability(from.p, to.p),
                    extra: place.span(from.extra, to.extra),
                }),
                (_, to) => to,
            },
            schedule: Vec::new(),
            ..to.clone()
        }
    }
}

/// How far on the way, as a fraction below one.
#[derive(Clone, Copy)]
struct Place {
    passed: u128,
    over: u128,
}

impl Place {
    /// In whole numbers, rounded down.
    fn integer(self, from: u128, to: u128) -> u128 {
        if to >= from {
            from + (to - from) * self.passed / self.over
        } else {
            from - (from - to) * self.passed / self.over
        }
    }

    fn span(self, from: Duration, to: Duration) -> Duration {
        // Spans are below 2^63 ns and so is the ramp: the product fits.
        let cut = |span: Duration| span.as_nanos().min(1 << 62);
        Duration::from_nanos_u128(self.integer(cut(from), cut(to)))
    }

    fn bitrate(self, from: Bitrate, to: Bitrate) -> Bitrate {
        let bits = self.integer(from.bits_per_second().into(), to.bits_per_second().into());
        u64::try_from(bits).ok().and_then(Bitrate::from_bits_per_second).unwrap_or(to)
    }

    fn number(self, from: f64, to: f64) -> f64 {
        from + (to - from) * (self.passed as f64 / self.over as f64)
    }

    fn probability(self, from: Probability, to: Probability) -> Probability {
        // Between two values of 0..=1; rounding cannot leave the range by more than the clamp takes back.
        Probability::new(self.number(from.get(), to.get()).clamp(0.0, 1.0)).unwrap_or(to)
    }
}

fn loss(place: Place, from: &LossModel, to: &LossModel) -> LossModel {
    use LossModel::{Bernoulli, Burst, GilbertElliott, None};
    match (from, to) {
        (None, Bernoulli { p }) => Bernoulli { p: place.probability(Probability::ZERO, *p) },
        (Bernoulli { p }, None) => Bernoulli { p: place.probability(*p, Probability::ZERO) },
        (Bernoulli { p: from }, Bernoulli { p: to }) => Bernoulli { p: place.probability(*from, *to) },
        (Burst { rate: from, mean_length: from_length }, Burst { rate: to, mean_length: to_length }) => {
            Burst { rate: place.probability(*from, *to), mean_length: place.number(*from_length, *to_length) }
        }
        (
            GilbertElliott { p: p0, r: r0, loss_bad: bad0, loss_good: good0 },
            GilbertElliott { p: p1, r: r1, loss_bad: bad1, loss_good: good1 },
        ) => GilbertElliott {
            p: place.probability(*p0, *p1),
            r: place.probability(*r0, *r1),
            loss_bad: place.probability(*bad0, *bad1),
            loss_good: place.probability(*good0, *good1),
        },
        (_, to) => to.clone(),
    }
}

fn rate(place: Place, from: Option<&RateModel>, to: Option<RateModel>) -> Option<RateModel> {
    match (from, to) {
        (Some(RateModel::Constant { rate: from, .. }), Some(RateModel::Constant { rate: to, overhead })) => {
            Some(RateModel::Constant { rate: place.bitrate(*from, to), overhead })
        }
        (
            Some(RateModel::TokenBucket { rate: from, .. }),
            Some(RateModel::TokenBucket { rate: to, burst, peak }),
        ) => Some(RateModel::TokenBucket { rate: place.bitrate(*from, to), burst, peak }),
        (_, to) => to,
    }
}

fn delay(place: Place, from: &DelayModel, to: &DelayModel) -> DelayModel {
    use DelayModel::{Constant, Exponential, LogNormal, Normal, Pareto, ParetoNormal, Table, Trace, Uniform};
    let (Some((base0, jitter0)), Some((base1, jitter1))) = (from.numbers(), to.numbers()) else {
        return to.clone();
    };
    // A constant delay is every law with no jitter.
    let same_law = std::mem::discriminant(from) == std::mem::discriminant(to);
    if !same_law && !matches!(from, Constant(_)) {
        return to.clone();
    }
    let (base, jitter) = (place.span(base0, base1), place.span(jitter0, jitter1));
    match to {
        Constant(_) => Constant(base),
        Uniform { .. } => Uniform { base, jitter },
        Normal { .. } => Normal { base, jitter },
        LogNormal { .. } => LogNormal { base, jitter },
        Exponential { .. } => Exponential { base, jitter },
        Pareto { .. } => Pareto { base, jitter },
        ParetoNormal { .. } => ParetoNormal { base, jitter },
        Table { table, .. } => Table { base, jitter, table: table.clone() },
        Trace(_) => to.clone(),
    }
}

impl DelayModel {
    /// Base and jitter, where they are numbers.
    fn numbers(&self) -> Option<(Duration, Duration)> {
        match *self {
            Self::Constant(base) => Some((base, Duration::ZERO)),
            Self::Uniform { base, jitter }
            | Self::Normal { base, jitter }
            | Self::LogNormal { base, jitter }
            | Self::Exponential { base, jitter }
            | Self::Pareto { base, jitter }
            | Self::ParetoNormal { base, jitter }
            | Self::Table { base, jitter, .. } => Some((base, jitter)),
            Self::Trace(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(from: &str, to: &str, millis: u64) -> String {
        let profile = |text: &str| text.parse::<LinkProfile>().expect("a valid spec");
        let (passed, over) = (Duration::from_millis(millis), Duration::from_millis(1000));
        LinkProfile::between(&profile(from), &profile(to), passed, over).to_string()
    }

    #[test]
    fn numbers_of_one_kind_move_in_a_straight_line() {
        assert_eq!(at("delay=10ms rate=1Mbit/s", "delay=30ms rate=3Mbit/s", 500), "delay=20ms rate=2Mbit/s");
        assert_eq!(at("loss=10%", "loss=0%", 250), "loss=7.5%");
        assert_eq!(at("none", "loss=40%", 250), "loss=10%");
        assert_eq!(at("delay=20ms jitter=4ms", "delay=20ms jitter=8ms", 750), "delay=20ms jitter=7ms");
        assert_eq!(at("rate=9Mbit/s", "rate=1Mbit/s", 1000), "rate=1Mbit/s");
    }

    #[test]
    fn what_has_no_middle_changes_at_once() {
        assert_eq!(at("loss=every(3)", "loss=10%", 1), "loss=10%");
        assert_eq!(at("rate=1Mbit/s", "queue=50p", 1), "queue=50p");
        assert_eq!(at("order=fifo", "order=allow", 1), "order=allow");
    }
}
