//! A comparison as text.

use std::time::Duration;

use units::format_duration;

use super::{Comparison, Finding, Row, cell_words};

/// The verdict, then a line for each row: what, both medians, ratio with interval, p, finding.
pub(super) fn text(comparison: &Comparison) -> String {
    let mut text = heading(comparison);
    for line in &comparison.unmatched {
        text.push_str(&format!("  - {line}\n"));
    }
    let lines: Vec<[String; 7]> = comparison.rows.iter().map(line).collect();
    let names = ["cell", "metric", "A", "B", "B / A (95 %)", "p", "finding"].map(str::to_owned);
    let wide = |column: usize| {
        let all = lines.iter().chain([&names]);
        all.map(|line| line[column].chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..names.len()).map(wide).collect();
    for line in [&names].into_iter().chain(&lines) {
        let cells = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

fn heading(comparison: &Comparison) -> String {
    let of = |finding| comparison.rows.iter().filter(|row| row.finding == finding).count();
    let unsure = of(Finding::Inconclusive);
    let word = match (comparison.regressions.len(), unsure) {
        (0, 0) => "no regression".to_owned(),
        (0, unsure) => format!("no regression found, {unsure} INCONCLUSIVE"),
        (1, _) => "1 REGRESSION".to_owned(),
        (many, _) => format!("{many} REGRESSIONS"),
    };
    let better = match comparison.improvements.len() {
        0 => String::new(),
        1 => ", 1 improvement".to_owned(),
        many => format!(", {many} improvements"),
    };
    let again =
        if comparison.needs_confirmation.is_empty() { "" } else { ", to be confirmed by another round" };
    format!("{word}{better} in {} comparisons{again}\n", comparison.rows.len())
}

fn line(row: &Row) -> [String; 7] {
    let percent = |ratio: Option<f64>| {
        ratio.map_or("∞".to_owned(), |ratio| format!("{:+.1} %", (ratio - 1.0) * 100.0))
    };
    let ratio = if row.a.is_empty() {
        "–".to_owned()
    } else {
        format!("{} ({} to {})", percent(row.ratio), percent(row.low), percent(row.high))
    };
    let finding = match row.finding {
        Finding::Equal => "equal",
        Finding::Unchanged => "unchanged",
        Finding::Regression => "REGRESSION",
        Finding::Improvement => "improvement",
        Finding::Inconclusive => "INCONCLUSIVE",
    };
    let finding =
        if row.reason.is_empty() { finding.to_owned() } else { format!("{finding}: {}", row.reason) };
    [
        if row.axes.is_empty() { "all".to_owned() } else { cell_words(&row.axes) },
        row.metric.clone(),
        middle(&row.a, row.is_time),
        middle(&row.b, row.is_time),
        ratio,
        format!("{:.3}", row.p_adjusted),
        finding,
    ]
}

/// `512ms (n=5)`.
fn middle(values: &[Option<f64>], is_time: bool) -> String {
    let mut sorted: Vec<f64> = values.iter().map(|value| value.unwrap_or(f64::INFINITY)).collect();
    sorted.sort_by(f64::total_cmp);
    let Some(&middle) = sorted.get(sorted.len().saturating_sub(1) / 2) else {
        return "–".to_owned();
    };
    let shown = match middle {
        lost if lost.is_infinite() => "lost".to_owned(),
        us if is_time && us >= 0.0 => format_duration(Duration::from_micros(us.round() as u64)),
        other => format!("{}", (other * 1e4).round() / 1e4),
    };
    format!("{shown} (n={})", values.len())
}
