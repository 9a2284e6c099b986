//! What was set against what, in words and tables: A against B, a run against a baseline, sockets beside virtual time.
//!
//! Nothing is computed here; [`crate::compare`] has decided. What was tested and what is only shown stand in tables of
//! their own, so that nobody takes the second for the first.

use crate::compare::{Change, Compared, Comparison, DriverRow, Finding, Found, Row, cell_words};
use crate::result::RunResult;

use super::format::{byte_rate, count, micros, percent, significant};
use super::measured::shown_percent;
use super::origin::Origin;
use super::table::{Table, numbers, words};

/// Where a result comes from, on one line.
#[must_use]
pub fn caption(result: &RunResult) -> String {
    Origin::of(result).caption()
}

/// A comparison as text: what was compared, what was found, the tables. Ends with a newline.
#[must_use]
pub fn text(compared: &Compared) -> String {
    let lines = sentences(compared).into_iter().map(|line| line + "\n");
    let tables = tables(compared);
    let tables = tables.iter().map(|table| format!("\n{}", table.to_text()));
    lines.chain(tables).collect()
}

/// What A and B are, and what was found.
pub(super) fn sentences(compared: &Compared) -> Vec<String> {
    let mut lines = vec![format!("A: {}", compared.a), format!("B: {}", compared.b)];
    lines.extend_from_slice(&compared.caveats);
    match &compared.found {
        Found::Tested(comparison) => {
            lines.push(format!("B against A: {}", comparison.headline()));
            lines.extend(comparison.repeats_needed.map(|repeats| {
                format!(
                    "{} comparisons at once need {repeats} repeats of each side to decide anything: --repeats {repeats}",
                    comparison.tests
                )
            }));
            lines.extend_from_slice(&comparison.unmatched);
        }
        Found::Drivers { rows } => lines.extend(rows.iter().map(parted)),
    }
    lines
}

/// One line on top of everything, where there is something that a verdict of assertions does not say.
pub(super) fn warning(compared: &Compared) -> Option<String> {
    match &compared.found {
        Found::Tested(comparison) if !comparison.regressions.is_empty() => {
            Some(format!("B ({}) against A ({}): {}", compared.b, compared.a, comparison.headline()))
        }
        Found::Tested(_) | Found::Drivers { .. } => None,
    }
}

/// What the section of a page is called.
pub(super) fn heading(compared: &Compared) -> &'static str {
    match compared.found {
        Found::Tested(_) => "A against B",
        Found::Drivers { .. } => "Both drivers",
    }
}

pub(super) fn tables(compared: &Compared) -> Vec<Table> {
    match &compared.found {
        Found::Tested(comparison) => tested(comparison).into_iter().chain(described(comparison)).collect(),
        Found::Drivers { rows } => drivers(rows).into_iter().collect(),
    }
}

/// How to read the tables.
pub(super) fn note(compared: &Compared) -> &'static str {
    match compared.found {
        Found::Tested(_) => {
            "One value for each run, and the median of these. B / A is the typical ratio (Hodges and Lehmann) with the \
             interval of the exact rank test; p is that test's, corrected for all rows that are tested (Holm)."
        }
        Found::Drivers { .. } => {
            "No test is made: with enough messages any two systems differ. D is the largest difference of the shares of \
             deliveries that took at most so long."
        }
    }
}

fn tested(comparison: &Comparison) -> Option<Table> {
    let swept = comparison.rows.iter().any(|row| !row.change.axes.is_empty());
    let mut columns = vec![words("finding"), words("metric")];
    columns.extend(["A", "B", "B / A", "95 % interval", "runs", "p (Holm)"].map(numbers));
    let is_explained = comparison.rows.iter().any(|row| !row.reason.is_empty());
    columns.extend(is_explained.then(|| words("why")));
    if swept {
        columns.insert(1, words("cell"));
    }
    let mut table = Table::new("A against B, tested", columns);
    for row in &comparison.rows {
        let mut cells = vec![finding(row).to_owned()];
        cells.extend(swept.then(|| cell_words(&row.change.axes)));
        cells.extend(change(&row.change));
        cells.push(significant(row.p_adjusted));
        cells.extend(is_explained.then(|| row.reason.clone()));
        table.row(cells);
    }
    (!table.rows.is_empty()).then_some(table)
}

fn described(comparison: &Comparison) -> Option<Table> {
    let swept = comparison.described.iter().any(|change| !change.axes.is_empty());
    let mut columns = vec![words("metric")];
    columns.extend(["A", "B", "B / A", "95 % interval", "runs"].map(numbers));
    if swept {
        columns.insert(0, words("cell"));
    }
    let mut table = Table::new("A against B, not tested", columns);
    for row in &comparison.described {
        let cell = swept.then(|| cell_words(&row.axes));
        table.row(cell.into_iter().chain(change(row)));
    }
    (!table.rows.is_empty()).then_some(table)
}

/// Metric, both medians, ratio, interval, runs.
fn change(change: &Change) -> [String; 6] {
    let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "∞".to_owned(), signed_percent);
    let has_values = !change.a.is_empty() && !change.b.is_empty();
    let of = |text: String| if has_values { text } else { "–".to_owned() };
    [
        change.metric.clone(),
        middle(change, &change.a),
        middle(change, &change.b),
        of(ratio(change.ratio)),
        of(format!("{} to {}", ratio(change.low), ratio(change.high))),
        format!("{} + {}", change.a.len(), change.b.len()),
    ]
}

fn signed_percent(ratio: f64) -> String {
    let percent = (ratio - 1.0) * 100.0;
    let sign = match percent {
        none if none.abs() < 5e-5 => return "0 %".to_owned(),
        less if less < 0.0 => "−",
        _ => "+",
    };
    format!("{sign}{} %", significant(percent.abs()))
}

/// The median, in the unit of the metric.
fn middle(change: &Change, values: &[Option<f64>]) -> String {
    let mut sorted: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::INFINITY)).collect();
    sorted.sort_by(f64::total_cmp);
    // The lower of two middle ones: what is between a value and never is not a value.
    let Some(&middle) = sorted.get(sorted.len().saturating_sub(1) / 2) else {
        return "–".to_owned();
    };
    match middle {
        lost if lost.is_infinite() => "lost".to_owned(),
        us if change.is_time => micros(us),
        bytes if change.metric.ends_with("bytes_per_s") || change.metric == "goodput" => byte_rate(bytes),
        share if change.metric.starts_with("rate(") => percent(share),
        other => significant(other),
    }
}

fn finding(row: &Row) -> &'static str {
    match row.finding {
        Finding::Equal => "equal",
        Finding::Unchanged => "unchanged",
        Finding::Regression => "REGRESSION",
        Finding::Improvement => "improvement",
        Finding::Inconclusive => "INCONCLUSIVE",
    }
}

/// `D = 0.0132 at 52.1 ms; 12,345 deliveries real, 12,345 virtual`.
fn parted(row: &DriverRow) -> String {
    let cell = if row.axes.is_empty() { String::new() } else { format!("{}: ", cell_words(&row.axes)) };
    let distance = row.distance.map_or_else(String::new, |found| {
        let at = found.at_us.map_or_else(|| "what never arrived".to_owned(), |us| micros(us as f64));
        format!("Kolmogorov-Smirnov distance {:.4} at {at}; ", found.d)
    });
    let (real, simulated) = (count(row.real), count(row.simulated));
    format!("{cell}{distance}{real} deliveries on sockets, {simulated} in virtual time")
}

fn drivers(rows: &[DriverRow]) -> Option<Table> {
    let swept = rows.iter().any(|row| !row.axes.is_empty());
    let mut columns = vec![words("percentile")];
    columns.extend(["sockets", "virtual time", "virtual / sockets", "95 % interval"].map(numbers));
    if swept {
        columns.insert(0, words("cell"));
    }
    let mut table = Table::new("Delivery latency in both drivers", columns);
    for row in rows {
        for shift in &row.shifts {
            let time = |us: Option<u64>| us.map_or_else(|| "lost".to_owned(), |us| micros(us as f64));
            let ratio = |ratio: Option<f64>| ratio.map_or_else(|| "–".to_owned(), significant);
            let cell = swept.then(|| cell_words(&row.axes));
            table.row(cell.into_iter().chain([
                format!("p{}", shown_percent(shift.q)),
                time(shift.a_us),
                time(shift.b_us),
                ratio(shift.ratio),
                format!("{} to {}", ratio(shift.low), ratio(shift.high)),
            ]));
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare;
    use crate::report::synthetic::{self, Shape};

    fn shape() -> Shape {
        Shape { clients: 20, steady_s: 10, ..Shape::default() }
    }

    fn told(compared: &Compared) -> String {
        text(compared)
    }

    #[test]
    fn a_slower_arm_is_told_with_what_was_tested_and_what_was_not() {
        let saved = synthetic::arms(&shape(), 5);
        let compared = saved.comparison.expect("two arms");
        let text = told(&compared);
        assert!(text.starts_with("A: protocol.congestion=reno\nB: protocol.congestion=cubic\n"), "{text}");
        assert!(text.contains("1 REGRESSION in 1 comparison, not confirmed"), "{text}");
        let line = |part: &str| text.lines().find(|line| line.contains(part)).expect(part).to_owned();
        assert!(line("p99(delivery_latency)").contains("REGRESSION"), "{text}");
        assert!(line("p50(delivery_latency)").contains("5 + 5"), "{text}");
        assert!(line("goodput").contains("B/s"), "{text}");
        let (tested, described) = text.split_once("not tested").expect("both tables");
        assert!(tested.contains("0.008") && !described.contains("p (Holm)"), "{text}");
        assert!(warning(&compared).expect("a regression").contains("1 REGRESSION"));
    }

    #[test]
    fn too_many_comparisons_say_how_many_repeats_they_need() {
        let axes = [synthetic::Vary::delay(&[5, 10, 15, 20, 25, 30, 40, 50])];
        let small = Shape { clients: 10, steady_s: 3, ..shape() };
        let saved = synthetic::grid(&small, &axes, 5);
        let slower = |run: &crate::records::RunFile| Shape {
            slowness: 2.0,
            delay_ms: run.links[0].up.delay_us as f64 / 1e3,
            ..small.clone()
        };
        let saved = synthetic::with_arm_b(saved, slower);
        let text = told(&saved.comparison.expect("two arms"));
        assert!(text.contains("8 comparisons at once need 6 repeats of each side"), "{text}");
    }

    #[test]
    fn drivers_are_shown_quantile_by_quantile() {
        let saved = synthetic::arms(&shape(), 2);
        let folded = |arm| {
            let runs: Vec<_> = saved.runs.iter().filter(|run| run.arm == arm).cloned().collect();
            vec![crate::records::RunFile::fold(&runs).expect("runs")]
        };
        let compared = Compared::drivers("real", "virtual", compare::drivers(&folded(0), &folded(1)));
        let text = told(&compared);
        assert!(text.contains("Kolmogorov-Smirnov distance 0."), "{text}");
        assert!(text.lines().any(|line| line.trim_start().starts_with("p99.9 ")), "{text}");
        assert_eq!(warning(&compared), None);
    }
}
