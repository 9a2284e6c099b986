//! Axes: how a value becomes a position, and which values get a tick.
//!
//! plotters has no percentile scale and picks log ticks that crowd, so positions are computed here and plotters is given
//! plain linear ranges of positions. Ranges always come from data: plotters clamps what lies outside its axis to the
//! edge, which draws a plateau that was never measured.

/// How values become positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    Linear,
    /// Powers of ten are evenly spaced. Values must be above zero.
    Log,
    /// The same, larger values to the left.
    InverseLog,
    /// For quantiles: 0, 90 %, 99 %, 99.9 % are evenly spaced, x = −log10(1 − q).
    Nines,
}

impl Scale {
    pub(super) fn position(self, value: f64) -> f64 {
        match self {
            Scale::Linear => value,
            Scale::Log => value.max(f64::MIN_POSITIVE).log10(),
            Scale::InverseLog => -value.max(f64::MIN_POSITIVE).log10(),
            Scale::Nines => -(1.0 - value).max(1e-12).log10(),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tick {
    /// Position, not value.
    pub(super) at: f64,
    pub(super) label: String,
}

/// One axis of a panel.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) scale: Scale,
    /// Positions at both ends.
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) ticks: Vec<Tick>,
    /// With its unit.
    pub(super) title: String,
    /// Ticks are names, which are drawn whole however long they are.
    pub(super) named: bool,
}

impl Axis {
    /// From zero to a little above `max`.
    pub(super) fn from_zero(max: f64, title: &str) -> Self {
        Self::linear(0.0, if max > 0.0 { max * 1.06 } else { 1.0 }, title)
    }

    /// Fewer ticks, for a low panel: at most so many.
    pub(super) fn at_most(mut self, most: usize) -> Self {
        while self.ticks.len() > most {
            // From the origin on, every other one.
            let mut index = 0;
            self.ticks.retain(|_| {
                index += 1;
                index % 2 == 1
            });
        }
        self
    }

    /// Exactly `from` to `to`, in values.
    pub(super) fn linear(from: f64, to: f64, title: &str) -> Self {
        let to = if to > from { to } else { from + 1.0 };
        let step = nice_step((to - from) / 7.0);
        let first = (from / step).ceil() as i64;
        let last = (to / step + 1e-9).floor() as i64;
        let ticks = (first..=last)
            .map(|k| Tick { at: k as f64 * step, label: plain(k as f64 * step, step) })
            .collect();
        Self { scale: Scale::Linear, from, to, ticks, title: title.to_owned(), named: false }
    }

    /// Around `min` to `max` (above zero), ticks at 1, 2 and 5 or at powers of ten only, as fits.
    pub(super) fn log(min: f64, max: f64, title: &str) -> Self {
        let (from, to) = (min.max(1e-9).log10() - 0.06, max.max(min).max(1e-9).log10() + 0.06);
        // A range without three ticks says little; widen a flat one.
        let (from, to) = if to - from < 0.8 { (from - 0.3, to + 0.3) } else { (from, to) };
        let mantissas: &[f64] = match to - from {
            span if span < 2.2 => &[1.0, 2.0, 5.0],
            span if span < 3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let mut ticks = Vec::new();
        for decade in from.floor() as i32..=to.ceil() as i32 {
            for mantissa in mantissas {
                let value = mantissa * 10f64.powi(decade);
                let at = value.log10();
                if at >= from && at <= to {
                    ticks.push(Tick { at, label: plain(value, value) });
                }
            }
        }
        Self { scale: Scale::Log, from, to, ticks, title: title.to_owned(), named: false }
    }

    /// As [`log`](Self::log), larger values to the left.
    pub(super) fn inverse_log(min: f64, max: f64, title: &str) -> Self {
        let mut axis = Self::log(min, max, title);
        (axis.from, axis.to) = (-axis.to, -axis.from);
        axis.ticks.iter_mut().for_each(|tick| tick.at = -tick.at);
        axis.ticks.reverse();
        axis.scale = Scale::InverseLog;
        axis
    }

    /// As [`log`](Self::log), with a place for zero to the left of `min`.
    pub(super) fn log_and_zero(min: f64, max: f64, title: &str) -> Self {
        let mut axis = Self::log(min, max, title);
        let zero = axis.from - ZERO_GAP;
        axis.ticks.retain(|tick| tick.at >= axis.from);
        axis.ticks.insert(0, Tick { at: zero, label: "0".to_owned() });
        axis.from = zero - 0.1;
        axis
    }

    /// The value that stands where [`log_and_zero`](Self::log_and_zero) puts zero.
    pub(super) fn zero_place(&self) -> f64 {
        10f64.powf(self.from + 0.1)
    }

    /// Quantiles up to the resolution of `count` samples.
    pub(super) fn nines(count: u64, title: &str) -> Self {
        let to = (count.max(10) as f64).log10().min(7.0) + 0.08;
        let labels = [
            (0.0, "0 %"),
            (0.5, "50 %"),
            (0.9, "90 %"),
            (0.99, "99 %"),
            (0.999, "99.9 %"),
            (0.9999, "99.99 %"),
        ];
        let more = [(0.99999, "99.999 %"), (0.999_999, "99.9999 %")];
        let ticks = labels
            .into_iter()
            .chain(more)
            .map(|(q, label)| Tick { at: Scale::Nines.position(q), label: label.to_owned() })
            .filter(|tick| tick.at <= to)
            .collect();
        Self { scale: Scale::Nines, from: 0.0, to, ticks, title: title.to_owned(), named: false }
    }

    /// One slot for each name, half a slot of air at both ends.
    pub(super) fn categories(names: &[String], title: &str) -> Self {
        let ticks = names
            .iter()
            .enumerate()
            .map(|(at, label)| Tick { at: at as f64, label: label.clone() })
            .collect();
        let to = names.len() as f64 - 0.5;
        Self { scale: Scale::Linear, from: -0.5, to, ticks, title: title.to_owned(), named: true }
    }

    pub(super) fn position(&self, value: f64) -> f64 {
        self.scale.position(value)
    }
}

/// Decades between zero and the rest of a log axis.
const ZERO_GAP: f64 = 0.35;

/// 1, 2 or 5 times a power of ten, at least `rough`.
fn nice_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let mantissa = [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * power >= rough * 0.999).unwrap_or(10.0);
    mantissa * power
}

/// `value` with as many decimals as `step` needs and thousands grouped.
fn plain(value: f64, step: f64) -> String {
    if step >= 1e6 {
        let millions = format!("{:.1}", value.abs() / 1e6);
        return format!("{} M", millions.trim_end_matches(".0"));
    }
    if step >= 1.0 {
        return crate::report::format::count(value.round().abs() as u64);
    }
    let decimals = (-step.log10()).ceil().clamp(0.0, 9.0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis) -> Vec<&str> {
        axis.ticks.iter().map(|tick| tick.label.as_str()).collect()
    }

    #[test]
    fn linear_ticks_are_round_numbers_that_include_zero() {
        let axis = Axis::from_zero(24.3, "s");
        assert_eq!(labels(&axis), ["0", "5", "10", "15", "20", "25"]);
        assert_eq!(labels(&Axis::from_zero(0.0, "s")), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
    }

    #[test]
    fn log_ticks_thin_out_as_the_range_grows() {
        assert_eq!(labels(&Axis::log(90.0, 1100.0, "ms")), ["100", "200", "500", "1,000"]);
        assert_eq!(labels(&Axis::log(1.0, 90_000.0, "ms")), ["1", "10", "100", "1,000", "10,000", "100,000"]);
    }

    #[test]
    fn large_numbers_are_millions() {
        assert_eq!(labels(&Axis::from_zero(4.1e6, "B")), ["0 M", "1 M", "2 M", "3 M", "4 M"]);
    }

    #[test]
    fn inverse_axes_run_the_other_way_and_zero_has_a_place() {
        let axis = Axis::inverse_log(100.0, 1000.0, "ms");
        assert!(axis.position(1000.0) < axis.position(100.0) && axis.from < axis.to);
        assert_eq!(labels(&axis), ["1,000", "500", "200", "100"]);
        let axis = Axis::log_and_zero(0.5, 30.0, "%");
        assert_eq!(labels(&axis)[0], "0");
        assert!((axis.position(axis.zero_place()) - axis.ticks[0].at).abs() < 1e-9);
    }

    #[test]
    fn a_flat_log_range_still_has_ticks() {
        assert!(labels(&Axis::log(100.0, 100.0, "ms")).len() >= 3);
    }

    #[test]
    fn nines_are_evenly_spaced() {
        let axis = Axis::nines(57_600, "");
        assert_eq!(labels(&axis), ["0 %", "50 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
        assert!((axis.position(0.999) - 3.0).abs() < 1e-9);
    }
}
