//! A relay for TCP byte streams, and the troubles that Toxiproxy's clients can ask for.
//!
//! An [`Engine`] owns a few driver threads; each [`StreamProxy`] listens somewhere, dials its upstream for every client,
//! and moves bytes both ways. What happens to them is decided by a chain for each connection and direction, sans-IO:
//! first a [`Link`](crate::link::Link) with the parts of a SPEC that make sense for a stream ([`StreamProfile`]), then
//! [`Toxic`]s in the order they were added. The drivers (`driver`, `connection`) wait, read and write, and know what
//! time it is.
//!
//! **Promises.** No byte is lost, doubled or reordered, unless a toxic is there to do so (`timeout`, `limit_data`,
//! `reset_peer`). An end of one direction does not end the other. What is held has a bound, and a full relay stops
//! reading. Chance is drawn once for each (seed, connection, direction, toxic), whatever else is installed. Changes
//! reach live connections before the call that makes them returns, and no call hangs.
//!
//! Left out: loss (the kernel of the sender has seen the bytes arrive; see `run`), protocols above TCP (see `frames`).

mod chain;
mod connection;
mod counters;
mod dial;
mod driver;
mod engine;
mod installed;
mod listen;
mod profile;
mod proxy;
mod slots;
mod toxic;

pub use counters::{DirectionCounters, StreamCounters};
pub use driver::MAX_CONNECTIONS;
pub use engine::{Engine, EngineConfig, MOST_THREADS};
pub(crate) use listen::resolve as resolve_listen;
pub use listen::{Call, OpenError};
pub use profile::{Share, StreamProfile, StreamProfileError};
pub use proxy::{CONFIRM_WITHIN, ConnectionInfo, MAX_TOXICS, StreamConfig, StreamProxy};
pub use toxic::{Direction, Toxic, ToxicError, ToxicKind};
