//! A whole run: every cell and repeat, measured, judged, saved.
//!
//! Repeats are interleaved over the cells, so that a machine that drifts does not favour one of them. Virtual runs need
//! no such care and go in the same order.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use units::Seed;

use crate::backend::{RunError, RunPlan, RunRecord, ServerAt, ability, live, sim};
use crate::measure::{Measured, RunIndex, facts, measure};
use crate::qlog::{self, Qlog};
use crate::record::{DeliveryRow, TraceRow};
use crate::result::{Cell, Repeat, Verdict};
use crate::scenario::{CellPlan, Driver, Loaded};
use crate::verdict::{judge, overall};

/// What came of all cells.
#[derive(Clone, Debug)]
pub struct Finished {
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    pub cells: Vec<Cell>,
    pub deliveries: Vec<DeliveryRow>,
    pub traces: Vec<TraceRow>,
    /// Of the first repeat of each cell, where the scenario asks for them.
    pub qlogs: Vec<Qlog>,
    /// Set when the run was stopped before its end; cells without a repeat are left out.
    pub interrupted: Option<String>,
    /// The server under test is gone.
    pub server_gone: Option<String>,
    /// A later run could not be carried out, by a fault of ours or of the machine.
    pub broken: Option<String>,
}

/// Hears how far a run is.
pub trait Progress {
    /// Run `index` of `total` begins.
    fn on_run(&mut self, index: usize, total: usize, label: &str);
    /// It is this far, 0 to 1.
    fn on_fraction(&mut self, fraction: f64);
}

/// Runs everything. `interrupt` is set by the first signal; what was finished by then is kept.
pub fn run(
    loaded: &Loaded,
    driver: Driver,
    server: ServerAt,
    interrupt: &AtomicBool,
    progress: &mut dyn Progress,
) -> Result<Finished, RunError> {
    for cell in &loaded.cells {
        ability::check(&cell.scenario, driver)?;
    }
    let repeats = loaded.scenario.run.repeats;
    let mut pending = Pending::new(loaded.cells.len());
    let total = loaded.cells.len() * repeats as usize;
    let rounds = (0..repeats).flat_map(|repeat| (0..loaded.cells.len()).map(move |cell| (repeat, cell)));
    for (index, (repeat, cell)) in rounds.enumerate() {
        let plan = &loaded.cells[cell];
        progress.on_run(index, total, &label(plan));
        // The same repeat has the same seed in every cell, so cells differ by their axes alone.
        let seed_number = repeat_seed(plan.scenario.run.seed, repeat);
        let run_plan = RunPlan { scenario: plan.scenario.clone(), seed: Seed::root(seed_number), server };
        let outcome = match driver {
            Driver::Virtual => sim::run(&run_plan, interrupt, &mut |fraction| progress.on_fraction(fraction)),
            Driver::Real => live::run(&run_plan, interrupt, &mut |fraction| progress.on_fraction(fraction)),
        };
        match outcome {
            Ok(record) => pending.take(plan, record, RunIndex { cell: index_u32(cell), repeat }, seed_number),
            Err(RunError::ServerGone(reason)) if index > 0 => {
                pending.server_gone = Some(reason);
                break;
            }
            // Without a single run there is nothing to report.
            Err(error) if index == 0 => return Err(error),
            Err(error) => {
                pending.broken = Some(format!("run {} of {total} failed: {error}", index + 1));
                break;
            }
        }
        if interrupt.load(Ordering::Relaxed) {
            pending.interrupted = Some(format!("interrupted in run {} of {total}", index + 1));
            break;
        }
    }
    Ok(pending.finish(&loaded.cells))
}

/// Cells while their repeats come in.
struct Pending {
    measured: Vec<Option<Measured>>,
    repeats: Vec<Vec<Repeat>>,
    deliveries: Vec<DeliveryRow>,
    traces: Vec<TraceRow>,
    qlogs: Vec<Qlog>,
    interrupted: Option<String>,
    server_gone: Option<String>,
    broken: Option<String>,
}

impl Pending {
    fn new(cells: usize) -> Self {
        Self {
            measured: vec![None; cells],
            repeats: vec![Vec::new(); cells],
            deliveries: Vec::new(),
            traces: Vec::new(),
            qlogs: Vec::new(),
            interrupted: None,
            server_gone: None,
            broken: None,
        }
    }

    fn take(&mut self, plan: &CellPlan, record: RunRecord, at: RunIndex, seed: u64) {
        let cell = at.cell as usize;
        self.qlogs.extend(qlog::traces(&plan.scenario, &record, at, seed, self.measured.len()));
        let outcome = measure(&plan.scenario, record, at);
        self.repeats[cell].push(Repeat { seed, metrics: outcome.measured.metrics.clone() });
        self.deliveries.extend(outcome.deliveries);
        self.traces.extend(outcome.traces);
        match &mut self.measured[cell] {
            Some(pooled) => pooled.fold(&outcome.measured),
            empty => *empty = Some(outcome.measured),
        }
    }

    fn finish(mut self, plans: &[CellPlan]) -> Finished {
        self.deliveries.sort_by_key(|row| (row.cell, row.repeat));
        self.traces.sort_by_key(|row| (row.cell, row.repeat));
        let mut reasons = Vec::new();
        let mut cells = Vec::new();
        for ((plan, measured), repeats) in plans.iter().zip(self.measured).zip(self.repeats) {
            let Some(measured) = measured else {
                continue;
            };
            let judgement = judge(&plan.scenario.asserts, &measured.metrics, &measured.invalid);
            let mut verdict = judgement.verdict;
            let prefix = if plan.axes.is_empty() { String::new() } else { format!("[{}] ", label(plan)) };
            reasons.extend(judgement.reasons.iter().map(|reason| format!("{prefix}{reason}")));
            if !measured.failures.is_empty() {
                // Whatever the assertions say, a client that was turned away is a failure.
                verdict = if verdict == Verdict::Invalid { verdict } else { Verdict::Fail };
                reasons.extend(shorten(&measured.failures).map(|reason| format!("{prefix}{reason}")));
            }
            cells.push(Cell {
                axes: plan.axes.clone(),
                verdict,
                asserts: judgement.asserts,
                metrics: measured.metrics,
                links: facts(&plan.scenario),
                repeats,
            });
        }
        let mut verdict = overall(&cells);
        for problem in self.interrupted.iter().chain(&self.server_gone).chain(&self.broken) {
            reasons.push(problem.clone());
            verdict = Verdict::Invalid;
        }
        Finished {
            verdict,
            reasons,
            cells,
            deliveries: self.deliveries,
            traces: self.traces,
            qlogs: self.qlogs,
            interrupted: self.interrupted,
            server_gone: self.server_gone,
            broken: self.broken,
        }
    }
}

/// The seed of a repeat: the scenario's own for the first, so that a single run has the seed it shows.
fn repeat_seed(seed: u64, repeat: u32) -> u64 {
    seed.wrapping_add(u64::from(repeat))
}

/// A cell in words: `link.lossy.both.loss.p=0.1`.
fn label(plan: &CellPlan) -> String {
    let axes: &BTreeMap<String, serde_json::Value> = &plan.axes;
    axes.iter().map(|(path, value)| format!("{path}={value}")).collect::<Vec<_>>().join(" ")
}

/// The first few of many alike.
fn shorten(lines: &[String]) -> impl Iterator<Item = String> {
    let rest = lines.len().saturating_sub(MAX_LINES);
    let more = (rest > 0).then(|| format!("… and {rest} more"));
    lines.iter().take(MAX_LINES).cloned().chain(more)
}

fn index_u32(index: usize) -> u32 {
    u32::try_from(index).expect("a sweep has at most a thousand cells")
}

/// Failures listed in words; the rest are counted.
const MAX_LINES: usize = 5;
