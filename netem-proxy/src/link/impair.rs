//! Duplication, corruption and deliberate reordering.
//!
//! A copy is a packet of its own from the moment it is made: it takes capacity, a place in the queue, a delay, and
//! may be corrupted while its original is not. Its draws come from a second [`Lane`], so that duplication does not
//! shift the draws of originals.

use std::time::Duration;

use rand::Rng as _;
use units::{ByteCount, Probability, Rng, Seed};

use super::chance::Chance;
use super::coin::Coin;
use super::delay::{Delay, scale};
use crate::profile::{LinkProfile, Reorder};

/// Decides which packets are carried twice.
#[derive(Debug)]
pub(super) struct Duplicator {
    rng: Rng,
    coin: Coin,
}

impl Duplicator {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let correlation = profile.compat.map(|compat| compat.duplicate_correlation);
        Self { rng: seed.rng(), coin: Coin::new(profile.duplicate, correlation, &seed) }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        let correlation = profile.compat.map(|compat| compat.duplicate_correlation);
        self.coin.configure(profile.duplicate, correlation);
    }

    pub(super) fn draw(&mut self) -> bool {
        self.coin.hits(self.rng.next_u64())
    }
}

/// What will happen to a packet that survives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fate {
    /// The bit to flip.
    pub(super) corrupt: Option<u64>,
    pub(super) delay: Duration,
    /// Taken out of the line, and this much later than its delay.
    pub(super) held_back: Option<Duration>,
}

/// The stages that originals and copies pass separately.
#[derive(Debug)]
pub(super) struct Lane {
    corrupt_rng: Rng,
    corrupt: Coin,
    delay: Delay,
    reorder_rng: Rng,
    reorder: Option<(Chance, Duration)>,
}

impl Lane {
    pub(super) fn new(profile: &LinkProfile, seed: &Seed) -> Self {
        Self {
            corrupt_rng: seed.fork("corrupt").rng(),
            corrupt: Coin::new(profile.corrupt, corrupt_correlation(profile), &seed.fork("corrupt")),
            delay: Delay::new(profile, seed.fork("delay")),
            reorder_rng: seed.fork("reorder").rng(),
            reorder: profile.reorder.map(ready),
        }
    }

    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        self.corrupt.configure(profile.corrupt, corrupt_correlation(profile));
        self.delay.configure(profile);
        self.reorder = profile.reorder.map(ready);
    }

    pub(super) fn delay_state(&self) -> Option<f64> {
        self.delay.state()
    }

    /// What happens to packet `number`, which arrived `at` after the link's origin.
    pub(super) fn draw(&mut self, number: u64, at: Duration, size: ByteCount) -> Fate {
        let is_corrupt = self.corrupt.hits(self.corrupt_rng.next_u64());
        let place = self.corrupt_rng.next_u64();
        let reorder = self.reorder_rng.next_u64();
        let bits = size.as_u64().saturating_mul(8);
        Fate {
            // A packet without bits has none to flip.
            corrupt: (is_corrupt && bits > 0).then(|| scale(place, bits)),
            delay: self.delay.draw(number, at),
            held_back: self.reorder.and_then(|(chance, extra)| chance.hits(reorder).then_some(extra)),
        }
    }
}

/// Flips bit `bit` of `bytes`, counted from the highest bit of the first byte. A bit beyond the end changes nothing.
pub fn flip_bit(bytes: &mut [u8], bit: u64) {
    let place = usize::try_from(bit / 8).unwrap_or(usize::MAX);
    if let Some(byte) = bytes.get_mut(place) {
        *byte ^= 0x80 >> (bit % 8);
    }
}

fn corrupt_correlation(profile: &LinkProfile) -> Option<Probability> {
    profile.compat.map(|compat| compat.corrupt_correlation)
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
            let bit = lane.draw(number, Duration::ZERO, ByteCount(3)).corrupt.expect("certain");
            seen[usize::try_from(bit).expect("small")] += 1;
        }
        // Binomial(24000, 1/24): mean 1000, sd 31.
        assert!(seen.iter().all(|&count| (845..=1155).contains(&count)), "{seen:?}");
    }

    #[test]
    fn a_packet_without_bits_is_never_corrupt() {
        let profile = LinkProfile { corrupt: Probability::ONE, ..LinkProfile::default() };
        assert_eq!(
            Lane::new(&profile, &Seed::root(3)).draw(1, Duration::ZERO, ByteCount::ZERO).corrupt,
            None
        );
    }
}
