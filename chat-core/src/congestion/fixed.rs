//! A constant window, as simple file-transfer designs use: it neither probes for more nor backs off. A yardstick, and
//! a danger on a shared network.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use super::{AckBatch, Controller, State, Timeout};
use crate::config::TransportConfig;

#[derive(Clone, Debug)]
pub struct Fixed {
    segments: u64,
    mss: ByteCount,
}

impl Fixed {
    /// A window of `segments` full segments.
    #[must_use]
    pub fn new(config: &TransportConfig, segments: u64) -> Self {
        Self { segments, mss: config.mss }
    }
}

impl Controller for Fixed {
    fn on_acks(&mut self, _batch: &AckBatch<'_>) {}

    fn on_timeout(&mut self, _timeout: &Timeout) {}

    fn on_persistent_congestion(&mut self, _now: Timestamp) {}

    fn on_spurious(&mut self, _now: Timestamp) {}

    fn on_new_path(&mut self) {}

    fn on_mss(&mut self, mss: ByteCount) {
        self.mss = mss;
    }

    fn cwnd(&self) -> ByteCount {
        ByteCount(self.segments.saturating_mul(self.mss.as_u64()))
    }

    fn ssthresh(&self) -> Option<ByteCount> {
        None
    }

    fn pacing_rate(&self, _srtt: Option<Duration>) -> Option<Bitrate> {
        None
    }

    fn state(&self) -> State {
        State::CongestionAvoidance
    }
}
