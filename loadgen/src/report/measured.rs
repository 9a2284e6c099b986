//! Tables made from run files: percentiles and how sure they are, workloads, the slowest messages.

use crate::distribution::Distribution;
use crate::records::{Exemplar, QuantileEstimate, RunFile, StepKind};

use super::compared;
use super::format::{count, micros, plural, share, significant};
use super::page::latency;
use super::runs::{Pooled, Told};
use super::table::{Column, Table, numbers, words};

/// Percentiles of delivery latency of the only cell, with what they rest on.
pub(super) fn percentiles(told: &Told<'_>) -> Option<Table> {
    if told.is_swept() || told.pooled.iter().all(|pooled| pooled.quantiles.is_empty()) {
        return None;
    }
    let repeated = told.pooled.iter().any(|pooled| pooled.repeats > 1);
    let has_few = told.pooled.iter().flat_map(|pooled| &pooled.quantiles).any(|estimate| !estimate.is_firm);
    let mut columns = vec![words("percentile"), numbers("delivery latency"), numbers("95 % interval")];
    if repeated {
        columns.push(numbers("median of repeats (range)"));
    }
    columns.extend([numbers("service latency"), numbers("deliveries"), numbers("messages")]);
    if has_few {
        columns.push(words("note"));
    }
    if told.has_arms() {
        columns.insert(0, words("arm"));
    }
    let mut table = Table::new("Percentiles of delivery latency", columns);
    for pooled in &told.pooled {
        for estimate in &pooled.quantiles {
            let mut row =
                vec![format!("p{}", shown_percent(estimate.q)), marked(estimate), interval(estimate)];
            if repeated {
                row.push(spread(told, pooled, estimate.q));
            }
            row.extend([
                at(&pooled.all.service, estimate.q),
                count(estimate.deliveries),
                count(estimate.messages),
            ]);
            if has_few {
                row.push(few(estimate));
            }
            if told.has_arms() {
                row.insert(0, told.arm(pooled.arm).to_owned());
            }
            table.row(row);
        }
    }
    Some(table)
}

/// p99 of a cell with its interval, for the table of cells.
pub(super) fn p99_interval(pooled: Option<&Pooled>) -> String {
    let estimate = pooled.and_then(|pooled| pooled.quantiles.iter().find(|estimate| estimate.q == 0.99));
    estimate.map_or_else(|| "–".to_owned(), interval)
}

/// A row for each workload, where there are several.
pub(super) fn workloads(told: &Told<'_>) -> Option<Table> {
    let mut columns: Vec<Column> = Vec::new();
    columns.extend(told.is_swept().then(|| words("cell")));
    columns.extend(told.has_arms().then(|| words("arm")));
    columns.push(words("workload"));
    columns.extend(
        ["messages", "deliveries", "lost", "p50", "p99", "95 % interval of p99", "service p99"].map(numbers),
    );
    let mut table = Table::new("Workloads", columns);
    for pooled in &told.pooled {
        for workload in &pooled.workloads {
            let p99 = workload.quantiles.iter().find(|estimate| estimate.q == 0.99);
            let mut row: Vec<String> = Vec::new();
            row.extend(told.is_swept().then(|| told.cell(pooled.cell)));
            row.extend(told.has_arms().then(|| told.arm(pooled.arm).to_owned()));
            row.extend([
                workload.name.clone(),
                count(workload.messages.intended),
                count(workload.delivery.count()),
                share(workload.messages.lost, workload.messages.expected_deliveries),
                at(&workload.delivery, 0.5),
                p99.map_or_else(|| at(&workload.delivery, 0.99), marked),
                p99.map_or_else(|| "–".to_owned(), interval),
                at(&workload.service, 0.99),
            ]);
            table.row(row);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// The slowest messages, slowest first; the rows are in the order of `exemplars`.
pub(super) fn slowest(told: &Told<'_>, exemplars: &[(&RunFile, &Exemplar)]) -> Option<Table> {
    let repeated = told.pooled.iter().any(|pooled| pooled.repeats > 1);
    let mut columns: Vec<Column> = Vec::new();
    columns.extend(told.is_swept().then(|| words("cell")));
    columns.extend(told.has_arms().then(|| words("arm")));
    columns.extend(repeated.then(|| words("repeat")));
    columns.extend([
        words("workload"),
        numbers("message"),
        words("from, to"),
        numbers("intended at"),
        numbers("latency"),
        numbers("slower than"),
        words("on its way"),
    ]);
    let mut table = Table::new("Slowest messages", columns);
    for (run, exemplar) in exemplars {
        let mut row: Vec<String> = Vec::new();
        row.extend(told.is_swept().then(|| told.cell(run.cell)));
        row.extend(told.has_arms().then(|| told.arm(run.arm).to_owned()));
        row.extend(repeated.then(|| (run.repeat + 1).to_string()));
        let slow =
            exemplar.delivered_us.map_or_else(|| "lost".to_owned(), |_| micros(latency(exemplar) as f64));
        row.extend([
            exemplar.workload.clone(),
            exemplar.message.to_string(),
            format!("{} to {}", exemplar.sender, exemplar.recipient),
            format!("{} s", significant(exemplar.intended_us as f64 / 1e6)),
            slow,
            format!("{} %", shown_percent((exemplar.rank * 1e6).floor() / 1e6)),
            on_its_way(exemplar),
        ]);
        table.row(row);
    }
    (!table.rows.is_empty()).then_some(table)
}

/// What a comparison found and what runs say of themselves that no verdict depends on, each once.
pub(super) fn warnings(told: &Told<'_>) -> Vec<String> {
    let mut seen: Vec<(&String, usize)> = Vec::new();
    for warning in told.runs.iter().flat_map(|run| &run.warnings) {
        match seen.iter_mut().find(|(text, _)| *text == warning) {
            Some((_, times)) => *times += 1,
            None => seen.push((warning, 1)),
        }
    }
    let text = |(warning, times): (&String, usize)| match times {
        1 => warning.clone(),
        times => format!("{warning} ({})", plural(times as u64, "run")),
    };
    told.comparison.and_then(compared::warning).into_iter().chain(seen.into_iter().map(text)).collect()
}

/// `99.9` of 0.999.
pub(super) fn shown_percent(q: f64) -> String {
    let text = format!("{:.4}", q * 100.0);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The value, with a star where too few samples stand behind it.
fn marked(estimate: &QuantileEstimate) -> String {
    let value = bound(estimate.value_us, estimate.deliveries);
    if estimate.is_firm || estimate.deliveries == 0 { value } else { format!("{value} *") }
}

fn interval(estimate: &QuantileEstimate) -> String {
    let n = estimate.deliveries;
    if n == 0 {
        return "–".to_owned();
    }
    let high = estimate.high_us.map_or_else(|| "∞".to_owned(), |us| micros(us as f64));
    format!("{} – {high}", bound(estimate.low_us, n))
}

fn few(estimate: &QuantileEstimate) -> String {
    let needed = crate::stats::rank::samples_to_state(estimate.q);
    if estimate.is_firm { String::new() } else { format!("* needs {}", count(needed)) }
}

fn bound(us: Option<u64>, n: u64) -> String {
    match us {
        Some(us) => micros(us as f64),
        None if n == 0 => "–".to_owned(),
        None => "lost".to_owned(),
    }
}

fn at(distribution: &Distribution, q: f64) -> String {
    bound(distribution.quantile(q), distribution.count())
}

/// Median, smallest and largest of the repeats' own percentiles; a percentile among the lost is above every other.
fn spread(told: &Told<'_>, pooled: &Pooled, q: f64) -> String {
    let of = |run: &RunFile| run.all.delivery.quantile(q).unwrap_or(u64::MAX);
    let mut all: Vec<u64> = told.runs_of(pooled.cell, pooled.arm).map(of).collect();
    all.sort_unstable();
    let show = |us: u64| bound((us < u64::MAX).then_some(us), 1);
    match all.as_slice() {
        [] => "–".to_owned(),
        [only] => show(*only),
        // The lower of two middle ones: what is between a value and never is not a value.
        [least, .., most] => {
            format!("{} ({} – {})", show(all[(all.len() - 1) / 2]), show(*least), show(*most))
        }
    }
}

/// `sent again 3 times, 2 timeouts`.
fn on_its_way(exemplar: &Exemplar) -> String {
    let number =
        |wanted: &[StepKind]| exemplar.steps.iter().filter(|step| wanted.contains(&step.what)).count();
    let again = number(&[StepKind::Retransmitted, StepKind::FastRetransmitted]);
    let parts = [
        (number(&[StepKind::Lost]), "loss", "losses"),
        (again, "repeat", "repeats"),
        (number(&[StepKind::Timeout]), "timeout", "timeouts"),
        (number(&[StepKind::Probed]), "probe", "probes"),
    ];
    let told: Vec<String> = parts
        .iter()
        .filter(|(number, _, _)| *number > 0)
        .map(|(number, one, many)| format!("{number} {}", if *number == 1 { one } else { many }))
        .collect();
    match told.as_slice() {
        [] if exemplar.steps.is_empty() => "not known".to_owned(),
        [] => "nothing was repeated".to_owned(),
        told => told.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape};

    fn shape() -> Shape {
        Shape { clients: 20, steady_s: 10, ..Shape::default() }
    }

    fn text(table: Option<Table>) -> String {
        table.expect("a table").to_text()
    }

    #[test]
    fn percentiles_say_what_they_rest_on() {
        let saved = synthetic::chat(&shape(), 3);
        let told = Told::of(&saved.result, &saved.runs);
        let text = text(percentiles(&told));
        assert!(text.contains("median of repeats (range)"), "{text}");
        let line = text.lines().find(|line| line.trim_start().starts_with("p99.99 ")).expect("a row");
        assert!(line.contains('*') && line.contains("needs 100,000"), "{line}");
        let p50 = text.lines().find(|line| line.trim_start().starts_with("p50 ")).expect("a row");
        assert!(!p50.contains('*') && p50.contains(" – "), "{p50}");
        let deliveries = count(saved.runs.iter().map(|run| run.all.delivery.count()).sum());
        assert!(p50.contains(&deliveries), "{p50}");
    }

    #[test]
    fn percentiles_among_the_lost_are_called_lost() {
        let saved = synthetic::chat(&Shape { given_up: 0.05, ..shape() }, 1);
        let text = text(percentiles(&Told::of(&saved.result, &saved.runs)));
        let p99 = text.lines().find(|line| line.trim_start().starts_with("p99 ")).expect("a row");
        assert!(p99.contains("lost"), "{p99}");
    }

    #[test]
    fn warnings_are_told_once() {
        let mut saved = synthetic::chat(&shape(), 2);
        saved.runs.iter_mut().for_each(|run| run.warnings.push("warm-up was short".to_owned()));
        saved.runs[0].warnings.push("only here".to_owned());
        let warnings = warnings(&Told::of(&saved.result, &saved.runs));
        assert_eq!(warnings, ["warm-up was short (2 runs)", "only here"]);
    }

    #[test]
    fn the_slowest_come_with_what_happened_to_them() {
        let saved = synthetic::chat(&shape(), 1);
        let told = Told::of(&saved.result, &saved.runs);
        let exemplars: Vec<_> =
            saved.runs[0].exemplars.iter().map(|exemplar| (&saved.runs[0], exemplar)).collect();
        let text = text(slowest(&told, &exemplars));
        assert!(text.contains("1 repeat, 1 timeout"), "{text}");
        assert!(slowest(&told, &[]).is_none());
    }
}
