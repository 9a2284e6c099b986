//! One line of progress on a terminal, drawn again in place; cells and remarks stand above it.
//!
//! indicatif hides its bars when `NO_COLOR` is set, which asks for no colour, not for no progress; the bar therefore gets
//! a draw target of its own.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use units::Clock;

use super::words::{rate, span};
use super::{Event, State, drain};

pub(super) fn show(heard: &Receiver<Event>) {
    let clock = Clock::start();
    let bar = draw();
    let mut state = State::default();
    while let Some(events) = drain(heard, TICK) {
        for event in events {
            let above = match &event {
                Event::CellEnded { line, .. }
                    if state.planned.cells.len() > 1 || !state.planned.arms.is_empty() =>
                {
                    Some(line.clone())
                }
                Event::Said(line) => Some(line.clone()),
                _ => None,
            };
            state.on_event(clock.now(), event);
            if let Some(line) = above {
                bar.println(line);
            }
        }
        bar.set_prefix(state.planned.name.clone());
        bar.set_position((state.done() * STEPS as f64) as u64);
        bar.set_message(format!("{}  {}", state.times_in_words(clock.now()), message(&state)));
    }
    bar.finish_and_clear();
}

/// The run, and how it goes.
fn message(state: &State) -> String {
    let mut text = state.run_in_words();
    if state.is_resting {
        return text + ", cooling down";
    }
    if let Some(moment) = state.moments.back() {
        let time = |us: Option<u64>| us.map_or("–".to_owned(), span);
        let per_s = moment.interval.delivered as f64 * 1e6 / moment.width_us.max(1) as f64;
        text += &format!(
            "  p50 {}  p99 {}  {}/s",
            time(moment.interval.p50_us),
            time(moment.interval.p99_us),
            rate(per_s)
        );
        super::lines::warnings(moment).iter().for_each(|warning| text += &format!("  ! {warning}"));
    }
    text
}

fn draw() -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Term::stderr()), REFRESH_HZ);
    let bar = ProgressBar::with_draw_target(Some(STEPS), target);
    if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:20}] {percent:>3} %  {wide_msg}") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

const STEPS: u64 = 1000;
const REFRESH_HZ: u8 = 5;
/// How long a clock on the line may stand still.
const TICK: Duration = Duration::from_millis(250);
