//! Every mode of delivery, turns between channels, windows of channels, and copies, on bad paths in virtual time.

use std::time::Duration;

use proptest::prelude::*;
use units::{ByteCount, Timestamp};

use super::pair::{Pair, Path, Side};
use crate::config::{BundleConfig, Redundancy, TransportConfig};
use crate::connection::{Delivery, Event, Failure, Reliability};
use crate::wire::{Order, Priority};

const MS: Duration = Duration::from_millis(1);
const PATIENT: Duration = Duration::from_secs(3600);

fn patient() -> TransportConfig {
    TransportConfig { idle_timeout: PATIENT, max_attempts: 1000, ..TransportConfig::default() }
}

fn numbers(pair: &Pair, channel: u32) -> Vec<u32> {
    pair.received_on(Side::B, channel)
        .iter()
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect()
}

fn failures(pair: &Pair, cause: Failure) -> usize {
    let is_it = |event: &&Event| matches!(event, Event::Failed { cause: found, .. } if *found == cause);
    pair.a.events.iter().filter(is_it).count()
}

/// Sends 200 messages, every 20 ms, each seventh in many pieces, under 20 % loss both ways.
fn lossy_run(order: Order, reliability: Reliability, redundancy: Redundancy) -> Pair {
    let path = Path { delay: 50 * MS, loss: 0.2, seed: 7, ..Path::default() };
    let mut pair = Pair::with_config(path, TransportConfig { redundancy, ..patient() });
    for number in 0..200 {
        let size = if number % 7 == 0 { 3000 } else { 100 };
        pair.say_with(
            Side::A,
            3,
            &format!("{number} {}", "z".repeat(size)),
            Priority::Chat,
            Delivery { order, reliability },
        );
        let next = pair.now() + 20 * MS;
        pair.run_until(next);
    }
    pair.path.loss = 0.0;
    let rest = pair.now() + Duration::from_secs(60);
    pair.run_until(rest);
    assert!(pair.a.connection.is_settled(), "{order:?} {reliability:?}: not at rest");
    pair
}

#[test]
fn every_mode_keeps_its_promise_under_loss() {
    let limits =
        [Reliability::Reliable, Reliability::Attempts(2), Reliability::Deadline(Duration::from_millis(180))];
    for order in [Order::Ordered, Order::Unordered, Order::Latest] {
        for reliability in limits {
            for redundancy in
                [Redundancy::Off, Redundancy::Twice, Redundancy::Bundle(BundleConfig::default())]
            {
                let what = format!("{order:?} {reliability:?} {redundancy:?}");
                let pair = lossy_run(order, reliability, redundancy);
                let got = numbers(&pair, 3);
                let mut once = got.clone();
                once.sort_unstable();
                once.dedup();
                assert_eq!(once.len(), got.len(), "{what}: delivered twice");
                let failed = pair.a.connection.stats().messages_failed as usize;
                let acked = pair.a.connection.stats().messages_acked as usize;
                assert_eq!(failed + acked, 200, "{what}: each ends in one event");
                match order {
                    Order::Ordered => assert!(got.is_sorted(), "{what}"),
                    Order::Unordered => assert!(!got.is_sorted(), "{what}: a loss lets later ones overtake"),
                    Order::Latest => {
                        assert!(got.is_sorted(), "{what}: nothing older than delivered");
                        assert!(got.len() < 200 && got.last() == Some(&199), "{what}");
                    }
                }
                if order != Order::Latest {
                    match reliability {
                        Reliability::Reliable => assert_eq!(got.len(), 200, "{what}"),
                        // What failed may have arrived all the same, its ack being lost; nothing else may be missing.
                        _ => {
                            assert!(got.len() + failed >= 200 && failed > 0, "{what}: {} {failed}", got.len())
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn nothing_is_sent_after_its_deadline() {
    let mut pair = Pair::with_config(Path { delay: 10 * MS, blackhole: true, ..Path::default() }, patient());
    let limited = Delivery::default().with(Reliability::Deadline(300 * MS));
    let key = pair.say_with(Side::A, 1, "late", Priority::Chat, limited);
    pair.run_until(Timestamp::from_millis(299));
    assert!(pair.a.events.is_empty(), "{:?}", pair.a.events);
    pair.run_until(Timestamp::from_secs(10));
    assert!(pair.a.events.contains(&Event::Failed { key, cause: Failure::Deadline }));
    pair.path.blackhole = false;
    pair.say(Side::A, 1, "after");
    pair.run_until(Timestamp::from_secs(60));
    assert_eq!(pair.texts(Side::B), ["after"]);
    assert!(pair.b.events.iter().any(|event| matches!(event, Event::Skipped { channel: 1, .. })));
}

#[test]
fn what_expires_before_it_was_sent_leaves_no_trace() {
    let mut pair = Pair::with_config(Path { delay: 100 * MS, ..Path::default() }, patient());
    pair.set_window(1);
    pair.say(Side::A, 1, &"first ".repeat(150));
    let limited = Delivery::default().with(Reliability::Deadline(50 * MS));
    let key = pair.say_with(Side::A, 1, &"x".repeat(900), Priority::Chat, limited);
    pair.say(Side::A, 1, "last");
    pair.run_until(Timestamp::from_millis(60));
    assert_eq!(pair.a.events, [Event::Failed { key, cause: Failure::Deadline }], "told in time");
    pair.run_until(Timestamp::from_secs(5));
    assert_eq!(pair.received_on(Side::B, 1).len(), 2);
    assert!(pair.b.events.is_empty(), "no skip: {:?}", pair.b.events);
}

#[test]
fn a_newer_latest_message_takes_the_place_of_older_ones() {
    let mut pair = Pair::with_config(Path { delay: 50 * MS, ..Path::default() }, patient());
    pair.set_window(1);
    pair.say(Side::A, 0, &"fills the window ".repeat(60));
    for position in 0..10 {
        pair.say_with(Side::A, 2, &format!("{position} x"), Priority::Chat, Delivery::LATEST);
    }
    pair.run_until(Timestamp::from_secs(3));
    assert_eq!(numbers(&pair, 2), [9]);
    assert_eq!(failures(&pair, Failure::Superseded), 9);
}

/// A path of 1 Mbit/s is a window of one segment that opens every 10 ms: what counts is how many segments go first.
#[test]
fn a_large_message_delays_a_small_one_on_another_channel_by_one_segment() {
    for (large, small) in [(Priority::Chat, Priority::Chat), (Priority::Bulk, Priority::Chat)] {
        let mut pair = Pair::with_config(Path { delay: 5 * MS, ..Path::default() }, patient());
        pair.set_window(1);
        pair.say_with(Side::A, 1, &"x".repeat(64 << 10), large, Delivery::default());
        pair.run_until(Timestamp::from_millis(100));
        let before = pair.next_packet(Side::A);
        pair.say_with(Side::A, 2, "small", small, Delivery::default());
        while pair.received_on(Side::B, 2).is_empty() {
            let next = pair.now() + MS;
            pair.run_until(next);
        }
        // One was under way, one may have its turn, then the small one; the step of 1 ms may show one more.
        let after = pair.next_packet(Side::A);
        assert!(after - before <= 3, "{} packets", after - before);
    }
}

#[test]
fn weights_share_a_priority() {
    let mut pair = Pair::with_config(Path { delay: 5 * MS, ..Path::default() }, patient());
    pair.set_window(1);
    pair.a.connection.set_weight(2, 3.try_into().unwrap()).unwrap();
    for channel in [1, 2] {
        for number in 0..40 {
            pair.say(Side::A, channel, &format!("{number} {}", "x".repeat(850)));
        }
    }
    pair.run_until(Timestamp::from_millis(300));
    let (one, three) = (numbers(&pair, 1).len(), numbers(&pair, 2).len());
    assert!((5..15).contains(&one) && three.abs_diff(3 * one) <= 4, "{one} {three}");
}

#[test]
fn a_channel_that_waits_for_a_lost_packet_cannot_take_the_whole_window() {
    let config = TransportConfig {
        receive_window: ByteCount(400_000),
        max_queued_messages: 10_000,
        redundancy: Redundancy::Off,
        ..patient()
    };
    let mut pair = Pair::with_config(Path { delay: 10 * MS, ..Path::default() }, config);
    pair.set_window(1000);
    // The windows are told with the first acks.
    for channel in [1, 2] {
        pair.say(Side::A, channel, "0 hello");
    }
    pair.run_until(Timestamp::from_millis(100));
    pair.b.reads = false;
    for number in 0..400 {
        pair.say(Side::A, 1, &format!("{number} {}", "x".repeat(900)));
    }
    pair.run_until(Timestamp::from_secs(2));
    pair.say(Side::A, 2, "1 through");
    pair.run_until(Timestamp::from_secs(3));
    pair.b.reads = true;
    pair.drain();
    assert_eq!(numbers(&pair, 2), [0, 1]);
    let before = numbers(&pair, 1).len();
    assert!(before < 100, "64 KiB of 360: {before}");
    pair.run_until(Timestamp::from_secs(60));
    assert_eq!(numbers(&pair, 1).len(), 401, "then it goes on");
    assert!(pair.a.connection.is_settled());
}

#[test]
fn a_lost_retransmission_is_saved_by_its_echo() {
    let mut pair =
        Pair::with_config(Path { delay: 50 * MS, loss: 0.1, seed: 3, ..Path::default() }, patient());
    // Room for the copies, which the window of a Reno flow at this loss has not.
    pair.set_window(32);
    for number in 0..1500 {
        pair.say(Side::A, 1, &format!("{number} {}", "x".repeat(180)));
        let next = pair.now() + 20 * MS;
        pair.run_until(next);
    }
    let stats = *pair.a.connection.stats();
    assert!(stats.redundant_segments > 50 && stats.rescued > 5, "{stats:?}");
    let share = stats.redundant_bytes as f64 / stats.bytes_sent as f64;
    assert!(share < 0.12, "{share} of the bytes are copies");
}

#[test]
fn nothing_is_copied_on_a_clean_path() {
    let config = TransportConfig { redundancy: Redundancy::Bundle(BundleConfig::default()), ..patient() };
    let mut pair = Pair::with_config(Path { delay: 50 * MS, ..Path::default() }, config);
    for number in 0..500 {
        pair.say_with(Side::A, 1, &format!("{number} x"), Priority::Chat, Delivery::UNORDERED);
        let next = pair.now() + 20 * MS;
        pair.run_until(next);
    }
    assert_eq!(pair.a.connection.stats().redundant_segments, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Mixed modes, sizes, priorities and channels, small windows, a reader that stops and goes on, lost acks: everything
    /// ends in one event, nothing arrives twice, ordered messages stay in order, and it all comes to rest.
    #[test]
    fn mixed_traffic_comes_to_rest(
        seed in any::<u64>(), loss in 0.0..0.3f64, jitter_ms in 0u32..60, window_kib in 70u64..400,
        plan in proptest::collection::vec((0u32..4, 0u8..3, 0u8..3, 0usize..6000, 0u8..3), 20..150),
        redundancy in 0u8..3,
    ) {
        let redundancy = match redundancy {
            0 => Redundancy::Off,
            1 => Redundancy::Twice,
            _ => Redundancy::Bundle(BundleConfig::default()),
        };
        let config = TransportConfig {
            receive_window: ByteCount(window_kib << 10),
            rto_max: Duration::from_secs(5),
            redundancy,
            ..patient()
        };
        let path = Path { delay: 20 * MS, jitter: jitter_ms * MS, loss, seed, ..Path::default() };
        let mut pair = Pair::with_config(path, config);
        for (number, &(channel, order, limit, size, priority)) in plan.iter().enumerate() {
            let order = [Order::Ordered, Order::Unordered, Order::Latest][order as usize];
            let reliability =
                [Reliability::Reliable, Reliability::Attempts(1), Reliability::Deadline(100 * MS)][limit as usize];
            let text = format!("{number} {}", "y".repeat(size));
            pair.say_with(Side::A, channel, &text, Priority::from_number(priority), Delivery { order, reliability });
            pair.b.reads = number % 20 < 12;
            let next = pair.now() + (seed % 30) as u32 * MS;
            pair.run_until(next);
        }
        pair.b.reads = true;
        pair.path.loss = 0.0;
        pair.drain();
        let rest = pair.now() + Duration::from_secs(200);
        pair.run_until(rest);
        prop_assert!(pair.a.connection.is_settled(), "not at rest: {:?}", pair.a.connection);
        let stats = pair.a.connection.stats();
        prop_assert_eq!((stats.messages_acked + stats.messages_failed) as usize, plan.len());
        let (mut seen, mut failed) = (vec![0; plan.len()], 0);
        for channel in 0..4 {
            let got = numbers(&pair, channel);
            for &number in &got {
                seen[number as usize] += 1;
            }
            for order in [0, 2] {
                let of_kind = got.iter().filter(|&&number| plan[number as usize].1 == order);
                prop_assert!(of_kind.is_sorted(), "order {order} on channel {channel}: {got:?}");
            }
        }
        for (count, &(_, order, limit, ..)) in seen.iter().zip(&plan) {
            prop_assert!(*count <= 1, "delivered twice");
            if limit == 0 && order < 2 {
                prop_assert_eq!(*count, 1, "a reliable message is missing");
            }
            failed += u64::from(*count == 0 && order < 2);
        }
        prop_assert!(failed <= stats.messages_failed, "lost in silence");
    }
}
