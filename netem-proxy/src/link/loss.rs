//! Which packets disappear.
//!
//! Loss comes before the bottleneck, as in Linux' netem: a lost packet costs no capacity. For loss behind the
//! bottleneck, put two links in a row. Correlation in the manner of netem (a recurrence on uniform numbers) is left
//! out on purpose: its mean is not the one configured (10 % with correlation 50 % loses 0.1 %). Bursts are what
//! [`LossModel::GilbertElliott`] is for.

use units::Seed;

use super::chance::Chance;
use super::draws::Draws;
use crate::profile::{LinkProfile, LossModel};

/// The loss stage. Chains begin in the good state, periodic loss counts from the first packet of the link.
#[derive(Debug)]
pub(super) struct Loss {
    draws: Draws<2>,
    rule: Rule,
    is_bad: bool,
}

impl Loss {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        Self { draws: Draws::new(seed), rule: Rule::from(&profile.loss), is_bad: false }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        self.rule = Rule::from(&profile.loss);
    }

    /// Whether packet `number`, counted from 1, is lost; asked once for each packet, in order. Draws two numbers under
    /// every model: one for the verdict, one for the chain.
    pub(super) fn draw(&mut self, number: u64) -> bool {
        let verdict = self.draws.at(number, 0);
        let turn = self.draws.at(number, 1);
        match self.rule {
            Rule::Chance(chance) => chance.hits(verdict),
            Rule::Chain(chain) => {
                let is_lost = if self.is_bad { chain.loss_bad } else { chain.loss_good }.hits(verdict);
                let turns = if self.is_bad { chain.to_good } else { chain.to_bad }.hits(turn);
                self.is_bad ^= turns;
                is_lost
            }
            Rule::Every(n) => number.is_multiple_of(n),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Rule {
    Chance(Chance),
    Chain(Chain),
    Every(u64),
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    to_bad: Chance,
    to_good: Chance,
    loss_bad: Chance,
    loss_good: Chance,
}

impl From<&LossModel> for Rule {
    fn from(model: &LossModel) -> Self {
        match *model {
            LossModel::None => Rule::Chance(Chance::from(units::Probability::ZERO)),
            LossModel::Bernoulli { p } => Rule::Chance(p.into()),
            LossModel::GilbertElliott { p, r, loss_bad, loss_good } => Rule::Chain(Chain {
                to_bad: p.into(),
                to_good: r.into(),
                loss_bad: loss_bad.into(),
                loss_good: loss_good.into(),
            }),
            LossModel::EveryNth { n } => Rule::Every(n),
            _ => Rule::Chance(Chance::from(units::Probability::ZERO)),
        }
    }
}

#[cfg(test)]
mod tests {
    use units::Probability;

    use super::*;

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    fn draws(model: &LossModel, seed: u64, count: usize) -> Vec<bool> {
        let profile = LinkProfile { loss: model.clone(), ..LinkProfile::default() };
        let mut loss = Loss::new(&profile, Seed::root(seed));
        (1..=count as u64).map(|number| loss.draw(number)).collect()
    }

    #[test]
    fn independent_loss_has_its_mean() {
        for (p, seed) in [(0.1, 1), (1.0, 2), (10.0, 3), (50.0, 4), (99.0, 5)] {
            let count = 1_000_000;
            let lost =
                draws(&LossModel::Bernoulli { p: percent(p) }, seed, count).iter().filter(|&&l| l).count();
            let (n, p) = (count as f64, p / 100.0);
            // Binomial: sd = sqrt(np(1-p)); five of them fail once in 1.7 million seeds.
            let tolerance = 5.0 * (n * p * (1.0 - p)).sqrt();
            assert!((lost as f64 - n * p).abs() < tolerance, "{lost} of {count} at {p}");
        }
    }

    #[test]
    fn a_chain_has_its_mean_loss_and_burst_length() {
        let (p, r) = (0.01, 0.3);
        let model = LossModel::GilbertElliott {
            p: percent(1.0),
            r: percent(30.0),
            loss_bad: Probability::ONE,
            loss_good: Probability::ZERO,
        };
        let count = 1_000_000;
        let lost = draws(&model, 7, count);
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count() as f64;
        let losses = lost.iter().filter(|&&l| l).count() as f64;

        // Stationary share of bad: p/(p+r). Its variance is the binomial one times (1+rho)/(1-rho), rho = 1-p-r.
        let (n, mean, rho) = (count as f64, p / (p + r), 1.0 - p - r);
        let sd = (n * mean * (1.0 - mean) * (1.0 + rho) / (1.0 - rho)).sqrt();
        assert!((losses - n * mean).abs() < 5.0 * sd, "{losses} lost");

        // Stays in bad are geometric: mean 1/r, sd sqrt(1-r)/r.
        let tolerance = 5.0 * ((1.0 - r).sqrt() / r) / bursts.sqrt();
        assert!((losses / bursts - 1.0 / r).abs() < tolerance, "mean burst {}", losses / bursts);
    }

    #[test]
    fn periodic_loss_takes_exactly_every_nth() {
        let lost = draws(&LossModel::EveryNth { n: 4 }, 1, 12);
        let places: Vec<usize> = lost.iter().enumerate().filter(|(_, l)| **l).map(|(i, _)| i).collect();
        assert_eq!(places, [3, 7, 11]);
    }

    #[test]
    fn certain_loss_loses_everything_and_none_nothing() {
        assert!(draws(&LossModel::Bernoulli { p: Probability::ONE }, 1, 1000).iter().all(|&l| l));
        assert!(draws(&LossModel::None, 1, 1000).iter().all(|&l| !l));
    }

    #[test]
    fn raising_the_probability_only_adds_losses() {
        let low = draws(&LossModel::Bernoulli { p: percent(5.0) }, 9, 10_000);
        let high = draws(&LossModel::Bernoulli { p: percent(10.0) }, 9, 10_000);
        assert!(low.iter().zip(&high).all(|(low, high)| !low || *high));
    }
}
