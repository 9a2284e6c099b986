//! p99 of every repeat of every cell, with boxes: how much of a difference is only between runs?
//!
//! Every repeat is a point, because five numbers need no summary; the box (quartiles, median, whiskers to the last point
//! within 1.5 interquartile ranges) helps the eye where there are many cells.

use crate::records::RunFile;
use crate::report::format;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::input::{ms, quantile};
use super::palette::{BLUE, MUTED, VERMILION};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

const ID: &str = "sweep_spread";
const READING: &str = "Each point is the p99 of one run; the box holds the middle half of them, the line in it is the \
                       median. Cells whose points overlap have not been shown to differ. A point on the rail has lost \
                       its p99.";

/// One cell and arm.
struct Strip {
    x: f64,
    /// Milliseconds of the repeats that have a p99, ascending.
    values: Vec<f64>,
    lost: usize,
    stroke: Stroke,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let axis = SweepAxis::named(cells);
    let arms: &[(u32, f64, Stroke)] = if input.has_arms() {
        &[(0, -0.2, BLUE_STROKE), (1, 0.2, RED_STROKE)]
    } else {
        &[(0, 0.0, BLUE_STROKE)]
    };
    let of = |&(arm, aside, stroke): &(u32, f64, Stroke)| {
        (0..cells.len())
            .map(move |cell| strip(&input.of_cell(cell, arm), cell as f64 + aside, stroke))
            .collect::<Vec<_>>()
    };
    let mut strips: Vec<Strip> = arms.iter().flat_map(of).collect();
    strips.retain(|strip| !strip.values.is_empty() || strip.lost > 0);
    if strips.iter().all(|strip| strip.values.is_empty()) {
        return Ok(Outcome::Absent { id: ID, reason: "no run has a p99" });
    }
    let widest = strips
        .iter()
        .filter(|strip| strip.values.len() > 1)
        .map(|strip| (strip.values[strip.values.len() - 1] / strip.values[0], strip.x.round() as usize));
    let widest = widest.max_by(|a, b| a.0.total_cmp(&b.0));
    let finding = match widest {
        Some((ratio, cell)) => format!(
            "p99 of the runs of one cell differs by {} at most, at {}",
            format::percent(ratio - 1.0),
            axis.names.get(cell).cloned().unwrap_or_default()
        ),
        None => format!("p99 of {} cells, one run each", cells.len()),
    };
    let title = canvas::fitting_title(vec![
        format!("{finding} — {}", input.origin.name),
        finding,
        format!("p99 of every run of {} cells", cells.len()),
    ]);
    let mut more = "every repeat is a point".to_owned();
    if input.has_arms() {
        let [a, b] = input.arm_names();
        more = format!("{a} (left, blue) · {b} (right, red) · {more}");
    }
    let words = input.words(&title, input.extent(&more));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &axis, &strips))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Every repeat of every cell",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn strip(runs: &[&RunFile], x: f64, stroke: Stroke) -> Strip {
    let p99 = |run: &&RunFile| run.all.delivery.quantile(0.99).map(ms);
    let mut values: Vec<f64> = runs.iter().filter_map(p99).collect();
    values.sort_by(f64::total_cmp);
    let lost = runs.iter().filter(|run| !run.all.delivery.is_empty() && p99(run).is_none()).count();
    Strip { x, values, lost, stroke }
}

fn paint(canvas: &Canvas<'_>, axis: &SweepAxis, strips: &[Strip]) -> Result<(), DrawError> {
    let all = || strips.iter().flat_map(|strip| &strip.values).copied();
    let y = Axis::log(
        all().fold(f64::INFINITY, f64::min),
        all().fold(0.0, f64::max),
        "p99 of delivery latency (ms)",
    );
    let frame = Frame { left: 320, right: WIDTH - 100, top: 300, bottom: HEIGHT - 220 };
    let mut names = axis.names.clone();
    let mut title = axis.title.clone();
    let repeats = |index: i32| {
        let here = strips.iter().filter(|strip| (strip.x - f64::from(index)).abs() < 0.3);
        here.map(|strip| strip.values.len() + strip.lost).max().unwrap_or(0)
    };
    let counts: Vec<usize> = (0..).zip(&names).map(|(index, _)| repeats(index)).collect();
    if counts.windows(2).all(|pair| pair[0] == pair[1]) {
        title.push_str(&format!(" (n={} each)", counts.first().unwrap_or(&0)));
    } else {
        names.iter_mut().zip(&counts).for_each(|(name, n)| name.push_str(&format!(" (n={n})")));
    }
    let panel = Panel::new(canvas, frame, Axis::categories(&names, &title), y, Labels::Shown)?;
    let slot = (frame.right - frame.left) / names.len().max(1) as i32;
    let half = (slot / if strips.len() > names.len() { 7 } else { 4 }).clamp(6, 70);
    let rail = frame.top - 50;
    if strips.iter().any(|strip| strip.lost > 0) {
        panel.stroke(
            (frame.left, rail),
            (frame.right, rail),
            Stroke::new(VERMILION, 3).dash(Dash::Dotted),
        )?;
        canvas.text((frame.left - 18, rail), "lost", Look::new(SMALL, Anchor::Right).color(VERMILION))?;
    }
    for strip in strips {
        draw_box(&panel, strip, half)?;
        // Points of one strip stand beside each other, so that equal ones are both seen.
        let count = strip.values.len() as i32;
        for (index, &value) in (0..).zip(&strip.values) {
            let (x, y) = panel.pixel((strip.x, value));
            let aside = if count > 1 { (index * 2 - (count - 1)) * half / (2 * (count - 1)) } else { 0 };
            panel.dot((x + aside, y), 9.min(half), strip.stroke.color)?;
        }
        for index in 0..strip.lost as i32 {
            let x = panel.pixel((strip.x, 1.0)).0 + (index * 2 - (strip.lost as i32 - 1)) * 9;
            panel.dot((x, rail), 9.min(half), strip.stroke.color)?;
        }
    }
    Ok(())
}

fn draw_box(panel: &Panel<'_, '_>, strip: &Strip, half: i32) -> Result<(), DrawError> {
    if strip.values.len() < 3 {
        return Ok(());
    }
    let values = &strip.values;
    let [low, median, high] = [0.25, 0.5, 0.75].map(|q| quantile(values, q));
    let reach = 1.5 * (high - low);
    let inside = || values.iter().copied().filter(|value| (low - reach..=high + reach).contains(value));
    let (least, most) = (inside().fold(low, f64::min), inside().fold(high, f64::max));
    let at = |value: f64| panel.pixel((strip.x, value));
    let thin = Stroke::new(MUTED, 3);
    let (x, bottom) = at(low);
    let top = at(high).1;
    panel.stroke((x, at(least).1), (x, bottom), thin)?;
    panel.stroke((x, top), (x, at(most).1), thin)?;
    panel.veil((x - half, top), (x + half, bottom), strip.stroke.color, 0.18)?;
    for (from, to) in [
        ((x - half, top), (x + half, top)),
        ((x - half, bottom), (x + half, bottom)),
        ((x - half, top), (x - half, bottom)),
        ((x + half, top), (x + half, bottom)),
    ] {
        panel.stroke(from, to, thin)?;
    }
    let y = at(median).1;
    panel.stroke((x - half, y), (x + half, y), Stroke::new(strip.stroke.color, 7))
}

const BLUE_STROKE: Stroke = Stroke { color: BLUE, alpha: 1.0, width: 4, dash: Dash::Solid };
const RED_STROKE: Stroke = Stroke { color: VERMILION, alpha: 1.0, width: 4, dash: Dash::Solid };
