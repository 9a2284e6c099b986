//! Random numbers by number of packet.
//!
//! ChaCha8 is a counter-based generator: the n-th number of a stream can be had without the ones before it. A stage's
//! key is its seed, forked by name from the link's; its counter is the packet's number in the link. So what one stage
//! draws for one packet depends on nothing else: not on other stages, not on whether the stage was on before.

use rand::Rng as _;
use units::{Rng, Seed};

/// The numbers of one stage, `LANES` for each packet.
#[derive(Debug)]
pub(super) struct Draws<const LANES: u64 = 1> {
    seed: Seed,
    /// Made by the first draw: a generator is 320 bytes, a link has eleven of them, and most stages are off.
    rng: Option<Box<Rng>>,
    /// The place in the stream that comes next.
    next: u64,
}

impl<const LANES: u64> Draws<LANES> {
    pub(super) fn new(seed: Seed) -> Self {
        Self { seed, rng: None, next: 0 }
    }

    /// The number of `packet` (counted from 1) in `lane`; uniform over 64 bits. Cheapest in ascending order.
    pub(super) fn at(&mut self, packet: u64, lane: u64) -> u64 {
        let place = packet.wrapping_sub(1).wrapping_mul(LANES).wrapping_add(lane);
        let rng = self.rng.get_or_insert_with(|| Box::new(self.seed.rng()));
        if place.wrapping_sub(self.next) > NEAR {
            rng.set_word_pos(u128::from(place) * WORDS);
            self.next = place;
        }
        while self.next != place {
            rng.next_u64();
            self.next = self.next.wrapping_add(1);
        }
        self.next = self.next.wrapping_add(1);
        rng.next_u64()
    }
}

/// 32-bit words of a draw.
const WORDS: u128 = 2;

/// Draws that are skipped one by one; further ones cost a new block, about as much as 32 draws.
const NEAR: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_has_the_same_number_whatever_was_asked_before() {
        let all: Vec<u64> = {
            let mut draws = Draws::<2>::new(Seed::root(7));
            (1..=500)
                .flat_map(|packet| [(packet, 0), (packet, 1)])
                .map(|(p, lane)| draws.at(p, lane))
                .collect()
        };
        for step in [1, 2, 3, 17, 40, 100] {
            let mut draws = Draws::<2>::new(Seed::root(7));
            for packet in (1..=500).step_by(step) {
                assert_eq!(draws.at(packet as u64, 1), all[2 * packet - 1]);
            }
        }
        let mut backwards = Draws::<2>::new(Seed::root(7));
        for packet in (1..=500).rev() {
            assert_eq!(backwards.at(packet as u64, 0), all[2 * packet - 2]);
        }
    }
}
