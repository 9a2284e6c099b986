//! Delivery latency against the time at which the message was meant to be sent.
//!
//! A scatter shows clusters and stalls that percentiles hide. With more points than a page can carry it becomes, for each
//! bin of time, a band from minimum to maximum with median and p99, and the subtitle says so. Lost pairs are ticks
//! at the top: they have a time, but no latency.

use crate::record::{DeliveryRow, DeliveryStatus};
use crate::report::format;
use crate::report::samples::{Rank, Samples, arrival};
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::palette::{BLUE, SKY, VERMILION};
use super::panel::{Dash, Entry, Frame, Labels, Panel, Stroke, legend};
use super::timeline::{Names, Timeline, first_repeat};
use super::{Figure, Input, Outcome};

const ID: &str = "latency_over_time";
const READING: &str = "A level floor is the path's delay, levels above it are repairs, and a slope that falls back to the \
                       floor is a queue or an outage draining. Red ticks at the top are messages that never arrived.";

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let rows = first_repeat(&input.saved.deliveries);
    let points: Vec<(f64, f64)> = rows.iter().filter_map(|row| point(row)).collect();
    let Some(timeline) = Timeline::of(&rows, &input.saved.result.scenario).filter(|_| !points.is_empty())
    else {
        return Ok(Outcome::Absent { id: ID, reason: "no message arrived in the first repeat" });
    };
    let lost: Vec<f64> =
        rows.iter().filter(|row| is_lost(row)).map(|row| row.intended_us as f64 / 1e6).collect();
    let worst = points.iter().map(|&(_, ms)| ms).fold(0.0, f64::max);
    let worst_at = points.iter().find(|&&(_, ms)| ms == worst).map_or(0.0, |&(at, _)| at);
    let title = format!(
        "slowest delivery {} at {} s — {}",
        format::micros(worst * 1e3),
        format::significant(worst_at),
        input.origin.name
    );
    let bins = (points.len() > MOST_POINTS).then(|| summarise(&rows, bin_width(&timeline)));
    let shape = bins.as_ref().map_or(String::new(), |_| {
        format!(", shown in bins of {} ms", format::significant(bin_width(&timeline) * 1e3))
    });
    let n = format::count(points.len() as u64);
    let of = input.which_repeat();
    let what =
        format!("n = {n} deliveries, warm-up included{shape}, {} lost{of}", format::count(lost.len() as u64));
    let words = input.words(title.clone(), input.subtitle(&what));
    let svg = canvas::draw(ID, &words, |canvas| {
        let panel = frame(canvas, &timeline, &points)?;
        match &bins {
            Some(bins) => paint_bins(&panel, bins)?,
            None => paint_points(&panel, &points, &rows)?,
        }
        paint_lost(canvas, &panel, &lost)
    })?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency over time",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn point(row: &DeliveryRow) -> Option<(f64, f64)> {
    if row.status == DeliveryStatus::Duplicate {
        return None;
    }
    let latency = arrival(row)?.saturating_sub(row.intended_us);
    // A log axis begins at a microsecond.
    Some((row.intended_us as f64 / 1e6, latency.max(1) as f64 / 1e3))
}

fn is_lost(row: &DeliveryRow) -> bool {
    matches!(row.status, DeliveryStatus::Lost | DeliveryStatus::Corrupted)
}

fn frame<'c, 'a>(
    canvas: &'c Canvas<'a>,
    timeline: &Timeline,
    points: &[(f64, f64)],
) -> Result<Panel<'c, 'a>, DrawError> {
    let low = points.iter().map(|&(_, ms)| ms).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|&(_, ms)| ms).fold(0.0, f64::max);
    let x = Axis::linear(0.0, timeline.end, "intended send time (s since the repeat began)");
    let frame = Frame { left: 300, right: WIDTH - 520, top: 270, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, Axis::log(low, high, "delivery latency (ms)"), Labels::Shown)?;
    timeline.shade(&panel, Names::Top)?;
    Ok(panel)
}

fn paint_points(
    panel: &Panel<'_, '_>,
    points: &[(f64, f64)],
    rows: &[&DeliveryRow],
) -> Result<(), DrawError> {
    panel.dots(points, 6, BLUE, 0.35)?;
    let mut entries = vec![Entry::new(Stroke::new(BLUE, 14).alpha(0.5), "one delivery")];
    if rows.iter().any(|row| is_lost(row)) {
        entries.push(Entry::new(Stroke::new(VERMILION, 6), "lost"));
    }
    legend(panel, panel.frame.top + 20, &entries)
}

/// Smallest, median, 99th percentile and largest latency of one bin, in ms.
#[derive(Clone, Copy, Debug)]
struct Bin {
    at: f64,
    min: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

fn paint_bins(panel: &Panel<'_, '_>, bins: &[Bin]) -> Result<(), DrawError> {
    let band: Vec<(f64, f64, f64)> = bins.iter().map(|bin| (bin.at, bin.min, bin.max)).collect();
    panel.band(&band, SKY, 0.35)?;
    let p99: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.at, bin.p99)).collect();
    let p50: Vec<(f64, f64)> = bins.iter().map(|bin| (bin.at, bin.p50)).collect();
    let (tail, middle) = (Stroke::new(VERMILION, 5).dash(Dash::Dashed), Stroke::new(BLUE, 7));
    panel.line(&p99, tail)?;
    panel.line(&p50, middle)?;
    let entries = [
        Entry::new(tail, "p99 of the bin"),
        Entry::new(middle, "median of the bin"),
        Entry::new(Stroke::new(SKY, 30).alpha(0.35), "fastest to slowest"),
    ];
    legend(panel, panel.frame.top + 20, &entries)
}

fn paint_lost(canvas: &Canvas<'_>, panel: &Panel<'_, '_>, lost: &[f64]) -> Result<(), DrawError> {
    if lost.is_empty() {
        return Ok(());
    }
    let top = panel.frame.top;
    canvas.text(
        (panel.frame.left - 18, top - 36),
        "lost",
        Look::new(SMALL, Anchor::Right).color(VERMILION),
    )?;
    let mut columns: Vec<i32> = lost.iter().map(|&at| panel.pixel((at, 1.0)).0).collect();
    // Ticks are four units wide; closer ones are one.
    columns.iter_mut().for_each(|x| *x -= *x % 4);
    columns.sort_unstable();
    columns.dedup();
    for x in columns {
        panel.stroke((x, top - 56), (x, top - 16), Stroke::new(VERMILION, 4))?;
    }
    Ok(())
}

fn summarise(rows: &[&DeliveryRow], width: f64) -> Vec<Bin> {
    let bin_of = |row: &DeliveryRow| (row.intended_us as f64 / 1e6 / width) as usize;
    let mut sorted: Vec<&DeliveryRow> = rows.iter().copied().filter(|row| point(row).is_some()).collect();
    sorted.sort_by_key(|row| row.intended_us);
    let bins = sorted.chunk_by(|a, b| bin_of(a) == bin_of(b));
    bins.map(|bin| {
        let samples =
            Samples::arrived(bin.iter().filter_map(|row| point(row)).map(|(_, ms)| (ms * 1e3) as u64));
        let at = |q| match samples.at(q) {
            Some(Rank::Arrived(us)) => us as f64 / 1e3,
            _ => 0.0,
        };
        Bin {
            at: (bin_of(bin[0]) as f64 + 0.5) * width,
            min: at(0.0),
            p50: at(0.5),
            p99: at(0.99),
            max: at(1.0),
        }
    })
    .collect()
}

/// Seconds: fine enough to see a stall, coarse enough that p99 has samples.
fn bin_width(timeline: &Timeline) -> f64 {
    if timeline.end - timeline.start > 60.0 { 1.0 } else { 0.25 }
}

/// A scatter of more points is half a megabyte of SVG and one grey blot.
const MOST_POINTS: usize = 5_000;
