//! `summary.md`: the report for a pull request or a wiki, short, with figures linked.

use crate::records::{Exemplar, RunFile};

use super::figure::Outcome;
use super::origin::Origin;
use super::page::latency;
use super::runs::Told;
use super::table::escape_markdown;
use super::{compared, content, measured};

pub(super) fn write(told: &Told<'_>, origin: &Origin<'_>, outcomes: &[Outcome]) -> String {
    let result = told.result;
    let verdict = content::verdict_word(result.verdict);
    let mut text = format!("# {verdict} — {}\n\n", escape_markdown(&origin.heading()));
    text.push_str(&format!("{}\n", content::verdict_sentence(result.verdict)));
    for (index, reason) in content::reasons(result).iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        text.push_str(&format!("{gap}- {}\n", escape_markdown(reason)));
    }
    for (index, warning) in measured::warnings(told).iter().enumerate() {
        let gap = if index == 0 { "\nWarnings:\n\n" } else { "" };
        text.push_str(&format!("{gap}- {}\n", escape_markdown(warning)));
    }
    if let Some(table) = content::assertions(result) {
        text.push_str(&format!("\n## {}\n\n{}", table.title, table.to_markdown()));
    }
    if let Some(compared) = told.comparison {
        for (index, line) in compared::sentences(compared).iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            text.push_str(&format!("{gap}- {}\n", escape_markdown(line)));
        }
        for table in compared::tables(compared) {
            text.push_str(&format!("\n## {}\n\n{}", table.title, table.to_markdown()));
        }
    }
    let tables = measured::percentiles(told)
        .into_iter()
        .chain(content::key_numbers(result))
        .chain(content::cells(told))
        .chain(measured::workloads(told));
    for table in tables {
        text.push_str(&format!("\n## {}\n\n{}", table.title, table.to_markdown()));
    }
    text.push_str("\n## Figures\n");
    for outcome in outcomes {
        match outcome {
            Outcome::Drawn(figure) => {
                let title = escape_markdown(&figure.title);
                text.push_str(&format!("\n![{title}]({}.png)\n\n{}\n", figure.id, figure.reading));
            }
            Outcome::Absent { id, reason } => text.push_str(&format!("\nNo `{id}`: {reason}.\n")),
        }
    }
    let tables = measured::slowest(told, &slowest(told))
        .into_iter()
        .chain(content::links(result))
        .chain([content::health(told), content::environment(result, origin)]);
    for table in tables {
        text.push_str(&format!("\n## {}\n\n{}", table.title, table.to_markdown()));
    }
    for problem in content::link_problems(result) {
        text.push_str(&format!("\nLink self-check: {}\n", escape_markdown(&problem)));
    }
    text
}

/// The first few of all that run files keep.
fn slowest<'a>(told: &Told<'a>) -> Vec<(&'a RunFile, &'a Exemplar)> {
    let mut all: Vec<(&RunFile, &Exemplar)> =
        told.runs.iter().flat_map(|run| run.exemplars.iter().map(move |exemplar| (run, exemplar))).collect();
    all.sort_by_key(|(_, exemplar)| std::cmp::Reverse(latency(exemplar)));
    all.truncate(MOST_SLOWEST);
    all
}

/// A summary shows that they are there; the page has more.
const MOST_SLOWEST: usize = 5;
