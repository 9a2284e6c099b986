//! What a person sees while an experiment runs: lines, one line of progress, or the whole terminal.
//!
//! The runner and the drivers tell [`Event`]s; a thread of its own reads them from a bounded channel and draws. Telling
//! never waits: when the channel is full because a terminal is slow or stopped, the event is dropped and counted, and
//! nothing that measures is held up. Everything goes to stderr; stdout is for the result.

mod bar;
mod event;
mod lines;
#[cfg(feature = "tui")]
mod screen;
mod state;
#[cfg(feature = "tui")]
mod tui;
mod words;

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use units::Clock;

pub use crate::backend::Moment;
pub use event::{Event, Nobody, Planned, Summary, View};
pub use state::State;
pub use words::{rate, span, verdict_word, words};

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Quiet,
    /// A line for each interval, run and cell.
    Lines,
    /// One line that is drawn again, and a line for each cell.
    Bar,
    /// Everything, on the whole terminal.
    #[cfg(feature = "tui")]
    Tui,
}

impl Mode {
    /// One line of progress where stderr is a terminal, lines elsewhere.
    #[must_use]
    pub fn usual() -> Self {
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !is_dumb { Self::Bar } else { Self::Lines }
    }
}

#[cfg(feature = "tui")]
impl Mode {
    /// Whether there is a terminal to draw on, and keys to hear.
    #[must_use]
    pub fn can_be_tui() -> bool {
        std::io::stderr().is_terminal() && std::io::stdin().is_terminal()
    }
}

/// The thread that draws. Dropping it lets it finish what was told, and cleans the terminal; a terminal that takes nothing
/// is not waited for.
#[derive(Debug)]
pub struct Watch {
    events: Option<SyncSender<Event>>,
    thread: Option<JoinHandle<()>>,
    missed: u64,
}

impl Watch {
    /// Begins to draw. `interrupt` is set when somebody asks for the end by a key.
    #[must_use]
    #[cfg_attr(not(feature = "tui"), expect(unused_variables, reason = "only the live view has keys"))]
    pub fn start(mode: Mode, interrupt: &Arc<AtomicBool>) -> Self {
        if mode == Mode::Quiet {
            return Self { events: None, thread: None, missed: 0 };
        }
        let (events, heard) = sync_channel(MOST_WAITING);
        #[cfg(feature = "tui")]
        let interrupt = Arc::clone(interrupt);
        let thread = std::thread::Builder::new().name("view".to_owned()).spawn(move || match mode {
            Mode::Quiet => {}
            Mode::Lines => lines::show(&heard),
            Mode::Bar => bar::show(&heard),
            #[cfg(feature = "tui")]
            Mode::Tui => tui::show(&heard, &interrupt),
        });
        // Without a thread there is nothing to see, and still something to measure.
        match thread {
            Ok(thread) => Self { events: Some(events), thread: Some(thread), missed: 0 },
            Err(_) => Self { events: None, thread: None, missed: 0 },
        }
    }

    /// Events that a slow terminal missed.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }
}

impl View for Watch {
    fn on_event(&mut self, event: Event) {
        let Some(events) = &self.events else { return };
        if events.try_send(event).is_err() {
            self.missed += 1;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.events = None;
        let Some(thread) = self.thread.take() else { return };
        let clock = Clock::start();
        let until = clock.now() + PATIENCE;
        while !thread.is_finished() && clock.now() < until {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        if thread.is_finished() {
            let _ = thread.join();
        }
    }
}

/// Gives a terminal back as it was found; for an end that runs no destructors.
pub fn restore_terminal() {
    #[cfg(feature = "tui")]
    tui::restore();
}

/// Everything that is waiting, at least one event. `None`: nothing more will come.
fn drain(heard: &Receiver<Event>, patience: Duration) -> Option<Vec<Event>> {
    use std::sync::mpsc::RecvTimeoutError;
    let mut events = match heard.recv_timeout(patience) {
        Ok(event) => vec![event],
        Err(RecvTimeoutError::Timeout) => return Some(Vec::new()),
        Err(RecvTimeoutError::Disconnected) => return None,
    };
    events.extend(heard.try_iter().take(MOST_WAITING));
    Some(events)
}

/// Events between two looks of a drawing thread: a virtual run of a thousand intervals tells a few thousand in the tenth
/// of a second that a frame takes. Each is some hundred bytes.
const MOST_WAITING: usize = 4_096;
/// A terminal that is stopped (Ctrl-S, a pager that does not read) would hold up the report for ever.
const PATIENCE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_view_that_does_not_look() {
        let (events, heard) = sync_channel(2);
        let mut watch = Watch { events: Some(events), thread: None, missed: 0 };
        (0..10).for_each(|step| watch.on_event(Event::Fraction(f64::from(step))));
        assert_eq!(watch.missed(), 8);
        let seen = drain(&heard, Duration::ZERO).unwrap();
        assert_eq!(seen, [Event::Fraction(0.0), Event::Fraction(1.0)]);
    }
}
