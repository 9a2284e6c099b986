//! What one client does between the schedule and its session, the same in both drivers.
//!
//! An actor turns steps of the schedule into calls of a [`Session`] and events of the session into what a recorder and the
//! schedule want to know. It owns no session, socket or clock: the driver brings them, and carries carriers. Everything
//! that happened comes out of [`Actor::poll`], in order; drain it after every call.
//!
//! Leaving is what a person does. A polite one waits until all it said is acknowledged, at most [`LINGER`], says
//! goodbye and forgets the session; it comes back with a new one and joins its rooms again. An abrupt one is gone in the
//! middle of a word, as when a battery dies or a train enters a tunnel: the session stands still, and goes on by its token
//! when it is back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use chat_client::session::{Closed, MessageId, Session, SessionEvent};
use chat_core::SendError;
use chat_core::connection::Delivery;
use chat_core::message::{ErrorCode, ErrorContent, Members};
use units::{Seed, Timestamp};

use super::hearing::Hearing;
use super::train::{Progress, Trains};
use super::{Cast, heard, turned_away};
use crate::scenario::Scenario;
use crate::seen::{Arrival, Seen};
use crate::workload::{self, Intent, Target};

/// One client's part of a run.
#[derive(Debug)]
pub(super) struct Actor {
    index: u32,
    cast: Arc<Cast>,
    /// In a scenario in which others come and go, that one of them is not there is nobody's failure.
    is_anybody_leaving: bool,
    stage: Stage,
    /// Rooms that it has not got into yet.
    rooms_left: usize,
    /// Messages of the schedule, by the session's numbers, until they are acknowledged or have failed.
    ids: BTreeMap<MessageId, u32>,
    /// Questions that have no answer yet; at most [`MOST_QUESTIONS`].
    asked: BTreeMap<MessageId, u32>,
    trains: Trains,
    hearing: Hearing,
    happened: VecDeque<Happening>,
}

/// Where a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// On its way into its rooms for the first time.
    Arriving {
        is_welcome: bool,
    },
    There,
    /// It goes when all it said is acknowledged, at the latest then.
    Leaving {
        until: Timestamp,
    },
    /// `resumes`: its session stands still and goes on later.
    Away {
        resumes: bool,
    },
    /// On its way back into its rooms. `resumes`: with the session that it had.
    Returning {
        is_welcome: bool,
        resumes: bool,
    },
    /// The server would not have it yet; it tries again then.
    Waiting {
        until: Timestamp,
    },
}

/// Something that the driver passes on.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Happening {
    /// For the recorder.
    Seen(Seen),
    /// For the recorder: both ends will name `message` by its author and this number.
    Named {
        message: u32,
        number: MessageId,
    },
    /// For the schedule: the message has come to its end.
    Settled {
        message: u32,
    },
    /// It is in its rooms for the first time.
    Entered,
    /// For the schedule: it has left, or is back in its rooms.
    Gone,
    Present,
    /// What went wrong beyond what the recorder sees.
    Problem(String),
}

/// How a client comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comeback {
    /// With the session it has: tell it that its carrier is broken.
    Resume,
    /// With a new session: make and start one.
    Anew,
}

impl Actor {
    pub(super) fn new(index: u32, cast: Arc<Cast>, is_anybody_leaving: bool) -> Self {
        let rooms_left = cast.rooms(index).len();
        Self {
            index,
            is_anybody_leaving,
            stage: Stage::Arriving { is_welcome: false },
            rooms_left,
            cast,
            ids: BTreeMap::new(),
            asked: BTreeMap::new(),
            trains: Trains::default(),
            hearing: Hearing::default(),
            happened: VecDeque::new(),
        }
    }

    /// The next thing that happened.
    pub(super) fn poll(&mut self) -> Option<Happening> {
        self.happened.pop_front()
    }

    /// Its first session has begun to connect.
    pub(super) fn on_started(&mut self, now: Timestamp) {
        self.see(Seen::Connecting { client: self.index, at: now });
    }

    /// Nothing reaches it and nothing leaves it: its session is not to be given time or bytes.
    pub(super) fn is_away(&self) -> bool {
        matches!(self.stage, Stage::Away { .. } | Stage::Waiting { .. })
    }

    /// When [`Self::departure`] or [`Self::comeback`] have something to say at the latest.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        match self.stage {
            Stage::Leaving { until } | Stage::Waiting { until } => Some(until),
            _ => None,
        }
    }

    /// Takes what its session says. Returns how many messages it heard.
    pub(super) fn on_event(&mut self, now: Timestamp, session: &mut Session, event: SessionEvent) -> u32 {
        if let Some(text) = heard(&event) {
            if let Some(arrival) = self.hearing.hear(self.index, now, text) {
                self.see(Seen::Arrived(arrival));
            }
            return 1;
        }
        match event {
            SessionEvent::Connected { resumed, .. } => self.on_welcome(now, session, resumed),
            SessionEvent::Joined(_) => self.on_joined(now),
            SessionEvent::Acked(id) => self.on_acked(now, session, id),
            SessionEvent::Failed(id) => self.on_failed(now, session, id),
            SessionEvent::Members(members) => self.on_members(now, &members),
            SessionEvent::Closed(why) => self.on_closed(now, &why),
            // A fatal error ends a carrier; the session tries another.
            SessionEvent::Error(error) if !error.fatal => self.on_error(&error),
            _ => {}
        }
        0
    }

    /// Carries out a message of the schedule. `delivery` is that of its workload; rooms alone have a choice.
    pub(super) fn send(
        &mut self,
        now: Timestamp,
        session: &mut Session,
        intent: &Intent,
        delivery: Delivery,
    ) {
        let message = intent.id;
        let taken = match intent.target {
            Target::File(place) => {
                let is_taken = self.trains.push(message, intent.size, place);
                self.feed_trains(now, session);
                is_taken
            }
            _ => self.submit(now, session, intent, delivery).is_ok_and(|id| {
                self.happened.push_back(Happening::Named { message, number: id });
                true
            }),
        };
        if taken {
            self.see(Seen::Submitted { message, at: now });
        } else {
            self.see(Seen::Refused { message });
            self.happened.push_back(Happening::Settled { message });
        }
    }

    fn submit(
        &mut self,
        now: Timestamp,
        session: &mut Session,
        intent: &Intent,
        delivery: Delivery,
    ) -> Result<MessageId, SendError> {
        let room = |place| self.cast.room(intent.sender, place);
        let text = || workload::text(intent.id, intent.size);
        let id = match intent.target {
            Target::Room(place) => session.say_with(now, &room(place), &text(), delivery),
            Target::Client(to) => session.say_private(now, &self.cast.user(to), &text()),
            Target::All => session.broadcast(now, &text()),
            // The server hands it back like any line: as long, as urgent, and by the same way.
            Target::Oneself => session.say_private(now, &self.cast.user(intent.sender), &text()),
            Target::Members(place) => session.list(now, &room(place)),
            Target::File(_) => unreachable!("a file is a train of messages"),
        }?;
        self.ids.insert(id, intent.id);
        if matches!(intent.target, Target::Members(_)) {
            if self.asked.len() >= MOST_QUESTIONS {
                // The recorder will count its answer as lost; the server has had its time.
                self.asked.pop_first();
            }
            self.asked.insert(id, intent.id);
        }
        Ok(id)
    }

    /// The schedule wants it to leave. One that is not there already stays away; an abrupt one is gone when this returns,
    /// and the driver drops its carrier without a word.
    pub(super) fn leave(&mut self, now: Timestamp, is_abrupt: bool) {
        if self.stage != Stage::There {
            return;
        }
        if is_abrupt {
            self.go(now, true);
        } else {
            self.stage = Stage::Leaving { until: now + LINGER };
        }
    }

    /// Whether it goes now: the driver lets its session say goodbye. Ask after every input and at the timeout.
    pub(super) fn departure(&mut self, now: Timestamp, session: &Session) -> bool {
        let Stage::Leaving { until } = self.stage else {
            return false;
        };
        if now < until && !(session.is_settled() && self.trains.is_empty()) {
            return false;
        }
        for (_, message) in std::mem::take(&mut self.ids) {
            self.fail(now, message);
        }
        for message in self.trains.clear() {
            self.fail(now, message);
        }
        self.asked.clear();
        self.hearing = Hearing::default();
        self.go(now, false);
        true
    }

    /// The schedule wants it back.
    pub(super) fn come_back(&mut self, now: Timestamp) -> Option<Comeback> {
        let Stage::Away { resumes } = self.stage else {
            return None;
        };
        self.stage = Stage::Returning { is_welcome: false, resumes };
        self.see(Seen::Connecting { client: self.index, at: now });
        Some(if resumes { Comeback::Resume } else { Comeback::Anew })
    }

    /// Whether it tries again now what the server refused before. Ask at the timeout.
    pub(super) fn comeback(&mut self, now: Timestamp) -> Option<Comeback> {
        let Stage::Waiting { until } = self.stage else {
            return None;
        };
        if now < until {
            return None;
        }
        self.stage = Stage::Away { resumes: false };
        self.come_back(now)
    }

    fn go(&mut self, now: Timestamp, is_abrupt: bool) {
        self.stage = Stage::Away { resumes: is_abrupt };
        self.see(Seen::Gone { client: self.index, at: now, is_abrupt });
        self.happened.push_back(Happening::Gone);
    }

    fn on_welcome(&mut self, now: Timestamp, session: &mut Session, is_resumed: bool) {
        self.see(Seen::Connected { client: self.index, at: now, is_resumed });
        match &mut self.stage {
            Stage::Arriving { is_welcome } | Stage::Returning { is_welcome, .. } if !*is_welcome => {
                *is_welcome = true;
            }
            _ => return,
        }
        if is_resumed && matches!(self.stage, Stage::Returning { .. }) {
            return self.enter(now);
        }
        self.rooms_left = self.cast.rooms(self.index).len();
        if matches!(self.stage, Stage::Returning { resumes: true, .. }) {
            // The server had forgotten a session that goes on; it joins its rooms again by itself.
            return;
        }
        for room in self.cast.rooms(self.index) {
            if let Err(error) = session.join(now, &room) {
                let problem = format!("client {}: cannot join: {error}", self.index);
                self.happened.push_back(Happening::Problem(problem));
            }
        }
    }

    fn on_joined(&mut self, now: Timestamp) {
        let is_on_its_way = matches!(self.stage, Stage::Arriving { .. } | Stage::Returning { .. });
        if !is_on_its_way || self.rooms_left == 0 {
            return;
        }
        self.rooms_left -= 1;
        if self.rooms_left == 0 {
            self.enter(now);
        }
    }

    fn enter(&mut self, now: Timestamp) {
        if matches!(self.stage, Stage::Arriving { .. }) {
            self.happened.push_back(Happening::Entered);
        } else {
            self.see(Seen::Present { client: self.index, at: now });
            self.happened.push_back(Happening::Present);
        }
        self.stage = Stage::There;
    }

    fn on_acked(&mut self, now: Timestamp, session: &mut Session, id: MessageId) {
        if let Some(message) = self.ids.remove(&id) {
            self.see(Seen::Acked { message, at: now });
            self.happened.push_back(Happening::Settled { message });
        } else if let Some(Progress::Done(message)) = self.trains.on_acked(id) {
            self.see(Seen::Acked { message, at: now });
            self.happened.push_back(Happening::Settled { message });
        }
        self.feed_trains(now, session);
    }

    fn on_failed(&mut self, now: Timestamp, session: &mut Session, id: MessageId) {
        self.asked.remove(&id);
        let message = self.ids.remove(&id).or_else(|| self.trains.on_failed(id));
        if let Some(message) = message {
            self.fail(now, message);
        }
        self.feed_trains(now, session);
    }

    fn fail(&mut self, now: Timestamp, message: u32) {
        self.see(Seen::Failed { message, at: now });
        self.happened.push_back(Happening::Settled { message });
    }

    fn on_members(&mut self, now: Timestamp, members: &Members) {
        let asked = MessageId::from_reply(members.reply_to.as_str());
        let Some(message) = asked.and_then(|id| self.asked.remove(&id)) else {
            return;
        };
        // A long list is cut short; who asked need not be on it then.
        let own = self.cast.user(self.index);
        let intact = members.users.len() >= LONGEST_LIST || members.users.iter().any(|user| **user == *own);
        self.see(Seen::Arrived(Arrival { recipient: self.index, message: Some(message), at: now, intact }));
    }

    fn on_closed(&mut self, now: Timestamp, why: &Closed) {
        if self.is_away() {
            return;
        }
        // A goodbye may be lost on its way; then the server keeps the name until it has heard nothing for too long.
        if let (Closed::Refused(ErrorContent { code: ErrorCode::NameTaken, .. }), Stage::Returning { .. }) =
            (why, self.stage)
        {
            self.see(Seen::Refusal { client: self.index, at: now });
            self.stage = Stage::Waiting { until: now + RETRY };
            return;
        }
        self.happened.push_back(Happening::Problem(turned_away(self.index, why)));
    }

    fn on_error(&mut self, error: &ErrorContent) {
        if self.is_anybody_leaving && error.code == ErrorCode::NoSuchUser {
            return;
        }
        let problem = format!("client {} got an error: {}", self.index, error.text);
        self.happened.push_back(Happening::Problem(problem));
    }

    /// After everything that makes room: in the window of files, or in the queue of the session, which lines fill as well.
    fn feed_trains(&mut self, now: Timestamp, session: &mut Session) {
        while let Some(piece) = self.trains.next() {
            let text = workload::piece(piece.file, piece.number, piece.count, piece.size);
            match session.say_in_bulk(now, &self.cast.room(self.index, piece.place), &text) {
                Ok(id) => self.trains.on_taken(id),
                // What is ahead of it has to end first; the end of any message comes back here.
                Err(_) => break,
            }
        }
    }

    fn see(&mut self, seen: Seen) {
        self.happened.push_back(Happening::Seen(seen));
    }
}

/// Whether clients of `scenario` leave while others talk.
pub(super) fn is_anybody_leaving(scenario: &Scenario) -> bool {
    scenario.workloads.iter().any(|work| work.churn.is_some())
}

/// The seed of a client's session after `sessions` others: it may not be taken for one of these.
pub(super) fn seed_again(first: &Seed, sessions: u32) -> Seed {
    first.fork(&format!("again/{sessions}"))
}

/// How long a polite client waits for acknowledgements before it leaves: some timeouts on a bad path. People wait
/// less; but what they leave behind would then count as lost, and the path be blamed.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// Until a client tries again that was told that its name is taken.
const RETRY: Duration = Duration::from_secs(1);

/// Questions of one client that wait for an answer.
const MOST_QUESTIONS: usize = 4096;

/// A server tells no more names than these.
const LONGEST_LIST: usize = 1000;
