//! Whether a reduction of the window was for nothing.
//!
//! A controller reduces once for all losses of a flight. Such an episode was spurious if *every* one of its losses was
//! acknowledged after all (RFC 4015 and RFC 8312 section 4.9.2 ask the same of timestamps and DSACKs; packet numbers say
//! it plainly). One real loss makes the reduction right, so random loss never undoes anything.

use units::Timestamp;

/// The losses of the latest flight that had any.
#[derive(Clone, Debug, Default)]
pub(crate) struct Episode {
    /// Losses of packets below this number belong to it.
    end: u64,
    since: Timestamp,
    lost: u32,
    spurious: u32,
}

impl Episode {
    /// Packet `number` was declared lost at `now`. Returns whether an episode begins with it.
    pub(crate) fn on_lost(&mut self, now: Timestamp, number: u64, next_packet: u64) -> bool {
        if number < self.end {
            self.lost += 1;
            return false;
        }
        *self = Self { end: next_packet, since: now, lost: 1, spurious: 0 };
        true
    }

    /// A packet declared lost at `lost_at` was acknowledged. Returns whether that was the last loss of the episode, so that
    /// all were spurious; the episode is then over.
    pub(crate) fn on_spurious(&mut self, number: u64, lost_at: Timestamp) -> bool {
        if lost_at < self.since || number >= self.end {
            return false;
        }
        self.spurious += 1;
        let all = self.spurious == self.lost;
        if all {
            *self = Self::default();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    #[test]
    fn all_losses_must_prove_spurious() {
        let mut episode = Episode::default();
        assert!(episode.on_lost(at(100), 5, 20));
        assert!(!episode.on_lost(at(110), 7, 22));
        assert!(!episode.on_spurious(5, at(100)));
        assert!(episode.on_spurious(7, at(110)));
    }

    #[test]
    fn one_real_loss_keeps_the_reduction() {
        let mut episode = Episode::default();
        episode.on_lost(at(100), 5, 20);
        episode.on_lost(at(100), 6, 20);
        assert!(!episode.on_spurious(6, at(100)));
        assert!(episode.on_lost(at(300), 25, 40), "the next flight");
        assert!(!episode.on_spurious(5, at(100)), "too late, that was the flight before");
        assert!(episode.on_spurious(25, at(300)));
    }
}
