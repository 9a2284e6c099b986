//! The encrypted peers among the datagram peers: their channels, and when these want to be woken.
//!
//! The engine speaks plain datagrams to all of its peers; what is sealed is sealed here, between it and the socket.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use chat_core::secure::{Channel, ChannelStats, SecureError};
use units::Timestamp;

use crate::engine::PeerId;

/// Channels by peer. Bounded by the engine, which refuses peers beyond its limit.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    channels: BTreeMap<PeerId, Entry>,
    deadlines: BTreeSet<(Timestamp, PeerId)>,
    /// What channels that are gone had counted.
    past: ChannelStats,
}

#[derive(Debug)]
struct Entry {
    channel: Channel,
    /// Its entry in `deadlines`.
    deadline: Option<Timestamp>,
}

/// What one input to a channel has made.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// For the socket, in this order.
    pub(crate) outgoing: Vec<Bytes>,
    /// Plain datagrams for the engine.
    pub(crate) opened: Vec<Bytes>,
    /// The peer has keys that it can have only from what was sent to it.
    pub(crate) is_answered: bool,
    /// The channel is of no more use; the peer is to be given up once `outgoing` is sent.
    pub(crate) error: Option<SecureError>,
}

impl Channels {
    pub(crate) fn insert(&mut self, now: Timestamp, peer: PeerId, channel: Channel) -> Outcome {
        self.channels.insert(peer, Entry { channel, deadline: None });
        self.feed(now, peer, |_| {}).unwrap_or_default()
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        if let Some(entry) = self.channels.remove(&peer) {
            self.past = sum(self.past, entry.channel.stats());
            if let Some(at) = entry.deadline {
                self.deadlines.remove(&(at, peer));
            }
        }
    }

    /// A datagram came from this peer. `None` if the peer speaks unencrypted.
    pub(crate) fn handle_datagram(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        datagram: &[u8],
    ) -> Option<Outcome> {
        self.feed(now, peer, |channel| channel.handle_datagram(now, datagram))
    }

    /// A plain datagram is to go to this peer. `None` if the peer speaks unencrypted.
    pub(crate) fn send(&mut self, now: Timestamp, peer: PeerId, plain: &[u8]) -> Option<Outcome> {
        self.feed(now, peer, |channel| channel.send(plain))
    }

    /// The next peer whose channel is due, and what it makes of that.
    pub(crate) fn handle_timeout(&mut self, now: Timestamp) -> Option<(PeerId, Outcome)> {
        let &(at, peer) = self.deadlines.first().filter(|&&(at, _)| at <= now)?;
        self.deadlines.remove(&(at, peer));
        if let Some(entry) = self.channels.get_mut(&peer) {
            entry.deadline = None;
        }
        let outcome = self.feed(now, peer, |channel| channel.handle_timeout(now));
        Some((peer, outcome.unwrap_or_default()))
    }

    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(at, _)| at)
    }

    /// Sums over all channels, those that are gone included.
    pub(crate) fn stats(&self) -> ChannelStats {
        self.channels.values().map(|entry| entry.channel.stats()).fold(self.past, sum)
    }

    /// One input, then the drain, then the next deadline.
    fn feed(&mut self, now: Timestamp, peer: PeerId, input: impl FnOnce(&mut Channel)) -> Option<Outcome> {
        let entry = self.channels.get_mut(&peer)?;
        let channel = &mut entry.channel;
        input(channel);
        let outcome = Outcome {
            outgoing: std::iter::from_fn(|| channel.poll_transmit(now)).collect(),
            opened: std::iter::from_fn(|| channel.poll_datagram()).collect(),
            is_answered: channel.is_answered(),
            error: channel.error().cloned(),
        };
        let deadline = channel.poll_timeout();
        if entry.deadline != deadline {
            self.deadlines.extend(deadline.map(|at| (at, peer)));
            if let Some(before) = std::mem::replace(&mut entry.deadline, deadline) {
                self.deadlines.remove(&(before, peer));
            }
        }
        Some(outcome)
    }
}

fn sum(one: ChannelStats, other: ChannelStats) -> ChannelStats {
    ChannelStats {
        sealed: one.sealed + other.sealed,
        opened: one.opened + other.opened,
        replayed: one.replayed + other.replayed,
        forged: one.forged + other.forged,
        foreign: one.foreign + other.foreign,
        early_dropped: one.early_dropped + other.early_dropped,
        key_updates: one.key_updates + other.key_updates,
    }
}
