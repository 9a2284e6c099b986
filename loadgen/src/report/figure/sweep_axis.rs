//! The axis of a sweep: numbers where every value is one, names otherwise.
//!
//! Scenario values carry units (`"10%"`, `"50ms"`, `"20Mbit/s"`); cells can be put on a numeric axis when all of them are
//! of one kind. With several axes, or values of different kinds, cells are categories in the order they ran.

use serde_json::Value;
use units::{Bitrate, ByteCount, Probability, parse_count, parse_duration, parse_rate};

use crate::report::format::{json, significant};
use crate::report::origin::{cell_name, short_path};
use crate::result::Cell;

use super::axis::Axis;

/// Where each cell stands.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SweepAxis {
    /// In the order of the cells.
    pub(super) positions: Vec<f64>,
    /// Axis title with unit.
    pub(super) title: String,
    /// Names of the cells; empty on a numeric axis.
    pub(super) names: Vec<String>,
    /// Whether the numbers are loss in percent, which has a theory.
    pub(super) is_loss: bool,
}

impl SweepAxis {
    pub(super) fn of(cells: &[Cell]) -> Self {
        Self::numeric(cells).unwrap_or_else(|| Self::categories(cells))
    }

    /// One axis is named below its values; with several, each cell carries all of its names.
    fn categories(cells: &[Cell]) -> Self {
        let path = cells.first().and_then(|cell| cell.axes.keys().next());
        let (title, names) = match path.filter(|_| cells.iter().all(|cell| cell.axes.len() == 1)) {
            Some(path) => {
                (short_path(path), cells.iter().map(|cell| cell.axes.values().map(json).collect()).collect())
            }
            None => ("cell".to_owned(), cells.iter().map(cell_name).collect()),
        };
        let positions = (0..cells.len()).map(|index| index as f64).collect();
        Self { positions, title, names, is_loss: false }
    }

    fn numeric(cells: &[Cell]) -> Option<Self> {
        let (path, _) = cells.first()?.axes.iter().next().filter(|_| cells[0].axes.len() == 1)?;
        let values: Vec<&Value> = cells.iter().map(|cell| cell.axes.get(path)).collect::<Option<_>>()?;
        let (positions, unit) = UNITS.iter().find_map(|(read, unit)| {
            Some((values.iter().map(|v| read(v)).collect::<Option<Vec<f64>>>()?, *unit))
        })?;
        let is_loss =
            path.contains(".loss") && [".loss", ".p", ".mean"].iter().any(|end| path.ends_with(end));
        // A bare 0.1 under a path that names a loss is a probability.
        let is_fraction = is_loss && unit.is_empty() && positions.iter().all(|&p| p <= 1.0);
        let (positions, unit) = if is_fraction {
            (positions.into_iter().map(|p| p * 100.0).collect(), "%")
        } else {
            (positions, unit)
        };
        let name = short_path(path);
        let title = if unit.is_empty() { name } else { format!("{name} ({unit})") };
        Some(Self { positions, title, names: Vec::new(), is_loss: is_loss && unit == "%" })
    }

    pub(super) fn axis(&self) -> Axis {
        if !self.names.is_empty() {
            return Axis::categories(&self.names, &self.title);
        }
        let low = self.positions.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.positions.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let margin = (high - low).max(1e-9) * 0.04;
        Axis::linear(low - margin, high + margin, &self.title)
    }

    /// From which value to which, for a title: ` as loss.p goes from 0 % to 30 %`, `, reno to fixed:32`.
    pub(super) fn range(&self) -> String {
        let order = self.order();
        let (Some(&first), Some(&last)) = (order.first(), order.last()) else { return String::new() };
        if !self.names.is_empty() {
            return format!(", {} to {}", self.names[first], self.names[last]);
        }
        let (name, unit) = self.title.split_once(" (").unwrap_or((&self.title, ""));
        let unit = unit.trim_end_matches(')');
        let value =
            |index: usize| format!("{} {unit}", significant(self.positions[index])).trim_end().to_owned();
        format!(" as {name} goes from {} to {}", value(first), value(last))
    }

    /// Indices of the cells from left to right.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.positions.len()).collect();
        order.sort_by(|&a, &b| self.positions[a].total_cmp(&self.positions[b]));
        order
    }
}

type Read = fn(&Value) -> Option<f64>;

/// Each kind of value, how to read it, and the unit it gets on the axis. The first that reads all cells is taken.
const UNITS: [(Read, &str); 7] = [
    (Value::as_f64, ""),
    (|value| percent(value), "%"),
    (|value| Some(parse_duration(value.as_str()?).ok()?.as_secs_f64() * 1e3), "ms"),
    (|value| Some(value.as_str()?.parse::<Bitrate>().ok()?.bits_per_second() as f64 / 1e6), "Mbit/s"),
    (|value| Some(value.as_str()?.parse::<ByteCount>().ok()?.as_u64() as f64), "B"),
    (|value| parse_rate(value.as_str()?).ok(), "/s"),
    (|value| Some(parse_count(value.as_str()?).ok()? as f64), ""),
];

/// `"10%"`, or the number 0 beside such texts.
fn percent(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64().map(|fraction| fraction * 100.0),
        Value::String(text) if text.ends_with('%') => {
            // Rounded to what was typed: 0.07 * 100 is 7.000000000000001.
            let percent = text.parse::<Probability>().ok()?.get() * 100.0;
            Some((percent * 1e9).round() / 1e9)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::report::synthetic;

    fn cells(path: &str, values: &[Value]) -> Vec<Cell> {
        let cell = synthetic::small().result.cells.remove(0);
        values
            .iter()
            .map(|v| Cell { axes: BTreeMap::from([(path.to_owned(), v.clone())]), ..cell.clone() })
            .collect()
    }

    #[test]
    fn texts_with_units_become_numbers() {
        let axis = SweepAxis::of(&cells("link.lossy.both.loss", &[json!("0%"), json!("7%"), json!(0.2)]));
        assert_eq!(axis.positions, [0.0, 7.0, 20.0]);
        assert_eq!(axis.title, "both.loss (%)");
        assert_eq!(axis.range(), " as both.loss goes from 0 % to 20 %");
        assert!(axis.is_loss);
        let axis = SweepAxis::of(&cells("link.far.both.delay", &[json!("50ms"), json!("0.2s")]));
        assert_eq!((axis.positions.as_slice(), axis.title.as_str()), (&[50.0, 200.0][..], "both.delay (ms)"));
    }

    #[test]
    fn plain_numbers_have_no_unit_unless_they_are_losses() {
        let axis = SweepAxis::of(&cells("clients.chat.count", &[json!(10), json!(100)]));
        assert_eq!(axis.title, "chat.count");
        let axis = SweepAxis::of(&cells("link.lossy.both.loss.p", &[json!(0.0), json!(0.1)]));
        assert_eq!((axis.positions.as_slice(), axis.title.as_str()), (&[0.0, 10.0][..], "loss.p (%)"));
    }

    #[test]
    fn lengths_of_bursts_are_no_losses() {
        let axis = SweepAxis::of(&cells("link.l.both.loss.burst", &[json!(1), json!(1.0)]));
        assert_eq!((axis.title.as_str(), axis.is_loss), ("loss.burst", false));
        let axis = SweepAxis::of(&cells("link.l.both.loss.mean", &[json!(0.1), json!(0.2)]));
        assert_eq!((axis.title.as_str(), axis.is_loss), ("loss.mean (%)", true));
    }

    #[test]
    fn other_values_are_categories() {
        let axis = SweepAxis::of(&cells("protocol.congestion", &[json!("reno"), json!("fixed:32")]));
        assert_eq!(axis.title, "protocol.congestion");
        assert_eq!(axis.names, ["reno", "fixed:32"]);
    }
}
