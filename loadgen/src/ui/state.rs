//! What a view knows: events, added up. Pure, so that what is drawn is tested without a terminal.

use std::collections::VecDeque;

use units::Timestamp;

use super::words::clock;
use super::{Event, Moment, Planned};
use crate::result::Verdict;
use crate::runner::plan::Slot;

/// An experiment so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    pub planned: Planned,
    /// The run that is going on, or was the last, and its place in the plan.
    pub run: Option<(usize, Slot)>,
    /// How far it is, 0 to 1.
    pub fraction: f64,
    /// Runs that have ended, those that were kept not counted.
    pub ended: usize,
    /// The latest intervals of the run, at most `MOST_MOMENTS`.
    pub moments: VecDeque<Moment>,
    /// By cell, then arm.
    pub verdicts: Vec<Vec<Option<Verdict>>>,
    /// The latest lines, at most `MOST_LINES`.
    pub lines: VecDeque<String>,
    pub is_resting: bool,
    /// When the first run began.
    began: Option<Timestamp>,
}

impl State {
    pub fn on_event(&mut self, now: Timestamp, event: Event) {
        match event {
            Event::Planned(planned) => {
                // A search plans again with each probe; what was said of earlier ones stays.
                self.verdicts.resize(planned.cells.len(), vec![None; planned.arms.len().max(1)]);
                self.planned = planned;
                (self.ended, self.began) = (0, None);
            }
            Event::RunBegan { index, slot } => {
                self.began.get_or_insert(now);
                self.run = Some((index, slot));
                self.fraction = 0.0;
                self.is_resting = false;
                self.moments.clear();
            }
            Event::Fraction(fraction) => self.fraction = fraction.clamp(0.0, 1.0),
            Event::Interval(moment) => {
                self.moments.push_back(*moment);
                if self.moments.len() > MOST_MOMENTS {
                    self.moments.pop_front();
                }
            }
            Event::RunEnded { slot, summary } => {
                self.ended += 1;
                self.fraction = 0.0;
                // The only run of a cell says what the line of the cell says.
                let lines = self.planned.cells.len() * self.planned.arms.len().max(1);
                if lines <= 1 || self.planned.runs > lines {
                    let line = format!("{}: {}", self.name(slot), super::words(&summary));
                    self.say(line);
                }
            }
            Event::CellEnded { cell, arm, verdict, line } => {
                if self.planned.cells.len() > 1 || !self.planned.arms.is_empty() {
                    self.say(line);
                }
                let place = self.verdicts.get_mut(cell as usize).and_then(|arms| arms.get_mut(arm as usize));
                if let Some(place) = place {
                    *place = Some(verdict);
                }
            }
            Event::Resting(_) => self.is_resting = true,
            Event::Said(line) => self.say(line),
        }
    }

    /// Share of everything that is done, 0 to 1.
    #[must_use]
    pub fn done(&self) -> f64 {
        let runs = self.planned.runs.max(1) as f64;
        ((self.planned.kept + self.ended) as f64 + self.fraction).min(runs) / runs
    }

    /// Seconds since the first run began, and those that are left if runs go on as they did.
    #[must_use]
    pub fn times(&self, now: Timestamp) -> (f64, Option<f64>) {
        let gone = self.began.map_or(0.0, |began| now.since(began).as_secs_f64());
        let done = self.ended as f64 + self.fraction;
        let left = self.planned.runs.saturating_sub(self.planned.kept) as f64 - done;
        // The first moments of the first run say nothing.
        let is_known = done > 0.02 && gone > 0.5;
        (gone, is_known.then(|| (gone / done * left).max(0.0)))
    }

    /// `0:12 gone, 1:40 to go`.
    #[must_use]
    pub fn times_in_words(&self, now: Timestamp) -> String {
        let (gone, left) = self.times(now);
        let left = left.map_or_else(String::new, |left| format!(", {} to go", clock(left)));
        format!("{} gone{left}", clock(gone))
    }

    /// `run 3/20 loss.p=0.1 protocol.congestion=reno repeat 2`.
    #[must_use]
    pub fn run_in_words(&self) -> String {
        let Some((index, slot)) = self.run else { return String::new() };
        format!("run {}/{} {}", index + 1, self.planned.runs, self.name(slot)).trim_end().to_owned()
    }

    /// Cell, arm and repeat, where there is more than one.
    #[must_use]
    pub fn name(&self, slot: Slot) -> String {
        let cell = self.planned.cells.get(slot.cell as usize).cloned().unwrap_or_default();
        let arm = self.planned.arms.get(slot.arm as usize).cloned().unwrap_or_default();
        let per_repeat = self.planned.cells.len() * self.planned.arms.len().max(1);
        let repeat = if self.planned.runs > per_repeat {
            format!("repeat {}", slot.repeat + 1)
        } else {
            String::new()
        };
        [cell, arm, repeat].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }

    fn say(&mut self, line: String) {
        self.lines.push_back(line);
        if self.lines.len() > MOST_LINES {
            self.lines.pop_front();
        }
    }
}

/// As many as the widest terminal has columns.
pub(super) const MOST_MOMENTS: usize = 512;
/// More than a terminal is high.
pub(super) const MOST_LINES: usize = 128;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ZERO + Duration::from_secs(seconds)
    }

    fn planned(runs: usize, kept: usize) -> Event {
        let cells = vec!["loss.p=0".to_owned(), "loss.p=0.1".to_owned()];
        Event::Planned(Planned { cells, runs, kept, ..Planned::default() })
    }

    fn slot(cell: u32, repeat: u32) -> Slot {
        Slot { cell, repeat, arm: 0 }
    }

    #[test]
    fn what_was_kept_is_done_and_does_not_make_the_rest_look_fast() {
        let mut state = State::default();
        state.on_event(at(0), planned(10, 5));
        assert!((state.done() - 0.5).abs() < 1e-9);
        state.on_event(at(0), Event::RunBegan { index: 5, slot: slot(1, 2) });
        state.on_event(
            at(10),
            Event::RunEnded { slot: slot(1, 2), summary: super::super::Summary::default() },
        );
        assert!((state.done() - 0.6).abs() < 1e-9);
        assert_eq!(state.times(at(10)), (10.0, Some(40.0)));
        assert_eq!(state.times_in_words(at(10)), "0:10 gone, 0:40 to go");
        assert_eq!(state.run_in_words(), "run 6/10 loss.p=0.1 repeat 3");
    }

    #[test]
    fn histories_are_bounded() {
        let mut state = State::default();
        state.on_event(at(0), planned(2, 0));
        for second in 0..2_000 {
            state.on_event(at(second), Event::Interval(Box::default()));
            state.on_event(at(second), Event::Said(second.to_string()));
        }
        assert_eq!((state.moments.len(), state.lines.len()), (MOST_MOMENTS, MOST_LINES));
        assert_eq!(state.lines.back().map(String::as_str), Some("1999"));
    }

    #[test]
    fn a_verdict_of_a_cell_that_nobody_planned_is_no_panic() {
        let mut state = State::default();
        let verdict = Verdict::Pass;
        state.on_event(at(0), Event::CellEnded { cell: 7, arm: 1, verdict, line: String::new() });
        state.on_event(at(0), planned(2, 0));
        state.on_event(at(0), Event::CellEnded { cell: 1, arm: 0, verdict, line: String::new() });
        assert_eq!(state.verdicts, [[None], [Some(Verdict::Pass)]]);
    }
}
