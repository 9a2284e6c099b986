//! The figures of a report, each one question, each a pure function of the saved records.
//!
//! - [`latency_percentiles`]: how late are the slowest messages, and is it what loss alone would cost?
//! - [`latency_over_time`]: when did it happen?
//! - [`throughput_over_time`]: did the schedule get through?
//! - [`transport_trace`]: what did one connection's congestion control do?
//! - [`sweep`]: how do goodput and latency depend on what was varied?
//!
//! A figure that has no data is not drawn; the report says which and why.

mod axis;
mod bins;
mod canvas;
mod latency_over_time;
mod latency_percentiles;
mod palette;
mod panel;
mod raster;
mod sweep;
mod sweep_axis;
mod throughput_over_time;
mod timeline;
mod transport_trace;

use super::origin::Origin;
use super::saved::{ReportError, Saved};

/// A drawn figure.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// File name without extension.
    pub(super) id: &'static str,
    /// What it shows, for headings.
    pub(super) name: &'static str,
    /// The finding; also drawn in the figure.
    pub(super) title: String,
    pub(super) svg: String,
    /// One sentence for somebody who sees such a figure for the first time.
    pub(super) reading: &'static str,
    pub(super) caption: String,
}

/// A figure, or why there is none.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Drawn(Figure),
    Absent { id: &'static str, reason: &'static str },
}

/// Everything a figure may look at.
pub(super) struct Input<'a> {
    saved: &'a Saved,
    origin: &'a Origin<'a>,
}

impl Input<'_> {
    /// Subtitle: where the numbers come from, and how many they are.
    fn subtitle(&self, what: &str) -> String {
        let run = &self.saved.result.run;
        format!("{} driver · seed {} · {what}", run.driver, run.seed)
    }

    /// What figures over time show, where there was more than one to choose from.
    fn which_repeat(&self) -> String {
        let cells = &self.saved.result.cells;
        let repeats = cells.first().map_or(1, |cell| cell.repeats.len());
        match (cells.len() > 1, repeats > 1) {
            (true, _) => format!("; first of {} cells, first repeat", cells.len()),
            (false, true) => format!("; first of {repeats} repeats"),
            (false, false) => String::new(),
        }
    }

    fn words(&self, title: String, subtitle: String) -> canvas::Words {
        canvas::Words { title, subtitle, caption: self.origin.caption() }
    }
}

/// Draws all figures, in the order of the report.
pub(super) fn draw_all(saved: &Saved, origin: &Origin<'_>) -> Result<Vec<Outcome>, ReportError> {
    let input = Input { saved, origin };
    let mut outcomes = Vec::new();
    if saved.result.cells.len() > 1 {
        outcomes.push(sweep::goodput(&input)?);
        outcomes.push(sweep::latency(&input)?);
        outcomes.push(sweep::wire(&input)?);
    }
    outcomes.push(latency_percentiles::draw(&input)?);
    outcomes.push(latency_over_time::draw(&input)?);
    outcomes.push(throughput_over_time::draw(&input)?);
    outcomes.push(transport_trace::draw(&input)?);
    Ok(outcomes)
}

/// The picture of a figure.
pub(super) fn png(figure: &Figure) -> Result<Vec<u8>, ReportError> {
    raster::png(&figure.svg).map_err(|problem| ReportError::Draw { figure: figure.id.to_owned(), problem })
}
