//! A link in one line: `loss=10% delay=50ms jitter=5ms rate=10Mbit/s`.
//!
//! The same text is written on command lines, in scenario files and in reports, so it is parsed and printed here
//! once: `parse(print(profile)) == profile`. A SPEC is a list of `key=value`, separated by blanks; blanks inside
//! parentheses are free. Each key is given at most once, except those of gates, which may be repeated. Words like
//! `@3s(loss=10%)` are steps of a schedule. `none` (or nothing) is the link that changes nothing. The grammar with every key is in docs/EMULATION.md.
//!
//! [`Spec`] is what was *written*, key by key, so that several sources can be laid over each other before they are
//! given meaning; [`LinkProfile`] is what it *means*.

mod arguments;
mod compat;
mod delay;
mod file;
mod gate;
mod loss;
mod preset;
mod queue;
mod rate;
mod schedule;
mod value;

use std::fmt::{self, Display};
use std::mem::discriminant;
use std::str::FromStr;
use std::time::Duration;

use units::{ByteCount, Probability, format_duration};

use crate::profile::{
    Gate, LinkProfile, LossModel, LossPlace, NetemCompat, Order, ProfileError, QueueModel, Reorder,
};
use compat::{parse_compat, print_compat};
pub use delay::{DelayBase, DelaySpec, Distribution};
use delay::{DelayKey, print_delay};
pub use file::names_file;
use gate::{parse_flap, parse_rebind, parse_window, print_gate};
use loss::{parse_loss, print_loss};
use preset::parse_preset;
pub use preset::{PresetChoice, Side};
use queue::{parse_queue, print_queue};
pub use rate::RateSpec;
use rate::{parse_rate, print_rate};
pub use schedule::SpecStep;
use schedule::{parse_step, print_step, resolve};
pub use value::ValueError;
use value::{parse_order, parse_reorder, set_once, shape};

/// The keys that were written, each with its value. What is absent stays open.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Spec {
    pub preset: Option<PresetChoice>,
    pub mtu: Option<ByteCount>,
    pub loss: Option<LossModel>,
    pub loss_at: Option<LossPlace>,
    pub delay: DelaySpec,
    pub rate: Option<RateSpec>,
    pub queue: Option<QueueModel>,
    pub duplicate: Option<Probability>,
    pub corrupt: Option<Probability>,
    pub reorder: Option<Reorder>,
    pub order: Option<Order>,
    pub compat: Option<NetemCompat>,
    /// In the order in which they were written; none of a kind means that it was not written.
    pub gates: Vec<Gate>,
    /// Empty means not written.
    pub steps: Vec<SpecStep>,
}

impl Spec {
    /// These keys, and those of `base` where this one is silent.
    #[must_use]
    pub fn over(self, base: Spec) -> Spec {
        // Gates of one kind replace those of the same kind.
        let is_silent = |old: &Gate| self.gates.iter().all(|new| discriminant(new) != discriminant(old));
        let mut gates: Vec<Gate> = base.gates.into_iter().filter(is_silent).collect();
        gates.extend(self.gates);
        Spec {
            preset: self.preset.or(base.preset),
            mtu: self.mtu.or(base.mtu),
            loss: self.loss.or(base.loss),
            loss_at: self.loss_at.or(base.loss_at),
            delay: self.delay.over(base.delay),
            rate: self.rate.or(base.rate),
            queue: self.queue.or(base.queue),
            duplicate: self.duplicate.or(base.duplicate),
            corrupt: self.corrupt.or(base.corrupt),
            reorder: self.reorder.or(base.reorder),
            order: self.order.or(base.order),
            compat: self.compat.or(base.compat),
            gates,
            steps: if self.steps.is_empty() { base.steps } else { self.steps },
        }
    }

    /// The link these keys mean, with defaults for the rest, validated.
    pub fn profile(self) -> Result<LinkProfile, SpecError> {
        let mut spec = self.with_preset()?;
        let steps = std::mem::take(&mut spec.steps);
        let schedule = resolve(spec.clone(), steps)?;
        let profile = LinkProfile { schedule, ..spec.plain_profile()? };
        profile.validate()?;
        Ok(profile)
    }

    /// Without its steps.
    fn plain_profile(self) -> Result<LinkProfile, SpecError> {
        let (delay, delay_correlation) = self.delay.model()?;
        let loss = self.loss.unwrap_or_default();
        let profile = LinkProfile {
            mtu: self.mtu,
            loss_at: if loss == LossModel::None {
                LossPlace::Entry
            } else {
                self.loss_at.unwrap_or_default()
            },
            loss,
            duplicate: self.duplicate.unwrap_or_default(),
            corrupt: self.corrupt.unwrap_or_default(),
            rate: match self.rate {
                None | Some(RateSpec::Unlimited) => None,
                Some(RateSpec::Model(model)) => Some(model),
            },
            queue: self.queue.unwrap_or_default(),
            delay,
            delay_correlation,
            order: self.order.unwrap_or_default(),
            reorder: self.reorder,
            compat: self.compat,
            gates: self.gates,
            schedule: Vec::new(),
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
            Key::Preset => set_once(&mut self.preset, parse_preset(value)?),
            Key::Mtu => set_once(&mut self.mtu, value.parse()?),
            Key::Loss => {
                let (model, place) = split_place(value);
                if let Some(place) = place {
                    set_once(&mut self.loss_at, place)?;
                }
                set_once(&mut self.loss, parse_loss(model)?)
            }
            Key::LossAt => set_once(&mut self.loss_at, parse_place(value)?),
            Key::Delay => self.delay.set(DelayKey::Delay, value),
            Key::Jitter => self.delay.set(DelayKey::Jitter, value),
            Key::Dist => self.delay.set(DelayKey::Dist, value),
            Key::Correlation => self.delay.set(DelayKey::Correlation, value),
            Key::Rate => set_once(&mut self.rate, parse_rate(value)?),
            Key::Queue => set_once(&mut self.queue, parse_queue(value)?),
            Key::Duplicate => set_once(&mut self.duplicate, value.parse()?),
            Key::Corrupt => set_once(&mut self.corrupt, value.parse()?),
            Key::Reorder => set_once(&mut self.reorder, parse_reorder(value)?),
            Key::Order => set_once(&mut self.order, parse_order(value)?),
            Key::Compat => set_once(&mut self.compat, parse_compat(value)?),
            Key::Blackout => self.add_gate(Gate::Blackout(parse_window(value)?)),
            Key::Hold => self.add_gate(Gate::Hold(parse_window(value)?)),
            Key::Flap => self.add_gate(parse_flap(value)?),
            Key::Rebind => self.add_gate(parse_rebind(value)?),
            Key::Schedule => {
                for (column, word) in words(value) {
                    let step = parse_step(column, word);
                    self.steps.push(step.map_err(|error| ValueError::Step(Box::new(error)))?);
                }
                Ok(())
            }
        }
    }

    fn add_gate(&mut self, gate: Gate) -> Result<(), ValueError> {
        self.gates.push(gate);
        Ok(())
    }
}

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        if text.trim() == NONE {
            return Ok(Spec::default());
        }
        read_words(text, 0)
    }
}

/// Reads a SPEC that begins behind `offset` characters of a longer text.
fn read_words(text: &str, offset: usize) -> Result<Spec, SpecError> {
    let mut spec = Spec::default();
    for (column, word) in words(text) {
        let column = column + offset;
        if word.starts_with('@') {
            spec.steps.push(parse_step(column, word)?);
            continue;
        }
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

/// `5%@wire` in two.
fn split_place(text: &str) -> (&str, Option<LossPlace>) {
    let place = text.rsplit_once('@').and_then(|(model, place)| Some((model, parse_place(place).ok()?)));
    place.map_or((text, None), |(model, place)| (model, Some(place)))
}

fn parse_place(text: &str) -> Result<LossPlace, ValueError> {
    match text {
        "entry" => Ok(LossPlace::Entry),
        "wire" => Ok(LossPlace::Wire),
        _ => Err(shape(text, "entry or wire")),
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
        words.extend(self.mtu.map(|mtu| format!("mtu={mtu}")));
        let place = if self.loss_at == LossPlace::Wire { "@wire" } else { "" };
        words.extend(print_loss(&self.loss).map(|loss| format!("loss={loss}{place}")));
        print_delay(self, &mut words);
        words.extend(self.rate.as_ref().map(|rate| format!("rate={}", print_rate(rate))));
        words.extend(print_queue(&self.queue).map(|queue| format!("queue={queue}")));
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
        words.extend(self.gates.iter().map(print_gate));
        words.extend(self.schedule.iter().map(print_step));
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
    /// A preset with two directions, where nobody said which.
    #[error("preset: {name} has two directions; write preset={name}.up or preset={name}.down")]
    PresetSide { name: &'static str },
    /// A step of the schedule does not fit to what the link was before it.
    #[error("the step at {}: {error}", format_duration(*at))]
    Step { at: Duration, error: Box<SpecError> },
    /// The values contradict each other.
    #[error(transparent)]
    Profile(#[from] ProfileError),
}

#[derive(Clone, Copy)]
enum Key {
    Preset,
    Mtu,
    Loss,
    LossAt,
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
    Hold,
    Flap,
    Rebind,
    Schedule,
}

impl Key {
    const ALL: [Key; 20] = [
        Key::Preset,
        Key::Mtu,
        Key::Loss,
        Key::LossAt,
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
        Key::Hold,
        Key::Flap,
        Key::Rebind,
        Key::Schedule,
    ];

    fn name(self) -> &'static str {
        match self {
            Key::Preset => "preset",
            Key::Mtu => "mtu",
            Key::Loss => "loss",
            Key::LossAt => "loss-at",
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
            Key::Hold => "hold",
            Key::Flap => "flap",
            Key::Rebind => "rebind",
            Key::Schedule => "schedule",
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
