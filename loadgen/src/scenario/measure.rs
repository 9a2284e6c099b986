//! `[measure]`: what is recorded, and what makes a run say nothing.

use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct MeasureConfig {
    /// Connections whose transport trace is kept: those of the first so many clients.
    pub trace_clients: u32,
    /// Whether these traces are written as qlog too.
    pub qlog: bool,
    /// Shortest interval of a time series; longer runs join neighbours.
    pub interval: Duration,
    pub per_client: PerClient,
    /// Slowest deliveries of each workload that are kept with what happened to them.
    pub exemplars: u32,
    pub deliveries: Deliveries,
    pub invalid_if: InvalidIf,
    /// Whether MSER-5 looks for a longer warm-up than was declared, and warns.
    pub warmup_check: bool,
}

/// Of which clients there is a row of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PerClient {
    None,
    /// Those with the slowest p99.
    Top(u32),
    All,
}

/// How many rows of `deliveries.csv` are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deliveries {
    None,
    /// The first so many of each cell.
    Rows(u64),
    All,
}

/// Beyond these the generator or the machine was measured, and not the system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct InvalidIf {
    /// 99th percentile of how late messages were handed to the protocol.
    pub schedule_lag_p99: Duration,
    /// Longest pause of a thread that wakes every millisecond.
    pub hiccup_max: Duration,
    /// More packets than this that the harness itself lost.
    pub harness_drops: u64,
    /// Less than this share of what the schedule asked for was handed over or refused, 0 to 1.
    pub achieved_rate_below: f64,
}

impl Default for MeasureConfig {
    fn default() -> Self {
        Self {
            trace_clients: 1,
            qlog: false,
            interval: Duration::from_secs(1),
            per_client: PerClient::Top(20),
            exemplars: 5,
            deliveries: Deliveries::Rows(200_000),
            invalid_if: InvalidIf::default(),
            warmup_check: true,
        }
    }
}

impl Default for InvalidIf {
    /// 5 ms is a tenth of the shortest path in the shipped scenarios; a pause of 100 ms is on the scale of the round
    /// trips measured, and shorter ones show as lag.
    fn default() -> Self {
        Self {
            schedule_lag_p99: Duration::from_millis(5),
            hiccup_max: Duration::from_millis(100),
            harness_drops: 0,
            achieved_rate_below: 0.98,
        }
    }
}
