//! `[[assert]]`: what must hold.

use std::fmt::Write;
use std::time::Duration;

use units::format_duration;

use super::error::{ScenarioError, suggest};
use super::parse::Keep;
use super::raw::{Node, quote};
use super::read::{Fields, View};
use super::schema;
use super::when::When;
use super::{ClientGroup, Phase, Workload};
use crate::verdict::Expr;

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    pub id: String,
    /// As written: `p99(delivery_latency) < 1500ms`.
    pub expr: String,
    /// The same, understood.
    pub parsed: Expr,
    /// A failed gate fails the run; otherwise it is a remark.
    pub gate: bool,
    /// As written: `link.lossy.both.loss.p <= 10%`. Decided when the scenario is loaded: the scenario of a cell holds
    /// only the assertions that apply to it.
    pub when: Option<String>,
    pub on_missing: OnMissing,
    pub min_samples: MinSamples,
    /// Ends the run as soon as it fails, looked at from this long after the first phase began.
    pub abort_after: Option<Duration>,
}

/// The verdict of an assertion whose metric has no sample at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The default: what was not measured did not pass.
    Fail,
    Inconclusive,
    /// For metrics that need not occur.
    Pass,
}

/// With fewer samples a percentile decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MinSamples {
    /// 10 / (1 - q) for quantile q.
    #[default]
    Auto,
    AtLeast(u64),
}

impl Assertion {
    /// A gate on every cell.
    #[must_use]
    pub fn new(id: String, expr: String, parsed: Expr) -> Self {
        Self {
            id,
            expr,
            parsed,
            gate: true,
            when: None,
            on_missing: OnMissing::Fail,
            min_samples: MinSamples::Auto,
            abort_after: None,
        }
    }
}

/// The names that an assertion may select by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names<'a> {
    pub(super) clients: &'a [ClientGroup],
    pub(super) phases: &'a [Phase],
    pub(super) workloads: &'a [Workload],
    pub(super) links: &'a [String],
}

impl Names<'_> {
    /// Refuses a name that nothing has, before an hour is spent on it.
    pub(super) fn check(&self, expr: &Expr, view: &View<'_>) -> Result<(), ScenarioError> {
        for (key, name) in expr.selected() {
            let known: Vec<&str> = match key {
                "clients" => self.clients.iter().map(|group| group.name.as_str()).collect(),
                "phase" => self.phases.iter().map(|phase| phase.name.as_str()).collect(),
                "workload" => self.workloads.iter().map(|work| work.name.as_str()).collect(),
                _ => self.links.iter().map(String::as_str).collect(),
            };
            if !known.contains(&name) {
                return Err(view.error(format!("{key} \"{name}\" is not defined; {}", suggest(name, known))));
            }
        }
        Ok(())
    }
}

pub(super) fn read(
    view: &View<'_>,
    root: &Node,
    keep: Keep,
    names: &Names<'_>,
) -> Result<Vec<Assertion>, ScenarioError> {
    let mut kept = Vec::new();
    for (id, view) in view.named_items("id")? {
        let fields = view.fields(&schema::ASSERT)?;
        let assertion = assertion(id, &fields)?;
        names.check(&assertion.parsed, &fields.need("expr")?)?;
        if applies(&fields, root, keep)? {
            kept.push(assertion);
        }
    }
    Ok(kept)
}

fn applies(fields: &Fields<'_>, root: &Node, keep: Keep) -> Result<bool, ScenarioError> {
    let Some(view) = fields.get("when") else { return Ok(true) };
    let when = When::parse(view.text()?).map_err(|problem| view.error(problem))?;
    match keep {
        Keep::All => Ok(true),
        Keep::Applicable => when.holds(root).map_err(|problem| view.error(problem)),
    }
}

fn assertion(id: String, fields: &Fields<'_>) -> Result<Assertion, ScenarioError> {
    let expr = fields.need("expr")?;
    let text = expr.text()?.to_owned();
    let parsed = Expr::parse(&text).map_err(|problem| expr.error(problem))?;
    Ok(Assertion {
        gate: fields.or("gate", true, View::bool)?,
        when: fields.get("when").map(|view| Ok(view.text()?.to_owned())).transpose()?,
        on_missing: fields.or("on_missing", OnMissing::Fail, |view| view.choice(ON_MISSING))?,
        min_samples: fields.or("min_samples", MinSamples::Auto, |view| match view.node.as_text() {
            Some("auto") => Ok(MinSamples::Auto),
            _ => view.count(1..=u64::MAX).map(MinSamples::AtLeast),
        })?,
        abort_after: fields.get("abort").map(|view| abort(&view, &parsed)).transpose()?,
        ..Assertion::new(id, text, parsed)
    })
}

fn abort(view: &View<'_>, parsed: &Expr) -> Result<Duration, ScenarioError> {
    if let Some(why) = parsed.only_known_at_the_end() {
        return Err(view.error(format!("{why}, so it cannot end one; remove abort")));
    }
    view.fields(&schema::ABORT)?.need("after")?.duration()
}

/// The entry without its `when`: that is in what was written.
pub(super) fn decided(assertion: &Assertion) -> String {
    let missing =
        ON_MISSING.iter().find(|(_, known)| *known == assertion.on_missing).map_or("", |(word, _)| word);
    let samples = match assertion.min_samples {
        MinSamples::Auto => "\"auto\"".to_owned(),
        MinSamples::AtLeast(samples) => samples.to_string(),
    };
    let (id, expr) = (quote(&assertion.id), quote(&assertion.expr));
    let mut out = format!("[[assert]]\nid = {id}\nexpr = {expr}\ngate = {}\n", assertion.gate);
    let _ = writeln!(out, "on_missing = \"{missing}\"\nmin_samples = {samples}");
    if let Some(after) = assertion.abort_after {
        let _ = writeln!(out, "abort = {{ after = \"{}\" }}", format_duration(after));
    }
    out
}

const ON_MISSING: &[(&str, OnMissing)] =
    &[("fail", OnMissing::Fail), ("inconclusive", OnMissing::Inconclusive), ("pass", OnMissing::Pass)];
