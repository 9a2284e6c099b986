//! What is still owed while a run goes on: which messages are unsettled, which pairs have not been heard.
//!
//! Both drivers ask it one question: is everything settled, so that the drain may end? The verdict on each pair is
//! passed later, from the record.

use std::collections::HashSet;

use units::Timestamp;

use super::{Arrival, Cast, MessageRecord};
use crate::workload::Intent;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) messages: Vec<MessageRecord>,
    pub(super) arrivals: Vec<Arrival>,
    /// Pairs heard at least once, or not waited for any more. Only asked, never iterated, so its order cannot leak into results.
    heard: HashSet<(u32, u32)>,
    /// Pairs not heard yet of messages that were submitted.
    owed: u64,
    /// Submitted messages neither acknowledged nor failed.
    unsettled: u64,
}

impl Ledger {
    /// A message came up in the schedule; messages come in the order of their ids. `submitted`: `None` if the protocol
    /// did not take it.
    pub(super) fn on_intent(&mut self, cast: &Cast, intent: Intent, submitted: Option<Timestamp>) {
        debug_assert_eq!(self.messages.len(), intent.id as usize, "the schedule counts without gaps");
        if submitted.is_some() {
            self.owed += cast.recipients(&intent).count() as u64;
            self.unsettled += 1;
        }
        self.messages.push(MessageRecord { intent, submitted, acked: None, failed: false });
    }

    pub(super) fn on_acked(&mut self, now: Timestamp, id: u32) {
        if let Some(message) = self.messages.get_mut(id as usize).filter(|message| message.acked.is_none()) {
            message.acked = Some(now);
            self.unsettled -= 1;
        }
    }

    /// A message of a baseline has come as far as its transport can tell.
    pub(super) fn on_received(&mut self) {
        self.unsettled = self.unsettled.saturating_sub(1);
    }

    pub(super) fn on_failed(&mut self, id: u32) {
        if let Some(message) = self.messages.get_mut(id as usize).filter(|message| !message.failed) {
            message.failed = true;
            self.unsettled -= 1;
        }
    }

    /// A message was given up that may be: nobody need wait for it any more, though what is under way may arrive.
    pub(super) fn on_given_up(&mut self, cast: &Cast, id: u32) {
        self.on_failed(id);
        let Some(message) = self.messages.get(id as usize) else {
            return;
        };
        let waiting =
            cast.recipients(&message.intent).filter(|&recipient| self.heard.insert((id, recipient)));
        self.owed = self.owed.saturating_sub(waiting.count() as u64);
    }

    pub(super) fn on_arrival(&mut self, arrival: Arrival) {
        self.arrivals.push(arrival);
        if let Some(id) = arrival.message
            && (id as usize) < self.messages.len()
            && self.heard.insert((id, arrival.recipient))
        {
            self.owed = self.owed.saturating_sub(1);
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.owed == 0 && self.unsettled == 0
    }
}
