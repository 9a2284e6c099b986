//! Who came and went, a short line for several at once.
//!
//! A server that restarts brings everyone back within a second; a line for each would push the talk off the screen. So
//! comings and goings wait a moment for company. What is said flushes them first, so that the order stays true.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use units::Timestamp;

/// Changes that were not shown yet.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    rooms: BTreeMap<Arc<str>, Changes>,
    due: Option<Timestamp>,
}

#[derive(Debug, Default)]
struct Changes {
    joined: Vec<Arc<str>>,
    left: Vec<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Joined,
    Left,
}

impl Presence {
    pub(crate) fn note(&mut self, now: Timestamp, room: Arc<str>, user: Arc<str>, change: Change) {
        let changes = self.rooms.entry(room).or_default();
        let (to, from) = match change {
            Change::Joined => (&mut changes.joined, &mut changes.left),
            Change::Left => (&mut changes.left, &mut changes.joined),
        };
        // Away and back within the moment, or the other way round, is no news.
        if let Some(at) = from.iter().position(|other| *other == user) {
            from.remove(at);
        } else {
            to.push(user);
        }
        self.due.get_or_insert(now + PATIENCE);
    }

    /// When the changes want to be shown.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.due
    }

    /// One line for each room with changes, and forgets them.
    pub(crate) fn take(&mut self) -> Vec<String> {
        self.due = None;
        let rooms = std::mem::take(&mut self.rooms);
        let line = |(room, changes): (Arc<str>, Changes)| {
            let parts = [(changes.joined, "joined"), (changes.left, "left")];
            let parts: Vec<String> = parts
                .into_iter()
                .filter(|(users, _)| !users.is_empty())
                .map(|(users, verb)| format!("{} {verb}", names(&users)))
                .collect();
            (!parts.is_empty()).then(|| format!("{room}: {}", parts.join(", ")))
        };
        rooms.into_iter().filter_map(line).collect()
    }
}

fn names(users: &[Arc<str>]) -> String {
    let shown =
        users.iter().take(MAX_NAMES).map(|user| crate::text::safe(user)).collect::<Vec<_>>().join(", ");
    match users.len().saturating_sub(MAX_NAMES) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Long enough for a crowd, short enough to seem immediate.
const PATIENCE: Duration = Duration::from_millis(400);
/// Names in one line.
const MAX_NAMES: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    fn after(changes: &[(&str, Change)]) -> Vec<String> {
        let mut presence = Presence::default();
        for (user, change) in changes {
            presence.note(Timestamp::ZERO, "lobby".into(), (*user).into(), *change);
        }
        presence.take()
    }

    #[test]
    fn several_changes_make_one_line() {
        use Change::{Joined, Left};
        let lines = after(&[("bob", Joined), ("dave", Left), ("carol", Joined)]);
        assert_eq!(lines, ["lobby: bob, carol joined, dave left"]);
    }

    #[test]
    fn away_and_back_at_once_is_no_news() {
        assert!(after(&[("bob", Change::Left), ("bob", Change::Joined)]).is_empty());
    }

    #[test]
    fn a_crowd_is_counted() {
        let users: Vec<String> = (0..9).map(|number| format!("u{number}")).collect();
        let changes: Vec<_> = users.iter().map(|user| (user.as_str(), Change::Joined)).collect();
        assert_eq!(after(&changes), ["lobby: u0, u1, u2, u3, u4, u5 and 3 more joined"]);
    }

    #[test]
    fn changes_are_due_a_moment_after_the_first() {
        let mut presence = Presence::default();
        assert_eq!(presence.poll_timeout(), None);
        for ms in [0, 300] {
            presence.note(Timestamp::from_millis(ms), "a".into(), "b".into(), Change::Joined);
        }
        assert_eq!(presence.poll_timeout(), Some(Timestamp::from_millis(400)));
        presence.take();
        assert_eq!(presence.poll_timeout(), None);
    }
}
