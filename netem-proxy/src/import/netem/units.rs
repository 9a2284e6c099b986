//! Values as `tc` writes them, which is not as we do: percentages without a sign, bare microseconds, `kbps` in bytes.

use std::time::Duration;

use ::units::{Bitrate, Probability};

/// `10%` or `10`: always a percentage.
pub(super) fn percent(word: &str) -> Option<Probability> {
    let number: f64 = decimal(word.strip_suffix('%').unwrap_or(word))?;
    Probability::new(number / 100.0).map(|p| p.to_string().parse().unwrap_or(p))
}

/// `100ms`; without a unit microseconds.
pub(super) fn time(word: &str) -> Option<Duration> {
    let (number, unit) = split(word)?;
    let nanos = match unit {
        "s" | "sec" | "secs" => 1e9,
        "ms" | "msec" | "msecs" => 1e6,
        "" | "us" | "usec" | "usecs" => 1e3,
        "ns" | "nsec" | "nsecs" => 1.0,
        _ => return None,
    };
    let nanos = (number * nanos).round();
    // 2^62 ns, 146 years.
    (nanos < 4.6e18).then(|| Duration::from_nanos(nanos as u64))
}

/// `10mbit`, or in bytes a second `10mbps`; without a unit bits a second.
pub(super) fn rate(word: &str) -> Option<Bitrate> {
    let (number, unit) = split(word)?;
    let unit = unit.to_ascii_lowercase();
    let (prefix, bits) = match (unit.strip_suffix("bit"), unit.strip_suffix("bps")) {
        (Some(prefix), _) => (prefix, 1.0),
        (None, Some(prefix)) => (prefix, 8.0),
        (None, None) if unit.is_empty() => ("", 1.0),
        _ => return None,
    };
    let factor = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "m" => 1e6,
        "g" => 1e9,
        "t" => 1e12,
        "ki" => 1024.0,
        "mi" => 1_048_576.0,
        "gi" => 1_073_741_824.0,
        "ti" => 1_099_511_627_776.0,
        _ => return None,
    };
    Bitrate::from_bits_per_second((number * factor * bits).round() as u64)
}

/// A whole number; `k` and `m` are 1024 and 1024², as in sizes of tc.
pub(super) fn count(word: &str) -> Option<u64> {
    let (digits, factor) = match word.as_bytes().last()?.to_ascii_lowercase() {
        b'k' => (&word[..word.len() - 1], 1024),
        b'm' => (&word[..word.len() - 1], 1_048_576),
        b'b' => (&word[..word.len() - 1], 1),
        _ => (word, 1),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn signed(word: &str) -> Option<i32> {
    word.parse().ok()
}

fn split(word: &str) -> Option<(f64, &str)> {
    let end = word.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(word.len());
    Some((decimal(&word[..end])?, &word[end..]))
}

/// Plain digits only: `inf`, `1e9` and signs are for other languages.
fn decimal(digits: &str) -> Option<f64> {
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    digits.parse().ok().filter(|number: &f64| is_plain && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_mean_what_tc_means() {
        assert_eq!(percent("0.3%").map(Probability::get), Some(0.003));
        assert_eq!(percent("25").map(Probability::get), Some(0.25));
        assert_eq!(percent("101"), None);
        assert_eq!(time("100ms"), Some(Duration::from_millis(100)));
        assert_eq!(time("100"), Some(Duration::from_micros(100)));
        assert_eq!(time("1.5sec"), Some(Duration::from_millis(1500)));
        assert_eq!(time("5min"), None);
        assert_eq!(rate("1mbit").map(Bitrate::bits_per_second), Some(1_000_000));
        assert_eq!(rate("100kbps").map(Bitrate::bits_per_second), Some(800_000));
        assert_eq!(rate("1Mibit").map(Bitrate::bits_per_second), Some(1_048_576));
        assert_eq!(rate("9600").map(Bitrate::bits_per_second), Some(9600));
        assert_eq!(rate("0"), None);
        assert_eq!(count("10k"), Some(10_240));
        assert_eq!(signed("-4"), Some(-4));
    }
}
