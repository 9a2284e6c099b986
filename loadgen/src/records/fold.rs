//! Several runs of one cell as one: counts added, distributions merged.
//!
//! Percentiles are taken from what was merged and never averaged. What has no sum is said in [`RunFile::fold`].

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::distribution::Distribution;
use crate::measure::summarise;
use crate::result::Metrics;
use crate::stats::{cluster, rank};

use super::{Intervals, QuantileEstimate, RunFile, WorkloadRecord};

impl RunFile {
    /// Folds the repeats of one cell and arm; `None` without any.
    ///
    /// Counts are added and distributions merged; rates are means weighted by recorded time; gauges and percentiles of
    /// which no distribution is kept (SRTT, RTO) are medians over the runs; what was largest stays so. Every
    /// client of every run keeps its row. Time series do not fold: `intervals` is empty, spans are those of the first run.
    #[must_use]
    pub fn fold(runs: &[Self]) -> Option<Self> {
        let (first, others) = runs.split_first()?;
        let mut sum = first.clone();
        sum.intervals = Intervals::default();
        for run in others {
            sum.all.merge(&run.all);
            sum.connect.merge(&run.connect);
            sum.link_delays.up.merge(&run.link_delays.up);
            sum.link_delays.down.merge(&run.link_delays.down);
            sum.health.lag.merge(&run.health.lag);
            sum.health.hiccups.merge(&run.health.hiccups);
            for (thread, seconds) in &run.health.cpu_s {
                *sum.health.cpu_s.entry(thread.clone()).or_default() += seconds;
            }
            sum.health.warmup_needed_us = sum.health.warmup_needed_us.max(run.health.warmup_needed_us);
            fold_workloads(&mut sum.workloads, &run.workloads);
            sum.clients.extend_from_slice(&run.clients);
            sum.recoveries.extend_from_slice(&run.recoveries);
            sum.exemplars.extend_from_slice(&run.exemplars);
            sum.invalid.extend_from_slice(&run.invalid);
            sum.failures.extend_from_slice(&run.failures);
            sum.warnings.extend_from_slice(&run.warnings);
        }
        let most = runs.iter().map(|run| run.exemplars.len()).max().unwrap_or(0);
        let slowness =
            |it: &super::Exemplar| it.delivered_us.map_or(u64::MAX, |at| at.saturating_sub(it.intended_us));
        sum.exemplars.sort_by_key(|exemplar| std::cmp::Reverse(slowness(exemplar)));
        sum.exemplars.truncate(most);
        sum.metrics = fold_metrics(runs, &sum);
        let parts: Vec<(&[QuantileEstimate], &Distribution)> =
            runs.iter().map(|run| (run.quantiles.as_slice(), &run.all.delivery)).collect();
        sum.quantiles = pooled_quantiles(&parts, &sum.all.delivery);
        for workload in &mut sum.workloads {
            let found: Vec<&WorkloadRecord> = runs
                .iter()
                .flat_map(|run| &run.workloads)
                .filter(|other| other.name == workload.name)
                .collect();
            let parts: Vec<_> =
                found.iter().map(|part| (part.quantiles.as_slice(), &part.latencies.delivery)).collect();
            workload.quantiles = pooled_quantiles(&parts, &workload.latencies.delivery);
        }
        Some(sum)
    }

    /// Length of the recorded phases in microseconds.
    #[must_use]
    pub fn recorded_us(&self) -> u64 {
        let recorded = self.phases.iter().filter(|phase| phase.recorded);
        recorded.map(|phase| phase.until_us.saturating_sub(phase.from_us)).sum()
    }
}

fn fold_workloads(sum: &mut Vec<WorkloadRecord>, more: &[WorkloadRecord]) {
    for workload in more {
        match sum.iter_mut().find(|known| known.name == workload.name) {
            Some(known) => {
                known.latencies.merge(&workload.latencies);
                let messages =
                    fold_values(&[value(&known.messages), value(&workload.messages)], &[1.0, 1.0], "");
                known.messages = serde_json::from_value(messages).unwrap_or_default();
            }
            None => sum.push(workload.clone()),
        }
    }
}

/// Estimates of the runs' pooled deliveries. The design effect is that of messages within runs, or that of whole runs as
/// clusters where it is larger: runs differ in what none of their messages shows alone.
pub(crate) fn pooled_quantiles(
    parts: &[(&[QuantileEstimate], &Distribution)],
    pooled: &Distribution,
) -> Vec<QuantileEstimate> {
    let Some((first, _)) = parts.first() else {
        return Vec::new();
    };
    let pool = |known: &QuantileEstimate| {
        let same: Vec<&QuantileEstimate> =
            parts.iter().flat_map(|(known, _)| *known).filter(|other| other.q == known.q).collect();
        let messages = same.iter().map(|part| part.messages).sum();
        let deliveries: u64 = same.iter().map(|part| part.deliveries).sum();
        let within = same.iter().map(|part| part.design_effect * part.deliveries as f64).sum::<f64>()
            / (deliveries.max(1) as f64);
        cluster::estimate(
            pooled,
            known.q,
            messages,
            within.max(effect_of_runs(parts, pooled, known.q)).max(1.0),
        )
    };
    first.iter().map(pool).collect()
}

/// The design effect of runs as clusters, at the pooled quantile; 1 for one run, or where the quantile is infinite.
fn effect_of_runs(parts: &[(&[QuantileEstimate], &Distribution)], pooled: &Distribution, q: f64) -> f64 {
    let (n, all) = (parts.len() as f64, pooled.count() as f64);
    let Some(at) = pooled.quantile(q).filter(|_| parts.len() > 1) else {
        return 1.0;
    };
    let p = pooled.count_at_or_below(at) as f64 / all;
    let apart = |run: &Distribution| (run.count_at_or_below(at) as f64 - p * run.count() as f64).powi(2);
    let spread: f64 = parts.iter().map(|(_, run)| apart(run)).sum();
    let independent = p * (1.0 - p) * all;
    if independent <= 0.0 {
        return 1.0;
    }
    // Five runs know their spread badly; Student's t pays for it, as for messages.
    let doubt = (rank::student(n - 1.0) / rank::student(f64::INFINITY)).powi(2);
    n / (n - 1.0) * spread / independent * doubt
}

fn fold_metrics(runs: &[RunFile], sum: &RunFile) -> Metrics {
    let values: Vec<Value> = runs.iter().map(|run| value(&run.metrics)).collect();
    let weights: Vec<f64> = runs.iter().map(|run| run.recorded_us() as f64).collect();
    let mut metrics: Metrics = serde_json::from_value(fold_values(&values, &weights, ""))
        .unwrap_or_else(|_| runs[0].metrics.clone());
    metrics.latency.delivery = summarise(&sum.all.delivery);
    metrics.latency.service = summarise(&sum.all.service);
    metrics.latency.ack_rtt = summarise(&sum.all.ack_rtt);
    metrics.latency.connect = summarise(&sum.connect);
    metrics.health.schedule_lag_p50_us = sum.health.lag.quantile(0.5);
    metrics.health.schedule_lag_p99_us = sum.health.lag.quantile(0.99);
    let link = &mut metrics.link;
    for (way, delays) in [(&mut link.up, &sum.link_delays.up), (&mut link.down, &sum.link_delays.down)] {
        if !delays.is_empty() {
            (way.delay_p50_us, way.delay_p99_us) = (delays.quantile(0.5), delays.quantile(0.99));
        }
    }
    let wire = &mut metrics.wire;
    let per_message =
        |bytes: u64, known: Option<f64>| known.map(|_| bytes as f64 / wire.messages.max(1) as f64);
    let up = per_message(wire.up_bytes, wire.up_bytes_per_message);
    let down = per_message(wire.down_bytes, wire.down_bytes_per_message);
    (wire.up_bytes_per_message, wire.down_bytes_per_message) = (up, down);
    metrics
}

/// Plain data always becomes JSON.
fn value(data: &impl serde::Serialize) -> Value {
    serde_json::to_value(data).unwrap_or(Value::Null)
}

/// Folds numbers of the same name; what folds otherwise than by adding says so by its name.
fn fold_values(values: &[Value], weights: &[f64], path: &str) -> Value {
    match values.iter().find(|value| !value.is_null()) {
        Some(Value::Object(_)) => {
            let weights = counted(values).unwrap_or_else(|| weights.to_vec());
            let fold = |key: &String| {
                let same: Vec<Value> =
                    values.iter().map(|value| value.get(key).cloned().unwrap_or(Value::Null)).collect();
                (key.clone(), fold_values(&same, &weights, key))
            };
            // A key that is left out when it is empty may be missing in the first.
            let keys: BTreeSet<&String> =
                values.iter().filter_map(Value::as_object).flat_map(serde_json::Map::keys).collect();
            Value::Object(keys.into_iter().map(fold).collect())
        }
        Some(Value::Number(number)) => fold_numbers(values, weights, path, number.is_u64()),
        Some(Value::Array(_)) => {
            values.iter().filter_map(Value::as_array).flatten().cloned().collect::<Vec<_>>().into()
        }
        // The check of links: one that failed is the one that counts.
        Some(Value::String(_)) => {
            let words: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            let known = ["fail", "pass"].into_iter().find(|word| words.contains(word));
            known.or(words.first().copied()).map_or(Value::Null, Value::from)
        }
        Some(other) => other.clone(),
        None => Value::Null,
    }
}

fn fold_numbers(values: &[Value], weights: &[f64], name: &str, is_whole: bool) -> Value {
    let numbers = || values.iter().filter_map(Value::as_f64);
    let has = |ends: &[&str]| ends.iter().any(|end| name.ends_with(end));
    if name.contains("max") {
        let largest =
            values.iter().max_by(|a, b| a.as_f64().unwrap_or(0.0).total_cmp(&b.as_f64().unwrap_or(0.0)));
        largest.cloned().unwrap_or(Value::Null)
    } else if is_whole && has(&["_us"]) {
        let mut sorted: Vec<u64> = values.iter().filter_map(Value::as_u64).collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).map_or(Value::Null, |&middle| middle.into())
    } else if is_whole {
        values.iter().filter_map(Value::as_u64).sum::<u64>().into()
    } else {
        let known =
            || values.iter().zip(weights).filter_map(|(value, weight)| Some((value.as_f64()?, *weight)));
        let total: f64 = known().map(|(_, weight)| weight).sum();
        let weighted = known().map(|(value, weight)| value * weight).sum::<f64>() / total;
        let plain = numbers().sum::<f64>() / numbers().count() as f64;
        if total > 0.0 { weighted.into() } else { plain.into() }
    }
}

/// Means are weighted by what stands beside them as `count`.
fn counted(values: &[Value]) -> Option<Vec<f64>> {
    values.iter().map(|value| value.get("count").and_then(Value::as_f64)).collect()
}

/// Folds the runs of each cell and arm, in the order of both.
#[must_use]
pub fn fold_cells(runs: &[RunFile]) -> BTreeMap<(u32, u32), RunFile> {
    let mut cells: BTreeMap<(u32, u32), Vec<RunFile>> = BTreeMap::new();
    for run in runs {
        cells.entry((run.cell, run.arm)).or_default().push(run.clone());
    }
    cells.into_iter().filter_map(|(key, runs)| Some((key, RunFile::fold(&runs)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{ClientRecord, PhaseSpan};
    use super::*;
    use crate::result::SelfCheck;
    use crate::stats::cluster::Messages;

    fn run(repeat: u32, scale: u64) -> RunFile {
        let mut run = RunFile { repeat, ..RunFile::default() };
        run.phases =
            vec![PhaseSpan { name: "steady".into(), from_us: 0, until_us: 10_000_000, recorded: true }];
        let mut messages = Messages::default();
        for n in 1..=1_000 {
            run.all.delivery.record(Some(n * scale));
            messages.settle(&mut [n * scale], 0);
        }
        run.quantiles = messages.estimates(&run.all.delivery);
        run.metrics.messages.sent = 10;
        run.metrics.transport.srtt_us = Some(100 * scale);
        run.metrics.transport.cwnd_max_bytes = scale;
        run.metrics.throughput.sent_per_s = scale as f64;
        run.metrics.link.self_check = if scale == 3 { SelfCheck::Fail } else { SelfCheck::Pass };
        if scale == 3 {
            run.metrics.link.self_check_reasons.push("too few".to_owned());
        }
        run.clients.push(ClientRecord::default());
        run
    }

    #[test]
    fn counts_add_gauges_have_a_median_and_rates_a_mean() {
        let runs = [run(0, 1), run(1, 2), run(2, 3)];
        let sum = RunFile::fold(&runs).expect("three runs");
        assert_eq!((sum.metrics.messages.sent, sum.metrics.transport.srtt_us), (30, Some(200)));
        assert_eq!((sum.metrics.transport.cwnd_max_bytes, sum.clients.len()), (3, 3));
        assert_eq!(sum.metrics.link.self_check_reasons, ["too few"], "though the first run has none");
        assert!((sum.metrics.throughput.sent_per_s - 2.0).abs() < 1e-12);
        assert_eq!(sum.metrics.link.self_check, SelfCheck::Fail);
        assert_eq!(sum.metrics.latency.delivery.count, 3_000);
        assert_eq!(RunFile::fold(&[]), None);
    }

    #[test]
    fn one_run_folds_to_its_own_numbers() {
        let run = run(0, 2);
        let folded = RunFile::fold(std::slice::from_ref(&run)).expect("a run");
        assert_eq!((&folded.all, &folded.quantiles), (&run.all, &run.quantiles));
        assert_eq!(folded.metrics.messages, run.metrics.messages);
    }

    #[test]
    fn runs_that_differ_widen_the_interval() {
        let width = |runs: &[RunFile]| {
            let sum = RunFile::fold(runs).expect("runs");
            let median = sum.quantiles[0];
            (median.high_us.expect("finite") - median.low_us.expect("finite")) as f64
        };
        let alike: Vec<RunFile> = (0..5).map(|repeat| run(repeat, 20)).collect();
        let apart: Vec<RunFile> = (0..5).map(|repeat| run(repeat, 16 + 2 * u64::from(repeat))).collect();
        assert!(width(&apart) > 2.0 * width(&alike), "{} {}", width(&apart), width(&alike));
    }

    #[test]
    fn cells_and_arms_fold_apart() {
        let mut other = run(0, 2);
        other.arm = 1;
        let cells = fold_cells(&[run(0, 1), run(1, 1), other]);
        assert_eq!(cells.keys().copied().collect::<Vec<_>>(), [(0, 0), (0, 1)]);
        assert_eq!(cells[&(0, 0)].metrics.messages.sent, 20);
    }
}
