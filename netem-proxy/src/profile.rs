//! What one direction of a link does to packets.
//!
//! A [`LinkProfile`] is checked where it is read ([`LinkProfile::validate`]; [`crate::spec`] does it), so the link need
//! not doubt it. It describes *one* direction; a two-way path has two of them. Profiles are plain values: scenario
//! files, command lines and the admin port all build the same one.

use std::time::Duration;

use units::{Bitrate, ByteCount, Probability, format_duration};

/// One direction of a link. The default changes nothing: no loss, no delay, no limit.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LinkProfile {
    pub loss: LossModel,
    /// Chance that a packet that survived loss is carried twice.
    pub duplicate: Probability,
    /// Chance that one bit of a packet is flipped.
    pub corrupt: Probability,
    /// Serialisation rate of the bottleneck; `None` is infinitely fast.
    pub rate: Option<Bitrate>,
    /// What waits before the bottleneck. Without a rate nothing ever waits.
    pub queue: QueueLimit,
    pub delay: DelayModel,
    /// Whether jitter may let packets overtake each other.
    pub order: Order,
    /// Holds some packets back on purpose so that later ones overtake them.
    pub reorder: Option<Reorder>,
    /// Spans in which nothing passes.
    pub blackouts: Vec<Blackout>,
}

/// Which packets disappear before the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum LossModel {
    #[default]
    None,
    /// Each packet is lost independently.
    Bernoulli { p: Probability },
    /// Two states, good and bad; `p` is the chance to turn bad after a packet, `r` to turn good again.
    /// Mean loss is `loss_bad * p/(p+r) + loss_good * r/(p+r)`; the mean stay in bad is `1/r` packets.
    GilbertElliott { p: Probability, r: Probability, loss_bad: Probability, loss_good: Probability },
    /// Every `n`-th packet is lost: the textbook's periodic loss. `n` is at least 1.
    EveryNth { n: u64 },
}

/// How long a packet is under way after it left the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DelayModel {
    Constant(Duration),
    /// Uniform on `base - jitter ..= base + jitter`; `jitter <= base`.
    Uniform {
        base: Duration,
        jitter: Duration,
    },
    /// Normal with mean `base` and standard deviation `jitter`, cut at zero.
    Normal {
        base: Duration,
        jitter: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QueueLimit {
    /// 1000 packets, as Linux' netem: large enough for 100 Mbit/s x 100 ms, small enough to see.
    #[default]
    Default,
    Infinite,
    Packets(u64),
    Bytes(ByteCount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// A packet never leaves before one that arrived earlier; jitter turns into waiting.
    #[default]
    Fifo,
    /// Each packet takes its own delay, so jitter reorders (what netem does).
    Allow,
}

/// With chance `p` a packet takes `extra` longer and does not hold up those behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    pub p: Probability,
    pub extra: Duration,
}

/// From `at` for `duration` every packet that arrives is dropped; again every `every`, if given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackout {
    /// Since the link's origin: the beginning of the run, or of the proxy the link belongs to.
    pub at: Duration,
    pub duration: Duration,
    pub every: Option<Duration>,
}

impl LinkProfile {
    /// Share of offered packets that loss takes in the long run, 0 to 1. Full queues and blackouts come on top.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        self.loss.mean()
    }

    /// Mean time under way of a packet that neither waits before the bottleneck nor is held back by `reorder`.
    ///
    /// Under [`Order::Fifo`] with jitter, packets that follow closer than the jitter wait for slower ones, and the
    /// observed mean is above this.
    #[must_use]
    pub fn mean_delay(&self) -> Duration {
        self.delay.mean()
    }

    /// Half-width of uniform, standard deviation of normal jitter; zero for constant delay.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        match self.delay {
            DelayModel::Constant(_) => Duration::ZERO,
            DelayModel::Uniform { jitter, .. } | DelayModel::Normal { jitter, .. } => jitter,
        }
    }

    /// Refuses what each value allows but their combination does not.
    pub fn validate(&self) -> Result<(), ProfileError> {
        self.loss.validate()?;
        if let DelayModel::Uniform { base, jitter } = self.delay
            && jitter > base
        {
            return Err(ProfileError::JitterAboveDelay { base, jitter });
        }
        if matches!(self.queue, QueueLimit::Packets(0) | QueueLimit::Bytes(ByteCount::ZERO)) {
            return Err(ProfileError::NoQueue);
        }
        self.blackouts.iter().try_for_each(Blackout::validate)
    }
}

impl LossModel {
    fn mean(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Bernoulli { p } => p.get(),
            Self::GilbertElliott { p, r, loss_bad, loss_good } => {
                let (p, r) = (p.get(), r.get());
                // A chain that cannot move stays where it begins, in good.
                let bad = if p + r > 0.0 { p / (p + r) } else { 0.0 };
                loss_bad.get() * bad + loss_good.get() * (1.0 - bad)
            }
            Self::EveryNth { n: 0 } => 0.0,
            Self::EveryNth { n } => 1.0 / n as f64,
        }
    }

    fn validate(&self) -> Result<(), ProfileError> {
        match *self {
            Self::EveryNth { n: 0 } => Err(ProfileError::EveryZeroth),
            Self::GilbertElliott { p, r, .. } if p.is_zero() && r.is_zero() => Err(ProfileError::StuckChain),
            _ => Ok(()),
        }
    }
}

impl DelayModel {
    fn mean(&self) -> Duration {
        match *self {
            Self::Constant(base) | Self::Uniform { base, .. } => base,
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

impl Blackout {
    fn validate(&self) -> Result<(), ProfileError> {
        if self.duration.is_zero() {
            return Err(ProfileError::EmptyBlackout);
        }
        match self.every {
            Some(every) if self.duration > every => {
                Err(ProfileError::BlackoutAbovePeriod { duration: self.duration, every })
            }
            _ => Ok(()),
        }
    }
}

impl Default for DelayModel {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}

/// Why a profile makes no sense. Each names its key in a link SPEC and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A uniform delay would be negative at times.
    #[error(
        "jitter: {} is more than the delay of {}; lower it, raise the delay, or use dist=normal",
        format_duration(*jitter), format_duration(*base)
    )]
    JitterAboveDelay { base: Duration, jitter: Duration },
    /// `every` was 0.
    #[error("loss: every(0) names no packet; write every(1) or more")]
    EveryZeroth,
    /// A Gilbert-Elliott chain that can leave neither state.
    #[error("loss: ge(p=0%,r=0%) never changes its state; give p or r a value, or write a plain loss=1%")]
    StuckChain,
    /// A queue without room for the packet in service.
    #[error("queue: a queue of 0 passes nothing; write queue=1p or more, or a blackout")]
    NoQueue,
    #[error("blackout: it has no duration; write for example blackout=20s+3s")]
    EmptyBlackout,
    #[error(
        "blackout: it lasts {}, more than its period of {}; lengthen the period",
        format_duration(*duration), format_duration(*every)
    )]
    BlackoutAbovePeriod { duration: Duration, every: Duration },
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    #[test]
    fn mean_loss_of_each_model() {
        let chain = |p, r, bad, good| LossModel::GilbertElliott {
            p: percent(p),
            r: percent(r),
            loss_bad: percent(bad),
            loss_good: percent(good),
        };
        for (model, mean) in [
            (LossModel::None, 0.0),
            (LossModel::Bernoulli { p: percent(10.0) }, 0.1),
            (chain(1.0, 9.0, 100.0, 0.0), 0.1),
            (chain(50.0, 50.0, 20.0, 10.0), 0.15),
            (chain(0.0, 0.0, 100.0, 1.0), 0.01),
            (LossModel::EveryNth { n: 4 }, 0.25),
        ] {
            let profile = LinkProfile { loss: model, ..LinkProfile::default() };
            assert!((profile.mean_loss() - mean).abs() < 1e-12, "{model:?}");
        }
    }

    #[test]
    fn the_cut_at_zero_raises_the_mean_of_normal_delay() {
        let mean = |base, jitter| DelayModel::Normal { base, jitter }.mean();
        // Half of N(0, 1) is cut: the rest has mean 1/sqrt(2 pi).
        let cut = mean(Duration::ZERO, 1000 * MS).as_secs_f64();
        assert!((cut - 0.398_942).abs() < 1e-6, "{cut}");
        let whole = mean(50 * MS, 5 * MS);
        assert!(whole.abs_diff(50 * MS) < Duration::from_nanos(100), "{whole:?}");
        assert_eq!(mean(50 * MS, Duration::ZERO), 50 * MS);
    }

    #[test]
    fn contradictions_are_refused() {
        let with = |change: fn(&mut LinkProfile)| {
            let mut profile = LinkProfile::default();
            change(&mut profile);
            profile.validate()
        };
        assert_eq!(LinkProfile::default().validate(), Ok(()));
        assert_eq!(
            with(|p| p.delay = DelayModel::Uniform { base: MS, jitter: 2 * MS }),
            Err(ProfileError::JitterAboveDelay { base: MS, jitter: 2 * MS })
        );
        assert_eq!(with(|p| p.delay = DelayModel::Normal { base: MS, jitter: 2 * MS }), Ok(()));
        assert_eq!(with(|p| p.loss = LossModel::EveryNth { n: 0 }), Err(ProfileError::EveryZeroth));
        assert_eq!(with(|p| p.queue = QueueLimit::Packets(0)), Err(ProfileError::NoQueue));
        let blackout = |duration, every| Blackout { at: MS, duration, every };
        assert_eq!(blackout(Duration::ZERO, None).validate(), Err(ProfileError::EmptyBlackout));
        assert_eq!(
            blackout(2 * MS, Some(MS)).validate(),
            Err(ProfileError::BlackoutAbovePeriod { duration: 2 * MS, every: MS })
        );
        assert_eq!(
            with(|p| {
                p.loss = LossModel::GilbertElliott {
                    p: Probability::ZERO,
                    r: Probability::ZERO,
                    loss_bad: Probability::ONE,
                    loss_good: Probability::ZERO,
                };
            }),
            Err(ProfileError::StuckChain)
        );
    }
}
