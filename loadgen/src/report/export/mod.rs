//! The report for other programs: HdrHistogram's viewers, test reporters, monitoring.
//!
//! `[output] formats` of the scenario says which are written; without it, all.

pub(super) mod hgrm;
mod hlog;
mod junit;
mod prometheus;

use serde_json::Value;

use super::origin::Origin;
use super::runs::Told;

/// One file to write: its path below the folder of the report, and its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Export {
    pub(super) path: String,
    pub(super) text: String,
}

/// Which forms of the report a scenario asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Formats<'a> {
    asked: Option<&'a [Value]>,
}

impl<'a> Formats<'a> {
    pub(super) fn of(scenario: &'a Value) -> Self {
        let formats = scenario.get("output").and_then(|output| output.get("formats"));
        Self { asked: formats.and_then(Value::as_array).map(Vec::as_slice) }
    }

    pub(super) fn has(self, format: &str) -> bool {
        self.asked.is_none_or(|formats| formats.iter().any(|asked| asked.as_str() == Some(format)))
    }
}

/// Every file that is asked for, in a fixed order. Histograms need run files.
pub(super) fn all(told: &Told<'_>, origin: &Origin<'_>, formats: Formats<'_>) -> Vec<Export> {
    let mut exports = Vec::new();
    let mut add = |path: String, text: String| exports.push(Export { path, text });
    if formats.has("junit") {
        add("junit.xml".to_owned(), junit::write(told.result, origin));
    }
    if formats.has("prom") {
        add("metrics.prom".to_owned(), prometheus::write(told, origin));
    }
    let swept = told.is_swept();
    for pooled in &told.pooled {
        let arm = if pooled.arm == 0 { "" } else { "-b" };
        // The only cell has the plain name.
        let path = |extension: &str| match swept {
            true => format!("{extension}/c{:03}{arm}.{extension}", pooled.cell),
            false => format!("latency{arm}.{extension}"),
        };
        if formats.has("hgrm") {
            add(path("hgrm"), hgrm::write(&pooled.all.delivery));
        }
        if formats.has("hlog") {
            add(path("hlog"), hlog::write(told, origin, pooled));
        }
    }
    exports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_all_formats_are_written() {
        let all = serde_json::json!({});
        assert!(Formats::of(&all).has("hlog"));
        let few = serde_json::json!({"output": {"formats": ["html", "junit"]}});
        let few = Formats::of(&few);
        assert!(few.has("html") && few.has("junit") && !few.has("hlog"));
    }
}
