//! A link in one line: `loss=10% delay=50ms jitter=5ms rate=10Mbit/s`.
//!
//! The same text is written on command lines, in scenario files and in reports, so it is parsed and printed here
//! once: `parse(print(profile)) == profile`. A SPEC is a list of `key=value`, separated by blanks; blanks inside
//! parentheses are free. Each key is given at most once, except `blackout`, which may be repeated. `none` (or
//! nothing) is the link that changes nothing. The grammar with every key is in docs/EMULATION.md.
//!
//! [`Spec`] is what was *written*, key by key, so that several sources can be laid over each other before they are
//! given meaning; [`LinkProfile`] is what it *means*.

mod compat;
mod delay;
mod file;
mod loss;
mod value;

use std::fmt::{self, Display};
use std::str::FromStr;

use units::{Bitrate, Probability, format_duration};

use crate::profile::{
    Gate, LinkProfile, LossModel, NetemCompat, Order, Overhead, ProfileError, QueueLimit, QueueModel,
    RateModel, Reorder, Window,
};
use compat::{parse_compat, print_compat};
pub use delay::{DelayBase, DelaySpec, Distribution};
use delay::{DelayKey, print_delay};
pub use file::names_file;
use loss::{parse_loss, print_loss};
pub use value::ValueError;
use value::{parse_blackout, parse_order, parse_queue, parse_reorder, set_once, shape};

/// The keys that were written, each with its value. What is absent stays open.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Spec {
    pub loss: Option<LossModel>,
    pub delay: DelaySpec,
    pub rate: Option<Bitrate>,
    pub queue: Option<QueueLimit>,
    pub duplicate: Option<Probability>,
    pub corrupt: Option<Probability>,
    pub reorder: Option<Reorder>,
    pub order: Option<Order>,
    pub compat: Option<NetemCompat>,
    /// Empty means not written.
    pub blackouts: Vec<Window>,
}

impl Spec {
    /// These keys, and those of `base` where this one is silent.
    #[must_use]
    pub fn over(self, base: Spec) -> Spec {
        Spec {
            loss: self.loss.or(base.loss),
            delay: self.delay.over(base.delay),
            rate: self.rate.or(base.rate),
            queue: self.queue.or(base.queue),
            duplicate: self.duplicate.or(base.duplicate),
            corrupt: self.corrupt.or(base.corrupt),
            reorder: self.reorder.or(base.reorder),
            order: self.order.or(base.order),
            compat: self.compat.or(base.compat),
            blackouts: if self.blackouts.is_empty() { base.blackouts } else { self.blackouts },
        }
    }

    /// The link these keys mean, with defaults for the rest, validated.
    pub fn profile(self) -> Result<LinkProfile, SpecError> {
        let (delay, delay_correlation) = self.delay.model()?;
        let profile = LinkProfile {
            loss: self.loss.unwrap_or_default(),
            duplicate: self.duplicate.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            rate: self.rate.map(|rate| RateModel::Constant { rate, overhead: Overhead::default() }),
            queue: QueueModel { limit: self.queue.unwrap_or_default(), ..QueueModel::default() },
            delay,
            delay_correlation,
            order: self.order.unwrap_or_default(),
            reorder: self.reorder,
            compat: self.compat,
            gates: self.blackouts.into_iter().map(Gate::Blackout).collect(),
            ..LinkProfile::default()
        };
        profile.validate()?;
        Ok(profile)
    }

    /// Writes one key, for those who take it from elsewhere than a SPEC: a flag, a field.
    ///
    /// # Errors
    /// When the key is unknown, written already, or the value is wrong.
    pub fn write(&mut self, key: &str, value: &str) -> Result<(), ValueError> {
        let known = Key::from_name(key).ok_or_else(|| shape(key, "one of the keys of a SPEC"))?;
        self.set(known, value.trim())
    }

    fn set(&mut self, key: Key, value: &str) -> Result<(), ValueError> {
        match key {
            Key::Loss => set_once(&mut self.loss, parse_loss(value)?),
            Key::Delay => self.delay.set(DelayKey::Delay, value),
            Key::Jitter => self.delay.set(DelayKey::Jitter, value),
            Key::Dist => self.delay.set(DelayKey::Dist, value),
            Key::Correlation => self.delay.set(DelayKey::Correlation, value),
            Key::Rate => set_once(&mut self.rate, value.parse()?),
            Key::Queue => set_once(&mut self.queue, parse_queue(value)?),
            Key::Duplicate => set_once(&mut self.duplicate, value.parse()?),
            Key::Corrupt => set_once(&mut self.corrupt, value.parse()?),
            Key::Reorder => set_once(&mut self.reorder, parse_reorder(value)?),
            Key::Order => set_once(&mut self.order, parse_order(value)?),
            Key::Compat => set_once(&mut self.compat, parse_compat(value)?),
            Key::Blackout => {
                self.blackouts.push(parse_blackout(value)?);
                Ok(())
            }
        }
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let mut spec = Spec::default();
        if text.trim() == NONE {
            return Ok(spec);
        }
        for (column, word) in words(text) {
            let Some((name, value)) = word.split_once('=') else {
                return Err(SpecError::NotAPair { column, word: word.to_owned() });
            };
            let key = Key::from_name(name).ok_or_else(|| SpecError::UnknownKey {
                column,
                key: name.to_owned(),
                hint: hint(name),
            })?;
            let found = spec.set(key, value);
            found.map_err(|error| SpecError::Value { column, key: key.name(), error })?;
        }
        Ok(spec)
    }
}

impl FromStr for LinkProfile {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        text.parse::<Spec>()?.profile()
    }
}

impl Display for LinkProfile {
    /// The shortest SPEC of this profile; `none` if it changes nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut words = Vec::new();
        words.extend(print_loss(&self.loss).map(|loss| format!("loss={loss}")));
        print_delay(self, &mut words);
        words.extend(self.bitrate().map(|rate| format!("rate={rate}")));
        match self.queue.limit {
            QueueLimit::Default | QueueLimit::Time(_) | QueueLimit::Bdp(_) => {}
            QueueLimit::Infinite => words.push("queue=infinite".to_owned()),
            QueueLimit::Packets(packets) => words.push(format!("queue={packets}p")),
            QueueLimit::Bytes(bytes) => words.push(format!("queue={bytes}")),
        }
        for (key, p) in [("duplicate", self.duplicate), ("corrupt", self.corrupt)] {
            if !p.is_zero() {
                words.push(format!("{key}={p}"));
            }
        }
        words.extend(self.reorder.map(|r| format!("reorder={}/{}", r.p, format_duration(r.extra))));
        if self.order == Order::Allow {
            words.push("order=allow".to_owned());
        }
        words.extend(self.compat.as_ref().map(|compat| format!("compat={}", print_compat(compat))));
        for gate in &self.gates {
            let Gate::Blackout(Window { at, duration, every }) = gate else { continue };
            let every = every.map_or(String::new(), |every| format!("/{}", format_duration(every)));
            words.push(format!("blackout={}+{}{every}", format_duration(*at), format_duration(*duration)));
        }
        f.write_str(if words.is_empty() { NONE } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

/// Why a text is no link. `column` counts characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("column {column}: \"{word}\" is not key=value; write for example loss=10%")]
    NotAPair { column: usize, word: String },
    #[error("column {column}: \"{key}\" is not a key; {hint}")]
    UnknownKey { column: usize, key: String, hint: String },
    #[error("column {column}: {key}: {error}")]
    Value { column: usize, key: &'static str, error: ValueError },
    /// The shape of jitter without its width.
    #[error("dist: there is no jitter to distribute; add for example jitter=5ms")]
    DistWithoutJitter,
    /// A recording has its own jitter.
    #[error("delay: a trace says every delay itself; leave out jitter and dist")]
    JitterOnTrace,
    /// The values contradict each other.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

#[derive(Clone, Copy)]
enum Key {
    Loss,
    Delay,
    Jitter,
    Dist,
    Correlation,
    Rate,
    Queue,
    Duplicate,
    Corrupt,
    Reorder,
    Order,
    Compat,
    Blackout,
}

impl Key {
    const ALL: [Key; 13] = [
        Key::Loss,
        Key::Delay,
        Key::Jitter,
        Key::Dist,
        Key::Correlation,
        Key::Rate,
        Key::Queue,
        Key::Duplicate,
        Key::Corrupt,
        Key::Reorder,
        Key::Order,
        Key::Compat,
        Key::Blackout,
    ];

    fn name(self) -> &'static str {
        match self {
            Key::Loss => "loss",
            Key::Delay => "delay",
            Key::Jitter => "jitter",
            Key::Dist => "dist",
            Key::Correlation => "correlation",
            Key::Rate => "rate",
            Key::Queue => "queue",
            Key::Duplicate => "duplicate",
            Key::Corrupt => "corrupt",
            Key::Reorder => "reorder",
            Key::Order => "order",
            Key::Compat => "compat",
            Key::Blackout => "blackout",
        }
    }

    fn from_name(name: &str) -> Option<Key> {
        Key::ALL.into_iter().find(|key| key.name() == name)
    }
}

/// The nearest key if it is near, else all of them.
fn hint(name: &str) -> String {
    let nearest = Key::ALL
        .into_iter()
        .map(Key::name)
        .max_by(|a, b| strsim::jaro_winkler(name, a).total_cmp(&strsim::jaro_winkler(name, b)));
    match nearest {
        Some(key) if strsim::jaro_winkler(name, key) > 0.75 => format!("did you mean \"{key}\"?"),
        _ => format!("the keys are {}", Key::ALL.map(Key::name).join(", ")),
    }
}

/// Words with the column each begins at; blanks inside parentheses separate nothing.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut depth = 0_usize;
    text.split(move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && c.is_whitespace()
    })
    .filter(|word| !word.is_empty())
    .map(|word| {
        let offset = word.as_ptr().addr() - text.as_ptr().addr();
        (text[..offset].chars().count() + 1, word)
    })
}

/// How the link that changes nothing is written.
const NONE: &str = "none";

#[cfg(test)]
mod tests;
