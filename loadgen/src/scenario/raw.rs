//! What was written: a tree of values that remember where they stand.
//!
//! Inheritance, `--set` and sweeps all work on this tree, before any of it is understood, so an error can still name
//! the file and line (or the `--set`) a value came from, whichever of them won. The TOML crate's own `Spanned` types
//! borrow from one text; a merged scenario comes from several, hence this small owned copy.

use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Place, ScenarioError};

/// One value and its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    Table(Table),
}

/// Key to value, in the order of writing: a printed scenario should look like the one that was read.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct Table(Vec<(String, Node)>);

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|(name, _)| name == key).map(|(_, node)| node)
    }

    /// Replaces in place, or appends.
    pub(crate) fn insert(&mut self, key: &str, node: Node) {
        match self.get_mut(key) {
            Some(old) => *old = node,
            None => self.0.push((key.to_owned(), node)),
        }
    }

    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        let index = self.0.iter().position(|(name, _)| name == key)?;
        Some(self.0.remove(index).1)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, node)| (key.as_str(), node))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.0.iter_mut().map(|(key, node)| (key.as_str(), node))
    }

    pub(crate) fn into_entries(self) -> Vec<(String, Node)> {
        self.0
    }

    pub(crate) fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.0.iter_mut().map(|(_, node)| node)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(key, _)| key.as_str())
    }
}

impl Node {
    pub(crate) fn new(value: Value, place: &Place) -> Self {
        Self { value, place: place.clone() }
    }

    pub(crate) fn text(text: impl Into<String>, place: &Place) -> Self {
        Self::new(Value::Text(text.into()), place)
    }

    pub(crate) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_table_mut(&mut self) -> Option<&mut Table> {
        match &mut self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(crate) fn as_array(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Array(items) => Some(items),
            _ => None,
        }
    }

    /// What this is, for "… where a table belongs" messages.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::Text(text) => format!("\"{text}\""),
            Value::Integer(number) => number.to_string(),
            Value::Float(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::Array(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
        }
    }

    /// As data, for `result.json`. A float that JSON cannot say (`inf`) becomes its text.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::Text(text) => text.as_str().into(),
            Value::Integer(number) => (*number).into(),
            Value::Float(number) => serde_json::Number::from_f64(*number)
                .map_or_else(|| number.to_string().into(), serde_json::Value::Number),
            Value::Bool(flag) => (*flag).into(),
            Value::Array(items) => items.iter().map(Node::to_json).collect(),
            Value::Table(table) => table.iter().map(|(key, node)| (key.to_owned(), node.to_json())).collect(),
        }
    }

    /// As one line of TOML: the right-hand side of `key = …`.
    pub(crate) fn to_inline_toml(&self) -> String {
        match &self.value {
            Value::Text(text) => quote(text),
            Value::Integer(number) => number.to_string(),
            // Debug keeps the point in 1.0, so that a float stays a float; TOML writes NaN in lower case.
            Value::Float(number) => format!("{number:?}").to_lowercase(),
            Value::Bool(flag) => flag.to_string(),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(Node::to_inline_toml).collect();
                format!("[{}]", items.join(", "))
            }
            Value::Table(table) => {
                let entries: Vec<String> = table
                    .iter()
                    .map(|(key, node)| format!("{} = {}", key_toml(key), node.to_inline_toml()))
                    .collect();
                if entries.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", entries.join(", ")) }
            }
        }
    }
}

/// Reads one TOML text. `file` is the name errors use.
pub(crate) fn read(file: &Arc<str>, text: &str) -> Result<Node, ScenarioError> {
    let lines = Lines::new(file, text);
    match DeTable::parse(text) {
        Ok(table) => lines.table(table.get_ref(), &lines.place(0)),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            Err(ScenarioError::new(&lines.place(at), "", format!("not valid TOML: {}", error.message())))
        }
    }
}

/// A single value as `--set` takes it: TOML where it is TOML, otherwise text without quotes (`50ms`, `10%`, `reno`).
pub(crate) fn read_value(text: &str, place: &Place) -> Node {
    let document = format!("value = {text}");
    let value = DeTable::parse(&document).ok().filter(|table| table.get_ref().len() == 1).and_then(|table| {
        // The lines of this one-line document mean nothing; every node gets the place of the `--set`.
        let lines = Lines::new(&Arc::from(""), &document);
        let mut node = lines.table(table.get_ref(), place).ok()?.as_table_mut()?.remove("value")?;
        node.stand_at(place);
        Some(node)
    });
    value.unwrap_or_else(|| Node::text(text, place))
}

impl Node {
    fn stand_at(&mut self, place: &Place) {
        self.place = place.clone();
        match &mut self.value {
            Value::Array(items) => items.iter_mut().for_each(|item| item.stand_at(place)),
            Value::Table(table) => table.0.iter_mut().for_each(|(_, node)| node.stand_at(place)),
            _ => {}
        }
    }
}

/// Turns byte offsets of one text into places, and parsed values into nodes.
struct Lines {
    file: Arc<str>,
    /// Offset of the first byte of each line.
    starts: Vec<usize>,
}

impl Lines {
    fn new(file: &Arc<str>, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file: Arc::clone(file), starts }
    }

    fn place(&self, offset: usize) -> Place {
        let line = self.starts.partition_point(|&start| start <= offset);
        Place::line(&self.file, u32::try_from(line).unwrap_or(u32::MAX))
    }

    fn table(&self, table: &DeTable<'_>, place: &Place) -> Result<Node, ScenarioError> {
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut read = Table::default();
        for (key, value) in entries {
            let mut node = self.node(value, key)?;
            // A value is where its key is: the span of a `[table]` may cover only its header or its last part.
            node.place = self.place(key.span().start);
            read.0.push((key.get_ref().to_string(), node));
        }
        Ok(Node::new(Value::Table(read), place))
    }

    fn node(
        &self,
        value: &Spanned<DeValue<'_>>,
        key: &Spanned<impl AsRef<str>>,
    ) -> Result<Node, ScenarioError> {
        let place = self.place(value.span().start);
        let wrong = |problem: String| ScenarioError::new(&place, key.get_ref().as_ref(), problem);
        let read = match value.get_ref() {
            DeValue::String(text) => Value::Text(text.to_string()),
            DeValue::Integer(number) => {
                let digits = number.as_str().replace('_', "");
                let parsed = i64::from_str_radix(&digits, number.radix());
                Value::Integer(
                    parsed
                        .map_err(|_| wrong(format!("{digits} is too large; write at most {}", i64::MAX)))?,
                )
            }
            DeValue::Float(number) => {
                let digits = number.as_str().replace('_', "");
                Value::Float(digits.parse().map_err(|_| wrong(format!("{digits} is not a number")))?)
            }
            DeValue::Boolean(flag) => Value::Bool(*flag),
            DeValue::Datetime(date) => {
                return Err(wrong(format!("{date} is a date, which no key takes; write it in quotes")));
            }
            DeValue::Array(items) => {
                Value::Array(items.iter().map(|item| self.node(item, key)).collect::<Result<_, _>>()?)
            }
            DeValue::Table(table) => return self.table(table, &place),
        };
        Ok(Node::new(read, &place))
    }
}

/// A TOML basic string. JSON's escapes are a subset of TOML's, but for DEL, which TOML wants escaped too.
pub(crate) fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

/// A key, quoted when it is not bare.
pub(crate) fn key_toml(key: &str) -> String {
    let bare = !key.is_empty()
        && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
    if bare { key.to_owned() } else { quote(key) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place::Set(Arc::from("x=1"))
    }

    #[test]
    fn every_value_knows_its_line() {
        let text = "a = 1\n\n[b]\nc = [\n  2,\n  3,\n]\nd.e = true\n";
        let root = read(&Arc::from("f.toml"), text).unwrap();
        let b = root.as_table().unwrap().get("b").unwrap();
        assert_eq!(b.place.to_string(), "f.toml:3");
        let c = b.as_table().unwrap().get("c").unwrap();
        assert_eq!(c.as_array().unwrap()[1].place.to_string(), "f.toml:6");
        let e = b.as_table().unwrap().get("d").unwrap().as_table().unwrap().get("e").unwrap();
        assert_eq!(e.place.to_string(), "f.toml:8");
    }

    #[test]
    fn a_set_value_is_toml_or_plain_text() {
        assert_eq!(read_value("7", &place()).value, Value::Integer(7));
        assert_eq!(read_value("50ms", &place()).value, Value::Text("50ms".into()));
        assert_eq!(read_value("\"50ms\"", &place()).value, Value::Text("50ms".into()));
        assert_eq!(read_value("1\nb = 2", &place()).value, Value::Text("1\nb = 2".into()));
        assert_eq!(read_value("[1, 2]", &place()).as_array().unwrap()[1].place, place());
    }

    #[test]
    fn inline_toml_reads_back() {
        let text = "a = { b = \"x\\\"y\\n\\u007f\", \"c d\" = [1, 2.0, 1e300, -inf, true], e = {} }";
        let node = read_value(text.strip_prefix("a = ").unwrap(), &place());
        assert!(node.as_table().is_some());
        assert_eq!(read_value(&node.to_inline_toml(), &place()), node);
    }

    #[test]
    fn broken_toml_is_one_line_with_its_place() {
        let error = read(&Arc::from("f.toml"), "a = 1\nb = \n").unwrap_err().to_string();
        assert!(error.starts_with("f.toml:2: not valid TOML: "), "{error}");
        assert!(!error.contains('\n'));
    }
}
