//! Values with units, as people write them: `50ms`, `20Mbit/s`, `64KiB`, `2%`, `2/s`.
//!
//! One grammar for command lines and scenario files, so that the same text means the same everywhere. Each error
//! says what was wrong with the text and shows a right one; the caller adds where it stood.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use crate::{Bitrate, ByteCount, Probability};

/// Why a text is not the quantity that was asked for. The message ends in an example.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" {problem}; write {example}")]
pub struct ParseError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
    /// A right value.
    pub example: &'static str,
}

impl ParseError {
    fn new(text: &str, problem: impl Into<String>, example: &'static str) -> Self {
        Self { text: text.to_owned(), problem: problem.into(), example }
    }
}

/// A span of time: a number and one of `ns us µs ms s m h`. Zero may stand without a unit.
pub fn parse_duration(text: &str) -> Result<Duration, ParseError> {
    const EXAMPLE: &str = "for example 50ms or 2.5s";
    let (number, unit) = split(text, EXAMPLE)?;
    let factor = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        "" if number == 0.0 => 0.0,
        "" => return Err(ParseError::new(text, "has no unit", EXAMPLE)),
        _ => return Err(ParseError::new(text, format!("has the unknown unit \"{unit}\""), EXAMPLE)),
    };
    let nanos = (number * factor).round();
    // 2^63 ns are 292 years; beyond that a typo is certain.
    if nanos > 9.2e18 {
        return Err(ParseError::new(text, "is too long", EXAMPLE));
    }
    Ok(Duration::from_nanos(nanos as u64))
}

/// Prints a span so that [`parse_duration`] reads it back: `50ms`, `2.5s`, `0s`.
#[must_use]
pub fn format_duration(span: Duration) -> String {
    let nanos = span.as_nanos();
    for (factor, unit) in [(1_000_000_000_u128, "s"), (1_000_000, "ms"), (1_000, "us")] {
        // Up to three decimals are exact and readable; otherwise take the next smaller unit.
        if nanos >= factor && nanos.is_multiple_of(factor / 1_000) {
            let whole = nanos / factor;
            let thousandths = nanos % factor / (factor / 1_000);
            if thousandths == 0 {
                return format!("{whole}{unit}");
            }
            return format!("{whole}.{}{unit}", format!("{thousandths:03}").trim_end_matches('0'));
        }
    }
    if nanos == 0 { "0s".to_owned() } else { format!("{nanos}ns") }
}

/// Events a second: `2/s`, `0.5/s`, `30/min`, or with a `k` or `M` before the slash: `10k/s`.
pub fn parse_rate(text: &str) -> Result<f64, ParseError> {
    const EXAMPLE: &str = "for example 2/s or 10k/s";
    let Some((count, per)) = text.trim().split_once('/') else {
        return Err(ParseError::new(text, "has no unit", EXAMPLE));
    };
    let seconds = match per.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        other => return Err(ParseError::new(text, format!("has the unknown unit \"/{other}\""), EXAMPLE)),
    };
    let (number, prefix) =
        split(count, EXAMPLE).map_err(|error| ParseError { text: text.to_owned(), ..error })?;
    let factor = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        _ => return Err(ParseError::new(text, format!("has the unknown prefix \"{prefix}\""), EXAMPLE)),
    };
    Ok(number * factor / seconds)
}

/// A whole number, with an optional `k` or `M`: `500`, `10k`.
pub fn parse_count(text: &str) -> Result<u64, ParseError> {
    const EXAMPLE: &str = "for example 500 or 10k";
    let (number, unit) = split(text, EXAMPLE)?;
    let value = match unit {
        "" => number,
        "k" => number * 1e3,
        "M" => number * 1e6,
        _ => return Err(ParseError::new(text, format!("has the unknown unit \"{unit}\""), EXAMPLE)),
    };
    if value.fract() != 0.0 || value > 9e15 {
        return Err(ParseError::new(text, "is not a whole number", EXAMPLE));
    }
    Ok(value as u64)
}

impl FromStr for ByteCount {
    type Err = ParseError;

    /// `1500B`, `64KiB`, `1MiB` (binary) or `64kB`, `1MB` (decimal).
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXAMPLE: &str = "for example 1200B or 64KiB";
        let (number, unit) = split(text, EXAMPLE)?;
        let factor = match unit {
            "B" => 1.0,
            "kB" | "KB" => 1e3,
            "MB" => 1e6,
            "GB" => 1e9,
            "KiB" => 1024.0,
            "MiB" => 1_048_576.0,
            "GiB" => 1_073_741_824.0,
            "" if number == 0.0 => 0.0,
            "" => return Err(ParseError::new(text, "has no unit", EXAMPLE)),
            _ => return Err(ParseError::new(text, format!("has the unknown unit \"{unit}\""), EXAMPLE)),
        };
        let bytes = number * factor;
        if bytes.fract() != 0.0 || bytes > 9e18 {
            return Err(ParseError::new(text, "is not a whole number of bytes", EXAMPLE));
        }
        Ok(ByteCount(bytes as u64))
    }
}

impl FromStr for Bitrate {
    type Err = ParseError;

    /// `10Mbit/s`, `512kbit/s`, `1Gbit/s`, `9600bit/s`; decimal prefixes, as link rates always are.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXAMPLE: &str = "for example 10Mbit/s";
        let (number, unit) = split(text, EXAMPLE)?;
        let factor = match unit {
            "bit/s" | "bps" => 1.0,
            "kbit/s" | "kbps" | "kbit" => 1e3,
            "Mbit/s" | "Mbps" | "Mbit" => 1e6,
            "Gbit/s" | "Gbps" | "Gbit" => 1e9,
            "" => return Err(ParseError::new(text, "has no unit", EXAMPLE)),
            _ => return Err(ParseError::new(text, format!("has the unknown unit \"{unit}\""), EXAMPLE)),
        };
        Bitrate::from_bits_per_second((number * factor).round() as u64)
            .ok_or_else(|| ParseError::new(text, "is no rate above zero", EXAMPLE))
    }
}

impl FromStr for Probability {
    type Err = ParseError;

    /// `2%`, `0.5%`, or a bare fraction between 0 and 1: `0.02`.
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const EXAMPLE: &str = "0% to 100%";
        let (number, unit) = split(text, EXAMPLE)?;
        let value = match unit {
            "%" => number / 100.0,
            "" => number,
            _ => return Err(ParseError::new(text, format!("has the unknown unit \"{unit}\""), EXAMPLE)),
        };
        Probability::new(value).ok_or_else(|| ParseError::new(text, "is not a probability", EXAMPLE))
    }
}

/// Splits `12.5ms` into its number and its unit. Negative and non-finite numbers are refused here, for all.
fn split<'a>(text: &'a str, example: &'static str) -> Result<(f64, &'a str), ParseError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_')).unwrap_or(trimmed.len());
    if trimmed.starts_with('-') {
        return Err(ParseError::new(text, "is negative", example));
    }
    let number: f64 = trimmed[..end]
        .replace('_', "")
        .parse()
        .map_err(|_| ParseError::new(text, "does not begin with a number", example))?;
    if !number.is_finite() {
        return Err(ParseError::new(text, "is not finite", example));
    }
    Ok((number, trimmed[end..].trim()))
}

/// Serde for quantities that a file writes as text: `#[serde(with = "units::parse::text")]`.
pub mod text {
    use super::{Display, FromStr};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<T: Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, T, D>(deserializer: D) -> Result<T, D::Error>
    where
        T: FromStr<Err = super::ParseError>,
        D: Deserializer<'de>,
    {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("50ms"), Ok(Duration::from_millis(50)));
        assert_eq!(parse_duration("2.5s"), Ok(Duration::from_millis(2500)));
        assert_eq!(parse_duration("0"), Ok(Duration::ZERO));
        let error = parse_duration("50").unwrap_err();
        assert_eq!(error.to_string(), "\"50\" has no unit; write for example 50ms or 2.5s");
    }

    #[test]
    fn probabilities_stay_between_zero_and_one() {
        assert_eq!("10%".parse::<Probability>().unwrap().get(), 0.1);
        assert_eq!("0.25".parse::<Probability>().unwrap().get(), 0.25);
        let error = "120%".parse::<Probability>().unwrap_err();
        assert_eq!(error.to_string(), "\"120%\" is not a probability; write 0% to 100%");
        assert!("-1%".parse::<Probability>().unwrap_err().to_string().contains("negative"));
    }

    #[test]
    fn rates_and_sizes() {
        assert_eq!("20Mbit/s".parse::<Bitrate>().unwrap().bits_per_second(), 20_000_000);
        assert!("0bit/s".parse::<Bitrate>().is_err());
        assert_eq!("64KiB".parse::<ByteCount>().unwrap(), ByteCount(65_536));
        assert_eq!(parse_rate("10k/s"), Ok(10_000.0));
        assert_eq!(parse_rate("30/min"), Ok(0.5));
        assert_eq!(parse_count("10k"), Ok(10_000));
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos in 0u64..10_000_000_000_000) {
            let span = Duration::from_nanos(nanos);
            prop_assert_eq!(parse_duration(&format_duration(span)), Ok(span));
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse_duration(&text);
            let _ = parse_rate(&text);
            let _ = parse_count(&text);
            let _ = text.parse::<ByteCount>();
            let _ = text.parse::<Bitrate>();
            let _ = text.parse::<Probability>();
        }
    }
}
