//! `[search]`: the highest value of one key with which every gate still passes.

use std::time::Duration;

use units::{ByteCount, format_duration};

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
