//! How far a piped run is: joined, all lines sent, all acknowledged, none refused. A value, without sockets or streams.
//!
//! An acknowledgement says that the server has a line, not that it took it: a refusal comes as an `error` behind it. So
//! after the last acknowledgement one more question (`stats`) is asked; errors and answers share a channel, and when its
//! answer is there, every error before it is too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chat_client::session::{Closed, MessageId, SessionEvent};
use units::{Timestamp, format_duration};

#[derive(Debug)]
pub(crate) struct Progress {
    room: Arc<str>,
    follow: bool,
    connect_timeout: Duration,
    phase: Phase,
    /// Lines that were neither acknowledged nor given up, by their number in the input.
    unacked: BTreeMap<MessageId, u64>,
    /// Newest lines, to name those that are refused.
    recent: BTreeMap<MessageId, u64>,
    lines_read: u64,
    /// Lines that are known not to have been said.
    undelivered: u64,
    is_up: bool,
    /// Why the last connection, or try of one, failed.
    last_failure: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Phase {
    /// Until the room is joined and its history is there.
    Joining {
        deadline: Timestamp,
        awaits_history: bool,
    },
    /// Lines are read and sent.
    Talking,
    /// Everything is read; `is_asked`: all was acknowledged and the last question is under way.
    Settling {
        deadline: Timestamp,
        is_asked: bool,
    },
    /// Printing until interrupted.
    Following,
    Over(Outcome),
}

/// How the run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Failed(String),
    Unreachable(String),
}

/// Something for stderr.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// Left out when quiet.
    Note(String),
    Problem(String),
}

impl Progress {
    pub(crate) fn new(now: Timestamp, room: Arc<str>, follow: bool, connect_timeout: Duration) -> Self {
        Self {
            room,
            follow,
            connect_timeout,
            phase: Phase::Joining { deadline: now + connect_timeout, awaits_history: false },
            unacked: BTreeMap::new(),
            recent: BTreeMap::new(),
            lines_read: 0,
            undelivered: 0,
            is_up: false,
            last_failure: None,
        }
    }

    /// Whether the next line may be read: the room is joined and not too many lines are under way.
    pub(crate) fn wants_input(&self) -> bool {
        self.phase == Phase::Talking && self.unacked.len() < MAX_UNDER_WAY
    }

    /// Whether the last question is to be asked now; then it counts as asked.
    pub(crate) fn take_question(&mut self) -> bool {
        match &mut self.phase {
            Phase::Settling { is_asked, .. } if !*is_asked && self.unacked.is_empty() => {
                *is_asked = true;
                true
            }
            _ => false,
        }
    }

    pub(crate) fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Lines sent and not acknowledged.
    pub(crate) fn unacked(&self) -> usize {
        self.unacked.len()
    }

    /// The next line was read and sent.
    pub(crate) fn on_sent(&mut self, id: MessageId) {
        self.lines_read += 1;
        self.unacked.insert(id, self.lines_read);
        self.recent.insert(id, self.lines_read);
        if self.recent.len() > MAX_RECENT {
            self.recent.pop_first();
        }
    }

    /// The next line was read and cannot be sent.
    pub(crate) fn on_unsendable(&mut self, reason: &str) -> Report {
        self.lines_read += 1;
        self.undelivered += 1;
        Report::Problem(format!("line {}: not sent: {reason}", self.lines_read))
    }

    /// The next line was read and says nothing.
    pub(crate) fn on_empty(&mut self) {
        self.lines_read += 1;
    }

    /// There is no more input.
    pub(crate) fn on_input_end(&mut self, now: Timestamp) {
        if self.phase == Phase::Talking {
            self.phase = Phase::Settling { deadline: now + SETTLE_TIMEOUT, is_asked: false };
        }
    }

    /// Nobody reads our output any more: what was read is delivered, and that is all.
    pub(crate) fn on_output_closed(&mut self, now: Timestamp) {
        self.follow = false;
        match self.phase {
            Phase::Joining { .. } | Phase::Following => self.phase = Phase::Over(Outcome::Done),
            Phase::Talking => self.on_input_end(now),
            Phase::Settling { .. } | Phase::Over(_) => {}
        }
    }

    pub(crate) fn on_event(&mut self, now: Timestamp, event: &SessionEvent) -> Option<Report> {
        match event {
            SessionEvent::Connected { resumed, .. } => {
                let again = self.last_failure.is_some();
                self.is_up = true;
                self.last_failure = None;
                let how = if *resumed { "the session goes on" } else { "the server knew nothing of us" };
                again.then(|| Report::Note(format!("connected again; {how}")))
            }
            SessionEvent::Disconnected { reason, .. } => self.on_disconnected(reason),
            SessionEvent::Closed(Closed::Refused(error)) => {
                self.phase = Phase::Over(Outcome::Failed(error.text.clone()));
                None
            }
            SessionEvent::Closed(Closed::Untrusted(reason)) => {
                self.phase = Phase::Over(Outcome::Failed(reason.clone()));
                None
            }
            SessionEvent::Closed(Closed::Quit) => {
                self.phase = Phase::Over(Outcome::Done);
                None
            }
            SessionEvent::Joined(joined) if joined.room == self.room => {
                if let Phase::Joining { awaits_history, .. } = &mut self.phase {
                    *awaits_history = joined.history > 0;
                    if !*awaits_history {
                        self.phase = Phase::Talking;
                    }
                }
                None
            }
            SessionEvent::History(_) => {
                if let Phase::Joining { awaits_history: true, .. } = self.phase {
                    self.phase = Phase::Talking;
                }
                None
            }
            SessionEvent::Acked(id) => {
                self.unacked.remove(id);
                if let Phase::Settling { deadline, .. } = &mut self.phase {
                    // A slow network that makes progress is not a broken one.
                    *deadline = now + SETTLE_TIMEOUT;
                }
                None
            }
            SessionEvent::Failed(id) => self.unacked.remove(id).map(|line| {
                self.undelivered += 1;
                Report::Problem(format!("line {line}: given up after all its tries; it may not have arrived"))
            }),
            SessionEvent::Error(error) => {
                let about = error.reply_to.as_deref().and_then(MessageId::from_reply);
                self.on_error(about, &error.text)
            }
            SessionEvent::Stats(_) => {
                if let Phase::Settling { is_asked: true, .. } = self.phase {
                    self.phase = self.settled();
                }
                None
            }
            SessionEvent::Missed { reason } => {
                Some(Report::Problem(format!("something was not heard: {reason}")))
            }
            _ => None,
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Joining { deadline, .. } | Phase::Settling { deadline, .. } => Some(deadline),
            _ => None,
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Timestamp) {
        match self.phase {
            Phase::Joining { deadline, .. } if deadline <= now => {
                let why = match (&self.last_failure, self.is_up) {
                    (Some(reason), _) => reason.clone(),
                    (None, true) => format!("connected, but \"{}\" could not be joined", self.room),
                    (None, false) => "no answer".to_owned(),
                };
                let waited = format_duration(self.connect_timeout);
                self.phase = Phase::Over(Outcome::Unreachable(format!(
                    "{why}; gave up after {waited}, is the server running? (--connect-timeout sets the wait)"
                )));
            }
            Phase::Settling { deadline, .. } if deadline <= now => {
                let late = self.unacked.len() as u64;
                let waited = format_duration(SETTLE_TIMEOUT);
                let why = self.last_failure.as_deref().map(|why| format!(" ({why})")).unwrap_or_default();
                self.phase = Phase::Over(Outcome::Failed(if late == 0 {
                    format!(
                        "every line was acknowledged, but the server did not confirm within {waited}{why}"
                    )
                } else {
                    let first = self.unacked.values().next().copied().unwrap_or(1);
                    format!(
                        "{late} of {} lines were not acknowledged within {waited}{why}; send again from line {first}",
                        self.lines_read
                    )
                }));
            }
            _ => {}
        }
    }

    fn on_disconnected(&mut self, reason: &str) -> Option<Report> {
        self.last_failure = Some(reason.to_owned());
        let was_up = std::mem::replace(&mut self.is_up, false);
        was_up.then(|| Report::Note(format!("connection lost: {reason}; connecting again")))
    }

    fn on_error(&mut self, about: Option<MessageId>, text: &str) -> Option<Report> {
        if let Phase::Joining { .. } = self.phase {
            self.phase = Phase::Over(Outcome::Failed(text.to_owned()));
            return None;
        }
        Some(Report::Problem(match about.and_then(|id| self.recent.get(&id)) {
            Some(line) => {
                self.undelivered += 1;
                format!("line {line}: refused: {text}")
            }
            None => text.to_owned(),
        }))
    }

    /// Everything read is accounted for.
    fn settled(&self) -> Phase {
        if self.follow {
            return Phase::Following;
        }
        Phase::Over(match self.undelivered {
            0 => Outcome::Done,
            1 => Outcome::Failed("one line was not delivered, see above".to_owned()),
            lines => Outcome::Failed(format!("{lines} lines were not delivered, see above")),
        })
    }
}

/// How long to wait for the next of the last acknowledgements: several retransmission timeouts on a bad network.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Lines sent and not acknowledged; more are not read, so that the writer of the pipe feels the network. Far below the
/// bound of the connection's queue.
const MAX_UNDER_WAY: usize = 256;
/// Acknowledged lines whose refusal can still be named by number: two flights.
const MAX_RECENT: usize = 2 * MAX_UNDER_WAY;

#[cfg(test)]
mod tests;
