//! Watching a server: poll, work out rates, show.
//!
//! Polls are due at fixed times from the start, so a slow answer does not shift those after it. A poll that fails is
//! shown as a gap with its reason, never as zeros, and the next rate covers the whole time since the last good one.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use chat_server::control::ServerStats;
use serde_json::json;
use units::{Clock, Timestamp, wall_clock};

use crate::ask::Server;
use crate::failure::Failure;
use crate::rates::{Rates, bad_total, bytes_in, bytes_out};
use crate::show::weather;
use crate::text::{Align, bytes, count, rate, span, table};

/// How polls are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    /// A table, rewritten in place.
    Live,
    /// One line each.
    Lines,
    /// One JSON document each, on a line.
    Json,
}

/// One poll, answered or not.
#[derive(Debug)]
struct Poll {
    /// Seconds since the Unix epoch.
    unix_s: f64,
    answer: Result<ServerStats, Failure>,
    rates: Option<Rates>,
}

/// Polls every `interval`, `count` times or until the program is stopped. The first poll must succeed.
pub(crate) fn run(
    server: &Server,
    interval: Duration,
    count: Option<u64>,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let view = match json {
        true => View::Json,
        false if io::stdout().is_terminal() => View::Live,
        false => View::Lines,
    };
    let clock = Clock::start();
    let mut last = (clock.now(), server.stats()?);
    let mut screen = Screen::default();
    match view {
        View::Live => screen.draw(out, &live(server, &last.1, None, interval))?,
        View::Lines => writeln!(out, "{LINE_HEADER}")?,
        View::Json => {}
    }
    let mut due = clock.now();
    for _ in 0..count.unwrap_or(u64::MAX) {
        due += interval;
        wait_until(&clock, due);
        let poll = poll(server, &clock, &mut last);
        match (view, &poll.answer) {
            (View::Json, _) => writeln!(out, "{}", json_line(&poll))?,
            (View::Lines, _) => writeln!(out, "{}", line(&poll))?,
            (View::Live, Ok(stats)) => screen.draw(out, &live(server, stats, poll.rates, interval))?,
            (View::Live, Err(failure)) => {
                let table = live(server, &last.1, None, interval);
                let silent = span(clock.now().since(last.0).as_secs_f64());
                let reason = failure.to_string().replace("; ", "\n");
                screen.draw(out, &format!("{table}no answer for {silent}\n{reason}\n"))?;
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn poll(server: &Server, clock: &Clock, last: &mut (Timestamp, ServerStats)) -> Poll {
    let answer = server.stats();
    let now = clock.now();
    let mut rates = None;
    if let Ok(stats) = &answer {
        rates = Rates::between(&last.1, stats, now.since(last.0).as_secs_f64());
        *last = (now, stats.clone());
    }
    Poll { unix_s: wall_clock(), answer, rates }
}

#[expect(clippy::disallowed_methods, reason = "a monitor has nothing to do between two polls")]
fn wait_until(clock: &Clock, due: Timestamp) {
    std::thread::sleep(due.since(clock.now()));
}

/// What is on the terminal, so that it can be written over.
#[derive(Debug, Default)]
struct Screen {
    lines: usize,
}

impl Screen {
    fn draw(&mut self, out: &mut impl Write, text: &str) -> io::Result<()> {
        if self.lines > 0 {
            // Up to where the last table began, and clear from there.
            write!(out, "\x1b[{}A\x1b[J", self.lines)?;
        }
        self.lines = text.lines().count();
        // Without wrapping, so that a line of text is a line of the terminal however narrow that is.
        write!(out, "\x1b[?7l{text}\x1b[?7h")?;
        out.flush()
    }
}

fn live(server: &Server, stats: &ServerStats, rates: Option<Rates>, interval: Duration) -> String {
    let row = |name: &str, now: String, per_second: Option<String>| {
        vec![name.to_owned(), now, per_second.unwrap_or_else(|| "-".to_owned())]
    };
    let with = |part: fn(&Rates) -> f64| rates.as_ref().map(part);
    let plain = |part| with(part).map(rate);
    let sized = |part| with(part).map(bytes);
    let rows = vec![
        row("clients", count(stats.clients), None),
        row("waiting to resume", count(stats.detached), None),
        row("rooms", count(stats.rooms), None),
        row("lines in", count(stats.chat.lines_in), plain(|rates| rates.lines_in)),
        row("lines out", count(stats.chat.lines_out), plain(|rates| rates.lines_out)),
        row("received", bytes(bytes_in(stats) as f64), sized(|rates| rates.bytes_in)),
        row("sent", bytes(bytes_out(stats) as f64), sized(|rates| rates.bytes_out)),
        row("segments sent", count(stats.transport.segments_sent), plain(|rates| rates.segments)),
        row("sent again", count(stats.transport.retransmits), plain(|rates| rates.retransmits)),
        row("timeouts", count(stats.transport.timeouts), plain(|rates| rates.timeouts)),
        row("fullest outbox", count(stats.outbox_max), None),
        row("bad input", count(bad_total(stats)), plain(|rates| rates.bad_input)),
    ];
    let title = format!(
        "{}  up {}  every {}\n",
        server.authority(),
        span(stats.uptime_s),
        units::format_duration(interval)
    );
    let header = [("", Align::Left), ("TOTAL", Align::Right), ("PER SECOND", Align::Right)];
    let weather = stats.simulation.as_ref().map_or_else(|| "off".to_owned(), weather);
    let state = if stats.draining { "the server shuts down\n" } else { "" };
    format!("{title}{}simulation  {weather}\n{state}", table(&header, &rows))
}

fn line(poll: &Poll) -> String {
    let time = clock_time(poll.unix_s);
    let stats = match &poll.answer {
        Ok(stats) => stats,
        Err(failure) => return format!("{time}  no answer: {failure}"),
    };
    let with = |part: fn(&Rates) -> f64| poll.rates.as_ref().map(part);
    let plain = |part| with(part).map_or_else(|| "-".to_owned(), rate);
    let sized = |part| with(part).map_or_else(|| "-".to_owned(), bytes);
    let weather = stats.simulation.as_ref().map_or_else(|| "off".to_owned(), weather);
    format!(
        "{time}  {:>7}  {:>10}  {:>11}  {:>10}  {:>10}  {:>7}  {:>6}  {:>5}  {weather}",
        count(stats.clients),
        plain(|rates| rates.lines_in),
        plain(|rates| rates.lines_out),
        sized(|rates| rates.bytes_in),
        sized(|rates| rates.bytes_out),
        plain(|rates| rates.retransmits),
        count(stats.outbox_max),
        plain(|rates| rates.bad_input),
    )
}

fn json_line(poll: &Poll) -> String {
    let line = match &poll.answer {
        Ok(stats) => json!({ "unix_s": poll.unix_s, "per_second": poll.rates, "stats": stats }),
        Err(failure) => json!({ "unix_s": poll.unix_s, "missed": failure.to_string() }),
    };
    line.to_string()
}

/// Time of the day, UTC.
fn clock_time(unix_s: f64) -> String {
    let seconds = unix_s as u64 % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Above the columns of [`line()`].
const LINE_HEADER: &str =
    "time       clients  lines in/s  lines out/s        in/s       out/s  again/s  outbox  bad/s  simulation";

#[cfg(test)]
mod tests {
    use chat_server::engine::{Engine, EngineConfig};
    use units::Seed;

    use super::*;

    #[test]
    fn the_columns_of_a_line_end_where_its_header_says() {
        let stats = Engine::new(EngineConfig::new(Seed::root(1))).stats(Timestamp::ZERO);
        let line = line(&Poll { unix_s: 0.0, rates: Rates::between(&stats, &stats, 1.0), answer: Ok(stats) });
        let ends = |text: &str| -> Vec<usize> {
            let bytes = text.as_bytes();
            let end = |&at: &usize| bytes[at] != b' ' && bytes[at + 1..].starts_with(b"  ");
            (0..text.len() - 2).filter(end).collect()
        };
        // The first column of the header is shorter than a time.
        assert_eq!(ends(&line)[1..], ends(LINE_HEADER)[1..], "\n{LINE_HEADER}\n{line}");
    }

    #[test]
    fn a_missed_poll_is_a_gap_and_not_zeros() {
        let poll = Poll { unix_s: 3661.0, answer: Err(Failure::Unreachable("gone".to_owned())), rates: None };
        assert_eq!(line(&poll), "01:01:01Z  no answer: gone");
        assert_eq!(json_line(&poll), r#"{"missed":"gone","unix_s":3661.0}"#);
    }
}
