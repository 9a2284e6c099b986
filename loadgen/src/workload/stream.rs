//! One stream of messages: when they are due, who sends them, to whom, and how large they are.
//!
//! Gaps, sizes, targets and (where a rate is shared) senders come from separate substreams, so that a scenario which
//! changes only its sizes keeps its arrival times to the nanosecond.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use units::{Rng, Seed, Timestamp};

use super::clock::{Clock, between, moment};
use super::draw::{self, Sizes};
use super::process::Process;
use super::{TURNAROUND, Target};
use crate::scenario::{Pace, Workload, WorkloadKind};

/// The messages of one client in one workload, or of a whole workload whose rate is shared.
#[derive(Debug)]
pub(super) struct Stream {
    /// Index into `Scenario::workloads`.
    pub(super) workload: u16,
    work: Arc<Workload>,
    /// One, or all who share the rate; never empty.
    senders: Vec<Sender>,
    clock: Arc<Clock>,
    /// Whether every sender takes part whenever `clock` runs: nearly always, unless a phase is for some of them only.
    shares_clock: bool,
    /// Clients of the scenario.
    clients: u32,
    seed: Seed,
    zero: Timestamp,
    process: Option<Process>,
    sizes: Sizes,
    /// Generators that this stream needs; who has one room draws nothing.
    targets: Option<Rng>,
    choice: Option<Rng>,
    thoughts: Option<Rng>,
    /// Messages under way by client, where there is a bound.
    under_way: BTreeMap<u32, u32>,
    /// Turns of a closed loop that wait for their client to come back.
    parked: u32,
}

/// Somebody who may send.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) client: u32,
    /// How many rooms it is in.
    pub(super) rooms: u16,
    /// When it takes part.
    pub(super) clock: Arc<Clock>,
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// A message of this client.
    Message { sender: u32, target: Target, size: u32 },
    /// The same, but its sender has as many under way as it may.
    Throttled { sender: u32, target: Target, size: u32 },
    /// Who would send it is not there.
    Nobody,
}

impl Stream {
    /// `clock` is that of the workload as a whole, or of its one sender.
    pub(super) fn new(
        index: u16,
        work: &Arc<Workload>,
        senders: Vec<Sender>,
        clock: Arc<Clock>,
        clients: u32,
        seed: Seed,
    ) -> Self {
        let kind = work.kind;
        let has_many_rooms = senders.iter().any(|sender| sender.rooms > 1);
        let draws_target = match kind {
            WorkloadKind::Private => true,
            WorkloadKind::Room | WorkloadKind::File | WorkloadKind::Presence => has_many_rooms,
            _ => false,
        };
        Self {
            workload: index,
            sizes: Sizes::new(&work.size, &seed),
            targets: draws_target.then(|| seed.fork("target").rng()),
            choice: (senders.len() > 1).then(|| seed.fork("sender").rng()),
            thoughts: matches!(work.pace, Pace::Closed { .. }).then(|| seed.fork("think").rng()),
            work: Arc::clone(work),
            shares_clock: senders.iter().all(|sender| Arc::ptr_eq(&sender.clock, &clock)),
            senders,
            clock,
            clients,
            seed,
            zero: Timestamp::ZERO,
            process: None,
            under_way: BTreeMap::new(),
            parked: 0,
        }
    }

    /// Ties in time go to the lower client.
    pub(super) fn first_sender(&self) -> u32 {
        self.senders.first().map_or(u32::MAX, |sender| sender.client)
    }

    /// When it sends first, once for each message that it may have under way.
    pub(super) fn start(&mut self, at: Timestamp) -> Vec<Timestamp> {
        self.zero = at;
        match &self.work.pace {
            Pace::Open { arrival, per_second, .. } => {
                self.process = Some(Process::new(arrival, *per_second, self.seed.fork("arrival").rng()));
                self.next_arrival().into_iter().collect()
            }
            Pace::Closed { in_flight, .. } => {
                let first = self.clock.beginnings().next().map(|from| moment(at, from));
                first.into_iter().flat_map(|first| std::iter::repeat_n(first, *in_flight as usize)).collect()
            }
            Pace::Still => Vec::new(),
        }
    }

    /// When the next message is due by the schedule; `None` for a closed loop, which has none, and at the end.
    pub(super) fn next_arrival(&mut self) -> Option<Timestamp> {
        let shown = self.process.as_mut()?.next();
        Some(moment(self.zero, self.clock.when(shown)?))
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.work.pace, Pace::Closed { .. })
    }

    /// Whether it has to hear how its messages end.
    pub(super) fn is_counting(&self) -> bool {
        self.is_closed() || self.work.max_in_flight.is_some()
    }

    /// Who sends what is due at `at`, to whom, and how much.
    pub(super) fn draw(&mut self, at: Timestamp, is_away: &[bool]) -> Due {
        let Some(sender) = self.sender(at, is_away) else {
            if self.is_closed() {
                self.parked += 1;
            }
            return Due::Nobody;
        };
        let (client, rooms) = (sender.client, sender.rooms);
        let (target, size) = (self.target(client, rooms), self.sizes.next(&self.work.size, self.work.kind));
        let sender = client;
        if let Some(most) = self.work.max_in_flight.filter(|_| !self.is_closed()) {
            let under_way = self.under_way.entry(client).or_default();
            if *under_way >= most {
                return Due::Throttled { sender, target, size };
            }
            *under_way += 1;
        }
        Due::Message { sender, target, size }
    }

    /// A message of `sender`, meant for `intended`, has come to its end. When it sends again, if that is by this.
    ///
    /// A message settled in the instant it was sent (a network without delay, a full queue) is followed by the next one
    /// only [`TURNAROUND`] later; otherwise virtual time would never move on.
    pub(super) fn on_settled(
        &mut self,
        now: Timestamp,
        sender: u32,
        intended: Timestamp,
    ) -> Option<Timestamp> {
        if let Some(under_way) = self.under_way.get_mut(&sender) {
            *under_way = under_way.saturating_sub(1);
        }
        let (Pace::Closed { think, .. }, Some(rng)) = (&self.work.pace, &mut self.thoughts) else {
            return None;
        };
        let again = now.max(intended + TURNAROUND) + draw::span(think, rng);
        self.take_part(again)
    }

    /// Its client is there again: turns that waited for it, and when they are due.
    pub(super) fn unpark(&mut self, now: Timestamp) -> impl Iterator<Item = Timestamp> + use<> {
        let turns = std::mem::take(&mut self.parked);
        let due = self.take_part(now);
        due.into_iter().flat_map(move |due| std::iter::repeat_n(due, turns as usize))
    }

    fn take_part(&self, at: Timestamp) -> Option<Timestamp> {
        let from = self.clock.runs_from(between(self.zero, at))?;
        Some(at.max(moment(self.zero, from)))
    }

    fn sender(&mut self, at: Timestamp, is_away: &[bool]) -> Option<&Sender> {
        let is_there = |sender: &Sender| !is_away[sender.client as usize];
        let Some(rng) = &mut self.choice else {
            return self.senders.first().filter(|sender| is_there(sender));
        };
        if self.shares_clock {
            let drawn = rng.random_range(0..self.senders.len() as u64) as usize;
            let (before, after) = self.senders.split_at(drawn);
            return after.iter().chain(before).find(|sender| is_there(sender));
        }
        let at = between(self.zero, at);
        let clock = &self.clock;
        let takes_part = |sender: &&Sender| Arc::ptr_eq(&sender.clock, clock) || sender.clock.is_running(at);
        let many = self.senders.iter().filter(takes_part).count();
        if many == 0 {
            return None;
        }
        let drawn = rng.random_range(0..many as u64) as usize;
        // Whoever is away is stood in for by the next who is there, so that the shared rate is kept.
        let after = self.senders.iter().filter(takes_part).skip(drawn);
        let before = self.senders.iter().filter(takes_part).take(drawn);
        after.chain(before).find(|sender| is_there(sender))
    }

    fn target(&mut self, sender: u32, rooms: u16) -> Target {
        match (self.work.kind, &mut self.targets) {
            (WorkloadKind::Private, Some(rng)) => {
                // One of the others: the draw skips the sender. A scenario with a workload has at least two clients.
                let drawn = rng.random_range(0..self.clients - 1);
                Target::Client(if drawn >= sender { drawn + 1 } else { drawn })
            }
            (WorkloadKind::Broadcast, _) => Target::All,
            (WorkloadKind::Ping, _) => Target::Oneself,
            (kind, rng) => {
                let room = rng.as_mut().filter(|_| rooms > 1).map_or(0, |rng| rng.random_range(0..rooms));
                match kind {
                    WorkloadKind::Presence => Target::Members(room),
                    WorkloadKind::File => Target::File(room),
                    _ => Target::Room(room),
                }
            }
        }
    }
}
