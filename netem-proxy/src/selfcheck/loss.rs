//! Are the right packets lost?

use super::chance::{independence, normal, runs_of, share};
use super::feed::{STEADY, feed};
use super::{Case, Measure, Z};
use crate::profile::{LossModel, LossPlace};
use crate::stats::{geometric, mean_and_deviation};

/// Independent loss: its share, and that no packet knows of another.
pub(super) fn bernoulli(case: &Case<'_>) -> Vec<Measure> {
    let seen = feed(case, STEADY);
    let losses = seen.losses();
    let hits = losses.iter().filter(|&&lost| lost).count() as u64;
    let counted = match case.profile.loss_at {
        LossPlace::Entry => seen.counters.dropped_loss,
        LossPlace::Wire => seen.counters.dropped(),
    };
    let mut measures = vec![
        share(hits, case.packets, case.profile.mean_loss()),
        Measure::exact("packets", 0.0, hits as f64 - counted as f64, 0.0).named("losses without a cause"),
        independence(&as_numbers(&losses)),
    ];
    measures.extend(runs_of(&losses));
    measures
}

/// Losses named in advance.
pub(super) fn planned(case: &Case<'_>) -> Vec<Measure> {
    let losses = feed(case, STEADY).losses();
    let meant = |number: u64| match &case.profile.loss {
        LossModel::EveryNth { n } => number.is_multiple_of(*n),
        LossModel::List(numbers) => numbers.contains(&number),
        _ => false,
    };
    let wrong = (1..).zip(&losses).filter(|(number, lost)| meant(*number) != **lost).count();
    vec![Measure::exact("packets", 0.0, wrong as f64, 0.0)]
}

/// Gilbert's chain, in which losses show the state: how long it stays in either, where it turns, and the mean.
pub(super) fn gilbert(case: &Case<'_>) -> Vec<Measure> {
    let (p, r) = match case.profile.loss {
        LossModel::GilbertElliott { p, r, .. } => (p.get(), r.get()),
        // The run length is 1/r, the share p/(p+r).
        LossModel::Burst { rate, mean_length } => {
            let r = 1.0 / mean_length;
            (r * rate.get() / (1.0 - rate.get()), r)
        }
        _ => (0.0, 0.0),
    };
    let losses = feed(case, STEADY).losses();
    let turns = |from: bool, to: bool| {
        losses.windows(2).filter(|pair| (pair[0], pair[1]) == (from, to)).count() as u64
    };
    let [stays_good, turns_bad] = [turns(false, false), turns(false, true)];
    let [turns_good, stays_bad] = [turns(true, false), turns(true, true)];
    vec![
        mean_of_chain(case, &losses),
        share(turns_bad, turns_bad + stays_good, p).named("turns bad"),
        share(turns_good, turns_good + stays_bad, r).named("turns good"),
        dwell(&losses, true, r).named("bad runs geometric"),
        dwell(&losses, false, p).named("good runs geometric"),
    ]
}

/// A chain whose state does not show in single losses: its mean, and how far a loss makes the next ones likely.
///
/// For losses X of a chain with transition matrix P, cov(X_0, X_k) is that of the states; for two states it falls as
/// (1 - p - r)^k. The sd of the estimate is taken from blocks, since successive products depend on each other.
pub(super) fn hidden_chain(case: &Case<'_>) -> Vec<Measure> {
    let losses = feed(case, STEADY).losses();
    let mut measures = vec![mean_of_chain(case, &losses)];
    if let LossModel::GilbertElliott { p, r, loss_bad, loss_good } = case.profile.loss {
        let (p, r) = (p.get(), r.get());
        let bad = p / (p + r);
        let covariance = bad * (1.0 - bad) * (loss_bad.get() - loss_good.get()).powi(2);
        for (lag, name) in [(1, "covariance, lag 1"), (3, "covariance, lag 3")] {
            let expected = covariance * (1.0 - p - r).powi(lag as i32);
            measures.push(covariance_at(&losses, lag, case.profile.mean_loss(), expected).named(name));
        }
    }
    measures
}

/// Four states: each stay in a burst (states 2 and 3) and each lone loss (4) comes of the stationary shares; what
/// shows is the mean, the share of losses followed by another, and that lone losses stay alone.
pub(super) fn four_state(case: &Case<'_>) -> Vec<Measure> {
    let LossModel::FourState { p13, p31, p32, p23, p14 } = case.profile.loss else { return Vec::new() };
    let [p13, p31, p32, p23, p14] = [p13, p31, p32, p23, p14].map(units::Probability::get);
    let losses = feed(case, STEADY).losses();
    // Stationary shares relative to state 1.
    let three = p13 / p31;
    let two = if p32 > 0.0 { three * p32 / p23 } else { 0.0 };
    let all = 1.0 + two + three + p14;
    // A loss is followed by another only inside a burst: state 3 stays with what is left of its ways out.
    let pairs = three * (1.0 - p31 - p32) / all;
    let measured = losses.windows(2).filter(|pair| pair[0] && pair[1]).count() as f64;
    let n = (losses.len() - 1) as f64;
    let indicator: Vec<f64> = losses.windows(2).map(|pair| f64::from(u8::from(pair[0] && pair[1]))).collect();
    let sigma = block_deviation(&indicator) * 100.0;
    vec![
        mean_of_chain(case, &losses),
        normal("%", pairs * 100.0, measured / n * 100.0, sigma).named("loss after loss"),
    ]
}

/// The share of losses, whose variance is inflated by the runs.
fn mean_of_chain(case: &Case<'_>, losses: &[bool]) -> Measure {
    let mean = case.profile.mean_loss();
    let measured = losses.iter().filter(|&&lost| lost).count() as f64 / losses.len() as f64;
    let variance = mean * (1.0 - mean) * case.profile.loss.variance_inflation() / losses.len() as f64;
    normal("%", mean * 100.0, measured * 100.0, variance.sqrt() * 100.0)
}

/// Lengths of the runs of `value` against the geometric law; the cut first and last runs do not count.
fn dwell(losses: &[bool], value: bool, p_end: f64) -> Measure {
    let runs: Vec<u64> =
        losses.chunk_by(|a, b| a == b).filter(|run| run[0] == value).map(|run| run.len() as u64).collect();
    let whole = runs.get(1..runs.len().saturating_sub(1)).unwrap_or(&[]);
    let mean = whole.iter().sum::<u64>() as f64 / whole.len().max(1) as f64;
    let sd = (1.0 - p_end).sqrt() / p_end / (whole.len().max(1) as f64).sqrt();
    let p_value = geometric(whole, p_end).map_or(0.0, |outcome| outcome.p_value);
    Measure::chance("packets", 1.0 / p_end, mean, Z * sd, p_value)
}

fn covariance_at(losses: &[bool], lag: usize, mean: f64, expected: f64) -> Measure {
    let centred: Vec<f64> = losses.iter().map(|&lost| f64::from(u8::from(lost)) - mean).collect();
    let products: Vec<f64> = centred.iter().zip(&centred[lag..]).map(|(a, b)| a * b).collect();
    let (measured, _) = mean_and_deviation(&products);
    normal("", expected, measured, block_deviation(&products))
}

/// The standard deviation of the mean of a series with memory: from the means of blocks much longer than it.
fn block_deviation(series: &[f64]) -> f64 {
    let length = series.len() / BLOCKS;
    let means: Vec<f64> = series.chunks_exact(length).map(|block| mean_and_deviation(block).0).collect();
    let (_, deviation) = mean_and_deviation(&means);
    deviation / (means.len() as f64 - 1.0).sqrt()
}

/// Enough for the sd to be known within 4 %, few enough for blocks of some thousand packets in a million.
const BLOCKS: usize = 300;

fn as_numbers(losses: &[bool]) -> Vec<f64> {
    losses.iter().map(|&lost| f64::from(u8::from(lost))).collect()
}
