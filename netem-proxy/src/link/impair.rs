//! Duplication, corruption and deliberate reordering.
//!
//! A copy is a packet of its own from the moment it is made: it takes capacity, a place in the queue, a delay, and
//! may be corrupted while its original is not. Its draws come from a second [`Lane`], so that duplication does not
//! shift the draws of originals.

use std::time::Duration;

use units::{ByteCount, Probability, Seed};

use super::chance::Chance;
use super::coin::Coin;
use super::delay::{Delay, scale};
use super::draws::Draws;
use super::loss::Loss;
use super::parcel::Fate;
use crate::profile::{LinkProfile, LossModel, LossPlace, Reorder};

/// Decides which packets are carried twice.
#[derive(Debug)]
pub(super) struct Duplicator {
    draws: Draws<1>,
    coin: Coin,
    is_on: bool,
}

impl Duplicator {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let correlation = profile.compat.map(|compat| compat.duplicate_correlation);
        Self {
            draws: Draws::new(seed),
            coin: Coin::new(profile.duplicate, correlation, &seed),
            is_on: !profile.duplicate.is_zero(),
        }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        let correlation = profile.compat.map(|compat| compat.duplicate_correlation);
        self.coin.configure(profile.duplicate, correlation);
        self.is_on = !profile.duplicate.is_zero();
    }

    /// For packet `number`; asked once for each packet, in order.
    #[inline]
    pub(super) fn draw(&mut self, number: u64) -> bool {
        self.is_on && self.coin.hits(self.draws.at(number, 0))
    }
}

/// The stages that originals and copies pass separately, each with its own chance.
#[derive(Debug)]
pub(super) struct Lane {
    loss: Loss,
    loss_is_on: bool,
    /// The verdict about the bit, and which one.
    corrupt_draws: Draws<2>,
    corrupt: Coin,
    corrupt_is_on: bool,
    delay: Delay,
    reorder_draws: Draws<1>,
    reorder: Option<(Chance, Duration)>,
}

impl Lane {
    pub(super) fn new(profile: &LinkProfile, seed: &Seed) -> Self {
        let corrupt_seed = seed.fork("corrupt");
        Self {
            loss: Loss::new(profile, seed.fork("loss")),
            loss_is_on: profile.loss != LossModel::None,
            corrupt_draws: Draws::new(corrupt_seed),
            corrupt: Coin::new(profile.corrupt, corrupt_correlation(profile), &corrupt_seed),
            corrupt_is_on: !profile.corrupt.is_zero(),
            delay: Delay::new(profile, seed.fork("delay")),
            reorder_draws: Draws::new(seed.fork("reorder")),
            reorder: profile.reorder.map(ready),
        }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        self.loss.configure(profile);
        self.loss_is_on = profile.loss != LossModel::None;
        self.corrupt.configure(profile.corrupt, corrupt_correlation(profile));
        self.corrupt_is_on = !profile.corrupt.is_zero();
        self.delay.configure(profile);
        self.reorder = profile.reorder.map(ready);
    }

    pub(super) fn loss_state(&self) -> u8 {
        self.loss.state()
    }

    pub(super) fn delay_state(&self) -> Option<f64> {
        self.delay.state()
    }

    /// Whether the loss stage takes packet `number`, wherever it stands.
    #[inline]
    pub(super) fn loses(&mut self, number: u64) -> bool {
        self.loss_is_on && self.loss.draw(number)
    }

    /// Whether netem, which sends copies through its entrance again, loses the copy of packet `number`.
    pub(super) fn loses_copy(&mut self, number: u64) -> bool {
        self.loss_is_on && self.loss.draw_copy(number)
    }

    /// What else happens to packet `number`, which arrived `at` after the link's origin.
    pub(super) fn draw(&mut self, number: u64, at: Duration, size: ByteCount) -> Fate {
        let bits = size.as_u64().saturating_mul(8);
        let is_corrupt = self.corrupt_is_on && self.corrupt.hits(self.corrupt_draws.at(number, 0));
        // A packet without bits has none to flip.
        let bit = (is_corrupt && bits > 0).then(|| scale(self.corrupt_draws.at(number, 1), bits));
        let held_back = self
            .reorder
            .and_then(|(chance, extra)| chance.hits(self.reorder_draws.at(number, 0)).then_some(extra));
        Fate::new(bit, self.delay.draw(number, at), held_back)
    }
}

/// Whether loss of this profile strikes behind the bottleneck. In netem it never does.
pub(super) fn is_lost_on_wire(profile: &LinkProfile) -> bool {
    profile.loss_at == LossPlace::Wire && profile.compat.is_none()
}

fn corrupt_correlation(profile: &LinkProfile) -> Option<Probability> {
    profile.compat.map(|compat| compat.corrupt_correlation)
}

/// Flips bit `bit` of `bytes`, counted from the highest bit of the first byte. A bit beyond the end changes nothing.
pub fn flip_bit(bytes: &mut [u8], bit: u64) {
    let place = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

fn ready(reorder: Reorder) -> (Chance, Duration) {
    (reorder.p.into(), reorder.extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flipping_changes_exactly_one_bit_and_twice_changes_nothing() {
        for bit in 0..32 {
            let mut bytes = [0xA5, 0x00, 0xFF, 0x3C];
            flip_bit(&mut bytes, bit);
            let ones: u32 =
                bytes.iter().zip([0xA5_u8, 0x00, 0xFF, 0x3C]).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert_eq!(ones, 1);
            flip_bit(&mut bytes, bit);
            assert_eq!(bytes, [0xA5, 0x00, 0xFF, 0x3C]);
        }
    }

    #[test]
    fn a_bit_beyond_the_end_changes_nothing() {
        let mut bytes = [1, 2];
        flip_bit(&mut bytes, 16);
        flip_bit(&mut bytes, u64::MAX);
        assert_eq!(bytes, [1, 2]);
    }

    #[test]
    fn every_bit_of_a_packet_can_be_the_corrupted_one() {
        let profile = LinkProfile { corrupt: Probability::ONE, ..LinkProfile::default() };
        let mut lane = Lane::new(&profile, &Seed::root(3));
        let mut seen = [0_u32; 24];
        for number in 1..=24_000 {
            let bit = lane.draw(number, Duration::ZERO, ByteCount(3)).corrupt().expect("certain");
            seen[usize::try_from(bit).expect("small")] += 1;
        }
        // Binomial(24000, 1/24): mean 1000, sd 31.
        assert!(seen.iter().all(|&count| (845..=1155).contains(&count)), "{seen:?}");
    }

    #[test]
    fn a_packet_without_bits_is_never_corrupt() {
        let profile = LinkProfile { corrupt: Probability::ONE, ..LinkProfile::default() };
        assert_eq!(
            Lane::new(&profile, &Seed::root(3)).draw(1, Duration::ZERO, ByteCount::ZERO).corrupt(),
            None
        );
    }
}
