//! Loss as text: `10%`, `every(10)`, `ge(p=1%,r=30%)`.

use units::{Probability, parse_count};

use super::value::{ValueError, call, set_once, shape};
use crate::profile::LossModel;

pub(super) fn parse_loss(text: &str) -> Result<LossModel, ValueError> {
    if let Some(count) = call(text, "every") {
        return Ok(LossModel::EveryNth { n: parse_count(count)? });
    }
    if let Some(arguments) = call(text, "ge") {
        return parse_chain(text, arguments);
    }
    if text.contains('(') {
        return Err(shape(text, "10%, every(10) or ge(p=1%,r=30%)"));
    }
    Ok(LossModel::Bernoulli { p: text.parse()? })
}

fn parse_chain(text: &str, arguments: &str) -> Result<LossModel, ValueError> {
    const EXAMPLE: &str = "ge(p=1%,r=30%) or ge(p=1%,r=30%,bad=100%,good=0%)";
    let (mut p, mut r, mut bad, mut good) = (None, None, None, None);
    for argument in arguments.split(',') {
        let (name, value) = argument.split_once('=').ok_or_else(|| shape(text, EXAMPLE))?;
        let place = match name.trim() {
            "p" => &mut p,
            "r" => &mut r,
            "bad" => &mut bad,
            "good" => &mut good,
            _ => return Err(shape(text, EXAMPLE)),
        };
        set_once(place, value.parse()?)?;
    }
    let (Some(p), Some(r)) = (p, r) else { return Err(shape(text, EXAMPLE)) };
    // Gilbert's model: everything is lost in bad, nothing in good.
    let (loss_bad, loss_good) = (bad.unwrap_or(Probability::ONE), good.unwrap_or(Probability::ZERO));
    Ok(LossModel::GilbertElliott { p, r, loss_bad, loss_good })
}

/// What [`parse_loss`] reads back; `None` for no loss.
pub(super) fn print_loss(model: &LossModel) -> Option<String> {
    match *model {
        LossModel::None
        | LossModel::Burst { .. }
        | LossModel::FourState { .. }
        | LossModel::List(_)
        | LossModel::Trace(_) => None,
        LossModel::Bernoulli { p } => Some(p.to_string()),
        LossModel::GilbertElliott { p, r, loss_bad, loss_good } => {
            Some(format!("ge(p={p},r={r},bad={loss_bad},good={loss_good})"))
        }
        LossModel::EveryNth { n } => Some(format!("every({n})")),
    }
}
