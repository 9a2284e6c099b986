//! Rates as text: `10Mbit/s`, `10Mbit/s+38B`, `8Mbit/s+8B+cell(48B+5B)`, `bucket(10Mbit/s,burst=64KiB)`, `trace(FILE)`.

use std::fmt::Write as _;
use std::sync::Arc;

use units::{Bitrate, ByteCount};

use super::arguments::Arguments;
use super::file;
use super::value::{ValueError, call, shape};
use crate::profile::{Cell, DeliveryTrace, Overhead, RateModel};

/// What `rate` says.
#[derive(Clone, Debug, PartialEq)]
pub enum RateSpec {
    Unlimited,
    Model(RateModel),
}

const EXAMPLE: &str = "10Mbit/s, 10Mbit/s+38B, bucket(10Mbit/s,burst=64KiB), trace(FILE) or unlimited";

pub(super) fn parse_rate(text: &str) -> Result<RateSpec, ValueError> {
    if text == "unlimited" {
        return Ok(RateSpec::Unlimited);
    }
    if let Some(arguments) = Arguments::of(text, "bucket", "bucket(10Mbit/s,burst=64KiB,peak=20Mbit/s)") {
        return parse_bucket(arguments).map(RateSpec::Model);
    }
    if let Some(path) = call(text, "trace") {
        let trace = file::read(path.trim(), DeliveryTrace::parse)?;
        return Ok(RateSpec::Model(RateModel::Trace(Arc::new(trace))));
    }
    // A sign at the beginning would be the rate's own.
    let end = text.get(1..).and_then(|rest| rest.find(['+', '-'])).map_or(text.len(), |place| place + 1);
    let (rate, rest) = text.split_at_checked(end).ok_or_else(|| shape(text, EXAMPLE))?;
    if rest.is_empty() && rate.contains('(') {
        return Err(shape(text, EXAMPLE));
    }
    let overhead = parse_overhead(text, rest)?;
    Ok(RateSpec::Model(RateModel::Constant { rate: rate.parse()?, overhead }))
}

fn parse_bucket(mut arguments: Arguments<'_>) -> Result<RateModel, ValueError> {
    let rate: Bitrate = arguments.plain().ok_or_else(|| arguments.wrong())?.parse()?;
    let burst = arguments.quantity("burst")?.ok_or_else(|| arguments.wrong())?;
    let peak = arguments.quantity("peak")?;
    arguments.end()?;
    Ok(RateModel::TokenBucket { rate, burst, peak })
}

/// `+38B`, `-14B`, `+cell(48B+5B)`, or both.
fn parse_overhead(text: &str, mut rest: &str) -> Result<Overhead, ValueError> {
    const EXAMPLE: &str = "10Mbit/s+38B, or 8Mbit/s+8B+cell(48B+5B) for cells of so many bytes";
    let wrong = || shape(text, EXAMPLE);
    let mut overhead = Overhead::default();
    while !rest.is_empty() {
        if let Some(cell) = rest.strip_prefix("+cell(") {
            let (inside, after) = cell.split_once(')').ok_or_else(wrong)?;
            let end = inside.find(['+', '-']).unwrap_or(inside.len());
            let (size, extra) = inside.split_at(end);
            let size = u32::try_from(size.parse::<ByteCount>()?.as_u64()).map_err(|_| wrong())?;
            let extra = if extra.is_empty() { 0 } else { signed_bytes(extra, wrong)? };
            if overhead.cell.replace(Cell { size, overhead: extra }).is_some() {
                return Err(ValueError::Twice);
            }
            rest = after;
            continue;
        }
        let end = rest.get(1..).and_then(|tail| tail.find(['+', '-'])).map_or(rest.len(), |place| place + 1);
        let (part, after) = rest.split_at_checked(end).ok_or_else(wrong)?;
        if overhead.per_packet != 0 {
            return Err(ValueError::Twice);
        }
        overhead.per_packet = signed_bytes(part, wrong)?;
        rest = after;
    }
    Ok(overhead)
}

fn signed_bytes(text: &str, wrong: impl Fn() -> ValueError) -> Result<i32, ValueError> {
    let (sign, size) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
        (Some(size), _) => (1, size),
        (_, Some(size)) => (-1, size),
        _ => return Err(wrong()),
    };
    let bytes = i32::try_from(size.parse::<ByteCount>()?.as_u64()).map_err(|_| wrong())?;
    Ok(sign * bytes)
}

/// What [`parse_rate`] reads back.
pub(super) fn print_rate(model: &RateModel) -> String {
    match model {
        RateModel::Constant { rate, overhead } => {
            let mut text = rate.to_string();
            if overhead.per_packet != 0 {
                let _ = write!(text, "{:+}B", overhead.per_packet);
            }
            if let Some(Cell { size, overhead }) = overhead.cell {
                let _ = write!(text, "+cell({size}B{overhead:+}B)");
            }
            text
        }
        RateModel::TokenBucket { rate, burst, peak } => {
            let peak = peak.map_or(String::new(), |peak| format!(",peak={peak}"));
            format!("bucket({rate},burst={burst}{peak})")
        }
        RateModel::Trace(trace) => format!("trace({})", trace.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::LinkProfile;

    #[test]
    fn rates_print_as_they_are_written() {
        for text in [
            "rate=10Mbit/s+38B",
            "rate=10Mbit/s-14B",
            "rate=8Mbit/s+8B+cell(48B+5B)",
            "rate=8Mbit/s+cell(53B-5B)",
            "rate=bucket(10Mbit/s,burst=64KiB)",
            "rate=bucket(10Mbit/s,burst=1500B,peak=1Gbit/s)",
        ] {
            let profile: LinkProfile = text.parse().expect(text);
            assert_eq!(profile.to_string(), text);
        }
        assert_eq!("rate=unlimited".parse(), Ok(LinkProfile::default()));
    }

    #[test]
    fn wrong_rates_say_what_to_write() {
        for (text, message) in [
            ("rate=-5Mbit/s", "is negative"),
            ("rate=5Mbit/s+fast", "does not begin with a number"),
            ("rate=5Mbit/s+1B+2B", "given twice"),
            ("rate=5Mbit/s+cell(0B)", "a cell of 0 bytes"),
            ("rate=bucket(5Mbit/s)", "write bucket(10Mbit/s,burst=64KiB,peak=20Mbit/s)"),
            ("rate=bucket(5Mbit/s,burst=1kB,peek=1Mbit/s)", "write bucket("),
            ("rate=bucket(5Mbit/s,burst=1kB,peak=1Mbit/s)", "is below the rate of 5Mbit/s"),
            ("rate=steps(3)", "trace(FILE) or unlimited"),
            ("rate=trace(/nowhere)", "rate: /nowhere: No such file"),
        ] {
            let error = text.parse::<LinkProfile>().expect_err(text).to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn a_trace_comes_from_its_file_and_errors_name_the_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.up");
        std::fs::write(&path, "1\n2\n4\n").expect("written");
        let text = format!("rate=trace({})", path.display());
        let profile: LinkProfile = text.parse().expect("valid");
        assert_eq!(profile.to_string(), text);
        assert_eq!(profile.bitrate().map(Bitrate::bits_per_second), Some(3 * 1504 * 8 * 1000 / 4));
        std::fs::write(&path, "1\n0\n").expect("written");
        let error = text.parse::<LinkProfile>().expect_err("descending").to_string();
        assert!(error.ends_with("x.up: line 2 is before the line above it; sort the times"), "{error}");
    }
}
