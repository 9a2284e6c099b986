//! The sockets around the engine: a thin shell that moves bytes and decides nothing.
//!
//! One task, the [`driver`], owns the [`Engine`](crate::engine::Engine); everything else talks to it through two bounded
//! channels. Sockets send [`Input`](driver::Input)s; the operator's requests come by a channel of their own, so that a
//! flood from clients never keeps an operator out.
//!
//! **Fairness and back-pressure.** A connection has one reader task, which holds at most one chunk while it waits for
//! room in the channel. Waiting senders are served in turn, so each connection gets one chunk a round, however much it
//! sends; the rest waits in its own socket and slows only its own sender.
//!
//! **Outgoing.** A connection has one writer task behind a queue bounded in bytes. The windows of the protocol keep that
//! queue short; a peer that fills it anyway loses its carrier (`write_queue_full`), and its session waits.
//!
//! **Encryption** lies between the engine and the sockets: TLS in the tasks of a connection, [`sealed`] beside the driver
//! for datagrams. The engine sees plain bytes of either.
//!
//! What is left out: WebSocket, which would be one more carrier beside [`stream`] and [`datagram`].

pub(crate) mod datagram;
pub(crate) mod driver;
pub(crate) mod flows;
pub(crate) mod remote;
mod sealed;
pub(crate) mod stream;
