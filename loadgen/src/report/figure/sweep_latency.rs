//! Percentiles of delivery latency against what a sweep varied.
//!
//! One axis: p50, p99 and p99.9 in one panel. Several: one panel for each percentile, all on the same scale, a line for each
//! combination of the other axes. Points are pooled over repeats; the band spans the repeats, because the unit of
//! replication is the run (with one repeat: the 95 % interval of its percentile). A percentile among lost messages
//! stands on the rail at the top.

use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;
use crate::result::{Cell, LatencySummary};

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, TEXT, WIDTH};
use super::direct::{Tag, margin};
use super::input::ms;
use super::palette::{BLUE, PURPLE, VERMILION, sequential};
use super::panel::{Dash, Frame, Labels, Marker, Panel, Stroke};
use super::sweep_axis::Lines;
use super::{Figure, Input, Outcome};

const ID: &str = "sweep_latency";
const READING: &str = "Half of all deliveries are faster than p50, one in a hundred is slower than p99. The band spans the \
                       repeats. A point on the rail marked lost means that so many messages never arrived that the \
                       percentile does not exist.";

const QUANTILES: [(f64, &str); 3] = [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9")];

/// One percentile of one cell.
#[derive(Clone, Copy, Debug)]
struct Point {
    x: f64,
    /// Milliseconds; `None`: among the lost.
    value: Option<f64>,
    /// Lowest and highest of the repeats, or the interval of the only one.
    range: Option<(f64, f64)>,
    /// Whether there are 10 / (1 − q) samples.
    is_firm: bool,
}

struct Curve {
    points: Vec<Point>,
    stroke: Stroke,
    marker: Marker,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    if !cells.iter().any(|cell| cell.metrics.latency.delivery.p50_us.is_some()) {
        return Ok(Outcome::Absent { id: ID, reason: "no cell has a latency" });
    }
    let lines = Lines::of(cells).thinned(MOST_LINES);
    let panels = panels(input, &lines);
    let ends = |summary: Option<&LatencySummary>| {
        summary.map_or("–".to_owned(), |delivery| format::percentile(delivery, delivery.p99_us))
    };
    let order = &lines.lines[0].1;
    let delivery = |index: Option<&usize>| index.map(|&index| &cells[index].metrics.latency.delivery);
    let finding = across(&ends(delivery(order.first())), &ends(delivery(order.last())));
    if !lines.axis.names.is_empty() {
        let p99 = |cell: &Cell| (cell_name(cell), cell.metrics.latency.delivery.p99_us);
        let has_any = |cell: &&Cell| cell.metrics.latency.delivery.count > 0;
        let all: Vec<_> = cells.iter().filter(has_any).map(p99).collect();
        let finding = best_and_worst(&all).unwrap_or(finding);
        let title = canvas::fitting_title(vec![format!("{finding} — {}", input.origin.name), finding]);
        return drawn(input, &lines, &panels, title);
    }
    let line = if lines.lines.len() > 1 { format!(" at {}", lines.lines[0].0) } else { String::new() };
    let range = lines.range();
    let title = canvas::fitting_title(vec![
        format!("{finding}{range}{line} — {}", input.origin.name),
        format!("{finding}{range}{line}"),
        format!("{finding}{range}"),
        format!("{finding} across {} cells", cells.len()),
    ]);
    drawn(input, &lines, &panels, title)
}

fn drawn(
    input: &Input<'_>,
    lines: &Lines,
    panels: &[(String, Vec<Curve>)],
    title: String,
) -> Result<Outcome, ReportError> {
    let words = input.words(&title, input.extent(""));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, lines, panels))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency across the sweep",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// `p99 goes from 20 ms to 216 ms`, `p99 stays at 20 ms`.
pub(super) fn across(first: &str, last: &str) -> String {
    if first == last { format!("p99 stays at {first}") } else { format!("p99 goes from {first} to {last}") }
}

/// Of cells that are names and no numbers, the best and the worst: `p99 is 175 ms for udp, 8,634 ms for tcp`. `None` is lost.
pub(super) fn best_and_worst(cells: &[(String, Option<u64>)]) -> Option<String> {
    let rank = |cell: &&(String, Option<u64>)| cell.1.unwrap_or(u64::MAX);
    let (best, worst) = (cells.iter().min_by_key(rank)?, cells.iter().max_by_key(rank)?);
    let text = |us: Option<u64>| us.map_or("lost".to_owned(), |us| format::micros(us as f64));
    let (low, high) = (text(best.1), text(worst.1));
    let is_same = low == high;
    Some(if is_same {
        format!("p99 is {low} in all {} cells", cells.len())
    } else {
        format!("p99 is {low} for {}, {high} for {}", best.0, worst.0)
    })
}

/// Curves of each panel, with the panel's name if there are several.
fn panels(input: &Input<'_>, lines: &Lines) -> Vec<(String, Vec<Curve>)> {
    let points = |cells: &[usize], q: f64| {
        cells.iter().filter_map(|&cell| point(input, lines.axis.positions[cell], cell, q)).collect::<Vec<_>>()
    };
    if let [(_, cells)] = lines.lines.as_slice() {
        let looks = [
            (Stroke::new(BLUE, 7), Marker::Circle),
            (Stroke::new(VERMILION, 6).dash(Dash::Dashed), Marker::Square),
            (Stroke::new(PURPLE, 5).dash(Dash::Dotted), Marker::Triangle),
        ];
        let curves = QUANTILES.iter().zip(looks).map(|(&(q, name), (stroke, marker))| Curve {
            points: points(cells, q),
            stroke,
            marker,
            name: name.to_owned(),
        });
        return vec![(String::new(), curves.collect())];
    }
    let count = lines.lines.len();
    let of = |&(q, name): &(f64, &str)| {
        let curves = lines.lines.iter().enumerate().map(|(index, (line, cells))| Curve {
            points: points(cells, q),
            stroke: Stroke::new(sequential(index, count), 6).dash(Dash::nth(index)),
            marker: Marker::nth(index),
            name: line.clone(),
        });
        (name.to_owned(), curves.collect())
    };
    QUANTILES.iter().map(of).collect()
}

fn point(input: &Input<'_>, x: f64, cell: usize, q: f64) -> Option<Point> {
    let runs = input.of_cell(cell, 0);
    let all = Input::pooled(&runs, |run| &run.all.delivery);
    if all.is_empty() {
        // Only `result.json` was saved.
        let summary = &input.cells()[cell].metrics.latency.delivery;
        let value = match q {
            q if q < 0.6 => summary.p50_us,
            q if q < 0.995 => summary.p99_us,
            _ => summary.p99_9_us,
        };
        let is_firm = summary.count as f64 >= 10.0 / (1.0 - q);
        return (summary.count > 0).then_some(Point { x, value: value.map(ms), range: None, is_firm });
    }
    let top = f64::INFINITY;
    let range = match runs.as_slice() {
        [run] => run
            .quantiles
            .iter()
            .find(|estimate| (estimate.q - q).abs() < 1e-9)
            // Too few samples for a bound above would fill the panel and say nothing; they are drawn hollow.
            .and_then(|estimate| Some((ms(estimate.low_us?), ms(estimate.high_us?)))),
        runs => {
            let values = runs.iter().map(|run| run.all.delivery.quantile(q).map_or(top, ms));
            let values: Vec<f64> = values.collect();
            let low = values.iter().copied().fold(top, f64::min);
            Some((low, values.iter().copied().fold(0.0, f64::max))).filter(|_| low.is_finite())
        }
    };
    let is_firm = all.count() as f64 >= 10.0 / (1.0 - q);
    Some(Point { x, value: all.quantile(q).map(ms), range, is_firm })
}

fn paint(canvas: &Canvas<'_>, lines: &Lines, panels: &[(String, Vec<Curve>)]) -> Result<(), DrawError> {
    let all = || panels.iter().flat_map(|(_, curves)| curves).flat_map(|curve| &curve.points);
    let values = all().flat_map(|point| {
        point
            .value
            .into_iter()
            .chain(point.range.map(|range| range.0))
            .chain(point.range.map(|range| range.1))
    });
    let values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(0.0, f64::max);
    let y = Axis::log(if low.is_finite() { low } else { 1.0 }, high.max(1.0), "delivery latency (ms)");
    let some_lost = all().any(|point| point.value.is_none());
    let (left, right, gap) = (300, WIDTH - 640, 60);
    let count = panels.len() as i32;
    let width = (right - left - gap * (count - 1)) / count;
    for (index, (name, curves)) in (0..).zip(panels) {
        let from = left + index * (width + gap);
        let frame = Frame { left: from, right: from + width, top: 320, bottom: HEIGHT - 220 };
        let mut y = y.clone();
        if index > 0 {
            // The first panel's numbers are everybody's.
            y.ticks.iter_mut().for_each(|tick| tick.label.clear());
            y.title.clear();
        }
        let mut x = lines.axis.axis();
        if count > 1 {
            x = x.at_most(6);
        }
        let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
        let rail = frame.top - 50;
        if some_lost {
            panel.stroke((from, rail), (frame.right, rail), Stroke::new(VERMILION, 3).dash(Dash::Dotted))?;
        }
        if !name.is_empty() {
            let at = ((frame.left + frame.right) / 2, frame.top - 100);
            canvas.text(at, name, Look::new(TEXT, Anchor::Center))?;
        }
        let mut names = Vec::new();
        for curve in curves {
            let end = paint_curve(&panel, curve, rail, lines.axis.names.is_empty())?;
            names.push(Tag::new(end, curve.stroke, curve.name.clone()).marked(curve.marker));
        }
        if index + 1 == count {
            let is_firm = all().all(|point| point.is_firm);
            margin(
                canvas,
                &panel,
                &names,
                if is_firm { "" } else { "Hollow: fewer than 10/(1 − q) deliveries." },
            )?;
        }
    }
    if some_lost {
        let look = Look::new(SMALL, Anchor::Right).color(VERMILION);
        canvas.text((left - 18, 270), "lost", look)?;
    }
    Ok(())
}

/// Draws band, line and marks; returns where the curve ends.
fn paint_curve(
    panel: &Panel<'_, '_>,
    curve: &Curve,
    rail: i32,
    is_joined: bool,
) -> Result<Option<i32>, DrawError> {
    let top = 10f64.powf(panel.y.to);
    // Around a percentile that does not exist there is nothing to shade, and none is shaded across a gap.
    let has_range = |point: &Point| point.value.is_some() && point.range.is_some();
    for part in curve.points.chunk_by(|a, b| has_range(a) == has_range(b)).filter(|part| has_range(&part[0]))
    {
        let range = |point: &Point| point.range.map(|(low, high)| (point.x, low, high.min(top)));
        let ranges: Vec<(f64, f64, f64)> = part.iter().filter_map(range).collect();
        if is_joined && ranges.len() > 1 {
            panel.band(&ranges, curve.stroke.color, 0.18)?;
            continue;
        }
        for &(x, low, high) in &ranges {
            bar(panel, x, (low, high), curve.stroke)?;
        }
    }
    // A line ends where a value does not exist, and goes on after it.
    let parts = curve.points.chunk_by(|a, b| a.value.is_some() == b.value.is_some());
    let mut end = None;
    for part in parts {
        let known: Vec<(f64, f64)> = part.iter().filter_map(|point| Some((point.x, point.value?))).collect();
        if is_joined {
            panel.line(&known, curve.stroke)?;
        }
        for point in part {
            let at = match point.value {
                Some(value) => panel.pixel((point.x, value)),
                None => (panel.pixel((point.x, 1.0)).0, rail),
            };
            panel.mark(at, curve.marker, curve.stroke.color)?;
            if !point.is_firm {
                panel.dot(at, 6, super::palette::PAPER)?;
            }
            end = Some(at.1);
        }
    }
    Ok(end)
}

/// An upright bar with ends.
pub(super) fn bar(
    panel: &Panel<'_, '_>,
    x: f64,
    (low, high): (f64, f64),
    stroke: Stroke,
) -> Result<(), DrawError> {
    let ((at, bottom), (_, top)) = (panel.pixel((x, low)), panel.pixel((x, high)));
    let bar = Stroke::new(stroke.color, 4);
    panel.stroke((at, bottom), (at, top), bar)?;
    panel.stroke((at - 14, bottom), (at + 14, bottom), bar)?;
    panel.stroke((at - 14, top), (at + 14, top), bar)
}

/// More lines than this cannot be told apart.
const MOST_LINES: usize = 6;
