//! What a scenario will take, before it runs: `loadgen check`.
//!
//! Counts are those of the schedules, on average; what answers and losses add is not known before. A closed loop has no
//! schedule, so its messages are left out and said to be.

use std::fmt::Write;
use std::time::Duration;

use units::format_duration;

use super::{
    Activity, Assertion, CellPlan, Driver, Loaded, MinSamples, Pace, Phase, Scenario, Workload, WorkloadKind,
};
use crate::verdict::{Samples, Wanted};

/// What `loadgen check` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// In the order of the sweep.
    pub cells: Vec<CellForecast>,
    /// Left out by `sweep.exclude`.
    pub excluded: usize,
    /// At most so many, where a `[search]` looks for a value; the cell is that of its highest then.
    pub probes: Option<u32>,
    /// Cells, or probes, times repeats.
    pub runs: u64,
    /// All runs, each drain to its end; of virtual runs in their own time.
    pub longest: Duration,
    /// How long that takes on the wall: the same for the real driver, an estimate for the virtual one.
    pub wall: Duration,
    /// Of all runs together.
    pub messages: f64,
    /// Message and recipient.
    pub pairs: f64,
    /// Of the largest cell, in bytes.
    pub memory: f64,
    /// What a reader should know before waiting for the end: one line each.
    pub warnings: Vec<String>,
}

/// One cell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CellForecast {
    /// `path=value`, joined by blanks; empty without a sweep.
    pub label: String,
    /// One run of it, with its ramp, its drain to the end.
    pub longest: Duration,
    pub messages: f64,
    pub pairs: f64,
    /// Assertions that do not apply here.
    pub skipped: Vec<String>,
}

/// Looks ahead.
#[must_use]
pub fn forecast(loaded: &Loaded) -> Forecast {
    let Some(search) = &loaded.scenario.search else {
        let repeats = loaded.scenario.run.repeats;
        return with_warnings(loaded, ahead(loaded, repeats), thin_asserts(loaded, repeats));
    };
    let end = |value: f64| {
        let set = format!("{}={}", search.path, search.written(value));
        (loaded.with(std::slice::from_ref(&set)), set)
    };
    // Both ends were read with the scenario, so they are scenarios; values between them have no more to do than the highest.
    let ((Ok(lowest), _), (Ok(highest), label)) = (end(search.lo), end(search.hi)) else {
        return Forecast::default();
    };
    let probes = search.most_probes();
    let mut forecast = ahead(&highest, probes.saturating_mul(search.repeats));
    forecast.probes = Some(probes);
    forecast.cells.iter_mut().for_each(|cell| cell.label = format!("up to {label}"));
    // Each run of a probe is judged by itself.
    with_warnings(loaded, forecast, thin_asserts(&lowest, 1))
}

fn with_warnings(loaded: &Loaded, mut forecast: Forecast, thin: Vec<String>) -> Forecast {
    forecast.warnings = thin;
    let more = warnings(loaded, &forecast);
    forecast.warnings.extend(more);
    forecast
}

/// All cells, each run so many times.
fn ahead(loaded: &Loaded, repeats: u32) -> Forecast {
    let run = &loaded.scenario.run;
    let cells: Vec<CellForecast> = loaded.cells.iter().map(|cell| of_cell(cell, &loaded.scenario)).collect();
    let runs = cells.len() as u64 * u64::from(repeats);
    let simulated: Duration = cells.iter().map(|cell| cell.longest * repeats).sum();
    let messages = cells.iter().map(|cell| cell.messages).sum::<f64>() * f64::from(repeats);
    let pairs = cells.iter().map(|cell| cell.pairs).sum::<f64>() * f64::from(repeats);
    let pauses = run.cooldown.saturating_mul(u32::try_from(runs.saturating_sub(1)).unwrap_or(u32::MAX));
    let wall = match run.driver {
        Driver::Real => simulated.saturating_add(pauses),
        Driver::Virtual => Duration::from_secs_f64((messages + pairs) * SECONDS_A_PAIR),
    };
    let memory = loaded.cells.iter().map(|cell| memory_of(&cell.scenario)).fold(0.0, f64::max);
    Forecast {
        excluded: loaded.excluded,
        probes: None,
        runs,
        longest: simulated,
        wall,
        messages,
        pairs,
        memory,
        cells,
        warnings: Vec::new(),
    }
}

fn of_cell(cell: &CellPlan, whole: &Scenario) -> CellForecast {
    let scenario = &cell.scenario;
    let axes: Vec<String> = cell.axes.iter().map(|(path, value)| format!("{path}={value}")).collect();
    let kept = |id: &str| scenario.asserts.iter().any(|assertion| assertion.id == id);
    let skipped = whole.asserts.iter().map(|assertion| assertion.id.clone()).filter(|id| !kept(id)).collect();
    let scheduled = |workload: &&Workload| !matches!(workload.pace, Pace::Closed { .. });
    let workloads = || scenario.workloads.iter().filter(scheduled);
    let messages = |workload: &Workload| workload.expected_messages(&scenario.clients, &scenario.phases);
    CellForecast {
        label: axes.join(" "),
        longest: scenario.longest_ramp() + scenario.span(),
        messages: workloads().map(messages).sum(),
        pairs: workloads().map(|workload| messages(workload) * recipients(workload, scenario)).sum(),
        skipped,
    }
}

/// Mean number of those who hear one message of a workload.
fn recipients(workload: &Workload, scenario: &Scenario) -> f64 {
    match workload.kind {
        WorkloadKind::Private => 1.0,
        WorkloadKind::Broadcast => f64::from(scenario.client_count().saturating_sub(1)),
        WorkloadKind::Room | WorkloadKind::File => {
            let rooms = scenario.memberships(&units::Seed::root(scenario.run.seed));
            let mut members: std::collections::BTreeMap<u32, u32> = std::collections::BTreeMap::new();
            rooms.iter().flatten().for_each(|&room| *members.entry(room).or_default() += 1);
            let groups = scenario.groups();
            let senders = (0..rooms.len()).filter(|&client| workload.groups.contains(&groups[client]));
            let (mut others, mut seats) = (0.0, 0.0);
            for room in senders.flat_map(|client| &rooms[client]) {
                others += f64::from(members[room] - 1);
                seats += 1.0;
            }
            if seats > 0.0 { others / seats } else { 0.0 }
        }
        WorkloadKind::Churn | WorkloadKind::Presence | WorkloadKind::Ping | WorkloadKind::Idle => 0.0,
    }
}

/// Connections at both ends and links between them.
fn memory_of(scenario: &Scenario) -> f64 {
    f64::from(scenario.client_count()) * BYTES_A_CLIENT
}

fn warnings(loaded: &Loaded, forecast: &Forecast) -> Vec<String> {
    let mut warnings = Vec::new();
    let scenario = &loaded.scenario;
    if forecast.memory > LARGE_MEMORY {
        warnings.push(format!(
            "the largest cell takes about {:.1} GB of memory ({:.0} kB a client)",
            forecast.memory / 1e9,
            BYTES_A_CLIENT / 1e3
        ));
    }
    let longest = forecast.cells.iter().map(|cell| cell.longest).max().unwrap_or_default();
    if longest > scenario.run.time_limit {
        warnings.push(format!(
            "a run may take {}, and is stopped and INVALID after {}; raise run.time_limit or shorten the drain",
            format_duration(longest),
            format_duration(scenario.run.time_limit)
        ));
    }
    if let Some(gate) = &scenario.baseline_gate
        && scenario.run.repeats < FEWEST_RUNS
    {
        warnings.push(format!(
            "{} repeats cannot tell a change from chance; {} is compared from {FEWEST_RUNS} on: raise run.repeats",
            scenario.run.repeats, gate.path
        ));
    }
    warnings
}

/// Assertions on percentiles that have fewer samples to expect of so many repeats than they need, in the first cell where
/// that is so.
fn thin_asserts(loaded: &Loaded, repeats: u32) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for assertion in &loaded.scenario.asserts {
        for wanted in assertion.parsed.wanted() {
            let need = match assertion.min_samples {
                MinSamples::Auto => 10.0 / (1.0 - wanted.q),
                MinSamples::AtLeast(samples) => samples as f64,
            };
            let thin = loaded.cells.iter().find_map(|cell| {
                let applies = |kept: &&Assertion| kept.id == assertion.id;
                cell.scenario.asserts.iter().find(applies)?;
                let have = samples(&cell.scenario, &wanted)? * f64::from(repeats);
                (have < need * (1.0 - 1e-9)).then_some(have)
            });
            if let Some(have) = thin {
                warnings.push(format!(
                    "assert.{}: about {have:.0} {} are too few for {}, which takes {need:.0}; lengthen a phase or raise \
                     rates or repeats",
                    assertion.id,
                    wanted.of.name(),
                    assertion.expr
                ));
                break;
            }
        }
    }
    warnings
}

/// Samples of a distribution in one run; `None` where nobody can say.
fn samples(scenario: &Scenario, wanted: &Wanted<'_>) -> Option<f64> {
    if wanted.of == Samples::Connects {
        let churns = scenario.workloads.iter().any(|workload| workload.kind == WorkloadKind::Churn);
        return (!churns).then(|| f64::from(scenario.client_count()));
    }
    let is_meant = |workload: &&Workload| wanted.workload.is_none_or(|name| workload.name == name);
    let meant = || scenario.workloads.iter().filter(is_meant);
    if meant().any(|workload| matches!(workload.pace, Pace::Closed { .. })) {
        return None;
    }
    let phases: Vec<Phase> = scenario.phases.iter().map(phase_if_recorded).collect();
    let recorded = |workload: &Workload| workload.expected_messages(&scenario.clients, &phases);
    Some(match wanted.of {
        Samples::Pairs => meant().map(|it| recorded(it) * recipients(it, scenario)).sum(),
        Samples::Messages | Samples::Connects => meant().map(recorded).sum(),
    })
}

/// The same phase, without any load where nothing is recorded.
fn phase_if_recorded(phase: &Phase) -> Phase {
    let is_recorded = phase.record && phase.activity == Activity::Load;
    Phase { rate: if is_recorded { phase.rate } else { 0.0 }, ..phase.clone() }
}

impl Forecast {
    /// As `loadgen check` prints it, after the name and the question.
    #[must_use]
    pub fn text(&self, driver: Driver, repeats: u32) -> String {
        let mut out = String::new();
        let driver_name = if driver == Driver::Real { "real" } else { "virtual" };
        let excluded = match self.excluded {
            0 => String::new(),
            cells => format!(" (and {cells} excluded)"),
        };
        let count = self.cells.len();
        let of = |count: u64, noun: &str| format!("{count} {noun}{}", if count == 1 { "" } else { "s" });
        let _ = match self.probes.filter(|&probes| probes > 0) {
            Some(probes) => {
                let (probes, repeats) =
                    (of(probes.into(), "probe"), of(self.runs / u64::from(probes), "repeat"));
                writeln!(out, "a search of at most {probes} x {repeats}, driver {driver_name}")
            }
            None => {
                let (cells, repeats) = (of(count as u64, "cell"), of(repeats.into(), "repeat"));
                writeln!(out, "{cells}{excluded} x {repeats}, driver {driver_name}")
            }
        };
        for cell in self.cells.iter().filter(|cell| !cell.label.is_empty() || !cell.skipped.is_empty()) {
            let skipped = match cell.skipped.len() {
                0 => String::new(),
                _ => format!("  (without {})", cell.skipped.join(", ")),
            };
            let _ = writeln!(out, "  {}{skipped}", cell.label);
        }
        // An empty sum of floats is -0.
        let (messages, pairs) = (self.messages + 0.0, self.pairs + 0.0);
        let _ = writeln!(out, "about {messages:.0} messages, {pairs:.0} deliveries by schedule");
        let longest = rounded(self.longest);
        match driver {
            Driver::Real => {
                let _ = writeln!(out, "takes at most about {}", rounded(self.wall));
            }
            Driver::Virtual => {
                let _ =
                    writeln!(out, "simulates at most {longest}, in about {} on one core", rounded(self.wall));
            }
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        out
    }

    /// The same as data.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let cell = |cell: &CellForecast| {
            serde_json::json!({
                "axes": cell.label, "longest_s": cell.longest.as_secs_f64(), "messages": cell.messages,
                "deliveries": cell.pairs, "skipped_asserts": cell.skipped,
            })
        };
        serde_json::json!({
            "cells": self.cells.iter().map(cell).collect::<Vec<_>>(),
            "excluded_cells": self.excluded, "probes": self.probes, "runs": self.runs, "longest_s": self.longest.as_secs_f64(),
            "wall_s": self.wall.as_secs_f64(), "messages": self.messages, "deliveries": self.pairs,
            "memory_bytes": self.memory, "warnings": self.warnings,
        })
    }
}

/// Whole seconds: an estimate has no more.
fn rounded(span: Duration) -> String {
    format_duration(Duration::from_secs(span.as_secs_f64().ceil() as u64))
}

/// Of one core in virtual time, retransmissions, acks and the report included: loss10 takes 1.06 s for 45,000 deliveries.
const SECONDS_A_PAIR: f64 = 25e-6;
/// One client in virtual time, two ends of a connection and two links: a thousand of concurrency take 194 MB.
const BYTES_A_CLIENT: f64 = 170e3;
/// From here on a machine may not have it.
const LARGE_MEMORY: f64 = 1e9;
/// Below four runs a side no permutation is rarer than one in twenty.
const FEWEST_RUNS: u32 = 4;

#[cfg(test)]
mod tests {
    use super::super::load_str;
    use super::*;

    const TEXT: &str = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"c\", count = 20, ramp = \"2s\" }]\n\
                        phase = [{ name = \"w\", duration = \"5s\", record = false }, { name = \"p\", duration = \"10s\" },\n\
                        { name = \"d\", drain = \"max(3s, 4*rto)\" }]\n\
                        workload = [{ name = \"w\", arrival = { rate = \"1/s\" } }]\n\
                        assert = [{ id = \"tail\", expr = \"p99(delivery_latency) < 1s\", when = \"clients.c.count > 9\" },\n\
                        { id = \"deep\", expr = \"p99.9(delivery_latency) < 1s\" }]\n\
                        [sweep]\naxis = [{ path = \"clients.c.count\", values = [5, 10, 20] }]\n\
                        exclude = [{ \"clients.c.count\" = 10 }]\n";

    #[test]
    fn a_forecast_counts_cells_messages_and_time() {
        let loaded = load_str("t.toml", TEXT, &["run.repeats=2".into()]).unwrap();
        let forecast = forecast(&loaded);
        assert_eq!((forecast.cells.len(), forecast.excluded, forecast.runs), (2, 1, 4));
        assert_eq!(forecast.cells[0].skipped, ["tail"]);
        assert!(forecast.cells[1].skipped.is_empty());
        // 20 clients in rooms of 10, 15 s of load: 300 messages, each heard by 9.
        let cell = &forecast.cells[1];
        assert!((cell.messages - 300.0).abs() < 1e-6 && (cell.pairs - 2700.0).abs() < 1e-6);
        // 2 s of ramp, 18 s of phases, 2 repeats of 2 cells.
        assert_eq!(forecast.longest, Duration::from_secs(80));
        assert_eq!(forecast.wall, forecast.longest);
    }

    #[test]
    fn percentiles_without_enough_samples_are_warned_of() {
        let warned = |repeats: u32| {
            let loaded = load_str("t.toml", TEXT, &[format!("run.repeats={repeats}")]).unwrap();
            forecast(&loaded).warnings.iter().map(|line| line[..12].to_owned()).collect::<Vec<_>>()
        };
        // Recorded: 1,800 deliveries with 20 clients, 200 with 5 (one room): p99.9 takes 10,000, p99 takes 1,000.
        assert_eq!(warned(1), ["assert.deep:"]);
        assert_eq!(warned(60), Vec::<String>::new());
    }

    #[test]
    fn a_workload_has_the_samples_of_its_own_messages() {
        let more = "workload=[{ name = 'w', arrival = { rate = '1/s' } }, { name = 'rare', arrival = { rate = '0.01/s' } }]".to_owned();
        let deep = "assert.deep.expr=p50(delivery_latency{workload='rare'}) < 1s".to_owned();
        let loaded = load_str("t.toml", TEXT, &[more, deep]).unwrap();
        // Half a message of 5 clients in the 10 s that are recorded, heard by 4.
        let warnings = forecast(&loaded).warnings;
        assert!(warnings[0].starts_with("assert.deep: about 2 deliveries are too few"), "{warnings:?}");
    }

    #[test]
    fn a_search_is_as_many_probes_as_it_may_take() {
        let text = TEXT.split("[sweep]").next().unwrap();
        let search = "search={ path = 'workload.w.arrival.rate', lo = '1/s', hi = '16/s', tolerance = 0.1, repeats = 3 }";
        let loaded = load_str("t.toml", text, &[search.to_owned()]).unwrap();
        let forecast = forecast(&loaded);
        // 1, 2, 4, 8, 16, and four halves of the interval between two of them.
        assert_eq!((forecast.probes, forecast.runs), (Some(9), 27));
        assert_eq!(forecast.cells[0].label, "up to workload.w.arrival.rate=16/s");
        // Messages of the highest, samples of the lowest: 20 clients in rooms of 10 give 1,800 deliveries at 1/s.
        assert!((forecast.cells[0].messages - 4_800.0).abs() < 1e-6, "{forecast:?}");
        assert!(
            forecast.warnings[0].starts_with("assert.deep: about 1800 deliveries"),
            "{:?}",
            forecast.warnings
        );
        let said = forecast.text(Driver::Virtual, 1);
        assert!(said.starts_with("a search of at most 9 probes x 3 repeats, driver virtual\n"), "{said}");
    }
}
