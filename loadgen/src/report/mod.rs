//! Reports: pure functions of the saved records.
//!
//! A run leaves `result.json`, `runs/*.json`, `traces.csv` and, set against another, `comparison.json`; [`render`] turns them
//! into a page, a summary, pictures and files for other programs beside them, and can do so again at any time. Nothing here
//! reads a clock, draws a random number or looks at the machine: the same records give the same bytes, on however many
//! threads. [`terminal_summary`] needs `result.json` only, and [`comparison_text`] the comparison.
//!
//! What this leaves out: measuring. Percentiles, intervals and counts are those of the records; repeats are pooled by
//! adding their histograms.

mod compared;
mod content;
mod export;
mod figure;
mod format;
mod html;
mod markdown;
mod measured;
mod origin;
mod page;
mod runs;
mod saved;
mod table;
mod terminal;
mod theory;

pub mod synthetic;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};

pub use compared::{caption, text as comparison_text};
pub use figure::{PacketEvent, TimeSequence, packets};
pub(crate) use saved::{DELIVERY_COLUMNS, TRACE_COLUMNS, write_file, write_json};
pub use saved::{
    ReportError, SCHEMA, Saved, read, read_result, write_comparison, write_records, write_result,
};
pub use terminal::terminal_summary;

use export::{Export, Formats};
use figure::{Figure, Outcome};
use html::Page;
use origin::Origin;
use runs::Told;

/// What [`render`] wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Every file written, in the order of writing.
    pub files: Vec<PathBuf>,
    /// What a terminal shows: [`terminal_summary`], and what run files tell beside it.
    pub summary: String,
}

/// Records that the report links to, where they are.
const RECORDS: [&str; 11] = [
    "result.json",
    "result-b.json",
    "comparison.json",
    "search.json",
    "scenario.toml",
    "deliveries.csv",
    "deliveries-b.csv",
    "traces.csv",
    "traces-b.csv",
    "trace.qlog",
    "summary.md",
];

/// Reads the records in `dir` and writes the report beside them: `summary.md`, and in the forms that `[output] formats`
/// of the scenario names (all, if it names none) `report.html`, each figure as `.svg` and `.png`, `latency.hgrm`,
/// `latency.hlog`, `junit.xml` and `metrics.prom`. In a sweep the histograms are those of cells, `hgrm/c003.hgrm`.
///
/// # Errors
/// Those of [`read`], [`ReportError::Draw`] for a figure that cannot be drawn, [`ReportError::Write`].
pub fn render(dir: &Path) -> Result<Rendered, ReportError> {
    let saved = read(dir)?;
    let origin = Origin::of(&saved.result);
    let told = Told::of(&saved.result, &saved.runs).with(saved.comparison.as_ref());
    let formats = Formats::of(&saved.result.scenario);
    let outcomes = figure::draw_all(&saved, &origin)?;
    let mut files = Vec::new();
    let mut write = |name: &str, bytes: &[u8]| -> Result<(), ReportError> {
        let path = dir.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .map_err(|source| ReportError::Write { path: folder.to_owned(), source })?;
        }
        saved::write_file(&path, bytes)?;
        files.push(path);
        Ok(())
    };
    let figures: Vec<&Figure> = outcomes.iter().filter_map(Outcome::figure).collect();
    if formats.has("svg") {
        for figure in &figures {
            write(&format!("{}.svg", figure.id), figure.svg.as_bytes())?;
        }
    }
    if formats.has("png") {
        for (figure, png) in figures.iter().zip(figure::pngs(&figures)?) {
            write(&format!("{}.png", figure.id), &png)?;
        }
    }
    let exports = export::all(&told, &origin, formats);
    for Export { path, text } in &exports {
        write(path, text.as_bytes())?;
    }
    write("summary.md", markdown::write(&told, &origin, &outcomes).as_bytes())?;
    if formats.has("html") {
        let records = RECORDS.into_iter().map(str::to_owned).filter(|name| dir.join(name).exists());
        let exports = exports.into_iter().map(|export| export.path);
        let records: Vec<String> = records.chain(exports).collect();
        let sequence = figure::packets(&saved);
        let sequence = sequence.as_ref();
        let page =
            Page { told: &told, origin: &origin, outcomes: &outcomes, sequence, formats, records: &records };
        write("report.html", html::write(&page).as_bytes())?;
    }
    let note = told.lacks_runs().map_or_else(String::new, |note| format!("note: {note}\n"));
    Ok(Rendered { files, summary: format!("{note}{}", terminal::summary(&told)) })
}
