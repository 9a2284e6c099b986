//! The grammar of assertions.
//!
//! ```text
//! assertion  = sum ("<" | "<=" | ">" | ">=" | "==" | "!=") sum
//! sum        = product { ("+" | "-") product }
//! product    = value { ("*" | "/") value }
//! value      = NUMBER[UNIT] | metric | "(" sum ")"
//!            | stat "(" latency [ selectors ] ")" | stat "(" sum ")"
//!            | ("rate" | "jain") "(" name [ selectors ] ")" | "completion" "(" [ selector { "," selector } ] ")"
//! selectors  = "{" selector { "," selector } "}"
//! selector   = ("phase" | "workload" | "clients" | "link") "=" QUOTED
//! stat       = "p50" | "p99.9" | … | "median" | "mean" | "min" | "max" | "count"
//! ```
//!
//! A statistic of a latency is of all its samples; one of anything else is over the repeats: `median(goodput / capacity)`.
//!
//! Times are microseconds inside, and a time compares only with a time: `p99(delivery_latency) < 1500` is refused, as
//! a number without its unit is everywhere else in a scenario. Zero needs no unit.

use units::{ByteCount, parse_duration};

use super::compare::Comparison;
use super::names::{Latency, Metric, Over, Selectors, Share, Stat};

/// A parsed assertion: two sides and how they must compare.
#[derive(Clone, Debug, PartialEq)]
pub struct Expr {
    pub(crate) left: Term,
    pub(crate) comparison: Comparison,
    pub(crate) right: Term,
    /// Both sides as written, for sentences.
    pub(crate) left_text: String,
    pub(crate) right_text: String,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Term {
    Literal {
        value: f64,
        unit: Unit,
    },
    Metric(Metric),
    /// A statistic of the value of each repeat.
    OverRepeats {
        over: Over,
        of: Box<Term>,
    },
    Binary {
        op: Op,
        left: Box<Term>,
        right: Box<Term>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Add,
    Subtract,
    Multiply,
    Divide,
}

/// What a value counts, as far as mistakes are likely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Counts, shares, rates, bytes.
    Plain,
    /// Microseconds.
    Time,
}

impl Expr {
    /// Parses one assertion; the error is one sentence that says what to write.
    pub fn parse(text: &str) -> Result<Self, String> {
        // The parser recurses into parentheses, so the length bounds its stack too.
        if text.len() > MAX_LENGTH {
            return Err(format!("the expression has {} characters; write at most {MAX_LENGTH}", text.len()));
        }
        let (left_text, comparison, right_text) = Comparison::split(text)
            .ok_or_else(|| format!("\"{text}\" compares nothing; write for example lost == 0"))?;
        let (left, right) = (Parser::whole(left_text)?, Parser::whole(right_text)?);
        for metric in left.metrics().into_iter().chain(right.metrics()) {
            metric.check_selectors().map_err(|problem| format!("\"{text}\": {problem}"))?;
        }
        same_unit(&left, &right).map_err(|problem| format!("\"{text}\": {problem}"))?;
        Ok(Self {
            left,
            comparison,
            right,
            left_text: left_text.trim().to_owned(),
            right_text: right_text.trim().to_owned(),
        })
    }
}

impl Expr {
    /// Whether the left side is a time, in microseconds.
    pub(crate) fn is_time(&self) -> bool {
        self.left.unit() == Ok(Unit::Time)
    }

    /// What its metrics are asked of: `("workload", "chat")`.
    pub(crate) fn selected(&self) -> Vec<(&'static str, &str)> {
        let metrics = self.left.metrics().into_iter().chain(self.right.metrics());
        metrics.filter_map(Metric::selectors).flat_map(Selectors::all).collect()
    }
}

/// Parses a sum by itself.
pub(super) fn term(text: &str) -> Result<Term, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("the expression has {} characters; write at most {MAX_LENGTH}", text.len()));
    }
    let term = Parser::whole(text)?;
    term.unit()?;
    term.metrics().into_iter().try_for_each(Metric::check_selectors)?;
    Ok(term)
}

impl Term {
    /// All metrics in it, from left to right.
    pub(super) fn metrics(&self) -> Vec<&Metric> {
        match self {
            Self::Literal { .. } => Vec::new(),
            Self::Metric(metric) => vec![metric],
            Self::OverRepeats { of, .. } => of.metrics(),
            Self::Binary { left, right, .. } => left.metrics().into_iter().chain(right.metrics()).collect(),
        }
    }

    pub(super) fn wants_more(&self) -> bool {
        match self {
            Self::Literal { .. } => false,
            Self::Metric(metric) => metric.wants_more(),
            Self::OverRepeats { of, .. } => of.wants_more(),
            Self::Binary { left, .. } => left.wants_more(),
        }
    }

    pub(super) fn unit(&self) -> Result<Unit, String> {
        match self {
            Self::Literal { unit, .. } => Ok(*unit),
            Self::Metric(metric) => Ok(if metric.is_time() { Unit::Time } else { Unit::Plain }),
            Self::OverRepeats { of, .. } => of.unit(),
            Self::Binary { op, left, right } => match (op, left.unit()?, right.unit()?) {
                (Op::Add | Op::Subtract, ..) => same_unit(left, right),
                (Op::Multiply, Unit::Time, Unit::Time) => {
                    Err("a time times a time is no time; remove one".to_owned())
                }
                (Op::Multiply, Unit::Plain, Unit::Plain) => Ok(Unit::Plain),
                (Op::Multiply, ..) | (Op::Divide, Unit::Time, Unit::Plain) => Ok(Unit::Time),
                (Op::Divide, ..) => Ok(Unit::Plain),
            },
        }
    }

    fn is_zero(&self) -> bool {
        matches!(self, Self::Literal { value, .. } if *value == 0.0)
    }
}

/// The unit of both sides, which must agree; a plain zero agrees with everything.
fn same_unit(left: &Term, right: &Term) -> Result<Unit, String> {
    match (left.unit()?, right.unit()?) {
        (a, b) if a == b => Ok(a),
        (a, _) if right.is_zero() => Ok(a),
        (_, b) if left.is_zero() => Ok(b),
        _ => {
            Err("a time stands beside a plain number; give the number a unit, for example 1500ms".to_owned())
        }
    }
}

struct Parser<'a> {
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn whole(text: &'a str) -> Result<Term, String> {
        let mut parser = Parser { rest: text };
        let term = parser.sum()?;
        parser.skip_space();
        if parser.rest.is_empty() {
            Ok(term)
        } else {
            Err(format!("unexpected \"{}\"; write +, -, * or / between two values", parser.rest))
        }
    }

    fn sum(&mut self) -> Result<Term, String> {
        let mut term = self.product()?;
        while let Some(op) = self.operator(&[('+', Op::Add), ('-', Op::Subtract)]) {
            term = Term::Binary { op, left: Box::new(term), right: Box::new(self.product()?) };
        }
        Ok(term)
    }

    fn product(&mut self) -> Result<Term, String> {
        let mut term = self.value()?;
        while let Some(op) = self.operator(&[('*', Op::Multiply), ('/', Op::Divide)]) {
            term = Term::Binary { op, left: Box::new(term), right: Box::new(self.value()?) };
        }
        Ok(term)
    }

    fn value(&mut self) -> Result<Term, String> {
        self.skip_space();
        match self.rest.chars().next() {
            Some('(') => {
                self.rest = &self.rest[1..];
                let term = self.sum()?;
                self.close()?;
                Ok(term)
            }
            Some(first) if first.is_ascii_digit() || first == '.' => self.literal(),
            Some(first) if first.is_ascii_alphabetic() || first == '_' => self.metric(),
            Some(other) => Err(format!("unexpected \"{other}\"; write a metric or a number")),
            None => Err("a value is missing; write a metric or a number".to_owned()),
        }
    }

    fn literal(&mut self) -> Result<Term, String> {
        let number = self.take(|c| c.is_ascii_digit() || c == '.' || c == '_');
        let unit = self.take(|c| c.is_alphabetic() || c == '%');
        let text = format!("{number}{unit}");
        if unit.is_empty() && self.per_second() {
            self.rest = &self.rest[2..];
        }
        let plain = |value| Ok(Term::Literal { value, unit: Unit::Plain });
        let value =
            number.replace('_', "").parse::<f64>().map_err(|_| format!("\"{number}\" is not a number"))?;
        match unit {
            "" => plain(value),
            "%" => plain(value / 100.0),
            _ => {
                if let Ok(span) = parse_duration(&text) {
                    return Ok(Term::Literal { value: span.as_nanos() as f64 / 1e3, unit: Unit::Time });
                }
                let size = text.parse::<ByteCount>();
                size.map_or_else(|_| Err(format!("\"{text}\" has the unknown unit \"{unit}\"; write for example 1500ms, 10%, 64KiB or 2/s")), |size| plain(size.0 as f64))
            }
        }
    }

    /// Whether `/s` follows as a unit (`2/s`), and not a division by something that begins with s.
    fn per_second(&self) -> bool {
        self.rest.strip_prefix("/s").is_some_and(|rest| !rest.starts_with(is_word))
    }

    fn metric(&mut self) -> Result<Term, String> {
        let name = self.take(is_word);
        self.skip_space();
        if !self.rest.starts_with('(') {
            return Metric::named(name).map(Term::Metric);
        }
        self.rest = &self.rest[1..];
        let term = match name {
            "completion" => {
                let selectors =
                    if self.peek() == Some(')') { Selectors::default() } else { self.selectors()? };
                Term::Metric(Metric::Completion(selectors))
            }
            "rate" => {
                let share = Share::named(self.word())?;
                Term::Metric(Metric::Rate(share, self.braces()?))
            }
            "jain" => {
                let of = self.word();
                Metric::jain(of, self.braces()?).map(Term::Metric)?
            }
            stat => self.statistic(stat)?,
        };
        self.close()?;
        Ok(term)
    }

    /// What stands within the parentheses of a statistic.
    fn statistic(&mut self, name: &str) -> Result<Term, String> {
        let stat = Stat::named(name)?;
        let before = self.rest;
        let word = self.word();
        if let Some(of) = Latency::named(word) {
            return Ok(Term::Metric(Metric::Latency { stat, of, selectors: self.braces()? }));
        }
        // A lone word that is no metric was meant as a latency, unless repeats could be meant.
        let over = Over::of(stat);
        if matches!(self.peek(), Some(')' | '{')) && (over.is_none() || Metric::named(word).is_err()) {
            return Err(Latency::unknown(word));
        }
        let Some(over) = over else {
            return Err(format!("{name}(…) is of a latency, for example {name}(delivery_latency)"));
        };
        self.rest = before;
        Ok(Term::OverRepeats { over, of: Box::new(self.sum()?) })
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        self.take(is_word)
    }

    fn peek(&mut self) -> Option<char> {
        self.skip_space();
        self.rest.chars().next()
    }

    /// `{phase='steady', workload='chat'}`, or nothing.
    fn braces(&mut self) -> Result<Selectors, String> {
        if self.peek() != Some('{') {
            return Ok(Selectors::default());
        }
        self.rest = &self.rest[1..];
        let selectors = self.selectors()?;
        self.skip_space();
        self.rest = self.rest.strip_prefix('}').ok_or("a closing \"}\" is missing")?;
        Ok(selectors)
    }

    fn selectors(&mut self) -> Result<Selectors, String> {
        let mut selectors = Selectors::default();
        loop {
            let key = self.word();
            self.skip_space();
            self.rest = self.rest.strip_prefix('=').ok_or_else(|| format!("write {key}='NAME'"))?;
            let quote = self.peek().filter(|c| matches!(c, '\'' | '"'));
            let quote =
                quote.ok_or_else(|| format!("the name after {key}= stands in quotes: {key}='NAME'"))?;
            let (name, rest) = self.rest[1..]
                .split_once(quote)
                .ok_or_else(|| format!("the quote after {key}= is never closed"))?;
            self.rest = rest;
            selectors.set(key, name)?;
            if self.peek() != Some(',') {
                return Ok(selectors);
            }
            self.rest = &self.rest[1..];
        }
    }

    fn close(&mut self) -> Result<(), String> {
        self.skip_space();
        self.rest = self.rest.strip_prefix(')').ok_or("a closing \")\" is missing")?;
        Ok(())
    }

    fn operator(&mut self, operators: &[(char, Op)]) -> Option<Op> {
        self.skip_space();
        let &(symbol, op) = operators.iter().find(|(symbol, _)| self.rest.starts_with(*symbol))?;
        self.rest = &self.rest[symbol.len_utf8()..];
        Some(op)
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.rest.find(|c| !fits(c)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

/// Metrics are paths, and `p99.9` is a name.
fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '.'
}

/// Longer than any sentence about a run.
const MAX_LENGTH: usize = 500;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_carry_their_unit() {
        let right = |text: &str| Expr::parse(text).unwrap().right;
        assert_eq!(
            right("p99(delivery_latency) < 1500ms"),
            Term::Literal { value: 1_500_000.0, unit: Unit::Time }
        );
        assert_eq!(right("lost / intended < 10%"), Term::Literal { value: 0.1, unit: Unit::Plain });
        assert_eq!(right("delivered_per_s > 2/s"), Term::Literal { value: 2.0, unit: Unit::Plain });
        assert_eq!(right("cwnd_max_bytes <= 64KiB"), Term::Literal { value: 65_536.0, unit: Unit::Plain });
    }

    #[test]
    fn products_bind_tighter_than_sums() {
        let Term::Binary { op: Op::Add, right, .. } = Expr::parse("1 + 2 * 3 == lost").unwrap().left else {
            panic!("a sum of a product");
        };
        assert!(matches!(*right, Term::Binary { op: Op::Multiply, .. }));
    }

    #[test]
    fn a_time_needs_its_unit() {
        let error = Expr::parse("p99(delivery_latency) < 1500").unwrap_err();
        assert!(error.ends_with("give the number a unit, for example 1500ms"), "{error}");
        assert!(Expr::parse("p99(delivery_latency) < 2 * p50(ack_rtt) + 10ms").is_ok());
        assert!(Expr::parse("p99(ack_rtt) / p50(ack_rtt) < 3").is_ok());
        assert!(Expr::parse("p99(ack_rtt) > 0").is_ok());
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (text, problem) in [
            ("lost", "compares nothing"),
            ("lost ==", "a value is missing"),
            ("lost == 0 0", "unexpected \"0\""),
            ("lost == 0 == 0", "unexpected \"== 0\""),
            ("(lost == 0", "closing"),
            ("lost == 5parsecs", "unknown unit \"parsecs\""),
            ("p99(delivery_latency < 1ms", "closing"),
            ("p99(latency) < 1ms", "latency is no latency; nearest: "),
            ("p99(lost) < 1ms", "lost is no latency"),
            ("p101(ack_rtt) < 1ms", "p101(…) is no statistic"),
            ("p99(ack_rtt{room='a'}) < 1ms", "room selects nothing"),
            ("p99(ack_rtt{phase=steady}) < 1ms", "stands in quotes"),
            ("rate(lots) >= 0.99", "nearest: lost"),
            ("jain(fairness) >= 0.99", "goodput_per_client"),
        ] {
            let error = Expr::parse(text).unwrap_err();
            assert!(error.contains(problem), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[ -~äµ]{0,40}") {
            let _ = Expr::parse(&text);
        }

        #[test]
        fn nesting_has_a_bound(depth in 0usize..2000) {
            let _ = Expr::parse(&format!("{}lost{} == 0", "(".repeat(depth), ")".repeat(depth)));
        }
    }
}
