//! The links of a log, run again.
//!
//! A replay is a machine like a link: records go in with [`handle_record`](Replay::handle_record), verdicts come out
//! of [`poll_verdict`](Replay::poll_verdict), and [`finish`](Replay::finish) says how it went. It never runs a link
//! further than the live verdicts say the live one had come, so that what was given up under way there is given up
//! here. With a [`Substitute`] profile there is nothing to compare with, and links run freely: what would have
//! happened to the same arrivals.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use units::Timestamp;

use super::book::Book;
use super::record::{Record, StreamSummary};
use super::verdict::{Digest, Fate, Verdict};
use crate::link::{Link, LinkCounters};
use crate::pacer::Direction;
use crate::profile::LinkProfile;

/// Profiles to use instead of the recorded ones.
#[derive(Clone, Debug, Default)]
pub struct Substitute {
    pub up: Option<LinkProfile>,
    pub down: Option<LinkProfile>,
}

impl Substitute {
    fn of(&self, direction: Direction) -> Option<&LinkProfile> {
        match direction {
            Direction::Up => self.up.as_ref(),
            Direction::Down => self.down.as_ref(),
        }
    }
}

/// A link of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRef {
    pub stream: u64,
    pub link: u64,
    /// `flow/3/up`.
    pub name: String,
    pub direction: Direction,
}

impl fmt::Display for LinkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (stream {}, link {})", self.name, self.stream, self.link)
    }
}

/// Why a record makes no sense where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("a record names link {link} of stream {stream}, which was not opened")]
    UnknownLink { stream: u64, link: u64 },
    #[error("a record names profile {number} of stream {stream}, which was not given")]
    UnknownProfile { stream: u64, number: u64 },
    #[error(
        "the profile \"{spec}\" is not understood: {reason}; replay with the netem-proxy that wrote the log"
    )]
    Profile { spec: String, reason: String },
}

/// Where live run and replay part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub link: LinkRef,
    /// `None` if the live link said nothing about a packet that the replay dropped.
    pub live: Option<Verdict>,
    /// What the replay decided in its place; `None` if nothing comes any more.
    pub replayed: Option<Verdict>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { link, live, replayed } = self;
        let number = live.or(*replayed).map_or(0, |verdict| verdict.number);
        let text =
            |verdict: &Option<Verdict>| verdict.map_or("none".to_owned(), |verdict| verdict.to_string());
        write!(f, "differs at packet {number} of link {link}: live {}, replay {}", text(live), text(replayed))
    }
}

/// Whether the replay did what the live run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Every verdict, and the digest that the live run wrote at its end.
    Identical,
    /// Each link's first difference, ten of them at most.
    Different(Vec<Difference>),
    /// Equal as far as it goes, but the log does not go to the end of the run.
    Incomplete(String),
    /// Another profile was asked for.
    NotCompared,
}

/// What came of a replay.
#[derive(Clone, Debug)]
pub struct ReplayReport {
    pub links: u64,
    pub arrivals: u64,
    pub up: LinkCounters,
    pub down: LinkCounters,
    /// Of the replayed verdicts.
    pub digest: Digest,
    pub comparison: Comparison,
}

/// Repeats a log; see the module.
#[derive(Debug, Default)]
pub struct Replay {
    substitute: Substitute,
    profiles: BTreeMap<(u64, u64), LinkProfile>,
    links: BTreeMap<(u64, u64), Replayed>,
    /// Streams that ended, and how the live run summed them up.
    ended: BTreeMap<u64, StreamSummary>,
    gaps: BTreeMap<u64, String>,
    book: Book,
    opened: u64,
    arrivals: u64,
    up: LinkCounters,
    down: LinkCounters,
    differences: Vec<Difference>,
    /// `None` unless asked for.
    verdicts: Option<VecDeque<(LinkRef, Verdict)>>,
}

impl Replay {
    #[must_use]
    pub fn new(substitute: Substitute) -> Self {
        Self { substitute, ..Self::default() }
    }

    /// Keeps verdicts for [`poll_verdict`](Self::poll_verdict), which then must be drained after each record.
    #[must_use]
    pub fn with_verdicts(self, on: bool) -> Self {
        Self { verdicts: on.then(VecDeque::new), ..self }
    }

    /// # Errors
    /// When the record does not fit those before it. The replay can go on with the next one.
    pub fn handle_record(&mut self, stream: u64, record: Record) -> Result<(), ReplayError> {
        if self.gaps.contains_key(&stream) {
            return Ok(());
        }
        match record {
            Record::Profile { number, profile } => {
                let meant = profile.profile();
                let meant = meant.map_err(|reason| ReplayError::Profile { spec: profile.spec, reason })?;
                self.profiles.insert((stream, number), meant);
            }
            Record::Opened { link, direction, name, seed, origin, profile } => {
                let profile = self.profile(stream, profile, direction)?.clone();
                self.book.open(stream, link, &name);
                self.opened += 1;
                let is_free = self.substitute.of(direction).is_some();
                let name = LinkRef { stream, link, name, direction };
                let link_model =
                    Link::new(profile, seed).with_origin(origin).with_events(true).without_delays();
                self.links.insert((stream, link), Replayed::new(name, link_model, is_free));
            }
            Record::Configured { link, at, profile } => {
                let direction = self.link(stream, link)?.name.direction;
                let profile = self.profile(stream, profile, direction)?.clone();
                if self.substitute.of(direction).is_none() {
                    self.link(stream, link)?.link.configure(at, profile);
                }
                self.drain_free(stream, link, at)?;
            }
            Record::Arrival { link, at, meta } => {
                self.arrivals += 1;
                self.book.arrival(stream);
                self.link(stream, link)?.arrive(at, meta);
                self.drain_free(stream, link, at)?;
            }
            Record::Verdict { link, verdict } => self.compare(stream, link, verdict)?,
            Record::Discarded { link } => {
                self.compare_rest(stream, link)?;
                self.link(stream, link)?.link.discard();
            }
            Record::Closed { link } => {
                self.compare_rest(stream, link)?;
                self.drain_free(stream, link, Timestamp::NEVER)?;
                self.retire(stream, link);
            }
            Record::Gap { reason } => {
                self.gaps.insert(stream, reason);
            }
            Record::End { summary } => {
                self.ended.insert(stream, summary);
            }
        }
        Ok(())
    }

    /// The next replayed verdict; in the order of each link, links mixed.
    pub fn poll_verdict(&mut self) -> Option<(LinkRef, Verdict)> {
        self.verdicts.as_mut()?.pop_front()
    }

    /// `cut` says why the log could not be read to its end, if so. Links that are still open run freely to theirs if
    /// their stream has no end, and stay where they are if it has.
    #[must_use]
    pub fn finish(mut self, cut: Option<String>) -> ReplayReport {
        let open: Vec<(u64, u64)> = self.links.keys().copied().collect();
        for (stream, link) in open {
            let _ = self.drain_free(stream, link, Timestamp::NEVER);
            self.retire_keeping_book(stream, link);
        }
        let comparison = self.comparison(cut);
        let Self { opened, arrivals, up, down, book, .. } = self;
        ReplayReport { links: opened, arrivals, up, down, digest: book.digest(), comparison }
    }

    fn comparison(&self, cut: Option<String>) -> Comparison {
        if self.substitute.up.is_some() || self.substitute.down.is_some() {
            return Comparison::NotCompared;
        }
        if !self.differences.is_empty() {
            return Comparison::Different(self.differences.clone());
        }
        if let Some(reason) = cut.or_else(|| self.gaps.values().next().cloned()) {
            return Comparison::Incomplete(reason);
        }
        for (stream, replayed) in self.book.summaries() {
            match self.ended.get(&stream) {
                None => {
                    return Comparison::Incomplete(format!("stream {stream} has no end; the run was killed"));
                }
                // Every verdict in the log was equal, so verdicts that the log does not hold differ.
                Some(live) if *live != replayed => {
                    return Comparison::Incomplete(format!("stream {stream} holds less than its end says"));
                }
                Some(_) => {}
            }
        }
        Comparison::Identical
    }

    fn profile(&self, stream: u64, number: u64, direction: Direction) -> Result<&LinkProfile, ReplayError> {
        let unknown = ReplayError::UnknownProfile { stream, number };
        let recorded = self.profiles.get(&(stream, number)).ok_or(unknown)?;
        Ok(self.substitute.of(direction).unwrap_or(recorded))
    }

    fn link(&mut self, stream: u64, link: u64) -> Result<&mut Replayed, ReplayError> {
        self.links.get_mut(&(stream, link)).ok_or(ReplayError::UnknownLink { stream, link })
    }

    /// One live verdict against the next of the same kind here.
    fn compare(&mut self, stream: u64, link: u64, live: Verdict) -> Result<(), ReplayError> {
        let replayed = self.link(stream, link)?;
        if replayed.is_free {
            return Ok(());
        }
        let found = replayed.next_like(&live);
        let name = replayed.name.clone();
        // From the first difference on, the two runs have nothing to do with each other.
        replayed.is_free = found != Some(live);
        if let Some(verdict) = found {
            self.emit(name.clone(), verdict);
        }
        if found != Some(live) {
            self.note(Difference { link: name, live: Some(live), replayed: found });
        }
        Ok(())
    }

    fn note(&mut self, difference: Difference) {
        if self.differences.len() < MAX_DIFFERENCES {
            self.differences.push(difference);
        }
    }

    /// Drops are told at once, so one that the live run has not told by now did not happen there.
    fn compare_rest(&mut self, stream: u64, link: u64) -> Result<(), ReplayError> {
        let replayed = self.link(stream, link)?;
        let surplus = replayed.waiting.drops.front().copied().filter(|_| !replayed.is_free);
        let link = replayed.name.clone();
        replayed.waiting.clear();
        if surplus.is_some() {
            self.note(Difference { link, live: None, replayed: surplus });
        }
        Ok(())
    }

    /// Lets a link that is not compared run up to `until`.
    fn drain_free(&mut self, stream: u64, link: u64, until: Timestamp) -> Result<(), ReplayError> {
        let replayed = self.link(stream, link)?;
        if !replayed.is_free {
            return Ok(());
        }
        let name = replayed.name.clone();
        let mut verdicts = Vec::new();
        replayed.run(until, &mut verdicts);
        verdicts.into_iter().for_each(|verdict| self.emit(name.clone(), verdict));
        Ok(())
    }

    fn emit(&mut self, link: LinkRef, verdict: Verdict) {
        self.book.verdict(link.stream, link.link, &verdict);
        if let Some(verdicts) = &mut self.verdicts {
            verdicts.push_back((link, verdict));
        }
    }

    fn retire(&mut self, stream: u64, link: u64) {
        self.retire_keeping_book(stream, link);
        self.book.close(stream, link);
    }

    fn retire_keeping_book(&mut self, stream: u64, link: u64) {
        if let Some(replayed) = self.links.remove(&(stream, link)) {
            *match replayed.name.direction {
                Direction::Up => &mut self.up,
                Direction::Down => &mut self.down,
            } += *replayed.link.counters();
        }
    }
}

/// Links whose first difference is told; one is a finding, a hundred are a page.
pub(super) const MAX_DIFFERENCES: usize = 10;

#[derive(Debug)]
struct Replayed {
    name: LinkRef,
    link: Link<()>,
    /// Not compared, not (any more).
    is_free: bool,
    waiting: Waiting,
}

/// Verdicts of the replay that the live run has not told yet.
#[derive(Debug, Default)]
struct Waiting {
    deliveries: VecDeque<Verdict>,
    drops: VecDeque<Verdict>,
}

impl Waiting {
    fn clear(&mut self) {
        self.deliveries.clear();
        self.drops.clear();
    }

    fn push(&mut self, verdict: Verdict) {
        self.like(&verdict).push_back(verdict);
    }

    fn like(&mut self, verdict: &Verdict) -> &mut VecDeque<Verdict> {
        match verdict.fate {
            Fate::Delivered { .. } => &mut self.deliveries,
            Fate::Dropped { .. } => &mut self.drops,
        }
    }
}

impl Replayed {
    fn new(name: LinkRef, link: Link<()>, is_free: bool) -> Self {
        Self { name, link, is_free, waiting: Waiting::default() }
    }

    fn arrive(&mut self, at: Timestamp, meta: crate::link::Meta) {
        self.link.handle(at, (), meta);
        self.poll_drops();
    }

    fn poll_drops(&mut self) {
        while let Some(event) = self.link.poll_event() {
            self.waiting.push(Verdict::from(&event));
        }
    }

    /// The next verdict of the kind of `live`, running the link no further than `live`'s own time.
    fn next_like(&mut self, live: &Verdict) -> Option<Verdict> {
        let until = match live.fate {
            Fate::Delivered { due, .. } => due,
            Fate::Dropped { at, .. } => at,
        };
        for _ in 0..MAX_STEPS {
            if let Some(verdict) = self.waiting.like(live).pop_front() {
                return Some(verdict);
            }
            let next = self.link.poll_timeout().filter(|&next| next <= until);
            // Without a deadline there may still be something that the link only finds out when asked.
            self.step(next.unwrap_or(until));
            if next.is_none() {
                return self.waiting.like(live).pop_front();
            }
        }
        None
    }

    fn step(&mut self, now: Timestamp) {
        if let Some(delivery) = self.link.poll_deliver(now) {
            self.waiting.push(Verdict::from(&delivery));
        }
        self.poll_drops();
    }

    /// Everything up to `until`, or until nothing is under way.
    fn run(&mut self, until: Timestamp, out: &mut Vec<Verdict>) {
        let mut idle = 0;
        while let Some(next) = self.link.poll_timeout().filter(|&next| next <= until) {
            self.step(next);
            let is_idle = self.waiting.deliveries.is_empty() && self.waiting.drops.is_empty();
            idle = if is_idle { idle + 1 } else { 0 };
            self.collect(out);
            if idle > MAX_STEPS || (self.link.counters().queued() == 0 && until == Timestamp::NEVER) {
                break;
            }
        }
        self.collect(out);
    }

    fn collect(&mut self, out: &mut Vec<Verdict>) {
        out.extend(self.waiting.deliveries.drain(..));
        out.extend(self.waiting.drops.drain(..));
    }
}

/// Steps of a link between two verdicts. A queue that serves a long trace has some internal ones, never so many.
const MAX_STEPS: u32 = 1 << 20;
