//! Peers that move: what the engine does when a datagram of a peer comes from another address.
//!
//! Only here is it known whether a datagram was genuine and new, which is what makes a change of address worth a
//! question ([`Paths`] has the rules). The questions and answers are unnumbered frames, so they go through the same
//! codec and cipher as everything else of the peer.

use std::net::SocketAddr;

use chat_core::message::PathProof;
use chat_core::path::{Challenge, Ecn, PathEvent, Paths};
use chat_core::wire::Packet;
use chat_core::{Content, MsgType};
use units::Timestamp;

use super::{Due, Engine, Output, PeerId};

/// Where the datagrams of one peer come from.
#[derive(Debug)]
pub(super) struct Via {
    paths: Paths,
    /// Source, length and mark of the newest datagram.
    from: SocketAddr,
    bytes: usize,
    ecn: Ecn,
    /// Where the newest acknowledgement of something new came from.
    acked_from: Option<SocketAddr>,
    /// Its entry in the engine's deadlines.
    deadline: Option<Timestamp>,
}

impl Via {
    fn new(from: SocketAddr) -> Self {
        let paths = Paths::new(from);
        Self { paths, from, bytes: 0, ecn: Ecn::NotEct, acked_from: None, deadline: None }
    }
}

impl Engine {
    /// The datagrams of `peer`, just connected, go to `address` until it has moved. It must have been proved, or be sent
    /// little (the table of flows sees to that). Without this call the source of the first datagram is taken.
    pub fn locate(&mut self, peer: PeerId, address: SocketAddr) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.via = Some(Via::new(address));
        }
    }

    /// One whole datagram of `peer` came from `from`, with the mark `ecn`; `bytes` is what was under the seal.
    pub fn handle_datagram(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        from: SocketAddr,
        ecn: Ecn,
        bytes: &[u8],
    ) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            let length = entry.carrier.length_on_wire(bytes);
            let via = entry.via.get_or_insert_with(|| Via::new(from));
            (via.from, via.bytes, via.ecn) = (from, length, ecn);
            via.paths.on_datagram(from, length);
        }
        self.handle_bytes(now, peer, bytes);
    }

    /// The mark that datagrams to `peer` are to carry.
    #[must_use]
    pub fn codepoint(&self, peer: PeerId) -> Ecn {
        let session = self.peers.get(&peer).and_then(|entry| self.sessions.get(&entry.session?));
        session.map_or(Ecn::NotEct, |session| session.connection.codepoint())
    }

    /// The mark of the datagram that `peer` sent last.
    pub(super) fn mark_of(&self, peer: PeerId) -> Ecn {
        let via = self.peers.get(&peer).and_then(|entry| entry.via.as_ref());
        via.map_or(Ecn::NotEct, |via| via.ecn)
    }

    /// Whether `peer` has acknowledged a packet in a datagram from `from`, and nothing from elsewhere since: it gets what
    /// is sent to it.
    #[must_use]
    pub fn has_acked_from(&self, peer: PeerId, from: SocketAddr) -> bool {
        let via = self.peers.get(&peer).and_then(|entry| entry.via.as_ref());
        via.is_some_and(|via| via.acked_from == Some(from))
    }

    /// A packet of `peer` acknowledged one that no packet had acknowledged before.
    pub(super) fn note_acked(&mut self, peer: PeerId) {
        if let Some(via) = self.peers.get_mut(&peer).and_then(|entry| entry.via.as_mut()) {
            via.acked_from = Some(via.from);
        }
    }

    /// A genuine packet of `peer` said something new.
    pub(super) fn on_news(&mut self, now: Timestamp, peer: PeerId) {
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let session = entry.session.and_then(|id| self.sessions.get(&id));
        let rtt = session.and_then(|session| session.connection.smoothed_rtt());
        if let Some(via) = &mut entry.via {
            via.paths.on_news(now, via.from, via.bytes, rtt, &mut self.challenges);
            self.settle_paths(now, peer);
        }
    }

    /// Answers to challenges in a genuine packet of `peer`.
    pub(super) fn note_responses(&mut self, now: Timestamp, peer: PeerId, packet: &Packet) {
        for frame in packet.frames.iter().filter(|frame| frame.msg_type == MsgType::PathResponse) {
            let Some(via) = self.peers.get_mut(&peer).and_then(|entry| entry.via.as_mut()) else {
                return;
            };
            if let Ok(proof) = frame.content.parse::<PathProof>() {
                via.paths.on_response(now, via.from, proof.data);
                self.settle_paths(now, peer);
            }
        }
    }

    pub(super) fn on_path_timeout(&mut self, now: Timestamp, peer: PeerId) {
        if let Some(via) = self.peers.get_mut(&peer).and_then(|entry| entry.via.as_mut()) {
            via.deadline = None;
            via.paths.handle_timeout(now);
            self.settle_paths(now, peer);
        }
    }

    /// The peer is gone, or going.
    pub(super) fn forget_path(&mut self, peer: PeerId, via: Option<&Via>) {
        if let Some(at) = via.and_then(|via| via.deadline) {
            self.deadlines.remove(&(at, Due::Path(peer)));
        }
    }

    /// Sends challenges, acts on what became of them, and notes the next deadline.
    fn settle_paths(&mut self, now: Timestamp, peer: PeerId) {
        while let Some(challenge) = self.poll_via(peer, Paths::poll_challenge) {
            self.challenge(now, peer, challenge);
        }
        while let Some(event) = self.poll_via(peer, Paths::poll_event) {
            self.on_path_event(now, peer, event);
        }
        let Some(via) = self.peers.get_mut(&peer).and_then(|entry| entry.via.as_mut()) else {
            return;
        };
        let deadline = via.paths.poll_timeout();
        if via.deadline != deadline {
            if let Some(before) = via.deadline {
                self.deadlines.remove(&(before, Due::Path(peer)));
            }
            self.deadlines.extend(deadline.map(|at| (at, Due::Path(peer))));
            via.deadline = deadline;
        }
    }

    fn poll_via<T>(&mut self, peer: PeerId, poll: impl FnOnce(&mut Paths) -> Option<T>) -> Option<T> {
        poll(&mut self.peers.get_mut(&peer)?.via.as_mut()?.paths)
    }

    fn challenge(&mut self, now: Timestamp, peer: PeerId, challenge: Challenge) {
        let proof = PathProof { data: challenge.data };
        let frame = self.own_frame(now, MsgType::PathChallenge, Content::of(&proof));
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        let bytes = entry.carrier.wrap_agreed(&frame);
        let length = entry.carrier.length_on_wire(&bytes);
        let permitted = entry.via.as_mut().is_some_and(|via| via.paths.permit(challenge.to, length));
        if permitted {
            self.counters.path_challenges += 1;
            self.outputs.push_back(Output::TransmitTo { peer, to: challenge.to, bytes });
        }
    }

    fn on_path_event(&mut self, now: Timestamp, peer: PeerId, event: PathEvent) {
        match event {
            PathEvent::Moved { from, to } => {
                self.counters.paths_moved += 1;
                let Some(entry) = self.peers.get_mut(&peer) else {
                    return;
                };
                entry.address = format!("udp {to}");
                self.outputs.push_back(Output::Migrate { peer, to });
                if let Some(id) = entry.session
                    && let Some(session) = self.sessions.get_mut(&id)
                {
                    session.connection.on_migrated(now, event.is_same_host());
                    self.dirty.insert(id);
                    tracing::info!(session = id.0, user = &*session.user, %from, %to, "peer has moved");
                }
            }
            PathEvent::Failed { to } => {
                self.counters.paths_failed += 1;
                tracing::debug!(peer = peer.0, %to, "a new address did not answer");
            }
            PathEvent::Refuted { to } => {
                self.counters.paths_refuted += 1;
                tracing::warn!(peer = peer.0, %to, "somebody copies the datagrams of a peer that has not moved");
            }
        }
    }
}

#[cfg(test)]
mod tests;
