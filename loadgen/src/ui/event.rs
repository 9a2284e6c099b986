//! What a running experiment tells those who watch it.
//!
//! Plain values that are copied out: nobody who watches holds anything that the runner, a driver or a recorder needs.

use std::time::Duration;

use crate::backend::Moment;
use crate::result::Verdict;
use crate::runner::plan::Slot;

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// What is going to run.
    Planned(Planned),
    /// Run `index` of the plan begins.
    RunBegan {
        index: usize,
        slot: Slot,
    },
    /// The run is this far, 0 to 1.
    Fraction(f64),
    /// An interval of the run has ended.
    Interval(Box<Moment>),
    RunEnded {
        slot: Slot,
        summary: Summary,
    },
    /// All repeats of a cell are there.
    CellEnded {
        cell: u32,
        arm: u32,
        verdict: Verdict,
        line: String,
    },
    /// Nothing happens for this long, between two real runs.
    Resting(Duration),
    /// A line for the reader.
    Said(String),
}

/// The plan in the words of a reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    pub name: String,
    pub driver: String,
    /// A label for each cell; empty for the only one.
    pub cells: Vec<String>,
    /// What tells the arms apart; empty without `--ab`.
    pub arms: Vec<String>,
    pub runs: usize,
    /// Of these, what is there already.
    pub kept: usize,
}

/// The few numbers of a run that fit a line.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Summary {
    pub delivered: u64,
    pub lost: u64,
    pub delivered_per_s: f64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    /// Why its numbers say nothing; the first reason.
    pub invalid: Option<String>,
}

/// Somebody who watches.
///
/// Called on the thread that keeps the schedule of a real run, so it must return at once: no lock that a slow reader can
/// hold, no write to a terminal.
pub trait View {
    fn on_event(&mut self, event: Event);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Nobody;

impl View for Nobody {
    fn on_event(&mut self, _event: Event) {}
}
