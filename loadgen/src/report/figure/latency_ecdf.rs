//! The empirical distribution of delivery latency: one thin line for each repeat, one thick line for all.
//!
//! Unbinned but for the three digits of the histograms. Where the thin lines lie on each other, a percentile of the
//! pooled curve means something; where they fan out, the run is what varies, not the message. Lost pairs keep a curve
//! below 1, and the gap is named.

use crate::distribution::Distribution;
use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::bins::thin;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::direct::{Tag, margin};
use super::input::{Spread, ms};
use super::palette::{BLUE, VERMILION, sequential};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

const ID: &str = "latency_ecdf";
const READING: &str = "The share of deliveries that took at most so long. A thin line is one repeat, the thick one all of \
                       them; a curve that ends below 1 has lost the rest.";

/// One thick line and what it is made of.
struct Family {
    all: Distribution,
    repeats: Vec<Distribution>,
    stroke: Stroke,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let families = families(input);
    let (Some(first), Some(last)) = (families.first(), families.last()) else {
        return Ok(Outcome::Absent { id: ID, reason: "no recorded message arrived" });
    };
    let runs = input.of_cell(0, 0);
    let median =
        |family: &Family| family.all.quantile(0.5).map_or("lost".to_owned(), |us| format::micros(us as f64));
    let swept = input.cells().len() > 1;
    let title = match swept {
        true => {
            let (a, b) = (median(first), median(last));
            input.title(&if a == b {
                format!("half of all deliveries take {a} at most, in the first cell and in the last")
            } else {
                format!("half of all deliveries take {a} at most in the first cell, {b} in the last")
            })
        }
        false if families.len() > 1 => {
            input.title(&format!("median {} in A, {} in B", median(first), median(last)))
        }
        false => input.title(&format!("median {}{}", median(first), agreement(&runs))),
    };
    let subtitle = match swept {
        true => input.extent("repeats pooled"),
        false => input.subtitle(&input.sample(&runs)),
    };
    let words = input.words(&title, subtitle);
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &families))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Distribution of latency, repeat by repeat",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn families(input: &Input<'_>) -> Vec<Family> {
    let cells = input.cells();
    let family = |cell: usize, arm: u32, stroke: Stroke, name: String| {
        let runs = input.of_cell(cell, arm);
        let all = Input::pooled(&runs, |run| &run.all.delivery);
        let swept = cells.len() > 1;
        let repeats = if swept || runs.len() < 2 {
            Vec::new()
        } else {
            runs.iter().map(|run| run.all.delivery.clone()).collect()
        };
        Family { all, repeats, stroke, name: format!("{name} (n={})", runs.len()) }
    };
    let mut families = Vec::new();
    if cells.len() > 1 {
        let order = SweepAxis::of(cells).order();
        let shown = cells.len().min(MOST_FAMILIES);
        for k in 0..shown {
            let cell = order[k * (cells.len() - 1) / (shown - 1).max(1)];
            families.push(family(cell, 0, Stroke::new(sequential(k, shown), 7), cell_name(&cells[cell])));
        }
    } else if input.has_arms() {
        let [a, b] = input.arm_names();
        families.push(family(0, 0, Stroke::new(BLUE, 9), a));
        families.push(family(0, 1, Stroke::new(VERMILION, 8).dash(Dash::Dashed), b));
    } else {
        families.push(family(0, 0, Stroke::new(BLUE, 10), "delivery".to_owned()));
    }
    families.retain(|family| family.all.count() > family.all.lost());
    families
}

/// How far the repeats agree on the median.
fn agreement(runs: &[&RunFile]) -> String {
    let medians = runs.iter().filter_map(|run| run.all.delivery.quantile(0.5)).map(|us| us as f64);
    let lost = runs.len() - medians.clone().count();
    if lost > 0 && runs.len() > 1 {
        return format!("; of {} repeats {lost} lost the median", runs.len());
    }
    let Some(spread) = Spread::of(medians.collect()).filter(|_| runs.len() > 1) else { return String::new() };
    let width = (spread.high - spread.low) / spread.median;
    format!("; {} repeats agree within {}", runs.len(), format::percent(width))
}

fn paint(canvas: &Canvas<'_>, families: &[Family]) -> Result<(), DrawError> {
    let ranges: Vec<(u64, u64)> = families.iter().filter_map(|family| family.all.range()).collect();
    let low = ranges.iter().map(|range| ms(range.0)).fold(f64::INFINITY, f64::min);
    let high = ranges.iter().map(|range| ms(range.1)).fold(0.0, f64::max);
    let x = Axis::log(low, high, "delivery latency (ms)");
    let y = Axis::linear(0.0, 1.0, "share of deliveries");
    let frame = Frame { left: 300, right: WIDTH - 760, top: 260, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    for family in families {
        for repeat in &family.repeats {
            panel.line(&curve(repeat), Stroke::new(family.stroke.color, 3).alpha(0.45))?;
        }
    }
    let mut names = Vec::new();
    for family in families {
        let points = curve(&family.all);
        panel.line(&points, family.stroke)?;
        let reached = points.last().map_or(0.0, |point| point.1);
        let mut text = family.name.clone();
        if family.all.lost() > 0 {
            text.push_str(&format!(", {} lost", format::share(family.all.lost(), family.all.count())));
        }
        names.push(Tag::new(Some(panel.pixel((high, reached)).1), family.stroke, text));
    }
    mark_quantiles(&panel, families)?;
    let is_split = families.iter().any(|family| !family.repeats.is_empty());
    margin(
        canvas,
        &panel,
        &names,
        if is_split { "Thin: each repeat. Thick: all repeats together." } else { "" },
    )
}

/// Where p50 and p99 of the only family are.
fn mark_quantiles(panel: &Panel<'_, '_>, families: &[Family]) -> Result<(), DrawError> {
    let [family] = families else { return Ok(()) };
    for (q, name) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
        let Some(us) = family.all.quantile(q) else { continue };
        let at = panel.pixel((ms(us), q));
        panel.mark(at, super::panel::Marker::Circle, family.stroke.color)?;
        let text = format!("{name} {}", format::micros(us as f64));
        let y = if q > 0.95 { at.1 + 44 } else { at.1 + 36 };
        // In the right part of the panel the name goes to the left of its mark.
        let is_right = at.0 > panel.frame.right - 340;
        let (x, anchor) = if is_right { (at.0 - 26, Anchor::Right) } else { (at.0 + 26, Anchor::Left) };
        panel.label((x, y), &text, Look::new(SMALL, anchor))?;
    }
    Ok(())
}

/// Steps of the distribution, each histogram bucket one.
fn curve(samples: &Distribution) -> Vec<(f64, f64)> {
    let count = samples.count().max(1) as f64;
    let mut seen = 0;
    let mut points = Vec::new();
    for (us, n) in samples.slots() {
        if points.is_empty() {
            points.push((ms(us), 0.0));
        }
        seen += n;
        points.push((ms(us), seen as f64 / count));
    }
    // Evenly in log time, as the axis is.
    let logs: Vec<(f64, f64)> = points.iter().map(|&(x, y)| (x.log10(), y)).collect();
    thin(&logs, COLUMNS).into_iter().map(|(x, y)| (10f64.powf(x), y)).collect()
}

/// More lines than this cannot be told apart.
const MOST_FAMILIES: usize = 6;
/// Five units of the canvas each.
const COLUMNS: usize = 430;
