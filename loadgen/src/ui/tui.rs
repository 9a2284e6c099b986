//! `--tui`: the live view on the whole terminal.
//!
//! Drawn at most ten times a second from a [`State`] of its own, on its own thread; a terminal that cannot keep up loses
//! frames and nothing else. What is measured is not here: the view shows the latest intervals as they were told.

use std::io::{self, BufWriter, Stderr, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use crossterm::event::{self, Event as Input, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode};
use crossterm::{cursor, execute};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use units::{Clock, Timestamp};

use super::{Event, State, drain, screen};

/// Whether the terminal has to be given back.
static IS_SHOWN: AtomicBool = AtomicBool::new(false);

pub(super) fn show(heard: &Receiver<Event>, interrupt: &AtomicBool) {
    let clock = Clock::start();
    let mut state = State::default();
    let mut desk = Desk { interrupt, is_help: false, has_colour: std::env::var_os("NO_COLOR").is_none() };
    let mut terminal = open().ok();
    let mut next = Timestamp::ZERO;
    while let Some(events) = drain(heard, FRAME) {
        events.into_iter().for_each(|event| state.on_event(clock.now(), event));
        let has_input = terminal.is_some() && desk.listen();
        if clock.now() < next && !has_input {
            continue;
        }
        next = clock.now() + FRAME;
        let is_gone =
            terminal.as_mut().is_some_and(|terminal| desk.draw(terminal, &state, clock.now()).is_err());
        if is_gone {
            // The terminal went away; the measurement goes on.
            terminal = None;
        }
    }
    drop(terminal);
    restore();
    // What the whole terminal showed of cells stays readable after it.
    state.lines.iter().for_each(|line| drop(writeln!(io::stderr(), "{line}")));
}

type Screen = Terminal<CrosstermBackend<BufWriter<Stderr>>>;

fn open() -> io::Result<Screen> {
    IS_SHOWN.store(true, Ordering::Relaxed);
    enable_raw_mode()?;
    let mut out = BufWriter::with_capacity(64 * 1024, io::stderr());
    execute!(out, EnterAlternateScreen, cursor::Hide)?;
    Terminal::new(CrosstermBackend::new(out))
}

/// Gives the terminal back. Doing it twice does no harm.
pub(super) fn restore() {
    if !IS_SHOWN.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = disable_raw_mode();
    let _ = execute!(io::stderr(), LeaveAlternateScreen, cursor::Show);
}

/// Where somebody sits.
struct Desk<'a> {
    interrupt: &'a AtomicBool,
    is_help: bool,
    has_colour: bool,
}

impl Desk<'_> {
    /// Whether a key or a new size came.
    fn listen(&mut self) -> bool {
        let mut has_input = false;
        while event::poll(Duration::ZERO).unwrap_or(false) {
            has_input = true;
            match event::read() {
                Ok(Input::Key(key)) if key.kind != KeyEventKind::Release => self.press(key),
                Ok(_) => {}
                Err(_) => return has_input,
            }
        }
        has_input
    }

    fn press(&mut self, key: KeyEvent) {
        let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            _ if is_control_c => self.stop(),
            KeyCode::Char('q') => self.stop(),
            KeyCode::Char('?' | 'h') => self.is_help = !self.is_help,
            KeyCode::Esc => self.is_help = false,
            _ => {}
        }
    }

    /// In raw mode the terminal sends no signals, so keys have their meaning: the first asks, the second insists.
    fn stop(&self) {
        if self.interrupt.swap(true, Ordering::Relaxed) {
            restore();
            std::process::exit(130);
        }
    }

    fn draw(&self, terminal: &mut Screen, state: &State, now: Timestamp) -> io::Result<()> {
        let look = screen::Look {
            is_help: self.is_help,
            has_colour: self.has_colour,
            is_stopping: self.interrupt.load(Ordering::Relaxed),
        };
        terminal.draw(|frame| screen::draw(frame, state, now, look)).map(drop)
    }
}

/// Ten frames a second look live; more is work for nobody.
const FRAME: Duration = Duration::from_millis(100);
