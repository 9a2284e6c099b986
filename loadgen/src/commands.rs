//! The verbs: one function each, returning the exit code.

mod diff;
mod run;
mod versus;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::cli::{RunArgs, Verb};
use crate::report;
use crate::scenario::{self, ScenarioError, schema_json};

/// Why a command ends with another code than its verdict's.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{0}")]
    Usage(String),
    #[error("{0}")]
    ServerGone(String),
}

impl Failure {
    /// The table of DESIGN: 2 usage, 7 the server under test died.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::ServerGone(_) => 7,
        }
    }
}

impl From<ScenarioError> for Failure {
    fn from(error: ScenarioError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// The main job.
///
/// # Errors
/// [`Failure`] where the exit code is not 1.
pub fn run(args: &RunArgs) -> Result<u8> {
    run::run(args)
}

/// Carries out a verb.
pub fn verb(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Check { file, set, json } => check(&file, &set, json),
        Verb::Schema => {
            print(&(serde_json::to_string_pretty(&schema_json())? + "\n"))?;
            Ok(0)
        }
        Verb::Report { dir, json } => {
            let rendered = report::render(&dir).map_err(|error| Failure::Usage(error.to_string()))?;
            let text = if json { fs::read_to_string(dir.join("result.json"))? } else { rendered.summary };
            print(&text)?;
            Ok(0)
        }
        Verb::Resume { dir, json, view } => run::resume(&dir, json, view),
        Verb::CompareDrivers(args) => run::compare_drivers(&args),
        Verb::Diff { a, b, json } => diff::diff(&a, b.as_deref(), json),
        Verb::List { dir, tag, json } => list(&dir, &tag, json),
    }
}

fn check(file: &Path, sets: &[String], json: bool) -> Result<u8> {
    let loaded = scenario::load(file, sets).map_err(Failure::from)?;
    let forecast = scenario::forecast(&loaded);
    if json {
        let whole = serde_json::json!({ "scenario": loaded.effective_json, "forecast": forecast.to_json() });
        print(&(serde_json::to_string_pretty(&whole)? + "\n"))?;
        return Ok(0);
    }
    let scenario = &loaded.scenario;
    let head = format!("{}: {}\n{}\n", scenario.name, scenario.title, loaded.question);
    print(&(head + &forecast.text(scenario.run.driver, scenario.run.repeats)))?;
    Ok(0)
}

fn list(dir: &Path, tags: &[String], json: bool) -> Result<u8> {
    let entries = fs::read_dir(dir).map_err(|error| {
        Failure::Usage(format!("{}: {error}; name a folder of scenario files", dir.display()))
    })?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        let is_wanted = |has: &[String]| tags.is_empty() || tags.iter().any(|tag| has.contains(tag));
        match scenario::load(&file, &[]) {
            Ok(loaded) if !is_wanted(&loaded.scenario.tags) => {}
            Ok(loaded) => {
                rows.push((file.display().to_string(), loaded.scenario.name.clone(), loaded.question))
            }
            // A base to extend is no scenario by itself, and has no tags.
            Err(_) if !tags.is_empty() => {}
            Err(error) => {
                rows.push((file.display().to_string(), String::new(), format!("not runnable: {error}")))
            }
        }
    }
    if json {
        let rows: Vec<_> = rows
            .iter()
            .map(|(file, name, asks)| serde_json::json!({ "file": file, "name": name, "asks": asks }))
            .collect();
        print(&(serde_json::to_string_pretty(&rows)? + "\n"))?;
        return Ok(0);
    }
    let width = rows.iter().map(|(file, ..)| file.len()).max().unwrap_or(0);
    let lines: String = rows.iter().map(|(file, _, asks)| format!("{file:width$}  {asks}\n")).collect();
    print(&lines)?;
    Ok(0)
}

/// Writes a result to stdout; a closed pipe ends quietly.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}
