//! Yes or no for each packet: by its own chance, or by the kernel's.

use rand::Rng as _;
use units::{Probability, Seed};

use super::chance::Chance;
use crate::law::netem::{self, Crandom};

/// A probability that is asked once a packet. Under `compat=netem` its numbers go through the kernel's correlation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coin {
    chance: Chance,
    share: u32,
    walk: Crandom,
    is_netem: bool,
}

impl Coin {
    /// `correlation` is the kernel's, `None` for a fair coin.
    pub(super) fn new(p: Probability, correlation: Option<Probability>, seed: &Seed) -> Self {
        let first = seed.fork("last").rng().next_u32();
        Self {
            chance: p.into(),
            share: netem::share(p),
            walk: Crandom::new(correlation.unwrap_or_default(), first),
            is_netem: correlation.is_some(),
        }
    }

    /// Takes other values; what correlation remembers stays.
    pub(super) fn configure(&mut self, p: Probability, correlation: Option<Probability>) {
        self.chance = p.into();
        self.share = netem::share(p);
        self.walk.configure(correlation.unwrap_or_default());
        self.is_netem = correlation.is_some();
    }

    /// The upper half of the draw is the kernel's 32-bit number.
    pub(super) fn hits(&mut self, draw: u64) -> bool {
        if !self.is_netem {
            return self.chance.hits(draw);
        }
        !netem::is_never(self.share) && netem::hits(self.share, self.walk.next((draw >> 32) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    #[test]
    fn a_correlated_coin_is_as_far_off_as_in_the_kernel() {
        let seed = Seed::root(1);
        let share = |correlation| {
            let mut coin = Coin::new(percent(10.0), correlation, &seed);
            let mut rng = seed.rng();
            (0..1_000_000).filter(|_| coin.hits(rng.next_u64())).count() as f64 / 1e6
        };
        // Five binomial deviations: 0.0015 at 10 %, 0.0007 at 1.75 %.
        assert!((share(None) - 0.1).abs() < 0.0015);
        assert!((share(Some(Probability::ZERO)) - 0.1).abs() < 0.0015);
        assert!((share(Some(percent(25.0))) - 0.0175).abs() < 0.0007 + 0.0005);
    }
}
