//! `tc … netem` argument strings.
//!
//! [`Command::parse`] reads what `tc` reads, by the same rules (`tc-netem(8)`; keywords may be cut short, numbers are
//! percentages, bare times are microseconds); [`Command::import`] says it as a link.

mod units;

use std::time::Duration;

use ::units::{Bitrate, Probability, format_duration};

use super::Imported;
use crate::law::netem::true_share;
use crate::profile::{
    Cell, DelayModel, DelayTable, LinkProfile, LossModel, NetemCompat, Order, Overhead, QueueLimit,
    RateModel, compat,
};
use units::{count, percent, rate, signed, time};

/// What a netem command says.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    pub limit: u64,
    pub delay: Duration,
    pub jitter: Duration,
    pub delay_correlation: Probability,
    pub distribution: Option<String>,
    pub loss: LossModel,
    pub loss_correlation: Probability,
    pub duplicate: Probability,
    pub duplicate_correlation: Probability,
    pub corrupt: Probability,
    pub corrupt_correlation: Probability,
    pub reorder: Probability,
    pub reorder_correlation: Probability,
    pub gap: u32,
    pub rate: Option<(Bitrate, Overhead)>,
    pub seed: Option<u64>,
}

/// How faithful an import is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fidelity {
    /// What the command was meant to do.
    Meaning,
    /// What the kernel does with it, faults included (`compat=netem`).
    Kernel,
}

/// Why a command cannot be read or carried over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetemError {
    #[error("word {place}: \"{word}\" is not a netem keyword; they are {}", KEYWORDS.join(", "))]
    Unknown { place: usize, word: String },
    #[error("{keyword}: \"{word}\" is not {expected}")]
    Value { keyword: &'static str, word: String, expected: &'static str },
    #[error("{keyword}: it needs {expected}")]
    Missing { keyword: &'static str, expected: &'static str },
    #[error("{keyword}: it is given twice")]
    Twice { keyword: &'static str },
    /// Understood, but a link of ours has nothing like it.
    #[error("{keyword}: {why}")]
    Unsupported { keyword: &'static str, why: &'static str },
    #[error(
        "distribution: {name}.dist is in none of {directories}; install iproute2, or write distribution FILE with its path"
    )]
    NoTable { name: String, directories: String },
    #[error("distribution: {name}: {problem}")]
    Table { name: String, problem: String },
    /// What it says contradicts itself, or our own bounds.
    #[error("{0}")]
    Profile(String),
}

/// In the order in which `tc` tries them, which decides what a cut-off word means.
const KEYWORDS: [&str; 14] = [
    "limit",
    "latency",
    "delay",
    "loss",
    "drop",
    "ecn",
    "reorder",
    "corrupt",
    "gap",
    "duplicate",
    "distribution",
    "rate",
    "slot",
    "seed",
];

impl Default for Command {
    fn default() -> Self {
        Self {
            // As tc.
            limit: 1000,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            delay_correlation: Probability::ZERO,
            distribution: None,
            loss: LossModel::None,
            loss_correlation: Probability::ZERO,
            duplicate: Probability::ZERO,
            duplicate_correlation: Probability::ZERO,
            corrupt: Probability::ZERO,
            corrupt_correlation: Probability::ZERO,
            reorder: Probability::ZERO,
            reorder_correlation: Probability::ZERO,
            gap: 0,
            rate: None,
            seed: None,
        }
    }
}

impl Command {
    /// Reads the words behind `netem`; a whole `tc qdisc add dev … netem …` line will do.
    ///
    /// # Errors
    /// The first word that `tc` would not understand, or that no link of ours can do.
    pub fn parse(text: &str) -> Result<Self, NetemError> {
        let all: Vec<&str> = text.split_whitespace().collect();
        let begin = all.iter().position(|word| *word == "netem").map_or(0, |place| place + 1);
        let mut words = Words { all: &all, next: begin };
        let mut command = Self::default();
        while let Some((place, word)) = words.take() {
            let keyword = KEYWORDS.into_iter().find(|keyword| keyword.starts_with(word));
            let keyword = keyword.ok_or_else(|| NetemError::Unknown { place, word: word.to_owned() })?;
            command.read(keyword, &mut words)?;
        }
        command.checked()
    }

    fn read(&mut self, keyword: &'static str, words: &mut Words<'_>) -> Result<(), NetemError> {
        match keyword {
            "limit" => self.limit = words.need(keyword, "a number of packets", count)?,
            "latency" | "delay" => {
                self.delay = words.need(keyword, TIME, time)?;
                if let Some(jitter) = words.number(keyword, TIME, time)? {
                    self.jitter = jitter;
                    self.delay_correlation = words.number(keyword, PERCENT, percent)?.unwrap_or_default();
                }
            }
            "loss" | "drop" => self.read_loss(keyword, words)?,
            "ecn" => {
                let why = "a link of ours marks where its queue decides (queue discipline with ecn), not by chance; leave it out";
                return Err(NetemError::Unsupported { keyword, why });
            }
            "reorder" => {
                (self.reorder, self.reorder_correlation) = words.share(keyword)?;
            }
            "corrupt" => (self.corrupt, self.corrupt_correlation) = words.share(keyword)?,
            "duplicate" => (self.duplicate, self.duplicate_correlation) = words.share(keyword)?,
            "gap" => {
                let gap = words.need(keyword, "a number of packets", count)?;
                self.gap = u32::try_from(gap).unwrap_or(u32::MAX);
            }
            "distribution" => {
                let (_, name) = words.take().ok_or(NetemError::Missing { keyword, expected: "a name" })?;
                self.distribution = Some(name.to_owned());
            }
            "rate" => self.read_rate(keyword, words)?,
            "slot" => {
                let why = "links of ours have no slots; for a link that sends in bursts use a delivery trace (rate=trace(FILE))";
                return Err(NetemError::Unsupported { keyword, why });
            }
            _ => self.seed = Some(words.need(keyword, "a whole number", count)?),
        }
        Ok(())
    }

    fn read_loss(&mut self, keyword: &'static str, words: &mut Words<'_>) -> Result<(), NetemError> {
        if self.loss != LossModel::None {
            return Err(NetemError::Twice { keyword });
        }
        const MODELS: &str = "a percentage, or random, state or gemodel with theirs";
        match words.peek() {
            Some("state") => {
                words.take();
                let p13 = words.need(keyword, PERCENT, percent)?;
                let mut next = |default| {
                    Ok::<_, NetemError>(words.number(keyword, PERCENT, percent)?.unwrap_or(default))
                };
                self.loss = LossModel::FourState {
                    p13,
                    p31: next(complement(p13))?,
                    p32: next(Probability::ZERO)?,
                    p23: next(Probability::ONE)?,
                    p14: next(Probability::ZERO)?,
                };
            }
            Some("gemodel") => {
                words.take();
                let p = words.need(keyword, PERCENT, percent)?;
                let mut next = |default| {
                    Ok::<_, NetemError>(words.number(keyword, PERCENT, percent)?.unwrap_or(default))
                };
                self.loss = LossModel::GilbertElliott {
                    p,
                    r: next(complement(p))?,
                    // 1-h and 1-k: what is lost in bad, and in good.
                    loss_bad: next(Probability::ONE)?,
                    loss_good: next(Probability::ZERO)?,
                };
            }
            Some("random") => {
                words.take();
                self.read_random(keyword, words)?;
            }
            Some(word) if begins_number(word) => self.read_random(keyword, words)?,
            Some(word) => {
                return Err(NetemError::Value { keyword, word: word.to_owned(), expected: MODELS });
            }
            None => return Err(NetemError::Missing { keyword, expected: MODELS }),
        }
        Ok(())
    }

    fn read_random(&mut self, keyword: &'static str, words: &mut Words<'_>) -> Result<(), NetemError> {
        let (p, correlation) = words.share(keyword)?;
        self.loss = if p.is_zero() { LossModel::None } else { LossModel::Bernoulli { p } };
        self.loss_correlation = correlation;
        Ok(())
    }

    fn read_rate(&mut self, keyword: &'static str, words: &mut Words<'_>) -> Result<(), NetemError> {
        let bits = words.need(keyword, "a rate, for example 10mbit", rate)?;
        let mut overhead = Overhead::default();
        const BYTES: &str = "a whole number of bytes";
        if let Some(per_packet) = words.signed_number(keyword, BYTES, signed)? {
            overhead.per_packet = per_packet;
            if let Some(size) = words.number(keyword, BYTES, count)? {
                let size = u32::try_from(size).unwrap_or(u32::MAX);
                let per_cell = words.signed_number(keyword, BYTES, signed)?.unwrap_or(0);
                overhead.cell = (size > 0).then_some(Cell { size, overhead: per_cell });
            }
        }
        self.rate = Some((bits, overhead));
        Ok(())
    }

    /// What `tc` itself refuses.
    fn checked(mut self) -> Result<Self, NetemError> {
        let wrong = |text: &str| Err(NetemError::Profile(text.to_owned()));
        if self.reorder.is_zero() && self.gap > 0 {
            return wrong("gap: it needs reorder with a percentage");
        }
        if !self.reorder.is_zero() && self.delay.is_zero() {
            return wrong("reorder: packets can only overtake where there is a delay");
        }
        if !self.reorder.is_zero() && self.gap == 0 {
            self.gap = 1;
        }
        if self.distribution.is_some() && (self.delay.is_zero() || self.jitter.is_zero()) {
            return wrong("distribution: it needs delay with a time and a jitter");
        }
        Ok(self)
    }

    /// The link that this command is.
    ///
    /// # Errors
    /// When a table cannot be read, or the values are none for a link of ours.
    pub fn import(&self, fidelity: Fidelity) -> Result<Imported, NetemError> {
        let mut notes = Vec::new();
        let is_kernel = fidelity == Fidelity::Kernel || !self.reorder.is_zero();
        if fidelity == Fidelity::Meaning && is_kernel {
            notes.push(
                "reorder: netem lets packets jump the queue without delay, which only compat=netem does; with it come the \
                 kernel's correlations and tables"
                    .to_owned(),
            );
        }
        let profile = self.profile(is_kernel)?;
        profile.validate().map_err(|error| NetemError::Profile(error.to_string()))?;
        self.note(is_kernel, &mut notes);
        notes.extend(compat::warnings(&profile));
        Ok(Imported { spec: profile.to_string(), notes })
    }

    fn profile(&self, is_kernel: bool) -> Result<LinkProfile, NetemError> {
        let has_jitter = !self.jitter.is_zero();
        let mut profile = LinkProfile {
            loss: self.loss.clone(),
            duplicate: self.duplicate,
            corrupt: self.corrupt,
            delay: self.delay_model(is_kernel)?,
            delay_correlation: if has_jitter { self.delay_correlation.get() } else { 0.0 },
            // Netem sorts by time to send; with a rate each packet follows the one before.
            order: if has_jitter && self.rate.is_none() { Order::Allow } else { Order::Fifo },
            rate: self.rate.map(|(rate, overhead)| RateModel::Constant { rate, overhead }),
            ..LinkProfile::default()
        };
        if !self.reorder.is_zero() {
            profile.order = Order::Allow;
        }
        if self.rate.is_some() && self.limit != 1000 {
            profile.queue.limit = QueueLimit::Packets(self.limit);
        }
        profile.compat = is_kernel.then_some(NetemCompat {
            loss_correlation: self.loss_correlation,
            duplicate_correlation: self.duplicate_correlation,
            corrupt_correlation: self.corrupt_correlation,
            reorder: self.reorder,
            reorder_correlation: self.reorder_correlation,
            gap: self.gap,
        });
        Ok(profile)
    }

    fn delay_model(&self, is_kernel: bool) -> Result<DelayModel, NetemError> {
        let (base, jitter) = (self.delay, self.jitter);
        if jitter.is_zero() {
            return Ok(DelayModel::Constant(base));
        }
        Ok(match self.distribution.as_deref() {
            None | Some("uniform") if jitter > base && !is_kernel => {
                return Err(NetemError::Profile(format!(
                    "delay: a jitter of {} around {} would be below zero, which netem sends at once; import it with \
                     --compat, or lower the jitter",
                    format_duration(jitter),
                    format_duration(base)
                )));
            }
            None | Some("uniform") => DelayModel::Uniform { base, jitter },
            Some("normal") => DelayModel::Normal { base, jitter },
            Some("pareto") => DelayModel::Pareto { base, jitter },
            Some("paretonormal") => DelayModel::ParetoNormal { base, jitter },
            Some(name) => DelayModel::Table { base, jitter, table: load_table(name)?.into() },
        })
    }

    /// Where the same words mean something else here.
    fn note(&self, is_kernel: bool, notes: &mut Vec<String>) {
        if !is_kernel {
            self.note_correlations(notes);
        }
        if matches!(self.distribution.as_deref(), Some("pareto" | "paretonormal")) && !is_kernel {
            notes.push(
                "distribution: netem's pareto tables are 0.82 to 0.83 times as wide as asked for and end at 4 deviations; \
                 here jitter is the standard deviation, and the tail has no end"
                    .to_owned(),
            );
        }
        if !self.jitter.is_zero() && self.rate.is_none() {
            notes.push("delay: in netem jitter reorders, so order=allow; real paths mostly do not: leave it out for one".to_owned());
        }
        self.note_limit(notes);
        if let Some(seed) = self.seed {
            notes.push(format!(
                "seed: give --seed {seed} to the command that uses the link; its numbers are not the kernel's"
            ));
        }
    }

    fn note_correlations(&self, notes: &mut Vec<String>) {
        let shares = [
            ("loss", self.loss.mean(), self.loss_correlation),
            ("duplicate", self.duplicate.get(), self.duplicate_correlation),
            ("corrupt", self.corrupt.get(), self.corrupt_correlation),
        ];
        for (what, p, correlation) in shares {
            let Some(p) = Probability::new(p).filter(|p| !p.is_zero() && !correlation.is_zero()) else {
                continue;
            };
            let really = compat::percentage(true_share(p, correlation));
            let instead = match what {
                "loss" => {
                    format!("; for losses in runs write loss=burst({p},len=3), to repeat netem --compat")
                }
                _ => "; to repeat netem use --compat".to_owned(),
            };
            notes.push(format!(
                "{what}: with correlation {correlation} netem really hits {really}, in runs no longer than by chance; here \
                 {p}, independent{instead}"
            ));
        }
        if !self.delay_correlation.is_zero() && !self.jitter.is_zero() {
            notes.push(format!(
                "delay: netem's correlation of {} is nearly lost in its arithmetic; here successive delays really have it, \
                 and keep their law",
                self.delay_correlation
            ));
        }
    }

    /// A packet under way counts against netem's limit, delay included.
    fn note_limit(&self, notes: &mut Vec<String>) {
        if self.delay.is_zero() {
            return;
        }
        let packets_a_second = self.limit as f64 / self.delay.as_secs_f64();
        let megabits = packets_a_second * 12_000.0 / 1e6;
        let here = match self.rate {
            None => "without a rate nothing is dropped here",
            Some(_) => "here it bounds the queue before the rate alone",
        };
        notes.push(format!(
            "limit: netem holds {} packets, those in their delay included: at most {packets_a_second:.0} a second, \
             {megabits:.0} Mbit/s in packets of 1500 bytes; {here}",
            self.limit
        ));
    }
}

const TIME: &str = "a time, for example 100ms";
const PERCENT: &str = "a percentage from 0 to 100";

/// Where distributions install their tables; `TC_LIB_DIR` goes before them, as in `tc`.
const DIRECTORIES: [&str; 5] = [
    "/usr/lib/tc",
    "/usr/lib64/tc",
    "/usr/share/tc",
    "/usr/lib/x86_64-linux-gnu/tc",
    "/usr/lib/aarch64-linux-gnu/tc",
];

fn load_table(name: &str) -> Result<DelayTable, NetemError> {
    let is_path = name.contains('/') || name.ends_with(".dist");
    let own = std::env::var("TC_LIB_DIR").ok();
    let directories: Vec<&str> = own.as_deref().into_iter().chain(DIRECTORIES).collect();
    let candidates: Vec<String> = match is_path {
        true => vec![name.to_owned()],
        false => directories.iter().map(|directory| format!("{directory}/{name}.dist")).collect(),
    };
    let Some(path) = candidates.iter().find(|path| std::path::Path::new(path).is_file()) else {
        return Err(NetemError::NoTable { name: name.to_owned(), directories: directories.join(", ") });
    };
    let problem = |problem: String| NetemError::Table { name: path.clone(), problem };
    let text = std::fs::read_to_string(path).map_err(|error| problem(error.to_string()))?;
    DelayTable::parse(path, &text).map_err(|error| problem(error.to_string()))
}

/// `1 - p`, rounded as it prints, so that the SPEC reads back as the same.
fn complement(p: Probability) -> Probability {
    let exact = Probability::new(1.0 - p.get()).unwrap_or_default();
    exact.to_string().parse().unwrap_or(exact)
}

fn begins_number(word: &str) -> bool {
    word.bytes().next().is_some_and(|first| first.is_ascii_digit())
}

/// The words of a command, read from the left.
struct Words<'a> {
    all: &'a [&'a str],
    next: usize,
}

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.all.get(self.next).copied()
    }

    /// With its place, counted from 1.
    fn take(&mut self) -> Option<(usize, &'a str)> {
        let word = self.peek()?;
        self.next += 1;
        Some((self.next, word))
    }

    fn need<T>(
        &mut self,
        keyword: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<T, NetemError> {
        let (_, word) = self.take().ok_or(NetemError::Missing { keyword, expected })?;
        parse(word).ok_or_else(|| NetemError::Value { keyword, word: word.to_owned(), expected })
    }

    /// An optional value: there is one if the next word begins with a digit.
    fn number<T>(
        &mut self,
        keyword: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, NetemError> {
        match self.peek() {
            Some(word) if begins_number(word) => self.need(keyword, expected, parse).map(Some),
            _ => Ok(None),
        }
    }

    fn signed_number<T>(
        &mut self,
        keyword: &'static str,
        expected: &'static str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, NetemError> {
        match self.peek() {
            Some(word) if begins_number(word.strip_prefix('-').unwrap_or(word)) => {
                self.need(keyword, expected, parse).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `PERCENT [CORRELATION]`.
    fn share(&mut self, keyword: &'static str) -> Result<(Probability, Probability), NetemError> {
        let p = self.need(keyword, PERCENT, percent)?;
        Ok((p, self.number(keyword, PERCENT, percent)?.unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests;
