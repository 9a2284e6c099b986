//! What each event does to the window.

use std::time::Duration;

use proptest::prelude::*;
use units::{ByteCount, Timestamp};

use super::golden::cubic;
use crate::config::{CongestionControl, Profile, TransportConfig};
use crate::congestion::{
    AckBatch, AckedPacket, Controller, Delivery, LostPacket, RttView, SentPacket, State, Timeout, build,
};

pub(super) const MSS: u64 = 1200;
pub(super) const RTT: Duration = Duration::from_millis(100);

/// A controller and the packet numbers it has seen.
pub(super) struct Bench {
    pub(super) controller: Box<dyn Controller>,
    pub(super) now: Timestamp,
    pub(super) rtt: Duration,
    pub(super) next: u64,
    /// Packets in flight.
    pub(super) in_flight: u64,
}

impl Bench {
    pub(super) fn new(config: &TransportConfig) -> Self {
        Self { controller: build(config), now: Timestamp::ZERO, rtt: RTT, next: 1, in_flight: 0 }
    }

    pub(super) fn send(&mut self, count: u64) {
        for _ in 0..count {
            self.controller.on_sent(&SentPacket {
                at: self.now,
                number: self.next,
                size: ByteCount(MSS),
                prior_in_flight: ByteCount(self.in_flight * MSS),
                app_limited: false,
            });
            self.next += 1;
            self.in_flight += 1;
        }
    }

    /// Sends what the window allows.
    fn fill(&mut self) {
        self.send(self.window().saturating_sub(self.in_flight));
    }

    pub(super) fn batch(&mut self, acked: &[u64], lost: &[u64], ecn_ce: u64) {
        let prior_in_flight = ByteCount(self.in_flight * MSS);
        self.in_flight = self.in_flight.saturating_sub((acked.len() + lost.len()) as u64);
        let acked: Vec<_> = acked
            .iter()
            .map(|&number| {
                let delivery = Delivery::default();
                AckedPacket { number, size: ByteCount(MSS), sent_at: self.now, delivery }
            })
            .collect();
        let lost: Vec<_> = lost
            .iter()
            .map(|&number| {
                let delivery = Delivery::default();
                LostPacket { number, size: ByteCount(MSS), sent_at: self.now, delivery }
            })
            .collect();
        self.controller.on_acks(&AckBatch {
            now: self.now,
            acked: &acked,
            lost: &lost,
            ecn_ce,
            prior_in_flight,
            in_flight: ByteCount(self.in_flight * MSS),
            next_packet: self.next,
            rtt: RttView { latest: Some(self.rtt), smoothed: Some(self.rtt), min: Some(self.rtt) },
            rate: None,
        });
    }

    fn ack(&mut self, number: u64) {
        self.batch(&[number], &[], 0);
    }

    /// A full window is sent and acknowledged, one packet at a time; returns the window after it.
    fn round(&mut self) -> u64 {
        self.fill();
        let first = self.next - self.in_flight;
        self.now += self.rtt;
        for number in first..self.next {
            self.ack(number);
        }
        self.window()
    }

    pub(super) fn window(&self) -> u64 {
        self.controller.cwnd().as_u64() / MSS
    }

    fn threshold(&self) -> Option<u64> {
        self.controller.ssthresh().map(|ssthresh| ssthresh.as_u64() / MSS)
    }

    pub(super) fn timeout(&mut self, repeated: bool) {
        let flight_size = ByteCount(self.in_flight * MSS);
        self.controller.on_timeout(&Timeout { now: self.now, next_packet: self.next, flight_size, repeated });
        self.in_flight = 0;
    }
}

fn classic() -> TransportConfig {
    TransportConfig { mss: ByteCount(MSS), ..TransportConfig::new(Profile::Classic) }
}

fn reno() -> TransportConfig {
    TransportConfig { congestion: CongestionControl::Reno, ..cubic() }
}

/// A window of so many segments in congestion avoidance, about to be filled.
fn avoiding(config: TransportConfig, segments: u64) -> Bench {
    Bench::new(&TransportConfig { initial_cwnd: segments, initial_ssthresh: Some(segments), ..config })
}

#[test]
fn classic_doubles_to_ssthresh_then_adds_one_segment_each_round_trip() {
    let mut bench = Bench::new(&classic());
    let windows: Vec<u64> = (0..9).map(|_| bench.round()).collect();
    assert_eq!(windows, [2, 4, 8, 16, 32, 64, 65, 66, 67]);
}

#[test]
fn an_ack_of_four_packets_adds_one_segment_in_the_textbook_and_four_by_bytes() {
    for (config, expected) in [(classic(), 11), (cubic(), 14)] {
        let mut bench = Bench::new(&TransportConfig { initial_cwnd: 10, ..config });
        bench.fill();
        bench.batch(&[1, 2, 3, 4], &[], 0);
        assert_eq!(bench.window(), expected);
    }
}

#[test]
fn one_window_of_losses_reduces_once() {
    for (config, after, again) in [(classic(), 20, 10), (reno(), 20, 10), (cubic(), 28, 19)] {
        let mut bench = avoiding(config, 40);
        bench.fill();
        bench.batch(&[13], &[10], 0);
        assert_eq!(bench.threshold(), Some(after));
        assert_eq!(bench.controller.state(), State::FastRecovery);
        bench.batch(&[], &[40], 0);
        assert_eq!(bench.threshold(), Some(after), "40 was sent before the reduction");
        // The first packet sent after it ends the recovery.
        bench.in_flight = 0;
        bench.fill();
        bench.ack(40);
        assert_eq!(bench.controller.state(), State::FastRecovery);
        bench.ack(41);
        assert_eq!(bench.controller.state(), State::CongestionAvoidance);
        assert_eq!(bench.window(), after);
        bench.in_flight = after;
        bench.batch(&[], &[42], 0);
        assert_eq!(bench.threshold(), Some(again), "42 was sent after the reduction");
    }
}

#[test]
fn the_textbook_goes_to_ssthresh_at_once_and_prr_ack_by_ack() {
    let mut textbook = avoiding(classic(), 20);
    textbook.fill();
    textbook.batch(&[4], &[1], 0);
    assert_eq!(textbook.window(), 10);
    let mut gradual = avoiding(reno(), 20);
    gradual.fill();
    gradual.batch(&[4], &[1], 0);
    assert_eq!(gradual.window(), 18, "18 in flight, and half a segment");
    for number in 5..=20 {
        gradual.ack(number);
        let free = gradual.window().saturating_sub(gradual.in_flight);
        gradual.send(free);
    }
    assert!((9..=10).contains(&gradual.in_flight), "{}", gradual.in_flight);
}

#[test]
fn a_timeout_starts_from_one_segment_and_repeats_do_not_halve_again() {
    let mut bench = avoiding(classic(), 32);
    bench.fill();
    bench.timeout(false);
    assert_eq!((bench.window(), bench.threshold()), (1, Some(16)));
    bench.send(1);
    bench.timeout(true);
    assert_eq!((bench.window(), bench.threshold()), (1, Some(16)));
}

#[test]
fn cubic_after_a_timeout_slow_starts_to_its_share_and_then_crawls() {
    // packetdrill's cubic-rto script: ssthresh 7 of a window of 10, then 2 3 4 5 6 7 ack by ack, then seven segments acked
    // leave 7 and fifteen make 8.
    let config = TransportConfig { loss_window: 1, min_cwnd_thin: 2, ..cubic() };
    let mut bench = avoiding(config, 10);
    bench.fill();
    bench.timeout(false);
    assert_eq!((bench.window(), bench.threshold()), (1, Some(7)));
    let mut windows = vec![];
    let first = bench.next;
    for number in first..first + 28 {
        bench.fill();
        bench.now += RTT / 5;
        bench.ack(number);
        windows.push(bench.window());
    }
    assert_eq!(windows[..13], [2, 3, 4, 5, 6, 7, 7, 7, 7, 7, 7, 7, 7], "{windows:?}");
    assert!(windows[18..24].contains(&8), "{windows:?}");
}

#[test]
fn an_ecn_mark_takes_less_than_a_loss_and_once_a_round() {
    for (config, after) in [(reno(), 80), (cubic(), 85)] {
        let mut bench = avoiding(config.clone(), 100);
        bench.fill();
        bench.batch(&[1], &[], 1);
        assert_eq!(bench.threshold(), Some(after));
        bench.batch(&[2], &[], 1);
        assert_eq!(bench.threshold(), Some(after), "one reaction for each round trip");
        // In slow start a mark is as good as a loss, and so it is everywhere without ABE.
        let as_loss = if after == 80 { 50 } else { 70 };
        let mut starting = Bench::new(&TransportConfig { initial_cwnd: 100, ..config.clone() });
        starting.fill();
        starting.batch(&[1], &[], 1);
        assert_eq!(starting.threshold(), Some(as_loss));
        let mut without = avoiding(TransportConfig { abe: false, ..config }, 100);
        without.fill();
        without.batch(&[1], &[], 1);
        assert_eq!(without.threshold(), Some(as_loss));
    }
}

#[test]
fn a_spurious_loss_gives_back_what_it_took_and_only_once() {
    for config in [classic(), reno(), cubic()] {
        let mut bench = avoiding(config, 40);
        bench.fill();
        bench.batch(&[5], &[1], 0);
        bench.ack(1);
        bench.controller.on_spurious(bench.now);
        assert_eq!((bench.window(), bench.threshold()), (40, Some(40)));
        assert_eq!(bench.controller.state(), State::CongestionAvoidance);
        // The next loss is one, and without a verdict on it nothing is given back.
        bench.batch(&[10], &[6], 0);
        let reduced = bench.threshold();
        assert!(reduced < Some(40));
        bench.fill();
        for number in 11..bench.next {
            bench.ack(number);
        }
        assert!(bench.window() <= reduced.unwrap() + 1, "{} after {reduced:?}", bench.window());
    }
}

#[test]
fn a_mark_is_never_spurious() {
    let mut bench = avoiding(cubic(), 100);
    bench.fill();
    bench.batch(&[1], &[], 1);
    bench.controller.on_spurious(bench.now);
    assert_eq!(bench.threshold(), Some(85));
}

#[test]
fn cubic_resumes_its_curve_after_an_undo() {
    let config = TransportConfig { fast_convergence: false, ..cubic() };
    let run = |disturb: bool| {
        let mut bench = avoiding(config.clone(), 100);
        bench.fill();
        bench.batch(&[4], &[1], 0);
        bench.in_flight = 0;
        for _ in 0..10 {
            bench.round();
        }
        if disturb {
            bench.fill();
            let first = bench.next - bench.in_flight;
            bench.batch(&[], &[first], 0);
            bench.controller.on_spurious(bench.now);
            bench.batch(&(first + 1..bench.next).collect::<Vec<_>>(), &[], 0);
            bench.in_flight = 0;
        }
        for _ in 0..10 {
            bench.round();
        }
        bench.window()
    };
    assert!(run(false).abs_diff(run(true)) <= 2, "{} and {}", run(false), run(true));
}

#[test]
fn persistent_congestion_leaves_the_smallest_window() {
    let mut bench = avoiding(reno(), 40);
    bench.fill();
    bench.batch(&[], &[1, 2, 3], 0);
    bench.controller.on_persistent_congestion(bench.now);
    assert_eq!((bench.window(), bench.threshold()), (2, Some(20)));
    assert_eq!(bench.controller.state(), State::SlowStart);
    bench.controller.on_spurious(bench.now);
    assert_eq!(bench.window(), 2, "that is not undone");
}

#[test]
fn a_thin_flow_keeps_ten_segments() {
    // Three packets in each round trip, one of which is lost: never enough to fill even the initial window.
    let mut bench = Bench::new(&reno());
    for _ in 0..100 {
        let first = bench.next;
        bench.send(3);
        bench.now += RTT;
        bench.batch(&[first + 1, first + 2], &[first], 0);
        assert!(bench.window() >= 10, "{}", bench.window());
    }
    assert_eq!(bench.window(), 10);
    // A flow that fills its window and loses as much goes down to two.
    let mut full = avoiding(reno(), 20);
    for _ in 0..100 {
        full.fill();
        let first = full.next - full.in_flight;
        full.now += RTT;
        full.batch(&(first + 1..full.next).collect::<Vec<_>>(), &[first], 0);
    }
    assert_eq!(full.window(), 2);
}

#[test]
fn an_unused_window_neither_grows_nor_answers_for_what_it_did_not_send() {
    for config in [classic(), reno(), cubic()] {
        let validates = config.cwnd_validation;
        // Without the floor of a thin flow, which is more than this flow has shown to use.
        let mut bench = avoiding(TransportConfig { min_cwnd_thin: 2, ..config }, 100);
        for _ in 0..50 {
            let first = bench.next;
            bench.send(8);
            bench.now += RTT;
            bench.batch(&(first..bench.next).collect::<Vec<_>>(), &[], 0);
        }
        assert_eq!(bench.window(), 100);
        // RFC 7661 section 4.4.2: the reduction is from the eight that were in flight, not from 100.
        bench.send(8);
        let first = bench.next - 8;
        bench.batch(&[first + 4], &[first], 0);
        assert!(bench.threshold() <= Some(5), "{:?}, validated: {validates}", bench.threshold());
    }
}

#[test]
fn a_window_unused_for_five_minutes_is_halved_down_to_the_initial_one() {
    let mut bench = avoiding(reno(), 160);
    bench.round();
    let config = TransportConfig { initial_cwnd: 10, ..reno() };
    let mut grown = Bench::new(&config);
    for _ in 0..4 {
        grown.round();
    }
    assert_eq!(grown.window(), 160);
    let mut windows = vec![];
    for _ in 0..6 {
        grown.now += Duration::from_secs(301);
        grown.send(1);
        windows.push(grown.window());
        grown.ack(grown.next - 1);
    }
    assert_eq!(windows, [80, 40, 20, 10, 10, 10]);
}

#[test]
fn an_idle_timeout_restarts_the_textbook_only() {
    for (config, after) in [(classic(), 1), (reno(), 36)] {
        let mut bench =
            Bench::new(&TransportConfig { initial_cwnd: 1, initial_ssthresh: Some(36), ..config });
        while bench.window() < 36 {
            bench.round();
        }
        bench.controller.on_idle();
        assert_eq!(bench.window(), after);
    }
}

#[test]
fn hystart_leaves_slow_start_when_the_rtt_rises() {
    // packetdrill's hystart script: RTT 200 ms, then 240 ms from a window of 20 on, two packets an ack. Linux leaves with
    // the ninth sample at 36; HyStart++ needs eight, and only slows down.
    let mut bench = Bench::new(&TransportConfig { hystart: true, ..cubic() });
    bench.rtt = Duration::from_millis(200);
    bench.fill();
    bench.batch(&(1..=10).collect::<Vec<_>>(), &[], 0);
    bench.fill();
    bench.rtt = Duration::from_millis(240);
    let mut windows = vec![];
    for first in (11..=25).step_by(2) {
        bench.batch(&[first, first + 1], &[], 0);
        windows.push((bench.window(), bench.controller.state() == State::ConservativeSlowStart));
    }
    let expected: Vec<_> = (22..=36).step_by(2).map(|window| (window, window == 36)).collect();
    assert_eq!(windows, expected);
    bench.batch(&[27, 28, 29, 30], &[], 0);
    assert_eq!(bench.window(), 37, "a quarter of four");
}

#[test]
fn hystart_is_over_after_five_rounds_or_forgives() {
    let start = || {
        let mut bench = Bench::new(&TransportConfig { hystart: true, ..cubic() });
        bench.rtt = Duration::from_millis(200);
        bench.round();
        bench.rtt = Duration::from_millis(240);
        bench.round();
        assert_eq!(bench.controller.state(), State::ConservativeSlowStart);
        bench
    };
    let mut queue = start();
    let mut rounds = 0;
    while queue.controller.state() == State::ConservativeSlowStart {
        queue.round();
        rounds += 1;
    }
    assert_eq!((rounds, queue.controller.state()), (5, State::CongestionAvoidance));
    assert_eq!(queue.threshold().unwrap() / 10, queue.window() / 10, "ssthresh is the window it ended with");
    let mut noise = start();
    noise.rtt = Duration::from_millis(205);
    noise.round();
    assert_eq!((noise.controller.state(), noise.threshold()), (State::SlowStart, None));
}

#[test]
fn hystart_forgets_a_flow_that_does_not_fill_its_window() {
    let mut bench = Bench::new(&TransportConfig { hystart: true, ..cubic() });
    for rtt_ms in [20, 200, 20, 200, 20, 200] {
        bench.rtt = Duration::from_millis(rtt_ms);
        let first = bench.next;
        bench.send(4);
        for number in first..bench.next {
            bench.ack(number);
            bench.ack(number);
            bench.ack(number);
        }
    }
    assert_eq!((bench.controller.state(), bench.window()), (State::SlowStart, 10));
}

#[test]
fn pacing_is_a_quarter_faster_than_the_window_needs_and_double_in_slow_start() {
    // 100 segments of 1,200 bytes in 100 ms are 9.6 Mbit/s.
    let rate = |bench: &Bench| bench.controller.pacing_rate(Some(RTT)).map(|rate| rate.bits_per_second());
    let mut bench = avoiding(reno(), 100);
    assert_eq!(rate(&bench), Some(12_000_000));
    assert_eq!(bench.controller.pacing_rate(None), None, "before the first sample");
    bench.fill();
    bench.batch(&(60..=100).collect::<Vec<_>>(), &(1..=59).collect::<Vec<_>>(), 0);
    // Nothing is in flight, but what leaves is paced towards ssthresh.
    assert!(rate(&bench) >= Some(6_000_000), "{:?}", rate(&bench));
    assert_eq!(rate(&Bench::new(&TransportConfig { initial_cwnd: 100, ..reno() })), Some(19_200_000));
    assert_eq!(rate(&Bench::new(&classic())), None);
}

#[test]
fn a_new_segment_size_keeps_the_bytes_of_a_window_that_was_earned() {
    let mut fresh = Bench::new(&cubic());
    fresh.controller.on_mss(ByteCount(1400));
    assert_eq!(fresh.controller.cwnd(), ByteCount(14_000));
    let mut grown = Bench::new(&cubic());
    grown.round();
    grown.controller.on_mss(ByteCount(1400));
    assert_eq!(grown.controller.cwnd(), ByteCount(20 * MSS));
}

#[test]
fn a_new_path_begins_anew() {
    let mut bench = Bench::new(&cubic());
    bench.round();
    bench.batch(&[], &[15], 0);
    bench.controller.on_new_path();
    assert_eq!((bench.window(), bench.threshold()), (10, None));
    assert_eq!(bench.controller.state(), State::SlowStart);
}

proptest! {
    /// A loss that nobody calls spurious is never given back, whatever else is acknowledged.
    #[test]
    fn random_losses_are_not_undone(every in 20_u64..200, seed in any::<u64>()) {
        let mut bench = avoiding(cubic(), 50);
        let mut reductions = 0;
        for round in 0..50_u64 {
            bench.fill();
            let first = bench.next - bench.in_flight;
            bench.now += RTT;
            let is_lost = |number: &u64| number.wrapping_mul(seed | 1).is_multiple_of(every);
            let (lost, acked): (Vec<u64>, Vec<u64>) = (first..bench.next).partition(is_lost);
            let before = bench.controller.cwnd();
            let in_recovery = bench.controller.state() == State::FastRecovery;
            bench.batch(&acked, &lost, 0);
            bench.in_flight = 0;
            if !lost.is_empty() && !in_recovery {
                reductions += 1;
                prop_assert!(bench.controller.ssthresh().unwrap() <= before, "round {round}");
                prop_assert_eq!(bench.controller.state(), State::FastRecovery);
            }
        }
        prop_assume!(reductions > 0);
    }
}
