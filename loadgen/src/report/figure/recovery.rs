//! After an outage: how soon did clients hear something again?
//!
//! Above, the latency of all messages with the outages shaded: what was sent into one waits for its end, and the slope shows
//! the queue draining. Below, on the same axis, how long after the end of each outage clients heard their first delivery.

use crate::distribution::Distribution;
use crate::records::{RecoveryRecord, RunFile};
use crate::report::format;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::health;
use super::input::ms;
use super::latency_over_time::{heat, latency_axis, lost};
use super::palette::{BLUE, VERMILION};
use super::panel::{Frame, Labels, Panel, Stroke};
use super::timeline::{Names, Timeline};
use super::{Figure, Input, Outcome};

const ID: &str = "recovery";
const READING: &str = "Red bands are outages. Below each, a bar from the fastest tenth to the slowest tenth of clients: how \
                       long after its end they heard something again; the mark in it is the median, the arrow says that \
                       some heard nothing more.";

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let featured = input.featured();
    let run = featured.filter(|run| !run.recoveries.is_empty());
    // A cell without outages may be the slowest one.
    let run = run.or_else(|| input.runs.iter().find(|run| !run.recoveries.is_empty() && run.arm == 0));
    let Some(run) = run else {
        return Ok(Outcome::Absent { id: ID, reason: "no link was down in a recorded phase" });
    };
    let of_cell = input.of_cell(run.cell as usize, 0);
    let mut all = Distribution::default();
    of_cell.iter().flat_map(|run| &run.recoveries).for_each(|recovery| all.merge(&recovery.times));
    let at = |q: f64| match all.quantile(q) {
        Some(us) => format::micros(us as f64),
        None if all.is_empty() => "–".to_owned(),
        None => "never".to_owned(),
    };
    let outages = of_cell.iter().map(|run| run.recoveries.len() as u64).sum::<u64>();
    let title = input.title(&format!(
        "half of the clients hear again {} after an outage, 95 % after {}",
        at(0.5),
        at(0.95)
    ));
    let never = match all.lost() {
        0 => "everybody came back".to_owned(),
        lost => format!("{} of {} never came back", format::count(lost), format::count(all.count())),
    };
    let what = format!("{} in all repeats, {never}{}", format::plural(outages, "outage"), input.which(run));
    let words = input.words(&title, input.subtitle(&what));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, run, input))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Recovery after outages",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn paint(canvas: &Canvas<'_>, run: &RunFile, input: &Input<'_>) -> Result<(), DrawError> {
    let timeline = Timeline::of(run);
    let x = Axis::linear(0.0, timeline.end, "time (s since the first phase began)");
    let bottom = HEIGHT - 220 - health::ROOM;
    let upper = Frame { left: 300, right: WIDTH - 520, top: 270, bottom: bottom - 460 };
    let panel = Panel::new(canvas, upper, x.clone(), latency_axis(run), Labels::Hidden)?;
    timeline.shade(&panel, Names::Hidden)?;
    heat(&panel, run)?;
    timeline.name(&panel, Names::Top)?;
    lost(canvas, &panel, run)?;
    let look = Look::new(SMALL, Anchor::Left);
    canvas.text((upper.right + 36, upper.top + 20), "deliveries by the time at", look)?;
    canvas.text((upper.right + 36, upper.top + 64), "which they were meant;", look)?;
    canvas.text((upper.right + 36, upper.top + 108), "darker is more", look)?;

    let lower = Frame { top: bottom - 400, bottom, ..upper };
    let ranges = run.recoveries.iter().filter_map(|recovery| recovery.times.range());
    let (low, high) = ranges
        .fold((f64::INFINITY, 0.0_f64), |(low, high), range| (low.min(ms(range.0)), high.max(ms(range.1))));
    let y = match low.is_finite() {
        true => Axis::log(low, high, "heard again (ms)"),
        false => Axis::log(1.0, 1_000.0, "heard again (ms)"),
    };
    let panel = Panel::new(canvas, lower, x.clone(), y, Labels::Hidden)?;
    timeline.shade(&panel, Names::Hidden)?;
    for recovery in &run.recoveries {
        draw_recovery(&panel, recovery)?;
    }
    canvas.text((lower.right + 36, lower.top + 20), "after each outage:", look)?;
    canvas.text((lower.right + 36, lower.top + 64), "p10, median, p90 of", look)?;
    canvas.text((lower.right + 36, lower.top + 108), "the clients behind it", look)?;
    health::strip(canvas, lower, x, run, input)
}

fn draw_recovery(panel: &Panel<'_, '_>, recovery: &RecoveryRecord) -> Result<(), DrawError> {
    let times = &recovery.times;
    let end = recovery.until_us as f64 / 1e6;
    let Some(low) = times.quantile(0.1) else { return Ok(()) };
    let stroke = Stroke::new(BLUE, 9);
    let at = |us: u64| panel.pixel((end, ms(us)));
    let (x, bottom) = at(low);
    // Among those that never came back the bar leaves the panel.
    let top = times.quantile(0.9).map_or(panel.frame.top, |us| at(us).1);
    panel.stroke((x, bottom), (x, top), stroke)?;
    panel.stroke((x - 14, bottom), (x + 14, bottom), Stroke::new(BLUE, 5))?;
    panel.stroke((x - 14, top), (x + 14, top), Stroke::new(BLUE, 5))?;
    if let Some(median) = times.quantile(0.5) {
        panel.dot(at(median), 15, BLUE)?;
        panel.dot(at(median), 7, super::palette::PAPER)?;
    }
    if times.lost() > 0 {
        let top = panel.frame.top;
        for aside in [-14, 14] {
            panel.stroke((x + aside, top + 20), (x, top - 2), Stroke::new(VERMILION, 6))?;
        }
    }
    Ok(())
}
