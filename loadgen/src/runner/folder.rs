//! What runs leave in the folder of an experiment, from the moment they end.
//!
//! `runs/c003-r1.json` is written by a rename, whole or not at all, after the rows of the same run, so the file is the
//! proof that the run is complete. Rows wait in parts beside it (`runs/c003-r1.traces.rows`) and are joined into
//! `traces.csv` and `deliveries.csv` at the end (`traces-b.csv` and `deliveries-b.csv` for arm B), in the order of cells and
//! repeats whatever the order of the runs was. Nothing is held in memory for longer than one run.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use chat_core::trace::qlog::Dialect;
use serde::Serialize;

use super::carry_out::Carried;
use super::plan::Slot;
use crate::records::RunFile;
use crate::report::{DELIVERY_COLUMNS, ReportError, TRACE_COLUMNS, write_file};

/// The folder of one experiment.
#[derive(Clone, Debug)]
pub struct Folder {
    dir: PathBuf,
    /// Which names of events traces are written with.
    dialect: Dialect,
}

/// What is known of the run of a slot.
#[derive(Debug)]
pub enum Found {
    Nothing,
    /// The file is there and cannot be used; one sentence.
    Broken(String),
    Run(Box<RunFile>),
}

impl Folder {
    /// `dir` must exist.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), dialect: Dialect::Current }
    }

    /// The same, writing qlog with other names of events.
    #[must_use]
    pub fn with_qlog(self, dialect: Dialect) -> Self {
        Self { dialect, ..self }
    }

    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// `runs/c003-r1.json`, `runs/c003-r1-b.json` for arm B.
    #[must_use]
    pub fn run_path(&self, slot: Slot) -> PathBuf {
        self.runs().join(format!("{}.json", stem(slot)))
    }

    /// Forgets the runs of an earlier experiment in this folder.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn clear(&self) -> Result<(), ReportError> {
        for name in OF_ONE_EXPERIMENT {
            // What is not there need not be removed.
            drop(fs::remove_file(self.dir.join(name)));
        }
        for path in self.qlogs() {
            drop(fs::remove_file(path));
        }
        let runs = self.runs();
        match fs::remove_dir_all(&runs) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ReportError::Write { path: runs, source: error })
            }
            _ => Ok(()),
        }
    }

    /// Whether any run is here, whatever it is of.
    #[must_use]
    pub fn has_runs(&self) -> bool {
        let Ok(entries) = fs::read_dir(self.runs()) else { return false };
        let is_run = |path: &Path| path.extension().is_some_and(|extension| extension == "json");
        entries.filter_map(Result::ok).any(|entry| is_run(&entry.path()))
    }

    /// Writes what came of a run: rows and traces first, the run file last.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn save(&self, slot: Slot, carried: &Carried) -> Result<(), ReportError> {
        self.make_runs()?;
        for (kind, rows) in
            [(Rows::Deliveries, to_csv(&carried.deliveries)), (Rows::Traces, to_csv(&carried.traces))]
        {
            let path = self.part(slot, kind);
            write_file(&path, &rows.map_err(|source| ReportError::Write { path: path.clone(), source })?)?;
        }
        for qlog in &carried.qlogs {
            write_file(&self.dir.join(&qlog.name), &qlog.render(self.dialect))?;
        }
        // What an earlier attempt at this run left.
        let _ = fs::remove_file(self.short_path(slot));
        let path = self.run_path(slot);
        let mut json = serde_json::to_vec(&carried.run)
            .map_err(|error| ReportError::Write { path: path.clone(), source: error.into() })?;
        json.push(b'\n');
        write_file(&path, &json)
    }

    /// Reads the run of a slot.
    #[must_use]
    pub fn find(&self, slot: Slot) -> Found {
        let path = self.run_path(slot);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Found::Nothing,
            Err(error) => return Found::Broken(error.to_string()),
        };
        match serde_json::from_slice::<RunFile>(&text) {
            Ok(run) if run.schema == crate::records::SCHEMA => Found::Run(Box::new(run)),
            Ok(run) => Found::Broken(format!("schema {} is not {}", run.schema, crate::records::SCHEMA)),
            Err(error) => Found::Broken(error.to_string()),
        }
    }

    /// Takes away what belongs to no run of `slots`: those of an earlier scenario, or of more repeats. Run files are kept, in
    /// `runs/old`; how many those are.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn retain(&self, slots: &BTreeSet<Slot>) -> Result<usize, ReportError> {
        let stems: BTreeSet<String> = slots.iter().map(|&slot| stem(slot)).collect();
        let Ok(entries) = fs::read_dir(self.runs()) else { return Ok(0) };
        let mut kept = 0;
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let of = name.split('.').next().unwrap_or_default();
            // A run is named by its cell; everything else in the folder is not ours to move.
            if !of.starts_with('c') || !of.contains("-r") || stems.contains(of) {
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "json") {
                self.shelve(&path)?;
                kept += 1;
            } else {
                drop(fs::remove_file(&path));
            }
        }
        Ok(kept)
    }

    /// Keeps the run of a slot that is to be run again by another plan.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn keep_old(&self, slot: Slot) -> Result<(), ReportError> {
        self.shelve(&self.run_path(slot))
    }

    /// Moves a run file to `runs/old`, under a name of its own: `c000-r1.json`, `c000-r1.2.json`.
    fn shelve(&self, path: &Path) -> Result<(), ReportError> {
        let fail = |source| ReportError::Write { path: path.to_owned(), source };
        let shelf = self.runs().join(OLD);
        fs::create_dir_all(&shelf).map_err(fail)?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let names = std::iter::once(format!("{stem}.json"))
            .chain((2..MOST_OLD).map(|copy| format!("{stem}.{copy}.json")));
        // Beyond so many the last one gives way.
        let free = names.map(|name| shelf.join(name)).find(|path| !path.exists());
        fs::rename(path, free.unwrap_or_else(|| shelf.join(format!("{stem}.{MOST_OLD}.json")))).map_err(fail)
    }

    /// Sets a run aside that is too short to count. It is no run file any more, for nobody.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn set_aside(&self, slot: Slot) -> Result<(), ReportError> {
        let path = self.run_path(slot);
        fs::rename(&path, self.short_path(slot)).map_err(|source| ReportError::Write { path, source })
    }

    /// Before an experiment goes on that was whole once: rows of the runs that are kept become parts again.
    ///
    /// # Errors
    /// [`ReportError`] of reading or writing.
    pub fn split_rows(&self, slots: &[Slot]) -> Result<(), ReportError> {
        for (kind, arm) in TABLES {
            let path = self.table(kind, arm);
            let of_arm: Vec<Slot> = slots.iter().copied().filter(|slot| slot.arm == arm).collect();
            let is_split = of_arm.iter().all(|&slot| self.part(slot, kind).exists());
            if is_split || !path.exists() {
                continue;
            }
            split(&path, arm, |slot, rows| {
                let part = self.part(slot, kind);
                if of_arm.contains(&slot) && !part.exists() { write_file(&part, rows) } else { Ok(()) }
            })?;
        }
        Ok(())
    }

    /// Joins the rows into the two tables of each arm. `is_whole`: nothing will be added, and parts are not needed any more.
    ///
    /// # Errors
    /// [`ReportError::Write`].
    pub fn join_rows(&self, slots: &[Slot], is_whole: bool) -> Result<(), ReportError> {
        let mut slots: Vec<Slot> = slots.to_vec();
        slots.sort_unstable();
        for (kind, arm) in TABLES {
            if arm > 0 && slots.iter().all(|slot| slot.arm != arm) {
                continue;
            }
            let runs = slots.iter().filter(|slot| slot.arm == arm && self.run_path(**slot).exists());
            let parts: Vec<PathBuf> =
                runs.map(|&slot| self.part(slot, kind)).filter(|part| part.exists()).collect();
            let path = self.table(kind, arm);
            join(&path, kind.columns(), &parts).map_err(|source| ReportError::Write { path, source })?;
            if is_whole {
                // What cannot be removed is only in the way.
                parts.iter().for_each(|part| drop(fs::remove_file(part)));
            }
        }
        Ok(())
    }

    /// Traces of runs that are here.
    fn qlogs(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("trace") && name.ends_with(".qlog")
        })
    }

    fn runs(&self) -> PathBuf {
        self.dir.join("runs")
    }

    fn make_runs(&self) -> Result<(), ReportError> {
        let runs = self.runs();
        fs::create_dir_all(&runs).map_err(|source| ReportError::Write { path: runs, source })
    }

    fn short_path(&self, slot: Slot) -> PathBuf {
        self.run_path(slot).with_extension("short")
    }

    fn part(&self, slot: Slot, kind: Rows) -> PathBuf {
        self.runs().join(format!("{}.{}.rows", stem(slot), kind.name()))
    }

    fn table(&self, kind: Rows, arm: u32) -> PathBuf {
        self.dir.join(format!("{}{}.csv", kind.name(), if arm == 0 { "" } else { "-b" }))
    }
}

/// In `runs`: runs that belong to another plan.
const OLD: &str = "old";
/// Of one slot; nobody looks for the hundredth.
const MOST_OLD: u32 = 100;
/// What belongs to the experiment that wrote it, and would lie beside the next one.
const OF_ONE_EXPERIMENT: [&str; 7] = [
    "comparison.json",
    "result.json",
    "result-b.json",
    "scenario-b.toml",
    "search.json",
    "traces-b.csv",
    "deliveries-b.csv",
];

/// Every table that rows are joined into, and its arm.
const TABLES: [(Rows, u32); 4] =
    [(Rows::Deliveries, 0), (Rows::Traces, 0), (Rows::Deliveries, 1), (Rows::Traces, 1)];

#[derive(Clone, Copy)]
enum Rows {
    Deliveries,
    Traces,
}

impl Rows {
    fn name(self) -> &'static str {
        match self {
            Self::Deliveries => "deliveries",
            Self::Traces => "traces",
        }
    }

    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Deliveries => &DELIVERY_COLUMNS,
            Self::Traces => &TRACE_COLUMNS,
        }
    }
}

/// `c003-r1`, `c003-r1-b`.
fn stem(slot: Slot) -> String {
    let arm = match slot.arm {
        0 => String::new(),
        arm => format!("-{}", (b'a' + arm.min(25) as u8) as char),
    };
    format!("c{:03}-r{}{arm}", slot.cell, slot.repeat)
}

/// Rows without a header, which stands in the joined table.
fn to_csv<T: Serialize>(rows: &[T]) -> io::Result<Vec<u8>> {
    let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new());
    for row in rows {
        writer.serialize(row)?;
    }
    writer.into_inner().map_err(|error| error.into_error())
}

fn join(path: &Path, columns: &[&str], parts: &[PathBuf]) -> io::Result<()> {
    let partial = path.with_extension("csv.partial");
    let mut out = BufWriter::new(fs::File::create(&partial)?);
    writeln!(out, "{}", columns.join(","))?;
    for part in parts {
        io::copy(&mut fs::File::open(part)?, &mut out)?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    fs::rename(&partial, path)
}

/// Hands over the rows of a table, slot by slot: they are in the order of cells and repeats, which are its first columns.
fn split(
    path: &Path,
    arm: u32,
    mut keep: impl FnMut(Slot, &[u8]) -> Result<(), ReportError>,
) -> Result<(), ReportError> {
    let fail = |error: csv::Error| ReportError::Read { path: path.to_owned(), source: error.into() };
    let mut reader = csv::Reader::from_path(path).map_err(fail)?;
    let mut current: Option<(Slot, csv::Writer<Vec<u8>>)> = None;
    let mut done = |(slot, writer): (Slot, csv::Writer<Vec<u8>>)| {
        let rows = writer.into_inner().map_err(|error| fail(error.into_error().into()))?;
        keep(slot, &rows)
    };
    for record in reader.byte_records() {
        let record = record.map_err(fail)?;
        let number = |column: usize| std::str::from_utf8(record.get(column)?).ok()?.parse::<u32>().ok();
        let (Some(cell), Some(repeat)) = (number(0), number(1)) else { continue };
        let slot = Slot { cell, repeat, arm };
        if let Some(before) = current.take_if(|(before, _)| *before != slot) {
            done(before)?;
        }
        let (_, writer) = current.get_or_insert_with(|| {
            (slot, csv::WriterBuilder::new().has_headers(false).from_writer(Vec::new()))
        });
        writer.write_byte_record(&record).map_err(fail)?;
    }
    current.map_or(Ok(()), done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Side, TraceEvent, TraceRow};

    fn slot(cell: u32, repeat: u32) -> Slot {
        Slot { cell, repeat, arm: 0 }
    }

    fn carried(cell: u32, repeat: u32) -> Carried {
        let row = TraceRow {
            cell,
            repeat,
            client: 1,
            side: Side::Client,
            at_us: 5,
            event: TraceEvent::Metrics,
            packet: None,
            cwnd_bytes: 12_000,
            ssthresh_bytes: None,
            in_flight_bytes: 0,
            srtt_us: None,
            rttvar_us: None,
            rto_us: 1,
            min_rtt_us: None,
            pacing_bps: None,
            delivery_bps: None,
        };
        let run = RunFile { schema: crate::records::SCHEMA, cell, repeat, ..RunFile::default() };
        Carried { run, traces: vec![row.clone(), row], ..Carried::default() }
    }

    #[test]
    fn files_are_named_by_cell_repeat_and_arm() {
        assert_eq!(stem(slot(3, 1)), "c003-r1");
        assert_eq!(stem(Slot { arm: 1, ..slot(12, 0) }), "c012-r0-b");
    }

    #[test]
    fn a_run_reads_back_and_a_broken_one_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        assert!(matches!(folder.find(slot(0, 0)), Found::Nothing));
        folder.save(slot(0, 0), &carried(0, 0)).unwrap();
        assert!(matches!(folder.find(slot(0, 0)), Found::Run(run) if *run == carried(0, 0).run));
        fs::write(folder.run_path(slot(0, 0)), "{\"schema\":").unwrap();
        assert!(matches!(folder.find(slot(0, 0)), Found::Broken(why) if why.contains("EOF")));
        folder.clear().unwrap();
        assert!(matches!(folder.find(slot(0, 0)), Found::Nothing));
    }

    #[test]
    fn rows_are_joined_in_the_order_of_cells_and_split_again() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let slots = [slot(1, 0), slot(0, 0), slot(0, 1)];
        for slot in slots {
            folder.save(slot, &carried(slot.cell, slot.repeat)).unwrap();
        }
        folder.join_rows(&slots, true).unwrap();
        let table = fs::read_to_string(dir.path().join("traces.csv")).unwrap();
        let starts: Vec<&str> = table.lines().map(|line| &line[..4]).collect();
        assert_eq!(starts, ["cell", "0,0,", "0,0,", "0,1,", "0,1,", "1,0,", "1,0,"]);
        assert!(!folder.part(slots[0], Rows::Traces).exists());
        folder.split_rows(&slots).unwrap();
        assert!(folder.part(slots[0], Rows::Traces).exists());
        folder.join_rows(&slots, false).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("traces.csv")).unwrap(), table);
    }

    #[test]
    fn runs_of_another_plan_are_kept_beside() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        (0..3).for_each(|repeat| folder.save(slot(0, repeat), &carried(0, repeat)).unwrap());
        assert_eq!(folder.retain(&BTreeSet::from([slot(0, 0)])).unwrap(), 2);
        assert!(matches!(folder.find(slot(0, 2)), Found::Nothing));
        folder.save(slot(0, 2), &carried(0, 2)).unwrap();
        folder.keep_old(slot(0, 2)).unwrap();
        let mut names: Vec<_> =
            fs::read_dir(dir.path().join("runs/old")).unwrap().map(|it| it.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["c000-r1.json", "c000-r2.2.json", "c000-r2.json"]);
        assert_eq!(folder.retain(&BTreeSet::from([slot(0, 0)])).unwrap(), 0);
    }

    #[test]
    fn both_arms_have_tables_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let slots = [slot(0, 0), Slot { arm: 1, ..slot(0, 0) }, Slot { arm: 1, ..slot(0, 1) }];
        for slot in slots {
            folder.save(slot, &carried(slot.cell, slot.repeat)).unwrap();
        }
        folder.join_rows(&slots, true).unwrap();
        let lines = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap().lines().count();
        assert_eq!((lines("traces.csv"), lines("traces-b.csv")), (3, 5));
        folder.split_rows(&slots).unwrap();
        assert!(slots.iter().all(|&slot| folder.part(slot, Rows::Traces).exists()));
        assert!(folder.has_runs());
        folder.clear().unwrap();
        assert!(!folder.has_runs() && !dir.path().join("traces-b.csv").exists());
    }
}
