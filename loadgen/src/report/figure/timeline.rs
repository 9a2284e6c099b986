//! What all figures over time share: the span of a repeat, its warm-up, and the outages its scenario planned.
//!
//! They show the first repeat of the first cell: pictures of several runs on top of each other show none of them.

use serde_json::Value;
use units::parse_duration;

use crate::record::DeliveryRow;

use super::canvas::{Anchor, DrawError, Look, SMALL};
use super::palette::{MUTED, VERMILION};
use super::panel::Panel;

/// Bounds of one repeat, in seconds since it began.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Timeline {
    /// When the first message was meant to be sent.
    pub(super) start: f64,
    /// When the last message was meant to be sent or arrived.
    pub(super) end: f64,
    /// Spans in which messages were not recorded, in order.
    pub(super) unrecorded: Vec<(f64, f64)>,
    /// Spans in which a link carried nothing.
    pub(super) outages: Vec<(f64, f64)>,
}

impl Timeline {
    /// `None` without rows.
    pub(super) fn of(rows: &[&DeliveryRow], scenario: &Value) -> Option<Self> {
        let start = rows.iter().map(|row| row.intended_us).min()? as f64 / 1e6;
        let latest = rows.iter().map(|row| row.intended_us.max(row.delivered_us.unwrap_or(0))).max()?;
        let end = latest as f64 / 1e6;
        let unrecorded = unrecorded(rows);
        let outages = outages(scenario, start, end);
        Some(Self { start, end, unrecorded, outages })
    }

    /// Shades warm-up and outages and names the first of each.
    pub(super) fn shade(&self, panel: &Panel<'_, '_>, names: Names) -> Result<(), DrawError> {
        let bands = [(&self.unrecorded, MUTED, "not recorded"), (&self.outages, VERMILION, "outage")];
        for (spans, color, name) in bands {
            for &(from, to) in spans {
                panel.span(from, to, color, 0.13)?;
            }
            if names == Names::Hidden {
                continue;
            }
            if let Some(&(from, to)) = spans.first() {
                let (left, right) = (panel.pixel((from, panel.y.from)).0, panel.pixel((to, panel.y.from)).0);
                // A narrow span has its name to the right of it.
                let x = if right - left > 300 { left + 14 } else { right + 14 };
                let row = if name == "outage" { 78 } else { 30 };
                let y = if names == Names::Top { panel.frame.top + row } else { panel.frame.bottom - row };
                panel.label((x, y), name, Look::new(SMALL, Anchor::Left).color(color))?;
            }
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

/// The first repeat of the first cell, in the order of the file.
pub(super) fn first_repeat(rows: &[DeliveryRow]) -> Vec<&DeliveryRow> {
    rows.iter().filter(|row| row.cell == 0 && row.repeat == 0).collect()
}

/// Spans of consecutive messages of unrecorded phases, each until the next recorded message.
fn unrecorded(rows: &[&DeliveryRow]) -> Vec<(f64, f64)> {
    let mut intended: Vec<(u64, u8)> = rows.iter().map(|row| (row.intended_us, row.recorded)).collect();
    intended.sort_unstable();
    intended.dedup();
    let mut spans: Vec<(f64, f64)> = Vec::new();
    let mut open = None;
    for &(at, recorded) in &intended {
        let at = at as f64 / 1e6;
        match (recorded, open) {
            (0, None) => open = Some(at),
            (1, Some(from)) => {
                spans.push((from, at));
                open = None;
            }
            _ => {}
        }
    }
    if let (Some(from), Some(&(last, _))) = (open, intended.last()) {
        spans.push((from, last as f64 / 1e6));
    }
    spans
}

/// Events of the scenario that silence a link: `link.NAME.event = [{ at, for, every, set = { …blackhole = true } }]`.
///
/// Their times count from the first phase, which is taken to begin with the first message.
fn outages(scenario: &Value, start: f64, end: f64) -> Vec<(f64, f64)> {
    let Some(links) = scenario.get("link").and_then(Value::as_object) else { return Vec::new() };
    let events = links.values().filter_map(|link| link.get("event")?.as_array()).flatten();
    let mut spans = Vec::new();
    for event in events.filter(|event| silences(event.get("set").unwrap_or(&Value::Null))) {
        let seconds = |key: &str| Some(parse_duration(event.get(key)?.as_str()?).ok()?.as_secs_f64());
        let (Some(at), Some(span)) = (seconds("at"), seconds("for")) else { continue };
        let every = seconds("every").filter(|&every| every > 0.0);
        let mut from = start + at;
        while from < end && spans.len() < MOST_OUTAGES {
            spans.push((from, from + span));
            let Some(every) = every else { break };
            from += every;
        }
    }
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    spans.dedup();
    spans
}

fn silences(set: &Value) -> bool {
    let Some(table) = set.as_object() else { return false };
    table.iter().any(|(key, value)| (key == "blackhole" && value == &Value::Bool(true)) || silences(value))
}

/// A flapping link would otherwise fill the figure with bands nobody can tell apart.
const MOST_OUTAGES: usize = 200;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::synthetic;

    #[test]
    fn warm_up_ends_with_the_first_recorded_message() {
        let saved = synthetic::small();
        let timeline = Timeline::of(&first_repeat(&saved.deliveries), &json!({})).expect("rows");
        assert_eq!(timeline.unrecorded.len(), 1);
        let (from, to) = timeline.unrecorded[0];
        assert!(from < 1.0 && (4.5..=5.5).contains(&to), "{from} to {to}");
    }

    #[test]
    fn repeated_outages_are_found_in_the_scenario() {
        let event = json!({"at": "8s", "for": "3s", "every": "20s", "set": {"both": {"blackhole": true}}});
        let other = json!({"at": "1s", "for": "3s", "set": {"up": {"loss": "20%"}}});
        let scenario = json!({"link": {"mobile": {"event": [event, other]}}});
        assert_eq!(outages(&scenario, 0.0, 40.0), [(8.0, 11.0), (28.0, 31.0)]);
        assert_eq!(outages(&json!({"link": 3}), 0.0, 40.0), []);
    }
}
