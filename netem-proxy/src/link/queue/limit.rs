//! When a queue is full.

use std::time::Duration;

use units::{Bitrate, ByteCount};

use crate::profile::QueueLimit;

/// The most that may be there, the packet in service included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    packets: u64,
    bytes: u64,
    /// Whether a packet larger than the limit may be alone there: limits that follow the rate can be smaller than a
    /// packet without anybody having meant to stop the link.
    admits_one: bool,
}

impl Limit {
    /// `rate` and `delay` are what time and bandwidth-delay products are made of.
    pub(super) fn new(limit: QueueLimit, rate: Option<Bitrate>, delay: Duration) -> Self {
        let none = Self { packets: u64::MAX, bytes: u64::MAX, admits_one: false };
        let sent_in = |span: Duration| rate.map_or(u64::MAX, |rate| rate.bytes_in(span).as_u64());
        match limit {
            QueueLimit::Infinite => none,
            QueueLimit::Default => Self { packets: DEFAULT_PACKETS, ..none },
            QueueLimit::Packets(packets) => Self { packets, ..none },
            QueueLimit::Bytes(ByteCount(bytes)) => Self { bytes, ..none },
            QueueLimit::Time(span) => Self { bytes: sent_in(span), admits_one: true, ..none },
            QueueLimit::Bdp(products) => {
                // Products and nanoseconds in a double: whole bytes up to 2^53, the same everywhere.
                let bytes = sent_in(delay.saturating_mul(2)) as f64 * products;
                Self { bytes: bytes as u64, admits_one: true, ..none }
            }
        }
    }

    /// Whether `size` more fit beside `packets` of `bytes`.
    #[inline]
    pub(super) fn has_room(self, packets: u64, bytes: u64, size: u64) -> bool {
        let fits = packets < self.packets && bytes.saturating_add(size) <= self.bytes;
        fits || (self.admits_one && packets == 0)
    }

    /// Whether a packet of `size` fits into an empty queue.
    pub(super) fn admits(self, size: u64) -> bool {
        self.has_room(0, 0, size)
    }
}

/// [`QueueLimit::Default`], in packets: the limit of Linux' netem.
const DEFAULT_PACKETS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_products_become_bytes() {
        let rate = Bitrate::from_bits_per_second(10_000_000);
        let delay = Duration::from_millis(20);
        let time = Limit::new(QueueLimit::Time(Duration::from_millis(100)), rate, delay);
        assert!(time.has_room(80, 124_000, 1000) && !time.has_room(80, 124_001, 1000));
        let product = Limit::new(QueueLimit::Bdp(2.0), rate, delay);
        assert!(product.has_room(1, 99_000, 1000) && !product.has_room(1, 99_001, 1000));
        let tiny = Limit::new(QueueLimit::Bdp(0.5), rate, Duration::ZERO);
        assert!(tiny.admits(1500) && !tiny.has_room(1, 1500, 1));
    }

    #[test]
    fn packets_and_bytes_count_what_is_there() {
        let packets = Limit::new(QueueLimit::Packets(2), None, Duration::ZERO);
        assert!(packets.has_room(1, 9000, 9000) && !packets.has_room(2, 2, 1));
        let bytes = Limit::new(QueueLimit::Bytes(ByteCount(2500)), None, Duration::ZERO);
        assert!(bytes.has_room(2, 2000, 500) && !bytes.has_room(2, 2000, 501) && !bytes.admits(2501));
    }
}
