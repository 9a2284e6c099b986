//! Two sets of runs: which of them is worse, and is that more than chance?
//!
//! A run is one value, however many messages it had: what is odd about a machine for a minute is in all of them. So each
//! metric is computed once for each repeat, and repeats of A and B are compared by an exact test of ranks. A change counts
//! when four things agree: it is at least as large as the rule says, its 95 % interval excludes no change, the
//! test stands after Holm's correction over all metrics and cells, and another round of runs shows it again. `judge`
//! decides the first three and says which cells the fourth is for.
//!
//! Only the metrics that rules name are tested, for each test makes all others weaker; what else a reader wants to see of
//! two sides is [`Comparison::described`], without a verdict.
//!
//! In virtual time chance is a seed. Runs of equal seeds are equal to the last digit or they are not, and [`judge`] says
//! which; the test is then about what other seeds would show.
//!
//! [`Compared`] is what is saved, [`drivers()`] sets a real beside a virtual run; reports render both.

mod drivers;
mod read;
mod saved;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::records::{RunFile, axes_words};
use crate::scenario::{BaselineGate, Correction, Regress, Scenario};
use crate::stats::samples::{holm_adjusted, mann_whitney, shift, smallest_p};
use crate::verdict::Quantity;

pub use drivers::{DriverRow, drivers};
pub use read::{arm_of, read_runs};
pub use saved::{Compared, Found, SCHEMA, caveats, unlike};

/// What to compare, and how much worse is too much.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    pub rules: Vec<Rule>,
}

/// One metric, understood.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    pub metric: Quantity,
    /// Smallest change that counts, as a share of A.
    pub worse_by: f64,
    /// Chance of a false alarm among all rows, after correction.
    pub alpha: f64,
    pub correction: Correction,
    /// Rounds of runs that must show it again.
    pub confirm: u32,
}

impl Rules {
    /// Those of `[baseline]`; the error names the metric that is not understood.
    pub fn of(gate: &BaselineGate) -> Result<Self, String> {
        let rules = gate.regress.iter().map(Rule::of).collect::<Result<_, _>>()?;
        Ok(Self { rules })
    }
}

impl Default for Rules {
    /// The headline: p99 of delivery latency, 10 % worse, one chance in twenty, confirmed once.
    fn default() -> Self {
        let metric = Quantity::parse("p99(delivery_latency)").expect("a known metric");
        let rule = Rule { metric, worse_by: 0.10, alpha: 0.05, correction: Correction::Holm, confirm: 1 };
        Self { rules: vec![rule] }
    }
}

impl Rule {
    fn of(regress: &Regress) -> Result<Self, String> {
        let Regress { worse_by, alpha, correction, confirm, .. } = *regress;
        Ok(Self { metric: Quantity::parse(&regress.metric)?, worse_by, alpha, correction, confirm })
    }
}

/// A and B, judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Cells in their order, metrics in the order of the rules.
    pub rows: Vec<Row>,
    /// What else there is to see of each cell, untested.
    #[serde(default)]
    pub described: Vec<Change>,
    /// How many rows Holm's correction is over.
    #[serde(default)]
    pub tests: usize,
    /// Repeats of each side that could decide so many tests, where those that are there cannot.
    #[serde(default)]
    pub repeats_needed: Option<u32>,
    /// Indices into `rows`.
    pub regressions: Vec<usize>,
    pub improvements: Vec<usize>,
    /// Cells to run again before a regression counts; empty where no rule asks for it.
    pub needs_confirmation: Vec<u32>,
    /// What only one side has, as sentences.
    pub unmatched: Vec<String>,
}

/// One metric of one cell on both sides.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// Of A; `axes` are those of both.
    pub cell: u32,
    pub axes: BTreeMap<String, Value>,
    pub metric: String,
    /// Whether values are microseconds.
    pub is_time: bool,
    /// The value of each repeat; `null` is infinite.
    pub a: Vec<Option<f64>>,
    pub b: Vec<Option<f64>>,
    /// Typical B over typical A (Hodges and Lehmann), and its 95 % interval; `null`: infinite or not known.
    pub ratio: Option<f64>,
    pub low: Option<f64>,
    pub high: Option<f64>,
}

/// The same, tested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    #[serde(flatten)]
    pub change: Change,
    /// Exact and two-sided; and after correction.
    pub p: f64,
    pub p_adjusted: f64,
    pub finding: Finding,
    /// Why the finding is no other, in a few words.
    pub reason: String,
    /// Runs of either side that say nothing.
    #[serde(default)]
    pub invalid_runs: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Finding {
    /// Virtual runs of the same seeds gave the same files.
    Equal,
    /// Nothing that counts.
    #[default]
    Unchanged,
    Regression,
    Improvement,
    /// Too few repeats, or no values.
    Inconclusive,
}

/// Compares the runs of A with those of B, cell by cell, by axes. `scenario` knows which clients there are; metrics that
/// ask for it are inconclusive without.
#[must_use]
pub fn judge(a: &[RunFile], b: &[RunFile], rules: &Rules, scenario: Option<&Scenario>) -> Comparison {
    let (left, right) = (by_axes(a), by_axes(b));
    let (mut rows, mut described) = (Vec::new(), Vec::new());
    let mut unmatched = Vec::new();
    let twin = |runs: &[&RunFile], others: &[Vec<&RunFile>]| {
        others.iter().position(|other| other[0].axes == runs[0].axes)
    };
    for runs in &left {
        match twin(runs, &right) {
            Some(other) => {
                rows.extend(rules.rules.iter().map(|rule| row(rule, runs, &right[other], scenario)));
                described.extend(describe(rules, runs, &right[other], scenario));
            }
            None => unmatched.push(format!("{} is only in the first", cell_words(&runs[0].axes))),
        }
    }
    let only = right.iter().filter(|runs| twin(runs, &left).is_none());
    unmatched.extend(only.map(|runs| format!("{} is only in the second", cell_words(&runs[0].axes))));
    Comparison { described, unmatched, ..Comparison::of(rows, rules) }
}

/// The same for runs of which some may be those of a confirming round: repeats below `first.end` are judged, and where
/// there are as many behind them, these confirm.
#[must_use]
pub fn judge_rounds(
    a: &[RunFile],
    b: &[RunFile],
    first: &Range<u32>,
    rules: &Rules,
    scenario: Option<&Scenario>,
) -> Comparison {
    let of = |runs: &[RunFile], round: &Range<u32>| -> Vec<RunFile> {
        runs.iter().filter(|run| round.contains(&run.repeat)).cloned().collect()
    };
    let judged = judge(&of(a, first), &of(b, first), rules, scenario);
    let second = first.end..first.end + (first.end - first.start);
    let (left, right) = (of(a, &second), of(b, &second));
    if judged.needs_confirmation.is_empty() || left.is_empty() || right.is_empty() {
        return judged;
    }
    judged.confirmed_by(&judge(&left, &right, rules, scenario), rules)
}

impl Comparison {
    /// Decides rows that are tested: those of one cell follow each other, one for each rule.
    fn of(mut rows: Vec<Row>, rules: &Rules) -> Self {
        let tests = correct(&mut rows, rules);
        let repeats_needed = decide(&mut rows, rules, tests);
        let found = |finding| (0..rows.len()).filter(|&row| rows[row].finding == finding).collect::<Vec<_>>();
        let (regressions, improvements) = (found(Finding::Regression), found(Finding::Improvement));
        let asks = |row: &&usize| rules.rules[**row % rules.rules.len()].confirm > 0;
        let cells: BTreeSet<u32> =
            regressions.iter().filter(asks).map(|&row| rows[row].change.cell).collect();
        Self {
            needs_confirmation: cells.into_iter().collect(),
            rows,
            regressions,
            improvements,
            tests,
            repeats_needed,
            ..Self::default()
        }
    }

    /// What stays after another round of runs: a regression counts if the new round alone shows a change at least as
    /// large in the same direction. `again` is [`judge`] of the runs of that round, whose own p-value is not asked.
    #[must_use]
    pub fn confirmed_by(mut self, again: &Self, rules: &Rules) -> Self {
        for &index in &self.regressions {
            let row = &mut self.rows[index];
            let rule = &rules.rules[index % rules.rules.len()];
            if rule.confirm == 0 {
                continue;
            }
            let is_same = |other: &&Row| {
                other.change.axes == row.change.axes && other.change.metric == row.change.metric
            };
            let (finding, reason) = match again.rows.iter().find(is_same) {
                None => (Finding::Inconclusive, "the confirming round does not have this cell".to_owned()),
                // Runs that say nothing neither confirm nor acquit.
                Some(other) if other.invalid_runs > 0 || other.change.a.is_empty() => {
                    (Finding::Inconclusive, format!("could not be confirmed: {}", other.reason))
                }
                Some(other) if worse(rule, other.change.ratio) >= rule.worse_by => continue,
                Some(_) => (Finding::Unchanged, "another round of runs did not show it again".to_owned()),
            };
            (row.finding, row.reason) = (finding, reason);
        }
        let rows = &self.rows;
        self.regressions.retain(|&row| rows[row].finding == Finding::Regression);
        self.needs_confirmation.clear();
        self
    }

    /// 4 with a regression, otherwise 0.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if self.regressions.is_empty() { 0 } else { 4 }
    }

    /// Whether every cell and metric that was asked for has an answer.
    #[must_use]
    pub fn is_decided(&self) -> bool {
        self.unmatched.is_empty()
            && !self.rows.is_empty()
            && self.rows.iter().all(|row| row.finding != Finding::Inconclusive)
    }

    /// What was found, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        let unsure = self.rows.iter().filter(|row| row.finding == Finding::Inconclusive).count();
        let word = match (self.regressions.len(), unsure) {
            (0, 0) => "no regression".to_owned(),
            (0, unsure) => format!("no regression found, {unsure} INCONCLUSIVE"),
            (1, 0) => "1 REGRESSION".to_owned(),
            (many, 0) => format!("{many} REGRESSIONS"),
            (some, unsure) => {
                format!("{some} REGRESSION{}, {unsure} INCONCLUSIVE", if some == 1 { "" } else { "S" })
            }
        };
        let better = match self.improvements.len() {
            0 => String::new(),
            1 => ", 1 improvement".to_owned(),
            many => format!(", {many} improvements"),
        };
        let again = if self.needs_confirmation.is_empty() { "" } else { ", not confirmed by another round" };
        let rows = self.rows.len();
        format!("{word}{better} in {rows} comparison{}{again}", if rows == 1 { "" } else { "s" })
    }
}

/// Runs of equal axes together, in the order of their cells. Two sweeps may number the same axes differently.
fn by_axes(runs: &[RunFile]) -> Vec<Vec<&RunFile>> {
    let mut cells: Vec<Vec<&RunFile>> = Vec::new();
    for run in runs {
        match cells.iter_mut().find(|cell| cell[0].axes == run.axes) {
            Some(cell) => cell.push(run),
            None => cells.push(vec![run]),
        }
    }
    cells.sort_by_key(|cell| cell[0].cell);
    cells
}

/// `loss.p=0.1 delay.base=20ms`.
pub(crate) fn cell_words(axes: &BTreeMap<String, Value>) -> String {
    if axes.is_empty() { "the only cell".to_owned() } else { axes_words(axes) }
}

fn row(rule: &Rule, a: &[&RunFile], b: &[&RunFile], scenario: Option<&Scenario>) -> Row {
    let values = |runs| values(&rule.metric, runs, scenario);
    let row = Row { change: Change::named(&rule.metric, a), ..Row::default() };
    let invalid = a.iter().chain(b).filter(|run| !run.invalid.is_empty()).count();
    let (left, right) = match (values(a), values(b)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(why), _) | (_, Err(why)) => return inconclusive(row, format!("no value: {why}")),
    };
    let row = Row { invalid_runs: invalid, ..tested(row, &left, &right) };
    if is_same(a, b) {
        let reason = "the same seeds gave the same runs".to_owned();
        Row { finding: Finding::Equal, reason, ..row }
    } else if invalid > 0 {
        inconclusive(row, format!("{invalid} runs are INVALID"))
    } else if left.len().min(right.len()) < LEAST_REPEATS {
        let least = smallest_p(left.len(), right.len());
        let few = format!("{} and {} repeats cannot give p below {least:.2}", left.len(), right.len());
        inconclusive(row, format!("{few}; run at least {LEAST_REPEATS} of each"))
    } else {
        row
    }
}

/// What is worth seeing of a cell and not asked for by a rule.
fn describe(rules: &Rules, a: &[&RunFile], b: &[&RunFile], scenario: Option<&Scenario>) -> Vec<Change> {
    let is_tested = |text: &str| rules.rules.iter().any(|rule| rule.metric.text() == text);
    let known = DESCRIBED.into_iter().filter(|text| !is_tested(text));
    let changes = known.filter_map(|text| {
        let metric = Quantity::parse(text).ok()?;
        let left = values(&metric, a, scenario).ok()?;
        let right = values(&metric, b, scenario).ok()?;
        Some(Change::named(&metric, a).measured(&left, &right))
    });
    changes.collect()
}

fn values(metric: &Quantity, runs: &[&RunFile], scenario: Option<&Scenario>) -> Result<Vec<f64>, String> {
    runs.iter().map(|run| metric.of(run, scenario)).collect()
}

impl Change {
    fn named(metric: &Quantity, a: &[&RunFile]) -> Self {
        Self {
            cell: a[0].cell,
            axes: a[0].axes.clone(),
            metric: metric.text().to_owned(),
            is_time: metric.is_time(),
            ..Self::default()
        }
    }

    /// Fills in what the values of the repeats say.
    fn measured(mut self, left: &[f64], right: &[f64]) -> Self {
        let finite =
            |values: &[f64]| values.iter().map(|value| value.is_finite().then_some(*value)).collect();
        (self.a, self.b) = (finite(left), finite(right));
        // Ratios are differences of logarithms; a zero is below everything.
        let logs = |values: &[f64]| values.iter().map(|value| value.max(0.0).ln()).collect::<Vec<f64>>();
        if let Some(found) = shift(&logs(left), &logs(right)) {
            let bound = |log: f64| Some(log.exp()).filter(|ratio| ratio.is_finite());
            self.ratio = bound(found.typical);
            (self.low, self.high) = (bound(found.low), bound(found.high));
        }
        self
    }
}

fn tested(row: Row, left: &[f64], right: &[f64]) -> Row {
    Row { change: row.change.measured(left, right), p: mann_whitney(left, right), ..row }
}

fn inconclusive(row: Row, reason: String) -> Row {
    let p = if row.change.a.is_empty() { 1.0 } else { row.p };
    Row { finding: Finding::Inconclusive, reason, p, ..row }
}

/// Whether two sides have the same seeds and the same measurements for each. Where a run stands in its sweep, and for
/// which side, is not what it measured.
fn is_same(a: &[&RunFile], b: &[&RunFile]) -> bool {
    let same = |a: &RunFile, b: &RunFile| {
        a.seed == b.seed
            && a.metrics == b.metrics
            && a.all == b.all
            && a.workloads == b.workloads
            && a.connect == b.connect
            && a.intervals == b.intervals
            && a.clients == b.clients
            && a.exemplars == b.exemplars
            && a.recoveries == b.recoveries
    };
    a.len() == b.len() && a.iter().all(|run| b.iter().any(|other| same(run, other)))
}

/// Holm's correction over the rows whose rules ask for it, whatever cell and metric they are of; returns how many. Rows
/// that nothing can be said of are no tests.
fn correct(rows: &mut [Row], rules: &Rules) -> usize {
    let asks = |index: usize, row: &Row| {
        let rule = &rules.rules[index % rules.rules.len()];
        row.finding == Finding::Unchanged && rule.correction == Correction::Holm
    };
    let places: Vec<usize> = (0..rows.len()).filter(|&index| asks(index, &rows[index])).collect();
    rows.iter_mut().for_each(|row| row.p_adjusted = row.p);
    let p_values: Vec<f64> = places.iter().map(|&index| rows[index].p).collect();
    for (&place, adjusted) in places.iter().zip(holm_adjusted(&p_values)) {
        rows[place].p_adjusted = adjusted;
    }
    places.len()
}

/// Returns how many repeats would decide what these cannot.
fn decide(rows: &mut [Row], rules: &Rules, tests: usize) -> Option<u32> {
    let mut needed = None;
    for (index, row) in rows.iter_mut().enumerate().filter(|(_, row)| row.finding == Finding::Unchanged) {
        let rule = &rules.rules[index % rules.rules.len()];
        let repeats = short_of(&row.change, rule, tests);
        needed = needed.max(repeats);
        (row.finding, row.reason) = decided(row, rule, tests, repeats);
    }
    needed
}

/// Repeats of each side that could give `alpha` after Holm's correction over so many tests, where those that are there
/// cannot, whatever they show.
fn short_of(change: &Change, rule: &Rule, tests: usize) -> Option<u32> {
    let reaches = |a: usize, b: usize| smallest_p(a, b) * tests as f64 <= rule.alpha;
    if rule.correction == Correction::None || reaches(change.a.len(), change.b.len()) {
        return None;
    }
    (LEAST_REPEATS..=MOST_REPEATS).find(|&each| reaches(each, each)).map(|each| each as u32)
}

fn decided(row: &Row, rule: &Rule, tests: usize, repeats_needed: Option<u32>) -> (Finding, String) {
    let change = &row.change;
    if let Some(needed) = repeats_needed.filter(|_| row.p <= rule.alpha) {
        let least = (smallest_p(change.a.len(), change.b.len()) * tests as f64).min(1.0);
        let reason = format!(
            "{tests} comparisons of {} and {} repeats cannot give p below {least:.2}; {needed} of each can",
            change.a.len(),
            change.b.len(),
        );
        return (Finding::Inconclusive, reason);
    }
    let excludes_none = change.low.is_none_or(|low| low > 1.0) || change.high.is_some_and(|high| high < 1.0);
    let change = worse(rule, change.ratio);
    if row.p_adjusted > rule.alpha {
        (Finding::Unchanged, format!("chance alone does this (p = {:.3})", row.p_adjusted))
    } else if !excludes_none {
        (Finding::Unchanged, "the interval includes no change".to_owned())
    } else if change >= rule.worse_by {
        (Finding::Regression, String::new())
    } else if -change >= improvement(rule) {
        (Finding::Improvement, String::new())
    } else {
        (Finding::Unchanged, format!("less than {:.0} %", rule.worse_by * 100.0))
    }
}

/// How much worse, as a share of A; negative is better. Infinite where B is lost and A is not.
fn worse(rule: &Rule, ratio: Option<f64>) -> f64 {
    let ratio = ratio.unwrap_or(f64::INFINITY);
    if rule.metric.wants_more() { 1.0 - ratio } else { ratio - 1.0 }
}

/// As much better as the threshold is worse, the other way round: 10 % more is made good by 9.1 % less.
fn improvement(rule: &Rule) -> f64 {
    rule.worse_by / (1.0 + rule.worse_by)
}

/// Three of each cannot give a p below 0.1, whatever they show.
pub const LEAST_REPEATS: usize = 4;
/// Ten of each are enough for nine thousand tests at 5 %, more than a sweep may have cells.
const MOST_REPEATS: usize = 20;

/// What a reader looks for first: the middle, the tail, what came through and what did not.
const DESCRIBED: [&str; 5] = [
    "p50(delivery_latency)",
    "p99(delivery_latency)",
    "p99.9(delivery_latency)",
    "goodput_bytes_per_s",
    "rate(lost)",
];

#[cfg(test)]
mod tests;
