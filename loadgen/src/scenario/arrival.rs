//! When messages of an open loop are meant to be sent.

use std::sync::Arc;
use std::time::Duration;

use units::{format_duration, parse_duration};

use super::error::ScenarioError;
use super::raw::quote;
use super::read::View;
use super::{Pace, Per, schema, trace};

/// The process behind a schedule. Its mean rate stands beside it ([`Pace::Open`](super::Pace::Open)).
#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    /// Exponential gaps.
    Poisson,
    /// Evenly spaced, each client at its own seeded offset.
    Constant,
    /// Gaps of a gamma law with this coefficient of variation, above 0: below 1 more even than Poisson, above more
    /// bursty.
    Gamma { cv: f64 },
    /// A Poisson process whose rate switches between calm and busy after exponential times of these means. In busy the
    /// rate is `factor` (above 1) times that in calm.
    Mmpp { factor: f64, calm: Duration, busy: Duration },
    /// `count` messages at once, every `every`; each client at its own seeded offset.
    Burst { count: u32, every: Duration },
    /// As recorded; begins again at its end.
    Trace(Arc<ArrivalTrace>),
}

/// Recorded times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalTrace {
    /// The file it came from.
    pub name: String,
    /// Since the first phase began, ascending; the last one is above zero and also the period.
    pub times: Vec<Duration>,
}

impl ArrivalTrace {
    /// Messages a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        let period = self.times.last().map_or(0.0, Duration::as_secs_f64);
        if period > 0.0 { self.times.len() as f64 / period } else { 0.0 }
    }
}

#[derive(Clone, Copy)]
enum Process {
    Poisson,
    Constant,
    Gamma,
    Mmpp,
    Burst,
    Trace,
}

/// An open loop.
pub(super) fn read(view: &View<'_>) -> Result<Pace, ScenarioError> {
    let fields = view.fields(&schema::ARRIVAL)?;
    let process = fields.or("process", Process::Poisson, |view| view.choice(PROCESSES))?;
    let own: &[&str] = match process {
        Process::Poisson | Process::Constant => &["rate"],
        Process::Gamma => &["rate", "cv"],
        Process::Mmpp => &["rate", "factor", "calm", "busy"],
        Process::Burst => &["n", "every"],
        Process::Trace => &["file"],
    };
    let word = PROCESSES.iter().find(|(_, known)| *known as u8 == process as u8).map_or("", |(word, _)| word);
    fields.refuse_others(&["process", "per"], own, &format!("with process = \"{word}\""))?;
    let per = fields
        .or("per", Per::Client, |view| view.choice(&[("client", Per::Client), ("total", Per::Total)]))?;
    let rate = || fields.need("rate")?.per_second();
    let span = |key: &str, default: u64| fields.or(key, Duration::from_secs(default), View::span);
    let (arrival, per_second) = match process {
        Process::Poisson => (Arrival::Poisson, rate()?),
        Process::Constant => (Arrival::Constant, rate()?),
        Process::Gamma => (Arrival::Gamma { cv: fields.need("cv")?.number(LEAST_CV..=MOST_CV)? }, rate()?),
        Process::Mmpp => {
            let factor = fields.or("factor", 10.0, |view| view.number(1.0..=MOST_FACTOR))?;
            (Arrival::Mmpp { factor, calm: span("calm", 9)?, busy: span("busy", 1)? }, rate()?)
        }
        Process::Burst => {
            let count = fields.need("n")?.count(1..=MOST_AT_ONCE)?;
            let every = fields.need("every")?.span()?;
            (Arrival::Burst { count, every }, f64::from(count) / every.as_secs_f64())
        }
        Process::Trace => {
            let file = fields.need("file")?;
            let time = |text: &str| parse_duration(text).map_err(|error| error.to_string());
            let trace = ArrivalTrace { name: file.text()?.to_owned(), times: trace::lines(&file, time)? };
            if !trace.times.is_sorted() || trace.times.last().is_none_or(Duration::is_zero) {
                let problem = format!("{}: times do not ascend to above zero; sort them", trace.name);
                return Err(file.error(problem));
            }
            let per_second = trace.per_second();
            (Arrival::Trace(Arc::new(trace)), per_second)
        }
    };
    Ok(Pace::Open { arrival, per_second, per })
}

/// The value of `arrival`.
pub(super) fn decided(arrival: &Arrival, per_second: f64, per: Per) -> String {
    let text = format_duration;
    let per = if per == Per::Client { "client" } else { "total" };
    let rate = format!("rate = \"{per_second}/s\"");
    let keys = match arrival {
        Arrival::Poisson => format!("process = \"poisson\", {rate}"),
        Arrival::Constant => format!("process = \"constant\", {rate}"),
        Arrival::Gamma { cv } => format!("process = \"gamma\", {rate}, cv = {cv:?}"),
        Arrival::Mmpp { factor, calm, busy } => format!(
            "process = \"mmpp\", {rate}, factor = {factor:?}, calm = \"{}\", busy = \"{}\"",
            text(*calm),
            text(*busy)
        ),
        Arrival::Burst { count, every } => {
            format!("process = \"burst\", n = {count}, every = \"{}\"", text(*every))
        }
        Arrival::Trace(trace) => format!("process = \"trace\", file = {}", quote(&trace.name)),
    };
    format!("{{ {keys}, per = \"{per}\" }}")
}

const PROCESSES: &[(&str, Process)] = &[
    ("poisson", Process::Poisson),
    ("constant", Process::Constant),
    ("gamma", Process::Gamma),
    ("mmpp", Process::Mmpp),
    ("burst", Process::Burst),
    ("trace", Process::Trace),
];

/// Below this the gaps are as good as constant, and the shape of the law, 1 / cv^2, passes ten thousand.
const LEAST_CV: f64 = 0.01;
/// Above this nearly all gaps are zero and the mean comes from a few that are longer than any run.
const MOST_CV: f64 = 20.0;
/// A busy state that is a thousand times as busy is a burst.
const MOST_FACTOR: f64 = 1000.0;
/// Messages of one client in one instant; its connection refuses more that wait (`max_queued_messages`).
const MOST_AT_ONCE: u32 = 4096;
