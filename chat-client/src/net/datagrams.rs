//! A UDP carrier of the client: the socket, and what stands between it and the session.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use chat_core::path::{Ecn, Heard, Introduction};
use udp::{Inbox, Outbox, Port};

/// One UDP carrier. Made anew for each, so that a server sees a new port, and no late datagram of the one before.
#[derive(Debug)]
pub(super) struct Datagrams {
    port: Port,
    server: SocketAddr,
    outbox: Outbox,
    introduction: Introduction,
}

thread_local! {
    /// What one read brought, for as long as it takes to hand it on. One a thread and not one a socket: it is 2 MiB.
    static INBOX: RefCell<Inbox> = RefCell::new(Inbox::new());
}

impl Datagrams {
    pub(super) fn open(server: SocketAddr) -> io::Result<Self> {
        let (outbox, introduction) = (Outbox::new(), Introduction::new());
        Ok(Self { port: Port::connect(server)?, server, outbox, introduction })
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

    /// Waits until there is something to receive; see [`Self::feed`].
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        self.port.readable().await
    }

    /// Datagrams that the kernel dropped because they were not read in time.
    pub(super) fn kernel_drops(&self) -> u64 {
        self.port.kernel_drops()
    }

    /// Receives what is there and hands it on. A retry is kept back, and what it asks for queued.
    pub(super) fn feed(&mut self, mut hear: impl FnMut(Ecn, &[u8])) -> io::Result<()> {
        let (port, introduction) = (&self.port, &mut self.introduction);
        INBOX.with_borrow_mut(|inbox| {
            if !port.try_receive(inbox)? {
                return Ok(());
            }
            for message in inbox.messages() {
                for datagram in message.datagrams() {
                    if introduction.handle_datagram(datagram) == Heard::Other {
                        hear(message.ecn, datagram);
                    }
                }
            }
            io::Result::Ok(())
        })?;
        while let Some(bytes) = self.introduction.poll_transmit() {
            self.outbox.push(self.server, Ecn::NotEct, bytes);
        }
        Ok(())
    }
}
