//! The Squall chat protocol, without sockets, clocks, threads or global randomness.
//!
//! # What it does not do
//! It opens no connection, reads no clock and draws no random number. Bytes and the current time come in through
//! `handle_*`; bytes, events and the next deadline go out through `poll_*`. Real sockets (`chat-server`,
//! `chat-client`) and the simulator (`loadgen`) drive the very same values.
//!
//! # The verbs and the drain rule
//! ```text
//! handle_frame(now, frame)   handle_timeout(now)   send(now, message)     one input …
//! poll_transmit(now)  poll_event()  poll_trace()                          … then drain until all say None
//! poll_timeout()                                                          … then wait until this, or the next input
//! ```
//!
//! # Map
//! - [`wire`]: the frame and its two codings of length: on a stream, in a datagram.
//! - [`connection`]: [`Connection`], the reliable half-duplex pair: packet numbers, acks, loss, order.
//! - [`congestion`]: the [`Controller`](congestion::Controller) trait and its implementations.
//! - [`carrier`]: bytes to frames and back for one peer, whatever carries them.
//! - [`message`]: what the contents of the message types mean.
//! - [`name`]: which user and room names are allowed.
//! - [`path`]: addresses that prove themselves, and that change.
//! - [`secure`]: TLS, and the encryption of datagrams.
//! - [`trace`]: what a connection tells an observer.
//! - [`config`]: every constant, with its source.
//!
//! The reference of the protocol is `docs/PROTOCOL.md`.

pub mod carrier;
pub mod config;
pub mod congestion;
pub mod connection;
pub mod message;
pub mod name;
pub mod path;
pub mod secure;
pub mod trace;
pub mod wire;

#[cfg(test)]
mod tests;

pub use config::{BundleConfig, CarrierHint, CongestionControl, Profile, Redundancy, TransportConfig};
pub use connection::{
    ChannelWindows, Connection, Delays, Delivery, Event, Failure, Incoming, Outgoing, Reliability, SendError,
    SendKey,
};
pub use wire::{Content, Frame, Label, MsgType, Order, Priority};

/// Version of the protocol in `hello` and in the datagram header.
pub const PROTOCOL_VERSION: u8 = 1;
