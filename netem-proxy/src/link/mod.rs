//! One direction of a link, sans-IO.
//!
//! A packet passes the stages in this order; each is a file of this folder:
//! MTU → `gate` → `loss` → duplicate → corrupt (`impair`) → `queue` → `rate` (together the `bottleneck`) → `loss` on the
//! wire → `delay` → order and reorder (`wire`). `timeline` changes the link at set times.
//!
//! **Every decision is a function of the profiles, the seed and the arrivals.** Nothing depends on when somebody woke
//! up: what happens at a time of its own (a packet is taken out of the queue, a gate opens, a schedule has a step) is an
//! event with that time, and events are run in their order before anything later. A late timer can move a packet on
//! the wire; it can never change a verdict.
//!
//! **Chance.** Each stage owns a stream of random numbers, forked from the link's seed by the stage's name; the n-th
//! packet has the n-th place in it (`draws`). So the verdict of one stage about the n-th packet stays the same when
//! another stage is changed, a stage that is switched on during a run decides as if it had always been on, and one
//! that is off costs nothing. (Loss chains and correlated delays also have a state, which goes on from packet to packet
//! while they are on.) Copies made by duplication have streams of their own for the same reason.
//!
//! **When what is decided.** Loss, duplication, corruption, delay and reordering are decided by the arrival of a packet
//! and the profile of that time; queue and rate by the time at which it waits and is taken.
//!
//! Left out: byte streams and packet headers of any kind.

mod bottleneck;
mod chance;
mod coin;
mod counters;
mod delay;
mod draws;
mod event;
mod gate;
mod impair;
mod loss;
mod meta;
mod parcel;
mod queue;
mod rate;
#[cfg(test)]
mod tests;
mod timeline;
mod wire;

use std::collections::VecDeque;
use std::time::Duration;

use hdrhistogram::Histogram;
use units::{ByteCount, Seed, Timestamp};

use crate::profile::{LinkProfile, Order};
use bottleneck::Bottleneck;
pub use counters::{LinkCounters, MAX_DELAY_US, new_delay_histogram, record_delay};
use event::EventLog;
pub use event::{DropCause, LinkEvent, MAX_EVENTS, MAX_HELD};
use gate::{Gates, Passage};
pub use impair::flip_bit;
use impair::{Duplicator, Lane, is_lost_on_wire};
pub use meta::{Ecn, Meta};
use parcel::Parcel;
use timeline::Timeline;
use wire::Wire;

/// One direction of a link, for packets `P`.
///
/// Calling order: [`handle_packet`](Self::handle_packet) for each arrival, then
/// [`poll_deliver`](Self::poll_deliver) until `None`; [`poll_timeout`](Self::poll_timeout) says when to poll again.
/// Times must not run backwards; one that does is read as the latest time at which anything happened.
///
/// ```
/// use netem_proxy::link::Link;
/// use units::{ByteCount, Seed, Timestamp};
///
/// let profile = "loss=every(2) delay=50ms".parse()?;
/// let mut link = Link::new(profile, Seed::root(42));
/// for packet in ["first", "second", "third"] {
///     link.handle_packet(Timestamp::ZERO, packet, ByteCount(1200));
/// }
/// let due = link.poll_timeout().expect("two packets are under way");
/// assert_eq!(due, Timestamp::from_millis(50));
/// assert_eq!(link.poll_deliver(due).map(|delivery| delivery.packet), Some("first"));
/// assert_eq!(link.poll_deliver(due).map(|delivery| delivery.packet), Some("third"));
/// assert_eq!(link.counters().dropped_loss, 1);
/// # Ok::<(), netem_proxy::spec::SpecError>(())
/// ```
#[derive(Debug)]
pub struct Link<P> {
    timeline: Timeline,
    /// What gates, schedules and traces count from.
    origin: Timestamp,
    /// When something last happened: an arrival, a change, an event. Nothing happens before it any more.
    clock: Timestamp,
    mtu: u64,
    loses_on_wire: bool,
    order: Order,
    reorders: bool,
    is_netem: bool,
    gates: Gates,
    /// Packets that wait for a gate to open, and when they try again.
    held: VecDeque<Parcel<P>>,
    release_at: Option<Timestamp>,
    duplicator: Duplicator,
    original: Lane,
    copy: Lane,
    bottleneck: Bottleneck<P>,
    /// The latest due time of those in line; under [`Order::Fifo`] no later packet is due before it.
    latest_due: Timestamp,
    wire: Wire<P>,
    /// The highest arrival number delivered so far, to tell what was overtaken.
    newest_delivered: u64,
    counters: LinkCounters,
    delays: Option<Histogram<u64>>,
    sojourns: Option<Histogram<u64>>,
    events: EventLog<P>,
}

/// A packet at the far end of the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<P> {
    pub packet: P,
    /// Which packet offered to the link, counted from 1; a copy has the number of its original.
    pub number: u64,
    /// When it was offered to the link.
    pub arrived: Timestamp,
    /// When the model says it leaves: never later than the `now` of the poll. `now - due` is the driver's lateness.
    pub due: Timestamp,
    /// The bit to flip with [`flip_bit`], uniform over the packet's size; the link cannot reach into a `P`.
    pub corrupt: Option<u64>,
    /// Whether this is the second of two.
    pub copy: bool,
    /// Whether the queue marked it: the shell sets "congestion experienced" (RFC 3168).
    pub mark: bool,
}

impl<P: Clone> Link<P> {
    /// A link whose chance comes from `seed`, with gates and schedules counted from [`Timestamp::ZERO`].
    ///
    /// `profile` should have passed [`LinkProfile::validate`]. One that has not makes nothing panic, but what is out
    /// of range is cut to it.
    #[must_use]
    pub fn new(profile: LinkProfile, seed: Seed) -> Self {
        let mut link = Self {
            origin: Timestamp::ZERO,
            clock: Timestamp::ZERO,
            mtu: u64::MAX,
            loses_on_wire: false,
            order: profile.order,
            reorders: false,
            is_netem: false,
            gates: Gates::new(&profile, seed.fork("flap")),
            held: VecDeque::new(),
            release_at: None,
            duplicator: Duplicator::new(&profile, seed.fork("duplicate")),
            original: Lane::new(&profile, &seed),
            copy: Lane::new(&profile, &seed.fork("copy")),
            bottleneck: Bottleneck::new(&profile, seed.fork("queue")),
            latest_due: Timestamp::ZERO,
            wire: Wire::new(),
            newest_delivered: 0,
            counters: LinkCounters::default(),
            delays: Some(new_delay_histogram()),
            sojourns: None,
            events: EventLog::default(),
            timeline: Timeline::new(profile.clone()),
        };
        link.set_plain(&profile);
        link
    }

    /// Counts gates, schedules and traces from `origin`. Links that stand for one outage share one origin, whenever
    /// they were made. To be called before anything else.
    #[must_use]
    pub fn with_origin(mut self, origin: Timestamp) -> Self {
        self.origin = origin;
        self.bottleneck.set_origin(origin);
        self
    }

    /// Keeps a trace of drops for [`poll_event`](Self::poll_event); off by default.
    #[must_use]
    pub fn with_events(self, on: bool) -> Self {
        Self { events: EventLog::new(on), ..self }
    }

    /// Keeps no histogram of delays (about 50 KiB a link), for drivers of thousands of links that keep a common one.
    #[must_use]
    pub fn without_delays(self) -> Self {
        Self { delays: None, ..self }
    }

    /// Keeps a histogram of the time that packets waited in the queue; off by default.
    #[must_use]
    pub fn with_sojourns(self) -> Self {
        Self { sojourns: Some(new_delay_histogram()), ..self }
    }

    /// Offers a packet of `size` bytes.
    pub fn handle_packet(&mut self, now: Timestamp, packet: P, size: ByteCount) {
        self.handle(now, packet, Meta::of_size(size));
    }

    /// Offers a packet that is more than a size: one of several flows, or one that can be marked.
    pub fn handle(&mut self, now: Timestamp, packet: P, meta: Meta) {
        let now = self.arrival_time(now);
        self.run_events(now);
        self.settle(now);
        self.clock = now;
        self.counters.offered += 1;
        self.counters.offered_bytes += meta.size.as_u64();
        self.counters.queued += 1;
        let number = self.counters.offered;
        let elapsed = now.since(self.origin);

        // Drawn before anything is dropped, so that what has a state goes on by one packet for each packet.
        let is_lost = self.original.loses(number);
        let is_doubled = self.duplicator.draw(number);
        // In netem the loss takes one of the two, and a copy meets the loss model again; ours only copies survivors.
        let copy_is_lost = self.is_netem && is_doubled && (is_lost || self.original.loses_copy(number));
        let lost_at_entry = is_lost && !self.loses_on_wire && !copy_is_lost;
        let mut fate = self.original.draw(number, elapsed, meta.size);
        fate.lost_on_wire = is_lost && self.loses_on_wire;
        (fate.is_doubled, fate.copy_is_lost) = (is_doubled, copy_is_lost);
        let parcel = Parcel { number, arrived: now, meta, fate, copy: false, mark: false, packet };

        if meta.size.as_u64() > self.mtu {
            return self.drop_parcel(now, DropCause::Mtu, parcel);
        }
        let passage = if self.gates.is_none() { Passage::Open } else { self.gates.passage(elapsed) };
        match passage {
            Passage::Closed(cause) => self.drop_parcel(now, cause, parcel),
            _ if lost_at_entry => self.drop_parcel(now, DropCause::Loss, parcel),
            Passage::Held(_) if self.held.len() >= MAX_HELD => self.drop_parcel(now, DropCause::Hold, parcel),
            Passage::Held(until) => {
                self.release_at.get_or_insert(self.origin + until);
                self.held.push_back(parcel);
            }
            Passage::Open => self.enter(now, parcel),
        }
    }

    /// When a packet offered `now` is taken to have arrived: `now`, unless something later has happened already.
    #[must_use]
    pub fn arrival_time(&self, now: Timestamp) -> Timestamp {
        now.max(self.clock)
    }

    /// The next packet whose time has come, in the order of its model time.
    pub fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<P>> {
        self.run_events(now);
        let next = self.wire.pop_due(now)?;
        let (due, parcel) = (next.due, next.parcel);
        self.counters.queued -= 1;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += parcel.size().as_u64();
        self.counters.corrupted += u64::from(parcel.fate.corrupt().is_some());
        if parcel.number < self.newest_delivered {
            self.counters.reordered += 1;
        } else {
            self.newest_delivered = parcel.number;
        }
        if let Some(delays) = &mut self.delays {
            record_delay(delays, due.since(parcel.arrived));
        }
        Some(Delivery {
            packet: parcel.packet,
            number: parcel.number,
            arrived: parcel.arrived,
            due,
            corrupt: parcel.fate.corrupt(),
            copy: parcel.copy,
            mark: parcel.mark,
        })
    }

    /// When to poll again; `None` while nothing is under way.
    ///
    /// Mostly the next packet is due then. It may also be something within the link that has to happen first; then
    /// [`poll_deliver`](Self::poll_deliver) gives nothing, and this a later time.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = self.wire.next_due();
        let Some(event) = self.next_event() else { return due };
        // What is in line cannot be overtaken by what is still to come, so its event can wait until then.
        let is_certain = self.order == Order::Fifo
            && !self.reorders
            && self.wire.is_in_line()
            && self.timeline.is_settled();
        match due {
            Some(due) if is_certain || due <= event => Some(due),
            _ => Some(event),
        }
    }

    /// The oldest drop not yet asked for. Always `None` unless made [`with_events`](Self::with_events).
    pub fn poll_event(&mut self) -> Option<LinkEvent<P>> {
        self.events.pop()
    }

    /// Drops the trace could not hold ([`MAX_EVENTS`]) since this was last asked; they are newer than those it holds.
    pub fn poll_events_missed(&mut self) -> u64 {
        self.events.take_missed()
    }

    /// Whether the addresses of all flows changed by `now` ([`Gate::Rebind`](crate::profile::Gate::Rebind)): the time
    /// of the latest change, once. To be asked with the due time of each delivery before it is sent on; it needs no timer,
    /// since without a packet nobody can see an address.
    pub fn poll_rebind(&mut self, now: Timestamp) -> Option<Timestamp> {
        // A step of the schedule may bring the gate, and has not been made if nothing waited for it.
        self.make_changes(now.since(self.origin));
        let at = self.gates.poll_rebind(now.since(self.origin))?;
        Some(self.origin + at)
    }

    /// Takes changes of address by `now` as told: for a link that is made later than at its origin.
    pub fn skip_rebinds(&mut self, now: Timestamp) {
        self.gates.skip_rebinds(now.since(self.origin));
    }

    /// Changes the link from `now` on.
    ///
    /// Packets under way keep what was decided about them; those that wait before the bottleneck meet the new rate and
    /// the new discipline, and none of them is dropped for a lower limit. Streams of chance go on where they are, and so
    /// do the state of a loss chain, the count of periodic loss and the origin. Steps of the new profile's schedule that
    /// lie before `now` are in effect at once.
    pub fn configure(&mut self, now: Timestamp, profile: LinkProfile) {
        let now = self.arrival_time(now);
        self.run_events(now);
        // Those of the old schedule too, so that it makes no difference whether somebody polled since.
        self.make_changes(now.since(self.origin));
        self.clock = now;
        self.timeline = Timeline::new(profile.clone());
        self.apply(now, &profile);
        self.settle(now);
        self.run_events(now);
    }

    /// Gives up everything under way, counted as `dropped_closed`: what happens when an end of the link goes away.
    pub fn discard(&mut self) {
        self.wire.clear();
        self.bottleneck.clear();
        self.held.clear();
        self.release_at = None;
        self.counters.dropped_closed += std::mem::take(&mut self.counters.queued);
        self.count_queue();
    }

    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Model time from arrival to departure of each delivered packet, queueing included, in **microseconds**; see
    /// [`new_delay_histogram`] for bounds. Empty for a link made [`without_delays`](Self::without_delays).
    #[must_use]
    pub fn delays(&self) -> &Histogram<u64> {
        self.delays.as_ref().unwrap_or_else(|| no_histogram())
    }

    /// Time from arrival at the queue until taken out of it, in **microseconds**. Empty unless made
    /// [`with_sojourns`](Self::with_sojourns).
    #[must_use]
    pub fn sojourns(&self) -> &Histogram<u64> {
        self.sojourns.as_ref().unwrap_or_else(|| no_histogram())
    }

    /// The hidden state of the loss model after the last packet offered: 1 to 4 as in
    /// [`LossModel`](crate::profile::LossModel), 1 good and 2 bad in a chain of two, 1 where there are no states.
    #[must_use]
    pub fn loss_state(&self) -> u8 {
        self.original.loss_state()
    }

    /// Where correlated delay stands, as a standard normal number; `None` before it began.
    #[must_use]
    pub fn delay_state(&self) -> Option<f64> {
        self.original.delay_state()
    }

    /// As configured; a schedule may have changed the link since.
    #[must_use]
    pub fn profile(&self) -> &LinkProfile {
        self.timeline.profile()
    }

    /// Duplication, and everything behind it.
    fn enter(&mut self, now: Timestamp, parcel: Parcel<P>) {
        let (is_doubled, copy_is_lost) = (parcel.fate.is_doubled, parcel.fate.copy_is_lost);
        let second = is_doubled.then(|| self.copy_of(&parcel));
        self.offer(now, parcel);
        let Some(second) = second else { return };
        self.counters.duplicated += 1;
        self.counters.queued += 1;
        if copy_is_lost {
            self.drop_parcel(now, DropCause::Loss, second);
        } else {
            self.offer(now, second);
        }
    }

    fn copy_of(&mut self, original: &Parcel<P>) -> Parcel<P> {
        let number = original.number;
        let mut fate = self.copy.draw(number, original.arrived.since(self.origin), original.size());
        fate.lost_on_wire = self.loses_on_wire && self.copy.loses(number);
        Parcel { fate, copy: true, ..original.clone() }
    }

    fn offer(&mut self, now: Timestamp, parcel: Parcel<P>) {
        if let Some(parcel) = self.bottleneck.offer(now, parcel) {
            return self.send(now, parcel);
        }
        self.take_verdicts();
        // An idle server takes it at once.
        while let Some(at) = self.bottleneck.next_take().filter(|&at| at <= now) {
            self.take(at);
        }
        self.count_queue();
    }

    /// The next packet leaves the queue.
    fn take(&mut self, at: Timestamp) {
        self.clock = self.clock.max(at);
        if let Some(profile) = self.timeline.move_on_ramp(at.since(self.origin)) {
            self.apply(at, &profile);
        }
        let taken = self.bottleneck.take(at);
        self.take_verdicts();
        let Some((sent, waiting)) = taken else { return };
        if let Some(sojourns) = &mut self.sojourns {
            record_delay(sojourns, at.since(waiting.since));
        }
        self.send(sent, waiting.parcel);
    }

    /// Puts a packet on the wire whose last bit is sent at `sent`.
    fn send(&mut self, sent: Timestamp, parcel: Parcel<P>) {
        if parcel.fate.lost_on_wire {
            return self.drop_parcel(sent, DropCause::LossWire, parcel);
        }
        let due = sent + parcel.fate.delay();
        let due = if parcel.fate.is_held_back {
            // Neither held up nor holding up: it steps out of the line.
            due
        } else {
            self.latest_due = self.latest_due.max(due);
            match self.order {
                Order::Fifo => self.latest_due,
                Order::Allow => due,
            }
        };
        self.wire.push(due, parcel);
    }

    /// When something happens within the link by itself. A step of the schedule does not matter while nothing waits.
    fn next_event(&self) -> Option<Timestamp> {
        let event = match (self.bottleneck.next_take(), self.release_at) {
            (Some(take), Some(release)) => take.min(release),
            (one, other) => one.or(other)?,
        };
        match self.timeline.next_change() {
            Some(change) => Some(event.min(self.origin + change)),
            None => Some(event),
        }
    }

    /// Everything that happens by itself up to `until`, in order; at one time first the schedule, then the bottleneck,
    /// then the gate.
    fn run_events(&mut self, until: Timestamp) {
        while let Some(at) = self.next_event().filter(|&at| at <= until) {
            let change = self.timeline.next_change().map(|change| self.origin + change);
            if change.is_some_and(|change| change <= at) {
                self.make_change();
            } else if self.bottleneck.next_take() == Some(at) {
                self.take(at);
                self.count_queue();
            } else {
                self.release(at);
            }
        }
    }

    /// The gate opens, or another one closes behind it.
    fn release(&mut self, at: Timestamp) {
        self.clock = self.clock.max(at);
        self.settle(at);
        self.release_at = None;
        match self.gates.passage(at.since(self.origin)) {
            Passage::Held(until) => self.release_at = Some(self.origin + until),
            Passage::Open => {
                while let Some(parcel) = self.held.pop_front() {
                    self.enter(at, parcel);
                }
            }
            Passage::Closed(cause) => {
                while let Some(parcel) = self.held.pop_front() {
                    self.drop_parcel(at, cause, parcel);
                }
            }
        }
    }

    /// Makes the link what it is at `now`: all steps of the schedule, one by one, and the place on a ramp.
    fn settle(&mut self, now: Timestamp) {
        if self.timeline.is_settled() {
            return;
        }
        let elapsed = now.since(self.origin);
        self.make_changes(elapsed);
        if let Some(profile) = self.timeline.move_on_ramp(elapsed) {
            self.apply(now, &profile);
        }
    }

    fn make_changes(&mut self, elapsed: Duration) {
        while self.timeline.next_change().is_some_and(|at| at <= elapsed) {
            self.make_change();
        }
    }

    fn make_change(&mut self) {
        let Some(at) = self.timeline.next_change() else { return };
        // Steps that lay in the past when the link was configured take effect then.
        self.clock = self.clock.max(self.origin + at);
        if let Some(profile) = self.timeline.make_change() {
            self.apply(self.clock, &profile);
        }
    }

    fn apply(&mut self, now: Timestamp, profile: &LinkProfile) {
        self.original.configure(profile);
        self.copy.configure(profile);
        self.duplicator.configure(profile);
        self.bottleneck.configure(now, profile);
        self.set_plain(profile);
        if self.gates.configure(now.since(self.origin), profile) && self.release_at.is_some() {
            // The gate that held them may be another one now, or none.
            self.release_at = Some(now);
        }
    }

    fn set_plain(&mut self, profile: &LinkProfile) {
        self.mtu = profile.mtu.map_or(u64::MAX, ByteCount::as_u64);
        self.loses_on_wire = is_lost_on_wire(profile);
        self.order = profile.order;
        self.reorders = profile.reorder.is_some();
        self.is_netem = profile.compat.is_some();
    }

    fn take_verdicts(&mut self) {
        let verdicts = self.bottleneck.verdicts();
        self.counters.ecn_marked += std::mem::take(&mut verdicts.marked);
        if verdicts.dropped.is_empty() {
            return;
        }
        let mut dropped = std::mem::take(&mut verdicts.dropped);
        for (at, cause, parcel) in dropped.drain(..) {
            self.drop_parcel(at, cause, parcel);
        }
        self.bottleneck.verdicts().dropped = dropped;
    }

    fn drop_parcel(&mut self, at: Timestamp, cause: DropCause, parcel: Parcel<P>) {
        self.counters.queued -= 1;
        *self.counters.of_mut(cause) += 1;
        let Parcel { number, meta, copy, packet, .. } = parcel;
        self.events.push(LinkEvent { at, number, copy, meta, cause, packet });
    }

    fn count_queue(&mut self) {
        let (packets, bytes) = self.bottleneck.waiting();
        let (most_packets, most_bytes) = self.bottleneck.most();
        self.counters.queue_packets = packets;
        self.counters.queue_bytes = bytes;
        self.counters.queue_packets_max = most_packets;
        self.counters.queue_bytes_max = most_bytes;
    }
}

fn no_histogram() -> &'static Histogram<u64> {
    static EMPTY: std::sync::LazyLock<Histogram<u64>> = std::sync::LazyLock::new(new_delay_histogram);
    &EMPTY
}
