//! Delivery latency against the time at which the message was meant to be sent, as a field of counts.
//!
//! A line of percentiles hides that latencies come in bands, one for each retransmission; a scatter of every delivery is
//! one blot. So each interval is a column, each latency bin a row, and darkness is the number of deliveries, on a log
//! scale: a single straggler is still seen. Median and p99 of each interval lie on top. Lost pairs are ticks at the
//! top: they have a time, but no latency.

use crate::records::{RunFile, bin_range};
use crate::report::format;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::direct::{Tag, tags};
use super::health;
use super::input::ms;
use super::palette::{INK, MUTED, PAPER, VERMILION, density};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::timeline::{Names, Timeline};
use super::{Figure, Input, Outcome};

const ID: &str = "latency_over_time";
const READING: &str = "A level floor is the path's delay, levels above it are repairs, and a slope that falls back to the \
                       floor is a queue or an outage draining. Darker is more deliveries. Red ticks at the top are \
                       messages that never arrived; the strip below is the health of the generator.";

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let Some(run) = input.featured().filter(|run| run.intervals.rows.iter().any(|row| row.expected > 0))
    else {
        return Ok(Outcome::Absent { id: ID, reason: "no message was meant to be sent" });
    };
    let rows = &run.intervals.rows;
    let delivered: u64 = rows.iter().map(|row| row.expected - row.lost.min(row.expected)).sum();
    let lost: u64 = rows.iter().map(|row| row.lost).sum();
    let worst = rows
        .iter()
        .enumerate()
        .filter_map(|(at, row)| Some((slowest(row)?, at)))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    let second = |index: usize| format::significant(index as f64 * run.intervals.width_us as f64 / 1e6);
    let title = input.title(&match worst {
        Some((us, at)) => {
            format!("slowest delivery {} at {} s{}", format::micros(us), second(at), steadiness(run))
        }
        None => format!("none of {} deliveries arrived", format::count(lost)),
    });
    let what = format!(
        "n = {} deliveries, warm-up included · {} lost · intervals of {}{}",
        format::count(delivered),
        format::count(lost),
        super::input::seconds(run.intervals.width_us),
        input.which(run)
    );
    let words = input.words(&title, input.subtitle(&what));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, run, input))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency over time",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// Slowest delivery of an interval in microseconds, to the digits that the record has.
fn slowest(row: &crate::records::Interval) -> Option<f64> {
    let bin = row.heat.last().map(|&(bin, _)| bin_range(bin).1)?;
    Some(row.max_us.map_or(bin, |us| us as f64))
}

/// Whether the median of the recorded part drifts.
fn steadiness(run: &RunFile) -> String {
    let recorded = run.phases.iter().filter(|phase| phase.recorded);
    let width = run.intervals.width_us.max(1);
    let inside: Vec<u64> = recorded
        .flat_map(|phase| (phase.from_us / width)..(phase.until_us / width))
        .filter_map(|index| run.intervals.rows.get(index as usize)?.p50_us)
        .collect();
    let third = inside.len() / 3;
    if third < 3 {
        return String::new();
    }
    let middle = |part: &[u64]| {
        let mut part = part.to_vec();
        part.sort_unstable();
        part[part.len() / 2] as f64
    };
    let (before, after) = (middle(&inside[..third]), middle(&inside[inside.len() - third..]));
    match after / before {
        ratio if ratio > 1.25 => format!(", and the median rises by {}", format::percent(ratio - 1.0)),
        ratio if ratio < 0.8 => format!(", and the median falls by {}", format::percent(1.0 - ratio)),
        _ => ", the median stays level".to_owned(),
    }
}

fn paint(canvas: &Canvas<'_>, run: &RunFile, input: &Input<'_>) -> Result<(), DrawError> {
    let timeline = Timeline::of(run);
    let frame = Frame { left: 300, right: WIDTH - 520, top: 270, bottom: HEIGHT - 220 - health::ROOM };
    let x = Axis::linear(0.0, timeline.end, "intended send time (s since the first phase began)");
    let panel = Panel::new(canvas, frame, x.clone(), latency_axis(run), Labels::Hidden)?;
    timeline.shade(&panel, Names::Hidden)?;
    heat(&panel, run)?;
    timeline.name(&panel, Names::Top)?;
    let mut names = Vec::new();
    let (p99, p50) = (Stroke::new(INK, 5).dash(Dash::Dashed), Stroke::new(INK, 6));
    for (stroke, name, value) in [
        (p99, "p99 of the interval", (|row| row.p99_us) as fn(&crate::records::Interval) -> Option<u64>),
        (p50, "median of the interval", |row| row.p50_us),
    ] {
        let mut last = None;
        for part in lines(run, value) {
            // A white edge keeps the line apart from dark fields.
            panel.line(&part, Stroke::new(PAPER, stroke.width + 5).alpha(0.8))?;
            panel.line(&part, stroke)?;
            last = part.last().map(|&point| panel.pixel(point).1);
        }
        names.extend(last.map(|y| Tag::new(Some(y), stroke, name)));
    }
    lost(canvas, &panel, run)?;
    scale(canvas, &panel, run, frame.top - 10)?;
    tags(canvas, &panel, (frame.top + 160, frame.bottom + 20), &names)?;
    health::strip(canvas, frame, x, run, input)
}

/// Around all bins that hold anything.
pub(super) fn latency_axis(run: &RunFile) -> Axis {
    let bins = || run.intervals.rows.iter().flat_map(|row| &row.heat).map(|&(bin, _)| bin);
    let (Some(low), Some(high)) = (bins().min(), bins().max()) else {
        return Axis::log(1.0, 1_000.0, "delivery latency (ms)");
    };
    // The lowest bin begins at zero, which a log axis does not have.
    let low = bin_range(low).0.max(bin_range(low).1 / 1.2);
    Axis::log(low / 1e3, bin_range(high).1 / 1e3, "delivery latency (ms)")
}

/// The field of counts.
pub(super) fn heat(panel: &Panel<'_, '_>, run: &RunFile) -> Result<(), DrawError> {
    let most = most(run);
    let columns = Column::of(run);
    for column in &columns {
        for &(bin, count) in &column.heat {
            let (low, high) = bin_range(bin);
            let low = low.max(high / 1.2) / 1e3;
            let share = f64::from(count).ln_1p() / f64::from(most).ln_1p();
            let corners = [(column.from, low), (column.until.min(panel.x.to), high / 1e3)];
            panel.tile(corners, density(share), 1.0)?;
        }
    }
    Ok(())
}

/// One or more intervals side by side, as many as make a column wide enough to see.
struct Column {
    from: f64,
    until: f64,
    heat: Vec<(u16, u32)>,
}

impl Column {
    fn of(run: &RunFile) -> Vec<Self> {
        let rows = &run.intervals.rows;
        let joined = rows.len().div_ceil(MOST_COLUMNS).max(1);
        let width = run.intervals.width_us as f64 / 1e6;
        let columns = rows.chunks(joined).enumerate().map(|(index, rows)| {
            let mut heat = std::collections::BTreeMap::new();
            for &(bin, count) in rows.iter().flat_map(|row| &row.heat) {
                *heat.entry(bin).or_default() += count;
            }
            let from = (index * joined) as f64 * width;
            Self { from, until: from + width * rows.len() as f64, heat: heat.into_iter().collect() }
        });
        columns.collect()
    }
}

/// The largest count of the field.
fn most(run: &RunFile) -> u32 {
    Column::of(run).iter().flat_map(|column| &column.heat).map(|&(_, count)| count).max().unwrap_or(1)
}

/// A line for each unbroken stretch of intervals that have the value.
pub(super) fn lines(
    run: &RunFile,
    value: fn(&crate::records::Interval) -> Option<u64>,
) -> Vec<Vec<(f64, f64)>> {
    let width = run.intervals.width_us as f64 / 1e6;
    let points = run.intervals.rows.iter().enumerate().map(|(index, row)| {
        value(row).filter(|_| !row.heat.is_empty()).map(|us| ((index as f64 + 0.5) * width, ms(us)))
    });
    let mut parts: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for point in points {
        match (point, parts.last_mut()) {
            (Some(point), Some(part)) => part.push(point),
            (None, Some(part)) if !part.is_empty() => parts.push(Vec::new()),
            _ => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts.iter().map(|part| super::bins::thin(part, 600)).collect()
}

/// A tick for each interval that lost something, higher for more.
pub(super) fn lost(canvas: &Canvas<'_>, panel: &Panel<'_, '_>, run: &RunFile) -> Result<(), DrawError> {
    let most = run.intervals.rows.iter().map(|row| row.lost).max().unwrap_or(0);
    if most == 0 {
        return Ok(());
    }
    let top = panel.frame.top;
    let look = Look::new(SMALL, Anchor::Right).color(VERMILION);
    canvas.text((panel.frame.left - 18, top - 36), "lost", look)?;
    let width = run.intervals.width_us as f64 / 1e6;
    for (index, row) in run.intervals.rows.iter().enumerate().filter(|(_, row)| row.lost > 0) {
        let x = panel.pixel(((index as f64 + 0.5) * width, 1.0)).0;
        let height = 12 + (38.0 * row.lost as f64 / most as f64) as i32;
        panel.stroke((x, top - 14 - height), (x, top - 14), Stroke::new(VERMILION, 6))?;
    }
    let text = format!("most in one interval: {}", format::count(most));
    canvas.text((panel.frame.right + 36, top - 36), &text, Look { anchor: Anchor::Left, ..look })
}

/// What darkness means.
fn scale(canvas: &Canvas<'_>, panel: &Panel<'_, '_>, run: &RunFile, top: i32) -> Result<(), DrawError> {
    let (left, height, steps) = (panel.frame.right + 60, 36, 12);
    let most = most(run);
    let look = Look::new(SMALL, Anchor::Left);
    canvas.text((left, top + 30), "deliveries a field", look)?;
    for step in 0..steps {
        let color = density(f64::from(step) / f64::from(steps - 1));
        let x = left + step * 28;
        panel.block((x, top + 60), (x + 28, top + 60 + height), color)?;
    }
    let right = left + steps * 28;
    canvas.text((left, top + 60 + height + 30), "1", look.color(MUTED))?;
    let end = Look { anchor: Anchor::Right, ..look }.color(MUTED);
    canvas.text((right, top + 60 + height + 30), &format::count(u64::from(most)), end)
}

/// Narrower columns than five units are not seen.
const MOST_COLUMNS: usize = 450;
