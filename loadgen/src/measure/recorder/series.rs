//! The run in time: a row for each interval, joined in pairs when there are too many.
//!
//! Rows of the last few intervals count in dense bins, so that a delivery costs two increments; older ones keep only
//! bins that are not empty. Drivers tell what they sample ([`Sample`]) as totals since the run began; rows have what
//! was added.

use std::collections::VecDeque;
use std::time::Duration;

use super::bins::{Bins, Dense, Sparse};
use crate::measure::micros;
use crate::records::{Interval, Intervals, MOST_INTERVALS, ServerInterval};

/// What a driver counts by itself, in total so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// Bytes offered to the emulated links, all headers included.
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub retransmits: u64,
    /// Packets that the harness itself lost.
    pub harness_drops: u64,
    /// Of this process; `None` in virtual time.
    pub cpu: Option<Duration>,
    /// Longest pause since the last sample, not in total.
    pub hiccup: Option<Duration>,
    pub server: ServerSample,
}

/// What is known of the server under test at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ServerSample {
    /// Processor time of its process so far.
    pub cpu: Option<Duration>,
    pub rss_bytes: Option<u64>,
    pub sessions: Option<u64>,
    pub outbox_max: Option<u64>,
}

/// One interval while it is filled.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    pub(super) counts: Interval,
    latencies: Option<Dense>,
    lags: Option<Dense>,
    /// What left the dense bins.
    settled: Sparse,
    lag: Sparse,
    cpu: Duration,
    server_cpu: Duration,
}

#[derive(Debug)]
pub(super) struct Series {
    width: u64,
    rows: Vec<Row>,
    /// Rows with dense bins, oldest first.
    dense: VecDeque<usize>,
    spare: Vec<Dense>,
    last: Sample,
    /// Rows before this one have their gauges.
    gauged: usize,
}

impl Series {
    pub(super) fn new(width: Duration) -> Self {
        let width = micros(width).max(1);
        let last = Sample::default();
        Self { width, rows: Vec::new(), dense: VecDeque::new(), spare: Vec::new(), last, gauged: 0 }
    }

    /// The row of a time, in microseconds since the first phase began.
    pub(super) fn at(&mut self, us: u64) -> &mut Row {
        let index = self.index(us);
        &mut self.rows[index]
    }

    /// A delivery of a message that was meant for `intended` took `latency`.
    pub(super) fn latency(&mut self, bins: &Bins, intended: u64, latency: u64) {
        let index = self.index(intended);
        self.make_dense(index);
        if let Some(latencies) = &mut self.rows[index].latencies {
            bins.record(latency, latencies);
        }
    }

    /// A message was handed over so late.
    pub(super) fn lag(&mut self, bins: &Bins, intended: u64, lag: u64) {
        let index = self.index(intended);
        self.make_dense(index);
        if let Some(lags) = &mut self.rows[index].lags {
            bins.record(lag, lags);
        }
    }

    /// What was true at `us`; fills in every interval that ended since the last time.
    pub(super) fn tick(&mut self, us: u64, connected: u64, under_way: u64, sample: Option<Sample>) {
        let current = self.index(us);
        if us == 0 {
            self.last = sample.unwrap_or_default();
        } else if let Some(now) = sample {
            // What was added since the last sample happened up to now; its interval is the one that just ended.
            let index = usize::try_from(us.saturating_sub(1) / self.width).unwrap_or(0).min(current);
            let (row, last) = (&mut self.rows[index], self.last);
            row.counts.up_bytes += now.up_bytes - last.up_bytes.min(now.up_bytes);
            row.counts.down_bytes += now.down_bytes - last.down_bytes.min(now.down_bytes);
            row.counts.retransmits += now.retransmits - last.retransmits.min(now.retransmits);
            row.counts.harness_drops += now.harness_drops - last.harness_drops.min(now.harness_drops);
            row.counts.hiccup_max_us = row.counts.hiccup_max_us.max(now.hiccup.map(micros));
            if let Some(cpu) = now.cpu {
                row.cpu += cpu.saturating_sub(last.cpu.unwrap_or_default());
                row.counts.cpu = Some(row.cpu.as_secs_f64() * 1e6 / self.width as f64);
            }
            let server = &mut row.counts.server;
            let told = now.server;
            if let Some(cpu) = told.cpu {
                row.server_cpu += cpu.saturating_sub(last.server.cpu.unwrap_or(cpu));
                server.cpu = Some(row.server_cpu.as_secs_f64() * 1e6 / self.width as f64);
            }
            (server.rss_bytes, server.sessions, server.outbox_max) =
                (told.rss_bytes, told.sessions, told.outbox_max);
            self.last = now;
        }
        for row in &mut self.rows[self.gauged.min(current)..=current] {
            (row.counts.connected, row.counts.under_way) = (connected, under_way);
        }
        self.gauged = current;
    }

    /// Rows in memory, and how many of them with dense bins.
    pub(super) fn held(&self) -> (usize, usize) {
        (self.rows.len(), self.dense.len())
    }

    /// The intervals that ended before `us`, from `first` on, as they stand.
    pub(super) fn ended(&self, first: usize, us: u64) -> impl Iterator<Item = Interval> {
        let end = usize::try_from(us / self.width).unwrap_or(usize::MAX).min(self.rows.len());
        self.rows.iter().take(end).skip(first).map(Row::interval)
    }

    pub(super) fn width(&self) -> Duration {
        Duration::from_micros(self.width)
    }

    pub(super) fn finish(&self) -> Intervals {
        Intervals { width_us: self.width, rows: self.rows.iter().map(Row::interval).collect() }
    }

    fn index(&mut self, us: u64) -> usize {
        while us / self.width >= MOST_INTERVALS as u64 {
            self.join();
        }
        let index = (us / self.width) as usize;
        if index >= self.rows.len() {
            self.rows.resize_with(index + 1, Row::default);
        }
        index
    }

    /// Each two neighbours become one.
    fn join(&mut self) {
        while let Some(index) = self.dense.pop_front() {
            self.thin(index);
        }
        self.width *= 2;
        let rows = std::mem::take(&mut self.rows);
        let mut rows = rows.into_iter();
        while let Some(mut row) = rows.next() {
            if let Some(next) = rows.next() {
                row.join(&next, self.width);
            }
            self.rows.push(row);
        }
        self.gauged /= 2;
    }

    fn make_dense(&mut self, index: usize) {
        if self.rows[index].latencies.is_some() {
            return;
        }
        if self.dense.len() == MOST_DENSE
            && let Some(oldest) = self.dense.pop_front()
        {
            self.thin(oldest);
        }
        let mut dense = || self.spare.pop().unwrap_or_else(Dense::new);
        (self.rows[index].latencies, self.rows[index].lags) = (Some(dense()), Some(dense()));
        self.dense.push_back(index);
    }

    fn thin(&mut self, index: usize) {
        let row = &mut self.rows[index];
        for (dense, into) in [(row.latencies.take(), &mut row.settled), (row.lags.take(), &mut row.lag)] {
            let Some(mut dense) = dense else { continue };
            into.add(&dense.sparse());
            dense.clear();
            self.spare.push(dense);
        }
    }
}

impl Row {
    fn join(&mut self, next: &Self, width: u64) {
        let (into, from) = (&mut self.counts, &next.counts);
        for (sum, more) in [
            (&mut into.intended, from.intended),
            (&mut into.sent, from.sent),
            (&mut into.throttled, from.throttled),
            (&mut into.failed, from.failed),
            (&mut into.expected, from.expected),
            (&mut into.lost, from.lost),
            (&mut into.delivered, from.delivered),
            (&mut into.delivered_bytes, from.delivered_bytes),
            (&mut into.up_bytes, from.up_bytes),
            (&mut into.down_bytes, from.down_bytes),
            (&mut into.retransmits, from.retransmits),
            (&mut into.harness_drops, from.harness_drops),
        ] {
            *sum += more;
        }
        (into.connected, into.under_way) = (from.connected, from.under_way);
        into.hiccup_max_us = into.hiccup_max_us.max(from.hiccup_max_us);
        self.cpu += next.cpu;
        let is_told = into.cpu.is_some() || from.cpu.is_some();
        into.cpu = is_told.then(|| self.cpu.as_secs_f64() * 1e6 / width as f64);
        self.server_cpu += next.server_cpu;
        let is_told = into.server.cpu.is_some() || from.server.cpu.is_some();
        into.server = ServerInterval {
            cpu: is_told.then(|| self.server_cpu.as_secs_f64() * 1e6 / width as f64),
            rss_bytes: into.server.rss_bytes.max(from.server.rss_bytes),
            sessions: from.server.sessions.or(into.server.sessions),
            outbox_max: into.server.outbox_max.max(from.server.outbox_max),
        };
        self.settled.add(&next.settled);
        self.lag.add(&next.lag);
    }

    fn interval(&self) -> Interval {
        let all = |settled: &Sparse, dense: &Option<Dense>| {
            let mut all = settled.clone();
            if let Some(dense) = dense {
                all.add(&dense.sparse());
            }
            all
        };
        let (latencies, lag) = (all(&self.settled, &self.latencies), all(&self.lag, &self.lags));
        let lost = self.counts.lost;
        Interval {
            p50_us: latencies.quantile(0.5, lost),
            p99_us: latencies.quantile(0.99, lost),
            max_us: (lost == 0 && latencies.count() > 0).then_some(latencies.max),
            heat: latencies.heat,
            lag_p99_us: lag.quantile(0.99, 0),
            ..self.counts.clone()
        }
    }
}

/// Intervals whose deliveries still come in numbers; one that comes into an older one costs a thousand times as much,
/// and there are few. 22 KiB each.
const MOST_DENSE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn rows_are_joined_and_nothing_is_lost() {
        let (bins, mut series) = (Bins::new(), Series::new(MS));
        let many = MOST_INTERVALS as u64 * 5;
        for ms in 0..many {
            series.at(ms * 1000).counts.intended += 1;
            series.latency(&bins, ms * 1000, 100 + ms % 2);
            series.lag(&bins, ms * 1000, 7);
        }
        let intervals = series.finish();
        assert_eq!(intervals.width_us, 8000);
        assert_eq!(intervals.rows.len() as u64, many.div_ceil(8));
        assert!(series.held().1 <= MOST_DENSE);
        for row in &intervals.rows {
            assert_eq!((row.intended, row.p50_us, row.max_us), (8, Some(100), Some(101)));
            assert_eq!((row.lag_p99_us, row.heat.iter().map(|(_, count)| count).sum()), (Some(7), 8));
        }
    }

    #[test]
    fn a_late_delivery_counts_where_it_was_intended() {
        let (bins, mut series) = (Bins::new(), Series::new(MS));
        (0..200).for_each(|ms| series.latency(&bins, ms * 1000, 50));
        series.latency(&bins, 0, 5_000_000);
        let rows = series.finish().rows;
        assert_eq!((rows[0].p50_us, rows[0].max_us), (Some(50), Some(5_000_000)));
        assert_eq!(rows[0].heat.len(), 2);
    }

    #[test]
    fn samples_are_totals_and_rows_have_what_was_added() {
        let mut series = Series::new(MS);
        let sample = |bytes, cpu: Duration| Sample { up_bytes: bytes, cpu: Some(cpu), ..Sample::default() };
        series.tick(0, 3, 0, Some(sample(40, Duration::ZERO)));
        series.tick(1000, 3, 1, Some(sample(100, MS / 2)));
        series.tick(2000, 2, 0, Some(sample(250, MS)));
        let rows = series.finish().rows;
        assert_eq!((rows[0].up_bytes, rows[1].up_bytes), (60, 150));
        assert_eq!((rows[0].cpu, rows[1].cpu), (Some(0.5), Some(0.5)));
        assert_eq!((rows[0].connected, rows[1].connected), (3, 2));
    }

    #[test]
    fn a_server_is_told_by_interval_and_its_peak_survives_joining() {
        let mut series = Series::new(MS);
        let sample = |cpu, rss| {
            let server = ServerSample { cpu: Some(cpu), rss_bytes: Some(rss), ..ServerSample::default() };
            Some(Sample { server, ..Sample::default() })
        };
        series.tick(0, 0, 0, sample(MS, 7));
        series.tick(1000, 0, 0, sample(MS + MS / 4, 900));
        series.tick(2000, 0, 0, sample(2 * MS, 50));
        let rows = series.finish().rows;
        assert_eq!((rows[0].server.cpu, rows[0].server.rss_bytes), (Some(0.25), Some(900)));
        assert_eq!((rows[1].server.cpu, rows[1].server.sessions), (Some(0.75), None));
        series.join();
        let joined = series.finish().rows[0].server;
        assert_eq!((joined.cpu, joined.rss_bytes), (Some(0.5), Some(900)));
    }
}
