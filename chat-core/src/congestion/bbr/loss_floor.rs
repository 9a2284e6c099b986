//! The loss floor: loss that stays when the sending rate falls, and therefore is not caused by it.
//!
//! The draft tolerates 2 % of loss in a round and answers anything else by sending less. On a radio link that loses 5 %
//! whatever is sent, the answer changes nothing, is repeated every round, and takes all the rate away. The two kinds of
//! loss can be told apart by experiment: if a queue overflows or a policer drops, sending at the rate that was just
//! *delivered* ends the loss within a round; if the path loses at random, it does not.
//!
//! So the draft's answer is given, and its effect is measured. The short-term bound falls round by round as the draft
//! says; if after [`PROOF_ROUNDS`] such rounds in a row (or as many spans of
//! [`MIN_PACKETS`], where a round has fewer) the loss is still there, at more than half of its first rate and
//! with no queue in the round-trip times, its mean rate becomes the floor, and the reductions are taken back; so is what
//! probes that met the same loss took from the long-term bound. From then on loss counts only above the floor (plus the
//! draft's 2 % and what chance explains), until the floor is [`VALID_FOR`] old and must be proved anew. Without proof the
//! floor is zero and the rule is the draft's.

use std::time::Duration;

use units::Timestamp;

/// Floor of one path. Rates are thousandths of the bytes that were sent.
#[derive(Clone, Debug)]
pub(super) struct LossFloor {
    /// What no floor exceeds; 0 turns the mechanism off.
    max_permille: u64,
    proved: Option<(u64, Timestamp)>,
    trial: Option<Trial>,
    round: Round,
    /// Rounds put together until they are enough packets to tell a rate from.
    window: Round,
}

/// Counters of the packet-timed round in hand, in bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    acked: u64,
    lost: u64,
    min_rtt: Option<Duration>,
}

/// An experiment under way: the rate falls, does the loss?
#[derive(Clone, Copy, Debug)]
struct Trial {
    first_permille: u64,
    rounds: u32,
    /// Bytes of the rounds after the first.
    sent: u64,
    lost: u64,
}

/// What a round that lost something means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RoundVerdict {
    /// No more than the floor and chance explain.
    Floor,
    /// Answer as the draft does.
    Reduce,
    /// Loss outlived the reductions: take them back.
    Proved,
}

impl LossFloor {
    pub(super) fn new(max_permille: u64) -> Self {
        Self {
            max_permille: max_permille.min(1000),
            proved: None,
            trial: None,
            round: Round::default(),
            window: Round::default(),
        }
    }

    /// The same bound, nothing proved: for another path.
    pub(super) fn forget(&self) -> Self {
        Self::new(self.max_permille)
    }

    /// Loss that the path has whatever we do, in thousandths; 0 while nothing is proved.
    pub(super) fn permille(&self) -> u64 {
        self.proved.map_or(0, |(permille, _)| permille)
    }

    pub(super) fn on_lost(&mut self, bytes: u64) {
        self.round.lost += bytes;
    }

    pub(super) fn on_acked(&mut self, bytes: u64, rtt: Option<Duration>) {
        self.round.acked += bytes;
        if let Some(rtt) = rtt {
            self.round.min_rtt = Some(self.round.min_rtt.map_or(rtt, |min| min.min(rtt)));
        }
    }

    /// Forgets a floor that is too old. Not to be called while the acks of a probe are coming in: what the probe may lose
    /// is judged by the floor that it began with.
    pub(super) fn expire(&mut self, now: Timestamp) {
        if self.proved.is_some_and(|(_, since)| now.since(since) > VALID_FOR) {
            self.proved = None;
        }
    }

    /// A packet-timed round ended in a state that does not probe for bandwidth. `min_rtt` is that of the path.
    pub(super) fn on_round(&mut self, now: Timestamp, mss: u64, min_rtt: Option<Duration>) -> RoundVerdict {
        let round = std::mem::take(&mut self.round);
        let is_explained = self.permille() > 0
            && round.lost <= self.tolerated(round.acked + round.lost, mss, LOSS_OVER_FLOOR_PERMILLE);
        if is_explained || self.max_permille == 0 || !has_no_queue(round.min_rtt, min_rtt) {
            self.trial = None;
            self.window = Round::default();
            return if is_explained { RoundVerdict::Floor } else { RoundVerdict::Reduce };
        }
        self.window.acked += round.acked;
        self.window.lost += round.lost;
        let sent = self.window.acked + self.window.lost;
        if sent < MIN_PACKETS * mss {
            return RoundVerdict::Reduce;
        }
        let window = std::mem::take(&mut self.window);
        self.step(now, sent.max(1), window.lost)
    }

    /// The round that ends probed for bandwidth: it says nothing of the path's own loss.
    pub(super) fn skip_round(&mut self) {
        self.round = Round::default();
    }

    /// Bytes lost of `sent` that need no answer: the floor, `over` thousandths more, and three standard deviations of
    /// what independent losses at the floor would show. With no floor this is `over` alone.
    pub(super) fn tolerated(&self, sent: u64, mss: u64, over: u64) -> u64 {
        let floor = self.permille();
        let plain = share(sent, floor + over);
        if floor == 0 {
            return plain;
        }
        // Variance of the bytes lost: n p (1 - p) packets, each of `mss` bytes.
        let variance = u128::from(share(sent, floor)) * u128::from(mss) * u128::from(1000 - floor) / 1000;
        plain + u64::try_from(3 * variance.isqrt()).unwrap_or(u64::MAX)
    }

    fn step(&mut self, now: Timestamp, sent: u64, lost: u64) -> RoundVerdict {
        let permille = lost * 1000 / sent;
        if permille == 0 {
            self.trial = None;
            return RoundVerdict::Reduce;
        }
        let Some(trial) = &mut self.trial else {
            self.trial = Some(Trial { first_permille: permille, rounds: 0, sent: 0, lost: 0 });
            return RoundVerdict::Reduce;
        };
        if permille * 2 < trial.first_permille {
            // It answers to our rate: congestion. Begin again from here.
            self.trial = None;
            return RoundVerdict::Reduce;
        }
        trial.rounds += 1;
        trial.sent += sent;
        trial.lost += lost;
        if trial.rounds < PROOF_ROUNDS {
            return RoundVerdict::Reduce;
        }
        self.proved = Some(((trial.lost * 1000 / trial.sent).min(self.max_permille), now));
        self.trial = None;
        RoundVerdict::Proved
    }
}

/// `permille` thousandths of `bytes`.
pub(super) fn share(bytes: u64, permille: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(permille) / 1000).unwrap_or(u64::MAX)
}

/// A round whose best round-trip time is within an eighth and a millisecond of the path's own held no standing queue: the
/// loss in it was not a full buffer of more than an eighth of the bandwidth-delay product.
fn has_no_queue(round: Option<Duration>, path: Option<Duration>) -> bool {
    match (round, path) {
        (Some(round), Some(path)) => round <= path + path / 8 + Duration::from_millis(1),
        _ => false,
    }
}

/// Rounds at a falling rate that loss must outlive. A policer or a queue goes quiet after the first; two more are for
/// the round that detection lags behind and for one in which the maximum filter overstated what was delivered.
const PROOF_ROUNDS: u32 = 3;
/// A rate is told from at least so many packets; rounds of fewer are put together. At 5 % three of 64 are lost.
const MIN_PACKETS: u64 = 64;
/// A floor is believed for so long, about four probing cycles; then it must be shown again, which costs a few rounds at
/// a reduced rate (under 1 % of the throughput). Shorter costs more; longer trusts a path that may have changed.
const VALID_FOR: Duration = Duration::from_secs(10);
/// Above the floor, a steady round may lose what a probing round may by the draft.
const LOSS_OVER_FLOOR_PERMILLE: u64 = super::params::LOSS_THRESHOLD_PERMILLE;

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u64 = 1200;

    fn round(floor: &mut LossFloor, at: u64, lost_packets: u64) -> RoundVerdict {
        floor.on_acked((400 - lost_packets) * MSS, Some(Duration::from_millis(51)));
        floor.on_lost(lost_packets * MSS);
        floor.expire(Timestamp::from_millis(at));
        floor.on_round(Timestamp::from_millis(at), MSS, Some(Duration::from_millis(50)))
    }

    #[test]
    fn loss_that_outlives_three_reductions_becomes_the_floor_for_ten_seconds() {
        let mut floor = LossFloor::new(200);
        assert_eq!(round(&mut floor, 0, 24), RoundVerdict::Reduce);
        assert_eq!(round(&mut floor, 50, 20), RoundVerdict::Reduce);
        assert_eq!(round(&mut floor, 100, 22), RoundVerdict::Reduce);
        assert_eq!(round(&mut floor, 150, 21), RoundVerdict::Proved);
        assert_eq!(floor.permille(), 52, "63 of 1,200 packets");
        assert_eq!(round(&mut floor, 200, 25), RoundVerdict::Floor);
        assert_eq!(
            round(&mut floor, 250, 100),
            RoundVerdict::Reduce,
            "a quarter lost is not explained by 5 %"
        );
        assert_eq!(round(&mut floor, 10_200, 25), RoundVerdict::Reduce, "too old to be believed");
    }

    #[test]
    fn loss_that_falls_with_the_rate_never_becomes_a_floor() {
        let mut floor = LossFloor::new(200);
        for (at, lost) in [(0, 80), (50, 30), (100, 60), (150, 20), (200, 40), (250, 10), (300, 20)] {
            assert_eq!(round(&mut floor, at, lost), RoundVerdict::Reduce);
        }
        assert_eq!(floor.permille(), 0);
    }

    #[test]
    fn loss_behind_a_standing_queue_proves_nothing() {
        let mut floor = LossFloor::new(200);
        for at in 0..10 {
            floor.on_acked(380 * MSS, Some(Duration::from_millis(70)));
            floor.on_lost(20 * MSS);
            let verdict = floor.on_round(Timestamp::from_millis(at), MSS, Some(Duration::from_millis(50)));
            assert_eq!(verdict, RoundVerdict::Reduce);
        }
    }

    #[test]
    fn rounds_of_a_few_packets_are_put_together() {
        let mut floor = LossFloor::new(200);
        let mut verdicts = Vec::new();
        for at in 0..40 {
            // One of ten packets is lost in every second round: 5 %.
            floor.on_acked((10 - at % 2) * MSS, Some(Duration::from_millis(50)));
            floor.on_lost(at % 2 * MSS);
            verdicts.push(floor.on_round(Timestamp::from_millis(at), MSS, Some(Duration::from_millis(50))));
        }
        // Seven rounds are 70 packets: the first span begins the trial, three more prove it.
        let proved = verdicts.iter().position(|verdict| *verdict == RoundVerdict::Proved);
        assert_eq!(proved, Some(27));
        assert_eq!(floor.permille(), 52, "11 of 210 packets");
    }

    #[test]
    fn switched_off_or_unproved_it_is_the_rule_of_the_draft() {
        let mut floor = LossFloor::new(0);
        for at in 0..10 {
            assert_eq!(round(&mut floor, at, 20), RoundVerdict::Reduce);
        }
        assert_eq!(floor.tolerated(100 * MSS, MSS, 20), 2 * MSS);
    }

    #[test]
    fn chance_is_allowed_three_deviations() {
        let mut floor = LossFloor::new(200);
        floor.proved = Some((50, Timestamp::ZERO));
        // 400 packets at 5 %: mean 20, deviation sqrt(400 * 0.05 * 0.95) = 4.36; 2 % more is 8.
        let packets = floor.tolerated(400 * MSS, MSS, 20) / MSS;
        assert_eq!(packets, 41);
    }
}
