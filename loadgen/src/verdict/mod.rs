//! From numbers to a verdict: assertions, and the exit code they end in.
//!
//! `expr` is the grammar (`p99(delivery_latency) < 1500ms`), `names` are its words, [`Subject`] is where their numbers
//! are found, `evaluate` decides one assertion, and this file folds assertions into cells and cells into a run. Two rules are stricter than
//! usual: what was not measured does not pass, and a percentile needs enough samples to be one.

mod compare;
mod early;
mod evaluate;
mod expr;
mod names;
mod quantity;
mod subject;
mod wanted;

pub use compare::Comparison;
pub use evaluate::evaluate;
pub use expr::Expr;
pub use quantity::Quantity;
pub use subject::Subject;
pub(crate) use wanted::{Samples, Wanted};

use crate::records::RunFile;
use crate::result::{AssertResult, Cell, Verdict};
use crate::scenario::{Assertion, Scenario};

/// Verdict of one cell: its assertions, decided, and the reasons why it is not PASS (one line each).
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    pub verdict: Verdict,
    pub asserts: Vec<AssertResult>,
    pub reasons: Vec<String>,
}

/// Judges one cell by the files of its repeats, all of one arm: the assertions of `scenario` on the folded run. A cell
/// without a run is INVALID.
#[must_use]
pub fn judge_runs(scenario: &Scenario, runs: &[RunFile]) -> Judgement {
    let Some(folded) = RunFile::fold(runs) else {
        let reasons = vec!["no run of this cell was finished".to_owned()];
        return Judgement { verdict: Verdict::Invalid, asserts: Vec::new(), reasons };
    };
    let subject = Subject { run: &folded, repeats: runs, scenario: Some(scenario) };
    decide(&scenario.asserts, &subject, &folded.invalid)
}

/// Decides every assertion of a cell. `invalid` says what was wrong with the generator or the machine; any such
/// reason makes the cell INVALID, because then the numbers say nothing about the system under test.
fn decide(assertions: &[Assertion], subject: &Subject<'_>, invalid: &[String]) -> Judgement {
    let asserts: Vec<AssertResult> =
        assertions.iter().map(|assertion| evaluate(assertion, subject)).collect();
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
pub(crate) fn worse(a: Verdict, b: Verdict) -> Verdict {
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
    use crate::records::{ClientRecord, PhaseSpan, RecoveryRecord, WorkloadRecord};
    use crate::result::{DirectionFacts, LinkFacts};
    use crate::scenario::MinSamples;
    use crate::stats::cluster::Messages;

    fn assertion(expr: &str, gate: bool) -> Assertion {
        let parsed = Expr::parse(expr).unwrap();
        Assertion { gate, ..Assertion::new("a".into(), expr.into(), parsed) }
    }

    /// A cell that lost so many pairs.
    fn judge(assertions: &[Assertion], lost: u64, invalid: &[String]) -> Judgement {
        let mut run = RunFile::default();
        run.metrics.messages.lost = lost;
        decide(assertions, &Subject::of_run(&run, None), invalid)
    }

    #[test]
    fn a_failed_gate_fails_the_cell_and_a_remark_does_not() {
        let gate = judge(&[assertion("lost == 0", true)], 1, &[]);
        assert_eq!(
            (gate.verdict, gate.reasons),
            (Verdict::Fail, vec!["a: lost is 1, wanted == 0".to_owned()])
        );
        let remark = judge(&[assertion("lost == 0", false)], 1, &[]);
        assert_eq!((remark.verdict, remark.reasons.len()), (Verdict::Pass, 0));
        assert_eq!(remark.asserts[0].verdict, Verdict::Fail);
    }

    #[test]
    fn a_broken_measurement_outweighs_what_it_measured() {
        let hiccup = ["the machine paused for 800ms".to_owned()];
        let cell = judge(&[assertion("lost == 0", true)], 1, &hiccup);
        assert_eq!(cell.verdict, Verdict::Invalid);
        assert_eq!(cell.reasons.len(), 2);
    }

    #[test]
    fn a_cell_without_assertions_passes() {
        assert_eq!(judge(&[], 1, &[]).verdict, Verdict::Pass);
    }

    #[test]
    fn exit_codes_are_those_of_the_manual() {
        let codes = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Invalid].map(exit_code);
        assert_eq!(codes, [0, 3, 3, 5]);
        assert_eq!(worse(Verdict::Inconclusive, Verdict::Fail), Verdict::Fail);
        assert_eq!(worse(Verdict::Fail, Verdict::Inconclusive), Verdict::Fail);
    }

    /// Two thousand messages of 1 to 2,000 ms to one recipient each, by one workload over a link of 100 ms and 1 Mbit/s.
    fn run(repeat: u32) -> RunFile {
        let mut run = RunFile { repeat, ..RunFile::default() };
        run.phases = vec![
            PhaseSpan { name: "warm-up".into(), ..PhaseSpan::default() },
            PhaseSpan { name: "steady".into(), until_us: 60_000_000, recorded: true, ..PhaseSpan::default() },
        ];
        let mut messages = Messages::default();
        for ms in 1..=2_000 {
            run.all.delivery.record(Some(ms * 1_000));
            messages.settle(&mut [ms * 1_000], 0);
        }
        run.quantiles = messages.estimates(&run.all.delivery);
        run.all.completion.record(Some(5));
        run.all.completion.record(None);
        run.workloads = vec![WorkloadRecord {
            name: "chat".into(),
            latencies: run.all.clone(),
            ..WorkloadRecord::default()
        }];
        (0..99).for_each(|_| run.connect.record(Some(250_000)));
        run.connect.record(None);
        run.metrics.throughput.goodput_bytes_per_s = 100_000.0 + f64::from(repeat) * 10_000.0;
        run.metrics.transport.rto_us = Some(200_000);
        let way = DirectionFacts {
            loss: 0.0,
            delay_us: 50_000,
            jitter_us: 0,
            rate_bps: Some(1_000_000),
            spec: String::new(),
        };
        run.links = vec![LinkFacts { name: "lte".into(), up: way.clone(), down: way }];
        let client = |bytes| ClientRecord { delivered_bytes: bytes, ..ClientRecord::default() };
        run.clients = vec![client(10), client(30)];
        let mut recovery = RecoveryRecord { link: "lte".into(), ..RecoveryRecord::default() };
        (1..=100).for_each(|ms| recovery.times.record(Some(ms * 1_000)));
        run.recoveries = vec![recovery];
        run
    }

    fn on(runs: &[RunFile], expr: &str) -> AssertResult {
        let folded = RunFile::fold(runs).expect("runs");
        let subject = Subject { run: &folded, repeats: runs, scenario: None };
        evaluate(&assertion(expr, true), &subject)
    }

    #[test]
    fn every_word_of_the_language_is_measured() {
        let runs = [run(0), run(1), run(2)];
        for (expr, value) in [
            ("p95(delivery_latency{phase='steady', workload='chat'}) < 1910ms", 1_900_000.0),
            ("p50(delivery_latency) < 2s", 1_000_000.0),
            ("median(delivery_latency) < 2s", 1_000_000.0),
            ("max(delivery_latency) <= 2001ms", 2_000_000.0),
            ("mean(delivery_latency) < 2s", 1_000_500.0),
            ("count(delivery_latency) == 6000", 6_000.0),
            ("rate(connect_ok) >= 0.99", 0.99),
            ("completion(workload='chat') == 0.5", 0.5),
            ("completion() >= 50%", 0.5),
            ("jain(goodput_per_client) >= 0.8", 0.8),
            ("p95(connect_latency) < 6*rtt + 4*rto", 250_000.0),
            ("rtt == 100ms", 100_000.0),
            ("median(goodput / capacity) >= 0.88", 0.88),
            ("max(goodput) == 120000", 120_000.0),
            ("goodput / capacity >= 0.88", 0.88),
            ("p90(recovery_time{link='lte'}) < 2*rto + 500ms", 90_000.0),
            ("outages == 3", 3.0),
        ] {
            let found = on(&runs, expr);
            let near = found.value.is_some_and(|found| (found / value - 1.0).abs() < 2e-3);
            assert!(found.verdict == Verdict::Pass && near, "{expr}: {found:?}");
        }
    }

    #[test]
    fn an_assertion_without_samples_fails_and_says_why() {
        for (expr, why) in [
            ("p99(ack_rtt) < 1h", "there are no samples"),
            ("p99(delivery_latency{workload='files'}) < 1h", "there is no workload \"files\""),
            ("p99(delivery_latency{phase='warm-up'}) < 1h", "recorded: steady"),
            ("p95(recovery_time{link='wifi'}) < 1h", "there are no samples"),
            ("server_rss / clients < 32KiB", "was not sampled"),
            ("rate(acked) >= 0", "there are no samples"),
        ] {
            let found = on(&[run(0)], expr);
            assert_eq!(found.verdict, Verdict::Fail, "{expr}");
            assert!(found.reason.as_deref().is_some_and(|reason| reason.contains(why)), "{found:?}");
        }
    }

    #[test]
    fn too_few_samples_are_inconclusive_unless_fewer_are_asked_for() {
        assert_eq!(on(&[run(0)], "p99.9(delivery_latency) < 1h").verdict, Verdict::Inconclusive);
        let runs = [run(0)];
        let parsed = Expr::parse("p99.9(delivery_latency) < 1h").expect("an assertion");
        let mut few = Assertion::new("few".into(), String::new(), parsed);
        few.min_samples = MinSamples::AtLeast(2_000);
        assert_eq!(evaluate(&few, &Subject::of_run(&runs[0], None)).verdict, Verdict::Pass);
    }

    #[test]
    fn the_reason_shows_the_interval() {
        let reason = on(&[run(0)], "p99(delivery_latency) < 6*rtt").reason.expect("it fails");
        assert!(reason.starts_with("p99(delivery_latency) is 1980.415ms (95 %: 1971"), "{reason}");
        assert!(reason.ends_with("wanted < 6*rtt = 600ms"), "{reason}");
    }
}
