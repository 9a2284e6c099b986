//! The main job: run a scenario, keep what comes of it, say what it means.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use chat_core::trace::qlog::Dialect;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::versus::{self, Against};
use super::{Failure, print};
use crate::backend::{RunError, ServerAt};
use crate::cli::{CompareDriversArgs, RunArgs, ViewArgs};
use crate::compare::Compared;
use crate::output::{self, Place};
use crate::report::{self, SCHEMA};
use crate::result::{Cell, RunInfo, RunResult, Verdict};
use crate::runner::begun::{self, Begun};
use crate::runner::lock::Lock;
use crate::runner::search::{self, Ground, SearchError, Searched};
use crate::runner::{
    Arm, Drivers, Experiment, Finished, Folder, RunnerError, Slot, Stop, driver_name, plans, resume,
};
use crate::scenario::{self, Loaded, ScenarioError, Search};
use crate::ui::{Mode, Watch};
use crate::{machine, runner, verdict};

/// Where a scenario is read from, so that it can be read again with other values.
#[derive(Clone, Debug)]
pub(super) struct Source {
    from: Written,
    sets: Vec<String>,
}

#[derive(Clone, Debug)]
enum Written {
    File(PathBuf),
    Text { name: String, toml: String },
}

impl Source {
    pub(super) fn file(path: &Path, sets: Vec<String>) -> Self {
        Self { from: Written::File(path.to_owned()), sets }
    }

    /// The scenario with `more` overrides behind those of the command line.
    pub(super) fn load(&self, more: &[String]) -> Result<Loaded, ScenarioError> {
        let sets: Vec<String> = self.sets.iter().chain(more).cloned().collect();
        match &self.from {
            Written::File(path) => scenario::load(path, &sets),
            Written::Text { name, toml } => scenario::load_str(name, toml, &sets),
        }
    }
}

impl Source {
    /// The same with `more` overrides for good.
    fn with(&self, more: &[String]) -> Self {
        Self { sets: self.sets.iter().chain(more).cloned().collect(), ..self.clone() }
    }
}

/// One setting of `--ab`.
struct ArmSource {
    /// Its overrides, which are its name.
    sets: Vec<String>,
    /// With them.
    source: Source,
}

/// What a run says beside its result.
enum Answer {
    None,
    /// By a search.
    Found(Searched),
    Compared(Compared),
}

/// Everything a run needs, from flags or from a folder.
struct Job<'a> {
    source: Source,
    /// Empty without `--ab`.
    arms: Vec<ArmSource>,
    server: Option<SocketAddr>,
    qvis: bool,
    save_baseline: Option<Option<PathBuf>>,
    /// What the folder is called beside the scenario's name.
    suffix: &'static str,
    out: Option<&'a Path>,
    is_resumed: bool,
    export: Option<&'a Path>,
    json: bool,
    view: ViewArgs,
}

/// `loadgen --scenario FILE …`
pub(super) fn run(args: &RunArgs) -> Result<u8> {
    let (source, server) = source(args)?;
    let arm = |side: usize| {
        let sets: Vec<String> = args.ab.iter().skip(side).step_by(2).cloned().collect();
        ArmSource { source: source.with(&sets), sets }
    };
    let arms = if args.ab.is_empty() { Vec::new() } else { vec![arm(0), arm(1)] };
    carry_on(Job {
        source,
        arms,
        server,
        qvis: args.qvis,
        save_baseline: args.save_baseline.clone(),
        suffix: "",
        out: args.out.as_deref(),
        is_resumed: args.resume,
        export: args.export.as_deref(),
        json: args.json,
        view: args.view,
    })
}

/// `loadgen resume DIR`
pub(super) fn resume(dir: &Path, json: bool, view: ViewArgs) -> Result<u8> {
    let begun = Begun::read(&Folder::new(dir)).map_err(|error| {
        Failure::Usage(format!("{error}; name the folder of a report that a run has begun"))
    })?;
    // Each arm as it was begun: an override on top of the effective scenario would not bring its defaults with it.
    let files = ["scenario.toml", SCENARIO_B].map(|name| Source::file(&dir.join(name), Vec::new()));
    let arms = begun.arms.into_iter().zip(files.clone());
    let [source, _] = files;
    carry_on(Job {
        source,
        arms: arms.map(|(sets, source)| ArmSource { sets, source }).collect(),
        server: begun.server,
        qvis: begun.qvis,
        save_baseline: begun.save_baseline,
        suffix: "",
        out: Some(dir),
        is_resumed: true,
        export: None,
        json,
        view,
    })
}

/// `loadgen compare-drivers FILE`
pub(super) fn compare_drivers(args: &CompareDriversArgs) -> Result<u8> {
    let source = Source::file(&args.file, args.set.clone());
    let arm = |set: &&str| {
        let sets = vec![(*set).to_owned()];
        ArmSource { source: source.with(&sets), sets }
    };
    carry_on(Job {
        arms: versus::DRIVERS.iter().map(arm).collect(),
        source,
        server: None,
        qvis: false,
        save_baseline: None,
        suffix: "-drivers",
        out: args.out.as_deref(),
        is_resumed: false,
        export: None,
        json: args.json,
        view: args.view,
    })
}

fn source(args: &RunArgs) -> Result<(Source, Option<SocketAddr>)> {
    let sets = args.sets();
    if let Some(test) = args.test {
        let name = format!("--test {}", test.name());
        let from = Written::Text { name, toml: test.toml(args.duration, args.clients) };
        return Ok((Source { from, sets }, Some(SocketAddr::new(args.host, args.port))));
    }
    let Some(file) = &args.scenario else {
        let text = "nothing to do; run a scenario with --scenario scenarios/loss10.toml, a built-in test with \
            --test loss, or see --help";
        return Err(Failure::Usage(text.to_owned()).into());
    };
    Ok((Source::file(file, sets), None))
}

fn carry_on(job: Job<'_>) -> Result<u8> {
    let ready = Ready::of(&job)?;
    let (place, folder, info, _lock) = begin(&job, &ready.loaded)?;
    let folder = folder.with_qlog(if job.qvis { Dialect::Qvis } else { Dialect::Current });
    let kept = kept(&job, &ready, &folder)?;
    begun(&job, &folder, &info, &ready.arms)?;
    let clock = units::Clock::start();
    let (finished, answer) = match carry_out(&job, &ready, &folder, &kept) {
        Ok(done) => done,
        // What has run is worth more than a tidy folder.
        Err(error) if folder.has_runs() => {
            let dir = folder.dir().display();
            return Err(error.context(format!("what was run is kept; go on with loadgen resume {dir}")));
        }
        Err(error) => {
            if let Some(place) = place {
                place.undo();
            }
            return Err(error);
        }
    };
    if finished.aside > 0 && !job.view.quiet {
        let runs = folder.dir().join("runs/old");
        let _ = writeln!(
            std::io::stderr(),
            "{} runs of another plan are kept in {}",
            finished.aside,
            runs.display()
        );
    }
    let info = RunInfo {
        duration_s: info.duration_s + (clock.now().as_secs_f64() * 1e3).round() / 1e3,
        interrupted: interrupted(&finished),
        ..info
    };
    publish(&job, &ready, folder.dir(), finished, &answer, &info)
}

/// Everything that can be refused before a folder is touched.
struct Ready {
    loaded: Loaded,
    arms: Vec<Arm>,
    against: Against,
    /// Where `--save-baseline` goes.
    baseline: Option<PathBuf>,
    mode: Mode,
}

impl Ready {
    fn of(job: &Job<'_>) -> Result<Self> {
        let loaded = job.source.load(&[]).map_err(Failure::from)?;
        refuse_mixtures(&loaded, !job.arms.is_empty())?;
        refuse_swept_arms(job, &loaded)?;
        job.export.map_or(Ok(()), refuse_unwritable)?;
        let arms = arms(job, &loaded)?;
        refuse_unknown_folder(job, &loaded)?;
        runner::check(&arms).map_err(run_failure)?;
        let against = Against::of(&arms, &loaded, job.save_baseline.is_some())?;
        let baseline = baseline(job, &loaded)?;
        Ok(Self { loaded, arms, against, baseline, mode: mode(job.view)? })
    }

    fn repeats(&self) -> Range<u32> {
        0..self.loaded.scenario.run.repeats
    }
}

/// Runs that need not be run. Without resumption the folder forgets what it has.
fn kept(job: &Job<'_>, ready: &Ready, folder: &Folder) -> Result<BTreeSet<Slot>> {
    if !job.is_resumed {
        folder.clear()?;
        return Ok(BTreeSet::new());
    }
    // A search decides by itself what it would run.
    if ready.loaded.scenario.search.is_some() {
        return Ok(BTreeSet::new());
    }
    let kept = resume::kept(folder, &plans(&ready.arms, &ready.repeats()));
    if !job.view.quiet {
        kept.notes.iter().for_each(|note| drop(writeln!(std::io::stderr(), "resume: {note}")));
    }
    Ok(kept.slots)
}

/// All runs, watched.
fn carry_out(
    job: &Job<'_>,
    ready: &Ready,
    folder: &Folder,
    kept: &BTreeSet<Slot>,
) -> Result<(Finished, Answer)> {
    let interrupt = on_signals()?;
    let mut watch = Watch::start(ready.mode, &interrupt);
    let server = job.server.map_or(ServerAt::InProcess, ServerAt::External);
    let outcome = match &ready.loaded.scenario.search {
        Some(wanted) => {
            let load = |more: &[String]| job.source.load(more);
            let is_resumed = job.is_resumed;
            look(
                &Ground { load: &load, server, folder, interrupt: &interrupt, is_resumed },
                wanted,
                &mut watch,
            )
        }
        None => {
            let (arms, repeats) = (&ready.arms[..], ready.repeats());
            let experiment = Experiment { arms, server, folder, repeats, kept, interrupt: &interrupt };
            let ran = ready.against.run(&experiment, &mut Drivers, &mut watch);
            ran.map(|(finished, compared)| (finished, compared.map_or(Answer::None, Answer::Compared)))
                .map_err(failure)
        }
    };
    let missed = watch.missed();
    drop(watch);
    if missed > 0 {
        let text = format!("the terminal was too slow for {missed} updates; the report has them");
        let _ = writeln!(std::io::stderr(), "{text}");
    }
    outcome
}

/// Writes what was found, draws it, and says it.
fn publish(
    job: &Job<'_>,
    ready: &Ready,
    dir: &Path,
    mut finished: Finished,
    answer: &Answer,
    info: &RunInfo,
) -> Result<u8> {
    let undecided = match answer {
        Answer::Compared(compared) if ready.against.is_gate() => compared.undecided(),
        _ => None,
    };
    if let Some(why) = undecided {
        // Like an assertion without samples, a gate that decides nothing does not pass.
        finished.verdict = verdict::worse(finished.verdict, Verdict::Inconclusive);
        finished.reasons.push(why);
    }
    let exit_code = match (exit_code(&finished), answer) {
        (0, Answer::Compared(compared)) => compared.exit_code(),
        (code, _) => code,
    };
    let results = results(finished, info, &ready.arms);
    if let [_, b] = &results[..] {
        report::write_json(&dir.join("result-b.json"), b)?;
    }
    if let Answer::Compared(compared) = answer {
        report::write_comparison(dir, compared)?;
    }
    let summary = save(dir, &results[0], job.export)?;
    show(job, dir, &results, answer, &summary)?;
    if let Some(baseline) = &ready.baseline {
        keep_baseline(dir, baseline, &results[0], job.view.quiet)?;
    }
    Ok(exit_code)
}

/// Carries out a `[search]` and writes `search.json`. Its answer is one sentence.
fn look(ground: &Ground<'_>, wanted: &Search, watch: &mut Watch) -> Result<(Finished, Answer)> {
    let (finished, searched) =
        search::run(ground, wanted, &mut Drivers, watch).map_err(|error| match error {
            SearchError::Runner(error) => failure(error),
            SearchError::Scenario(error) => Failure::from(error).into(),
        })?;
    report::write_json(&ground.folder.dir().join("search.json"), &searched)?;
    Ok((finished, Answer::Found(searched)))
}

/// What cannot be had together.
fn refuse_mixtures(loaded: &Loaded, has_arms: bool) -> Result<(), Failure> {
    if loaded.scenario.search.is_some() && has_arms {
        let problem =
            "--ab compares two settings of one load and [search] varies the load; remove one of the two";
        return Err(Failure::Usage(problem.to_owned()));
    }
    Ok(())
}

/// What could not be written in the end is not begun.
fn refuse_unwritable(export: &Path) -> Result<(), Failure> {
    // A bare name has an empty folder.
    let folder = export.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let problem = match fs::metadata(folder) {
        Ok(found) if !found.is_dir() => "is no folder".to_owned(),
        Ok(found) if found.permissions().readonly() => "cannot be written to".to_owned(),
        Ok(_) if export.is_dir() => {
            let problem = format!("--export: {} is a folder; name a file in it", export.display());
            return Err(Failure::Usage(problem));
        }
        Ok(_) => return Ok(()),
        Err(error) => error.to_string(),
    };
    Err(Failure::Usage(format!(
        "--export: {}: {problem}; name a file in a folder that is there",
        folder.display()
    )))
}

/// An axis would set both arms to its own values.
fn refuse_swept_arms(job: &Job<'_>, loaded: &Loaded) -> Result<(), Failure> {
    let swept = |path: &str| {
        let mut axes = loaded.cells.iter().flat_map(|cell| cell.axes.keys());
        axes.any(|axis| axis == path || axis.starts_with(&format!("{path}.")))
    };
    let paths = job.arms.iter().flat_map(|arm| &arm.sets).filter_map(|set| set.split_once('='));
    match paths.map(|(path, _)| path).find(|path| swept(path)) {
        Some(path) => {
            Err(Failure::Usage(format!("--ab: {path} is an axis of [sweep] too; remove one of the two")))
        }
        None => Ok(()),
    }
}

/// The scenario once for each setting.
fn arms(job: &Job<'_>, loaded: &Loaded) -> Result<Vec<Arm>> {
    if job.arms.is_empty() {
        return Ok(vec![Arm { name: String::new(), loaded: loaded.clone() }]);
    }
    let arm = |arm: &ArmSource| {
        let loaded = arm.source.load(&[]).map_err(Failure::from)?;
        Ok(Arm { name: arm.sets.join(" "), loaded })
    };
    job.arms.iter().map(arm).collect()
}

fn mode(view: ViewArgs) -> Result<Mode> {
    if view.quiet {
        return Ok(Mode::Quiet);
    }
    #[cfg(feature = "tui")]
    if view.tui {
        if Mode::can_be_tui() {
            return Ok(Mode::Tui);
        }
        let problem = "--tui draws on a terminal, and stdin or stderr is none; leave it out for lines";
        return Err(Failure::Usage(problem.to_owned()).into());
    }
    Ok(Mode::usual())
}

/// The folder, and who began what is in it. An experiment that goes on stays where it is and keeps its name.
fn begin(job: &Job<'_>, loaded: &Loaded) -> Result<(Option<Place>, Folder, RunInfo, Lock)> {
    let name = &format!("{}{}", loaded.scenario.name, job.suffix);
    let run = &loaded.scenario.run;
    let info = machine::run_info(run.seed, driver_name(run.driver));
    let dir = output::at(&loaded.scenario.output.dir, name, &info.id, job.out);
    // Before anything in it is moved.
    let mut lock = dir.exists().then(|| take(&dir)).transpose()?;
    if let Some(lock) = lock.take_if(|_| job.is_resumed) {
        let folder = Folder::new(&dir);
        let Ok(earlier) = Begun::read(&folder) else { return Ok((None, folder, info, lock)) };
        // The time of the earlier part is known only where it came to an end.
        let before =
            report::read_result(&dir.join("result.json")).map_or(0.0, |result| result.run.duration_s);
        let command = format!("{}; {}", earlier.run.command, info.command);
        let info = RunInfo { id: earlier.run.id, command, duration_s: before, ..info };
        return Ok((None, folder, info, lock));
    }
    let place = Place::prepare(&dir, job.out.is_some())?;
    let folder = Folder::new(&place.dir);
    // What was moved away has taken its lock with it.
    let lock = match lock {
        Some(lock) if !place.has_moved_one() => lock,
        _ => take(&place.dir)?,
    };
    Ok((Some(place), folder, info, lock))
}

fn take(dir: &Path) -> Result<Lock, Failure> {
    Lock::take(dir).map_err(|error| Failure::Usage(format!("{} {error}", dir.display())))
}

/// A run that is to go on has to be where it was.
fn refuse_unknown_folder(job: &Job<'_>, loaded: &Loaded) -> Result<(), Failure> {
    if !job.is_resumed || job.out.is_some() || !loaded.scenario.output.dir.contains(output::RUN_ID) {
        return Ok(());
    }
    let dir = &loaded.scenario.output.dir;
    Err(Failure::Usage(format!(
        "--resume: output.dir = \"{dir}\" is another folder for each run; name the one to go on in with --out"
    )))
}

/// Before the first run: what `loadgen resume` needs, the effective scenario of each arm above all.
fn begun(job: &Job<'_>, folder: &Folder, info: &RunInfo, arms: &[Arm]) -> Result<()> {
    let begun = Begun {
        schema: begun::SCHEMA,
        run: info.clone(),
        arms: job.arms.iter().map(|arm| arm.sets.clone()).collect(),
        server: job.server,
        qvis: job.qvis,
        save_baseline: job.save_baseline.clone(),
    };
    begun.save(folder)?;
    for (arm, name) in arms.iter().zip(["scenario.toml", SCENARIO_B]) {
        report::write_file(&folder.dir().join(name), arm.loaded.effective_toml.as_bytes())?;
    }
    Ok(())
}

fn interrupted(finished: &Finished) -> Option<String> {
    finished
        .stop
        .as_ref()
        .filter(|stop| matches!(stop, Stop::Interrupted(_)))
        .map(|stop| stop.reason().to_owned())
}

/// The table of the manual.
fn exit_code(finished: &Finished) -> u8 {
    match &finished.stop {
        Some(Stop::Interrupted(_)) => INTERRUPTED,
        Some(Stop::ServerGone(_)) => SERVER_GONE,
        Some(Stop::Broken(_)) => INTERNAL,
        Some(Stop::Asserted(_)) | None => verdict::exit_code(finished.verdict),
    }
}

/// One result for each arm; the verdict of the first is that of all, for it is what a reader opens.
fn results(finished: Finished, info: &RunInfo, arms: &[Arm]) -> Vec<RunResult> {
    let Finished { verdict, reasons, arms: cells, .. } = finished;
    let names: Vec<String> =
        arms.iter().map(|arm| arm.name.clone()).filter(|name| !name.is_empty()).collect();
    let result = |(arm, cells): (&Arm, Vec<Cell>)| RunResult {
        schema: SCHEMA,
        verdict,
        reasons: reasons.clone(),
        arms: names.clone(),
        run: RunInfo { driver: driver_name(arm.loaded.scenario.run.driver).to_owned(), ..info.clone() },
        scenario: arm.loaded.effective_json.clone(),
        cells,
    };
    arms.iter().zip(cells).map(result).collect()
}

/// Where `--save-baseline` goes.
fn baseline(job: &Job<'_>, loaded: &Loaded) -> Result<Option<PathBuf>, Failure> {
    let Some(named) = &job.save_baseline else { return Ok(None) };
    let of_scenario = || loaded.scenario.baseline_gate.as_ref().map(|gate| PathBuf::from(&gate.path));
    let Some(path) = named.clone().or_else(of_scenario) else {
        let problem = "--save-baseline: the scenario has no [baseline] path; name a folder";
        return Err(Failure::Usage(problem.to_owned()));
    };
    let name = format!("{}{}", loaded.scenario.name, job.suffix);
    let own = output::at(&loaded.scenario.output.dir, &name, "", job.out);
    if same_place(&path, &own) {
        let problem =
            format!("--save-baseline: {} is where this report goes; name another folder", path.display());
        return Err(Failure::Usage(problem));
    }
    Ok(Some(path))
}

/// Whether two paths lead to one folder, be it there or not.
fn same_place(a: &Path, b: &Path) -> bool {
    let full = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path)).ok();
    full(a).is_some() && full(a) == full(b)
}

/// Numbers that say nothing are nothing to compare with.
fn keep_baseline(from: &Path, to: &Path, result: &RunResult, is_quiet: bool) -> Result<()> {
    let mut stderr = std::io::stderr();
    if result.verdict == Verdict::Invalid {
        let _ = writeln!(stderr, "baseline: not saved, the run is INVALID");
        return Ok(());
    }
    versus::save_baseline(from, to)?;
    if !is_quiet {
        let _ = writeln!(stderr, "baseline: saved in {}", to.display());
    }
    Ok(())
}

/// Writes the result, then draws from what is written. Returns what a terminal shows.
fn save(dir: &Path, result: &RunResult, export: Option<&Path>) -> Result<String> {
    report::write_result(dir, result)?;
    let rendered = report::render(dir)?;
    if let Some(path) = export {
        fs::copy(dir.join("result.json"), path)
            .with_context(|| format!("{}: cannot write", path.display()))?;
    }
    Ok(rendered.summary)
}

fn show(job: &Job<'_>, dir: &Path, results: &[RunResult], answer: &Answer, summary: &str) -> Result<()> {
    let result = &results[0];
    if job.json {
        let text = match answer {
            Answer::Compared(compared) => {
                let both = serde_json::json!({ "results": results, "comparison": compared });
                serde_json::to_string_pretty(&both)?
            }
            Answer::Found(searched) => {
                let both = serde_json::json!({ "result": result, "search": searched });
                serde_json::to_string_pretty(&both)?
            }
            Answer::None => serde_json::to_string_pretty(result)?,
        };
        return print(&(text + "\n"));
    }
    print(summary)?;
    if let Answer::Found(searched) = answer {
        print(&format!("{}\n", searched.answer))?;
    }
    if !job.view.quiet {
        // Where to look is not a result.
        let mut stderr = std::io::stderr();
        let _ = writeln!(stderr, "report: {}", dir.join("report.html").display());
        if result.run.interrupted.is_some() {
            let _ = writeln!(stderr, "go on with: loadgen resume {}", dir.display());
        }
    }
    Ok(())
}

fn failure(error: RunnerError) -> anyhow::Error {
    match error {
        RunnerError::Run(error) => run_failure(error),
        RunnerError::Files(error) => error.into(),
    }
}

fn run_failure(error: RunError) -> anyhow::Error {
    match error {
        RunError::ServerGone(reason) => Failure::ServerGone(reason).into(),
        RunError::Setup(reason) => Failure::Usage(reason).into(),
        RunError::Internal(_) => error.into(),
    }
}

/// Set by the first SIGINT or SIGTERM, so that a partial report is written; the second ends the program at once.
fn on_signals() -> Result<Arc<AtomicBool>> {
    let interrupt = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let asked = Arc::clone(&interrupt);
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            if asked.swap(true, Ordering::Relaxed) {
                crate::ui::restore_terminal();
                std::process::exit(i32::from(INTERRUPTED));
            }
        }
    })?;
    Ok(interrupt)
}

/// 128 + SIGINT, as shells expect.
pub(super) const INTERRUPTED: u8 = 130;
const SERVER_GONE: u8 = 7;
/// The effective scenario of B, beside that of A.
const SCENARIO_B: &str = "scenario-b.toml";
const INTERNAL: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_could_not_be_written_is_refused_beforehand() {
        let dir = tempfile::tempdir().unwrap();
        assert!(refuse_unwritable(&dir.path().join("result.json")).is_ok());
        assert!(refuse_unwritable(Path::new("result.json")).is_ok());
        let why = |path: &Path| refuse_unwritable(path).unwrap_err().to_string();
        assert!(why(&dir.path().join("none/result.json")).contains("none: No such file"));
        assert!(why(dir.path()).contains("is a folder; name a file in it"));
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(why(&dir.path().join("file/result.json")).contains("is no folder"));
    }
}
