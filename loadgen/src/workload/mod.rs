//! Who does what, and when: the schedule of a run, as a machine that both drivers poll.
//!
//! An open loop sends by the clock and never waits for an answer, so a message's latency can be counted from when it
//! was *meant* to be sent: [`Intent::intended`] is exact, whatever `now` the driver polls with. A closed loop means to
//! send the next message when one is settled and its client has thought. Every client and workload draws from its own
//! substreams of the seed, named by group and place in it, so adding a client shifts no other client's schedule.
//!
//! Calling order: [`Workload::start`], then poll [`Workload::poll_step`] until `None` and carry out each [`Step`]; report
//! every acknowledgement or failure with [`Workload::on_settled`], every client that has left with [`Workload::on_gone`]
//! and every one that is back in its rooms with [`Workload::on_present`], and poll again; wake at
//! [`Workload::poll_timeout`]. Who is away means to send nothing. The machine does not know rooms, recipients or
//! connections: the driver resolves a [`Target`].

mod churn;
mod clock;
mod draw;
mod members;
mod process;
mod stream;
mod text;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use units::{Seed, Timestamp};

use crate::scenario::{Activity, Pace, Per, Phase, Scenario};
use churn::{Comings, Move};
use stream::{Due, Sender, Stream};

pub use text::{FilePiece, MAX_TEXT, MIN_PIECE, MIN_TEXT, is_text, parse_piece, parse_text, piece, text};

/// One message that somebody means to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Counts the messages of a run from 0, in the order of their intended times.
    pub id: u32,
    /// Index into `Scenario::workloads`.
    pub workload: u16,
    /// Client index.
    pub sender: u32,
    pub target: Target,
    /// When it was meant to be sent: the latency clock starts here.
    pub intended: Timestamp,
    /// Index into `Scenario::phases`.
    pub phase: u16,
    /// Bytes of text, see [`text()`]; or of a file.
    pub size: u32,
}

/// Who is meant to hear a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A room of the sender: the place of this number among those it is in (`Scenario::memberships`).
    Room(u16),
    /// The same, but a file: a train of messages that counts as one.
    File(u16),
    /// One other client.
    Client(u32),
    /// Every other client.
    All,
    /// The sender itself, by way of the server: a round trip of the application.
    Oneself,
    /// The sender asks the server who is in this room of its own, and hears the answer.
    Members(u16),
}

/// Something to carry out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this.
    Send(Intent),
    /// The schedule asks for this message, but its sender has as many under way as its workload allows: it is recorded,
    /// counted as throttled, and not sent. Its end is not reported.
    Throttle(Intent),
    /// The client leaves; report [`Workload::on_gone`] when it has. `is_abrupt`: without a word to the server.
    Leave { client: u32, is_abrupt: bool },
    /// The client comes back; report [`Workload::on_present`] when it is in its rooms.
    Return { client: u32 },
}

/// The schedule of one run of one scenario.
#[derive(Debug)]
pub struct Workload {
    phases: Vec<Phase>,
    /// When each phase ends; empty before [`Workload::start`].
    ends: Vec<Timestamp>,
    streams: Vec<Stream>,
    /// When each stream sends next, once for each message a closed loop may have under way. Streams are ordered by
    /// client, so a tie goes to the lower client.
    due: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// Messages under way of closed loops and of streams with a bound.
    under_way: BTreeMap<u32, UnderWay>,
    comings: Comings,
    /// By client.
    is_away: Vec<bool>,
    /// Index of the current phase.
    phase: usize,
    next_id: u32,
}

/// A message whose end somebody waits for.
#[derive(Clone, Copy, Debug)]
struct UnderWay {
    stream: usize,
    sender: u32,
    intended: Timestamp,
}

impl Workload {
    /// The schedule of `scenario` under `seed`. Draws nothing until [`Workload::start`].
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        let (streams, comings) = streams(scenario, seed);
        Self {
            phases: scenario.phases.clone(),
            ends: Vec::new(),
            streams,
            due: BinaryHeap::new(),
            under_way: BTreeMap::new(),
            comings,
            is_away: vec![false; scenario.client_count() as usize],
            phase: 0,
            next_id: 0,
        }
    }

    /// The first phase begins at `at`. Call once, when every client has joined.
    pub fn start(&mut self, at: Timestamp) {
        let end = |end: &mut Timestamp, phase: &Phase| {
            *end += phase.duration;
            Some(*end)
        };
        self.ends = self.phases.iter().scan(at, end).collect();
        for index in 0..self.streams.len() {
            for first in self.streams[index].start(at) {
                self.schedule(first, index);
            }
        }
        self.comings.start(at);
    }

    /// When to poll again: the next message is due, or the current phase ends. `None` before the start and after the
    /// last phase.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let end = self.ends.get(self.phase).copied();
        due.into_iter().chain(end).chain(self.comings.poll_timeout()).min()
    }

    /// The next thing that should have been done by `now`, messages in the order of intended times; comings and goings
    /// first where both are due. Poll until `None`.
    pub fn poll_step(&mut self, now: Timestamp) -> Option<Step> {
        self.enter_phase(now);
        loop {
            let next = self.due.peek().map(|Reverse((at, _))| *at);
            if self.comings.poll_timeout().is_some_and(|at| next.is_none_or(|next| at <= next))
                && let Some(moved) = self.comings.poll(now)
            {
                return Some(self.on_move(moved));
            }
            let (at, index) = self.pop_due(now)?;
            let drawn = self.streams[index].draw(at, &self.is_away);
            if let Some(next) = self.streams[index].next_arrival() {
                self.schedule(next, index);
            }
            match drawn {
                Due::Nobody => {}
                Due::Message { sender, target, size } => {
                    let intent = self.intent(index, at, sender, target, size)?;
                    if self.streams[index].is_counting() {
                        self.under_way.insert(intent.id, UnderWay { stream: index, sender, intended: at });
                    }
                    return Some(Step::Send(intent));
                }
                Due::Throttled { sender, target, size } => {
                    return self.intent(index, at, sender, target, size).map(Step::Throttle);
                }
            }
        }
    }

    /// Message `id` was acknowledged, has failed or was refused: a closed loop means to send its next one when it has
    /// thought, at the earliest [`TURNAROUND`] after the one before. Ids that nobody counts and second reports change
    /// nothing.
    pub fn on_settled(&mut self, now: Timestamp, id: u32) {
        if let Some(UnderWay { stream, sender, intended }) = self.under_way.remove(&id)
            && let Some(again) = self.streams[stream].on_settled(now, sender, intended)
        {
            self.schedule(again, stream);
        }
    }

    /// A client that was to leave has left, and has nothing more to say or to hear.
    pub fn on_gone(&mut self, now: Timestamp, client: u32) {
        self.comings.on_gone(now, client);
    }

    /// A client that came back is in its rooms again.
    pub fn on_present(&mut self, now: Timestamp, client: u32) {
        self.is_away[client as usize] = false;
        self.comings.on_present(now, client);
        // Streams are in the order of their first senders, and closed loops have one each.
        let first = self.streams.partition_point(|stream| stream.first_sender() < client);
        let mut parked = Vec::new();
        for (index, stream) in self.streams.iter_mut().enumerate().skip(first) {
            if stream.first_sender() != client {
                break;
            }
            parked.extend(stream.unpark(now).map(|at| (at, index)));
        }
        parked.into_iter().for_each(|(at, index)| self.schedule(at, index));
    }

    /// Index into `Scenario::phases` of the phase that was current at the last poll. After the last one ended, as many
    /// as there are phases.
    #[must_use]
    pub fn phase(&self) -> usize {
        self.phase
    }

    /// When the last phase that sends ends; [`Timestamp::NEVER`] before the start.
    #[must_use]
    pub fn load_ends(&self) -> Timestamp {
        let loads = self.phases.iter().zip(&self.ends).filter(|(phase, _)| phase.activity == Activity::Load);
        loads.map(|(_, &end)| end).next_back().unwrap_or(Timestamp::NEVER)
    }

    /// When the last phase ends at the latest; [`Timestamp::NEVER`] before the start.
    #[must_use]
    pub fn drain_ends(&self) -> Timestamp {
        self.ends.last().copied().unwrap_or(Timestamp::NEVER)
    }

    /// When phase `index` begins and ends; `None` before the start or without such a phase.
    #[must_use]
    pub fn phase_span(&self, index: usize) -> Option<(Timestamp, Timestamp)> {
        let end = *self.ends.get(index)?;
        Some((end - self.phases[index].duration, end))
    }

    fn enter_phase(&mut self, now: Timestamp) {
        while self.ends.get(self.phase).is_some_and(|&end| end <= now) {
            self.phase += 1;
        }
    }

    fn schedule(&mut self, at: Timestamp, stream: usize) {
        if at < self.load_ends() {
            self.due.push(Reverse((at, stream)));
        }
    }

    fn pop_due(&mut self, now: Timestamp) -> Option<(Timestamp, usize)> {
        let head = self.due.peek_mut().filter(|head| head.0.0 <= now)?;
        Some(PeekMut::pop(head).0)
    }

    fn on_move(&mut self, moved: Move) -> Step {
        match moved {
            Move::Leave { client, is_abrupt } => {
                self.is_away[client as usize] = true;
                Step::Leave { client, is_abrupt }
            }
            Move::Return { client } => Step::Return { client },
        }
    }

    fn intent(
        &mut self,
        stream: usize,
        intended: Timestamp,
        sender: u32,
        target: Target,
        size: u32,
    ) -> Option<Intent> {
        let id = self.next_id;
        let Some(next) = id.checked_add(1) else {
            // Scenarios ask for far fewer; a closed loop that gets here has run for days. The schedule ends.
            self.due.clear();
            return None;
        };
        self.next_id = next;
        let phase = self.ends.partition_point(|&end| end <= intended);
        let phase = u16::try_from(phase).unwrap_or(u16::MAX);
        let workload = self.streams[stream].workload;
        Some(Intent { id, workload, sender, target, intended, phase, size })
    }
}

/// Shortest time from sending to sending again in a closed loop. A tenth of a millisecond is less than any network
/// worth studying takes, and keeps a loop that is refused at once to 10,000 tries a second.
pub const TURNAROUND: Duration = Duration::from_micros(100);

/// One stream for each client of each workload, or one for a workload whose rate is shared, ordered by client; and who
/// comes and goes.
fn streams(scenario: &Scenario, seed: Seed) -> (Vec<Stream>, Comings) {
    let clients = scenario.client_count();
    let (mut streams, mut comings) = (Vec::new(), Comings::default());
    for (index, work) in (0_u16..).zip(&scenario.workloads) {
        let seed = seed.fork(&format!("workload/{}", work.name));
        let (members, clock) = members::of(scenario, usize::from(index), &seed);
        let work = Arc::new(work.clone());
        if let Some(churn) = work.churn.clone().map(Arc::new) {
            for member in &members {
                let seed = seed.fork(&member.name);
                comings.add(member.sender.client, &churn, &member.sender.clock, &seed);
            }
        }
        match work.pace {
            Pace::Still => {}
            Pace::Open { per: Per::Total, .. } => {
                let senders: Vec<Sender> = members.into_iter().map(|member| member.sender).collect();
                if !senders.is_empty() {
                    streams.push(Stream::new(index, &work, senders, clock, clients, seed.fork("total")));
                }
            }
            Pace::Open { .. } | Pace::Closed { .. } => {
                streams.extend(members.into_iter().map(|member| {
                    let (clock, seed) = (Arc::clone(&member.sender.clock), seed.fork(&member.name));
                    Stream::new(index, &work, vec![member.sender], clock, clients, seed)
                }));
            }
        }
    }
    // Stable: within a client, workloads keep the order of the file.
    streams.sort_by_key(Stream::first_sender);
    (streams, comings)
}

#[cfg(test)]
mod parts;
#[cfg(test)]
mod tests;
