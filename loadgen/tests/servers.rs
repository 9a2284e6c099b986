//! Runs against servers that are not part of the generator.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::CommandCargoExt;
use tempfile::TempDir;

const SMALL: &str = r#"# Is there a server?
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

#[test]
fn a_server_that_dies_at_once_has_an_exit_code_of_its_own() {
    let folder = TempDir::new().unwrap();
    let server =
        "[server]\nmode = \"spawn\"\ncommand = [\"sh\", \"-c\", \"echo out of luck; exit 3\"]\n[[clients]]";
    let output = run(folder.path(), &SMALL.replace("[[clients]]", server));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(7), "{stderr}");
    assert!(stderr.contains("the server under test died") && stderr.contains("out of luck"), "{stderr}");
}

#[test]
fn virtual_time_has_only_a_server_of_its_own() {
    let folder = TempDir::new().unwrap();
    let server = "[server]\nmode = \"target\"\naddr = \"127.0.0.1:9\"\n[[clients]]";
    let text = SMALL.replace("[[clients]]", server).replace("\"real\"", "\"virtual\"");
    let output = run(folder.path(), &text);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.contains("server.mode") && stderr.contains("--driver real"), "{stderr}");
}
