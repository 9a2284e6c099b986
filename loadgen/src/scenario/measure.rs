//! `[measure]`: what is recorded, and what makes a run say nothing.

use std::fmt::Write;
use std::time::Duration;

use units::{Probability, format_duration};

use super::error::ScenarioError;
use super::read::View;
use super::schema;

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

pub(super) fn read(view: &View<'_>) -> Result<MeasureConfig, ScenarioError> {
    let fields = view.fields(&schema::MEASURE)?;
    let default = MeasureConfig::default();
    if let Some(digits) = fields.get("digits")
        && digits.whole()? != 3
    {
        return Err(digits.error("histograms have three significant digits; write 3 or remove the key"));
    }
    let (trace_clients, qlog) = fields.or("traces", (default.trace_clients, default.qlog), |view| {
        let fields = view.fields(&schema::TRACES)?;
        let clients = fields.or("clients", default.trace_clients, |view| view.count(0..=MAX_TRACES))?;
        Ok((clients, fields.or("qlog", default.qlog, View::bool)?))
    })?;
    Ok(MeasureConfig {
        trace_clients,
        qlog,
        interval: fields.or("interval", default.interval, interval)?,
        per_client: fields.or("per_client", default.per_client, per_client)?,
        exemplars: fields.or("exemplars", default.exemplars, |view| view.count(0..=MOST_EXEMPLARS))?,
        deliveries: fields.or("deliveries", default.deliveries, deliveries)?,
        invalid_if: fields.or("invalid_if", default.invalid_if, invalid_if)?,
        warmup_check: fields.or("warmup_check", default.warmup_check, View::bool)?,
    })
}

fn interval(view: &View<'_>) -> Result<Duration, ScenarioError> {
    let span = view.span()?;
    if span < SHORTEST_INTERVAL {
        return Err(view.error(format!(
            "is too short to count in; write at least {}",
            format_duration(SHORTEST_INTERVAL)
        )));
    }
    Ok(span)
}

fn per_client(view: &View<'_>) -> Result<PerClient, ScenarioError> {
    let text = view.text()?;
    let top = || text.strip_prefix("top:").and_then(|count| count.parse().ok()).filter(|&count| count > 0);
    match text {
        "none" => Ok(PerClient::None),
        "all" => Ok(PerClient::All),
        _ => top()
            .map(PerClient::Top)
            .ok_or_else(|| view.error(format!("\"{text}\" is not understood; write none, top:20 or all"))),
    }
}

fn deliveries(view: &View<'_>) -> Result<Deliveries, ScenarioError> {
    match view.node.as_text() {
        Some("all") => Ok(Deliveries::All),
        Some("none") => Ok(Deliveries::None),
        _ => Ok(match view.count(0..=u64::MAX)? {
            0 => Deliveries::None,
            rows => Deliveries::Rows(rows),
        }),
    }
}

fn invalid_if(view: &View<'_>) -> Result<InvalidIf, ScenarioError> {
    let fields = view.fields(&schema::INVALID_IF)?;
    let default = InvalidIf::default();
    Ok(InvalidIf {
        schedule_lag_p99: fields.or("schedule_lag_p99", default.schedule_lag_p99, View::span)?,
        hiccup_max: fields.or("hiccup_max", default.hiccup_max, View::span)?,
        harness_drops: fields.or("harness_drops", default.harness_drops, |view| view.count(0..=u64::MAX))?,
        achieved_rate_below: fields.or("achieved_rate_below", default.achieved_rate_below, |view| {
            view.probability().map(Probability::get)
        })?,
    })
}

pub(super) fn decided(measure: &MeasureConfig) -> String {
    let per_client = match measure.per_client {
        PerClient::None => "none".to_owned(),
        PerClient::Top(count) => format!("top:{count}"),
        PerClient::All => "all".to_owned(),
    };
    let deliveries = match measure.deliveries {
        Deliveries::None => "\"none\"".to_owned(),
        Deliveries::Rows(rows) => rows.to_string(),
        Deliveries::All => "\"all\"".to_owned(),
    };
    let InvalidIf { schedule_lag_p99, hiccup_max, harness_drops, achieved_rate_below } = measure.invalid_if;
    let mut out = format!("[measure]\ninterval = \"{}\"\ndigits = 3\n", format_duration(measure.interval));
    let _ = writeln!(out, "per_client = \"{per_client}\"");
    let _ = writeln!(out, "traces = {{ clients = {}, qlog = {} }}", measure.trace_clients, measure.qlog);
    let _ = writeln!(out, "exemplars = {}\ndeliveries = {deliveries}", measure.exemplars);
    let _ = writeln!(
        out,
        "invalid_if = {{ schedule_lag_p99 = \"{}\", hiccup_max = \"{}\", harness_drops = {harness_drops}, \
         achieved_rate_below = {achieved_rate_below:?} }}",
        format_duration(schedule_lag_p99),
        format_duration(hiccup_max)
    );
    let _ = writeln!(out, "warmup_check = {}", measure.warmup_check);
    out
}

/// Each trace is a row an event; a hundred are more than any figure shows.
const MAX_TRACES: u32 = 100;
/// Nobody reads the story of more.
const MOST_EXEMPLARS: u32 = 100;
/// Shorter ones hold a packet or none.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
