//! What a packet meets on its way.

use std::ops::Range;
use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

pub(super) const MSS: u64 = 1200;

#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) rate: Bitrate,
    /// Propagation, there and back.
    pub(super) rtt: Duration,
    pub(super) buffer: u64,
    /// Thousandths of the packets lost at random, before the queue or behind it.
    pub(super) loss: u64,
    pub(super) loss_behind_queue: bool,
    pub(super) policer: Option<Policer>,
    /// Acks arrive only at multiples of this.
    pub(super) ack_slots: Option<Duration>,
    /// Packets that find more than this queued are marked.
    pub(super) mark_above: Option<u64>,
    /// Packets of these numbers arrive so much later.
    pub(super) held: Option<(Range<u64>, Duration)>,
}

/// Token bucket: drops what exceeds `rate` once `burst` is used up.
#[derive(Clone, Debug)]
pub(super) struct Policer {
    pub(super) rate: Bitrate,
    pub(super) burst: u64,
    tokens: u64,
    refilled: Timestamp,
}

impl Policer {
    pub(super) fn new(rate: Bitrate, burst: u64) -> Self {
        Self { rate, burst, tokens: burst, refilled: Timestamp::ZERO }
    }

    pub(super) fn admits(&mut self, now: Timestamp, size: u64) -> bool {
        let earned = self.rate.bytes_in(now.since(self.refilled)).as_u64();
        if earned > 0 {
            // Advance by the time that the earned bytes took, so that fractions of a byte are not lost.
            self.refilled += self.rate.transmit_time(ByteCount(earned));
            self.tokens = (self.tokens + earned).min(self.burst);
        }
        if self.tokens < size {
            return false;
        }
        self.tokens -= size;
        true
    }
}

impl Path {
    /// A path whose buffer holds `buffer_permille` thousandths of its bandwidth-delay product.
    pub(super) fn new(mbit: u64, rtt_ms: u64, buffer_permille: u64) -> Self {
        let rate = mbits(mbit);
        let rtt = Duration::from_millis(rtt_ms);
        let buffer = rate.bytes_in(rtt).as_u64() * buffer_permille / 1000;
        Self {
            rate,
            rtt,
            buffer,
            loss: 0,
            loss_behind_queue: false,
            policer: None,
            ack_slots: None,
            mark_above: None,
            held: None,
        }
    }

    pub(super) fn bdp(&self) -> u64 {
        self.rate.bytes_in(self.rtt).as_u64()
    }
}

pub(super) fn mbits(mbit: u64) -> Bitrate {
    Bitrate::from_bits_per_second(mbit * 1_000_000).expect("not zero")
}
