//! `loss`: which packets disappear.

use netem_proxy::profile::LossModel;
use netem_proxy::spec::Spec;
use units::Probability;

use super::error::ScenarioError;
use super::raw::Value;
use super::read::{Fields, View};
use super::schema;

/// A probability, the text of a SPEC, or a table with a model.
pub(super) fn read(view: &View<'_>) -> Result<LossModel, ScenarioError> {
    if let Some(text) = view.node.as_text().filter(|text| text.contains('(')) {
        let mut spec = Spec::default();
        spec.write("loss", text).map_err(|problem| view.error(problem.to_string()))?;
        return Ok(spec.loss.unwrap_or_default());
    }
    if view.node.as_table().is_none() {
        return Ok(bernoulli(view.probability()?));
    }
    let fields = view.fields(&schema::LOSS)?;
    let model = fields.or("model", Model::Bernoulli, |view| view.choice(MODELS))?;
    let word = MODELS.iter().find(|(_, known)| *known == model).map_or("", |(word, _)| word);
    let own: &[&str] = match model {
        Model::Bernoulli => &["p", "burst"],
        Model::GilbertElliott => &["p_gb", "p_bg", "loss_bad", "loss_good", "mean", "burst"],
        Model::FourState => &["p13", "p31", "p32", "p23", "p14"],
        Model::EveryNth => &["n"],
        Model::List => &["numbers"],
        Model::Trace => &["file"],
    };
    fields.refuse_others(&["model"], own, &format!("with model = \"{word}\""))?;
    match model {
        Model::Bernoulli => {
            let p = fields.need("p")?.probability()?;
            let burst = fields.or("burst", 1.0, run_length)?;
            // Runs of one, as the word says, are what independent losses are called here.
            if p.is_zero() || burst == 1.0 {
                return Ok(bernoulli(p));
            }
            Ok(LossModel::Burst { rate: p, mean_length: burst })
        }
        Model::GilbertElliott => {
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
        Model::FourState => {
            let p13 = fields.need("p13")?.probability()?;
            let alone = Probability::new(1.0 - p13.get()).unwrap_or_default();
            let chance = |key: &str, default| fields.or(key, default, View::probability);
            Ok(LossModel::FourState {
                p13,
                p31: chance("p31", alone)?,
                p32: chance("p32", Probability::ZERO)?,
                p23: chance("p23", Probability::ONE)?,
                p14: chance("p14", Probability::ZERO)?,
            })
        }
        Model::EveryNth => Ok(LossModel::EveryNth { n: fields.need("n")?.count(1..=u64::MAX)? }),
        Model::List => {
            let numbers = fields.need("numbers")?;
            let mut list: Vec<u64> =
                numbers.items()?.iter().map(|item| item.count(1..=u64::MAX)).collect::<Result<_, _>>()?;
            list.sort_unstable();
            list.dedup();
            Ok(LossModel::List(list.into()))
        }
        Model::Trace => {
            let file = fields.need("file")?;
            let mut spec = Spec::default();
            let written = spec.write("loss", &format!("trace({})", file.text()?));
            written.map_err(|problem| file.error(problem.to_string()))?;
            Ok(spec.loss.unwrap_or_default())
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    Bernoulli,
    GilbertElliott,
    FourState,
    EveryNth,
    List,
    Trace,
}

const MODELS: &[(&str, Model)] = &[
    ("bernoulli", Model::Bernoulli),
    ("gilbert-elliott", Model::GilbertElliott),
    ("four-state", Model::FourState),
    ("every-nth", Model::EveryNth),
    ("list", Model::List),
    ("trace", Model::Trace),
];

/// No loss at all is `None`, so that 0 % in a sweep draws as little chance as a link without loss.
fn bernoulli(p: Probability) -> LossModel {
    if p.is_zero() { LossModel::None } else { LossModel::Bernoulli { p } }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::error::Place;
    use super::super::raw::read_value;
    use super::*;

    fn read(loss_table: &str) -> Result<LossModel, String> {
        let node = read_value(loss_table, &Place::line(&Arc::from("f.toml"), 7));
        super::read(&View { node: &node, path: "loss".into() }).map_err(|error| error.to_string())
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
        assert!(read("{ p = 0.1, mean = 0.2 }").unwrap_err().contains("mean: has no meaning with model"));
    }

    #[test]
    fn every_model_of_the_emulator_can_be_written() {
        let percent = |p: f64| Probability::new(p / 100.0).unwrap();
        assert_eq!(read("{ p = 0.1, burst = 1 }"), Ok(LossModel::Bernoulli { p: percent(10.0) }));
        assert_eq!(
            read("{ p = 0.1, burst = 5 }"),
            Ok(LossModel::Burst { rate: percent(10.0), mean_length: 5.0 })
        );
        assert_eq!(read("\"burst(10%,len=5)\""), read("{ p = 0.1, burst = 5 }"));
        assert_eq!(read("{ p = 0, burst = 5 }"), Ok(LossModel::None));
        let Ok(LossModel::FourState { p13, p31, p23, .. }) = read("{ model = \"four-state\", p13 = \"1%\" }")
        else {
            panic!("not four states")
        };
        assert_eq!((p13, p31, p23), (percent(1.0), percent(99.0), Probability::ONE));
        assert_eq!(read("{ model = \"list\", numbers = [7, 3, 3] }"), Ok(LossModel::List([3, 7].into())));
        let error = read("{ model = \"trace\", file = \"/nowhere\" }").unwrap_err();
        assert!(error.starts_with("f.toml:7: loss.file: /nowhere: "), "{error}");
        assert!(read("\"burst(10%)\"").unwrap_err().contains("write burst(2%,len=4)"));
    }
}
