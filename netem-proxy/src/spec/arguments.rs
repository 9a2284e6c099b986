//! What stands between parentheses: `codel(target=5ms,ecn)`.

use std::str::FromStr;

use super::value::{ValueError, shape};

/// The arguments of one value. Each is taken once; what is left over in the end was not understood.
#[derive(Debug)]
pub(super) struct Arguments<'a> {
    /// The whole value, for messages.
    text: &'a str,
    example: &'static str,
    left: Vec<&'a str>,
}

impl<'a> Arguments<'a> {
    /// Of `name(...)`, or of `name` alone, which has none. `None` if the value is another one.
    pub(super) fn of(text: &'a str, name: &str, example: &'static str) -> Option<Self> {
        let rest = text.strip_prefix(name)?.trim_start();
        if rest.is_empty() {
            return Some(Self { text, example, left: Vec::new() });
        }
        let inside = rest.strip_prefix('(')?.strip_suffix(')')?;
        let left = split(inside).into_iter().filter(|part| !part.is_empty()).collect();
        Some(Self { text, example, left })
    }

    /// The first one without a name.
    pub(super) fn plain(&mut self) -> Option<&'a str> {
        let place = self.left.iter().position(|part| !part.contains('='))?;
        Some(self.left.remove(place))
    }

    /// Whether `word` stands among them.
    pub(super) fn flag(&mut self, word: &str) -> Result<bool, ValueError> {
        let count = self.left.iter().filter(|part| **part == word).count();
        self.left.retain(|part| *part != word);
        if count > 1 { Err(ValueError::Twice) } else { Ok(count == 1) }
    }

    /// The value of `name=value`, read by `parse`.
    pub(super) fn named<T, E: Into<ValueError>>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, ValueError> {
        let value_of = |part: &&'a str| {
            part.split_once('=').filter(|(key, _)| key.trim() == name).map(|(_, value)| value)
        };
        let Some(place) = self.left.iter().position(|part| value_of(part).is_some()) else { return Ok(None) };
        let value = value_of(&self.left.remove(place)).unwrap_or_default();
        if self.left.iter().any(|part| value_of(part).is_some()) {
            return Err(ValueError::Twice);
        }
        parse(value.trim()).map(Some).map_err(Into::into)
    }

    pub(super) fn quantity<T: FromStr<Err = units::ParseError>>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, ValueError> {
        self.named(name, str::parse::<T>)
    }

    /// A number without a unit.
    pub(super) fn number(&mut self, name: &str) -> Result<Option<f64>, ValueError> {
        let (text, example) = (self.text, self.example);
        self.named(name, |value| match value.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number),
            _ => Err(shape(text, example)),
        })
    }

    pub(super) fn end(self) -> Result<(), ValueError> {
        if self.left.is_empty() { Ok(()) } else { Err(self.wrong()) }
    }

    pub(super) fn wrong(&self) -> ValueError {
        shape(self.text, self.example)
    }
}

/// At commas that stand in no parentheses of their own.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c == ','
    })
    .map(str::trim)
    .collect()
}
