//! Many links, one list of deadlines.
//!
//! The sans-IO part of the pacer: which link delivers next, what has been counted, which link has retired. It never
//! reads a clock, so it is tested in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hdrhistogram::Histogram;
use units::{ByteCount, Timestamp};

use crate::link::{Delivery, Link, LinkCounters, new_delay_histogram, record_delay};
use crate::profile::LinkProfile;

/// Names a link for as long as its pacer runs; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub(super) u64);

impl LinkId {
    #[must_use]
    pub fn as_u64(self) -> u64 {
        self.0
    }
}

/// Seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to server.
    Up,
    /// Server to client.
    Down,
}

/// What a pacer's links did, open and retired ones together.
#[derive(Clone, Debug)]
pub struct PacerReport {
    pub up: DirectionReport,
    pub down: DirectionReport,
    /// Actual minus due time of each delivery, in nanoseconds, cut at [`MAX_LATENESS_NS`]. For packets that were due
    /// on arrival it includes the way to the pacing thread.
    pub lateness: Histogram<u64>,
}

#[derive(Clone, Debug)]
pub struct DirectionReport {
    pub counters: LinkCounters,
    /// Model time in the link, in microseconds.
    pub delays: Histogram<u64>,
}

/// One minute; a delivery later than that has other problems.
pub const MAX_LATENESS_NS: u64 = 60_000_000_000;

#[derive(Debug)]
pub(super) struct Board<P> {
    links: BTreeMap<LinkId, Slot<P>>,
    /// Deadlines by link. An entry is stale when it is not the one its slot has noted.
    schedule: BinaryHeap<Reverse<(Timestamp, LinkId)>>,
    /// Sums over retired links, and delays over all.
    done: PacerReport,
}

#[derive(Debug)]
struct Slot<P> {
    direction: Direction,
    link: Link<P>,
    /// The deadline entered in the schedule.
    scheduled: Option<Timestamp>,
    is_closing: bool,
}

impl<P: Clone> Board<P> {
    pub(super) fn new() -> Self {
        Self { links: BTreeMap::new(), schedule: BinaryHeap::new(), done: PacerReport::default() }
    }

    pub(super) fn open(&mut self, id: LinkId, direction: Direction, link: Link<P>) {
        self.links.insert(id, Slot { direction, link, scheduled: None, is_closing: false });
    }

    /// A packet for a link that has retired is ignored: its sender was told by closing it.
    pub(super) fn handle_packet(&mut self, id: LinkId, arrived: Timestamp, packet: P, size: ByteCount) {
        if let Some(slot) = self.links.get_mut(&id) {
            slot.link.handle_packet(arrived, packet, size);
            slot.schedule(id, &mut self.schedule);
        }
    }

    pub(super) fn close(&mut self, id: LinkId) {
        if let Some(slot) = self.links.get_mut(&id) {
            slot.is_closing = true;
            self.retire_if_empty(id);
        }
    }

    pub(super) fn configure(&mut self, now: Timestamp, direction: Direction, profile: &LinkProfile) {
        for slot in self.links.values_mut().filter(|slot| slot.direction == direction) {
            slot.link.configure(now, profile.clone());
        }
    }

    /// The next packet due by `now`, over all links.
    pub(super) fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<P>> {
        loop {
            let Reverse((at, id)) = *self.schedule.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.schedule.pop();
            let Some(slot) = self.links.get_mut(&id).filter(|slot| slot.scheduled == Some(at)) else {
                continue;
            };
            slot.scheduled = None;
            let delivery = slot.link.poll_deliver(now);
            slot.schedule(id, &mut self.schedule);
            let direction = slot.direction;
            if let Some(delivery) = delivery {
                let delays = &mut self.done.of_mut(direction).delays;
                record_delay(delays, delivery.due.since(delivery.arrived));
                self.done.record_lateness(now, delivery.due);
                self.retire_if_empty(id);
                return Some(delivery);
            }
        }
    }

    /// Not later than the next packet is due; at times earlier.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.schedule.peek().map(|Reverse((at, _))| *at)
    }

    pub(super) fn discard(&mut self) {
        for slot in self.links.values_mut() {
            slot.link.discard();
        }
        self.schedule.clear();
    }

    pub(super) fn report(&self) -> PacerReport {
        let mut report = self.done.clone();
        for slot in self.links.values() {
            report.of_mut(slot.direction).counters += *slot.link.counters();
        }
        report
    }

    fn retire_if_empty(&mut self, id: LinkId) {
        let is_done = |slot: &Slot<P>| slot.is_closing && slot.link.counters().queued() == 0;
        if self.links.get(&id).is_some_and(is_done)
            && let Some(slot) = self.links.remove(&id)
        {
            self.done.of_mut(slot.direction).counters += *slot.link.counters();
        }
    }
}

impl<P: Clone> Slot<P> {
    /// Enters the link's deadline, unless an entry at that time or before is there already.
    fn schedule(&mut self, id: LinkId, schedule: &mut BinaryHeap<Reverse<(Timestamp, LinkId)>>) {
        let Some(due) = self.link.poll_timeout() else { return };
        if self.scheduled.is_none_or(|scheduled| due < scheduled) {
            self.scheduled = Some(due);
            schedule.push(Reverse((due, id)));
        }
    }
}

impl PacerReport {
    fn of_mut(&mut self, direction: Direction) -> &mut DirectionReport {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn record_lateness(&mut self, now: Timestamp, due: Timestamp) {
        let nanos = u64::try_from(now.since(due).as_nanos()).unwrap_or(u64::MAX).min(MAX_LATENESS_NS);
        self.lateness.record(nanos).expect("an auto-resizing histogram takes every value up to the bound");
    }
}

impl Default for PacerReport {
    fn default() -> Self {
        Self {
            up: DirectionReport::default(),
            down: DirectionReport::default(),
            lateness: Histogram::new(3).expect("three digits are within 0..=5"),
        }
    }
}

impl Default for DirectionReport {
    fn default() -> Self {
        Self { counters: LinkCounters::default(), delays: new_delay_histogram() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use units::Seed;

    use super::*;

    const SIZE: ByteCount = ByteCount(100);

    fn board(specs: &[(&str, Direction)]) -> Board<u32> {
        let mut board = Board::new();
        for (id, (spec, direction)) in (0..).zip(specs) {
            let profile = spec.parse().expect("a valid spec");
            board.open(LinkId(id), *direction, Link::new(profile, Seed::root(id)));
        }
        board
    }

    #[test]
    fn links_deliver_in_the_order_of_their_deadlines() {
        let mut board = board(&[("delay=30ms", Direction::Up), ("delay=10ms", Direction::Down)]);
        board.handle_packet(LinkId(0), Timestamp::ZERO, 1, SIZE);
        board.handle_packet(LinkId(1), Timestamp::from_millis(5), 2, SIZE);
        board.handle_packet(LinkId(1), Timestamp::from_millis(25), 3, SIZE);
        let mut order = Vec::new();
        while let Some(at) = board.poll_timeout() {
            order.extend(board.poll_deliver(at).map(|delivery| (delivery.packet, at)));
        }
        let ms = Timestamp::from_millis;
        assert_eq!(order, [(2, ms(15)), (1, ms(30)), (3, ms(35))]);
    }

    #[test]
    fn an_earlier_packet_moves_the_deadline_forward() {
        let mut board = board(&[("delay=10ms reorder=50%/1s", Direction::Up)]);
        for packet in 0..20 {
            board.handle_packet(LinkId(0), Timestamp::ZERO, packet, SIZE);
        }
        assert_eq!(board.poll_timeout(), Some(Timestamp::from_millis(10)));
        let mut count = 0;
        while let Some(at) = board.poll_timeout() {
            count += u32::from(board.poll_deliver(at).is_some());
        }
        assert_eq!(count, 20);
    }

    #[test]
    fn a_closed_link_delivers_what_is_under_way_and_stays_in_the_sums() {
        let mut board = board(&[("delay=10ms", Direction::Up)]);
        board.handle_packet(LinkId(0), Timestamp::ZERO, 1, SIZE);
        board.close(LinkId(0));
        let due = Timestamp::from_millis(10);
        assert_eq!(board.poll_deliver(due).map(|delivery| delivery.packet), Some(1));
        board.handle_packet(LinkId(0), due, 2, SIZE);
        assert_eq!(board.poll_timeout(), None, "the link has retired");
        let report = board.report();
        assert_eq!((report.up.counters.offered, report.up.counters.delivered), (1, 1));
        // Three significant digits.
        assert!(report.up.delays.max().abs_diff(10_000) <= 10);
    }

    #[test]
    fn only_the_links_of_one_direction_are_configured() {
        let mut board = board(&[("none", Direction::Up), ("none", Direction::Down)]);
        let lossy = "loss=100%".parse().expect("a valid spec");
        board.configure(Timestamp::ZERO, Direction::Up, &lossy);
        board.handle_packet(LinkId(0), Timestamp::ZERO, 1, SIZE);
        board.handle_packet(LinkId(1), Timestamp::ZERO, 2, SIZE);
        assert_eq!(board.poll_deliver(Timestamp::ZERO).map(|delivery| delivery.packet), Some(2));
        assert_eq!(board.report().up.counters.dropped_loss, 1);
    }

    #[test]
    fn lateness_is_recorded_against_the_due_time() {
        let mut board = board(&[("delay=10ms", Direction::Up)]);
        board.handle_packet(LinkId(0), Timestamp::ZERO, 1, SIZE);
        let late = Timestamp::from_millis(10) + Duration::from_nanos(700);
        assert!(board.poll_deliver(late).is_some());
        assert_eq!(board.report().lateness.max(), 700);
    }
}
