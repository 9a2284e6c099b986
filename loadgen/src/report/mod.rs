//! Reports: pure functions of the saved records.
//!
//! A run leaves `result.json`, `runs/*.json`, `deliveries.csv` and `traces.csv`; [`render`] turns them into a page, a
//! summary, pictures and a histogram beside them, and can do so again at any time. Nothing here reads a clock or draws a
//! random number: the same records give the same bytes, on however many threads. [`terminal_summary`] and [`diff()`] need
//! `result.json` only.
//!
//! What this leaves out: measuring. Percentiles and counts in tables are those of `result.json`; only curves are
//! computed from the rows.

mod content;
mod diff;
mod figure;
mod format;
mod hgrm;
mod html;
mod markdown;
mod origin;
mod rows;
mod samples;
mod saved;
mod table;
mod terminal;
mod theory;

pub mod synthetic;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use diff::{CellDiff, Diff, MetricDiff, compare, diff};
pub use figure::{PacketEvent, TimeSequence, packets};
pub(crate) use saved::{DELIVERY_COLUMNS, TRACE_COLUMNS, write_file};
pub use saved::{ReportError, SCHEMA, Saved, read, read_result, write_records, write_result};
pub use terminal::terminal_summary;

use figure::{Figure, Outcome};
use origin::Origin;

/// What [`render`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Every file written, in the order of writing.
    pub files: Vec<PathBuf>,
    /// What a terminal shows: [`terminal_summary`].
    pub summary: String,
}

/// Files that the report links to, where they are.
const RECORDS: [&str; 7] = [
    "result.json",
    "scenario.toml",
    "deliveries.csv",
    "traces.csv",
    "trace.qlog",
    "latency.hgrm",
    "summary.md",
];

/// Reads the records in `dir` and writes the report beside them: `report.html`, `summary.md`, `latency.hgrm`, and each
/// figure as `.svg` and `.png`.
///
/// # Errors
/// Those of [`read`], [`ReportError::Draw`] for a figure that cannot be drawn, [`ReportError::Write`].
pub fn render(dir: &Path) -> Result<Rendered, ReportError> {
    let saved = read(dir)?;
    let origin = Origin::of(&saved.result);
    let outcomes = figure::draw_all(&saved, &origin)?;
    let mut files = Vec::new();
    let mut write = |name: String, bytes: &[u8]| -> Result<(), ReportError> {
        let path = dir.join(name);
        saved::write_file(&path, bytes)?;
        files.push(path);
        Ok(())
    };
    let figures: Vec<&Figure> = outcomes.iter().filter_map(Outcome::figure).collect();
    for (figure, png) in figures.iter().zip(figure::pngs(&figures)?) {
        write(format!("{}.svg", figure.id), figure.svg.as_bytes())?;
        write(format!("{}.png", figure.id), &png)?;
    }
    write("latency.hgrm".to_owned(), hgrm::write(&saved.deliveries).as_bytes())?;
    write("summary.md".to_owned(), markdown::write(&saved.result, &origin, &outcomes).as_bytes())?;
    let records = RECORDS.into_iter().filter(|name| dir.join(name).exists()).collect::<Vec<_>>();
    let page = html::write(&saved.result, &origin, &outcomes, &records);
    write("report.html".to_owned(), page.as_bytes())?;
    Ok(Rendered { files, summary: terminal_summary(&saved.result) })
}
