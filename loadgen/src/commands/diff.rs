//! `loadgen diff`: runs that are saved, set against each other. It makes none, so it cannot confirm what it finds.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{Failure, print, versus};
use crate::compare::{self, Compared, Found, Rules};
use crate::records::{RunFile, fold_cells};
use crate::report;
use crate::result::RunResult;
use crate::scenario::{self, Loaded};

/// One of the two.
struct Side {
    /// `result.json` or `result-b.json`.
    file: PathBuf,
    arm: u32,
    result: RunResult,
    runs: Vec<RunFile>,
}

/// Compares `b` with `a`; without `b`, the two arms that are in `a`.
///
/// # Errors
/// [`Failure::Usage`] for what is not there, or cannot be read.
pub(super) fn diff(a: &Path, b: Option<&Path>, json: bool) -> Result<u8> {
    let (a, b) = match b {
        Some(b) => (Side::read(a)?, Side::read(b)?),
        None => arms(a)?,
    };
    let loaded = b.scenario();
    let mut compared = compare(&a, &b, loaded.as_ref())?;
    if !a.is_beside(&b) {
        compared.caveats = compare::caveats(&a.result, &b.result);
    }
    if json {
        print(&(serde_json::to_string_pretty(&compared)? + "\n"))?;
    } else {
        print(&(report::comparison_text(&compared) + &advice(&a, &b, &compared)))?;
    }
    Ok(compared.exit_code())
}

fn arms(dir: &Path) -> Result<(Side, Side), Failure> {
    let a = Side::read(dir)?;
    let b = a.file.with_file_name("result-b.json");
    if !b.exists() {
        let dir = a.file.parent().unwrap_or(dir).display();
        let text = format!(
            "{dir} has one setting, so there is nothing to compare; name a second folder: diff {dir} OTHER"
        );
        return Err(Failure::Usage(text));
    }
    Ok((a, Side::read(&b)?))
}

fn compare(a: &Side, b: &Side, loaded: Option<&Loaded>) -> Result<Compared, Failure> {
    let ([left, right], scenario) = (names(a, b), loaded.map(|loaded| &loaded.scenario));
    if a.result.run.driver != b.result.run.driver {
        return Ok(Compared::drivers(left, right, compare::drivers(&a.folded(), &b.folded())));
    }
    let rules = scenario.map_or_else(|| Ok(Rules::default()), versus::rules)?;
    // In one folder both sides have the same repeats, those of a confirming round behind the others.
    let first = match scenario.filter(|_| a.is_beside(b)) {
        Some(scenario) => 0..scenario.run.repeats,
        None => 0..u32::MAX / 2,
    };
    Ok(Compared::tested(left, right, compare::judge_rounds(&a.runs, &b.runs, &first, &rules, scenario)))
}

/// What sets the sides apart: their settings, or where they are.
fn names(a: &Side, b: &Side) -> [String; 2] {
    let setting = |side: &Side| side.result.arms.get(side.arm as usize).cloned();
    match (a.is_beside(b), setting(a), setting(b)) {
        (true, Some(a), Some(b)) => [a, b],
        _ => [a, b].map(|side| {
            let place = if side.arm == 0 { side.dir() } else { &side.file };
            format!("{} ({})", place.display(), report::caption(&side.result))
        }),
    }
}

/// What this command cannot do, and which one can.
fn advice(a: &Side, b: &Side, compared: &Compared) -> String {
    let Found::Tested(found) = &compared.found else { return String::new() };
    if found.needs_confirmation.is_empty() {
        return String::new();
    }
    let repeats = b.runs.iter().map(|run| run.repeat + 1).max().unwrap_or(1);
    let how = match (a.is_beside(b), &b.result.arms[..]) {
        (true, [one, other]) => format!("--repeats {repeats} --ab '{one}' '{other}'"),
        _ => format!("--repeats {repeats} --ab PATH=VALUE PATH=VALUE"),
    };
    let scenario = b.dir().join("scenario.toml");
    format!(
        "\nNot confirmed: diff makes no runs, and one afternoon is not another. To make both in turn, and again where they \
         differ:\n  loadgen --scenario {} {how}\n",
        scenario.display()
    )
}

impl Side {
    fn read(path: &Path) -> Result<Self, Failure> {
        let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
        let result = report::read_result(&file).map_err(|error| Failure::Usage(error.to_string()))?;
        let arm = compare::arm_of(&file);
        let runs = compare::read_runs(&file, arm).map_err(Failure::Usage)?;
        if runs.is_empty() {
            return Err(Failure::Usage(format!(
                "{}: there are no run files (runs/) beside it, and one number a side cannot be compared; run its \
                 scenario.toml again, or copy runs/ too",
                file.display()
            )));
        }
        Ok(Self { file, arm, result, runs })
    }

    fn dir(&self) -> &Path {
        self.file.parent().unwrap_or(&self.file)
    }

    fn is_beside(&self, other: &Self) -> bool {
        self.arm != other.arm && self.dir() == other.dir()
    }

    /// The effective scenario beside the result, if it still reads.
    fn scenario(&self) -> Option<Loaded> {
        scenario::load(&self.dir().join("scenario.toml"), &[]).ok()
    }

    fn folded(&self) -> Vec<RunFile> {
        fold_cells(&self.runs).into_values().collect()
    }
}
