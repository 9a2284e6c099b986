//! One line of progress on stderr, and nothing on stdout.
//!
//! indicatif hides its bars when `NO_COLOR` is set, which asks for no colour, not for no progress; the bar therefore gets
//! a draw target of its own. Without a terminal each run is announced on a line.

use std::io::{IsTerminal, Write};

use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::runner::Progress;

/// Progress of all runs of a scenario.
#[derive(Debug)]
pub struct Bar {
    shown: Shown,
    index: usize,
    total: usize,
}

#[derive(Debug)]
enum Shown {
    Bar(ProgressBar),
    Lines,
    Nothing,
}

impl Bar {
    /// A bar on a terminal, lines elsewhere, nothing if `quiet`.
    #[must_use]
    pub fn new(name: &str, quiet: bool) -> Self {
        let shown = if quiet {
            Shown::Nothing
        } else if std::io::stderr().is_terminal()
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
        {
            Shown::Bar(draw(name))
        } else {
            Shown::Lines
        };
        Self { shown, index: 0, total: 1 }
    }

    /// Removes the bar; what is printed next begins on a clean line.
    pub fn finish(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }
}

impl Progress for Bar {
    fn on_run(&mut self, index: usize, total: usize, label: &str) {
        (self.index, self.total) = (index, total);
        match &self.shown {
            Shown::Bar(bar) => bar.set_message(describe(index, total, label)),
            Shown::Lines => {
                // Progress that cannot be written is not worth failing for.
                let _ = writeln!(std::io::stderr(), "{}", describe(index, total, label));
            }
            Shown::Nothing => {}
        }
        self.on_fraction(0.0);
    }

    fn on_fraction(&mut self, fraction: f64) {
        if let Shown::Bar(bar) = &self.shown {
            let done = (self.index as f64 + fraction) / self.total as f64;
            bar.set_position((done * STEPS as f64) as u64);
        }
    }
}

fn describe(index: usize, total: usize, label: &str) -> String {
    format!("run {}/{total} {label}", index + 1).trim_end().to_owned()
}

fn draw(name: &str) -> ProgressBar {
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Term::stderr()), REFRESH_HZ);
    let bar = ProgressBar::with_draw_target(Some(STEPS), target);
    let style = ProgressStyle::with_template(
        "{prefix} [{bar:30}] {percent:>3} %  {elapsed} gone, {eta} to go  {wide_msg}",
    );
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_prefix(name.to_owned());
    bar
}

const STEPS: u64 = 1000;
const REFRESH_HZ: u8 = 5;
