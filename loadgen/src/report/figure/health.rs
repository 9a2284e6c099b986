//! The strip below every figure over time: was the generator itself well?
//!
//! A bump in latency above a bump here is the machine's, not the system's. Each lane is one number for each interval, paler
//! when small; what reaches its limit is red, and what reaches a limit makes a run INVALID. Virtual time has nobody
//! who could be late, and says so.

use plotters::style::RGBColor;
use serde_json::Value;
use units::parse_duration;

use crate::records::{Interval, RunFile};
use crate::report::format;
use crate::scenario::InvalidIf;

use super::axis::Axis;
use super::canvas::{Anchor, Canvas, DrawError, Look, SMALL};
use super::input::Input;
use super::palette::{BLUE, MUTED, PAPER, VERMILION};
use super::panel::{Frame, Labels, Panel};

/// Room that a figure leaves between its panels and the strip, and for the strip, in units.
pub(super) const ROOM: i32 = GAP + LANE * LANES.len() as i32;

const GAP: i32 = 28;
const LANE: i32 = 44;

/// One number of an interval.
struct Lane {
    name: &'static str,
    value: fn(&Interval) -> Option<f64>,
    /// Faint below, red from here on.
    limit: fn(&Limits) -> f64,
    text: fn(f64) -> String,
}

/// From where on a run is INVALID: `measure.invalid_if` of the scenario, and its defaults where that is silent.
struct Limits {
    lag_us: f64,
    pause_us: f64,
    drops: f64,
}

impl Limits {
    fn of(scenario: &Value) -> Self {
        let invalid_if = scenario.get("measure").and_then(|measure| measure.get("invalid_if"));
        let written = |key: &str| invalid_if?.get(key);
        let us = |key: &str| Some(parse_duration(written(key)?.as_str()?).ok()?.as_secs_f64() * 1e6);
        let usual = InvalidIf::default();
        Self {
            lag_us: us("schedule_lag_p99").unwrap_or(usual.schedule_lag_p99.as_secs_f64() * 1e6),
            pause_us: us("hiccup_max").unwrap_or(usual.hiccup_max.as_secs_f64() * 1e6),
            // As many are still allowed.
            drops: written("harness_drops").and_then(Value::as_f64).unwrap_or(usual.harness_drops as f64)
                + 1.0,
        }
    }
}

const LANES: [Lane; 4] = [
    Lane {
        name: "lag p99",
        value: |row| row.lag_p99_us.map(|us| us as f64),
        limit: |limits| limits.lag_us,
        text: format::micros,
    },
    Lane {
        name: "pause",
        value: |row| row.hiccup_max_us.map(|us| us as f64),
        limit: |limits| limits.pause_us,
        text: format::micros,
    },
    // Not a reason by itself: a core that is always busy is late sooner or later.
    Lane { name: "CPU", value: |row| row.cpu, limit: |_| 0.9, text: |cores| format!("{cores:.2} cores") },
    Lane {
        name: "drops",
        value: |row| row.lag_p99_us.map(|_| row.harness_drops as f64),
        limit: |limits| limits.drops,
        text: |drops| format!("{drops:.0} packets"),
    },
];

/// Draws the strip below a panel that ends at `above`, on the same x axis, with the numbers of that axis below it.
pub(super) fn strip(
    canvas: &Canvas<'_>,
    above: Frame,
    x: Axis,
    run: &RunFile,
    input: &Input<'_>,
) -> Result<(), DrawError> {
    let top = above.bottom + GAP;
    let frame = Frame { top, bottom: top + LANE * LANES.len() as i32, ..above };
    let mut y = Axis::linear(0.0, LANES.len() as f64, "");
    y.ticks.clear();
    let panel = Panel::new(canvas, frame, x, y, Labels::Shown)?;
    let look = Look::new(SMALL, Anchor::Left);
    if !input.origin.is_real() {
        let middle = ((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2);
        let text = "health of the generator: nothing to be late in virtual time";
        return canvas.text(middle, text, Look { anchor: Anchor::Center, ..look }.color(MUTED));
    }
    let limits = Limits::of(&input.saved.result.scenario);
    let width = run.intervals.width_us as f64 / 1e6;
    for (row, lane) in (0..).zip(&LANES) {
        let (from, to) = (frame.top + row * LANE + 3, frame.top + (row + 1) * LANE - 3);
        let (mut worst, limit): (Option<f64>, f64) = (None, (lane.limit)(&limits));
        for (index, interval) in run.intervals.rows.iter().enumerate() {
            let Some(value) = (lane.value)(interval) else { continue };
            worst = Some(worst.map_or(value, |worst| worst.max(value)));
            let start = index as f64 * width;
            let (left, right) = (panel.pixel((start, 0.0)).0, panel.pixel((start + width, 0.0)).0);
            if left >= frame.right {
                break;
            }
            let color = shade(value / limit);
            // Nothing is drawn for nothing, so that the grid is seen.
            if color != PAPER {
                panel.block((left, from), (right.min(frame.right), to), color)?;
            }
        }
        let middle = (from + to) / 2;
        canvas.text(
            (frame.left - 18, middle),
            lane.name,
            Look { anchor: Anchor::Right, ..look }.color(MUTED),
        )?;
        if let Some(worst) = worst {
            let is_bad = worst >= limit;
            let text = format!("{} most{}", (lane.text)(worst), if is_bad { ", too much" } else { "" });
            let look = if is_bad { look.color(VERMILION) } else { look };
            canvas.text((frame.right + 36, middle), &text, look)?;
        }
    }
    Ok(())
}

/// White at a hundredth of the limit, blue just below it, red at it.
fn shade(share: f64) -> RGBColor {
    if share >= 1.0 {
        return VERMILION;
    }
    let depth = ((share.max(1e-6).log10() + 2.0) / 2.0).clamp(0.0, 1.0) * 0.8;
    let mix =
        |paper: u8, ink: u8| (f64::from(paper) + (f64::from(ink) - f64::from(paper)) * depth).round() as u8;
    RGBColor(mix(PAPER.0, BLUE.0), mix(PAPER.1, BLUE.1), mix(PAPER.2, BLUE.2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reaches_its_limit_is_red() {
        assert_eq!(shade(1.0), VERMILION);
        assert_eq!(shade(0.001), PAPER);
        assert_ne!(shade(0.9), VERMILION);
    }
}
