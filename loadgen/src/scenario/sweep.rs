//! `[sweep]`: one scenario file, several cells.
//!
//! Each cell is the tree with the values of its axes set, then understood like any other scenario, so an axis can be
//! any path that `--set` takes, and a value that does not fit is refused at the line where the sweep writes it.

use std::collections::BTreeMap;

use units::Probability;

use super::error::ScenarioError;
use super::parse::{self, Keep};
use super::raw::Node;
use super::read::{View, join};
use super::set::{assign, lookup};
use super::when::When;
use super::{Scenario, schema};

/// One point of the sweep, ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct CellPlan {
    /// Path to value; empty without a sweep. Percentages are fractions, other values are as written.
    pub axes: BTreeMap<String, serde_json::Value>,
    /// With only the assertions that apply to this cell.
    pub scenario: Scenario,
}

#[derive(Clone, Copy)]
enum Mode {
    Grid,
    Zip,
    List,
}

struct Axis<'a> {
    path: String,
    values: &'a [Node],
}

/// All cells of a merged tree, in the order of the sweep (the last axis of a grid changes fastest).
pub(crate) fn cells(root: &Node) -> Result<Vec<CellPlan>, ScenarioError> {
    let Some(node) = root.as_table().and_then(|table| table.get("sweep")) else {
        return Ok(vec![cell(root, &[])?]);
    };
    let view = View { node, path: "sweep".to_owned() };
    let fields = view.fields(&schema::SWEEP)?;
    let mode = fields.or("mode", Mode::Grid, |view| view.choice(MODES))?;
    let axes = fields.get("axis").map_or(Ok(Vec::new()), |view| axes(&view))?;
    let exclusions = fields.get("exclude").map_or(Ok(Vec::new()), |view| exclusions(&view))?;
    let mut cells = Vec::new();
    for point in points(mode, &axes, &view)? {
        let tree = tree_at(root, &axes, &point)?;
        let hits =
            exclusions.iter().map(|exclusion| exclusion.holds(&tree)).collect::<Result<Vec<_>, _>>()?;
        if hits.contains(&true) {
            continue;
        }
        cells.push(cell(&tree, &axes)?);
    }
    if cells.is_empty() {
        return Err(view.error("exclude leaves no cell; remove one of its tables"));
    }
    Ok(once_each(cells))
}

/// How many cells `exclude` leaves out, and those that say the same as an earlier one.
pub(crate) fn count_excluded(root: &Node, cells: usize) -> usize {
    let Some(node) = root.as_table().and_then(|table| table.get("sweep")) else { return 0 };
    let view = View { node, path: "sweep".to_owned() };
    let all = || {
        let fields = view.fields(&schema::SWEEP)?;
        let mode = fields.or("mode", Mode::Grid, |view| view.choice(MODES))?;
        let axes = fields.get("axis").map_or(Ok(Vec::new()), |view| axes(&view))?;
        Ok::<_, ScenarioError>(points(mode, &axes, &view)?.len())
    };
    all().unwrap_or(cells).saturating_sub(cells)
}

/// A table of `exclude`: a cell in which every condition holds is left out.
struct Exclusion<'a> {
    place: View<'a>,
    conditions: Vec<When>,
}

impl Exclusion<'_> {
    fn holds(&self, tree: &Node) -> Result<bool, ScenarioError> {
        for condition in &self.conditions {
            if !condition.holds(tree).map_err(|problem| self.place.error(problem))? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn exclusions<'a>(view: &View<'a>) -> Result<Vec<Exclusion<'a>>, ScenarioError> {
    let exclusion = |item: View<'a>| {
        let mut conditions = Vec::new();
        leaves(&item, "", &mut conditions)?;
        if conditions.is_empty() {
            return Err(item.error("is empty and would leave out every cell; write path = value"));
        }
        Ok(Exclusion { place: item, conditions })
    };
    view.items()?.into_iter().map(exclusion).collect()
}

/// `protocol.congestion = "reno"` is a table in a table unless its key is in quotes; both are the same path.
fn leaves(view: &View<'_>, path: &str, found: &mut Vec<When>) -> Result<(), ScenarioError> {
    for (key, inner) in view.entries()? {
        let path = join(path, key);
        if inner.node.as_table().is_some() {
            leaves(&inner, &path, found)?;
            continue;
        }
        let value = inner.node.as_text().map_or_else(|| inner.node.describe(), str::to_owned);
        found.push(When::equal(path, value));
    }
    Ok(())
}

fn axes<'a>(view: &View<'a>) -> Result<Vec<Axis<'a>>, ScenarioError> {
    let mut axes: Vec<Axis<'a>> = Vec::new();
    for item in view.items()? {
        let fields = item.fields(&schema::AXIS)?;
        let path = fields.need("path")?;
        let values = fields.need("values")?;
        let list = values.node.as_array().filter(|list| !list.is_empty());
        let list =
            list.ok_or_else(|| values.error("is no list of values; write for example [\"1%\", \"10%\"]"))?;
        let text = path.text()?.to_owned();
        if axes.iter().any(|axis| axis.path == text) {
            return Err(path.error(format!("\"{text}\" is swept twice; join the values")));
        }
        let is_below = |fixed: &str| {
            text.strip_prefix(fixed).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        if FIXED.into_iter().any(is_below) {
            return Err(path.error(format!(
                "\"{text}\" is the same for the whole experiment and cannot be swept; choose a value of the run"
            )));
        }
        axes.push(Axis { path: text, values: list });
    }
    Ok(axes)
}

/// For each cell, the index of the value of each axis; `None` leaves an axis at its written value.
type Point = Vec<Option<usize>>;

fn points(mode: Mode, axes: &[Axis<'_>], view: &View<'_>) -> Result<Vec<Point>, ScenarioError> {
    let lengths = || axes.iter().map(|axis| axis.values.len());
    let count = match mode {
        Mode::Grid => lengths().try_fold(1_usize, usize::checked_mul).unwrap_or(usize::MAX),
        Mode::Zip => lengths().max().unwrap_or(1),
        Mode::List => lengths().sum::<usize>().max(1),
    };
    if count > MAX_CELLS {
        return Err(view.error(format!("makes more than {MAX_CELLS} cells; drop values or an axis")));
    }
    Ok(match mode {
        Mode::Grid => axes.iter().fold(vec![Vec::new()], |points, axis| {
            let extend = |point: Point| {
                (0..axis.values.len()).map(move |index| [point.clone(), vec![Some(index)]].concat())
            };
            points.into_iter().flat_map(extend).collect()
        }),
        Mode::Zip => {
            if let Some(short) = axes.iter().find(|axis| axis.values.len() != count) {
                let problem = format!(
                    "mode = \"zip\" needs axes of one length; {} has {}, another {count}",
                    short.path,
                    short.values.len()
                );
                return Err(view.error(problem));
            }
            (0..count).map(|index| vec![Some(index); axes.len()]).collect()
        }
        Mode::List if axes.is_empty() => vec![Vec::new()],
        Mode::List => {
            let only =
                |axis: usize, index: usize| (0..axes.len()).map(|at| (at == axis).then_some(index)).collect();
            (0..axes.len())
                .flat_map(|axis| (0..axes[axis].values.len()).map(move |index| (axis, index)))
                .map(|(axis, index)| only(axis, index))
                .collect()
        }
    })
}

/// Leaves out cells that say the same as an earlier one: in a list the written value of one axis is a value of another.
fn once_each(cells: Vec<CellPlan>) -> Vec<CellPlan> {
    let mut kept: Vec<CellPlan> = Vec::new();
    for cell in cells {
        if cell.axes.is_empty() || kept.iter().all(|known| known.axes != cell.axes) {
            kept.push(cell);
        }
    }
    kept
}

fn tree_at(root: &Node, axes: &[Axis<'_>], point: &[Option<usize>]) -> Result<Node, ScenarioError> {
    let mut tree = root.clone();
    for (axis, index) in axes.iter().zip(point) {
        if let Some(index) = index {
            assign(&mut tree, &axis.path, axis.values[*index].clone())?;
        }
    }
    Ok(tree)
}

fn cell(tree: &Node, axes: &[Axis<'_>]) -> Result<CellPlan, ScenarioError> {
    let value = |axis: &Axis<'_>| Some((axis.path.clone(), axis_value(lookup(tree, &axis.path)?)));
    let axes = axes.iter().filter_map(value).collect();
    Ok(CellPlan { axes, scenario: parse::scenario(tree, Keep::Applicable)? })
}

/// Percentages become fractions, so that a figure has numbers on its axis.
fn axis_value(node: &Node) -> serde_json::Value {
    let percentage =
        node.as_text().filter(|text| text.ends_with('%')).and_then(|text| text.parse::<Probability>().ok());
    percentage.map_or_else(|| node.to_json(), |p| p.get().into())
}

/// What is read once for all cells, or says nothing of a run.
const FIXED: [&str; 12] = [
    "baseline",
    "extends",
    "output",
    "run.abort_on",
    "run.cooldown",
    "run.driver",
    "run.order",
    "run.repeats",
    "scenario",
    "schema",
    "search",
    "sweep",
];
const MODES: &[(&str, Mode)] = &[("grid", Mode::Grid), ("zip", Mode::Zip), ("list", Mode::List)];

/// Each cell is a run of its own; a thousand take a night, more is a typo.
const MAX_CELLS: usize = 1000;
