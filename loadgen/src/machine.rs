//! What a report says of the run itself: when, by which command, on which machine.

use std::collections::BTreeMap;
use std::fs;

use jiff::Timestamp;
use rustix::process::{Resource, getrlimit};
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

/// Version of this program, and of its source where that is known.
#[must_use]
pub fn revision() -> String {
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
    let word = |path: &str| read(path).map(|text| text.trim().to_owned());
    let number = |path: &str| word(path).and_then(|text| text.parse::<u64>().ok());
    let is_virtual = field(&read("/proc/cpuinfo"), "flags")
        .map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"));
    let load = read("/proc/loadavg").and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok());
    BTreeMap::from([
        ("cpu".to_owned(), json!(field(&read("/proc/cpuinfo"), "model name"))),
        ("cores".to_owned(), json!(std::thread::available_parallelism().ok().map(usize::from))),
        ("memory_bytes".to_owned(), json!(memory)),
        // Of the control group that this process sees; what is allowed, in cores, and `null` for all of them.
        ("cpu_quota".to_owned(), json!(read("/sys/fs/cgroup/cpu.max").and_then(|text| quota(&text)))),
        ("governor".to_owned(), json!(word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"))),
        ("virtualised".to_owned(), json!(is_virtual)),
        (
            "clocksource".to_owned(),
            json!(word("/sys/devices/system/clocksource/clocksource0/current_clocksource")),
        ),
        ("open_files_max".to_owned(), json!(getrlimit(Resource::Nofile).maximum)),
        ("rmem_max".to_owned(), json!(number("/proc/sys/net/core/rmem_max"))),
        ("wmem_max".to_owned(), json!(number("/proc/sys/net/core/wmem_max"))),
        ("kernel".to_owned(), json!(word("/proc/sys/kernel/osrelease"))),
        ("load_before".to_owned(), json!(load)),
        ("debug_build".to_owned(), json!(cfg!(debug_assertions))),
    ])
}

/// `150000 100000` of `cpu.max` is one core and a half; `max 100000` is no quota.
fn quota(text: &str) -> Option<f64> {
    let (allowed, period) = text.trim().split_once(' ')?;
    let (allowed, period) = (allowed.parse::<f64>().ok()?, period.parse::<f64>().ok()?);
    (period > 0.0).then(|| allowed / period)
}

/// An argument as a shell would need it.
fn quoted(argument: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:%,+@".contains(c);
    if !argument.is_empty() && argument.chars().all(plain) {
        return argument.to_owned();
    }
    format!("'{}'", argument.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_in_cores() {
        assert_eq!(quota("150000 100000\n"), Some(1.5));
        assert_eq!(quota("max 100000\n"), None);
        assert_eq!(quota(""), None);
    }

    #[test]
    fn an_argument_is_quoted_as_a_shell_needs_it() {
        assert_eq!(quoted("--set=a.b=1ms"), "--set=a.b=1ms");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
