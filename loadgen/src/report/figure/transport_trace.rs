//! What one connection's congestion control did: window, timers and events, three panels on one time axis.
//!
//! The first traced client of the run that figures over time show (or of the first run that was traced) is shown, from the
//! end that told more: of a bulk sender that is the client. Window and in-flight are drawn as steps, since between two events nothing changes; they are thinned by
//! extremes, so that every dip of a sawtooth survives.

use crate::record::{Side, TraceEvent, TraceRow};
use crate::records::RunFile;
use crate::report::format;
use crate::report::saved::ReportError;

use super::axis::Axis;
use super::bins::thin;
use super::canvas::{self, Anchor, Canvas, DrawError, HEIGHT, Look, SMALL, WIDTH};
use super::palette::{BLUE, GREEN, MUTED, ORANGE, PURPLE, SKY, VERMILION};
use super::panel::{Dash, Entry, Frame, Labels, Panel, Stroke, legend};
use super::timeline::{Names, Timeline};
use super::{Figure, Input, Outcome};

const ID: &str = "transport_trace";
const READING: &str = "The window (cwnd) climbs while acknowledgements arrive, exponentially below ssthresh and by a segment a \
                       round trip above it; it drops at a fast retransmit and falls to its minimum at a timeout. BBR sets it \
                       from a model of the path and lets its pacing hold packets back. In flight below cwnd means \
                       pacing, or that the application had nothing more to send.";

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let traced = traced_run(input);
    let trace = traced.map_or_else(Vec::new, |(cell, repeat)| first_trace(&input.saved.traces, cell, repeat));
    let [first, .., last] = trace.as_slice() else {
        return Ok(Outcome::Absent {
            id: ID,
            reason: "no connection was traced (measure.traces.clients is 0)",
        });
    };
    let count = |event| trace.iter().filter(|row| row.event == event).count() as u64;
    let title = input.title(&format!(
        "{}, {}, cwnd up to {}",
        format::plural(count(TraceEvent::FastRetransmit), "fast retransmit"),
        format::plural(count(TraceEvent::Timeout), "timeout"),
        format::window(trace.iter().map(|row| row.cwnd_bytes).max().unwrap_or(0)),
    ));
    let end = match first.side {
        Side::Client => "client's end",
        Side::Server => "server's end",
    };
    let run = input.runs.iter().find(|run| Some((run.cell, run.repeat)) == traced && run.arm == 0);
    let of = run.map_or_else(String::new, |run| of_run(input, run));
    let what = format!("client {}, {end}, {} events{of}", first.client, format::count(trace.len() as u64));
    let words = input.words(&title, input.subtitle(&what));
    let span = (seconds(first), seconds(last));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &trace, span, run.map(Timeline::of).as_ref()))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Congestion control of one connection",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

/// The run that other figures show if it was traced, else the first that was.
pub(super) fn traced_run(input: &Input<'_>) -> Option<(u32, u32)> {
    let traces = &input.saved.traces;
    let featured = input.featured().map(|run| (run.cell, run.repeat));
    let is_traced = |run: &(u32, u32)| traces.iter().any(|row| (row.cell, row.repeat) == *run);
    featured.filter(is_traced).or_else(|| traces.iter().map(|row| (row.cell, row.repeat)).min())
}

/// Which cell and repeat, where there is more than one.
fn of_run(input: &Input<'_>, run: &RunFile) -> String {
    let cells = input.cells();
    let mut text = String::new();
    if cells.len() > 1 {
        let name = cells.get(run.cell as usize).map(crate::report::origin::cell_name);
        text.push_str(&format!(" · {}", name.unwrap_or_default()));
    }
    let repeats = input.of_cell(run.cell as usize, 0).len();
    if repeats > 1 {
        text.push_str(&format!(" · repeat {} of {repeats}", run.repeat + 1));
    }
    text
}

/// First traced client of a run, the side with more rows, by time.
pub(super) fn first_trace(rows: &[TraceRow], cell: u32, repeat: u32) -> Vec<&TraceRow> {
    let mut rows: Vec<&TraceRow> =
        rows.iter().filter(|row| (row.cell, row.repeat) == (cell, repeat)).collect();
    let Some(client) = rows.iter().map(|row| row.client).min() else { return Vec::new() };
    rows.retain(|row| row.client == client);
    let of_client = rows.iter().filter(|row| row.side == Side::Client).count();
    let side = if of_client * 2 >= rows.len() { Side::Client } else { Side::Server };
    rows.retain(|row| row.side == side);
    rows.sort_by_key(|row| row.at_us);
    rows
}

fn seconds(row: &TraceRow) -> f64 {
    row.at_us as f64 / 1e6
}

fn kib(bytes: u64) -> f64 {
    bytes as f64 / 1024.0
}

fn paint(
    canvas: &Canvas<'_>,
    trace: &[&TraceRow],
    (start, end): (f64, f64),
    timeline: Option<&Timeline>,
) -> Result<(), DrawError> {
    let start = if start < end * 0.1 { 0.0 } else { start };
    let x = Axis::linear(start, end, "time (s since the first phase began)");
    let frame = |top, bottom| Frame { left: 300, right: WIDTH - 520, top, bottom };
    paint_window(canvas, trace, frame(230, 900), (x.clone(), timeline))?;
    paint_timers(canvas, trace, frame(960, 1290), (x.clone(), timeline))?;
    paint_events(canvas, trace, frame(1340, HEIGHT - 220), (x, timeline))
}

fn paint_window(
    canvas: &Canvas<'_>,
    trace: &[&TraceRow],
    frame: Frame,
    (x, timeline): Ground<'_>,
) -> Result<(), DrawError> {
    let line = |value: fn(&TraceRow) -> u64| -> Vec<(f64, f64)> {
        let points: Vec<(f64, f64)> = trace.iter().map(|row| (seconds(row), kib(value(row)))).collect();
        thin(&points, COLUMNS)
    };
    let cwnd = line(|row| row.cwnd_bytes);
    let in_flight = line(|row| row.in_flight_bytes);
    let limits: Vec<(f64, f64)> =
        trace.iter().filter_map(|row| Some((seconds(row), kib(row.ssthresh_bytes?)))).collect();
    let data_max = cwnd.iter().chain(&in_flight).map(|point| point.1).fold(0.0, f64::max);
    // An initial ssthresh far above any window would flatten the picture; it is cut at the top and the legend says so.
    let ceiling = data_max * 1.5;
    let cut = limits.iter().any(|point| point.1 > ceiling);
    let limits: Vec<(f64, f64)> = limits.into_iter().filter(|point| point.1 <= ceiling).collect();
    let max = limits.iter().map(|point| point.1).fold(data_max, f64::max);
    let panel = Panel::new(canvas, frame, x, Axis::from_zero(max, "window (KiB)"), Labels::Hidden)?;
    shade(&panel, timeline, Names::Top)?;
    panel.area(&in_flight, SKY, 0.35)?;
    let (window, threshold) = (Stroke::new(BLUE, 6), Stroke::new(VERMILION, 4).dash(Dash::Dashed));
    panel.steps(&thin(&limits, COLUMNS), threshold)?;
    panel.steps(&cwnd, window)?;
    let entries = [
        Entry::new(window, "cwnd"),
        Entry::new(threshold, if cut { "ssthresh (where in range)" } else { "ssthresh" }),
        Entry::new(Stroke::new(SKY, 30).alpha(0.5), "in flight"),
    ];
    legend(&panel, frame.top + 24, &entries)
}

fn paint_timers(
    canvas: &Canvas<'_>,
    trace: &[&TraceRow],
    frame: Frame,
    (x, timeline): Ground<'_>,
) -> Result<(), DrawError> {
    let ms = |us: u64| us.max(1) as f64 / 1e3;
    let rto: Vec<(f64, f64)> = trace.iter().map(|row| (seconds(row), ms(row.rto_us))).collect();
    let srtt: Vec<(f64, f64)> =
        trace.iter().filter_map(|row| Some((seconds(row), ms(row.srtt_us?)))).collect();
    let least: Vec<(f64, f64)> =
        trace.iter().filter_map(|row| Some((seconds(row), ms(row.min_rtt_us?)))).collect();
    let all = || rto.iter().chain(&srtt).chain(&least).map(|point| point.1);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let y = if high > low * 8.0 {
        Axis::log(low, high, "timers (ms)")
    } else {
        Axis::from_zero(high, "timers (ms)")
    };
    let panel = Panel::new(canvas, frame, x, y.at_most(6), Labels::Hidden)?;
    shade(&panel, timeline, Names::Hidden)?;
    let (timer, round_trip) = (Stroke::new(ORANGE, 5).dash(Dash::Dashed), Stroke::new(GREEN, 6));
    let shortest = Stroke::new(MUTED, 4).dash(Dash::Dotted);
    panel.steps(&thin(&least, COLUMNS), shortest)?;
    panel.steps(&thin(&rto, COLUMNS), timer)?;
    panel.steps(&thin(&srtt, COLUMNS), round_trip)?;
    let mut entries = vec![Entry::new(timer, "RTO or PTO"), Entry::new(round_trip, "SRTT")];
    entries.extend((!least.is_empty()).then(|| Entry::new(shortest, "shortest RTT")));
    legend(&panel, frame.top + 24, &entries)
}

/// The axis that panels share, and what was done to the links.
type Ground<'a> = (Axis, Option<&'a Timeline>);

/// Bands for what was done to the links; the warm-up of the statistics is none of the transport's business.
fn shade(panel: &Panel<'_, '_>, timeline: Option<&Timeline>, names: Names) -> Result<(), DrawError> {
    let Some(timeline) = timeline else { return Ok(()) };
    Timeline { unrecorded: Vec::new(), ..timeline.clone() }.shade(panel, names)
}

/// A row of ticks for each kind of event.
fn paint_events(
    canvas: &Canvas<'_>,
    trace: &[&TraceRow],
    frame: Frame,
    (x, timeline): Ground<'_>,
) -> Result<(), DrawError> {
    let kinds = [
        (TraceEvent::Lost, "lost", VERMILION),
        (TraceEvent::FastRetransmit, "fast retransmit", BLUE),
        (TraceEvent::Probe, "tail probe", GREEN),
        (TraceEvent::Timeout, "timeout", ORANGE),
        (TraceEvent::Spurious, "spurious", PURPLE),
    ];
    let mut y = Axis::linear(0.0, kinds.len() as f64, "events");
    y.ticks.clear();
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    shade(&panel, timeline, Names::Hidden)?;
    let lane = (frame.bottom - frame.top) / kinds.len() as i32;
    for (row, (event, name, color)) in kinds.into_iter().enumerate() {
        let (top, bottom) = (frame.top + row as i32 * lane + 6, frame.top + (row as i32 + 1) * lane - 6);
        let mut columns: Vec<i32> =
            trace.iter().filter(|r| r.event == event).map(|r| panel.pixel((seconds(r), 0.0)).0).collect();
        let count = columns.len() as u64;
        // Ticks are five units wide; closer ones are one.
        columns.iter_mut().for_each(|x| *x -= *x % 4);
        columns.dedup();
        for x in columns {
            panel.stroke((x, top), (x, bottom), Stroke::new(color, 5))?;
        }
        let text = format!("{name}: {}", format::count(count));
        let look = Look::new(SMALL, Anchor::Left);
        canvas.text((frame.right + 36, (top + bottom) / 2), &text, look)?;
    }
    Ok(())
}

/// Four points of each column are kept; the panel is about 2400 units wide.
const COLUMNS: usize = 1_000;
