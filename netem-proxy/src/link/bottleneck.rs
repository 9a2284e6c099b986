//! The slowest hop: a queue, and a server that takes packets out of it.
//!
//! A packet that is taken is decided: its last bit is sent at a time that later changes do not move. So the only events
//! in here are the moments at which the next packet is taken, and they follow from the arrivals and the rate alone.

use units::{Seed, Timestamp};

use super::parcel::Parcel;
use super::queue::{Queue, Verdicts, Waiting};
use super::rate::Server;
use crate::profile::LinkProfile;

#[derive(Debug)]
pub(super) struct Bottleneck<P> {
    queue: Queue<P>,
    server: Server,
    /// Bytes of the packet taken last, and when it is sent.
    in_service: (Timestamp, u64),
    /// When the next packet is taken; `None` while nothing waits.
    next_take: Option<Timestamp>,
    /// The most that was there at once: packets and bytes.
    most: (u64, u64),
}

impl<P> Bottleneck<P> {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        Self {
            queue: Queue::new(profile, seed),
            server: Server::new(profile.rate.as_ref()),
            in_service: (Timestamp::ZERO, 0),
            next_take: None,
            most: (0, 0),
        }
    }

    pub(super) fn set_origin(&mut self, origin: Timestamp) {
        self.server.set_origin(origin);
    }

    pub(super) fn configure(&mut self, now: Timestamp, profile: &LinkProfile) {
        self.server.configure(now, profile.rate.as_ref());
        self.queue.configure(profile);
        if self.next_take.is_some() {
            self.next_take = Some(self.server.ready(now));
        }
    }

    /// Gives the packet back if it has nothing to wait for; it is sent at once.
    pub(super) fn offer(&mut self, now: Timestamp, parcel: Parcel<P>) -> Option<Parcel<P>> {
        if self.next_take.is_none() && self.server.is_free(now) {
            return Some(parcel);
        }
        let in_service = self.in_service(now);
        self.queue.enqueue(now, parcel, in_service);
        self.next_take = match self.next_take {
            _ if self.queue.len() == 0 => None,
            None => Some(self.server.ready(now)),
            take => take,
        };
        self.most.0 = self.most.0.max(self.queue.len() as u64 + in_service.0);
        self.most.1 = self.most.1.max(self.queue.bytes() + in_service.1);
        None
    }

    pub(super) fn next_take(&self) -> Option<Timestamp> {
        self.next_take
    }

    /// Takes the next packet, at [`next_take`](Self::next_take): when it is sent to its last bit, and the packet.
    pub(super) fn take(&mut self, at: Timestamp) -> Option<(Timestamp, Waiting<P>)> {
        let Some(waiting) = self.queue.dequeue(at) else {
            self.next_take = None;
            return None;
        };
        let size = waiting.parcel.size();
        let sent = self.server.serve(at, size);
        self.in_service = (sent, size.as_u64());
        self.next_take = (self.queue.len() > 0).then(|| self.server.ready_again());
        Some((sent, waiting))
    }

    pub(super) fn verdicts(&mut self) -> &mut Verdicts<P> {
        &mut self.queue.verdicts
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.next_take = None;
    }

    /// Packets and bytes that wait.
    pub(super) fn waiting(&self) -> (u64, u64) {
        (self.queue.len() as u64, self.queue.bytes())
    }

    pub(super) fn most(&self) -> (u64, u64) {
        self.most
    }

    fn in_service(&self, now: Timestamp) -> (u64, u64) {
        let (sent, bytes) = self.in_service;
        if sent > now { (1, bytes) } else { (0, 0) }
    }
}
