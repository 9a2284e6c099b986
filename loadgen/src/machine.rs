//! What a report says of the run itself: when, by which command, on which machine.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::result::RunInfo;

/// Facts of a run that begins now.
#[must_use]
pub fn run_info(seed: u64, driver: &str) -> RunInfo {
    let started = Timestamp::from_millisecond((units::wall_clock() * 1e3) as i64).unwrap_or_default();
    let command: Vec<String> = std::env::args().map(|argument| quoted(&argument)).collect();
    RunInfo {
        id: format!("{}-{}", started.strftime("%Y%m%dT%H%M%SZ"), std::process::id()),
        command: command.join(" "),
        seed,
        driver: driver.to_owned(),
        revision: revision(),
        started_at: started.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        duration_s: 0.0,
        machine: machine(),
        interrupted: None,
    }
}

fn revision() -> String {
    let version = env!("CARGO_PKG_VERSION");
    match env!("SQUALL_REVISION") {
        "" => version.to_owned(),
        revision => format!("{version} ({revision})"),
    }
}

/// Host facts that bear on the numbers. What cannot be read is `null`.
fn machine() -> BTreeMap<String, Value> {
    let read = |path: &str| fs::read_to_string(path).ok();
    let field = |text: &Option<String>, name: &str| {
        let line = text.as_ref()?.lines().find(|line| line.starts_with(name))?.to_owned();
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let memory = field(&read("/proc/meminfo"), "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib * 1024);
    let load = read("/proc/loadavg").and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    BTreeMap::from([
        ("cpu".to_owned(), json!(field(&read("/proc/cpuinfo"), "model name"))),
        ("cores".to_owned(), json!(std::thread::available_parallelism().ok().map(usize::from))),
        ("memory_bytes".to_owned(), json!(memory)),
        ("kernel".to_owned(), json!(read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()))),
        ("load_before".to_owned(), json!(load)),
        ("debug_build".to_owned(), json!(cfg!(debug_assertions))),
    ])
}

/// An argument as a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:%,+@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}
