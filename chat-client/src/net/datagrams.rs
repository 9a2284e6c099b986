//! A UDP carrier of the client: the socket, and what stands between it and the session.

use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use chat_core::path::{Ecn, Heard, Introduction};
use udp::{Inbox, Outbox, Port};

/// One UDP carrier. Made anew for each, so that a server sees a new port, and no late datagram of the one before.
#[derive(Debug)]
pub(super) struct Datagrams {
    port: Port,
    inbox: Inbox,
    server: SocketAddr,
    outbox: Outbox,
    introduction: Introduction,
}

impl Datagrams {
    pub(super) fn open(server: SocketAddr) -> io::Result<Self> {
        let (inbox, outbox, introduction) = (Inbox::new(), Outbox::new(), Introduction::new());
        Ok(Self { port: Port::connect(server)?, inbox, server, outbox, introduction })
    }

    /// Whether marks can be set and read, and long datagrams are never cut.
    pub(super) fn is_capable(&self) -> bool {
        !self.port.may_fragment()
    }

    /// Queues a datagram of the session.
    pub(super) fn push(&mut self, bytes: Bytes, ecn: Ecn) {
        let bytes = self.introduction.present(bytes);
        self.outbox.push(self.server, ecn, bytes);
    }

    /// Sends what has gathered. An unreachable port loses datagrams, as a network may.
    pub(super) async fn flush(&mut self) {
        if !self.outbox.is_empty()
            && let Err(error) = self.port.send(&mut self.outbox).await
        {
            tracing::debug!(%error, "sending datagrams");
        }
    }

    /// Waits until something was received; see [`Self::feed`].
    pub(super) async fn receive(&mut self) -> io::Result<()> {
        self.port.receive(&mut self.inbox).await
    }

    /// Hands on what was received. A retry is kept back, and what it asks for queued.
    pub(super) fn feed(&mut self, mut hear: impl FnMut(Ecn, &[u8])) {
        for message in self.inbox.messages() {
            for datagram in message.datagrams() {
                if self.introduction.handle_datagram(datagram) == Heard::Other {
                    hear(message.ecn, datagram);
                }
            }
        }
        while let Some(bytes) = self.introduction.poll_transmit() {
            self.outbox.push(self.server, Ecn::NotEct, bytes);
        }
    }
}
