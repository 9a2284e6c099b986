//! From the hub to the connections, and what happens to a session that does not keep up.

use std::collections::VecDeque;

use chat_core::message::ErrorCode;
use chat_core::{Label, Outgoing, SendError, SendKey};
use units::Timestamp;

use super::Engine;
use crate::hub::SessionId;

/// Names of messages that a connection has taken, until they are acknowledged or have failed. As many as it takes.
///
/// Keys come in order and nearly always go in order, so a queue finds one at its front.
#[derive(Debug, Default)]
pub(super) struct UnderWay(VecDeque<(SendKey, Label)>);

impl UnderWay {
    fn insert(&mut self, key: SendKey, msg_id: Label) {
        self.0.push_back((key, msg_id));
    }

    /// In the order of sending.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SendKey, &Label)> {
        self.0.iter().map(|(key, msg_id)| (*key, msg_id))
    }

    pub(super) fn remove(&mut self, key: SendKey) -> Option<Label> {
        let place = self.0.binary_search_by_key(&key, |&(key, _)| key).ok()?;
        self.0.remove(place).map(|(_, msg_id)| msg_id)
    }
}

impl Engine {
    /// Gives each message of the hub to the connection of its session. The connection's queue is the outbox: at its bound
    /// the session ends, because its client would otherwise hold memory without end or miss messages in silence.
    pub(super) fn hand_out(&mut self, now: Timestamp) {
        while let Some(output) = self.hub.poll_output() {
            let Some(session) = self.sessions.get_mut(&output.to) else {
                continue;
            };
            let msg_id = self.config.trace_waits.then(|| output.message.msg_id.clone());
            match session.connection.send(now, output.message) {
                Ok(key) => {
                    if let Some(msg_id) = msg_id {
                        session.under_way.insert(key, msg_id);
                    }
                    self.dirty.insert(output.to);
                }
                Err(error @ (SendError::QueueFull { .. } | SendError::QueueBytes { .. })) => {
                    self.end_slow_consumer(now, output.to, &error);
                }
                Err(error) => {
                    // The hub bounds its texts, and what it repeats of a client's, below every limit of a connection.
                    tracing::error!(session = output.to.0, %error, "a message of the hub was not taken");
                }
            }
        }
    }

    fn end_slow_consumer(&mut self, now: Timestamp, id: SessionId, error: &SendError) {
        let waiting = self.sessions.get(&id).map_or(0, |session| session.connection.unacked_messages());
        self.counters.slow_consumers += 1;
        self.counters.slow_consumer_messages += waiting as u64;
        tracing::warn!(session = id.0, waiting, "slow consumer: session ended");
        let text = match error {
            SendError::QueueBytes { limit } => {
                format!("messages of {limit} wait for your acknowledgement, which is the limit; read faster")
            }
            _ => format!("{waiting} messages wait for your acknowledgement, which is the limit; read faster"),
        };
        self.end_session(now, id, ErrorCode::SlowConsumer, text);
    }

    /// Queues one more message for a session, from the engine itself.
    pub(super) fn send_to(&mut self, now: Timestamp, id: SessionId, message: Outgoing) {
        if let Some(session) = self.sessions.get_mut(&id)
            && session.connection.send(now, message).is_ok()
        {
            self.dirty.insert(id);
        }
    }
}
