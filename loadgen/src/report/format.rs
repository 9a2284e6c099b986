//! Numbers as people read them. One place, so that terminal, Markdown, HTML and figures agree to the digit.

use serde_json::Value;
use units::Probability;

use crate::result::LatencySummary;
use crate::verdict::Expr;

/// Milliseconds with three significant digits, seconds from ten seconds on: `8.42 ms`, `612 ms`, `12.3 s`.
pub(super) fn micros(us: f64) -> String {
    if us >= 1e7 { format!("{} s", significant(us / 1e6)) } else { format!("{} ms", significant(us / 1e3)) }
}

/// A percentile: `lost` where the rank falls among messages that never arrived, a dash without samples.
pub(super) fn percentile(summary: &LatencySummary, value: Option<u64>) -> String {
    match value {
        Some(us) => micros(us as f64),
        None if summary.count == 0 => "–".to_owned(),
        None => "lost".to_owned(),
    }
}

/// A time that may be unknown.
pub(super) fn optional_micros(us: Option<u64>) -> String {
    us.map_or_else(|| "–".to_owned(), |us| micros(us as f64))
}

/// Three significant digits, thousands grouped: `0.512`, `8.4`, `612`, `1,530`.
pub(super) fn significant(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 => 0,
        _ if size < 0.001 => return format!("{value:.1e}"),
        _ if size < 1.0 => 3,
        _ if size < 10.0 => 2,
        _ if size < 100.0 => 1,
        _ => return group(value.round()),
    };
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A whole number with thousands grouped: `57,600`.
pub(super) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 timeout`, `34 timeouts`.
pub(super) fn plural(number: u64, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

fn group(value: f64) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{}", count(value.abs() as u64))
}

/// A fraction as a percentage: `10 %`, `0.52 %`.
pub(super) fn percent(fraction: f64) -> String {
    format!("{} %", significant(fraction * 100.0))
}

/// `part` of `whole` as a percentage; a dash when there is no whole.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "–".to_owned() } else { percent(part as f64 / whole as f64) }
}

/// Bytes a second with decimal prefixes, as rates are.
pub(super) fn byte_rate(bytes_per_s: f64) -> String {
    for (factor, unit) in [(1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s")] {
        if bytes_per_s >= factor {
            return format!("{} {unit}", significant(bytes_per_s / factor));
        }
    }
    format!("{} B/s", significant(bytes_per_s))
}

/// A window with binary prefixes: `96.3 KiB`.
pub(super) fn window(bytes: u64) -> String {
    if bytes < 1024 { format!("{bytes} B") } else { format!("{} KiB", significant(bytes as f64 / 1024.0)) }
}

/// Bits a second, or that there is no limit.
pub(super) fn bit_rate(bits: Option<u64>) -> String {
    let Some(bits) = bits else { return "unlimited".to_owned() };
    for (factor, unit) in [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")] {
        if bits as f64 >= factor {
            return format!("{} {unit}", significant(bits as f64 / factor));
        }
    }
    format!("{bits} bit/s")
}

/// The measured side of an assertion, in the unit in which its limit was written.
pub(super) fn asserted(expr: &str, value: Option<f64>) -> String {
    let Some(value) = value else { return "–".to_owned() };
    let limit = expr.rsplit(['<', '>', '=']).next().unwrap_or("").trim();
    if limit.ends_with('%') && limit.parse::<Probability>().is_ok() {
        return percent(value);
    }
    if Expr::parse(expr).is_ok_and(|expr| expr.is_time()) {
        return micros(value);
    }
    if value.fract() == 0.0 && value >= 0.0 { count(value as u64) } else { significant(value) }
}

/// A value of the scenario as it would be typed.
pub(super) fn json(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_keep_three_digits() {
        assert_eq!(micros(8_421.0), "8.42 ms");
        assert_eq!(micros(100_000.0), "100 ms");
        assert_eq!(micros(1_530_400.0), "1,530 ms");
        assert_eq!(micros(12_340_000.0), "12.3 s");
    }

    #[test]
    fn percentiles_tell_lost_from_unknown() {
        let none = LatencySummary::default();
        assert_eq!(percentile(&none, None), "–");
        assert_eq!(percentile(&LatencySummary { count: 5, ..none }, None), "lost");
    }

    #[test]
    fn asserted_values_take_the_unit_of_their_limit() {
        assert_eq!(asserted("p99(delivery_latency) < 1500ms", Some(612_000.0)), "612 ms");
        assert_eq!(asserted("lost / expected <= 0.5%", Some(0.002)), "0.2 %");
        assert_eq!(asserted("messages.lost == 0", Some(12_000.0)), "12,000");
        assert_eq!(asserted("throughput >= 3", None), "–");
    }

    #[test]
    fn shares_rates_and_windows() {
        assert_eq!(share(1, 0), "–");
        assert_eq!(share(1, 10), "10 %");
        assert_eq!(byte_rate(23_400.0), "23.4 kB/s");
        assert_eq!(bit_rate(Some(10_000_000)), "10 Mbit/s");
        assert_eq!(bit_rate(None), "unlimited");
        assert_eq!(window(98_304), "96 KiB");
        assert_eq!(significant(-1234.0), "-1,234");
    }
}
