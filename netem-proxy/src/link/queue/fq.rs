//! Flow queues with CoDel in each: RFC 8290.
//!
//! <https://www.rfc-editor.org/rfc/rfc8290#section-4>. A flow is a slot of a table, found by a hash with a key from the
//! link's seed, so that which flows collide is chance and can be repeated. Slots take turns by deficit round robin of
//! a quantum of bytes; one that was empty goes before those that were not. When all of it is too full, packets go from
//! the head of the slot with the most bytes.

use std::collections::VecDeque;

use units::Timestamp;

use super::super::event::DropCause;
use super::codel::{CoDel, Settings};
use super::line::{Line, Verdicts, Waiting};

#[derive(Debug)]
pub(super) struct FqCoDel<P> {
    slots: Vec<Slot<P>>,
    new: VecDeque<usize>,
    old: VecDeque<usize>,
    quantum: i64,
    key: u64,
    packets: usize,
    bytes: u64,
}

#[derive(Debug)]
struct Slot<P> {
    line: Line<P>,
    codel: CoDel,
    deficit: i64,
    /// In one of the two lists.
    is_listed: bool,
}

impl<P> FqCoDel<P> {
    pub(super) fn new(flows: u32, quantum: u64, key: u64) -> Self {
        let slots = (0..flows.clamp(1, MAX_SLOTS)).map(|_| Slot {
            line: Line::new(),
            codel: CoDel::default(),
            deficit: 0,
            is_listed: false,
        });
        Self {
            slots: slots.collect(),
            new: VecDeque::new(),
            old: VecDeque::new(),
            quantum: i64::try_from(quantum.max(1)).unwrap_or(i64::MAX),
            key,
            packets: 0,
            bytes: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.packets
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push(&mut self, waiting: Waiting<P>) {
        let index = self.slot_of(waiting.parcel.meta.flow);
        self.packets += 1;
        self.bytes += waiting.bytes();
        let slot = &mut self.slots[index];
        slot.codel.on_enqueue(waiting.bytes());
        slot.line.push(waiting);
        if !slot.is_listed {
            slot.is_listed = true;
            slot.deficit = self.quantum;
            self.new.push_back(index);
        }
    }

    pub(super) fn pop(
        &mut self,
        now: Timestamp,
        settings: Settings,
        verdicts: &mut Verdicts<P>,
    ) -> Option<Waiting<P>> {
        loop {
            let is_new = !self.new.is_empty();
            let list = if is_new { &mut self.new } else { &mut self.old };
            let index = *list.front()?;
            let slot = &mut self.slots[index];
            if slot.deficit <= 0 {
                slot.deficit = slot.deficit.saturating_add(self.quantum);
                list.pop_front();
                self.old.push_back(index);
                continue;
            }
            let (packets, bytes) = (slot.line.len(), slot.line.bytes());
            let first = slot.codel.dequeue(now, settings, &mut slot.line, verdicts);
            self.packets -= packets - slot.line.len();
            self.bytes -= bytes - slot.line.bytes();
            let Some(first) = first else {
                list.pop_front();
                if is_new {
                    // It goes through the old ones once, so that a thin flow cannot always be new.
                    self.old.push_back(index);
                } else {
                    slot.is_listed = false;
                }
                continue;
            };
            slot.deficit -= i64::try_from(first.bytes()).unwrap_or(i64::MAX);
            return Some(first);
        }
    }

    /// Drops from the head of the longest line; the first of several in the order of their turns.
    pub(super) fn drop_from_longest(&mut self, now: Timestamp, verdicts: &mut Verdicts<P>) {
        let mut longest: Option<(u64, usize)> = None;
        for &index in self.new.iter().chain(&self.old) {
            let bytes = self.slots[index].line.bytes();
            if !self.slots[index].line.is_empty() && longest.is_none_or(|(most, _)| bytes > most) {
                longest = Some((bytes, index));
            }
        }
        let Some((_, index)) = longest else { return };
        if let Some(victim) = self.slots[index].line.pop() {
            self.packets -= 1;
            self.bytes -= victim.bytes();
            verdicts.drop(now, DropCause::Fq, victim.parcel);
        }
    }

    /// Takes everything out, in the order of arrival.
    pub(super) fn drain(&mut self) -> Vec<Waiting<P>> {
        let mut all = Vec::with_capacity(self.packets);
        for slot in &mut self.slots {
            all.extend(std::iter::from_fn(|| slot.line.pop()));
        }
        all.sort_by_key(|waiting| (waiting.since, waiting.parcel.number, waiting.parcel.copy));
        (self.packets, self.bytes) = (0, 0);
        all
    }

    pub(super) fn is_of(&self, flows: u32) -> bool {
        self.slots.len() == flows.clamp(1, MAX_SLOTS) as usize
    }

    pub(super) fn set_quantum(&mut self, quantum: u64) {
        self.quantum = i64::try_from(quantum.max(1)).unwrap_or(i64::MAX);
    }

    fn slot_of(&self, flow: u64) -> usize {
        // The upper half of a product spreads a 64-bit hash evenly over any number of slots.
        ((u128::from(mix(flow, self.key)) * self.slots.len() as u128) >> 64) as usize
    }
}

/// A keyed hash of one number: the finalizer of `splitmix64` (Steele, Lea and Flood 2014), the key on either side.
fn mix(flow: u64, key: u64) -> u64 {
    let finish = |mut z: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    };
    finish(finish(flow ^ key).wrapping_add(key))
}

/// Slots of a table; RFC 8290 takes 1,024, and 65,536 are the most that Linux allows.
const MAX_SLOTS: u32 = 65_536;
