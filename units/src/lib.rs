//! Quantities that cross crate borders, and nothing else.
//!
//! Every crate of the workspace speaks of time, sizes, rates, probabilities and seeds. A bare `u64` for each of
//! them invites mistakes that no test finds, so they have types here: [`Timestamp`] for points in time,
//! [`std::time::Duration`] for spans, [`ByteCount`], [`Bitrate`], [`Probability`], and [`Seed`] for chance.
//!
//! This crate is a leaf: no I/O, no threads, no policy. The one exception is [`clock`], the single place in the
//! workspace that reads a real clock; shells own a [`Clock`], cores are only ever told the time.

pub mod clock;
pub mod parse;
pub mod quantity;
pub mod seed;
pub mod time;

pub use clock::{Clock, wall_clock};
pub use parse::{ParseError, format_duration, parse_count, parse_duration, parse_rate};
pub use quantity::{Bitrate, ByteCount, Probability};
pub use seed::{Rng, Seed};
pub use time::Timestamp;
