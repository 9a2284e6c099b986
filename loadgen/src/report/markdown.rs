//! `summary.md`: the report for a pull request or a wiki, short, with figures linked.

use crate::result::RunResult;

use super::content;
use super::figure::Outcome;
use super::origin::Origin;
use super::table::escape_markdown;

pub(super) fn write(result: &RunResult, origin: &Origin<'_>, outcomes: &[Outcome]) -> String {
    let verdict = content::verdict_word(result.verdict);
    let mut text = format!("# {verdict} — {}\n\n", escape_markdown(&origin.heading()));
    text.push_str(&format!("{}\n", content::verdict_sentence(result.verdict)));
    for (index, reason) in content::reasons(result).iter().enumerate() {
        let gap = if index == 0 { "\n" } else { "" };
        text.push_str(&format!("{gap}- {}\n", escape_markdown(reason)));
    }
    let tables = content::assertions(result)
        .into_iter()
        .chain(content::key_numbers(result))
        .chain(content::cells(result));
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
    let tables = content::links(result)
        .into_iter()
        .chain([content::health(result), content::environment(result, origin)]);
    for table in tables {
        text.push_str(&format!("\n## {}\n\n{}", table.title, table.to_markdown()));
    }
    for problem in content::link_problems(result) {
        text.push_str(&format!("\nLink self-check: {}\n", escape_markdown(&problem)));
    }
    text
}
