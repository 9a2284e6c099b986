//! The window of a flow whose application has less to say than the path carries.
//!
//! The draft keeps at least four packets in flight (`BBR.MinPipeCwnd`): that little lets a queue drain in ProbeRTT, and
//! that much lossy rounds leave. A flow that has nothing waiting builds no queue and does not cause the losses it sees, so
//! a smaller window would protect nobody. But a few repairs and their copies fill four packets, and if a burst of losses
//! begins then, nothing is acknowledged, everything stays in flight, and the flow is silent until a timer asks that
//! doubles each time. Such a flow has the room that the loss-based controllers give it, too: what any flow may send that
//! knows nothing of its path (RFC 6928).
//!
//! The room is not part of the model: states, bounds and what they wait for see the draft's window.

use std::time::Duration;

use units::Timestamp;

use crate::config::TransportConfig;

/// Whether the flow is thin, and what room it has then.
#[derive(Clone, Debug)]
pub(super) struct ThinFlow {
    segments: u64,
    /// When something left last with nothing waiting behind it.
    at: Option<Timestamp>,
    /// The latest event.
    now: Timestamp,
    srtt: Duration,
}

impl ThinFlow {
    pub(super) fn new(config: &TransportConfig) -> Self {
        // Without validation a window is what the controller says, used or not (the same in the loss-based ones).
        let segments = if config.cwnd_validation { config.min_cwnd_thin } else { 0 };
        Self { segments, at: None, now: Timestamp::ZERO, srtt: Duration::ZERO }
    }

    /// A packet left; `is_last`: nothing else waited.
    pub(super) fn on_sent(&mut self, now: Timestamp, is_last: bool) {
        self.now = now;
        if is_last {
            self.at = Some(now);
        }
    }

    pub(super) fn on_acks(&mut self, now: Timestamp, srtt: Option<Duration>) {
        self.now = now;
        self.srtt = srtt.unwrap_or(self.srtt);
    }

    /// The smallest window, in bytes; it ends one sampling period of RFC 7661 section 4.2 after something begins to wait.
    pub(super) fn floor(&self, mss: u64) -> u64 {
        let period = self.srtt.saturating_mul(3).max(PERIOD_MIN);
        let is_thin = self.at.is_some_and(|at| self.now.since(at) <= period);
        if is_thin { self.segments.saturating_mul(mss) } else { 0 }
    }
}

/// RFC 7661 section 4.2.
const PERIOD_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_ends_a_second_after_something_began_to_wait() {
        let mut flow = ThinFlow::new(&TransportConfig::default());
        assert_eq!(flow.floor(1000), 0, "nothing is known yet");
        flow.on_sent(Timestamp::from_millis(500), true);
        flow.on_acks(Timestamp::from_millis(600), Some(Duration::from_millis(100)));
        assert_eq!(flow.floor(1000), 10_000);
        flow.on_sent(Timestamp::from_millis(1_500), false);
        assert_eq!(flow.floor(1000), 10_000);
        flow.on_sent(Timestamp::from_millis(1_501), false);
        assert_eq!(flow.floor(1000), 0);
        flow.on_acks(Timestamp::from_millis(1_550), Some(Duration::from_millis(400)));
        assert_eq!(flow.floor(1000), 10_000, "three round trips");
    }
}
