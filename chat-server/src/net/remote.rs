//! How other tasks ask the driver: one value that can be cloned and sent.
//!
//! A question is a closure that runs on the engine between two inputs, so adding one needs no message type. All of them
//! answer `None` once the server has stopped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use chat_core::trace::TraceEvent;
use tokio::sync::{mpsc, oneshot};
use units::Timestamp;

use crate::control::ServerStats;
use crate::engine::Engine;

type Question = Box<dyn FnOnce(&mut Engine, Timestamp) + Send>;

/// What the driver is asked.
pub(crate) enum Command {
    Ask(Question),
    Stats(oneshot::Sender<ServerStats>),
    TakeTraces(oneshot::Sender<Vec<(Arc<str>, TraceEvent)>>),
    Shutdown { drain: Duration },
}

/// Asks the driver.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    commands: mpsc::Sender<Command>,
}

impl Remote {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(COMMANDS_QUEUED);
        (Self { commands }, receiver)
    }

    /// Runs `question` on the engine.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Engine, Timestamp) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |engine, now| {
            // Whoever asked may have gone; the question is answered all the same, for what it changes.
            let _ = reply.send(question(engine, now));
        });
        self.commands.send(Command::Ask(question)).await.ok()?;
        answer.await.ok()
    }

    pub(crate) async fn stats(&self) -> Option<ServerStats> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Stats(reply)).await.ok()?;
        answer.await.ok()
    }

    pub(crate) async fn take_traces(&self) -> Option<Vec<(Arc<str>, TraceEvent)>> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::TakeTraces(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Asks the server to stop after at most `drain`; does not wait for it.
    pub(crate) async fn shutdown(&self, drain: Duration) -> Option<()> {
        self.commands.send(Command::Shutdown { drain }).await.ok()
    }

    /// Comes back when the driver has stopped.
    pub(crate) async fn stopped(&self) {
        self.commands.closed().await;
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask(_) => "Ask",
            Self::Stats(_) => "Stats",
            Self::TakeTraces(_) => "TakeTraces",
            Self::Shutdown { .. } => "Shutdown",
        })
    }
}

/// Requests waiting for the driver; an operator's tools send a few a second.
const COMMANDS_QUEUED: usize = 64;
