//! One frame of the live view: a function of the state and the size, tested on a terminal in memory.
//!
//! Verdicts are words and letters as well as colours, and with `NO_COLOR` nothing is coloured.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, LineGauge, Paragraph, Sparkline};
use units::Timestamp;

use super::lines::warnings;
use super::words::{grouped, rate, span, verdict_word};
use super::{Moment, State};
use crate::result::Verdict;

/// How it is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Look {
    pub(super) is_help: bool,
    pub(super) has_colour: bool,
    pub(super) is_stopping: bool,
}

pub(super) fn draw(frame: &mut Frame<'_>, state: &State, now: Timestamp, look: Look) {
    let area = frame.area();
    let curves = if area.height >= 20 { 2 } else { 1 };
    let [title, run, gauge, p50, p99, throughput, lost, health, cells, rest, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Length(curves),
        Constraint::Length(curves),
        Constraint::Length(curves),
        Constraint::Length(curves),
        Constraint::Length(1),
        Constraint::Length(cells_height(state, area)),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(area);
    let ink = Ink { has_colour: look.has_colour };
    frame.render_widget(heading(state, now, ink, title.width), title);
    frame.render_widget(Paragraph::new(run_line(state)), run);
    let bar = LineGauge::default()
        .ratio(state.done().clamp(0.0, 1.0))
        .label(format!("{:>3.0} %", state.done() * 100.0))
        .filled_style(ink.of(Color::Cyan))
        .filled_symbol(symbols::line::THICK_HORIZONTAL)
        .unfilled_symbol(symbols::line::HORIZONTAL);
    frame.render_widget(bar, gauge);
    let time = |us: Option<u64>| us.map_or("–".to_owned(), span);
    for (area, curve) in [
        (
            p50,
            Curve {
                name: "p50",
                value: &|moment| moment.interval.p50_us,
                text: &|moment| time(moment.interval.p50_us),
                colour: Color::Cyan,
            },
        ),
        (
            p99,
            Curve {
                name: "p99",
                value: &|moment| moment.interval.p99_us,
                text: &|moment| time(moment.interval.p99_us),
                colour: Color::Yellow,
            },
        ),
        (
            throughput,
            Curve {
                name: "delivered",
                value: &|moment| Some(moment.interval.delivered),
                text: &|moment| format!("{}/s", rate(per_second(moment))),
                colour: Color::Green,
            },
        ),
        (
            lost,
            Curve {
                name: "lost",
                value: &|moment| Some(moment.interval.lost),
                text: &|moment| grouped(moment.interval.lost),
                colour: Color::Red,
            },
        ),
    ] {
        curve.draw(frame, area, state, ink);
    }
    frame.render_widget(health_line(state, ink), health);
    draw_cells(frame, cells, state, ink);
    let lines = state.lines.iter().rev().take(rest.height as usize).rev();
    frame.render_widget(Paragraph::new(lines.map(|line| Line::raw(line.clone())).collect::<Vec<_>>()), rest);
    let hint = if look.is_stopping {
        "stopping after what is under way; q again ends at once"
    } else {
        "q stop and report   ? help"
    };
    frame.render_widget(Paragraph::new(Line::styled(hint, Style::new().add_modifier(Modifier::DIM))), keys);
    if look.is_help {
        draw_help(frame, area);
    }
}

#[derive(Clone, Copy)]
struct Ink {
    has_colour: bool,
}

impl Ink {
    fn of(self, colour: Color) -> Style {
        if self.has_colour { Style::new().fg(colour) } else { Style::new() }
    }

    fn verdict(self, verdict: Verdict) -> Style {
        self.of(match verdict {
            Verdict::Pass => Color::Green,
            Verdict::Fail => Color::Red,
            Verdict::Inconclusive => Color::Yellow,
            Verdict::Invalid => Color::Magenta,
        })
    }
}

fn heading(state: &State, now: Timestamp, ink: Ink, width: u16) -> Line<'static> {
    let name = format!("{} · {}", state.planned.name, state.planned.driver);
    let times = state.times_in_words(now);
    let taken = name.chars().count() + times.chars().count();
    let gap = " ".repeat((width as usize).saturating_sub(taken).max(2));
    let bold = ink.of(Color::Cyan).add_modifier(Modifier::BOLD);
    Line::from(vec![Span::styled(name, bold), Span::raw(gap), Span::raw(times)])
}

fn run_line(state: &State) -> String {
    let run = state.run_in_words();
    if state.is_resting { format!("{run}, cooling down") } else { run }
}

/// A number over the latest intervals: its name and last value at the left, how it went at the right.
struct Curve<'a> {
    name: &'a str,
    value: &'a dyn Fn(&Moment) -> Option<u64>,
    text: &'a dyn Fn(&Moment) -> String,
    colour: Color,
}

impl Curve<'_> {
    fn draw(&self, frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
        let [label, curve] =
            Layout::horizontal([Constraint::Length(LABEL.min(area.width)), Constraint::Min(0)]).areas(area);
        let last = state.moments.back().map_or_else(|| "–".to_owned(), self.text);
        frame.render_widget(Paragraph::new(format!("{:<9} {last:>10}", self.name)), label);
        // The newest at the right edge.
        let values: Vec<Option<u64>> = state.moments.iter().map(self.value).collect();
        let first = values.len().saturating_sub(curve.width as usize);
        let line = Sparkline::default().data(values[first..].iter().copied()).style(ink.of(self.colour));
        frame.render_widget(line, curve);
    }
}

fn health_line(state: &State, ink: Ink) -> Line<'static> {
    let Some(moment) = state.moments.back() else {
        return Line::raw("health    waiting for the first interval");
    };
    let found = warnings(moment);
    if found.is_empty() {
        let lag = moment
            .interval
            .lag_p99_us
            .map_or_else(String::new, |us| format!(", schedule lag p99 {}", span(us)));
        return Line::raw(format!("health    good{lag}"));
    }
    Line::from(vec![
        Span::raw("health    "),
        Span::styled(format!("! {}", found.join(", ")), ink.of(Color::Magenta)),
    ])
}

/// A line for each cell while they fit into a third of the screen, letters otherwise.
fn cells_height(state: &State, area: Rect) -> u16 {
    let cells = u16::try_from(state.planned.cells.len()).unwrap_or(u16::MAX);
    if cells <= 1 && state.planned.arms.is_empty() {
        return 0;
    }
    let most = area.height / 3;
    if cells < most { cells + 1 } else { (cells.div_ceil(area.width.max(1)) + 1).min(most) }
}

fn draw_cells(frame: &mut Frame<'_>, area: Rect, state: &State, ink: Ink) {
    if area.height == 0 {
        return;
    }
    let current = state.run.map(|(_, slot)| slot.cell as usize);
    let cells = state.verdicts.len();
    let mut lines = vec![Line::styled(counted(state), Style::new().add_modifier(Modifier::DIM))];
    if cells < area.height as usize {
        lines.extend((0..cells).map(|cell| cell_line(state, cell, current == Some(cell), ink)));
    } else {
        let letters: Vec<Span<'static>> =
            (0..cells).map(|cell| letter(state, cell, current == Some(cell), ink)).collect();
        lines.extend(letters.chunks(area.width.max(1) as usize).map(|row| Line::from(row.to_vec())));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// `cells     3 PASS, 1 FAIL of 12`.
fn counted(state: &State) -> String {
    let all = || state.verdicts.iter().flatten();
    let each = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Invalid].map(|verdict| {
        let count = all().filter(|known| **known == Some(verdict)).count();
        (count > 0).then(|| format!("{count} {}", verdict_word(verdict)))
    });
    let known = each.into_iter().flatten().collect::<Vec<_>>().join(", ");
    format!("cells     {}{}of {}", known, if known.is_empty() { "none yet " } else { " " }, all().count())
}

fn cell_line(state: &State, cell: usize, is_current: bool, ink: Ink) -> Line<'static> {
    let mut spans = vec![Span::raw(if is_current { "> " } else { "  " })];
    for known in &state.verdicts[cell] {
        spans.push(match known {
            Some(verdict) => Span::styled(format!("{:<13}", verdict_word(*verdict)), ink.verdict(*verdict)),
            None => Span::raw(format!("{:<13}", "·")),
        });
    }
    spans.push(Span::raw(state.planned.cells.get(cell).cloned().unwrap_or_default()));
    Line::from(spans)
}

/// The worst of the arms in one letter.
fn letter(state: &State, cell: usize, is_current: bool, ink: Ink) -> Span<'static> {
    let known = state.verdicts[cell].iter().copied();
    let worst = known.reduce(|a, b| Some(crate::verdict::worse(a?, b?))).flatten();
    let (letter, style) = match worst {
        Some(verdict) => (letter_of(verdict), ink.verdict(verdict)),
        None => ("·", Style::new()),
    };
    let style = if is_current { style.add_modifier(Modifier::REVERSED) } else { style };
    Span::styled(letter, style)
}

fn letter_of(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "P",
        Verdict::Fail => "F",
        Verdict::Inconclusive => "?",
        Verdict::Invalid => "!",
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines = [
        "q, Ctrl-C  stop: the run under way ends, a partial report is written",
        "           twice: end at once, without a report",
        "? or Esc   close this",
        "",
        "p50, p99   latency of the messages meant to be sent in an interval",
        "lost       pairs of message and recipient that never arrived",
        "health     of the generator: if it is not good, the run is INVALID",
        "cells      P pass  F fail  ? inconclusive  ! invalid  · not done",
    ];
    let width = area.width.min(74);
    let height = area.height.min(lines.len() as u16 + 2);
    let place = Rect::new((area.width - width) / 2, (area.height - height) / 2, width, height);
    frame.render_widget(Clear, place);
    let text = Paragraph::new(lines.map(Line::raw).to_vec()).block(Block::bordered().title(" help "));
    frame.render_widget(text, place);
}

fn per_second(moment: &Moment) -> f64 {
    moment.interval.delivered as f64 * 1e6 / moment.width_us.max(1) as f64
}

/// Name and value before a curve.
const LABEL: u16 = 22;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::records::Interval;
    use crate::runner::plan::Slot;
    use crate::ui::{Event, Planned};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn state(cells: usize) -> State {
        let mut state = State::default();
        let planned = Planned {
            name: "loss_sweep".into(),
            driver: "real".into(),
            cells: (0..cells).map(|cell| format!("link.l.both.loss.p={cell}%")).collect(),
            arms: Vec::new(),
            runs: cells * 5,
            kept: 0,
        };
        state.on_event(at(0), Event::Planned(planned));
        state.on_event(at(0), Event::RunBegan { index: 7, slot: Slot { cell: 1, repeat: 1, arm: 0 } });
        state.on_event(at(0), Event::Fraction(0.5));
        for second in 0..200 {
            let interval = Interval {
                p50_us: Some(40_000 + second * 100),
                p99_us: Some(300_000),
                delivered: 1_029,
                lag_p99_us: Some(if second == 199 { 9_000 } else { 40 }),
                ..Interval::default()
            };
            let moment = Moment { at_us: second * 1_000_000, width_us: 1_000_000, interval, standing: None };
            state.on_event(at(second), Event::Interval(Box::new(moment)));
        }
        let verdict = Verdict::Fail;
        state.on_event(at(200), Event::CellEnded { cell: 0, arm: 0, verdict, line: String::new() });
        state
    }

    fn drawn(state: &State, width: u16, height: u16, look: Look) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, at(200), look)).unwrap();
        let buffer = terminal.backend().buffer().clone();
        let rows = buffer.content().chunks(width as usize);
        rows.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>() + "\n").collect()
    }

    #[test]
    fn a_frame_says_what_runs_how_it_goes_and_what_is_wrong() {
        let text = drawn(&state(4), 100, 30, Look::default());
        for part in [
            "loss_sweep · real",
            "run 8/20 link.l.both.loss.p=1% repeat 2",
            "59.9 ms",
            "300 ms",
            "1,029/s",
            "! schedule lag p99 9 ms",
            "1 FAIL of 4",
            "> ·",
            "q stop and report",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        let first = text.lines().next().unwrap();
        assert!(first.trim_end().ends_with("to go"), "{first}");
    }

    #[test]
    fn no_size_and_no_number_of_cells_panics() {
        for cells in [0, 1, 4, 60, 1_000] {
            let state = state(cells);
            for (width, height) in [(1, 1), (3, 2), (20, 5), (40, 12), (80, 24), (300, 100)] {
                for is_help in [false, true] {
                    drawn(&state, width, height, Look { is_help, ..Look::default() });
                }
            }
        }
    }

    #[test]
    fn many_cells_are_letters() {
        let text = drawn(&state(60), 80, 24, Look::default());
        assert!(text.lines().any(|line| line.starts_with("F···")), "{text}");
    }

    #[test]
    fn without_colour_nothing_is_coloured() {
        let coloured = |has_colour| {
            let mut terminal = Terminal::new(TestBackend::new(100, 30)).unwrap();
            let look = Look { has_colour, ..Look::default() };
            terminal.draw(|frame| draw(frame, &state(4), at(200), look)).unwrap();
            terminal.backend().buffer().content().iter().filter(|cell| cell.fg != Color::Reset).count()
        };
        assert_eq!(coloured(false), 0);
        assert!(coloured(true) > 50);
    }
}
