//! `drain = "max(10s, 4*rto)"`: how long a run waits for what is still under way.
//!
//! `rtt` and `rto` are those of the scenario's links ([`Scenario::base_rtt`](super::Scenario::base_rtt)), not measured
//! ones: a deadline must be known before the run, and be the same in both drivers.

use std::time::Duration;

use units::parse_duration;

/// What the words of an expression mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) rtt: Duration,
    pub(super) rto: Duration,
}

/// Whether `text` is more than a plain duration.
pub(super) fn is_expression(text: &str) -> bool {
    text.contains(['(', '*', '+']) || ["rtt", "rto"].contains(&text.trim())
}

/// The span that `text` means; the error says what to write.
pub(super) fn evaluate(text: &str, base: Base) -> Result<Duration, String> {
    let wrong = || format!("\"{text}\" is not understood; write for example max(10s, 4*rto)");
    if text.len() > MOST_CHARS {
        return Err(wrong());
    }
    let mut reader = Reader { rest: text.trim(), base };
    match reader.sum() {
        Some(Quantity::Seconds(seconds)) if reader.rest.is_empty() => {
            Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
        }
        _ => Err(wrong()),
    }
}

/// A number or a span: they multiply, but do not add.
#[derive(Clone, Copy)]
enum Quantity {
    Number(f64),
    Seconds(f64),
}

struct Reader<'a> {
    rest: &'a str,
    base: Base,
}

impl Reader<'_> {
    fn sum(&mut self) -> Option<Quantity> {
        let mut total = self.product()?;
        while self.take("+") {
            total = match (total, self.product()?) {
                (Quantity::Number(a), Quantity::Number(b)) => Quantity::Number(a + b),
                (Quantity::Seconds(a), Quantity::Seconds(b)) => Quantity::Seconds(a + b),
                _ => return None,
            };
        }
        Some(total)
    }

    fn product(&mut self) -> Option<Quantity> {
        let mut product = self.factor()?;
        while self.take("*") {
            product = match (product, self.factor()?) {
                (Quantity::Number(a), Quantity::Number(b)) => Quantity::Number(a * b),
                (Quantity::Seconds(a), Quantity::Number(b)) | (Quantity::Number(a), Quantity::Seconds(b)) => {
                    Quantity::Seconds(a * b)
                }
                _ => return None,
            };
        }
        Some(product)
    }

    fn factor(&mut self) -> Option<Quantity> {
        for (word, larger) in [("max(", true), ("min(", false)] {
            if self.take(word) {
                return self.choice(larger);
            }
        }
        if self.take("(") {
            let inner = self.sum()?;
            return self.take(")").then_some(inner);
        }
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        match word {
            "rtt" => Some(Quantity::Seconds(self.base.rtt.as_secs_f64())),
            "rto" => Some(Quantity::Seconds(self.base.rto.as_secs_f64())),
            _ => {
                let number =
                    word.parse::<f64>().ok().filter(|number| number.is_finite()).map(Quantity::Number);
                let span = || parse_duration(word).ok().map(|span| Quantity::Seconds(span.as_secs_f64()));
                number.or_else(span)
            }
        }
    }

    /// The largest or smallest of a list of spans.
    fn choice(&mut self, larger: bool) -> Option<Quantity> {
        let mut chosen: Option<f64> = None;
        loop {
            let Quantity::Seconds(value) = self.sum()? else { return None };
            chosen = Some(match chosen {
                None => value,
                Some(other) if larger => other.max(value),
                Some(other) => other.min(value),
            });
            if self.take(")") {
                return chosen.map(Quantity::Seconds);
            }
            if !self.take(",") {
                return None;
            }
        }
    }

    fn take(&mut self, word: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(word) else { return false };
        self.rest = rest.trim_start();
        true
    }
}

/// Bounds the nesting as well; what a person writes has twenty.
const MOST_CHARS: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const BASE: Base = Base { rtt: Duration::from_millis(100), rto: Duration::from_millis(300) };

    #[test]
    fn expressions_mean_spans() {
        for (text, ms) in [
            ("max(10s, 4*rto)", 10_000),
            ("max(1s, 4 * rto)", 1200),
            ("min(2*rtt, rto)", 200),
            ("6*rtt + 4*rto", 1800),
            ("(rtt + 50ms) * 2", 300),
            ("max(rtt, min(5s, rto)) + 1.5s", 1800),
            ("rto", 300),
        ] {
            assert_eq!(evaluate(text, BASE), Ok(ms * MS), "{text}");
        }
    }

    #[test]
    fn what_is_no_span_says_what_to_write() {
        for text in ["max(10s", "4*", "10s + 2", "rtt*rto", "2*3", "max()", "srtt*2", "10s 5s", "min(1s,)"] {
            let error = evaluate(text, BASE).unwrap_err();
            assert!(error.ends_with("write for example max(10s, 4*rto)"), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[-a-z0-9+*(), .]{0,120}") {
            let _ = evaluate(&text, BASE);
        }
    }
}
