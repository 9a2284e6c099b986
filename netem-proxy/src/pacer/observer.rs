//! Somebody who watches what links do: an arrival log, a packet capture.
//!
//! An observer is called in the driver's thread, between a packet and its deadline: it has to be quick and must not
//! block. It sees every input of every link, in the order and with the times that the link took them, which is all
//! that is needed to repeat the link's decisions; and every output, to compare them with or to write down.

use std::fmt;
use std::net::SocketAddr;

use units::{Seed, Timestamp};

use super::{Direction, LinkId};
use crate::link::{Delivery, LinkEvent, Meta};
use crate::profile::LinkProfile;

/// Watches the links of one driver, whose packets are `P`. Every method does nothing unless it is overridden.
///
/// For one link the calls come as `on_open`, then `on_arrival`, `on_configure`, `on_drop` and `on_delivery` in the
/// order in which they happen, then `on_discard` or `on_close`. Times are those of the driver's clock.
pub trait Observer<P>: Send + fmt::Debug {
    /// A flow was accepted; its packets carry its number in [`Meta::flow`].
    fn on_flow(&mut self, _flow: &FlowOpened) {}

    fn on_open(&mut self, _link: &LinkOpened<'_>) {}

    /// The link was given another profile for packets that arrive from `at` on.
    fn on_configure(&mut self, _id: LinkId, _at: Timestamp, _profile: &LinkProfile) {}

    /// A packet is about to enter the link. `at` is its arrival as the link takes it (never before an earlier input of
    /// this link), `number` counts from 1.
    fn on_arrival(&mut self, _id: LinkId, _at: Timestamp, _number: u64, _meta: &Meta, _packet: &P) {}

    fn on_drop(&mut self, _id: LinkId, _event: &LinkEvent<P>) {}

    /// So many drops after those told so far are not told: there were more at once than a link traces
    /// ([`MAX_EVENTS`](crate::link::MAX_EVENTS)).
    fn on_missed_drops(&mut self, _id: LinkId, _count: u64) {}

    /// A packet leaves the link; `released` is when the driver took it out, not before it was due.
    fn on_delivery(&mut self, _id: LinkId, _delivery: &Delivery<P>, _released: Timestamp) {}

    /// Everything under way was given up.
    fn on_discard(&mut self, _id: LinkId, _at: Timestamp) {}

    /// The link has delivered what it had and is no more.
    fn on_close(&mut self, _id: LinkId) {}

    /// The driver ends; nothing follows.
    fn on_end(&mut self, _at: Timestamp) {}
}

/// Several observers as one, each told in turn.
pub struct Observers<P>(pub Vec<Box<dyn Observer<P>>>);

impl<P> fmt::Debug for Observers<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl<P: 'static> Observers<P> {
    /// The least that watches for all: nobody, the only one, or all of them.
    #[must_use]
    pub fn boxed(mut self) -> Option<Box<dyn Observer<P>>> {
        match self.0.len() {
            0 | 1 => self.0.pop(),
            _ => Some(Box::new(self)),
        }
    }
}

impl<P> Observer<P> for Observers<P> {
    fn on_flow(&mut self, flow: &FlowOpened) {
        self.0.iter_mut().for_each(|each| each.on_flow(flow));
    }

    fn on_open(&mut self, link: &LinkOpened<'_>) {
        self.0.iter_mut().for_each(|each| each.on_open(link));
    }

    fn on_configure(&mut self, id: LinkId, at: Timestamp, profile: &LinkProfile) {
        self.0.iter_mut().for_each(|each| each.on_configure(id, at, profile));
    }

    fn on_arrival(&mut self, id: LinkId, at: Timestamp, number: u64, meta: &Meta, packet: &P) {
        self.0.iter_mut().for_each(|each| each.on_arrival(id, at, number, meta, packet));
    }

    fn on_drop(&mut self, id: LinkId, event: &LinkEvent<P>) {
        self.0.iter_mut().for_each(|each| each.on_drop(id, event));
    }

    fn on_missed_drops(&mut self, id: LinkId, count: u64) {
        self.0.iter_mut().for_each(|each| each.on_missed_drops(id, count));
    }

    fn on_delivery(&mut self, id: LinkId, delivery: &Delivery<P>, released: Timestamp) {
        self.0.iter_mut().for_each(|each| each.on_delivery(id, delivery, released));
    }

    fn on_discard(&mut self, id: LinkId, at: Timestamp) {
        self.0.iter_mut().for_each(|each| each.on_discard(id, at));
    }

    fn on_close(&mut self, id: LinkId) {
        self.0.iter_mut().for_each(|each| each.on_close(id));
    }

    fn on_end(&mut self, at: Timestamp) {
        self.0.iter_mut().for_each(|each| each.on_end(at));
    }
}

/// What it takes to make the same link again.
#[derive(Clone, Debug)]
pub struct LinkOpened<'a> {
    pub id: LinkId,
    pub direction: Direction,
    /// `flow/3/up`, `shared/down`.
    pub name: &'a str,
    /// As given to [`Link::new`](crate::link::Link::new).
    pub seed: Seed,
    pub profile: &'a LinkProfile,
    /// As given to [`Link::with_origin`](crate::link::Link::with_origin).
    pub origin: Timestamp,
}

/// Who talks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowOpened {
    /// Counted from 0 in the order of their coming.
    pub number: u64,
    pub carrier: Carrier,
    pub client: SocketAddr,
    pub upstream: SocketAddr,
}

/// What the packets of a flow are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// Payloads of UDP datagrams.
    Datagrams,
    /// Frames of a TCP connection, with their length in front.
    Frames,
}
