//! Schedules as text: `@3s(loss=10%) @10s+5s(rate=1Mbit/s)`.
//!
//! A step is a SPEC of its own, laid over what the link was before it. Steps have no steps.

use std::time::Duration;

use units::{format_duration, parse_duration};

use super::value::shape;
use super::{Spec, SpecError, read_words, words};
use crate::profile::{LinkProfile, Step};

/// A step as written.
#[derive(Clone, Debug, PartialEq)]
pub struct SpecStep {
    pub at: Duration,
    pub over: Option<Duration>,
    pub set: Spec,
    /// The keys as text, one blank between them.
    pub text: String,
}

/// Reads one word that begins with `@`, which stands at `column`.
pub(super) fn parse_step(column: usize, word: &str) -> Result<SpecStep, SpecError> {
    const EXAMPLE: &str = "@3s(loss=10%), or @10s+5s(rate=1Mbit/s) to change over 5s";
    let wrong = |error| SpecError::Value { column, key: "schedule", error };
    let parts =
        word.strip_prefix('@').and_then(|rest| rest.strip_suffix(')')).and_then(|rest| rest.split_once('('));
    let Some((when, keys)) = parts else { return Err(wrong(shape(word, EXAMPLE))) };
    let (at, over) = match when.split_once('+') {
        Some((at, over)) => (at, Some(over)),
        None => (when, None),
    };
    let at = parse_duration(at).map_err(|error| wrong(error.into()))?;
    let over = over.map(parse_duration).transpose().map_err(|error| wrong(error.into()))?;
    // Columns count from the beginning of the whole text: behind the `@` and the time comes the parenthesis.
    let set = read_words(keys, column + when.chars().count() + 1)?;
    if !set.steps.is_empty() {
        return Err(wrong(shape(word, "steps side by side; a step has no steps of its own")));
    }
    let text = words(keys).map(|(_, word)| word).collect::<Vec<_>>().join(" ");
    Ok(SpecStep { at, over, set, text })
}

/// What the steps make of a link that began as `begin`.
pub(super) fn resolve(begin: Spec, steps: Vec<SpecStep>) -> Result<Vec<Step>, SpecError> {
    let mut link = begin;
    let mut schedule = Vec::with_capacity(steps.len());
    for step in steps {
        link = step.set.with_preset()?.over(link);
        let profile: Result<LinkProfile, SpecError> = link.clone().plain_profile();
        let profile = profile.map_err(|error| SpecError::Step { at: step.at, error: Box::new(error) })?;
        schedule.push(Step { at: step.at, over: step.over, set: step.text, profile: Box::new(profile) });
    }
    Ok(schedule)
}

pub(super) fn print_step(step: &Step) -> String {
    let over = step.over.map_or(String::new(), |over| format!("+{}", format_duration(over)));
    format!("@{}{over}({})", format_duration(step.at), step.set)
}
