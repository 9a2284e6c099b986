//! Which client is which flow, and which flow has been silent for too long.
//!
//! Pure: time is an argument.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use units::Timestamp;

/// The flows `F` of one listening socket, each with a slot that is its name until it is forgotten.
#[derive(Debug)]
pub(super) struct FlowTable<F> {
    /// Looked up by address, never iterated.
    by_client: HashMap<SocketAddr, usize>,
    slots: Vec<Option<Entry<F>>>,
    free: Vec<usize>,
    limit: usize,
    idle_timeout: Duration,
    next_sweep: Timestamp,
}

#[derive(Debug)]
struct Entry<F> {
    client: SocketAddr,
    /// When the flow last carried anything, in either direction.
    active: Timestamp,
    flow: F,
}

impl<F> FlowTable<F> {
    pub(super) fn new(limit: usize, idle_timeout: Duration) -> Self {
        let (by_client, slots, free) = (HashMap::new(), Vec::new(), Vec::new());
        Self { by_client, slots, free, limit, idle_timeout, next_sweep: Timestamp::ZERO }
    }

    pub(super) fn find(&self, client: SocketAddr) -> Option<usize> {
        self.by_client.get(&client).copied()
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_client.len() >= self.limit
    }

    pub(super) fn get(&self, slot: usize) -> Option<&F> {
        self.slots.get(slot)?.as_ref().map(|entry| &entry.flow)
    }

    /// The slot that the next flow will get.
    pub(super) fn next_slot(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    pub(super) fn insert(&mut self, client: SocketAddr, now: Timestamp, flow: F) -> usize {
        if self.by_client.is_empty() {
            self.next_sweep = now + self.sweep_interval();
        }
        let slot = self.next_slot();
        let entry = Some(Entry { client, active: now, flow });
        if self.free.pop().is_some() {
            self.slots[slot] = entry;
        } else {
            self.slots.push(entry);
        }
        self.by_client.insert(client, slot);
        slot
    }

    pub(super) fn touch(&mut self, slot: usize, now: Timestamp) {
        if let Some(Some(entry)) = self.slots.get_mut(slot) {
            entry.active = entry.active.max(now);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &F> {
        self.slots.iter().flatten().map(|entry| &entry.flow)
    }

    pub(super) fn occupied(&self) -> Vec<usize> {
        self.slots.iter().enumerate().filter(|(_, place)| place.is_some()).map(|(slot, _)| slot).collect()
    }

    /// When to ask for [`expired`](Self::expired) flows.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        (!self.by_client.is_empty()).then_some(self.next_sweep)
    }

    /// Takes out the flows that were silent for the whole idle timeout.
    pub(super) fn expired(&mut self, now: Timestamp) -> Vec<F> {
        self.next_sweep = now + self.sweep_interval();
        let mut expired = Vec::new();
        for (slot, place) in self.slots.iter_mut().enumerate() {
            if let Some(entry) = place.take_if(|entry| now.since(entry.active) >= self.idle_timeout) {
                self.by_client.remove(&entry.client);
                self.free.push(slot);
                expired.push(entry.flow);
            }
        }
        expired
    }

    /// A flow is forgotten at most a quarter of the timeout late, and the table walked at most every 5 s.
    fn sweep_interval(&self) -> Duration {
        (self.idle_timeout / 4).clamp(Duration::from_millis(1), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn a_silent_flow_is_forgotten_an_active_one_is_not() {
        let sec = Timestamp::from_secs;
        let mut table = FlowTable::new(10, Duration::from_secs(60));
        assert_eq!(table.poll_timeout(), None);
        let first = table.insert(client(1), sec(0), "first");
        let second = table.insert(client(2), sec(0), "second");
        assert_eq!(table.poll_timeout(), Some(sec(5)));
        table.touch(second, sec(30));
        assert_eq!(table.expired(sec(59)), Vec::<&str>::new());
        assert_eq!(table.expired(sec(60)), ["first"]);
        assert_eq!((table.find(client(1)), table.get(first)), (None, None));
        assert_eq!(table.expired(sec(90)), ["second"]);
        assert_eq!(table.poll_timeout(), None, "an empty table needs no sweep");
    }

    #[test]
    fn slots_are_used_again_and_the_bound_holds() {
        let mut table = FlowTable::new(2, Duration::from_secs(1));
        for round in 0..3 {
            let now = Timestamp::from_secs(round * 10);
            table.insert(client(1), now, 1);
            assert!(!table.is_full());
            table.insert(client(2), now, 2);
            assert!(table.is_full());
            assert_eq!(table.expired(now + Duration::from_secs(1)).len(), 2);
        }
        assert_eq!(table.slots.len(), 2);
    }
}
