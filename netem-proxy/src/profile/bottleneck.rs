//! The slowest hop and what waits before it, as values.

use std::sync::Arc;
use std::time::Duration;

use units::{Bitrate, ByteCount, Probability};

use super::{ProfileError, SHORTEST_PERIOD};

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

impl Overhead {
    /// Bytes that a packet of `size` takes on the wire.
    #[must_use]
    pub fn wire_size(self, size: ByteCount) -> u64 {
        let bytes = size.as_u64().saturating_add_signed(self.per_packet.into());
        match self.cell {
            None => bytes,
            Some(cell) => {
                let cells = bytes.div_ceil(u64::from(cell.size.max(1)));
                cells.saturating_mul(u64::from(cell.size).saturating_add_signed(cell.overhead.into()))
            }
        }
    }
}

impl RateModel {
    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match self {
            Self::Constant { overhead: Overhead { cell: Some(Cell { size: 0, .. }), .. }, .. } => {
                Err(ProfileError::EmptyCell)
            }
            Self::TokenBucket { burst: ByteCount::ZERO, .. } => Err(ProfileError::EmptyBucket),
            Self::TokenBucket { rate, peak: Some(peak), .. } if peak < rate => {
                Err(ProfileError::PeakBelowRate { rate: *rate, peak: *peak })
            }
            Self::Trace(trace) if trace.bitrate().is_none() => {
                Err(ProfileError::EmptyTrace { name: trace.name.clone() })
            }
            _ => Ok(()),
        }
    }
}

impl QueueModel {
    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match self.limit {
            QueueLimit::Packets(0) | QueueLimit::Bytes(ByteCount::ZERO) => return Err(ProfileError::NoQueue),
            QueueLimit::Time(span) if span.is_zero() => return Err(ProfileError::NoQueue),
            QueueLimit::Bdp(products) if !(products > 0.0 && products.is_finite()) => {
                return Err(ProfileError::NoQueue);
            }
            _ => {}
        }
        let zero = |name: &'static str, span: Duration| {
            if span.is_zero() { Err(ProfileError::ZeroInQueue { name }) } else { Ok(()) }
        };
        match self.discipline {
            Discipline::DropTail | Discipline::DropHead => Ok(()),
            Discipline::CoDel { interval, .. } => zero("interval", interval),
            Discipline::Pie { update, .. } if update < SHORTEST_PERIOD => Err(ProfileError::ShortUpdate),
            Discipline::Pie { target, .. } => zero("target", target),
            Discipline::FqCoDel { flows: 0, .. } => Err(ProfileError::ZeroInQueue { name: "flows" }),
            Discipline::FqCoDel { quantum: ByteCount::ZERO, .. } => {
                Err(ProfileError::ZeroInQueue { name: "quantum" })
            }
            Discipline::FqCoDel { interval, .. } => zero("interval", interval),
            Discipline::Red { min, max, weight, .. } => {
                if min >= max {
                    return Err(ProfileError::RedBounds { min, max });
                }
                if weight > 0.0 && weight <= 1.0 { Ok(()) } else { Err(ProfileError::RedWeight) }
            }
        }
    }
}

impl Discipline {
    /// RFC 8289 section 4.4.
    pub const CODEL: Discipline =
        Discipline::CoDel { target: Duration::from_millis(5), interval: Duration::from_millis(100) };

    /// RFC 8033 section 4.
    pub const PIE: Discipline = Discipline::Pie {
        target: Duration::from_millis(15),
        update: Duration::from_millis(15),
        max_burst: Duration::from_millis(150),
    };

    /// RFC 8290 section 5.2.
    pub const FQ_CODEL: Discipline = Discipline::FqCoDel {
        flows: 1024,
        quantum: ByteCount(1514),
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };

    /// 5 and 15 packets of 1,500 bytes, a tenth, 0.002: S. Floyd, "RED: Discussions of Setting Parameters", 1997.
    #[must_use]
    pub fn red() -> Discipline {
        let max_p = Probability::new(0.1).expect("a tenth is between 0 and 1");
        Discipline::Red { min: ByteCount(7500), max: ByteCount(22_500), max_p, weight: 0.002 }
    }
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

    /// Reads mahimahi's format: one whole number of milliseconds a line, none smaller than the one before it, the last
    /// one above zero. An empty line is an error, as it is to `mm-link`.
    ///
    /// # Errors
    /// With the number of the line.
    pub fn parse(name: &str, text: &str) -> Result<Self, TraceError> {
        let mut opportunities_ms = Vec::new();
        for (line, content) in (1..).zip(text.lines()) {
            let error = |problem| TraceError { line, problem };
            let content = content.trim();
            if content.is_empty() {
                return Err(error("is empty; write one time in milliseconds on each line"));
            }
            let at: u64 = content.parse().map_err(|_| error("is not a whole number of milliseconds"))?;
            if at > MAX_TRACE_MS {
                return Err(error("is more than a year; a trace is in milliseconds"));
            }
            if opportunities_ms.last().is_some_and(|&before| before > at) {
                return Err(error("is before the line above it; sort the times"));
            }
            opportunities_ms.push(at);
        }
        if opportunities_ms.last().is_none_or(|&period| period == 0) {
            let line = opportunities_ms.len().max(1);
            let problem = "is the last and not above zero; the last time is the period";
            return Err(TraceError { line, problem });
        }
        Ok(Self { name: name.to_owned(), opportunities_ms })
    }
}

/// Why a text is no delivery trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {problem}")]
pub struct TraceError {
    /// Counts from 1.
    pub line: usize,
    pub problem: &'static str,
}

/// A year: beyond it the unit was mistaken.
const MAX_TRACE_MS: u64 = 366 * 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overheads_and_cells_are_counted() {
        let plain = Overhead { per_packet: 38, cell: None };
        assert_eq!(plain.wire_size(ByteCount(1500)), 1538);
        assert_eq!(Overhead { per_packet: -14, cell: None }.wire_size(ByteCount(10)), 0);
        // ATM: 48 bytes of payload and 5 of header a cell; 1500 + 8 take 32 cells.
        let atm = Overhead { per_packet: 8, cell: Some(Cell { size: 48, overhead: 5 }) };
        assert_eq!(atm.wire_size(ByteCount(1500)), 32 * 53);
        assert_eq!(atm.wire_size(ByteCount(40)), 53);
        assert_eq!(atm.wire_size(ByteCount(41)), 106);
    }

    #[test]
    fn a_trace_is_read_line_by_line() {
        let trace = DeliveryTrace::parse("t", "0\n5\n5\n10\n").expect("valid");
        assert_eq!(trace.opportunities_ms, [0, 5, 5, 10]);
        assert_eq!(trace.bitrate().map(Bitrate::bits_per_second), Some(4 * 1504 * 8 * 100));
        for (text, message) in [
            ("", "line 1 is the last and not above zero; the last time is the period"),
            ("0\n0\n", "line 2 is the last and not above zero"),
            ("5\n\n6", "line 2 is empty"),
            ("5\n4", "line 2 is before the line above it"),
            ("1.5", "line 1 is not a whole number"),
        ] {
            let error = DeliveryTrace::parse("t", text).expect_err("invalid").to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
