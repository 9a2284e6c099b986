//! Startup and Drain.

use std::time::Duration;

use super::link::{App, Link, Path, mbits};
use super::{describe, is_near};
use crate::congestion::State;

#[test]
fn exiting_startup_on_bandwidth_plateau() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    let mut flat_since = 0;
    link.run_until(10, "Drain", |link| {
        let bbr = link.bbr();
        if bbr.full_pipe.count == 0 {
            flat_since = bbr.rounds.count;
        }
        bbr.state == State::Drain
    });
    let bbr = link.bbr();
    assert!(is_near(bbr.max_bw.get(), mbits(100), 20), "{}", describe(&link));
    assert!(bbr.full_pipe.now && bbr.full_pipe.reached);
    assert_eq!((bbr.full_pipe.count, bbr.rounds.count - flat_since), (3, 3), "three rounds in a row");
    assert_eq!(link.flows[0].packets_lost, 0);
    // O(log BDP): the window has to double from 10 packets to twice 521, and three rounds show nothing new.
    assert!(bbr.rounds.count <= 7 + 3 + 2, "{}", describe(&link));
}

#[test]
fn exiting_startup_on_loss_when_application_limited() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.set_app(App::Rate(mbits(20)));
    link.run_for(Duration::from_secs(3));
    assert_eq!(link.state(), State::Startup, "without loss it would last: {}", describe(&link));
    link.path.loss = 100;
    link.run_until(2, "loss ends Startup", |link| link.state() != State::Startup);
    let bbr = link.bbr();
    // Through Drain, which an idle pipe leaves with the same ack.
    assert!(bbr.drain_start_round == bbr.rounds.count && bbr.is_probe_bw(), "{}", describe(&link));
    assert!(bbr.full_pipe.now && bbr.full_pipe.reached && bbr.startup_ended_by_loss);
    assert!(bbr.inflight_longterm >= bbr.bdp() && bbr.inflight_longterm < u64::MAX);
}

#[test]
fn exiting_drain_based_on_inflight() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::Drain);
    let bbr = link.bbr();
    assert_eq!((bbr.pacing_gain(), bbr.cwnd_gain()), (50, 200));
    assert!(is_near(bbr.pacing_rate, mbits(50), 30), "{}", describe(&link));
    let start = bbr.rounds.count;
    let mut least_before = u64::MAX;
    link.run_until(2, "the end of Drain", |link| {
        let bbr = link.bbr();
        if bbr.state == State::Drain {
            least_before = least_before.min(bbr.in_flight);
        }
        bbr.state != State::Drain
    });
    let bbr = link.bbr();
    assert!(bbr.in_flight <= bbr.inflight(100) && bbr.inflight(100) < least_before, "{}", describe(&link));
    assert!(bbr.is_probe_bw() && bbr.rounds.count <= start + 3);
}

/// The draft lowers the bandwidth by 10 %; here Drain at half the old rate still empties the pipe then, so it is lowered
/// to below that half, and what is in flight cannot fall.
#[test]
fn exiting_drain_based_on_time() {
    let mut link = Link::new(Path::new(100, 50, 20_000), 1);
    link.run_until_state(State::Drain);
    link.path.rate = mbits(40);
    let start = link.bbr().drain_start_round;
    link.run_until(5, "the end of Drain", |link| link.state() != State::Drain);
    let bbr = link.bbr();
    assert_eq!(bbr.rounds.count, start + 4, "{}", describe(&link));
    assert!(bbr.is_probe_bw() && bbr.in_flight > bbr.inflight(100), "{}", describe(&link));
}

/// ProbeRTT comes and goes meanwhile; "indefinitely" is ten seconds here.
#[test]
fn never_exiting_startup_when_application_limited_with_no_loss() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.set_app(App::Rate(mbits(5)));
    let end = link.now + Duration::from_secs(10);
    while link.now < end {
        link.step();
        assert!(matches!(link.state(), State::Startup | State::ProbeRtt), "{}", describe(&link));
    }
    assert!(!link.bbr().full_pipe.reached && link.bbr().rounds.count > 100);
}

#[test]
fn achieving_expected_startup_bandwidth_on_a_link_with_aggregation() {
    let mut path = Path::new(100, 50, 4000);
    path.ack_slots = Some(Duration::from_millis(20));
    let bdp = path.bdp();
    let mut link = Link::new(path, 1);
    let mut largest = (0, 0);
    link.run_until(10, "Drain", |link| {
        let bbr = link.bbr();
        largest = (largest.0.max(bbr.cwnd), largest.1.max(bbr.aggregation.extra()));
        bbr.state == State::Drain
    });
    assert!(largest.0 > 2 * bdp && largest.1 > 0, "{largest:?} of {bdp}");
    // 20 ms of acks come at once; the rate of sending caps what that would pretend.
    assert!(is_near(link.bbr().max_bw.get(), mbits(100), 20), "{}", describe(&link));
}
