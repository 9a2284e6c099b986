//! Events in, lines out, without colour, at noon UTC.

use chat_core::message::{ErrorCode, HistoryLine, Line, RoomInfo};

use super::*;

const NOON_US: u64 = 1_000_000 * 3600 * 12;

fn view() -> View {
    View::new(ViewSettings {
        user: "alice".into(),
        server: "chat.example:8888".to_owned(),
        paint: Paint { color: false },
        unix_us_at_zero: NOON_US,
        utc_offset: 0,
    })
}

fn show(view: &mut View, event: SessionEvent) -> String {
    view.on_event(Timestamp::ZERO, event)
}

fn joined(room: &str, members: u64) -> SessionEvent {
    SessionEvent::Joined(Joined {
        room: room.into(),
        reply_to: "alice-0".into(),
        seq: 0,
        history: 0,
        members,
    })
}

fn line(room: &str, sender: &str, text: &str) -> SessionEvent {
    let line = Line { room: room.into(), seq: 1, text: text.to_owned() };
    SessionEvent::Line { sender: sender.into(), timestamp_us: NOON_US + 65_000_000, line }
}

fn lost() -> SessionEvent {
    SessionEvent::Disconnected { reason: "reset".to_owned(), retry_in: std::time::Duration::ZERO }
}

fn notice(event: NoticeEvent, user: &str) -> SessionEvent {
    SessionEvent::Notice(Notice {
        event,
        room: Some("lobby".into()),
        seq: Some(2),
        user: Some(user.into()),
        text: String::new(),
    })
}

#[test]
fn a_line_has_time_sender_and_text_and_the_room_only_if_there_are_several() {
    let mut view = view();
    show(&mut view, joined("lobby", 2));
    assert_eq!(show(&mut view, line("lobby", "bob", "hi")), "12:01 bob: hi\n");
    show(&mut view, joined("dev", 1));
    assert_eq!(show(&mut view, line("lobby", "bob", "hi")), "12:01 [lobby] bob: hi\n");
}

#[test]
fn what_others_wrote_cannot_reach_the_terminal() {
    let mut view = view();
    let shown = show(&mut view, line("lobby", "bob", "\u{1b}[2J\nalice: \u{202e}x"));
    assert_eq!(shown, "12:01 bob: ␛[2J␊alice: \u{fffd}x\n");
}

#[test]
fn own_lines_are_echoed_with_whom_they_went_to() {
    let mut view = view();
    let now = Timestamp::ZERO;
    let mut said = |id, audience| view.on_said(now, MessageId(id), &audience, "hi");
    assert_eq!(said(1, Audience::Room("lobby".into())), "12:00 alice: hi\n");
    assert_eq!(said(2, Audience::User("bob".into())), "12:00 alice to bob: hi\n");
    assert_eq!(said(3, Audience::Everyone), "12:00 alice to all: hi\n");
}

#[test]
fn joining_moves_the_prompt_and_leaving_moves_it_back() {
    let mut view = view();
    show(&mut view, SessionEvent::Connected { session: 1, resumed: false });
    assert_eq!(view.prompt(), "(no room)> ");
    assert_eq!(show(&mut view, joined("lobby", 1)), "* you are in lobby, alone so far\n");
    assert_eq!(show(&mut view, joined("dev", 3)), "* you are in dev with 2 others\n");
    assert_eq!(view.prompt(), "dev> ");
    assert!(view.switch(&"lobby".into()));
    show(&mut view, SessionEvent::Left(Left { room: "lobby".into(), reply_to: "x".into() }));
    assert_eq!(view.prompt(), "dev> ");
}

#[test]
fn a_lost_connection_is_told_once_and_so_is_its_return() {
    let mut view = view();
    show(&mut view, SessionEvent::Connected { session: 1, resumed: false });
    show(&mut view, joined("lobby", 1));
    assert_eq!(
        show(&mut view, lost()),
        "! connection lost: reset; connecting again, what you type is kept\n"
    );
    assert_eq!(view.prompt(), "lobby (offline)> ");
    assert_eq!(show(&mut view, lost()), "");
    let again = SessionEvent::Connected { session: 1, resumed: true };
    assert_eq!(show(&mut view, again), "* connected again, nothing was lost\n");
    assert_eq!(show(&mut view, joined("lobby", 1)), "", "the person never left");
}

#[test]
fn a_server_that_was_never_there_is_told_once() {
    let mut view = view();
    assert_eq!(show(&mut view, lost()), "! reset; trying again, Ctrl-C gives up\n");
    assert_eq!(show(&mut view, lost()), "");
    let up = show(&mut view, SessionEvent::Connected { session: 1, resumed: false });
    assert!(up.starts_with("* connected to chat.example:8888 as alice"), "{up}");
}

#[test]
fn comings_and_goings_wait_for_company_but_not_past_what_is_said() {
    let mut view = view();
    assert_eq!(show(&mut view, notice(NoticeEvent::Join, "bob")), "");
    assert_eq!(show(&mut view, notice(NoticeEvent::Leave, "carol")), "");
    let due = view.poll_timeout().expect("something waits");
    assert_eq!(view.handle_timeout(due), "* lobby: bob joined, carol left\n");
    show(&mut view, notice(NoticeEvent::Join, "dave"));
    assert_eq!(show(&mut view, line("lobby", "dave", "hi")), "* lobby: dave joined\n12:01 dave: hi\n");
    assert_eq!(view.poll_timeout(), None);
}

#[test]
fn history_is_shown_as_such() {
    let mut view = view();
    let earlier = HistoryLine { seq: 1, sender: "bob".into(), timestamp: 60.0, text: "old".to_owned() };
    let history = History { room: "lobby".into(), lines: vec![earlier] };
    assert_eq!(
        show(&mut view, SessionEvent::History(history.clone())),
        "--- one line from before, in lobby ---\n  00:01 bob: old\n"
    );
    assert_eq!(show(&mut view, SessionEvent::History(history)), "", "heard before");
}

#[test]
fn a_line_that_failed_is_quoted() {
    let mut view = view();
    view.on_said(Timestamp::ZERO, MessageId(4), &Audience::Everyone, "hello world");
    assert_eq!(view.unsettled(), 1);
    let failed = show(&mut view, SessionEvent::Failed(MessageId(4)));
    assert_eq!(failed, "! not delivered: \"hello world\"; send it again\n");
    assert_eq!(view.unsettled(), 0);
    let refusal = ErrorContent {
        code: ErrorCode::NotInRoom,
        text: "join it first".to_owned(),
        reply_to: Some("alice-4".into()),
        fatal: false,
    };
    assert_eq!(show(&mut view, SessionEvent::Error(refusal)), "! not said: \"hello world\": join it first\n");
}

#[test]
fn rooms_are_listed_one_a_line() {
    let mut view = view();
    let info = |room: &str, members, joined| RoomInfo { room: room.into(), members, joined };
    let list = RoomList { rooms: vec![info("dev", 1, false), info("lobby", 3, true)], reply_to: "x".into() };
    assert_eq!(show(&mut view, SessionEvent::Rooms(list)), "  dev (1)\n  lobby (3, you are in)\n");
}
