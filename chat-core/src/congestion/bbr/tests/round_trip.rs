//! ProbeRTT and idleness.

use std::time::Duration;

use super::describe;
use super::link::{App, Link, Path, config, mbits};
use crate::congestion::{State, build};

/// The standing queue is a Reno flow's.
#[test]
fn entering_and_exiting_probe_rtt() {
    let path = Path::new(100, 50, 1500);
    let half = path.bdp() / 2;
    let mut link = Link::new(path, 1);
    link.run_until_state(State::ProbeBwCruise);
    let base = link.bbr().min_rtt.value.expect("measured");
    link.add_other(build(&config()));
    let began = link.now;
    link.run_until_state(State::ProbeRtt);
    assert!(link.now.since(began) >= Duration::from_secs(4), "5 s since the lowest round trip: {}", link.now);
    let bbr = link.bbr();
    assert_eq!((bbr.cwnd_gain(), bbr.pacing_gain()), (50, 100));
    // The model still knows the round trip without the queue.
    assert_eq!(bbr.min_rtt.value, Some(base));
    assert!(
        bbr.probe_rtt_cwnd() <= half * 102 / 100 && bbr.cwnd <= bbr.probe_rtt_cwnd(),
        "{}",
        describe(&link)
    );

    let mut low_since = None;
    link.run_until(5, "the end of ProbeRTT", |link| {
        let bbr = link.bbr();
        if bbr.in_flight <= bbr.probe_rtt_cwnd() && low_since.is_none() {
            low_since = Some((link.now, bbr.rounds.count));
        }
        bbr.state != State::ProbeRtt
    });
    let (since, round) = low_since.expect("drained");
    assert!(link.now.since(since) >= Duration::from_millis(200), "{:?}", link.now.since(since));
    assert!(link.bbr().rounds.count > round);
    assert_eq!(link.state(), State::ProbeBwCruise);
    link.reset_measures();
    link.run_for(Duration::from_secs(2));
    assert!(link.goodput(0) > 20_000_000, "sends again: {}", link.goodput(0));
}

#[test]
fn skipping_probe_rtt_due_to_application_limited_sending() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwCruise);
    link.set_app(App::Silent);
    link.run_for(Duration::from_secs(11));
    assert_eq!(link.flows[0].in_flight, 0);
    let cwnd = link.bbr().cwnd;
    link.set_app(App::Bulk);
    let bbr = link.bbr();
    assert!(bbr.idle_restart);
    // Section 5.4.1: at the bandwidth exactly (the pacing margin applies), with the window that it had.
    assert_eq!(bbr.pacing_rate, bbr.bw / 100 * 99 + bbr.bw % 100 * 99 / 100);
    assert_eq!(bbr.cwnd, cwnd);
    let end = link.now + Duration::from_secs(4);
    while link.now < end {
        link.step();
        assert_ne!(link.state(), State::ProbeRtt, "{}", describe(&link));
    }
    assert!(!link.bbr().idle_restart);
}

#[test]
fn entering_and_exiting_probe_rtt_during_startup() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.set_app(App::Rate(mbits(5)));
    link.run_until_state(State::ProbeRtt);
    assert!(!link.bbr().full_pipe.reached);
    link.run_until(2, "the end of ProbeRTT", |link| link.state() != State::ProbeRtt);
    assert_eq!(link.state(), State::Startup);
    link.set_app(App::Bulk);
    link.run_until(3, "the bandwidth is found", |link| link.bbr().max_bw.get() > 98_000_000);
}

/// A path whose round trip grew is believed after ten seconds, not before ProbeRTT had two chances to disprove it.
#[test]
fn a_longer_round_trip_is_learned_when_the_window_expires() {
    let mut link = Link::new(Path::new(50, 40, 2000), 1);
    link.run_until_state(State::ProbeBwCruise);
    link.path.rtt = Duration::from_millis(80);
    link.run_until(25, "the new round trip", |link| {
        link.bbr().min_rtt.value.is_some_and(|rtt| rtt >= Duration::from_millis(80))
    });
    link.run_for(Duration::from_secs(5));
    link.reset_measures();
    link.run_for(Duration::from_secs(15));
    assert!(link.goodput(0) >= 46_000_000, "{}: {}", link.goodput(0), describe(&link));
}
