//! Who delivers next: the links of one driver on a [`Board`], and the [`Observer`] who watches them.
//!
//! A driver is one thread that owns its sockets and its links, so there is no lock and no queue between them
//! ([`crate::proxy`]); it waits with a [`Waiter`](crate::timing::Waiter). What is here decides nothing about real time
//! and is tested in virtual time.

mod board;
mod observer;

pub use board::{Board, Direction, DirectionReport, LinkId, Opening, PacerReport};
pub use observer::{Carrier, FlowOpened, LinkOpened, Observer, Observers};
