//! One side of an assertion by itself: a number that two runs can be compared by.

use super::evaluate::value_of;
use super::expr::{self, Term};
use super::subject::Subject;
use crate::records::RunFile;
use crate::scenario::Scenario;

/// A parsed expression without a comparison: `p99(delivery_latency)`, `goodput / capacity`.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    term: Term,
    text: String,
}

impl Quantity {
    /// Parses one sum; the error is one sentence that says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        let term = expr::term(text).map_err(|problem| format!("\"{text}\": {problem}"))?;
        Ok(Self { term, text: text.trim().to_owned() })
    }

    /// As written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether its values are microseconds.
    #[must_use]
    pub fn is_time(&self) -> bool {
        self.term.unit() == Ok(expr::Unit::Time)
    }

    /// Whether more of it is better: throughput, completion, fairness. Of everything else less is. Of a quotient the
    /// numerator decides.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        self.term.wants_more()
    }

    /// Its value in one run, infinite where a percentile falls among lost messages. The error says why there is none.
    pub fn of(&self, run: &RunFile, scenario: Option<&Scenario>) -> Result<f64, String> {
        value_of(&self.term, &Subject::of_run(run, scenario))
    }
}
