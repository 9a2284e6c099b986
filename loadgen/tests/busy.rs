//! A run beside busy programs says so, instead of a wrong number.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use assert_cmd::cargo::CommandCargoExt;
use loadgen::result::{RunResult, Verdict};
use tempfile::TempDir;

const SMALL: &str = r#"# Is the machine free?
schema = 1
[scenario]
name = "small"
title = "Six clients in two rooms"
kind = "concurrency"
[run]
driver = "real"
seed = 1
[[clients]]
name = "chat"
count = 6
rooms = { size = 3 }
[[phase]]
name = "steady"
duration = "2s"
[[phase]]
name = "drain"
drain = "10s"
[[workload]]
name = "talk"
kind = "room"
arrival = { process = "poisson", rate = "20/s", per = "client" }
size = "100B"
[[assert]]
id = "nothing-lost"
expr = "lost == 0"
"#;

fn run(folder: &Path, text: &str) -> Output {
    fs::write(folder.join("small.toml"), text).unwrap();
    let mut command = Command::cargo_bin("loadgen").expect("the binary is part of this package");
    command
        .args(["--scenario", "small.toml", "--out", "out", "--quiet"])
        .current_dir(folder)
        .output()
        .unwrap()
}

/// A program that does nothing, as fast as it can; stopped when dropped, and by itself after a minute.
struct Hog(Child);

impl Hog {
    fn start() -> Self {
        let script = "end=$(($(date +%s) + 60)); while [ $(date +%s) -lt $end ]; do \
            i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done; done";
        Self(Command::new("sh").args(["-c", script]).stdin(Stdio::null()).spawn().expect("a shell"))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_busy_machine_makes_a_run_invalid_and_not_wrong() {
    let folder = TempDir::new().unwrap();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let hogs: Vec<Hog> = (0..processors).map(|_| Hog::start()).collect();
    let output = run(folder.path(), SMALL);
    drop(hogs);
    let result = fs::read(folder.path().join("out/result.json")).unwrap();
    let result: RunResult = serde_json::from_slice(&result).unwrap();
    assert_eq!((output.status.code(), result.verdict), (Some(5), Verdict::Invalid), "{:?}", result.reasons);
    let says =
        |reason: &String| reason.contains("other programs used") && reason.contains("free the machine");
    assert!(result.reasons.iter().any(says), "{:?}", result.reasons);
}
