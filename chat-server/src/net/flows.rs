//! UDP peers: who they are, who may become one, and how much may be sent to one that has not proved its address.
//!
//! A peer is an address *and* a connection id, so neither a reused port nor a guessed id mixes two of them up. The source
//! address of a datagram can be forged, so a stranger first gets a token, which costs no state, and becomes a peer by
//! giving it back (RFC 9000 section 8.1.2). Where tokens are not asked for, a peer is sent at most three times what came
//! from it until it has shown that it gets what is sent (section 8.1).
//!
//! A datagram of a known connection id from another address is handed on as its peer's: the engine finds out whether the
//! peer has moved, and says so ([`Flows::migrate`]).

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;

use bytes::Bytes;
use chat_core::path::{Issuer, ReplyLimit, forms};
use chat_core::secure;
use chat_core::wire::{Packet, datagram};
use rustc_hash::FxHashMap;
use serde::Deserialize;
use units::{Seed, Timestamp};

use crate::engine::PeerId;

/// The known UDP peers. Bounded by the engine, which refuses peers beyond its limit.
#[derive(Debug)]
pub struct Flows {
    by_address: HashMap<(SocketAddr, u64), PeerId>,
    by_id: BTreeSet<(u64, PeerId)>,
    flows: FxHashMap<PeerId, Flow>,
    policy: AddressValidation,
    issuer: Issuer,
    limit: ReplyLimit,
    /// Peers that have not proved their address.
    unproven: usize,
    counters: FlowCounters,
}

/// When a stranger has to prove its address before it becomes a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AddressValidation {
    /// Always. A chat connects once, so the round trip that it costs is paid once.
    #[default]
    Always,
    /// While many peers ([`LOADED`]) have not proved theirs.
    Loaded,
    /// Never; an unproven peer is sent at most three times what came from it.
    Never,
}

/// What happened to strangers; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowCounters {
    /// Tokens given to strangers.
    pub retries_sent: u64,
    /// Strangers left without an answer: too many at once, or an answer would be longer than what they sent.
    pub retries_withheld: u64,
    /// Strangers who gave their token back.
    pub tokens_accepted: u64,
    /// Tokens that were forged, for another address or connection, or too old.
    pub tokens_refused: u64,
}

#[derive(Debug)]
struct Flow {
    address: SocketAddr,
    connection_id: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// It has given a token back, or has shown that it got what was sent to it ([`Flows::prove`]).
    proven: bool,
}

/// What a datagram means to the flow table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// Of a peer, from its own address or from another; `inner` is the datagram without its token.
    Known { peer: PeerId, inner: &'a [u8] },
    /// Well-formed, from nobody known: [`Flows::insert`] it.
    Stranger { newcomer: Newcomer, inner: &'a [u8] },
    /// To be sent back, and forgotten.
    Reply(Bytes),
    /// Of this protocol, without an answer.
    Ignored,
    /// Not of this protocol; no reply.
    Foreign,
}

/// Somebody who may become a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newcomer {
    pub address: SocketAddr,
    pub connection_id: u64,
    /// Bytes that came so far.
    pub bytes: usize,
    /// It has given a token back.
    pub proven: bool,
}

/// Whether a datagram may go out, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    Send(SocketAddr),
    /// It would be more than three times what came from an unproven address.
    Withhold,
    Unknown,
}

impl Flows {
    /// Keys for tokens are drawn from a substream of `seed`.
    #[must_use]
    pub fn new(seed: Seed, policy: AddressValidation) -> Self {
        Self {
            by_address: HashMap::new(),
            by_id: BTreeSet::new(),
            flows: FxHashMap::default(),
            policy,
            issuer: Issuer::new(Timestamp::ZERO, seed.fork("server/addresses").rng()),
            limit: ReplyLimit::new(),
            unproven: 0,
            counters: FlowCounters::default(),
        }
    }

    /// Whose datagram this is; counts it for a known peer.
    pub fn handle_datagram<'a>(&mut self, now: Timestamp, from: SocketAddr, bytes: &'a [u8]) -> Lookup<'a> {
        let Some(connection_id) = forms::connection_id(bytes) else {
            return Lookup::Foreign;
        };
        let (token, inner) = match forms::read_with_token(bytes) {
            Some((_, token, inner)) => (Some(token), inner),
            None => (None, bytes),
        };
        if let Some(&peer) = self.by_address.get(&(from, connection_id)) {
            self.note_received(peer, bytes.len());
            return Lookup::Known { peer, inner };
        }
        if !is_whole(inner) {
            return Lookup::Foreign;
        }
        let is_sealed = secure::is_sealed(inner);
        // What is sealed proves itself, behind a token or not.
        if (token.is_none() || is_sealed)
            && let Some(peer) = self.only_with(connection_id)
        {
            return Lookup::Known { peer, inner };
        }
        let proven = token.is_some_and(|token| self.is_good(now, from, connection_id, token));
        if !proven && self.asks_for_tokens() {
            return self.retry(now, from, connection_id, bytes.len());
        }
        if is_sealed {
            // With keys that are gone, if they ever were here.
            return Lookup::Ignored;
        }
        let newcomer = Newcomer { address: from, connection_id, bytes: bytes.len(), proven };
        Lookup::Stranger { newcomer, inner }
    }

    pub fn insert(&mut self, peer: PeerId, newcomer: Newcomer) {
        let Newcomer { address, connection_id, bytes, proven } = newcomer;
        self.by_address.insert((address, connection_id), peer);
        self.by_id.insert((connection_id, peer));
        self.unproven += usize::from(!proven);
        let received_bytes = bytes as u64;
        self.flows.insert(peer, Flow { address, connection_id, received_bytes, sent_bytes: 0, proven });
    }

    pub fn remove(&mut self, peer: PeerId) {
        if let Some(flow) = self.flows.remove(&peer) {
            self.by_address.remove(&(flow.address, flow.connection_id));
            self.by_id.remove(&(flow.connection_id, peer));
            self.unproven -= usize::from(!flow.proven);
        }
    }

    /// The peer is at `to` from now on, and has proved it. Where a peer is, the engine decides, and this table follows.
    ///
    /// Returns the peer that stood there with the same connection id, if one did, and forgets it: no datagram could be told
    /// to be its any more, and who has answered a challenge there and was not contradicted has shown more than a token. By
    /// chance it does not happen; it takes a client that draws one id twice, while its older carrier is about to move.
    #[must_use = "the peer that is returned is to be closed"]
    pub fn migrate(&mut self, peer: PeerId, to: SocketAddr) -> Option<PeerId> {
        let flow = self.flows.get(&peer)?;
        let place = (to, flow.connection_id);
        let displaced = self.by_address.get(&place).copied().filter(|&other| other != peer);
        if let Some(other) = displaced {
            self.remove(other);
        }
        let flow = self.flows.get_mut(&peer)?;
        self.by_address.remove(&(flow.address, flow.connection_id));
        self.by_address.insert(place, peer);
        flow.address = to;
        self.unproven -= usize::from(!flow.proven);
        flow.proven = true;
        displaced
    }

    /// The peer has shown from `from` that it got what was sent to it: it acknowledged a packet, or has keys that it could
    /// not have otherwise (RFC 9000 section 8.1). That more comes from there shows nothing: who forges one source address
    /// forges it twice. Nothing happens if that is not the peer's address.
    pub fn prove(&mut self, peer: PeerId, from: SocketAddr) {
        if let Some(flow) = self.flows.get_mut(&peer).filter(|flow| !flow.proven && flow.address == from) {
            flow.proven = true;
            self.unproven -= 1;
        }
    }

    /// Whether `bytes` more may go to `peer`; counts them if so.
    pub fn permit(&mut self, peer: PeerId, bytes: usize) -> Permission {
        let Some(flow) = self.flows.get_mut(&peer) else {
            return Permission::Unknown;
        };
        let sent_bytes = flow.sent_bytes + bytes as u64;
        if !flow.proven && sent_bytes > AMPLIFICATION * flow.received_bytes {
            return Permission::Withhold;
        }
        flow.sent_bytes = sent_bytes;
        Permission::Send(flow.address)
    }

    /// What happened to strangers.
    #[must_use]
    pub fn counters(&self) -> FlowCounters {
        self.counters
    }

    fn note_received(&mut self, peer: PeerId, bytes: usize) {
        if let Some(flow) = self.flows.get_mut(&peer) {
            flow.received_bytes += bytes as u64;
        }
    }

    fn is_good(&mut self, now: Timestamp, from: SocketAddr, connection_id: u64, token: &[u8]) -> bool {
        let is_good = self.issuer.check(now, from, connection_id, token).is_ok();
        self.counters.tokens_accepted += u64::from(is_good);
        self.counters.tokens_refused += u64::from(!is_good);
        is_good
    }

    /// The peer with this connection id, if there is exactly one: ids are drawn at random, so a second one is a guess.
    fn only_with(&self, connection_id: u64) -> Option<PeerId> {
        let mut peers = self.by_id.range((connection_id, PeerId(0))..=(connection_id, PeerId(u64::MAX)));
        let (_, peer) = peers.next()?;
        peers.next().is_none().then_some(*peer)
    }

    fn asks_for_tokens(&self) -> bool {
        match self.policy {
            AddressValidation::Always => true,
            AddressValidation::Loaded => self.unproven >= LOADED,
            AddressValidation::Never => false,
        }
    }

    /// A token for a stranger, unless the answer would be longer than what it answers, or one too many.
    fn retry(&mut self, now: Timestamp, to: SocketAddr, connection_id: u64, bytes: usize) -> Lookup<'static> {
        let reply = forms::retry(connection_id, &self.issuer.issue(now, to, connection_id));
        if reply.len() > bytes || !self.limit.take(now) {
            self.counters.retries_withheld += 1;
            return Lookup::Ignored;
        }
        self.counters.retries_sent += 1;
        Lookup::Reply(reply)
    }
}

/// A stranger has to bring a whole packet, sealed or not, or the beginning of a cipher, so that noise behind a right
/// header costs nothing.
fn is_whole(inner: &[u8]) -> bool {
    match inner.first() {
        Some(&(forms::PLAIN | forms::CRYPTO)) => inner.len() > SHORT_HEADER,
        Some(&forms::SEALED) => secure::is_sealed(inner),
        _ => datagram::split(inner).is_ok_and(|(_, packet)| Packet::is_whole(packet)),
    }
}

impl std::str::FromStr for AddressValidation {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "always" => Ok(Self::Always),
            "loaded" => Ok(Self::Loaded),
            "never" => Ok(Self::Never),
            _ => Err(format!("\"{text}\" is not a policy; write always, loaded or never")),
        }
    }
}

/// RFC 9000 section 8.1.
const AMPLIFICATION: u64 = 3;
/// Peers without a proved address that make a server loaded. As each has the time of a `hello` to prove it, more are
/// there only after a restart or in a flood.
pub const LOADED: usize = 64;
/// Form and connection id.
const SHORT_HEADER: usize = 9;

#[cfg(test)]
mod tests;
