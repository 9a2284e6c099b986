//! Who wants to send what, and when: the schedule of a run, as a machine that both drivers poll.
//!
//! An open loop sends by the clock and never waits for an answer, so a message's latency can be counted from when it
//! was *meant* to be sent: [`Intent::intended`] is exact, whatever `now` the driver polls with. A closed loop means to
//! send the next message when one is settled. Every client and workload draws from its own substreams of the seed, named
//! by group and place in it, so adding a client shifts no other client's schedule.
//!
//! Calling order: [`Workload::start`], then poll [`Workload::poll_intent`] until `None`; report every acknowledgement
//! or failure with [`Workload::on_settled`] and poll again; wake at [`Workload::poll_timeout`]. The machine does not
//! know rooms, recipients or connections: the driver resolves a [`Target`].

mod stream;
mod text;

use std::cmp::Reverse;
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use units::{Seed, Timestamp};

use crate::scenario::{Activity, Pace, Per, Phase, Scenario};
use stream::Stream;

pub use text::{MAX_TEXT, MIN_TEXT, is_text, parse_text, text};

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
    /// Bytes of text; see [`text()`].
    pub size: u32,
}

/// Who is meant to hear a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The sender's room (`Scenario::rooms`).
    Room,
    /// One other client.
    Client(u32),
    /// Every other client.
    All,
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
    /// Closed-loop messages under way: id to stream and intended time.
    under_way: BTreeMap<u32, (usize, Timestamp)>,
    /// Index of the current phase.
    phase: usize,
    next_id: u32,
}

impl Workload {
    /// The schedule of `scenario` under `seed`. Draws nothing until [`Workload::start`].
    #[must_use]
    pub fn new(scenario: &Scenario, seed: Seed) -> Self {
        Self {
            phases: scenario.phases.clone(),
            ends: Vec::new(),
            streams: streams(scenario, seed),
            due: BinaryHeap::new(),
            under_way: BTreeMap::new(),
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
            match self.streams[index].start(at) {
                stream::Start::Open(first) => self.schedule(first, index),
                stream::Start::Closed { in_flight } => (0..in_flight).for_each(|_| self.schedule(at, index)),
            }
        }
    }

    /// When to poll again: the next message is due, or the current phase ends. `None` before the start and after the
    /// last phase.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = self.due.peek().map(|Reverse((at, _))| *at);
        let end = self.ends.get(self.phase).copied();
        due.into_iter().chain(end).min()
    }

    /// The next message that should have been sent by `now`, in the order of intended times. Poll until `None`.
    pub fn poll_intent(&mut self, now: Timestamp) -> Option<Intent> {
        self.enter_phase(now);
        let (at, index) = self.pop_due(now)?;
        let intent = self.intent(index, at)?;
        match self.streams[index].next_arrival() {
            Some(next) => self.schedule(next, index),
            None => {
                self.under_way.insert(intent.id, (index, at));
            }
        }
        Some(intent)
    }

    /// Message `id` was acknowledged, has failed or was refused: a closed loop means to send its next one `now`. Ids of
    /// open loops, unknown ids and second reports change nothing.
    ///
    /// A message settled in the instant it was sent (a network without delay, a full queue) is followed by the next
    /// one only [`TURNAROUND`] later; otherwise virtual time would never move on.
    pub fn on_settled(&mut self, now: Timestamp, id: u32) {
        if let Some((stream, intended)) = self.under_way.remove(&id) {
            self.schedule(now.max(intended + TURNAROUND), stream);
        }
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

    fn intent(&mut self, index: usize, intended: Timestamp) -> Option<Intent> {
        let id = self.next_id;
        let Some(next) = id.checked_add(1) else {
            // Scenarios ask for far fewer; a closed loop that gets here has run for days. The schedule ends.
            self.due.clear();
            return None;
        };
        self.next_id = next;
        let phase = self.ends.partition_point(|&end| end <= intended);
        let stream = &mut self.streams[index];
        let (sender, target, size) = stream.draw();
        let phase = u16::try_from(phase).unwrap_or(u16::MAX);
        Some(Intent { id, workload: stream.workload, sender, target, intended, phase, size })
    }
}

/// Shortest time from sending to sending again in a closed loop. A tenth of a millisecond is less than any network
/// worth studying takes, and keeps a loop that is refused at once to 10,000 tries a second.
pub const TURNAROUND: Duration = Duration::from_micros(100);

/// One stream for each client of each workload, or one for a workload whose rate is shared; ordered by client.
fn streams(scenario: &Scenario, seed: Seed) -> Vec<Stream> {
    let clients = scenario.client_count();
    let mut streams = Vec::new();
    for (index, workload) in (0_u16..).zip(&scenario.workloads) {
        let seed = seed.fork(&format!("workload/{}", workload.name));
        let members = members(scenario, &workload.groups);
        if matches!(workload.pace, Pace::Open { per: Per::Total, .. }) {
            let senders = members.into_iter().map(|(client, _)| client).collect();
            streams.push(Stream::new(index, workload, senders, clients, seed.fork("total")));
            continue;
        }
        for (client, name) in members {
            streams.push(Stream::new(index, workload, vec![client], clients, seed.fork(&name)));
        }
    }
    // Stable: within a client, workloads keep the order of the file.
    streams.sort_by_key(Stream::first_sender);
    streams
}

/// Client index and substream name of every client of `groups`.
fn members(scenario: &Scenario, groups: &[usize]) -> Vec<(u32, String)> {
    let mut first = 0;
    let mut members = Vec::new();
    for (index, group) in scenario.clients.iter().enumerate() {
        if groups.contains(&index) {
            members.extend(
                (0..group.count).map(|place| (first + place, format!("client/{}/{place}", group.name))),
            );
        }
        first += group.count;
    }
    members
}

#[cfg(test)]
mod tests;
