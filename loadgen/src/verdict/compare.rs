//! The six comparisons, shared by assertions (measured values) and `when` conditions (configured values).

use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Comparison {
    /// Splits `a <= b` at its first comparison outside of brackets. `None` without one.
    pub(crate) fn split(text: &str) -> Option<(&str, Self, &str)> {
        let mut depth = 0_i32;
        let outside = |c: char| {
            match c {
                '(' | '{' => depth += 1,
                ')' | '}' => depth -= 1,
                _ => {}
            }
            depth <= 0 && matches!(c, '<' | '>' | '=' | '!')
        };
        // With a bracket that is never closed any comparison will do; what is missing is said later.
        let at = text.find(outside).or_else(|| text.find(['<', '>', '=', '!']))?;
        let found = SYMBOLS.iter().find(|(symbol, _)| text[at..].starts_with(symbol));
        found.map(|&(symbol, comparison)| (&text[..at], comparison, &text[at + symbol.len()..]))
    }

    /// Whether `left` and `right` compare so. Infinity is a number here: it is above every bound.
    pub(crate) fn holds(self, left: f64, right: f64) -> bool {
        // Sums and quotients of measured numbers differ in the last bits; nine digits are far below what is measured.
        let close = || (left - right).abs() <= 1e-9 * left.abs().max(right.abs());
        let equal = left == right || (left.is_finite() && right.is_finite() && close());
        match self {
            Self::Less => left < right && !equal,
            Self::LessOrEqual => left < right || equal,
            Self::Greater => left > right && !equal,
            Self::GreaterOrEqual => left > right || equal,
            Self::Equal => equal,
            Self::NotEqual => !equal,
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let symbol =
            SYMBOLS.iter().find(|(_, comparison)| comparison == self).map_or("", |(symbol, _)| symbol);
        f.write_str(symbol)
    }
}

/// Longer symbols first, so that `<=` is not read as `<`.
const SYMBOLS: [(&str, Comparison); 6] = [
    ("<=", Comparison::LessOrEqual),
    (">=", Comparison::GreaterOrEqual),
    ("==", Comparison::Equal),
    ("!=", Comparison::NotEqual),
    ("<", Comparison::Less),
    (">", Comparison::Greater),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_symbol_wins() {
        assert_eq!(Comparison::split("a <= 1"), Some(("a ", Comparison::LessOrEqual, " 1")));
        assert_eq!(Comparison::split("a < = 1"), Some(("a ", Comparison::Less, " = 1")));
        assert_eq!(Comparison::split("a = 1"), None);
        let (left, _, right) = Comparison::split("p99(x{phase='a'}) < 1s").expect("outside");
        assert_eq!((left, right), ("p99(x{phase='a'}) ", " 1s"));
        assert_eq!(Comparison::split("(a == 1"), Some(("(a ", Comparison::Equal, " 1")));
    }

    #[test]
    fn infinity_fails_every_upper_bound() {
        assert!(!Comparison::Less.holds(f64::INFINITY, 1e300));
        assert!(Comparison::Greater.holds(f64::INFINITY, 1e300));
        assert!(!Comparison::Equal.holds(f64::INFINITY, 5.0));
        assert!(Comparison::Equal.holds(0.1 + 0.2, 0.3));
        assert!(!Comparison::Less.holds(f64::NAN, 1.0));
    }
}
