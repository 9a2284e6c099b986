//! `[[phase]]`: spans of a run.

use std::time::Duration;

use super::Ramp;

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
