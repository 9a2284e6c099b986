//! Talking with a program: lines of standard input are said in the room, what is heard goes to standard output.
//!
//! - [`input`]: standard input, line by line.
//! - [`output`]: what an event looks like, plain or as JSON.
//! - [`progress`]: what is still to be waited for, and how the run ended.
//!
//! This file is the loop between them and the session. A line is said as it is, also one that begins with a slash: what a
//! script passes on must not become a command.

mod input;
mod output;
mod progress;

use std::future::pending;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use chat_client::net::{Client, wait};
use chat_client::session::{MessageId, Session};
use chat_core::SendError;
use tokio::sync::mpsc;
use tokio::time::timeout;
use units::{Clock, Timestamp};

use crate::cli::{Failure, PipeSettings, Plan};
use crate::shutdown::Interruption;
use crate::text::safe;
use input::Input;
use output::{Format, Output};
use progress::{Outcome, Progress, Report};

/// Runs until all is said and acknowledged, or, when following, until a signal or the reader ends it.
pub(crate) async fn run(plan: &Plan, settings: &PipeSettings, client: Client) -> Result<ExitCode, Failure> {
    let failed = |error: io::Error| Failure::Failed(error.into());
    let mut interruption = Interruption::watch().map_err(failed)?;
    let format = if settings.json { Format::Json } else { Format::Plain };
    let now = plan.clock.now();
    let mut pipe = Pipe {
        client,
        input: Some(input::read().map_err(failed)?),
        output: Output::new(plan.user.clone(), format, settings.history),
        progress: Progress::new(now, settings.room.clone(), settings.follow, settings.connect_timeout),
        room: settings.room.clone(),
        clock: plan.clock,
        quiet: plan.quiet,
    };
    let ended = pipe.talk(&mut interruption).await;
    let unacked = pipe.progress.unacked();
    pipe.leave().await;
    match ended.map_err(Failure::Failed)? {
        End::Over(Outcome::Done) => Ok(ExitCode::SUCCESS),
        End::Over(Outcome::Failed(why)) => Err(Failure::Failed(anyhow!("{why}"))),
        End::Over(Outcome::Unreachable(why)) => {
            Err(Failure::Unreachable(anyhow!("no server at {}: {why}", plan.server)))
        }
        End::Signal(code) => {
            if unacked > 0 {
                eprintln!("error: interrupted; {unacked} lines were not acknowledged");
            }
            Ok(code.into())
        }
    }
}

/// Why the talk is over.
#[derive(Debug)]
enum End {
    Over(Outcome),
    /// Exit code.
    Signal(u8),
}

#[derive(Debug)]
struct Pipe {
    client: Client,
    /// `None` after its end.
    input: Option<mpsc::Receiver<Input>>,
    output: Output,
    progress: Progress,
    room: Arc<str>,
    clock: Clock,
    quiet: bool,
}

impl Pipe {
    async fn talk(&mut self, interruption: &mut Interruption) -> anyhow::Result<End> {
        let room = self.room.clone();
        self.submit(move |session, now| session.join(now, &room)).await?;
        loop {
            if let Some(outcome) = self.progress.outcome() {
                return Ok(End::Over(outcome.clone()));
            }
            if self.progress.take_question() {
                self.submit(|session, now| session.ask_stats(now)).await?;
            }
            tokio::select! {
                event = self.client.event() => {
                    let Some((at, event)) = event else {
                        return Ok(End::Over(Outcome::Done));
                    };
                    let report = self.progress.on_event(at, &event);
                    self.report(report);
                    let lines = self.output.lines(&event);
                    self.print(&lines)?;
                }
                input = next(&mut self.input, self.progress.wants_input()) => self.take(input).await?,
                () = wait(self.progress.poll_timeout(), self.clock) => {
                    self.progress.handle_timeout(self.clock.now());
                }
                code = interruption.exit_code() => return Ok(End::Signal(code)),
            }
        }
    }

    /// Says one line of the input.
    async fn take(&mut self, input: Option<Input>) -> anyhow::Result<()> {
        match input {
            Some(Input::Line(line)) if line.is_empty() => self.progress.on_empty(),
            Some(Input::Line(line)) => {
                let room = self.room.clone();
                let sent = self.client.submit(move |session, now| session.say(now, &room, &line)).await;
                match sent {
                    Ok(Ok(id)) => self.progress.on_sent(id),
                    Ok(Err(error)) => {
                        let report = self.progress.on_unsendable(&error.to_string());
                        self.report(Some(report));
                    }
                    // The last event, which is on its way, says why.
                    Err(_) => {}
                }
            }
            Some(Input::TooLong) => {
                let reason = format!("it is longer than {} bytes", input::MAX_LINE_BYTES);
                let report = self.progress.on_unsendable(&reason);
                self.report(Some(report));
            }
            Some(Input::Broken(error)) => {
                let report = self.progress.on_unsendable(&format!("standard input cannot be read: {error}"));
                self.report(Some(report));
            }
            None => {
                self.input = None;
                self.progress.on_input_end(self.clock.now());
            }
        }
        Ok(())
    }

    async fn submit(
        &mut self,
        act: impl FnOnce(&mut Session, Timestamp) -> Result<MessageId, SendError> + Send + 'static,
    ) -> anyhow::Result<()> {
        match self.client.submit(act).await {
            Ok(submitted) => submitted.map(drop).context("cannot be sent"),
            // The last event, which is on its way, says why.
            Err(_) => Ok(()),
        }
    }

    /// Writes to standard output; a reader that has gone away is no error.
    fn print(&mut self, lines: &str) -> anyhow::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut stdout = io::stdout().lock();
        match stdout.write_all(lines.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.progress.on_output_closed(self.clock.now());
                Ok(())
            }
            other => other.context("cannot write to standard output"),
        }
    }

    fn report(&self, report: Option<Report>) {
        match report {
            Some(Report::Note(text)) if !self.quiet => eprintln!("chat-client: {}", safe(&text)),
            Some(Report::Problem(text)) => eprintln!("error: {}", safe(&text)),
            _ => {}
        }
    }

    /// Says goodbye.
    async fn leave(mut self) {
        // Both fail only if the session is over already.
        let _ = self.client.with(|session, now| session.quit(now)).await;
        let _ = timeout(BYE_TIMEOUT, async { while self.client.event().await.is_some() {} }).await;
    }
}

/// The next of the input, if one is wanted; `None` at its end.
async fn next(input: &mut Option<mpsc::Receiver<Input>>, is_wanted: bool) -> Option<Input> {
    match input {
        Some(input) if is_wanted => input.recv().await,
        _ => pending().await,
    }
}

/// Saying goodbye is a courtesy; the server notices a missing one by itself.
const BYE_TIMEOUT: Duration = Duration::from_secs(1);
