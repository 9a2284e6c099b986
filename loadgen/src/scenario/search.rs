//! `[search]`: the highest value of one key with which every gate still passes.

use std::time::Duration;

use units::{Bitrate, ByteCount, Probability, format_duration, parse_count, parse_duration, parse_rate};

use super::error::ScenarioError;
use super::raw::{Node, Value};
use super::read::View;
use super::{schema, set};

/// What is looked for. Each probe is the scenario with `path` set to [`Search::written`].
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// As `--set` takes it.
    pub path: String,
    /// In `unit`; below `hi`.
    pub lo: f64,
    pub hi: f64,
    pub unit: SearchUnit,
    pub method: SearchMethod,
    /// Ends when the interval is this share of its lower end.
    pub tolerance: f64,
    /// Runs of each probe; it passes if most of them do.
    pub repeats: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SearchUnit {
    /// Whole: clients, segments.
    Count,
    /// `1/s`.
    PerSecond,
    /// `1Mbit/s`.
    BitsPerSecond,
    /// `64KiB`.
    Bytes,
    /// `50ms`; in seconds.
    Time,
    /// `10%` or 0.1.
    Share,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SearchMethod {
    /// Double from `lo` until a probe fails, then bisect.
    #[default]
    Bracket,
}

impl Search {
    /// Probes that it takes at most: doubling from `lo` past `hi`, then halving an interval that is as wide as its lower end.
    #[must_use]
    pub fn most_probes(&self) -> u32 {
        let doublings = (self.hi / self.lo).log2().ceil();
        let halves = (1.0 / self.tolerance).log2().ceil();
        doublings as u32 + 1 + halves as u32
    }

    /// `value` as the scenario would write it, for `--set`; whole where the unit is.
    #[must_use]
    pub fn written(&self, value: f64) -> String {
        match self.unit {
            SearchUnit::Count => format!("{}", value.round() as u64),
            SearchUnit::PerSecond => format!("{value}/s"),
            SearchUnit::BitsPerSecond => format!("{}bit/s", value.round() as u64),
            SearchUnit::Bytes => ByteCount(value.round() as u64).to_string(),
            SearchUnit::Time => format_duration(Duration::from_secs_f64(value)),
            SearchUnit::Share => format!("{value}"),
        }
    }
}

/// `repeats` are those of the run. Where the path leads is found out by who makes the cells ([`ends`]).
pub(super) fn read(view: &View<'_>, repeats: u32) -> Result<Search, ScenarioError> {
    let fields = view.fields(&schema::SEARCH)?;
    let path = fields.need("path")?.text()?.to_owned();
    let (lo_view, hi_view) = (fields.need("lo")?, fields.need("hi")?);
    let ((unit, lo), (other, hi)) = (quantity(&lo_view)?, quantity(&hi_view)?);
    if unit != other {
        return Err(
            hi_view.error(format!("is of another kind than lo; write both like {}", lo_view.node.describe()))
        );
    }
    if lo >= hi || lo <= 0.0 {
        return Err(lo_view.error("is not between zero and hi; write lo above 0 and below hi"));
    }
    Ok(Search {
        path,
        lo,
        hi,
        unit,
        method: fields
            .or("method", SearchMethod::Bracket, |view| view.choice(&[("bracket", SearchMethod::Bracket)]))?,
        tolerance: fields.or("tolerance", DEFAULT_TOLERANCE, tolerance)?,
        repeats: fields.or("repeats", repeats, |view| view.count(1..=MOST_REPEATS))?,
    })
}

/// The tree with the search at its lowest and at its highest value, if there is a search: both must be scenarios.
pub(super) fn ends(root: &Node) -> Result<Vec<Node>, ScenarioError> {
    let Some(search) = root.as_table().and_then(|root| root.get("search")?.as_table()) else {
        return Ok(Vec::new());
    };
    let Some(path) = search.get("path").and_then(Node::as_text) else { return Ok(Vec::new()) };
    ["lo", "hi"]
        .into_iter()
        .filter_map(|end| search.get(end))
        .map(|value| {
            let mut tree = root.clone();
            set::assign(&mut tree, path, value.clone())?;
            Ok(tree)
        })
        .collect()
}

fn tolerance(view: &View<'_>) -> Result<f64, ScenarioError> {
    match view.probability()?.get() {
        share if share >= LEAST_TOLERANCE => Ok(share),
        _ => Err(view.error(format!("would take for ever; write at least {LEAST_TOLERANCE}"))),
    }
}

/// A value as its key would be written, in the base of its unit.
fn quantity(view: &View<'_>) -> Result<(SearchUnit, f64), ScenarioError> {
    let wrong = || {
        view.error(format!(
            "{} is no quantity; write for example 100, \"10/s\", \"1Mbit/s\", \"64KiB\", \"50ms\" or \"10%\"",
            view.node.describe()
        ))
    };
    match &view.node.value {
        Value::Integer(number) => Ok((SearchUnit::Count, *number as f64)),
        Value::Float(number) if number.is_finite() => Ok((SearchUnit::Share, *number)),
        Value::Text(text) => {
            let share = || Some((SearchUnit::Share, text.parse::<Probability>().ok()?.get()));
            let count = || Some((SearchUnit::Count, parse_count(text).ok()? as f64));
            let time = || Some((SearchUnit::Time, parse_duration(text).ok()?.as_secs_f64()));
            let rate = || Some((SearchUnit::PerSecond, parse_rate(text).ok()?));
            let bits =
                || Some((SearchUnit::BitsPerSecond, text.parse::<Bitrate>().ok()?.bits_per_second() as f64));
            let bytes = || Some((SearchUnit::Bytes, text.parse::<ByteCount>().ok()?.0 as f64));
            let percent = text.ends_with('%').then(share).flatten();
            percent.or_else(count).or_else(time).or_else(rate).or_else(bits).or_else(bytes).ok_or_else(wrong)
        }
        _ => Err(wrong()),
    }
}

/// What is left to default in a search that was written.
pub(super) fn decided(search: &Search) -> String {
    format!(
        "[search]\nmethod = \"bracket\"\ntolerance = {:?}\nrepeats = {}\n",
        search.tolerance, search.repeats
    )
}

const DEFAULT_TOLERANCE: f64 = 0.05;
/// Below a thousandth the noise of a probe decides.
const LEAST_TOLERANCE: f64 = 0.001;
/// As many as a cell may have.
const MOST_REPEATS: u32 = 1000;
