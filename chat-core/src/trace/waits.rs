//! What single messages waited for, for whoever explains a latency.
//!
//! A connection tells it with its events; whoever owns the connection knows which message of the application that was.
//! [`WaitLog`] keeps what it says until it is drained. It is off by default and then costs one branch.

use std::collections::VecDeque;
use std::time::Duration;

use units::Timestamp;

use super::steps::Step;
use crate::connection::Delays;
use crate::wire::Label;

/// One message, at one end of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    pub msg_id: Label,
    pub wait: Wait,
}

/// What it waited for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wait {
    /// At its sender, told when it was acknowledged.
    Sent(Delays),
    /// At its receiver, for messages before it, told when it was passed on, which was `at`.
    Order { span: Duration, at: Timestamp },
    /// What happened to it on its way; told only of one that met trouble, before `Sent`, and when it has failed.
    Steps(Box<[Step]>),
}

/// Waits that have not been asked for yet.
#[derive(Clone, Debug, Default)]
pub struct WaitLog {
    is_on: bool,
    waits: VecDeque<Waited>,
    forgotten: u64,
}

impl WaitLog {
    pub fn set_on(&mut self, on: bool) {
        self.is_on = on;
    }

    #[must_use]
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Keeps `wait` if anybody wants it.
    pub fn push(&mut self, msg_id: Label, wait: Wait) {
        if !self.is_on {
            return;
        }
        if self.waits.len() == MAX_WAITS {
            self.waits.pop_front();
            self.forgotten += 1;
        }
        self.waits.push_back(Waited { msg_id, wait });
    }

    /// The oldest; drain it after every input.
    pub fn pop(&mut self) -> Option<Waited> {
        self.waits.pop_front()
    }

    /// Keeps what happened to a message, if that is anything and anybody wants it.
    pub fn push_steps(&mut self, msg_id: impl FnOnce() -> Label, steps: Vec<Step>) {
        if self.is_on && !steps.is_empty() {
            self.push(msg_id(), Wait::Steps(steps.into_boxed_slice()));
        }
    }

    /// Waits that were dropped because nobody drained the log.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }
}

/// An owner drains after every input; the bound is for one that forgets. As many as a connection keeps trace events.
pub const MAX_WAITS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_off_keeps_nothing_and_one_that_is_full_forgets_the_oldest() {
        let mut log = WaitLog::default();
        let order = |ms| Wait::Order { span: Duration::from_millis(ms), at: Timestamp::ZERO };
        log.push("a-0".into(), order(1));
        assert_eq!(log.pop(), None);
        log.set_on(true);
        (0..=MAX_WAITS as u64).for_each(|ms| log.push("a-1".into(), order(ms)));
        assert_eq!(log.pop().map(|waited| waited.wait), Some(order(1)));
        assert_eq!(log.forgotten(), 1);
    }
}
