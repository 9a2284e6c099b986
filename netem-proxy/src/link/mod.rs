//! One direction of a link, sans-IO.
//!
//! A packet passes the stages in this order; each is a file of this folder:
//! `blackout` → `loss` → duplicate → corrupt (`impair`) → `bottleneck` with its `queue` → `delay` → reorder
//! (`impair`).
//!
//! **Every decision is a function of the profile, the seed and the arrival times.** Nothing depends on when somebody
//! woke up: a packet's fate is settled when it arrives, from the time of its arrival and the model's own times. A
//! late timer can move a packet on the wire; it can never change a verdict.
//!
//! **Chance.** Each stage owns a stream of random numbers, forked from the link's seed by the stage's name, and draws
//! from it for every packet offered, whether or not the packet is still there and the probability is above zero. So
//! the verdict of one stage about the n-th packet stays the same when another stage is changed, and a stage that is
//! switched on during a run decides as if it had always been on. (Constant delay draws nothing, normal delay as often
//! as its method needs.) Copies made by duplication have streams of their own for the same reason.
//!
//! Left out: queue disciplines that decide at departure (CoDel), byte streams, traces, packet headers of any kind.

mod blackout;
mod bottleneck;
mod chance;
mod coin;
mod counters;
mod delay;
mod draws;
mod event;
mod impair;
mod loss;
mod meta;
mod queue;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use hdrhistogram::Histogram;
use units::{ByteCount, Seed, Timestamp};

use crate::profile::{LinkProfile, Order, RateModel};
use bottleneck::{Admission, Bottleneck};
pub use counters::{LinkCounters, MAX_DELAY_US, new_delay_histogram, record_delay};
use event::EventLog;
pub use event::{DropCause, LinkEvent, MAX_EVENTS};
pub use impair::flip_bit;
use impair::{Duplicator, Fate, Lane};
use loss::Loss;
pub use meta::{Ecn, Meta};

/// One direction of a link, for packets `P`.
///
/// Calling order: [`handle_packet`](Self::handle_packet) for each arrival, then
/// [`poll_deliver`](Self::poll_deliver) until `None`; [`poll_timeout`](Self::poll_timeout) says when to poll again.
/// Times must not run backwards; one that does is read as the latest time seen.
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
    profile: LinkProfile,
    /// Where blackouts count from.
    origin: Timestamp,
    latest_arrival: Timestamp,
    loss: Loss,
    duplicator: Duplicator,
    original: Lane,
    copy: Lane,
    bottleneck: Bottleneck,
    /// The latest due time of those in line; under [`Order::Fifo`] no later packet is due before it.
    latest_due: Timestamp,
    under_way: BinaryHeap<UnderWay<P>>,
    next_seq: u64,
    /// The highest arrival number delivered so far, to tell what was overtaken.
    newest_delivered: u64,
    counters: LinkCounters,
    delays: Option<Histogram<u64>>,
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
    /// A link whose chance comes from `seed`, with blackouts counted from [`Timestamp::ZERO`].
    ///
    /// `profile` should have passed [`LinkProfile::validate`]. One that has not makes nothing panic, but what is out
    /// of range is cut to it.
    #[must_use]
    pub fn new(profile: LinkProfile, seed: Seed) -> Self {
        Self {
            origin: Timestamp::ZERO,
            latest_arrival: Timestamp::ZERO,
            loss: Loss::new(&profile, seed.fork("loss")),
            duplicator: Duplicator::new(&profile, seed.fork("duplicate")),
            original: Lane::new(&profile, &seed),
            copy: Lane::new(&profile, &seed.fork("copy")),
            bottleneck: Bottleneck::new(constant(&profile), profile.queue.limit),
            latest_due: Timestamp::ZERO,
            under_way: BinaryHeap::new(),
            next_seq: 0,
            newest_delivered: 0,
            counters: LinkCounters::default(),
            delays: Some(new_delay_histogram()),
            events: EventLog::default(),
            profile,
        }
    }

    /// Counts blackouts from `origin`. Links that stand for one outage share one origin, whenever they were made.
    #[must_use]
    pub fn with_origin(self, origin: Timestamp) -> Self {
        Self { origin, ..self }
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

    /// Offers a packet of `size` bytes. Its fate is decided here and now.
    pub fn handle_packet(&mut self, now: Timestamp, packet: P, size: ByteCount) {
        self.handle(now, packet, Meta::of_size(size));
    }

    /// Offers a packet that is more than a size: one of several flows, or one that can be marked.
    pub fn handle(&mut self, now: Timestamp, packet: P, meta: Meta) {
        let size = meta.size;
        let now = self.monotonic(now);
        self.counters.offered += 1;
        self.counters.offered_bytes += size.as_u64();
        let arrival = Arrival { number: self.counters.offered, at: now, meta };

        // Drawn before anything is dropped, so that each stream advances by one packet per packet.
        let (number, since_origin) = (arrival.number, now.since(self.origin));
        let is_lost = self.loss.draw(number);
        let is_doubled = self.duplicator.draw();
        let fate = self.original.draw(number, since_origin, size);

        if blackout::covers(&self.profile.gates, since_origin) {
            return self.drop_packet(arrival, packet, false, DropCause::Blackout);
        }
        // In netem the loss takes one of the two, and a copy meets the loss model again; ours only copies survivors.
        let is_netem = self.profile.compat.is_some();
        let is_copy_lost = is_netem && is_doubled && (is_lost || self.loss.draw_copy(number));
        if is_lost && !is_copy_lost {
            return self.drop_packet(arrival, packet, false, DropCause::Loss);
        }
        let second = is_doubled.then(|| packet.clone());
        if is_copy_lost && let Some(second) = second {
            self.counters.duplicated += 1;
            self.carry(arrival, packet, fate, false);
            return self.drop_packet(arrival, second, true, DropCause::Loss);
        }
        self.carry(arrival, packet, fate, false);
        if let Some(second) = second {
            self.counters.duplicated += 1;
            let fate = self.copy.draw(number, since_origin, size);
            self.carry(arrival, second, fate, true);
        }
    }

    /// The next packet whose time has come, in the order of its model time.
    pub fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<P>> {
        if self.poll_timeout()? > now {
            return None;
        }
        let next = self.under_way.pop()?;
        self.counters.queued -= 1;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += next.arrival.meta.size.as_u64();
        self.counters.corrupted += u64::from(next.corrupt.is_some());
        if next.arrival.number < self.newest_delivered {
            self.counters.reordered += 1;
        } else {
            self.newest_delivered = next.arrival.number;
        }
        if let Some(delays) = &mut self.delays {
            record_delay(delays, next.due.since(next.arrival.at));
        }
        Some(Delivery {
            packet: next.packet,
            number: next.arrival.number,
            arrived: next.arrival.at,
            due: next.due,
            corrupt: next.corrupt,
            copy: next.copy,
            mark: false,
        })
    }

    /// When the next packet is due; `None` while nothing is under way.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.under_way.peek().map(|next| next.due)
    }

    /// The oldest drop not yet asked for. Always `None` unless made [`with_events`](Self::with_events).
    pub fn poll_event(&mut self) -> Option<LinkEvent<P>> {
        self.events.pop()
    }

    /// Drops the trace could not hold because nobody polled it.
    #[must_use]
    pub fn events_missed(&self) -> u64 {
        self.events.missed()
    }

    /// Changes the link for packets that arrive from `now` on.
    ///
    /// Packets under way keep their fate, and new ones still queue behind them. Streams of chance go on where they
    /// are, and so do the state of a loss chain, the count of periodic loss and the origin of blackouts.
    pub fn configure(&mut self, now: Timestamp, profile: LinkProfile) {
        self.monotonic(now);
        self.loss.configure(&profile);
        self.duplicator.configure(&profile);
        self.original.configure(&profile);
        self.copy.configure(&profile);
        self.bottleneck.configure(constant(&profile), profile.queue.limit);
        self.profile = profile;
    }

    /// Gives up everything under way, counted as `dropped_closed`: what happens when an end of the link goes away.
    pub fn discard(&mut self) {
        self.under_way.clear();
        self.counters.dropped_closed += std::mem::take(&mut self.counters.queued);
    }

    #[must_use]
    pub fn counters(&self) -> &LinkCounters {
        &self.counters
    }

    /// Model time from arrival to departure of each delivered packet, queueing included, in **microseconds**; see
    /// [`new_delay_histogram`] for bounds. Empty for a link made [`without_delays`](Self::without_delays).
    #[must_use]
    pub fn delays(&self) -> &Histogram<u64> {
        static EMPTY: std::sync::LazyLock<Histogram<u64>> = std::sync::LazyLock::new(new_delay_histogram);
        self.delays.as_ref().unwrap_or(&EMPTY)
    }

    /// The hidden state of the loss model after the last packet offered: 1 to 4 as in
    /// [`LossModel`](crate::profile::LossModel), 1 good and 2 bad in a chain of two, 1 where there are no states.
    #[must_use]
    pub fn loss_state(&self) -> u8 {
        self.loss.state()
    }

    /// Where correlated delay stands, as a standard normal number; `None` before it began.
    #[must_use]
    pub fn delay_state(&self) -> Option<f64> {
        self.original.delay_state()
    }

    #[must_use]
    pub fn profile(&self) -> &LinkProfile {
        &self.profile
    }

    fn monotonic(&mut self, now: Timestamp) -> Timestamp {
        self.latest_arrival = self.latest_arrival.max(now);
        self.latest_arrival
    }

    /// From the bottleneck on; copies take this way a second time, as packets of their own.
    fn carry(&mut self, arrival: Arrival, packet: P, fate: Fate, copy: bool) {
        let Admission::Leaves(sent) = self.bottleneck.admit(arrival.at, arrival.meta.size) else {
            return self.drop_packet(arrival, packet, copy, DropCause::Queue);
        };
        let due = sent + fate.delay;
        let due = if let Some(extra) = fate.held_back {
            // Neither held up nor holding up: it steps out of the line.
            due + extra
        } else {
            self.latest_due = self.latest_due.max(due);
            match self.profile.order {
                Order::Fifo => self.latest_due,
                Order::Allow => due,
            }
        };
        self.under_way.push(UnderWay {
            due,
            seq: self.next_seq,
            arrival,
            corrupt: fate.corrupt,
            copy,
            packet,
        });
        self.next_seq += 1;
        self.counters.queued += 1;
    }

    fn drop_packet(&mut self, arrival: Arrival, packet: P, copy: bool, cause: DropCause) {
        *match cause {
            DropCause::Blackout => &mut self.counters.dropped_blackout,
            DropCause::Loss => &mut self.counters.dropped_loss,
            DropCause::Queue => &mut self.counters.dropped_queue,
        } += 1;
        let Arrival { number, at, meta } = arrival;
        self.events.push(LinkEvent { at, number, copy, meta, cause, packet });
    }
}

fn constant(profile: &LinkProfile) -> Option<units::Bitrate> {
    match profile.rate {
        Some(RateModel::Constant { rate, .. }) => Some(rate),
        _ => None,
    }
}

/// What the link knows of a packet besides the packet.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    /// Counts from 1.
    number: u64,
    at: Timestamp,
    meta: Meta,
}

#[derive(Debug)]
struct UnderWay<P> {
    due: Timestamp,
    /// Breaks ties in time.
    seq: u64,
    arrival: Arrival,
    corrupt: Option<u64>,
    copy: bool,
    packet: P,
}

impl<P> Ord for UnderWay<P> {
    /// The earliest is the greatest: `BinaryHeap` gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.due, other.seq).cmp(&(self.due, self.seq))
    }
}

impl<P> PartialOrd for UnderWay<P> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<P> PartialEq for UnderWay<P> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<P> Eq for UnderWay<P> {}
