//! Windowed maxima: the largest recent value, in constant memory.

/// Largest value over a window of virtual time (rounds), after Kathleen Nichols' running-minimum algorithm: it keeps the
/// best three candidates, each younger and smaller than the one before, so that a successor is at hand when the best
/// grows too old. Shape: times never decrease; the window may change from one update to the next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WindowedMax {
    best: [Sample; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sample {
    time: u64,
    value: u64,
}

impl WindowedMax {
    pub(super) fn get(&self) -> u64 {
        self.best[0].value
    }

    /// Adds `value`, seen at `time`, and forgets what is older than `window`. Returns the maximum.
    pub(super) fn update(&mut self, time: u64, value: u64, window: u64) -> u64 {
        let sample = Sample { time, value };
        let is_empty_by_age = time.saturating_sub(self.best[2].time) > window;
        if value >= self.best[0].value || is_empty_by_age {
            self.best = [sample; 3];
            return value;
        }
        if value >= self.best[1].value {
            self.best[1] = sample;
            self.best[2] = sample;
        } else if value >= self.best[2].value {
            self.best[2] = sample;
        }
        self.expire(sample, window)
    }

    fn expire(&mut self, sample: Sample, window: u64) -> u64 {
        let age = sample.time.saturating_sub(self.best[0].time);
        if age > window {
            self.best = [self.best[1], self.best[2], sample];
            if sample.time.saturating_sub(self.best[0].time) > window {
                self.best = [self.best[1], self.best[2], sample];
            }
        } else if self.best[1].time == self.best[0].time && age > window / 4 {
            // A quarter of the window passed without a second choice: the newest becomes it.
            self.best[1] = sample;
            self.best[2] = sample;
        } else if self.best[2].time == self.best[1].time && age > window / 2 {
            self.best[2] = sample;
        }
        self.best[0].value
    }
}

/// Largest value of this probing cycle and of the one before: `BBR.max_bw_filter`, whose window is two cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct CycleMax {
    previous: u64,
    current: u64,
}

impl CycleMax {
    pub(super) fn get(&self) -> u64 {
        self.previous.max(self.current)
    }

    pub(super) fn update(&mut self, value: u64) {
        self.current = self.current.max(value);
    }

    /// A cycle ends. One that saw no sample is not counted: it would only make us forget.
    pub(super) fn advance(&mut self) {
        if self.current > 0 {
            *self = Self { previous: self.current, current: 0 };
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_maximum_of_two_cycles_is_kept_and_then_forgotten() {
        let mut filter = CycleMax::default();
        filter.update(100);
        filter.advance();
        filter.update(40);
        assert_eq!(filter.get(), 100);
        filter.advance();
        assert_eq!(filter.get(), 40);
        filter.advance();
        assert_eq!(filter.get(), 40, "a cycle without a sample forgets nothing");
    }

    proptest! {
        /// Never above the true maximum of the window, never below its newest value.
        #[test]
        fn the_windowed_maximum_stays_within_the_truth(
            samples in prop::collection::vec((0_u64..4, 0_u64..1000), 1..200),
            window in 1_u64..12,
        ) {
            let mut filter = WindowedMax::default();
            let mut seen: Vec<(u64, u64)> = Vec::new();
            let mut time = 0;
            for (step, value) in samples {
                time += step;
                seen.push((time, value));
                let max = filter.update(time, value, window);
                // One candidate may outlive the window by the update that replaces it.
                let truth = seen.iter().filter(|(at, _)| *at + window >= time).map(|(_, value)| *value).max();
                prop_assert!(max >= value);
                prop_assert!(max <= truth.unwrap_or(0), "{max} of {truth:?} at {time}");
            }
        }
    }
}
