//! The slowest hop and what waits before it, as values.

use std::sync::Arc;
use std::time::Duration;

use units::{Bitrate, ByteCount, Probability};

/// How fast packets leave the queue.
#[derive(Clone, Debug, PartialEq)]
pub enum RateModel {
    /// A packet of `size` takes `overhead.wire_size(size) / rate`.
    Constant { rate: Bitrate, overhead: Overhead },
    /// At most `rate * w + burst` bytes in any span `w`; never faster than `peak`.
    TokenBucket { rate: Bitrate, burst: ByteCount, peak: Option<Bitrate> },
    /// Opportunities of 1504 bytes at recorded times (mahimahi's format).
    Trace(Arc<DeliveryTrace>),
}

/// What lower layers add to each packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Overhead {
    /// Bytes added to each packet; negative takes some off (a link layer that the size already contains).
    pub per_packet: i32,
    /// With cells (ATM): packets are padded to whole cells of so many bytes.
    pub cell: Option<Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    pub size: u32,
    /// Bytes added to each cell.
    pub overhead: i32,
}

/// Recorded delivery opportunities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryTrace {
    pub name: String,
    /// Milliseconds since the link's origin, ascending; the last one is also the period.
    pub opportunities_ms: Vec<u64>,
}

/// What waits before the bottleneck. Without a rate nothing ever waits.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct QueueModel {
    pub discipline: Discipline,
    pub limit: QueueLimit,
    /// Mark packets that can be marked (ECT) instead of dropping them, where the discipline decides (RFC 3168).
    pub ecn: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum QueueLimit {
    /// 1000 packets, as Linux' netem: large enough for 100 Mbit/s x 100 ms, small enough to see.
    #[default]
    Default,
    Infinite,
    Packets(u64),
    Bytes(ByteCount),
    /// What the rate sends in this time.
    Time(Duration),
    /// So many bandwidth-delay products: rate times twice the mean delay of this direction.
    Bdp(f64),
}

/// Which packet goes when, and which one stays.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum Discipline {
    /// The packet that finds the queue full goes.
    #[default]
    DropTail,
    /// The packet at the head makes room.
    DropHead,
    /// RFC 8289.
    CoDel { target: Duration, interval: Duration },
    /// RFC 8033.
    Pie { target: Duration, update: Duration, max_burst: Duration },
    /// RFC 8290; flows are told apart by [`crate::link::Meta::flow`].
    FqCoDel { flows: u32, quantum: ByteCount, target: Duration, interval: Duration },
    /// Floyd and Jacobson 1993, with the gentle variant: marks from `min` bytes of mean queue with up to `max_p` at
    /// `max`, then up to one at twice `max`. `weight` is the share of a new sample in the mean.
    Red { min: ByteCount, max: ByteCount, max_p: Probability, weight: f64 },
}

impl DeliveryTrace {
    /// Bytes of one opportunity: an Ethernet payload and the TUN header, as mahimahi counts.
    pub const OPPORTUNITY: ByteCount = ByteCount(1504);

    /// Opportunities a period, in bits a second.
    #[must_use]
    pub fn bitrate(&self) -> Option<Bitrate> {
        let bits = self.opportunities_ms.len() as u64 * Self::OPPORTUNITY.as_u64() * 8;
        let period = self.opportunities_ms.last().copied().filter(|&period| period > 0)?;
        Bitrate::from_bits_per_second(bits.saturating_mul(1000) / period)
    }
}
