//! What a link counts.
//!
//! Counters are whole packets, so they can be added over links and compared for balance; rates and shares are made
//! of them when a report is written.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Packets (and bytes) by what happened to them, since the link was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct LinkCounters {
    /// Packets handed to the link.
    pub offered: u64,
    pub offered_bytes: u64,
    /// Packets that left it, copies included.
    pub delivered: u64,
    pub delivered_bytes: u64,
    pub dropped_blackout: u64,
    pub dropped_loss: u64,
    pub dropped_queue: u64,
    /// Given up under way because an end of the link went away.
    pub dropped_closed: u64,
    /// Copies made; a copy may still be dropped at the queue.
    pub duplicated: u64,
    /// Delivered packets with a flipped bit.
    pub corrupted: u64,
    /// Packets delivered after one that was offered later, whatever the cause (RFC 4737 section 3.3).
    pub reordered: u64,
    /// Under way now: waiting, in service or on the wire.
    pub queued: u64,
}

impl LinkCounters {
    /// Packets under way now.
    #[must_use]
    pub fn queued(&self) -> u64 {
        self.queued
    }

    /// Dropped packets of all causes.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_blackout + self.dropped_loss + self.dropped_queue + self.dropped_closed
    }

    /// Whether every packet is accounted for: offered + duplicated = delivered + dropped + queued. True at every
    /// moment; false means that this crate has a bug.
    #[must_use]
    pub fn balance_holds(&self) -> bool {
        self.offered + self.duplicated == self.delivered + self.dropped() + self.queued
    }
}

impl AddAssign for LinkCounters {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.offered_bytes += other.offered_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.dropped_blackout += other.dropped_blackout;
        self.dropped_loss += other.dropped_loss;
        self.dropped_queue += other.dropped_queue;
        self.dropped_closed += other.dropped_closed;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.queued += other.queued;
    }
}

impl Add for LinkCounters {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

/// An empty histogram of delays in microseconds, three significant digits, growing as needed to [`MAX_DELAY_US`].
#[must_use]
pub fn new_delay_histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within 0..=5")
}

/// Records a delay, cut to [`MAX_DELAY_US`].
pub fn record_delay(histogram: &mut Histogram<u64>, delay: Duration) {
    let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX).min(MAX_DELAY_US);
    histogram.record(micros).expect("an auto-resizing histogram takes every value up to the bound");
}

/// One hour: longer delays are recorded as this. It bounds a histogram's memory at about 200 KiB.
pub const MAX_DELAY_US: u64 = 3_600_000_000;
