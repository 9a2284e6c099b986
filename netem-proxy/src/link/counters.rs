//! What a link counts.
//!
//! Counters are whole packets, so they can be added over links and compared for balance; rates and shares are made
//! of them when a report is written.

use std::ops::{Add, AddAssign};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::event::DropCause;

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
    /// At the entrance (`loss=…`).
    pub dropped_loss: u64,
    /// Because the queue was full.
    pub dropped_queue: u64,
    /// Given up under way because an end of the link went away.
    pub dropped_closed: u64,
    pub dropped_mtu: u64,
    pub dropped_flap: u64,
    pub dropped_hold: u64,
    /// Behind the bottleneck (`loss=…@wire`).
    pub dropped_loss_wire: u64,
    pub dropped_codel: u64,
    pub dropped_pie: u64,
    pub dropped_red: u64,
    pub dropped_fq: u64,
    /// Copies made; a copy may still be dropped at the queue or on the wire.
    pub duplicated: u64,
    /// Delivered packets with a flipped bit.
    pub corrupted: u64,
    /// Packets delivered after one that was offered later, whatever the cause (RFC 4737 section 3.3).
    pub reordered: u64,
    /// Marked by the queue instead of dropped, whether or not they were delivered.
    pub ecn_marked: u64,
    /// Under way now: held at a gate, waiting, in service or on the wire.
    pub queued: u64,
    /// Waiting before the bottleneck now, without the one in service.
    pub queue_packets: u64,
    pub queue_bytes: u64,
    /// The most that ever waited, the one in service included; of several links the largest.
    pub queue_packets_max: u64,
    pub queue_bytes_max: u64,
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
        DropCause::ALL.iter().map(|&cause| self.dropped_by(cause)).sum::<u64>() + self.dropped_closed
    }

    #[must_use]
    pub fn dropped_by(&self, cause: DropCause) -> u64 {
        // A copy of some numbers, so that the list of fields stands once.
        let mut copy = *self;
        *copy.of_mut(cause)
    }

    pub(super) fn of_mut(&mut self, cause: DropCause) -> &mut u64 {
        match cause {
            DropCause::Mtu => &mut self.dropped_mtu,
            DropCause::Blackout => &mut self.dropped_blackout,
            DropCause::Flap => &mut self.dropped_flap,
            DropCause::Hold => &mut self.dropped_hold,
            DropCause::Loss => &mut self.dropped_loss,
            DropCause::LossWire => &mut self.dropped_loss_wire,
            DropCause::Queue => &mut self.dropped_queue,
            DropCause::CoDel => &mut self.dropped_codel,
            DropCause::Pie => &mut self.dropped_pie,
            DropCause::Red => &mut self.dropped_red,
            DropCause::Fq => &mut self.dropped_fq,
        }
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
        for cause in DropCause::ALL {
            *self.of_mut(cause) += other.dropped_by(cause);
        }
        self.dropped_closed += other.dropped_closed;
        self.duplicated += other.duplicated;
        self.corrupted += other.corrupted;
        self.reordered += other.reordered;
        self.ecn_marked += other.ecn_marked;
        self.queued += other.queued;
        self.queue_packets += other.queue_packets;
        self.queue_bytes += other.queue_bytes;
        self.queue_packets_max = self.queue_packets_max.max(other.queue_packets_max);
        self.queue_bytes_max = self.queue_bytes_max.max(other.queue_bytes_max);
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
    // Ordinary arithmetic: `as_micros` would be 128 bits wide.
    let micros = delay.as_secs().saturating_mul(1_000_000).saturating_add(delay.subsec_micros().into());
    let micros = micros.min(MAX_DELAY_US);
    histogram.record(micros).expect("an auto-resizing histogram takes every value up to the bound");
}

/// One hour: longer delays are recorded as this. It bounds a histogram's memory at about 200 KiB.
pub const MAX_DELAY_US: u64 = 3_600_000_000;
