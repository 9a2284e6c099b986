//! The records of a run on disk: `result.json`, `runs/*.json`, `traces.csv`, `comparison.json`.
//!
//! Reports are drawn from these files and from nothing else, so that any report can be drawn again without a
//! run. Writing goes through a temporary file and a rename, so that a reader never meets half a record; reading names
//! the file and the line of whatever it cannot understand.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compare::{self, Compared};
use crate::record::TraceRow;
use crate::records::{self, RunFile};
use crate::result::RunResult;

/// Everything that a run leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    pub result: RunResult,
    /// By cell, arm and repeat.
    pub runs: Vec<RunFile>,
    pub traces: Vec<TraceRow>,
    /// With the other arm, the other driver or a baseline.
    pub comparison: Option<Compared>,
}

/// Why a report could not be read, drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The file is missing or may not be read.
    #[error("{}: {source}", path.display())]
    Read { path: PathBuf, source: std::io::Error },
    /// The disk is full, or the folder may not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// The file was edited, cut short, or written by another version.
    #[error("{}:{line}: {problem}", path.display())]
    Parse { path: PathBuf, line: u64, problem: String },
    /// The drawing library refused.
    #[error("figure {figure}: {problem}")]
    Draw { figure: String, problem: String },
}

/// Version of `result.json` that this build reads and writes.
pub const SCHEMA: u32 = 1;

/// Folder of the run files.
const RUNS: &str = "runs";
const RESULT: &str = "result.json";
const TRACES: &str = "traces.csv";
const COMPARISON: &str = "comparison.json";

/// Reads the records in `dir`. Traces and comparison are extra: without `traces.csv` or `comparison.json` there are none.
///
/// # Errors
/// [`ReportError::Read`] for a file that may not be read and for a missing `result.json`, [`ReportError::Parse`] with file and line for a broken one, for an unknown
/// schema and for a row that names a cell which `result.json` does not have.
pub fn read(dir: &Path) -> Result<Saved, ReportError> {
    let result = read_result(&dir.join(RESULT))?;
    let cells = result.cells.len();
    let runs = read_runs(&dir.join(RUNS), cells)?;
    let traces = read_rows(&dir.join(TRACES), cells, |row: &TraceRow| row.cell)?;
    let comparison = dir.join(COMPARISON);
    let comparison =
        comparison.exists().then(|| read_json(&comparison, compare::SCHEMA, REMAKE)).transpose()?;
    Ok(Saved { result, runs, traces, comparison })
}

/// All run files in `dir`, by cell, arm and repeat; none if there is no such folder.
fn read_runs(dir: &Path, cells: usize) -> Result<Vec<RunFile>, ReportError> {
    let fail = |source| ReportError::Read { path: dir.to_owned(), source };
    let mut paths = Vec::new();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(fail(error)),
        Ok(entries) => {
            for entry in entries {
                paths.push(entry.map_err(fail)?.path());
            }
        }
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    let mut runs = paths.iter().map(|path| read_run(path, cells)).collect::<Result<Vec<_>, _>>()?;
    runs.sort_by_key(|run| (run.cell, run.arm, run.repeat));
    Ok(runs)
}

fn read_run(path: &Path, cells: usize) -> Result<RunFile, ReportError> {
    let run: RunFile =
        read_json(path, records::SCHEMA, "run it again, or remove the file to draw without it")?;
    if run.cell as usize >= cells {
        let problem = format!("cell {} is not in {RESULT}, which has {cells}", run.cell);
        return Err(ReportError::Parse { path: path.to_owned(), line: 1, problem });
    }
    Ok(run)
}

/// A JSON file whose `schema` is ours; a newer one is told as such, even where we cannot read the rest. `remedy` is for a
/// file that is no such JSON.
fn read_json<T: DeserializeOwned>(path: &Path, schema: u32, remedy: &str) -> Result<T, ReportError> {
    #[derive(serde::Deserialize)]
    struct Version {
        schema: u32,
    }
    let text =
        fs::read_to_string(path).map_err(|source| ReportError::Read { path: path.to_owned(), source })?;
    let refuse = |line: u64, problem: String| ReportError::Parse { path: path.to_owned(), line, problem };
    if let Ok(Version { schema: found }) = serde_json::from_str(&text)
        && found != schema
    {
        let problem = format!("schema {found} is not {schema}; draw it with the loadgen that wrote it");
        return Err(refuse(1, problem));
    }
    serde_json::from_str(&text).map_err(|error| refuse(error.line() as u64, format!("{error}; {remedy}")))
}

/// `c003-r1.json`, and `c003-r1-b.json` for arm B.
fn run_name(run: &RunFile) -> String {
    let arm = if run.arm == 0 { "" } else { "-b" };
    format!("c{:03}-r{}{arm}.json", run.cell, run.repeat)
}

/// Reads one `result.json`: all that a comparison of two runs needs.
///
/// # Errors
/// As [`read`].
pub fn read_result(path: &Path) -> Result<RunResult, ReportError> {
    read_json(path, SCHEMA, "it was cut short or edited; `loadgen resume` folds it again from runs/")
}

/// Writes the records into `dir`, which must exist. Each file appears whole or not at all.
///
/// # Errors
/// [`ReportError::Write`] with the file that could not be written.
pub fn write_records(dir: &Path, saved: &Saved) -> Result<(), ReportError> {
    write_result(dir, &saved.result)?;
    if !saved.runs.is_empty() {
        let runs = dir.join(RUNS);
        fs::create_dir_all(&runs).map_err(|source| ReportError::Write { path: runs.clone(), source })?;
    }
    for run in &saved.runs {
        let path = dir.join(RUNS).join(run_name(run));
        let json = serde_json::to_vec(run)
            .map_err(|error| ReportError::Write { path: path.clone(), source: error.into() })?;
        write_file(&path, &json)?;
    }
    if let Some(comparison) = &saved.comparison {
        write_comparison(dir, comparison)?;
    }
    write_rows(&dir.join(TRACES), &saved.traces, &TRACE_COLUMNS)
}

/// Writes `result.json` into `dir`, whole or not at all.
///
/// # Errors
/// As [`write_records`].
pub fn write_result(dir: &Path, result: &RunResult) -> Result<(), ReportError> {
    write_json(&dir.join(RESULT), result)
}

/// Writes `comparison.json` likewise.
///
/// # Errors
/// As [`write_records`].
pub fn write_comparison(dir: &Path, comparison: &Compared) -> Result<(), ReportError> {
    write_json(&dir.join(COMPARISON), comparison)
}

/// Writes a value as JSON to read, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), ReportError> {
    let mut json = serde_json::to_vec_pretty(value)
        .map_err(|error| ReportError::Write { path: path.to_owned(), source: error.into() })?;
    json.push(b'\n');
    write_file(path, &json)
}

/// Writes `bytes` to a temporary neighbour of `path` and renames it.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    let fail = |source| ReportError::Write { path: path.to_owned(), source };
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".partial");
    let temporary = PathBuf::from(temporary);
    let mut file = fs::File::create(&temporary).map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    drop(file);
    fs::rename(&temporary, path).map_err(fail)
}

/// What to do about a comparison that cannot be read.
const REMAKE: &str =
    "it was cut short or edited; remove the file to draw without it, or `loadgen resume` the folder";

fn read_rows<T: DeserializeOwned>(
    path: &Path,
    cells: usize,
    cell_of: impl Fn(&T) -> u32,
) -> Result<Vec<T>, ReportError> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(ReportError::Read { path: path.to_owned(), source }),
        Ok(file) => file,
    };
    let mut rows = Vec::new();
    let mut reader = csv::Reader::from_reader(file);
    for (index, row) in reader.deserialize().enumerate() {
        // Line 1 is the header; the position of the error, where csv knows it, is more exact than counting.
        let line = |error: Option<&csv::Error>| {
            error.and_then(|error| error.position()).map_or(index as u64 + 2, csv::Position::line)
        };
        let row: T = row.map_err(|error| ReportError::Parse {
            path: path.to_owned(),
            line: line(Some(&error)),
            problem: describe(&error),
        })?;
        let cell = cell_of(&row);
        if cell as usize >= cells {
            let problem = format!("cell {cell} is not in {RESULT}, which has {cells}");
            return Err(ReportError::Parse { path: path.to_owned(), line: line(None), problem });
        }
        rows.push(row);
    }
    Ok(rows)
}

/// csv's own message repeats record, line and byte; the line is already said.
fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        _ => error.to_string(),
    }
}

fn write_rows<T: Serialize>(path: &Path, rows: &[T], columns: &[&str]) -> Result<(), ReportError> {
    let fail = |error: csv::Error| ReportError::Write { path: path.to_owned(), source: error.into() };
    // The header is written by hand: serde only knows it once there is a row, and an empty file explains nothing.
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    writer.write_record(columns).map_err(fail)?;
    for row in rows {
        writer.serialize(row).map_err(fail)?;
    }
    let bytes = writer.into_inner().map_err(|error| fail(error.into_error().into()))?;
    write_file(path, &bytes)
}

pub(crate) const DELIVERY_COLUMNS: [&str; 19] = [
    "cell",
    "repeat",
    "phase",
    "recorded",
    "workload",
    "message",
    "sender",
    "recipient",
    "size_bytes",
    "intended_us",
    "submitted_us",
    "acked_us",
    "delivered_us",
    "status",
    "wait_window_us",
    "wait_pacing_us",
    "wait_flow_us",
    "wait_loss_us",
    "wait_order_us",
];

pub(crate) const TRACE_COLUMNS: [&str; 16] = [
    "cell",
    "repeat",
    "client",
    "side",
    "at_us",
    "event",
    "packet",
    "cwnd_bytes",
    "ssthresh_bytes",
    "in_flight_bytes",
    "srtt_us",
    "rttvar_us",
    "rto_us",
    "min_rtt_us",
    "pacing_bps",
    "delivery_bps",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn what_is_written_reads_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let saved = synthetic::small();
        write_records(dir.path(), &saved).expect("writable");
        assert_eq!(read(dir.path()).expect("readable"), saved);
        assert_eq!(fs::read_dir(dir.path()).expect("folder").count(), 3, "no temporary file stays");
    }

    #[test]
    fn run_files_read_back_in_order() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shape = synthetic::Shape { clients: 10, steady_s: 2, ..synthetic::Shape::default() };
        let saved = synthetic::arms(&shape, 2);
        write_records(dir.path(), &saved).expect("writable");
        assert!(dir.path().join("runs/c000-r1-b.json").exists());
        assert_eq!(read(dir.path()).expect("readable"), saved);
    }

    #[test]
    fn a_run_file_of_an_unknown_cell_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shape = synthetic::Shape { clients: 10, steady_s: 2, ..synthetic::Shape::default() };
        let mut saved = synthetic::chat(&shape, 1);
        saved.runs[0].cell = 3;
        write_records(dir.path(), &saved).expect("writable");
        let error = read(dir.path()).map(drop).expect_err("there is one cell").to_string();
        assert!(error.ends_with("c003-r0.json:1: cell 3 is not in result.json, which has 1"), "{error}");
    }

    #[test]
    fn a_run_without_rows_reads_back() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let saved = Saved { runs: Vec::new(), traces: Vec::new(), ..synthetic::small() };
        write_records(dir.path(), &saved).expect("writable");
        assert_eq!(read(dir.path()).expect("readable"), saved);
        let header = fs::read_to_string(dir.path().join(TRACES)).expect("file");
        assert!(header.starts_with("cell,repeat,client,"), "{header}");
    }

    #[test]
    fn rows_are_extra() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let saved = synthetic::small();
        write_records(dir.path(), &saved).expect("writable");
        fs::remove_file(dir.path().join(TRACES)).expect("there");
        let without = Saved { traces: Vec::new(), ..saved };
        assert_eq!(read(dir.path()).expect("readable"), without);
    }

    #[test]
    fn a_broken_or_newer_run_file_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let shape = synthetic::Shape { clients: 10, steady_s: 2, ..synthetic::Shape::default() };
        write_records(dir.path(), &synthetic::chat(&shape, 1)).expect("writable");
        let path = dir.path().join("runs/c000-r0.json");
        // A newer one may differ in anything but the place of its version.
        fs::write(&path, "{\"schema\": 9, \"cell\": \"first\"}").expect("writable");
        let error = read(dir.path()).map(drop).expect_err("schema 9").to_string();
        assert!(
            error.ends_with("c000-r0.json:1: schema 9 is not 1; draw it with the loadgen that wrote it"),
            "{error}"
        );

        fs::write(&path, "{\"schema\": 1,\n\"cell\": 0,\n").expect("writable");
        let error = read(dir.path()).map(drop).expect_err("cut short").to_string();
        assert!(
            error.contains("c000-r0.json:3: ") && error.ends_with("remove the file to draw without it"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let error = read(dir.path()).map(drop).expect_err("nothing there").to_string();
        assert!(error.contains("result.json"), "{error}");
    }

    #[test]
    fn a_broken_row_is_named_with_its_line() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        write_records(dir.path(), &synthetic::small()).expect("writable");
        let path = dir.path().join(TRACES);
        let mut lines: Vec<String> =
            fs::read_to_string(&path).expect("file").lines().map(str::to_owned).collect();
        lines[3] = lines[3].replacen("0,0,", "0,yes,", 1);
        fs::write(&path, lines.join("\n")).expect("writable");
        let error = read(dir.path()).map(drop).expect_err("\"yes\" is no number").to_string();
        assert!(error.contains("traces.csv:4: "), "{error}");
        assert!(error.contains("repeat") || error.contains("invalid digit"), "{error}");
    }

    #[test]
    fn a_row_of_an_unknown_cell_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut saved = synthetic::small();
        saved.traces[0].cell = 7;
        write_records(dir.path(), &saved).expect("writable");
        let error = read(dir.path()).map(drop).expect_err("there is one cell").to_string();
        assert!(error.ends_with("traces.csv:2: cell 7 is not in result.json, which has 1"), "{error}");
    }

    #[test]
    fn a_result_of_another_schema_or_cut_short_is_refused() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut saved = synthetic::small();
        saved.result.schema = 2;
        write_records(dir.path(), &saved).expect("writable");
        let error = read(dir.path()).map(drop).expect_err("schema 2").to_string();
        assert!(error.contains("result.json:1: schema 2 is not 1"), "{error}");

        fs::write(dir.path().join(RESULT), "{\n\"schema\": 1,\n").expect("writable");
        let error = read(dir.path()).map(drop).expect_err("cut short").to_string();
        assert!(error.contains("result.json:3: "), "{error}");
    }
}
