//! A token bucket: bursts at the peak rate, in the long run the rate.
//!
//! Tokens come in at the rate up to the burst. A packet leaves when there are as many as it has bits, or, if it is
//! larger than the burst, when the bucket is full; then it leaves the bucket in debt, so that it costs what it should.
//! So in any span `w` at most `rate * w + burst` bytes and one packet are sent.

use units::{Bitrate, ByteCount, Timestamp};

use super::constant::Constant;
use super::{NANOS, divide, nanos};
use crate::profile::Overhead;

#[derive(Debug)]
pub(super) struct Bucket {
    rate: u64,
    /// Bits times 10^9, as `tokens`.
    burst: i128,
    tokens: i128,
    counted_at: Timestamp,
    peak: Option<Constant>,
    /// When the packet taken last is sent.
    free_at: Timestamp,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(now: Timestamp, rate: Bitrate, burst: ByteCount, peak: Option<Bitrate>) -> Self {
        let burst = weight(burst);
        let peak = peak.map(|peak| Constant::new(peak, Overhead::default()));
        Self { rate: rate.bits_per_second(), burst, tokens: burst, counted_at: now, peak, free_at: now }
    }

    /// Tokens are kept, up to the new burst.
    pub(super) fn configure(
        &mut self,
        now: Timestamp,
        rate: Bitrate,
        burst: ByteCount,
        peak: Option<Bitrate>,
    ) {
        self.count(now);
        let (tokens, free_at) = (self.tokens, self.free_at);
        *self = Self::new(self.counted_at, rate, burst, peak);
        self.tokens = tokens.min(self.burst);
        self.free_at = free_at;
    }

    pub(super) fn serve(&mut self, at: Timestamp, size: ByteCount) -> Timestamp {
        self.count(at);
        let need = weight(size);
        let missing = need.min(self.burst) - self.tokens;
        let mut begin = at.max(self.counted_at);
        if missing > 0 {
            let (whole, rest) = divide(missing.unsigned_abs(), self.rate);
            begin += nanos(whole.saturating_add(u64::from(rest != 0)));
            self.count(begin);
        }
        self.tokens -= need;
        let end = match &mut self.peak {
            Some(peak) => peak.serve(begin, self.free_at, size),
            None => begin,
        };
        self.free_at = end;
        end
    }

    fn count(&mut self, now: Timestamp) {
        let span = now.as_nanos().saturating_sub(self.counted_at.as_nanos());
        let income = u128::from(self.rate) * u128::from(span);
        self.tokens = self.tokens.saturating_add(i128::try_from(income).unwrap_or(i128::MAX)).min(self.burst);
        self.counted_at = self.counted_at.max(now);
    }
}

fn weight(size: ByteCount) -> i128 {
    // At most 2^67 * 10^9, far below 2^127.
    (u128::from(size.as_u64()) * 8 * NANOS) as i128
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(bits: u64) -> Bitrate {
        Bitrate::from_bits_per_second(bits).expect("not zero")
    }

    #[test]
    fn a_burst_passes_at_once_and_the_rest_at_the_rate() {
        let mut bucket = Bucket::new(Timestamp::ZERO, rate(8_000_000), ByteCount(3000), None);
        let ends: Vec<u64> =
            (0..5).map(|_| bucket.serve(Timestamp::ZERO, ByteCount(1000)).as_micros()).collect();
        assert_eq!(ends, [0, 0, 0, 1000, 2000]);
    }

    #[test]
    fn the_peak_bounds_the_burst() {
        let mut bucket =
            Bucket::new(Timestamp::ZERO, rate(8_000_000), ByteCount(3000), Some(rate(80_000_000)));
        let mut at = Timestamp::ZERO;
        let ends: Vec<u64> = (0..5)
            .map(|_| {
                at = bucket.serve(at, ByteCount(1000));
                at.as_micros()
            })
            .collect();
        // The fourth waits until 4,000 bytes have come in, and takes 100 µs itself.
        assert_eq!(ends, [100, 200, 300, 1100, 2100]);
    }

    #[test]
    fn a_packet_larger_than_the_burst_passes_and_is_paid_for() {
        let mut bucket = Bucket::new(Timestamp::ZERO, rate(8_000_000), ByteCount(500), None);
        assert_eq!(bucket.serve(Timestamp::ZERO, ByteCount(1500)).as_micros(), 0);
        // 1,000 bytes of debt, then a full bucket of 500.
        assert_eq!(bucket.serve(Timestamp::ZERO, ByteCount(1500)).as_micros(), 1500);
    }

    proptest! {
        #[test]
        fn no_span_carries_more_than_its_share(
            bits in 1_000_u64..1_000_000_000,
            burst in 1_u64..100_000,
            packets in proptest::collection::vec((0_u64..2_000_000, 1_u64..3000), 1..60),
        ) {
            let mut bucket = Bucket::new(Timestamp::ZERO, rate(bits), ByteCount(burst), None);
            let (mut now, mut sent) = (Timestamp::ZERO, Vec::new());
            for (gap, size) in packets {
                now += nanos(gap);
                let end = bucket.serve(now, ByteCount(size));
                now = end;
                sent.push((end.as_nanos(), size));
            }
            for (index, &(from, first)) in sent.iter().enumerate() {
                let mut bytes = 0;
                for &(to, size) in &sent[index..] {
                    bytes += size;
                    let bound = u128::from(bits) * u128::from(to - from) + u128::from(burst + first.max(size)) * 8 * NANOS;
                    prop_assert!(u128::from(bytes) * 8 * NANOS <= bound);
                }
            }
        }
    }
}
