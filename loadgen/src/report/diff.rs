//! `loadgen diff A B`: two results side by side, cell by cell.
//!
//! A table of differences is not a verdict: with one run each, any number differs a little under the real driver. It
//! says what was not the same to begin with (scenario, seed, driver), because a difference then means nothing by itself.
//! Two virtual runs of one scenario and seed must agree to the last digit, and then this says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::Value;

use crate::result::{Cell, RunResult};

use super::format::significant;
use super::origin::{Origin, cell_name};
use super::table::{Table, numbers, words};

/// The difference of two results; its JSON is what `--json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diff {
    /// What was not the same to begin with, as sentences.
    pub caveats: Vec<String>,
    pub cells: Vec<CellDiff>,
    /// Cells that only one of the two has.
    pub unmatched: Vec<String>,
}

/// One cell that both results have.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CellDiff {
    pub axes: BTreeMap<String, Value>,
    /// Metrics by path, sorted; those that both lack are left out.
    pub metrics: Vec<MetricDiff>,
    #[serde(skip)]
    name: String,
}

/// One metric in both results, in its unit (µs, bytes, per second or a count).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricDiff {
    /// `latency.delivery.p99_us`.
    pub metric: String,
    /// `null`: not stated, for example because the rank fell among lost messages.
    pub a: Option<f64>,
    pub b: Option<f64>,
    /// `b − a`.
    pub absolute: Option<f64>,
    /// `(b − a) / a`; `null` when `a` is zero.
    pub relative: Option<f64>,
}

impl MetricDiff {
    fn differs(&self) -> bool {
        self.a != self.b
    }
}

/// Compares two results as data.
#[must_use]
pub fn compare(a: &RunResult, b: &RunResult) -> Diff {
    let mut cells = Vec::new();
    let mut unmatched = Vec::new();
    for cell in &a.cells {
        match b.cells.iter().find(|other| other.axes == cell.axes) {
            Some(other) => cells.push(compare_cells(cell, other)),
            None => unmatched.push(format!("{} is only in the first", cell_name(cell))),
        }
    }
    let only_b = b.cells.iter().filter(|cell| !a.cells.iter().any(|other| other.axes == cell.axes));
    unmatched.extend(only_b.map(|cell| format!("{} is only in the second", cell_name(cell))));
    Diff { caveats: caveats(a, b), cells, unmatched }
}

/// Compares two results as text: a table for each cell of the metrics that differ. Ends with a newline.
#[must_use]
pub fn diff(a: &RunResult, b: &RunResult) -> String {
    let difference = compare(a, b);
    let mut text = format!("a: {}\nb: {}\n", Origin::of(a).caption(), Origin::of(b).caption());
    for line in difference.caveats.iter().chain(&difference.unmatched) {
        text.push_str(&format!("  - {line}\n"));
    }
    for cell in &difference.cells {
        text.push('\n');
        text.push_str(&cell_text(cell));
    }
    text
}

fn caveats(a: &RunResult, b: &RunResult) -> Vec<String> {
    let mut caveats = Vec::new();
    let mut note = |what: &str, a: &str, b: &str| {
        if a != b {
            caveats.push(format!("{what} differs: {a} and {b}"));
        }
    };
    note("the scenario's hash", &Origin::of(a).scenario_hash, &Origin::of(b).scenario_hash);
    note("the seed", &a.run.seed.to_string(), &b.run.seed.to_string());
    note("the driver", &a.run.driver, &b.run.driver);
    note("the revision", &a.run.revision, &b.run.revision);
    note("the verdict", super::content::verdict_word(a.verdict), super::content::verdict_word(b.verdict));
    caveats
}

fn compare_cells(a: &Cell, b: &Cell) -> CellDiff {
    let (left, right) = (flat(a), flat(b));
    let paths: BTreeSet<&String> = left.keys().chain(right.keys()).collect();
    let metrics = paths
        .into_iter()
        .map(|path| {
            let value = |side: &BTreeMap<String, f64>| side.get(path).copied();
            let (a, b) = (value(&left), value(&right));
            let absolute = a.zip(b).map(|(a, b)| b - a);
            let relative = a.zip(absolute).filter(|&(a, _)| a != 0.0).map(|(a, difference)| difference / a);
            MetricDiff { metric: path.clone(), a, b, absolute, relative }
        })
        .collect();
    CellDiff { axes: a.axes.clone(), metrics, name: cell_name(a) }
}

/// Every number of the metrics by its path.
fn flat(cell: &Cell) -> BTreeMap<String, f64> {
    let mut numbers = BTreeMap::new();
    // Metrics are plain numbers and texts; they always become JSON, and without it there is nothing to compare.
    let value = serde_json::to_value(&cell.metrics).unwrap_or(Value::Null);
    collect("", &value, &mut numbers);
    numbers
}

fn collect(path: &str, value: &Value, numbers: &mut BTreeMap<String, f64>) {
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(&path, value, numbers);
            }
        }
        Value::Number(number) => {
            numbers.extend(number.as_f64().map(|number| (path.to_owned(), number)));
        }
        _ => {}
    }
}

fn cell_text(cell: &CellDiff) -> String {
    let differing: Vec<&MetricDiff> = cell.metrics.iter().filter(|metric| metric.differs()).collect();
    let equal = cell.metrics.len() - differing.len();
    let heading = format!("Cell {}: {} metrics differ, {equal} are equal\n", cell.name, differing.len());
    if differing.is_empty() {
        return heading;
    }
    let columns = vec![words("metric"), numbers("a"), numbers("b"), numbers("b - a"), numbers("relative")];
    let mut table = Table::new("", columns);
    let text = |value: Option<f64>| value.map_or("–".to_owned(), significant);
    for metric in differing {
        let relative =
            metric.relative.map_or("–".to_owned(), |relative| format!("{:+.1} %", relative * 100.0));
        table.row([metric.metric.clone(), text(metric.a), text(metric.b), text(metric.absolute), relative]);
    }
    let rows = table.to_text();
    format!("{heading}{}", rows.trim_start_matches('\n'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn equal_runs_have_no_difference() {
        let result = synthetic::small().result;
        let text = diff(&result, &result);
        assert!(text.contains("Cell all: 0 metrics differ"), "{text}");
        assert!(!text.contains("  - "), "{text}");
    }

    #[test]
    fn differences_are_absolute_and_relative() {
        let a = synthetic::small().result;
        let mut b = a.clone();
        b.cells[0].metrics.latency.delivery.p99_us =
            a.cells[0].metrics.latency.delivery.p99_us.map(|us| us * 2);
        let difference = compare(&a, &b);
        let p99 =
            difference.cells[0].metrics.iter().find(|m| m.metric == "latency.delivery.p99_us").expect("p99");
        assert_eq!((p99.relative, p99.absolute), (Some(1.0), p99.a));
        assert!(diff(&a, &b).contains("+100.0 %"));
    }

    #[test]
    fn other_seed_driver_or_scenario_is_said_first() {
        let a = synthetic::small().result;
        let mut b = a.clone();
        b.run.seed = 43;
        b.run.driver = "real".to_owned();
        b.scenario = serde_json::json!({"name": "other"});
        let text = diff(&a, &b);
        assert!(text.contains("  - the seed differs: 42 and 43\n"), "{text}");
        assert!(text.contains("  - the driver differs: virtual and real\n"), "{text}");
        assert!(text.contains("  - the scenario's hash differs: "), "{text}");
    }

    #[test]
    fn cells_are_matched_by_their_axes() {
        let a = synthetic::sweep().result;
        let mut b = a.clone();
        b.cells.remove(0);
        let difference = compare(&a, &b);
        assert_eq!(difference.cells.len(), a.cells.len() - 1);
        assert_eq!(difference.unmatched, ["loss.p = 0% is only in the first"]);
    }
}
