//! `[output]`: where the results go, and in which forms.

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
