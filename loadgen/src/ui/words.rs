//! Numbers as a line of a terminal shows them.

use super::Summary;
use crate::result::Verdict;

/// `p50 52.1 ms, p99 312 ms, lost 0 of 12,345, 1,029/s`.
#[must_use]
pub fn words(summary: &Summary) -> String {
    let Summary { delivered, lost, delivered_per_s, p50_us, p99_us, invalid } = summary;
    let percentile = |us: &Option<u64>| match us {
        Some(us) => span(*us),
        None if *lost > 0 => "lost".to_owned(),
        None => "–".to_owned(),
    };
    let mut text = format!(
        "p50 {}, p99 {}, lost {} of {}, {}/s",
        percentile(p50_us),
        percentile(p99_us),
        grouped(*lost),
        grouped(delivered + lost),
        rate(*delivered_per_s)
    );
    if let Some(reason) = invalid {
        text += &format!("; INVALID: {reason}");
    }
    text
}

/// Three digits and a unit: `930 µs`, `52.1 ms`, `1.63 s`.
#[must_use]
pub fn span(us: u64) -> String {
    let us = us as f64;
    let (value, unit) = match us {
        us if us < 999.5 => (us, "µs"),
        us if us < 999_500.0 => (us / 1e3, "ms"),
        us => (us / 1e6, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// Three digits below a thousand, whole and grouped above.
#[must_use]
pub fn rate(per_s: f64) -> String {
    if per_s < 999.5 { three_digits(per_s) } else { grouped(per_s.round() as u64) }
}

#[must_use]
pub fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
        Verdict::Invalid => "INVALID",
    }
}

/// `1:02:03` or `2:03`.
pub(super) fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (whole / 3600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn three_digits(value: f64) -> String {
    let digits = if value == 0.0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    // 4.00 says no more than 4.
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_three_digits_and_a_unit() {
        for (us, text) in [
            (0, "0 µs"),
            (930, "930 µs"),
            (1_000, "1 ms"),
            (52_134, "52.1 ms"),
            (312_400, "312 ms"),
            (999_600, "1 s"),
            (1_634_000, "1.63 s"),
            (120_000_000, "120 s"),
        ] {
            assert_eq!(span(us), text);
        }
    }

    #[test]
    fn large_numbers_are_grouped_and_small_rates_keep_their_digits() {
        assert_eq!([grouped(7), grouped(1_234), grouped(1_234_567)], ["7", "1,234", "1,234,567"]);
        assert_eq!([rate(0.0), rate(2.5), rate(1_029.4)], ["0", "2.5", "1,029"]);
        assert_eq!([clock(63.4), clock(3_723.0)], ["1:03", "1:02:03"]);
    }

    #[test]
    fn a_percentile_among_the_lost_is_said_to_be_lost() {
        let summary = Summary { delivered: 98, lost: 2, p50_us: Some(52_134), ..Summary::default() };
        assert_eq!(words(&summary), "p50 52.1 ms, p99 lost, lost 2 of 100, 0/s");
    }
}
