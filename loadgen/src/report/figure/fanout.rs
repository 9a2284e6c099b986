//! When has everybody heard it? The last recipient of each message, against one recipient.
//!
//! A group of N is done when its unluckiest member is: after k tries with chance (1 − pᵏ)ᴺ. With a thousand members and 10 %
//! loss, three tries reach all of them in 36.8 % of the cases. The theory is that of the latency staircase, with its
//! assumptions, for a message that goes up once and down N times.

use serde_json::Value;

use crate::distribution::Distribution;
use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;
use crate::report::theory::{Step, staircase};
use crate::result::{Cell, Verdict};

use super::axis::Axis;
use super::bins::thin;
use super::canvas::{self, Canvas, DrawError, HEIGHT, WIDTH};
use super::direct::{Tag, margin};
use super::hops::Hops;
use super::input::ms;
use super::palette::{BLUE, GREEN, MUTED};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::{Figure, Input, Outcome};

const ID: &str = "fanout_completion";
const READING: &str = "The share of messages that all recipients had heard after so long, beside the share of single \
                       deliveries. The distance between the two is what a group pays for its unluckiest member.";

struct Picture {
    completion: Distribution,
    delivery: Distribution,
    steps: Vec<Step>,
    recipients: f64,
    rto_us: f64,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let has_groups = |cell: &usize| input.of_cell(*cell, 0).iter().any(|run| !run.all.completion.is_empty());
    // Of a sweep the cell with the slowest completion, as elsewhere.
    let p99 = |cell: &usize| {
        let completion = Input::pooled(&input.of_cell(*cell, 0), |run| &run.all.completion);
        (
            cells[*cell].verdict != Verdict::Invalid,
            completion.quantile(0.99).unwrap_or(u64::MAX),
            std::cmp::Reverse(*cell),
        )
    };
    let Some(cell) = (0..cells.len()).filter(has_groups).max_by_key(p99) else {
        return Ok(Outcome::Absent { id: ID, reason: "no message had more than one recipient" });
    };
    let runs = input.of_cell(cell, 0);
    let picture = Picture::of(&input.saved.result.scenario, &cells[cell], &runs);
    let at = |samples: &Distribution, q: f64| {
        samples.quantile(q).map_or("lost".to_owned(), |us| format::micros(us as f64))
    };
    let title = input.title(&format!(
        "the last of {} recipients hears it after {} (median), one after {}",
        format::significant(picture.recipients),
        at(&picture.completion, 0.5),
        at(&picture.delivery, 0.5)
    ));
    let of = if cells.len() > 1 {
        format!(" · slowest cell: {}", cell_name(&cells[cell]))
    } else {
        String::new()
    };
    let n = format::count(picture.completion.count());
    let lost = picture.completion.lost();
    let incomplete = match lost {
        0 => "all complete".to_owned(),
        lost => format!("{} never complete", format::share(lost, picture.completion.count())),
    };
    let subtitle = input.subtitle(&format!(
        "n = {n} messages, {incomplete} · {} (n={}){of}",
        "repeats pooled",
        runs.len()
    ));
    let words = input.words(&title, subtitle);
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &picture))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Fan-out completion",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

impl Picture {
    fn of(scenario: &Value, cell: &Cell, runs: &[&RunFile]) -> Self {
        let completion = Input::pooled(runs, |run| &run.all.completion);
        let delivery = to_groups(runs);
        let recipients = delivery.count() as f64 / completion.count().max(1) as f64;
        let hops = Hops::of(scenario, cell, runs).filter(Hops::is_lossy);
        let theory = hops.and_then(|hops| {
            let rto_us = hops.rto_us?;
            Some((staircase(hops.up, hops.down, rto_us, recipients), rto_us))
        });
        let (steps, rto_us) = theory.unwrap_or_default();
        Self { completion, delivery, steps, recipients, rto_us }
    }
}

/// Single deliveries of those workloads whose messages go to more than one: a ping beside them has no last recipient.
fn to_groups(runs: &[&RunFile]) -> Distribution {
    let mut delivery = Distribution::default();
    let workloads = runs.iter().flat_map(|run| &run.workloads);
    for workload in workloads.filter(|workload| !workload.latencies.completion.is_empty()) {
        delivery.merge(&workload.latencies.delivery);
    }
    // Records without workloads have only all of them together.
    if delivery.is_empty() { Input::pooled(runs, |run| &run.all.delivery) } else { delivery }
}

fn paint(canvas: &Canvas<'_>, picture: &Picture) -> Result<(), DrawError> {
    let ranges: Vec<(u64, u64)> =
        [&picture.completion, &picture.delivery].iter().filter_map(|d| d.range()).collect();
    let low = ranges.iter().map(|range| ms(range.0)).fold(f64::INFINITY, f64::min);
    let high = ranges.iter().map(|range| ms(range.1)).fold(1.0, f64::max);
    let low = if low.is_finite() { low } else { 1.0 };
    let steps: Vec<Step> = picture
        .steps
        .iter()
        .copied()
        .filter(|step| step.latency_us > 0.0 && step.latency_us / 1e3 <= high * 1.1)
        .collect();
    let low = steps.iter().map(|step| step.latency_us / 1e3).fold(low, f64::min);
    let x = Axis::log(low, high, "time since it was meant to be sent (ms)");
    let y = Axis::linear(0.0, 1.0, "share");
    let frame = Frame { left: 300, right: WIDTH - 800, top: 250, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    let end = 10f64.powf(panel.x.to);
    let mut theory: Vec<(f64, f64)> = Vec::new();
    for step in &steps {
        let at = step.latency_us / 1e3;
        theory.push((at, theory.last().map_or(0.0, |last| last.1)));
        theory.push((at, step.until));
    }
    theory.extend(theory.last().map(|last| (end, last.1)));
    let last = Stroke::new(BLUE, 9);
    let one = Stroke::new(GREEN, 5).dash(Dash::Dashed);
    let law = Stroke::new(MUTED, 4);
    let mut names = Vec::new();
    let mut put = |points: &[(f64, f64)], stroke: Stroke, name: String| -> Result<(), DrawError> {
        panel.line(points, stroke)?;
        names.push(Tag::new(points.last().map(|&point| panel.pixel(point).1), stroke, name));
        Ok(())
    };
    let n = format::significant(picture.recipients);
    put(&theory, law, format!("theory: all {n} recipients"))?;
    put(&curve(&picture.delivery), one, "one recipient".to_owned())?;
    put(&curve(&picture.completion), last, format!("last of {n} recipients"))?;
    names.retain(|tag| tag.y.is_some());
    let mut text = String::new();
    if !steps.is_empty() {
        text = format!(
            "Theory: (1 − pᵏ)ᴺ on the way down after one way up; every try is lost on its own, each lost one waits an RTO \
             ({}), doubled every time. No fast retransmit, no queue, no waiting for earlier messages.",
            format::micros(picture.rto_us)
        );
    }
    margin(canvas, &panel, &names, &text)
}

/// Steps of the distribution, evenly thinned in log time.
fn curve(samples: &Distribution) -> Vec<(f64, f64)> {
    let count = samples.count().max(1) as f64;
    let mut seen = 0;
    let mut points = Vec::new();
    for (us, n) in samples.slots() {
        let at = ms(us).log10();
        if points.is_empty() {
            points.push((at, 0.0));
        }
        seen += n;
        points.push((at, seen as f64 / count));
    }
    thin(&points, 430).into_iter().map(|(at, share)| (10f64.powf(at), share)).collect()
}
