//! `[search]`: how much a system can take, as an interval.
//!
//! Each probe is a cell of its own, so all of them stand in `result.json`, in the tables and in the figures, and an
//! interrupted search is resumed like any experiment. A probe passes if most of its runs do. A probe that is INVALID or
//! INCONCLUSIVE ends the search: where the generator gave out, or too little was sent to tell, nothing is known of the
//! system, and calling that its capacity is the mistake that this rule is for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;

use serde::{Deserialize, Serialize};

use super::bracket::{Answer, Bracket, Trial};
use super::folder::{Folder, Found};
use super::{Arm, CarryOut, Experiment, Finished, Ran, RunnerError, Slot, resume};
use crate::backend::ServerAt;
use crate::result::Verdict;
use crate::scenario::{CellPlan, Loaded, Scenario, ScenarioError, Search};
use crate::ui::{Event, View};
use crate::verdict::judge_runs;

/// `search.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Searched {
    pub schema: u32,
    /// What was varied.
    pub path: String,
    /// In the order in which they were tried.
    pub probes: Vec<Probe>,
    /// The highest value that passed, as the scenario writes it; `null`: not even the lowest did.
    pub highest_pass: Option<String>,
    /// The lowest that failed; `null`: not even the highest did.
    pub lowest_fail: Option<String>,
    /// Why the search ended before the interval was narrow enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// In one sentence.
    pub answer: String,
}

/// One value that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Index into `cells` of `result.json`.
    pub cell: u32,
    /// As the scenario writes it.
    pub value: String,
    pub passed: bool,
    /// Of its runs.
    pub runs_passed: u32,
    pub runs: u32,
}

/// Where a search runs.
pub struct Ground<'a> {
    /// Reads the scenario with more overrides.
    pub load: &'a dyn Fn(&[String]) -> Result<Loaded, ScenarioError>,
    pub server: ServerAt,
    pub folder: &'a Folder,
    pub interrupt: &'a AtomicBool,
    /// Whether runs that are there may be kept.
    pub is_resumed: bool,
}

impl std::fmt::Debug for Ground<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ground").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why a search has nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    #[error(transparent)]
    Runner(#[from] RunnerError),
    /// A value does not fit the scenario.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

/// Looks for the highest value that passes.
///
/// # Errors
/// [`SearchError`] where not a single run could be made, files could not be written, or a value is refused.
pub fn run(
    ground: &Ground<'_>,
    search: &Search,
    carrier: &mut dyn CarryOut,
    view: &mut dyn View,
) -> Result<(Finished, Searched), SearchError> {
    let repeats = 0..search.repeats;
    let mut loaded = (ground.load)(&[])?;
    loaded.cells.clear();
    let mut arms = [Arm { name: String::new(), loaded }];
    let mut ran = Ran { done: BTreeSet::new(), stop: None };
    let mut bracket = Bracket::new(search);
    let mut probes: Vec<Probe> = Vec::new();
    let mut last = Verdict::Pass;
    while let Some(value) = bracket.next() {
        let written = search.written(value);
        arms[0].loaded.cells.push(probe(ground, search, &written)?);
        let cell = u32::try_from(probes.len()).expect("a search has few probes");
        let mut kept = ran.done.clone();
        if ground.is_resumed {
            kept = resume::kept(ground.folder, &super::plans(&arms, &repeats)).slots;
        }
        let experiment = experiment(ground, &arms, repeats.clone(), &kept);
        let more = experiment.run(carrier, view)?;
        ran.done = more.done;
        if more.stop.is_some() {
            ran.stop = more.stop;
            break;
        }
        let (probe, trial, verdict) = judge_probe(
            ground.folder,
            &arms[0].loaded.cells[cell as usize].scenario,
            cell,
            written,
            search.repeats,
        );
        let word = match &trial {
            Trial::Pass => "passes",
            Trial::Fail => "fails",
            Trial::Open(_) => "says nothing",
        };
        let (passed, runs) = (probe.runs_passed, probe.runs);
        view.on_event(Event::Said(format!(
            "{}={} {word}: {passed} of {runs} runs pass",
            search.path, probe.value
        )));
        bracket.on_trial(value, trial);
        last = verdict;
        probes.push(probe);
    }
    let kept = BTreeSet::new();
    let experiment = experiment(ground, &arms, repeats, &kept);
    let mut finished = experiment.conclude(ran)?;
    let searched = conclude(search, probes, &bracket.answer());
    decide(&mut finished, &searched, last);
    Ok((finished, searched))
}

fn experiment<'a>(
    ground: &'a Ground<'_>,
    arms: &'a [Arm],
    repeats: std::ops::Range<u32>,
    kept: &'a BTreeSet<Slot>,
) -> Experiment<'a> {
    Experiment {
        arms,
        server: ground.server,
        folder: ground.folder,
        repeats,
        kept,
        interrupt: ground.interrupt,
    }
}

/// The scenario at one value.
fn probe(ground: &Ground<'_>, search: &Search, written: &str) -> Result<CellPlan, ScenarioError> {
    let mut loaded = (ground.load)(&[format!("{}={written}", search.path)])?;
    // A number where it is one, so that figures have an axis.
    let value = written.parse::<f64>().map_or_else(|_| written.into(), serde_json::Value::from);
    let mut cell = loaded.cells.swap_remove(0);
    cell.axes = BTreeMap::from([(search.path.clone(), value)]);
    Ok(cell)
}

/// What the runs of a probe say, each judged by itself.
fn judge_probe(
    folder: &Folder,
    scenario: &Scenario,
    cell: u32,
    value: String,
    repeats: u32,
) -> (Probe, Trial, Verdict) {
    let found = (0..repeats).filter_map(|repeat| match folder.find(Slot { cell, repeat, arm: 0 }) {
        Found::Run(run) => Some(run),
        _ => None,
    });
    let (mut passed, mut runs, mut silent) = (0, 0, Vec::new());
    let mut worst = Verdict::Pass;
    for run in found {
        runs += 1;
        let judgement = judge_runs(scenario, std::slice::from_ref(&*run));
        match judgement.verdict {
            Verdict::Pass if run.failures.is_empty() => passed += 1,
            Verdict::Invalid | Verdict::Inconclusive => {
                worst = crate::verdict::worse(worst, judgement.verdict);
                silent.extend(judgement.reasons.into_iter().next());
            }
            _ => {}
        }
    }
    let trial = if passed * 2 > runs {
        Trial::Pass
    } else if silent.len() * 2 >= (runs as usize).max(1) {
        let word = if worst == Verdict::Invalid { "INVALID" } else { "INCONCLUSIVE" };
        Trial::Open(format!("{value} is {word}: {}", silent[0]))
    } else {
        Trial::Fail
    };
    (Probe { cell, value, passed: trial == Trial::Pass, runs_passed: passed, runs }, trial, worst)
}

fn conclude(search: &Search, probes: Vec<Probe>, answer: &Answer) -> Searched {
    let written = |value: Option<f64>| value.map(|value| search.written(value));
    let (pass, fail) = (written(answer.pass), written(answer.fail));
    let path = &search.path;
    let sentence = match (&pass, &fail) {
        (Some(pass), Some(fail)) => format!("{path}: {pass} passes and {fail} fails"),
        (Some(pass), None) => format!("{path}: {pass} passes, and nothing above it was found to fail"),
        (None, Some(fail)) => format!("{path}: the lowest value, {fail}, fails"),
        (None, None) => format!("{path}: nothing was found"),
    };
    let open =
        answer.open.as_ref().map_or_else(String::new, |why| format!("; the search ended early: {why}"));
    Searched {
        schema: SCHEMA,
        path: path.clone(),
        probes,
        highest_pass: pass,
        lowest_fail: fail,
        open: answer.open.clone(),
        answer: sentence + &open,
    }
}

/// Probes above the capacity are meant to fail, so the verdict of a search is whether it found something: FAIL where the
/// lowest value does not pass, INVALID or INCONCLUSIVE (`last`, of the last probe) where a probe said nothing.
fn decide(finished: &mut Finished, searched: &Searched, last: Verdict) {
    finished.reasons.clear();
    finished.verdict = match (&searched.open, &searched.highest_pass, &finished.stop) {
        (Some(_), _, None) if last == Verdict::Inconclusive => Verdict::Inconclusive,
        (Some(_), ..) => Verdict::Invalid,
        (None, None, None) => Verdict::Fail,
        (None, _, Some(_)) => Verdict::Invalid,
        (None, Some(_), None) => Verdict::Pass,
    };
    if finished.verdict != Verdict::Pass {
        finished.reasons.push(searched.answer.clone());
    }
    finished.reasons.extend(finished.stop.as_ref().map(|stop| stop.reason().to_owned()));
}

/// Version of the form of `search.json`.
pub const SCHEMA: u32 = 1;
