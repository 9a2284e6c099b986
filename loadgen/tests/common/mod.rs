//! What tests of the whole program share: its scenarios, running it, and reading what it left.
//!
//! Every file of `tests/` is a program of its own that uses some of this.

#![allow(dead_code, reason = "no test program uses all of it")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use loadgen::result::RunResult;

/// Six clients that talk for two seconds, with nothing in between.
pub(crate) const SMALL: &str = r#"# Is the machine free?
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

/// The program, in `folder`.
pub(crate) fn loadgen(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.current_dir(folder).args(args).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn output(folder: &Path, args: &[&str]) -> Output {
    loadgen(folder, args).output().expect("the binary is part of this package")
}

/// Exit code, stdout and stderr of a run to its end.
pub(crate) fn told(folder: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = output(folder, args);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

/// Runs a scenario in `folder`, with its report in `out`.
pub(crate) fn run_small(folder: &Path, text: &str) -> Output {
    fs::write(folder.join("small.toml"), text).expect("a folder of the test's own");
    output(folder, &["--scenario", "small.toml", "--out", "out", "--quiet"])
}

/// `result.json` in a folder, or the file itself.
pub(crate) fn result(path: &Path) -> RunResult {
    let file = if path.is_dir() { path.join("result.json") } else { path.to_owned() };
    serde_json::from_slice(&fs::read(&file).expect("a result")).expect("a result of this version")
}

/// Every file of a report and its runs by name; those that say when and how they were made without `run`.
pub(crate) fn bytes(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let list = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).expect("a report").map(|entry| entry.expect("an entry").path()).collect()
    };
    let files =
        list(folder).into_iter().flat_map(|path| if path.is_dir() { list(&path) } else { vec![path] });
    let read = |path: PathBuf| {
        let name = path.file_name().expect("a file").to_string_lossy().into_owned();
        let bytes = fs::read(&path).expect("readable");
        if !["result.json", "result-b.json", "plan.json"].contains(&name.as_str()) {
            return (name, bytes);
        }
        let mut json: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        json.as_object_mut().expect("an object").remove("run");
        (name, json.to_string().into_bytes())
    };
    files.map(read).collect()
}

/// Two reports are the same but for when and how they were made.
pub(crate) fn same(a: &Path, b: &Path) {
    let (a, b) = (bytes(a), bytes(b));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (name, bytes) in &a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}
