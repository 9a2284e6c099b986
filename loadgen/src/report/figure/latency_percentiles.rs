//! Latency by percentile, the headline: x grows by one nine a step, y is latency on a log axis.
//!
//! Without a sweep there are three curves (delivery, service, acknowledgement) and the staircase of what loss alone
//! should cost; with one there is a curve for each cell. A curve is dotted where fewer than ten samples lie beyond it,
//! and where its rank falls among pairs that never arrived it leaves the axis for the rail at the top: those have no
//! latency, and a curve that stopped early would hide it.

use crate::record::DeliveryRow;
use crate::report::format;
use crate::report::origin::{cell_name, weather};
use crate::report::samples::{Rank, Samples};
use crate::report::saved::ReportError;
use crate::report::theory::{Hop, Step, staircase};
use crate::result::Cell;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::palette::{BLUE, GREEN, MUTED, ORANGE, VERMILION, sequential};
use super::panel::{Dash, Entry, Frame, Labels, Panel, Stroke, legend};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

const ID: &str = "latency_percentiles";
const READING: &str = "Read upwards from 99 %: one delivery in a hundred took longer than the curve shows there. Each \
                       step to the right looks at ten times rarer deliveries; dotted parts rest on fewer than ten.";

struct Curve {
    samples: Samples,
    stroke: Stroke,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = &input.saved.result.cells;
    let rows = &input.saved.deliveries;
    let curves = if cells.len() > 1 { curves_of_cells(cells, rows) } else { curves_of_run(rows) };
    let Some(first) = curves.first().filter(|curve| !curve.samples.arrived_us().is_empty()) else {
        return Ok(Outcome::Absent { id: ID, reason: "no recorded message arrived" });
    };
    let (title, subtitle) = match cells.as_slice() {
        [cell] => words_of_run(input, cell, &first.samples),
        _ => words_of_cells(input, &curves),
    };
    let steps = match cells.as_slice() {
        [cell] => expected_steps(cell),
        _ => None,
    };
    let words = input.words(title.clone(), subtitle);
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &curves, steps.as_ref()))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency by percentile",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn curves_of_run(rows: &[DeliveryRow]) -> Vec<Curve> {
    let curve = |samples, stroke, name: &str| Curve { samples, stroke, name: name.to_owned() };
    let mut curves = vec![
        curve(Samples::delivery(rows), Stroke::new(BLUE, 11), "delivery"),
        curve(Samples::service(rows), Stroke::new(ORANGE, 4).dash(Dash::Dashed), "service"),
        curve(Samples::ack_rtt(rows), Stroke::new(GREEN, 4), "ack RTT"),
    ];
    curves.retain(|curve| curve.samples.count() > 0);
    curves
}

/// One for each cell, or an even choice of them when there are too many to tell apart.
fn curves_of_cells(cells: &[Cell], rows: &[DeliveryRow]) -> Vec<Curve> {
    let shown = cells.len().min(MOST_CURVES);
    let chosen = (0..shown).map(|k| k * (cells.len() - 1) / (shown - 1).max(1));
    let mut curves: Vec<Curve> = chosen
        .enumerate()
        .map(|(k, index)| Curve {
            samples: Samples::delivery(rows.iter().filter(|row| row.cell as usize == index)),
            stroke: Stroke::new(sequential(k, shown), 6),
            name: cell_name(&cells[index]),
        })
        .collect();
    curves.retain(|curve| curve.samples.count() > 0);
    curves
}

fn words_of_run(input: &Input<'_>, cell: &Cell, delivery: &Samples) -> (String, String) {
    let summary = &cell.metrics.latency.delivery;
    let p99 = if summary.count > 0 {
        format::percentile(summary, summary.p99_us)
    } else {
        rank_text(delivery.at(0.99))
    };
    let title = format!("p99 {p99}{} — {}", weather(&cell.links), input.origin.name);
    let lost = match delivery.lost() {
        0 => "none lost".to_owned(),
        lost => format!("{} lost ({})", format::count(lost), format::share(lost, delivery.count())),
    };
    let repeats = cell.repeats.len().max(1);
    let pooled = if repeats > 1 { format!(", {repeats} repeats pooled") } else { String::new() };
    let what =
        format!("n = {} deliveries, {lost}{pooled}; warm-up left out", format::count(delivery.count()));
    (title, input.subtitle(&what))
}

fn words_of_cells(input: &Input<'_>, curves: &[Curve]) -> (String, String) {
    let first = rank_text(curves.first().and_then(|curve| curve.samples.at(0.99)));
    let last = rank_text(curves.last().and_then(|curve| curve.samples.at(0.99)));
    let range = SweepAxis::of(&input.saved.result.cells).range();
    let title = format!("p99 goes from {first} to {last}{range} — {}", input.origin.name);
    let n: u64 = curves.iter().map(|curve| curve.samples.count()).sum();
    let cells = input.saved.result.cells.len();
    let shown = if curves.len() < cells {
        format!("{} of {cells} cells", curves.len())
    } else {
        format!("{cells} cells")
    };
    (title, input.subtitle(&format!("{shown}, n = {} deliveries; warm-up left out", format::count(n))))
}

fn rank_text(rank: Option<Rank>) -> String {
    match rank {
        Some(Rank::Arrived(us)) => format::micros(us as f64),
        Some(Rank::Lost) => "lost".to_owned(),
        None => "–".to_owned(),
    }
}

/// The staircase and its assumptions, where one link with loss and a known RTO makes it meaningful.
struct Expected {
    steps: Vec<Step>,
    rto_us: f64,
}

fn expected_steps(cell: &Cell) -> Option<Expected> {
    let [link] = cell.links.as_slice() else { return None };
    let rto_us = cell.metrics.transport.rto_us? as f64;
    let hop =
        |facts: &crate::result::DirectionFacts| Hop { loss: facts.loss, delay_us: facts.delay_us as f64 };
    let (up, down) = (hop(&link.up), hop(&link.down));
    if up.loss + down.loss <= 0.0 || up.loss >= 1.0 || down.loss >= 1.0 || up.delay_us + down.delay_us <= 0.0
    {
        return None;
    }
    Some(Expected { steps: staircase(up, down, rto_us), rto_us })
}

fn paint(canvas: &Canvas<'_>, curves: &[Curve], expected: Option<&Expected>) -> Result<(), DrawError> {
    let count = curves.iter().map(|curve| curve.samples.count()).max().unwrap_or(1);
    let x = Axis::nines(count, "percentile of deliveries (each step right: ten times rarer)");
    let shown: Vec<Step> = expected.map(|e| within(&e.steps, x.to)).unwrap_or_default();
    let y = latency_axis(curves, &shown);
    let frame = Frame { left: 300, right: WIDTH - 680, top: 270, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    draw_steps(&panel, &shown)?;
    let lost = curves.iter().any(|curve| curve.samples.lost() > 0);
    let rail = frame.top - 44;
    if lost {
        panel.stroke(
            (frame.left, rail),
            (frame.right, rail),
            Stroke::new(VERMILION, 3).dash(Dash::Dotted),
        )?;
        let look = Look::new(SMALL, Anchor::Right).color(VERMILION);
        canvas.text((frame.left - 18, rail), "lost", look)?;
    }
    // The headline is the widest and comes first: where service coincides with it, both are seen.
    for curve in curves {
        draw_curve(&panel, curve, rail)?;
    }
    let mut entries: Vec<Entry> =
        curves.iter().map(|curve| Entry::new(curve.stroke, curve.name.clone())).collect();
    entries.push(Entry::new(Stroke::new(MUTED, 5).dash(Dash::Dotted), "fewer than ten beyond"));
    if !shown.is_empty() {
        entries.push(Entry::new(step_stroke(), "theory: loss alone"));
    }
    legend(&panel, frame.top + 20, &entries)?;
    let notes = frame.top + 20 + 62 * entries.len() as i32 + 30;
    if let Some(expected) = expected {
        draw_assumptions(canvas, (frame.right + 36, notes), expected.rto_us)?;
    }
    Ok(())
}

fn draw_assumptions(canvas: &Canvas<'_>, at: (i32, i32), rto_us: f64) -> Result<(), DrawError> {
    let rto = format!("try waits one RTO ({}),", format::micros(rto_us));
    let lines = [
        "Theory: two hops, each packet",
        "lost independently; each lost",
        rto.as_str(),
        "doubled every time. No fast",
        "retransmit, no tail probe, no",
        "queue, no waiting for earlier",
        "messages of the channel.",
    ];
    for (index, line) in lines.into_iter().enumerate() {
        let look = Look::new(SMALL, Anchor::Left).color(MUTED);
        let text = canvas.fitted(line, look, WIDTH - at.0 - 20)?;
        canvas.text((at.0, at.1 + index as i32 * 48), &text, look)?;
    }
    Ok(())
}

fn latency_axis(curves: &[Curve], steps: &[Step]) -> Axis {
    let arrived = curves.iter().flat_map(|curve| {
        let values = curve.samples.arrived_us();
        values.first().into_iter().chain(values.last()).map(|&us| us as f64)
    });
    let all: Vec<f64> = arrived.chain(steps.iter().map(|step| step.latency_us)).map(|us| us / 1e3).collect();
    // Virtual links may take no time at all; a log axis begins at a microsecond.
    let low = all.iter().copied().fold(f64::INFINITY, f64::min).max(0.001);
    let high = all.iter().copied().fold(0.001, f64::max);
    Axis::log(low, high, "latency (ms)")
}

/// The steps that begin within the axis: those beyond would only stretch the latency axis.
fn within(steps: &[Step], to: f64) -> Vec<Step> {
    let mut from = 0.0_f64;
    let mut kept = Vec::new();
    for step in steps {
        if -(1.0 - from).max(1e-12).log10() >= to - 0.3 {
            break;
        }
        kept.push(*step);
        from = step.until;
    }
    kept
}

fn step_stroke() -> Stroke {
    Stroke::new(MUTED, 4).alpha(0.55)
}

fn draw_steps(panel: &Panel<'_, '_>, steps: &[Step]) -> Result<(), DrawError> {
    let mut from = 0.0;
    let mut points = Vec::new();
    let right = 1.0 - 10f64.powf(-panel.x.to);
    for step in steps {
        points.push((from, step.latency_us / 1e3));
        points.push((step.until.min(right), step.latency_us / 1e3));
        from = step.until.min(right);
    }
    if points.is_empty() {
        return Ok(());
    }
    panel.line(&points, step_stroke())?;
    let mut from = 0.0;
    for step in steps {
        let (start, end) = (panel.pixel((from, 1.0)).0, panel.pixel((step.until.min(right), 1.0)).0);
        let y = panel.pixel((0.0, step.latency_us / 1e3)).1;
        // A step too short for its name stays unnamed.
        if end - start > 150 {
            let name = match step.timeouts {
                0 => "first try".to_owned(),
                n => format!("+{n} RTO"),
            };
            // Measured first tries lie just above the first step, so its name goes below.
            let y = if step.timeouts == 0 { y + 24 } else { y - 30 };
            panel.label((start + 14, y), &name, Look::new(SMALL, Anchor::Left).color(MUTED))?;
        }
        from = step.until;
    }
    Ok(())
}

fn draw_curve(panel: &Panel<'_, '_>, curve: &Curve, rail: i32) -> Result<(), DrawError> {
    let samples = &curve.samples;
    let count = samples.count() as f64;
    let end = count.log10().min(panel.x.to);
    // Beyond this, fewer than ten samples decide.
    let sure = (count.log10() - 1.0).max(0.0);
    let (mut solid, mut dotted) = (Vec::new(), Vec::new());
    let mut lost_from = None;
    for k in 0..=POINTS {
        let nines = end * f64::from(k) / f64::from(POINTS);
        let q = 1.0 - 10f64.powf(-nines);
        match samples.at(q) {
            Some(Rank::Arrived(us)) => {
                let point = (q, us as f64 / 1e3);
                if nines <= sure {
                    solid.push(point);
                } else {
                    dotted.extend(solid.last().copied().filter(|_| dotted.is_empty()));
                    dotted.push(point);
                }
            }
            Some(Rank::Lost) if lost_from.is_none() => lost_from = Some(q),
            _ => {}
        }
    }
    panel.line(&solid, curve.stroke)?;
    panel.line(&dotted, curve.stroke.dash(Dash::Dotted))?;
    if let (Some(q), Some(&last)) = (lost_from, dotted.last().or(solid.last())) {
        let at = panel.pixel(last);
        let corner = (panel.pixel((q, 1.0)).0, rail);
        let right = panel.pixel((1.0 - 10f64.powf(-end), 1.0)).0;
        panel.stroke(at, corner, curve.stroke)?;
        panel.stroke(corner, (right, rail), curve.stroke)?;
    }
    Ok(())
}

/// More curves than this cannot be told apart.
const MOST_CURVES: usize = 8;
/// About four units of the canvas each.
const POINTS: u32 = 600;
