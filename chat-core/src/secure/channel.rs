//! A secure channel to one peer: a filter between plain datagrams and a socket.
//!
//! Carriers above it speak as if nothing were there. Plain datagrams that are sent before the handshake is done wait for it,
//! few of them: what is above repeats its `hello` anyway.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ServerConfig};
use units::Timestamp;

use super::handshake::Handshake;
use super::seal::{OpenError, Seal, SealError, SealLimits};
use super::{SecureError, is_crypto, is_sealed};
use crate::wire::datagram::MAX_DATAGRAM_BYTES;

/// Both ends are the same from the first byte after the handshake.
///
/// # Calling order
/// One input ([`handle_datagram`](Self::handle_datagram), [`send`](Self::send), [`handle_timeout`](Self::handle_timeout)),
/// then drain [`poll_transmit`](Self::poll_transmit) and [`poll_datagram`](Self::poll_datagram), look at
/// [`error`](Self::error), and wait until [`poll_timeout`](Self::poll_timeout).
#[derive(Debug)]
pub struct Channel {
    /// Kept after it is done until late copies are no longer expected. Boxed: it is large, and soon gone.
    handshake: Option<Box<Handshake>>,
    seal: Option<Seal>,
    /// Plain datagrams that wait for keys, the oldest first.
    early_out: VecDeque<Vec<u8>>,
    /// Sealed packets that overtook the end of the handshake.
    early_in: Vec<Vec<u8>>,
    outgoing: VecDeque<Bytes>,
    opened: VecDeque<Bytes>,
    error: Option<SecureError>,
    stats: ChannelStats,
}

/// What a channel has seen; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStats {
    pub sealed: u64,
    pub opened: u64,
    /// Packets whose counter was seen before, or was too old to tell.
    pub replayed: u64,
    /// Packets that the peer did not seal, or that were changed on the way.
    pub forged: u64,
    /// Datagrams of no encrypted form of this connection.
    pub foreign: u64,
    /// Datagrams that waited for the handshake and were dropped at the bound, either way.
    pub early_dropped: u64,
    /// Times that the keys were changed.
    pub key_updates: u64,
}

impl Channel {
    /// Begins a handshake with the server of that name.
    ///
    /// # Errors
    /// If the configuration and the name do not go together.
    pub fn client(
        now: Timestamp,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
        connection_id: u64,
    ) -> Result<Self, SecureError> {
        Handshake::client(now, config, name, connection_id, SealLimits::default()).map(Self::new)
    }

    /// Answers a stranger's first datagram. `None` if that is no authentic beginning: then nothing is to be kept.
    #[must_use]
    pub fn server(now: Timestamp, config: Arc<ServerConfig>, datagram: &[u8]) -> Option<Self> {
        let mut channel = Self::new(Handshake::server(now, config, datagram, SealLimits::default())?);
        channel.advance(now);
        Some(channel)
    }

    pub(crate) fn new(handshake: Handshake) -> Self {
        Self {
            handshake: Some(Box::new(handshake)),
            seal: None,
            early_out: VecDeque::new(),
            early_in: Vec::new(),
            outgoing: VecDeque::new(),
            opened: VecDeque::new(),
            error: None,
            stats: ChannelStats::default(),
        }
    }

    /// A datagram of the peer's address and connection id came.
    pub fn handle_datagram(&mut self, now: Timestamp, datagram: &[u8]) {
        if is_sealed(datagram) {
            self.open(datagram);
        } else if is_crypto(datagram) {
            if let Some(handshake) = &mut self.handshake {
                handshake.handle(now, datagram);
            }
        } else {
            self.stats.foreign += 1;
        }
        self.advance(now);
    }

    /// A plain datagram of either form is to be sent.
    pub fn send(&mut self, plain: &[u8]) {
        let Some(seal) = &mut self.seal else {
            if self.early_out.len() == EARLY_OUT {
                self.early_out.pop_front();
                self.stats.early_dropped += 1;
            }
            self.early_out.push_back(plain.to_vec());
            return;
        };
        match seal.seal(plain) {
            Ok(sealed) => {
                self.stats.sealed += 1;
                self.outgoing.push_back(sealed);
            }
            Err(SealError::KeysUsedUp) => self.error = Some(SecureError::KeysUsedUp),
            Err(SealError::NotPlain) => self.stats.foreign += 1,
        }
    }

    /// Does what is due. Calls that come early do nothing.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if let Some(handshake) = &mut self.handshake {
            handshake.handle_timeout(now);
        }
        self.advance(now);
    }

    /// The next datagram for the socket.
    pub fn poll_transmit(&mut self, now: Timestamp) -> Option<Bytes> {
        // What the peer needs to open the rest comes first.
        let crypto = self.handshake.as_mut().and_then(|handshake| handshake.poll_transmit(now));
        crypto.map(Bytes::from).or_else(|| self.outgoing.pop_front())
    }

    /// The next plain datagram that the peer sent.
    pub fn poll_datagram(&mut self) -> Option<Bytes> {
        self.opened.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.handshake.as_ref().and_then(|handshake| handshake.poll_timeout())
    }

    /// Why the channel is of no more use; what [`Self::poll_transmit`] still gives tells the peer.
    #[must_use]
    pub fn error(&self) -> Option<&SecureError> {
        self.error.as_ref()
    }

    /// Whether packets are sealed: the peer is who it should be.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.seal.is_some() && self.error.is_none()
    }

    /// Whether the peer has shown that it gets what is sent to it: what it wrote opened with keys that came from the first
    /// messages of the handshake or after (RFC 9000 section 8.1).
    #[must_use]
    pub fn is_answered(&self) -> bool {
        self.handshake.as_ref().map_or(self.seal.is_some(), |handshake| handshake.is_answered())
    }

    #[must_use]
    pub fn stats(&self) -> ChannelStats {
        let key_updates = self.seal.as_ref().map_or(0, Seal::key_updates);
        ChannelStats { key_updates, ..self.stats }
    }

    fn open(&mut self, datagram: &[u8]) {
        let Some(seal) = &mut self.seal else {
            if self.early_in.len() < EARLY_IN && datagram.len() <= MAX_DATAGRAM_BYTES {
                self.early_in.push(datagram.to_vec());
            } else {
                self.stats.early_dropped += 1;
            }
            return;
        };
        match seal.open(datagram) {
            Ok(plain) => {
                self.stats.opened += 1;
                self.opened.push_back(plain);
                if let Some(handshake) = &mut self.handshake {
                    handshake.confirm();
                }
            }
            Err(OpenError::Replayed) => self.stats.replayed += 1,
            Err(OpenError::Forged) => self.stats.forged += 1,
            Err(OpenError::NotOurs) => self.stats.foreign += 1,
            Err(OpenError::KeysUsedUp) => self.error = Some(SecureError::KeysUsedUp),
        }
    }

    /// Goes on when the handshake has: takes its keys, its error, or forgets it.
    fn advance(&mut self, now: Timestamp) {
        let Some(handshake) = &mut self.handshake else {
            return;
        };
        if let Some(error) = handshake.error() {
            self.error.get_or_insert_with(|| error.clone());
            return;
        }
        // The keys first: the input that ends the handshake may be the one that comes after its time.
        let seal = handshake.take_seal();
        if handshake.is_over(now) {
            self.handshake = None;
        }
        if let Some(seal) = seal {
            self.seal = Some(seal);
            for plain in std::mem::take(&mut self.early_out) {
                self.send(&plain);
            }
            for sealed in std::mem::take(&mut self.early_in) {
                self.open(&sealed);
            }
        }
    }
}

/// Plain datagrams that wait for the handshake; beyond them the oldest goes, because what is new repeats or replaces it.
const EARLY_OUT: usize = 4;
/// Sealed packets that may overtake the last message of the handshake: what a client says at once.
const EARLY_IN: usize = 8;
