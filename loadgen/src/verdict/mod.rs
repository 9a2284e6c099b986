//! From numbers to a verdict: assertions, and the exit code they end in.
//!
//! `expr` is the grammar (`p99(delivery_latency) < 1500ms`), `names` connects its words with [`Metrics`], `evaluate`
//! decides one assertion, and this file folds assertions into cells and cells into a run. Two rules are stricter than
//! usual: what was not measured does not pass, and a percentile needs enough samples to be one.

mod compare;
mod evaluate;
mod expr;
mod names;

pub use compare::Comparison;
pub use evaluate::evaluate;
pub use expr::Expr;

use crate::result::{AssertResult, Cell, Metrics, Verdict};
use crate::scenario::Assertion;

/// Verdict of one cell: its assertions, decided, and the reasons why it is not PASS (one line each).
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub asserts: Vec<AssertResult>,
    pub reasons: Vec<String>,
}

/// Decides every assertion of a cell. `invalid` says what was wrong with the generator or the machine; any such
/// reason makes the cell INVALID, because then the numbers say nothing about the system under test.
#[must_use]
pub fn judge(assertions: &[Assertion], metrics: &Metrics, invalid: &[String]) -> Judgement {
    let asserts: Vec<AssertResult> =
        assertions.iter().map(|assertion| evaluate(assertion, metrics)).collect();
    let gates =
        || assertions.iter().zip(&asserts).filter(|(assertion, _)| assertion.gate).map(|(_, result)| result);
    let asserted = gates().map(|result| result.verdict).fold(Verdict::Pass, worse);
    let verdict = if invalid.is_empty() { asserted } else { Verdict::Invalid };
    let failed = gates().filter(|result| result.verdict != Verdict::Pass);
    let sentence = |result: &AssertResult| {
        format!("{}: {}", result.id, result.reason.as_deref().unwrap_or("did not pass"))
    };
    let reasons = invalid.iter().cloned().chain(failed.map(sentence)).collect();
    Judgement { verdict, asserts, reasons }
}

/// Verdict of a run: that of its worst cell.
#[must_use]
pub fn overall(cells: &[Cell]) -> Verdict {
    cells.iter().map(|cell| cell.verdict).fold(Verdict::Pass, worse)
}

/// Exit code of a run that ended with `verdict`: 0 pass, 3 an assertion failed or could not be decided, 5 INVALID.
#[must_use]
pub fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail | Verdict::Inconclusive => 3,
        Verdict::Invalid => 5,
    }
}

/// INVALID outweighs FAIL: a broken measurement cannot condemn the system it measured.
fn worse(a: Verdict, b: Verdict) -> Verdict {
    let weight = |verdict| match verdict {
        Verdict::Pass => 0,
        Verdict::Inconclusive => 1,
        Verdict::Fail => 2,
        Verdict::Invalid => 3,
    };
    if weight(b) > weight(a) { b } else { a }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assertion(expr: &str, gate: bool) -> Assertion {
        let parsed = Expr::parse(expr).unwrap();
        Assertion { gate, ..Assertion::new("a".into(), expr.into(), parsed) }
    }

    fn metrics(lost: u64) -> Metrics {
        let mut metrics = Metrics::default();
        metrics.messages.lost = lost;
        metrics
    }

    #[test]
    fn a_failed_gate_fails_the_cell_and_a_remark_does_not() {
        let gate = judge(&[assertion("lost == 0", true)], &metrics(1), &[]);
        assert_eq!(
            (gate.verdict, gate.reasons),
            (Verdict::Fail, vec!["a: lost is 1, wanted == 0".to_owned()])
        );
        let remark = judge(&[assertion("lost == 0", false)], &metrics(1), &[]);
        assert_eq!((remark.verdict, remark.reasons.len()), (Verdict::Pass, 0));
        assert_eq!(remark.asserts[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_broken_measurement_outweighs_what_it_measured() {
        let hiccup = ["the machine paused for 800ms".to_owned()];
        let cell = judge(&[assertion("lost == 0", true)], &metrics(1), &hiccup);
        assert_eq!(cell.verdict, Verdict::Invalid);
        assert_eq!(cell.reasons.len(), 2);
    }

    #[test]
    fn a_cell_without_assertions_passes() {
        assert_eq!(judge(&[], &metrics(1), &[]).verdict, Verdict::Pass);
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Invalid].map(exit_code);
        assert_eq!(codes, [0, 3, 3, 5]);
        assert_eq!(worse(Verdict::Inconclusive, Verdict::Fail), Verdict::Fail);
        assert_eq!(worse(Verdict::Fail, Verdict::Inconclusive), Verdict::Fail);
    }
}
