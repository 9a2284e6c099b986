//! One room: its members, the one order of its lines, and how much of them it remembers.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use chat_core::message::HistoryLine;
use units::Timestamp;

use super::{HubConfig, SessionId};

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: Arc<str>,
    /// Picks the channel.
    pub(super) number: u32,
    pub(super) members: BTreeSet<SessionId>,
    pub(super) last_active: Timestamp,
    seq: u64,
    history: VecDeque<HistoryLine>,
    history_bytes: usize,
}

impl Room {
    pub(super) fn new(name: Arc<str>, number: u32, now: Timestamp) -> Self {
        Self {
            name,
            number,
            members: BTreeSet::new(),
            last_active: now,
            seq: 0,
            history: VecDeque::new(),
            history_bytes: 0,
        }
    }

    /// The place of the next line; chat and notices share one count.
    pub(super) fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// Remembers a line and forgets the oldest beyond the bounds.
    pub(super) fn remember(&mut self, line: HistoryLine, config: &HubConfig) {
        self.history_bytes += line.text.len();
        self.history.push_back(line);
        while self.history.len() > config.history_lines || self.history_bytes > config.history_bytes {
            let Some(oldest) = self.history.pop_front() else {
                break;
            };
            self.history_bytes -= oldest.text.len();
        }
    }

    /// Oldest first.
    pub(super) fn history(&self) -> Vec<HistoryLine> {
        self.history.iter().cloned().collect()
    }
}
