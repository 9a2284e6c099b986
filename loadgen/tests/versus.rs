//! Runs set against others: two settings, both drivers.

use std::fs;
use std::path::Path;

use assert_cmd::Command;
use loadgen::result::RunResult;
use tempfile::TempDir;

const CHAT: &str = r#"# Which is better?
schema = 1
[scenario]
name = "chat"
title = "Ten clients behind 5 % loss"
[run]
driver = "virtual"
seed = 3
repeats = 4
[link.lossy.both]
loss = "5%"
delay = "20ms"
[[clients]]
name = "chat"
count = 10
link = "lossy"
rooms = { size = 5 }
[[phase]]
name = "steady"
duration = "4s"
[[phase]]
name = "drain"
drain = "20s"
[[workload]]
name = "chat"
kind = "room"
arrival = { process = "poisson", rate = "8/s", per = "client" }
size = "100B"
"#;

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("chat.toml"), CHAT).unwrap();
    folder
}

/// Exit code and stdout of a run into `out`.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    let output = command.current_dir(folder).env_remove("RUST_LOG").args(args).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &stderr)
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn result(path: &Path) -> RunResult {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn two_equal_settings_are_equal_to_the_last_byte() {
    let folder = folder();
    let same = "link.lossy.both.delay=20ms";
    let (code, text) = run(folder.path(), &["--scenario", "chat.toml", "--out", "a", "--ab", same, same]);
    assert_eq!(code, Some(0), "{text}");
    let comparison = json(&folder.path().join("a/comparison.json"));
    let rows = comparison["rows"].as_array().unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["finding"] == "EQUAL"), "{comparison}");
    let (a, b) =
        (result(&folder.path().join("a/result.json")), result(&folder.path().join("a/result-b.json")));
    assert_eq!(a.cells, b.cells);
    assert_eq!(a.cells[0].repeats.len(), 4, "nothing had to be confirmed");
    assert!(folder.path().join("a/runs/c000-r3-b.json").exists());
}

#[test]
fn a_setting_that_is_worse_is_confirmed_and_ends_in_exit_code_4() {
    let folder = folder();
    let (a, b) = ("link.lossy.both.delay=20ms", "link.lossy.both.delay=80ms");
    let args = ["--scenario", "chat.toml", "--out", "a", "--ab", a, b];
    let (code, text) = run(folder.path(), &args);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("A: link.lossy.both.delay=20ms\nB: link.lossy.both.delay=80ms\n"), "{text}");
    assert!(text.contains("REGRESSION") && text.contains("there is something to confirm"), "{text}");
    let result = result(&folder.path().join("a/result.json"));
    let seeds: Vec<u64> = result.cells[0].repeats.iter().map(|repeat| repeat.seed).collect();
    assert_eq!(seeds, [3, 4, 5, 6, 7, 8, 9, 10]);

    // The other way round it is better, and nothing fails.
    let (code, text) = run(folder.path(), &["--scenario", "chat.toml", "--out", "b", "--ab", b, a]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn both_sides_must_have_the_same_cells() {
    let folder = folder();
    let sweep = "\n[sweep]\naxis = [{ path = \"run.seed\", values = [1, 2] }]\n";
    fs::write(folder.path().join("chat.toml"), CHAT.to_owned() + sweep).unwrap();
    let (a, b) = ("sweep.axis.0.values=[1, 2]", "sweep.axis.0.values=[1]");
    let (code, text) = run(folder.path(), &["--scenario", "chat.toml", "--ab", a, b]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("same cells"), "{text}");
}

#[test]
fn both_drivers_run_in_turn_and_their_distance_is_shown() {
    let folder = folder();
    let (code, text) = run(folder.path(), &["compare-drivers", "chat.toml", "--set", "run.repeats=1"]);
    // A busy machine may make the real run INVALID, which is no fault of what is tested here.
    assert!(matches!(code, Some(0 | 5)), "{text}");
    assert!(text.contains("Kolmogorov-Smirnov distance"), "{text}");
    let dir = folder.path().join("reports/chat-drivers");
    let (real, simulated) = (result(&dir.join("result.json")), result(&dir.join("result-b.json")));
    assert_eq!((real.run.driver.as_str(), simulated.run.driver.as_str()), ("real", "virtual"));
    let intended = |result: &RunResult| result.cells[0].metrics.messages.intended;
    assert_eq!(intended(&real), intended(&simulated), "one seed, one schedule");
}
