//! The task that owns the engine: the five steps, over real sockets and a real clock.
//!
//! Everything that has to be decided is decided in the engine. What is decided here is only what a socket brings with it:
//! a queue that is full, a datagram from nobody, a connection that broke.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chat_core::carrier::Carrier;
use chat_core::message::ErrorCode;
use chat_core::path::Ecn;
use chat_core::secure::{self, Channel};
use chat_core::trace::TraceEvent;
use tokio::sync::mpsc;
use udp::{Message, Outbox, Port};
use units::{Clock, Timestamp};

use super::flows::{Flows, Lookup, Newcomer, Permission};
use super::remote::Command;
use super::sealed::{Channels, Outcome};
use super::stream::{Accepted, PushError, StreamSink};
use crate::control::NetCounters;
use crate::engine::{Engine, Output, PeerId};
use crate::tls::Tls;

/// What sockets bring.
#[derive(Debug)]
pub(crate) enum Input {
    Accepted(Accepted),
    AcceptFailed,
    /// A connection that began to speak TLS and did not come to an end of it.
    HandshakeFailed,
    Bytes {
        peer: PeerId,
        bytes: Bytes,
    },
    Closed {
        peer: PeerId,
    },
    Datagrams(Arrived),
    ReceiveFailed,
}

/// Datagrams of one sender that came together: one, or several of `stride` bytes of which the last may be shorter.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) from: SocketAddr,
    pub(crate) ecn: Ecn,
    pub(crate) bytes: Bytes,
    pub(crate) stride: usize,
}

/// The engine and the sockets it speaks through.
#[derive(Debug)]
pub(crate) struct Driver {
    engine: Engine,
    clock: Clock,
    /// For the readers of new connections.
    sender: mpsc::Sender<Input>,
    streams: BTreeMap<PeerId, StreamSink>,
    port: Option<Arc<Port>>,
    flows: Flows,
    /// Datagrams to send at the end of a drain.
    outbox: Outbox,
    tls: Option<Tls>,
    channels: Channels,
    counters: NetCounters,
    next_peer: u64,
    /// Carriers that failed while they were written to; the engine hears of them after the drain.
    broken: Vec<PeerId>,
    /// When a server that is shutting down stops waiting for acknowledgements.
    stop_at: Option<Timestamp>,
    traces: VecDeque<(Arc<str>, TraceEvent)>,
}

impl Driver {
    pub(crate) fn new(
        engine: Engine,
        clock: Clock,
        sender: mpsc::Sender<Input>,
        port: Option<Arc<Port>>,
        flows: Flows,
        tls: Option<Tls>,
    ) -> Self {
        Self {
            engine,
            clock,
            sender,
            streams: BTreeMap::new(),
            port,
            flows,
            outbox: Outbox::new(),
            tls,
            channels: Channels::default(),
            counters: NetCounters::default(),
            next_peer: 0,
            broken: Vec::new(),
            stop_at: None,
            traces: VecDeque::new(),
        }
    }

    /// Runs until a shutdown is done. `commands` lives as long as the server: its end tells [`super::remote::Remote`]s.
    pub(crate) async fn run(
        mut self,
        inputs: &mut mpsc::Receiver<Input>,
        commands: &mut mpsc::Receiver<Command>,
    ) {
        let mut batch = Vec::with_capacity(INPUTS_A_TURN);
        loop {
            // 1. Wait: for the operator first, then for sockets, then for the next deadline.
            tokio::select! {
                biased;
                command = commands.recv() => match command {
                    Some(command) => {
                        self.handle_command(command);
                        self.drain();
                    }
                    None => return,
                },
                _ = inputs.recv_many(&mut batch, INPUTS_A_TURN) => {}
                () = sleep_until(self.clock, self.next_wake()) => {}
            }
            for input in batch.drain(..) {
                // 2. Feed one input.
                self.handle_input(input);
                // 3. and 4. Drain, and act on the outputs.
                self.drain();
            }
            // 5. Note the next deadline. One that has passed while inputs kept coming is an input, too.
            let now = self.clock.now();
            if self.engine.poll_timeout().is_some_and(|at| at <= now) {
                self.engine.handle_timeout(now);
                self.drain();
            }
            while let Some((peer, outcome)) = self.channels.handle_timeout(now) {
                self.absorb(now, peer, None, outcome);
                self.drain();
            }
            if self.stop_at.is_some_and(|at| at <= now || self.engine.is_drained()) {
                self.engine.close_all(now);
                self.drain();
                return;
            }
        }
    }

    fn next_wake(&self) -> Option<Timestamp> {
        [self.engine.poll_timeout(), self.channels.poll_timeout(), self.stop_at].into_iter().flatten().min()
    }

    fn handle_input(&mut self, input: Input) {
        let now = self.clock.now();
        match input {
            Input::Accepted(accepted) => {
                let peer = self.new_peer();
                let address = accepted.address.clone();
                self.streams.insert(peer, StreamSink::start(accepted, peer, self.sender.clone()));
                self.engine.connect(now, peer, Carrier::stream(), address);
            }
            Input::AcceptFailed => self.counters.accept_errors += 1,
            Input::HandshakeFailed => self.counters.handshakes_failed += 1,
            Input::Bytes { peer, bytes } => {
                self.counters.stream_bytes_in += bytes.len() as u64;
                self.engine.handle_bytes(now, peer, &bytes);
            }
            Input::Closed { peer } => {
                self.streams.remove(&peer);
                self.engine.disconnect(now, peer);
            }
            Input::Datagrams(Arrived { from, ecn, bytes, stride }) => {
                let message = Message { from, ecn, bytes: &bytes, stride };
                for datagram in message.datagrams() {
                    self.handle_datagram(now, from, ecn, datagram);
                }
            }
            Input::ReceiveFailed => self.counters.datagram_receive_errors += 1,
        }
    }

    fn handle_datagram(&mut self, now: Timestamp, from: SocketAddr, ecn: Ecn, bytes: &[u8]) {
        self.counters.datagrams_in += 1;
        self.counters.datagram_bytes_in += bytes.len() as u64;
        let (peer, inner) = match self.flows.handle_datagram(now, from, bytes) {
            Lookup::Known { peer, inner } => (peer, inner),
            Lookup::Stranger { newcomer, inner } if secure::is_crypto(inner) => {
                self.begin_handshake(now, newcomer, ecn, inner);
                return;
            }
            Lookup::Stranger { newcomer, .. }
                if self.tls.as_ref().is_some_and(|tls| !tls.plain_datagrams) =>
            {
                self.refuse_unencrypted(now, newcomer);
                return;
            }
            Lookup::Stranger { newcomer, inner } => {
                let peer = self.new_peer();
                self.flows.insert(peer, newcomer);
                let carrier = Carrier::datagram(newcomer.connection_id);
                self.engine.connect(now, peer, carrier, format!("udp {from}"));
                self.engine.locate(peer, from);
                (peer, inner)
            }
            Lookup::Reply(reply) => {
                self.outbox.push(from, Ecn::NotEct, reply);
                return;
            }
            Lookup::Ignored => return,
            Lookup::Foreign => {
                self.counters.datagrams_malformed += 1;
                return;
            }
        };
        // Who has begun to encrypt is not heard in plain any more.
        match self.channels.handle_datagram(now, peer, inner) {
            Some(outcome) => self.absorb(now, peer, Some((from, ecn)), outcome),
            None => {
                self.engine.handle_datagram(now, peer, from, ecn, inner);
                if self.engine.has_acked_from(peer, from) {
                    self.flows.prove(peer, from);
                }
            }
        }
    }

    /// A stranger's crypto datagram: a peer if it is the beginning of a handshake, and nothing otherwise.
    fn begin_handshake(&mut self, now: Timestamp, newcomer: Newcomer, ecn: Ecn, bytes: &[u8]) {
        let tls = self.tls.as_ref();
        let channel = tls.and_then(|tls| Channel::server(now, Arc::clone(&tls.config), bytes));
        let Some(channel) = channel else {
            self.counters.datagrams_malformed += 1;
            return;
        };
        let peer = self.new_peer();
        self.flows.insert(peer, newcomer);
        let carrier = Carrier::sealed_datagram(newcomer.connection_id);
        self.engine.connect(now, peer, carrier, format!("udp, encrypted, {}", newcomer.address));
        self.engine.locate(peer, newcomer.address);
        let outcome = self.channels.insert(now, peer, channel);
        self.absorb(now, peer, Some((newcomer.address, ecn)), outcome);
    }

    fn refuse_unencrypted(&mut self, now: Timestamp, newcomer: Newcomer) {
        self.counters.datagrams_unencrypted += 1;
        let refusal = self.engine.refusal(
            now,
            &Carrier::datagram(newcomer.connection_id),
            ErrorCode::Unsupported,
            "this server takes only encrypted datagrams; connect with --fingerprint or --ca",
        );
        if refusal.len() > AMPLIFICATION * newcomer.bytes {
            self.counters.datagrams_withheld += 1;
            return;
        }
        self.outbox.push(newcomer.address, Ecn::NotEct, refusal);
    }

    /// Acts on what a channel has made of an input; of a datagram, with where it came from and its mark.
    fn absorb(&mut self, now: Timestamp, peer: PeerId, via: Option<(SocketAddr, Ecn)>, outcome: Outcome) {
        if let Some((from, _)) = via.filter(|_| outcome.is_answered) {
            self.flows.prove(peer, from);
        }
        for datagram in outcome.outgoing {
            self.send_to_peer(peer, datagram);
        }
        for plain in outcome.opened {
            match via {
                Some((from, ecn)) => self.engine.handle_datagram(now, peer, from, ecn, &plain),
                None => self.engine.handle_bytes(now, peer, &plain),
            }
        }
        if let Some(error) = outcome.error {
            self.counters.handshakes_failed += 1;
            tracing::debug!(peer = peer.0, %error, "an encrypted connection ended");
            self.forget_datagram_peer(peer);
            self.engine.disconnect(now, peer);
        }
    }

    /// Follows the engine, which has the proof. Whoever stood at that address under the same connection id cannot be told
    /// from the peer any more, so their carrier is closed.
    fn migrate(&mut self, peer: PeerId, to: SocketAddr) {
        if let Some(displaced) = self.flows.migrate(peer, to) {
            tracing::warn!(peer = peer.0, displaced = displaced.0, %to, "a peer has moved to another's address");
            self.forget_datagram_peer(displaced);
            self.engine.disconnect(self.clock.now(), displaced);
        }
    }

    fn forget_datagram_peer(&mut self, peer: PeerId) {
        self.flows.remove(peer);
        self.channels.remove(peer);
    }

    fn handle_command(&mut self, command: Command) {
        let now = self.clock.now();
        match command {
            Command::Ask(question) => question(&mut self.engine, now),
            Command::Stats(reply) => {
                let mut stats = self.engine.stats(now);
                stats.net = self.net_counters();
                // Whoever asked may have gone.
                let _ = reply.send(stats);
            }
            Command::TakeTraces(reply) => {
                let _ = reply.send(self.traces.drain(..).collect());
            }
            Command::Shutdown { drain } => {
                tracing::info!(
                    drain_s = drain.as_secs_f64(),
                    clients = self.engine.stats(now).clients,
                    "shutting down"
                );
                self.engine.start_drain(now, "the server is shutting down");
                let limit = now + drain;
                self.stop_at = Some(self.stop_at.map_or(limit, |earlier| earlier.min(limit)));
            }
        }
    }

    /// Acts on every output; carriers that fail on the way are inputs again.
    fn drain(&mut self) {
        loop {
            while let Some(output) = self.engine.poll_output() {
                match output {
                    Output::Transmit { peer, bytes } => self.transmit(peer, bytes),
                    Output::TransmitTo { peer, to, bytes } => self.transmit_to(peer, to, bytes),
                    Output::Migrate { peer, to } => self.migrate(peer, to),
                    Output::Close { peer } => {
                        self.streams.remove(&peer);
                        self.forget_datagram_peer(peer);
                    }
                }
            }
            self.flush();
            self.keep_traces();
            let Some(peer) = self.broken.pop() else {
                return;
            };
            if self.streams.remove(&peer).is_some() {
                self.engine.disconnect(self.clock.now(), peer);
            }
        }
    }

    fn transmit(&mut self, peer: PeerId, bytes: Bytes) {
        let Some(stream) = self.streams.get(&peer) else {
            let now = self.clock.now();
            match self.channels.send(now, peer, &bytes) {
                Some(outcome) => self.absorb(now, peer, None, outcome),
                None => self.send_to_peer(peer, bytes),
            }
            return;
        };
        let size = bytes.len() as u64;
        match stream.push(bytes) {
            Ok(()) => self.counters.stream_bytes_out += size,
            Err(reason) => {
                if reason == PushError::Full && !self.broken.contains(&peer) {
                    self.counters.write_queue_full += 1;
                    tracing::warn!(peer = peer.0, "a connection does not take its bytes; closed");
                }
                self.broken.push(peer);
            }
        }
    }

    /// To an address that the peer may have moved to; what is sealed for it leaves there, too.
    fn transmit_to(&mut self, peer: PeerId, to: SocketAddr, bytes: Bytes) {
        let (now, ecn) = (self.clock.now(), self.engine.codepoint(peer));
        match self.channels.send(now, peer, &bytes) {
            Some(mut outcome) => {
                for datagram in outcome.outgoing.drain(..) {
                    self.outbox.push(to, ecn, datagram);
                }
                self.absorb(now, peer, None, outcome);
            }
            None => self.outbox.push(to, ecn, bytes),
        }
    }

    fn send_to_peer(&mut self, peer: PeerId, bytes: Bytes) {
        match self.flows.permit(peer, bytes.len()) {
            Permission::Send(to) => self.outbox.push(to, self.engine.codepoint(peer), bytes),
            Permission::Withhold => self.counters.datagrams_withheld += 1,
            // Closed a moment ago.
            Permission::Unknown => {}
        }
    }

    /// Sends what has gathered. A datagram that cannot be sent is a datagram lost: the protocol sends it again.
    fn flush(&mut self) {
        let Some(port) = self.port.as_ref().filter(|_| !self.outbox.is_empty()) else {
            return;
        };
        let sent = port.try_send(&mut self.outbox);
        self.counters.datagrams_out += sent.datagrams;
        self.counters.datagram_bytes_out += sent.bytes;
        self.counters.datagram_send_calls += sent.calls;
        self.counters.datagram_send_errors += sent.errors;
    }

    fn net_counters(&self) -> NetCounters {
        let sealed = self.channels.stats();
        let strangers = self.flows.counters();
        NetCounters {
            retries_sent: strangers.retries_sent,
            retries_withheld: strangers.retries_withheld,
            tokens_accepted: strangers.tokens_accepted,
            tokens_refused: strangers.tokens_refused,
            datagrams_overrun: self.port.as_ref().map_or(0, |port| port.kernel_drops()),
            datagrams_sealed: sealed.sealed,
            datagrams_opened: sealed.opened,
            datagrams_replayed: sealed.replayed,
            datagrams_forged: sealed.forged,
            ..self.counters
        }
    }

    fn keep_traces(&mut self) {
        while let Some(trace) = self.engine.poll_trace() {
            if self.traces.len() < TRACES_KEPT {
                self.traces.push_back(trace);
            } else {
                self.counters.traces_dropped += 1;
            }
        }
    }

    fn new_peer(&mut self) -> PeerId {
        self.next_peer += 1;
        PeerId(self.next_peer)
    }
}

/// Sleeps until `at`; for ever without one.
async fn sleep_until(clock: Clock, at: Option<Timestamp>) {
    match at {
        // A deadline beyond a day is re-read then; it keeps the sum within what an `Instant` can hold.
        Some(at) => {
            let at = at.min(clock.now() + Duration::from_secs(86_400));
            tokio::time::sleep_until(clock.instant(at).into()).await;
        }
        None => std::future::pending().await,
    }
}

/// How many times what came an unproven address may be sent: RFC 9000 section 8.1.
const AMPLIFICATION: usize = 3;
/// Inputs taken at once before deadlines are looked at: far less than a millisecond of work.
const INPUTS_A_TURN: usize = 64;
/// Trace events kept for whoever asked for them; about 100 bytes each. What comes after is counted and dropped.
const TRACES_KEPT: usize = 1 << 20;
