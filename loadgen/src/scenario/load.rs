//! From a file on disk, or a text, to everything a run needs.

use std::path::Path;
use std::sync::Arc;

use super::error::ScenarioError;
use super::parse::Keep;
use super::raw::{self, Node};
use super::sweep::CellPlan;
use super::{Scenario, effective, extends, parse, search, set, sweep};

/// A scenario that was read, checked and expanded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// As written, axes of the sweep at their written values, all assertions.
    pub scenario: Scenario,
    /// At least one; in the order of the sweep.
    pub cells: Vec<CellPlan>,
    /// A file that says the same without inheritance, `--set` or defaults. Reading it gives the same scenario.
    pub effective_toml: String,
    /// The same, as data for `result.json`.
    pub effective_json: serde_json::Value,
    /// The first comment of the file: what the scenario asks.
    pub question: String,
    /// Cells that `sweep.exclude` leaves out.
    pub excluded: usize,
}

impl Loaded {
    /// The same scenario with more of it set (`PATH=VALUE`): a probe of a search, an arm of a comparison.
    ///
    /// # Errors
    /// As [`load()`]; the place is the assignment, or a line of the effective scenario.
    pub fn with(&self, sets: &[String]) -> Result<Self, ScenarioError> {
        load_str("scenario.toml", &self.effective_toml, sets)
    }
}

/// Reads a scenario file and what it inherits from, then applies `sets` (`PATH=VALUE`) in order.
pub fn load(path: &Path, sets: &[String]) -> Result<Loaded, ScenarioError> {
    let text = extends::read_file(path)
        .map_err(|problem| ScenarioError::new(&extends::whole_file(path), "", problem))?;
    expand(extends::resolve(path, &text)?, question(&text), sets)
}

/// Reads a scenario from a text, for built-in scenarios and tests. `name` stands for the file in errors; a text
/// without a folder cannot inherit.
pub fn load_str(name: &str, toml: &str, sets: &[String]) -> Result<Loaded, ScenarioError> {
    let root = raw::read(&Arc::from(name), toml)?;
    if let Some(extends) = root.as_table().and_then(|table| table.get("extends")) {
        let problem = "only a file can inherit from files; remove it";
        return Err(ScenarioError::new(&extends.place, "extends", problem));
    }
    expand(root, question(toml), sets)
}

fn expand(mut root: Node, question: String, sets: &[String]) -> Result<Loaded, ScenarioError> {
    for assignment in sets {
        set::apply(&mut root, assignment)?;
    }
    // Files have been merged by now; what is left can only come from a `--set`.
    if let Some(extends) = root.as_table().and_then(|table| table.get("extends")) {
        return Err(ScenarioError::new(&extends.place, "extends", "is a matter of the file; write it there"));
    }
    let scenario = parse::scenario(&root, Keep::All)?;
    let cells = sweep::cells(&root)?;
    if let Some(search) = root.as_table().and_then(|table| table.get("search"))
        && cells.len() > 1
    {
        let problem = "looks along one path and [sweep] along others; remove one of the two";
        return Err(ScenarioError::new(&search.place, "search", problem));
    }
    for end in search::ends(&root)? {
        parse::scenario(&end, Keep::All)?;
    }
    let excluded = sweep::count_excluded(&root, cells.len());
    let root = effective::complete(root, &scenario)?;
    Ok(Loaded {
        scenario,
        cells,
        effective_toml: effective::to_toml(&root, &question),
        effective_json: root.to_json(),
        question,
        excluded,
    })
}

/// The comment lines that open the file, joined.
fn question(text: &str) -> String {
    let comments = text.lines().map_while(|line| line.trim().strip_prefix('#'));
    // Where the schema is, a hint for editors.
    let comments = comments.filter(|line| !line.starts_with(":schema"));
    comments.map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_question_is_the_comment_that_opens_the_file() {
        assert_eq!(question("# How fast\n# is it?\n\n# later\nschema = 1"), "How fast is it?");
        assert_eq!(question("#:schema x.json\n# Why?\nschema = 1"), "Why?");
        assert_eq!(question("schema = 1\n# no"), "");
    }
}
