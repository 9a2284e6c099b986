//! UDP peers: who they are, and how much may be sent to one that has not proved its address.
//!
//! A peer is an address *and* a connection id, so neither a reused port nor a guessed id mixes two of them up. The source
//! address of a datagram can be forged; until a peer has answered something that was sent to it, it is sent at most three
//! times what came from it (RFC 9000 section 8.1), so a forged `hello` makes no useful amplifier. A forger who answers
//! blindly gets past this; only a token in a reply would stop that, which the handshake does not have.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use chat_core::secure;
use chat_core::wire::{Packet, datagram};

use crate::engine::PeerId;

/// The known UDP peers. Bounded by the engine, which refuses peers beyond its limit.
#[derive(Debug, Default)]
pub(crate) struct Flows {
    by_address: HashMap<(SocketAddr, u64), PeerId>,
    flows: BTreeMap<PeerId, Flow>,
}

#[derive(Debug)]
struct Flow {
    address: SocketAddr,
    connection_id: u64,
    received_bytes: u64,
    sent_bytes: u64,
    /// It has sent something after something was sent to it.
    proven: bool,
}

/// What a datagram means to the flow table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    Known(PeerId),
    /// Well-formed, from nobody known.
    Stranger {
        connection_id: u64,
    },
    /// Not of this protocol; no reply.
    Foreign,
}

/// Whether a datagram may go out, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Permission {
    Send(SocketAddr),
    /// It would be more than three times what came from an unproven address.
    Withhold,
    Unknown,
}

impl Flows {
    /// Whose datagram this is; counts it for a known peer.
    pub(crate) fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8]) -> Lookup {
        let (connection_id, is_beginning) = match (secure::connection_id(bytes), datagram::split(bytes)) {
            (Some(id), _) => (id, secure::is_crypto(bytes)),
            // A stranger has to bring at least one whole frame, so that noise behind a right header costs no state.
            (None, Ok((id, packet))) => (id, Packet::is_whole(packet)),
            (None, Err(_)) => return Lookup::Foreign,
        };
        if let Some(&peer) = self.by_address.get(&(from, connection_id)) {
            if let Some(flow) = self.flows.get_mut(&peer) {
                flow.received_bytes += bytes.len() as u64;
                flow.proven |= flow.sent_bytes > 0;
            }
            return Lookup::Known(peer);
        }
        if is_beginning { Lookup::Stranger { connection_id } } else { Lookup::Foreign }
    }

    pub(crate) fn insert(&mut self, peer: PeerId, address: SocketAddr, connection_id: u64, bytes: usize) {
        self.by_address.insert((address, connection_id), peer);
        let received_bytes = bytes as u64;
        self.flows
            .insert(peer, Flow { address, connection_id, received_bytes, sent_bytes: 0, proven: false });
    }

    pub(crate) fn remove(&mut self, peer: PeerId) {
        if let Some(flow) = self.flows.remove(&peer) {
            self.by_address.remove(&(flow.address, flow.connection_id));
        }
    }

    /// Whether `bytes` more may go to `peer`; counts them if so.
    pub(crate) fn permit(&mut self, peer: PeerId, bytes: usize) -> Permission {
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
}

/// RFC 9000 section 8.1.
const AMPLIFICATION: u64 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_gets_at_most_three_times_what_it_sent() {
        let mut flows = Flows::default();
        flows.insert(PeerId(1), address(), 7, 100);
        assert_eq!(flows.permit(PeerId(1), 300), Permission::Send(address()));
        assert_eq!(flows.permit(PeerId(1), 1), Permission::Withhold);
    }

    #[test]
    fn an_answer_lifts_the_limit() {
        let mut flows = Flows::default();
        flows.insert(PeerId(1), address(), 7, 100);
        flows.permit(PeerId(1), 10);
        assert_eq!(flows.handle_datagram(address(), &datagram(7, b"x")), Lookup::Known(PeerId(1)));
        assert_eq!(flows.permit(PeerId(1), 100_000), Permission::Send(address()));
    }

    #[test]
    fn one_address_with_two_ids_is_two_peers() {
        let mut flows = Flows::default();
        flows.insert(PeerId(1), address(), 7, 100);
        let lookup = flows.handle_datagram(address(), &datagram(8, b"x"));
        assert_eq!(lookup, Lookup::Stranger { connection_id: 8 });
    }

    #[test]
    fn noise_makes_no_peer() {
        let mut flows = Flows::default();
        let mut cut = datagram(7, b"hello");
        cut.pop();
        for noise in [&b"GET / HTTP/1.1\r\n"[..], &datagram(7, b"")[..11], &cut] {
            assert_eq!(flows.handle_datagram(address(), noise), Lookup::Foreign);
        }
    }

    #[test]
    fn a_removed_peer_is_a_stranger_again() {
        let mut flows = Flows::default();
        flows.insert(PeerId(1), address(), 7, 100);
        flows.remove(PeerId(1));
        assert_eq!(
            flows.handle_datagram(address(), &datagram(7, b"x")),
            Lookup::Stranger { connection_id: 7 }
        );
        assert_eq!(flows.permit(PeerId(1), 1), Permission::Unknown);
    }

    fn address() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4000))
    }

    fn datagram(connection_id: u64, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        datagram::put_header(&mut out, connection_id);
        out.extend_from_slice(&u32::try_from(body.len()).unwrap().to_be_bytes());
        out.extend_from_slice(body);
        out
    }
}
