//! The handshake of TLS 1.3 over datagrams that may be lost, repeated and reordered.
//!
//! As in QUIC (RFC 9001 section 4) TLS hands over messages and keys; here they travel as two streams, one for each
//! [`Level`], each acknowledged by the count of its bytes and sent again when a timer fires. It knows nothing of addresses:
//! whoever owns the socket decides how much may be sent to one that is not proven, and what was withheld is sent again by the
//! timer like anything lost.
//!
//! # Calling order
//! [`handle`](Handshake::handle) or [`handle_timeout`](Handshake::handle_timeout), then
//! [`poll_transmit`](Handshake::poll_transmit) until nothing is left, then wait until
//! [`poll_timeout`](Handshake::poll_timeout). Once [`take_seal`](Handshake::take_seal) has given the keys, the handshake is
//! kept for a while to acknowledge late copies, until [`is_over`](Handshake::is_over).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::ServerName;
use rustls::quic::{ClientConnection, Connection, KeyChange, Keys, ServerConnection, Version};
use rustls::{AlertDescription, ClientConfig, ServerConfig, Side};
use units::Timestamp;

use super::SecureError;
use super::flight::{Incoming, Outgoing};
use super::packet::{self, CryptoBody, Level, crypto_header, open_crypto, seal_crypto};
use super::seal::{Seal, SealLimits};
use crate::wire::datagram::MAX_DATAGRAM_BYTES;

/// One side's handshake with one peer.
pub struct Handshake {
    tls: Connection,
    side: Side,
    connection_id: u64,
    limits: SealLimits,
    levels: [LevelState; 2],
    /// The level of what TLS writes next.
    write_level: Level,
    /// Datagrams of the second level that came before its keys.
    waiting: Vec<Vec<u8>>,
    seal: Option<Seal>,
    error: Option<SecureError>,
    /// To be told to the peer.
    alert: Option<AlertDescription>,
    timer: Option<Timestamp>,
    timeouts: u32,
    /// When it is given up, or forgotten after it is done.
    deadline: Timestamp,
}

#[derive(Default)]
struct LevelState {
    /// `None` before there are any, and after the level is over.
    keys: Option<Keys>,
    counter: u32,
    outgoing: Outgoing,
    incoming: Incoming,
    ack_due: bool,
}

impl Handshake {
    /// Begins as a client. The connection id is the one of the plain datagrams that will follow.
    ///
    /// # Errors
    /// If the configuration and the name do not go together.
    pub fn client(
        now: Timestamp,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        connection_id: u64,
        limits: SealLimits,
    ) -> Result<Self, SecureError> {
        let tls = ClientConnection::new(config, Version::V1, name, Vec::new())?;
        let mut handshake = Self::new(now, tls.into(), Side::Client, connection_id, limits);
        handshake.write();
        Ok(handshake)
    }

    /// Begins as a server with a stranger's first datagram. `None` if it is no authentic, full-sized beginning of a
    /// handshake: then nothing is kept.
    #[must_use]
    pub fn server(
        now: Timestamp,
        config: Arc<ServerConfig>,
        datagram: &[u8],
        limits: SealLimits,
    ) -> Option<Self> {
        let connection_id = packet::connection_id(datagram)?;
        let (Level::Initial, _) = crypto_header(datagram)? else {
            return None;
        };
        // RFC 9000 section 14.1, as in `handle_one`: what would not be answered is not to be kept either.
        if datagram.len() != MAX_DATAGRAM_BYTES {
            return None;
        }
        open_crypto(&*initial_keys(connection_id, Side::Server).remote.packet, &mut datagram.to_vec())
            .filter(|body| body.alert == 0 && !body.bytes.is_empty())?;
        let tls = ServerConnection::new(config, Version::V1, Vec::new()).ok()?;
        let mut handshake = Self::new(now, tls.into(), Side::Server, connection_id, limits);
        handshake.handle(now, datagram);
        Some(handshake)
    }

    fn new(now: Timestamp, tls: Connection, side: Side, connection_id: u64, limits: SealLimits) -> Self {
        let keys = Some(initial_keys(connection_id, side));
        Self {
            tls,
            side,
            connection_id,
            limits,
            levels: [LevelState { keys, ..LevelState::default() }, LevelState::default()],
            write_level: Level::Initial,
            waiting: Vec::new(),
            seal: None,
            error: None,
            alert: None,
            timer: None,
            timeouts: 0,
            deadline: now + PATIENCE,
        }
    }

    /// A crypto datagram came. What is not the peer's is dropped without a trace.
    pub fn handle(&mut self, now: Timestamp, datagram: &[u8]) {
        self.handle_one(now, datagram);
        // It may have brought the keys for what came before it.
        if self.levels[1].keys.is_some() {
            for early in std::mem::take(&mut self.waiting) {
                self.handle_one(now, &early);
            }
        }
    }

    /// Sends again, or gives up. Calls that come early do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.error.is_some() {
            return;
        }
        if now >= self.deadline && !self.is_done() {
            self.error = Some(SecureError::TimedOut);
            return;
        }
        if self.timer.is_none_or(|at| now < at) {
            return;
        }
        self.timeouts += 1;
        self.levels.iter_mut().for_each(|level| level.outgoing.rewind());
        if self.levels.iter().all(|level| !level.outgoing.is_outstanding()) {
            // A client whose bytes are all acknowledged still speaks, because the server may only answer
            // (RFC 9002 section 6.2.2.1).
            self.current().ack_due = true;
        }
        self.arm(now);
    }

    /// The next crypto datagram to send.
    pub fn poll_transmit(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        // After an error only that is sent which the peer needs to understand why.
        let last_level = if self.error.is_some() { Level::Initial } else { Level::Handshake };
        if self.error.is_some() && self.alert.is_none() {
            return None;
        }
        for level in Level::ALL.into_iter().filter(|&level| level <= last_level) {
            let state = &mut self.levels[level as usize];
            if state.keys.is_none() {
                continue;
            }
            let piece = state.outgoing.poll_piece().map(|(offset, bytes)| (offset, bytes.to_vec()));
            if piece.is_none() && !state.ack_due {
                continue;
            }
            if self.timer.is_none() {
                self.arm(now);
            }
            return self.write_datagram(level, piece, 0);
        }
        let alert = self.alert.take()?;
        self.write_datagram(self.write_level, None, u8::from(alert))
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        if self.error.is_some() {
            return None;
        }
        let timer = self.timer.filter(|_| !self.is_done());
        Some(timer.map_or(self.deadline, |at| at.min(self.deadline)))
    }

    /// Why it failed.
    #[must_use]
    pub fn error(&self) -> Option<&SecureError> {
        self.error.as_ref()
    }

    /// The keys for everything after, once: when TLS has proven the peer and the peer's last message has come.
    pub fn take_seal(&mut self) -> Option<Seal> {
        if self.error.is_some() || self.tls.is_handshaking() {
            return None;
        }
        self.seal.take()
    }

    /// The peer has sealed a packet: it has everything of the handshake.
    pub fn confirm(&mut self) {
        self.levels.iter_mut().for_each(|level| level.outgoing.finish());
    }

    /// Whether the peer has written with the keys of the second level, or the keys for after are there.
    #[must_use]
    pub fn is_answered(&self) -> bool {
        // A server lets go of the first keys when it has opened something of the second level, a client when it has the
        // server's first message.
        self.levels[0].keys.is_none()
    }

    /// Nobody needs it any more: done, and late copies of its datagrams are no longer expected.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.is_done() && now >= self.deadline
    }

    fn is_done(&self) -> bool {
        !self.tls.is_handshaking() && self.levels.iter().all(|level| !level.outgoing.is_outstanding())
    }

    fn handle_one(&mut self, now: Timestamp, datagram: &[u8]) {
        let header = crypto_header(datagram).filter(|_| datagram.len() <= MAX_DATAGRAM_BYTES);
        let ours = packet::connection_id(datagram) == Some(self.connection_id);
        let (Some((level, _)), true, None) = (header, ours, &self.error) else {
            return;
        };
        // RFC 9000 section 14.1: a server answers no short beginning, so that forged ones buy little.
        if level == Level::Initial && self.side == Side::Server && datagram.len() < MAX_DATAGRAM_BYTES {
            return;
        }
        let Some(keys) = &self.levels[level as usize].keys else {
            if level == Level::Handshake && self.waiting.len() < WAITING {
                self.waiting.push(datagram.to_vec());
            }
            return;
        };
        let mut copy = datagram.to_vec();
        if let Some(body) = open_crypto(&*keys.remote.packet, &mut copy) {
            self.handle_body(now, level, &body);
        }
    }

    fn handle_body(&mut self, now: Timestamp, level: Level, body: &CryptoBody<'_>) {
        if body.alert != 0 {
            self.error = Some(SecureError::Alert(body.alert.into()));
            return;
        }
        if level == Level::Handshake {
            // RFC 9001 section 4.9.1: whoever has the keys of the second level has had the first.
            self.end_initial();
        }
        let state = &mut self.levels[level as usize];
        if state.outgoing.on_ack(body.acked) {
            self.timeouts = 0;
            self.arm(now);
        }
        if !body.bytes.is_empty() {
            self.handle_bytes(level, body);
        }
    }

    fn handle_bytes(&mut self, level: Level, body: &CryptoBody<'_>) {
        let state = &mut self.levels[level as usize];
        state.ack_due = true;
        let Ok(ordered) = state.incoming.handle_piece(body.offset, body.bytes) else {
            self.error = Some(SecureError::TooLong);
            self.alert = Some(AlertDescription::DecodeError);
            return;
        };
        if ordered.is_empty() {
            return;
        }
        match self.tls.read_hs(&ordered) {
            Ok(()) => self.write(),
            Err(error) => {
                // What TLS wrote before it failed may bring the keys that the peer reads the alert with.
                self.write();
                self.alert = Some(self.tls.alert().unwrap_or(AlertDescription::InternalError));
                self.error = Some(error.into());
            }
        }
    }

    /// Takes messages and keys from TLS.
    fn write(&mut self) {
        loop {
            let mut bytes = Vec::new();
            let change = self.tls.write_hs(&mut bytes);
            self.levels[self.write_level as usize].outgoing.push(&bytes);
            match change {
                Some(KeyChange::Handshake { keys }) => {
                    self.levels[1].keys = Some(keys);
                    self.write_level = Level::Handshake;
                    if self.side == Side::Client {
                        // The server's first message is here whole; what is said on the second level acknowledges it.
                        self.end_initial();
                        self.levels[1].ack_due = true;
                    }
                }
                Some(KeyChange::OneRtt { keys, next }) => {
                    self.seal = Some(Seal::new(self.connection_id, keys, next, self.limits));
                }
                None if bytes.is_empty() => return,
                None => {}
            }
        }
    }

    fn end_initial(&mut self) {
        let initial = &mut self.levels[0];
        initial.keys = None;
        initial.ack_due = false;
        initial.outgoing.finish();
    }

    fn current(&mut self) -> &mut LevelState {
        &mut self.levels[self.write_level as usize]
    }

    fn arm(&mut self, now: Timestamp) {
        let interval = FIRST_TIMEOUT * (1 << self.timeouts.min(MAX_DOUBLINGS));
        self.timer = (!self.is_done()).then(|| now + interval);
    }

    fn write_datagram(&mut self, level: Level, piece: Option<(u32, Vec<u8>)>, alert: u8) -> Option<Vec<u8>> {
        let state = &mut self.levels[level as usize];
        let keys = state.keys.as_ref()?;
        let (offset, bytes) = piece.unwrap_or_else(|| (state.outgoing.offset(), Vec::new()));
        let body = CryptoBody { alert, acked: state.incoming.acked(), offset, bytes: &bytes };
        let padded = level == Level::Initial && self.side == Side::Client;
        let header = (level, state.counter);
        // Bounded by the patience of the handshake: far from the end of the range.
        state.counter = state.counter.checked_add(1)?;
        state.ack_due = false;
        seal_crypto(&*keys.local.packet, self.connection_id, header, &body, padded).ok()
    }
}

/// RFC 9001 section 5.2, with our connection id in place of QUIC's.
fn initial_keys(connection_id: u64, side: Side) -> Keys {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().and_then(|suite| suite.quic_suite());
    suite.expect("the suite of the first level is one of QUIC's").keys(
        &connection_id.to_be_bytes(),
        side,
        Version::V1,
    )
}

impl fmt::Debug for Handshake {
    /// Never the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("side", &self.side)
            .field("connection_id", &self.connection_id)
            .field("write_level", &self.write_level)
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

/// Until something is sent again. RFC 9002 section 6.2.2 waits a second, with one RTT sample away from the truth; a chat wants
/// to begin sooner, and a copy too many costs three datagrams once.
const FIRST_TIMEOUT: Duration = Duration::from_millis(300);
/// 300 ms, 600 ms, 1.2 s, 2.4 s, and no longer: six tries fit the patience.
const MAX_DOUBLINGS: u32 = 3;
/// How long a handshake may take, and how long it is kept afterwards at most: what a session gives a carrier to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Datagrams kept that came before their keys: the rest of a server's flight when its first message is late.
const WAITING: usize = 8;
