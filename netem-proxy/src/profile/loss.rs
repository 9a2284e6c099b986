//! Which packets disappear, as a value.

use std::sync::Arc;

use units::Probability;

use super::ProfileError;
use crate::law::markov::Chain;

/// Which packets disappear.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum LossModel {
    #[default]
    None,
    /// Each packet is lost independently.
    Bernoulli { p: Probability },
    /// Losses come in runs: `rate` of all packets, in runs of `mean_length` packets (at least 1) on average, both
    /// geometric. What "correlated loss" means here; the chain is Gilbert's with `r = 1 / mean_length` and
    /// `p = r rate / (1 - rate)`, and begins in the state it has in the long run.
    Burst { rate: Probability, mean_length: f64 },
    /// Two states, good and bad; `p` is the chance to turn bad after a packet, `r` to turn good again.
    /// Mean loss is `loss_bad * p/(p+r) + loss_good * r/(p+r)`; the mean stay in bad is `1/r` packets.
    GilbertElliott { p: Probability, r: Probability, loss_bad: Probability, loss_good: Probability },
    /// The four states of NetemCLG: 1 received, 2 received within a burst, 3 lost within a burst, 4 lost alone.
    /// `pXY` is the chance to go from state X to Y after a packet; 4 always returns to 1.
    FourState { p13: Probability, p31: Probability, p32: Probability, p23: Probability, p14: Probability },
    /// Every `n`-th packet is lost: the textbook's periodic loss. `n` is at least 1.
    EveryNth { n: u64 },
    /// Exactly these packets of the link, counted from 1, ascending.
    List(Arc<[u64]>),
    /// One entry a packet; begins again at its end.
    Trace(Arc<LossTrace>),
}

/// Recorded fates, one a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossTrace {
    /// The file it came from.
    pub name: String,
    /// True is lost.
    pub losses: Vec<bool>,
}

/// Where loss strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum LossPlace {
    /// Before the queue: a lost packet costs no capacity, as in Linux' netem.
    #[default]
    Entry,
    /// Behind the bottleneck: a lost packet was sent, and spent its time and its place in the queue.
    Wire,
}

impl LossModel {
    /// Share of packets lost in the long run, 0 to 1. A list takes a fixed number, so its share is zero.
    #[must_use]
    pub fn mean(&self) -> f64 {
        match *self {
            Self::None => 0.0,
            Self::Bernoulli { p } => p.get(),
            Self::GilbertElliott { p, r, loss_bad, loss_good } => {
                let (p, r) = (p.get(), r.get());
                // A chain that cannot move stays where it begins, in good.
                let bad = if p + r > 0.0 { p / (p + r) } else { 0.0 };
                loss_bad.get() * bad + loss_good.get() * (1.0 - bad)
            }
            Self::Burst { rate, .. } => rate.get(),
            Self::FourState { .. } => self.four_states().map_or(0.0, |chain| chain.mean_loss()),
            Self::EveryNth { n: 0 } | Self::List(_) => 0.0,
            Self::EveryNth { n } => 1.0 / n as f64,
            Self::Trace(ref trace) => {
                trace.losses.iter().filter(|&&lost| lost).count() as f64 / trace.losses.len().max(1) as f64
            }
        }
    }

    /// How much more the number of losses varies than that of independent ones of the same share: its variance over n
    /// packets tends to `n mean (1 - mean)` times this. 1 for independent losses, 0 where nothing is left to chance.
    #[must_use]
    pub fn variance_inflation(&self) -> f64 {
        match *self {
            Self::None | Self::Bernoulli { .. } => 1.0,
            Self::GilbertElliott { p, r, loss_bad, loss_good } => {
                let (p, r) = (p.get(), r.get());
                let transitions = [[1.0 - p, p], [r, 1.0 - r]];
                Chain { transitions, loss: [loss_good.get(), loss_bad.get()] }.variance_inflation()
            }
            Self::Burst { .. } => {
                let Some((p, r)) = self.burst_chain() else { return 0.0 };
                Chain { transitions: [[1.0 - p, p], [r, 1.0 - r]], loss: [0.0, 1.0] }.variance_inflation()
            }
            Self::FourState { .. } => self.four_states().map_or(1.0, |chain| chain.variance_inflation()),
            Self::EveryNth { .. } | Self::List(_) | Self::Trace(_) => 0.0,
        }
    }

    /// Mean number of losses among the first `packets` of a link. Exact for models without chance.
    #[must_use]
    pub fn expected_losses(&self, packets: u64) -> f64 {
        match *self {
            Self::EveryNth { n } => (packets / n.max(1)) as f64,
            Self::List(ref numbers) => numbers.partition_point(|&number| number <= packets) as f64,
            Self::Trace(ref trace) => {
                let whole = packets / trace.losses.len().max(1) as u64;
                let rest = usize::try_from(packets % trace.losses.len().max(1) as u64).unwrap_or(usize::MAX);
                let count = |losses: &[bool]| losses.iter().filter(|&&lost| lost).count() as u64;
                (whole * count(&trace.losses) + count(trace.losses.get(..rest).unwrap_or_default())) as f64
            }
            _ => self.mean() * packets as f64,
        }
    }

    /// Chances to begin and to end a run of losses; `None` if everything is lost, or for other models.
    pub(crate) fn burst_chain(&self) -> Option<(f64, f64)> {
        let Self::Burst { rate, mean_length } = *self else { return None };
        let (rate, r) = (rate.get(), 1.0 / mean_length.max(1.0));
        (rate < 1.0).then(|| ((rate * r / (1.0 - rate)).min(1.0), r))
    }

    fn four_states(&self) -> Option<Chain<4>> {
        let Self::FourState { p13, p31, p32, p23, p14 } = *self else { return None };
        let [p13, p31, p32, p23, p14] = [p13, p31, p32, p23, p14].map(Probability::get);
        let transitions = [
            [(1.0 - p13 - p14).max(0.0), 0.0, p13, p14],
            [0.0, 1.0 - p23, p23, 0.0],
            [p31, p32, (1.0 - p31 - p32).max(0.0), 0.0],
            [1.0, 0.0, 0.0, 0.0],
        ];
        Some(Chain { transitions, loss: [0.0, 0.0, 1.0, 1.0] })
    }

    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match *self {
            Self::EveryNth { n: 0 } => Err(ProfileError::EveryZeroth),
            Self::GilbertElliott { p, r, .. } if p.is_zero() && r.is_zero() => Err(ProfileError::StuckChain),
            Self::Burst { rate, mean_length } => {
                if !(1.0..=MAX_BURST).contains(&mean_length) {
                    return Err(ProfileError::BurstLength);
                }
                // Runs are at least one packet apart: p <= 1 means rate <= L / (L + 1).
                if !rate.is_one() && rate.get() * (mean_length + 1.0) > mean_length * (1.0 + 1e-12) {
                    return Err(ProfileError::BurstsTooClose);
                }
                Ok(())
            }
            Self::FourState { p13, p31, p32, p14, .. } => {
                let is_above_one = |a: Probability, b: Probability| a.get() + b.get() > 1.0 + 1e-12;
                if is_above_one(p13, p14) {
                    return Err(ProfileError::StateAboveOne { pair: "p13 and p14" });
                }
                if is_above_one(p31, p32) {
                    return Err(ProfileError::StateAboveOne { pair: "p31 and p32" });
                }
                Ok(())
            }
            Self::List(ref numbers) => {
                let is_ascending = numbers.windows(2).all(|pair| pair[0] < pair[1]);
                let is_good = is_ascending && numbers.first().is_some_and(|&first| first > 0);
                if is_good { Ok(()) } else { Err(ProfileError::LossList) }
            }
            Self::Trace(ref trace) if trace.losses.is_empty() => Err(ProfileError::EmptyLossTrace),
            _ => Ok(()),
        }
    }
}

/// The longest mean run of losses: more packets than any link of ours carries in a run.
const MAX_BURST: f64 = 1e12;
