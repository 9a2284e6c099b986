//! The faults of Linux' netem, as a value.

use units::Probability;

use super::{DelayModel, LinkProfile, LossModel, Order, ProfileError};
use crate::law::netem;

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
