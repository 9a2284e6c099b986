//! `[output]`: where the results go, and in which forms.

use super::error::ScenarioError;
use super::raw::quote;
use super::read::View;
use super::schema;

#[derive(Clone, Debug, PartialEq)]
pub struct OutputConfig {
    /// `{name}` is the scenario's, `{run_id}` the run's own.
    pub dir: String,
    /// In the order of [`Format::ALL`]. `result.json`, run files and `scenario.toml` are always written.
    pub formats: Vec<Format>,
    pub figures: Figures,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    Json,
    Csv,
    Html,
    Png,
    Svg,
    Hgrm,
    Hlog,
    Junit,
    Prom,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Figures {
    /// Those of the scenario's kind for which there is data.
    Auto,
    /// These, such as `F1`.
    Only(Vec<String>),
}

impl Format {
    /// Each with its word.
    pub const ALL: [(&'static str, Self); 9] = [
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("html", Self::Html),
        ("png", Self::Png),
        ("svg", Self::Svg),
        ("hgrm", Self::Hgrm),
        ("hlog", Self::Hlog),
        ("junit", Self::Junit),
        ("prom", Self::Prom),
    ];
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self {
            dir: "reports/{name}".to_owned(),
            formats: Format::ALL.map(|(_, format)| format).to_vec(),
            figures: Figures::Auto,
        }
    }
}

pub(super) fn read(view: &View<'_>) -> Result<OutputConfig, ScenarioError> {
    let fields = view.fields(&schema::OUTPUT)?;
    let default = OutputConfig::default();
    Ok(OutputConfig {
        dir: fields.or("dir", default.dir, dir)?,
        formats: fields.or("formats", default.formats, |view| {
            let mut formats =
                view.items()?.iter().map(|item| item.choice(&Format::ALL)).collect::<Result<Vec<_>, _>>()?;
            formats.sort_unstable();
            formats.dedup();
            Ok(formats)
        })?,
        figures: fields.or("figures", default.figures, figures)?,
    })
}

fn dir(view: &View<'_>) -> Result<String, ScenarioError> {
    let text = view.text()?;
    let unknown = text.replace("{name}", "").replace("{run_id}", "");
    if text.is_empty() || unknown.contains(['{', '}']) {
        let example = "reports/{name}/{run_id}";
        return Err(view.error(format!("\"{text}\" is no folder; write for example {example}")));
    }
    Ok(text.to_owned())
}

fn figures(view: &View<'_>) -> Result<Figures, ScenarioError> {
    if view.node.as_text() == Some("auto") {
        return Ok(Figures::Auto);
    }
    let mut figures = Vec::new();
    for item in view.items()? {
        let text = item.text()?;
        let number = text.strip_prefix('F').and_then(|number| number.parse::<u8>().ok());
        if number.is_none_or(|number| !(1..=LAST_FIGURE).contains(&number)) {
            return Err(item.error(format!("\"{text}\" is no figure; write F1 to F{LAST_FIGURE}")));
        }
        if NO_PICTURES.contains(&text) {
            let problem = format!(
                "\"{text}\" is no picture by itself: F6 is part of the page, F15 of every figure over time; \
                                   remove it"
            );
            return Err(item.error(problem));
        }
        figures.push(text.to_owned());
    }
    Ok(Figures::Only(figures))
}

pub(super) fn decided(output: &OutputConfig) -> String {
    let list = |words: Vec<&str>| words.into_iter().map(quote).collect::<Vec<_>>().join(", ");
    let formats = Format::ALL.iter().filter(|(_, format)| output.formats.contains(format));
    let formats = list(formats.map(|&(word, _)| word).collect());
    let figures = match &output.figures {
        Figures::Auto => quote("auto"),
        Figures::Only(figures) => format!("[{}]", list(figures.iter().map(String::as_str).collect())),
    };
    format!("[output]\ndir = {}\nformats = [{formats}]\nfigures = {figures}\n", quote(&output.dir))
}

/// Figures that a report has whatever is listed.
const NO_PICTURES: [&str; 2] = ["F6", "F15"];
/// See `docs/METRICS.md`.
const LAST_FIGURE: u8 = 16;
