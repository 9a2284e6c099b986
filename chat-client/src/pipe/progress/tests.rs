//! A run, event by event.

use chat_core::message::{ErrorCode, ErrorContent, History, Joined};

use super::*;

const START: Timestamp = Timestamp::ZERO;

fn progress(follow: bool) -> Progress {
    Progress::new(START, "lobby".into(), follow, Duration::from_secs(5))
}

fn joined(history: u64) -> SessionEvent {
    SessionEvent::Joined(Joined { room: "lobby".into(), reply_to: "a-0".into(), seq: 0, history, members: 1 })
}

fn lost() -> SessionEvent {
    SessionEvent::Disconnected { reason: "connection refused".to_owned(), retry_in: Duration::ZERO }
}

fn error(reply_to: &str) -> SessionEvent {
    SessionEvent::Error(ErrorContent {
        code: ErrorCode::TextTooLong,
        text: "too long; split it".to_owned(),
        reply_to: Some(reply_to.into()),
        fatal: false,
    })
}

fn answer() -> SessionEvent {
    SessionEvent::Stats(serde_json::Value::Null)
}

/// Joined, three lines sent, end of input.
fn three_lines(follow: bool) -> Progress {
    let mut progress = progress(follow);
    progress.on_event(START, &joined(0));
    for id in 1..=3 {
        assert!(progress.wants_input());
        progress.on_sent(MessageId(id));
    }
    progress.on_input_end(START);
    progress
}

fn ack_all(progress: &mut Progress) {
    for id in 1..=3 {
        assert!(!progress.take_question());
        progress.on_event(START, &SessionEvent::Acked(MessageId(id)));
    }
}

#[test]
fn nothing_is_read_before_the_room_and_its_history_are_there() {
    let mut progress = progress(false);
    assert!(!progress.wants_input());
    progress.on_event(START, &joined(2));
    assert!(!progress.wants_input());
    progress.on_event(START, &SessionEvent::History(History { room: "lobby".into(), lines: Vec::new() }));
    assert!(progress.wants_input());
}

#[test]
fn a_run_is_done_when_all_is_acknowledged_and_the_last_question_is_answered() {
    let mut progress = three_lines(false);
    ack_all(&mut progress);
    assert!(progress.take_question());
    assert!(!progress.take_question(), "it is asked once");
    assert_eq!(progress.outcome(), None);
    progress.on_event(START, &answer());
    assert_eq!(progress.outcome(), Some(&Outcome::Done));
}

#[test]
fn a_line_refused_after_its_acknowledgement_fails_the_run() {
    let mut progress = three_lines(false);
    ack_all(&mut progress);
    progress.take_question();
    let report = progress.on_event(START, &error("alice-2"));
    assert_eq!(report, Some(Report::Problem("line 2: refused: too long; split it".to_owned())));
    progress.on_event(START, &answer());
    assert_eq!(
        progress.outcome(),
        Some(&Outcome::Failed("one line was not delivered, see above".to_owned()))
    );
}

#[test]
fn lines_not_acknowledged_in_time_are_counted_and_the_first_is_named() {
    let mut progress = three_lines(false);
    progress.on_event(START, &SessionEvent::Acked(MessageId(1)));
    progress.on_event(START, &lost());
    let deadline = progress.poll_timeout().expect("bounded");
    progress.handle_timeout(deadline);
    let Some(Outcome::Failed(text)) = progress.outcome() else { panic!("{progress:?}") };
    assert_eq!(
        text,
        "2 of 3 lines were not acknowledged within 10s (connection refused); send again from line 2"
    );
}

#[test]
fn progress_gives_the_other_lines_more_time() {
    let mut progress = three_lines(false);
    let first = progress.poll_timeout().expect("bounded");
    progress.on_event(Timestamp::from_secs(9), &SessionEvent::Acked(MessageId(1)));
    progress.handle_timeout(first);
    assert_eq!((progress.outcome(), progress.poll_timeout()), (None, Some(Timestamp::from_secs(19))));
}

#[test]
fn a_server_that_never_answers_is_unreachable() {
    let mut progress = progress(false);
    assert_eq!(progress.on_event(START, &lost()), None, "told at the end, not for each try");
    progress.handle_timeout(Timestamp::from_secs(4));
    assert_eq!(progress.outcome(), None);
    progress.handle_timeout(Timestamp::from_secs(5));
    let Some(Outcome::Unreachable(text)) = progress.outcome() else { panic!("{progress:?}") };
    assert!(text.starts_with("connection refused; gave up after 5s"), "{text}");
}

#[test]
fn a_join_that_is_refused_fails_the_run() {
    let mut progress = progress(true);
    progress.on_event(START, &error("alice-0"));
    assert_eq!(progress.outcome(), Some(&Outcome::Failed("too long; split it".to_owned())));
}

#[test]
fn following_goes_on_until_nobody_reads() {
    let mut progress = three_lines(true);
    ack_all(&mut progress);
    progress.take_question();
    progress.on_event(START, &answer());
    assert_eq!((progress.outcome(), progress.poll_timeout()), (None, None));
    progress.on_output_closed(START);
    assert_eq!(progress.outcome(), Some(&Outcome::Done));
}

#[test]
fn a_closed_output_does_not_lose_what_was_read() {
    let mut progress = three_lines(true);
    progress.on_output_closed(START);
    assert_eq!(progress.outcome(), None);
    ack_all(&mut progress);
    progress.take_question();
    progress.on_event(START, &answer());
    assert_eq!(progress.outcome(), Some(&Outcome::Done));
}

#[test]
fn too_many_lines_under_way_stop_the_reading() {
    let mut progress = progress(false);
    progress.on_event(START, &joined(0));
    for id in 0..MAX_UNDER_WAY as u64 {
        progress.on_sent(MessageId(id));
    }
    assert!(!progress.wants_input());
    progress.on_event(START, &SessionEvent::Acked(MessageId(0)));
    assert!(progress.wants_input());
}

#[test]
fn an_outage_is_told_once_with_its_end() {
    let mut progress = progress(true);
    let up = SessionEvent::Connected { session: 1, resumed: true };
    assert_eq!(progress.on_event(START, &up), None);
    assert!(matches!(progress.on_event(START, &lost()), Some(Report::Note(_))));
    assert_eq!(progress.on_event(START, &lost()), None);
    assert!(matches!(progress.on_event(START, &up), Some(Report::Note(_))));
}
