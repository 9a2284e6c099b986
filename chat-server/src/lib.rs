//! The chat server: a sans-IO core, and the sockets around it.
//!
//! - [`hub`]: rooms, users, history, who hears what. A value; knows sessions by number.
//! - [`engine`]: connections + hub: bytes in, bytes out. A value; knows peers by number.
//! - [`server`]: a whole server, started with one call: the engine behind TCP and UDP sockets.
//! - [`tls`]: the certificate that it shows, if it has one.
//! - [`endpoint`]: which datagram is whose. A value; knows peers by address.
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

/// UDP peers as values: who is who, who may come in. What the sockets use, for a driver without sockets.
pub mod endpoint {
    pub use crate::net::flows::{
        AddressValidation, FlowCounters, Flows, LOADED, Lookup, Newcomer, Permission,
    };
}

pub use server::{ServerConfig, ServerHandle, StartError, TakenWaits, start};
pub use tls::{Tls, TlsError};
