//! What a run is set against: its other arm, the other driver, or an earlier result.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Failure;
use crate::compare::{self, Comparison, DriverRow, Rules};
use crate::records::RunFile;
use crate::runner::{Arm, CarryOut, Experiment, Finished, RunnerError, confirm};
use crate::scenario::{Loaded, Scenario};
use crate::ui::View;

/// The overrides of the two arms of `compare-drivers`.
pub(super) const DRIVERS: [&str; 2] = ["run.driver=real", "run.driver=virtual"];

/// What the runs are compared with.
pub(super) enum Against {
    Nothing,
    /// B of `--ab`.
    Arms(Rules),
    /// The same in virtual time.
    Drivers,
    /// Those of `[baseline]`.
    Baseline {
        rules: Rules,
        path: PathBuf,
        runs: Vec<RunFile>,
    },
}

/// What came of a comparison.
pub(super) enum Compared {
    Judged(Comparison),
    Drivers(Vec<DriverRow>),
}

impl Against {
    /// Decided, and read, before anything runs.
    pub(super) fn of(arms: &[Arm], loaded: &Loaded, saves_baseline: bool) -> Result<Self> {
        let gate = loaded.scenario.baseline_gate.as_ref();
        let rules = || match gate.filter(|gate| !gate.regress.is_empty()) {
            Some(gate) => {
                Rules::of(gate).map_err(|problem| Failure::Usage(format!("baseline.regress: {problem}")))
            }
            None => Ok(Rules::default()),
        };
        let is_drivers = arms.len() == 2 && arms.iter().map(|arm| arm.name.as_str()).eq(DRIVERS);
        match (arms.len(), gate) {
            (2, _) if is_drivers => Ok(Self::Drivers),
            (2, _) => Ok(Self::Arms(rules()?)),
            // Who makes a new baseline does not ask the old one.
            (_, Some(gate)) if !saves_baseline => {
                let path = PathBuf::from(&gate.path);
                let runs = baseline_runs(&path)?;
                Ok(Self::Baseline { rules: rules()?, path, runs })
            }
            _ => Ok(Self::Nothing),
        }
    }

    /// Runs the experiment, confirms what has to be, and says what the comparison gave. Without complete runs there is none.
    pub(super) fn run(
        &self,
        experiment: &Experiment<'_>,
        carrier: &mut dyn CarryOut,
        view: &mut dyn View,
    ) -> Result<(Finished, Option<Compared>), RunnerError> {
        let scenario = &experiment.arms[0].loaded.scenario;
        let mut asks = |repeats: &Range<u32>| {
            let judged = self.judge(experiment, repeats, scenario);
            judged.is_some_and(|comparison| !comparison.needs_confirmation.is_empty())
        };
        let rounds = confirm::run(experiment, &mut asks, carrier, view)?;
        let compared = match (self, &rounds.complete[..]) {
            (_, []) | (Self::Nothing, _) => None,
            (Self::Drivers, [first, ..]) => Some(Compared::Drivers(drivers(experiment, first))),
            (_, [first]) => self.judge(experiment, first, scenario).map(Compared::Judged),
            (_, [first, second, ..]) => {
                let again = self.judge(experiment, second, scenario);
                let found = self.judge(experiment, first, scenario).zip(again).zip(self.rules());
                found.map(|((found, again), rules)| Compared::Judged(found.confirmed_by(&again, rules)))
            }
        };
        let last = rounds.complete.last().map_or(experiment.repeats.end, |round| round.end);
        let whole = Experiment { repeats: experiment.repeats.start..last, ..*experiment };
        Ok((whole.conclude(rounds.ran)?, compared))
    }

    fn rules(&self) -> Option<&Rules> {
        match self {
            Self::Arms(rules) | Self::Baseline { rules, .. } => Some(rules),
            Self::Nothing | Self::Drivers => None,
        }
    }

    fn judge(
        &self,
        experiment: &Experiment<'_>,
        repeats: &Range<u32>,
        scenario: &Scenario,
    ) -> Option<Comparison> {
        let of = |arm| experiment.runs(arm, repeats);
        match self {
            Self::Nothing | Self::Drivers => None,
            Self::Arms(rules) => Some(compare::judge(&of(0), &of(1), rules, Some(scenario))),
            Self::Baseline { rules, runs, .. } => Some(compare::judge(runs, &of(0), rules, Some(scenario))),
        }
    }

    /// What A and B are, for a reader.
    pub(super) fn heading(&self, arms: &[Arm]) -> String {
        match self {
            Self::Nothing => String::new(),
            Self::Arms(_) | Self::Drivers => format!("A: {}\nB: {}\n", arms[0].name, arms[1].name),
            Self::Baseline { path, .. } => format!("A: {} (baseline)\nB: this run\n", path.display()),
        }
    }
}

impl Compared {
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Judged(comparison) => comparison.exit_code(),
            Self::Drivers(_) => 0,
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Self::Judged(comparison) => comparison.to_text(),
            Self::Drivers(rows) => compare::drivers_text(rows),
        }
    }

    pub(super) fn json(&self) -> Result<serde_json::Value> {
        Ok(match self {
            Self::Judged(comparison) => serde_json::to_value(comparison)?,
            Self::Drivers(rows) => serde_json::to_value(rows)?,
        })
    }
}

fn drivers(experiment: &Experiment<'_>, repeats: &Range<u32>) -> Vec<DriverRow> {
    let folded = |arm| -> Vec<RunFile> {
        let cells = 0..experiment.arms[0].loaded.cells.len();
        let of = |cell: usize| experiment.runs_of(u32::try_from(cell).unwrap_or(u32::MAX), arm, repeats);
        cells.filter_map(|cell| RunFile::fold(&of(cell))).collect()
    };
    compare::drivers(&folded(0), &folded(1))
}

/// The runs of an earlier result: a folder, or the `result.json` in it.
fn baseline_runs(path: &Path) -> Result<Vec<RunFile>> {
    let dir = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let mut runs = compare::read_runs(dir).map_err(Failure::Usage)?;
    runs.retain(|run| run.arm == 0);
    if runs.is_empty() {
        let dir = dir.display();
        return Err(Failure::Usage(format!(
            "baseline.path: {dir} has no run files; make them with --save-baseline {dir}"
        ))
        .into());
    }
    Ok(runs)
}

/// Copies what a later comparison needs.
pub(super) fn save_baseline(from: &Path, to: &Path) -> Result<()> {
    let fail = |path: &Path| format!("{}: cannot write the baseline", path.display());
    let runs = to.join("runs");
    if runs.exists() {
        fs::remove_dir_all(&runs).with_context(|| fail(&runs))?;
    }
    fs::create_dir_all(&runs).with_context(|| fail(&runs))?;
    for name in ["result.json", "scenario.toml"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| fail(to))?;
    }
    for entry in fs::read_dir(from.join("runs"))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|it| it == "json")) {
            fs::copy(&path, runs.join(name)).with_context(|| fail(&runs))?;
        }
    }
    Ok(())
}
