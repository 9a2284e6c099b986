//! What a figure may look at, and the words that all figures share.

use crate::distribution::Distribution;
use crate::records::{PhaseSpan, QuantileEstimate, RunFile};
use crate::report::format;
use crate::report::origin::Origin;
use crate::report::saved::Saved;
use crate::result::{Cell, Verdict};
use crate::stats::cluster;

use super::canvas::{self, Words};

/// The saved records and where they come from.
pub(super) struct Input<'a> {
    pub(super) saved: &'a Saved,
    pub(super) origin: &'a Origin<'a>,
    pub(super) runs: &'a [RunFile],
}

impl<'a> Input<'a> {
    pub(super) fn of(saved: &'a Saved, origin: &'a Origin<'a>) -> Self {
        Self { saved, origin, runs: &saved.runs }
    }

    pub(super) fn cells(&self) -> &'a [Cell] {
        &self.saved.result.cells
    }

    /// Runs of one cell and arm, by repeat.
    pub(super) fn of_cell(&self, cell: usize, arm: u32) -> Vec<&RunFile> {
        self.runs.iter().filter(|run| run.cell as usize == cell && run.arm == arm).collect()
    }

    pub(super) fn has_arms(&self) -> bool {
        self.runs.iter().any(|run| run.arm > 0)
    }

    /// What is done in arm 0 and 1, in words.
    pub(super) fn arm_names(&self) -> [String; 2] {
        let named = |arm: usize, letter: &str| {
            let text = self.saved.result.arms.get(arm);
            text.map_or_else(|| letter.to_owned(), |text| format!("{letter}: {text}"))
        };
        [named(0, "A"), named(1, "B")]
    }

    /// The run that figures over time show: of the cell with the slowest p99 that is not INVALID, the repeat whose p99
    /// is the median.
    pub(super) fn featured(&self) -> Option<&RunFile> {
        let cells = self.cells();
        let valid = |cell: &&usize| cells[**cell].verdict != Verdict::Invalid;
        let all: Vec<usize> = (0..cells.len()).collect();
        let mut order: Vec<usize> = all.iter().filter(valid).copied().collect();
        if order.is_empty() {
            order = all;
        }
        // The last of equals by max_by_key would be the last cell; the first is easier to explain.
        order.reverse();
        let cell = order.into_iter().max_by_key(|&cell| p99_rank(&cells[cell].metrics.latency.delivery))?;
        let mut runs = self.of_cell(cell, 0);
        runs.sort_by_key(|run| p99_rank(&run.metrics.latency.delivery));
        runs.get(runs.len().saturating_sub(1) / 2).copied()
    }

    /// Which run a figure over time shows, where there was more than one to choose from.
    pub(super) fn which(&self, run: &RunFile) -> String {
        let mut text = String::new();
        if self.cells().len() > 1 {
            let name = self.cells().get(run.cell as usize).map(crate::report::origin::cell_name);
            text.push_str(&format!(" · slowest cell: {}", name.unwrap_or_default()));
        }
        let repeats = self.of_cell(run.cell as usize, 0).len();
        if repeats > 1 {
            text.push_str(&format!(" · repeat {} of {repeats}, the median p99", run.repeat + 1));
        }
        text
    }

    /// Subtitle: where the numbers come from, and how many they are.
    pub(super) fn subtitle(&self, what: &str) -> String {
        let run = &self.saved.result.run;
        format!("{} driver · seed {} · {what}", run.driver, run.seed)
    }

    /// How many deliveries of how many messages, repeats, and what was left out.
    pub(super) fn sample(&self, runs: &[&RunFile]) -> String {
        let deliveries: u64 = runs.iter().map(|run| run.all.delivery.count()).sum();
        let messages: u64 = runs.iter().map(|run| run.metrics.messages.intended).sum();
        let lost: u64 = runs.iter().map(|run| run.all.delivery.lost()).sum();
        let mut parts = vec![format!("n = {} deliveries", format::count(deliveries))];
        if messages > 0 {
            parts[0].push_str(&format!(" of {} messages", format::count(messages)));
        }
        parts.push(match lost {
            0 => "none lost".to_owned(),
            lost => format!("{} lost ({})", format::count(lost), format::share(lost, deliveries)),
        });
        if runs.len() > 1 {
            parts.push(format!("{} repeats pooled", runs.len()));
        }
        parts.extend(runs.first().and_then(|run| left_out(&run.phases)));
        parts.join(" · ")
    }

    /// How many cells and repeats, for figures over a sweep.
    pub(super) fn extent(&self, more: &str) -> String {
        let cells = self.cells();
        let most = (0..cells.len()).map(|cell| self.of_cell(cell, 0).len()).max().unwrap_or(0);
        let most = most.max(cells.iter().map(|cell| cell.repeats.len()).max().unwrap_or(0)).max(1);
        let mut parts = vec![format!(
            "{} × {}",
            format::plural(cells.len() as u64, "cell"),
            format::plural(most as u64, "repeat")
        )];
        parts.extend((!more.is_empty()).then(|| more.to_owned()));
        parts.extend(self.runs.first().and_then(|run| left_out(&run.phases)));
        self.subtitle(&parts.join(" · "))
    }

    /// `finding` with the scenario's name, if both fit.
    pub(super) fn title(&self, finding: &str) -> String {
        canvas::fitting_title(vec![format!("{finding} — {}", self.origin.name), finding.to_owned()])
    }

    pub(super) fn words(&self, title: &str, subtitle: String) -> Words {
        Words { title: title.to_owned(), subtitle, caption: self.origin.caption() }
    }

    /// One kind of latency of some runs together.
    pub(super) fn pooled(runs: &[&RunFile], of: fn(&RunFile) -> &Distribution) -> Distribution {
        let mut all = Distribution::default();
        runs.iter().for_each(|run| all.merge(of(run)));
        all
    }
}

/// For sorting: no samples, then by p99, then those whose p99 is lost.
fn p99_rank(delivery: &crate::result::LatencySummary) -> (bool, u64) {
    match delivery.p99_us {
        None if delivery.count > 0 => (true, u64::MAX),
        us => (us.is_some(), us.unwrap_or(0)),
    }
}

/// What comes before the first recorded phase.
fn left_out(phases: &[PhaseSpan]) -> Option<String> {
    let first = phases.iter().find(|phase| phase.recorded)?;
    (first.from_us > 0).then(|| format!("first {} left out", seconds(first.from_us)))
}

/// `5 s`.
pub(super) fn seconds(us: u64) -> String {
    format!("{} s", format::significant(us as f64 / 1e6))
}

/// Microseconds as the milliseconds of an axis; a log axis begins at a microsecond.
pub(super) fn ms(us: u64) -> f64 {
    us.max(1) as f64 / 1e3
}

/// The middle of some values, and their ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Spread {
    pub(super) low: f64,
    pub(super) median: f64,
    pub(super) high: f64,
}

impl Spread {
    pub(super) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        Some(Self { low, median: quantile(&values, 0.5), high })
    }
}

/// Linear interpolation between the order statistics of sorted values (type 7 of Hyndman and Fan, 1996).
pub(super) fn quantile(sorted: &[f64], q: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let below = sorted[at as usize];
    let above = sorted[(at as usize + 1).min(last)];
    below + (above - below) * at.fract()
}

/// How sure the percentiles of some runs are, at any quantile: the interval that verdicts state ([`cluster::estimate`]), with
/// the design effect of the pooled runs, which is stated for some quantiles and interpolated between them.
pub(super) struct Certainty {
    /// In nines, and the design effect there.
    effects: Vec<(f64, f64)>,
    messages: u64,
}

impl Certainty {
    /// `None` where no run states one.
    pub(super) fn of(runs: &[&RunFile]) -> Option<Self> {
        let owned: Vec<RunFile> = runs.iter().map(|run| (*run).clone()).collect();
        let stated = RunFile::fold(&owned)?.quantiles;
        let messages = stated.first()?.messages;
        let effect = |estimate: &QuantileEstimate| (nines(estimate.q), estimate.design_effect.max(1.0));
        Some(Self { effects: stated.iter().map(effect).collect(), messages })
    }

    /// Lower and upper bound; an upper one of `None` is unknown, or among the lost.
    pub(super) fn interval(&self, all: &Distribution, q: f64) -> Option<(u64, Option<u64>)> {
        let at = nines(q);
        let after = self.effects.partition_point(|&(nines, _)| nines < at);
        let effect = match (self.effects.get(after.wrapping_sub(1)), self.effects.get(after)) {
            (Some(&(a, low)), Some(&(b, high))) if b > a => low + (high - low) * (at - a) / (b - a),
            (Some(&(_, effect)), _) | (None, Some(&(_, effect))) => effect,
            (None, None) => return None,
        };
        let estimate = cluster::estimate(all, q, self.messages, effect);
        Some((estimate.low_us?, estimate.high_us))
    }
}

fn nines(q: f64) -> f64 {
    -(1.0 - q).max(1e-12).log10()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn quantiles_interpolate_between_values() {
        let values = [1.0, 2.0, 4.0];
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|q| quantile(&values, q)), [1.0, 1.5, 2.0, 4.0]);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn the_slowest_cell_and_its_median_repeat_are_featured() {
        let shape = Shape { clients: 10, steady_s: 5, ..Shape::default() };
        let saved = synthetic::grid(&shape, &[synthetic::Vary::loss(&[0.0, 0.3, 0.1])], 3);
        let origin = Origin::of(&saved.result);
        let input = Input::of(&saved, &origin);
        let featured = input.featured().expect("a run");
        assert_eq!(featured.cell, 1);
        let mut p99: Vec<_> = input.of_cell(1, 0).iter().map(|run| run.all.delivery.quantile(0.99)).collect();
        p99.sort();
        assert_eq!(featured.all.delivery.quantile(0.99), p99[1]);
    }

    #[test]
    fn at_a_stated_percentile_the_band_is_what_a_verdict_states() {
        let saved = synthetic::chat(&Shape::default(), 3);
        let runs: Vec<&RunFile> = saved.runs.iter().collect();
        let all = Input::pooled(&runs, |run| &run.all.delivery);
        let certainty = Certainty::of(&runs).expect("stated");
        for stated in RunFile::fold(&saved.runs).expect("runs").quantiles {
            let bounds = certainty.interval(&all, stated.q);
            assert_eq!(bounds, stated.low_us.map(|low| (low, stated.high_us)), "{stated:?}");
        }
    }

    #[test]
    fn intervals_hold_the_value_and_widen_towards_the_tail() {
        let saved = synthetic::chat(&Shape::default(), 1);
        let runs: Vec<&RunFile> = saved.runs.iter().collect();
        let all = Input::pooled(&runs, |run| &run.all.delivery);
        let certainty = Certainty::of(&runs).expect("stated");
        let width = |q: f64| {
            let (low, high) = certainty.interval(&all, q).expect("samples");
            let value = all.quantile(q).expect("arrived");
            let high = high.expect("finite");
            assert!(low <= value && value <= high, "{low} {value} {high}");
            high as f64 / low as f64
        };
        assert!(width(0.99) > width(0.5));
    }
}
