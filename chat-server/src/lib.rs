//! The chat server: a sans-IO core, and the sockets around it.
//!
//! - [`hub`]: rooms, users, history, who hears what. A value; knows sessions by number.
//! - [`engine`]: connections + hub: bytes in, bytes out. A value; knows peers by number.
//! - [`server`]: a whole server, started with one call: the engine behind TCP and UDP sockets.
//! - [`tls`]: the certificate that it shows, if it has one.
//! - [`admin`]: the admin port and its token.
//! - [`control`]: what the admin port speaks.
//!
//! The simulator of `loadgen` drives the same [`engine::Engine`] as the sockets do.

pub mod admin;
pub mod control;
pub mod engine;
pub mod hub;
mod net;
pub mod server;
pub mod tls;

pub use server::{ServerConfig, ServerHandle, StartError, start};
pub use tls::{Tls, TlsError};
