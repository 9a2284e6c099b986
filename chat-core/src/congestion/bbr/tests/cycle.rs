//! The cycle of ProbeBW.

use std::time::Duration;

use units::Bitrate;

use super::link::{App, Link, MSS, Path, mbits};
use super::{describe, is_near};
use crate::congestion::State;
use crate::congestion::bbr::UNBOUNDED;

#[test]
fn exiting_probe_up_on_bandwidth_plateau() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwUp);
    let bbr = link.bbr();
    assert_eq!((bbr.pacing_gain(), bbr.cwnd_gain()), (125, 225));
    let start = bbr.rounds.count;
    link.run_until(2, "the end of UP", |link| link.state() != State::ProbeBwUp);
    let bbr = link.bbr();
    assert_eq!((bbr.state, bbr.full_pipe.now, bbr.full_pipe.count), (State::ProbeBwDown, true, 3));
    // The baseline of the estimator is the rate at which UP began: three flat rounds.
    assert_eq!(bbr.rounds.count, start + 3, "{}", describe(&link));
    assert_eq!((link.flows[0].packets_lost, bbr.inflight_longterm), (0, UNBOUNDED));
}

#[test]
fn exiting_probe_up_on_loss_when_application_limited() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.set_app(App::Rate(mbits(40)));
    link.run_for(Duration::from_millis(300));
    assert_eq!(link.state(), State::ProbeBwUp, "{}", describe(&link));
    link.path.loss = 100;
    link.run_until(1, "loss ends UP", |link| link.state() != State::ProbeBwUp);
    let bbr = link.bbr();
    // Through DOWN, which an idle pipe leaves with the same ack.
    assert_eq!((bbr.state, bbr.cycle.stamp), (State::ProbeBwCruise, link.now));
    assert!(bbr.cycle.prev_probe_too_high && !bbr.cycle.is_probe_sample);
    // A sender with little to send learns nothing about the volume that fits: section 5.5.10.2 leaves the bound alone.
    assert_eq!(bbr.inflight_longterm, UNBOUNDED);
}

/// "Indefinitely" lasts until ProbeRTT is due.
#[test]
fn never_exiting_probe_up_when_application_limited_with_no_loss() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.set_app(App::Rate(mbits(40)));
    let start = link.bbr().rounds.count;
    link.run_until(10, "ProbeRTT", |link| link.state() != State::ProbeBwUp);
    assert_eq!(link.state(), State::ProbeRtt, "{}", describe(&link));
    assert!(link.bbr().rounds.count > start + 20, "{}", describe(&link));
}

#[test]
fn exiting_probe_down_on_inflight() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.run_until_state(State::ProbeBwDown);
    let bbr = link.bbr();
    assert_eq!((bbr.pacing_gain(), bbr.cwnd_gain()), (90, 200));
    assert!(bbr.inflight_longterm != UNBOUNDED && bbr.in_flight > bbr.inflight_of(bbr.max_bw.get()));
    let mut was_above = true;
    link.run_until(3, "CRUISE", |link| {
        let bbr = link.bbr();
        let is_above =
            bbr.in_flight > bbr.inflight_with_headroom() || bbr.in_flight > bbr.inflight_of(bbr.bw);
        let left = bbr.state != State::ProbeBwDown;
        assert!(left || was_above || is_above, "stayed in DOWN below both: {}", describe(link));
        was_above = is_above;
        left
    });
    let bbr = link.bbr();
    assert_eq!(bbr.state, State::ProbeBwCruise);
    assert!(!was_above, "{}", describe(&link));
}

#[test]
fn exiting_probe_down_after_max_time() {
    let mut link = Link::new(Path::new(100, 50, 4000), DOWN_SEED);
    // The first ProbeRTT is past, so that the wait ends before the next.
    link.run_until_state(State::ProbeRtt);
    link.run_until_state(State::ProbeBwUp);
    link.run_until_state(State::ProbeBwDown);
    link.path.rate = mbits(90);
    let wait = link.bbr().cycle.probe_wait;
    let entered = link.now;
    link.run_until(5, "the end of DOWN", |link| link.state() != State::ProbeBwDown);
    assert_eq!(link.state(), State::ProbeBwRefill, "{}", describe(&link));
    let stayed = link.now.since(entered);
    assert!(stayed > wait && stayed < wait + Duration::from_millis(20), "{stayed:?} of {wait:?}");
}

/// With this seed the wait in question is short enough to end before ProbeRTT would interrupt it.
const DOWN_SEED: u64 = 8;

#[test]
fn achieving_expected_cruise_bandwidth_on_a_link_with_aggregation() {
    let path = Path::new(100, 50, 4000);
    let bdp = path.bdp();
    let mut link = Link::new(path, 1);
    link.run_until_state(State::ProbeBwCruise);
    let plain = link.bbr().aggregation.extra();
    link.path.ack_slots = Some(Duration::from_millis(20));
    link.run_for(Duration::from_millis(500));
    link.reset_measures();
    link.run_for(Duration::from_millis(1000));
    let bbr = link.bbr();
    assert_eq!(bbr.state, State::ProbeBwCruise);
    // A slot of 20 ms holds 250 kB; all but what the last moment of it explains came early.
    let slot = mbits(100).bytes_in(Duration::from_millis(20)).as_u64();
    let extra = bbr.aggregation.extra();
    assert!(extra > plain && (slot * 8 / 10..slot * 13 / 10).contains(&extra), "{extra} of {slot}");
    assert!(bbr.cwnd >= 2 * bdp + extra, "{}", describe(&link));
    assert!(link.goodput(0) >= 97_000_000, "{}", link.goodput(0));
}

#[test]
fn correctly_managing_sub_packet_bdps() {
    let mut path = Path::new(1, 1, 0);
    path.rate = Bitrate::from_bits_per_second(500_000).expect("not zero");
    path.buffer = 20 * MSS;
    assert!(path.bdp() < MSS);
    let mut link = Link::new(path, 1);
    link.run_until_state(State::ProbeBwCruise);
    link.reset_measures();
    let end = link.now + Duration::from_secs(20);
    while link.now < end {
        link.step();
        assert!(link.bbr().cwnd >= 4 * MSS, "{}", describe(&link));
    }
    assert!(is_near(link.bbr().bw, link.path.rate, 20), "{}", describe(&link));
    assert!(link.goodput(0) >= 475_000, "{}", link.goodput(0));
    assert_eq!(link.flows[0].packets_lost, 0);
}

#[test]
fn handling_loss_during_probe_up_after_inflight_longterm_is_set() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwUp);
    let before = link.bbr().inflight_longterm;
    assert_ne!(before, UNBOUNDED);
    link.path.loss = 200;
    link.run_until(1, "loss ends UP", |link| link.state() != State::ProbeBwUp);
    let bbr = link.bbr();
    assert_eq!(bbr.state, State::ProbeBwDown);
    assert!(!bbr.full_pipe.now, "no plateau was seen yet");
    assert!(bbr.inflight_longterm < before, "{}", describe(&link));
    assert!(bbr.inflight_longterm >= bbr.target_inflight() * 7 / 10);
    assert!(bbr.cycle.prev_probe_too_high);
}

/// After a probe that went too high, the next one only touches the bound, and if that did no harm a full probe follows
/// at once (section 5.3.3.4.2).
#[test]
fn a_precautionary_probe_is_followed_by_a_full_one() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.path.loss = 200;
    link.run_until_state(State::ProbeBwDown);
    link.path.loss = 0;
    link.run_until_state(State::ProbeBwUp);
    link.run_until(2, "the end of UP", |link| link.state() != State::ProbeBwUp);
    assert!(link.bbr().cycle.prev_probe_precautionary, "{}", describe(&link));
    assert_eq!(link.state(), State::ProbeBwDown);
    let stopped = link.bbr().rounds.count;
    link.run_until_state(State::ProbeBwRefill);
    assert!(link.bbr().rounds.count <= stopped + 2, "no cruise in between: {}", describe(&link));
}

#[test]
fn handling_application_limited_sending_during_probe_refill() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwRefill);
    let before = link.bbr().max_bw.get();
    // The draft pauses the application; a little must be sent for the round to end.
    link.set_app(App::Rate(mbits(5)));
    link.run_until_state(State::ProbeBwUp);
    assert_eq!(link.bbr().max_bw.get(), before, "{}", describe(&link));
    link.set_app(App::Bulk);
    link.run_until(5, "the end of UP", |link| link.state() == State::ProbeBwDown);
    assert!(is_near(link.bbr().max_bw.get(), mbits(100), 20), "{}", describe(&link));
}
