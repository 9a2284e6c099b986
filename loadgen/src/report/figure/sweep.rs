//! Goodput and latency against what a sweep varied.
//!
//! Points are the pooled values of a cell; the bar through a point spans the values of its repeats, because the unit of
//! replication is the run. Where the axis is loss, goodput is compared with what selective repeat keeps of the
//! lossless goodput on each hop: (1 − p).

use crate::report::format;
use crate::report::saved::ReportError;
use crate::result::{Cell, LatencySummary, Metrics};

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::palette::{BLUE, INK, MUTED, PURPLE, VERMILION};
use super::panel::{Dash, Entry, Frame, Labels, Marker, Panel, Stroke, legend};
use super::sweep_axis::SweepAxis;
use super::{Figure, Input, Outcome};

/// A named value of a cell and how to draw it; `None` where it cannot be stated.
struct Quantity {
    name: &'static str,
    stroke: Stroke,
    marker: Marker,
    value: fn(&Metrics) -> Option<f64>,
}

impl Quantity {
    fn entry(&self) -> Entry {
        Entry::new(self.stroke, self.name).marked(self.marker)
    }
}

pub(super) fn goodput(input: &Input<'_>) -> Result<Outcome, ReportError> {
    const ID: &str = "sweep_goodput";
    const READING: &str = "Payload that arrived, all recipients together. An open-loop workload offers the same at every \
                           point: a fall means that the network or the protocol did not carry it. Where the axis is loss, \
                           the dashed line is what repair of single packets keeps of the first point on a link that is \
                           always full.";
    let cells = &input.saved.result.cells;
    let axis = SweepAxis::of(cells);
    let order = axis.order();
    let ends = [order.first(), order.last()]
        .map(|index| index.map_or(0.0, |&index| cells[index].metrics.throughput.goodput_bytes_per_s));
    let ends = ends.map(format::byte_rate);
    let same = |cell: &Cell| format::byte_rate(cell.metrics.throughput.goodput_bytes_per_s) == ends[0];
    let title = if cells.iter().all(same) {
        canvas::fitting_title(named(format!("goodput is {} in all {} cells", ends[0], cells.len()), input))
    } else {
        title(&format!("goodput goes from {} to {}", ends[0], ends[1]), &axis, input)
    };
    let words = input.words(title.clone(), input.subtitle(&cells_and_repeats(cells)));
    let quantity = Quantity {
        name: "goodput",
        stroke: Stroke::new(BLUE, 7),
        marker: Marker::Circle,
        value: |metrics| Some(metrics.throughput.goodput_bytes_per_s / 1e3),
    };
    let theory = axis.is_loss.then(|| kept_by_repeat(&axis, cells));
    let svg = canvas::draw(ID, &words, |canvas| {
        let mut all = values(cells, std::slice::from_ref(&quantity));
        all.extend(theory.iter().flatten().map(|point| point.1));
        let y = Axis::from_zero(all.into_iter().fold(0.0, f64::max), "goodput (kB/s)");
        let panel = Panel::new(canvas, frame(), axis.axis(), y, Labels::Shown)?;
        let mut entries = vec![quantity.entry()];
        if let Some(theory) = &theory {
            let stroke = Stroke::new(MUTED, 4).dash(Dash::Dashed);
            panel.line(theory, stroke)?;
            entries.push(Entry::new(stroke, "full link: × (1 − p)"));
        }
        paint_quantity(&panel, &axis, cells, &quantity)?;
        // The title of the y axis says what a single series is.
        if entries.len() > 1 { legend(&panel, frame().top + 20, &entries) } else { Ok(()) }
    })?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Goodput across the sweep",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

pub(super) fn latency(input: &Input<'_>) -> Result<Outcome, ReportError> {
    const ID: &str = "sweep_latency";
    const READING: &str = "Half of all deliveries are faster than p50, one in a hundred is slower than p99. A point on the \
                           rail marked lost means that so many messages never arrived that the percentile does not exist.";
    let cells = &input.saved.result.cells;
    let axis = SweepAxis::of(cells);
    let quantities = [
        Quantity {
            name: "p99.9",
            stroke: Stroke::new(PURPLE, 5).dash(Dash::Dotted),
            marker: Marker::Triangle,
            value: |metrics| ms(metrics.latency.delivery.p99_9_us),
        },
        Quantity {
            name: "p99",
            stroke: Stroke::new(VERMILION, 6).dash(Dash::Dashed),
            marker: Marker::Square,
            value: |metrics| ms(metrics.latency.delivery.p99_us),
        },
        Quantity {
            name: "p50",
            stroke: Stroke::new(BLUE, 7),
            marker: Marker::Circle,
            value: |metrics| ms(metrics.latency.delivery.p50_us),
        },
    ];
    let all = values(cells, &quantities);
    if all.is_empty() {
        return Ok(Outcome::Absent { id: ID, reason: "no cell has a latency" });
    }
    let order = axis.order();
    let p99 = |index: Option<&usize>| {
        let delivery = index.map(|&index| &cells[index].metrics.latency.delivery);
        delivery.map_or("–".to_owned(), |delivery| format::percentile(delivery, delivery.p99_us))
    };
    let ends = (p99(order.first()), p99(order.last()));
    let title = title(&format!("p99 goes from {} to {}", ends.0, ends.1), &axis, input);
    let words = input.words(title.clone(), input.subtitle(&cells_and_repeats(cells)));
    let low = all.iter().copied().fold(f64::INFINITY, f64::min).max(0.001);
    let high = all.iter().copied().fold(0.001, f64::max);
    let svg = canvas::draw(ID, &words, |canvas| {
        let y = Axis::log(low, high, "delivery latency (ms)");
        let panel = Panel::new(canvas, frame(), axis.axis(), y, Labels::Shown)?;
        for quantity in &quantities {
            paint_quantity(&panel, &axis, cells, quantity)?;
        }
        paint_lost(canvas, &panel, &axis, cells)?;
        let entries = quantities.each_ref().map(Quantity::entry);
        legend(&panel, frame().top + 20, &entries)
    })?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Latency across the sweep",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// What a message costs on the wire, for those who wonder what a latency was bought with.
pub(super) fn wire(input: &Input<'_>) -> Result<Outcome, ReportError> {
    const ID: &str = "sweep_wire";
    const READING: &str = "All bytes on the emulated links, with headers, acknowledgements and repeats, for each message \
                           that was sent. A lower latency at more bytes is another trade, not a better transport.";
    let cells = &input.saved.result.cells;
    let axis = SweepAxis::of(cells);
    let quantities = [
        Quantity {
            name: "up",
            stroke: Stroke::new(BLUE, 7),
            marker: Marker::Circle,
            value: |metrics| metrics.wire.up_bytes_per_message,
        },
        Quantity {
            name: "down",
            stroke: Stroke::new(VERMILION, 6).dash(Dash::Dashed),
            marker: Marker::Square,
            value: |metrics| metrics.wire.down_bytes_per_message,
        },
    ];
    let all = values(cells, &quantities);
    if all.is_empty() {
        return Ok(Outcome::Absent { id: ID, reason: "no link was emulated" });
    }
    let order = axis.order();
    let up = |index: Option<&usize>| {
        let bytes = index.and_then(|&index| cells[index].metrics.wire.up_bytes_per_message);
        bytes.map_or("–".to_owned(), |bytes| format!("{bytes:.0} B"))
    };
    let ends = (up(order.first()), up(order.last()));
    let title = title(&format!("a message costs {} to {} up", ends.0, ends.1), &axis, input);
    let words = input.words(title.clone(), input.subtitle(&cells_and_repeats(cells)));
    let svg = canvas::draw(ID, &words, |canvas| {
        let y = Axis::from_zero(all.iter().copied().fold(0.0, f64::max), "bytes on the wire a message");
        let panel = Panel::new(canvas, frame(), axis.axis(), y, Labels::Shown)?;
        for quantity in &quantities {
            paint_quantity(&panel, &axis, cells, quantity)?;
        }
        let entries = quantities.each_ref().map(Quantity::entry);
        legend(&panel, frame().top + 20, &entries)
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

/// `finding` with the range of the axis, or with as much of it as fits.
fn title(finding: &str, axis: &SweepAxis, input: &Input<'_>) -> String {
    let across = format!("{finding} across {} cells", axis.positions.len());
    let mut titles = vec![format!("{finding}{} — {}", axis.range(), input.origin.name)];
    titles.extend(named(across, input));
    canvas::fitting_title(titles)
}

/// With the scenario's name, and without.
fn named(finding: String, input: &Input<'_>) -> Vec<String> {
    vec![format!("{finding} — {}", input.origin.name), finding]
}

fn ms(us: Option<u64>) -> Option<f64> {
    us.map(|us| us.max(1) as f64 / 1e3)
}

fn frame() -> Frame {
    Frame { left: 300, right: WIDTH - 560, top: 270, bottom: HEIGHT - 220 }
}

fn cells_and_repeats(cells: &[Cell]) -> String {
    let repeats = cells.iter().map(|cell| cell.repeats.len().max(1)).max().unwrap_or(1);
    let bars = if repeats > 1 { "; bars span the repeats" } else { "" };
    format!("{} cells × {repeats} repeat{}{bars}", cells.len(), if repeats == 1 { "" } else { "s" })
}

/// Every value that will be drawn, for the range of the axis.
fn values(cells: &[Cell], quantities: &[Quantity]) -> Vec<f64> {
    let metrics = || {
        cells.iter().flat_map(|cell| cell.repeats.iter().map(|repeat| &repeat.metrics).chain([&cell.metrics]))
    };
    quantities.iter().flat_map(|quantity| metrics().filter_map(quantity.value)).collect()
}

/// The first point's goodput scaled by what remains of each later packet stream.
fn kept_by_repeat(axis: &SweepAxis, cells: &[Cell]) -> Vec<(f64, f64)> {
    let order = axis.order();
    let Some(&first) = order.first() else { return Vec::new() };
    let base = cells[first].metrics.throughput.goodput_bytes_per_s / 1e3;
    let kept = |index: usize| 1.0 - axis.positions[index] / 100.0;
    let base = base / kept(first).max(1e-9);
    order.into_iter().map(|index| (axis.positions[index], base * kept(index))).collect()
}

fn paint_quantity(
    panel: &Panel<'_, '_>,
    axis: &SweepAxis,
    cells: &[Cell],
    quantity: &Quantity,
) -> Result<(), DrawError> {
    let mut line = Vec::new();
    for index in axis.order() {
        let (x, cell) = (axis.positions[index], &cells[index]);
        let repeats: Vec<f64> =
            cell.repeats.iter().filter_map(|repeat| (quantity.value)(&repeat.metrics)).collect();
        if repeats.len() > 1 {
            let low = repeats.iter().copied().fold(f64::INFINITY, f64::min);
            let high = repeats.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            paint_bar(panel, x, (low, high), quantity.stroke)?;
        }
        if let Some(value) = (quantity.value)(&cell.metrics) {
            line.push((x, value));
        }
    }
    // Categories have no in-between, so no line joins them.
    if axis.names.is_empty() {
        panel.line(&line, quantity.stroke)?;
    }
    panel.markers(&line, quantity.marker, quantity.stroke.color)
}

fn paint_bar(
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

/// A mark on the rail for each cell whose p99 or p99.9 falls among lost messages.
fn paint_lost(
    canvas: &Canvas<'_>,
    panel: &Panel<'_, '_>,
    axis: &SweepAxis,
    cells: &[Cell],
) -> Result<(), DrawError> {
    let rail = panel.frame.top - 40;
    let is_lost = |summary: &LatencySummary, value: Option<u64>| summary.count > 0 && value.is_none();
    let mut any = false;
    for (index, cell) in cells.iter().enumerate() {
        let delivery = &cell.metrics.latency.delivery;
        let highest = [(delivery.p50_us, "p50"), (delivery.p99_us, "p99"), (delivery.p99_9_us, "p99.9")];
        if let Some((_, name)) = highest.into_iter().find(|(value, _)| is_lost(delivery, *value)) {
            let x = panel.pixel((axis.positions[index], 1.0)).0;
            let look = Look::new(SMALL, Anchor::Center).color(INK);
            canvas.text((x, rail), name, look)?;
            any = true;
        }
    }
    if any {
        let look = Look::new(SMALL, Anchor::Right).color(INK);
        canvas.text((panel.frame.left - 18, rail), "lost from", look)?;
    }
    Ok(())
}
