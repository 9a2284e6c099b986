//! What ends an experiment before its plan does.

use std::time::Duration;

use super::plan::Slot;
use crate::records::RunFile;
use crate::result::Verdict;
use crate::scenario::{AbortOn, Activity, Scenario};
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

/// Whether the assertions that may end everything do, after one run.
pub(super) fn asserted(scenario: &Scenario, run: &RunFile, slot: Slot) -> Option<Stop> {
    if !scenario.run.abort_on.contains(&AbortOn::Assert) {
        return None;
    }
    let lasted = lasted(run);
    let repeats = std::slice::from_ref(run);
    let subject = Subject { metrics: &run.metrics, run: Some(run), repeats, scenario: Some(scenario) };
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
