//! Experiments that end before their plan, by a signal or by force, and go on.

mod common;

use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use loadgen::result::Verdict;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use common::{loadgen, result, same, told};

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

/// Exit code and stderr.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let (code, _, stderr) = told(folder, args);
    (code, stderr)
}

/// Starts an experiment into `out` and returns once its first runs are there.
fn begun(folder: &Path, out: &str) -> Child {
    let mut command = loadgen(folder, &["--scenario", "sweep.toml", "--quiet", "--out", out]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
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
        stderr.contains("keeps 0 of 6 runs") && stderr.contains("another scenario, seed, driver or revision"),
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

#[test]
fn both_arms_go_on_as_they_were_begun() {
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    // A profile brings defaults that the effective scenario spells out, so an override on top of it would do nothing.
    let arms = ["--ab", "protocol.profile=classic", "protocol.profile=modern", "--repeats", "2"];
    let base = ["--scenario", "sweep.toml", "--set", "sweep.axis=[]"];
    let (code, stderr) = run(folder.path(), &[&base[..], &arms, &["--out", "whole"]].concat());
    assert!(matches!(code, Some(0 | 4)), "{stderr}");
    let (again, stderr) = run(folder.path(), &[&base[..], &arms, &["--out", "cut"]].concat());
    assert_eq!(again, code, "{stderr}");
    for name in ["c000-r0.json", "c000-r1-b.json"] {
        fs::remove_file(at("cut/runs").join(name)).unwrap();
    }
    let (resumed, stderr) = run(folder.path(), &["resume", "cut"]);
    assert_eq!(resumed, code, "{stderr}");
    assert!(stderr.contains("keeps 2 of 4 runs, 2 not run yet"), "{stderr}");
    same(&at("whole"), &at("cut"));
}
