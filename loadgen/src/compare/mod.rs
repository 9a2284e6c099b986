//! Two sets of runs: which of them is worse, and is that more than chance?
//!
//! A run is one value, however many messages it had: what is odd about a machine for a minute is in all of them. So each
//! metric is computed once for each repeat, and repeats of A and B are compared by an exact test of ranks. A change counts
//! when four things agree: it is at least as large as the rule says, its 95 % interval excludes no change, the
//! test stands after Holm's correction over all metrics and cells, and another round of runs shows it again. `judge`
//! decides the first three and says which cells the fourth is for.
//!
//! In virtual time chance is a seed. Runs of equal seeds are equal to the last digit or they are not, and [`judge`] says
//! which; the test is then about what other seeds would show.
//!
//! `table` renders it, [`drivers()`] sets a real beside a virtual run. Every number that differs, without a test, is in
//! [`crate::report::diff()`].

mod drivers;
mod read;
mod table;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::records::RunFile;
use crate::scenario::{BaselineGate, Correction, Regress, Scenario};
use crate::stats::samples::{holm_adjusted, mann_whitney, shift, smallest_p};
use crate::verdict::Quantity;

pub use drivers::{DriverRow, drivers, drivers_text};
pub use read::read_runs;

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

/// A and B, judged. Its JSON is what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Cells in their order, metrics in the order of the rules.
    pub rows: Vec<Row>,
    /// Indices into `rows`.
    pub regressions: Vec<usize>,
    pub improvements: Vec<usize>,
    /// Cells to run again before a regression counts; empty where no rule asks for it.
    pub needs_confirmation: Vec<u32>,
    /// What only one side has, as sentences.
    pub unmatched: Vec<String>,
}

/// One metric of one cell.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Row {
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
    /// Exact and two-sided; and after correction.
    pub p: f64,
    pub p_adjusted: f64,
    pub finding: Finding,
    /// Why the finding is no other, in a few words.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
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
    let mut rows = Vec::new();
    let mut unmatched = Vec::new();
    let twin = |runs: &[&RunFile], others: &[Vec<&RunFile>]| {
        others.iter().position(|other| other[0].axes == runs[0].axes)
    };
    for runs in &left {
        match twin(runs, &right) {
            Some(other) => {
                rows.extend(rules.rules.iter().map(|rule| row(rule, runs, &right[other], scenario)));
            }
            None => unmatched.push(format!("{} is only in the first", cell_words(&runs[0].axes))),
        }
    }
    let only = right.iter().filter(|runs| twin(runs, &left).is_none());
    unmatched.extend(only.map(|runs| format!("{} is only in the second", cell_words(&runs[0].axes))));
    Comparison::of(rows, unmatched, rules)
}

impl Comparison {
    /// Decides rows that are tested: those of one cell follow each other, one for each rule.
    fn of(mut rows: Vec<Row>, unmatched: Vec<String>, rules: &Rules) -> Self {
        correct(&mut rows, rules);
        decide(&mut rows, rules);
        let found = |finding| (0..rows.len()).filter(|&row| rows[row].finding == finding).collect::<Vec<_>>();
        let (regressions, improvements) = (found(Finding::Regression), found(Finding::Improvement));
        let asks = |row: &&usize| rules.rules[**row % rules.rules.len()].confirm > 0;
        let cells: BTreeSet<u32> = regressions.iter().filter(asks).map(|&row| rows[row].cell).collect();
        Self { needs_confirmation: cells.into_iter().collect(), rows, regressions, improvements, unmatched }
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
            let same = again.rows.iter().find(|other| other.axes == row.axes && other.metric == row.metric);
            let shows = |other: &Row| !other.a.is_empty() && worse(rule, other.ratio) >= rule.worse_by;
            if !same.is_some_and(shows) {
                row.finding = Finding::Unchanged;
                row.reason = "another round of runs did not show it again".to_owned();
            }
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

    /// A table of all rows. Ends with a newline.
    #[must_use]
    pub fn to_text(&self) -> String {
        table::text(self)
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

/// `loss.p=0.1 delay="20ms"`.
fn cell_words(axes: &BTreeMap<String, Value>) -> String {
    if axes.is_empty() {
        return "the only cell".to_owned();
    }
    axes.iter().map(|(path, value)| format!("{path}={value}")).collect::<Vec<_>>().join(" ")
}

fn row(rule: &Rule, a: &[&RunFile], b: &[&RunFile], scenario: Option<&Scenario>) -> Row {
    let values = |runs: &[&RunFile]| {
        runs.iter().map(|run| rule.metric.of(run, scenario)).collect::<Result<Vec<f64>, String>>()
    };
    let row = Row {
        cell: a[0].cell,
        axes: a[0].axes.clone(),
        metric: rule.metric.text().to_owned(),
        is_time: rule.metric.is_time(),
        ..Row::default()
    };
    let invalid = a.iter().chain(b).filter(|run| !run.invalid.is_empty()).count();
    let (left, right) = match (values(a), values(b)) {
        (Ok(left), Ok(right)) => (left, right),
        (Err(why), _) | (_, Err(why)) => return inconclusive(row, format!("no value: {why}")),
    };
    let row = tested(row, &left, &right);
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

/// Fills in what the values of the repeats say.
fn tested(mut row: Row, left: &[f64], right: &[f64]) -> Row {
    let finite = |values: &[f64]| values.iter().map(|value| value.is_finite().then_some(*value)).collect();
    (row.a, row.b) = (finite(left), finite(right));
    // Ratios are differences of logarithms; a zero is below everything.
    let logs = |values: &[f64]| values.iter().map(|value| value.max(0.0).ln()).collect::<Vec<f64>>();
    if let Some(found) = shift(&logs(left), &logs(right)) {
        let bound = |log: f64| Some(log.exp()).filter(|ratio| ratio.is_finite());
        row.ratio = bound(found.typical);
        (row.low, row.high) = (bound(found.low), bound(found.high));
    }
    row.p = mann_whitney(left, right);
    row
}

fn inconclusive(row: Row, reason: String) -> Row {
    Row { finding: Finding::Inconclusive, reason, ..row }
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

/// Holm's correction over the rows whose rules ask for it, whatever cell and metric they are of.
fn correct(rows: &mut [Row], rules: &Rules) {
    let asks = |index: usize, row: &Row| {
        let rule = &rules.rules[index % rules.rules.len()];
        row.finding == Finding::Unchanged && rule.correction == Correction::Holm
    };
    let places: Vec<usize> = (0..rows.len()).filter(|&index| asks(index, &rows[index])).collect();
    rows.iter_mut().for_each(|row| row.p_adjusted = row.p);
    let p_values: Vec<f64> = places.iter().map(|&index| rows[index].p).collect();
    for (place, adjusted) in places.into_iter().zip(holm_adjusted(&p_values)) {
        rows[place].p_adjusted = adjusted;
    }
}

fn decide(rows: &mut [Row], rules: &Rules) {
    let open = rows.iter().filter(|row| row.finding == Finding::Unchanged).count();
    for (index, row) in rows.iter_mut().enumerate() {
        if row.finding == Finding::Unchanged {
            let (finding, reason) = decided(row, &rules.rules[index % rules.rules.len()], open);
            (row.finding, row.reason) = (finding, reason);
        }
    }
}

fn decided(row: &Row, rule: &Rule, tests: usize) -> (Finding, String) {
    let least = smallest_p(row.a.len(), row.b.len());
    if rule.correction == Correction::Holm && least * tests as f64 > rule.alpha && row.p <= rule.alpha {
        let reason = format!(
            "{tests} comparisons of {} and {} repeats cannot give p below {:.2}; add repeats",
            row.a.len(),
            row.b.len(),
            (least * tests as f64).min(1.0)
        );
        return (Finding::Inconclusive, reason);
    }
    let excludes_none = row.low.is_none_or(|low| low > 1.0) || row.high.is_some_and(|high| high < 1.0);
    let change = worse(rule, row.ratio);
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

#[cfg(test)]
mod tests;
