//! What a run is set against: its other arm, the other driver, or an earlier result.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Failure;
use crate::compare::{self, Compared, Comparison, DriverRow, Rules};
use crate::records::RunFile;
use crate::report;
use crate::runner::{Arm, CarryOut, Experiment, Finished, RunnerError, confirm, driver_name};
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
        /// What is not the same as in this scenario.
        caveats: Vec<String>,
    },
}

impl Against {
    /// Decided, and read, before anything runs.
    pub(super) fn of(arms: &[Arm], loaded: &Loaded, saves_baseline: bool) -> Result<Self> {
        let gate = loaded.scenario.baseline_gate.as_ref();
        let rules = || rules(&loaded.scenario);
        let is_drivers = arms.len() == 2 && arms.iter().map(|arm| arm.name.as_str()).eq(DRIVERS);
        match (arms.len(), gate) {
            (2, _) if is_drivers => Ok(Self::Drivers),
            (2, _) => Ok(Self::Arms(rules()?)),
            // Who makes a new baseline does not ask the old one.
            (_, Some(gate)) if !saves_baseline => {
                let path = PathBuf::from(&gate.path);
                let runs = baseline_runs(&path)?;
                let caveats = baseline_caveats(&path, loaded)?;
                Ok(Self::Baseline { rules: rules()?, path, runs, caveats })
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
        let named = |found| self.named(experiment.arms, found);
        let compared = match (self, &rounds.complete[..]) {
            (_, []) | (Self::Nothing, _) => None,
            (Self::Drivers, [first, ..]) => {
                Some(Compared::drivers("real", "virtual", drivers(experiment, first)))
            }
            (_, [first]) => self.judge(experiment, first, scenario).map(named),
            (_, [first, second, ..]) => {
                let again = self.judge(experiment, second, scenario);
                let found = self.judge(experiment, first, scenario).zip(again).zip(self.rules());
                found.map(|((found, again), rules)| named(found.confirmed_by(&again, rules)))
            }
        };
        let last = rounds.complete.last().map_or(experiment.repeats.end, |round| round.end);
        let whole = Experiment { repeats: experiment.repeats.start..last, ..*experiment };
        Ok((whole.conclude(rounds.ran)?, compared))
    }

    /// Whether it may not stay undecided.
    pub(super) fn is_gate(&self) -> bool {
        matches!(self, Self::Baseline { .. })
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

    /// With what A and B are, for a reader.
    fn named(&self, arms: &[Arm], found: Comparison) -> Compared {
        match self {
            Self::Baseline { path, caveats, .. } => {
                let compared = Compared::tested(format!("{} (baseline)", path.display()), "this run", found);
                Compared { caveats: caveats.clone(), ..compared }
            }
            _ => Compared::tested(&arms[0].name, &arms[arms.len() - 1].name, found),
        }
    }
}

/// Those of `[baseline]`, or the usual ones.
pub(super) fn rules(scenario: &Scenario) -> Result<Rules, Failure> {
    match scenario.baseline_gate.as_ref().filter(|gate| !gate.regress.is_empty()) {
        Some(gate) => {
            Rules::of(gate).map_err(|problem| Failure::Usage(format!("baseline.regress: {problem}")))
        }
        None => Ok(Rules::default()),
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
    let runs = compare::read_runs(dir, 0).map_err(Failure::Usage)?;
    if runs.is_empty() {
        let dir = dir.display();
        return Err(Failure::Usage(format!(
            "baseline.path: {dir} has no run files; make them with --save-baseline {dir}"
        ))
        .into());
    }
    Ok(runs)
}

/// What a baseline was made of, beside what is to be run. Another driver is another instrument.
fn baseline_caveats(path: &Path, loaded: &Loaded) -> Result<Vec<String>> {
    let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
    let Ok(earlier) = report::read_result(&file) else { return Ok(Vec::new()) };
    let driver = driver_name(loaded.scenario.run.driver);
    if earlier.run.driver != driver {
        return Err(Failure::Usage(format!(
            "baseline.path: {} was made by the {} driver, and this is the {driver} one; use that, or make another baseline \
             with --save-baseline",
            path.display(),
            earlier.run.driver
        ))
        .into());
    }
    Ok(compare::unlike(&earlier.scenario, &loaded.effective_json).into_iter().collect())
}

/// Copies what a later comparison needs. The old baseline gives way when the new one is whole.
pub(super) fn save_baseline(from: &Path, to: &Path) -> Result<()> {
    let fail = |path: &Path| format!("{}: cannot write the baseline", path.display());
    let [runs, partial, old] = ["runs", "runs.partial", "runs.old"].map(|name| to.join(name));
    for left in [&partial, &old] {
        if left.exists() {
            fs::remove_dir_all(left).with_context(|| fail(left))?;
        }
    }
    fs::create_dir_all(&partial).with_context(|| fail(&partial))?;
    for entry in fs::read_dir(from.join("runs"))? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|it| it == "json")) {
            fs::copy(&path, partial.join(name)).with_context(|| fail(&partial))?;
        }
    }
    if runs.exists() {
        fs::rename(&runs, &old).with_context(|| fail(&old))?;
    }
    fs::rename(&partial, &runs).with_context(|| fail(&runs))?;
    for name in ["result.json", "scenario.toml"] {
        report::write_file(&to.join(name), &fs::read(from.join(name))?)?;
    }
    if old.exists() {
        fs::remove_dir_all(&old).with_context(|| fail(&old))?;
    }
    Ok(())
}
