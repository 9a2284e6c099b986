//! Messages sent, deliveries and goodput over time, in three panels on one axis.
//!
//! Three panels and not one, because a room fans one message out to many recipients: on a shared axis the sent line would
//! lie on zero. All three axes begin at zero; a rate drawn from elsewhere exaggerates.

use std::collections::BTreeMap;

use crate::record::DeliveryRow;
use crate::report::format;
use crate::report::samples::arrival;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::bins::rates;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::palette::{GREEN, INK, ORANGE, SKY};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::timeline::{Names, Timeline, first_repeat};
use super::{Figure, Input, Outcome};

const ID: &str = "throughput_over_time";
const READING: &str = "Sent should lie on intended: a gap is the sender being held back. Deliveries follow sent, multiplied \
                       by the recipients of each message; a dip with a later peak is a delay, a dip without one is loss.";

/// One line of one panel.
struct Series {
    points: Vec<(f64, f64)>,
    stroke: Stroke,
    name: &'static str,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let rows = first_repeat(&input.saved.deliveries);
    let Some(timeline) = Timeline::of(&rows, &input.saved.result.scenario) else {
        return Ok(Outcome::Absent { id: ID, reason: "no message was meant to be sent in the first repeat" });
    };
    let width = if timeline.end > 20.0 { 1.0 } else { 0.5 };
    let panels = series(&rows, width, timeline.end);
    let cell = &input.saved.result.cells[0];
    let throughput = &cell.metrics.throughput;
    let title = format!(
        "{} deliveries/s, {} goodput — {}",
        format::significant(throughput.delivered_per_s),
        format::byte_rate(throughput.goodput_bytes_per_s),
        input.origin.name
    );
    let bins = format!("bins of {} s{}", format::significant(width), input.which_repeat());
    let words = input.words(title.clone(), input.subtitle(&bins));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &timeline, &panels))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Throughput over time",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

fn series(rows: &[&DeliveryRow], width: f64, end: f64) -> Vec<(&'static str, Vec<Series>)> {
    let messages: BTreeMap<u32, &DeliveryRow> = rows.iter().map(|row| (row.message, *row)).collect();
    let seconds = |us: u64| us as f64 / 1e6;
    let intended = messages.values().map(|row| (seconds(row.intended_us), 1.0));
    let sent = messages.values().filter_map(|row| Some((seconds(row.submitted_us?), 1.0)));
    let arrived = || rows.iter().filter_map(|row| Some((seconds(arrival(row)?), row)));
    let delivered = arrived().map(|(at, _)| (at, 1.0));
    let goodput = arrived().map(|(at, row)| (at, f64::from(row.size_bytes) / 1e3));
    let line = |points, stroke, name| Series { points, stroke, name };
    vec![
        (
            "messages/s",
            vec![
                line(rates(sent, width, end), Stroke::new(SKY, 11), "sent"),
                line(rates(intended, width, end), Stroke::new(INK, 4).dash(Dash::Dashed), "intended"),
            ],
        ),
        ("deliveries/s", vec![line(rates(delivered, width, end), Stroke::new(GREEN, 6), "delivered")]),
        ("goodput (kB/s)", vec![line(rates(goodput, width, end), Stroke::new(ORANGE, 6), "goodput")]),
    ]
}

fn paint(
    canvas: &Canvas<'_>,
    timeline: &Timeline,
    panels: &[(&'static str, Vec<Series>)],
) -> Result<(), DrawError> {
    let (top, bottom, gap) = (240, HEIGHT - 230, 60);
    let height = (bottom - top - gap * 2) / 3;
    for (index, (unit, lines)) in panels.iter().enumerate() {
        let from = top + index as i32 * (height + gap);
        let frame = Frame { left: 300, right: WIDTH - 380, top: from, bottom: from + height };
        let max = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
        let x = Axis::linear(0.0, timeline.end, "time (s since the repeat began)");
        let lowest = index + 1 == panels.len();
        let labels = if lowest { Labels::Shown } else { Labels::Hidden };
        let panel = Panel::new(canvas, frame, x, Axis::from_zero(max, unit), labels)?;
        timeline.shade(&panel, if index == 0 { Names::Bottom } else { Names::Hidden })?;
        for (row, line) in lines.iter().enumerate() {
            panel.steps(&line.points, line.stroke)?;
            let y = frame.top + 40 + row as i32 * 56;
            panel.stroke((frame.right + 36, y), (frame.right + 96, y), line.stroke)?;
            canvas.text((frame.right + 112, y), line.name, Look::new(SMALL, Anchor::Left))?;
        }
    }
    Ok(())
}
