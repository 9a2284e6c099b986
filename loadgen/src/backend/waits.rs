//! What the messages of a run waited for on their two hops, by what both ends said.
//!
//! Both ends name a message as it is named on the wire, `c3-17`: the author, and its number in the author's session. Here
//! that becomes the message of the schedule. On sockets the server in this process is asked for its part a few times a
//! second; one that runs elsewhere is not ours to ask, and half of the story would be none.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_client::session::MessageId;
use chat_core::Delays;
use chat_core::trace::waits::{Wait, Waited};

/// Why nobody tells what messages waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTold {
    /// The transport is not ours.
    Baseline,
    /// The server is not part of the run.
    ServerElsewhere,
}

/// Waits of all messages.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// Messages of the schedule, by author and number on the wire.
    ids: BTreeMap<(u32, u64), u32>,
    /// From the sender to the server.
    up: BTreeMap<u32, HopWait>,
    /// From the server to a recipient.
    down: BTreeMap<(u32, u32), HopWait>,
    /// Dropped before anybody took them.
    forgotten: u64,
}

/// What one message waited for on one hop, or on both together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HopWait {
    pub delays: Delays,
    pub order: Duration,
}

impl Waits {
    pub(super) fn on_submitted(&mut self, client: u32, id: MessageId, message: u32) {
        self.ids.insert((client, id.0), message);
    }

    /// The sender or the server told of the hop between them.
    fn on_up(&mut self, waited: &Waited) {
        if let Some(message) = self.message(waited) {
            self.up.entry(message).or_default().take(waited.wait);
        }
    }

    /// `recipient` or the server told of the hop between them.
    fn on_down(&mut self, recipient: u32, waited: &Waited) {
        if let Some(message) = self.message(waited) {
            self.down.entry((message, recipient)).or_default().take(waited.wait);
        }
    }

    /// Client `index` told.
    pub(super) fn on_client(&mut self, index: u32, waited: &Waited) {
        match waited.wait {
            Wait::Sent(_) => self.on_up(waited),
            Wait::Order(_) => self.on_down(index, waited),
        }
    }

    /// The server told, of the connection with this client; `None` is one that has no part in the schedule.
    pub(super) fn on_server(&mut self, client: Option<u32>, waited: &Waited) {
        match (waited.wait, client) {
            (Wait::Order(_), _) => self.on_up(waited),
            (Wait::Sent(_), Some(client)) => self.on_down(client, waited),
            (Wait::Sent(_), None) => {}
        }
    }

    pub(super) fn on_forgotten(&mut self, count: u64) {
        self.forgotten += count;
    }

    /// Dropped before anybody took them: their part of a latency is in its rest.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Of both hops together.
    #[must_use]
    pub fn of(&self, message: u32, recipient: u32) -> HopWait {
        let up = self.up.get(&message).copied().unwrap_or_default();
        let down = self.down.get(&(message, recipient)).copied().unwrap_or_default();
        HopWait {
            delays: Delays {
                window: up.delays.window + down.delays.window,
                pacing: up.delays.pacing + down.delays.pacing,
                flow: up.delays.flow + down.delays.flow,
                loss: up.delays.loss + down.delays.loss,
            },
            order: up.order + down.order,
        }
    }

    /// Joins, notices and the like are no messages of the schedule.
    fn message(&self, waited: &Waited) -> Option<u32> {
        let (author, number) = waited.msg_id.as_str().rsplit_once('-')?;
        let author = author.strip_prefix('c')?.parse().ok()?;
        self.ids.get(&(author, number.parse().ok()?)).copied()
    }
}

impl std::fmt::Display for NotTold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Baseline => "a baseline does not tell",
            Self::ServerElsewhere => "the server is not part of the run",
        })
    }
}

impl HopWait {
    fn take(&mut self, wait: Wait) {
        match wait {
            Wait::Sent(delays) => self.delays = delays,
            Wait::Order(span) => self.order = span,
        }
    }
}
