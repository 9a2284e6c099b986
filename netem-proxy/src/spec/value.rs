//! The values of a SPEC's keys: one small parser each.
//!
//! Numbers with units are parsed by the `units` crate; what stands here is the punctuation around them.

use units::{ParseError, Probability, parse_count, parse_duration};

use super::Distribution;
use crate::profile::{LossModel, Order, QueueLimit, Reorder, Window};

/// What is wrong with the value of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error(transparent)]
    Quantity(#[from] ParseError),
    #[error("\"{text}\" is not understood; write {example}")]
    Shape { text: String, example: &'static str },
    #[error("it is given twice; write it once")]
    Twice,
}

pub(super) fn set_once<T>(place: &mut Option<T>, value: T) -> Result<(), ValueError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ValueError::Twice),
    }
}

pub(super) fn shape(text: &str, example: &'static str) -> ValueError {
    ValueError::Shape { text: text.to_owned(), example }
}

/// What stands between the parentheses of `name(...)`.
fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')
}

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

pub(super) fn parse_dist(text: &str) -> Result<Distribution, ValueError> {
    match text {
        "uniform" => Ok(Distribution::Uniform),
        "normal" => Ok(Distribution::Normal),
        _ => Err(shape(text, "uniform or normal")),
    }
}

pub(super) fn parse_queue(text: &str) -> Result<QueueLimit, ValueError> {
    match text {
        "default" => return Ok(QueueLimit::Default),
        "infinite" => return Ok(QueueLimit::Infinite),
        _ => {}
    }
    if let Some(packets) = text.strip_suffix('p') {
        return Ok(QueueLimit::Packets(parse_count(packets)?));
    }
    text.parse().map(QueueLimit::Bytes).map_err(|_: ParseError| shape(text, "100p, 64KiB or infinite"))
}

pub(super) fn parse_reorder(text: &str) -> Result<Reorder, ValueError> {
    let (p, extra) = text.split_once('/').ok_or_else(|| shape(text, "for example 1%/8ms"))?;
    Ok(Reorder { p: p.parse()?, extra: parse_duration(extra)? })
}

pub(super) fn parse_order(text: &str) -> Result<Order, ValueError> {
    match text {
        "fifo" => Ok(Order::Fifo),
        "allow" => Ok(Order::Allow),
        _ => Err(shape(text, "fifo or allow")),
    }
}

pub(super) fn parse_blackout(text: &str) -> Result<Window, ValueError> {
    const EXAMPLE: &str = "at+duration, for example 20s+3s, or 20s+3s/30s to repeat it";
    let (at, rest) = text.split_once('+').ok_or_else(|| shape(text, EXAMPLE))?;
    let (duration, every) = match rest.split_once('/') {
        Some((duration, every)) => (duration, Some(parse_duration(every)?)),
        None => (rest, None),
    };
    Ok(Window { at: parse_duration(at)?, duration: parse_duration(duration)?, every })
}
