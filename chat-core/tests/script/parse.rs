//! Text to steps.

use std::ops::RangeInclusive;
use std::time::Duration;

/// A script, ready to run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    /// Settings by name, with their line.
    pub(super) config: Vec<(usize, String, String)>,
    pub(super) steps: Vec<Step>,
}

/// One line.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) line: usize,
    /// After the line before.
    pub(super) after: Duration,
    pub(super) action: Action,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// The application queues messages of one segment each.
    Send(u64),
    /// These leave now.
    Leaves(Vec<Packet>),
    /// An ack in segments: all below `next`, and these.
    Ack {
        next: u64,
        sacks: Vec<RangeInclusive<u64>>,
        window: Option<u64>,
    },
    /// An ack in packet numbers.
    AckPackets(Vec<RangeInclusive<u64>>),
    Assert {
        name: String,
        relation: Relation,
        value: String,
    },
}

/// What may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Data(u64),
    Ping,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    Equal,
    AtMost,
    AtLeast,
}

impl Script {
    /// Reads a script; an error names the line.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            script.take(number, line).map_err(|why| format!("line {number}: {why}: \"{line}\""))?;
        }
        Ok(script)
    }

    fn take(&mut self, number: usize, line: &str) -> Result<(), String> {
        if let Some(setting) = line.strip_prefix("config ") {
            if !self.steps.is_empty() {
                return Err("settings stand before the first step".to_owned());
            }
            let (name, value) = setting.trim().split_once(' ').ok_or("a setting is a name and a value")?;
            self.config.push((number, name.to_owned(), value.trim().to_owned()));
            return Ok(());
        }
        let (time, rest) = line.split_once(char::is_whitespace).ok_or("a step is +seconds and an action")?;
        let after = time
            .strip_prefix('+')
            .and_then(|seconds| seconds.parse::<f64>().ok())
            .filter(|seconds| (0.0..1e6).contains(seconds))
            .ok_or("a step begins with +seconds")?;
        let action = action(rest.trim())?;
        self.steps.push(Step { line: number, after: Duration::from_secs_f64(after), action });
        Ok(())
    }
}

fn action(text: &str) -> Result<Action, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        ["send", count] => Ok(Action::Send(integer(count)?)),
        [">", "ping"] => Ok(Action::Leaves(vec![Packet::Ping])),
        [">", "data", ref segments @ ..] if !segments.is_empty() => {
            let ranges = ranges(segments)?;
            Ok(Action::Leaves(ranges.into_iter().flatten().map(Packet::Data).collect()))
        }
        ["<", "packets", ref packets @ ..] if !packets.is_empty() => Ok(Action::AckPackets(ranges(packets)?)),
        ["<", "ack", next, ref rest @ ..] => ack(integer(next)?, rest),
        ["?", name, relation, value] => {
            let relation = match relation {
                "==" => Relation::Equal,
                "<=" => Relation::AtMost,
                ">=" => Relation::AtLeast,
                _ => return Err("a relation is ==, <= or >=".to_owned()),
            };
            Ok(Action::Assert { name: name.to_owned(), relation, value: value.to_owned() })
        }
        _ => Err("an action is send, > data, > ping, < ack, < packets or ?".to_owned()),
    }
}

fn ack(next: u64, mut rest: &[&str]) -> Result<Action, String> {
    let (mut sacks, mut window) = (Vec::new(), None);
    while let [word, after @ ..] = rest {
        let operands = after.iter().take_while(|word| word.starts_with(|c: char| c.is_ascii_digit())).count();
        let (values, remaining) = after.split_at(operands);
        match (*word, values) {
            ("sack", [_, ..]) => sacks = ranges(values)?,
            ("window", [bytes]) => window = Some(integer(bytes)?),
            _ => return Err(format!("\"{word}\" is neither sack with ranges nor window with bytes")),
        }
        rest = remaining;
    }
    Ok(Action::Ack { next, sacks, window })
}

fn ranges(words: &[&str]) -> Result<Vec<RangeInclusive<u64>>, String> {
    let range = |word: &&str| match word.split_once("..") {
        Some((low, high)) => Ok(integer(low)?..=integer(high)?),
        None => integer(word).map(|number| number..=number),
    };
    words.iter().map(range).collect()
}

fn integer(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("\"{word}\" is not a number"))
}
