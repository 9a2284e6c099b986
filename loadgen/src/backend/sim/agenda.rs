//! What is to happen next: one deadline for each machine, and single events at their times.
//!
//! A machine's deadline moves with nearly every input that it is fed. A heap into which each new one is entered, and
//! from which those that no longer hold are skipped, grows to what is entered within the longest timeout (hundreds of
//! entries a client) and costs a cache miss for each of its levels. Here a machine has one entry that is moved, so the
//! heap is as large as the number of machines, however long the run.
//!
//! Ties in time break by the order in which deadlines were set.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chat_server::engine::PeerId;
use units::Timestamp;

/// Who or what it is time for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wake {
    Server,
    Workload,
    Client(usize),
    Link(usize),
    Once(Event),
}

/// What happens once, at a time that does not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Event {
    Start(usize),
    /// A slow reader looks at its socket again.
    Reader(usize),
    /// The end of a stream has come to the server, behind what was written before.
    ServerHearsClose(PeerId),
    ClientHearsClose(PeerId),
}

/// Deadlines, earliest first.
#[derive(Debug)]
pub(super) struct Agenda {
    /// A heap with four children to a node: half as many levels, and the children of one side by side.
    heap: Vec<Entry>,
    /// Where each machine stands in the heap; [`NOWHERE`] without a deadline.
    places: Vec<u32>,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    clients: usize,
    entered: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    at: Timestamp,
    entered: u64,
    machine: u32,
}

impl Agenda {
    pub(super) fn new(clients: usize, links: usize) -> Self {
        let machines = FIRST_CLIENT + clients + links;
        Self {
            heap: Vec::new(),
            places: vec![NOWHERE; machines],
            events: BinaryHeap::new(),
            clients,
            entered: 0,
        }
    }

    /// Sets the deadline of the server, the workload, a client or a link. One that stands keeps its place among equals.
    pub(super) fn set(&mut self, machine: Wake, deadline: Option<Timestamp>) {
        let machine = self.number(machine);
        let place = self.places[machine];
        match (place, deadline) {
            (NOWHERE, None) => {}
            (NOWHERE, Some(at)) => {
                self.entered += 1;
                let entry = Entry { at, entered: self.entered, machine: machine as u32 };
                self.heap.push(entry);
                self.rise(self.heap.len() - 1, entry);
            }
            (place, None) => self.remove(place as usize),
            (place, Some(at)) => {
                let place = place as usize;
                let before = self.heap[place];
                if before.at == at {
                    return;
                }
                self.entered += 1;
                let entry = Entry { at, entered: self.entered, ..before };
                if at < before.at { self.rise(place, entry) } else { self.sink(place, entry) }
            }
        }
    }

    pub(super) fn enter(&mut self, at: Timestamp, event: Event) {
        self.entered += 1;
        self.events.push(Reverse((at, self.entered, event)));
    }

    /// The earliest, which then has no deadline any more. `None`: nothing is to happen.
    pub(super) fn pop(&mut self) -> Option<(Timestamp, Wake)> {
        let event = self.events.peek().map(|Reverse((at, entered, _))| (*at, *entered));
        let machine = self.heap.first().map(|entry| (entry.at, entry.entered));
        if event.is_some() && machine.is_none_or(|machine| Some(machine) > event) {
            return self.events.pop().map(|Reverse((at, _, event))| (at, Wake::Once(event)));
        }
        let Entry { at, machine, .. } = *self.heap.first()?;
        self.remove(0);
        Some((at, self.machine(machine as usize)))
    }

    fn number(&self, machine: Wake) -> usize {
        match machine {
            Wake::Server => 0,
            Wake::Workload => 1,
            Wake::Client(index) => FIRST_CLIENT + index,
            Wake::Link(index) => FIRST_CLIENT + self.clients + index,
            Wake::Once(_) => unreachable!("an event is entered, not set"),
        }
    }

    fn machine(&self, number: usize) -> Wake {
        match number {
            0 => Wake::Server,
            1 => Wake::Workload,
            client if client < FIRST_CLIENT + self.clients => Wake::Client(client - FIRST_CLIENT),
            link => Wake::Link(link - FIRST_CLIENT - self.clients),
        }
    }

    fn remove(&mut self, place: usize) {
        self.places[self.heap[place].machine as usize] = NOWHERE;
        let Some(last) = self.heap.pop().filter(|_| place < self.heap.len()) else {
            return;
        };
        if place > 0 && last < self.heap[(place - 1) / CHILDREN] {
            self.rise(place, last);
        } else {
            self.sink(place, last);
        }
    }

    /// Puts an entry at `place` or above it.
    fn rise(&mut self, mut place: usize, entry: Entry) {
        while place > 0 {
            let parent = (place - 1) / CHILDREN;
            if self.heap[parent] < entry {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, entry);
    }

    /// Puts an entry at `place` or below it.
    fn sink(&mut self, mut place: usize, entry: Entry) {
        loop {
            let first = place * CHILDREN + 1;
            let children = first.min(self.heap.len())..(first + CHILDREN).min(self.heap.len());
            let least = children.min_by_key(|&child| self.heap[child]);
            let Some(child) = least.filter(|&child| self.heap[child] < entry) else {
                break;
            };
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, entry);
    }

    fn put(&mut self, place: usize, entry: Entry) {
        self.heap[place] = entry;
        self.places[entry.machine as usize] = place as u32;
    }
}

const CHILDREN: usize = 4;
/// The server and the workload come before the clients.
const FIRST_CLIENT: usize = 2;
const NOWHERE: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use rand::RngExt;
    use units::Seed;

    use super::*;

    #[test]
    fn deadlines_come_in_order_and_ties_in_the_order_of_setting() {
        let mut agenda = Agenda::new(3, 2);
        let at = Timestamp::from_millis;
        agenda.set(Wake::Client(2), Some(at(5)));
        agenda.set(Wake::Link(1), Some(at(5)));
        agenda.enter(at(5), Event::Start(0));
        agenda.set(Wake::Server, Some(at(9)));
        agenda.set(Wake::Client(0), Some(at(7)));
        // Moved, and so behind what was set before; set again to the same, it stays where it is.
        agenda.set(Wake::Server, Some(at(5)));
        agenda.set(Wake::Client(2), Some(at(5)));
        agenda.set(Wake::Client(0), None);
        let order: Vec<Wake> = std::iter::from_fn(|| agenda.pop()).map(|(_, wake)| wake).collect();
        assert_eq!(order, [Wake::Client(2), Wake::Link(1), Wake::Once(Event::Start(0)), Wake::Server]);
    }

    #[test]
    fn a_thousand_moves_agree_with_a_list_that_is_sorted() {
        let (mut agenda, mut rng) = (Agenda::new(20, 10), Seed::root(5).rng());
        let mut list: Vec<(Timestamp, u32, Wake)> = Vec::new();
        let wakes: Vec<Wake> = (0..32).map(|number| agenda.machine(number)).collect();
        for turn in 0..4_000 {
            if rng.random_ratio(1, 4) {
                list.sort();
                let first = (!list.is_empty()).then(|| list.remove(0));
                assert_eq!(agenda.pop(), first.map(|(at, _, wake)| (at, wake)), "turn {turn}");
                continue;
            }
            let wake = wakes[rng.random_range(0..wakes.len())];
            let deadline = rng.random_ratio(4, 5).then(|| Timestamp::from_millis(rng.random_range(0..40)));
            agenda.set(wake, deadline);
            let before = list.iter().position(|(_, _, other)| *other == wake).map(|place| list.remove(place));
            let kept = before.filter(|(at, ..)| Some(*at) == deadline);
            list.extend(kept.or_else(|| deadline.map(|at| (at, turn, wake))));
        }
    }
}
