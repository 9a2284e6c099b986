//! Delays over time, and losses packet by packet, from recordings.
//!
//! A delay trace has one step a line: a time since the link's origin and the delay from then on, `1.5s 40ms`; bare
//! numbers are milliseconds. A loss trace has one character a packet, `0` for delivered and `1` for lost; blanks and
//! lines are free. Lines beginning with `#` are comments in both.

use std::time::Duration;

use units::parse_duration;

use super::table::{TextError, numbered, short};
use crate::profile::{DelayTrace, LossTrace};

/// Steps a delay trace, and packets a loss trace may have: an hour at one step a millisecond.
pub const MAX_STEPS: usize = 3_600_000;

impl DelayTrace {
    /// Reads the text of a delay trace; `name` is where it came from.
    ///
    /// # Errors
    /// When a line is not two spans, times fall, or there are no steps or too many.
    pub fn parse(name: &str, text: &str) -> Result<Self, TextError> {
        let mut steps: Vec<(Duration, Duration)> = Vec::new();
        for (line, content) in numbered(text) {
            let mut words = content.split_whitespace();
            let (Some(at), Some(delay), None) = (words.next(), words.next(), words.next()) else {
                return Err(TextError::Line {
                    line,
                    problem: "write a time and a delay, for example 1.5s 40ms",
                });
            };
            let (at, delay) = (span(line, at)?, span(line, delay)?);
            if steps.last().is_some_and(|&(before, _)| at < before) {
                return Err(TextError::Line { line, problem: "its time is before that of the line above" });
            }
            if steps.len() == MAX_STEPS {
                return Err(TextError::TooMany { line, most: MAX_STEPS });
            }
            steps.push((at, delay));
        }
        if steps.is_empty() {
            return Err(TextError::Empty {
                example: "write a time and a delay a line, for example 1.5s 40ms",
            });
        }
        Ok(Self { name: name.to_owned(), steps })
    }

    /// The delay at `at` after the origin; before the first step, the first one's. No step at all means none.
    #[must_use]
    pub fn at(&self, at: Duration) -> Duration {
        let passed = self.steps.partition_point(|&(from, _)| from <= at);
        self.steps.get(passed.saturating_sub(1)).map_or(Duration::ZERO, |&(_, delay)| delay)
    }

    /// Mean over the time from the first to the last step; of the only one if there is one.
    #[must_use]
    pub fn mean(&self) -> Duration {
        let (Some(&(first, delay)), Some(&(last, _))) = (self.steps.first(), self.steps.last()) else {
            return Duration::ZERO;
        };
        let whole = last.saturating_sub(first).as_nanos();
        if whole == 0 {
            return delay;
        }
        let spans = self.steps.windows(2).map(|pair| {
            let length = pair[1].0.saturating_sub(pair[0].0).as_nanos();
            length.saturating_mul(pair[0].1.as_nanos())
        });
        let sum = spans.fold(0_u128, u128::saturating_add);
        Duration::from_nanos(u64::try_from(sum / whole).unwrap_or(u64::MAX))
    }
}

impl LossTrace {
    /// Reads the text of a loss trace; `name` is where it came from.
    ///
    /// # Errors
    /// When a character is neither 0 nor 1, or there are none or too many.
    pub fn parse(name: &str, text: &str) -> Result<Self, TextError> {
        let mut losses = Vec::new();
        for (line, content) in numbered(text) {
            for character in content.chars().filter(|character| !character.is_whitespace()) {
                if losses.len() == MAX_STEPS {
                    return Err(TextError::TooMany { line, most: MAX_STEPS });
                }
                losses.push(match character {
                    '0' => false,
                    '1' => true,
                    other => {
                        let word = other.to_string();
                        return Err(TextError::Word { line, word, expected: "0 (delivered) or 1 (lost)" });
                    }
                });
            }
        }
        if losses.is_empty() {
            return Err(TextError::Empty { example: "write 0 for a delivered and 1 for a lost packet" });
        }
        Ok(Self { name: name.to_owned(), losses })
    }
}

/// A span with a unit, or bare milliseconds.
fn span(line: usize, word: &str) -> Result<Duration, TextError> {
    let bare = word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let text = if bare { format!("{word}ms") } else { word.to_owned() };
    parse_duration(&text).map_err(|_| TextError::Word {
        line,
        word: short(word),
        expected: "a span; write for example 40ms, or 40 for milliseconds",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_step_holds_from_its_time_on() {
        let trace = DelayTrace::parse("x", "# train\n10 20\n1s 50ms\n2s 5ms\n").expect("a trace");
        for (at, delay) in [(0, 20), (10, 20), (999, 20), (1000, 50), (1999, 50), (2000, 5), (99_000, 5)] {
            assert_eq!(trace.at(at * MS), delay * MS, "{at}");
        }
        // (990 x 20 + 1000 x 50) / 1990.
        assert_eq!(trace.mean(), Duration::from_nanos(35_075_376));
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| DelayTrace::parse("x", text).expect_err("wrong").to_string();
        assert_eq!(error("5"), "line 1: write a time and a delay, for example 1.5s 40ms");
        assert_eq!(error("5 6\n4 6"), "line 2: its time is before that of the line above");
        assert!(error("5 fast").contains("line 1: \"fast\" is not a span"));
        assert!(error("\n# none\n").contains("no entries"));
        assert_eq!(
            LossTrace::parse("x", "0101\n2").expect_err("wrong").to_string(),
            "line 2: \"2\" is not 0 (delivered) or 1 (lost)"
        );
    }

    #[test]
    fn a_loss_trace_is_read_character_by_character() {
        let trace = LossTrace::parse("x", "# two of five\n01 0\n01\n").expect("a trace");
        assert_eq!(trace.losses, [false, true, false, false, true]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9ms. \n#-]{0,80}") {
            if let Ok(trace) = DelayTrace::parse("x", &text) {
                let _ = (trace.mean(), trace.at(Duration::MAX));
            }
            let _ = LossTrace::parse("x", &text);
        }
    }
}
