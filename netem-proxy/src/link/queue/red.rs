//! Random early detection: drops on arrival with a chance that grows with the mean queue.
//!
//! S. Floyd and V. Jacobson, "Random Early Detection Gateways for Congestion Avoidance", IEEE/ACM Transactions on
//! Networking 1(4), 1993, figure 2; with the gentle slope between one and two times the maximum (S. Floyd,
//! "Recommendation on using the gentle_ variant of RED", 2000). The queue is counted in bytes, drops in packets.
//! Doubles only meet operations that IEEE 754 rounds exactly, so decisions are the same on every machine.

use units::Timestamp;

use super::pie::uniform;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) max_p: f64,
    pub(super) weight: f64,
    /// How long a small packet takes to be sent, for the mean of an idle queue.
    pub(super) small_packet_ns: u64,
}

#[derive(Debug, Default)]
pub(super) struct Red {
    /// Mean bytes waiting.
    mean: f64,
    /// Packets since the last drop or mark; `None` while the mean is below the minimum.
    count: Option<u64>,
    idle_since: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    Enqueue,
    MarkOrDrop,
    /// Beyond what marking could answer.
    Drop,
}

impl Red {
    /// `waiting_bytes` before this packet; `draw` uniform.
    pub(super) fn on_arrival(
        &mut self,
        now: Timestamp,
        settings: Settings,
        waiting_bytes: u64,
        draw: impl FnOnce() -> u64,
    ) -> Early {
        self.update_mean(now.as_nanos(), settings, waiting_bytes);
        let (min, max) = (settings.min as f64, settings.max as f64);
        if self.mean < min {
            self.count = None;
            return Early::Enqueue;
        }
        if self.mean >= 2.0 * max {
            self.count = Some(0);
            return Early::Drop;
        }
        let base = if self.mean < max {
            settings.max_p * (self.mean - min) / (max - min)
        } else {
            settings.max_p + (1.0 - settings.max_p) * (self.mean - max) / max
        };
        let count = self.count.map_or(0, |count| count.saturating_add(1));
        self.count = Some(count);
        // The chance grows with the packets passed since the last one, which spreads the drops evenly.
        let rest = 1.0 - count as f64 * base;
        let is_hit = rest <= base || uniform(draw()) < base / rest;
        if is_hit {
            self.count = Some(0);
            Early::MarkOrDrop
        } else {
            Early::Enqueue
        }
    }

    pub(super) fn on_full(&mut self) {
        self.count = Some(0);
    }

    /// The queue has just become empty.
    pub(super) fn on_empty(&mut self, now: Timestamp) {
        self.idle_since = Some(now.as_nanos());
    }

    fn update_mean(&mut self, now: u64, settings: Settings, waiting_bytes: u64) {
        // An idle queue counts as if small packets had found it empty.
        if let Some(since) = self.idle_since.take_if(|_| true)
            && waiting_bytes == 0
        {
            let packets = now.saturating_sub(since) / settings.small_packet_ns.max(1);
            self.mean *= power(1.0 - settings.weight, packets);
            return;
        }
        self.mean += settings.weight * (waiting_bytes as f64 - self.mean);
    }
}

/// By squaring: multiplications only, always in the same order.
fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

/// Bytes of the small packet that an idle time is counted in; Floyd and Jacobson leave it open.
pub(super) const SMALL_PACKET: u64 = 500;
