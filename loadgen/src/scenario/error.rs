//! What is wrong with a scenario, in one line: where, which key, what, and what to write instead.
//!
//! One struct instead of an enum with forty variants: nobody recovers from a wrong scenario by kind, a person reads
//! the line and opens the file there. So the fields are what an editor needs (place, path) and a sentence.

use std::fmt;
use std::sync::Arc;

/// A scenario that cannot be run. Prints as one line:
/// `scenarios/burst.toml:12: link.lossy.both.loss.p: "120%" is not a probability; write 0% to 100%`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// Where the offending text stands.
    pub place: Place,
    /// Dotted path of the key, as `--set` takes it; empty when the file as a whole is at fault.
    pub path: String,
    /// What is wrong and what to do, in one line.
    pub problem: String,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of a file, counted from 1.
    Line { file: Arc<str>, line: u32 },
    /// A file as a whole.
    File(Arc<str>),
    /// A `--set` of the command line, as written.
    Set(Arc<str>),
}

impl ScenarioError {
    pub(crate) fn new(place: &Place, path: impl Into<String>, problem: impl Into<String>) -> Self {
        // Text from the file is quoted in the problem; a multi-line string must not break the one line.
        let problem = problem.into().replace(['\n', '\r'], " ");
        Self { place: place.clone(), path: path.into(), problem }
    }
}

impl Place {
    pub(crate) fn line(file: &Arc<str>, line: u32) -> Self {
        Self::Line { file: Arc::clone(file), line }
    }
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::File(file) => f.write_str(file),
            Self::Set(text) => write!(f, "--set {text}"),
        }
    }
}

/// ` did you mean "count"? known: count, link, name` — the end of every "unknown" message.
pub(crate) fn suggest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    if known.is_empty() {
        return "there are none here".to_owned();
    }
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(wrong, name), *name))
        .min_by_key(|&(distance, _)| distance)
        // Beyond half of the word the guess is noise.
        .filter(|&(distance, name)| distance <= name.len().max(wrong.len()).div_ceil(2));
    let list = known.join(", ");
    match nearest {
        Some((_, name)) if known.len() > 1 => format!("did you mean \"{name}\"? known: {list}"),
        Some((_, name)) => format!("did you mean \"{name}\"?"),
        None => format!("known: {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_noise_is_not() {
        assert_eq!(suggest("cuont", ["count", "link"]), "did you mean \"count\"? known: count, link");
        assert_eq!(suggest("zzzzzzzz", ["count", "link"]), "known: count, link");
        assert_eq!(suggest("x", []), "there are none here");
    }

    #[test]
    fn an_error_is_one_line() {
        let place = Place::line(&Arc::from("a.toml"), 3);
        let error = ScenarioError::new(&place, "run.seed", "\"a\nb\" is no number");
        assert_eq!(error.to_string(), "a.toml:3: run.seed: \"a b\" is no number");
    }
}
