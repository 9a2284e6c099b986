//! `extends = ["common.toml"]`: a scenario that says only what differs.
//!
//! Files are merged in order, the inheriting file last. Tables merge key by key; `clients`, `phase`, `workload` and
//! `assert` merge entry by entry, told apart by their name or id; everything else is replaced. A table that changes
//! its own kind (another loss `model`, another size `dist`, another queue `kind`) replaces the old one: the
//! parameters of one model mean nothing to another. Where two keys say the same in two ways (`count` or `share`), the
//! one that is written last drops the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::bounded;
use super::error::{Place, ScenarioError};
use super::raw::{self, Node, Value};
use super::trace;

/// Reads a file and all it inherits from, merged. `text` is the file's own content.
pub(crate) fn resolve(path: &Path, text: &str) -> Result<Node, ScenarioError> {
    resolve_in(path, text, &mut Vec::new())
}

/// Entries of these lists are known by this key, in files, paths and merges.
pub(crate) fn id_key(list: &str) -> Option<&'static str> {
    match list {
        "clients" | "phase" | "workload" => Some("name"),
        "assert" => Some("id"),
        _ => None,
    }
}

/// Lays `over` on `base`.
pub(crate) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over.value) {
        (Value::Table(table), Value::Table(changes)) => {
            for (key, change) in changes.into_entries() {
                match table.get_mut(&key) {
                    Some(old) => merge_key(&key, old, change),
                    None => table.insert(&key, change),
                }
            }
        }
        (_, value) => base.value = value,
    }
    base.place = over.place;
}

fn merge_key(key: &str, old: &mut Node, change: Node) {
    // A workload's `clients` is a list of names, not of tables, and is replaced like any other.
    let has_tables =
        |node: &Node| node.as_array().is_some_and(|items| items.iter().all(|it| it.as_table().is_some()));
    match id_key(key) {
        Some(id) if has_tables(old) && has_tables(&change) => merge_named(id, old, change),
        _ if changes_kind(key, old, &change) => *old = change,
        _ => {
            match key {
                "rooms" => drop_other(old, &change, "size", "count"),
                "both" | "up" | "down" => drop_other(old, &change, "rate", "trace"),
                _ => {}
            }
            merge(old, change);
        }
    }
}

/// Entries with a name that `old` has are laid over it; others follow at the end.
fn merge_named(id: &str, old: &mut Node, change: Node) {
    let (Value::Array(items), Value::Array(changes)) = (&mut old.value, change.value) else { return };
    // Each old entry is merged once: a name that the new file uses twice stays twice, and is refused later.
    let mut taken = vec![false; items.len()];
    for change in changes {
        let name = name_of(&change, id);
        let known =
            name.and_then(|_| (0..taken.len()).find(|&at| !taken[at] && name_of(&items[at], id) == name));
        match known {
            Some(at) => {
                taken[at] = true;
                drop_other(&mut items[at], &change, "count", "share");
                drop_other(&mut items[at], &change, "duration", "drain");
                merge(&mut items[at], change);
            }
            None => {
                let at = place_of(items, &change);
                taken.insert(at, true);
                items.insert(at, change);
            }
        }
    }
}

/// A new entry follows at the end, but a phase that sends comes before the one that drains.
fn place_of(items: &[Node], change: &Node) -> usize {
    let drains = |node: &Node| node.as_table().is_some_and(|table| table.get("drain").is_some());
    let is_behind = items.last().is_some_and(drains) && !drains(change);
    items.len() - usize::from(is_behind)
}

/// Two keys that say the same in two ways: where `change` writes only one of them, `old` loses the other.
fn drop_other(old: &mut Node, change: &Node, one: &str, other: &str) {
    let (Some(table), Some(change)) = (old.as_table_mut(), change.as_table()) else { return };
    for (written, unwritten) in [(one, other), (other, one)] {
        if change.get(written).is_some() && change.get(unwritten).is_none() {
            table.remove(unwritten);
        }
    }
}

fn name_of<'a>(node: &'a Node, id: &str) -> Option<&'a str> {
    node.as_table()?.get(id)?.as_text()
}

fn changes_kind(key: &str, old: &Node, change: &Node) -> bool {
    let kind = match key {
        "loss" => "model",
        "size" => "dist",
        "queue" => "kind",
        "arrival" => "process",
        "session" | "off" | "think" => "dist",
        _ => return false,
    };
    let written = name_of(change, kind);
    written.is_some() && written != name_of(old, kind)
}

fn resolve_in(path: &Path, text: &str, chain: &mut Vec<PathBuf>) -> Result<Node, ScenarioError> {
    let file: Arc<str> = Arc::from(path.display().to_string());
    let mut own = raw::read(&file, text)?;
    trace::anchor(&mut own);
    let Some(extends) = own.as_table_mut().and_then(|table| table.remove("extends")) else { return Ok(own) };
    chain.push(identity(path));
    let bases = match extends.value {
        Value::Array(items) => items,
        _ => vec![extends],
    };
    let mut merged: Option<Node> = None;
    for base in &bases {
        let node = inherit(path, base, chain)?;
        match &mut merged {
            Some(merged) => merge(merged, node),
            None => merged = Some(node),
        }
    }
    chain.pop();
    let Some(mut merged) = merged else { return Ok(own) };
    merge(&mut merged, own);
    Ok(merged)
}

fn inherit(path: &Path, base: &Node, chain: &mut Vec<PathBuf>) -> Result<Node, ScenarioError> {
    let wrong = |problem: String| ScenarioError::new(&base.place, "extends", problem);
    let name = base.as_text().ok_or_else(|| wrong(format!("{} is no file name", base.describe())))?;
    let target = path.parent().unwrap_or(Path::new("")).join(name);
    if chain.contains(&identity(&target)) {
        return Err(wrong(format!("\"{name}\" inherits from itself; break the circle")));
    }
    if chain.len() >= MAX_DEPTH {
        return Err(wrong(format!("more than {MAX_DEPTH} files inherit from each other; flatten them")));
    }
    let text = read_file(&target).map_err(|problem| wrong(format!("\"{name}\" {problem}")))?;
    resolve_in(&target, &text, chain)
}

/// Two ways to write one file are the same file.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// A scenario's text. The error completes a sentence that begins with the file's name.
pub(crate) fn read_file(path: &Path) -> Result<String, String> {
    bounded::read(path, MAX_FILE).map_err(|error| format!("cannot be read: {error}"))
}

/// Where a whole file stands.
pub(crate) fn whole_file(path: &Path) -> Place {
    Place::File(Arc::from(path.display().to_string()))
}

/// Longer chains of inheritance are a mistake that cycle detection did not see.
const MAX_DEPTH: usize = 16;

/// A scenario is written by people; a megabyte is some other file.
const MAX_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str) -> Node {
        raw::read(&Arc::from("f.toml"), text).unwrap()
    }

    fn merged(base: &str, over: &str) -> String {
        let mut base = node(base);
        merge(&mut base, node(over));
        base.to_inline_toml()
    }

    #[test]
    fn tables_merge_and_values_are_replaced() {
        assert_eq!(merged("a.x = 1\na.y = [1, 2]", "a.y = [3]\nb = 2"), "{ a = { x = 1, y = [3] }, b = 2 }");
    }

    #[test]
    fn named_entries_merge_and_new_ones_follow() {
        let base = "clients = [{ name = \"a\", count = 1 }, { name = \"b\", count = 2 }]";
        let over = "clients = [{ name = \"b\", count = 9 }, { name = \"c\", count = 3 }]";
        let names = "{ clients = [{ name = \"a\", count = 1 }, { name = \"b\", count = 9 }, { name = \"c\", count = 3 }] }";
        assert_eq!(merged(base, over), names);
    }

    #[test]
    fn a_new_phase_comes_before_the_drain_and_alternatives_drop_each_other() {
        let base = "phase = [{ name = \"a\", duration = 1 }, { name = \"d\", drain = 2 }]";
        assert_eq!(
            merged(base, "phase = [{ name = \"b\", duration = 3 }]"),
            "{ phase = [{ name = \"a\", duration = 1 }, { name = \"b\", duration = 3 }, { name = \"d\", drain = 2 }] }"
        );
        let base = "clients = [{ name = \"c\", count = 2, rooms = { size = 9 } }]";
        assert_eq!(
            merged(base, "clients = [{ name = \"c\", share = 0.5, rooms = { count = 3 } }]"),
            "{ clients = [{ name = \"c\", rooms = { count = 3 }, share = 0.5 }] }"
        );
    }

    #[test]
    fn another_loss_model_drops_the_parameters_of_the_old() {
        let base = "loss = { model = \"bernoulli\", p = 0.5 }";
        assert_eq!(
            merged(base, "loss = { model = \"every-nth\", n = 3 }"),
            "{ loss = { model = \"every-nth\", n = 3 } }"
        );
        assert_eq!(merged(base, "loss.p = 0.25"), "{ loss = { model = \"bernoulli\", p = 0.25 } }");
    }

    #[test]
    fn a_circle_is_refused_where_it_closes() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("a.toml"), "extends = \"b.toml\"").unwrap();
        std::fs::write(path("b.toml"), "\nextends = [\"a.toml\"]").unwrap();
        let error = resolve(&path("a.toml"), "extends = \"b.toml\"").unwrap_err().to_string();
        assert!(
            error.ends_with("b.toml:2: extends: \"a.toml\" inherits from itself; break the circle"),
            "{error}"
        );
    }

    #[test]
    fn paths_are_relative_to_the_inheriting_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("common")).unwrap();
        std::fs::write(folder.path().join("common/base.toml"), "extends = \"deep.toml\"\nb = 1").unwrap();
        std::fs::write(folder.path().join("common/deep.toml"), "a = 1\nb = 0").unwrap();
        let own = "extends = [\"common/base.toml\"]\nc = 2";
        let merged = resolve(&folder.path().join("top.toml"), own).unwrap();
        assert_eq!(merged.to_inline_toml(), "{ a = 1, b = 1, c = 2 }");
    }
}
