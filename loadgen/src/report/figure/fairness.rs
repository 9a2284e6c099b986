//! Did every client get its share? Goodput of each, as a distribution.
//!
//! Jain's index condenses it to one number, which hides a single starving client among a thousand; the curve shows it.
//! Shares are relative to the median, so that runs and cells of different rates can be compared.

use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;
use crate::stats::jain_index;

use super::axis::Axis;
use super::canvas::{self, Canvas, DrawError, HEIGHT, WIDTH};
use super::direct::{Tag, margin};
use super::input::quantile;
use super::palette::{MUTED, sequential};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

const ID: &str = "fairness";
const READING: &str = "The share of clients that heard at most so much. An upright line is fair; a foot to the left is \
                       clients that starve, a shoulder to the right is clients that take more than others.";

struct Curve {
    /// Goodput of each client over the median, ascending.
    shares: Vec<f64>,
    repeats: Vec<Vec<f64>>,
    jain: f64,
    stroke: Stroke,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let curves = curves(input);
    let Some(worst) = curves.iter().min_by(|a, b| a.jain.total_cmp(&b.jain)) else {
        return Ok(Outcome::Absent { id: ID, reason: "no run knows what two clients or more heard" });
    };
    let least = format::percent(worst.shares[0]);
    let index = format!("{:.3}", worst.jain);
    let title = input.title(&match curves.len() {
        1 => format!("Jain's index {index}; the least served client hears {least} of the median"),
        _ => format!("least fair: Jain's index {index} at {}", worst.name),
    });
    let runs = input.of_cell(0, 0);
    let subtitle = match curves.len() {
        1 => {
            let clients = runs.first().map_or(0, |run| run.clients.len());
            let n = format::plural(clients as u64, "client");
            let repeats = format::plural(runs.len() as u64, "repeat");
            input.subtitle(&format!("{n} · {repeats} · recorded phases only"))
        }
        _ => input.extent("repeats pooled"),
    };
    let words = input.words(&title, subtitle);
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &curves))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Fairness between clients",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn curves(input: &Input<'_>) -> Vec<Curve> {
    let cells = input.cells();
    let order = SweepAxis::of(cells).order();
    let shown = cells.len().min(MOST_CURVES);
    let of = |k: usize| {
        let cell = order[k * (cells.len() - 1) / (shown - 1).max(1)];
        let name = if cells.len() > 1 { cell_name(&cells[cell]) } else { "goodput".to_owned() };
        curve(
            &input.of_cell(cell, 0),
            Stroke::new(sequential(k, shown), if shown == 1 { 9 } else { 6 }),
            name,
        )
    };
    (0..shown).filter_map(of).collect()
}

fn curve(runs: &[&RunFile], stroke: Stroke, name: String) -> Option<Curve> {
    let mut repeats: Vec<Vec<f64>> = runs.iter().filter_map(|run| shares(run)).collect();
    let mut all: Vec<f64> = repeats.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    // Of each run by itself: what differs between runs is not unfair.
    let indices: Vec<f64> = repeats
        .iter()
        .filter(|shares| shares.iter().any(|share| *share > 0.0))
        .map(|shares| jain_index(shares))
        .collect();
    let mean = indices.iter().sum::<f64>() / indices.len().max(1) as f64;
    if repeats.len() < 2 {
        repeats.clear();
    }
    (!all.is_empty() && !indices.is_empty()).then_some(Curve {
        shares: all,
        repeats,
        jain: mean,
        stroke,
        name,
    })
}

/// Bytes that each client heard over the median of them; `None` for fewer than two clients or when most heard nothing.
fn shares(run: &RunFile) -> Option<Vec<f64>> {
    let mut bytes: Vec<f64> = run.clients.iter().map(|client| client.delivered_bytes as f64).collect();
    bytes.sort_by(f64::total_cmp);
    let median = quantile(&bytes, 0.5);
    (bytes.len() > 1 && median > 0.0).then(|| bytes.iter().map(|bytes| bytes / median).collect())
}

fn paint(canvas: &Canvas<'_>, curves: &[Curve]) -> Result<(), DrawError> {
    let all = || curves.iter().flat_map(|curve| &curve.shares).copied();
    let (low, high) = (all().fold(1.0, f64::min), all().fold(1.0, f64::max));
    // Equal shares would be a line on the edge.
    let air = ((high - low) * 0.05).max(0.05);
    let x = Axis::linear(
        (low - air).max(0.0),
        high + air,
        "goodput of a client over the median (1 is a fair share)",
    );
    let y = Axis::linear(0.0, 1.0, "share of clients");
    let frame = Frame { left: 300, right: WIDTH - 760, top: 250, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    let one = panel.pixel((1.0, 0.0)).0;
    panel.stroke((one, frame.top), (one, frame.bottom), Stroke::new(MUTED, 4).dash(Dash::Dotted))?;
    for curve in curves {
        for repeat in curve.repeats.iter().filter(|_| curves.len() == 1) {
            panel.line(&steps(repeat), Stroke::new(curve.stroke.color, 3).alpha(0.45))?;
        }
    }
    let mut names = Vec::new();
    for curve in curves {
        panel.line(&steps(&curve.shares), curve.stroke)?;
        let text = format!("{}, Jain {:.3}", curve.name, curve.jain);
        names.push(Tag::new(None, curve.stroke, text));
    }
    let is_split = curves.len() == 1 && !curves[0].repeats.is_empty();
    margin(
        canvas,
        &panel,
        &names,
        if is_split { "Thin: each repeat. Thick: all repeats together." } else { "" },
    )
}

/// The empirical distribution of sorted values.
fn steps(sorted: &[f64]) -> Vec<(f64, f64)> {
    let n = sorted.len().max(1) as f64;
    let mut points = Vec::new();
    for (index, &value) in (0..).zip(sorted) {
        points.push((value, f64::from(index) / n));
        points.push((value, f64::from(index + 1) / n));
    }
    super::bins::thin(&points, 430)
}

/// More curves than this cannot be told apart.
const MOST_CURVES: usize = 6;
