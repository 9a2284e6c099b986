//! Loss models over a million packets, each against what it is configured to be.
//!
//! Seeds are fixed, so nothing here fails by chance; tolerances are those a fresh seed would meet: five standard
//! deviations (one in 1.7 million), or the 99.9 % quantile of a chi-square.

use proptest::prelude::*;
use units::Probability;

use super::*;
use crate::profile::NetemCompat;

const COUNT: usize = 1_000_000;

fn percent(value: f64) -> Probability {
    Probability::new(value / 100.0).expect("in range")
}

fn of(loss: LossModel) -> LinkProfile {
    LinkProfile { loss, ..LinkProfile::default() }
}

fn fates(profile: &LinkProfile, seed: u64, count: usize) -> Vec<(bool, u8)> {
    let mut loss = Loss::new(profile, Seed::root(seed));
    (1..=count as u64).map(|number| (loss.draw(number), loss.state())).collect()
}

fn draws(model: &LossModel, seed: u64, count: usize) -> Vec<bool> {
    fates(&of(model.clone()), seed, count).into_iter().map(|(is_lost, _)| is_lost).collect()
}

fn gilbert(p: f64, r: f64) -> LossModel {
    chain(p, r, 100.0, 0.0)
}

fn chain(p: f64, r: f64, bad: f64, good: f64) -> LossModel {
    LossModel::GilbertElliott {
        p: percent(p),
        r: percent(r),
        loss_bad: percent(bad),
        loss_good: percent(good),
    }
}

fn four(p13: f64, p31: f64, p32: f64, p23: f64, p14: f64) -> LossModel {
    LossModel::FourState {
        p13: percent(p13),
        p31: percent(p31),
        p32: percent(p32),
        p23: percent(p23),
        p14: percent(p14),
    }
}

/// Lengths of the runs of equal values that satisfy `is_in`, the last one left out if it may be cut off.
fn runs<T: Copy>(values: &[T], is_in: impl Fn(T) -> bool) -> Vec<u64> {
    let mut lengths = Vec::new();
    let mut length = 0;
    for &value in values {
        if is_in(value) {
            length += 1;
        } else if length > 0 {
            lengths.push(length);
            length = 0;
        }
    }
    lengths
}

/// Chi-square of run lengths against the geometric law with parameter `r`, bins of at least five expected; and the
/// 99.9 % quantile for its degrees of freedom (Wilson and Hilferty's approximation, within 1 %).
fn geometric_misfit(lengths: &[u64], r: f64) -> (f64, f64) {
    let total = lengths.len() as f64;
    let mut statistic = 0.0;
    let mut bins = 0;
    let mut length = 1;
    loop {
        let expected = total * r * (1.0 - r).powi(length - 1);
        let rest = total * (1.0 - r).powi(length);
        let is_last = rest < 5.0 || expected < 5.0;
        let seen = lengths.iter().filter(|&&seen| {
            let length = length as u64;
            if is_last { seen >= length } else { seen == length }
        });
        let expected = if is_last { expected + rest } else { expected };
        statistic += (seen.count() as f64 - expected).powi(2) / expected;
        bins += 1;
        if is_last {
            break;
        }
        length += 1;
    }
    let freedom = f64::from((bins - 1).max(1));
    let spread = 2.0 / (9.0 * freedom);
    (statistic, freedom * (1.0 - spread + 3.0902 * spread.sqrt()).powi(3))
}

#[test]
fn every_model_of_chance_loses_its_share() {
    for (model, seed) in [
        (LossModel::Bernoulli { p: percent(0.1) }, 1),
        (LossModel::Bernoulli { p: percent(1.0) }, 2),
        (LossModel::Bernoulli { p: percent(10.0) }, 3),
        (LossModel::Bernoulli { p: percent(99.0) }, 5),
        (LossModel::Burst { rate: percent(2.0), mean_length: 4.0 }, 6),
        (LossModel::Burst { rate: percent(60.0), mean_length: 1.5 }, 7),
        (LossModel::Burst { rate: percent(10.0), mean_length: 1.0 }, 8),
        (gilbert(1.0, 30.0), 9),
        (chain(2.0, 20.0, 50.0, 1.0), 10),
        (four(1.0, 30.0, 20.0, 50.0, 0.5), 11),
        (four(2.0, 98.0, 0.0, 100.0, 0.0), 12),
        (four(5.0, 10.0, 40.0, 5.0, 2.0), 13),
    ] {
        let lost = draws(&model, seed, COUNT).iter().filter(|&&is_lost| is_lost).count() as f64;
        let (n, p) = (COUNT as f64, model.mean());
        // Binomial variance, times what the memory of a chain adds to it.
        let deviation = (n * p * (1.0 - p) * model.variance_inflation()).sqrt();
        assert!((lost - n * p).abs() < 5.0 * deviation, "{model:?}: {lost}, expected {}", n * p);
    }
}

/// The inflation is what the variance of whole runs shows: 2000 links of 2000 packets.
#[test]
fn the_variance_of_a_count_is_the_binomial_one_times_its_inflation() {
    for (model, inflation) in [
        (LossModel::Bernoulli { p: percent(5.0) }, 1.0),
        (LossModel::Burst { rate: percent(10.0), mean_length: 4.0 }, 6.2),
        (LossModel::Burst { rate: percent(40.0), mean_length: 1.0 }, 0.2),
        (four(2.0, 30.0, 20.0, 50.0, 1.0), 0.0),
        (chain(2.0, 20.0, 50.0, 1.0), 0.0),
    ] {
        if inflation > 0.0 {
            // rho = 1 - p - r, (1 + rho) / (1 - rho).
            assert!((model.variance_inflation() - inflation).abs() < 1e-9, "{model:?}");
        }
        let (links, packets) = (2000_u32, 2000_usize);
        let counts: Vec<f64> = (0..links)
            .map(|seed| draws(&model, seed.into(), packets).iter().filter(|&&lost| lost).count() as f64)
            .collect();
        let mean = counts.iter().sum::<f64>() / f64::from(links);
        let variance = counts.iter().map(|count| (count - mean).powi(2)).sum::<f64>() / f64::from(links - 1);
        let p = model.mean();
        let expected = packets as f64 * p * (1.0 - p) * model.variance_inflation();
        // A variance from k normal values has a relative deviation of sqrt(2/k): 3.2 %. Half a percent is for ends.
        let off = variance / expected - 1.0;
        assert!(off.abs() < 5.0 * (2.0 / f64::from(links)).sqrt() + 0.005, "{model:?}: off by {off}");
    }
}

#[test]
fn independent_losses_do_not_remember() {
    let lost = draws(&LossModel::Bernoulli { p: percent(10.0) }, 21, COUNT);
    let (n, p) = (COUNT as f64, 0.1);
    for lag in 1..=20 {
        let both = lost.iter().zip(&lost[lag..]).filter(|(a, b)| **a && **b).count() as f64;
        let r = (both / (n - lag as f64) - p * p) / (p * (1.0 - p));
        // 3.9 / sqrt(N): one in 10,000.
        assert!(r.abs() < 3.9 / n.sqrt(), "lag {lag}: {r}");
    }
}

#[test]
fn bursts_have_geometric_lengths_of_their_mean() {
    for (model, r, seed) in [
        (LossModel::Burst { rate: percent(2.0), mean_length: 4.0 }, 0.25, 31),
        (LossModel::Burst { rate: percent(20.0), mean_length: 10.0 }, 0.1, 32),
        (gilbert(1.0, 30.0), 0.3, 33),
        (four(2.0, 30.0, 0.0, 100.0, 0.0), 0.3, 34),
    ] {
        let lengths = runs(&draws(&model, seed, COUNT), |is_lost| is_lost);
        let mean = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        let tolerance = 5.0 * ((1.0_f64 - r).sqrt() / r) / (lengths.len() as f64).sqrt();
        assert!((mean - 1.0 / r).abs() < tolerance, "{model:?}: mean burst {mean}");
        let (statistic, limit) = geometric_misfit(&lengths, r);
        assert!(statistic < limit, "{model:?}: chi-square {statistic}, limit {limit}");
    }
}

#[test]
fn single_bursts_are_single_packets() {
    let lost = draws(&LossModel::Burst { rate: percent(30.0), mean_length: 1.0 }, 35, 100_000);
    assert!(runs(&lost, |is_lost| is_lost).iter().all(|&length| length == 1));
}

#[test]
fn bursts_have_their_rate_from_the_first_packet_on() {
    let model = LossModel::Burst { rate: percent(20.0), mean_length: 5.0 };
    let links = 100_000_u32;
    for place in [0, 1, 4] {
        let lost = (0..links).filter(|&seed| draws(&model, seed.into(), 5)[place]).count() as f64;
        let (n, p) = (f64::from(links), 0.2);
        assert!((lost - n * p).abs() < 5.0 * (n * p * (1.0 - p)).sqrt(), "packet {place}: {lost}");
    }
}

#[test]
fn the_states_of_a_full_chain_dwell_as_configured() {
    let (p, r) = (0.02, 0.2);
    let fates = fates(&of(chain(2.0, 20.0, 50.0, 1.0)), 41, COUNT);
    let states: Vec<u8> = fates.iter().map(|(_, state)| *state).collect();
    for (state, leaves) in [(1, p), (2, r)] {
        let (statistic, limit) = geometric_misfit(&runs(&states, |s| s == state), leaves);
        assert!(statistic < limit, "state {state}: chi-square {statistic}, limit {limit}");
    }
    // Correlation of the state falls as (1 - p - r)^k.
    let (n, share) = (COUNT as f64, p / (p + r));
    for lag in [1, 2, 5, 10] {
        let both = states.iter().zip(&states[lag..]).filter(|(a, b)| **a == 2 && **b == 2).count() as f64;
        let found = (both / n - share * share) / (share * (1.0 - share));
        let expected = (1.0 - p - r).powi(lag as i32);
        // The deviation of a correlation of such a chain is below sqrt((1 + rho^2) / (1 - rho^2) / N) = 0.002.
        assert!((found - expected).abs() < 5.0 * 0.002, "lag {lag}: {found}, expected {expected}");
    }
}

#[test]
fn four_states_take_their_shares_and_only_lose_in_two_of_them() {
    let (p13, p31, p32, p23, p14) = (0.02, 0.3, 0.2, 0.4, 0.01);
    let fates = fates(&of(four(2.0, 30.0, 20.0, 40.0, 1.0)), 51, COUNT);
    assert!(fates.iter().all(|&(is_lost, state)| is_lost == matches!(state, 3 | 4)));
    let three = p13 / p31;
    let (two, four) = (three * p32 / p23, p14);
    let whole = 1.0 + two + three + four;
    for (state, share) in [(1, 1.0 / whole), (2, two / whole), (3, three / whole), (4, four / whole)] {
        let n = COUNT as f64;
        let seen = fates.iter().filter(|(_, s)| *s == state).count() as f64;
        // Bursts of 2 to 5 packets: an inflation of ten covers every state.
        let tolerance = 5.0 * (n * share * (1.0 - share) * 10.0).sqrt();
        assert!((seen - n * share).abs() < tolerance, "state {state}: {seen}, expected {}", n * share);
    }
    // 4 always returns to 1.
    assert!(fates.windows(2).filter(|pair| pair[0].1 == 4).all(|pair| pair[1].1 == 1));
}

#[test]
fn periodic_loss_takes_exactly_every_nth() {
    let lost = draws(&LossModel::EveryNth { n: 4 }, 1, 12);
    let places: Vec<usize> = lost.iter().enumerate().filter(|(_, l)| **l).map(|(i, _)| i).collect();
    assert_eq!(places, [3, 7, 11]);
}

#[test]
fn a_list_takes_its_packets_and_no_other() {
    let model = LossModel::List([3, 7, 20, 21].into());
    let lost = draws(&model, 1, 100);
    let numbers: Vec<usize> = (1..=100).filter(|&number| lost[number - 1]).collect();
    assert_eq!(numbers, [3, 7, 20, 21]);
    assert_eq!(model.expected_losses(20), 3.0);
}

#[test]
fn a_trace_begins_again_at_its_end() {
    let losses = vec![false, true, false];
    let model = LossModel::Trace(LossTrace { name: "x".to_owned(), losses }.into());
    assert_eq!(draws(&model, 1, 7), [false, true, false, false, true, false, false]);
    assert_eq!((model.expected_losses(7), model.expected_losses(8)), (2.0, 3.0));
}

#[test]
fn certain_loss_loses_everything_and_none_nothing() {
    for model in [
        LossModel::Bernoulli { p: Probability::ONE },
        LossModel::Burst { rate: Probability::ONE, mean_length: 3.0 },
    ] {
        assert!(draws(&model, 1, 1000).iter().all(|&l| l));
    }
    assert!(draws(&LossModel::None, 1, 1000).iter().all(|&l| !l));
}

#[test]
fn raising_the_probability_only_adds_losses() {
    let low = draws(&LossModel::Bernoulli { p: percent(5.0) }, 9, 10_000);
    let high = draws(&LossModel::Bernoulli { p: percent(10.0) }, 9, 10_000);
    assert!(low.iter().zip(&high).all(|(low, high)| !low || *high));
}

#[test]
fn a_chain_keeps_its_state_when_it_is_changed() {
    let mut loss = Loss::new(&of(gilbert(100.0, 0.001)), Seed::root(1));
    loss.draw(1);
    assert_eq!(loss.state(), 2);
    loss.configure(&of(LossModel::Burst { rate: percent(1.0), mean_length: 1e9 }));
    assert!(loss.draw(2), "still in its burst");
}

#[test]
fn correlated_loss_of_netem_is_as_far_off_as_in_the_kernel() {
    for (p, correlation, measured, seed) in
        [(10.0, 25.0, 1.75, 61), (10.0, 50.0, 0.11, 62), (30.0, 25.0, 23.3, 63)]
    {
        let compat = NetemCompat { loss_correlation: percent(correlation), ..NetemCompat::default() };
        let profile = LinkProfile { compat: Some(compat), ..of(LossModel::Bernoulli { p: percent(p) }) };
        let lost = fates(&profile, seed, COUNT).iter().filter(|(is_lost, _)| *is_lost).count() as f64;
        let share = lost / COUNT as f64 * 100.0;
        // Deviation of the count with an inflation of at most 1.5, and half of the last digit of the measured figure.
        let tolerance = 5.0 * (measured * (100.0 - measured) * 1.5 / COUNT as f64).sqrt() + 0.05;
        assert!((share - measured).abs() < tolerance, "{p} % with {correlation} %: {share} %");
        assert!((profile.mean_loss() * 100.0 - share).abs() < tolerance, "{}", profile.mean_loss());
    }
}

#[test]
fn chains_of_netem_lose_what_ours_lose() {
    // In a bad state of less than 100 % the kernel takes the high numbers, we the low ones.
    for (model, seed) in [(chain(2.0, 20.0, 100.0, 1.0), 71), (four(2.0, 30.0, 20.0, 40.0, 1.0), 72)] {
        let profile = LinkProfile { compat: Some(NetemCompat::default()), ..of(model.clone()) };
        let netem = fates(&profile, seed, COUNT);
        let ours = fates(&of(model), seed, COUNT);
        // 32 bits of the same draws decide the same, but for one packet in some billions.
        assert!(netem == ours);
    }
}

proptest! {
    #[test]
    fn shares_stay_shares(p13 in 0.0..=1.0_f64, p31 in 0.0..=1.0_f64, p32 in 0.0..=1.0_f64, p23 in 0.0..=1.0_f64,
                          p14 in 0.0..=1.0_f64) {
        let p = |value: f64| percent(value * 100.0);
        let model = LossModel::FourState {
            p13: p(p13), p31: p(p31 * (1.0 - p32)), p32: p(p32), p23: p(p23), p14: p(p14 * (1.0 - p13)),
        };
        prop_assert!((-1e-9..=1.0 + 1e-9).contains(&model.mean()));
        prop_assert!(model.variance_inflation() >= 0.0);
    }
}

#[test]
fn netem_chains_go_on_when_configured() {
    let ge = LossModel::GilbertElliott {
        p: percent(10.0),
        r: percent(10.0),
        loss_bad: percent(100.0),
        loss_good: percent(0.0),
    };
    let four = LossModel::FourState {
        p13: percent(10.0),
        p31: percent(10.0),
        p32: percent(10.0),
        p23: percent(10.0),
        p14: percent(0.0),
    };
    for model in [ge, four] {
        let profile = LinkProfile { compat: Some(NetemCompat::default()), ..of(model) };
        let (mut left_alone, mut configured) =
            (Loss::new(&profile, Seed::root(3)), Loss::new(&profile, Seed::root(3)));
        for number in 1..=1000 {
            configured.configure(&profile);
            assert_eq!(configured.draw(number), left_alone.draw(number), "{number}");
            assert_eq!(configured.state(), left_alone.state(), "{number}");
        }
        assert!((1001..2000).any(|number| left_alone.draw(number)), "nothing was lost");
    }
}
