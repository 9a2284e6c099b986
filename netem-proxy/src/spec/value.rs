//! The values of a SPEC's keys: one small parser each.
//!
//! Numbers with units are parsed by the `units` crate; what stands here is the punctuation around them.

use units::{ParseError, parse_count, parse_duration};

use crate::profile::{Order, QueueLimit, Reorder, Window};

/// What is wrong with the value of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error(transparent)]
    Quantity(#[from] ParseError),
    #[error("\"{text}\" is not understood; write {example}")]
    Shape { text: String, example: &'static str },
    #[error("{path}: {problem}")]
    File { path: String, problem: String },
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
pub(super) fn call<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.trim_start().strip_prefix('(')?.strip_suffix(')')
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
