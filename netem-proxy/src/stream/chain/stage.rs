//! One toxic on one direction of one connection.
//!
//! A stage is a line: items enter with the time they came, and leave in order at the times the toxic gives them. The time
//! an item leaves is the time it enters the next stage, so that lateness of the driver is never added up and two
//! toxics in a row add theirs.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use units::{Rng, Seed, Timestamp};

use super::super::installed::Installed;
use super::super::toxic::{ToxicKind, count, micros, millis, roll};
use super::item::{End, Item, Timed};
use super::serialiser::{Rate, Serialiser};
use super::slicer::{Slicer, signed_unit};

#[derive(Debug)]
pub(super) struct Stage {
    installed: Arc<Installed>,
    /// Drawn once; a changed toxicity is compared with the same draw.
    roll: f32,
    rng: Rng,
    machine: Machine,
    line: VecDeque<Timed>,
    cost: usize,
    /// Nothing leaves before this: what left last, or when something was changed.
    earliest: Timestamp,
    /// The end has left; whatever comes now goes nowhere.
    ended: bool,
}

/// What the kinds of toxic do to the head of the line.
#[derive(Debug)]
enum Machine {
    /// Not a kind but a verdict: this connection is spared.
    Pass,
    Latency {
        latency: Duration,
        jitter: Duration,
        /// The draw for the head, -1 to 1.
        draw: Option<f64>,
    },
    Bandwidth(Serialiser),
    SlowClose {
        delay: Duration,
    },
    Timeout {
        after: Option<Duration>,
        armed: Timestamp,
    },
    ResetPeer {
        after: Duration,
    },
    Slicer {
        slicer: Slicer,
        pause: Duration,
        /// When the pause after the last slice ends.
        rested: Timestamp,
    },
    LimitData {
        left: u64,
        passed: u64,
    },
}

impl Stage {
    /// `seed` is that of the connection and direction.
    pub(super) fn new(installed: Arc<Installed>, seed: &Seed, now: Timestamp) -> Self {
        let name = &installed.toxic.name;
        let mut stage = Self {
            roll: roll(seed, name),
            rng: seed.fork("toxic").fork(name).rng(),
            machine: Machine::Pass,
            line: VecDeque::new(),
            cost: 0,
            earliest: now,
            ended: false,
            installed,
        };
        stage.machine = stage.fresh_machine(now);
        stage
    }

    /// A stage that only keeps a rate, and affects everyone.
    pub(super) fn of_rate(installed: Arc<Installed>, seed: &Seed, rate: Rate) -> Self {
        let mut stage = Self::new(installed, seed, Timestamp::ZERO);
        stage.machine = Machine::Bandwidth(Serialiser::new(rate));
        stage
    }

    pub(super) fn installed(&self) -> &Arc<Installed> {
        &self.installed
    }

    /// Whether the toxic affects this connection.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.machine, Machine::Pass)
    }

    /// Whether what enters leaves at once and unchanged.
    pub(super) fn is_transparent(&self) -> bool {
        matches!(self.machine, Machine::Pass) && self.line.is_empty() && !self.ended
    }

    /// Whether slices must go out one by one.
    pub(super) fn keeps_boundaries(&self) -> bool {
        matches!(self.machine, Machine::Slicer { .. })
    }

    /// Memory held, in bytes.
    pub(super) fn cost(&self) -> usize {
        self.cost
    }

    /// Mean time that an item spends here besides waiting for a rate.
    pub(super) fn latency(&self) -> Duration {
        match &self.machine {
            Machine::Latency { latency, jitter, .. } => latency.saturating_add(*jitter),
            _ => Duration::ZERO,
        }
    }

    pub(super) fn bytes_per_second(&self) -> Option<u64> {
        match &self.machine {
            Machine::Bandwidth(serialiser) => Some(serialiser.bytes_per_second()),
            _ => None,
        }
    }

    pub(super) fn push(&mut self, at: Timestamp, item: Item) {
        if self.ended {
            return;
        }
        self.cost += item.cost();
        self.line.push_back(Timed { at, item });
    }

    /// When something leaves next; `None` while nothing will without more input or a change.
    pub(super) fn due(&mut self) -> Option<Timestamp> {
        if self.ended {
            return None;
        }
        let due = match &mut self.machine {
            Machine::Timeout { after, armed } => {
                // Bytes on the ground: each that comes in time starts the wait anew.
                while let Some(front) = self.line.front()
                    && after.is_none_or(|after| front.at <= *armed + after)
                {
                    if matches!(front.item, Item::Data(_)) {
                        *armed = front.at;
                    }
                    self.cost -= front.item.cost();
                    self.line.pop_front();
                }
                return after.map(|after| (*armed + after).max(self.earliest));
            }
            Machine::Pass | Machine::LimitData { .. } => self.line.front()?.at,
            Machine::Latency { latency, jitter, draw } => {
                let Timed { at, item } = self.line.front()?;
                match item {
                    // The end follows the last byte at once, as in Toxiproxy; slow_close is what delays it.
                    Item::End(_) => *at,
                    Item::Data(_) => {
                        let draw = *draw.get_or_insert_with(|| signed_unit(&mut self.rng));
                        *at + varied(*latency, *jitter, draw)
                    }
                }
            }
            Machine::Bandwidth(serialiser) => {
                let Timed { at, item } = self.line.front()?;
                match item {
                    Item::End(_) => *at,
                    Item::Data(bytes) => serialiser.due(*at, bytes.len())?,
                }
            }
            Machine::SlowClose { delay } => {
                let Timed { at, item } = self.line.front()?;
                if matches!(item, Item::End(_)) { *at + *delay } else { *at }
            }
            Machine::ResetPeer { after } => self.line.front()?.at + *after,
            Machine::Slicer { rested, .. } => self.line.front()?.at.max(*rested),
        };
        Some(due.max(self.earliest))
    }

    /// What leaves at `due`, which [`due`](Self::due) gave.
    pub(super) fn pop(&mut self, due: Timestamp) -> Option<Item> {
        self.earliest = due;
        let item = match &mut self.machine {
            Machine::Timeout { .. } => Some(Item::End(End::Close)),
            Machine::ResetPeer { .. } => Some(Item::End(End::Reset)),
            Machine::Pass | Machine::SlowClose { .. } => self.pop_whole(),
            Machine::Latency { draw, .. } => {
                *draw = None;
                self.pop_whole()
            }
            Machine::Bandwidth(serialiser) => match self.line.front()?.item {
                Item::End(_) => self.pop_whole(),
                Item::Data(_) => {
                    let piece = serialiser.release(due);
                    self.pop_part(piece)
                }
            },
            Machine::Slicer { slicer, pause, rested } => {
                let Item::Data(bytes) = &self.line.front()?.item else { return self.end_with_head() };
                let length = slicer.next(bytes.len(), &mut self.rng);
                *rested = due + *pause;
                self.pop_part(length)
            }
            Machine::LimitData { left, passed } => {
                let Item::Data(bytes) = &self.line.front()?.item else { return self.end_with_head() };
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                if length == 0 {
                    Some(Item::End(End::Close))
                } else {
                    *left -= length as u64;
                    *passed += length as u64;
                    self.pop_part(length)
                }
            }
        };
        if matches!(item, Some(Item::End(_))) {
            self.end();
        }
        item
    }

    /// Whether an end is to follow at once what has just left: the limit is reached, even if nothing more comes.
    pub(super) fn has_run_out(&self) -> bool {
        !self.ended && matches!(self.machine, Machine::LimitData { left: 0, passed } if passed > 0)
    }

    /// Gives up the line after [`has_run_out`](Self::has_run_out).
    pub(super) fn end(&mut self) {
        self.ended = true;
        self.line.clear();
        self.cost = 0;
    }

    /// The toxic has new attributes or another toxicity. Returns what is to leave at once.
    pub(super) fn update(&mut self, now: Timestamp, installed: Arc<Installed>) -> Vec<Item> {
        self.installed = installed;
        let is_on = self.roll < self.installed.toxic.toxicity;
        if !is_on && self.is_active() {
            let out = self.vacate();
            self.machine = Machine::Pass;
            self.ended = out.iter().any(|item| matches!(item, Item::End(_)));
            return out;
        }
        self.earliest = self.earliest.max(now);
        if !is_on {
            return Vec::new();
        }
        let fresh = self.fresh_machine(now);
        match (&mut self.machine, fresh) {
            // Keep what was drawn or counted, take the new numbers.
            (Machine::Latency { latency, jitter, .. }, Machine::Latency { latency: l, jitter: j, .. }) => {
                (*latency, *jitter) = (l, j);
            }
            (Machine::Bandwidth(serialiser), Machine::Bandwidth(_)) => {
                serialiser.set_rate(now, rate(&self.installed));
            }
            (Machine::LimitData { left, passed }, Machine::LimitData { left: total, .. }) => {
                *left = total.saturating_sub(*passed);
            }
            (Machine::Slicer { slicer, pause, .. }, Machine::Slicer { slicer: s, pause: p, .. }) => {
                (*slicer, *pause) = (s, p);
            }
            (machine, fresh) => *machine = fresh,
        }
        Vec::new()
    }

    /// The toxic is removed: what it holds goes on at once, in order. Without a timeout toxic a connection whose bytes
    /// it has swallowed makes no sense any more, so it is closed.
    pub(super) fn vacate(&mut self) -> Vec<Item> {
        self.cost = 0;
        let held = std::mem::take(&mut self.line);
        match self.machine {
            _ if self.ended => Vec::new(),
            Machine::Timeout { .. } => vec![Item::End(End::Close)],
            _ => held.into_iter().map(|timed| timed.item).collect(),
        }
    }

    fn fresh_machine(&self, now: Timestamp) -> Machine {
        let toxic = &self.installed.toxic;
        if self.roll >= toxic.toxicity {
            return Machine::Pass;
        }
        match toxic.kind {
            ToxicKind::Noop => Machine::Pass,
            ToxicKind::Latency { latency_ms, jitter_ms } => {
                Machine::Latency { latency: millis(latency_ms), jitter: millis(jitter_ms), draw: None }
            }
            ToxicKind::Bandwidth { .. } => Machine::Bandwidth(Serialiser::new(rate(&self.installed))),
            ToxicKind::SlowClose { delay_ms } => Machine::SlowClose { delay: millis(delay_ms) },
            ToxicKind::Timeout { timeout_ms } => Machine::Timeout {
                after: Some(millis(timeout_ms)).filter(|after| !after.is_zero()),
                armed: now,
            },
            ToxicKind::ResetPeer { timeout_ms } => Machine::ResetPeer { after: millis(timeout_ms) },
            ToxicKind::Slicer { average_size, size_variation, delay_us } => Machine::Slicer {
                slicer: Slicer::new(count(average_size), count(size_variation)),
                pause: micros(delay_us),
                rested: now,
            },
            ToxicKind::LimitData { bytes } => Machine::LimitData { left: count(bytes), passed: 0 },
        }
    }

    fn end_with_head(&mut self) -> Option<Item> {
        let item = self.pop_whole();
        self.end();
        item
    }

    fn pop_whole(&mut self) -> Option<Item> {
        let Timed { item, .. } = self.line.pop_front()?;
        self.cost -= item.cost();
        Some(item)
    }

    fn pop_part(&mut self, length: usize) -> Option<Item> {
        match &mut self.line.front_mut()?.item {
            Item::Data(bytes) if length < bytes.len() => {
                let part: Bytes = bytes.split_to(length);
                self.cost -= part.len();
                Some(Item::Data(part))
            }
            _ => self.pop_whole(),
        }
    }
}

fn rate(installed: &Installed) -> Rate {
    match (&installed.shared, installed.toxic.kind) {
        (Some(shared), _) => Rate::Shared(Arc::clone(shared)),
        (None, ToxicKind::Bandwidth { rate_kbps, .. }) => Rate::Own(count(rate_kbps).saturating_mul(1000)),
        (None, _) => Rate::Own(0),
    }
}

/// `latency + draw * jitter`, cut at zero.
fn varied(latency: Duration, jitter: Duration, draw: f64) -> Duration {
    let shift = jitter.mul_f64(draw.abs());
    if draw < 0.0 { latency.saturating_sub(shift) } else { latency.saturating_add(shift) }
}
