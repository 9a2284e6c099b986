//! UDP sockets as both ends of the protocol use them: batches in, runs out.
//!
//! In: many datagrams a system call, each with its ECN bits, and several of one sender in one message where the kernel
//! kept them together (GRO). Out: equally long datagrams for one peer in one system call (GSO). The sockets never
//! fragment (`IP_PMTUDISC_PROBE`), because the search for the path MTU rests on long datagrams getting lost.
//!
//! - [`Port`]: the socket.
//! - [`Inbox`]: what one call brought.
//! - [`Outbox`]: what is to leave, in order.
//!
//! This is a shell: it moves bytes and decides nothing. A datagram that the kernel does not take is lost, as in any
//! network, and counted.

mod inbox;
mod outbox;
mod port;

pub use inbox::{Inbox, Message};
pub use outbox::{Outbox, Sent};
pub use port::Port;
