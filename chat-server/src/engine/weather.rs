//! Simulated loss and delay on live connections: what `admin simulate` switches.
//!
//! Every peer gets a link of the emulator in each direction; a frame (or a datagram) is one packet. It is the very link of
//! `netem-proxy`, so what an operator sees here is what a scenario would see. Lifting the weather drops nothing: what is
//! under way arrives as it was meant to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use netem_proxy::link::Link;
use netem_proxy::profile::{DelayModel, LinkProfile, LossModel};
use serde::{Deserialize, Serialize};
use units::{ByteCount, Probability, Seed, Timestamp};

use super::PeerId;
use crate::control::SimulationStatus;

/// Weather for every connection, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulation {
    pub loss: Probability,
    pub delay: Duration,
    /// Ends by itself after this.
    pub duration: Option<Duration>,
}

/// What the simulation did since it was first switched on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SimulationCounters {
    /// Client to server.
    pub up_offered: u64,
    pub up_dropped: u64,
    /// Server to client.
    pub down_offered: u64,
    pub down_dropped: u64,
}

/// Something that the weather lets through.
#[derive(Debug)]
pub(super) enum Released {
    Inbound { peer: PeerId, body: Bytes },
    Outbound { peer: PeerId, bytes: Bytes },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Up,
    Down,
}

type Key = (PeerId, Direction);

#[derive(Debug)]
pub(super) struct Weather {
    simulation: Simulation,
    active: bool,
    ends: Option<Timestamp>,
    links: BTreeMap<Key, Link<Bytes>>,
    /// When each link that holds something lets go of it next.
    due: BTreeSet<(Timestamp, Key)>,
    counters: SimulationCounters,
    seed: Seed,
}

impl Weather {
    pub(super) fn new(simulation: Simulation, now: Timestamp, seed: Seed) -> Self {
        Self {
            simulation,
            active: true,
            ends: simulation.duration.map(|span| now + span),
            links: BTreeMap::new(),
            due: BTreeSet::new(),
            counters: SimulationCounters::default(),
            seed,
        }
    }

    pub(super) fn configure(&mut self, now: Timestamp, simulation: Simulation) {
        self.simulation = simulation;
        self.active = true;
        self.ends = simulation.duration.map(|span| now + span);
        self.apply(now);
    }

    pub(super) fn lift(&mut self, now: Timestamp) {
        self.active = false;
        self.ends = None;
        self.apply(now);
    }

    pub(super) fn handle_inbound(&mut self, now: Timestamp, peer: PeerId, body: Bytes) {
        self.counters.up_offered += 1;
        self.counters.up_dropped += self.put(now, (peer, Direction::Up), body);
    }

    pub(super) fn handle_outbound(&mut self, now: Timestamp, peer: PeerId, bytes: Bytes) {
        self.counters.down_offered += 1;
        self.counters.down_dropped += self.put(now, (peer, Direction::Down), bytes);
    }

    pub(super) fn poll_released(&mut self, now: Timestamp) -> Option<Released> {
        if let Some(end) = self.ends.filter(|&end| end <= now) {
            self.lift(end);
        }
        let &(at, key) = self.due.first().filter(|&&(at, _)| at <= now)?;
        self.due.remove(&(at, key));
        let link = self.links.get_mut(&key)?;
        let delivery = link.poll_deliver(now);
        self.due.extend(link.poll_timeout().map(|next| (next, key)));
        let packet = delivery?.packet;
        let (peer, direction) = key;
        Some(match direction {
            Direction::Up => Released::Inbound { peer, body: packet },
            Direction::Down => Released::Outbound { peer, bytes: packet },
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        let release = self.due.first().map(|&(at, _)| at);
        [release, self.ends].into_iter().flatten().min()
    }

    /// A peer is gone, and with it what was under way to and from it.
    pub(super) fn forget(&mut self, peer: PeerId) {
        for direction in [Direction::Up, Direction::Down] {
            let key = (peer, direction);
            if let Some(link) = self.links.remove(&key)
                && let Some(at) = link.poll_timeout()
            {
                self.due.remove(&(at, key));
            }
        }
    }

    pub(super) fn status(&self, now: Timestamp) -> SimulationStatus {
        SimulationStatus {
            active: self.active,
            loss_percent: if self.active { self.simulation.loss.get() * 100.0 } else { 0.0 },
            delay_ms: if self.active { self.simulation.delay.as_secs_f64() * 1e3 } else { 0.0 },
            ends_in_s: self.ends.map(|end| end.since(now).as_secs_f64()),
            counters: self.counters,
        }
    }

    /// Offers a packet; returns how many the link dropped at once (0 or 1).
    fn put(&mut self, now: Timestamp, key: Key, packet: Bytes) -> u64 {
        let profile = self.profile();
        let seed = &self.seed;
        let link = self.links.entry(key).or_insert_with(|| {
            let (PeerId(peer), direction) = key;
            Link::new(profile, seed.fork(&format!("peer/{peer}/{direction:?}"))).without_delays()
        });
        if let Some(before) = link.poll_timeout() {
            self.due.remove(&(before, key));
        }
        let dropped = link.counters().dropped_loss;
        let size = ByteCount(packet.len() as u64);
        link.handle_packet(now, packet, size);
        self.due.extend(link.poll_timeout().map(|at| (at, key)));
        link.counters().dropped_loss - dropped
    }

    fn apply(&mut self, now: Timestamp) {
        let profile = self.profile();
        for link in self.links.values_mut() {
            link.configure(now, profile.clone());
        }
    }

    fn profile(&self) -> LinkProfile {
        if !self.active {
            return LinkProfile::default();
        }
        LinkProfile {
            loss: LossModel::Bernoulli { p: self.simulation.loss },
            delay: DelayModel::Constant(self.simulation.delay),
            ..LinkProfile::default()
        }
    }
}
