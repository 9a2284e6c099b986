//! `junit.xml`: a test case for each assertion of each cell, for the test reporters of build servers.
//!
//! A test suite is a cell. What does not hold is a failure of type `FAIL`, what could not be decided a failure of type
//! `INCONCLUSIVE` (it gates as well), and a run that says nothing about the system is an error of type `INVALID`. A
//! cell without assertions has one case, `run`, so that an invalid run is seen there too. A remark (`gate = false`) that does not
//! hold is skipped, with what it says: no build fails for it.
//! <https://github.com/testmoapp/junitxml> describes what readers of this format agree on.

use std::fmt::Write as _;

use crate::report::content::verdict_word;
use crate::report::html::escape;
use crate::report::origin::{Origin, cell_name};
use crate::result::{Cell, RunResult, Verdict};

/// One case before it is written.
struct Case {
    name: String,
    verdict: Verdict,
    message: String,
    /// Nothing depends on it.
    is_remark: bool,
}

impl Case {
    fn is_skipped(&self) -> bool {
        self.is_remark && matches!(self.verdict, Verdict::Fail | Verdict::Inconclusive)
    }
}

pub(super) fn write(result: &RunResult, origin: &Origin<'_>) -> String {
    let suites: Vec<(String, Vec<Case>)> =
        result.cells.iter().map(|cell| (cell_name(cell), cases(cell))).collect();
    let all = || suites.iter().flat_map(|(_, cases)| cases);
    let time = if origin.is_real() {
        format!(" time=\"{:.3}\" timestamp=\"{}\"", result.run.duration_s, text(&result.run.started_at))
    } else {
        String::new()
    };
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"{}\" {}{time}>\n",
        text(&origin.name),
        totals(all())
    );
    for (name, cases) in &suites {
        let suite = format!("{}: {name}", origin.name);
        let _ = writeln!(xml, "  <testsuite name=\"{}\" {}>", text(&suite), totals(cases));
        for case in cases {
            write_case(&mut xml, &suite, case);
        }
        xml.push_str("  </testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn cases(cell: &Cell) -> Vec<Case> {
    let invalid = cell.verdict == Verdict::Invalid;
    let mut cases: Vec<Case> = cell
        .asserts
        .iter()
        .map(|assert| Case {
            name: format!("{}: {}", assert.id, assert.expr),
            // Whatever an assertion says of an invalid run, it says nothing.
            verdict: if invalid { Verdict::Invalid } else { assert.verdict },
            message: assert.reason.clone().unwrap_or_else(|| verdict_word(assert.verdict).to_owned()),
            is_remark: !assert.gate,
        })
        .collect();
    // A cell can fail for what no assertion sees.
    let told = cases.iter().any(|case| case.verdict == cell.verdict && !case.is_skipped());
    if cases.is_empty() || (cell.verdict != Verdict::Pass && !told) {
        let message = verdict_word(cell.verdict).to_owned();
        cases.push(Case { name: "run".to_owned(), verdict: cell.verdict, message, is_remark: false });
    }
    cases
}

fn totals<'a>(cases: impl IntoIterator<Item = &'a Case>) -> String {
    let (mut tests, mut failures, mut errors, mut skipped) = (0, 0, 0, 0);
    for case in cases {
        tests += 1;
        match case.verdict {
            _ if case.is_skipped() => skipped += 1,
            Verdict::Pass => {}
            Verdict::Fail | Verdict::Inconclusive => failures += 1,
            Verdict::Invalid => errors += 1,
        }
    }
    format!("tests=\"{tests}\" failures=\"{failures}\" errors=\"{errors}\" skipped=\"{skipped}\"")
}

fn write_case(xml: &mut String, suite: &str, case: &Case) {
    let head = format!("    <testcase classname=\"{}\" name=\"{}\"", text(suite), text(&case.name));
    if case.is_skipped() {
        let message = text(&format!("remark, {}: {}", verdict_word(case.verdict), case.message));
        let _ = writeln!(xml, "{head}>\n      <skipped message=\"{message}\"/>\n    </testcase>");
        return;
    }
    let element = match case.verdict {
        Verdict::Pass => {
            let _ = writeln!(xml, "{head}/>");
            return;
        }
        Verdict::Fail | Verdict::Inconclusive => "failure",
        Verdict::Invalid => "error",
    };
    let (kind, message) = (verdict_word(case.verdict), text(&case.message));
    let _ = writeln!(
        xml,
        "{head}>\n      <{element} type=\"{kind}\" message=\"{message}\">{message}</{element}>\n    </testcase>"
    );
}

/// Text as XML 1.0 allows it: control characters have no form there at all.
fn text(raw: &str) -> String {
    let allowed = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    escape(&raw.chars().map(|c| if allowed(c) { c } else { ' ' }).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn verdicts() -> RunResult {
        let mut result = synthetic::sweep().result;
        result.cells.truncate(4);
        let of = [Verdict::Pass, Verdict::Fail, Verdict::Inconclusive, Verdict::Invalid];
        for (cell, verdict) in result.cells.iter_mut().zip(of) {
            cell.verdict = verdict;
            cell.asserts[0].verdict = verdict;
            cell.asserts[0].reason = Some("p99 is 2 s, \"not\" below <1500ms> & \u{1b}[31mmore".to_owned());
        }
        result
    }

    #[test]
    fn each_verdict_has_its_element() {
        let result = verdicts();
        let xml = write(&result, &Origin::of(&result));
        assert!(xml.contains("tests=\"4\" failures=\"2\" errors=\"1\""), "{xml}");
        for kind in ["<failure type=\"FAIL\"", "<failure type=\"INCONCLUSIVE\"", "<error type=\"INVALID\""] {
            assert_eq!(xml.matches(kind).count(), 1, "{kind} in {xml}");
        }
        assert!(xml.contains("&quot;not&quot; below &lt;1500ms&gt; &amp;"), "{xml}");
        assert!(!xml.contains('\u{1b}') && !xml.contains("timestamp"), "{xml}");
    }

    #[test]
    fn a_remark_fails_no_build() {
        let mut result = verdicts();
        result.cells.truncate(3);
        for cell in &mut result.cells {
            (cell.verdict, cell.asserts[0].gate) = (Verdict::Pass, false);
        }
        let xml = write(&result, &Origin::of(&result));
        assert!(xml.contains("tests=\"3\" failures=\"0\" errors=\"0\" skipped=\"2\""), "{xml}");
        assert!(xml.contains("<skipped message=\"remark, FAIL: p99 is 2 s"), "{xml}");
    }

    #[test]
    fn an_invalid_cell_is_an_error_whatever_its_assertions_say() {
        let mut result = verdicts();
        result.cells.truncate(1);
        result.cells[0].verdict = Verdict::Invalid;
        let xml = write(&result, &Origin::of(&result));
        assert!(xml.contains("errors=\"1\"") && xml.contains("<error type=\"INVALID\""), "{xml}");
        result.cells[0].asserts.clear();
        let xml = write(&result, &Origin::of(&result));
        assert!(xml.contains("name=\"run\"") && xml.contains("<error type=\"INVALID\""), "{xml}");
    }

    #[test]
    fn a_cell_that_fails_without_an_assertion_fails() {
        let mut result = verdicts();
        result.cells.truncate(1);
        result.cells[0].verdict = Verdict::Fail;
        let xml = write(&result, &Origin::of(&result));
        assert!(xml.contains("tests=\"2\" failures=\"1\"") && xml.contains("name=\"run\""), "{xml}");
    }
}
