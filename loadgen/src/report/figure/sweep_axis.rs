//! The axis of a sweep: numbers where every value is one, names otherwise.
//!
//! Scenario values carry units (`"10%"`, `"50ms"`, `"20Mbit/s"`); cells can be put on a numeric axis when all of them are
//! of one kind. With several axes one of them goes along x and the others name the lines ([`Lines`]), or cells are
//! categories in the order they ran.

use serde_json::Value;
use units::{Bitrate, ByteCount, Probability, parse_count, parse_duration, parse_rate};

use crate::report::format::{json, significant};
use crate::report::origin::{axis_name, cell_name, short_path};
use crate::result::Cell;

use super::axis::Axis;

/// Where each cell stands.
#[derive(Clone, Debug)]
pub(super) struct SweepAxis {
    /// In the order of the cells.
    pub(super) values: Vec<f64>,
    /// Where the axis has them: zero has a place of its own on a log axis.
    pub(super) positions: Vec<f64>,
    axis: Axis,
    /// Axis title with unit.
    pub(super) title: String,
    /// Names of the cells; empty on a numeric axis.
    pub(super) names: Vec<String>,
    /// The same in sentences, where several axes have to be told apart.
    full: Vec<String>,
    /// Whether the numbers are loss in percent, which has a theory.
    pub(super) is_loss: bool,
    /// Whether the numbers count clients, which has a theory, too.
    pub(super) is_count: bool,
}

impl SweepAxis {
    pub(super) fn of(cells: &[Cell]) -> Self {
        Self::numeric(cells).unwrap_or_else(|| Self::categories(cells))
    }

    /// Every cell a place of its own, by its name.
    pub(super) fn named(cells: &[Cell]) -> Self {
        Self::categories(cells)
    }

    /// One axis is named below its values; with several, each cell carries all of its names.
    fn categories(cells: &[Cell]) -> Self {
        let path = cells.first().and_then(|cell| cell.axes.keys().next());
        let (title, names): (String, Vec<String>) = match path
            .filter(|_| cells.iter().all(|cell| cell.axes.len() == 1))
        {
            Some(path) => {
                let name = |cell: &Cell| cell.axes.values().map(json).collect();
                let names = Self::along(cells, path).map(|axis| axis.values_in_words());
                (short_path(path), names.unwrap_or_else(|| cells.iter().map(name).collect()))
            }
            // Names that say their axes would not fit below many cells: the title of the axis says them once.
            None if cells.len() > MOST_NAMED => {
                let paths =
                    cells.iter().flat_map(|cell| cell.axes.keys()).collect::<std::collections::BTreeSet<_>>();
                let title = paths.into_iter().map(|path| short_path(path)).collect::<Vec<_>>().join(", ");
                let name = |cell: &Cell| cell.axes.values().map(json).collect::<Vec<_>>().join(", ");
                (title, cells.iter().map(name).collect())
            }
            None => ("cell".to_owned(), cells.iter().map(cell_name).collect()),
        };
        let positions: Vec<f64> = (0..cells.len()).map(|index| index as f64).collect();
        let axis = Axis::categories(&names, &title);
        let has_several = cells.iter().any(|cell| cell.axes.len() > 1);
        let full = if has_several { cells.iter().map(cell_name).collect() } else { names.clone() };
        Self {
            values: positions.clone(),
            positions,
            axis,
            title,
            names,
            full,
            is_loss: false,
            is_count: false,
        }
    }

    fn numeric(cells: &[Cell]) -> Option<Self> {
        let (path, _) = cells.first()?.axes.iter().next().filter(|_| cells[0].axes.len() == 1)?;
        Self::along(cells, path)
    }

    /// One axis of several, if its values are numbers.
    fn along(cells: &[Cell], path: &str) -> Option<Self> {
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
        let is_loss = is_loss && unit == "%";
        let is_count = path.starts_with("clients.") && path.ends_with(".count");
        let (axis, places) = numbers(&positions, &title);
        let (names, full) = (Vec::new(), Vec::new());
        Some(Self { values: positions, positions: places, axis, title, names, full, is_loss, is_count })
    }

    /// `30 %`, `1.5`: the values with their unit.
    fn values_in_words(&self) -> Vec<String> {
        let unit = self.title.split_once(" (").map_or("", |(_, unit)| unit.trim_end_matches(')'));
        self.values
            .iter()
            .map(|&value| format!("{} {unit}", significant(value)).trim_end().to_owned())
            .collect()
    }

    pub(super) fn axis(&self) -> Axis {
        self.axis.clone()
    }

    /// From which value to which, for a title: ` as loss.p goes from 0 % to 30 %`, `, reno to fixed:32`.
    pub(super) fn range(&self) -> String {
        let order = self.order();
        self.between(order.first().copied(), order.last().copied())
    }

    fn between(&self, first: Option<usize>, last: Option<usize>) -> String {
        let (Some(first), Some(last)) = (first, last) else { return String::new() };
        if !self.names.is_empty() {
            return format!(", {} to {}", self.full[first], self.full[last]);
        }
        let (name, unit) = self.title.split_once(" (").unwrap_or((&self.title, ""));
        let unit = unit.trim_end_matches(')');
        let value =
            |index: usize| format!("{} {unit}", significant(self.values[index])).trim_end().to_owned();
        format!(" as {name} goes from {} to {}", value(first), value(last))
    }

    /// Indices of the cells from left to right.
    pub(super) fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.positions.len()).collect();
        order.sort_by(|&a, &b| self.positions[a].total_cmp(&self.positions[b]));
        order
    }
}

/// A linear axis, or a logarithmic one where linear steps would crowd the small values.
fn numbers(values: &[f64], title: &str) -> (Axis, Vec<f64>) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = values.iter().copied().filter(|&value| value > 0.0).fold(f64::INFINITY, f64::min);
    if low < 0.0 || high < least * WIDE {
        let margin = (high - low).max(1e-9) * 0.04;
        return (Axis::linear(low - margin, high + margin, title), values.to_vec());
    }
    if low > 0.0 {
        return (Axis::log(low, high, title), values.to_vec());
    }
    let axis = Axis::log_and_zero(least, high, title);
    let zero = axis.zero_place();
    let places = values.iter().map(|&value| if value == 0.0 { zero } else { value }).collect();
    (axis, places)
}

/// Cells as lines: one axis goes along x, what is left names the lines.
#[derive(Clone, Debug)]
pub(super) struct Lines {
    pub(super) axis: SweepAxis,
    /// Name, and cells from left to right.
    pub(super) lines: Vec<(String, Vec<usize>)>,
}

impl Lines {
    /// Loss goes along x if it was varied, else the numbers with the most values.
    pub(super) fn of(cells: &[Cell]) -> Self {
        let paths: Vec<&String> = cells.first().map_or_else(Vec::new, |cell| cell.axes.keys().collect());
        let numeric = paths.iter().filter_map(|path| Some((path.as_str(), SweepAxis::along(cells, path)?)));
        let chosen = numeric.filter(|(_, axis)| distinct(&axis.values) > 1).max_by_key(|(path, axis)| {
            // Of equals the first: max_by_key would take the last.
            let place = paths.iter().position(|other| other.as_str() == *path);
            (axis.is_loss, distinct(&axis.values), std::cmp::Reverse(place))
        });
        let Some((path, axis)) = chosen else {
            return Self {
                axis: SweepAxis::of(cells),
                lines: vec![(String::new(), (0..cells.len()).collect())],
            };
        };
        let mut lines: Vec<(String, Vec<usize>)> = Vec::new();
        for (index, cell) in cells.iter().enumerate() {
            let others = cell.axes.iter().filter(|(other, _)| other.as_str() != path);
            let parts: Vec<String> = others.map(|(path, value)| axis_name(path, value)).collect();
            let name = parts.join(", ");
            match lines.iter_mut().find(|(known, _)| *known == name) {
                Some((_, cells)) => cells.push(index),
                None => lines.push((name, vec![index])),
            }
        }
        // Values that were varied side by side make lines of one point each, which are no lines.
        if lines.len() > 1 && lines.iter().all(|(_, cells)| cells.len() == 1) {
            let all = (0..cells.len()).collect();
            return Self { axis: SweepAxis::named(cells), lines: vec![(String::new(), all)] };
        }
        for (_, cells) in &mut lines {
            cells.sort_by(|&a, &b| axis.values[a].total_cmp(&axis.values[b]));
        }
        Self { axis, lines }
    }

    /// From which value to which the first line goes, for a title.
    pub(super) fn range(&self) -> String {
        let Some((_, cells)) = self.lines.first() else { return String::new() };
        self.axis.between(cells.first().copied(), cells.last().copied())
    }

    /// At most `most` of the lines, evenly chosen.
    pub(super) fn thinned(mut self, most: usize) -> Self {
        let all = self.lines.len();
        if all > most {
            let kept: Vec<usize> = (0..most).map(|k| k * (all - 1) / (most - 1).max(1)).collect();
            let mut index = 0;
            self.lines.retain(|_| {
                index += 1;
                kept.contains(&(index - 1))
            });
        }
        self
    }
}

/// How many different numbers.
fn distinct(values: &[f64]) -> usize {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.dedup();
    values.len()
}

/// More cells than this are named by their values alone.
const MOST_NAMED: usize = 12;

/// The largest value this many times the smallest makes a log axis.
const WIDE: f64 = 30.0;

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
    fn wide_ranges_get_a_log_axis_with_a_place_for_zero() {
        let losses = [0.0, 0.005, 0.05, 0.3].map(|p| json!(p));
        let axis = SweepAxis::of(&cells("link.l.both.loss.p", &losses));
        assert_eq!(axis.values, [0.0, 0.5, 5.0, 30.0]);
        assert!(axis.positions[0] > 0.0 && axis.positions[0] < 0.5, "{:?}", axis.positions);
        assert_eq!(axis.axis().ticks[0].label, "0");
        assert!(axis.positions.iter().all(|&at| axis.axis().position(at) >= axis.axis().from));
    }

    #[test]
    fn of_two_axes_loss_goes_along_x_and_the_other_names_lines() {
        let mut all = Vec::new();
        for burst in [1, 5] {
            for mut cell in cells("link.l.both.loss.p", &[json!(0.1), json!(0.0), json!(0.2)]) {
                cell.axes.insert("link.l.both.loss.burst".to_owned(), json!(burst));
                all.push(cell);
            }
        }
        let lines = Lines::of(&all);
        assert!(lines.axis.is_loss);
        assert_eq!(lines.lines[0], ("loss.burst = 1".to_owned(), vec![1, 0, 2]));
        assert_eq!(lines.lines[1], ("loss.burst = 5".to_owned(), vec![4, 3, 5]));
        assert_eq!(lines.thinned(1).lines.len(), 1);
    }

    #[test]
    fn values_side_by_side_are_categories_and_no_lines() {
        let mut all = cells("link.l.both.loss.p", &[json!(0.0), json!(0.1)]);
        for (cell, delay) in all.iter_mut().zip(["10ms", "50ms"]) {
            cell.axes.insert("link.l.both.delay.base".to_owned(), json!(delay));
        }
        let lines = Lines::of(&all);
        assert_eq!((lines.lines.len(), lines.axis.names.len(), lines.axis.is_loss), (1, 2, false));
        assert_eq!(
            lines.axis.range(),
            ", delay.base = 10ms, loss.p = 0.0 to delay.base = 50ms, loss.p = 0.1"
        );
    }

    #[test]
    fn other_values_are_categories() {
        let axis = SweepAxis::of(&cells("protocol.congestion", &[json!("reno"), json!("fixed:32")]));
        assert_eq!(axis.title, "protocol.congestion");
        assert_eq!(axis.names, ["reno", "fixed:32"]);
    }
}
