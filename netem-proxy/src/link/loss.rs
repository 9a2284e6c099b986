//! Which packets disappear.
//!
//! Loss comes before the bottleneck by default, as in Linux' netem: a lost packet costs no capacity. Correlation in
//! the manner of netem (a recurrence on uniform numbers) only happens under `compat=netem`: its mean is not the one
//! configured (10 % with correlation 50 % loses 0.1 %). Bursts are what [`LossModel::Burst`] and the chains are for.

use std::sync::Arc;

use rand::Rng as _;
use units::{Probability, Seed};

use super::chance::Chance;
use super::draws::Draws;
use crate::law::netem::{self, Crandom};
use crate::profile::{LinkProfile, LossModel, LossTrace};

/// The loss stage. Chains begin in the good state, except bursts, which begin as they are in the long run; what counts
/// packets counts from the first of the link.
#[derive(Debug)]
pub(super) struct Loss {
    draws: Draws<2>,
    /// For copies, which only netem loses.
    copies: Draws<2>,
    rule: Rule,
    /// Where a chain of two states is.
    is_bad: bool,
    /// Where a chain of four states is, 1 to 4.
    place: u8,
    /// Where the kernel's generator would begin.
    first: u32,
}

impl Loss {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let first = seed.fork("last").rng().next_u32();
        let rule = Rule::new(profile, first);
        let copies = Draws::new(seed.fork("copy"));
        Self { draws: Draws::new(seed), copies, rule, is_bad: false, place: 1, first }
    }

    /// Takes another model. Chains stay in their state, and so do netem's recurrence and chains while they go on.
    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        let before = std::mem::replace(&mut self.rule, Rule::new(profile, self.first));
        match (before, &mut self.rule) {
            (Rule::Netem(before), Rule::Netem(now)) => now.keep_state(before, profile),
            (Rule::Chain(_), Rule::Chain(now)) => now.begins = None,
            _ => {}
        }
    }

    /// Whether packet `number`, counted from 1, is lost; asked once for each packet, in order. Draws two numbers under
    /// every model: one for the verdict, one for the chain.
    pub(super) fn draw(&mut self, number: u64) -> bool {
        let verdict = self.draws.at(number, 0);
        let turn = self.draws.at(number, 1);
        match &mut self.rule {
            Rule::Chance(chance) => chance.hits(verdict),
            Rule::Chain(chain) => {
                if let Some(stationary) = chain.begins.take() {
                    self.is_bad = stationary.hits(verdict);
                }
                let is_lost = if self.is_bad { chain.loss_bad } else { chain.loss_good }.hits(verdict);
                let turns = if self.is_bad { chain.to_good } else { chain.to_bad }.hits(turn);
                self.is_bad ^= turns;
                is_lost
            }
            Rule::FourState(chain) => {
                self.place = chain.next(self.place, verdict);
                matches!(self.place, 3 | 4)
            }
            Rule::Every(n) => number.is_multiple_of(*n),
            Rule::List(numbers) => numbers.binary_search(&number).is_ok(),
            Rule::Trace(trace) => {
                let place = (number - 1) % trace.losses.len().max(1) as u64;
                usize::try_from(place)
                    .ok()
                    .and_then(|place| trace.losses.get(place))
                    .is_some_and(|&lost| lost)
            }
            Rule::Netem(loss) => loss.draw(verdict, turn),
        }
    }

    /// Whether the copy of packet `number` is lost, in netem, where it passes the queue's entrance a second time.
    pub(super) fn draw_copy(&mut self, number: u64) -> bool {
        match &mut self.rule {
            Rule::Netem(loss) => loss.draw(self.copies.at(number, 0), self.copies.at(number, 1)),
            _ => false,
        }
    }

    /// The state of a chain after the last packet, 1 to 4 as in [`LossModel`] (1 is good, 2 is bad in a chain of two); 1
    /// for models without states. What a test or a log may look at and an application cannot.
    pub(super) fn state(&self) -> u8 {
        match &self.rule {
            Rule::Chain(_) => 1 + u8::from(self.is_bad),
            Rule::FourState(_) => self.place,
            Rule::Netem(NetemLoss::FourState(chain)) => chain.state(),
            Rule::Netem(NetemLoss::GilbertElliott(chain)) => 1 + u8::from(chain.is_bad()),
            _ => 1,
        }
    }
}

#[derive(Clone, Debug)]
enum Rule {
    Chance(Chance),
    Chain(Chain),
    FourState(FourState),
    Every(u64),
    List(Arc<[u64]>),
    Trace(Arc<LossTrace>),
    Netem(NetemLoss),
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    to_bad: Chance,
    to_good: Chance,
    loss_bad: Chance,
    loss_good: Chance,
    /// The chance to begin in bad, until the first packet.
    begins: Option<Chance>,
}

/// Chances are cumulative: one draw decides between all ways out of a state.
#[derive(Clone, Copy, Debug)]
struct FourState {
    p14: Chance,
    p14_or_p13: Chance,
    p23: Chance,
    p32: Chance,
    p32_or_p31: Chance,
}

impl FourState {
    fn next(self, place: u8, draw: u64) -> u8 {
        match place {
            1 if self.p14.hits(draw) => 4,
            1 if self.p14_or_p13.hits(draw) => 3,
            2 if self.p23.hits(draw) => 3,
            2 => 2,
            3 if self.p32.hits(draw) => 2,
            3 if self.p32_or_p31.hits(draw) => 1,
            3 => 3,
            _ => 1,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum NetemLoss {
    Random { share: u32, walk: Crandom },
    GilbertElliott(netem::GilbertElliott),
    FourState(netem::FourState),
}

impl NetemLoss {
    /// The upper halves of the draws are the kernel's 32-bit numbers.
    fn draw(&mut self, verdict: u64, turn: u64) -> bool {
        let (verdict, turn) = ((verdict >> 32) as u32, (turn >> 32) as u32);
        match self {
            Self::Random { share, .. } if netem::is_never(*share) => false,
            Self::Random { share, walk } => netem::hits(*share, walk.next(verdict)),
            Self::GilbertElliott(chain) => chain.next(turn, verdict),
            Self::FourState(chain) => chain.next(verdict),
        }
    }

    fn keep_state(&mut self, before: NetemLoss, profile: &LinkProfile) {
        match (self, before) {
            (Self::Random { walk, .. }, Self::Random { walk: before, .. }) => {
                *walk = before;
                walk.configure(profile.compat.unwrap_or_default().loss_correlation);
            }
            (Self::GilbertElliott(now), Self::GilbertElliott(before)) => *now = now.resuming(before),
            (Self::FourState(now), Self::FourState(before)) => *now = now.resuming(before),
            _ => {}
        }
    }
}

impl Rule {
    fn new(profile: &LinkProfile, first: u32) -> Self {
        match profile.compat.and_then(|compat| Rule::netem(&profile.loss, compat.loss_correlation, first)) {
            Some(rule) => rule,
            None => Rule::from(&profile.loss),
        }
    }

    /// `None` for models that the kernel does not have.
    fn netem(model: &LossModel, correlation: Probability, first: u32) -> Option<Self> {
        Some(Rule::Netem(match *model {
            LossModel::None => return None,
            LossModel::Bernoulli { p } => {
                NetemLoss::Random { share: netem::share(p), walk: Crandom::new(correlation, first) }
            }
            LossModel::GilbertElliott { p, r, loss_bad, loss_good } => {
                NetemLoss::GilbertElliott(netem::GilbertElliott::new(p, r, loss_bad, loss_good))
            }
            LossModel::FourState { p13, p31, p32, p23, p14 } => {
                NetemLoss::FourState(netem::FourState::new(p13, p31, p32, p23, p14))
            }
            _ => return None,
        }))
    }
}

impl From<&LossModel> for Rule {
    fn from(model: &LossModel) -> Self {
        let chance = |p: f64| Chance::from(Probability::new(p.clamp(0.0, 1.0)).unwrap_or_default());
        match *model {
            LossModel::None => Rule::Chance(Probability::ZERO.into()),
            LossModel::Bernoulli { p } => Rule::Chance(p.into()),
            LossModel::Burst { rate, .. } => match model.burst_chain() {
                None => Rule::Chance(rate.into()),
                Some((p, r)) => Rule::Chain(Chain {
                    to_bad: chance(p),
                    to_good: chance(r),
                    loss_bad: Probability::ONE.into(),
                    loss_good: Probability::ZERO.into(),
                    begins: Some(rate.into()),
                }),
            },
            LossModel::GilbertElliott { p, r, loss_bad, loss_good } => Rule::Chain(Chain {
                to_bad: p.into(),
                to_good: r.into(),
                loss_bad: loss_bad.into(),
                loss_good: loss_good.into(),
                begins: None,
            }),
            LossModel::FourState { p13, p31, p32, p23, p14 } => Rule::FourState(FourState {
                p14: p14.into(),
                p14_or_p13: chance(p14.get() + p13.get()),
                p23: p23.into(),
                p32: p32.into(),
                p32_or_p31: chance(p32.get() + p31.get()),
            }),
            LossModel::EveryNth { n } => Rule::Every(n),
            LossModel::List(ref numbers) => Rule::List(Arc::clone(numbers)),
            LossModel::Trace(ref trace) => Rule::Trace(Arc::clone(trace)),
        }
    }
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
