//! What a message costs on the wire, for those who wonder what a latency was bought with.

use crate::report::saved::ReportError;
use crate::result::Metrics;

use super::axis::Axis;
use super::canvas::{self, HEIGHT, WIDTH};
use super::direct::{Tag, margin};
use super::input::Spread;
use super::palette::{BLUE, VERMILION};
use super::panel::{Dash, Frame, Labels, Marker, Panel, Stroke};
use super::sweep_axis::{Lines, SweepAxis};
use super::sweep_latency::bar;
use super::{Figure, Input, Outcome};

const ID: &str = "sweep_wire";
const READING: &str = "All bytes on the emulated links, with headers, acknowledgements and repeats, for each message that \
                       was sent; bars span the repeats. A lower latency at more bytes is another trade, not a better \
                       transport.";

/// Name, look, and what is drawn.
type Direction = (&'static str, Stroke, Marker, fn(&Metrics) -> Option<f64>);

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    // With several axes each cell is a place of its own: two directions of many lines would be a thicket.
    let several = Lines::of(cells).lines.len() > 1;
    let axis = if several { SweepAxis::named(cells) } else { SweepAxis::of(cells) };
    let directions: [Direction; 2] = [
        ("up", Stroke::new(BLUE, 7), Marker::Circle, |metrics| metrics.wire.up_bytes_per_message),
        ("down", Stroke::new(VERMILION, 6).dash(Dash::Dashed), Marker::Square, |metrics| {
            metrics.wire.down_bytes_per_message
        }),
    ];
    let order = axis.order();
    let points = |value: fn(&Metrics) -> Option<f64>| -> Vec<(f64, f64, Option<Spread>)> {
        let of = |&index: &usize| {
            let repeats = cells[index].repeats.iter().filter_map(|repeat| value(&repeat.metrics));
            let spread = Spread::of(repeats.collect()).filter(|spread| spread.low < spread.high);
            Some((axis.positions[index], value(&cells[index].metrics)?, spread))
        };
        order.iter().filter_map(of).collect()
    };
    let drawn: Vec<_> = directions.iter().map(|direction| (direction, points(direction.3))).collect();
    let all = drawn.iter().flat_map(|(_, points)| points);
    let most = all.map(|(_, value, spread)| spread.map_or(*value, |spread| spread.high)).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(Outcome::Absent { id: ID, reason: "no link was emulated" });
    }
    let up = |index: Option<&usize>| {
        let bytes = index.and_then(|&index| cells[index].metrics.wire.up_bytes_per_message);
        bytes.map_or("–".to_owned(), |bytes| format!("{bytes:.0} B"))
    };
    let finding = format!("a message costs {} to {} up", up(order.first()), up(order.last()));
    let title = canvas::fitting_title(vec![
        format!("{finding}{} — {}", axis.range(), input.origin.name),
        format!("{finding} across {} cells — {}", cells.len(), input.origin.name),
        finding,
    ]);
    let words = input.words(&title, input.extent("bars span the repeats"));
    let svg = canvas::draw(ID, &words, |canvas| {
        let y = Axis::from_zero(most, "bytes on the wire a message");
        let frame = Frame { left: 320, right: WIDTH - 460, top: 250, bottom: HEIGHT - 220 };
        let panel = Panel::new(canvas, frame, axis.axis(), y, Labels::Shown)?;
        let mut names = Vec::new();
        for ((name, stroke, marker, _), points) in &drawn {
            let line: Vec<(f64, f64)> = points.iter().map(|&(x, y, _)| (x, y)).collect();
            if axis.names.is_empty() {
                panel.line(&line, *stroke)?;
            }
            for &(x, _, spread) in points {
                if let Some(spread) = spread {
                    bar(&panel, x, (spread.low, spread.high), *stroke)?;
                }
            }
            panel.markers(&line, *marker, stroke.color)?;
            let end = line.last().map(|&point| panel.pixel(point).1);
            names.push(Tag::new(end, *stroke, *name).marked(*marker));
        }
        margin(canvas, &panel, &names, "")
    })?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Bytes on the wire across the sweep",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}
