//! `[baseline]`: what an earlier result is compared with, and how much worse is too much.

use units::Probability;

use super::assertion::Names;
use super::error::ScenarioError;
use super::raw::quote;
use super::read::View;
use super::schema;

/// A comparison that can fail a run.
#[derive(Clone, Debug, PartialEq)]
pub struct BaselineGate {
    /// Folder or `result.json` of the earlier run.
    pub path: String,
    pub regress: Vec<Regress>,
}

/// One metric that must not get worse.
#[derive(Clone, Debug, PartialEq)]
pub struct Regress {
    /// As in an assertion: `p99(delivery_latency)`.
    pub metric: String,
    /// Smallest change that counts, as a share of the earlier value.
    pub worse_by: f64,
    /// Chance of a false alarm, after correction.
    pub alpha: f64,
    pub correction: Correction,
    /// Rounds of runs that must show it again before it counts.
    pub confirm: u32,
}

/// What is done about many comparisons at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Correction {
    /// Holm's, over all metrics and cells.
    #[default]
    Holm,
    None,
}

pub(super) fn read(view: &View<'_>, names: &Names<'_>) -> Result<BaselineGate, ScenarioError> {
    let fields = view.fields(&schema::BASELINE)?;
    let regress = fields.need("regress")?;
    let rows = if regress.node.as_table().is_some() { vec![regress.clone()] } else { regress.items()? };
    if rows.is_empty() {
        return Err(
            regress.error("names no metric; write for example { metric = \"p99(delivery_latency)\" }")
        );
    }
    Ok(BaselineGate {
        path: fields.need("path")?.text()?.to_owned(),
        regress: rows.iter().map(|view| row(view, names)).collect::<Result<_, _>>()?,
    })
}

fn row(view: &View<'_>, names: &Names<'_>) -> Result<Regress, ScenarioError> {
    let fields = view.fields(&schema::REGRESS)?;
    let metric = fields.need("metric")?;
    let text = metric.text()?.to_owned();
    // A metric is one side of an assertion, and everything compares with zero.
    let parsed =
        crate::verdict::Expr::parse(&format!("{text} >= 0")).map_err(|problem| metric.error(problem))?;
    names.check(&parsed, &metric)?;
    let share =
        |key: &str, default: f64| fields.or(key, default, |view| view.probability().map(Probability::get));
    let alpha = share("alpha", 0.05)?;
    if let Some(view) = fields.get("alpha")
        && !(LEAST_ALPHA..=MOST_ALPHA).contains(&alpha)
    {
        return Err(view.error(format!("{alpha} is out of range; write {LEAST_ALPHA} to {MOST_ALPHA}")));
    }
    Ok(Regress {
        metric: text,
        worse_by: share("worse_by", 0.1)?,
        alpha,
        correction: fields.or("correction", Correction::Holm, |view| {
            view.choice(&[("holm", Correction::Holm), ("none", Correction::None)])
        })?,
        confirm: fields.or("confirm", 1, |view| view.count(0..=MOST_CONFIRM))?,
    })
}

pub(super) fn decided(gate: &BaselineGate) -> String {
    let row = |row: &Regress| {
        let correction = if row.correction == Correction::Holm { "holm" } else { "none" };
        format!(
            "{{ metric = {}, worse_by = {:?}, alpha = {:?}, correction = \"{correction}\", confirm = {} }}",
            quote(&row.metric),
            row.worse_by,
            row.alpha,
            row.confirm
        )
    };
    let rows: Vec<String> = gate.regress.iter().map(row).collect();
    format!("[baseline]\npath = {}\nregress = [{}]\n", quote(&gate.path), rows.join(", "))
}

/// Four against four runs cannot say less than 0.029, and fewer false alarms than one in ten thousand nobody can check.
const LEAST_ALPHA: f64 = 0.0001;
/// A coin would be as good.
const MOST_ALPHA: f64 = 0.5;
/// Each round is as many runs again; one that shows it is enough to tell it from the luck of the first.
const MOST_CONFIRM: u32 = 1;
