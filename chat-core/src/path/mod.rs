//! What a network path brings with it, and a stream hides: whether an address is who it says, whether a peer has moved,
//! and what the network writes into the header.
//!
//! Everything here is a value; addresses are plain data. The server keeps one [`Issuer`] for all strangers and one
//! [`Paths`] for each datagram peer; a client keeps one [`Introduction`] for each carrier. None of them knows what is
//! inside a datagram, so they serve readable, binary and encrypted datagrams alike.
//!
//! - [`forms`]: what the first byte of a datagram says, and the two forms that carry address tokens.
//! - [`token`], [`limit`]: the stateless proof of an address, and how many are given away.
//! - [`introduction`]: the client's side of it.
//! - [`migration`]: a peer whose address changes keeps its connection.

mod ecn;
pub mod forms;
pub mod introduction;
pub mod limit;
pub mod migration;
pub mod token;

pub use ecn::Ecn;
pub use introduction::{Heard, Introduction};
pub use limit::ReplyLimit;
pub use migration::{Challenge, ChallengeData, PathEvent, Paths};
pub use token::{Issuer, TokenError};
