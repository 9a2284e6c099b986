//! How much of the window is really used (RFC 7661), and whether it is enough to learn from an ack.
//!
//! An application that sends less than the window allows does not test the window: growing it would be guessing, and
//! after a loss the old value says nothing about the path. So growth is bounded by what was in flight, and congestion is
//! answered from what the path has shown to carry: pipeACK, the most that was acknowledged within one RTT lately.
//!
//! Departures: whether a window is used is judged by what was in flight in this round trip and the last, because pipeACK
//! is up to an RTT old and would stop slow start (section 4.3 accepts that for a while); and section 4.4.2 subtracts
//! retransmitted bytes at the end of a recovery, which proportional rate reduction makes unnecessary.

use std::time::Duration;

use units::Timestamp;

use super::{AckBatch, SentPacket};

/// What one flow has used of its window. Sizes are bytes.
#[derive(Clone, Debug)]
pub(super) struct Usage {
    /// Most that was in flight in this round trip, and in the one before.
    flight: u64,
    last_flight: u64,
    /// Whether that left no room for another segment when it was sent.
    fills: bool,
    last_fills: bool,
    /// The round ends when this packet is acknowledged.
    round_end: u64,
    srtt: Duration,
    /// pipeACK samples of the sampling period, a quarter of it each, the present one first. `None`: without a sample.
    samples: [Option<u64>; QUARTERS],
    quarter_began: Timestamp,
    /// The sample being taken: since when, and what was acknowledged.
    sample_began: Timestamp,
    sample: u64,
    /// When the window was last seen to be used.
    used_at: Timestamp,
    /// When the application was last seen to have less to say than the window allows.
    thin_at: Option<Timestamp>,
}

impl Usage {
    pub(super) fn new() -> Self {
        Self {
            flight: 0,
            last_flight: 0,
            fills: false,
            last_fills: false,
            round_end: 0,
            srtt: Duration::ZERO,
            samples: [None; QUARTERS],
            quarter_began: Timestamp::ZERO,
            sample_began: Timestamp::ZERO,
            sample: 0,
            used_at: Timestamp::ZERO,
            thin_at: None,
        }
    }

    /// A packet left while the window was `cwnd`.
    pub(super) fn on_sent(&mut self, sent: &SentPacket, cwnd: u64, mss: u64) {
        let in_flight = sent.prior_in_flight.as_u64().saturating_add(sent.size.as_u64());
        self.note_flight(in_flight, cwnd, mss);
        if sent.app_limited {
            self.thin_at = Some(sent.at);
        }
    }

    /// `bytes` were acknowledged while the window was `cwnd`.
    pub(super) fn on_acks(&mut self, batch: &AckBatch<'_>, bytes: u64, cwnd: u64, mss: u64) {
        self.srtt = batch.rtt.smoothed.unwrap_or(self.srtt);
        self.note_flight(batch.prior_in_flight.as_u64(), cwnd, mss);
        self.note_sample(batch.now, bytes);
        if self.fills() {
            self.used_at = batch.now;
        }
        if batch.acked.last().is_some_and(|newest| newest.number >= self.round_end) {
            if !self.fills() {
                self.thin_at = Some(batch.now);
            }
            self.round_end = batch.next_packet;
            self.last_flight = std::mem::replace(&mut self.flight, batch.in_flight.as_u64());
            self.last_fills = std::mem::take(&mut self.fills);
        }
    }

    fn note_flight(&mut self, in_flight: u64, cwnd: u64, mss: u64) {
        self.flight = self.flight.max(in_flight);
        // As of now: a window that grows afterwards was used all the same.
        self.fills |= in_flight.saturating_add(mss) > cwnd;
    }

    fn note_sample(&mut self, now: Timestamp, bytes: u64) {
        self.forget(now);
        self.sample = self.sample.saturating_add(bytes);
        if now.since(self.sample_began) >= self.srtt {
            let sample = std::mem::take(&mut self.sample);
            self.samples[0] = Some(self.samples[0].map_or(sample, |most| most.max(sample)));
            self.sample_began = now;
        }
    }

    /// Samples that are older than the sampling period no longer count.
    fn forget(&mut self, now: Timestamp) {
        let quarter = self.period() / QUARTERS as u32;
        for _ in 0..QUARTERS {
            if now.since(self.quarter_began) < quarter {
                return;
            }
            self.samples.rotate_right(1);
            // Once there was a sample, a quarter without one saw nothing acknowledged.
            self.samples[0] = self.samples[1].map(|_| 0);
            self.quarter_began += quarter;
        }
        self.quarter_began = now;
    }

    /// Section 4.2: max(3 RTT, 1 s).
    fn period(&self) -> Duration {
        self.srtt.saturating_mul(3).max(Duration::from_secs(1))
    }

    /// The most that was acknowledged within an RTT lately; `None` is "undefined".
    fn pipe_ack(&self) -> Option<u64> {
        self.samples.iter().flatten().max().copied()
    }

    /// Most that was in flight in the last two round trips.
    pub(super) fn flight(&self) -> u64 {
        self.flight.max(self.last_flight)
    }

    /// Whether that left no room for another segment.
    pub(super) fn fills(&self) -> bool {
        self.fills || self.last_fills
    }

    /// What of `cwnd` a congestion that `flight_size` bytes met is answered from (section 4.4.2).
    pub(super) fn proven(&self, cwnd: u64, flight_size: u64) -> u64 {
        self.pipe_ack().unwrap_or(0).max(flight_size).min(cwnd)
    }

    /// Whether the application has lately had less to say than the window allows.
    pub(super) fn is_thin(&self, now: Timestamp) -> bool {
        self.thin_at.is_some_and(|at| now.since(at) <= self.period())
    }

    /// After a reduction what was measured before is void (section 4.4.2).
    pub(super) fn on_reduction(&mut self, now: Timestamp, in_flight: u64) {
        self.samples = [None; QUARTERS];
        (self.sample, self.sample_began) = (0, now);
        (self.flight, self.last_flight) = (in_flight, in_flight);
        (self.fills, self.last_fills) = (false, false);
        self.used_at = now;
    }

    /// How many whole periods the window was not used up to `now`; counted once (section 4.4.3).
    pub(super) fn take_unused_periods(&mut self, now: Timestamp) -> u32 {
        let periods = now.since(self.used_at).as_secs() / NON_VALIDATED_PERIOD.as_secs();
        let periods = u32::try_from(periods).unwrap_or(u32::MAX);
        self.used_at += NON_VALIDATED_PERIOD * periods;
        periods
    }
}

/// Buckets in which the sampling period is forgotten.
const QUARTERS: usize = 4;
/// How long a window that is not used is kept (section 4.4.3).
const NON_VALIDATED_PERIOD: Duration = Duration::from_secs(300);
