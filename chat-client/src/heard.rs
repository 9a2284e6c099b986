//! Which lines of each room were heard already, so that a history after a reconnect shows only what is new.
//!
//! The protocol delivers each message once; but a server that forgot the session, or was restarted, answers the second
//! `join` with a history that overlaps what was heard before.

use std::collections::BTreeMap;
use std::sync::Arc;

use chat_core::message::{History, HistoryLine};

/// The newest line heard in each room.
#[derive(Debug)]
pub(crate) struct Heard {
    /// Our own lines never come back as lines, only in histories.
    user: Arc<str>,
    newest: BTreeMap<Arc<str>, u64>,
}

impl Heard {
    pub(crate) fn new(user: Arc<str>) -> Self {
        Self { user, newest: BTreeMap::new() }
    }

    /// Something with a place in the room was heard.
    pub(crate) fn on_line(&mut self, room: &Arc<str>, seq: u64) {
        let newest = self.newest.entry(room.clone()).or_insert(0);
        *newest = seq.max(*newest);
    }

    /// Whether anything of the room was heard since we joined.
    pub(crate) fn knows(&self, room: &str) -> bool {
        self.newest.contains_key(room)
    }

    /// A `join` was answered. A room that has fewer lines than before is a new one of the same name.
    pub(crate) fn on_joined(&mut self, room: &str, seq: u64) {
        if self.newest.get(room).is_some_and(|&newest| newest > seq) {
            self.newest.remove(room);
        }
    }

    /// We left: who joins again wants to see the history again.
    pub(crate) fn on_left(&mut self, room: &str) {
        self.newest.remove(room);
    }

    /// The lines of a history that were not heard, oldest first.
    pub(crate) fn unheard(&mut self, history: History) -> Vec<HistoryLine> {
        let before = self.newest.get(&history.room).copied();
        if let Some(last) = history.lines.last() {
            self.on_line(&history.room, last.seq);
        }
        let is_new =
            |line: &HistoryLine| before.is_none_or(|newest| line.seq > newest && line.sender != self.user);
        history.lines.into_iter().filter(is_new).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(lines: &[(u64, &str)]) -> History {
        let line = |&(seq, sender): &(u64, &str)| HistoryLine {
            seq,
            sender: sender.into(),
            timestamp: 0.0,
            text: format!("line {seq}"),
        };
        History { room: "lobby".into(), lines: lines.iter().map(line).collect() }
    }

    fn unheard(heard: &mut Heard, lines: &[(u64, &str)]) -> Vec<u64> {
        heard.unheard(history(lines)).iter().map(|line| line.seq).collect()
    }

    #[test]
    fn the_first_history_is_shown_whole_and_a_later_one_without_what_was_heard() {
        let mut heard = Heard::new("alice".into());
        heard.on_joined("lobby", 2);
        assert_eq!(unheard(&mut heard, &[(1, "bob"), (2, "alice")]), [1, 2]);
        heard.on_line(&"lobby".into(), 3);
        heard.on_joined("lobby", 5);
        assert_eq!(unheard(&mut heard, &[(2, "alice"), (3, "bob"), (4, "alice"), (5, "bob")]), [5]);
    }

    #[test]
    fn a_room_that_began_anew_is_shown_whole() {
        let mut heard = Heard::new("alice".into());
        heard.on_line(&"lobby".into(), 40);
        heard.on_joined("lobby", 2);
        assert_eq!(unheard(&mut heard, &[(1, "bob"), (2, "bob")]), [1, 2]);
    }

    #[test]
    fn who_leaves_and_joins_sees_the_history_again() {
        let mut heard = Heard::new("alice".into());
        assert_eq!(unheard(&mut heard, &[(1, "bob")]), [1]);
        heard.on_left("lobby");
        assert_eq!(unheard(&mut heard, &[(1, "bob")]), [1]);
    }
}
