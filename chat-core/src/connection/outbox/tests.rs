use super::*;

fn message(text: &str) -> Outgoing {
    Outgoing {
        msg_id: "m".into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: Content::of(&serde_json::json!({ "text": text })),
        timestamp_us: 4_000_000_000_000_000,
        priority: Priority::Chat,
        channel: 1023,
        delivery: Delivery::default(),
    }
}

#[test]
fn no_frame_is_longer_than_a_segment() {
    let config = TransportConfig::default();
    for text in ["x".repeat(5000), "\"\\".repeat(2000), "€\n".repeat(1500), "x".repeat(950)] {
        let mut sender = Outbox::new();
        sender.queue(&config, Timestamp::ZERO, message(&text)).unwrap();
        let mut joined = String::new();
        while let Some(key) = sender.next(Timestamp::ZERO, u64::MAX) {
            let frame = sender.frame(key, 9_999_999_999).unwrap();
            let mut body = Vec::new();
            assert!(frame.encode(&mut body) as u64 <= config.mss.as_u64(), "{}", body.len());
            joined.push_str(frame.content.as_str());
            sender.on_sent(Timestamp::ZERO, key, 1);
        }
        assert_eq!(Content::checked(joined).unwrap(), message(&text).content);
    }
}

#[test]
fn control_leaves_before_chat_before_bulk_and_lost_before_fresh() {
    let config = TransportConfig::default();
    let mut sender = Outbox::new();
    for (channel, priority) in (0..).zip([Priority::Bulk, Priority::Chat, Priority::Control, Priority::Chat])
    {
        sender.queue(&config, Timestamp::ZERO, Outgoing { priority, channel, ..message("x") }).unwrap();
    }
    let mut order = Vec::new();
    let mut first_chat = None;
    while let Some(key) = sender.next(Timestamp::ZERO, u64::MAX) {
        let priority = sender.frame(key, 1).unwrap().priority;
        order.push((priority, key.kind));
        sender.on_sent(Timestamp::ZERO, key, 1);
        if priority == Priority::Chat && first_chat.is_none() {
            first_chat = Some(key);
            sender.on_lost(key, LossReason::Timeout, 10, &mut Stats::default());
        }
    }
    use Priority::{Bulk, Chat, Control};
    assert_eq!(
        order,
        [
            (Control, Kind::Fresh),
            (Chat, Kind::Fresh),
            (Chat, Kind::Lost),
            (Chat, Kind::Fresh),
            (Bulk, Kind::Fresh)
        ]
    );
}

#[test]
fn within_a_channel_nothing_overtakes_what_waits_there() {
    let config = TransportConfig::default();
    let mut sender = Outbox::new();
    for priority in [Priority::Bulk, Priority::Control, Priority::Chat] {
        sender.queue(&config, Timestamp::ZERO, Outgoing { priority, ..message("x") }).unwrap();
    }
    let mut order = Vec::new();
    while let Some(key) = sender.next(Timestamp::ZERO, u64::MAX) {
        order.push(sender.frame(key, 1).unwrap().sequence_number);
        sender.on_sent(Timestamp::ZERO, key, 1);
    }
    assert_eq!(order, [1, 2, 3]);
}

#[test]
fn what_the_window_holds_up_is_not_overtaken_in_its_channel() {
    let config = TransportConfig::default();
    let mut sender = Outbox::new();
    for (priority, size) in [(Priority::Control, 200), (Priority::Bulk, 10)] {
        let message = Outgoing { priority, ..message(&"x".repeat(size)) };
        sender.queue(&config, Timestamp::ZERO, message).unwrap();
    }
    assert_eq!(sender.next(Timestamp::ZERO, 100), None, "the small one would fit");
    let other = Outgoing { channel: 1, priority: Priority::Bulk, ..message("x") };
    sender.queue(&config, Timestamp::ZERO, other).unwrap();
    let key = sender.next(Timestamp::ZERO, 100).unwrap();
    assert_eq!(sender.frame(key, 1).unwrap().channel, 1, "another channel has nothing to wait for");
}

#[test]
fn no_more_messages_in_pieces_are_begun_than_the_peer_has_room_for() {
    let config = TransportConfig { max_message: ByteCount(5_100), ..TransportConfig::default() };
    let mut sender = Outbox::new();
    for _ in 0..5 {
        let message = Outgoing { delivery: Delivery::UNORDERED, ..message(&"x".repeat(5_000)) };
        sender.queue(&config, Timestamp::ZERO, message).unwrap();
    }
    let mut begun = std::collections::BTreeMap::<_, Vec<_>>::new();
    let send_all = |sender: &mut Outbox, begun: &mut std::collections::BTreeMap<_, Vec<_>>| {
        while let Some(key) = sender.next(Timestamp::ZERO, u64::MAX) {
            begun.entry(sender.message(key).unwrap()).or_default().push(key);
            sender.on_sent(Timestamp::ZERO, key, 1);
        }
    };
    send_all(&mut sender, &mut begun);
    // 5,011 bytes and six pieces of 256 bytes each: three of them are within four times 5,100 bytes.
    assert_eq!(begun.len(), 3);
    let (_, pieces) = begun.pop_first().unwrap();
    for piece in pieces {
        sender.on_acked(piece, &mut Stats::default());
    }
    send_all(&mut sender, &mut begun);
    assert_eq!(begun.len(), 3, "one is whole, another begins");
}

#[test]
fn the_queue_is_bounded_in_bytes_too() {
    let config = TransportConfig { max_queued_bytes: ByteCount(100), ..TransportConfig::default() };
    let mut sender = Outbox::new();
    sender.queue(&config, Timestamp::ZERO, message(&"x".repeat(60))).unwrap();
    let refused = sender.queue(&config, Timestamp::ZERO, message(&"x".repeat(60)));
    assert_eq!(refused, Err(SendError::QueueBytes { limit: ByteCount(100) }));
}

#[test]
fn the_peers_window_holds_back_fresh_segments_only() {
    let config = TransportConfig::default();
    let mut sender = Outbox::new();
    sender.queue(&config, Timestamp::ZERO, message("0123456789")).unwrap();
    let key = sender.next(Timestamp::ZERO, 100).unwrap();
    sender.on_sent(Timestamp::ZERO, key, 1);
    sender.queue(&config, Timestamp::ZERO, message("0123456789")).unwrap();
    assert_eq!(sender.next(Timestamp::ZERO, 30), None);
    sender.on_lost(key, LossReason::Timeout, 10, &mut Stats::default());
    assert_eq!(sender.next(Timestamp::ZERO, 30), Some(SegmentKey { kind: Kind::Lost, ..key }));
}

#[test]
fn what_is_given_up_behind_a_blocked_front_is_not_kept() {
    let config = TransportConfig::default();
    let ms = |ms| Timestamp::from_millis(ms);
    let mut sender = Outbox::new();
    sender.queue(&config, ms(0), message(&"x".repeat(200))).unwrap();
    assert_eq!(sender.next(ms(0), 100), None, "the window has no room for the front");
    let reliabilities = [
        Reliability::Deadline(std::time::Duration::from_millis(5)),
        Reliability::Deadline(std::time::Duration::from_millis(2)),
        Reliability::Attempts(1),
    ];
    let (mut failed, mut longest) = (0, 0);
    for step in 0..20_000 {
        let reliability = reliabilities[step as usize % reliabilities.len()];
        // Those with attempts are given up when a newer one comes.
        let order = if reliability == Reliability::Attempts(1) { Order::Latest } else { Order::Ordered };
        let delivery = Delivery { order, reliability };
        sender.queue(&config, ms(step), Outgoing { delivery, ..message("x") }).unwrap();
        assert_eq!(sender.next(ms(step), 10), None);
        failed += std::iter::from_fn(|| sender.poll_failure()).count();
        let queues = sender.channels[0].queues.iter().map(|queue| queue.fresh.len()).sum::<usize>();
        longest = longest.max(queues).max(sender.deadlines.len());
        assert!(sender.unacked_messages() < 16, "they are given up");
    }
    assert!(failed > 19_900, "{failed} failed");
    assert!(longest <= 2 * 16 + STALE_MAX + 1, "{longest} names of at most 16 messages");
    // What is left is as it was.
    let key = sender.next(ms(30_000), u64::MAX).unwrap();
    assert_eq!(sender.size(key), ByteCount((TYPICAL_ENVELOPE_BYTES + names_len(&message("x")) + 211) as u64));
}

#[test]
fn deadlines_of_what_is_done_are_not_kept() {
    let config = TransportConfig::default();
    let mut sender = Outbox::new();
    let reliability = Reliability::Deadline(std::time::Duration::from_secs(3600));
    let delivery = Delivery { reliability, ..Delivery::default() };
    for _ in 0..10_000 {
        sender.queue(&config, Timestamp::ZERO, Outgoing { delivery, ..message("x") }).unwrap();
        let key = sender.next(Timestamp::ZERO, u64::MAX).unwrap();
        sender.on_sent(Timestamp::ZERO, key, 1);
        sender.on_acked(key, &mut Stats::default()).unwrap();
        assert!(sender.deadlines.len() <= 2 + STALE_MAX, "{} deadlines", sender.deadlines.len());
    }
    sender.queue(&config, Timestamp::ZERO, Outgoing { delivery, ..message("x") }).unwrap();
    assert!(sender.next_deadline().is_some());
    sender.expire(Timestamp::from_secs(3601));
    assert_eq!(sender.poll_failure().map(|(_, cause)| cause), Some(Failure::Deadline));
}

#[test]
fn what_waits_for_an_old_message_of_its_channel_says_so() {
    let config = TransportConfig { max_queued_messages: 1 << 16, ..TransportConfig::default() };
    let mut sender = Outbox::new();
    let mut keys = Vec::new();
    for _ in 0..=MAX_SPAN {
        sender.queue(&config, Timestamp::ZERO, message("x")).unwrap();
        if let Some(key) = sender.next(Timestamp::ZERO, u64::MAX) {
            sender.on_sent(Timestamp::ZERO, key, 1);
            keys.push(key);
        }
    }
    assert_eq!(keys.len() as u64, MAX_SPAN);
    assert!(sender.is_blocked() && sender.waits_for_span() && !sender.waits_for_channel());
    for key in keys.drain(1..) {
        sender.on_acked(key, &mut Stats::default());
    }
    assert_eq!(sender.next(Timestamp::ZERO, u64::MAX), None, "the oldest is still missing");
    sender.on_acked(keys[0], &mut Stats::default());
    assert!(sender.next(Timestamp::ZERO, u64::MAX).is_some());
    assert!(!sender.is_blocked() && !sender.waits_for_span());
}
