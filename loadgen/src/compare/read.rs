//! Run files of a saved result.

use std::fs;
use std::path::Path;

use crate::records::{RunFile, SCHEMA};

/// Reads `runs/*.json` of one arm beside a result: `path` is its folder, or a file in it. By cell and repeat; empty where
/// a result was saved without run files. The error names the file that cannot be understood.
///
/// # Errors
/// A file that is broken, or of another version: one line with file, line and what to do.
pub fn read_runs(path: &Path, arm: u32) -> Result<Vec<RunFile>, String> {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(path) };
    let Ok(entries) = fs::read_dir(folder.join("runs")) else {
        return Ok(Vec::new());
    };
    let mut files: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let mut runs = files.iter().map(|file| read_run(file)).collect::<Result<Vec<_>, _>>()?;
    runs.retain(|run| run.arm == arm);
    runs.sort_by_key(|run| (run.cell, run.repeat));
    Ok(runs)
}

/// Whose runs a path means: B's where it is `result-b.json`, A's for a folder and any other file.
#[must_use]
pub fn arm_of(path: &Path) -> u32 {
    u32::from(path.file_name().is_some_and(|name| name == "result-b.json"))
}

fn read_run(file: &Path) -> Result<RunFile, String> {
    let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let run: RunFile = serde_json::from_str(&text)
        .map_err(|error| format!("{}:{}: {error}", file.display(), error.line()))?;
    if run.schema == SCHEMA {
        return Ok(run);
    }
    let schema = run.schema;
    Err(format!(
        "{}:1: schema {schema} is not {SCHEMA}; read it with the loadgen that wrote it",
        file.display()
    ))
}
