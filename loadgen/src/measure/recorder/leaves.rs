//! Who is away, and who has been.

use units::Timestamp;

/// By client.
#[derive(Debug)]
pub(super) struct Leaves {
    clients: Vec<Leave>,
    has_anybody_left: bool,
}

#[derive(Clone, Copy, Debug)]
enum Leave {
    Never,
    Away,
    /// It came back last then: what was meant earlier it need not hear.
    Back(Timestamp),
}

impl Leaves {
    pub(super) fn new(clients: u32) -> Self {
        Self { clients: vec![Leave::Never; clients as usize], has_anybody_left: false }
    }

    /// A client leaves; whether that is news.
    pub(super) fn go(&mut self, client: u32) -> bool {
        let Some(leave) = self.clients.get_mut(client as usize) else {
            return false;
        };
        self.has_anybody_left = true;
        !matches!(std::mem::replace(leave, Leave::Away), Leave::Away)
    }

    pub(super) fn come_back(&mut self, client: u32, at: Timestamp) {
        if let Some(leave) = self.clients.get_mut(client as usize) {
            *leave = Leave::Back(at);
        }
    }

    /// Whether a client is away, or was after `intended`.
    pub(super) fn since(&self, client: u32, intended: Timestamp) -> bool {
        match self.clients.get(client as usize) {
            Some(Leave::Away) => true,
            Some(Leave::Back(at)) => *at > intended,
            Some(Leave::Never) | None => false,
        }
    }

    /// Whether a client has ever left.
    pub(super) fn ever(&self, client: u32) -> bool {
        self.clients.get(client as usize).is_some_and(|leave| !matches!(leave, Leave::Never))
    }

    pub(super) fn has_anybody_left(&self) -> bool {
        self.has_anybody_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_came_back_has_been_away_for_what_was_meant_before() {
        let mut leaves = Leaves::new(2);
        let at = Timestamp::from_secs;
        assert!(!leaves.has_anybody_left() && !leaves.since(0, at(1)));
        assert!(leaves.go(0) && !leaves.go(0));
        assert!(leaves.since(0, at(99)), "it is away");
        leaves.come_back(0, at(5));
        assert_eq!((leaves.since(0, at(4)), leaves.since(0, at(5))), (true, false));
        assert_eq!((leaves.ever(0), leaves.ever(1)), (true, false));
    }
}
