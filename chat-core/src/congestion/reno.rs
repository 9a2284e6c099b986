//! NewReno's congestion avoidance: one segment more in each round trip, half of the window for a loss (RFC 5681).
//!
//! Growth is by appropriate byte counting (RFC 3465), so stretched acks do not slow it down.

use units::Timestamp;

use super::avoidance::{Avoidance, AvoidanceAck, Ratio};

#[derive(Clone, Debug, Default)]
pub struct Reno {
    /// Bytes acknowledged since the window last grew.
    acked: u64,
}

impl Avoidance for Reno {
    /// RFC 5681 equation 4.
    const ON_LOSS: Ratio = Ratio::new(1, 2);
    const ON_MARK: Ratio = Ratio::new(4, 5);

    fn on_reduction(&mut self, _cwnd: u64, _mss: u64) {
        self.acked = 0;
    }

    fn on_timeout(&mut self, _cwnd: u64) {
        self.acked = 0;
    }

    fn on_slow_start_over(&mut self, _cwnd: u64) {
        self.acked = 0;
    }

    /// RFC 5681 equation 3, counted as section 2.1 of RFC 3465 has it.
    fn on_ack(&mut self, ack: &AvoidanceAck) -> u64 {
        let mut cwnd = ack.cwnd.max(1);
        self.acked = self.acked.saturating_add(ack.bytes);
        while self.acked >= cwnd {
            self.acked -= cwnd;
            cwnd = cwnd.saturating_add(ack.mss.max(1));
        }
        cwnd
    }

    fn on_unused(&mut self, _now: Timestamp) {}

    fn reset(&mut self) {
        self.acked = 0;
    }
}
