//! Sizes, rates and probabilities.

use std::fmt;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A number of bytes. Prints with binary prefixes where exact (`64KiB`), else as `1500B`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByteCount(pub u64);

impl ByteCount {
    pub const ZERO: ByteCount = ByteCount(0);

    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    #[must_use]
    pub const fn saturating_sub(self, other: ByteCount) -> ByteCount {
        ByteCount(self.0.saturating_sub(other.0))
    }
}

impl Add for ByteCount {
    type Output = ByteCount;

    fn add(self, other: ByteCount) -> ByteCount {
        ByteCount(self.0 + other.0)
    }
}

impl AddAssign for ByteCount {
    fn add_assign(&mut self, other: ByteCount) {
        self.0 += other.0;
    }
}

impl Sub for ByteCount {
    type Output = ByteCount;

    fn sub(self, other: ByteCount) -> ByteCount {
        ByteCount(self.0 - other.0)
    }
}

impl SubAssign for ByteCount {
    fn sub_assign(&mut self, other: ByteCount) {
        self.0 -= other.0;
    }
}

impl fmt::Display for ByteCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Bits a second, never zero: a link without a rate has no `Bitrate`, and a stopped link is a blackout.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Bitrate(u64);

impl Bitrate {
    /// `None` for zero.
    #[must_use]
    pub const fn from_bits_per_second(bits: u64) -> Option<Self> {
        if bits == 0 { None } else { Some(Self(bits)) }
    }

    #[must_use]
    pub const fn bits_per_second(self) -> u64 {
        self.0
    }

    /// How long the last bit of `size` bytes follows the first, rounded up to a nanosecond.
    #[must_use]
    pub fn transmit_time(self, size: ByteCount) -> Duration {
        let nanos = (u128::from(size.0) * 8 * 1_000_000_000).div_ceil(u128::from(self.0));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Bytes that fit into `span` at this rate, rounded down; with a round-trip time, the bandwidth-delay product.
    #[must_use]
    pub fn bytes_in(self, span: Duration) -> ByteCount {
        let bytes = u128::from(self.0) * span.as_nanos() / 8 / 1_000_000_000;
        ByteCount(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}bit/s", self.0)
    }
}

/// A probability, 0 to 1 inclusive and finite. Prints as a percentage.
#[derive(Clone, Copy, PartialEq, PartialOrd, Default)]
pub struct Probability(f64);

impl Probability {
    pub const ZERO: Probability = Probability(0.0);
    pub const ONE: Probability = Probability(1.0);

    /// `None` unless `value` is within 0..=1.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0 == 0.0
    }

    /// The number below which a uniform 64-bit draw means "yes". An integer, so that the same seed decides the same
    /// on every machine. A probability of one is `u64::MAX`, which misses one draw in 2^64; callers test `is_one`.
    #[must_use]
    pub fn threshold(self) -> u64 {
        // 2^64 is exact as f64; the cast saturates.
        (self.0 * 18_446_744_073_709_551_616.0) as u64
    }

    #[must_use]
    pub fn is_one(self) -> bool {
        self.0 == 1.0
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded so that 0.07 prints 7% and not 7.000000000000001%.
        let percent = (self.0 * 1e12).round() / 1e10;
        write!(f, "{percent}%")
    }
}

impl fmt::Debug for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transmit_time_of_a_full_packet() {
        let rate = Bitrate::from_bits_per_second(10_000_000).unwrap();
        assert_eq!(rate.transmit_time(ByteCount(1250)), Duration::from_millis(1));
        assert_eq!(rate.bytes_in(Duration::from_millis(100)), ByteCount(125_000));
    }

    #[test]
    fn probability_outside_its_range_is_refused() {
        for wrong in [-0.1, 1.5, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::new(wrong), None);
        }
    }

    #[test]
    fn quantities_print_as_they_are_written() {
        assert_eq!(ByteCount(65_536).to_string(), "64KiB");
        assert_eq!(ByteCount(1500).to_string(), "1500B");
        assert_eq!(Bitrate::from_bits_per_second(20_000_000).unwrap().to_string(), "20Mbit/s");
        assert_eq!(Probability::new(0.07).unwrap().to_string(), "7%");
        assert_eq!(Probability::new(0.005).unwrap().to_string(), "0.5%");
    }
}
