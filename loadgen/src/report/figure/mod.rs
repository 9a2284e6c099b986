//! The figures of a report, each one question, each a pure function of the saved records.
//!
//! - [`latency_percentiles`]: how late are the slowest messages, and is it what loss alone would cost?
//! - [`latency_ecdf`]: do the repeats agree?
//! - [`latency_over_time`], [`throughput_over_time`], [`recovery`]: when did it happen? With the generator's
//!   [`health`] below.
//! - [`transport_trace`]: what did one connection's congestion control do? [`time_sequence`] has its packets for the page.
//! - [`goodput`], [`sweep_latency`], [`sweep_wire`], [`sweep_field`], [`throughput_delay`], [`spread`]: how does it depend on
//!   what was varied?
//! - [`fairness`], [`fanout`]: did everybody get it?
//! - [`link_check`]: did the emulator do what it was told?
//!
//! Which are drawn is listed by the scenario's `output.figures`, or chosen by its `kind`. A figure that has no data is not drawn;
//! the report says which and why.

mod axis;
mod bins;
mod canvas;
mod direct;
mod fairness;
mod fanout;
mod goodput;
mod health;
mod hops;
mod input;
mod latency_ecdf;
mod latency_over_time;
mod latency_percentiles;
mod link_check;
mod palette;
mod panel;
mod raster;
mod recovery;
mod spread;
mod sweep_axis;
mod sweep_field;
mod sweep_latency;
mod sweep_wire;
mod throughput_delay;
mod throughput_over_time;
mod time_sequence;
mod timeline;
mod transport_trace;

#[cfg(test)]
mod tests;

use std::sync::Mutex;

use serde_json::Value;

use super::origin::Origin;
use super::saved::{ReportError, Saved};

use input::Input;
pub use time_sequence::{PacketEvent, TimeSequence};

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

impl Outcome {
    pub(super) fn figure(&self) -> Option<&Figure> {
        match self {
            Self::Drawn(figure) => Some(figure),
            Self::Absent { .. } => None,
        }
    }
}

type Draw = fn(&Input<'_>) -> Result<Outcome, ReportError>;

/// One figure of the catalogue.
struct Entry {
    /// What a scenario calls it. F6 is for pages ([`packets`]), F15 is the strip below all figures over time.
    number: &'static str,
    id: &'static str,
    draw: Draw,
    /// Kinds of scenario that it belongs to; empty for all.
    kinds: &'static [&'static str],
    /// Whether it needs a sweep to say anything.
    swept: bool,
}

const fn entry(
    number: &'static str,
    id: &'static str,
    draw: Draw,
    kinds: &'static [&'static str],
    swept: bool,
) -> Entry {
    Entry { number, id, draw, kinds, swept }
}

/// All figures, in the order of a report.
const CATALOGUE: [Entry; 16] = [
    entry("F7", "sweep_goodput", goodput::draw, &["throughput", "concurrency", "loss", "custom"], true),
    entry("F8", "sweep_latency", sweep_latency::draw, &[], true),
    entry("F9", "sweep_field", sweep_field::draw, &[], true),
    entry("F9", "ab_difference", sweep_field::draw_difference, &[], false),
    entry(
        "F10",
        "throughput_delay",
        throughput_delay::draw,
        &["throughput", "concurrency", "loss", "custom"],
        true,
    ),
    entry("F11", "sweep_spread", spread::draw, &[], true),
    entry("F7", "sweep_wire", sweep_wire::draw, &["throughput", "loss", "custom"], true),
    entry("F1", "latency_percentiles", latency_percentiles::draw, &[], false),
    entry("F2", "latency_ecdf", latency_ecdf::draw, &[], false),
    entry("F3", "latency_over_time", latency_over_time::draw, &[], false),
    entry("F4", "throughput_over_time", throughput_over_time::draw, &[], false),
    entry("F14", "recovery", recovery::draw, &["connectivity", "resilience", "custom"], false),
    entry("F13", "fanout_completion", fanout::draw, &["concurrency", "loss", "custom"], false),
    entry("F12", "fairness", fairness::draw, &["throughput", "concurrency", "custom"], false),
    entry(
        "F5",
        "transport_trace",
        transport_trace::draw,
        &["throughput", "loss", "resilience", "custom"],
        false,
    ),
    entry("F16", "link_self_check", link_check::draw, &[], false),
];

/// Draws the figures that the scenario asks for, in the order of the report.
pub(super) fn draw_all(saved: &Saved, origin: &Origin<'_>) -> Result<Vec<Outcome>, ReportError> {
    let input = Input::of(saved, origin);
    let chosen: Vec<&Entry> = CATALOGUE.iter().filter(|entry| wants(saved, entry)).collect();
    in_parallel(&chosen, |entry| (entry.draw)(&input)).into_iter().collect()
}

/// The packets of the traced connection, for a figure that can be zoomed; `None` if no connection was traced.
#[must_use]
pub fn packets(saved: &Saved) -> Option<TimeSequence> {
    time_sequence::of(saved)
}

/// The picture of a figure.
pub(super) fn png(figure: &Figure) -> Result<Vec<u8>, ReportError> {
    raster::png(&figure.svg).map_err(|problem| ReportError::Draw { figure: figure.id.to_owned(), problem })
}

/// The pictures of all figures that were drawn, in their order.
pub(super) fn pngs(figures: &[&Figure]) -> Result<Vec<Vec<u8>>, ReportError> {
    in_parallel(figures, |figure| png(figure)).into_iter().collect()
}

/// Does the same to each item on a few threads; results come in the order of the items, whoever was first.
fn in_parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = Mutex::new(0..items.len());
    let done = Mutex::new((0..items.len()).map(|_| None).collect::<Vec<Option<R>>>());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let taken = next.lock().expect("no thread panics while it holds this").next();
                    let Some(index) = taken else { break };
                    let result = work(&items[index]);
                    done.lock().expect("no thread panics while it holds this")[index] = Some(result);
                }
            });
        }
    });
    let done = done.into_inner().expect("all threads have ended");
    done.into_iter().map(|result| result.expect("every index was taken once")).collect()
}

/// `output.figures` is `auto` or a list such as `["F1", "F7"]`; `auto` goes by the kind of the scenario.
fn wants(saved: &Saved, entry: &Entry) -> bool {
    let scenario = &saved.result.scenario;
    let swept = saved.result.cells.len() > 1;
    match scenario.get("output").and_then(|output| output.get("figures")) {
        Some(Value::Array(numbers)) => numbers.iter().any(|number| number.as_str() == Some(entry.number)),
        _ => {
            let kind = scenario.get("scenario").and_then(|table| table.get("kind")).and_then(Value::as_str);
            let kind = kind.unwrap_or("custom");
            let fits = entry.kinds.is_empty() || entry.kinds.contains(&kind);
            // Without arms there is no difference to miss.
            let has_arms = saved.runs.iter().any(|run| run.arm > 0);
            fits && (swept || !entry.swept) && (entry.id != "ab_difference" || has_arms)
        }
    }
}

/// Pictures are 23 MB each before they are packed.
const MOST_THREADS: usize = 4;
