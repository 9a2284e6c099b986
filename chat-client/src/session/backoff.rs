//! How long to wait before connecting again: exponential, with full jitter, so that the clients of a server that comes
//! back do not all knock at once.

use std::time::Duration;

use rand::RngExt;
use units::Rng;

#[derive(Clone, Copy, Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    pub(super) fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The next pause: uniform between half and all of `first * 2^failures`, at most `longest`.
    pub(super) fn next(&mut self, rng: &mut Rng) -> Duration {
        let ceiling = self.first.saturating_mul(1 << self.failures.min(MAX_DOUBLINGS)).min(self.longest);
        self.failures += 1;
        ceiling.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// A session was established: the next failure is a first one.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// 2^20 times any pause is above every ceiling; keeps the shift in range.
const MAX_DOUBLINGS: u32 = 20;

#[cfg(test)]
mod tests {
    use units::Seed;

    use super::*;

    #[test]
    fn pauses_double_within_their_jitter_up_to_the_longest() {
        let mut rng = Seed::root(1).rng();
        let mut backoff = Backoff::new((Duration::from_millis(100), Duration::from_secs(1)));
        for ceiling_ms in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.next(&mut rng);
            let ceiling = Duration::from_millis(ceiling_ms);
            assert!(pause >= ceiling / 2 && pause <= ceiling, "{pause:?} for {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next(&mut rng) <= Duration::from_millis(100));
    }
}
