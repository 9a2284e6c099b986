//! QUIC by `quinn-proto`, in the verbs of our own machines.
//!
//! Feed a [`QuicEnd`] with [`connect`](QuicEnd::connect), [`send`](QuicEnd::send),
//! [`handle_datagram`](QuicEnd::handle_datagram) and [`handle_timeout`](QuicEnd::handle_timeout); after each, poll
//! [`poll_transmit`](QuicEnd::poll_transmit) and [`poll_event`](QuicEnd::poll_event) until `None`, then wait for
//! [`poll_timeout`](QuicEnd::poll_timeout). Both drivers use it, so a virtual and a real run differ by their network only.
//!
//! Everything is quinn's default but what would make a comparison unfair or a run unrepeatable: datagrams stay at 1,200
//! bytes, as ours do; no session tickets and no address tokens, whose bytes would differ; random numbers come from the
//! run's seed, and certificates are Ed25519, whose signatures have one length. What TLS draws by itself changes no
//! length and no decision.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn_proto::{
    ClientConfig, Connection, ConnectionHandle, ConnectionId, ConnectionIdGenerator, DatagramEvent, Dir,
    Endpoint, EndpointConfig, Event as QuinnEvent, ServerConfig, StreamEvent, StreamId, TransportConfig,
    VarInt, congestion,
};
use rand::RngExt;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use units::{Clock, Seed, Timestamp};

use super::record::{Inbox, Record};
use super::relay::PeerId;
use crate::backend::EndRecord;
use crate::scenario::{Baseline, QuicCongestion, QuicStreams};

/// One end of QUIC: a client with one connection, or a server with many.
pub(in crate::backend) struct QuicEnd {
    /// Turns our time into the instants that quinn counts in.
    clock: Clock,
    endpoint: Endpoint,
    client: ClientConfig,
    streams: QuicStreams,
    peers: BTreeMap<PeerId, Peer>,
    transmits: VecDeque<(SocketAddr, Bytes)>,
    events: VecDeque<Event>,
    buffer: Vec<u8>,
    /// Of connections that have ended.
    ended: Totals,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Event {
    Connected(PeerId),
    Record {
        peer: PeerId,
        record: Record,
    },
    /// The connection is gone; the reason is quinn's.
    Lost {
        peer: PeerId,
        reason: String,
    },
}

/// Too much waits for this peer already; the message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much waits for this peer")]
pub(in crate::backend) struct Full;

struct Peer {
    connection: Connection,
    /// When quinn wants to be called.
    deadline: Option<Timestamp>,
    /// The stream that is being written; with a stream for each message, that of the first waiting one.
    out: Option<StreamId>,
    waiting: VecDeque<Bytes>,
    waiting_bytes: usize,
    inboxes: BTreeMap<StreamId, Inbox>,
    cwnd_max: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Totals {
    packets: u64,
    lost: u64,
    cwnd_max: u64,
}

impl QuicEnd {
    /// `accepts`: whether it takes connections.
    pub(in crate::backend) fn new(baseline: &Baseline, seed: &Seed, clock: Clock, accepts: bool) -> Self {
        let transport = Arc::new(transport(baseline));
        let server = accepts.then(|| Arc::new(server_config(transport.clone())));
        let mut config = EndpointConfig::default();
        let mut rng = seed.rng();
        config.rng_seed(Some(rng.random()));
        let first = rng.random();
        config.cid_generator(move || Box::new(Counting { next: first }));
        Self {
            clock,
            endpoint: Endpoint::new(Arc::new(config), server, false, None),
            client: client_config(transport, seed),
            streams: baseline.quic_streams,
            peers: BTreeMap::new(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            buffer: Vec::new(),
            ended: Totals::default(),
        }
    }

    /// Begins a connection to `server`.
    pub(in crate::backend) fn connect(&mut self, now: Timestamp, server: SocketAddr) -> PeerId {
        let connecting =
            self.endpoint.connect(self.clock.instant(now), self.client.clone(), server, SERVER_NAME);
        let (handle, connection) = connecting.expect("address, name and versions are sound");
        self.adopt(now, handle, connection)
    }

    /// Hands a record to `peer`; an unknown peer is one that has just gone, and what is for it is dropped.
    pub(in crate::backend) fn send(
        &mut self,
        now: Timestamp,
        peer: PeerId,
        bytes: Bytes,
    ) -> Result<(), Full> {
        let Some(entry) = self.peers.get_mut(&peer) else { return Ok(()) };
        if entry.waiting_bytes + bytes.len() > MAX_WAITING {
            return Err(Full);
        }
        entry.waiting_bytes += bytes.len();
        entry.waiting.push_back(bytes);
        self.drive(now, peer);
        Ok(())
    }

    pub(in crate::backend) fn handle_datagram(&mut self, now: Timestamp, from: SocketAddr, bytes: &[u8]) {
        let at = self.clock.instant(now);
        let mut reply = Vec::new();
        match self.endpoint.handle(at, from, None, None, BytesMut::from(bytes), &mut reply) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                let peer = handle.0 as PeerId;
                if let Some(entry) = self.peers.get_mut(&peer) {
                    entry.connection.handle_event(event);
                    self.drive(now, peer);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => {
                match self.endpoint.accept(incoming, at, &mut reply, None) {
                    Ok((handle, connection)) => {
                        self.adopt(now, handle, connection);
                    }
                    // A first packet that was damaged on the way; the client sends another.
                    Err(error) => {
                        if let Some(transmit) = error.response {
                            let bytes = Bytes::copy_from_slice(&reply[..transmit.size]);
                            self.transmits.push_back((transmit.destination, bytes));
                        }
                    }
                }
            }
            Some(DatagramEvent::Response(transmit)) => {
                let bytes = Bytes::copy_from_slice(&reply[..transmit.size]);
                self.transmits.push_back((transmit.destination, bytes));
            }
            None => {}
        }
    }

    pub(in crate::backend) fn handle_timeout(&mut self, now: Timestamp) {
        let due = |peer: &Peer| peer.deadline.is_some_and(|at| at <= now);
        let due: Vec<PeerId> =
            self.peers.iter().filter(|(_, peer)| due(peer)).map(|(&peer, _)| peer).collect();
        for peer in due {
            let at = self.clock.instant(now);
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.connection.handle_timeout(at);
            }
            self.drive(now, peer);
        }
    }

    pub(in crate::backend) fn poll_transmit(&mut self) -> Option<(SocketAddr, Bytes)> {
        self.transmits.pop_front()
    }

    pub(in crate::backend) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(in crate::backend) fn poll_timeout(&self) -> Option<Timestamp> {
        self.peers.values().filter_map(|peer| peer.deadline).min()
    }

    /// Counters of all connections there were; round-trip time of the one a client has.
    pub(in crate::backend) fn end_record(&self) -> EndRecord {
        let mut totals = self.ended;
        self.peers.values().for_each(|peer| totals.add(peer));
        let rtt = self.peers.values().next().map(|peer| peer.connection.rtt());
        let stats = chat_core::connection::Stats {
            segments_sent: totals.packets,
            retransmits: totals.lost,
            packets_lost: totals.lost,
            ..Default::default()
        };
        EndRecord { stats, srtt: rtt, rto: None, cwnd_max: totals.cwnd_max }
    }

    fn adopt(&mut self, now: Timestamp, handle: ConnectionHandle, connection: Connection) -> PeerId {
        let peer = handle.0 as PeerId;
        let entry = Peer {
            connection,
            deadline: None,
            out: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            inboxes: BTreeMap::new(),
            cwnd_max: 0,
        };
        self.peers.insert(peer, entry);
        self.drive(now, peer);
        peer
    }

    /// Lets a connection say all it has to say, then notes its deadline.
    fn drive(&mut self, now: Timestamp, peer: PeerId) {
        let at = self.clock.instant(now);
        let Some(entry) = self.peers.get_mut(&peer) else { return };
        loop {
            let mut is_quiet = true;
            while let Some(event) = entry.connection.poll() {
                is_quiet = false;
                entry.on_event(peer, event, &mut self.events);
            }
            entry.flush(self.streams);
            while let Some(transmit) = entry.connection.poll_transmit(at, 1, &mut self.buffer) {
                is_quiet = false;
                let bytes = Bytes::copy_from_slice(&self.buffer[..transmit.size]);
                self.buffer.clear();
                self.transmits.push_back((transmit.destination, bytes));
            }
            while let Some(event) = entry.connection.poll_endpoint_events() {
                is_quiet = false;
                if let Some(answer) = self.endpoint.handle_event(ConnectionHandle(peer as usize), event) {
                    entry.connection.handle_event(answer);
                }
            }
            if is_quiet {
                break;
            }
        }
        entry.cwnd_max = entry.cwnd_max.max(entry.connection.congestion_state().window());
        let zero = self.clock.instant(Timestamp::ZERO);
        entry.deadline = entry
            .connection
            .poll_timeout()
            .map(|at| Timestamp::ZERO + at.saturating_duration_since(zero))
            .map(|at| at.max(now));
        if entry.connection.is_drained() {
            self.ended.add(entry);
            self.peers.remove(&peer);
        }
    }
}

impl Peer {
    fn on_event(&mut self, peer: PeerId, event: QuinnEvent, events: &mut VecDeque<Event>) {
        match event {
            QuinnEvent::Connected => events.push_back(Event::Connected(peer)),
            QuinnEvent::ConnectionLost { reason } => {
                events.push_back(Event::Lost { peer, reason: reason.to_string() });
            }
            QuinnEvent::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(stream) = self.connection.streams().accept(Dir::Uni) {
                    self.inboxes.insert(stream, Inbox::default());
                    self.read(peer, stream, events);
                }
            }
            QuinnEvent::Stream(StreamEvent::Readable { id }) => self.read(peer, id, events),
            // What waits is written after every event anyway.
            _ => {}
        }
    }

    fn read(&mut self, peer: PeerId, id: StreamId, events: &mut VecDeque<Event>) {
        let Some(inbox) = self.inboxes.get_mut(&id) else { return };
        let mut stream = self.connection.recv_stream(id);
        let mut has_ended = false;
        let Ok(mut chunks) = stream.read(true) else {
            self.inboxes.remove(&id);
            return;
        };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => inbox.push(&chunk.bytes),
                Err(quinn_proto::ReadError::Blocked) => break,
                Ok(None) | Err(quinn_proto::ReadError::Reset(_)) => {
                    has_ended = true;
                    break;
                }
            }
        }
        // What must be sent for flow control goes with the next poll.
        let _ = chunks.finalize();
        while let Ok(Some(record)) = inbox.poll() {
            events.push_back(Event::Record { peer, record });
        }
        if has_ended {
            self.inboxes.remove(&id);
        }
    }

    /// Writes what waits, as far as the connection takes it.
    fn flush(&mut self, streams: QuicStreams) {
        while let Some(front) = self.waiting.front_mut() {
            let Some(id) = self.out.or_else(|| self.connection.streams().open(Dir::Uni)) else { return };
            self.out = Some(id);
            let Ok(written) = self.connection.send_stream(id).write(front) else { return };
            self.waiting_bytes -= written;
            bytes::Buf::advance(front, written);
            if !front.is_empty() {
                continue;
            }
            self.waiting.pop_front();
            if streams == QuicStreams::Message {
                // Only a stream that was reset by the peer cannot be finished, and ours never are.
                let _ = self.connection.send_stream(id).finish();
                self.out = None;
            }
        }
    }
}

impl Totals {
    fn add(&mut self, peer: &Peer) {
        let stats = peer.connection.stats();
        self.packets += stats.path.sent_packets;
        self.lost += stats.path.lost_packets;
        self.cwnd_max = self.cwnd_max.max(peer.cwnd_max);
    }
}

impl fmt::Debug for QuicEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicEnd").field("peers", &self.peers.len()).finish_non_exhaustive()
    }
}

/// Connection ids that count: eight bytes, as quinn's, and the same in every run of a seed.
#[derive(Clone, Copy, Debug)]
struct Counting {
    next: u64,
}

impl ConnectionIdGenerator for Counting {
    fn generate_cid(&mut self) -> ConnectionId {
        self.next = self.next.wrapping_add(1);
        ConnectionId::new(&self.next.to_be_bytes())
    }

    fn cid_len(&self) -> usize {
        8
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn transport(baseline: &Baseline) -> TransportConfig {
    let mut config = TransportConfig::default();
    config.mtu_discovery_config(None);
    config.max_concurrent_uni_streams(VarInt::from_u32(STREAMS));
    config.keep_alive_interval(Some(KEEP_ALIVE));
    match baseline.quic_congestion {
        QuicCongestion::Reno => {
            config.congestion_controller_factory(Arc::new(congestion::NewRenoConfig::default()))
        }
        QuicCongestion::Cubic => {
            config.congestion_controller_factory(Arc::new(congestion::CubicConfig::default()))
        }
        QuicCongestion::Bbr => {
            config.congestion_controller_factory(Arc::new(congestion::BbrConfig::default()))
        }
    };
    config
}

fn server_config(transport: Arc<TransportConfig>) -> ServerConfig {
    let (certificate, key) = identity();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key.clone_key().into())
        .expect("key and certificate belong together");
    tls.send_tls13_tickets = 0;
    let crypto = QuicServerConfig::try_from(tls).expect("the provider has the initial cipher suite");
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport);
    config.validation_token.sent(0);
    config
}

fn client_config(transport: Arc<TransportConfig>, seed: &Seed) -> ClientConfig {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity().0.clone()).expect("a certificate of our own making");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("the provider has TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let crypto = QuicClientConfig::try_from(tls).expect("the provider has the initial cipher suite");
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    let id: [u8; 20] = seed.fork("initial").rng().random();
    config.initial_dst_cid_provider(Arc::new(move || ConnectionId::new(&id)));
    config
}

/// One certificate for all runs of this process; what it says is the same every time but for the key.
fn identity() -> &'static (CertificateDer<'static>, PrivatePkcs8KeyDer<'static>) {
    static IDENTITY: OnceLock<(CertificateDer<'static>, PrivatePkcs8KeyDer<'static>)> = OnceLock::new();
    IDENTITY.get_or_init(|| {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).expect("the system has random numbers");
        let mut params =
            rcgen::CertificateParams::new(vec![SERVER_NAME.to_owned()]).expect("the name is ASCII");
        params.serial_number = Some(rcgen::SerialNumber::from(1));
        let certificate = params.self_signed(&key).expect("the key signs");
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()))
    })
}

const SERVER_NAME: &str = "localhost";

/// Bytes of records that may wait for one peer beside what quinn itself buffers: as much as a session of ours takes.
/// A message beyond it is refused, which the ledger counts.
const MAX_WAITING: usize = 4 << 20;

/// Streams under way with a stream for each message. Quinn's 100 would hold back 50 messages a second after two seconds
/// of silence, which is no property of QUIC.
const STREAMS: u32 = 10_000;

/// As often as a connection of ours says that it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Target;

    /// Two ends and a wire that loses every `nth` datagram, 10 ms each way, in virtual time.
    fn heard(baseline: &Baseline, nth: u64, messages: u32) -> (Vec<Bytes>, u64) {
        let clock = Clock::start();
        let (here, there): (SocketAddr, SocketAddr) = (([10, 0, 0, 1], 1).into(), ([10, 0, 0, 2], 2).into());
        let mut client = QuicEnd::new(baseline, &Seed::root(1), clock, false);
        let mut server = QuicEnd::new(baseline, &Seed::root(2), clock, true);
        let mut now = Timestamp::ZERO;
        let peer = client.connect(now, there);
        for id in 0..messages {
            let text = Bytes::from(crate::workload::text(id, 200));
            client.send(now, peer, Record::Say { target: Target::Room(0), text }.encode()).unwrap();
        }
        let mut wire: BTreeMap<(Timestamp, u64), (bool, Bytes)> = BTreeMap::new();
        let (mut heard, mut sent, mut bytes_sent) = (Vec::new(), 0_u64, 0);
        while heard.len() < messages as usize && now < Timestamp::from_secs(60) {
            while let Some((_, bytes)) = client.poll_transmit() {
                sent += 1;
                bytes_sent += bytes.len() as u64;
                if sent % nth != 0 {
                    wire.insert((now + Duration::from_millis(10), sent), (true, bytes));
                }
            }
            while let Some((_, bytes)) = server.poll_transmit() {
                sent += 1;
                wire.insert((now + Duration::from_millis(10), sent), (false, bytes));
            }
            while let Some(event) = server.poll_event() {
                if let Event::Record { record: Record::Say { text, .. }, .. } = event {
                    heard.push(text);
                }
            }
            while client.poll_event().is_some() {}
            let next = wire.keys().next().map(|key| key.0);
            let wakes = [next, client.poll_timeout(), server.poll_timeout()];
            now = wakes.into_iter().flatten().min().expect("a connection has a timer").max(now);
            client.handle_timeout(now);
            server.handle_timeout(now);
            while let Some(entry) = wire.first_entry().filter(|entry| entry.key().0 <= now) {
                match entry.remove() {
                    (true, bytes) => server.handle_datagram(now, here, &bytes),
                    (false, bytes) => client.handle_datagram(now, there, &bytes),
                }
            }
        }
        (heard, bytes_sent)
    }

    #[test]
    fn one_stream_keeps_the_order_under_loss() {
        for quic_congestion in [QuicCongestion::Reno, QuicCongestion::Cubic, QuicCongestion::Bbr] {
            let (heard, _) = heard(&Baseline { quic_congestion, ..Baseline::default() }, 7, 300);
            let expected: Vec<Bytes> =
                (0..300).map(|id| Bytes::from(crate::workload::text(id, 200))).collect();
            assert_eq!(heard, expected, "{quic_congestion:?}");
        }
    }

    #[test]
    fn a_stream_for_each_message_lets_later_ones_overtake() {
        let baseline = Baseline { quic_streams: QuicStreams::Message, ..Baseline::default() };
        let (heard, _) = heard(&baseline, 7, 300);
        let sorted = heard.is_sorted();
        assert!(heard.len() == 300 && !sorted, "{} heard, in order: {sorted}", heard.len());
    }

    #[test]
    fn two_runs_of_one_seed_send_as_many_bytes() {
        let once = heard(&Baseline::default(), 5, 200);
        assert_eq!(heard(&Baseline::default(), 5, 200), once);
    }
}
