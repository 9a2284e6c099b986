//! Paths into the written tree: `--set workload.room-chat.arrival.rate=5/s`, the axes of a sweep, `when` conditions.
//!
//! A path is keys and names joined by dots; entries of `clients`, `phase`, `workload` and `assert` go by their name.
//! Names must exist; keys need not be written yet, and a wrong one is refused by the schema when the tree is read,
//! with the `--set` as its place.

use std::sync::Arc;

use super::error::{Place, ScenarioError, suggest};
use super::extends::id_key;
use super::raw::{Node, Table, Value, read_value};

/// Applies one `PATH=VALUE` of the command line.
pub(crate) fn apply(root: &mut Node, assignment: &str) -> Result<(), ScenarioError> {
    let place = Place::Set(Arc::from(assignment));
    let Some((path, value)) = assignment.split_once('=') else {
        return Err(ScenarioError::new(&place, "", "has no value; write PATH=VALUE, for example run.seed=7"));
    };
    assign(root, path.trim(), read_value(value.trim(), &place))
}

/// Puts `value` at `path`. Errors stand where the value stands.
pub(crate) fn assign(root: &mut Node, path: &str, value: Node) -> Result<(), ScenarioError> {
    let place = value.place.clone();
    let wrong = |problem: String| ScenarioError::new(&place, path, problem);
    let segments: Vec<&str> = path.split('.').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return Err(wrong("is not a path; write keys joined by dots, such as run.seed".to_owned()));
    }
    let mut at = root;
    for (index, segment) in segments.iter().enumerate() {
        let parent = index.checked_sub(1).map_or("", |above| segments[above]);
        at = step(at, parent, segment, index, &place).map_err(&wrong)?;
    }
    *at = value;
    Ok(())
}

/// The node at `path`, if it is written (or meant by a shorthand: the `p` of `loss = "10%"`).
pub(crate) fn lookup<'a>(root: &'a Node, path: &str) -> Option<&'a Node> {
    let mut at = root;
    let mut parent = "";
    for segment in path.split('.') {
        at = match &at.value {
            Value::Table(table) => table.get(segment)?,
            Value::Array(items) => items.get(position(items, parent, segment)?)?,
            _ if shorthand(parent) == Some(segment) => at,
            _ => return None,
        };
        parent = segment;
    }
    Some(at)
}

/// Turns `loss = "10%"` into `loss = { p = "10%" }`, so that a path can reach into it.
pub(crate) fn expand_shorthand(key: &str, node: &mut Node) {
    let Some(inner) = shorthand(key) else { return };
    // The text of a SPEC is not a probability.
    let is_spec = key == "loss" && node.as_text().is_some_and(|text| text.contains('('));
    if !is_spec && !matches!(node.value, Value::Table(_) | Value::Array(_)) {
        let mut table = Table::default();
        table.insert(inner, node.clone());
        node.value = Value::Table(table);
    }
}

/// The key that a bare value under `key` stands for.
fn shorthand(key: &str) -> Option<&'static str> {
    match key {
        "loss" => Some("p"),
        "delay" => Some("base"),
        "ramp" => Some("over"),
        // A direction that is one text is a SPEC.
        "both" | "up" | "down" => Some("spec"),
        _ => None,
    }
}

/// One step down, making tables on the way.
fn step<'a>(
    at: &'a mut Node,
    parent: &str,
    segment: &str,
    depth: usize,
    place: &Place,
) -> Result<&'a mut Node, String> {
    expand_shorthand(parent, at);
    let what = at.describe();
    match &mut at.value {
        Value::Array(items) => {
            let Some(index) = position(items, parent, segment) else {
                let known = id_key(parent)
                    .into_iter()
                    .flat_map(|id| items.iter().filter_map(move |item| item.as_table()?.get(id)?.as_text()));
                return Err(format!("there is no {parent} entry \"{segment}\"; {}", suggest(segment, known)));
            };
            Ok(&mut items[index])
        }
        Value::Table(table) => {
            if depth == 1 && parent == "link" && table.get(segment).is_none() {
                return Err(format!("there is no link \"{segment}\"; {}", suggest(segment, table.keys())));
            }
            if table.get(segment).is_none() {
                // A list that does not exist has no entry to set, and making one up would hide the typo.
                let is_list = depth == 0 && id_key(segment).is_some();
                let empty = if is_list { Value::Array(Vec::new()) } else { Value::Table(Table::default()) };
                table.insert(segment, Node::new(empty, place));
            }
            table.get_mut(segment).ok_or_else(|| format!("has no key {segment}"))
        }
        _ => Err(format!("{parent} is {what}, which has no key {segment}")),
    }
}

/// By name in named lists, by index (from 0) in others.
fn position(items: &[Node], list: &str, segment: &str) -> Option<usize> {
    match id_key(list) {
        Some(id) => items.iter().position(|item| {
            item.as_table().and_then(|table| table.get(id)).and_then(Node::as_text) == Some(segment)
        }),
        None => segment.parse().ok().filter(|&index: &usize| index < items.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::read;
    use super::*;

    const TEXT: &str = "link.lossy.both.loss = \"10%\"\nlink.lossy.event = [{ at = \"1s\" }]\n\
                        clients = [{ name = \"chat\", count = 1 }, { name = \"idle\", count = 2 }]\n";

    fn root() -> Node {
        read(&Arc::from("f.toml"), TEXT).unwrap()
    }

    fn set(assignment: &str) -> Result<String, String> {
        let mut root = root();
        apply(&mut root, assignment).map_err(|error| error.to_string())?;
        let path = assignment.split_once('=').unwrap().0;
        Ok(lookup(&root, path).unwrap().to_inline_toml())
    }

    #[test]
    fn a_path_reaches_into_shorthands_lists_and_missing_tables() {
        assert_eq!(set("link.lossy.both.loss.p=20%"), Ok("\"20%\"".into()));
        assert_eq!(set("clients.idle.count=7"), Ok("7".into()));
        assert_eq!(set("link.lossy.event.0.at=2s"), Ok("\"2s\"".into()));
        assert_eq!(set("run.seed=7"), Ok("7".into()));
        assert_eq!(lookup(&root(), "link.lossy.both.loss.p").unwrap().as_text(), Some("10%"));
        assert_eq!(lookup(&root(), "link.lossy.both.delay.base"), None);
    }

    #[test]
    fn a_name_that_does_not_exist_is_refused_with_the_nearest() {
        assert_eq!(
            set("link.lossi.both.rate=1Mbit/s"),
            Err("--set link.lossi.both.rate=1Mbit/s: link.lossi.both.rate: there is no link \"lossi\"; did you mean \
                 \"lossy\"?".into())
        );
        assert!(
            set("clients.caht.count=1").unwrap_err().contains("did you mean \"chat\"? known: chat, idle")
        );
        assert!(
            set("workload.x.size=1")
                .unwrap_err()
                .ends_with("there is no workload entry \"x\"; there are none here")
        );
        assert!(set("clients.chat.count.x=1").unwrap_err().contains("count is 1, which has no key x"));
    }

    #[test]
    fn text_that_is_no_assignment_is_refused() {
        assert!(set("run.seed").unwrap_err().contains("write PATH=VALUE"));
        assert!(set(".=1").unwrap_err().contains("is not a path"));
    }
}
