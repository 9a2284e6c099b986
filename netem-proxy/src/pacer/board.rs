//! Many links, one list of deadlines.
//!
//! The sans-IO part of a driver: which link delivers next, what has been counted, which link has retired, and who is
//! told. It never reads a clock, so it is tested in virtual time.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use hdrhistogram::Histogram;
use units::{Seed, Timestamp};

use super::observer::{FlowOpened, LinkOpened, Observer};
use crate::link::{Delivery, Link, LinkCounters, Meta, new_delay_histogram, record_delay};
use crate::profile::LinkProfile;
use crate::timing::Lateness;

/// Names a link for as long as its board exists; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(u64);

impl LinkId {
    /// For drivers that number links themselves.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

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

/// What a board's links did, open and retired ones together.
#[derive(Clone, Debug, Default)]
pub struct PacerReport {
    pub up: DirectionReport,
    pub down: DirectionReport,
    /// Release minus due time of each delivery. For packets that were due on arrival it includes the time since their
    /// arrival at the socket.
    pub lateness: Lateness,
}

#[derive(Clone, Debug)]
pub struct DirectionReport {
    pub counters: LinkCounters,
    /// Model time in the link, in microseconds.
    pub delays: Histogram<u64>,
}

/// The links of one driver. After each input, [`poll_deliver`](Self::poll_deliver) until `None`;
/// [`poll_timeout`](Self::poll_timeout) says when to poll again.
#[derive(Debug)]
pub struct Board<P> {
    links: BTreeMap<LinkId, Slot<P>>,
    next_id: u64,
    /// Deadlines by link. An entry is stale when it is not the one its slot has noted.
    schedule: BinaryHeap<Reverse<(Timestamp, LinkId)>>,
    /// Sums over retired links; delays and lateness over all.
    done: PacerReport,
    observer: Option<Box<dyn Observer<P>>>,
    /// Links that changed their flows' addresses and were not asked for yet; each is asked before its next packet.
    rebound: Vec<LinkId>,
}

/// What it takes to make a link.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    pub direction: Direction,
    /// For observers.
    pub name: &'a str,
    pub profile: &'a LinkProfile,
    pub seed: Seed,
    pub origin: Timestamp,
    /// When it is made. Changes of address before it concern nobody.
    pub now: Timestamp,
}

#[derive(Debug)]
struct Slot<P> {
    direction: Direction,
    link: Link<P>,
    /// The deadline entered in the schedule.
    scheduled: Option<Timestamp>,
    /// The latest input, which later ones are not before: what the link itself does.
    latest: Timestamp,
    is_closing: bool,
}

impl<P: Clone> Board<P> {
    #[must_use]
    pub fn new(observer: Option<Box<dyn Observer<P>>>) -> Self {
        Self {
            links: BTreeMap::new(),
            next_id: 0,
            schedule: BinaryHeap::new(),
            done: PacerReport::default(),
            observer,
            rebound: Vec::new(),
        }
    }

    /// Tells the observer of a flow; links do not know flows.
    pub fn note_flow(&mut self, flow: &FlowOpened) {
        if let Some(observer) = &mut self.observer {
            observer.on_flow(flow);
        }
    }

    pub fn open(&mut self, opening: Opening<'_>) -> LinkId {
        let Opening { direction, name, profile, seed, origin, now } = opening;
        let id = LinkId(self.next_id);
        self.next_id += 1;
        if let Some(observer) = &mut self.observer {
            observer.on_open(&LinkOpened { id, direction, name, seed, profile, origin });
        }
        // The link's own histogram is of no use here: the board keeps one for each direction.
        let link = Link::new(profile.clone(), seed).with_origin(origin).without_delays();
        let mut link = link.with_events(self.observer.is_some());
        link.skip_rebinds(now);
        let slot = Slot { direction, link, scheduled: None, latest: Timestamp::ZERO, is_closing: false };
        self.links.insert(id, slot);
        id
    }

    /// Offers a packet. One for a link that has retired is ignored: its sender was told by closing it.
    pub fn handle(&mut self, id: LinkId, arrived: Timestamp, packet: P, meta: Meta) {
        let Some(slot) = self.links.get_mut(&id) else { return };
        // A kernel's stamp may lie before an event that the link has already run; what it takes then is later.
        slot.latest = slot.link.arrival_time(arrived);
        if let Some(observer) = &mut self.observer {
            let number = slot.link.counters().offered + 1;
            observer.on_arrival(id, slot.latest, number, &meta, &packet);
        }
        slot.link.handle(slot.latest, packet, meta);
        slot.tell_drops(id, self.observer.as_deref_mut());
        slot.schedule(id, &mut self.schedule);
    }

    /// Lets the link deliver what is under way, then retires it; its counters stay in the sums.
    pub fn close(&mut self, id: LinkId) {
        if let Some(slot) = self.links.get_mut(&id) {
            slot.is_closing = true;
            self.retire_if_empty(id);
        }
    }

    /// Changes all links of one direction that are open now.
    pub fn configure(&mut self, now: Timestamp, direction: Direction, profile: &LinkProfile) {
        for (id, slot) in self.links.iter_mut().filter(|(_, slot)| slot.direction == direction) {
            slot.latest = slot.link.arrival_time(now);
            if let Some(observer) = &mut self.observer {
                observer.on_configure(*id, slot.latest, profile);
            }
            slot.link.configure(slot.latest, profile.clone());
            slot.tell_drops(*id, self.observer.as_deref_mut());
            slot.schedule(*id, &mut self.schedule);
        }
    }

    /// The next packet due by `now`, over all links. What it was late is for the caller to
    /// [record](Self::record_release), who knows when it left.
    pub fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<P>> {
        loop {
            let Reverse((at, id)) = *self.schedule.peek().filter(|Reverse((at, _))| *at <= now)?;
            self.schedule.pop();
            let Some(slot) = self.links.get_mut(&id).filter(|slot| slot.scheduled == Some(at)) else {
                continue;
            };
            slot.scheduled = None;
            let delivery = slot.link.poll_deliver(now);
            // In the order of the model: what is due at the change or later leaves from the new address, however late
            // it is.
            if let Some(delivery) = &delivery
                && slot.link.poll_rebind(delivery.due).is_some()
            {
                self.rebound.push(id);
            }
            slot.tell_drops(id, self.observer.as_deref_mut());
            slot.schedule(id, &mut self.schedule);
            if let Some(delivery) = &delivery {
                let delays = &mut self.done.of_mut(slot.direction).delays;
                record_delay(delays, delivery.due.since(delivery.arrived));
                if let Some(observer) = &mut self.observer {
                    observer.on_delivery(id, delivery, now);
                }
            }
            // Its last packet may have left, or been dropped on the way out.
            self.retire_if_empty(id);
            if delivery.is_some() {
                return delivery;
            }
        }
    }

    /// A link whose flows are to come from other addresses from now on. To be asked after each
    /// [`poll_deliver`](Self::poll_deliver), before what it returned is sent.
    pub fn poll_rebind(&mut self) -> Option<LinkId> {
        self.rebound.pop()
    }

    /// Notes when a packet that was due at `due` left.
    pub fn record_release(&mut self, released: Timestamp, due: Timestamp) {
        self.done.lateness.record(released, due);
    }

    /// Not later than the next packet is due; at times earlier.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.schedule.peek().map(|Reverse((at, _))| *at)
    }

    /// Gives up everything under way (`dropped_closed`) and tells the observer that this is the end.
    pub fn discard(&mut self, now: Timestamp) {
        for (id, slot) in &mut self.links {
            slot.link.discard();
            if let Some(observer) = &mut self.observer {
                observer.on_discard(*id, now.max(slot.latest));
            }
        }
        self.schedule.clear();
        if let Some(mut observer) = self.observer.take() {
            observer.on_end(now);
        }
    }

    #[must_use]
    pub fn report(&self) -> PacerReport {
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
            if let Some(observer) = &mut self.observer {
                observer.on_close(id);
            }
        }
    }
}

impl<P: Clone> Slot<P> {
    fn tell_drops(&mut self, id: LinkId, observer: Option<&mut (dyn Observer<P> + 'static)>) {
        let Some(observer) = observer else { return };
        while let Some(event) = self.link.poll_event() {
            observer.on_drop(id, &event);
        }
        let missed = self.link.poll_events_missed();
        if missed > 0 {
            observer.on_missed_drops(id, missed);
        }
    }

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
}

impl Default for DirectionReport {
    fn default() -> Self {
        Self { counters: LinkCounters::default(), delays: new_delay_histogram() }
    }
}

#[cfg(test)]
mod tests {
    use units::ByteCount;

    use super::*;
    use crate::link::{LinkEvent, MAX_EVENTS};
    use crate::pacer::Observers;

    const SIZE: ByteCount = ByteCount(100);

    fn board(specs: &[(&str, Direction)]) -> Board<u32> {
        observed(specs, None)
    }

    fn observed(specs: &[(&str, Direction)], observer: Option<Box<dyn Observer<u32>>>) -> Board<u32> {
        let mut board = Board::new(observer);
        for (n, (spec, direction)) in (0..).zip(specs) {
            let profile = &spec.parse().expect("a valid spec");
            let (seed, origin, now) = (Seed::root(n), Timestamp::ZERO, Timestamp::ZERO);
            board.open(Opening { direction: *direction, name: "test", profile, seed, origin, now });
        }
        board
    }

    fn offer(board: &mut Board<u32>, link: u64, at: Timestamp, packet: u32) {
        board.handle(LinkId(link), at, packet, Meta::of_size(SIZE));
    }

    #[test]
    fn links_deliver_in_the_order_of_their_deadlines() {
        let mut board = board(&[("delay=30ms", Direction::Up), ("delay=10ms", Direction::Down)]);
        offer(&mut board, 0, Timestamp::ZERO, 1);
        offer(&mut board, 1, Timestamp::from_millis(5), 2);
        offer(&mut board, 1, Timestamp::from_millis(25), 3);
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
            offer(&mut board, 0, Timestamp::ZERO, packet);
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
        offer(&mut board, 0, Timestamp::ZERO, 1);
        board.close(LinkId(0));
        let due = Timestamp::from_millis(10);
        assert_eq!(board.poll_deliver(due).map(|delivery| delivery.packet), Some(1));
        offer(&mut board, 0, due, 2);
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
        offer(&mut board, 0, Timestamp::ZERO, 1);
        offer(&mut board, 1, Timestamp::ZERO, 2);
        assert_eq!(board.poll_deliver(Timestamp::ZERO).map(|delivery| delivery.packet), Some(2));
        assert_eq!(board.report().up.counters.dropped_loss, 1);
    }

    #[derive(Debug)]
    struct Diary(std::sync::mpsc::Sender<String>);

    impl Diary {
        fn write(&self, line: String) {
            self.0.send(line).expect("the test reads");
        }
    }

    impl Observer<u32> for Diary {
        fn on_open(&mut self, link: &LinkOpened<'_>) {
            self.write(format!("open {} {} {}", link.id.as_u64(), link.name, link.profile));
        }
        fn on_configure(&mut self, id: LinkId, at: Timestamp, profile: &LinkProfile) {
            self.write(format!("configure {} {at} {profile}", id.as_u64()));
        }
        fn on_arrival(&mut self, id: LinkId, at: Timestamp, number: u64, meta: &Meta, packet: &u32) {
            self.write(format!("arrival {} {at} {number} {} {packet}", id.as_u64(), meta.size.as_u64()));
        }
        fn on_drop(&mut self, id: LinkId, event: &LinkEvent<u32>) {
            self.write(format!("drop {} {} {:?} {}", id.as_u64(), event.number, event.cause, event.packet));
        }
        fn on_missed_drops(&mut self, id: LinkId, count: u64) {
            self.write(format!("missed {} {count}", id.as_u64()));
        }
        fn on_delivery(&mut self, id: LinkId, delivery: &Delivery<u32>, released: Timestamp) {
            let Delivery { packet, due, .. } = delivery;
            self.write(format!("delivery {} {packet} {due} {released}", id.as_u64()));
        }
        fn on_discard(&mut self, id: LinkId, at: Timestamp) {
            self.write(format!("discard {} {at}", id.as_u64()));
        }
        fn on_close(&mut self, id: LinkId) {
            self.write(format!("close {}", id.as_u64()));
        }
        fn on_end(&mut self, at: Timestamp) {
            self.write(format!("end {at}"));
        }
    }

    #[test]
    fn a_rebind_is_told_with_the_first_packet_after_it() {
        let mut board = board(&[("rebind=30ms", Direction::Up)]);
        let ms = Timestamp::from_millis;
        for (at, expected) in [(29, None), (31, Some(LinkId(0))), (32, None)] {
            offer(&mut board, 0, ms(at), 1);
            assert!(board.poll_deliver(ms(at)).is_some());
            assert_eq!(board.poll_rebind(), expected, "{at} ms");
        }
    }

    /// What left, in milliseconds of its due time, and whether from another address than before.
    fn departures(board: &mut Board<u32>, now: Timestamp) -> Vec<(u64, bool)> {
        let mut departures = Vec::new();
        while let Some(delivery) = board.poll_deliver(now) {
            departures.push((delivery.due.as_nanos() / 1_000_000, board.poll_rebind().is_some()));
        }
        departures
    }

    #[test]
    fn a_late_poll_rebinds_between_the_packets_due_before_and_after() {
        let ms = Timestamp::from_millis;
        for spec in ["delay=5ms rebind=30ms", "delay=5ms @28ms(rebind=30ms)"] {
            let mut board = board(&[(spec, Direction::Up)]);
            for at in [23, 24, 25, 26] {
                offer(&mut board, 0, ms(at), 1);
            }
            let expected = [(28, false), (29, false), (30, true), (31, false)];
            assert_eq!(departures(&mut board, ms(40)), expected, "{spec}");
        }
    }

    #[test]
    fn a_change_of_address_before_a_flow_or_an_order_is_none_of_its() {
        let ms = Timestamp::from_millis;
        let profile = &"rebind=30ms/60ms".parse().expect("a valid spec");
        let mut late = board(&[]);
        let (direction, seed, origin) = (Direction::Up, Seed::root(0), Timestamp::ZERO);
        late.open(Opening { direction, name: "late", profile, seed, origin, now: ms(50) });
        let mut configured = board(&[("none", Direction::Up)]);
        configured.configure(ms(50), Direction::Up, profile);
        for mut board in [late, configured] {
            let told = [51, 89, 90, 91].map(|at| {
                offer(&mut board, 0, ms(at), 1);
                departures(&mut board, ms(at))
            });
            assert_eq!(told.concat(), [(51, false), (89, false), (90, true), (91, false)]);
        }
    }

    #[test]
    fn every_drop_of_an_opening_gate_is_told() {
        let (sender, lines) = std::sync::mpsc::channel();
        let specs = [("hold=1s+5s rate=1Mbit/s queue=100p", Direction::Up)];
        let mut board = observed(&specs, Some(Box::new(Diary(sender))));
        for packet in 0..20_000 {
            offer(&mut board, 0, Timestamp::from_millis(1000), packet);
        }
        while board.poll_deliver(Timestamp::from_millis(6000)).is_some() {}
        let dropped = board.report().up.counters.dropped_queue;
        assert!(dropped > 19_000, "{dropped}");
        assert_eq!(lines.try_iter().filter(|line| line.starts_with("drop ")).count() as u64, dropped);
    }

    #[test]
    fn drops_beyond_the_trace_are_told_as_a_number() {
        let (sender, lines) = std::sync::mpsc::channel();
        let mut board = observed(&[("loss=100%", Direction::Up)], Some(Box::new(Diary(sender))));
        let slot = board.links.get_mut(&LinkId(0)).expect("open");
        for packet in 0..MAX_EVENTS as u32 + 3 {
            slot.link.handle(Timestamp::ZERO, packet, Meta::of_size(SIZE));
        }
        offer(&mut board, 0, Timestamp::ZERO, 0);
        offer(&mut board, 0, Timestamp::ZERO, 0);
        let told: Vec<String> = lines.try_iter().filter(|line| line.starts_with("missed")).collect();
        assert_eq!(told, ["missed 0 4"], "once");
    }

    #[test]
    fn several_observers_are_told_the_same() {
        let diaries = [std::sync::mpsc::channel(), std::sync::mpsc::channel()];
        let observers: Vec<Box<dyn Observer<u32>>> =
            diaries.iter().map(|(sender, _)| Box::new(Diary(sender.clone())) as _).collect();
        let mut board = observed(&[("loss=every(2)", Direction::Up)], Observers(observers).boxed());
        offer(&mut board, 0, Timestamp::ZERO, 1);
        offer(&mut board, 0, Timestamp::ZERO, 2);
        assert!(board.poll_deliver(Timestamp::ZERO).is_some());
        board.configure(Timestamp::ZERO, Direction::Up, &LinkProfile::default());
        board.discard(Timestamp::ZERO);
        let [first, second] = diaries.map(|(_, lines)| lines.try_iter().collect::<Vec<_>>());
        assert_eq!((first.len(), &first), (8, &second));
        assert!(Observers::<u32>(Vec::new()).boxed().is_none());
    }

    #[test]
    fn an_observer_is_told_everything_in_order_with_the_times_that_the_link_took() {
        let (sender, lines) = std::sync::mpsc::channel();
        let specs = [("loss=every(2) delay=10ms", Direction::Up), ("none", Direction::Down)];
        let mut board = observed(&specs, Some(Box::new(Diary(sender))));
        let ms = Timestamp::from_millis;
        offer(&mut board, 0, ms(2), 7);
        offer(&mut board, 0, ms(1), 8);
        assert_eq!(board.poll_deliver(ms(13)).map(|delivery| delivery.packet), Some(7));
        board.configure(ms(14), Direction::Up, &"delay=3600s".parse().expect("a valid spec"));
        offer(&mut board, 0, ms(13), 9);
        board.close(LinkId(1));
        board.discard(ms(15));
        drop(board);
        let told: Vec<String> = lines.iter().collect();
        assert_eq!(
            told,
            [
                "open 0 test loss=every(2) delay=10ms",
                "open 1 test none",
                "arrival 0 0.002000s 1 100 7",
                "arrival 0 0.002000s 2 100 8",
                "drop 0 2 Loss 8",
                "delivery 0 7 0.012000s 0.013000s",
                "configure 0 0.014000s delay=3600s",
                "arrival 0 0.014000s 3 100 9",
                "close 1",
                "discard 0 0.015000s",
                "end 0.015000s",
            ]
        );
    }
}
