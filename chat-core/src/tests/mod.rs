//! Whole connections in virtual time: what two ends make of a bad path between them.

mod codec;
mod datagrams;
mod delivery;
mod hostile;
mod marking;
mod model;
mod pair;
mod recovery;
mod sharing;

use std::time::Duration;

use proptest::prelude::*;
use units::Timestamp;

use self::pair::{Pair, Path, Side};
use crate::config::{CongestionControl, Profile, TransportConfig};
use crate::connection::{Event, Failure};
use crate::trace::TraceKind;
use crate::wire::{Content, MsgType};

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_message_takes_one_way_delay_and_its_ack_comes_back() {
    let mut pair = Pair::new(Path { delay: 50 * MS, ..Path::default() });
    let key = pair.say(Side::A, 0, "hello");
    pair.run_until(Timestamp::from_millis(51));
    assert_eq!(pair.texts(Side::B), ["hello"]);
    assert_eq!(pair.b.received[0].0, Timestamp::from_millis(50));
    pair.run_until(Timestamp::from_millis(110));
    assert!(pair.a.acked(key));
    assert!(pair.a.connection.is_settled());
}

#[test]
fn three_later_acks_repair_a_loss_without_waiting_for_a_timer() {
    let mut pair = Pair::classic(Path { delay: 50 * MS, lose: vec![(Side::A, 1)], ..Path::default() });
    pair.set_window(16);
    for text in ["1", "2", "3", "4"] {
        pair.say(Side::A, 0, text);
    }
    pair.run_until(Timestamp::from_millis(160));
    assert_eq!(pair.texts(Side::B), ["1", "2", "3", "4"]);
    let stats = pair.a.connection.stats();
    assert_eq!((stats.fast_retransmits, stats.timeouts, stats.retransmits), (1, 0, 1));
    assert_eq!(stats.dup_acks, 3);
}

#[test]
fn two_later_acks_are_not_enough_in_the_classic_profile() {
    let mut pair = Pair::classic(Path { delay: 50 * MS, lose: vec![(Side::A, 1)], ..Path::default() });
    pair.set_window(16);
    for text in ["1", "2", "3"] {
        pair.say(Side::A, 0, text);
    }
    pair.run_until(Timestamp::from_secs(4));
    let stats = pair.a.connection.stats();
    assert_eq!((stats.fast_retransmits, stats.timeouts), (0, 1));
    assert_eq!(pair.texts(Side::B), ["1", "2", "3"]);
}

#[test]
fn the_rto_doubles_and_a_silent_path_fails_the_message_in_the_end() {
    let config = TransportConfig {
        max_attempts: 4,
        idle_timeout: Duration::from_secs(600),
        ..TransportConfig::new(Profile::Classic)
    };
    let mut pair = Pair::with_config(Path { blackhole: true, ..Path::default() }, config);
    let key = pair.say(Side::A, 0, "anyone?");
    pair.run_until(Timestamp::from_secs(16));
    let timeouts: Vec<u64> = pair
        .a
        .trace
        .iter()
        .filter(|event| matches!(event.kind, TraceKind::TimedOut { .. }))
        .map(|event| event.at.as_micros() / 1_000_000)
        .collect();
    // RFC 6298 (2.1) and (5.5): 1 s, then doubled: at 1, 3, 7, 15 s.
    assert_eq!(timeouts, [1, 3, 7, 15]);
    assert!(pair.a.events.contains(&Event::Failed { key, cause: Failure::Attempts }));
}

#[test]
fn a_failed_message_leaves_no_hole_in_its_channel() {
    let config = TransportConfig {
        max_attempts: 2,
        idle_timeout: Duration::from_secs(600),
        ..TransportConfig::new(Profile::Classic)
    };
    let mut pair = Pair::with_config(Path { blackhole: true, delay: 10 * MS, ..Path::default() }, config);
    let key = pair.say(Side::A, 0, "lost");
    pair.run_until(Timestamp::from_secs(5));
    assert!(pair.a.events.contains(&Event::Failed { key, cause: Failure::Attempts }));
    pair.path.blackhole = false;
    pair.say(Side::A, 0, "after");
    pair.run_until(Timestamp::from_secs(30));
    assert_eq!(pair.texts(Side::B), ["after"]);
    assert!(pair.b.events.iter().any(|event| matches!(event, Event::Skipped { .. })));
    assert!(pair.a.connection.is_settled());
}

#[test]
fn a_hole_in_one_channel_holds_up_no_other() {
    let mut pair = Pair::new(Path { delay: 50 * MS, lose: vec![(Side::A, 1)], ..Path::default() });
    pair.say(Side::A, 1, "lost first");
    pair.say(Side::A, 1, "waits for it");
    pair.say(Side::A, 2, "does not wait");
    pair.run_until(Timestamp::from_millis(60));
    assert_eq!(pair.texts(Side::B), ["does not wait"]);
    pair.run_until(Timestamp::from_secs(2));
    assert_eq!(pair.texts(Side::B), ["does not wait", "lost first", "waits for it"]);
}

#[test]
fn a_lost_tail_is_probed_before_the_rto() {
    let mut pair = Pair::new(Path { delay: 50 * MS, ..Path::default() });
    // RTT samples first; the variance needs a few to settle.
    for round in 0..20 {
        pair.say(Side::A, 0, "warm");
        pair.run_until(Timestamp::from_millis(500 * (round + 1)));
    }
    let at = pair.now();
    pair.path.lose = vec![(Side::A, pair.next_packet(Side::A))];
    pair.say(Side::A, 0, "tail");
    pair.run_until(at + 400 * MS);
    let (arrived, _) = *pair.b.received.last().unwrap();
    assert!(arrived.since(at) < 180 * MS, "repaired after {:?}", arrived.since(at));
    // One timeout, and for so thin a flow two probes.
    assert_eq!((pair.a.connection.stats().probe_timeouts, pair.a.connection.stats().probes), (1, 2));
    assert_eq!(pair.a.connection.stats().timeouts, 0);
}

#[test]
fn a_long_path_without_loss_sends_nothing_twice() {
    // The ack waits 5 ms for company; a timer that forgot that would fire at 401 ms, before it at 405 ms.
    let mut pair = Pair::new(Path { delay: 200 * MS, ..Path::default() });
    for round in 1..40 {
        pair.say(Side::A, 0, "alone");
        pair.run_until(Timestamp::from_millis(700 * round));
    }
    assert_eq!(pair.a.connection.stats().retransmits, 0);
}

#[test]
fn a_lost_ack_does_not_deliver_twice() {
    let mut pair = Pair::new(Path { delay: 20 * MS, lose_acks_of: vec![Side::B], ..Path::default() });
    pair.say(Side::A, 0, "once");
    pair.run_until(Timestamp::from_secs(3));
    assert_eq!(pair.texts(Side::B), ["once"]);
    assert!(pair.b.connection.stats().duplicate_messages >= 1);
    pair.path.lose_acks_of.clear();
    pair.run_until(Timestamp::from_secs(20));
    assert!(pair.a.connection.is_settled());
}

#[test]
fn a_damaged_frame_is_reported_and_sent_again_without_a_timer() {
    let mut pair = Pair::new(Path { delay: 50 * MS, damage: vec![(Side::A, 1)], ..Path::default() });
    pair.say(Side::A, 0, "precious");
    pair.run_until(Timestamp::from_millis(160));
    assert_eq!(pair.texts(Side::B), ["precious"]);
    assert_eq!(pair.b.connection.stats().checksum_errors, 1);
    assert_eq!(pair.a.connection.stats().timeouts, 0);
}

#[test]
fn a_receiver_that_does_not_read_stops_its_sender_and_reading_lets_it_go_on() {
    let config = TransportConfig {
        receive_window: units::ByteCount(100_000),
        congestion: CongestionControl::Fixed { segments: 1000 },
        ..TransportConfig::default()
    };
    let mut pair = Pair::with_config(Path { delay: 5 * MS, ..Path::default() }, config);
    pair.b.reads = false;
    let line = "x".repeat(800);
    for _ in 0..300 {
        pair.say(Side::A, 0, &line);
    }
    pair.run_until(Timestamp::from_secs(10));
    let waiting = pair.a.connection.unacked_messages();
    assert!(waiting > 300 - 100_000 / 800 - 2, "{waiting} of 300 wait at the sender");
    pair.b.reads = true;
    pair.drain();
    pair.run_until(Timestamp::from_secs(30));
    assert_eq!(pair.b.received.len(), 300);
    assert_eq!(pair.b.connection.stats().refused_no_room, 0);
}

#[test]
fn an_ack_of_a_packet_never_sent_is_a_violation() {
    let mut pair = Pair::new(Path::default());
    pair.inject_ack(Side::A, "{\"ranges\":[[1,5]]}");
    assert!(matches!(&pair.a.events[..], [Event::Violation { .. }]));
}

#[test]
fn numbers_at_the_end_of_their_range_are_a_violation_and_no_panic() {
    let mut pair = Pair::new(Path::default());
    pair.inject(Side::A, MsgType::Chat, Content::of(&1), u64::MAX, 1);
    pair.inject(Side::A, MsgType::Chat, Content::of(&1), 1, u64::MAX);
    pair.inject(Side::A, MsgType::Chat, Content::of(&1), 1, 1);
    assert!(matches!(&pair.a.events[..], [Event::Violation { .. }, Event::Violation { .. }]));
    assert_eq!(pair.a.received.len(), 1);
}

#[test]
fn a_window_that_stays_shut_is_asked_less_and_less_often() {
    let config = TransportConfig {
        receive_window: units::ByteCount(70_000),
        idle_timeout: Duration::from_secs(600),
        ..TransportConfig::default()
    };
    let mut pair = Pair::with_config(Path { delay: 5 * MS, ..Path::default() }, config);
    pair.b.reads = false;
    for _ in 0..200 {
        pair.say(Side::A, 0, &"x".repeat(800));
    }
    pair.run_until(Timestamp::from_secs(5));
    let before = pair.next_packet(Side::A);
    pair.run_until(Timestamp::from_secs(35));
    let probes = pair.next_packet(Side::A) - before;
    assert!((4..=12).contains(&probes), "{probes} probes in 30 s");
}

#[test]
fn a_large_message_is_cut_and_put_together() {
    let mut pair = Pair::new(Path { delay: 10 * MS, loss: 0.1, seed: 7, ..Path::default() });
    let text = "größer \"als\" ein\\Segment ".repeat(4000);
    pair.say(Side::A, 0, &text);
    pair.run_until(Timestamp::from_secs(60));
    assert_eq!(pair.texts(Side::B), [text]);
}

#[test]
fn a_silent_peer_is_found_dead() {
    let mut pair = Pair::new(Path { delay: 10 * MS, ..Path::default() });
    pair.run_until(Timestamp::from_secs(60));
    assert!(!pair.a.events.contains(&Event::Dead), "heartbeats keep an idle session alive");
    pair.path.blackhole = true;
    pair.run_until(Timestamp::from_secs(90));
    assert!(pair.a.events.contains(&Event::Dead) && pair.b.events.contains(&Event::Dead));
}

#[test]
fn a_new_carrier_goes_on_where_the_old_one_broke() {
    let mut pair = Pair::new(Path { delay: 50 * MS, ..Path::default() });
    pair.say(Side::A, 0, "before");
    pair.run_until(Timestamp::from_millis(200));
    pair.path.blackhole = true;
    pair.say(Side::A, 0, "into the dark");
    pair.run_until(Timestamp::from_secs(3));
    pair.path.blackhole = false;
    pair.rebind();
    pair.say(Side::A, 0, "after");
    pair.run_until(Timestamp::from_secs(4));
    assert_eq!(pair.texts(Side::B), ["before", "into the dark", "after"]);
}

#[test]
fn periodic_loss_in_the_classic_profile_saws_between_half_and_full_window() {
    let config = TransportConfig {
        max_queued_messages: 100_000,
        max_queued_bytes: units::ByteCount(100 << 20),
        receive_window: units::ByteCount(100 << 20),
        ..TransportConfig::new(Profile::Classic)
    };
    let mut pair = Pair::with_config(Path { delay: 50 * MS, lose_every: 200, ..Path::default() }, config);
    let line = "x".repeat(900);
    for _ in 0..8000 {
        pair.say(Side::A, 0, &line);
    }
    pair.run_until(Timestamp::from_secs(60));
    let mss = pair.a.connection.config().mss.as_u64();
    // Until the messages end: after an idle RTO the window begins anew.
    let busy = Timestamp::from_secs(20)..Timestamp::from_secs(45);
    let cwnds = pair.a.trace.iter().filter(|event| busy.contains(&event.at));
    let (low, high) = cwnds.fold((u64::MAX, 0), |(low, high), event| {
        let cwnd = event.metrics.cwnd.as_u64() / mss;
        (low.min(cwnd), high.max(cwnd))
    });
    // A cycle of 200 packets (1,080 of the 1,185 bytes of a segment each, so 182 segments) is W/2 round trips of growth
    // from W/2 to W, one at W until the loss shows, one at W/2 in recovery: 3/8 W^2 + 3/2 W = 182, so W = 20.1.
    assert!((9..=11).contains(&low) && (18..=21).contains(&high), "{low}..{high} segments");
    assert_eq!(pair.a.connection.stats().timeouts, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever a path loses, repeats, delays or damages: each message arrives once, in the order of its channel, and
    /// once the path is left alone both ends come to rest.
    #[test]
    fn every_message_arrives_once_and_in_order(
        seed in any::<u64>(), loss in 0.0..0.4f64, duplicate in 0.0..0.2f64, damage in 0.0..0.1f64,
        jitter_ms in 0u32..80, messages in 1usize..120, channels in 1u32..4, classic in any::<bool>(),
        size in 0usize..3000,
    ) {
        let profile = if classic { Profile::Classic } else { Profile::Modern };
        let config = TransportConfig {
            rto_max: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(3600),
            max_attempts: 1000,
            ..TransportConfig::new(profile)
        };
        let path = Path { delay: 20 * MS, jitter: jitter_ms * MS, loss, duplicate, damage_p: damage, seed,
            ..Path::default() };
        let mut pair = Pair::with_config(path, config);
        for index in 0..messages {
            let text = format!("{index} {}", "y".repeat(if index % 7 == 0 { size } else { 0 }));
            pair.say(if index % 3 == 0 { Side::B } else { Side::A }, u32::try_from(index).unwrap() % channels, &text);
            let next = pair.now() + (seed % 50) as u32 * MS;
            pair.run_until(next);
        }
        // Once faults end, it must come to rest.
        pair.path.loss = 0.0;
        pair.path.damage_p = 0.0;
        let rest = pair.now() + Duration::from_secs(120);
        pair.run_until(rest);
        prop_assert!(pair.a.connection.is_settled() && pair.b.connection.is_settled(), "not at rest");
        for side in [Side::A, Side::B] {
            for channel in 0..channels {
                prop_assert_eq!(pair.sent_on(side, channel), pair.received_on(side.other(), channel));
            }
            let in_flight = pair.end(side).connection.metrics().in_flight.as_u64();
            prop_assert!(in_flight < 200, "{in_flight} bytes in flight at rest, more than a heartbeat");
        }
    }
}
