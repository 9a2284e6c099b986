//! `report.html`: one file that needs nothing else, not even a script.
//!
//! It opens from a disk, a mail or a build server without a network, and its content policy forbids one. Tables and
//! figures are there as they are; where scripts may run, the one it holds ([`super::page`]) adds plots that answer
//! questions. Figures are inlined as SVG on white cards, because their colours were chosen for white; everything around
//! them follows the reader's light or dark setting. Every text that came from outside passes [`escape`].

use super::export::Formats;
use super::figure::{Figure, Outcome};
use super::origin::Origin;
use super::page::{self, Data, Embedded};
use super::runs::Told;
use super::table::Table;
use super::{compared, content, measured};
use crate::compare::Compared;
use crate::result::Verdict;

/// All that a page shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) told: &'a Told<'a>,
    pub(super) origin: &'a Origin<'a>,
    pub(super) outcomes: &'a [Outcome],
    pub(super) sequence: Option<&'a super::figure::TimeSequence>,
    pub(super) formats: Formats<'a>,
    /// The files beside it that are worth a link.
    pub(super) records: &'a [String],
}

/// The page, of at most [`MOST_BYTES`] unless its tables alone are larger.
pub(super) fn write(page: &Page<'_>) -> String {
    let (told, origin) = (page.told, page.origin);
    let result = told.result;
    let script = page::script();
    let (figures, without) = figures(page);
    let mut body = banner(told, origin);
    let top = body.len();
    let mut main = String::new();
    if let Some(table) = content::assertions(result) {
        assertions(&mut main, table);
    }
    if let Some(compared) = told.comparison {
        main.push_str(&comparison(compared));
    }
    let numbers = content::key_numbers(result);
    let percentiles = measured::percentiles(told);
    if !numbers.is_empty() || percentiles.is_some() {
        main.push_str("<div class=\"beside\" id=\"numbers\">\n");
        let ids = ["latency", "messages", "transport", "causes"];
        if let Some(table) = &percentiles {
            section(&mut main, "percentiles", table);
        }
        for (id, table) in ids.into_iter().zip(&numbers) {
            section(&mut main, id, table);
        }
        main.push_str("</div>\n");
    }
    if let Some(table) = content::cells(told) {
        section(&mut main, "cells", &table);
    }
    if let Some(table) = measured::workloads(told) {
        section(&mut main, "workloads", &table);
    }
    let mut end = String::new();
    if let Some(table) = content::links(result) {
        section(&mut end, "link", &table);
        end.push_str(&list(&content::link_problems(result)));
    }
    section(&mut end, "health", &content::health(told));
    section(&mut end, "environment", &content::environment(result, origin));
    end.push_str(&configuration(told));
    end.push_str(&downloads(page));
    let fixed = top + main.len() + figures.len() + end.len() + script.len() + page::STYLE.len() + RESERVE;
    let data =
        Data { result, runs: told.runs, pooled: &told.pooled, arms: &told.arms, sequence: page.sequence };
    let mut embedded = data.embed(MOST_BYTES.saturating_sub(fixed));
    embedded.omissions.extend(told.lacks_runs());
    let slowest = slowest(told, &embedded);
    let has_slowest = !slowest.is_empty();
    body.push_str(&contents(told, has_slowest));
    body.push_str("<main>\n");
    body.push_str(&main);
    body.push_str(EXPLORE);
    body.push_str(&omissions(&embedded, &without));
    body.push_str(&slowest);
    body.push_str(&figures);
    body.push_str(&end);
    body.push_str("</main>\n");
    let title = escape(&format!("{} — {}", content::verdict_word(result.verdict), origin.heading()));
    let policy = format!(
        "default-src 'none'; style-src {}; script-src {}; base-uri 'none'; form-action 'none'",
        page::hash(page::STYLE),
        page::hash(&script)
    );
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>{}</style>\n</head>\n<body>\n\
         {body}<script type=\"application/json\" id=\"data\">{}</script>\n<script>{script}</script>\n</body>\n</html>\n",
        page::STYLE,
        embedded.json
    )
}

/// Text that HTML shows as it is, in content and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn banner(told: &Told<'_>, origin: &Origin<'_>) -> String {
    let result = told.result;
    let verdict = content::verdict_word(result.verdict);
    let title = if origin.title.is_empty() { &origin.name } else { &origin.title };
    let caption = escape(&origin.caption());
    let warnings = measured::warnings(told);
    let warned =
        if warnings.is_empty() { String::new() } else { format!("<p>Warnings:</p>\n{}", list(&warnings)) };
    format!(
        "<header class=\"banner {}\">\n<p class=\"word\">{verdict}</p>\n<div>\n<h1>{}</h1>\n<p>{}</p>\n{}{warned}\
         <p class=\"caption\">{caption}</p>\n</div>\n</header>\n",
        verdict.to_lowercase(),
        escape(title),
        content::verdict_sentence(result.verdict),
        list(&content::reasons(result)),
    )
}

/// Links to the sections that the page has; those that need the script appear with it.
fn contents(told: &Told<'_>, has_slowest: bool) -> String {
    let result = told.result;
    let swept = told.is_swept();
    let sections = [
        ("assertions", "Assertions", content::assertions(result).is_some()),
        ("comparison", told.comparison.map_or("", compared::heading), told.comparison.is_some()),
        ("numbers", "Numbers", !swept || !content::key_numbers(result).is_empty()),
        ("cells", "Cells", swept),
        ("slowest", "Slowest messages", has_slowest),
        ("figures", "Figures", true),
        ("link", "Link", content::links(result).is_some()),
        ("health", "Health", true),
        ("environment", "Environment", true),
        ("downloads", "Downloads", true),
    ];
    let scripted = [
        ("percentile", "Ask a percentile"),
        ("over-time", "Over time"),
        ("sweep-explorer", "Sweep explorer"),
        ("time-sequence", "Packets"),
    ];
    let mut html = String::from("<nav aria-label=\"Contents\">");
    for (id, name, _) in sections.into_iter().filter(|section| section.2) {
        html.push_str(&format!("<a href=\"#{id}\">{name}</a> "));
    }
    for (id, name) in scripted {
        html.push_str(&format!("<a href=\"#{id}\" hidden>{name}</a> "));
    }
    html.push_str("</nav>\n");
    html
}

/// Of many, those that hold are folded away.
fn assertions(html: &mut String, mut table: Table) {
    let holds = content::verdict_word(Verdict::Pass);
    let failing = table.rows.iter().take_while(|row| row[0] != holds).count();
    if table.rows.len() <= FEW_ASSERTIONS || failing == table.rows.len() {
        return section(html, "assertions", &table);
    }
    let held = Table { rows: table.rows.split_off(failing), ..table.clone() };
    html.push_str("<section id=\"assertions\">\n<h2>Assertions</h2>\n");
    if failing > 0 {
        html.push_str(&table.to_html());
    }
    let count = held.rows.len();
    let summary = if failing > 0 { format!("{count} more hold") } else { format!("All {count} hold") };
    let rows = held.to_html();
    html.push_str(&format!("<details><summary>{summary}</summary>\n{rows}</details>\n</section>\n"));
}

fn section(html: &mut String, id: &str, table: &Table) {
    let title = escape(table.title);
    html.push_str(&format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{}</section>\n", table.to_html()));
}

/// What was set against what.
fn comparison(compared: &Compared) -> String {
    let mut html = format!("<section id=\"comparison\">\n<h2>{}</h2>\n", compared::heading(compared));
    html.push_str(&list(&compared::sentences(compared)));
    for table in compared::tables(compared) {
        html.push_str(&format!("<h3>{}</h3>\n{}", escape(table.title), table.to_html()));
    }
    html.push_str(&format!("<p class=\"caption\">{}</p>\n</section>\n", compared::note(compared)));
    html
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
    format!("<ul>\n{items}</ul>\n")
}

/// The slowest messages that the page can show, and room for the timeline of one.
fn slowest(told: &Told<'_>, embedded: &Embedded<'_>) -> String {
    let listed = &embedded.exemplars[..embedded.exemplars.len().min(MOST_LISTED)];
    let Some(table) = measured::slowest(told, listed) else { return String::new() };
    let rows = table.to_html_rows(|row| format!(" data-exemplar=\"{row}\""));
    format!(
        "<section id=\"slowest\">\n<h2>Slowest messages</h2>\n{rows}\
         <div id=\"timeline\" class=\"explore\" aria-live=\"polite\" hidden></div>\n</section>\n"
    )
}

fn omissions(embedded: &Embedded<'_>, without: &[String]) -> String {
    let mut all = embedded.omissions.clone();
    if !without.is_empty() {
        all.push(format!("Figures that are beside the page only: {}.", without.join(", ")));
    }
    if all.is_empty() {
        return String::new();
    }
    format!(
        "<div class=\"omissions\"><p>What this page leaves out, because it holds at most two megabytes or because it was \
         not recorded:</p>\n{}</div>\n",
        list(&all)
    )
}

/// Figures inline while there is room for them; the others by name, in the order of the report.
fn figures(page: &Page<'_>) -> (String, Vec<String>) {
    let mut html = String::from("<section id=\"figures\">\n<h2>Figures</h2>\n");
    let mut without = Vec::new();
    for outcome in page.outcomes {
        match outcome {
            Outcome::Drawn(drawn) if html.len() + drawn.svg.len() <= MOST_FIGURES => {
                html.push_str(&figure(drawn, page.formats));
            }
            Outcome::Drawn(drawn) => {
                html.push_str(&beside(drawn, page.formats));
                without.push(drawn.id.to_owned());
            }
            Outcome::Absent { id, reason } => {
                html.push_str(&format!("<p class=\"absent\">No <code>{id}</code>: {}.</p>\n", escape(reason)))
            }
        }
    }
    html.push_str("</section>\n");
    (html, without)
}

fn figure(figure: &Figure, formats: Formats<'_>) -> String {
    format!(
        "<figure id=\"{id}\">\n<h3>{}</h3>\n<div class=\"card\">\n{}</div>\n<figcaption>{} <span class=\"caption\">{}\
         </span> <span class=\"save\">{}</span></figcaption>\n</figure>\n",
        escape(figure.name),
        figure.svg,
        escape(figure.reading),
        escape(&figure.caption),
        files_of(figure, formats),
        id = figure.id,
    )
}

/// A figure that would make the page too large.
fn beside(figure: &Figure, formats: Formats<'_>) -> String {
    format!(
        "<figure id=\"{}\">\n<h3>{}</h3>\n<p>{}</p>\n<figcaption>{} It is too large for this page. \
         <span class=\"save\">{}</span></figcaption>\n</figure>\n",
        figure.id,
        escape(figure.name),
        escape(&figure.title),
        escape(figure.reading),
        files_of(figure, formats),
    )
}

/// Links to the files of a figure.
fn files_of(figure: &Figure, formats: Formats<'_>) -> String {
    let link = |(extension, name)| format!("<a href=\"{}.{extension}\" download>{name}</a>", figure.id);
    let written =
        [("png", "PNG"), ("svg", "SVG")].into_iter().filter(|(extension, _)| formats.has(extension));
    written.map(link).collect::<Vec<_>>().join(" ")
}

/// The effective scenario, for those who want to know what a number rests on.
fn configuration(told: &Told<'_>) -> String {
    let text = serde_json::to_string_pretty(&told.result.scenario).unwrap_or_default();
    format!(
        "<details class=\"scenario\"><summary>The effective scenario</summary>\n<pre>{}</pre></details>\n",
        escape(&text)
    )
}

fn downloads(page: &Page<'_>) -> String {
    let mut html = String::from("<section id=\"downloads\">\n<h2>Downloads</h2>\n<ul class=\"files\">\n");
    for file in page.records.iter().take(MOST_LINKS) {
        let file = escape(file);
        html.push_str(&format!("<li><a href=\"{file}\">{file}</a></li>\n"));
    }
    for outcome in page.outcomes {
        if let Outcome::Drawn(figure) = outcome {
            let links = files_of(figure, page.formats);
            if !links.is_empty() {
                html.push_str(&format!("<li>{}: {links}</li>\n", figure.id));
            }
        }
    }
    html.push_str("</ul>\n</section>\n");
    html
}

/// Sections that the script fills and shows.
const EXPLORE: &str = "<section id=\"percentile\" hidden>\n<h2>Ask a percentile</h2>\n\
    <p>Type a percentile, or point at the curve. A click shows the kept message nearest to it.</p>\n\
    <div class=\"explore\"></div>\n</section>\n\
    <section id=\"over-time\" hidden>\n<h2>Over time</h2>\n<div class=\"explore\"></div>\n</section>\n\
    <section id=\"sweep-explorer\" hidden>\n<h2>Sweep explorer</h2>\n<p>Each point is the median of the repeats, each bar \
    their range.</p>\n<div class=\"explore\"></div>\n</section>\n\
    <section id=\"time-sequence\" hidden>\n<h2>Packets of the traced connection</h2>\n<div class=\"explore\"></div>\n</section>\n";

/// Rows of the table of assertions that are read at once.
const FEW_ASSERTIONS: usize = 12;
/// What a page may weigh: it is mailed, attached and kept.
const MOST_BYTES: usize = 2_000_000;
/// Of which figures may take this much; the rest is for data.
const MOST_FIGURES: usize = 1_300_000;
/// The table of the slowest messages, the contents and what frames them.
const RESERVE: usize = 40_000;
/// Rows of the table of slowest messages.
const MOST_LISTED: usize = 25;
/// Files of a large sweep are found in their folders.
const MOST_LINKS: usize = 40;
