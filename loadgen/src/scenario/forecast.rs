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

/// What `loadgen check` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// In the order of the sweep.
    pub cells: Vec<CellForecast>,
    /// Left out by `sweep.exclude`.
    pub excluded: usize,
    /// Cells times repeats.
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
    let run = &loaded.scenario.run;
    let repeats = run.repeats;
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
    let mut forecast = Forecast {
        excluded: loaded.excluded,
        runs,
        longest: simulated,
        wall,
        messages,
        pairs,
        memory,
        cells,
        warnings: Vec::new(),
    };
    forecast.warnings = warnings(loaded, &forecast);
    forecast
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
    let mut warnings = thin_asserts(loaded);
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

/// Assertions on percentiles that have fewer samples to expect than they need, in the first cell where that is so.
fn thin_asserts(loaded: &Loaded) -> Vec<String> {
    let mut warnings: Vec<String> = Vec::new();
    for assertion in &loaded.scenario.asserts {
        for (q, of) in quantiles(&assertion.expr) {
            let need = match assertion.min_samples {
                MinSamples::Auto => 10.0 / (1.0 - q),
                MinSamples::AtLeast(samples) => samples as f64,
            };
            let thin = loaded.cells.iter().find_map(|cell| {
                let applies = |kept: &&Assertion| kept.id == assertion.id;
                cell.scenario.asserts.iter().find(applies)?;
                let have = samples(&cell.scenario, of)? * f64::from(loaded.scenario.run.repeats);
                (have < need * (1.0 - 1e-9)).then_some(have)
            });
            if let Some(have) = thin {
                warnings.push(format!(
                    "assert.{}: about {have:.0} samples of {of} are too few for {}, which takes {need:.0}; lengthen a \
                     phase or raise rates or repeats",
                    assertion.id, assertion.expr
                ));
                break;
            }
        }
    }
    warnings
}

/// `p99(delivery_latency)`: every quantile of an expression, and of what.
fn quantiles(expr: &str) -> Vec<(f64, &str)> {
    let mut found = Vec::new();
    for (at, _) in expr.match_indices('(') {
        let (before, after) = (&expr[..at], &expr[at + 1..]);
        let name = before.rsplit(|c: char| !c.is_ascii_alphanumeric() && c != '.').next().unwrap_or_default();
        let Some(percent) = name.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok()) else {
            continue;
        };
        let end = after.find([')', '{']).unwrap_or(after.len());
        if (0.0..100.0).contains(&percent) {
            // By way of whole numbers, so that 99.9 % is the float that 0.999 is.
            found.push(((percent * 1e6).round() / 1e8, after[..end].trim()));
        }
    }
    found
}

/// Samples of a distribution in one run; `None` where nobody can say.
fn samples(scenario: &Scenario, of: &str) -> Option<f64> {
    let is_closed = |workload: &Workload| matches!(workload.pace, Pace::Closed { .. });
    if of == "connect_latency" {
        let churns = scenario.workloads.iter().any(|workload| workload.kind == WorkloadKind::Churn);
        return (!churns).then(|| f64::from(scenario.client_count()));
    }
    if scenario.workloads.iter().any(is_closed) {
        return None;
    }
    let recorded = |workload: &Workload| {
        let phases: Vec<Phase> = scenario.phases.iter().map(phase_if_recorded).collect();
        workload.expected_messages(&scenario.clients, &phases)
    };
    match of {
        "delivery_latency" | "service_latency" => {
            Some(scenario.workloads.iter().map(|it| recorded(it) * recipients(it, scenario)).sum())
        }
        "ack_rtt" => Some(scenario.workloads.iter().map(recorded).sum()),
        _ => None,
    }
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
        let _ = writeln!(out, "{count} cell(s){excluded} x {repeats} repeat(s), driver {driver_name}");
        for cell in self.cells.iter().filter(|cell| !cell.label.is_empty() || !cell.skipped.is_empty()) {
            let skipped = match cell.skipped.len() {
                0 => String::new(),
                _ => format!("  (without {})", cell.skipped.join(", ")),
            };
            let _ = writeln!(out, "  {}{skipped}", cell.label);
        }
        let _ = writeln!(out, "about {:.0} messages, {:.0} deliveries", self.messages, self.pairs);
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
            "excluded_cells": self.excluded, "runs": self.runs, "longest_s": self.longest.as_secs_f64(),
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
    fn quantiles_are_found_in_expressions() {
        assert_eq!(quantiles("p99(a) - p50( b ) < 2*max(c)"), [(0.99, "a"), (0.5, "b")]);
        assert_eq!(quantiles("p99.9(delivery_latency{phase='steady'}) < 1s"), [(0.999, "delivery_latency")]);
        assert_eq!(quantiles("lost + jump(3) == 0"), []);
    }
}
