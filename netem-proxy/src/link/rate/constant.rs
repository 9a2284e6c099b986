//! A constant rate: a packet takes its bits divided by the rate.
//!
//! The fraction of a nanosecond by which a packet ends before the next whole one is carried to the packet behind it,
//! as long as the link is busy: n packets in a row end at the rounded-up n-fold time, never at n times a rounded one.

use units::{Bitrate, ByteCount, Timestamp};

use super::{NANOS, divide, nanos};
use crate::profile::Overhead;

#[derive(Debug)]
pub(super) struct Constant {
    rate: u64,
    overhead: Overhead,
    /// By how much the packet taken last ended before `free_at`, in nanoseconds times the rate.
    ahead: u64,
}

impl Constant {
    pub(super) fn new(rate: Bitrate, overhead: Overhead) -> Self {
        Self { rate: rate.bits_per_second(), overhead, ahead: 0 }
    }

    /// The fraction in hand is given up: less than a nanosecond.
    pub(super) fn configure(&mut self, rate: Bitrate, overhead: Overhead) {
        *self = Self::new(rate, overhead);
    }

    pub(super) fn serve(&mut self, at: Timestamp, free_at: Timestamp, size: ByteCount) -> Timestamp {
        let (begin, ahead) = if free_at < at { (at, 0) } else { (free_at, self.ahead) };
        let bits = u128::from(self.overhead.wire_size(size)) * 8;
        // The last bit ends (bits * 10^9 - ahead) / rate after `begin`, rounded up; what rounding adds is carried.
        let work = bits * NANOS;
        let Some(left) = work.checked_sub(u128::from(ahead)) else {
            // A packet of no bits ends where the one before it did.
            self.ahead = ahead;
            return begin;
        };
        let (whole, rest) = divide(left, self.rate);
        self.ahead = if rest == 0 { 0 } else { self.rate - rest };
        begin + nanos(whole.saturating_add(u64::from(rest != 0)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn constant(bits_per_second: u64) -> Constant {
        Constant::new(Bitrate::from_bits_per_second(bits_per_second).expect("not zero"), Overhead::default())
    }

    #[test]
    fn a_packet_takes_its_bits_divided_by_the_rate() {
        let mut constant = constant(10_000_000);
        let mut end = Timestamp::ZERO;
        for n in 1..=1000 {
            end = constant.serve(end, end, ByteCount(1250));
            assert_eq!(end, Timestamp::from_millis(n));
        }
    }

    #[test]
    fn rounding_does_not_add_up() {
        // 7 Mbit/s and 1500 bytes: 1,714,285.714… ns each.
        for (rate, size) in
            [(7_000_000_u64, 1500_u64), (3, 1), (999_999_937, 64), (100_000, 1), (1 << 40, 9000)]
        {
            let mut constant = constant(rate);
            let mut end = Timestamp::ZERO;
            for n in 1..=10_000_u128 {
                end = constant.serve(end, end, ByteCount(size));
                let exact = (n * u128::from(size) * 8 * NANOS).div_ceil(u128::from(rate));
                assert_eq!(u128::from(end.as_nanos()), exact, "{rate} bit/s, packet {n}");
            }
        }
    }

    #[test]
    fn an_idle_link_saves_up_nothing() {
        let mut constant = constant(7_000_000);
        let end = constant.serve(Timestamp::ZERO, Timestamp::ZERO, ByteCount(1500));
        let late = Timestamp::from_secs(5);
        let span = Duration::from_nanos(1_714_286);
        assert_eq!(constant.serve(late, end, ByteCount(1500)), late + span);
    }
}
