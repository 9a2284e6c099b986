//! Delay tables in the form of netem's `.dist` files.
//!
//! Lines beginning with `#` and empty lines are comments; everything else is whole numbers separated by blanks, each a
//! quantile in 8192nds of a standard deviation, all equally likely. `iproute2` brings `normal`, `pareto`,
//! `paretonormal` and `experimental`; its `maketable` makes them from measured delays.

use crate::profile::DelayTable;

use super::{Unit, normal};

/// Numbers a table may have: `tc`'s own bound is 16,384.
pub const MAX_ENTRIES: usize = 16_384;

/// What is wrong with a file of numbers, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    #[error("line {line}: \"{word}\" is not {expected}")]
    Word { line: usize, word: String, expected: &'static str },
    #[error("line {line}: {problem}")]
    Line { line: usize, problem: &'static str },
    #[error("it has no entries; {example}")]
    Empty { example: &'static str },
    #[error("line {line}: more than {most} entries")]
    TooMany { line: usize, most: usize },
}

impl DelayTable {
    /// What one standard deviation is in a table.
    pub const SCALE: i32 = 8192;

    /// Reads the text of a `.dist` file; `name` is where it came from.
    ///
    /// The entries are put in ascending order, which changes nothing (all are equally likely) and makes correlation
    /// mean something.
    ///
    /// # Errors
    /// When a word is no whole number of 16 bits, or there are none or too many.
    pub fn parse(name: &str, text: &str) -> Result<Self, TextError> {
        let mut quantiles = Self::parse_unsorted(text)?;
        quantiles.sort_unstable();
        Ok(Self { name: name.to_owned(), quantiles })
    }

    fn parse_unsorted(text: &str) -> Result<Vec<i32>, TextError> {
        let mut quantiles = Vec::new();
        for (number, line) in numbered(text) {
            for word in line.split_whitespace() {
                let entry: i16 = word.parse().map_err(|_| TextError::Word {
                    line: number,
                    word: short(word),
                    expected: "a whole number from -32768 to 32767",
                })?;
                if quantiles.len() == MAX_ENTRIES {
                    return Err(TextError::TooMany { line: number, most: MAX_ENTRIES });
                }
                quantiles.push(i32::from(entry));
            }
        }
        if quantiles.is_empty() {
            return Err(TextError::Empty { example: "write quantiles in 8192nds of a standard deviation" });
        }
        Ok(quantiles)
    }

    /// 4096 quantiles of the standard normal law.
    #[must_use]
    pub fn normal() -> Self {
        Self::of_law("normal", normal::quantile)
    }

    /// `quantile` at the middles of 4096 equal parts, cut to the 16 bits a file can hold (four deviations).
    pub(crate) fn of_law(name: &str, quantile: impl Fn(Unit) -> f64) -> Self {
        let entry = |k: u32| {
            let exact = quantile(Unit::new((f64::from(k) + 0.5) / 4096.0)) * f64::from(Self::SCALE);
            i32::from(exact.round() as i16)
        };
        Self { name: name.to_owned(), quantiles: (0..4096).map(entry).collect() }
    }

    /// Mean and standard deviation of the entries, in standard deviations; a good table has 0 and 1.
    #[must_use]
    pub fn moments(&self) -> (f64, f64) {
        let count = self.quantiles.len().max(1) as f64;
        let value = |&entry: &i32| f64::from(entry) / f64::from(Self::SCALE);
        let mean = self.quantiles.iter().map(value).sum::<f64>() / count;
        let squares = self.quantiles.iter().map(|entry| (value(entry) - mean).powi(2)).sum::<f64>();
        (mean, (squares / count).sqrt())
    }
}

/// Lines that are no comments, counted from 1.
pub(super) fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

/// Enough of a word to find it by.
pub(crate) fn short(word: &str) -> String {
    const SHOWN: usize = 24;
    match word.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &word[..end]),
        None => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn comments_are_skipped_and_entries_sorted() {
        let table = DelayTable::parse("x", "# three\n 8192 -8192\n\n  0 # no\n");
        assert_eq!(
            table,
            Err(TextError::Word {
                line: 4,
                word: "#".to_owned(),
                expected: "a whole number from -32768 to 32767"
            })
        );
        let table = DelayTable::parse("x", "# three\n 8192 -8192\n\n  0\n").expect("a table");
        assert_eq!(table.quantiles, [-8192, 0, 8192]);
        let (mean, deviation) = table.moments();
        assert_eq!(mean, 0.0);
        assert!((deviation - (2.0_f64 / 3.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn errors_name_the_line() {
        let error = |text: &str| DelayTable::parse("x", text).expect_err("wrong").to_string();
        assert_eq!(error("1 2\n3 four"), "line 2: \"four\" is not a whole number from -32768 to 32767");
        assert_eq!(error("40000"), "line 1: \"40000\" is not a whole number from -32768 to 32767");
        assert!(error("# nothing").contains("no entries"));
        assert_eq!(error(&"1\n".repeat(MAX_ENTRIES + 1)), "line 16385: more than 16384 entries");
    }

    #[test]
    fn the_normal_table_has_the_moments_of_a_normal_law_cut_at_four() {
        let (mean, deviation) = DelayTable::normal().moments();
        assert!(mean.abs() < 1e-4 && (deviation - 1.0).abs() < 1e-3, "{mean} {deviation}");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-0-9# a\n]{0,80}") {
            let _ = DelayTable::parse("x", &text);
        }
    }
}
