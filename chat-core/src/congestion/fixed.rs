//! A constant window, as simple file-transfer designs use: it neither probes for more nor backs off. A yardstick, and
//! a danger on a shared network.

use units::{ByteCount, Timestamp};

use super::{AckedPackets, Controller, LostPackets, State};
use crate::config::TransportConfig;

#[derive(Clone, Debug)]
pub struct Fixed {
    window: ByteCount,
}

impl Fixed {
    /// A window of `segments` full segments.
    #[must_use]
    pub fn new(config: &TransportConfig, segments: u64) -> Self {
        Self { window: ByteCount(segments.saturating_mul(config.mss.as_u64())) }
    }
}

impl Controller for Fixed {
    fn on_ack(&mut self, _now: Timestamp, _acked: &AckedPackets<'_>) {}

    fn on_loss(&mut self, _now: Timestamp, _loss: &LostPackets) {}

    fn on_timeout(&mut self, _now: Timestamp, _loss: &LostPackets) {}

    fn on_new_path(&mut self) {}

    fn cwnd(&self) -> ByteCount {
        self.window
    }

    fn ssthresh(&self) -> Option<ByteCount> {
        None
    }

    fn state(&self) -> State {
        State::CongestionAvoidance
    }
}
