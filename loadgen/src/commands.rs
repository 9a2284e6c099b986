//! The verbs: one function each, returning the exit code.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, Result};
use chat_core::trace::qlog::Dialect;
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::backend::{RunError, ServerAt};
use crate::cli::{RunArgs, Verb};
use crate::progress::Bar;
use crate::qlog::Qlog;
use crate::report::{self, Saved, terminal_summary};
use crate::result::RunResult;
use crate::runner::Finished;
use crate::scenario::{self, Driver, Loaded, ScenarioError, schema_json};
use crate::{compare, machine, output, runner, verdict};

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

/// Carries out a verb.
pub fn verb(verb: Verb) -> Result<u8> {
    match verb {
        Verb::Check { file, set, json } => check(&file, &set, json),
        Verb::Schema => {
            print(&(serde_json::to_string_pretty(&schema_json())? + "\n"))?;
            Ok(0)
        }
        Verb::Report { dir } => {
            let rendered = report::render(&dir).map_err(|error| Failure::Usage(error.to_string()))?;
            print(&rendered.summary)?;
            Ok(0)
        }
        Verb::Diff { a, b, json } => diff(&a, &b, json),
        Verb::List { dir, json } => list(&dir, json),
    }
}

/// The main job.
pub fn run(args: &RunArgs) -> Result<u8> {
    let (loaded, server) = load(args)?;
    let driver = loaded.scenario.run.driver;
    let mut info = machine::run_info(loaded.scenario.run.seed, driver_name(driver));
    let clock = units::Clock::start();
    let interrupt = on_signals()?;
    let mut bar = Bar::new(&loaded.scenario.name, args.quiet);
    let finished = runner::run(&loaded, driver, server, &interrupt, &mut bar);
    bar.finish();
    let finished = finished.map_err(|error| match error {
        RunError::ServerGone(reason) => anyhow::Error::from(Failure::ServerGone(reason)),
        RunError::Setup(reason) => anyhow::Error::from(Failure::Usage(reason)),
        RunError::Internal(_) => anyhow::Error::from(error),
    })?;
    info.duration_s = (clock.now().as_secs_f64() * 1e3).round() / 1e3;
    info.interrupted.clone_from(&finished.interrupted);
    let exit_code = match &finished {
        Finished { interrupted: Some(_), .. } => INTERRUPTED,
        Finished { server_gone: Some(_), .. } => SERVER_GONE,
        Finished { broken: Some(_), .. } => INTERNAL,
        _ => verdict::exit_code(finished.verdict),
    };
    let result = RunResult {
        schema: report::SCHEMA,
        verdict: finished.verdict,
        reasons: finished.reasons,
        run: info,
        scenario: loaded.effective_json.clone(),
        cells: finished.cells,
    };
    let dir = output::prepare(&loaded.scenario.name, args.out.as_deref())?;
    let saved = Saved { result, runs: Vec::new(), deliveries: finished.deliveries, traces: finished.traces };
    save(&dir, &loaded, &saved, args.export.as_deref())?;
    write_qlogs(&dir, &finished.qlogs, if args.qvis { Dialect::Qvis } else { Dialect::Current })?;
    show(args, &dir, &saved.result)?;
    Ok(exit_code)
}

fn load(args: &RunArgs) -> Result<(Loaded, ServerAt)> {
    let sets = args.sets();
    if let Some(test) = args.test {
        let address = SocketAddr::new(args.host, args.port);
        let name = format!("--test {}", test.name());
        let text = test.toml(args.duration, args.clients);
        let loaded = scenario::load_str(&name, &text, &sets).map_err(Failure::from)?;
        return Ok((loaded, ServerAt::External(address)));
    }
    let Some(file) = &args.scenario else {
        let text = "nothing to do; run a scenario with --scenario scenarios/loss10.toml, a built-in test with \
            --test loss, or see --help";
        return Err(Failure::Usage(text.to_owned()).into());
    };
    Ok((scenario::load(file, &sets).map_err(Failure::from)?, ServerAt::InProcess))
}

/// Writes records first, then draws from them.
fn save(dir: &Path, loaded: &Loaded, saved: &Saved, export: Option<&Path>) -> Result<()> {
    let scenario = dir.join("scenario.toml");
    fs::write(&scenario, &loaded.effective_toml)
        .with_context(|| format!("{}: cannot write", scenario.display()))?;
    report::write_records(dir, saved)?;
    report::render(dir)?;
    if let Some(path) = export {
        fs::copy(dir.join("result.json"), path)
            .with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}

/// Beside the records; reports do not need them.
fn write_qlogs(dir: &Path, qlogs: &[Qlog], dialect: Dialect) -> Result<()> {
    for qlog in qlogs {
        let path = dir.join(&qlog.name);
        fs::write(&path, qlog.render(dialect))
            .with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(())
}

fn show(args: &RunArgs, dir: &Path, result: &RunResult) -> Result<()> {
    if args.json {
        return print(&(serde_json::to_string_pretty(result)? + "\n"));
    }
    print(&terminal_summary(result))?;
    if !args.quiet {
        // Where to look is not a result.
        let _ = writeln!(std::io::stderr(), "report: {}", dir.join("report.html").display());
    }
    Ok(())
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

fn diff(a: &Path, b: &Path, json: bool) -> Result<u8> {
    let read = |path: &Path| {
        let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
        report::read_result(&file).map_err(|error| Failure::Usage(error.to_string()))
    };
    let runs = |path: &Path| compare::read_runs(path).map_err(Failure::Usage);
    let (left, right) = (runs(a)?, runs(b)?);
    let (a, b) = (read(a)?, read(b)?);
    // Only run files can be tested; a bare result.json is compared number by number.
    let tested = (!left.is_empty() && !right.is_empty())
        .then(|| compare::judge(&left, &right, &compare::Rules::default(), None));
    if json {
        let mut both = serde_json::to_value(report::compare(&a, &b))?;
        both["comparison"] = serde_json::to_value(&tested)?;
        print(&(serde_json::to_string_pretty(&both)? + "\n"))?;
    } else {
        let table = tested.as_ref().map_or_else(String::new, |tested| tested.to_text() + "\n");
        print(&(table + &report::diff(&a, &b)))?;
    }
    Ok(tested.map_or(0, |tested| tested.exit_code()))
}

fn list(dir: &Path, json: bool) -> Result<u8> {
    let entries = fs::read_dir(dir).map_err(|error| {
        Failure::Usage(format!("{}: {error}; name a folder of scenario files", dir.display()))
    })?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    let mut rows = Vec::new();
    for file in files {
        match scenario::load(&file, &[]) {
            Ok(loaded) => {
                rows.push((file.display().to_string(), loaded.scenario.name.clone(), loaded.question))
            }
            // A base to extend is no scenario by itself.
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

/// Set by the first SIGINT or SIGTERM, so that a partial report is written; the second ends the program at once.
fn on_signals() -> Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, INTERRUPTED.into(), Arc::clone(&interrupt))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupt))?;
    }
    Ok(interrupt)
}

/// Writes a result to stdout; a closed pipe ends quietly.
fn print(text: &str) -> Result<()> {
    match std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => Ok(outcome?),
    }
}

fn driver_name(driver: Driver) -> &'static str {
    match driver {
        Driver::Real => "real",
        Driver::Virtual => "virtual",
    }
}

/// 128 + SIGINT, as shells expect.
const INTERRUPTED: u8 = 130;
const SERVER_GONE: u8 = 7;
const INTERNAL: u8 = 1;
