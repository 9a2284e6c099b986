//! Decides one assertion on the metrics of a cell.

use std::time::Duration;

use units::format_duration;

use super::expr::{Expr, Op, Term};
use super::names::{Measured, Over};
use super::subject::Subject;
use crate::result::{AssertResult, Verdict};
use crate::scenario::{Assertion, MinSamples, OnMissing};

/// Why a side has no value.
enum Gap {
    Missing(String),
    TooFew { have: u64, need: u64 },
}

/// Decides `assertion`.
///
/// A percentile that falls among lost messages is infinite and fails every upper bound; two of them do not compare. Fewer samples than
/// `min_samples` (10 / (1 - q) unless it is set) leave a percentile INCONCLUSIVE, no sample at all is a FAIL unless
/// `on_missing` says otherwise. What decides is the point estimate; the reason shows its interval.
#[must_use]
pub fn evaluate(assertion: &Assertion, subject: &Subject<'_>) -> AssertResult {
    let expr = &assertion.parsed;
    let left = value(&expr.left, subject, assertion.min_samples);
    let shown = left.as_ref().ok().copied().filter(|value| value.is_finite());
    let (verdict, reason) = match (left, value(&expr.right, subject, assertion.min_samples)) {
        // Both are "never", and never is not known to be at most never.
        (Ok(left), Ok(right)) if left.is_infinite() && right.is_infinite() => {
            let gap = Gap::Missing("both sides fall among messages that never arrived".to_owned());
            undecided(expr, &gap, assertion.on_missing)
        }
        (Ok(left), Ok(right)) if expr.comparison.holds(left, right) => (Verdict::Pass, None),
        (Ok(left), Ok(right)) => (Verdict::Fail, Some(sentence(expr, subject, left, right))),
        (Err(gap), _) | (_, Err(gap)) => undecided(expr, &gap, assertion.on_missing),
    };
    AssertResult {
        id: assertion.id.clone(),
        expr: assertion.expr.clone(),
        value: shown,
        verdict,
        reason,
        gate: assertion.gate,
    }
}

/// The value of `term`, microseconds for times; an error says why there is none.
pub(super) fn value_of(term: &Term, subject: &Subject<'_>) -> Result<f64, String> {
    value(term, subject, MinSamples::AtLeast(1)).map_err(|gap| match gap {
        Gap::Missing(why) => why,
        Gap::TooFew { have, need } => format!("{have} samples are too few, it takes {need}"),
    })
}

fn undecided(expr: &Expr, gap: &Gap, on_missing: OnMissing) -> (Verdict, Option<String>) {
    let sides = format!("{} {} {}", expr.left_text, expr.comparison, expr.right_text);
    match (gap, on_missing) {
        (Gap::TooFew { have, need }, _) => {
            let reason =
                format!("{sides}: {have} samples are too few for the percentile, which takes {need}");
            (Verdict::Inconclusive, Some(reason))
        }
        (Gap::Missing(why), OnMissing::Fail) => (Verdict::Fail, Some(format!("{sides}: {why}"))),
        (Gap::Missing(why), OnMissing::Inconclusive) => {
            (Verdict::Inconclusive, Some(format!("{sides}: {why}")))
        }
        (Gap::Missing(_), OnMissing::Pass) => (Verdict::Pass, None),
    }
}

fn value(term: &Term, subject: &Subject<'_>, min: MinSamples) -> Result<f64, Gap> {
    let value = match term {
        Term::Literal { value, .. } => *value,
        Term::Metric(metric) => match subject.measure(metric, min) {
            Measured::Value(value) => value,
            Measured::Missing(why) => return Err(Gap::Missing(why)),
            Measured::TooFew { have, need } => return Err(Gap::TooFew { have, need }),
        },
        Term::OverRepeats { over, of } => over_repeats(*over, of, subject, min)?,
        Term::Binary { op, left, right } => {
            let (left, right) = (value(left, subject, min)?, value(right, subject, min)?);
            match op {
                Op::Add => left + right,
                Op::Subtract => left - right,
                Op::Multiply => left * right,
                Op::Divide if right == 0.0 => return Err(Gap::Missing("divides by zero".to_owned())),
                Op::Divide => left / right,
            }
        }
    };
    // Infinity minus infinity: two percentiles among the lost do not compare.
    if value.is_nan() { Err(Gap::Missing("is not defined".to_owned())) } else { Ok(value) }
}

fn over_repeats(over: Over, of: &Term, subject: &Subject<'_>, min: MinSamples) -> Result<f64, Gap> {
    if subject.repeats.is_empty() {
        return value(of, subject, min);
    }
    let one = |run| value(of, &Subject::of_run(run, subject.scenario), min);
    let mut values = subject.repeats.iter().map(one).collect::<Result<Vec<f64>, Gap>>()?;
    values.sort_by(f64::total_cmp);
    let count = values.len();
    Ok(match over {
        Over::Min => values[0],
        Over::Max => values[count - 1],
        Over::Mean => values.iter().sum::<f64>() / count as f64,
        Over::Median => f64::midpoint(values[(count - 1) / 2], values[count / 2]),
    })
}

/// `p99(delivery_latency) is 1.63s (1.5s to 1.7s), wanted < 1500ms`.
fn sentence(expr: &Expr, subject: &Subject<'_>, left: f64, right: f64) -> String {
    let shown = if left.is_infinite() {
        "infinite (it falls among messages that never arrived)".to_owned()
    } else {
        format!("{}{}", number(expr, left), interval(expr, subject))
    };
    // A bound that was computed says what it came to.
    let bound = match &expr.right {
        Term::Literal { .. } => String::new(),
        _ if right.is_infinite() => " = infinite".to_owned(),
        _ => format!(" = {}", number(expr, right)),
    };
    format!("{} is {shown}, wanted {} {}{bound}", expr.left_text, expr.comparison, expr.right_text)
}

fn interval(expr: &Expr, subject: &Subject<'_>) -> String {
    let Term::Metric(metric) = &expr.left else {
        return String::new();
    };
    let Some((low, high)) = subject.interval(metric) else {
        return String::new();
    };
    let bound = |us: Option<u64>| us.map_or("infinite".to_owned(), |us| number(expr, us as f64));
    format!(" (95 %: {} to {})", bound(low), bound(high))
}

fn number(expr: &Expr, value: f64) -> String {
    if expr.is_time() && value >= 0.0 {
        format_duration(Duration::from_micros(value.round() as u64))
    } else {
        format!("{}", (value * 1e6).round() / 1e6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::RunFile;

    fn decide(expr: &str, run: &RunFile) -> AssertResult {
        let parsed = Expr::parse(expr).unwrap();
        let assertion = Assertion::new("a".into(), expr.into(), parsed);
        evaluate(&assertion, &Subject::of_run(run, None))
    }

    /// So many deliveries, of which a fiftieth took as long as `slowest`.
    fn measured(count: u64, slowest: Option<u64>) -> RunFile {
        let mut run = RunFile::default();
        (0..count).for_each(|n| run.all.delivery.record(if n % 50 == 0 { slowest } else { Some(1) }));
        run
    }

    #[test]
    fn a_measured_percentile_passes_or_says_by_how_much_not() {
        let metrics = measured(1000, Some(1_632_000));
        assert_eq!(decide("p99(delivery_latency) < 2s", &metrics).verdict, Verdict::Pass);
        let failed = decide("p99(delivery_latency) < 1500ms", &metrics);
        assert_eq!(failed.verdict, Verdict::Fail);
        assert!((failed.value.unwrap() / 1_632_000.0 - 1.0).abs() < 1e-3, "{failed:?}");
        let reason = failed.reason.unwrap();
        assert!(reason.starts_with("p99(delivery_latency) is 1632"), "{reason}");
        assert!(reason.ends_with(", wanted < 1500ms"), "{reason}");
    }

    #[test]
    fn a_percentile_among_the_lost_is_infinite() {
        let failed = decide("p99(delivery_latency) < 1500ms", &measured(1000, None));
        assert_eq!((failed.verdict, failed.value), (Verdict::Fail, None));
        assert!(failed.reason.unwrap().contains("never arrived"));
    }

    #[test]
    fn what_never_arrives_is_not_compared_with_what_never_arrives() {
        let mut run = RunFile::default();
        (0..2_000).for_each(|_| run.all.delivery.record(None));
        for comparison in ["<=", ">=", "=="] {
            let found = decide(&format!("p99(delivery_latency) {comparison} 3*p50(delivery_latency)"), &run);
            assert_eq!(found.verdict, Verdict::Fail, "{comparison}");
            assert!(found.reason.unwrap().contains("both sides"), "{comparison}");
        }
    }

    #[test]
    fn too_few_samples_leave_a_percentile_open() {
        let few = decide("p99(delivery_latency) < 1500ms", &measured(999, Some(1)));
        assert_eq!(few.verdict, Verdict::Inconclusive);
        assert!(few.reason.unwrap().contains("999 samples are too few"));
        assert_eq!(decide("p50(delivery_latency) < 1500ms", &measured(20, Some(1))).verdict, Verdict::Pass);
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        assert_eq!(decide("p99(delivery_latency) < 1h", &measured(0, None)).verdict, Verdict::Fail);
        assert_eq!(decide("lost / intended <= 10%", &RunFile::default()).verdict, Verdict::Fail);
        assert_eq!(decide("srtt < 1h", &RunFile::default()).verdict, Verdict::Fail);
    }

    #[test]
    fn sums_of_counters_compare_with_zero() {
        let mut run = RunFile::default();
        assert_eq!(decide("lost + duplicated + reordered + corrupted == 0", &run).verdict, Verdict::Pass);
        run.metrics.messages.duplicated = 2;
        let failed = decide("lost + duplicated == 0", &run);
        assert_eq!(failed.reason.unwrap(), "lost + duplicated is 2, wanted == 0");
    }
}
