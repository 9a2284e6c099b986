//! NewReno: slow start, congestion avoidance and fast recovery, after RFC 5681 and RFC 6582, counted in bytes.
//!
//! The textbook inflates the window by one segment for each duplicate ack during recovery, because it cannot tell what
//! left the network. Our acks name every packet that arrived and bytes in flight are exact, so the window is simply
//! ssthresh until recovery ends (the pipe algorithm of RFC 6675, as QUIC does in RFC 9002 section 7.3.2). Growth in
//! congestion avoidance is by appropriate byte counting (RFC 3465), so stretched acks do not slow it down.

use units::{ByteCount, Timestamp};

use super::{AckedPackets, Controller, LostPackets, State};
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
    fn on_ack(&mut self, _now: Timestamp, acked: &AckedPackets<'_>) {
        let used = self.is_used(acked.prior_in_flight);
        for &(packet, size) in acked.packets {
            if self.in_recovery && packet >= self.recover {
                self.in_recovery = false;
            }
            if !self.in_recovery && used {
                self.grow(size.as_u64());
            }
        }
    }

    fn on_loss(&mut self, _now: Timestamp, loss: &LostPackets) {
        if loss.largest < self.recover {
            return;
        }
        self.halve(loss.flight_size);
        self.cwnd = self.ssthresh;
        self.acked_since_growth = 0;
        self.recover = loss.next_packet;
        self.in_recovery = true;
    }

    fn on_timeout(&mut self, _now: Timestamp, loss: &LostPackets) {
        if !loss.repeated {
            self.halve(loss.flight_size);
        }
        // The loss window: one segment, whatever the initial window was.
        self.cwnd = self.mss;
        self.acked_since_growth = 0;
        self.recover = loss.next_packet;
        self.in_recovery = false;
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

    const MSS: u64 = 1200;

    fn classic() -> Reno {
        Reno::new(&TransportConfig { mss: ByteCount(MSS), ..TransportConfig::new(Profile::Classic) })
    }

    /// Acknowledges a full window, one packet at a time, and returns the window in segments.
    fn round(reno: &mut Reno, next_packet: &mut u64) -> u64 {
        let flight = reno.cwnd;
        for _ in 0..flight / MSS {
            let packets = [(*next_packet, ByteCount(MSS))];
            *next_packet += 1;
            reno.on_ack(
                Timestamp::ZERO,
                &AckedPackets { packets: &packets, prior_in_flight: ByteCount(flight) },
            );
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
        let loss =
            LostPackets { largest: 10, next_packet: 50, flight_size: ByteCount(40 * MSS), repeated: false };
        reno.on_loss(Timestamp::ZERO, &loss);
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (20, 20));
        assert_eq!(reno.state(), State::FastRecovery);
        reno.on_loss(Timestamp::ZERO, &LostPackets { largest: 49, ..loss });
        assert_eq!(reno.cwnd / MSS, 20);
        reno.on_loss(Timestamp::ZERO, &LostPackets { largest: 50, flight_size: ByteCount(20 * MSS), ..loss });
        assert_eq!(reno.cwnd / MSS, 10);
    }

    #[test]
    fn recovery_ends_with_the_first_packet_sent_after_it_began() {
        let mut reno = classic();
        reno.cwnd = 8 * MSS;
        let flight_size = ByteCount(8 * MSS);
        reno.on_loss(
            Timestamp::ZERO,
            &LostPackets { largest: 3, next_packet: 9, flight_size, repeated: false },
        );
        let ack = |packet| [(packet, ByteCount(MSS))];
        let prior_in_flight = ByteCount(4 * MSS);
        reno.on_ack(Timestamp::ZERO, &AckedPackets { packets: &ack(8), prior_in_flight });
        assert_eq!(reno.state(), State::FastRecovery);
        reno.on_ack(Timestamp::ZERO, &AckedPackets { packets: &ack(9), prior_in_flight });
        assert_eq!(reno.state(), State::CongestionAvoidance);
    }

    #[test]
    fn a_timeout_starts_from_one_segment_and_repeats_do_not_halve_again() {
        let mut reno = classic();
        reno.cwnd = 32 * MSS;
        let loss =
            LostPackets { largest: 5, next_packet: 40, flight_size: ByteCount(32 * MSS), repeated: false };
        reno.on_timeout(Timestamp::ZERO, &loss);
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (1, 16));
        reno.on_timeout(
            Timestamp::ZERO,
            &LostPackets { repeated: true, flight_size: ByteCount(MSS), ..loss },
        );
        assert_eq!((reno.cwnd / MSS, reno.ssthresh / MSS), (1, 16));
    }

    #[test]
    fn an_unused_window_does_not_grow() {
        let mut reno = classic();
        (reno.cwnd, reno.ssthresh) = (20 * MSS, 10 * MSS);
        let packets = [(1, ByteCount(MSS))];
        for _ in 0..100 {
            reno.on_ack(
                Timestamp::ZERO,
                &AckedPackets { packets: &packets, prior_in_flight: ByteCount(2 * MSS) },
            );
        }
        assert_eq!(reno.cwnd, 20 * MSS);
    }
}
