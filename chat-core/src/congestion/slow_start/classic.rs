//! Slow start of the textbook: it ends at ssthresh or with a loss.

use super::{AckBatch, Growth, SlowStart};

/// Equation 2 of RFC 5681 section 3.1: one ack adds what it acknowledges, but at most `limit` segments.
#[derive(Clone, Debug)]
pub struct Classic {
    limit: Option<u64>,
}

impl Classic {
    /// One segment for each ack, however many packets it acknowledges: the equation as it is written.
    #[must_use]
    pub fn textbook() -> Self {
        Self { limit: Some(1) }
    }

    /// Without the limit, as RFC 9002 section 7.3.1 has it: growth is by bytes, so acks that stretch over several
    /// packets do not slow it down. For senders that pace, or whose acks name what arrived.
    #[must_use]
    pub fn by_bytes() -> Self {
        Self { limit: None }
    }
}

impl SlowStart for Classic {
    fn on_ack(&mut self, _batch: &AckBatch<'_>, bytes: u64, mss: u64) -> Growth {
        let limit = self.limit.map_or(u64::MAX, |segments| segments * mss);
        Growth { bytes: bytes.min(limit), is_over: false }
    }

    fn on_unused(&mut self) {}

    fn on_congestion(&mut self) {}

    fn is_conservative(&self) -> bool {
        false
    }
}
