//! Rows in the form of run files.
//!
//! Everything that can be counted from rows is; what needs the run itself (intervals of percentiles, links over time,
//! health) stays empty, as where a run measured none of it.

use std::collections::BTreeMap;

use crate::record::{DeliveryRow, DeliveryStatus};
use crate::records::{self, ClientRecord, Interval, Intervals, PhaseSpan, RunFile, latency_bin};
use crate::result::RunResult;

use super::samples::{arrival, is_expected};

/// One run file for each cell and repeat that has rows.
pub(in crate::report) fn runs(result: &RunResult, rows: &[DeliveryRow]) -> Vec<RunFile> {
    let mut groups: BTreeMap<(u32, u32), Vec<&DeliveryRow>> = BTreeMap::new();
    for row in rows {
        groups.entry((row.cell, row.repeat)).or_default().push(row);
    }
    groups.into_iter().map(|((cell, repeat), rows)| run(result, cell, repeat, &rows)).collect()
}

fn run(result: &RunResult, cell: u32, repeat: u32, rows: &[&DeliveryRow]) -> RunFile {
    let mut file = RunFile { schema: records::SCHEMA, cell, repeat, ..RunFile::default() };
    if let Some(known) = result.cells.get(cell as usize) {
        file.axes = known.axes.clone();
        file.links = known.links.clone();
        let of_repeat = known.repeats.get(repeat as usize);
        file.metrics = of_repeat.map_or_else(|| known.metrics.clone(), |repeat| repeat.metrics.clone());
        file.seed = of_repeat.map_or(0, |repeat| repeat.seed);
    }
    let end = rows.iter().map(|row| row.intended_us.max(row.delivered_us.unwrap_or(0))).max().unwrap_or(0);
    file.phases = phases(rows, end);
    file.intervals = intervals(rows, end);
    latencies(&mut file, rows);
    file.clients = clients(rows);
    file
}

fn latencies(file: &mut RunFile, rows: &[&DeliveryRow]) {
    let mut messages: BTreeMap<u32, Vec<&DeliveryRow>> = BTreeMap::new();
    for row in rows.iter().filter(|row| is_expected(row)) {
        messages.entry(row.message).or_default().push(row);
        let since = |from: u64| arrival(row).map(|at| at.saturating_sub(from));
        file.all.delivery.record(since(row.intended_us));
        if let Some(submitted) = row.submitted_us {
            file.all.service.record(since(submitted));
        }
    }
    for rows in messages.into_values() {
        let arrivals: Option<Vec<u64>> = rows.iter().map(|row| arrival(row)).collect();
        if let Some(submitted) = rows[0].submitted_us {
            file.all.ack_rtt.record(rows[0].acked_us.map(|at| at.saturating_sub(submitted)));
        }
        if rows.len() < 2 {
            continue;
        }
        let ends = arrivals.as_ref().and_then(|all| Some((*all.iter().min()?, *all.iter().max()?)));
        file.all.completion.record(ends.map(|(_, last)| last.saturating_sub(rows[0].intended_us)));
        if let Some((first, last)) = ends {
            file.all.skew.record(Some(last - first));
        }
    }
}

fn intervals(rows: &[&DeliveryRow], end: u64) -> Intervals {
    let mut width_us = 1_000_000;
    while end / width_us >= records::MOST_INTERVALS as u64 {
        width_us *= 2;
    }
    let mut intervals = vec![Interval::default(); (end / width_us + 1) as usize];
    let mut heats = vec![BTreeMap::<u16, u32>::new(); intervals.len()];
    let mut latencies = vec![Vec::new(); intervals.len()];
    let mut before = BTreeMap::new();
    for row in rows {
        let at = (row.intended_us / width_us) as usize;
        if before.insert(row.message, ()).is_none() {
            intervals[at].intended += 1;
            intervals[at].sent += u64::from(row.submitted_us.is_some());
        }
        if !row.status.is_expected() {
            continue;
        }
        intervals[at].expected += 1;
        let Some(arrived) = arrival(row) else {
            intervals[at].lost += 1;
            continue;
        };
        let latency = arrived.saturating_sub(row.intended_us);
        *heats[at].entry(latency_bin(latency)).or_default() += 1;
        latencies[at].push(latency);
        let then = &mut intervals[(arrived / width_us) as usize];
        then.delivered += 1;
        then.delivered_bytes += u64::from(row.size_bytes);
    }
    for ((interval, heat), mut latencies) in intervals.iter_mut().zip(heats).zip(latencies) {
        latencies.sort_unstable();
        // Lost pairs are above all that arrived.
        let at = |q: f64| latencies.get(((q * interval.expected as f64).ceil() as usize).max(1) - 1).copied();
        (interval.p50_us, interval.p99_us, interval.max_us) = (at(0.5), at(0.99), at(1.0));
        interval.heat = heat.into_iter().collect();
    }
    Intervals { width_us, rows: intervals }
}

/// Spans of recorded and unrecorded messages.
fn phases(rows: &[&DeliveryRow], end: u64) -> Vec<PhaseSpan> {
    let mut named: Vec<(u64, u8, &str)> =
        rows.iter().map(|row| (row.intended_us, row.recorded, row.phase.as_str())).collect();
    named.sort_unstable();
    let mut spans: Vec<PhaseSpan> = Vec::new();
    for (at, recorded, name) in named {
        if spans.last().is_none_or(|last| last.name != name) {
            if let Some(last) = spans.last_mut() {
                last.until_us = at;
            }
            let from_us = if spans.is_empty() { 0 } else { at };
            spans.push(PhaseSpan { name: name.to_owned(), from_us, until_us: end, recorded: recorded == 1 });
        }
    }
    spans
}

fn clients(rows: &[&DeliveryRow]) -> Vec<ClientRecord> {
    let mut clients: BTreeMap<u32, ClientRecord> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.recorded == 1) {
        let client = clients.entry(row.recipient).or_default();
        client.client = row.recipient;
        if matches!(row.status, DeliveryStatus::Delivered | DeliveryStatus::OutOfOrder) {
            client.delivered += 1;
            client.delivered_bytes += u64::from(row.size_bytes);
        }
    }
    clients.into_values().take(records::MOST_CLIENTS).collect()
}

#[cfg(test)]
mod tests {
    use crate::report::synthetic;

    #[test]
    fn rows_become_the_same_numbers() {
        let saved = synthetic::small();
        assert_eq!(saved.runs.len(), 1);
        let run = &saved.runs[0];
        let summary = &saved.result.cells[0].metrics.latency.delivery;
        assert_eq!(run.all.delivery.count(), summary.count);
        let p99 = run.all.delivery.quantile(0.99).expect("arrived") as f64;
        assert!((p99 / summary.p99_us.expect("arrived") as f64 - 1.0).abs() < 0.002, "{p99}");
        assert_eq!(run.phases.iter().map(|phase| phase.recorded).collect::<Vec<_>>(), [false, true]);
        let delivered: u64 = run.intervals.rows.iter().map(|row| row.delivered).sum();
        assert!(delivered > run.all.delivery.count(), "the warm-up is in the intervals alone");
        assert!(run.all.completion.quantile(0.5) >= run.all.delivery.quantile(0.5));
    }
}
