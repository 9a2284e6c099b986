//! The chat client: a sans-IO session, and the tokio shell that other programs use.
//!
//! - [`session`]: one user's session as a value: handshake, reconnect, rooms to come back to, messages in and out.
//! - [`net`]: sockets around it, and [`net::Client`], an async handle.
//! - [`tls`]: whom it believes to be its server.
//!
//! The simulator of `loadgen` drives the same [`session::Session`] as the sockets do.

pub mod net;
pub mod session;
pub mod tls;
