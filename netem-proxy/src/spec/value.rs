//! The values of a SPEC's keys: one small parser each.
//!
//! Numbers with units are parsed by the `units` crate; what stands here is the punctuation around them.

use units::{ParseError, parse_duration};

use super::SpecError;
use crate::profile::{Order, Reorder};

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
    /// A step of a schedule.
    #[error(transparent)]
    Step(Box<SpecError>),
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
