//! A run over time, and one slow message, as the page keeps them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::records::{Exemplar, Hop, Interval, RunFile, StepKind, Why, bin_range};

/// The intervals of a run, in columns.
#[derive(Serialize)]
pub(super) struct Time {
    /// Width of a row.
    w: u64,
    rows: usize,
    /// Name, from, until, whether recorded.
    phases: Vec<(String, u64, u64, bool)>,
    /// Link, from, until, what.
    weather: Vec<(String, u64, u64, String)>,
    cols: BTreeMap<&'static str, Vec<Option<u64>>>,
}

impl Time {
    /// In at most `most` rows; neighbours are joined. `None` without intervals.
    pub(super) fn of(run: &RunFile, most: usize) -> Option<Self> {
        let rows = &run.intervals.rows;
        if rows.is_empty() || run.intervals.width_us == 0 {
            return None;
        }
        let every = rows.len().div_ceil(most.max(1));
        let joined: Vec<Joined<'_>> = rows.chunks(every).map(Joined).collect();
        let columns = COLUMNS.iter().map(|&(name, of)| (name, joined.iter().map(of).collect::<Vec<_>>()));
        let says_something =
            |values: &Vec<Option<u64>>| values.iter().any(|value| value.is_some_and(|value| value > 0));
        let phases = run
            .phases
            .iter()
            .map(|phase| (phase.name.clone(), phase.from_us, phase.until_us, phase.recorded));
        let weather = run.weather.iter().take(MOST_WEATHER);
        Some(Self {
            w: run.intervals.width_us * every as u64,
            rows: joined.len(),
            phases: phases.collect(),
            weather: weather
                .map(|span| (span.link.clone(), span.from_us, span.until_us, span.what.clone()))
                .collect(),
            cols: columns.filter(|(_, values)| says_something(values)).collect(),
        })
    }
}

/// Intervals next to each other, seen as one.
struct Joined<'a>(&'a [Interval]);

type Column = (&'static str, fn(&Joined<'_>) -> Option<u64>);

const COLUMNS: [Column; 17] = [
    ("p50_us", |rows| rows.quantile(0.5, |row| row.p50_us)),
    ("p99_us", |rows| rows.quantile(0.99, |row| row.p99_us)),
    ("max_us", |rows| rows.most(|row| row.max_us)),
    ("intended", |rows| rows.sum(|row| row.intended)),
    ("sent", |rows| rows.sum(|row| row.sent)),
    ("throttled", |rows| rows.sum(|row| row.throttled)),
    ("failed", |rows| rows.sum(|row| row.failed)),
    ("lost", |rows| rows.sum(|row| row.lost)),
    ("delivered", |rows| rows.sum(|row| row.delivered)),
    ("delivered_bytes", |rows| rows.sum(|row| row.delivered_bytes)),
    ("up_bytes", |rows| rows.sum(|row| row.up_bytes)),
    ("down_bytes", |rows| rows.sum(|row| row.down_bytes)),
    ("retransmits", |rows| rows.sum(|row| row.retransmits)),
    ("connected", |rows| rows.0.last().map(|row| row.connected)),
    ("under_way", |rows| rows.0.last().map(|row| row.under_way)),
    ("lag_p99_us", |rows| rows.most(|row| row.lag_p99_us)),
    ("hiccup_max_us", |rows| rows.most(|row| row.hiccup_max_us)),
];

impl Joined<'_> {
    fn sum(&self, of: fn(&Interval) -> u64) -> Option<u64> {
        Some(self.0.iter().map(of).sum())
    }

    fn most(&self, of: fn(&Interval) -> Option<u64>) -> Option<u64> {
        self.0.iter().filter_map(of).max()
    }

    /// That of the only row, or from the bins of all of them: percentiles are not averaged.
    fn quantile(&self, q: f64, of: fn(&Interval) -> Option<u64>) -> Option<u64> {
        if let [row] = self.0 {
            return of(row);
        }
        let mut bins: BTreeMap<u16, u64> = BTreeMap::new();
        let mut count: u64 = self.0.iter().map(|row| row.lost).sum();
        for &(bin, n) in self.0.iter().flat_map(|row| &row.heat) {
            *bins.entry(bin).or_default() += u64::from(n);
            count += u64::from(n);
        }
        let rank = ((q * count as f64 - 1e-6).ceil() as u64).max(1);
        let mut below = 0;
        let bin = bins.into_iter().find(|&(_, n)| {
            below += n;
            below >= rank
        });
        bin.map(|(bin, _)| {
            let (low, high) = bin_range(bin);
            (low.max(1.0) * high).sqrt() as u64
        })
    }
}

/// One slow message. Times are microseconds since it was intended.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    c: u32,
    r: u32,
    a: u32,
    w: &'a str,
    m: u32,
    from: u32,
    to: u32,
    size: u32,
    /// When it was intended, since the first phase began.
    at: u64,
    sub: Option<i64>,
    ack: Option<i64>,
    del: Option<i64>,
    rank: f64,
    steps: Vec<Happened>,
}

/// When, hop (0 up, 1 down), what, packet, why, for how long.
type Happened = (i64, u8, StepKind, Option<u64>, Option<Why>, Option<u64>);

impl<'a> Message<'a> {
    pub(super) fn of(run: &RunFile, exemplar: &'a Exemplar) -> Self {
        let since = |at: u64| at as i64 - exemplar.intended_us as i64;
        let hop = |hop| if hop == Hop::Up { 0 } else { 1 };
        let steps = exemplar.steps.iter().take(MOST_STEPS);
        Self {
            c: run.cell,
            r: run.repeat,
            a: run.arm,
            w: &exemplar.workload,
            m: exemplar.message,
            from: exemplar.sender,
            to: exemplar.recipient,
            size: exemplar.size_bytes,
            at: exemplar.intended_us,
            sub: exemplar.submitted_us.map(since),
            ack: exemplar.acked_us.map(since),
            del: exemplar.delivered_us.map(since),
            rank: (exemplar.rank * 1e7).round() / 1e7,
            steps: steps
                .map(|step| (since(step.at_us), hop(step.hop), step.what, step.packet, step.why, step.for_us))
                .collect(),
        }
    }
}

/// More bands than a plot shows apart.
const MOST_WEATHER: usize = 200;
/// A message of many segments could have thousands; the first ones tell.
const MOST_STEPS: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::{Intervals, latency_bin};

    fn row(us: u64, n: u32) -> Interval {
        let heat = vec![(latency_bin(us), n)];
        Interval {
            p50_us: Some(us),
            p99_us: Some(us),
            max_us: Some(us),
            heat,
            sent: 3,
            ..Interval::default()
        }
    }

    #[test]
    fn joined_rows_have_the_percentiles_of_their_bins() {
        let rows = vec![row(1_000, 97), row(50_000, 3), row(2_000, 1)];
        let run = RunFile { intervals: Intervals { width_us: 100, rows }, ..RunFile::default() };
        let time = Time::of(&run, 2).expect("intervals");
        assert_eq!((time.w, time.rows), (200, 2));
        assert_eq!(time.cols["sent"], [Some(6), Some(3)]);
        assert_eq!(time.cols["max_us"], [Some(50_000), Some(2_000)]);
        let (p50, p99) = (time.cols["p50_us"][0].expect("value"), time.cols["p99_us"][0].expect("value"));
        assert!(p50.abs_diff(1_000) < 120 && p99.abs_diff(50_000) < 6_000, "{p50} {p99}");
        assert_eq!(time.cols["p50_us"][1], Some(2_000), "a row alone keeps its own");
    }

    #[test]
    fn what_is_always_zero_is_left_out() {
        let run =
            RunFile { intervals: Intervals { width_us: 100, rows: vec![row(10, 1)] }, ..RunFile::default() };
        let time = Time::of(&run, 10).expect("intervals");
        assert!(time.cols.contains_key("sent") && !time.cols.contains_key("retransmits"));
        assert!(Time::of(&RunFile::default(), 10).is_none());
    }
}
