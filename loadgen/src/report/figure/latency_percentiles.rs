//! Latency by percentile, the headline: x grows by one nine a step, y is latency on a log axis.
//!
//! Without a sweep there are the delivery and the service curve (or the deliveries of both arms), the 95 % interval of the
//! percentiles, and the staircase of what loss alone should cost; with one there is a curve for each cell. A curve is
//! dotted where fewer than ten samples lie beyond it, and where its rank falls among pairs that never arrived it leaves
//! the axis for the rail at the top: those have no latency, and a curve that stopped early would hide it.

use crate::distribution::Distribution;
use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::{cell_name, weather};
use crate::report::saved::ReportError;
use crate::report::theory::{Step, arrived_by, staircase};
use crate::result::Cell;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::direct::{Tag, margin};
use super::hops::Hops;
use super::input::{Certainty, Spread, ms};
use super::palette::{BLUE, MUTED, ORANGE, VERMILION, sequential};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::sweep_axis::SweepAxis;
use super::sweep_latency::{across, best_and_worst};
use super::{Figure, Input, Outcome};

const ID: &str = "latency_percentiles";
const READING: &str = "Read upwards from 99 %: one delivery in a hundred took longer than the curve shows there. Each \
                       step to the right looks at ten times rarer deliveries; dotted parts rest on fewer than ten. The \
                       grey stairs are what independent loss alone would cost.";

struct Curve {
    samples: Distribution,
    stroke: Stroke,
    name: String,
    band: Option<Certainty>,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let runs = input.of_cell(0, 0);
    let curves = match cells {
        [_] if input.has_arms() => curves_of_arms(input),
        [_] => curves_of_run(&runs),
        _ => curves_of_cells(input),
    };
    let Some(first) = curves.first() else {
        return Ok(Outcome::Absent { id: ID, reason: "no recorded message was expected anywhere" });
    };
    let hops = match cells {
        [cell] => Hops::of(&input.saved.result.scenario, cell, &runs),
        _ => None,
    };
    let (title, subtitle) = match cells {
        [cell] => (
            input.title(&finding(cell, hops, &runs, &curves, input.has_arms())),
            input.subtitle(&input.sample(&runs)),
        ),
        _ => words_of_cells(input, &curves),
    };
    let expected = Expected::of(hops);
    let whiskers = if cells.len() == 1 && !input.has_arms() { whiskers(&runs) } else { Vec::new() };
    let words = input.words(&title, subtitle);
    let count = first.samples.count();
    let svg =
        canvas::draw(ID, &words, |canvas| paint(canvas, &Picture { curves, expected, whiskers, count }))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency by percentile",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

struct Picture {
    curves: Vec<Curve>,
    expected: Option<Expected>,
    whiskers: Vec<(f64, Spread)>,
    count: u64,
}

fn curves_of_run(runs: &[&RunFile]) -> Vec<Curve> {
    let curve = |samples, stroke, name: &str, band| Curve { samples, stroke, name: name.to_owned(), band };
    let delivery = Input::pooled(runs, |run| &run.all.delivery);
    let service = Input::pooled(runs, |run| &run.all.service);
    let mut curves = vec![
        curve(delivery, Stroke::new(BLUE, 11), "delivery, from intended", Certainty::of(runs)),
        curve(service, Stroke::new(ORANGE, 4).dash(Dash::Dashed), "service, from handed over", None),
    ];
    curves.retain(|curve| curve.samples.count() > 0);
    curves
}

fn curves_of_arms(input: &Input<'_>) -> Vec<Curve> {
    let strokes = [Stroke::new(BLUE, 9), Stroke::new(VERMILION, 7).dash(Dash::Dashed)];
    let arms = (0..).zip(strokes).zip(input.arm_names());
    let curves = arms.map(|((arm, stroke), name)| {
        let runs = input.of_cell(0, arm);
        let samples = Input::pooled(&runs, |run| &run.all.delivery);
        Curve { samples, stroke, name, band: Certainty::of(&runs) }
    });
    curves.filter(|curve| curve.samples.count() > 0).collect()
}

/// One for each cell, or an even choice of them when there are too many to tell apart.
fn curves_of_cells(input: &Input<'_>) -> Vec<Curve> {
    let cells = input.cells();
    let axis = SweepAxis::of(cells);
    let order = axis.order();
    let shown = cells.len().min(MOST_CURVES);
    let chosen = (0..shown).map(|k| order[k * (cells.len() - 1) / (shown - 1).max(1)]);
    let curves = chosen.enumerate().map(|(k, index)| Curve {
        samples: Input::pooled(&input.of_cell(index, 0), |run| &run.all.delivery),
        stroke: Stroke::new(sequential(k, shown), 6),
        name: cell_name(&cells[index]),
        band: None,
    });
    curves.filter(|curve| curve.samples.count() > 0).collect()
}

/// `p99 512 ms (480–530), 3.1 × the path's delay`.
fn finding(cell: &Cell, hops: Option<Hops>, runs: &[&RunFile], curves: &[Curve], is_ab: bool) -> String {
    let p99 = |curve: &Curve| match curve.samples.quantile(0.99) {
        Some(us) => format::micros(us as f64),
        None => "lost".to_owned(),
    };
    if let ([a, b], true) = (curves, is_ab) {
        let change = a.samples.quantile(0.99).zip(b.samples.quantile(0.99)).map(|(a, b)| {
            let share = b as f64 / a as f64 - 1.0;
            let word = if share > 0.0 { "more" } else { "less" };
            format!(", {} {word} than A", format::percent(share.abs()))
        });
        return format!("p99 {} in A, {} in B{}", p99(a), p99(b), change.unwrap_or_default());
    }
    let delivery = &curves[0];
    let Some(us) = delivery.samples.quantile(0.99) else {
        return format!("p99 {}{}", p99(delivery), weather(&cell.links));
    };
    let mut text = format!("p99 {}", format::micros(us as f64));
    // Of several runs their spread, because the unit of replication is the run; of one its own interval.
    if runs.len() > 1 {
        let each = runs.iter().map(|run| run.all.delivery.quantile(0.99));
        let low = each.clone().flatten().min();
        let high = each.map(|us| us.unwrap_or(u64::MAX)).max().filter(|us| *us < u64::MAX);
        text.extend(low.map(|low| format!(" ({} in {} repeats)", between(low, high), runs.len())));
    } else {
        let stated =
            runs.iter().flat_map(|run| &run.quantiles).find(|estimate| (estimate.q - 0.99).abs() < 1e-9);
        let interval = stated.and_then(|estimate| Some((estimate.low_us?, estimate.high_us)));
        text.extend(interval.map(|(low, high)| format!(" ({})", between(low, high))));
    }
    if delivery.samples.count() < 1_000 {
        text.push_str(&format!(" of only {} deliveries", format::count(delivery.samples.count())));
    }
    if let Some(path) = hops.map(|hops| hops.delay_us()).filter(|path| *path > 0.0) {
        text.push_str(&format!(", {} × the path's delay", format::significant(us as f64 / path)));
    }
    text
}

/// `480–530`, in the unit of the value before it.
fn between(low: u64, high: Option<u64>) -> String {
    let low_text = format::micros(low as f64);
    match high.map(|high| format::micros(high as f64)) {
        Some(high) if high[high.len() - 3..] == low_text[low_text.len() - 3..] => {
            format!("{}–{high}", low_text.trim_end_matches(" ms").trim_end_matches(" s"))
        }
        Some(high) => format!("{low_text}–{high}"),
        None => format!("{low_text} or more"),
    }
}

fn words_of_cells(input: &Input<'_>, curves: &[Curve]) -> (String, String) {
    let p99 = |curve: Option<&Curve>| match curve.and_then(|curve| curve.samples.quantile(0.99)) {
        Some(us) => format::micros(us as f64),
        None => "lost".to_owned(),
    };
    let cells = input.cells();
    let across = across(&p99(curves.first()), &p99(curves.last()));
    let axis = SweepAxis::of(cells);
    let (range, is_named) = (axis.range(), !axis.names.is_empty());
    let each: Vec<_> =
        curves.iter().map(|curve| (curve.name.clone(), curve.samples.quantile(0.99))).collect();
    // The best and the worst of all cells may not be among those that are shown.
    let named = best_and_worst(&each).filter(|_| is_named && curves.len() == cells.len());
    let title = canvas::fitting_title(match named {
        Some(finding) => vec![format!("{finding} — {}", input.origin.name), finding],
        None => vec![
            format!("{across}{range} — {}", input.origin.name),
            format!("{across}{range}"),
            format!("{across} across {} cells", cells.len()),
        ],
    });
    let n: u64 = curves.iter().map(|curve| curve.samples.count()).sum();
    let shown =
        if curves.len() < cells.len() { format!("{} of them shown, ", curves.len()) } else { String::new() };
    (title, input.extent(&format!("{shown}n = {} deliveries", format::count(n))))
}

/// The spread of the repeats at the percentiles that people quote.
fn whiskers(runs: &[&RunFile]) -> Vec<(f64, Spread)> {
    if runs.len() < 2 {
        return Vec::new();
    }
    let firm = |q: f64| runs.iter().all(|run| run.all.delivery.count() as f64 >= 10.0 / (1.0 - q));
    let of = |q: f64| {
        let values: Option<Vec<f64>> = runs.iter().map(|run| run.all.delivery.quantile(q).map(ms)).collect();
        Some((q, Spread::of(values?)?))
    };
    [0.5, 0.9, 0.99, 0.999].into_iter().filter(|&q| firm(q)).filter_map(of).collect()
}

/// The staircase and its assumptions, where the hops, their loss and their timeout are known.
struct Expected {
    steps: Vec<Step>,
    /// Of a hop that loses; `None` if both do, differently.
    loss: Option<f64>,
    /// How many hops lose.
    lossy: usize,
    rto_us: f64,
}

impl Expected {
    fn of(hops: Option<Hops>) -> Option<Self> {
        let hops = hops.filter(|hops| hops.is_lossy() && hops.delay_us() > 0.0)?;
        let rto_us = hops.rto_us?;
        let steps = staircase(hops.up, hops.down, rto_us, 1.0);
        Some(Self { steps, loss: hops.loss(), lossy: hops.lossy(), rto_us })
    }
}

fn paint(canvas: &Canvas<'_>, picture: &Picture) -> Result<(), DrawError> {
    let Picture { curves, expected, whiskers, count } = picture;
    let count = curves.iter().map(|curve| curve.samples.count()).max().unwrap_or(*count);
    let x = Axis::nines(count, "percentile of deliveries (each step right: ten times rarer)");
    let shown: Vec<Step> = expected.as_ref().map(|e| within(&e.steps, x.to)).unwrap_or_default();
    let y = latency_axis(curves, &shown);
    let frame = Frame { left: 300, right: WIDTH - 760, top: 290, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    for curve in curves {
        draw_band(&panel, curve)?;
    }
    draw_steps(&panel, &shown)?;
    if let Some(expected) = expected {
        draw_tries(&panel, expected)?;
    }
    let rail = frame.top - 52;
    if curves.iter().any(|curve| curve.samples.lost() > 0) {
        let stroke = Stroke::new(VERMILION, 3).dash(Dash::Dotted);
        panel.stroke((frame.left, rail), (frame.right, rail), stroke)?;
        let look = Look::new(SMALL, Anchor::Right).color(VERMILION);
        canvas.text((frame.left - 18, rail), "lost", look)?;
    }
    // The headline is the widest and comes first: where service coincides with it, both are seen.
    let mut names = Vec::new();
    for curve in curves {
        let end = draw_curve(&panel, curve, rail)?;
        names.push(Tag::new(end, curve.stroke, curve.name.clone()));
    }
    for &(q, spread) in whiskers {
        let ((x, low), (_, high)) = (panel.pixel((q, spread.low)), panel.pixel((q, spread.high)));
        panel.stroke((x, low), (x, high), Stroke::new(BLUE, 5))?;
        panel.stroke((x - 14, low), (x + 14, low), Stroke::new(BLUE, 5))?;
        panel.stroke((x - 14, high), (x + 14, high), Stroke::new(BLUE, 5))?;
    }
    if let Some(step) = shown.last() {
        let y = panel.pixel((0.0, ms(step.latency_us as u64))).1;
        names.push(Tag::new(Some(y), step_stroke(), "theory: loss alone"));
    }
    let mut text = String::new();
    if curves.iter().any(|curve| curve.band.is_some()) {
        text.push_str("Shaded: 95 % interval of the percentile. ");
    }
    if !whiskers.is_empty() {
        text.push_str("Bars: the repeats, lowest to highest. ");
    }
    text.push_str("Dotted: fewer than ten deliveries beyond. ");
    if let Some(expected) = expected {
        text.push_str(&format!(
            "Theory: each try is lost on its own, {}; each lost one waits an RTO ({}), doubled every time. No fast \
             retransmit, no tail probe, no queue, no waiting for earlier messages.",
            if expected.lossy == 2 { "on both hops" } else { "on the one hop that loses" },
            format::micros(expected.rto_us)
        ));
    }
    margin(canvas, &panel, &names, &text)
}

fn latency_axis(curves: &[Curve], steps: &[Step]) -> Axis {
    let arrived =
        curves.iter().filter_map(|curve| curve.samples.range()).flat_map(|(low, high)| [ms(low), ms(high)]);
    let all: Vec<f64> = arrived.chain(steps.iter().map(|step| step.latency_us / 1e3)).collect();
    if all.is_empty() {
        // Everything was lost: the rail is all there is to see.
        return Axis::log(1.0, 1_000.0, "latency (ms)");
    }
    // A little air below the first step, for the names of the tries.
    let low = all.iter().copied().fold(f64::INFINITY, f64::min).max(0.001) * 0.8;
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

/// Marks on the percentile axis by which one hop has had k tries.
fn draw_tries(panel: &Panel<'_, '_>, expected: &Expected) -> Result<(), DrawError> {
    let Some(loss) = expected.loss else { return Ok(()) };
    let bottom = panel.frame.bottom;
    let mut free_from = panel.frame.left + 240;
    for (tries, name) in (1..).zip(["1 − p", "1 − p²", "1 − p³", "1 − p⁴", "1 − p⁵"]) {
        let x = panel.pixel((arrived_by(loss, tries), 1.0)).0;
        if x > panel.frame.right {
            break;
        }
        panel.stroke((x, bottom - 34), (x, bottom), Stroke::new(MUTED, 5))?;
        if x - 80 > free_from {
            panel.label((x, bottom - 60), name, Look::new(SMALL, Anchor::Center).color(MUTED))?;
            free_from = x + 80;
        }
    }
    Ok(())
}

/// Quantiles of the curve, evenly spaced in nines.
fn quantiles(curve: &Curve, to: f64) -> impl Iterator<Item = (f64, f64)> {
    let end = (curve.samples.count() as f64).log10().min(to).max(0.0);
    (0..=POINTS).map(move |k| {
        let nines = end * f64::from(k) / f64::from(POINTS);
        (nines, 1.0 - 10f64.powf(-nines))
    })
}

/// Up to where at least ten samples lie beyond, in nines.
fn sure(curve: &Curve) -> f64 {
    ((curve.samples.count() as f64).log10() - 1.0).max(0.0)
}

fn draw_band(panel: &Panel<'_, '_>, curve: &Curve) -> Result<(), DrawError> {
    let Some(certainty) = &curve.band else { return Ok(()) };
    let top = 10f64.powf(panel.y.to);
    let band: Vec<(f64, f64, f64)> = quantiles(curve, panel.x.to)
        .take_while(|&(nines, _)| nines <= sure(curve))
        .map_while(|(_, q)| {
            let (low, high) = certainty.interval(&curve.samples, q)?;
            // Without an upper bound the band ends, unless that bound is among those that never arrived.
            if high.is_none() && curve.samples.lost() == 0 {
                return None;
            }
            Some((q, ms(low), high.map_or(top, |high| ms(high).min(top))))
        })
        .collect();
    if band.len() > 1 { panel.band(&band, curve.stroke.color, 0.2) } else { Ok(()) }
}

/// Draws a curve and returns where it ends on the canvas.
fn draw_curve(panel: &Panel<'_, '_>, curve: &Curve, rail: i32) -> Result<Option<i32>, DrawError> {
    let samples = &curve.samples;
    let sure = sure(curve);
    let (mut solid, mut dotted) = (Vec::new(), Vec::new());
    let mut lost_from = None;
    let mut right = panel.frame.left;
    for (nines, q) in quantiles(curve, panel.x.to) {
        right = panel.pixel((q, 1.0)).0;
        match samples.quantile(q) {
            Some(us) if nines <= sure => solid.push((q, ms(us))),
            Some(us) => {
                dotted.extend(solid.last().copied().filter(|_| dotted.is_empty()));
                dotted.push((q, ms(us)));
            }
            None => lost_from = lost_from.or(Some(q)),
        }
    }
    panel.line(&solid, curve.stroke)?;
    panel.line(&dotted, curve.stroke.dash(Dash::Dotted))?;
    let last = dotted.last().or(solid.last());
    let Some(q) = lost_from else { return Ok(last.map(|&point| panel.pixel(point).1)) };
    let corner = (panel.pixel((q, 1.0)).0, rail);
    if let Some(&last) = last {
        panel.stroke(panel.pixel(last), corner, curve.stroke)?;
    }
    panel.stroke(corner, (right, rail), curve.stroke)?;
    Ok(Some(rail))
}

/// More curves than this cannot be told apart.
const MOST_CURVES: usize = 8;
/// About four units of the canvas each.
const POINTS: u32 = 600;
