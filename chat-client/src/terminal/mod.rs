//! Talking with a person: a prompt that stays, lines that come in above it.
//!
//! - [`command`]: what a typed line means.
//! - [`view`]: what an event looks like, with [`presence`], [`said`], [`stats`], [`time`] and [`paint`] as its parts.
//! - [`screen`]: the terminal.
//!
//! This file is the loop between the three and the session. It decides nothing that a test would want to see.

mod command;
mod paint;
mod presence;
mod said;
mod screen;
mod stats;
mod time;
mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use chat_client::net::{Client, wait};
use chat_client::session::{Closed, MessageId, Session, SessionEvent};
use chat_core::SendError;
use chat_core::message::ErrorContent;
use rustyline_async::ReadlineEvent;
use tokio::sync::oneshot;
use tokio::time::timeout;
use units::{Clock, Timestamp};

use crate::cli::{Failure, Plan};
use crate::shutdown::{INTERRUPTED, Interruption};
use command::Command;
use paint::Paint;
use screen::Screen;
use stats::Snapshot;
use view::{Audience, View, ViewSettings};

/// Runs until the person, a signal or the server ends it.
pub(crate) async fn run(plan: &Plan, client: Client) -> Result<ExitCode, Failure> {
    let view = View::new(ViewSettings {
        user: plan.user.clone(),
        server: plan.server.clone(),
        paint: Paint { color: plan.color },
        unix_us_at_zero: (plan.clock.unix_at_zero() * 1e6) as u64,
        utc_offset: time::utc_offset(),
    });
    let mut interruption = Interruption::watch().map_err(|error| Failure::Failed(error.into()))?;
    let screen = Screen::open(view.prompt()).map_err(Failure::Failed)?;
    let mut shell = Shell { client, view, screen, clock: plan.clock };
    if let Some(room) = plan.room.clone() {
        shell.act(Command::Join(room)).await.map_err(Failure::Failed)?;
    }
    let ended = shell.talk(&mut interruption).await;
    let left = shell.leave(ended.as_ref().is_ok_and(|end| matches!(end, End::Quit))).await;
    let end = ended.and_then(|end| left.map(|unsettled| (end, unsettled))).map_err(Failure::Failed)?;
    match end {
        (End::Refused(error), _) => Err(Failure::Failed(anyhow!("{}", error.text))),
        (End::Untrusted(reason), _) => Err(Failure::Failed(anyhow!("{reason}"))),
        (End::Signal(code), _) => Ok(code.into()),
        (End::Quit, 0) => Ok(ExitCode::SUCCESS),
        (End::Quit, 1) => Err(Failure::Failed(anyhow!("the last line was not acknowledged by the server"))),
        (End::Quit, lines) => {
            Err(Failure::Failed(anyhow!("the last {lines} lines were not acknowledged by the server")))
        }
    }
}

/// Why the talk is over.
#[derive(Debug)]
enum End {
    Quit,
    /// Exit code.
    Signal(u8),
    Refused(ErrorContent),
    Untrusted(String),
}

#[derive(Debug)]
struct Shell {
    client: Client,
    view: View,
    screen: Screen,
    clock: Clock,
}

impl Shell {
    async fn talk(&mut self, interruption: &mut Interruption) -> anyhow::Result<End> {
        loop {
            self.screen.set_prompt(self.view.prompt())?;
            tokio::select! {
                input = self.screen.input() => match input? {
                    ReadlineEvent::Line(line) => {
                        if self.enter(line).await? {
                            return Ok(End::Quit);
                        }
                    }
                    ReadlineEvent::Eof => return Ok(End::Quit),
                    ReadlineEvent::Interrupted => return Ok(End::Signal(INTERRUPTED)),
                },
                event = self.client.event() => {
                    let Some((at, event)) = event else {
                        return Ok(End::Quit);
                    };
                    match event {
                        SessionEvent::Closed(Closed::Refused(error)) => return Ok(End::Refused(error)),
                        SessionEvent::Closed(Closed::Untrusted(reason)) => return Ok(End::Untrusted(reason)),
                        _ => {}
                    }
                    let lines = self.view.on_event(at, event);
                    self.screen.print(&lines)?;
                }
                () = wait(self.view.poll_timeout(), self.clock) => {
                    let lines = self.view.handle_timeout(self.clock.now());
                    self.screen.print(&lines)?;
                }
                code = interruption.exit_code() => return Ok(End::Signal(code)),
            }
        }
    }

    /// Carries out one typed line; whether it was the last.
    async fn enter(&mut self, line: String) -> anyhow::Result<bool> {
        match command::parse(&line) {
            Ok(Command::Quit) => return Ok(true),
            Ok(Command::Nothing) => {}
            Ok(command) => {
                self.screen.remember(line);
                self.act(command).await?;
            }
            Err(sentence) => {
                // Kept for the arrow keys, to be corrected.
                self.screen.remember(line);
                self.screen.print(&self.view.alarm(&sentence))?;
            }
        }
        Ok(false)
    }

    async fn act(&mut self, command: Command) -> anyhow::Result<()> {
        match command {
            Command::Say(text) => match self.view.current() {
                Some(room) => self.say(Audience::Room(room), text).await?,
                None => self.screen.print(&self.view.alarm("you are in no room; /join ROOM first"))?,
            },
            Command::Message { to, text } => self.say(Audience::User(to), text).await?,
            Command::Broadcast(text) => self.say(Audience::Everyone, text).await?,
            Command::Join(room) => {
                if !self.view.switch(&room) {
                    self.request(move |session, now| session.join(now, &room)).await?;
                }
            }
            Command::Leave(room) => {
                if let Some(room) = self.or_current(room)? {
                    self.request(move |session, now| session.leave(now, &room)).await?;
                }
            }
            Command::List(room) => {
                if let Some(room) = self.or_current(room)? {
                    self.request(move |session, now| session.list(now, &room)).await?;
                }
            }
            Command::Rooms => self.request(|session, now| session.list_rooms(now)).await?,
            Command::Stats => {
                let (answer, snapshot) = oneshot::channel();
                // The session ends with the loop; until then it answers.
                let asked = self.client.with(|session, _| {
                    let _ = answer.send(Snapshot::of(session));
                });
                let _ = asked.await;
                if let Ok(snapshot) = snapshot.await {
                    self.screen.print(&self.view.dim(&snapshot.to_string()))?;
                }
                self.request(|session, now| session.ask_stats(now)).await?;
            }
            Command::Help => self.screen.print(&self.view.dim(command::HELP))?,
            Command::Quit | Command::Nothing => {}
        }
        Ok(())
    }

    /// Sends a line and shows it.
    async fn say(&mut self, audience: Audience, text: String) -> anyhow::Result<()> {
        let (to, words) = (audience.clone(), text.clone());
        let submitted = self.submit(move |session, now| match &to {
            Audience::Room(room) => session.say(now, room, &words),
            Audience::User(user) => session.say_private(now, user, &words),
            Audience::Everyone => session.broadcast(now, &words),
        });
        if let Some(id) = submitted.await? {
            let echo = self.view.on_said(self.clock.now(), id, &audience, &text);
            self.screen.print(&echo)?;
        }
        Ok(())
    }

    /// Sends a request whose answer will be an event.
    async fn request(
        &mut self,
        act: impl FnOnce(&mut Session, Timestamp) -> Result<MessageId, SendError> + Send + 'static,
    ) -> anyhow::Result<()> {
        self.submit(act).await.map(drop)
    }

    /// Hands something to the session; shows why it was not taken, if so.
    async fn submit(
        &mut self,
        act: impl FnOnce(&mut Session, Timestamp) -> Result<MessageId, SendError> + Send + 'static,
    ) -> anyhow::Result<Option<MessageId>> {
        match self.client.submit(act).await {
            Ok(Ok(id)) => Ok(Some(id)),
            Ok(Err(error)) => {
                self.screen.print(&self.view.alarm(&format!("not sent: {error}")))?;
                Ok(None)
            }
            // The last event, which is on its way, says why.
            Err(_) => Ok(None),
        }
    }

    fn or_current(&mut self, room: Option<Arc<str>>) -> anyhow::Result<Option<Arc<str>>> {
        let room = room.or_else(|| self.view.current());
        if room.is_none() {
            self.screen.print(&self.view.alarm("you are in no room; name one"))?;
        }
        Ok(room)
    }

    /// Says goodbye, after own lines have arrived if `patiently`; gives the number of those that have not.
    async fn leave(mut self, patiently: bool) -> anyhow::Result<usize> {
        if patiently {
            // Whether this was long enough shows in what is unsettled.
            let _ = timeout(SETTLE_TIMEOUT, self.settle()).await;
        }
        self.screen.close()?;
        // Both fail only if the session is over already.
        let _ = self.client.with(|session, now| session.quit(now)).await;
        let _ = timeout(BYE_TIMEOUT, async { while self.client.event().await.is_some() {} }).await;
        Ok(self.view.unsettled())
    }

    /// Waits until every own line has arrived or failed.
    async fn settle(&mut self) -> anyhow::Result<()> {
        while self.view.unsettled() > 0
            && let Some((at, event)) = self.client.event().await
        {
            let lines = self.view.on_event(at, event);
            self.screen.print(&lines)?;
        }
        Ok(())
    }
}

/// A person who quits waits so long for the last lines to arrive.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(3);
/// Saying goodbye is a courtesy; the server notices a missing one by itself.
const BYE_TIMEOUT: Duration = Duration::from_secs(1);
