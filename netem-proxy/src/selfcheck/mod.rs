//! Does a link do what it says? Configured against measured, with the chance that a correct link looks so odd.
//!
//! Two levels. **Model** ([`model`]): packets in virtual time, no sockets, no clock. What is exact must be exact; what
//! is chance is tested on a million packets and many seeds. All p-values of all seeds are judged together by Holm's
//! method, so the whole table has one chance in a thousand to reject a correct link. A bias too small for one seed
//! shows in the p-values of all: they must be uniform, and that is one test more for each line. The seeds
//! are fixed, so a table that was good once stays good until the code changes, on every machine and with any number
//! of threads. **System** ([`system`]): wall time through a real relay, beside a control without weather.
//!
//! A row of the table is one line of `rows`: a property, a link, a check.

mod chance;
mod delay;
mod exact;
mod feed;
mod loss;
mod rate;
mod rows;
pub mod system;
#[cfg(test)]
mod tests;

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use units::Seed;

use crate::profile::LinkProfile;
use crate::stats::{holm, kolmogorov_smirnov};
pub use exact::{determinism_digest, published_digest};

/// How much of the model to check.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Packets through each link and seed, at least [`MIN_PACKETS`].
    pub packets: u64,
    /// Seeds of each statistical row, at least one; exact rows need only the first.
    pub seeds: u64,
    /// The first one.
    pub seed: u64,
    /// At least one; the result does not depend on it.
    pub threads: usize,
}

/// Fewer packets are too few for some of the tests.
pub const MIN_PACKETS: u64 = 10_000;

/// The chance that the whole table rejects a correct link.
pub const ALPHA: f64 = 1e-3;

/// The two-sided 99.9 % quantile of the normal distribution, for the intervals that are shown.
const Z: f64 = 3.2905;

/// One line of the table: a number over all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    pub property: &'static str,
    /// The link, as SPEC where there is one.
    pub link: String,
    pub unit: &'static str,
    pub configured: f64,
    /// Mean over the seeds.
    pub measured: f64,
    /// Half-width around `configured` that holds 99.9 % of correct links with one seed; zero where the number is exact.
    pub tolerance: f64,
    pub seeds: u64,
    /// The smallest over the seeds; `None` for exact numbers.
    pub p_value: Option<f64>,
    /// Of the uniformity of all seeds' p-values; `None` for too few seeds.
    pub p_uniform: Option<f64>,
    pub pass: bool,
}

/// The table.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub pass: bool,
    pub packets: u64,
    pub seeds: u64,
    pub seed: u64,
    /// p-values judged together.
    pub tests: usize,
    pub findings: Vec<Finding>,
}

/// What is tried on which link.
#[derive(Clone, Copy)]
struct Row {
    property: &'static str,
    link: Source,
    check: Check,
    repeat: Repeat,
}

type Check = fn(&Case<'_>) -> Vec<Measure>;

#[derive(Clone, Copy)]
enum Source {
    Spec(&'static str),
    /// What no SPEC without a file can say; described in words.
    Built(&'static str, fn() -> LinkProfile),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Repeat {
    /// Chance: one number for each seed.
    EachSeed,
    /// Nothing to repeat.
    Once,
}

/// One link, once.
struct Case<'a> {
    /// What the link is said to do.
    profile: &'a LinkProfile,
    /// What it does, to try the checks themselves; `None` for the same.
    real: Option<&'a LinkProfile>,
    seed: Seed,
    packets: u64,
}

impl Case<'_> {
    /// The profile of the link that the packets meet.
    fn link(&self) -> LinkProfile {
        self.real.unwrap_or(self.profile).clone()
    }
}

/// One number of one case.
#[derive(Clone, Copy, Debug)]
struct Measure {
    /// What is measured, if it is not the row's property.
    property: Option<&'static str>,
    unit: &'static str,
    configured: f64,
    measured: f64,
    tolerance: f64,
    evidence: Evidence,
}

#[derive(Clone, Copy, Debug)]
enum Evidence {
    /// Right or wrong.
    Exact(bool),
    /// How often a correct link is at least so odd.
    Chance(f64),
}

impl Measure {
    /// A number with a p-value.
    fn chance(unit: &'static str, configured: f64, measured: f64, tolerance: f64, p_value: f64) -> Self {
        let evidence = Evidence::Chance(p_value);
        Self { property: None, unit, configured, measured, tolerance, evidence }
    }

    /// A number that must be within `tolerance` without any chance.
    fn exact(unit: &'static str, configured: f64, measured: f64, tolerance: f64) -> Self {
        let evidence = Evidence::Exact((measured - configured).abs() <= tolerance);
        Self { property: None, unit, configured, measured, tolerance, evidence }
    }

    fn named(self, property: &'static str) -> Self {
        Self { property: Some(property), ..self }
    }
}

impl Source {
    fn profile(self) -> Result<LinkProfile, String> {
        match self {
            Source::Spec(spec) => spec.parse().map_err(|error| format!("{spec}: {error}")),
            Source::Built(_, build) => Ok(build()),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Source::Spec(text) | Source::Built(text, _) => text,
        }
    }
}

/// Checks the model; see the module.
#[must_use]
pub fn model(plan: &Plan) -> Report {
    let packets = plan.packets.max(MIN_PACKETS);
    let seeds = plan.seeds.max(1);
    let jobs: Vec<(&Row, u64)> = rows::ROWS
        .iter()
        .flat_map(|row| (0..if row.repeat == Repeat::Once { 1 } else { seeds }).map(move |seed| (row, seed)))
        .collect();
    let done = in_parallel(&jobs, plan.threads, |(row, seed)| {
        let profile = row.link.profile().expect("every row is a valid link; a test reads them all");
        let seed = Seed::root(plan.seed.wrapping_add(*seed)).fork("selfcheck").fork(row.link.text());
        (row.check)(&Case { profile: &profile, real: None, seed, packets })
    });
    let mut findings = Vec::new();
    let mut chances = Vec::new();
    for row in rows::ROWS {
        let mine: Vec<&[Measure]> = jobs
            .iter()
            .zip(&done)
            .filter(|((of, _), _)| std::ptr::eq(*of, row))
            .map(|(_, measures)| measures.as_slice())
            .collect();
        for place in 0..mine.first().map_or(0, |measures| measures.len()) {
            let column: Vec<Measure> =
                mine.iter().filter_map(|measures| measures.get(place).copied()).collect();
            findings.push(summarise(row, &column, &mut chances, findings.len()));
        }
    }
    let values: Vec<f64> = chances.iter().map(|(_, p_value)| *p_value).collect();
    for ((finding, _), rejected) in chances.iter().zip(holm(&values, ALPHA)) {
        findings[*finding].pass &= !rejected;
    }
    let pass = findings.iter().all(|finding| finding.pass);
    Report { pass, packets, seeds, seed: plan.seed, tests: chances.len(), findings }
}

/// One line of the table. Its p-values go to `chances`, to be judged with all others; so far it passes if everything
/// exact is right.
fn summarise(row: &Row, column: &[Measure], chances: &mut Vec<(usize, f64)>, place: usize) -> Finding {
    let first = column[0];
    let mut p_values: Vec<f64> = column
        .iter()
        .filter_map(|measure| match measure.evidence {
            Evidence::Chance(p_value) => Some(p_value),
            Evidence::Exact(_) => None,
        })
        .collect();
    let smallest = p_values.iter().copied().reduce(f64::min);
    chances.extend(p_values.iter().map(|p_value| (place, *p_value)));
    let uniform = (p_values.len() >= MIN_SEEDS_TOGETHER)
        .then(|| kolmogorov_smirnov(&mut p_values, |p_value| p_value.clamp(0.0, 1.0)).p_value);
    chances.extend(uniform.map(|p_value| (place, p_value)));
    Finding {
        property: first.property.unwrap_or(row.property),
        link: row.link.text().to_owned(),
        unit: first.unit,
        configured: first.configured,
        measured: column.iter().map(|measure| measure.measured).sum::<f64>() / column.len() as f64,
        tolerance: first.tolerance,
        seeds: column.len() as u64,
        p_value: smallest,
        p_uniform: uniform,
        pass: column.iter().all(|measure| !matches!(measure.evidence, Evidence::Exact(false))),
    }
}

/// Kolmogorov's test of five p-values or more says something.
const MIN_SEEDS_TOGETHER: usize = 5;

/// Does every job once, in any order and thread; the results stand in the order of the jobs.
fn in_parallel<J: Sync, R: Send>(jobs: &[J], threads: usize, work: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, MAX_THREADS) {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(place) else { break };
                    let result = work(job);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
}

/// More would wait for each other's memory; each holds some 50 MB for a million packets.
const MAX_THREADS: usize = 64;
