//! When a client does a workload: the phases it takes part in, as one clock that stands still in between.
//!
//! A stream's process runs on this clock and not on the run's, so a phase that is left out is simply skipped, and a phase
//! with a rate of 2 lets its clock run twice as fast: a multiplied process is the same process on a faster clock,
//! busy states, bursts and recordings included.

use units::Timestamp;

use super::process::nanos;

/// Pieces in which the clock runs; between them it stands still.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Clock {
    /// Ascending, not empty in themselves.
    pieces: Vec<Piece>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Piece {
    /// Nanoseconds since the first phase began.
    from: f64,
    until: f64,
    /// What the clock shows at both.
    begins: f64,
    ends: f64,
    speed: f64,
}

impl Clock {
    /// Adds a piece behind all others. One that is empty, or in which the clock stands, adds nothing.
    pub(super) fn run(&mut self, from: f64, until: f64, speed: f64) {
        if from >= until || speed <= 0.0 {
            return;
        }
        let begins = self.pieces.last().map_or(0.0, |piece| piece.ends);
        self.pieces.push(Piece { from, until, begins, ends: begins + (until - from) * speed, speed });
    }

    /// The time of the run at which the clock shows `shown`; `None`: it never does.
    pub(super) fn when(&self, shown: f64) -> Option<f64> {
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.ends <= shown))?;
        // Exact where the speed is 1: both are sums of whole nanoseconds and the same fraction.
        Some(piece.from + (shown - piece.begins) / piece.speed)
    }

    /// What it shows at `at`.
    pub(super) fn shows(&self, at: f64) -> f64 {
        let index = self.pieces.partition_point(|piece| piece.until <= at);
        match self.pieces.get(index) {
            Some(piece) => piece.begins + (at - piece.from).max(0.0) * piece.speed,
            None => self.pieces.last().map_or(0.0, |piece| piece.ends),
        }
    }

    /// `at`, or when it runs again; `None`: never.
    pub(super) fn runs_from(&self, at: f64) -> Option<f64> {
        let piece = self.pieces.get(self.pieces.partition_point(|piece| piece.until <= at))?;
        Some(piece.from.max(at))
    }

    pub(super) fn is_running(&self, at: f64) -> bool {
        self.runs_from(at) == Some(at)
    }

    /// When it begins each time it has stood; neighbouring pieces are one.
    pub(super) fn beginnings(&self) -> impl Iterator<Item = f64> {
        let before = std::iter::once(f64::NEG_INFINITY).chain(self.pieces.iter().map(|piece| piece.until));
        let pieces = self.pieces.iter().zip(before);
        pieces.filter(|(piece, before)| piece.from > *before).map(|(piece, _)| piece.from)
    }
}

/// Nanoseconds from one moment to another.
pub(super) fn between(zero: Timestamp, at: Timestamp) -> f64 {
    nanos(at.since(zero))
}

/// So many nanoseconds after `zero`.
pub(super) fn moment(zero: Timestamp, nanos: f64) -> Timestamp {
    // The cast saturates: a rate of once in a century ends up at the end of time.
    zero + std::time::Duration::from_nanos(nanos as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_stands_still_between_its_phases_and_runs_by_their_rates() {
        let mut clock = Clock::default();
        clock.run(10.0, 20.0, 1.0);
        clock.run(20.0, 20.0, 1.0);
        clock.run(20.0, 30.0, 0.0);
        clock.run(30.0, 40.0, 2.0);
        assert_eq!(
            [0.0, 9.0, 10.0, 28.0, 30.0].map(|shown| clock.when(shown)),
            [Some(10.0), Some(19.0), Some(30.0), Some(39.0), None]
        );
        assert_eq!([0.0, 15.0, 25.0, 35.0, 50.0].map(|at| clock.shows(at)), [0.0, 5.0, 10.0, 20.0, 30.0]);
        let runs = [0.0, 15.0, 25.0, 40.0].map(|at| clock.runs_from(at));
        assert_eq!(runs, [Some(10.0), Some(15.0), Some(30.0), None]);
        assert!(clock.is_running(10.0) && !clock.is_running(20.0) && !clock.is_running(40.0));
        assert_eq!(clock.beginnings().collect::<Vec<_>>(), [10.0, 30.0]);
    }
}
