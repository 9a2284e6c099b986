//! Runs set against others: two settings, both drivers.

mod common;

use std::fs;
use std::path::Path;

use loadgen::result::RunResult;
use tempfile::TempDir;

use common::{result, told};

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

/// Exit code, and all that was said.
fn run(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let (code, stdout, stderr) = told(folder, args);
    (code, stdout + &stderr)
}

fn json(path: &Path) -> serde_json::Value {
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
    for name in ["runs/c000-r3-b.json", "traces-b.csv", "deliveries-b.csv", "scenario-b.toml"] {
        assert!(folder.path().join("a").join(name).exists(), "{name}");
    }
}

#[test]
fn a_setting_that_is_worse_is_confirmed_and_ends_in_exit_code_4() {
    let folder = folder();
    let (a, b) = ("link.lossy.both.delay=20ms", "link.lossy.both.delay=80ms");
    let args = ["--scenario", "chat.toml", "--out", "a", "--ab", a, b];
    let (code, text) = run(folder.path(), &args);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("A: link.lossy.both.delay=20ms\nB: link.lossy.both.delay=80ms\n"), "{text}");
    assert!(text.contains("1 REGRESSION in 1 comparison\n"), "{text}");
    assert!(text.contains("there is something to confirm"), "{text}");
    let page = fs::read_to_string(folder.path().join("a/report.html")).unwrap();
    for part in ["A against B", "B: link.lossy.both.delay=80ms", "REGRESSION"] {
        assert!(page.contains(part), "{part}");
    }

    // What was saved says the same when it is asked for again, confirming round and all.
    let (code, text) = run(folder.path(), &["diff", "a"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("1 REGRESSION in 1 comparison\n") && !text.contains("Not confirmed"), "{text}");
    let result = result(&folder.path().join("a/result.json"));
    let seeds: Vec<u64> = result.cells[0].repeats.iter().map(|repeat| repeat.seed).collect();
    assert_eq!(seeds, [3, 4, 5, 6, 7, 8, 9, 10]);

    // The other way round it is better, and nothing fails.
    let (code, text) = run(folder.path(), &["--scenario", "chat.toml", "--out", "b", "--ab", b, a]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn two_results_are_compared_and_nothing_is_confirmed() {
    let folder = folder();
    let folders = [("one", "20ms"), ("two", "80ms")];
    for (out, delay) in folders {
        let set = format!("link.lossy.both.delay={delay}");
        let (code, text) = run(folder.path(), &["--scenario", "chat.toml", "--out", out, "--set", &set]);
        assert_eq!(code, Some(0), "{text}");
    }
    let (code, text) = run(folder.path(), &["diff", "one", "two"]);
    assert_eq!(code, Some(4), "{text}");
    for part in ["not the same experiment: link", "not confirmed", "--ab PATH=VALUE PATH=VALUE", "rate(lost)"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let (code, text) = run(folder.path(), &["diff", "one", "one/result.json"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("the same seeds gave the same runs"), "{text}");
    let (code, text) = run(folder.path(), &["diff", "one"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("one has one setting") && text.lines().count() == 1, "{text}");
    fs::remove_dir_all(folder.path().join("two/runs")).unwrap();
    let (code, text) = run(folder.path(), &["diff", "one", "two"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("no run files"), "{text}");
}

#[test]
fn a_baseline_is_kept_compared_and_shown() {
    let folder = folder();
    let baseline = "\n[baseline]\npath = \"base\"\nregress = [{ metric = \"p99(delivery_latency)\" }]\n";
    fs::write(folder.path().join("chat.toml"), CHAT.to_owned() + baseline).unwrap();
    let base = ["--scenario", "chat.toml", "--out", "a"];
    let with = |more: &[&str]| run(folder.path(), &[&base[..], more].concat());
    let (code, text) = with(&["--save-baseline", "a"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("where this report goes"), "{text}");
    for _ in 0..2 {
        let (code, text) = with(&["--save-baseline"]);
        assert_eq!(code, Some(0), "{text}");
    }
    assert_eq!(fs::read_dir(folder.path().join("base")).unwrap().count(), 3, "runs, result and scenario");
    let (code, text) = with(&["--set", "link.lossy.both.delay=80ms"]);
    assert_eq!(code, Some(4), "{text}");
    assert!(text.contains("A: base (baseline)\nB: this run\nnot the same experiment: link"), "{text}");
    let page = fs::read_to_string(folder.path().join("a/report.html")).unwrap();
    assert!(page.contains("A: base (baseline)") && page.contains("REGRESSION"));
    let summary = fs::read_to_string(folder.path().join("a/summary.md")).unwrap();
    assert!(summary.contains("1 REGRESSION in 1 comparison"), "{summary}");
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
