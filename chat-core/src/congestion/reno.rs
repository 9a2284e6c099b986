//! NewReno: slow start, congestion avoidance and fast recovery, after RFC 5681 and RFC 6582, counted in bytes.
//!
//! The textbook inflates the window by one segment for each duplicate ack during recovery, because it cannot tell what
//! left the network. Our acks name every packet that arrived and bytes in flight are exact, so the window is simply
//! ssthresh until recovery ends (the pipe algorithm of RFC 6675, as QUIC does in RFC 9002 section 7.3.2). Growth in
//! congestion avoidance is by appropriate byte counting (RFC 3465), so stretched acks do not slow it down.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use super::{AckBatch, Controller, State, Timeout};
use crate::config::TransportConfig;

#[derive(Clone, Debug)]
pub struct Reno {
    mss: u64,
    initial_cwnd: u64,
    initial_ssthresh: u64,
    cwnd: u64,
    ssthresh: u64,
    /// Bytes acknowledged since the window last grew in congestion avoidance.
    acked_since_growth: u64,
    /// Losses below this packet number belong to a reduction already made (`recover` of RFC 6582).
    recover: u64,
    in_recovery: bool,
}

impl Reno {
    #[must_use]
    pub fn new(config: &TransportConfig) -> Self {
        let mss = config.mss.as_u64();
        let initial_cwnd = config.initial_cwnd * mss;
        let initial_ssthresh = config.initial_ssthresh.map_or(u64::MAX, |segments| segments * mss);
        Self {
            mss,
            initial_cwnd,
            initial_ssthresh,
            cwnd: initial_cwnd,
            ssthresh: initial_ssthresh,
            acked_since_growth: 0,
            recover: 0,
            in_recovery: false,
        }
    }

    /// RFC 5681 equation 4.
    fn halve(&mut self, flight_size: ByteCount) {
        self.ssthresh = (flight_size.as_u64() / 2).max(2 * self.mss);
    }

    fn grow(&mut self, bytes: u64) {
        if self.cwnd < self.ssthresh {
            // Equation 2: at most one segment for each packet acknowledged.
            self.cwnd = (self.cwnd + bytes.min(self.mss)).min(self.ssthresh.max(self.cwnd));
            return;
        }
        self.acked_since_growth += bytes;
        if self.acked_since_growth >= self.cwnd {
            self.acked_since_growth -= self.cwnd;
            self.cwnd += self.mss;
        }
    }

    /// Whether the sender made use of the window; one that did not learns nothing from acks (RFC 9002 section 7.8). In
    /// slow start half of it is enough (as Linux does), or doubling could never follow a window that just grew.
    fn is_used(&self, prior_in_flight: ByteCount) -> bool {
        let flight = prior_in_flight.as_u64() + self.mss;
        if self.cwnd < self.ssthresh { 2 * flight > self.cwnd } else { flight > self.cwnd }
    }
}

impl Controller for Reno {
    fn on_acks(&mut self, batch: &AckBatch<'_>) {
        if let Some(largest) = batch.lost.last()
            && largest.number >= self.recover
        {
            self.halve(batch.prior_in_flight);
            self.cwnd = self.ssthresh;
            self.acked_since_growth = 0;
            self.recover = batch.next_packet;
            self.in_recovery = true;
        }
        let used = self.is_used(batch.prior_in_flight);
        for packet in batch.acked {
            if self.in_recovery && packet.number >= self.recover {
                self.in_recovery = false;
            }
            if !self.in_recovery && used {
                self.grow(packet.size.as_u64());
            }
        }
    }

    fn on_timeout(&mut self, timeout: &Timeout) {
        if !timeout.repeated {
            self.halve(timeout.flight_size);
        }
        // The loss window: one segment, whatever the initial window was.
        self.cwnd = self.mss;
        self.acked_since_growth = 0;
        self.recover = timeout.next_packet;
        self.in_recovery = false;
    }

    fn on_persistent_congestion(&mut self, _now: Timestamp) {
        self.cwnd = 2 * self.mss;
        self.acked_since_growth = 0;
        self.in_recovery = false;
    }

    fn on_spurious(&mut self, _now: Timestamp) {}

    fn on_mss(&mut self, mss: ByteCount) {
        self.mss = mss.as_u64();
    }

    fn on_new_path(&mut self) {
        self.cwnd = self.initial_cwnd;
        self.ssthresh = self.initial_ssthresh;
        self.acked_since_growth = 0;
        self.in_recovery = false;
    }

    fn cwnd(&self) -> ByteCount {
        ByteCount(self.cwnd)
    }

    fn ssthresh(&self) -> Option<ByteCount> {
        (self.ssthresh != u64::MAX).then_some(ByteCount(self.ssthresh))
    }

    fn pacing_rate(&self, _srtt: Option<Duration>) -> Option<Bitrate> {
        None
    }

    fn state(&self) -> State {
        if self.in_recovery {
            State::FastRecovery
        } else if self.cwnd < self.ssthresh {
            State::SlowStart
        } else {
            State::CongestionAvoidance
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Profile;
    use crate::congestion::{AckedPacket, Delivery, LostPacket, RttView};

    const MSS: u64 = 1200;

    fn classic() -> Reno {
        Reno::new(&TransportConfig { mss: ByteCount(MSS), ..TransportConfig::new(Profile::Classic) })
    }

    fn batch(prior_in_flight: u64) -> AckBatch<'static> {
        AckBatch {
            now: Timestamp::ZERO,
            acked: &[],
            lost: &[],
            ecn_ce: 0,
            prior_in_flight: ByteCount(prior_in_flight),
            in_flight: ByteCount(prior_in_flight),
            next_packet: 0,
            rtt: RttView::default(),
            rate: None,
        }
    }

    fn acked(number: u64) -> [AckedPacket; 1] {
        let delivery = Delivery::default();
        [AckedPacket { number, size: ByteCount(MSS), sent_at: Timestamp::ZERO, delivery }]
    }

    fn lost(number: u64) -> [LostPacket; 1] {
        let delivery = Delivery::default();
        [LostPacket { number, size: ByteCount(MSS), sent_at: Timestamp::ZERO, delivery }]
    }

    /// Acknowledges a full window, one packet at a time, and returns the window in segments.
    fn round(reno: &mut Reno, next_packet: &mut u64) -> u64 {
        let flight = reno.cwnd;
        for _ in 0..flight / MSS {
            reno.on_acks(&AckBatch { acked: &acked(*next_packet), ..batch(flight) });
            *next_packet += 1;
        }
        reno.cwnd / MSS
    }

    #[test]
    fn slow_start_doubles_to_ssthresh_then_adds_one_segment_each_round_trip() {
        let (mut reno, mut packet) = (classic(), 1);
        let windows: Vec<u64> = (0..9).map(|_| round(&mut reno, &mut packet)).collect();
        assert_eq!(windows, [2, 4, 8, 16, 32, 64, 65, 66, 67]);
    }

    #[test]
    fn one_window_of_losses_halves_once() {
        let mut reno = classic();
        reno.cwnd = 40 * MSS;
        let flight = AckBatch { next_packet: 50, ..batch(40 * MSS) };
        reno.on_acks(&AckBatch { lost: &lost(10), ..flight });
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (20, 20));
        assert_eq!(reno.state(), State::FastRecovery);
        reno.on_acks(&AckBatch { lost: &lost(49), ..flight });
        assert_eq!(reno.cwnd / MSS, 20);
        reno.on_acks(&AckBatch { lost: &lost(50), prior_in_flight: ByteCount(20 * MSS), ..flight });
        assert_eq!(reno.cwnd / MSS, 10);
    }

    #[test]
    fn recovery_ends_with_the_first_packet_sent_after_it_began() {
        let mut reno = classic();
        reno.cwnd = 8 * MSS;
        reno.on_acks(&AckBatch { lost: &lost(3), next_packet: 9, ..batch(8 * MSS) });
        reno.on_acks(&AckBatch { acked: &acked(8), ..batch(4 * MSS) });
        assert_eq!(reno.state(), State::FastRecovery);
        reno.on_acks(&AckBatch { acked: &acked(9), ..batch(4 * MSS) });
        assert_eq!(reno.state(), State::CongestionAvoidance);
    }

    #[test]
    fn a_timeout_starts_from_one_segment_and_repeats_do_not_halve_again() {
        let mut reno = classic();
        reno.cwnd = 32 * MSS;
        let flight_size = ByteCount(32 * MSS);
        let timeout = Timeout { now: Timestamp::ZERO, next_packet: 40, flight_size, repeated: false };
        reno.on_timeout(&timeout);
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (1, 16));
        reno.on_timeout(&Timeout { repeated: true, flight_size: ByteCount(MSS), ..timeout });
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (1, 16));
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = classic();
        (reno.cwnd, reno.ssthresh) = (20 * MSS, 10 * MSS);
        for _ in 0..100 {
            reno.on_acks(&AckBatch { acked: &acked(1), ..batch(2 * MSS) });
        }
        assert_eq!(reno.cwnd, 20 * MSS);
    }
}
