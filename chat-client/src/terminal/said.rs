//! Lines that were sent, until they are known to have arrived, and a little longer.
//!
//! A line that was not delivered, or that the server refused, is named to its author by its beginning. The refusal may
//! come after the acknowledgement, so the newest lines are remembered past it.

use std::collections::BTreeMap;

use chat_client::session::MessageId;

#[derive(Debug, Default)]
pub(crate) struct SaidLines {
    lines: BTreeMap<MessageId, Said>,
}

#[derive(Debug)]
struct Said {
    /// Safe to print.
    excerpt: String,
    is_settled: bool,
}

impl SaidLines {
    pub(crate) fn note(&mut self, id: MessageId, text: &str) {
        self.lines.insert(id, Said { excerpt: crate::text::excerpt(text, EXCERPT_CHARS), is_settled: false });
        // Only settled ones give way; the unsettled are bounded by the connection's own queue.
        while self.lines.len() > REMEMBERED {
            let oldest_settled = self.lines.iter().find(|(_, said)| said.is_settled).map(|(&id, _)| id);
            let Some(id) = oldest_settled else {
                return;
            };
            self.lines.remove(&id);
        }
    }

    /// Acknowledged or failed.
    pub(crate) fn settle(&mut self, id: MessageId) {
        if let Some(said) = self.lines.get_mut(&id) {
            said.is_settled = true;
        }
    }

    /// The beginning of the line, in quotes; `None` if it is no line or was forgotten.
    pub(crate) fn quote(&self, id: MessageId) -> Option<String> {
        self.lines.get(&id).map(|said| format!("\"{}\"", said.excerpt))
    }

    /// How many lines are neither acknowledged nor failed.
    pub(crate) fn unsettled(&self) -> usize {
        self.lines.values().filter(|said| !said.is_settled).count()
    }
}

/// Enough to recognise a line by.
const EXCERPT_CHARS: usize = 40;
/// More than a person types within any round trip.
const REMEMBERED: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsettled_lines_are_never_forgotten() {
        let mut said = SaidLines::default();
        for id in 0..100 {
            said.note(MessageId(id), "x");
            if id != 7 {
                said.settle(MessageId(id));
            }
        }
        assert_eq!(said.unsettled(), 1);
        assert_eq!(said.quote(MessageId(7)), Some("\"x\"".to_owned()));
        assert_eq!(said.quote(MessageId(0)), None);
    }
}
