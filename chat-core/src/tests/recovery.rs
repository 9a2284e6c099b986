//! Loss recovery of whole connections: what is declared lost, what is probed, what is given back.

use std::time::Duration;

use units::Timestamp;

use super::pair::{Pair, Path, Side};
use crate::config::{CarrierHint, CongestionControl, TransportConfig};
use crate::congestion::State;
use crate::connection::{Delays, Delivery, Event, Outgoing, Reliability};
use crate::path::Ecn;
use crate::trace::TraceKind;
use crate::trace::steps::StepKind;
use crate::wire::{Content, MsgType, Priority};

const MS: Duration = Duration::from_millis(1);

/// A pair with a settled RTT of 100 ms and little variance.
fn warm(config: TransportConfig) -> Pair {
    let mut pair = Pair::with_config(Path { delay: 50 * MS, ..Path::default() }, config);
    for round in 1..=30 {
        pair.say(Side::A, 0, "warm");
        pair.run_until(Timestamp::from_millis(400 * round));
    }
    pair
}

fn say_every(pair: &mut Pair, gap: Duration, count: u32) {
    for _ in 0..count {
        pair.say(Side::A, 0, "a line of chat");
        let next = pair.now() + gap;
        pair.run_until(next);
    }
}

/// Times since `start`, in milliseconds, at which the probe timer of A fired.
fn probe_timeouts(pair: &Pair, start: Timestamp) -> Vec<u128> {
    let events = pair.a.trace.iter().filter(|event| event.at > start);
    let fired = events.filter(|event| matches!(event.kind, TraceKind::ProbeTimeout { .. }));
    fired.map(|event| event.at.since(start).as_millis()).collect()
}

#[test]
fn an_isolated_line_survives_the_loss_of_its_first_probe() {
    let mut pair = warm(TransportConfig::default());
    let (at, next) = (pair.now(), pair.next_packet(Side::A));
    pair.path.lose = vec![(Side::A, next), (Side::A, next + 1)];
    pair.say(Side::A, 0, "alone");
    pair.run_until(at + 400 * MS);
    let (arrived, _) = *pair.b.received.last().unwrap();
    // 100 ms RTT, 5 ms ack delay, at least 1 ms for variance; the second probe 4 ms later; 50 ms on the way.
    assert!(arrived.since(at) < 170 * MS, "after {:?}", arrived.since(at));
    assert_eq!(pair.texts(Side::B).iter().filter(|text| *text == "alone").count(), 1);
}

#[test]
fn a_silent_path_is_probed_less_and_less_often_and_nothing_counts_as_lost() {
    let mut pair =
        warm(TransportConfig { idle_timeout: Duration::from_secs(600), ..TransportConfig::default() });
    let (at, before) = (pair.now(), pair.a.connection.metrics().cwnd);
    pair.path.blackhole = true;
    pair.say(Side::A, 0, "anyone?");
    pair.run_until(at + Duration::from_secs(4));
    let fired = probe_timeouts(&pair, at);
    assert!((101..=112).contains(&fired[0]), "{fired:?}");
    for (index, pair) in fired.windows(2).enumerate() {
        // Counted from the second probe, 4 ms after the timeout.
        assert!((pair[1] - pair[0]).abs_diff((fired[0] << (index + 1)) + 4) <= 2, "{fired:?}");
    }
    let (stats, metrics) = (pair.a.connection.stats(), pair.a.connection.metrics());
    assert_eq!((stats.packets_lost, stats.timeouts, metrics.cwnd), (0, 0, before));
    assert_eq!(stats.probes, 2 * fired.len() as u64);
    pair.path.blackhole = false;
    pair.run_until(at + Duration::from_secs(12));
    assert_eq!(pair.texts(Side::B).last().unwrap(), "anyone?");
    assert_eq!(pair.a.connection.metrics().pto_count, 0);
}

#[test]
fn before_any_sample_a_probe_waits_a_second_or_what_the_handshake_took() {
    for (handshake, expected) in [(None, 1004), (Some(100 * MS), 305)] {
        let mut pair = Pair::new(Path { delay: 50 * MS, lose: vec![(Side::A, 1)], ..Path::default() });
        if let Some(rtt) = handshake {
            pair.a.connection.set_initial_rtt(rtt);
        }
        pair.say(Side::A, 0, "first");
        pair.run_until(Timestamp::from_secs(2));
        assert_eq!(probe_timeouts(&pair, Timestamp::ZERO), [expected]);
    }
}

#[test]
fn on_a_stream_a_gap_is_repaired_at_once_and_silence_is_borne_longer() {
    let mut pair = warm(TransportConfig { carrier: CarrierHint::FifoStream, ..TransportConfig::default() });
    let (at, next) = (pair.now(), pair.next_packet(Side::A));
    pair.path.lose = vec![(Side::A, next)];
    pair.say(Side::A, 0, "dropped by a relay");
    pair.say(Side::A, 0, "shows the gap");
    pair.run_until(at + 160 * MS);
    assert_eq!(pair.texts(Side::B).last().unwrap(), "shows the gap");
    let (arrived, _) = *pair.b.received.last().unwrap();
    assert_eq!(arrived.since(at), 150 * MS);
    // Late by 250 ms, as by a retransmission of the stream itself: not sent twice.
    let before = *pair.a.connection.stats();
    pair.path.late = vec![(Side::A, pair.next_packet(Side::A), 180 * MS)];
    pair.say(Side::A, 0, "late");
    let at = pair.now();
    pair.run_until(at + Duration::from_secs(2));
    let after = pair.a.connection.stats();
    assert_eq!((after.retransmits, after.probes), (before.retransmits, before.probes));
}

#[test]
fn a_packet_that_was_overtaken_gives_the_window_back_and_is_not_declared_lost_again() {
    let mut pair = warm(TransportConfig::default());
    let late = |pair: &Pair| (Side::A, pair.next_packet(Side::A), 70 * MS);
    pair.path.late = vec![late(&pair)];
    say_every(&mut pair, 10 * MS, 30);
    let stats = *pair.a.connection.stats();
    assert_eq!((stats.packets_lost, stats.spurious, stats.undone), (1, 1, 1));
    let at = pair.now();
    pair.run_until(at + Duration::from_secs(1));
    pair.path.late = vec![(Side::A, pair.next_packet(Side::A), 20 * MS)];
    say_every(&mut pair, 10 * MS, 30);
    assert_eq!(pair.a.connection.stats().packets_lost, 1, "an eighth of the RTT more is borne now");
}

#[test]
fn a_probe_whose_ack_is_lost_is_not_declared_lost() {
    let mut pair = warm(TransportConfig::default());
    let (at, next) = (pair.now(), pair.next_packet(Side::A));
    pair.path.lose = vec![(Side::A, next)];
    pair.say(Side::A, 0, "lost");
    // The first probe leaves at 106 ms and its ack at 156, the second and its ack 4 ms later.
    pair.run_until(at + 158 * MS);
    pair.path.lose_acks_of = vec![Side::B];
    pair.run_until(at + 250 * MS);
    pair.path.lose_acks_of.clear();
    // All that the second probe carried is acknowledged when its timeout comes; the next ack tells of it.
    say_every(&mut pair, 250 * MS, 4);
    let stats = pair.a.connection.stats();
    assert_eq!((stats.packets_lost, stats.spurious, stats.undone), (1, 0, 0));
}

#[test]
fn a_line_given_up_on_a_silent_path_says_nothing_of_reordering() {
    let mut pair = warm(TransportConfig::default());
    pair.path.lose_acks_of = vec![Side::B];
    let once = Delivery::default().with(Reliability::Attempts(1));
    pair.say_with(Side::A, 0, "once", Priority::Chat, once);
    let at = pair.now();
    pair.run_until(at + 120 * MS);
    pair.path.lose_acks_of.clear();
    pair.run_until(at + 400 * MS);
    let stats = pair.a.connection.stats();
    assert_eq!((stats.packets_lost, stats.spurious, stats.undone), (1, 1, 0), "given up, and acknowledged");
    // A loss that the next line shows is repaired 9/8 RTT after it left, as before.
    let (at, next) = (pair.now(), pair.next_packet(Side::A));
    pair.path.lose = vec![(Side::A, next)];
    pair.say(Side::A, 0, "lost");
    pair.say(Side::A, 0, "shows it");
    pair.run_until(at + 400 * MS);
    let (arrived, _) = *pair.b.received.last().unwrap();
    assert!(arrived.since(at) < 164 * MS, "after {:?}", arrived.since(at));
}

#[test]
fn a_line_after_a_pause_leaves_alone() {
    let mut pair = warm(TransportConfig::default());
    let (at, next) = (pair.now(), pair.next_packet(Side::A));
    let line = Outgoing {
        msg_id: "1".into(),
        msg_type: MsgType::Chat,
        sender: "a".into(),
        content: Content::of(&"alone"),
        timestamp_us: 0,
        priority: Priority::Chat,
        channel: 0,
        delivery: Delivery::default(),
    };
    pair.a.connection.send(at, line).unwrap();
    // A driver may ask what is due before it asks what may leave.
    pair.a.connection.handle_timeout(at);
    pair.drain();
    pair.run_until(at + 300 * MS);
    assert_eq!(pair.next_packet(Side::A), next + 1);
}

#[test]
fn random_loss_never_gives_a_window_back() {
    let path = Path { delay: 50 * MS, loss: 0.1, seed: 11, ..Path::default() };
    let mut pair = Pair::new(path);
    say_every(&mut pair, 20 * MS, 3000);
    let stats = pair.a.connection.stats();
    assert!(stats.packets_lost > 200, "{stats:?}");
    assert_eq!((stats.undone, stats.persistent_congestion), (0, 0));
}

#[test]
fn an_outage_is_persistent_congestion_and_two_lost_lines_are_not() {
    let mut pair = warm(TransportConfig::default());
    pair.path.blackhole = true;
    say_every(&mut pair, 200 * MS, 20);
    pair.path.blackhole = false;
    say_every(&mut pair, 200 * MS, 20);
    assert_eq!(pair.a.connection.stats().persistent_congestion, 1);
    let mut pair = warm(TransportConfig::default());
    for _ in 0..2 {
        let next = pair.next_packet(Side::A);
        pair.path.lose = vec![(Side::A, next)];
        say_every(&mut pair, Duration::from_secs(3), 1);
    }
    assert_eq!(pair.a.connection.stats().persistent_congestion, 0);
}

#[test]
fn ranges_are_forgotten_though_nothing_but_acks_goes_back_and_acks_do_not_echo() {
    let path = Path { delay: 50 * MS, loss: 0.1, seed: 3, ..Path::default() };
    let mut pair = Pair::new(path);
    let mut most = 0;
    for _ in 0..100 {
        say_every(&mut pair, 20 * MS, 30);
        most = most.max(pair.b.ack_ranges);
    }
    assert!(most <= 16, "{most} ranges in an ack");
    let stats = pair.b.connection.stats();
    let (acks, numbered) = (stats.acks_sent, stats.acks_numbered);
    assert!(numbered > 20 && numbered * 15 < acks, "{numbered} of {acks} acks numbered");
    assert!(pair.a.connection.stats().acks_sent <= 2 * numbered, "an ack of each numbered one");
    pair.path.loss = 0.0;
    let rest = pair.now() + Duration::from_secs(4);
    pair.run_until(rest);
    let quiet = |pair: &Pair| [&pair.a, &pair.b].map(|end| end.connection.stats().acks_numbered);
    let before = quiet(&pair);
    let rest = pair.now() + Duration::from_secs(60);
    pair.run_until(rest);
    assert!(quiet(&pair).iter().zip(before).all(|(after, before)| after - before <= 2));
}

#[test]
fn a_peer_that_acknowledges_what_was_never_sent_is_found_out() {
    let config = TransportConfig { skip_seed: Some(5), ..TransportConfig::default() };
    let mut pair = Pair::with_config(Path { delay: 5 * MS, loss: 0.02, seed: 1, ..Path::default() }, config);
    say_every(&mut pair, 5 * MS, 2000);
    assert!(!pair.a.events.iter().any(|event| matches!(event, Event::Violation { .. })), "an honest peer");
    let highest = pair.next_packet(Side::A) - 1;
    pair.inject_ack(Side::A, &format!("{{\"ranges\":[[1,{highest}]]}}"));
    assert!(pair.a.events.iter().any(|event| matches!(event, Event::Violation { .. })));
}

#[test]
fn an_ack_tells_what_its_message_had_waited_for() {
    let mut pair = Pair::new(Path { delay: 50 * MS, ..Path::default() });
    let config = TransportConfig {
        congestion: CongestionControl::Fixed { segments: 1 },
        ..pair.a.connection.config().clone()
    };
    pair = Pair::with_config(pair.path.clone(), config);
    let line = "x".repeat(800);
    let first = pair.say(Side::A, 0, &line);
    let second = pair.say(Side::A, 0, &line);
    pair.run_until(Timestamp::from_millis(500));
    pair.path.lose = vec![(Side::A, pair.next_packet(Side::A))];
    let third = pair.say(Side::A, 0, &line);
    pair.run_until(Timestamp::from_secs(3));
    let delays = |key| {
        let found = pair.a.events.iter().find_map(|event| match event {
            Event::Acked { key: acked, delays } if *acked == key => Some(*delays),
            _ => None,
        });
        found.expect("it was acknowledged")
    };
    assert_eq!(delays(first), Delays::default());
    assert_eq!(delays(second), Delays { window: 100 * MS, ..Delays::default() });
    let Delays { window, loss, .. } = delays(third);
    assert_eq!(window, Duration::ZERO);
    assert!(loss > 100 * MS && loss < 500 * MS, "{loss:?}");
}

#[test]
fn a_message_in_trouble_tells_each_loss_and_repetition_and_one_without_tells_nothing() {
    let mut pair = Pair::new(Path { delay: 50 * MS, ..Path::default() });
    pair.a.connection.set_step_tracing(true);
    let smooth = pair.say(Side::A, 0, "first");
    pair.run_until(Timestamp::from_secs(1));
    let packet = pair.next_packet(Side::A);
    // It is lost, and so is the first repetition.
    pair.path.lose = vec![(Side::A, packet), (Side::A, packet + 1)];
    let began = pair.now();
    let unlucky = pair.say(Side::A, 0, "second");
    pair.run_until(Timestamp::from_secs(5));
    assert!(pair.a.acked(smooth) && pair.a.acked(unlucky));
    assert_eq!(pair.a.connection.take_steps(smooth), []);
    let steps = pair.a.connection.take_steps(unlucky);
    let told: Vec<_> = steps.iter().map(|step| (step.packet, step.kind)).collect();
    let (first, last) = (told[0], told[told.len() - 1]);
    assert_eq!((first, steps[0].at), ((packet, StepKind::Sent), began));
    assert_eq!(told[1], (packet, StepKind::TimedOut), "{told:?}");
    assert_eq!(last.1, StepKind::Acked);
    assert!(
        told.iter().any(|&(of, kind)| of == last.0 && kind.leaves()),
        "what was acknowledged had left: {told:?}"
    );
    assert!(told.iter().filter(|(_, kind)| kind.leaves()).count() >= 3, "{told:?}");
    assert!(steps.is_sorted_by_key(|step| step.at));
    assert_eq!(pair.a.connection.take_steps(unlucky), [], "once");
}

#[test]
fn marks_reach_the_sender_and_a_path_that_clears_them_is_noticed() {
    let config = TransportConfig { ecn: true, ..TransportConfig::default() };
    let path = Path { delay: 10 * MS, mark: vec![(Side::A, 3), (Side::A, 5)], ..Path::default() };
    let mut pair = Pair::with_config(path, config.clone());
    say_every(&mut pair, 20 * MS, 20);
    assert_eq!((pair.a.connection.stats().ecn_ce_told, pair.a.connection.codepoint()), (2, Ecn::Ect0));
    let mut pair = Pair::with_config(Path { delay: 10 * MS, bleaches: true, ..Path::default() }, config);
    say_every(&mut pair, 20 * MS, 20);
    assert_eq!((pair.a.connection.stats().ecn_failures, pair.a.connection.codepoint()), (1, Ecn::NotEct));
}

#[test]
fn bbr_looks_for_a_shorter_round_trip_without_holding_up_a_thin_flow() {
    let config = TransportConfig { congestion: CongestionControl::Bbr, ..TransportConfig::default() };
    let least = config.mss.as_u64() * 10;
    let mut pair = Pair::with_config(Path { delay: 50 * MS, ..Path::default() }, config);
    say_every(&mut pair, 20 * MS, 400);
    let probing: Vec<_> =
        pair.a.trace.iter().filter(|event| event.metrics.state == State::ProbeRtt).collect();
    assert!(probing.len() > 10, "the draft asks every five seconds");
    assert!(probing.iter().all(|event| event.metrics.cwnd.as_u64() >= least));
}
