//! What clients tell the driver while a run goes on: who has joined, and what the schedule waits for where it does.

use std::sync::mpsc::Sender;

use super::pacing::{News, Told};

/// A client's way to the driver.
#[derive(Clone, Debug)]
pub(super) struct Reports {
    joined: Sender<()>,
    told: Option<Told>,
}

impl Reports {
    pub(super) fn new(joined: Sender<()>, told: Option<Told>) -> Self {
        Self { joined, told }
    }

    /// A client is in its room for the first time.
    pub(super) fn joined(&self) {
        // The director listens until it has told everyone to stop.
        let _ = self.joined.send(());
    }

    /// A message was acknowledged, failed or not taken.
    pub(super) fn settled(&self, message: u32) {
        self.tell(News::Settled(message));
    }

    /// A client that was to leave has left.
    pub(super) fn gone(&self, client: u32) {
        self.tell(News::Gone(client));
    }

    /// A client that came back is in its rooms again.
    pub(super) fn present(&self, client: u32) {
        self.tell(News::Present(client));
    }

    fn tell(&self, news: News) {
        if let Some(told) = &self.told {
            told.tell(news);
        }
    }
}
