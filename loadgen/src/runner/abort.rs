//! What ends an experiment before its plan does.

use std::time::Duration;

use super::plan::Slot;
use crate::backend::Heeded;
use crate::measure::Standing;
use crate::records::RunFile;
use crate::result::Verdict;
use crate::scenario::{AbortOn, Activity, Assertion, OnMissing, Scenario};
use crate::verdict::{Subject, evaluate};

/// Why there are no more runs. What was measured by then is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked for it.
    Interrupted(String),
    /// The server under test is gone.
    ServerGone(String),
    /// An assertion with `abort` has failed.
    Asserted(String),
    /// A fault of ours or of the machine.
    Broken(String),
}

impl Stop {
    /// For the reader, one line.
    #[must_use]
    pub fn reason(&self) -> &str {
        let (Self::Interrupted(reason)
        | Self::ServerGone(reason)
        | Self::Asserted(reason)
        | Self::Broken(reason)) = self;
        reason
    }
}

/// Assertions that end the run that fails them, judged while it goes on.
#[derive(Debug)]
pub(super) struct Guard<'a> {
    scenario: &'a Scenario,
    /// Each with the time from which on it is looked at, in microseconds. What was not measured yet decides nothing.
    asserts: Vec<(u64, Assertion)>,
    /// Why the run was ended.
    pub(super) broken: Option<String>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(scenario: &'a Scenario) -> Self {
        let guarding = |assertion: &Assertion| {
            let after = u64::try_from(assertion.abort_after?.as_micros()).unwrap_or(u64::MAX);
            Some((after, Assertion { on_missing: OnMissing::Inconclusive, ..assertion.clone() }))
        };
        Self { scenario, asserts: scenario.asserts.iter().filter_map(guarding).collect(), broken: None }
    }

    /// The run at `at_us` after the first phase began.
    pub(super) fn on_standing(&mut self, at_us: u64, standing: Standing) -> Heeded {
        let run = standing.into_run_file(self.scenario, at_us);
        let subject = Subject::of_run(&run, Some(self.scenario));
        for (_, assertion) in self.asserts.iter().filter(|(after, _)| at_us >= *after) {
            let result = evaluate(assertion, &subject);
            if result.verdict == Verdict::Fail {
                let reason = format!(
                    "the run was ended after {:.1} s by assertion {}: {}",
                    at_us as f64 / 1e6,
                    assertion.id,
                    result.reason.unwrap_or_default()
                );
                self.broken = Some(reason.clone());
                return Heeded::Break(reason);
            }
        }
        Heeded::Continue(())
    }

    /// Whether there are to be no more runs.
    pub(super) fn stop(&self, slot: Slot) -> Option<Stop> {
        let ends_all = self.scenario.run.abort_on.contains(&AbortOn::Assert);
        let reason = self.broken.as_ref().filter(|_| ends_all)?;
        Some(Stop::Asserted(format!(
            "stopped after cell {} repeat {}, because abort_on has \"assert\": {reason}",
            slot.cell, slot.repeat
        )))
    }
}

/// Whether the assertions that may end everything do, after one run.
pub(super) fn asserted(scenario: &Scenario, run: &RunFile, slot: Slot) -> Option<Stop> {
    if !scenario.run.abort_on.contains(&AbortOn::Assert) {
        return None;
    }
    let lasted = lasted(run);
    let subject = Subject { run, repeats: std::slice::from_ref(run), scenario: Some(scenario) };
    let failed = scenario.asserts.iter().find_map(|assertion| {
        assertion.abort_after.filter(|&after| lasted >= after)?;
        let result = evaluate(assertion, &subject);
        (result.verdict == Verdict::Fail).then_some((assertion, result))
    })?;
    let (assertion, result) = failed;
    Some(Stop::Asserted(format!(
        "stopped after cell {} repeat {}: assertion {} failed and abort_on has \"assert\": {}",
        slot.cell,
        slot.repeat,
        assertion.id,
        result.reason.unwrap_or_default()
    )))
}

/// Share of the planned load that a run went through, 0 to 1.
pub(super) fn share_done(scenario: &Scenario, run: &RunFile) -> f64 {
    let load = scenario.phases.iter().filter(|phase| phase.activity == Activity::Load);
    let planned: Duration = load.map(|phase| phase.duration).sum();
    if planned.is_zero() { 1.0 } else { (lasted(run).as_secs_f64() / planned.as_secs_f64()).min(1.0) }
}

/// Why a run is left out of the result, if it is: it was stopped so early that what it has is mostly warm-up. A run that
/// ended early because the system under test failed is a failure, and stays.
pub(super) fn too_short(scenario: &Scenario, run: &RunFile) -> Option<String> {
    let share = share_done(scenario, run);
    (share < SHORTEST && run.failures.is_empty()).then(|| {
        format!(
            "cell {} repeat {}: discarded, it was stopped after {:.0} % of its planned load and {:.0} % are needed",
            run.cell,
            run.repeat,
            share * 100.0,
            SHORTEST * 100.0
        )
    })
}

fn lasted(run: &RunFile) -> Duration {
    Duration::from_micros(run.phases.iter().map(|phase| phase.until_us).max().unwrap_or(0))
}

/// Of the planned load; below it a run measures its beginning. Pantheon's rule
/// (<https://pantheon.stanford.edu/>): flows that ran for less than 0.8 of their time are left out.
const SHORTEST: f64 = 0.8;
