//! The result as plain text: verdict first and last, so that it is seen whether one scrolls or not.
//!
//! No colour: the caller knows whether its output is a terminal.

use crate::result::RunResult;

use super::origin::Origin;
use super::runs::Told;
use super::{compared, content, measured};

/// What a terminal shows of a result alone. Ends with a newline.
#[must_use]
pub fn terminal_summary(result: &RunResult) -> String {
    summary(&Told::of(result, &[]))
}

/// The same with what run files tell beside it.
pub(super) fn summary(told: &Told<'_>) -> String {
    let result = told.result;
    let origin = Origin::of(result);
    let verdict = content::verdict_word(result.verdict);
    let mut text = format!("{verdict}  {}\n", origin.heading());
    text.push_str(&format!("{}\n", origin.caption()));
    let reasons = content::reasons(result);
    for reason in &reasons {
        text.push_str(&format!("  - {reason}\n"));
    }
    for warning in measured::warnings(told) {
        text.push_str(&format!("  - warning: {warning}\n"));
    }
    let tables = content::assertions(result)
        .into_iter()
        .chain(measured::percentiles(told))
        .chain(content::key_numbers(result))
        .chain(content::cells(told))
        .chain(measured::workloads(told))
        .chain(content::links(result))
        .chain([content::health(told)]);
    for table in tables {
        text.push('\n');
        text.push_str(&table.to_text());
    }
    for problem in content::link_problems(result) {
        text.push_str(&format!("  - {problem}\n"));
    }
    if let Some(compared) = told.comparison {
        text.push_str(&format!("\n{}", compared::text(compared)));
    }
    let found = || told.comparison.and_then(compared::warning);
    let why = reasons.first().cloned().or_else(found).map_or(String::new(), |reason| format!(": {reason}"));
    text.push_str(&format!("\n{verdict}{why}\n"));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;
    use crate::result::Verdict;

    #[test]
    fn the_verdict_comes_first_and_last() {
        let mut result = synthetic::small().result;
        let words = [
            (Verdict::Pass, "PASS"),
            (Verdict::Fail, "FAIL"),
            (Verdict::Inconclusive, "INCONCLUSIVE"),
            (Verdict::Invalid, "INVALID"),
        ];
        for (verdict, word) in words {
            result.verdict = verdict;
            let text = terminal_summary(&result);
            assert!(text.starts_with(&format!("{word}  loss10: ")), "{text}");
            assert!(text.ends_with(&format!("\n{word}\n")), "{text}");
        }
    }

    #[test]
    fn reasons_and_interruption_are_told_on_top() {
        let mut result = synthetic::small().result;
        result.verdict = Verdict::Fail;
        result.reasons = vec!["p99: 1,812 ms is not below 1500ms".to_owned()];
        result.run.interrupted = Some("interrupted after 12.3 s".to_owned());
        let text = terminal_summary(&result);
        let third = text.lines().nth(2).expect("three lines");
        assert_eq!(third, "  - partial: interrupted after 12.3 s");
        assert!(text.contains("  - p99: 1,812 ms is not below 1500ms"), "{text}");
    }

    #[test]
    fn percentiles_among_lost_pairs_say_lost() {
        let result = synthetic::loss10(synthetic::Loss::TwoPercent).result;
        let text = terminal_summary(&result);
        let line = text.lines().find(|line| line.contains("intended to delivered")).expect("a latency line");
        assert!(line.contains("lost"), "{line}");
    }
}
