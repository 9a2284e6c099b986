//! One direction of a link, key by key, as a [`Spec`] of the emulator.

use std::time::Duration;

use netem_proxy::profile::{Discipline, LossPlace, Order, QueueLimit, QueueModel, Reorder};
use netem_proxy::spec::{DelayBase, DelaySpec, Distribution, Spec};
use units::{ByteCount, parse_count, parse_duration};

use super::error::ScenarioError;
use super::raw::Node;
use super::read::{Fields, View};
use super::set::expand_shorthand;
use super::{loss, schema};

/// What is read: a link itself, or what an event changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    Link,
    Event,
}

/// A direction that is one text becomes the table that it is short for.
pub(super) fn expand(node: &mut Node) {
    expand_shorthand("both", node);
}

/// What is written; keys that are not stay open.
pub(super) fn read(view: &View<'_>, what: Direction) -> Result<Spec, ScenarioError> {
    let fields = view.fields(&schema::DIRECTION)?;
    if what == Direction::Link {
        fields.refuse(&["blackhole", "hold"], "outside of an event; write it in [[link.NAME.event]]")?;
    }
    if let (Some(trace), Some(_)) = (fields.get("trace"), fields.get("rate")) {
        return Err(trace.error("stands beside rate; write one of them"));
    }
    let mut spec = Spec::default();
    if let Some(view) = fields.get("loss") {
        spec.loss = Some(loss::read(&view)?);
    }
    spec.loss_at = fields
        .get("loss_at")
        .map(|view| view.choice(&[("entry", LossPlace::Entry), ("wire", LossPlace::Wire)]))
        .transpose()?;
    if let Some(view) = fields.get("delay") {
        (spec.delay, spec.order) = delay(&view)?;
    }
    if let Some(view) = fields.get("rate") {
        view.with_unit("10Mbit/s", |text| spec.write("rate", text))?;
    }
    if let Some(view) = fields.get("trace") {
        let written = spec.write("rate", &format!("trace({})", view.text()?));
        written.map_err(|problem| view.error(problem.to_string()))?;
    }
    if let Some(view) = fields.get("queue") {
        spec.queue = Some(queue(&view)?);
    }
    spec.duplicate = fields.get("duplicate").map(|view| view.probability()).transpose()?;
    spec.corrupt = fields.get("corrupt").map(|view| view.probability()).transpose()?;
    spec.reorder = fields.get("reorder").map(|view| reorder(&view)).transpose()?;
    spec.mtu = fields.get("mtu").map(|view| view.bytes()).transpose()?;
    match fields.get("spec") {
        Some(view) => {
            let base: Spec = view.text()?.parse().map_err(|problem| view.error(format!("{problem}")))?;
            Ok(over(spec, base))
        }
        None => Ok(spec),
    }
}

/// `spec`, and `base` where it is silent. The jitter of a table without `dist` is normal, that of a SPEC uniform, as its
/// own language says; where only the width of a known jitter changes, its law stays.
pub(super) fn over(mut spec: Spec, base: Spec) -> Spec {
    let is_new = spec.delay.jitter.is_some() && spec.delay.dist.is_none();
    if is_new && base.delay.jitter.is_some() && base.delay.dist.is_none() {
        spec.delay.dist = Some(Distribution::Uniform);
    }
    // A recording says every delay itself, and a plain delay replaces a recording.
    if matches!(spec.delay.delay, Some(DelayBase::Trace(_))) {
        return spec.over(Spec { delay: DelaySpec::default(), ..base });
    }
    spec.over(base)
}

/// Fills in what only the whole of a direction decides.
pub(super) fn settle(mut spec: Spec) -> Spec {
    if spec.delay.jitter.is_some_and(|jitter| jitter.is_zero()) {
        spec.delay.jitter = None;
    }
    // Without jitter there is nothing to distribute, but a sweep over jitter passes zero.
    if spec.delay.jitter.is_none() {
        spec.delay.dist = None;
        spec.delay.correlation = None;
    }
    spec
}

fn delay(view: &View<'_>) -> Result<(DelaySpec, Option<Order>), ScenarioError> {
    if view.node.as_table().is_none() {
        let base = Some(DelayBase::Span(view.duration()?));
        return Ok((DelaySpec { delay: base, ..DelaySpec::default() }, None));
    }
    let fields = view.fields(&schema::DELAY)?;
    let order = fields.get("keep_order").map(|view| view.bool()).transpose()?;
    let order = order.map(|keep| if keep { Order::Fifo } else { Order::Allow });
    let dist = fields.get("dist").map(|view| view.choice(DISTS)).transpose()?;
    let mut spec = Spec::default();
    if dist == Some(Dist::Trace) {
        fields.refuse(&["base", "jitter", "correlation"], "with dist = \"trace\", which says every delay")?;
        let file = fields.need("file")?;
        let written = spec.write("delay", &format!("trace({})", file.text()?));
        written.map_err(|problem| file.error(problem.to_string()))?;
        return Ok((spec.delay, order));
    }
    let base = fields.get("base").map(|view| view.duration()).transpose()?;
    let jitter = fields.get("jitter").map(|view| view.duration()).transpose()?;
    let law = match dist {
        None => jitter.map(|_| Distribution::Normal),
        Some(Dist::Table) => {
            let file = fields.need("file")?;
            let written = spec.write("dist", &format!("table({})", file.text()?));
            written.map_err(|problem| file.error(problem.to_string()))?;
            spec.delay.dist
        }
        Some(other) => Some(other.law()),
    };
    if !matches!(dist, Some(Dist::Table)) {
        fields.refuse(&["file"], "without dist = \"table\" or \"trace\"")?;
    }
    if law == Some(Distribution::Uniform) && jitter > Some(base.unwrap_or_default()) {
        return Err(fields.need("jitter")?.error("is above base: a delay would be negative; lower it"));
    }
    let correlation = fields.get("correlation").map(|view| view.probability()).transpose()?;
    Ok((DelaySpec { delay: base.map(DelayBase::Span), jitter, dist: law, correlation }, order))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Dist {
    Normal,
    Uniform,
    LogNormal,
    Exponential,
    Pareto,
    ParetoNormal,
    Table,
    Trace,
}

impl Dist {
    fn law(self) -> Distribution {
        match self {
            Self::Uniform => Distribution::Uniform,
            Self::LogNormal => Distribution::LogNormal,
            Self::Exponential => Distribution::Exponential,
            Self::Pareto => Distribution::Pareto,
            Self::ParetoNormal => Distribution::ParetoNormal,
            Self::Normal | Self::Table | Self::Trace => Distribution::Normal,
        }
    }
}

const DISTS: &[(&str, Dist)] = &[
    ("normal", Dist::Normal),
    ("uniform", Dist::Uniform),
    ("lognormal", Dist::LogNormal),
    ("exponential", Dist::Exponential),
    ("pareto", Dist::Pareto),
    ("paretonormal", Dist::ParetoNormal),
    ("table", Dist::Table),
    ("trace", Dist::Trace),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    DropTail,
    DropHead,
    CoDel,
    Pie,
    FqCoDel,
    Red,
    Infinite,
}

const KINDS: &[(&str, Kind)] = &[
    ("droptail", Kind::DropTail),
    ("drophead", Kind::DropHead),
    ("codel", Kind::CoDel),
    ("pie", Kind::Pie),
    ("fq-codel", Kind::FqCoDel),
    ("red", Kind::Red),
    ("infinite", Kind::Infinite),
];

fn queue(view: &View<'_>) -> Result<QueueModel, ScenarioError> {
    if let Some(text) = view.node.as_text() {
        let mut spec = Spec::default();
        spec.write("queue", text).map_err(|problem| view.error(problem.to_string()))?;
        return Ok(spec.queue.unwrap_or_default());
    }
    let fields = view.fields(&schema::QUEUE)?;
    let kind = fields.or("kind", Kind::DropTail, |view| view.choice(KINDS))?;
    let own: &[&str] = match kind {
        Kind::Infinite => &[],
        Kind::DropTail | Kind::DropHead => &["limit"],
        Kind::CoDel => &["limit", "ecn", "target", "interval"],
        Kind::Pie => &["limit", "ecn", "target", "update", "max_burst"],
        Kind::FqCoDel => &["limit", "ecn", "target", "interval", "flows", "quantum"],
        Kind::Red => &["limit", "ecn", "min", "max", "max_p", "weight"],
    };
    let word = KINDS.iter().find(|(_, known)| *known == kind).map_or("", |(word, _)| word);
    fields.refuse_others(&["kind"], own, &format!("with kind = \"{word}\""))?;
    let limit = match kind {
        Kind::Infinite => QueueLimit::Infinite,
        _ => fields.or("limit", QueueLimit::Default, |view| view.with_unit("100 packets", queue_limit))?,
    };
    Ok(QueueModel {
        discipline: discipline(kind, &fields)?,
        limit,
        ecn: fields.or("ecn", false, View::bool)?,
    })
}

fn discipline(kind: Kind, fields: &Fields<'_>) -> Result<Discipline, ScenarioError> {
    let set = |key: &str, span: &mut Duration| {
        *span = fields.or(key, *span, View::span)?;
        Ok::<_, ScenarioError>(())
    };
    let mut discipline = match kind {
        Kind::DropTail | Kind::Infinite => Discipline::DropTail,
        Kind::DropHead => Discipline::DropHead,
        Kind::CoDel => Discipline::CODEL,
        Kind::Pie => Discipline::PIE,
        Kind::FqCoDel => Discipline::FQ_CODEL,
        Kind::Red => Discipline::red(),
    };
    match &mut discipline {
        Discipline::DropTail | Discipline::DropHead => {}
        Discipline::CoDel { target, interval } => {
            set("target", target)?;
            set("interval", interval)?;
        }
        Discipline::Pie { target, update, max_burst } => {
            set("target", target)?;
            set("update", update)?;
            set("max_burst", max_burst)?;
        }
        Discipline::FqCoDel { flows, quantum, target, interval } => {
            *flows = fields.or("flows", *flows, |view| view.count(1..=MOST_FLOWS))?;
            *quantum = fields.or("quantum", *quantum, View::bytes)?;
            set("target", target)?;
            set("interval", interval)?;
        }
        Discipline::Red { min, max, max_p, weight } => {
            *min = fields.or("min", *min, View::bytes)?;
            *max = fields.or("max", *max, View::bytes)?;
            *max_p = fields.or("max_p", *max_p, View::probability)?;
            *weight = fields.or("weight", *weight, |view| view.number(0.0..=1.0))?;
        }
    }
    Ok(discipline)
}

fn queue_limit(text: &str) -> Result<QueueLimit, String> {
    let text = text.trim();
    if let Some(products) = text.strip_suffix("bdp") {
        return match products.trim().parse::<f64>() {
            Ok(products) if products > 0.0 && products.is_finite() => Ok(QueueLimit::Bdp(products)),
            _ => Err(format!("\"{text}\" is no queue; write for example 1bdp")),
        };
    }
    let limit = match text.strip_suffix("packets").or_else(|| text.strip_suffix("packet")) {
        Some(count) => QueueLimit::Packets(parse_count(count).map_err(|error| error.to_string())?),
        None => match (text.parse(), parse_duration(text)) {
            (Ok(bytes), _) => QueueLimit::Bytes(bytes),
            (Err(_), Ok(span)) => QueueLimit::Time(span),
            (Err(error), Err(_)) => return Err(format!("{error} or \"100 packets\", \"100ms\" or \"1bdp\"")),
        },
    };
    match limit {
        QueueLimit::Packets(0) | QueueLimit::Bytes(ByteCount::ZERO) | QueueLimit::Time(Duration::ZERO) => {
            Err(format!("\"{text}\" leaves no room for a packet; write for example 100 packets"))
        }
        _ => Ok(limit),
    }
}

fn reorder(view: &View<'_>) -> Result<Reorder, ScenarioError> {
    let fields = view.fields(&schema::REORDER)?;
    Ok(Reorder { p: fields.need("p")?.probability()?, extra: fields.need("extra")?.span()? })
}

/// Linux has 65,536 at most (tc-fq_codel(8)).
const MOST_FLOWS: u32 = 65_536;
