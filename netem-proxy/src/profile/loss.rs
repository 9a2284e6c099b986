//! Which packets disappear, as a value.

use std::sync::Arc;

use units::Probability;

use super::ProfileError;

/// Which packets disappear.
#[derive(Clone, Debug, PartialEq, Default)]
pub enum LossModel {
    #[default]
    None,
    /// Each packet is lost independently.
    Bernoulli { p: Probability },
    /// Losses come in runs: `rate` of all packets, in runs of `mean_length` packets (at least 1) on average, both
    /// geometric. What "correlated loss" means here; the chain is Gilbert's with `r = 1 / mean_length`.
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
    /// One entry a packet, true is lost; begins again at its end.
    Trace(Arc<[bool]>),
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
    pub(super) fn mean(&self) -> f64 {
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
            Self::FourState { p13, p31, p32, p23, p14 } => {
                let [p13, p31, p32, p23, p14] = [p13, p31, p32, p23, p14].map(Probability::get);
                // Stationary shares, relative to that of state 1: NetemCLG, "Definition of a general and intuitive
                // loss model" (2009), section 4.
                let three = if p31 > 0.0 { p13 / p31 } else { 0.0 };
                let two = if p23 > 0.0 { three * p32 / p23 } else { 0.0 };
                (three + p14) / (1.0 + two + three + p14)
            }
            Self::EveryNth { n: 0 } | Self::List(_) => 0.0,
            Self::EveryNth { n } => 1.0 / n as f64,
            Self::Trace(ref losses) => {
                losses.iter().filter(|&&lost| lost).count() as f64 / losses.len().max(1) as f64
            }
        }
    }

    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match *self {
            Self::EveryNth { n: 0 } => Err(ProfileError::EveryZeroth),
            Self::GilbertElliott { p, r, .. } if p.is_zero() && r.is_zero() => Err(ProfileError::StuckChain),
            _ => Ok(()),
        }
    }
}
