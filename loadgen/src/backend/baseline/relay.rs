//! The server of the baselines: hands each message to whom chat would hand it, and does nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use super::record::Record;
use crate::backend::Cast;
use crate::workload;

/// A connection at the relay, numbered by whoever owns the connections.
pub(in crate::backend) type PeerId = u64;

/// Feed it with [`Relay::handle_record`], then poll [`Relay::poll_output`] until `None`.
#[derive(Debug)]
pub(in crate::backend) struct Relay {
    cast: Arc<Cast>,
    clients: BTreeMap<PeerId, u32>,
    peers: BTreeMap<u32, PeerId>,
    outputs: VecDeque<Output>,
}

/// What the relay wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Output {
    /// Bytes for a peer, which share their memory with those for others.
    Transmit { peer: PeerId, bytes: Bytes },
    /// A message of the schedule has come this far. Costs nothing on the wire: only the harness hears it.
    Received { message: u32 },
}

impl Relay {
    pub(in crate::backend) fn new(cast: Arc<Cast>) -> Self {
        Self { cast, clients: BTreeMap::new(), peers: BTreeMap::new(), outputs: VecDeque::new() }
    }

    pub(in crate::backend) fn handle_record(&mut self, peer: PeerId, record: Record) {
        match record {
            Record::Join { client } if client < self.cast.clients() => {
                self.clients.insert(peer, client);
                self.peers.insert(client, peer);
                self.outputs.push_back(Output::Transmit { peer, bytes: Record::Welcome.encode() });
            }
            Record::Say { target, text } => {
                let Some(&sender) = self.clients.get(&peer) else { return };
                let message = std::str::from_utf8(&text).ok().and_then(workload::parse_text);
                self.outputs.extend(message.map(|message| Output::Received { message }));
                let bytes = Record::Heard { text }.encode();
                for client in self.cast.hearers(sender, target) {
                    if let Some(&peer) = self.peers.get(&client) {
                        self.outputs.push_back(Output::Transmit { peer, bytes: bytes.clone() });
                    }
                }
            }
            // Nobody of ours says anything else to a relay.
            Record::Join { .. } | Record::Welcome | Record::Heard { .. } => {}
        }
    }

    /// A connection has ended.
    pub(in crate::backend) fn disconnect(&mut self, peer: PeerId) {
        if let Some(client) = self.clients.remove(&peer)
            && self.peers.get(&client) == Some(&peer)
        {
            self.peers.remove(&client);
        }
    }

    pub(in crate::backend) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load_str;
    use crate::workload::{Target, text};

    fn relay() -> Relay {
        let scenario = "schema = 1\n[scenario]\nname = \"t\"\n[[clients]]\nname = \"c\"\ncount = 5\n\
            rooms = { size = 3 }\n[[phase]]\nname = \"p\"\nduration = \"1s\"\n";
        let scenario = load_str("t", scenario, &[]).unwrap().scenario;
        let mut relay = Relay::new(Arc::new(Cast::new(&scenario, String::new())));
        for client in 0..5 {
            relay.handle_record(PeerId::from(client) + 100, Record::Join { client });
        }
        while relay.poll_output().is_some() {}
        relay
    }

    fn heard_by(relay: &mut Relay, target: Target) -> Vec<PeerId> {
        relay.handle_record(100, Record::Say { target, text: text(7, 20).into() });
        assert_eq!(relay.poll_output(), Some(Output::Received { message: 7 }));
        let mut heard = Vec::new();
        while let Some(Output::Transmit { peer, bytes }) = relay.poll_output() {
            assert_eq!(bytes, Record::Heard { text: text(7, 20).into() }.encode());
            heard.push(peer);
        }
        heard
    }

    #[test]
    fn a_message_goes_to_those_chat_would_hand_it_to() {
        let mut relay = relay();
        assert_eq!(heard_by(&mut relay, Target::Room(0)), [101, 102]);
        assert_eq!(heard_by(&mut relay, Target::Client(4)), [104]);
        assert_eq!(heard_by(&mut relay, Target::All), [101, 102, 103, 104]);
    }

    #[test]
    fn who_has_left_hears_nothing_and_a_stranger_cannot_speak() {
        let mut relay = relay();
        relay.disconnect(101);
        assert_eq!(heard_by(&mut relay, Target::Room(0)), [102]);
        relay.handle_record(999, Record::Say { target: Target::All, text: text(1, 20).into() });
        assert_eq!(relay.poll_output(), None);
    }
}
