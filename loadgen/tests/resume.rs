//! Experiments that end before their plan, by a signal or by force, and go on.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use loadgen::result::{RunResult, Verdict};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Long enough to be stopped in the middle, and no longer.
const SWEEP: &str = r#"# Does it go on?
schema = 1
[scenario]
name = "sweep"
title = "Three losses"
[run]
driver = "virtual"
seed = 1
repeats = 4
[link.lossy.both]
loss = "10%"
delay = "20ms"
[[clients]]
name = "chat"
count = 10
link = "lossy"
rooms = { size = 5 }
[[phase]]
name = "steady"
duration = "10s"
[[phase]]
name = "drain"
drain = "20s"
[[workload]]
name = "chat"
kind = "room"
arrival = { process = "poisson", rate = "5/s", per = "client" }
size = "100B"
[sweep]
axis = [{ path = "link.lossy.both.loss.p", values = ["0%", "5%", "10%"] }]
"#;

fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command
        .current_dir(folder)
        .args(args)
        .env_remove("RUST_LOG")
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

/// Exit code and stderr.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output = command(folder, args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Starts an experiment into `out` and returns once its first runs are there.
fn begun(folder: &Path, out: &str) -> Child {
    let mut child = command(folder, &["--scenario", "sweep.toml", "--quiet", "--out", out]).spawn().unwrap();
    let second = folder.join(out).join("runs/c001-r0.json");
    while !second.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was stopped");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    child
}

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("sweep.toml"), SWEEP).unwrap();
    folder
}

/// Every file of a report and its runs; those that say when and how they were made without `run`.
fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let list =
        |folder: &Path| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let files =
        list(folder).into_iter().flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] });
    let read = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(&path).unwrap();
        if name != "result.json" && name != "plan.json" {
            return (name, bytes);
        }
        let mut json: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
        json.as_object_mut().unwrap().remove("run");
        (name, json.to_string().into_bytes())
    };
    files.map(read).collect()
}

fn same(a: &Path, b: &Path) {
    let (a, b) = (bytes(a), bytes(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

fn result(folder: &Path) -> RunResult {
    serde_json::from_slice(&fs::read(folder.join("result.json")).unwrap()).unwrap()
}

#[test]
fn what_was_killed_and_resumed_is_what_was_never_interrupted() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (code, stderr) = run(folder.path(), &["--scenario", "sweep.toml", "--out", "whole"]);
    assert_eq!(code, Some(0), "{stderr}");

    let mut child = begun(folder.path(), "killed");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!at("killed").join("result.json").exists(), "it was killed in the middle");
    let (code, stderr) = run(folder.path(), &["resume", "killed"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("resume: keeps ") && !stderr.contains("keeps 0 of 12 runs"), "{stderr}");
    same(&at("whole"), &at("killed"));
    let command = result(&at("killed")).run.command;
    assert!(command.contains("; ") && command.ends_with("resume killed"), "{command}");

    // Once more: there is nothing left to run, and nothing changes.
    let (code, stderr) = run(folder.path(), &["resume", "killed"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("keeps 12 of 12 runs, 0 not run yet"), "{stderr}");
    same(&at("whole"), &at("killed"));
}

#[test]
fn an_interrupted_run_writes_a_partial_report_and_goes_on() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let (code, stderr) = run(folder.path(), &["--scenario", "sweep.toml", "--out", "whole"]);
    assert_eq!(code, Some(0), "{stderr}");

    let mut child = begun(folder.path(), "partial");
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let partial = result(&at("partial"));
    assert_eq!(partial.verdict, Verdict::Invalid);
    assert!(partial.run.interrupted.is_some() && !partial.cells.is_empty());
    assert!(at("partial").join("report.html").exists());
    assert!(partial.cells.iter().map(|cell| cell.repeats.len()).sum::<usize>() < 12);

    let args = ["--scenario", "sweep.toml", "--out", "partial", "--resume"];
    let (code, stderr) = run(folder.path(), &args);
    assert_eq!(code, Some(0), "{stderr}");
    same(&at("whole"), &at("partial"));
    assert_eq!(result(&at("partial")).run.id, partial.run.id, "it is still the same experiment");
}

#[test]
fn more_repeats_keep_those_that_are_there_and_another_seed_keeps_none() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let base = ["--scenario", "sweep.toml", "--out", "a"];
    let with = |more: &[&'static str]| run(folder.path(), &[&base[..], more].concat());
    assert_eq!(with(&["--repeats", "1"]).0, Some(0));
    let (code, stderr) = with(&["--repeats", "2", "--resume"]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("keeps 3 of 6 runs, 3 not run yet"), "{stderr}");
    assert_eq!(run(folder.path(), &["--scenario", "sweep.toml", "--out", "b", "--repeats", "2"]).0, Some(0));
    same(&at("a"), &at("b"));
    let (_, stderr) = with(&["--repeats", "2", "--resume", "--seed", "9"]);
    assert!(
        stderr.contains("keeps 0 of 6 runs") && stderr.contains("another scenario, seed or driver"),
        "{stderr}"
    );
}

#[test]
fn a_folder_without_a_plan_cannot_be_resumed() {
    let folder = folder();
    let (code, stderr) = run(folder.path(), &["resume", "nowhere"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.starts_with("error: nowhere/plan.json: ") && stderr.contains("name the folder"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}
