//! Percentiles of deliveries that come in messages.
//!
//! Twenty recipients of a message that was late on its way to the server are one piece of bad luck and not twenty. An
//! interval that takes deliveries for independent is too narrow: of intervals of nominal 95 % for p99, with 20
//! recipients that share 80 % of their latency, about a third hold the truth. So messages are the samples.
//!
//! Resampling messages with replacement (a cluster bootstrap) would show how far the share of deliveries at or below a
//! threshold x varies. That variance has a closed form. With c of the m recipients of each message at or below x and
//! p = Σc / Σm,
//!
//! ```text
//! variance(x) = n/(n − 1) · Σ (c − p·m)² / (Σm)²            design effect(x) = variance(x) / (p (1 − p) / Σm)
//! ```
//!
//! (the ratio estimator of cluster samples: Cochran, *Sampling Techniques*, 3rd edition, section 9A; Kish, *Survey
//! Sampling*, section 8.2 for the design effect). Sums of c², c·m and m² for every threshold are all it takes, and they
//! add up: over messages, over intervals, over runs. So this keeps no message, draws no random number, allocates
//! nothing after [`Messages::default`], and is exact however long the run.
//!
//! The interval is Woodruff's (JASA 47, 1952) in the form of Korn and Graubard (Survey Methodology 24, 1998): ranks of
//! [`super::rank`] for Σm / design effect independent samples, looked up in the full histogram. At the quantile itself
//! the effect rests on few messages, and is too small just when the unlucky ones are missing, when the quantile is too
//! low as well; so [`Messages::design_effect`] also looks at thresholds around it. `tests::intervals_hold_…` shows
//! what that is worth.

use crate::distribution::{Distribution, HIGHEST_US};
use crate::records::QuantileEstimate;

use super::rank;

/// Sums over settled messages from which the precision of any percentile of their deliveries follows; 62 KiB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Messages {
    messages: u64,
    /// Σm.
    deliveries: u64,
    /// Σm².
    squares: u64,
    /// What each bin of latency adds to the sums over all thresholds above it.
    bins: Box<[Bin]>,
}

/// Deliveries of one bin: what they add to Σc, Σc² and Σc·m.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bin {
    count: u64,
    squares: u64,
    products: u64,
}

impl Default for Messages {
    fn default() -> Self {
        let bins = vec![Bin::default(); bin_of(HIGHEST_US) + 1].into_boxed_slice();
        Self { messages: 0, deliveries: 0, squares: 0, bins }
    }
}

impl Messages {
    /// Takes a message that is settled: the latencies of its deliveries in microseconds (they are sorted in place), and
    /// how many more were expected and never came. Nothing expected is no message. Never allocates.
    pub fn settle(&mut self, latencies_us: &mut [u64], lost: u64) {
        latencies_us.sort_unstable();
        let size = latencies_us.len() as u64 + lost;
        for (place, &us) in latencies_us.iter().enumerate() {
            self.arrived(place as u64 + 1, size, us);
        }
        self.settled(size);
    }

    /// The `nth` delivery (from 1) of a message to `size` recipients: [`Messages::settle`] for a recorder that keeps no
    /// latencies. Latencies of one message must come in ascending order, as they do in order of arrival; then
    /// [`Messages::settled`] once, with the same `size`.
    pub fn arrived(&mut self, nth: u64, size: u64, latency_us: u64) {
        let bin = &mut self.bins[bin_of(latency_us)];
        bin.count += 1;
        // c goes from nth − 1 to nth: c² grows by this, and c·m by m.
        bin.squares += 2 * nth - 1;
        bin.products += size;
    }

    /// A message to `size` recipients has had all that it will have; what did not arrive is at infinity.
    pub fn settled(&mut self, size: u64) {
        if size > 0 {
            self.messages += 1;
            self.deliveries += size;
            self.squares += size * size;
        }
    }

    /// As if all messages of `other` had been settled here.
    pub fn merge(&mut self, other: &Self) {
        self.messages += other.messages;
        self.deliveries += other.deliveries;
        self.squares += other.squares;
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.count += more.count;
            bin.squares += more.squares;
            bin.products += more.products;
        }
    }

    /// Forgets all messages and keeps the memory.
    pub fn clear(&mut self) {
        (self.messages, self.deliveries, self.squares) = (0, 0, 0);
        self.bins.fill(Bin::default());
    }

    /// Messages with at least one recipient.
    #[must_use]
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// Expected deliveries, lost ones included.
    #[must_use]
    pub fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// Variance of the rank of the `q`-quantile against that of as many independent deliveries; 1 without dependence, at
    /// most the mean size of a message as a delivery meets it (Σm²/Σm).
    ///
    /// The largest of the effects at the quantile, where half as many deliveries are slower, and the mean of where twice
    /// and four times as many are.
    #[must_use]
    pub fn design_effect(&self, q: f64) -> f64 {
        let tail = q.min(1.0 - q);
        let at = |times: f64| {
            let share = (tail * times).min(0.5);
            self.effect_at(if q < 0.5 { share } else { 1.0 - share })
        };
        at(1.0).max(at(0.5)).max(f64::midpoint(at(2.0), at(4.0))).clamp(1.0, self.largest_effect())
    }

    /// The estimate of the `q`-quantile of `distribution`, which must hold the deliveries of the settled messages.
    #[must_use]
    pub fn estimate(&self, distribution: &Distribution, q: f64) -> QuantileEstimate {
        estimate(distribution, q, self.messages, self.design_effect(q))
    }

    /// Estimates of every quantile that reports state.
    #[must_use]
    pub fn estimates(&self, distribution: &Distribution) -> Vec<QuantileEstimate> {
        REPORTED.iter().map(|&q| self.estimate(distribution, q)).collect()
    }

    /// The effect of the threshold that a share `p` of all deliveries stays below. Thresholds lie between bins; where a
    /// bin holds more than one share, between its edges.
    fn effect_at(&self, p: f64) -> f64 {
        let wanted = p * self.deliveries as f64;
        let mut below = Bin::default();
        let mut nearest = (0.0, self.largest_effect());
        for bin in &self.bins {
            if bin.count == 0 {
                continue;
            }
            below.count += bin.count;
            below.squares += bin.squares;
            below.products += bin.products;
            let here = (below.count as f64, self.effect_of(below));
            if here.0 >= wanted {
                let part = (wanted - nearest.0) / (here.0 - nearest.0);
                return nearest.1 + part * (here.1 - nearest.1);
            }
            nearest = here;
        }
        // Among what never came.
        self.largest_effect()
    }

    fn effect_of(&self, below: Bin) -> f64 {
        let (n, all) = (self.messages as f64, self.deliveries as f64);
        let p = below.count as f64 / all;
        let independent = p * (1.0 - p) * all;
        if independent <= 0.0 || n < 2.0 {
            return self.largest_effect();
        }
        let spread = below.squares as f64 - 2.0 * p * below.products as f64 + p * p * self.squares as f64;
        (n / (n - 1.0) * spread / independent).clamp(1.0, self.largest_effect())
    }

    /// That of recipients who all share one fate.
    fn largest_effect(&self) -> f64 {
        if self.deliveries == 0 { 1.0 } else { self.squares as f64 / self.deliveries as f64 }
    }
}

/// The `q`-quantile of `distribution` with its 95 % interval, if `messages` are what was sampled, with a known design
/// effect. For one that is not known, such as of several runs, see [`crate::records`].
#[must_use]
pub fn estimate(distribution: &Distribution, q: f64, messages: u64, design_effect: f64) -> QuantileEstimate {
    let deliveries = distribution.count();
    // With few messages the effect itself is uncertain; Student's t pays for that (Korn and Graubard).
    let freedom = messages.saturating_sub(1).max(1) as f64;
    let doubt = (rank::student(freedom) / rank::student(f64::INFINITY)).powi(2);
    let effective = deliveries as f64 / design_effect / doubt;
    let shares = rank::interval(effective, q);
    let at = |share: f64| distribution.at_rank(((share * deliveries as f64).ceil() as u64).max(1));
    let unbounded = Some(0).filter(|_| deliveries > 0);
    QuantileEstimate {
        q,
        value_us: distribution.quantile(q),
        low_us: shares.low.map_or(unbounded, at),
        high_us: shares.high.and_then(at),
        messages,
        deliveries,
        design_effect,
        is_firm: deliveries >= rank::samples_to_state(q),
    }
}

/// Bin of a latency: as wide as 1/128 of it or 1 µs.
fn bin_of(us: u64) -> usize {
    let us = us.min(HIGHEST_US);
    // Up to twice SPLIT a bin is 1 µs wide; from there on each octave has SPLIT bins.
    let octave = (us | (2 * SPLIT - 1)).ilog2() - SPLIT.ilog2();
    (u64::from(octave) * SPLIT + (us >> octave)) as usize
}

/// Bins in each octave.
const SPLIT: u64 = 128;

/// Quantiles that reports state.
pub const REPORTED: [f64; 6] = [0.5, 0.9, 0.95, 0.99, 0.999, 0.9999];

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use units::{Rng, Seed};

    use super::*;

    /// What a run would hand over: sums and histogram together.
    #[derive(Default)]
    struct Run {
        messages: Messages,
        deliveries: Distribution,
    }

    impl Run {
        fn settle(&mut self, latencies_us: &mut [u64], lost: u64) {
            latencies_us.iter().for_each(|&us| self.deliveries.record(Some(us)));
            (0..lost).for_each(|_| self.deliveries.record(None));
            self.messages.settle(latencies_us, lost);
        }

        fn clear(&mut self) {
            self.messages.clear();
            self.deliveries.clear();
        }
    }

    /// Latency of a recipient = rho · (what its message met) + (1 − rho) · (what it met itself), both exponential with
    /// a mean of 100 ms.
    struct Law {
        rho: f64,
    }

    impl Law {
        fn run(&self, messages: usize, rng: &mut Rng, run: &mut Run) {
            let mut draw = || -100_000.0 * (1.0 - rng.random::<f64>()).ln();
            run.clear();
            for _ in 0..messages {
                let shared = draw();
                let mut latencies: [u64; 20] =
                    std::array::from_fn(|_| (self.rho * shared + (1.0 - self.rho) * draw()) as u64);
                run.settle(&mut latencies, 0);
            }
        }

        /// Share of deliveries above `us`: the tail of the sum of two exponential laws.
        fn above(&self, us: f64) -> f64 {
            let (x, a, b) = (us / 100_000.0, self.rho, 1.0 - self.rho);
            if a == 0.0 {
                (-x).exp()
            } else if a == b {
                (1.0 + 2.0 * x) * (-2.0 * x).exp()
            } else {
                (a * (-x / a).exp() - b * (-x / b).exp()) / (a - b)
            }
        }

        fn quantile(&self, q: f64) -> f64 {
            let (mut low, mut high) = (0.0, 1e7);
            for _ in 0..60 {
                let middle = f64::midpoint(low, high);
                if self.above(middle) > 1.0 - q { low = middle } else { high = middle }
            }
            low
        }

        /// Share of 1,000 runs whose interval holds the true quantile.
        fn coverage(&self, messages: usize, q: f64, seed: &str) -> f64 {
            let (truth, mut rng) = (self.quantile(q), Seed::root(7).fork(seed).rng());
            let mut run = Run::default();
            let mut holds = 0;
            for _ in 0..RUNS {
                self.run(messages, &mut rng, &mut run);
                let found = run.messages.estimate(&run.deliveries, q);
                let (low, high) = (found.low_us.unwrap_or(u64::MAX), found.high_us.unwrap_or(u64::MAX));
                holds += usize::from(low as f64 <= truth && truth <= high as f64);
            }
            holds as f64 / RUNS as f64
        }
    }

    /// The standard error of a coverage of 95 % is then 0.7 %.
    const RUNS: usize = 1_000;

    #[test]
    fn intervals_of_p99_hold_the_truth_with_fan_out() {
        for rho in [0.0, 0.5, 0.8] {
            let covered = Law { rho }.coverage(1_000, 0.99, "thousand");
            assert!((0.93..=0.97).contains(&covered), "rho {rho}: {covered}");
        }
    }

    #[test]
    fn intervals_of_few_messages_hold_the_truth() {
        for rho in [0.0, 0.5, 0.8] {
            for q in [0.5, 0.99] {
                let covered = Law { rho }.coverage(250, q, "few");
                assert!((0.93..=0.97).contains(&covered), "rho {rho}, q {q}: {covered}");
            }
        }
    }

    #[test]
    fn intervals_that_forget_the_messages_do_not() {
        let law = Law { rho: 0.8 };
        let (truth, mut rng) = (law.quantile(0.99), Seed::root(7).fork("naive").rng());
        let mut run = Run::default();
        let mut holds = 0;
        for _ in 0..200 {
            law.run(1_000, &mut rng, &mut run);
            let found = estimate(&run.deliveries, 0.99, run.deliveries.count(), 1.0);
            holds += u32::from((found.low_us..=found.high_us).contains(&Some(truth as u64)));
        }
        assert!(holds < 100, "{holds} of 200");
    }

    #[test]
    fn the_closed_form_is_what_resampling_messages_gives() {
        let mut rng = Seed::root(7).fork("bootstrap").rng();
        let sizes: Vec<(u64, u64)> = (0..400)
            .map(|_| {
                let size = rng.random_range(1..30_u64);
                (size, if rng.random_bool(0.1) { rng.random_range(0..=size) } else { size })
            })
            .collect();
        let mut run = Run::default();
        for &(size, below) in &sizes {
            let mut latencies: Vec<u64> = (0..size).map(|n| if n < below { 100 } else { 900 }).collect();
            run.settle(&mut latencies, 0);
        }
        let all: u64 = sizes.iter().map(|(size, _)| size).sum();
        let p = sizes.iter().map(|(_, below)| below).sum::<u64>() as f64 / all as f64;
        let shares: Vec<f64> = (0..20_000)
            .map(|_| {
                let (mut below, mut total) = (0, 0);
                for _ in 0..sizes.len() {
                    let (size, part) = sizes[rng.random_range(0..sizes.len())];
                    (below, total) = (below + part, total + size);
                }
                below as f64 / total as f64
            })
            .collect();
        let mean = shares.iter().sum::<f64>() / shares.len() as f64;
        let variance = shares.iter().map(|share| (share - mean).powi(2)).sum::<f64>() / shares.len() as f64;
        let resampled = variance / (p * (1.0 - p) / all as f64);
        // A variance of 20,000 draws is known to 1 %; the ratio estimator differs by terms in 1/n.
        let closed = run.messages.effect_at(p);
        assert!((closed / resampled - 1.0).abs() < 0.04, "{closed} and {resampled}");
    }

    #[test]
    fn one_fate_for_all_is_one_sample_and_alone_is_alone() {
        let (mut same, mut alone) = (Run::default(), Run::default());
        for message in 0..1_000_u64 {
            same.settle(&mut [message * 997 % 50_000 + 1_000; 8], 0);
            alone.settle(&mut [message * 997 % 50_000 + 1_000], 0);
        }
        assert!((same.messages.design_effect(0.9) - 8.0).abs() < 1e-9);
        assert!((alone.messages.design_effect(0.9) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn order_of_telling_and_merging_change_nothing() {
        let (mut told, mut settled, mut half) =
            (Messages::default(), Messages::default(), Messages::default());
        for message in 0..100_u64 {
            let mut latencies: Vec<u64> = (0..5).map(|n| 1_000 + message * 31 % 700 + n * 4_000).collect();
            for (nth, &us) in latencies.iter().enumerate() {
                told.arrived(nth as u64 + 1, 6, us);
            }
            told.settled(6);
            latencies.reverse();
            if message % 2 == 0 { &mut settled } else { &mut half }.settle(&mut latencies, 1);
        }
        settled.merge(&half);
        assert_eq!(settled, told);
        assert_eq!((told.messages(), told.deliveries()), (100, 600));
    }

    #[test]
    fn a_quantile_among_the_lost_is_infinite_and_few_samples_say_so() {
        let mut run = Run::default();
        (0..100).for_each(|_| run.settle(&mut [5_000; 9], 1));
        let tail = run.messages.estimate(&run.deliveries, 0.99);
        assert_eq!((tail.value_us, tail.high_us, tail.is_firm), (None, None, true));
        let median = run.messages.estimate(&run.deliveries, 0.5);
        assert!(median.low_us.is_some() && median.high_us.is_some() && median.is_firm);
        let none = Messages::default().estimate(&Distribution::default(), 0.5);
        assert_eq!((none.value_us, none.low_us, none.high_us, none.is_firm), (None, None, None, false));
        let mut two = Run::default();
        (0..2).for_each(|n| two.settle(&mut [1_000 * (n + 1)], 0));
        let few = two.messages.estimate(&two.deliveries, 0.5);
        assert_eq!((few.value_us, few.low_us, few.high_us), (Some(1_000), Some(0), None));
    }

    #[test]
    fn bins_follow_each_other_without_a_gap() {
        let mut before = 0;
        for us in 1..300_000 {
            let bin = bin_of(us);
            assert!(bin == before || bin == before + 1, "{us}");
            before = bin;
        }
        assert!(bin_of(u64::MAX) < Messages::default().bins.len());
    }
}
