//! `when = "link.lossy.both.loss.p <= 10%"`: in which cells an assertion applies.
//!
//! Compares what the scenario *sets* (paths as in `--set`), not what was measured, so it is decided when the file is
//! loaded and costs nothing later. Several conditions are joined with `&&`.

use units::{Bitrate, ByteCount, Probability, parse_duration, parse_rate};

use super::raw::{Node, Value};
use super::set::lookup;
use crate::verdict::Comparison;

/// A condition on the values of a cell.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct When(Vec<Condition>);

#[derive(Clone, Debug, PartialEq)]
struct Condition {
    path: String,
    comparison: Comparison,
    value: String,
}

impl When {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        text.split("&&").map(Condition::parse).collect::<Result<_, _>>().map(Self)
    }

    /// The condition that `path` is `value`.
    pub(crate) fn equal(path: String, value: String) -> Self {
        Self(vec![Condition { path, comparison: Comparison::Equal, value }])
    }

    /// Whether the condition holds in `root`. An error says which path is not set, or which values do not compare.
    pub(crate) fn holds(&self, root: &Node) -> Result<bool, String> {
        self.0.iter().try_fold(true, |all, condition| Ok(condition.holds(root)? && all))
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let (path, comparison, value) = Comparison::split(text).ok_or_else(|| {
            format!("\"{text}\" is no condition; write for example link.NAME.both.loss.p <= 10%")
        })?;
        let value = value.trim().trim_matches(['"', '\'']);
        if path.trim().is_empty() || value.is_empty() {
            return Err(format!("\"{text}\" lacks a side; write PATH {comparison} VALUE"));
        }
        Ok(Self { path: path.trim().to_owned(), comparison, value: value.to_owned() })
    }

    fn holds(&self, root: &Node) -> Result<bool, String> {
        let Self { path, comparison, value } = self;
        let node = lookup(root, path).ok_or_else(|| format!("{path} is not set in this scenario"))?;
        let written = match &node.value {
            Value::Text(text) => text.clone(),
            _ => node.describe(),
        };
        match (quantity(&written), quantity(value)) {
            (Some((unit, left)), Some((other, right))) if unit == other => Ok(comparison.holds(left, right)),
            (None, None) if *comparison == Comparison::Equal => Ok(written == *value),
            (None, None) if *comparison == Comparison::NotEqual => Ok(written != *value),
            _ => Err(format!("{path} is {written}, which does not compare with {value} by {comparison}")),
        }
    }
}

/// The value in the base of its kind, if it is a quantity.
fn quantity(text: &str) -> Option<(&'static str, f64)> {
    if let Ok(p) = text.parse::<Probability>() {
        return Some(("number", p.get()));
    }
    if let Ok(number) = text.parse::<f64>() {
        return Some(("number", number));
    }
    let time = || parse_duration(text).ok().map(|span| ("time", span.as_secs_f64()));
    let size = || text.parse::<ByteCount>().ok().map(|size| ("size", size.0 as f64));
    let bits = || text.parse::<Bitrate>().ok().map(|rate| ("bits", rate.bits_per_second() as f64));
    let events = || parse_rate(text).ok().map(|rate| ("events", rate));
    time().or_else(size).or_else(bits).or_else(events)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::raw::read;
    use super::*;

    fn holds(when: &str) -> Result<bool, String> {
        let text =
            "link.l.both = { loss = \"10%\", delay = \"50ms\" }\nprotocol.congestion = \"reno\"\nn = 3";
        When::parse(when)?.holds(&read(&Arc::from("f"), text).unwrap())
    }

    #[test]
    fn quantities_compare_by_value_and_words_by_letter() {
        assert_eq!(holds("link.l.both.loss.p <= 0.1"), Ok(true));
        assert_eq!(holds("link.l.both.loss.p < 10%"), Ok(false));
        assert_eq!(holds("link.l.both.delay.base >= 0.05s && n == 3"), Ok(true));
        assert_eq!(holds("protocol.congestion != 'reno'"), Ok(false));
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        assert_eq!(holds("a.b < 1"), Err("a.b is not set in this scenario".into()));
        assert!(holds("link.l.both.delay.base < 5%").unwrap_err().contains("does not compare"));
        assert!(holds("n").unwrap_err().contains("is no condition"));
        assert!(holds("n <").unwrap_err().contains("lacks a side"));
    }
}
