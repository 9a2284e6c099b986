//! What the messages of a run waited for on their two hops, by what both ends said.
//!
//! Both ends name a message as it is named on the wire, `c3-17`: the author, and its number in the author's session. Here
//! that becomes the message of the schedule. Only the virtual driver collects it: on sockets the server is not asked,
//! so that measuring costs it nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use chat_client::session::MessageId;
use chat_core::Delays;
use chat_core::trace::waits::{Wait, Waited};

/// Waits of all messages.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// Messages of the schedule, by author and number on the wire.
    ids: BTreeMap<(u32, u64), u32>,
    /// From the sender to the server.
    up: BTreeMap<u32, HopWait>,
    /// From the server to a recipient.
    down: BTreeMap<(u32, u32), HopWait>,
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
    pub(super) fn on_up(&mut self, waited: &Waited) {
        if let Some(message) = self.message(waited) {
            self.up.entry(message).or_default().take(waited.wait);
        }
    }

    /// `recipient` or the server told of the hop between them.
    pub(super) fn on_down(&mut self, recipient: u32, waited: &Waited) {
        if let Some(message) = self.message(waited) {
            self.down.entry((message, recipient)).or_default().take(waited.wait);
        }
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

impl HopWait {
    fn take(&mut self, wait: Wait) {
        match wait {
            Wait::Sent(delays) => self.delays = delays,
            Wait::Order(span) => self.order = span,
        }
    }
}
