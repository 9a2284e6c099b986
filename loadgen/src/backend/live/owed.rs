//! What is still owed while the run goes on, shared by the director and the clients: two counters, nothing else.

use std::sync::atomic::{AtomicI64, Ordering};

#[derive(Debug, Default)]
pub(super) struct Owed {
    /// Pairs not heard yet.
    pairs: AtomicI64,
    /// Messages neither acknowledged nor failed.
    messages: AtomicI64,
}

impl Owed {
    /// A message is on its way to its sender.
    pub(super) fn on_intent(&self, recipients: usize) {
        self.pairs.fetch_add(recipients as i64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// It was not taken after all.
    pub(super) fn on_refused(&self, recipients: usize) {
        self.pairs.fetch_sub(recipients as i64, Ordering::Relaxed);
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    /// A pair was heard for the first time.
    pub(super) fn on_heard(&self) {
        self.pairs.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn on_settled(&self) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn is_settled(&self) -> bool {
        self.pairs.load(Ordering::Relaxed) <= 0 && self.messages.load(Ordering::Relaxed) <= 0
    }
}
