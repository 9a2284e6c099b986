//! `[link.NAME]`: both directions of an emulated network.
//!
//! `both` is read for each direction and `up` and `down` are laid over it, key by key, so an asymmetric link only
//! writes what differs. Events become [`Gate`]s whose `at` counts from the beginning of the first phase: the file
//! cannot know how long clients take to connect, so whoever builds the links adds that offset.

use std::collections::BTreeMap;
use std::time::Duration;

use netem_proxy::profile::{
    DelayModel, Gate, LinkProfile, LossModel, Order, Overhead, QueueLimit, QueueModel, RateModel, Reorder,
    Window,
};
use units::{Bitrate, ByteCount, Probability, parse_count};

use super::error::ScenarioError;
use super::extends::merge;
use super::raw::{Node, Table, Value};
use super::read::{Fields, View, join};
use super::{LinkConfig, Scope, schema};

pub(crate) fn links(view: &View<'_>) -> Result<BTreeMap<String, LinkConfig>, ScenarioError> {
    view.entries()?.into_iter().map(|(name, view)| Ok((name.to_owned(), link(&view)?))).collect()
}

fn link(view: &View<'_>) -> Result<LinkConfig, ScenarioError> {
    let fields = view.fields(&schema::LINK)?;
    let both = fields.get("both");
    // On its own first, so that an error in `both` is told as one.
    if let Some(both) = &both {
        direction(both)?;
    }
    let side = |key: &str| {
        let empty = Node::new(Value::Table(Table::default()), &view.node.place);
        let mut node = both.as_ref().map_or(empty, |both| both.node.clone());
        if let Some(side) = fields.get(key) {
            merge(&mut node, side.node.clone());
        }
        direction(&View { node: &node, path: join(&view.path, key) })
    };
    let mut config = LinkConfig {
        up: side("up")?,
        down: side("down")?,
        scope: fields.or("scope", Scope::PerClient, |view| {
            view.choice(&[("per-client", Scope::PerClient), ("shared", Scope::Shared)])
        })?,
    };
    for event in fields.get("event").map_or(Ok(Vec::new()), |view| view.items())? {
        add_event(&event, &mut config)?;
    }
    // The link's owner has the last word on what a profile may be.
    for profile in [&config.up, &config.down] {
        profile.validate().map_err(|problem| view.error(problem.to_string()))?;
    }
    Ok(config)
}

fn direction(view: &View<'_>) -> Result<LinkProfile, ScenarioError> {
    let fields = view.fields(&schema::DIRECTION)?;
    let (delay, order) = fields.or("delay", Default::default(), delay)?;
    Ok(LinkProfile {
        loss: fields.or("loss", LossModel::None, loss)?,
        duplicate: fields.or("duplicate", Probability::ZERO, View::probability)?,
        corrupt: fields.or("corrupt", Probability::ZERO, View::probability)?,
        rate: fields
            .get("rate")
            .map(|view| view.with_unit("10Mbit/s", str::parse::<Bitrate>))
            .transpose()?
            .map(|rate| RateModel::Constant { rate, overhead: Overhead::default() }),
        queue: QueueModel { limit: fields.or("queue", QueueLimit::Default, queue)?, ..QueueModel::default() },
        delay,
        order,
        reorder: fields.get("reorder").map(|view| reorder(&view)).transpose()?,
        ..LinkProfile::default()
    })
}

fn loss(view: &View<'_>) -> Result<LossModel, ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok(bernoulli(view.probability()?));
    }
    let fields = view.fields(&schema::LOSS)?;
    let model = fields.or("model", Model::Bernoulli, |view| {
        view.choice(&[
            ("bernoulli", Model::Bernoulli),
            ("gilbert-elliott", Model::GilbertElliott),
            ("every-nth", Model::EveryNth),
        ])
    })?;
    match model {
        Model::Bernoulli => {
            fields.refuse(
                &["p_gb", "p_bg", "loss_bad", "loss_good", "mean", "burst", "n"],
                "with model = \"bernoulli\"",
            )?;
            Ok(bernoulli(fields.need("p")?.probability()?))
        }
        Model::GilbertElliott => {
            fields.refuse(&["p", "n"], "with model = \"gilbert-elliott\"")?;
            if let Some(meant) = fields.get("burst").or_else(|| fields.get("mean")) {
                return bursts(&fields, &meant);
            }
            let r = fields.need("p_bg")?;
            if r.probability()?.is_zero() {
                return Err(r.error("is zero: the link would never turn good again; write more than 0%"));
            }
            Ok(LossModel::GilbertElliott {
                p: fields.need("p_gb")?.probability()?,
                r: r.probability()?,
                loss_bad: fields.or("loss_bad", Probability::ONE, View::probability)?,
                loss_good: fields.or("loss_good", Probability::ZERO, View::probability)?,
            })
        }
        Model::EveryNth => {
            let others = ["p", "p_gb", "p_bg", "loss_bad", "loss_good", "mean", "burst"];
            fields.refuse(&others, "with model = \"every-nth\"")?;
            Ok(LossModel::EveryNth { n: fields.need("n")?.count(1..=u64::MAX)? })
        }
    }
}

/// A Gilbert-Elliott chain by what it means: `mean` loss, in runs of `burst` packets. The stay in bad is geometric with
/// mean 1 / p_bg, and everything in it is lost.
fn bursts(fields: &Fields<'_>, meant: &View<'_>) -> Result<LossModel, ScenarioError> {
    if let Some(key) =
        ["p_gb", "p_bg", "loss_bad", "loss_good"].into_iter().find(|key| fields.get(key).is_some())
    {
        return Err(meant.error(format!(
            "stands beside {key}; write mean and burst alone, or p_gb and p_bg without them"
        )));
    }
    let need = |key: &str, example: &str| {
        fields
            .get(key)
            .ok_or_else(|| fields.error(format!("{key} is missing; write for example {key} = {example}")))
    };
    let (mean_view, burst_view) = (need("mean", "\"10%\"")?, need("burst", "3")?);
    let (mean, burst) = (mean_view.probability()?.get(), run_length(&burst_view)?);
    if mean >= 1.0 {
        return Err(mean_view.error("loses every packet, so there are no bursts; write less than 100%"));
    }
    if mean == 0.0 {
        return Ok(LossModel::None);
    }
    // Turning bad must make up for the stay in good; its chance cannot pass 1.
    let shortest = mean / (1.0 - mean);
    let p_gb = shortest / burst;
    if p_gb > 1.0 + 1e-9 {
        let (percent, remedy) = (mean_view.node.describe(), (shortest * 100.0 - 1e-6).ceil() / 100.0);
        return Err(burst_view.error(format!(
            "runs of {burst} are too short for a mean of {percent}; write at least {remedy}, or a lower mean"
        )));
    }
    let chance = |p: f64| {
        Probability::new(p.min(1.0)).ok_or_else(|| burst_view.error("is no run length; write 1 or more"))
    };
    Ok(LossModel::GilbertElliott {
        p: chance(p_gb)?,
        r: chance(1.0 / burst)?,
        loss_bad: Probability::ONE,
        loss_good: Probability::ZERO,
    })
}

/// A mean number of packets, which need not be whole.
fn run_length(view: &View<'_>) -> Result<f64, ScenarioError> {
    let number = match view.node.value {
        Value::Integer(number) => number as f64,
        Value::Float(number) => number,
        _ => {
            return Err(view.error(format!(
                "{} stands where a number belongs; write for example 3",
                view.node.describe()
            )));
        }
    };
    if !(1.0..=MAX_BURST).contains(&number) {
        return Err(view.error(format!("{number} is out of range; write 1 to {MAX_BURST}")));
    }
    Ok(number)
}

/// Mean packets of a burst. A million lost in a row are no burst any more but an outage, which is an event.
const MAX_BURST: f64 = 1e6;

#[derive(Clone, Copy)]
enum Model {
    Bernoulli,
    GilbertElliott,
    EveryNth,
}

/// No loss at all is `None`, so that 0 % in a sweep draws as little chance as a link without loss.
fn bernoulli(p: Probability) -> LossModel {
    if p.is_zero() { LossModel::None } else { LossModel::Bernoulli { p } }
}

fn delay(view: &View<'_>) -> Result<(DelayModel, Order), ScenarioError> {
    if view.node.as_table().is_none() {
        return Ok((DelayModel::Constant(view.duration()?), Order::Fifo));
    }
    let fields = view.fields(&schema::DELAY)?;
    let base = fields.or("base", Duration::ZERO, View::duration)?;
    let jitter = fields.or("jitter", Duration::ZERO, View::duration)?;
    let normal = fields.or("dist", true, |view| view.choice(&[("normal", true), ("uniform", false)]))?;
    let model = match (jitter.is_zero(), normal) {
        (true, _) => DelayModel::Constant(base),
        (false, true) => DelayModel::Normal { base, jitter },
        (false, false) if jitter > base => {
            return Err(fields.need("jitter")?.error("is above base: a delay would be negative; lower it"));
        }
        (false, false) => DelayModel::Uniform { base, jitter },
    };
    let order = if fields.or("keep_order", true, View::bool)? { Order::Fifo } else { Order::Allow };
    Ok((model, order))
}

fn queue(view: &View<'_>) -> Result<QueueLimit, ScenarioError> {
    let fields = view.fields(&schema::QUEUE)?;
    let droptail = fields.or("kind", true, |view| view.choice(&[("droptail", true), ("infinite", false)]))?;
    if !droptail {
        fields.refuse(&["limit"], "with kind = \"infinite\"")?;
        return Ok(QueueLimit::Infinite);
    }
    fields.or("limit", QueueLimit::Default, |view| view.with_unit("100 packets", queue_limit))
}

fn queue_limit(text: &str) -> Result<QueueLimit, String> {
    let limit = match text.trim().strip_suffix("packets").or_else(|| text.trim().strip_suffix("packet")) {
        Some(count) => QueueLimit::Packets(parse_count(count).map_err(|error| error.to_string())?),
        None => QueueLimit::Bytes(text.parse().map_err(|error| format!("{error} or \"100 packets\""))?),
    };
    match limit {
        QueueLimit::Packets(0) | QueueLimit::Bytes(ByteCount::ZERO) => {
            Err(format!("\"{text}\" leaves no room for a packet; write for example 100 packets"))
        }
        _ => Ok(limit),
    }
}

fn reorder(view: &View<'_>) -> Result<Reorder, ScenarioError> {
    let fields = view.fields(&schema::REORDER)?;
    Ok(Reorder { p: fields.need("p")?.probability()?, extra: fields.need("extra")?.span()? })
}

fn add_event(view: &View<'_>, link: &mut LinkConfig) -> Result<(), ScenarioError> {
    let fields = view.fields(&schema::EVENT)?;
    let duration = fields.need("for")?.span()?;
    let every = fields.get("every").map(|view| view.span()).transpose()?;
    if every.is_some_and(|every| every <= duration) {
        return Err(fields.need("every")?.error("is not above for: the event would never end; raise it"));
    }
    let at = match (fields.get("at"), every) {
        (Some(at), _) => at.duration()?,
        (None, Some(every)) => every,
        (None, None) => return Err(fields.error("at is missing; say when it happens")),
    };
    let blackout = Gate::Blackout(Window { at, duration, every });
    let set = fields.need("set")?;
    let sides = set.fields(&schema::EVENT_SET)?;
    let blackhole = |key: &str| {
        sides.or(key, false, |view| view.fields(&schema::EVENT_DIRECTION)?.need("blackhole")?.bool())
    };
    let both = blackhole("both")?;
    let (up, down) = (both || blackhole("up")?, both || blackhole("down")?);
    if !up && !down {
        return Err(set.error("changes nothing; write for example { both = { blackhole = true } }"));
    }
    if up {
        link.up.gates.push(blackout);
    }
    if down {
        link.down.gates.push(blackout);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::error::Place;
    use super::super::raw::read_value;
    use super::*;

    fn read(loss_table: &str) -> Result<LossModel, String> {
        let node = read_value(loss_table, &Place::line(&Arc::from("f.toml"), 7));
        loss(&View { node: &node, path: "loss".into() }).map_err(|error| error.to_string())
    }

    fn ge(rest: &str) -> Result<LossModel, String> {
        read(&format!("{{ model = \"gilbert-elliott\", {rest} }}"))
    }

    #[test]
    fn mean_and_burst_become_a_chain_of_that_mean_and_run_length() {
        for (mean, burst) in [(0.1, 1.0), (0.1, 1.12), (0.1, 5.0), (0.5, 1.0), (0.9, 9.0), (0.01, 300.0)] {
            let model = ge(&format!("mean = {mean:?}, burst = {burst:?}")).unwrap();
            let LossModel::GilbertElliott { p, r, loss_bad, loss_good } = model else { panic!("{model:?}") };
            assert!((p.get() / (p.get() + r.get()) - mean).abs() < 1e-9, "{mean} {burst}: {model:?}");
            assert!((1.0 / r.get() - burst).abs() < 1e-9 * burst, "{mean} {burst}: {model:?}");
            assert_eq!((loss_bad, loss_good), (Probability::ONE, Probability::ZERO));
        }
        assert_eq!(ge("mean = \"10%\", burst = 2"), ge("mean = 0.1, burst = 2.0"));
        assert_eq!(ge("mean = \"0%\", burst = 2"), Ok(LossModel::None));
    }

    #[test]
    fn what_no_chain_can_be_is_refused_with_a_remedy() {
        for (rest, expected) in [
            (
                "mean = 0.1, burst = 2, p_bg = 0.5",
                "loss.burst: stands beside p_bg; write mean and burst alone, or p_gb and p_bg without them",
            ),
            ("mean = 0.1, loss_good = 0", "loss.mean: stands beside loss_good; write mean and burst alone"),
            ("mean = 0.1", "loss: burst is missing; write for example burst = 3"),
            ("burst = 2", "loss: mean is missing; write for example mean = \"10%\""),
            (
                "mean = 1, burst = 2",
                "loss.mean: loses every packet, so there are no bursts; write less than 100%",
            ),
            (
                "mean = \"60%\", burst = 1.2",
                "loss.burst: runs of 1.2 are too short for a mean of \"60%\"; write at least 1.5, or a lower mean",
            ),
            ("mean = 0.1, burst = 0.5", "loss.burst: 0.5 is out of range; write 1 to 1000000"),
            ("mean = 0.1, burst = nan", "loss.burst: NaN is out of range"),
            ("mean = 0.1, burst = \"3\"", "loss.burst: \"3\" stands where a number belongs"),
        ] {
            let error = ge(rest).unwrap_err();
            assert!(error.starts_with(&format!("f.toml:7: {expected}")), "{rest}: {error}");
            assert!(!error.contains('\n'));
        }
        assert!(ge("mean = \"60%\", burst = 1.5").is_ok());
        assert!(read("{ p = 0.1, burst = 2 }").unwrap_err().contains("burst: has no meaning with model"));
    }
}
