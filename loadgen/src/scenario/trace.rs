//! Recordings that a scenario names: one value a line, `#` begins a comment.
//!
//! Paths are relative to the file that names them, as with `extends`; [`anchor`] makes them whole before files are
//! merged, so that a scenario that was printed elsewhere still finds them.

use std::path::Path;

use super::bounded;
use super::error::{Place, ScenarioError};
use super::raw::{Node, Value};
use super::read::View;

/// The values of the file that `view` names.
pub(super) fn lines<T>(
    view: &View<'_>,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, ScenarioError> {
    let name = view.text()?;
    let wrong = |problem: String| view.error(format!("{name}: {problem}"));
    let text = bounded::read(Path::new(name), MOST_BYTES).map_err(|error| wrong(error.to_string()))?;
    let mut values = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if !line.is_empty() {
            values.push(read(line).map_err(|problem| wrong(format!("line {number}: {problem}")))?);
        }
    }
    if values.is_empty() {
        return Err(wrong("it has no values; write one a line".to_owned()));
    }
    Ok(values)
}

/// Makes the paths of recordings in `node` whole, as seen from the file they stand in.
pub(super) fn anchor(node: &mut Node) {
    match &mut node.value {
        Value::Table(table) => {
            for (key, node) in table.iter_mut() {
                match key {
                    "file" | "trace" => anchor_path(node),
                    // The server's own configuration is not ours to read.
                    "server" => {}
                    _ => anchor(node),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(anchor),
        _ => {}
    }
}

fn anchor_path(node: &mut Node) {
    let Place::Line { file, .. } = &node.place else { return };
    let folder = Path::new(&**file).parent().map(Path::to_owned);
    if let (Value::Text(name), Some(folder)) = (&mut node.value, folder)
        && let Ok(whole) = std::path::absolute(folder.join(&*name))
    {
        *name = whole.display().to_string();
    }
}

/// A million short lines; more is another kind of file.
const MOST_BYTES: u64 = 16 << 20;
