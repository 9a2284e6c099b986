//! A whole experiment: every cell, repeat and arm, carried out, kept, judged.
//!
//! [`plan`] says which run comes when, [`carry_out`] makes a run file of each, [`folder`] keeps it the moment it ends,
//! [`resume`] finds what is there already, and [`abort`] says when to stop early. On these,
//! [`search`] looks for a capacity and `--ab` compares two settings.
//!
//! No run is held in memory once it is over: cells are folded from the files, one at a time, so a sweep of a thousand cells
//! needs no more memory than one of ten, and one that was interrupted has lost the run under way and nothing else.

pub mod abort;
pub mod begun;
pub mod bracket;
pub mod carry_out;
pub mod confirm;
pub mod folder;
pub mod lock;
pub mod plan;
pub mod resume;
pub mod search;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use units::{Clock, Seed};

use crate::backend::{Heeded, Progress, RunError, RunPlan, ServerAt, ability};
use crate::measure::facts;
use crate::records::RunFile;
use crate::report::ReportError;
use crate::result::{Cell, Metrics, Repeat, Verdict};
use crate::scenario::{AbortOn, CellPlan, Driver, Loaded};
use crate::ui::{Event, Planned, Summary, View};
use crate::verdict::{judge_runs, overall};

pub use abort::Stop;
pub use carry_out::{Carried, CarryOut, Drivers, Order};
pub use folder::Folder;
use folder::Found;
pub use plan::{Extent, Slot, driver_name, label};

/// One setting of the whole scenario.
#[derive(Clone, Debug)]
pub struct Arm {
    /// What sets it apart: `protocol.congestion=reno`. Empty for the only one.
    pub name: String,
    pub loaded: Loaded,
}

/// What is to be done, and where it goes.
#[derive(Debug)]
pub struct Experiment<'a> {
    /// At least one; all have the same cells.
    pub arms: &'a [Arm],
    pub server: ServerAt,
    pub folder: &'a Folder,
    /// Which repeats: from 0 for the first round, behind it for a confirming one.
    pub repeats: Range<u32>,
    /// Runs that are there and fit.
    pub kept: &'a BTreeSet<Slot>,
    /// Set by the first signal.
    pub interrupt: &'a AtomicBool,
}

/// What came of all runs.
#[derive(Clone, Debug)]
pub struct Finished {
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    /// Cells by arm, at the index that their run files have. One that has no run, before one that has, is INVALID.
    pub arms: Vec<Vec<Cell>>,
    pub stop: Option<Stop>,
    /// Runs of another plan that were in the folder, and are kept in `runs/old`.
    pub aside: usize,
}

/// What was carried out, before anything is made of it.
#[derive(Clone, Debug)]
pub struct Ran {
    /// Runs that are there now, those that were kept among them.
    pub done: BTreeSet<Slot>,
    pub stop: Option<Stop>,
}

/// Why an experiment has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    #[error(transparent)]
    Run(#[from] RunError),
    /// Of keeping or finding runs.
    #[error(transparent)]
    Files(#[from] ReportError),
}

impl Experiment<'_> {
    /// Slots in order, each with the fingerprint that its run must have.
    #[must_use]
    pub fn plans(&self) -> Vec<(Slot, String)> {
        plans(self.arms, &self.repeats)
    }

    /// Runs everything that is not kept. What it makes of it is told by [`Experiment::conclude`].
    ///
    /// # Errors
    /// [`RunnerError`] where not a single run could be made, or files could not be written.
    pub fn run(&self, carrier: &mut dyn CarryOut, view: &mut dyn View) -> Result<Ran, RunnerError> {
        check(self.arms)?;
        let plans = self.plans();
        view.on_event(Event::Planned(self.planned(plans.len())));
        let kept: Vec<Slot> = self.kept.iter().copied().collect();
        self.folder.split_rows(&kept)?;
        let mut done = self.kept.clone();
        let mut stop = None;
        let mut gone = None;
        for (index, (slot, plan)) in plans.iter().enumerate() {
            if self.kept.contains(slot) {
                continue;
            }
            if let Some(reason) = self.rest(done.len() > self.kept.len(), view) {
                stop = Some(reason);
                break;
            }
            view.on_event(Event::RunBegan { index, slot: *slot });
            let order = self.order(*slot);
            let mut guard = abort::Guard::new(&order.run.scenario);
            let mut progress = |progress: Progress| match progress {
                Progress::Fraction(fraction) => {
                    view.on_event(Event::Fraction(fraction));
                    Heeded::Continue(())
                }
                Progress::Interval(mut moment) => {
                    let (at_us, standing) = (moment.at_us, moment.standing.take());
                    view.on_event(Event::Interval(moment));
                    standing.map_or(Heeded::Continue(()), |standing| guard.on_standing(at_us, *standing))
                }
            };
            match carrier.carry_out(&order, self.interrupt, &mut progress) {
                Ok(mut carried) => {
                    self.sign(&mut carried.run, *slot, &order, plan, guard.broken.is_some());
                    self.folder.save(*slot, &carried)?;
                    done.insert(*slot);
                    view.on_event(Event::RunEnded { slot: *slot, summary: summary(&carried.run) });
                    stop = self
                        .stop_after(&order, &carried.run, index, plans.len())
                        .or_else(|| guard.stop(*slot));
                }
                // Without a single run there is nothing to report.
                Err(error) if done.is_empty() => return Err(error.into()),
                Err(RunError::ServerGone(reason)) => {
                    let reason = format!("run {} of {}: {reason}", index + 1, plans.len());
                    if order.run.scenario.run.abort_on.contains(&AbortOn::ServerExit) {
                        stop = Some(Stop::ServerGone(reason));
                    } else {
                        view.on_event(Event::Said(reason.clone()));
                        gone = Some(Stop::ServerGone(reason));
                    }
                }
                Err(error) => {
                    stop =
                        Some(Stop::Broken(format!("run {} of {} failed: {error}", index + 1, plans.len())));
                }
            }
            self.tell_if_whole(*slot, &done, view);
            if stop.is_some() {
                break;
            }
        }
        Ok(Ran { done, stop: stop.or(gone) })
    }

    fn planned(&self, runs: usize) -> Planned {
        let first = &self.arms[0];
        Planned {
            name: first.loaded.scenario.name.clone(),
            driver: driver_name(first.loaded.scenario.run.driver).to_owned(),
            cells: first.loaded.cells.iter().map(label).collect(),
            arms: self.arms.iter().map(|arm| arm.name.clone()).filter(|name| !name.is_empty()).collect(),
            runs,
            kept: self.kept.len(),
        }
    }

    fn cell(&self, slot: Slot) -> &CellPlan {
        &self.arms[slot.arm as usize].loaded.cells[slot.cell as usize]
    }

    fn order(&self, slot: Slot) -> Order {
        let scenario = self.cell(slot).scenario.clone();
        // The same repeat has the same seed in every cell and arm, so they differ by their settings alone.
        let seed = plan::repeat_seed(scenario.run.seed, slot.repeat);
        Order {
            slot,
            driver: scenario.run.driver,
            run: RunPlan { scenario, seed: Seed::root(seed), server: self.server },
            seed,
            cells: self.arms[0].loaded.cells.len(),
        }
    }

    /// Writes into a run file which run it was.
    fn sign(&self, run: &mut RunFile, slot: Slot, order: &Order, plan: &str, is_ended: bool) {
        (run.cell, run.repeat, run.arm, run.seed) = (slot.cell, slot.repeat, slot.arm, order.seed);
        run.axes.clone_from(&self.cell(slot).axes);
        let is_short = abort::share_done(&order.run.scenario, run) < 1.0 && run.failures.is_empty();
        let is_cut = is_ended || is_short || self.interrupt.load(Ordering::Relaxed);
        run.plan = format!("{}{plan}", if is_cut { resume::CUT_SHORT } else { "" });
    }

    fn stop_after(&self, order: &Order, run: &RunFile, index: usize, total: usize) -> Option<Stop> {
        if self.interrupt.load(Ordering::Relaxed) {
            return Some(Stop::Interrupted(format!("interrupted in run {} of {total}", index + 1)));
        }
        abort::asserted(&order.run.scenario, run, order.slot)
    }

    /// Lets the machine come to rest between two real runs.
    fn rest(&self, is_between: bool, view: &mut dyn View) -> Option<Stop> {
        let run = &self.arms[0].loaded.scenario.run;
        if is_between && run.driver == Driver::Real && !run.cooldown.is_zero() {
            view.on_event(Event::Resting(run.cooldown));
            wait(run.cooldown, self.interrupt);
        }
        let is_over = self.interrupt.load(Ordering::Relaxed);
        is_over.then(|| Stop::Interrupted("interrupted between two runs".to_owned()))
    }

    /// A cell is told of as soon as its last run is there.
    fn tell_if_whole(&self, slot: Slot, done: &BTreeSet<Slot>, view: &mut dyn View) {
        let mut siblings = self.repeats(slot.cell, slot.arm);
        if !siblings.all(|sibling| done.contains(&sibling)) {
            return;
        }
        let plan = self.cell(slot);
        let cell = judged(plan, &self.runs_of(slot.cell, slot.arm, &self.repeats), &mut Vec::new());
        let line = cell_line(&self.name(plan, slot.arm), &cell);
        view.on_event(Event::CellEnded { cell: slot.cell, arm: slot.arm, verdict: cell.verdict, line });
    }

    fn repeats(&self, cell: u32, arm: u32) -> impl Iterator<Item = Slot> + use<> {
        self.repeats.clone().map(move |repeat| Slot { cell, repeat, arm })
    }

    /// A cell and arm in words, for the beginning of a line.
    fn name(&self, plan: &CellPlan, arm: u32) -> String {
        let arm = &self.arms[arm as usize].name;
        [label(plan).as_str(), arm]
            .iter()
            .filter(|part| !part.is_empty())
            .copied()
            .collect::<Vec<_>>()
            .join(" ")
    }

    /// The runs of an arm that are there, by cell and repeat. All of them at once: as much memory as their distributions need.
    #[must_use]
    pub fn runs(&self, arm: u32, repeats: &Range<u32>) -> Vec<RunFile> {
        let cells = (0..).zip(&self.arms[0].loaded.cells);
        cells.flat_map(|(cell, _)| self.runs_of(cell, arm, repeats)).collect()
    }

    /// The same, of one cell.
    #[must_use]
    pub fn runs_of(&self, cell: u32, arm: u32, repeats: &Range<u32>) -> Vec<RunFile> {
        let found = repeats.clone().filter_map(|repeat| match self.folder.find(Slot { cell, repeat, arm }) {
            Found::Run(run) => Some(*run),
            Found::Nothing | Found::Broken(_) => None,
        });
        found.collect()
    }

    /// Joins the rows, folds the runs into cells and judges them.
    ///
    /// # Errors
    /// [`RunnerError::Files`].
    pub fn conclude(&self, ran: Ran) -> Result<Finished, RunnerError> {
        let Ran { done, stop } = ran;
        let slots: Vec<Slot> = self.plans().into_iter().map(|(slot, _)| slot).collect();
        let aside = self.folder.retain(&done)?;
        let mut reasons = self.set_short_runs_aside(&done)?;
        self.folder.join_rows(&slots, stop.is_none() && slots.iter().all(|slot| done.contains(slot)))?;
        let arms = self.cells(&mut reasons);
        let mut verdict = arms.iter().map(|cells| overall(cells)).fold(Verdict::Pass, crate::verdict::worse);
        if let Some(stop) = &stop {
            reasons.push(stop.reason().to_owned());
            let least = if matches!(stop, Stop::Asserted(_)) { Verdict::Fail } else { Verdict::Invalid };
            verdict = crate::verdict::worse(verdict, least);
        }
        Ok(Finished { verdict, reasons, arms, stop, aside })
    }

    /// Runs that are too short to count, unless there is nothing else: a short run is better than an empty page, and says of
    /// itself that it is INVALID.
    fn set_short_runs_aside(&self, done: &BTreeSet<Slot>) -> Result<Vec<String>, RunnerError> {
        let mut short = Vec::new();
        for &slot in done {
            if let Found::Run(run) = self.folder.find(slot) {
                short.extend(abort::too_short(&self.cell(slot).scenario, &run).map(|reason| (slot, reason)));
            }
        }
        if short.len() == done.len() {
            return Ok(Vec::new());
        }
        short.iter().try_for_each(|(slot, _)| self.folder.set_aside(*slot))?;
        Ok(short.into_iter().map(|(_, reason)| reason).collect())
    }

    fn cells(&self, reasons: &mut Vec<String>) -> Vec<Vec<Cell>> {
        let mut arms = Vec::new();
        for (arm, setting) in (0..).zip(self.arms) {
            let mut cells = Vec::new();
            let mut last = 0;
            for (index, plan) in (0..).zip(&setting.loaded.cells) {
                let runs = self.runs_of(index, arm, &self.repeats);
                let mut why = Vec::new();
                cells.push(judged(plan, &runs, &mut why));
                let name = self.name(plan, arm);
                let prefix = if name.is_empty() { String::new() } else { format!("[{name}] ") };
                if !cells[index as usize].repeats.is_empty() {
                    reasons.extend(why.iter().map(|reason| format!("{prefix}{reason}")));
                    last = index as usize + 1;
                }
            }
            // Cells keep their index; those after the last that ran are left out.
            cells.truncate(last);
            arms.push(cells);
        }
        arms
    }
}

/// Whether the drivers can do what these arms ask for, before anything is run or moved.
///
/// # Errors
/// [`RunError::Setup`], with what to do.
pub fn check(arms: &[Arm]) -> Result<(), RunError> {
    let all = || arms.iter().flat_map(|arm| arm.loaded.cells.iter().map(|cell| &cell.scenario));
    all().try_for_each(|scenario| ability::check(scenario, scenario.run.driver))?;
    arms.iter().skip(1).try_for_each(|other| check_pair(&arms[0].loaded, &other.loaded))
}

/// Cells of two arms are compared one by one, so they must be the same points, and something must be different there.
fn check_pair(a: &Loaded, b: &Loaded) -> Result<(), RunError> {
    let refuse = |problem: &str| Err(RunError::Setup(format!("--ab: {problem}")));
    if !a.cells.iter().map(|cell| &cell.axes).eq(b.cells.iter().map(|cell| &cell.axes)) {
        return refuse("both sides must have the same cells; leave what is swept to the sweep");
    }
    if a.scenario != b.scenario && a.cells == b.cells {
        return refuse(
            "the sweep sets what the two sides set, so they are equal in every cell; remove that axis",
        );
    }
    Ok(())
}

/// Slots of these arms in order, each with the fingerprint that its run must have.
#[must_use]
pub fn plans(arms: &[Arm], repeats: &Range<u32>) -> Vec<(Slot, String)> {
    let loaded = &arms[0].loaded;
    let run = &loaded.scenario.run;
    let count = |length: usize| u32::try_from(length).expect("a sweep has at most a thousand cells");
    let extent =
        Extent { cells: count(loaded.cells.len()), repeats: repeats.clone(), arms: count(arms.len()) };
    let prints: Vec<Vec<String>> = arms
        .iter()
        .map(|Arm { loaded, .. }| {
            let driver = loaded.scenario.run.driver;
            loaded.cells.iter().map(|cell| plan::fingerprint(loaded, cell, driver)).collect()
        })
        .collect();
    let print = |slot: Slot| prints[slot.arm as usize][slot.cell as usize].clone();
    plan::slots(extent, run.order, run.seed).into_iter().map(|slot| (slot, print(slot))).collect()
}

/// The verdict of a cell by its repeats, with its reasons. Without a run it is INVALID.
fn judged(plan: &CellPlan, runs: &[RunFile], reasons: &mut Vec<String>) -> Cell {
    let judgement = judge_runs(&plan.scenario, runs);
    let folded = RunFile::fold(runs).unwrap_or_default();
    let mut verdict = judgement.verdict;
    reasons.extend(once_each(&judgement.reasons));
    if !folded.failures.is_empty() {
        // Whatever the assertions say, a client that was turned away is a failure.
        verdict = if verdict == Verdict::Invalid { verdict } else { Verdict::Fail };
        reasons.extend(shorten(&once_each(&folded.failures)));
    }
    Cell {
        axes: plan.axes.clone(),
        verdict,
        asserts: judgement.asserts,
        metrics: folded.metrics,
        links: facts(&plan.scenario),
        repeats: runs.iter().map(|run| Repeat { seed: run.seed, metrics: run.metrics.clone() }).collect(),
    }
}

/// Repeats of one cell often say the same.
fn once_each(lines: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    lines.iter().filter(|line| seen.insert(*line)).cloned().collect()
}

/// A cell on one line: `PASS  loss.p=0.1: p50 52.1 ms, p99 312 ms, 0 lost of 12,345, 1,029/s (5 runs)`.
fn cell_line(name: &str, cell: &Cell) -> String {
    let verdict = crate::ui::verdict_word(cell.verdict);
    let name = if name.is_empty() { String::new() } else { format!("{name}: ") };
    let runs = cell.repeats.len();
    let s = if runs == 1 { "" } else { "s" };
    format!("{verdict}  {name}{} ({runs} run{s})", numbers(&cell.metrics))
}

/// What a line says of a run or a cell.
fn numbers(metrics: &Metrics) -> String {
    let (messages, latency) = (&metrics.messages, &metrics.latency.delivery);
    crate::ui::words(&Summary {
        delivered: messages.delivered,
        lost: messages.lost,
        delivered_per_s: metrics.throughput.delivered_per_s,
        p50_us: latency.p50_us,
        p99_us: latency.p99_us,
        invalid: None,
    })
}

fn summary(run: &RunFile) -> Summary {
    let metrics = &run.metrics;
    Summary {
        delivered: metrics.messages.delivered,
        lost: metrics.messages.lost,
        delivered_per_s: metrics.throughput.delivered_per_s,
        p50_us: metrics.latency.delivery.p50_us,
        p99_us: metrics.latency.delivery.p99_us,
        invalid: run.invalid.first().cloned(),
    }
}

/// The first few of many alike.
fn shorten(lines: &[String]) -> impl Iterator<Item = String> {
    let rest = lines.len().saturating_sub(MAX_LINES);
    let more = (rest > 0).then(|| format!("… and {rest} more"));
    lines.iter().take(MAX_LINES).cloned().chain(more)
}

/// Waits, unless interrupted.
fn wait(span: Duration, interrupt: &AtomicBool) {
    let clock = Clock::start();
    let until = clock.now() + span;
    while clock.now() < until && !interrupt.load(Ordering::Relaxed) {
        std::thread::park_timeout(until.since(clock.now()).min(LOOK_AROUND));
    }
}

/// Failures listed in words; the rest are counted.
const MAX_LINES: usize = 5;
/// How soon a pause notices a signal.
const LOOK_AROUND: Duration = Duration::from_millis(100);
