//! `report.html`: one file that needs nothing else, not even a script.
//!
//! It opens from a disk, a mail or a build server without a network, and its content policy forbids one. Figures are
//! inlined as SVG on white cards, because their colours were chosen for white; everything around them follows the
//! reader's light or dark setting. Every text that came from outside passes [`escape`].

use crate::result::RunResult;

use super::content;
use super::figure::{Figure, Outcome};
use super::origin::Origin;
use super::table::Table;

const STYLE: &str = include_str!("report.css");

/// The page. `records` are the files beside it that are worth a link.
pub(super) fn write(
    result: &RunResult,
    origin: &Origin<'_>,
    outcomes: &[Outcome],
    records: &[&str],
) -> String {
    let verdict = content::verdict_word(result.verdict);
    let title = escape(&format!("{verdict} — {}", origin.heading()));
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         </head>\n<body>\n"
    );
    html.push_str(&banner(result, origin));
    html.push_str(&contents(result));
    html.push_str("<main>\n");
    if let Some(table) = content::assertions(result) {
        section(&mut html, "assertions", &table);
    }
    let numbers = content::key_numbers(result);
    if !numbers.is_empty() {
        html.push_str("<div class=\"beside\">\n");
        for (id, table) in ["latency", "messages", "transport"].into_iter().zip(&numbers) {
            section(&mut html, id, table);
        }
        html.push_str("</div>\n");
    }
    if let Some(table) = content::cells(result) {
        section(&mut html, "cells", &table);
    }
    html.push_str("<section id=\"figures\">\n<h2>Figures</h2>\n");
    for outcome in outcomes {
        html.push_str(&match outcome {
            Outcome::Drawn(drawn) => figure(drawn),
            Outcome::Absent { id, reason } => {
                format!("<p class=\"absent\">No <code>{id}</code>: {}.</p>\n", escape(reason))
            }
        });
    }
    html.push_str("</section>\n");
    if let Some(table) = content::links(result) {
        section(&mut html, "link", &table);
        html.push_str(&list(&content::link_problems(result)));
    }
    section(&mut html, "health", &content::health(result));
    section(&mut html, "environment", &content::environment(result, origin));
    html.push_str(&downloads(outcomes, records));
    html.push_str("</main>\n</body>\n</html>\n");
    html
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

fn banner(result: &RunResult, origin: &Origin<'_>) -> String {
    let verdict = content::verdict_word(result.verdict);
    let title = if origin.title.is_empty() { &origin.name } else { &origin.title };
    let caption = escape(&origin.caption());
    format!(
        "<header class=\"banner {}\">\n<p class=\"word\">{verdict}</p>\n<div>\n<h1>{}</h1>\n<p>{}</p>\n{}\
         <p class=\"caption\">{caption}</p>\n</div>\n</header>\n",
        verdict.to_lowercase(),
        escape(title),
        content::verdict_sentence(result.verdict),
        list(&content::reasons(result)),
    )
}

/// Links to the sections that the page has.
fn contents(result: &RunResult) -> String {
    let swept = result.cells.len() > 1;
    let sections = [
        ("assertions", "Assertions", content::assertions(result).is_some()),
        ("latency", "Numbers", !swept),
        ("cells", "Cells", swept),
        ("figures", "Figures", true),
        ("link", "Link", content::links(result).is_some()),
        ("health", "Health", true),
        ("environment", "Environment", true),
        ("downloads", "Downloads", true),
    ];
    let mut html = String::from("<nav aria-label=\"Contents\">");
    for (id, name, _) in sections.into_iter().filter(|section| section.2) {
        html.push_str(&format!("<a href=\"#{id}\">{name}</a> "));
    }
    html.push_str("</nav>\n");
    html
}

fn section(html: &mut String, id: &str, table: &Table) {
    let title = escape(table.title);
    html.push_str(&format!("<section id=\"{id}\">\n<h2>{title}</h2>\n{}</section>\n", table.to_html()));
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        return String::new();
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
    format!("<ul>\n{items}</ul>\n")
}

fn figure(figure: &Figure) -> String {
    format!(
        "<figure id=\"{id}\">\n<h3>{}</h3>\n<div class=\"card\">\n{}</div>\n<figcaption>{} <span class=\"caption\">{}\
         </span> <span class=\"save\"><a href=\"{id}.png\" download>PNG</a> \
         <a href=\"{id}.svg\" download>SVG</a></span></figcaption>\n</figure>\n",
        escape(figure.name),
        figure.svg,
        escape(figure.reading),
        escape(&figure.caption),
        id = figure.id,
    )
}

fn downloads(outcomes: &[Outcome], records: &[&str]) -> String {
    let mut html = String::from("<section id=\"downloads\">\n<h2>Downloads</h2>\n<ul class=\"files\">\n");
    for file in records {
        html.push_str(&format!("<li><a href=\"{file}\">{file}</a></li>\n"));
    }
    for outcome in outcomes {
        if let Outcome::Drawn(figure) = outcome {
            let id = figure.id;
            html.push_str(&format!(
                "<li>{id}: <a href=\"{id}.png\">PNG</a>, <a href=\"{id}.svg\">SVG</a></li>\n"
            ));
        }
    }
    html.push_str("</ul>\n</section>\n");
    html
}
