//! Typed access to the written tree: each getter checks one value and says what was expected instead.
//!
//! A [`View`] is a node with the path that leads to it; [`Fields`] is a table whose keys have been checked against
//! the schema. The parsers above it then read like the format: `fields.get("ramp").map_or(Ok(ZERO), View::duration)`.

use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use units::{ByteCount, Probability, parse_count, parse_duration, parse_rate};

use super::error::{Place, ScenarioError, suggest};
use super::raw::{Node, Table, Value};
use super::schema::Keys;

/// One value and the path to it.
#[derive(Clone, Debug)]
pub(crate) struct View<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

/// A table with no unknown keys.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a> {
    table: &'a Table,
    path: String,
    place: &'a Place,
}

impl<'a> View<'a> {
    pub(crate) fn error(&self, problem: impl Into<String>) -> ScenarioError {
        ScenarioError::new(&self.node.place, &self.path, problem)
    }

    fn mismatch(&self, wanted: &str) -> ScenarioError {
        self.error(format!("{} stands where {wanted} belongs", self.node.describe()))
    }

    pub(crate) fn fields(&self, keys: &Keys) -> Result<Fields<'a>, ScenarioError> {
        let table = self.node.as_table().ok_or_else(|| self.mismatch("a table"))?;
        if let Some((wrong, node)) = table.iter().find(|(key, _)| !keys.has(key)) {
            let problem = format!("unknown key; {}", suggest(wrong, keys.names()));
            return Err(ScenarioError::new(&node.place, join(&self.path, wrong), problem));
        }
        Ok(Fields { table, path: self.path.clone(), place: &self.node.place })
    }

    /// Every entry of a table whose keys are names.
    pub(crate) fn entries(&self) -> Result<Vec<(&'a str, View<'a>)>, ScenarioError> {
        let table = self.node.as_table().ok_or_else(|| self.mismatch("a table"))?;
        Ok(table.iter().map(|(key, node)| (key, View { node, path: join(&self.path, key) })).collect())
    }

    pub(crate) fn items(&self) -> Result<Vec<View<'a>>, ScenarioError> {
        let items = self.node.as_array().ok_or_else(|| self.mismatch("a list"))?;
        Ok(items.iter().map(|node| View { node, path: self.path.clone() }).collect())
    }

    /// The tables of `[[path]]`, each addressed by its `id_key` from here on.
    pub(crate) fn named_items(&self, id_key: &str) -> Result<Vec<(String, View<'a>)>, ScenarioError> {
        let mut named: Vec<(String, View<'a>)> = Vec::new();
        for item in self.items()? {
            let table = item.node.as_table().ok_or_else(|| item.mismatch("a table"))?;
            let id = table
                .get(id_key)
                .ok_or_else(|| item.error(format!("{id_key} is missing; name each entry")))?;
            let id = View { node: id, path: join(&item.path, id_key) };
            let name = id.name()?;
            if named.iter().any(|(other, _)| *other == name) {
                return Err(id.error(format!("\"{name}\" is used twice; choose another {id_key}")));
            }
            named.push((name.clone(), View { path: join(&item.path, &name), ..item }));
        }
        Ok(named)
    }

    pub(crate) fn text(&self) -> Result<&'a str, ScenarioError> {
        self.node.as_text().ok_or_else(|| self.mismatch("text in quotes"))
    }

    /// A name that can be part of a path and of a file name.
    pub(crate) fn name(&self) -> Result<String, ScenarioError> {
        let text = self.text()?;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if text.is_empty() || text.len() > MAX_NAME || !text.bytes().all(fits) {
            return Err(self.error(format!(
                "\"{text}\" is not a name; write 1 to {MAX_NAME} letters, digits, \"_\" or \"-\""
            )));
        }
        Ok(text.to_owned())
    }

    pub(crate) fn bool(&self) -> Result<bool, ScenarioError> {
        match self.node.value {
            Value::Bool(flag) => Ok(flag),
            _ => Err(self.mismatch("true or false")),
        }
    }

    /// A whole number that is not negative.
    pub(crate) fn whole(&self) -> Result<u64, ScenarioError> {
        match self.node.value {
            Value::Integer(number) => u64::try_from(number)
                .map_err(|_| self.error(format!("{number} is negative; write 0 or more"))),
            _ => Err(self.mismatch("a whole number")),
        }
    }

    /// A whole number within `range`, as `500` or `"10k"`.
    pub(crate) fn count<T>(&self, range: std::ops::RangeInclusive<T>) -> Result<T, ScenarioError>
    where
        T: TryFrom<u64> + PartialOrd + Display,
    {
        let number = match self.node.as_text() {
            Some(text) => parse_count(text).map_err(|error| self.error(error.to_string()))?,
            None => self.whole()?,
        };
        let fits = T::try_from(number).ok().filter(|value| range.contains(value));
        fits.ok_or_else(|| {
            self.error(format!("{number} is out of range; write {} to {}", range.start(), range.end()))
        })
    }

    pub(crate) fn duration(&self) -> Result<Duration, ScenarioError> {
        self.with_unit("50ms", parse_duration)
    }

    /// A duration above zero.
    pub(crate) fn span(&self) -> Result<Duration, ScenarioError> {
        let span = self.duration()?;
        if span.is_zero() {
            return Err(self.error("must be above zero; write for example 50ms"));
        }
        Ok(span)
    }

    /// Events a second, above zero.
    pub(crate) fn per_second(&self) -> Result<f64, ScenarioError> {
        let rate = self.with_unit("2/s", parse_rate)?;
        if rate <= 0.0 || rate > MAX_RATE {
            return Err(self
                .error(format!("{} is out of range; write above 0/s, at most {MAX_RATE}/s", self.text()?)));
        }
        Ok(rate)
    }

    pub(crate) fn bytes(&self) -> Result<ByteCount, ScenarioError> {
        self.with_unit("1200B", ByteCount::from_str)
    }

    pub(crate) fn probability(&self) -> Result<Probability, ScenarioError> {
        let number = match self.node.value {
            Value::Text(ref text) => return text.parse().map_err(|error| self.error(format!("{error}"))),
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => return Err(self.mismatch("a probability")),
        };
        Probability::new(number).ok_or_else(|| {
            self.error(format!("{number} is not a probability; write 0 to 1, or 0% to 100% in quotes"))
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)]) -> Result<T, ScenarioError> {
        let text = self.text()?;
        let found = choices.iter().find(|(word, _)| *word == text);
        found.map(|&(_, value)| value).ok_or_else(|| {
            self.error(format!(
                "\"{text}\" is unknown; {}",
                suggest(text, choices.iter().map(|(word, _)| *word))
            ))
        })
    }

    /// Any number within `range`, whole or not.
    pub(crate) fn number(&self, range: std::ops::RangeInclusive<f64>) -> Result<f64, ScenarioError> {
        let number = match self.node.value {
            Value::Integer(number) => number as f64,
            Value::Float(number) => number,
            _ => return Err(self.mismatch("a number")),
        };
        if !range.contains(&number) {
            let (low, high) = (range.start(), range.end());
            return Err(self.error(format!("{number} is out of range; write {low} to {high}")));
        }
        Ok(number)
    }

    pub(crate) fn texts(&self) -> Result<Vec<String>, ScenarioError> {
        self.items()?.iter().map(|item| Ok(item.text()?.to_owned())).collect()
    }

    /// Text with a unit; a bare number is told which unit is missing.
    pub(crate) fn with_unit<T, E: Display>(
        &self,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ScenarioError> {
        match &self.node.value {
            Value::Text(text) => parse(text).map_err(|error| self.error(error.to_string())),
            Value::Integer(_) | Value::Float(_) => Err(self.error(format!(
                "{} has no unit; write it in quotes with one, for example \"{example}\"",
                self.node.describe()
            ))),
            _ => Err(self.mismatch(&format!("a text like \"{example}\""))),
        }
    }
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, key: &str) -> Option<View<'a>> {
        self.table.get(key).map(|node| View { node, path: join(&self.path, key) })
    }

    pub(crate) fn need(&self, key: &str) -> Result<View<'a>, ScenarioError> {
        self.get(key).ok_or_else(|| self.error(format!("{key} is missing")))
    }

    /// The value of `key` by `read`, or `default` where it is not written.
    pub(crate) fn or<T>(
        &self,
        key: &str,
        default: T,
        read: impl FnOnce(&View<'a>) -> Result<T, ScenarioError>,
    ) -> Result<T, ScenarioError> {
        self.get(key).map_or(Ok(default), |view| read(&view))
    }

    /// Refuses keys that mean nothing in this combination; `because` says which combination.
    pub(crate) fn refuse(&self, keys: &[&str], because: &str) -> Result<(), ScenarioError> {
        match keys.iter().find_map(|key| self.get(key)) {
            Some(view) => Err(view.error(format!("has no meaning {because}; remove it"))),
            None => Ok(()),
        }
    }

    /// Refuses every key but `always` and `own`.
    pub(crate) fn refuse_others(
        &self,
        always: &[&str],
        own: &[&str],
        because: &str,
    ) -> Result<(), ScenarioError> {
        let others: Vec<&str> =
            self.table.keys().filter(|key| !always.contains(key) && !own.contains(key)).collect();
        self.refuse(&others, because)
    }

    pub(crate) fn error(&self, problem: impl Into<String>) -> ScenarioError {
        ScenarioError::new(self.place, &self.path, problem)
    }
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Names become parts of paths, figures and file names; longer ones fit none of these.
const MAX_NAME: usize = 64;

/// Messages a second of one stream. Above it the gap between two messages is less than the nanosecond we count in.
const MAX_RATE: f64 = 1e9;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::raw::read_value;
    use super::*;

    fn error_of<T: std::fmt::Debug>(
        value: &str,
        read: impl Fn(&View<'_>) -> Result<T, ScenarioError>,
    ) -> String {
        let node = read_value(value, &Place::line(&Arc::from("f.toml"), 7));
        read(&View { node: &node, path: "a.b".into() }).unwrap_err().to_string()
    }

    #[test]
    fn each_error_says_what_to_write() {
        assert_eq!(
            error_of("\"120%\"", |view| view.probability()),
            "f.toml:7: a.b: \"120%\" is not a probability; write 0% to 100%"
        );
        assert_eq!(
            error_of("50", |view| view.duration()),
            "f.toml:7: a.b: 50 has no unit; write it in quotes with one, for example \"50ms\""
        );
        assert_eq!(
            error_of("0", |view| view.count(1..=9_u32)),
            "f.toml:7: a.b: 0 is out of range; write 1 to 9"
        );
        assert_eq!(
            error_of("[1]", |view| view.text().map(drop)),
            "f.toml:7: a.b: a list stands where text in quotes belongs"
        );
        assert_eq!(
            error_of("\"opne\"", |view| view.choice(&[("open", 1), ("closed", 2)])),
            "f.toml:7: a.b: \"opne\" is unknown; did you mean \"open\"? known: open, closed"
        );
        assert_eq!(
            error_of("\"0/s\"", |view| view.per_second()),
            "f.toml:7: a.b: 0/s is out of range; write above 0/s, at most 1000000000/s"
        );
    }
}
