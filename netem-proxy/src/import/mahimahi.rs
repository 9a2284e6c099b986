//! Delivery traces of mahimahi.
//!
//! One whole number a line, in milliseconds, never falling: at each, 1504 bytes may leave. The last one is also the
//! period, after which the trace begins again; it must be above zero. `mm-link UP DOWN` takes one for each direction.

use crate::law::table::TextError;
use crate::profile::DeliveryTrace;

/// Opportunities a trace may have: an hour at 96 Mbit/s.
pub const MAX_OPPORTUNITIES: usize = 32_000_000;

/// Reads the text of a trace; `name` is where it came from.
///
/// # Errors
/// What mahimahi refuses too: an empty line, a line that is no whole number, a falling number, no line, or 0 at the end.
pub fn parse(name: &str, text: &str) -> Result<DeliveryTrace, TextError> {
    let mut opportunities_ms: Vec<u64> = Vec::new();
    for (index, content) in text.lines().enumerate() {
        let line = index + 1;
        let content = content.trim_end_matches('\r');
        let at: u64 = content.parse().map_err(|_| TextError::Word {
            line,
            word: crate::law::table::short(content),
            expected: "a whole number of milliseconds",
        })?;
        if opportunities_ms.last().is_some_and(|&before| at < before) {
            return Err(TextError::Line { line, problem: "it is earlier than the line above" });
        }
        if opportunities_ms.len() == MAX_OPPORTUNITIES {
            return Err(TextError::TooMany { line, most: MAX_OPPORTUNITIES });
        }
        opportunities_ms.push(at);
    }
    match opportunities_ms.last() {
        None => Err(TextError::Empty {
            example: "write the milliseconds at which a packet may leave, one a line",
        }),
        Some(0) => Err(TextError::Line {
            line: opportunities_ms.len(),
            problem: "the last time is also the period; it must be above 0",
        }),
        Some(_) => Ok(DeliveryTrace { name: name.to_owned(), opportunities_ms }),
    }
}

/// The SPEC of a direction of `mm-link` with this trace; its queue is unlimited unless told otherwise.
#[must_use]
pub fn spec(trace: &DeliveryTrace) -> String {
    format!("rate=trace({}) queue=infinite", trace.name)
}

/// What it gives in the mean, for people.
#[must_use]
pub fn describe(trace: &DeliveryTrace) -> String {
    let period = trace.opportunities_ms.last().copied().unwrap_or_default();
    let megabits = trace.bitrate().map_or(0.0, |rate| rate.bits_per_second() as f64 / 1e6);
    format!(
        "{}: {} opportunities of {} bytes in {:.3} s, {megabits:.3} Mbit/s in the mean",
        trace.name,
        trace.opportunities_ms.len(),
        DeliveryTrace::OPPORTUNITY.as_u64(),
        period as f64 / 1e3
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_trace_has_its_mean_rate() {
        let trace = parse("x.up", "0\n1\n1\n2\n").expect("a trace");
        assert_eq!(trace.opportunities_ms, [0, 1, 1, 2]);
        assert_eq!(spec(&trace), "rate=trace(x.up) queue=infinite");
        // 4 x 1504 x 8 bits in 2 ms.
        assert_eq!(
            describe(&trace),
            "x.up: 4 opportunities of 1504 bytes in 0.002 s, 24.064 Mbit/s in the mean"
        );
    }

    #[test]
    fn what_mahimahi_refuses_is_refused() {
        let error = |text: &str| parse("x", text).expect_err("wrong").to_string();
        assert_eq!(error("1\n\n2\n"), "line 2: \"\" is not a whole number of milliseconds");
        assert_eq!(error("1\n2.5\n"), "line 2: \"2.5\" is not a whole number of milliseconds");
        assert_eq!(error("5\n4\n"), "line 2: it is earlier than the line above");
        assert_eq!(error("0\n0\n"), "line 2: the last time is also the period; it must be above 0");
        assert!(error("").contains("no entries"));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[0-9\n\r .-]{0,60}") {
            if let Ok(trace) = parse("x", &text) {
                let _ = describe(&trace);
            }
        }
    }
}
