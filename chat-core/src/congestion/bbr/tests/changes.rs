//! Paths that change, police, or deliver late.

use std::time::Duration;

use super::link::{Link, MSS, Path, Policer, mbits};
use super::{describe, is_near, packets};
use crate::congestion::State;
use crate::congestion::bbr::UNBOUNDED;

#[test]
fn increasing_bandwidth_10x_and_ensuring_full_bandwidth_is_reached() {
    // A full bandwidth-delay product of buffer: Startup ends with loss, and so with a long-term bound to be raised.
    let mut link = Link::new(Path::new(10, 50, 1000), 1);
    link.run_until_state(State::ProbeBwCruise);
    let before = link.bbr().inflight_longterm;
    assert_ne!(before, UNBOUNDED);
    link.path.rate = mbits(100);
    link.path.buffer *= 10;
    link.run_until_state(State::ProbeBwUp);
    let start = link.bbr().rounds.count;
    let mut slope = (link.bbr().cycle.up_rounds, link.bbr().cycle.acked_per_increment);
    link.run_until(20, "100 Mbit/s", |link| {
        let cycle = &link.bbr().cycle;
        if cycle.up_rounds > slope.0 {
            // One more doubling for each round in which the bound was in the way.
            assert_eq!(cycle.up_rounds, slope.0 + 1);
            let expected = (link.bbr().cwnd >> slope.0).max(MSS);
            assert!(cycle.acked_per_increment <= expected, "{} of {expected}", cycle.acked_per_increment);
            slope = (cycle.up_rounds, cycle.acked_per_increment);
        }
        link.bbr().max_bw.get() >= 98_000_000
    });
    let rounds = link.bbr().rounds.count - start;
    // 52 to 521 packets: 6 doublings of the slope, and ten rounds at a gain of 1.25.
    assert!(rounds <= 20, "{rounds} rounds: {}", describe(&link));
    assert!(slope.0 >= 4, "{slope:?}");
    link.run_for(Duration::from_secs(3));
    link.reset_measures();
    link.run_for(Duration::from_secs(10));
    assert!(link.goodput(0) >= 94_000_000, "{}", link.goodput(0));
}

#[test]
fn decreasing_bandwidth_10x_and_ensuring_max_bandwidth_adapts_down() {
    let mut link = Link::new(Path::new(100, 50, 1000), 1);
    link.run_until_state(State::ProbeBwCruise);
    link.path.rate = mbits(10);
    link.path.buffer /= 10;
    let start = link.now;
    link.run_until(3, "the short-term bound", |link| link.bbr().bw_shortterm <= 12_000_000);
    assert!(link.now.since(start) <= Duration::from_secs(2), "{}", describe(&link));
    let mut ends = 0;
    let mut last = link.state();
    link.run_until(30, "two cycles", |link| {
        ends += u32::from(last == State::ProbeBwUp && link.state() == State::ProbeBwDown);
        last = link.state();
        ends == 3
    });
    assert!(is_near(link.bbr().max_bw.get(), mbits(10), 20), "{}", describe(&link));
    link.reset_measures();
    link.run_for(Duration::from_secs(20));
    assert!(link.goodput(0) >= 9_300_000, "{}: {}", link.goodput(0), describe(&link));
}

#[test]
fn handling_token_bucket_policers() {
    let mut path = Path::new(100, 50, 1000);
    path.policer = Some(Policer::new(mbits(20), 100_000));
    let mut link = Link::new(path, 1);
    link.run_until(20, "ProbeBW", |link| link.bbr().is_probe_bw());
    link.run_until(10, "the short-term bounds", |link| {
        link.bbr().bw_shortterm < UNBOUNDED && link.bbr().inflight_shortterm < UNBOUNDED
    });
    link.run_for(Duration::from_secs(15));
    link.reset_measures();
    link.run_for(Duration::from_secs(30));
    let sent = link.flows[0].delivered + link.flows[0].packets_lost * MSS;
    let lost_permille = link.flows[0].packets_lost * MSS * 1000 / sent;
    assert!(link.goodput(0) >= 17_000_000, "{}: {}", link.goodput(0), describe(&link));
    assert!(lost_permille <= 30, "{lost_permille}: {}", describe(&link));
    // A policer's loss goes away when less is sent, so it must not pass for the path's own.
    assert!(link.bbr().loss_floor.permille() <= 10, "{}", describe(&link));
}

#[test]
fn handling_spurious_fast_recovery() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.run_for(Duration::from_millis(60));
    let cwnd = link.bbr().cwnd;
    // Sixty packets arrive 15 ms late: three later ones overtake them, and 60 of 600 are far more than 2 %.
    let first = link.flows[0].next;
    link.path.held = Some((first..first + 60, Duration::from_millis(15)));
    link.run_until_state(State::ProbeBwDown);
    let bbr = link.bbr();
    assert_eq!(bbr.undo.state, Some(State::ProbeBwUp));
    assert_eq!((bbr.undo.bw_shortterm, bbr.undo.inflight_longterm), (UNBOUNDED, UNBOUNDED));
    assert!(bbr.in_recovery && bbr.inflight_longterm != UNBOUNDED, "{}", describe(&link));
    link.run_until(1, "the late packets", |link| link.flows[0].spurious == 1);
    let bbr = link.bbr();
    assert_eq!(bbr.state, State::ProbeBwRefill, "{}", describe(&link));
    assert_eq!((bbr.inflight_longterm, bbr.inflight_shortterm), (UNBOUNDED, UNBOUNDED));
    assert!(bbr.bw_shortterm == UNBOUNDED && bbr.cwnd >= cwnd && bbr.undo.state.is_none());
    link.run_until_state(State::ProbeBwUp);
}

#[test]
fn handling_spurious_rto_recovery() {
    let mut link = Link::new(Path::new(100, 50, 4000), 1);
    link.run_until_state(State::ProbeBwUp);
    link.run_for(Duration::from_millis(60));
    let before = (link.bbr().cwnd, link.bbr().bw, link.bbr().max_bw.get());
    link.timeout();
    assert_eq!(packets(link.bbr().cwnd), 1, "until an ack says more");
    link.run_until(1, "all acks of the flight", |link| link.flows[0].spurious == 1);
    let bbr = link.bbr();
    assert!(bbr.cwnd >= before.0, "{}", describe(&link));
    assert_eq!(
        (bbr.bw_shortterm, bbr.inflight_shortterm, bbr.inflight_longterm),
        (UNBOUNDED, UNBOUNDED, UNBOUNDED)
    );
    assert_eq!(bbr.state, State::ProbeBwUp);
    link.run_for(Duration::from_secs(2));
    link.reset_measures();
    link.run_for(Duration::from_secs(5));
    assert!(link.goodput(0) >= 94_000_000, "{}: {}", link.goodput(0), describe(&link));
}
