//! `[[phase]]`: spans of a run.

use std::time::Duration;

use units::format_duration;

use super::drain::{self, Base};
use super::error::ScenarioError;
use super::raw::Value;
use super::read::View;
use super::{Ramp, group, schema};

#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: String,
    /// Of a drain: at the latest after this long.
    pub duration: Duration,
    /// Whether messages intended in this phase enter the statistics.
    pub record: bool,
    pub activity: Activity,
    /// How many of the clients a workload names do something in this phase: the first ones of each group.
    pub clients: Active,
    /// Multiplies the rates of all open loops; 1 as written.
    pub rate: f64,
    /// How the clients that this phase adds to those of the one before it become active; at once without.
    pub ramp: Option<Ramp>,
    /// As written: `max(10s, 4*rto)`.
    pub drain: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Workloads send.
    Load,
    /// Nothing new is sent; ends as soon as the ledger is settled, at the latest after the phase's duration.
    Drain,
}

/// How many clients of a group are active in a phase.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Active {
    /// Of each group, rounded up; 0 to 1.
    Fraction(f64),
    /// Of each group, or all of it where it is smaller.
    Count(u32),
}

impl Active {
    pub const ALL: Self = Self::Fraction(1.0);

    /// How many of `count`.
    #[must_use]
    pub fn of(self, count: u32) -> u32 {
        match self {
            Self::Fraction(fraction) => ((fraction * f64::from(count)).ceil() as u32).min(count),
            Self::Count(clients) => clients.min(count),
        }
    }
}

impl Phase {
    /// A phase that changes nothing of the workloads.
    #[must_use]
    pub fn new(name: String, duration: Duration, activity: Activity) -> Self {
        let record = activity == Activity::Load;
        Self { name, duration, record, activity, clients: Active::ALL, rate: 1.0, ramp: None, drain: None }
    }
}

pub(super) fn read(view: &View<'_>, base: Base) -> Result<Vec<Phase>, ScenarioError> {
    let items = view.named_items("name")?;
    let last = items.len().saturating_sub(1);
    let phases = items
        .into_iter()
        .enumerate()
        .map(|(index, (name, view))| phase(name, &view, index == last, base))
        .collect::<Result<Vec<_>, _>>()?;
    if !phases.iter().any(|phase| phase.activity == Activity::Load) {
        return Err(
            view.error("no phase has a duration; write at least one [[phase]] with name and duration")
        );
    }
    Ok(phases)
}

fn phase(name: String, view: &View<'_>, is_last: bool, base: Base) -> Result<Phase, ScenarioError> {
    let fields = view.fields(&schema::PHASE)?;
    match (fields.get("duration"), fields.get("drain")) {
        (Some(duration), None) => Ok(Phase {
            record: fields.or("record", true, View::bool)?,
            clients: fields.or("clients", Active::ALL, active)?,
            rate: fields.or("rate", 1.0, |view| view.number(0.0..=MOST_RATE))?,
            ramp: fields.get("ramp").map(|view| group::ramp(&view)).transpose()?,
            ..Phase::new(name, duration.span()?, Activity::Load)
        }),
        (None, Some(drain)) if is_last => {
            let meaningless = ["record", "clients", "rate", "ramp"];
            fields.refuse(&meaningless, "in a drain, where no message is sent")?;
            let (duration, written) = drain_span(&drain, base)?;
            Ok(Phase { drain: written, ..Phase::new(name, duration, Activity::Drain) })
        }
        (None, Some(drain)) => Err(drain.error("only the last phase may drain; move it to the end")),
        _ => Err(fields.error("write either duration or drain")),
    }
}

fn drain_span(view: &View<'_>, base: Base) -> Result<(Duration, Option<String>), ScenarioError> {
    match view.node.as_text().filter(|text| drain::is_expression(text)) {
        Some(text) => {
            let span = drain::evaluate(text, base).map_err(|problem| view.error(problem))?;
            if span.is_zero() || span > LONGEST_DRAIN {
                let limit = format_duration(LONGEST_DRAIN);
                return Err(view.error(format!(
                    "is {} here; write what gives more than 0s and at most {limit}",
                    format_duration(span)
                )));
            }
            Ok((span, Some(text.to_owned())))
        }
        None => Ok((view.span()?, None)),
    }
}

/// A share, or a whole number of clients.
fn active(view: &View<'_>) -> Result<Active, ScenarioError> {
    match view.node.value {
        Value::Integer(_) => view.count(0..=u32::MAX).map(Active::Count),
        _ => Ok(Active::Fraction(view.probability()?.get())),
    }
}

pub(super) fn decided(phase: &Phase) -> String {
    let (name, span) = (&phase.name, format_duration(phase.duration));
    if phase.activity == Activity::Drain {
        return format!("[[phase]]\nname = \"{name}\"\ndrain = \"{span}\"\n");
    }
    let clients = match phase.clients {
        Active::Fraction(fraction) => format!("{fraction:?}"),
        Active::Count(count) => count.to_string(),
    };
    let ramp = phase.ramp.map_or_else(String::new, |ramp| format!("ramp = {}\n", group::decided_ramp(ramp)));
    format!(
        "[[phase]]\nname = \"{name}\"\nduration = \"{span}\"\nrecord = {}\nclients = {clients}\nrate = {:?}\n{ramp}",
        phase.record, phase.rate
    )
}

/// A thousand times the load as written is another scenario.
const MOST_RATE: f64 = 1000.0;
/// A day: what is not there by then does not come.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 3600);
