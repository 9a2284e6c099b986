//! The main job as a user runs it: a scenario file in, a folder of results out.

mod common;

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use loadgen::result::{RunResult, SelfCheck, Verdict};
use tempfile::TempDir;

use common::{bytes, result};

fn loadgen(folder: &Path) -> Command {
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    command.current_dir(folder).env_remove("RUST_LOG");
    command
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    fs::write(folder.join(name), text).unwrap();
    name.to_owned()
}

/// Small and fast: ten clients in two rooms behind a lossy link.
const SMALL: &str = r#"# Does a small run work?
schema = 1
[scenario]
name = "small"
title = "Ten clients behind 10 % loss"
kind = "loss"
[run]
driver = "virtual"
seed = 1
[link.lossy.both]
loss = "10%"
delay = "20ms"
[[clients]]
name = "chat"
count = 10
link = "lossy"
rooms = { size = 5 }
[[phase]]
name = "warmup"
duration = "500ms"
record = false
[[phase]]
name = "steady"
duration = "3s"
[[phase]]
name = "drain"
drain = "20s"
[[workload]]
name = "chat"
kind = "room"
arrival = { process = "poisson", rate = "5/s", per = "client" }
size = "100B"
[[assert]]
id = "exactly-once"
expr = "lost + duplicated + reordered + corrupted == 0"
"#;

#[test]
fn two_virtual_runs_of_one_seed_leave_the_same_bytes_and_another_seed_does_not() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    for (out, seed) in [("a", "1"), ("b", "1"), ("c", "2")] {
        loadgen(folder.path()).args(["--scenario", &file, "--seed", seed, "--out", out]).assert().success();
    }
    let read = |out: &str| bytes(&folder.path().join(out));
    let (a, b, c) = (read("a"), read("b"), read("c"));
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs between two runs of one seed");
    }
    assert_eq!(a.len(), b.len());
    assert_ne!(a["deliveries.csv"], c["deliveries.csv"]);
    for name in ["report.html", "summary.md", "latency.hgrm", "latency_percentiles.png", "scenario.toml"] {
        assert!(a.contains_key(name), "{name} is missing");
    }
}

#[test]
fn both_drivers_carry_the_same_schedule_and_lose_nothing() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    for transport in ["udp", "tcp"] {
        let set = format!("protocol.transport={transport}");
        let mut intended = Vec::new();
        for driver in ["virtual", "real"] {
            let args = ["--scenario", &file, "--driver", driver, "--set", &set, "--out", driver];
            let output = loadgen(folder.path()).args(args).output().unwrap();
            let result = result(&folder.path().join(driver));
            let [cell] = &result.cells[..] else { panic!("one cell") };
            let messages = &cell.metrics.messages;
            let clean = (messages.lost, messages.duplicated, messages.reordered, messages.corrupted);
            assert_eq!(clean, (0, 0, 0, 0), "{driver} {transport}: {:?}", result.reasons);
            assert_eq!(messages.acked, messages.intended);
            assert_eq!(cell.metrics.link.self_check, SelfCheck::Pass, "{driver} {transport}");
            let link = &cell.metrics.link.up;
            let dropped =
                link.dropped_loss + link.dropped_queue + link.dropped_blackout + link.dropped_closed;
            assert_eq!(link.offered + link.duplicated, link.delivered + dropped + link.queued);
            // A busy machine may make a real run INVALID, which is no fault of what is tested here.
            assert!(output.status.success() || result.verdict == Verdict::Invalid, "{driver} {transport}");
            intended.push(messages.intended);
        }
        assert_eq!(intended[0], intended[1], "one seed, one schedule");
    }
}

#[test]
fn a_failed_assertion_ends_in_exit_code_3_and_still_leaves_a_report() {
    let folder = TempDir::new().unwrap();
    let text = format!("{SMALL}\n[[assert]]\nid = \"impossible\"\nexpr = \"p50(delivery_latency) < 1ms\"\n");
    let file = write(folder.path(), "small.toml", &text);
    let output = loadgen(folder.path()).args(["--scenario", &file]).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(
        stdout.starts_with("FAIL") && stdout.trim_end().lines().last().unwrap().starts_with("FAIL"),
        "{stdout}"
    );
    assert!(folder.path().join("reports/small/report.html").exists());
}

#[test]
fn a_second_run_moves_the_first_to_the_archive() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    for _ in 0..2 {
        loadgen(folder.path()).args(["--scenario", &file, "--quiet"]).assert().success();
    }
    let archived = fs::read_dir(folder.path().join("reports/archive/small")).unwrap().count();
    assert_eq!(archived, 1);
}

#[test]
fn a_scenario_says_where_its_report_goes() {
    let folder = TempDir::new().unwrap();
    let text = format!("{SMALL}\n[output]\ndir = \"kept/{{name}}/{{run_id}}\"\n");
    let file = write(folder.path(), "small.toml", &text);
    for _ in 0..2 {
        loadgen(folder.path()).args(["--scenario", &file, "--quiet"]).assert().success();
    }
    let kept: Vec<_> = fs::read_dir(folder.path().join("kept/small")).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|entry| entry.path().join("report.html").exists()));
    assert!(!folder.path().join("reports").exists());
    let output = loadgen(folder.path()).args(["--scenario", &file, "--resume"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.contains("--resume") && stderr.contains("--out"), "{stderr}");
}

#[test]
fn nothing_but_the_result_is_on_stdout() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    let output =
        loadgen(folder.path()).args(["--scenario", &file, "--json"]).env("NO_COLOR", "1").output().unwrap();
    let result: RunResult = serde_json::from_slice(&output.stdout).expect("one JSON document");
    assert_eq!(result.verdict, Verdict::Pass);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("run 1/1"), "progress shows with NO_COLOR set: {stderr}");
}

#[test]
fn a_report_is_drawn_again_from_its_records_alone() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    loadgen(folder.path()).args(["--scenario", &file, "--out", "a"]).assert().success();
    let before = bytes(&folder.path().join("a"));
    fs::remove_file(folder.path().join("a/report.html")).unwrap();
    loadgen(folder.path()).args(["report", "a"]).assert().success();
    assert_eq!(bytes(&folder.path().join("a")), before);
    loadgen(folder.path()).args(["diff", "a", "a"]).assert().success();
}

#[test]
fn the_effective_scenario_runs_again_to_the_same_numbers() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    let sets = ["--set", "link.lossy.both.loss=5%", "--seed", "9"];
    loadgen(folder.path()).args(["--scenario", &file, "--out", "a"]).args(sets).assert().success();
    loadgen(folder.path()).args(["--scenario", "a/scenario.toml", "--out", "b"]).assert().success();
    assert_eq!(result(&folder.path().join("a")).cells, result(&folder.path().join("b")).cells);
}

#[test]
fn every_mistake_is_one_line_that_says_what_where_and_what_to_do() {
    let folder = TempDir::new().unwrap();
    let cases = [
        (SMALL.replace("delay =", "dleay ="), "small.toml:12", "delay"),
        (SMALL.replace("\"20ms\"", "20"), "small.toml:12", "50ms"),
        (SMALL.replace("loss = \"10%\"", "loss = 1.5"), "small.toml:11", "0% to 100%"),
        (SMALL.replace("link = \"lossy\"", "link = \"losy\""), "small.toml:16", "lossy"),
    ];
    for (text, place, remedy) in cases {
        let file = write(folder.path(), "small.toml", &text);
        let output = loadgen(folder.path()).args(["--scenario", &file]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{stderr}");
        assert!(
            stderr.starts_with("error: ") && stderr.contains(place) && stderr.contains(remedy),
            "{stderr}"
        );
    }
    let missing = loadgen(folder.path()).args(["--scenario", "nowhere.toml"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(2));
    let nothing = loadgen(folder.path()).output().unwrap();
    assert_eq!(nothing.status.code(), Some(2));
}

#[test]
fn a_test_of_a_server_that_is_not_there_says_so() {
    let folder = TempDir::new().unwrap();
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let args = ["--test", "connectivity", "--duration", "1", "--clients", "2", "--port", &port];
    let output = loadgen(folder.path()).args(args).output().unwrap();
    assert_eq!(output.status.code(), Some(7));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("no server at") && stderr.contains("chat-server"), "{stderr}");
}

#[test]
fn a_blackout_delays_messages_but_loses_none() {
    let folder = TempDir::new().unwrap();
    let text = SMALL.replace("loss = \"10%\"", "").replace(
        "[[clients]]",
        "[[link.lossy.event]]\nat = \"1s\"\nfor = \"1s\"\nset = { both = { blackhole = true } }\n[[clients]]",
    );
    let file = write(folder.path(), "small.toml", &text);
    loadgen(folder.path()).args(["--scenario", &file, "--out", "a"]).assert().success();
    let result = result(&folder.path().join("a"));
    let metrics = &result.cells[0].metrics;
    assert!(metrics.link.up.dropped_blackout > 0);
    let longest = metrics.latency.delivery.max_us.unwrap();
    assert!((900_000..6_000_000).contains(&longest), "{longest} µs");
}

#[test]
fn flags_that_contradict_each_other_are_usage_errors() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    let run = ["--scenario", &file];
    for (more, word) in [
        (&["--tui", "--quiet"][..], "cannot be used with"),
        (&["--ab", "run.seed=1"], "2 values required"),
        (&["--test", "loss"], "cannot be used with"),
        (&["--duration", "3"], "cannot be used with"),
        (&["--tui"], "leave it out"),
    ] {
        let output = loadgen(folder.path()).args(run).args(more).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{more:?}: {stderr}");
        assert!(stderr.contains(word), "{more:?}: {stderr}");
    }
    assert!(!folder.path().join("reports").exists(), "nothing was begun");
}

#[test]
fn a_reader_that_has_gone_does_not_end_a_run() {
    let folder = TempDir::new().unwrap();
    let file = write(folder.path(), "small.toml", SMALL);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.current_dir(folder.path()).args(["--scenario", &file, "--repeats", "3", "--out", "a"]);
    let (stdout, stderr) = (std::process::Stdio::piped(), std::process::Stdio::piped());
    let mut child = command.stdout(stdout).stderr(stderr).spawn().unwrap();
    // Both ends are closed before anything is written.
    drop((child.stdout.take(), child.stderr.take()));
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert_eq!(result(&folder.path().join("a")).cells[0].repeats.len(), 3);
}
