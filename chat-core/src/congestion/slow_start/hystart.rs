//! HyStart++ (RFC 9406): slow start that ends when the RTT of a round has risen, before the queue overflows.
//!
//! A rise may be noise, so it first leads to conservative slow start, at a quarter of the growth. If the RTT falls again
//! the rise was noise; if five rounds pass, it was a queue. Only the first slow start of a connection needs it (section
//! 4.3): later ones know an ssthresh.

use std::time::Duration;

use super::{AckBatch, Growth, SlowStart};

#[derive(Clone, Debug)]
pub struct HyStart {
    /// Most that one ack adds, in segments; `None` when packets are paced (L of section 4.3).
    limit: Option<u64>,
    phase: Phase,
    /// The round ends when this packet is acknowledged. 0, which no packet has, is before the first round.
    window_end: u64,
    last_round_min: Option<Duration>,
    current_round_min: Option<Duration>,
    samples: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    SlowStart,
    Conservative {
        /// RTT that made slow start conservative; one below it shows that there is no queue.
        baseline: Duration,
        /// Rounds that have ended since; the one that was cut into counts.
        rounds: u32,
    },
    /// A loss has told what the path carries.
    Done,
}

impl HyStart {
    #[must_use]
    pub fn new(is_paced: bool) -> Self {
        Self {
            limit: if is_paced { None } else { Some(UNPACED_LIMIT) },
            phase: Phase::SlowStart,
            window_end: 0,
            last_round_min: None,
            current_round_min: None,
            samples: 0,
        }
    }

    /// A round ends with the ack of the first packet that was sent after it began.
    fn note_round(&mut self, batch: &AckBatch<'_>) {
        let newest = batch.acked.last().map_or(0, |packet| packet.number);
        if newest < self.window_end {
            return;
        }
        self.window_end = batch.next_packet;
        self.last_round_min = self.current_round_min;
        self.current_round_min = None;
        self.samples = 0;
        if let Phase::Conservative { rounds, .. } = &mut self.phase {
            *rounds += 1;
        }
    }

    fn note_sample(&mut self, sample: Duration) {
        self.current_round_min = Some(self.current_round_min.map_or(sample, |min| min.min(sample)));
        self.samples += 1;
        let Some(current) = self.current_round_min.filter(|_| self.samples >= ROUND_SAMPLES) else {
            return;
        };
        match self.phase {
            Phase::SlowStart => {
                let Some(last) = self.last_round_min else { return };
                let threshold = (last / RTT_DIVISOR).clamp(MIN_THRESHOLD, MAX_THRESHOLD);
                if current >= last + threshold {
                    self.phase = Phase::Conservative { baseline: current, rounds: 0 };
                }
            }
            Phase::Conservative { baseline, .. } if current < baseline => self.phase = Phase::SlowStart,
            Phase::Conservative { .. } | Phase::Done => {}
        }
    }
}

impl SlowStart for HyStart {
    fn on_ack(&mut self, batch: &AckBatch<'_>, bytes: u64, mss: u64) -> Growth {
        let limit = self.limit.map_or(u64::MAX, |segments| segments * mss);
        let bytes = bytes.min(limit);
        if self.phase == Phase::Done {
            return Growth { bytes, is_over: false };
        }
        // An ack grows the window by the phase it finds, and then moves the phase (section 4.2).
        let bytes = if self.is_conservative() { bytes / CONSERVATIVE_DIVISOR } else { bytes };
        self.note_round(batch);
        if let Some(sample) = batch.rtt.latest {
            self.note_sample(sample);
        }
        let is_over =
            matches!(self.phase, Phase::Conservative { rounds, .. } if rounds >= CONSERVATIVE_ROUNDS);
        Growth { bytes, is_over }
    }

    fn on_unused(&mut self) {
        // A flow that does not fill its window does not build the queue that this looks for.
        (self.last_round_min, self.current_round_min, self.samples) = (None, None, 0);
    }

    fn on_congestion(&mut self) {
        self.phase = Phase::Done;
    }

    fn is_conservative(&self) -> bool {
        matches!(self.phase, Phase::Conservative { .. })
    }
}

// The constants of RFC 9406 section 4.3.
const MIN_THRESHOLD: Duration = Duration::from_millis(4);
const MAX_THRESHOLD: Duration = Duration::from_millis(16);
const RTT_DIVISOR: u32 = 8;
const ROUND_SAMPLES: u32 = 8;
const CONSERVATIVE_DIVISOR: u64 = 4;
const CONSERVATIVE_ROUNDS: u32 = 5;
const UNPACED_LIMIT: u64 = 8;
