use super::*;

fn hub() -> Hub {
    let mut hub = Hub::new(HubConfig { history_lines: 3, ..HubConfig::default() }, 0);
    for (id, name) in [(1, "alice"), (2, "bob"), (3, "carol")] {
        hub.enter(SessionId(id), name.into());
    }
    hub
}

#[test]
fn an_unordered_line_goes_out_unordered_on_a_channel_of_its_own() {
    let mut hub = Hub::new(HubConfig::default(), 0);
    for (id, name) in [(1, "ann"), (2, "bob")] {
        hub.enter(SessionId(id), name.into());
        ask(&mut hub, id, MsgType::Join, serde_json::json!({ "room": "lobby" }));
    }
    let mut seen = Vec::new();
    for order in [Order::Ordered, Order::Unordered, Order::Latest] {
        let message = Incoming {
            msg_id: "q".into(),
            msg_type: MsgType::Chat,
            sender: "whoever".into(),
            content: Content::of(&serde_json::json!({ "room": "lobby", "text": "hi" })),
            timestamp_us: 0,
            priority: Priority::Chat,
            channel: 0,
            order,
            order_wait: std::time::Duration::ZERO,
        };
        hub.handle_message(Timestamp::from_millis(5), SessionId(1), &message);
        let line = hub.poll_output().expect("bob hears it");
        assert_eq!(line.to, SessionId(2));
        seen.push((line.message.channel, line.message.delivery.order));
    }
    let room = seen[0].0;
    assert_eq!(
        seen,
        [(room, Order::Ordered), (room + 500, Order::Unordered), (room + 500, Order::Unordered)]
    );
}

fn ask(
    hub: &mut Hub,
    from: u64,
    msg_type: MsgType,
    content: serde_json::Value,
) -> Vec<(u64, String, serde_json::Value)> {
    let message = Incoming {
        msg_id: "q".into(),
        msg_type,
        sender: "whoever".into(),
        content: Content::of(&content),
        timestamp_us: 0,
        priority: Priority::Chat,
        channel: 0,
        order: Order::Ordered,
        order_wait: std::time::Duration::ZERO,
    };
    hub.handle_message(Timestamp::from_millis(5), SessionId(from), &message);
    drain(hub)
}

fn drain(hub: &mut Hub) -> Vec<(u64, String, serde_json::Value)> {
    std::iter::from_fn(|| hub.poll_output())
        .map(|output| {
            let kind = format!("{}:{}", output.message.sender, output.message.msg_type.as_str());
            (output.to.0, kind, output.message.content.parse().unwrap())
        })
        .collect()
}

fn join(hub: &mut Hub, from: u64) -> Vec<(u64, String, serde_json::Value)> {
    ask(hub, from, MsgType::Join, serde_json::json!({ "room": "lobby" }))
}

#[test]
fn a_line_reaches_every_other_member_and_nobody_else() {
    let mut hub = hub();
    join(&mut hub, 1);
    join(&mut hub, 2);
    let out = ask(&mut hub, 1, MsgType::Chat, serde_json::json!({ "room": "lobby", "text": "hi" }));
    // Two joins were lines 1 and 2.
    let line = serde_json::json!({ "room": "lobby", "seq": 3, "text": "hi" });
    assert_eq!(out, [(2, "alice:chat".to_owned(), line)]);
}

#[test]
fn joining_is_announced_to_those_who_are_there() {
    let mut hub = hub();
    assert_eq!(join(&mut hub, 1).len(), 1);
    let out = join(&mut hub, 2);
    assert_eq!(out[0].0, 1);
    assert_eq!(out[0].2, serde_json::json!({ "event": "join", "room": "lobby", "seq": 2, "user": "bob" }));
    assert_eq!((out[1].0, out[1].2["members"].clone()), (2, 2.into()));
    assert_eq!(join(&mut hub, 2).len(), 1, "joining again is answered but not announced");
}

#[test]
fn history_is_bounded_and_comes_before_anything_new() {
    let mut hub = hub();
    join(&mut hub, 1);
    for number in 0..5 {
        ask(&mut hub, 1, MsgType::Chat, serde_json::json!({ "room": "lobby", "text": number.to_string() }));
    }
    let out = join(&mut hub, 2);
    let history = out.iter().find(|(_, kind, _)| kind == "server:history").unwrap();
    let texts: Vec<_> =
        history.2["lines"].as_array().unwrap().iter().map(|line| line["text"].clone()).collect();
    assert_eq!(texts, ["2", "3", "4"]);
}

#[test]
fn a_sender_is_who_the_session_says_not_who_the_frame_says() {
    let mut hub = hub();
    let out = ask(&mut hub, 3, MsgType::Private, serde_json::json!({ "to": "alice", "text": "psst" }));
    assert_eq!(out, [(1, "carol:private".to_owned(), serde_json::json!({ "text": "psst" }))]);
}

#[test]
fn every_refusal_names_what_to_do() {
    let mut hub = hub();
    let cases = [
        (MsgType::Chat, serde_json::json!({ "room": "lobby", "text": "hi" }), "not_in_room"),
        (MsgType::Private, serde_json::json!({ "to": "nobody", "text": "hi" }), "no_such_user"),
        (MsgType::Join, serde_json::json!({ "room": "a b" }), "bad_name"),
        (MsgType::Join, serde_json::json!({ "rom": "lobby" }), "bad_content"),
        (MsgType::List, serde_json::json!({ "room": "nowhere" }), "no_such_room"),
        (MsgType::Broadcast, serde_json::json!({ "text": "x".repeat(5000) }), "text_too_long"),
        (MsgType::Unknown("dance".into()), serde_json::json!({}), "unknown_type"),
    ];
    for (msg_type, content, code) in cases {
        let out = ask(&mut hub, 1, msg_type, content);
        assert_eq!(out.len(), 1);
        assert_eq!((out[0].2["code"].as_str(), out[0].2["reply_to"].as_str()), (Some(code), Some("q")));
        assert!(!out[0].2["text"].as_str().unwrap().is_empty());
    }
    assert_eq!(hub.counters().errors, 7);
}

#[test]
fn whoever_is_gone_leaves_every_room() {
    let mut hub = hub();
    join(&mut hub, 1);
    join(&mut hub, 2);
    hub.leave(Timestamp::ZERO, SessionId(1));
    let out = drain(&mut hub);
    assert_eq!(out[0].2["event"], "leave");
    assert_eq!(hub.session_of("alice"), None);
    assert_eq!(hub.rooms()[0].members, 1);
}

#[test]
fn at_the_bound_an_empty_room_gives_way_and_a_full_house_refuses() {
    let mut hub = Hub::new(HubConfig { rooms: 1, ..HubConfig::default() }, 0);
    hub.enter(SessionId(1), "alice".into());
    ask(&mut hub, 1, MsgType::Join, serde_json::json!({ "room": "one" }));
    let refused = ask(&mut hub, 1, MsgType::Join, serde_json::json!({ "room": "two" }));
    assert_eq!(refused[0].2["code"], "full");
    ask(&mut hub, 1, MsgType::Leave, serde_json::json!({ "room": "one" }));
    let out = ask(&mut hub, 1, MsgType::Join, serde_json::json!({ "room": "two" }));
    assert_eq!(out[0].2["seq"], 1);
}

#[test]
fn everyone_who_hears_a_line_shares_its_one_text() {
    let mut hub = hub();
    for id in 4..100 {
        hub.enter(SessionId(id), format!("user{id}").into());
    }
    for id in 1..100 {
        join(&mut hub, id);
    }
    let say = Content::of(&serde_json::json!({ "room": "lobby", "text": "x".repeat(200) }));
    let message = Incoming {
        msg_id: "alice-7".into(),
        msg_type: MsgType::Chat,
        sender: "alice".into(),
        content: say,
        timestamp_us: 0,
        priority: Priority::Chat,
        channel: 0,
        order: chat_core::Order::Ordered,
        order_wait: std::time::Duration::ZERO,
    };
    hub.handle_message(Timestamp::ZERO, SessionId(1), &message);
    let texts: Vec<Content> =
        std::iter::from_fn(|| hub.poll_output()).map(|out| out.message.content).collect();
    assert_eq!(texts.len(), 98);
    let places: BTreeSet<usize> = texts.iter().map(|text| text.as_bytes().as_ptr() as usize).collect();
    assert_eq!(places.len(), 1, "one allocation for all");
}
