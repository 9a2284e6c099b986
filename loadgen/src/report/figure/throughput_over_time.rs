//! Messages, deliveries and bytes over time, in three panels on one axis.
//!
//! Three panels and not one, because a room fans one message out to many recipients: on a shared axis the sent line would
//! lie on zero. All axes begin at zero; a rate drawn from elsewhere exaggerates. The lowest panel has goodput beside what
//! it cost on the links, repeats and headers included, below the capacity of the links where that is in reach.

use serde_json::Value;

use crate::records::{Interval, RunFile};
use crate::report::format;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::canvas::{self, Canvas, DrawError, HEIGHT, WIDTH};
use super::direct::{Tag, tags};
use super::health;
use super::palette::{BLUE, GREEN, INK, MUTED, ORANGE, SKY, VERMILION};
use super::panel::{Dash, Frame, Labels, Panel, Stroke};
use super::timeline::{Names, Timeline};
use super::{Figure, Input, Outcome};

const ID: &str = "throughput_over_time";
const READING: &str = "Sent should lie on intended: a gap is the sender being held back. Deliveries follow sent, multiplied \
                       by the recipients of each message; a dip with a later peak is a delay, a dip without one is loss. \
                       Between goodput and the wire lies what headers, acknowledgements and repeats cost.";

/// One line of one panel.
struct Series {
    points: Vec<(f64, f64)>,
    stroke: Stroke,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let Some(run) = input.featured().filter(|run| run.intervals.rows.iter().any(|row| row.intended > 0))
    else {
        return Ok(Outcome::Absent { id: ID, reason: "no message was meant to be sent" });
    };
    let throughput = &run.metrics.throughput;
    let capacity = capacity(&input.saved.result.scenario, run);
    let wire = mean_wire(run);
    let used = capacity
        .filter(|_| wire > 0.0)
        .map(|capacity| format!(", {} of the links' capacity", format::percent(wire / capacity)));
    let title = input.title(&format!(
        "{} deliveries/s, {} goodput{}",
        format::significant(throughput.delivered_per_s),
        format::byte_rate(throughput.goodput_bytes_per_s),
        used.unwrap_or_default()
    ));
    let width = super::input::seconds(run.intervals.width_us);
    let words = input.words(&title, input.subtitle(&format!("intervals of {width}{}", input.which(run))));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, run, capacity, input))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Throughput over time",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// Bits a second that all emulated links together carry in both directions; `None` where one has no limit or it is not
/// known how many clients are behind which link.
fn capacity(scenario: &Value, run: &RunFile) -> Option<f64> {
    let groups = scenario.get("clients")?.as_array()?;
    let mut sum = 0.0;
    for group in groups {
        let name = group.get("link").and_then(Value::as_str);
        let Some(name) = name else { continue };
        let facts = run.links.iter().find(|link| link.name == name)?;
        let scope = scenario.get("link").and_then(|links| links.get(name)?.get("scope")?.as_str());
        let of_group = run
            .clients
            .iter()
            .filter(|client| group.get("name").and_then(Value::as_str) == Some(&client.group));
        // The scenario is that of the first cell; what a sweep made of it stands with the run. Records list some clients only.
        let path = format!("clients.{}.count", group.get("name").and_then(Value::as_str).unwrap_or_default());
        let count = run.axes.get(&path).or_else(|| group.get("count")).and_then(Value::as_f64);
        let count = count.unwrap_or(of_group.count() as f64);
        let each = facts.up.rate_bps? as f64 + facts.down.rate_bps? as f64;
        sum += if scope == Some("shared") { each } else { each * count };
    }
    (sum > 0.0).then_some(sum)
}

/// Bits a second on the links while messages were recorded.
fn mean_wire(run: &RunFile) -> f64 {
    let recorded = run.phases.iter().filter(|phase| phase.recorded);
    let width = run.intervals.width_us.max(1);
    let indices: Vec<u64> =
        recorded.flat_map(|phase| (phase.from_us / width)..(phase.until_us / width)).collect();
    let rows = indices.iter().filter_map(|&index| run.intervals.rows.get(index as usize));
    let bytes: u64 = rows.map(|row| row.up_bytes + row.down_bytes).sum();
    bytes as f64 * 8.0 / (indices.len().max(1) as f64 * width as f64 / 1e6)
}

/// What the y axis of bits is divided by, and its unit.
fn bit_unit(most: f64) -> (f64, &'static str) {
    match most {
        most if most >= 2e9 => (1e9, "Gbit/s"),
        most if most >= 2e6 => (1e6, "Mbit/s"),
        _ => (1e3, "kbit/s"),
    }
}

fn rate(run: &RunFile, end: f64, value: impl Fn(&Interval) -> u64) -> Vec<(f64, f64)> {
    let width = run.intervals.width_us as f64 / 1e6;
    // The last interval may have been cut short, which would look like a fall.
    let whole = ((end / width).floor() as usize).max(1);
    let rows = run.intervals.rows.iter().take(whole);
    let mut points: Vec<(f64, f64)> =
        rows.enumerate().map(|(index, row)| (index as f64 * width, value(row) as f64 / width)).collect();
    // A step line needs the end of its last step.
    points.extend(points.last().map(|&(_, value)| (whole as f64 * width, value)));
    super::bins::thin(&points, 600)
}

fn panels(run: &RunFile, end: f64, capacity: Option<f64>) -> Vec<(String, Vec<Series>)> {
    let line = |points, stroke, name: &str| Series { points, stroke, name: name.to_owned() };
    let messages = vec![
        line(rate(run, end, |row| row.sent), Stroke::new(SKY, 11), "sent"),
        line(rate(run, end, |row| row.intended), Stroke::new(INK, 4).dash(Dash::Dashed), "intended"),
    ];
    let mut deliveries = vec![line(rate(run, end, |row| row.delivered), Stroke::new(GREEN, 6), "delivered")];
    if run.intervals.rows.iter().any(|row| row.retransmits > 0) {
        let stroke = Stroke::new(VERMILION, 4).dash(Dash::Dotted);
        deliveries.push(line(rate(run, end, |row| row.retransmits), stroke, "retransmitted packets/s"));
    }
    let wire = rate(run, end, |row| (row.up_bytes + row.down_bytes) * 8);
    let goodput = rate(run, end, |row| row.delivered_bytes * 8);
    let most = wire.iter().chain(&goodput).map(|point| point.1).fold(0.0, f64::max);
    let shown = capacity.filter(|&capacity| capacity < most * IN_REACH);
    let (unit, name) = bit_unit(shown.unwrap_or(0.0).max(most));
    let scaled = |points: Vec<(f64, f64)>| points.into_iter().map(|(x, y)| (x, y / unit)).collect::<Vec<_>>();
    let mut bytes = Vec::new();
    if wire.iter().any(|point| point.1 > 0.0) {
        bytes.push(line(scaled(wire), Stroke::new(BLUE, 4).dash(Dash::Dashed), "on the wire"));
    }
    bytes.push(line(scaled(goodput), Stroke::new(ORANGE, 6), "goodput"));
    if let Some(capacity) = shown {
        let points = vec![(0.0, capacity / unit), (end, capacity / unit)];
        bytes.push(line(points, Stroke::new(MUTED, 4), CAPACITY));
    }
    vec![
        ("messages/s".to_owned(), messages),
        ("deliveries/s".to_owned(), deliveries),
        (name.to_owned(), bytes),
    ]
}

fn paint(
    canvas: &Canvas<'_>,
    run: &RunFile,
    capacity: Option<f64>,
    input: &Input<'_>,
) -> Result<(), DrawError> {
    let timeline = Timeline::of(run);
    let panels = panels(run, timeline.end, capacity);
    let (top, bottom, gap) = (230, HEIGHT - 220 - health::ROOM, 46);
    let height = (bottom - top - gap * 2) / 3;
    let x = Axis::linear(0.0, timeline.end, "time (s since the first phase began)");
    let mut frame = Frame { left: 300, right: WIDTH - 560, top, bottom: top + height };
    for (index, (unit, lines)) in panels.iter().enumerate() {
        frame.top = top + index as i32 * (height + gap);
        frame.bottom = frame.top + height;
        let max = lines.iter().flat_map(|line| &line.points).map(|point| point.1).fold(0.0, f64::max);
        let y = Axis::from_zero(max, unit).at_most(5);
        let panel = Panel::new(canvas, frame, x.clone(), y, Labels::Hidden)?;
        timeline.shade(&panel, if index == 0 { Names::Bottom } else { Names::Hidden })?;
        let mut names = Vec::new();
        for line in lines {
            if line.name == CAPACITY {
                panel.area(&line.points, MUTED, 0.12)?;
            }
            panel.steps(&line.points, line.stroke)?;
            let end = line.points.last().map(|&point| panel.pixel(point).1);
            names.push(Tag::new(end, line.stroke, line.name.clone()));
        }
        // Between the panels and the strip there is no room for names.
        tags(canvas, &panel, (frame.top - 20, frame.bottom + 22), &names)?;
    }
    health::strip(canvas, frame, x, run, input)
}

const CAPACITY: &str = "capacity of the links";
/// A capacity that is further above everything else would leave a flat line at the bottom.
const IN_REACH: f64 = 4.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn capacity_is_that_of_every_client_unless_it_is_shared() {
        let shape = Shape { clients: 10, steady_s: 2, rate_bps: Some(1_000_000), ..Shape::default() };
        let run = synthetic::chat(&shape, 1).runs.remove(0);
        let clients = json!([{"name": "chat", "count": 10, "link": "lossy"}]);
        assert_eq!(capacity(&json!({"clients": clients}), &run), Some(20e6));
        let link = json!({"lossy": {"scope": "shared"}});
        assert_eq!(capacity(&json!({"clients": clients, "link": link}), &run), Some(2e6));
        assert_eq!(capacity(&json!({}), &run), None);
    }
}
