//! Slow start: how the window grows before the capacity is known, and when that ends without a loss.
//!
//! It is a part of its own, because every loss-based controller can end it in the same ways.

mod classic;
mod hystart;

use std::fmt::Debug;

use super::AckBatch;

pub use classic::Classic;
pub use hystart::HyStart;

/// How a window below ssthresh grows.
pub trait SlowStart: Clone + Debug + Send {
    /// `bytes` were newly acknowledged by `batch`, in a window that was used.
    fn on_ack(&mut self, batch: &AckBatch<'_>, bytes: u64, mss: u64) -> Growth;

    /// Something was acknowledged that did not fill the window: nothing follows from it.
    fn on_unused(&mut self);

    /// The window was reduced: from now on ssthresh tells when to stop.
    fn on_congestion(&mut self);

    /// Whether it is nearly over: conservative slow start of RFC 9406.
    fn is_conservative(&self) -> bool;
}

/// What acknowledged bytes give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// By how much the window grows.
    pub bytes: u64,
    /// Slow start is over; the window becomes ssthresh.
    pub is_over: bool,
}
