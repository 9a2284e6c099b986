//! Did the emulated link do what it was told? Configured against measured loss and delay, for each direction.
//!
//! A tool that loses packets on purpose has to show that it lost the right ones: a run whose link did something else says
//! nothing about the transport. Loss is the share of offered packets that the loss stage dropped, with Wilson's 95 %
//! interval; delay is what packets spent in the link, queueing included, so it may lie above what was set.

use crate::records::RunFile;
use crate::report::format;
use crate::report::origin::cell_name;
use crate::report::saved::ReportError;
use crate::result::{Cell, DirectionFacts, LinkDirection, SelfCheck};
use crate::stats::wilson;

use super::axis::Axis;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::input::ms;
use super::palette::{BLUE, INK, MUTED, VERMILION};
use super::panel::{Frame, Labels, Marker, Panel, Stroke};
use super::{Figure, Input, Outcome};

const ID: &str = "link_self_check";
const READING: &str = "The upright tick is what was configured, the dot what was measured; the bar through it is the 95 % \
                       interval of the loss, and from p50 to p99 of the delay. A tick outside the bar of its loss \
                       deserves a look: one in twenty is chance. Losses in bursts or changed on the way have no bar.";

/// One direction of one cell.
struct Row {
    name: String,
    /// Share of packets: least and most of the links that were configured, measured, and its interval.
    loss_set: (f64, f64),
    loss_seen: f64,
    /// `None` where losses come in bursts or are changed on the way: Wilson's takes packets for independent.
    loss_between: Option<(f64, f64)>,
    /// Milliseconds: set, and p50 and p99 as seen.
    delay_set: (f64, f64),
    delay_seen: Option<(f64, f64)>,
    packets: u64,
    check: SelfCheck,
}

impl Row {
    /// How far the measured loss is from what was set, in half widths of its interval; 0 without one.
    fn surprise(&self) -> f64 {
        let Some(between) = self.loss_between else { return 0.0 };
        let half = (between.1 - between.0).max(1e-12) / 2.0;
        let off = (self.loss_set.0 - self.loss_seen).max(self.loss_seen - self.loss_set.1).max(0.0);
        off / half
    }
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let of_cell = |(index, cell)| rows(cell, cells.len() > 1, &input.of_cell(index, 0));
    let mut rows: Vec<Row> = cells.iter().enumerate().flat_map(of_cell).collect();
    if rows.is_empty() {
        return Ok(Outcome::Absent { id: ID, reason: "no link was emulated" });
    }
    let all = rows.len();
    let failed = cells.iter().filter(|cell| cell.metrics.link.self_check == SelfCheck::Fail).count();
    let checked = cells.iter().filter(|cell| cell.metrics.link.self_check != SelfCheck::None).count();
    let outside = rows.iter().filter(|row| row.surprise() > 1.0).count();
    let judged = rows.iter().filter(|row| row.loss_between.is_some()).count();
    if all > MOST_ROWS {
        rows.sort_by(|a, b| b.surprise().total_cmp(&a.surprise()));
        rows.truncate(MOST_ROWS);
    }
    let verdict = match (checked, failed) {
        (0, _) => "the link was not checked".to_owned(),
        (_, 0) if cells.len() == 1 => "the link did what it was told".to_owned(),
        (_, 0) => format!("the links of all {checked} cells did what they were told"),
        _ if cells.len() == 1 => "the link did not do what it was told".to_owned(),
        (_, failed) => format!("the links of {failed} of {checked} cells did not do what they were told"),
    };
    let outside = match judged {
        0 => String::new(),
        judged => format!("; {outside} of {judged} losses outside their 95 % interval"),
    };
    let title = input.title(&format!("{verdict}{outside}"));
    let shown = if all > MOST_ROWS {
        format!("the {MOST_ROWS} furthest off of {all} directions")
    } else {
        String::new()
    };
    let words = input.words(&title, input.extent(&shown));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &rows))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Link self-check",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// Both directions of a cell; counters add up all links, so several configured ones are a range.
fn rows(cell: &Cell, is_named: bool, runs: &[&RunFile]) -> Vec<Row> {
    let up: Vec<&DirectionFacts> = cell.links.iter().map(|link| &link.up).collect();
    let down: Vec<&DirectionFacts> = cell.links.iter().map(|link| &link.down).collect();
    let seen = &cell.metrics.link;
    let is_steady = runs.iter().flat_map(|run| &run.weather).all(|span| !span.what.contains("loss"));
    let row = |(name, facts, direction): (&str, Vec<&DirectionFacts>, &LinkDirection)| {
        if direction.offered == 0 {
            return None;
        }
        let range = |value: fn(&DirectionFacts) -> f64| {
            let values = || facts.iter().map(|facts| value(facts));
            (values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max))
        };
        Some(Row {
            name: if is_named { format!("{name}, {}", cell_name(cell)) } else { name.to_owned() },
            loss_set: range(|facts| facts.loss),
            loss_seen: direction.dropped_loss as f64 / direction.offered as f64,
            loss_between: (is_steady && facts.iter().all(|facts| is_independent(facts)))
                .then(|| wilson(direction.dropped_loss, direction.offered)),
            delay_set: range(|facts| facts.delay_us as f64 / 1e3),
            delay_seen: direction
                .delay_p50_us
                .zip(direction.delay_p99_us)
                .map(|(p50, p99)| (ms(p50), ms(p99))),
            packets: direction.offered,
            check: seen.self_check,
        })
    };
    if cell.links.is_empty() {
        return Vec::new();
    }
    [("up", up, &seen.up), ("down", down, &seen.down)].into_iter().filter_map(row).collect()
}

/// Whether each packet is lost by itself: `loss=10%` and not `loss=burst(10%,len=5)`.
fn is_independent(facts: &DirectionFacts) -> bool {
    let loss = facts.spec.split_whitespace().find_map(|word| word.strip_prefix("loss="));
    loss.is_none_or(|loss| loss.starts_with(|first: char| first.is_ascii_digit() || first == '.'))
}

fn paint(canvas: &Canvas<'_>, rows: &[Row]) -> Result<(), DrawError> {
    let look = Look::new(SMALL, Anchor::Right);
    let mut left = 260;
    for row in rows {
        left = left.max(canvas.text_width(&row.name, look)? + 110);
    }
    let left = left.min(WIDTH / 3);
    let (middle, right) = ((left + WIDTH - 380) / 2, WIDTH - 380);
    let (top, bottom) = (260, HEIGHT - 220);
    let between = |row: &Row| row.loss_between.unwrap_or((row.loss_seen, row.loss_seen));
    let most = rows.iter().map(|row| between(row).1.max(row.loss_set.1)).fold(0.0, f64::max) * 100.0;
    let least = rows.iter().map(|row| between(row).0.min(row.loss_set.0)).fold(1.0, f64::min) * 100.0;
    // One loss, seen to a hundredth of it, would be a dot on its tick on an axis from zero.
    let x = if most - least < most * 0.5 && most > 0.0 {
        let margin = (most - least).max(most * 0.02) * 0.6;
        Axis::linear((least - margin).max(0.0), most + margin, "loss (% of packets)")
    } else {
        Axis::from_zero(most.max(0.1), "loss (% of packets)")
    };
    let loss = panel(canvas, rows.len(), Frame { left, right: middle - 60, top, bottom }, x)?;
    let delays = || {
        rows.iter().flat_map(|row| {
            row.delay_seen
                .into_iter()
                .flat_map(|seen| [seen.0, seen.1])
                .chain([row.delay_set.0, row.delay_set.1])
        })
    };
    let (low, high) =
        (delays().filter(|ms| *ms > 0.0).fold(f64::INFINITY, f64::min), delays().fold(0.0, f64::max));
    let x = if high > low * 8.0 {
        Axis::log(low, high, "delay in the link (ms)")
    } else {
        Axis::from_zero(high, "delay in the link (ms)")
    };
    let delay = panel(canvas, rows.len(), Frame { left: middle + 20, right, top, bottom }, x)?;
    for (index, row) in (0..).zip(rows) {
        let y = f64::from(rows.len() as i32 - 1 - index);
        draw_row(
            &loss,
            y,
            (row.loss_set.0 * 100.0, row.loss_set.1 * 100.0),
            (between(row).0 * 100.0, row.loss_seen * 100.0, between(row).1 * 100.0),
        )?;
        if let Some((p50, p99)) = row.delay_seen {
            draw_row(&delay, y, row.delay_set, (p50, p50, p99))?;
        }
        let at = loss.pixel((least, y)).1;
        canvas.text((left - 24, at), &canvas.fitted(&row.name, look, left - 60)?, look)?;
        let (word, color) = match row.check {
            SelfCheck::Pass => ("pass", INK),
            SelfCheck::Fail => ("FAIL", VERMILION),
            SelfCheck::None => ("not checked", MUTED),
        };
        let note = Look::new(SMALL, Anchor::Left).color(color);
        canvas.text((right + 24, at), word, note)?;
        if rows.len() <= 12 {
            let packets = format!("{} packets", format::count(row.packets));
            canvas.text((right + 24, at + 42), &packets, note.color(MUTED))?;
        }
    }
    Ok(())
}

fn panel<'c, 'a>(
    canvas: &'c Canvas<'a>,
    rows: usize,
    frame: Frame,
    x: Axis,
) -> Result<Panel<'c, 'a>, DrawError> {
    let mut y = Axis::linear(-0.6, rows as f64 - 0.4, "");
    y.ticks.clear();
    Panel::new(canvas, frame, x.at_most(7), y, Labels::Shown)
}

/// A tick (or a block, for several links) for what was set; dot and bar for what was seen.
fn draw_row(
    panel: &Panel<'_, '_>,
    y: f64,
    set: (f64, f64),
    (low, seen, high): (f64, f64, f64),
) -> Result<(), DrawError> {
    let half =
        ((panel.frame.bottom - panel.frame.top) as f64 / (panel.y.to - panel.y.from) * 0.3).min(60.0) as i32;
    let place = |value: f64| panel.pixel((value.max(1e-6), y));
    let (from, to) = (place(set.0), place(set.1));
    panel.veil((from.0 - 4, from.1 - half), (to.0 + 4, to.1 + half), MUTED, 0.75)?;
    let (low, high) = (place(low), place(high));
    panel.stroke(low, high, Stroke::new(BLUE, 8))?;
    for end in [low, high] {
        panel.stroke((end.0, end.1 - 16), (end.0, end.1 + 16), Stroke::new(BLUE, 5))?;
    }
    panel.mark(place(seen), Marker::Circle, BLUE)
}

/// More rows than these cannot be named.
const MOST_ROWS: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn only_packets_that_are_lost_by_themselves_have_an_interval() {
        let mut saved = synthetic::chat(&Shape { clients: 10, steady_s: 4, ..Shape::default() }, 1);
        let (cell, run) = (&mut saved.result.cells[0], &mut saved.runs[0]);
        let mut judged = |spec: &str, weather: &str| {
            cell.links[0].up.spec = spec.to_owned();
            run.weather =
                vec![crate::records::WeatherSpan { what: weather.to_owned(), ..Default::default() }];
            rows(cell, false, &[run])[0].loss_between.is_some()
        };
        assert!(judged("loss=10% delay=50ms", "delay=20ms") && judged("delay=50ms", "blackout"));
        assert!(!judged("loss=burst(10%,len=5) delay=50ms", ""));
        assert!(!judged("loss=10%", "loss=5% delay=90ms"));
    }
}
