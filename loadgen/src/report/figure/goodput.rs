//! Goodput across a sweep, against what theory allows.
//!
//! Where loss was varied: goodput of one receiver on log axes, below the laws of bulk transfer (Mathis, PFTK) and what
//! selective repeat and go-back-N keep of the link. Their assumptions stand on the figure, because a chat that sends two
//! lines a second does not try to fill a link, and then says nothing about them. Where clients were counted: deliveries
//! a second and the universal scalability law. Anything else: goodput from zero.

use serde_json::Value;

use crate::records::{MOST_CLIENTS, RunFile};
use crate::report::format;
use crate::report::saved::ReportError;
use crate::report::theory::{Path, go_back_n, selective_repeat};
use crate::result::{Cell, Metrics};
use crate::stats::scaling::Usl;

use super::axis::Axis;
use super::canvas::{self, Canvas, DrawError, HEIGHT, WIDTH};
use super::direct::{Tag, margin};
use super::hops::Hops;
use super::input::{Spread, quantile};
use super::palette::{BLUE, GREEN, MUTED, ORANGE, VERMILION, sequential};
use super::panel::{Dash, Frame, Labels, Marker, Panel, Stroke};
use super::sweep_axis::Lines;
use super::sweep_latency::bar;
use super::{Figure, Input, Outcome};

const ID: &str = "sweep_goodput";
const READING: &str = "Payload that arrived; points are medians of the repeats, bars span them. An open-loop workload \
                       offers the same at every point: a fall means that the network or the protocol did not carry it. \
                       Grey and dashed lines are theory, with its assumptions beside them.";

/// One line of measured points: place on the axis, values of the repeats.
struct Measured {
    points: Vec<(f64, Spread)>,
    stroke: Stroke,
    marker: Marker,
    name: String,
}

/// One line of theory.
struct Law {
    points: Vec<(f64, f64)>,
    stroke: Stroke,
    name: String,
}

pub(super) fn draw(input: &Input<'_>) -> Result<Outcome, ReportError> {
    let cells = input.cells();
    let lines = Lines::of(cells).thinned(MOST_LINES);
    let kind = match () {
        // Without run files it is not known how many receivers there were.
        () if lines.axis.is_loss && !input.runs.is_empty() => Kind::Loss,
        () if lines.axis.is_count => Kind::Clients,
        () => Kind::Other,
    };
    let measured = measured(input, &lines, kind);
    let most = measured.iter().flat_map(|line| &line.points).map(|point| point.1.high).fold(0.0, f64::max);
    if most <= 0.0 {
        return Ok(Outcome::Absent { id: ID, reason: "no cell delivered anything" });
    }
    let (laws, assumptions) = match kind {
        Kind::Loss => laws_of_loss(lines.lines[0].1[0], input, &lines, &measured),
        Kind::Clients => scalability(&measured),
        Kind::Other => (Vec::new(), String::new()),
    };
    let title = title(input, &lines, &measured, kind);
    let words = input.words(&title, input.extent("bars span the repeats"));
    let svg = canvas::draw(ID, &words, |canvas| paint(canvas, &lines, kind, &measured, &laws, &assumptions))?;
    Ok(Outcome::Drawn(Figure {
        id: ID,
        name: "Goodput across the sweep",
        title,
        svg,
        reading: READING,
        caption: words.caption,
    }))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Loss,
    Clients,
    Other,
}

impl Kind {
    /// What is drawn of one run.
    fn value(self, metrics: &Metrics, receivers: f64) -> f64 {
        let throughput = &metrics.throughput;
        match self {
            Self::Loss => throughput.goodput_bytes_per_s * 8.0 / receivers / 1e3,
            Self::Clients => throughput.delivered_per_s,
            Self::Other => throughput.goodput_bytes_per_s / 1e3,
        }
    }

    fn axis_title(self) -> &'static str {
        match self {
            Self::Loss => "goodput of one receiver (kbit/s)",
            Self::Clients => "deliveries/s, all clients",
            Self::Other => "goodput, all receivers (kB/s)",
        }
    }

    fn text(self, value: f64) -> String {
        match self {
            Self::Loss => {
                format!("{}/s", format::bit_rate(Some((value * 1e3) as u64)).trim_end_matches("/s"))
            }
            Self::Clients => format!("{} deliveries/s", format::significant(value)),
            Self::Other => format::byte_rate(value * 1e3),
        }
    }
}

/// Clients that heard anything; at least one. Records have at most so many clients, evenly chosen, or none: then those that
/// were connected say how many there were.
fn receivers(run: &RunFile) -> f64 {
    let connected = run.intervals.rows.iter().map(|row| row.connected).max().unwrap_or(0) as f64;
    let heard = run.clients.iter().filter(|client| client.delivered > 0).count() as f64;
    let count = match run.clients.len() {
        0 => connected,
        listed if listed < MOST_CLIENTS => heard,
        listed => heard / listed as f64 * connected.max(listed as f64),
    };
    count.max(1.0)
}

fn measured(input: &Input<'_>, lines: &Lines, kind: Kind) -> Vec<Measured> {
    let count = lines.lines.len();
    let line = |(index, (name, cells)): (usize, &(String, Vec<usize>))| {
        let point = |&cell: &usize| {
            let runs = input.of_cell(cell, 0);
            let mut values: Vec<f64> =
                runs.iter().map(|run| kind.value(&run.metrics, receivers(run))).collect();
            if values.is_empty() {
                let cell = &input.cells()[cell];
                values = cell.repeats.iter().map(|repeat| kind.value(&repeat.metrics, 1.0)).collect();
                values.extend(cell.repeats.is_empty().then(|| kind.value(&cell.metrics, 1.0)));
            }
            Some((lines.axis.positions[cell], Spread::of(values)?))
        };
        let stroke = if count == 1 { Stroke::new(BLUE, 7) } else { Stroke::new(sequential(index, count), 6) };
        Measured {
            points: cells.iter().filter_map(point).collect(),
            stroke,
            marker: Marker::nth(index),
            name: if name.is_empty() { "measured".to_owned() } else { name.clone() },
        }
    };
    lines.lines.iter().enumerate().map(line).collect()
}

fn title(input: &Input<'_>, lines: &Lines, measured: &[Measured], kind: Kind) -> String {
    if let Some(finding) = apart(lines, measured, kind) {
        return canvas::fitting_title(vec![format!("{finding} — {}", input.origin.name), finding]);
    }
    let points = &measured[0].points;
    let (first, last) = (points[0].1.median, points[points.len() - 1].1.median);
    let what = if kind == Kind::Clients { "throughput" } else { "goodput" };
    let same =
        measured.iter().flat_map(|line| &line.points).all(|p| kind.text(p.1.median) == kind.text(first));
    let finding = if same {
        format!("{what} is {} in all {} cells", kind.text(first), input.cells().len())
    } else {
        format!("{what} goes from {} to {}", kind.text(first), kind.text(last))
    };
    let range = if same {
        String::new()
    } else if lines.axis.names.is_empty() {
        lines.range()
    } else {
        lines.axis.range()
    };
    canvas::fitting_title(vec![
        format!("{finding}{range} — {}", input.origin.name),
        format!("{finding}{range}"),
        finding,
    ])
}

/// Of several lines that end at the same place, how far apart the best and the worst do: `at loss.p = 10 % bbr gets 16.4 Mbit/s,
/// reno 461 kbit/s`.
fn apart(lines: &Lines, measured: &[Measured], kind: Kind) -> Option<String> {
    let last = |line: &Measured| line.points.last().map(|point| (point.0, point.1.median));
    let ends: Option<Vec<(f64, f64)>> = measured.iter().map(last).collect();
    let ends = ends.filter(|ends| ends.len() > 1 && ends.iter().all(|end| end.0 == ends[0].0))?;
    let by_value = |a: &&(usize, (f64, f64)), b: &&(usize, (f64, f64))| a.1.1.total_cmp(&b.1.1);
    let ends: Vec<(usize, (f64, f64))> = ends.into_iter().enumerate().collect();
    let (best, worst) = (ends.iter().max_by(by_value)?, ends.iter().min_by(by_value)?);
    let cell = *lines.lines[best.0].1.last()?;
    let (name, unit) = lines.axis.title.split_once(" (").unwrap_or((&lines.axis.title, ""));
    let at = format!("{} {}", format::significant(lines.axis.values[cell]), unit.trim_end_matches(')'));
    Some(format!(
        "at {name} = {} {} gets {}, {} {}",
        at.trim_end(),
        measured[best.0].name,
        kind.text(best.1.1),
        measured[worst.0].name,
        kind.text(worst.1.1)
    ))
}

/// The laws of bulk transfer over the range of losses, in kbit/s; and what they assume.
fn laws_of_loss(at: usize, input: &Input<'_>, lines: &Lines, measured: &[Measured]) -> (Vec<Law>, String) {
    let (cell, runs) = (&input.cells()[at], input.of_cell(at, 0));
    let scenario = &input.saved.result.scenario;
    if !is_bulk(scenario) {
        let text = "No theory is drawn: messages come by a schedule, so it is not loss that limits them.";
        return (Vec::new(), text.to_owned());
    }
    let Some(hops) = Hops::of(scenario, cell, &runs).filter(|hops| hops.rtt_us > 0.0) else {
        return (Vec::new(), "No theory: it is only known where all senders are behind one link.".to_owned());
    };
    let losses = |line: &(String, Vec<usize>)| -> Vec<f64> {
        line.1.iter().map(|&cell| lines.axis.values[cell] / 100.0).collect()
    };
    let all: Vec<f64> = lines.lines.iter().flat_map(losses).filter(|&loss| loss > 0.0).collect();
    let (low, high) = all.iter().fold((f64::INFINITY, 0.0_f64), |(a, b), &p| (a.min(p), b.max(p)));
    if high <= 0.0 {
        return (Vec::new(), String::new());
    }
    let payload = payload_of_a_packet(scenario, cell, &runs, &hops);
    let timeout_us = hops.rto_us.unwrap_or(hops.rtt_us * 2.0).max(hops.rtt_us);
    let path = Path { segment_bytes: payload, rtt_s: hops.rtt_us / 1e6, timeout_s: timeout_us / 1e6 };
    let points = lines
        .lines
        .iter()
        .zip(measured)
        .flat_map(|(line, measured)| measured.points.iter().zip(losses(line)));
    let mut ratios: Vec<f64> = points
        .filter(|(_, loss)| *loss > 0.0)
        .map(|(point, loss)| path.pftk(loss) / 1e3 / point.1.median.max(1e-9))
        .collect();
    ratios.sort_by(f64::total_cmp);
    if quantile(&ratios, 0.5) > OUT_OF_REACH {
        let text = "No theory is drawn: the workload offers less than a twentieth of what bulk transfer would reach, so \
                    it is not loss that limits it.";
        return (Vec::new(), text.to_owned());
    }
    let over = |law: &dyn Fn(f64) -> f64| -> Vec<(f64, f64)> {
        let at = |k: u32| low * (high / low).powf(f64::from(k) / 40.0);
        (0..=40).map(|k| (at(k) * 100.0, law(at(k)) / 1e3)).collect()
    };
    // What fits the link is text and all that goes around it.
    let capacity = hops.rate_bps.map(|rate| rate as f64 * share_of_text(cell, payload));
    let cut = |value: f64| capacity.map_or(value, |capacity| value.min(capacity));
    let law = |points, stroke, name: &str| Law { points, stroke, name: name.to_owned() };
    let mut laws = vec![
        law(over(&|p| cut(path.mathis(p))), Stroke::new(MUTED, 5).dash(Dash::Dashed), "Mathis"),
        law(over(&|p| cut(path.pftk(p))), Stroke::new(VERMILION, 5).dash(Dash::Dashed), "PFTK"),
    ];
    let mut text = format!(
        "Mathis, PFTK: one Reno connection that always has something to send, {} B of text in a packet, RTT {} without \
         queues, T0 {}, loss independent, b = 1.",
        format::significant(payload),
        format::micros(hops.rtt_us),
        format::micros(timeout_us)
    );
    if let Some(capacity) = capacity {
        let window = (capacity * path.rtt_s / 8.0 / payload).max(1.0);
        let keeps = |share: &dyn Fn(f64) -> f64| over(&|p| capacity * share(p));
        let (sr, gbn) = (Stroke::new(GREEN, 4).dash(Dash::Dotted), Stroke::new(ORANGE, 4).dash(Dash::Dotted));
        laws.push(law(keeps(&selective_repeat), sr, "full link × (1 − p)"));
        laws.push(law(keeps(&|p| go_back_n(p, window)), gbn, "go-back-N"));
        text.push_str(&format!(
            " Full link: {} of text, selective repeat keeps 1 − p, go-back-N (1 − p)/(1 − p + Wp) with the window that \
             fills it, W = {}.",
            format::bit_rate(Some(capacity as u64)),
            format::significant(window)
        ));
    }
    (laws, text)
}

/// Text bytes that one packet carried on the way up, if nothing but messages went there; otherwise of one segment, of which a
/// packet may hold several. Where the transport counts neither, what a datagram may hold.
fn payload_of_a_packet(scenario: &Value, cell: &Cell, runs: &[&RunFile], hops: &Hops) -> f64 {
    let transport =
        cell.axes.get("protocol.transport").or_else(|| scenario.get("protocol")?.get("transport"));
    let is_ours = transport.and_then(Value::as_str).is_none_or(|name| ["udp", "tcp", "tls"].contains(&name));
    let (mut bytes, mut packets) = (0.0, 0.0);
    for metrics in runs.iter().map(|run| &run.metrics) {
        let (messages, throughput) = (&metrics.messages, &metrics.throughput);
        let size = throughput.goodput_bytes_per_s / throughput.delivered_per_s.max(1e-9);
        let said = size * metrics.wire.messages as f64;
        if hops.is_shared {
            // Both ends count, so each message as often as it crosses a hop.
            let hearers = messages.expected_deliveries as f64 / messages.intended.max(1) as f64;
            let sent = &metrics.transport;
            bytes += said * (1.0 + hearers);
            packets += sent.segments_sent.saturating_sub(sent.retransmits + sent.redundant_segments) as f64;
        } else {
            bytes += said;
            packets += metrics.link.up.delivered as f64;
        }
    }
    if is_ours && packets > 0.0 && bytes > 0.0 {
        (bytes / packets).min(DEFAULT_SEGMENT)
    } else {
        DEFAULT_SEGMENT
    }
}

/// Whether somebody always has something to send; true where the scenario does not say.
fn is_bulk(scenario: &Value) -> bool {
    let workloads = scenario.get("workload").and_then(Value::as_array);
    let closed = |workload: &Value| workload.get("loop").and_then(Value::as_str) == Some("closed");
    workloads.is_none_or(|workloads| workloads.iter().any(closed))
}

/// Share of a link's bytes that is text. Where it carries acks of others as well, their size hides what goes around the text, and it
/// counts as none.
fn share_of_text(cell: &Cell, payload: f64) -> f64 {
    let up = &cell.metrics.link.up;
    payload / (up.offered_bytes as f64 / up.offered.max(1) as f64).max(payload)
}

/// The universal scalability law through the medians of the first line.
fn scalability(measured: &[Measured]) -> (Vec<Law>, String) {
    let points: Vec<(f64, f64)> = measured[0].points.iter().map(|(n, spread)| (*n, spread.median)).collect();
    // Three points would fit any such law exactly.
    let Some(law) = Usl::fit(&points).filter(|_| points.len() >= 4) else {
        return (Vec::new(), "No scalability law: it takes four points.".to_owned());
    };
    let (low, high) = (points[0].0, points[points.len() - 1].0);
    let at = |k: u32| low * (high / low).powf(f64::from(k) / 60.0);
    let line = |value: &dyn Fn(f64) -> f64| (0..=60).map(|k| (at(k), value(at(k)))).collect::<Vec<_>>();
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    let mut straight = line(&|n| law.scale * n);
    straight.retain(|point| point.1 <= most * 1.3);
    let peak = law
        .peak()
        .filter(|peak| *peak < high * 10.0)
        .map_or(String::new(), |peak| format!(" Its peak is at {} clients.", format::significant(peak)));
    let text = format!(
        "Universal scalability law, least squares of relative errors: λ = {} deliveries/s a client, σ = {} (contention), \
         κ = {} (coherence).{peak}",
        format::significant(law.scale),
        format::significant(law.contention),
        format::significant(law.coherency)
    );
    let laws = vec![
        Law {
            points: line(&|n| law.at(n)),
            stroke: Stroke::new(VERMILION, 5).dash(Dash::Dashed),
            name: "scalability law".to_owned(),
        },
        Law { points: straight, stroke: Stroke::new(MUTED, 4).dash(Dash::Dotted), name: "linear".to_owned() },
    ];
    (laws, text)
}

fn paint(
    canvas: &Canvas<'_>,
    lines: &Lines,
    kind: Kind,
    measured: &[Measured],
    laws: &[Law],
    assumptions: &str,
) -> Result<(), DrawError> {
    let spreads = || measured.iter().flat_map(|line| &line.points).map(|point| point.1);
    let theory = || laws.iter().flat_map(|law| &law.points).map(|point| point.1);
    let high = spreads().map(|spread| spread.high).chain(theory()).fold(0.0, f64::max);
    let low =
        spreads().map(|spread| spread.low).chain(theory()).filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
    let y = match kind {
        Kind::Loss => Axis::log(low, high, kind.axis_title()),
        _ => Axis::from_zero(high, kind.axis_title()),
    };
    let frame = Frame { left: 320, right: WIDTH - 760, top: 270, bottom: HEIGHT - 220 };
    let panel = Panel::new(canvas, frame, lines.axis.axis(), y, Labels::Shown)?;
    let mut names = Vec::new();
    for law in laws {
        panel.line(&law.points, law.stroke)?;
        let end = law.points.last().map(|&point| panel.pixel(point).1);
        names.push(Tag::new(end, law.stroke, law.name.clone()));
    }
    for line in measured {
        let middle: Vec<(f64, f64)> = line.points.iter().map(|(x, spread)| (*x, spread.median)).collect();
        // Categories have no in-between, so no line joins them.
        if lines.axis.names.is_empty() {
            panel.line(&middle, line.stroke)?;
        }
        for (x, spread) in line.points.iter().filter(|(_, spread)| spread.low < spread.high) {
            let low = if kind == Kind::Loss { spread.low.max(1e-9) } else { spread.low };
            bar(&panel, *x, (low, spread.high), line.stroke)?;
        }
        panel.markers(&middle, line.marker, line.stroke.color)?;
        let end = middle.last().map(|&point| panel.pixel(point).1);
        names.push(Tag::new(end, line.stroke, line.name.clone()).marked(line.marker));
    }
    // The title of the y axis says what a single series is.
    if names.len() == 1 {
        names.clear();
    }
    margin(canvas, &panel, &names, assumptions)
}

/// What the transport sends in one datagram unless a scenario says otherwise.
const DEFAULT_SEGMENT: f64 = 1200.0;
/// So many times below the law, a workload is not limited by it.
const OUT_OF_REACH: f64 = 20.0;
const MOST_LINES: usize = 6;
