//! Events as lines of standard output, for programs.
//!
//! Plain: one line for each message, `room sender: text`; `@NAME` stands for the room of a private message and `@all` for
//! that of a broadcast, which no room can be called. JSON: one object a line, comings and goings included; a reader
//! ignores types and fields that it does not know.

use std::sync::Arc;

use chat_client::session::SessionEvent;
use chat_core::message::{Notice, NoticeEvent};
use serde::Serialize;

use crate::heard::Heard;
use crate::text::{safe, safe_json};

#[derive(Debug)]
pub(crate) struct Output {
    user: Arc<str>,
    format: Format,
    /// Print what was said before the join as well.
    history: bool,
    heard: Heard,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Plain,
    Json,
}

/// One line of JSON output.
#[derive(Debug, Serialize)]
struct Record<'a> {
    #[serde(rename = "type")]
    kind: Kind,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
    /// Place in the room.
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    sender: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<&'a str>,
    /// Seconds since the Unix epoch, when the server took it in.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Chat,
    /// A line from before the join.
    History,
    Private,
    Broadcast,
    /// From the operator.
    Announcement,
    Join,
    Leave,
}

impl Output {
    pub(crate) fn new(user: Arc<str>, format: Format, history: bool) -> Self {
        Self { heard: Heard::new(user.clone()), user, format, history }
    }

    /// The lines for an event, each with its line feed; often none.
    pub(crate) fn lines(&mut self, event: &SessionEvent) -> String {
        match event {
            SessionEvent::Line { sender, timestamp_us, line } => {
                self.heard.on_line(&line.room, line.seq);
                self.line(&Record {
                    kind: Kind::Chat,
                    room: Some(&line.room),
                    seq: Some(line.seq),
                    sender,
                    text: Some(&line.text),
                    timestamp: Some(seconds(*timestamp_us)),
                })
            }
            SessionEvent::Private { sender, timestamp_us, text } => {
                self.line(&direct(Kind::Private, sender, text, Some(*timestamp_us)))
            }
            SessionEvent::Broadcast { sender, timestamp_us, text } => {
                self.line(&direct(Kind::Broadcast, sender, text, Some(*timestamp_us)))
            }
            SessionEvent::Joined(joined) => {
                self.heard.on_joined(&joined.room, joined.seq);
                String::new()
            }
            SessionEvent::History(history) => {
                let room = &history.room;
                // A history after a reconnect holds what was said meanwhile; that is always printed.
                let is_wanted = self.history || self.heard.knows(room);
                let lines = self.heard.unheard(history.clone());
                if !is_wanted {
                    return String::new();
                }
                let record = |line: &chat_core::message::HistoryLine| {
                    self.line(&Record {
                        kind: Kind::History,
                        room: Some(room),
                        seq: Some(line.seq),
                        sender: &line.sender,
                        text: Some(&line.text),
                        timestamp: Some(line.timestamp),
                    })
                };
                lines.iter().map(record).collect()
            }
            SessionEvent::Notice(notice) => self.notice(notice),
            _ => String::new(),
        }
    }

    fn notice(&mut self, notice: &Notice) -> String {
        if let (Some(room), Some(seq)) = (&notice.room, notice.seq) {
            self.heard.on_line(room, seq);
        }
        let kind = match notice.event {
            NoticeEvent::Join => Kind::Join,
            NoticeEvent::Leave => Kind::Leave,
            _ if notice.text.is_empty() => return String::new(),
            _ => return self.line(&direct(Kind::Announcement, chat_core::name::SERVER, &notice.text, None)),
        };
        if self.format == Format::Plain {
            return String::new();
        }
        let sender = notice.user.as_deref().unwrap_or_default();
        let room = notice.room.as_deref();
        self.line(&Record { kind, room, seq: notice.seq, sender, text: None, timestamp: None })
    }

    fn line(&self, record: &Record<'_>) -> String {
        if self.format == Format::Json {
            let json = serde_json::to_string(record).expect("a record has string keys only");
            return format!("{}\n", safe_json(&json));
        }
        let place = match record.kind {
            Kind::Private => format!("@{}", self.user),
            Kind::Broadcast | Kind::Announcement => "@all".to_owned(),
            _ => record.room.unwrap_or_default().to_owned(),
        };
        format!("{} {}: {}\n", safe(&place), safe(record.sender), safe(record.text.unwrap_or_default()))
    }
}

/// Something outside rooms.
fn direct<'a>(kind: Kind, sender: &'a str, text: &'a str, timestamp_us: Option<u64>) -> Record<'a> {
    Record { kind, room: None, seq: None, sender, text: Some(text), timestamp: timestamp_us.map(seconds) }
}

fn seconds(unix_us: u64) -> f64 {
    unix_us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use chat_core::message::{History, HistoryLine, Line};

    use super::*;

    fn chat(text: &str) -> SessionEvent {
        let line = Line { room: "lobby".into(), seq: 7, text: text.to_owned() };
        SessionEvent::Line { sender: "bob".into(), timestamp_us: 1_234_567_890_123_000, line }
    }

    fn private() -> SessionEvent {
        SessionEvent::Private { sender: "bob".into(), timestamp_us: 0, text: "psst".to_owned() }
    }

    fn came() -> SessionEvent {
        SessionEvent::Notice(Notice {
            event: NoticeEvent::Join,
            room: Some("lobby".into()),
            seq: Some(8),
            user: Some("carol".into()),
            text: String::new(),
        })
    }

    #[test]
    fn plain_output_has_one_line_for_each_message_whatever_it_contains() {
        let mut output = Output::new("alice".into(), Format::Plain, true);
        assert_eq!(output.lines(&chat("hi")), "lobby bob: hi\n");
        assert_eq!(output.lines(&chat("two\nlines\u{1b}[0m")), "lobby bob: two␊lines␛[0m\n");
        assert_eq!(output.lines(&private()), "@alice bob: psst\n");
        assert_eq!(output.lines(&came()), "", "a coming is no message");
    }

    #[test]
    fn json_output_is_one_object_a_line_with_the_text_unchanged() {
        let mut output = Output::new("alice".into(), Format::Json, true);
        assert_eq!(
            output.lines(&chat("hi")),
            "{\"type\":\"chat\",\"room\":\"lobby\",\"seq\":7,\"sender\":\"bob\",\"text\":\"hi\",\
             \"timestamp\":1234567890.123}\n"
        );
        let odd = output.lines(&chat("a\nb\u{9b}"));
        assert_eq!(odd.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&odd).unwrap();
        assert_eq!(value["text"], "a\nb\u{9b}");
        assert_eq!(
            output.lines(&came()),
            "{\"type\":\"join\",\"room\":\"lobby\",\"seq\":8,\"sender\":\"carol\"}\n"
        );
    }

    #[test]
    fn a_history_is_told_apart_in_json_and_shown_once() {
        let line = HistoryLine { seq: 1, sender: "bob".into(), timestamp: 1.5, text: "old".to_owned() };
        let history = SessionEvent::History(History { room: "lobby".into(), lines: vec![line] });
        let mut output = Output::new("alice".into(), Format::Json, true);
        assert!(output.lines(&history).starts_with("{\"type\":\"history\",\"room\":\"lobby\",\"seq\":1,"));
        assert_eq!(output.lines(&history), "");
    }

    #[test]
    fn without_being_asked_only_what_was_missed_is_printed_from_a_history() {
        let line = |seq| HistoryLine { seq, sender: "bob".into(), timestamp: 1.5, text: format!("{seq}") };
        let history = |lines| SessionEvent::History(History { room: "lobby".into(), lines });
        let mut output = Output::new("alice".into(), Format::Plain, false);
        assert_eq!(output.lines(&history(vec![line(1)])), "");
        assert_eq!(output.lines(&history(vec![line(1), line(2)])), "lobby bob: 2\n");
    }
}
