//! The terminal itself: a prompt at the bottom, lines above it.
//!
//! The terminal is in raw mode while this value lives; dropping it, also in a panic, puts it back.

use std::io::{self, Write};

use anyhow::{Context, Result};
use rustyline_async::{Readline, ReadlineEvent, SharedWriter};

pub(crate) struct Screen {
    readline: Readline,
    writer: SharedWriter,
    prompt: String,
}

impl Screen {
    pub(crate) fn open(prompt: String) -> Result<Self> {
        restore_on_panic();
        let (mut readline, writer) = Readline::new(prompt.clone())
            .context("cannot use the terminal; for scripts, redirect standard input")?;
        // A line that was entered is shown again, in its final form, above the prompt.
        readline.should_print_line_on(false, false);
        Ok(Self { readline, writer, prompt })
    }

    /// What the person did next.
    pub(crate) async fn input(&mut self) -> Result<ReadlineEvent> {
        self.readline.readline().await.context("cannot read from the terminal")
    }

    /// Shows whole lines above the prompt.
    pub(crate) fn print(&mut self, lines: &str) -> Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        match self.writer.write(lines.as_bytes()) {
            // The writer keeps the lines; they go through once its queue has been shown.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readline.flush().context("cannot write to the terminal")?;
                self.writer.write(&[]).context("cannot write to the terminal")?;
            }
            other => {
                other.context("cannot write to the terminal")?;
            }
        }
        Ok(())
    }

    pub(crate) fn set_prompt(&mut self, prompt: String) -> Result<()> {
        if prompt != self.prompt {
            self.readline.update_prompt(&prompt).context("cannot write to the terminal")?;
            self.prompt = prompt;
        }
        Ok(())
    }

    /// Remembers a line for the arrow keys.
    pub(crate) fn remember(&mut self, line: String) {
        self.readline.add_history_entry(line);
    }

    /// Shows what is left and takes the prompt away.
    pub(crate) fn close(mut self) -> Result<()> {
        self.readline.flush().context("cannot write to the terminal")
    }
}

impl std::fmt::Debug for Screen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Screen").field("prompt", &self.prompt).finish_non_exhaustive()
    }
}

/// The message of a panic is printed before anything is dropped; in raw mode it would be a staircase.
fn restore_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // There is nobody left to tell if this fails.
        let _ = crossterm::terminal::disable_raw_mode();
        report(info);
    }));
}
