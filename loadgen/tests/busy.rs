//! A run beside busy programs says so, instead of a wrong number.

mod common;

use std::process::{Child, Command, Stdio};

use loadgen::result::Verdict;
use tempfile::TempDir;

use common::{SMALL, result, run_small};

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
    let output = run_small(folder.path(), SMALL);
    drop(hogs);
    let result = result(&folder.path().join("out"));
    assert_eq!((output.status.code(), result.verdict), (Some(5), Verdict::Invalid), "{:?}", result.reasons);
    let says =
        |reason: &String| reason.contains("other programs used") && reason.contains("free the machine");
    assert!(result.reasons.iter().any(says), "{:?}", result.reasons);
}
