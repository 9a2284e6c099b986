//! What all figures over time share: the span of a run, what of it was recorded, and what was done to its links.
//!
//! They show one run: pictures of several on top of each other show none of them. [`Input::featured`](super::Input)
//! says which.

use crate::records::RunFile;

use super::canvas::{Anchor, DrawError, Look, SMALL};
use super::palette::{MUTED, VERMILION};
use super::panel::Panel;

/// Bounds of one run, in seconds since its first phase began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timeline {
    /// When the last thing happened.
    pub(super) end: f64,
    /// Spans in which messages were not recorded, in order; neighbours are joined.
    pub(super) unrecorded: Vec<(f64, f64)>,
    /// What was done to links.
    pub(super) weather: Vec<Weather>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weather {
    pub(super) from: f64,
    pub(super) until: f64,
    pub(super) what: String,
}

impl Timeline {
    pub(super) fn of(run: &RunFile) -> Self {
        let busy = |row: &crate::records::Interval| row.intended + row.delivered + row.expected > 0;
        let last = run.intervals.rows.iter().rposition(busy).map_or(0, |index| index as u64 + 1);
        let end = last * run.intervals.width_us;
        let recorded_until =
            run.phases.iter().filter(|phase| phase.recorded).map(|phase| phase.until_us).max();
        let end = end.max(recorded_until.unwrap_or(0).min(end + 1)).max(1) as f64 / 1e6;
        let mut unrecorded: Vec<(f64, f64)> = Vec::new();
        for phase in run.phases.iter().filter(|phase| !phase.recorded) {
            let (from, until) = (phase.from_us as f64 / 1e6, (phase.until_us as f64 / 1e6).min(end));
            match unrecorded.last_mut() {
                Some(before) if from - before.1 < 1e-3 => before.1 = until,
                _ if from < until => unrecorded.push((from, until)),
                _ => {}
            }
        }
        let mut weather: Vec<Weather> = Vec::new();
        for span in run.weather.iter().filter(|span| (span.from_us as f64) < end * 1e6).take(MOST_SPANS) {
            let here = Weather {
                from: span.from_us as f64 / 1e6,
                until: (span.until_us as f64 / 1e6).min(end),
                what: span.what.clone(),
            };
            // Several links that go down together are one band.
            if !weather.contains(&here) {
                weather.push(here);
            }
        }
        Self { end, unrecorded, weather }
    }

    /// Shades what was not recorded and what was done to links, and names the first of each.
    pub(super) fn shade(&self, panel: &Panel<'_, '_>, names: Names) -> Result<(), DrawError> {
        for &(from, until) in &self.unrecorded {
            panel.span(from, until, MUTED, 0.12)?;
        }
        for span in &self.weather {
            panel.span(span.from, span.until, VERMILION, 0.14)?;
        }
        if names == Names::Hidden { Ok(()) } else { self.name(panel, names) }
    }

    /// Names what was shaded, on top of whatever was drawn since, with the edges of the weather.
    pub(super) fn name(&self, panel: &Panel<'_, '_>, names: Names) -> Result<(), DrawError> {
        for span in &self.weather {
            for edge in [span.from, span.until] {
                let x = panel.pixel((edge, panel.y.from)).0;
                let stroke = super::panel::Stroke::new(VERMILION, 2).alpha(0.5);
                panel.stroke((x, panel.frame.top), (x, panel.frame.bottom), stroke)?;
            }
        }
        let first_weather =
            self.weather.first().map(|span| (span.from, span.until, span.what.as_str(), VERMILION));
        let first_unrecorded =
            self.unrecorded.first().map(|&(from, until)| (from, until, "not recorded", MUTED));
        for (row, (from, until, name, color)) in (0..).zip(first_unrecorded.into_iter().chain(first_weather))
        {
            let (left, right) = (panel.pixel((from, panel.y.from)).0, panel.pixel((until, panel.y.from)).0);
            // A narrow span has its name to the right of it.
            let x = if right - left > 300 { left + 14 } else { right + 14 };
            let y = if names == Names::Top {
                panel.frame.top + 30 + row * 48
            } else {
                panel.frame.bottom - 30 - row * 48
            };
            panel.label((x, y), name, Look::new(SMALL, Anchor::Left).color(color))?;
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// At the top of the panel.
    Top,
    /// At the bottom, where lines from zero leave room.
    Bottom,
    Hidden,
}

/// A flapping link would otherwise fill the figure with bands nobody can tell apart.
const MOST_SPANS: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::PhaseSpan;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn warm_up_and_drain_are_unrecorded_and_the_end_is_when_nothing_happens_any_more() {
        let run = synthetic::chat(&Shape { clients: 10, steady_s: 5, ..Shape::default() }, 1).runs.remove(0);
        let timeline = Timeline::of(&run);
        assert_eq!(timeline.unrecorded[0], (0.0, 5.0));
        assert!(timeline.end >= 10.0 && timeline.end <= 15.0, "{timeline:?}");
    }

    #[test]
    fn neighbouring_phases_and_equal_spans_are_joined() {
        let mut run =
            synthetic::chat(&Shape { clients: 10, steady_s: 5, ..Shape::default() }, 1).runs.remove(0);
        let phase = |from_us, until_us| PhaseSpan { from_us, until_us, ..PhaseSpan::default() };
        run.phases = vec![phase(0, 2_000_000), phase(2_000_000, 5_000_000)];
        let span =
            crate::records::WeatherSpan { from_us: 6_000_000, until_us: 7_000_000, ..Default::default() };
        run.weather = vec![span.clone(), span];
        let timeline = Timeline::of(&run);
        assert_eq!(timeline.unrecorded, [(0.0, 5.0)]);
        assert_eq!(timeline.weather.len(), 1);
    }
}
