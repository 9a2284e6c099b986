//! What happens to one direction of one connection, sans-IO: a link, then toxics in the order they were added.
//!
//! Calling order as for a [`crate::link::Link`]: [`handle`](Chain::handle) for each piece read and for the end,
//! [`poll_output`](Chain::poll_output) until `None`, and [`poll_timeout`](Chain::poll_timeout) says when to poll again.
//! [`configure`](Chain::configure) changes what is installed; what a removed toxic held goes on at once, in order.
//!
//! Every stage counts from the time an item entered it, which is the time the model released it from the one before.
//! When a driver wakes up decides nothing but when bytes are written.

mod item;
mod link_stage;
mod serialiser;
mod slicer;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use units::{Seed, Timestamp};

use super::installed::Installed;
use super::profile::{Share, StreamProfile};
use super::toxic::{Direction, Toxic, ToxicKind};
use item::Timed;
pub(super) use item::{End, Item};
use link_stage::LinkStage;
use serialiser::Rate;
pub(super) use serialiser::SharedRate;
use stage::Stage;

/// What is installed on one direction of a proxy, as all its connections see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    /// In order of installation.
    pub(super) toxics: Vec<Arc<Installed>>,
    pub(super) profile: StreamProfile,
    /// The rate of the profile, if the connections of the proxy share it.
    pub(super) shared_rate: Option<Arc<SharedRate>>,
    /// Where blackouts count from.
    pub(super) origin: Timestamp,
}

#[derive(Debug)]
pub(super) struct Chain {
    seed: Seed,
    /// The common rate of a shared profile, before the link.
    common: Option<Stage>,
    link: Option<LinkStage>,
    stages: Vec<Stage>,
    out: VecDeque<Timed>,
    out_cost: usize,
    ended: bool,
    bound: usize,
}

impl Chain {
    /// `seed` is that of the connection and direction.
    pub(super) fn new(seed: Seed, plan: &Plan, now: Timestamp) -> Self {
        let mut chain = Self {
            seed,
            common: None,
            link: None,
            stages: Vec::new(),
            out: VecDeque::new(),
            out_cost: 0,
            ended: false,
            bound: LEAST_BOUND,
        };
        chain.configure(now, plan);
        chain
    }

    /// A piece of the stream, or its end, that was read at `now`.
    pub(super) fn handle(&mut self, now: Timestamp, item: Item) {
        if let Some(common) = &mut self.common {
            common.push(now, item);
        } else {
            self.enter_link(now, item);
        }
    }

    /// What leaves next, and when the model released it: at `now` or before.
    pub(super) fn poll_output(&mut self, now: Timestamp) -> Option<(Timestamp, Item)> {
        if self.out.is_empty() {
            self.advance(now);
        }
        let Timed { at, item } = self.out.pop_front()?;
        self.out_cost -= item.cost();
        Some((at, item))
    }

    /// When to poll next; `None` while nothing will leave without more input or a change.
    pub(super) fn poll_timeout(&mut self) -> Option<Timestamp> {
        let out = self.out.front().map(|timed| timed.at);
        let common = self.common.as_mut().and_then(Stage::due);
        let link = self.link.as_ref().and_then(LinkStage::due);
        let stages = self.stages.iter_mut().filter_map(Stage::due);
        out.into_iter().chain(common).chain(link).chain(stages).min()
    }

    /// Memory held, in bytes, those of the queue entries included.
    pub(super) fn held(&self) -> usize {
        self.out_cost
            + self.common.as_ref().map_or(0, Stage::cost)
            + self.link.as_ref().map_or(0, LinkStage::cost)
            + self.stages.iter().map(Stage::cost).sum::<usize>()
    }

    /// How much may be held before the source is to wait, from [`LEAST_BOUND`] to [`MOST_BOUND`].
    pub(super) fn bound(&self) -> usize {
        self.bound
    }

    /// Whether what enters now leaves at once and unchanged, so that it need not enter.
    pub(super) fn is_transparent(&self) -> bool {
        self.out.is_empty()
            && !self.ended
            && self.common.is_none()
            && self.link.as_ref().is_none_or(LinkStage::is_transparent)
            && self.stages.iter().all(Stage::is_transparent)
    }

    /// Whether each piece is to be written by itself.
    pub(super) fn keeps_boundaries(&self) -> bool {
        self.stages.iter().any(Stage::keeps_boundaries)
    }

    /// Names of the toxics that affect this connection.
    pub(super) fn affecting(&self) -> impl Iterator<Item = &str> {
        let active = self.stages.iter().filter(|stage| stage.is_active() || is_noop(stage));
        active.map(|stage| stage.installed().toxic.name.as_str())
    }

    /// What is installed has changed.
    pub(super) fn configure(&mut self, now: Timestamp, plan: &Plan) {
        self.advance(now);
        self.configure_profile(now, plan);
        // From the end, so that what a removed toxic held meets only toxics that stay.
        for index in (0..self.stages.len()).rev() {
            let id = self.stages[index].installed().id;
            let leaving = match plan.toxics.iter().find(|installed| installed.id == id) {
                None => self.stages.remove(index).vacate(),
                Some(new) if new.version != self.stages[index].installed().version => {
                    self.stages[index].update(now, Arc::clone(new))
                }
                Some(_) => continue,
            };
            let next = if plan.toxics.iter().any(|installed| installed.id == id) { index + 1 } else { index };
            for item in leaving {
                self.enter_stage(next, now, item);
            }
        }
        // Those that stay keep their order, and new ones come last.
        for installed in &plan.toxics[self.stages.len().min(plan.toxics.len())..] {
            self.stages.push(Stage::new(Arc::clone(installed), &self.seed, now));
        }
        self.bound = self.fitting_bound();
    }

    fn configure_profile(&mut self, now: Timestamp, plan: &Plan) {
        let share = if plan.shared_rate.is_some() { Share::Rate } else { Share::Nothing };
        match (&mut self.common, &plan.shared_rate) {
            (Some(common), Some(_)) => {
                let installed = Arc::new(profile_rate(plan));
                common.update(now, installed);
            }
            (None, Some(shared)) => {
                let rate = Rate::Shared(Arc::clone(shared));
                self.common = Some(Stage::of_rate(Arc::new(profile_rate(plan)), &self.seed, rate));
            }
            (Some(common), None) => {
                let held = common.vacate();
                self.common = None;
                for item in held {
                    self.enter_link(now, item);
                }
            }
            (None, None) => {}
        }
        let wanted = plan.profile.for_link(share);
        match &mut self.link {
            Some(link) if *link.profile() != wanted => link.configure(now, wanted),
            Some(_) => {}
            None if plan.profile.is_none() => {}
            None => self.link = Some(LinkStage::new(wanted, self.seed.fork("link"), plan.origin)),
        }
    }

    /// Runs every stage to `now`, each on what the one before it released.
    fn advance(&mut self, now: Timestamp) {
        while let Some(due) = self.common.as_mut().and_then(Stage::due)
            && due <= now
        {
            let item = self.common.as_mut().and_then(|common| common.pop(due));
            if let Some(item) = item {
                self.enter_link(due, item);
            }
        }
        while let Some(due) = self.link.as_ref().and_then(LinkStage::due)
            && due <= now
        {
            let left = self.link.as_mut().and_then(|link| link.pop(due));
            if let Some((at, item)) = left {
                self.enter_stage(0, at, item);
            }
        }
        for index in 0..self.stages.len() {
            while let Some(due) = self.stages[index].due()
                && due <= now
            {
                let item = self.stages[index].pop(due);
                let ran_out = self.stages[index].has_run_out();
                if let Some(item) = item {
                    self.enter_stage(index + 1, due, item);
                }
                if ran_out {
                    self.stages[index].end();
                    self.enter_stage(index + 1, due, Item::End(End::Close));
                }
            }
        }
    }

    fn enter_link(&mut self, at: Timestamp, item: Item) {
        match &mut self.link {
            Some(link) => link.push(at, item),
            None => self.enter_stage(0, at, item),
        }
    }

    fn enter_stage(&mut self, index: usize, at: Timestamp, item: Item) {
        if let Some(stage) = self.stages.get_mut(index) {
            return stage.push(at, item);
        }
        if self.ended {
            return;
        }
        self.ended = matches!(item, Item::End(_));
        self.out_cost += item.cost();
        self.out.push_back(Timed { at, item });
    }

    /// The bandwidth-delay product of what is installed, and some; without a rate, as much as there may be.
    fn fitting_bound(&self) -> usize {
        let link = self.link.as_ref().map(LinkStage::profile);
        let link_delay = link
            .map_or(Duration::ZERO, |link| link.mean_delay().saturating_add(link.jitter().saturating_mul(4)));
        let delay = self.stages.iter().map(Stage::latency).fold(link_delay, Duration::saturating_add);
        let link_rate = link.and_then(|link| link.bitrate()).map(|rate| rate.bits_per_second() / 8);
        let stages = self.common.iter().chain(&self.stages);
        let rate = stages.filter_map(Stage::bytes_per_second).chain(link_rate).min();
        let product = match rate {
            // What a schedule will bring is not known from what is.
            _ if link.is_some_and(|link| !link.schedule.is_empty()) => MOST_BOUND as u128,
            Some(rate) => {
                u128::from(rate).saturating_mul(delay.saturating_add(SLACK).as_nanos()) / 1_000_000_000
            }
            None if delay.is_zero() => 0,
            None => MOST_BOUND as u128,
        };
        usize::try_from(product).unwrap_or(MOST_BOUND).saturating_add(LEAST_BOUND).min(MOST_BOUND)
    }
}

/// A shared rate of a profile is a bandwidth toxic that nobody can remove.
fn profile_rate(plan: &Plan) -> Installed {
    Installed {
        id: u64::MAX,
        version: 0,
        toxic: Toxic {
            name: String::new(),
            stream: Direction::Upstream,
            toxicity: 1.0,
            kind: ToxicKind::Bandwidth { rate_kbps: 0, shared: true },
        },
        shared: plan.shared_rate.clone(),
    }
}

fn is_noop(stage: &Stage) -> bool {
    stage.installed().toxic.kind == ToxicKind::Noop
}

/// Held without any delay: two of the largest reads. Less would make the source wait between reads.
pub(super) const LEAST_BOUND: usize = 64 * 1024;

/// As much as Toxiproxy's latency toxic can hold (1024 chunks of 32 KiB). With 50 ms of latency and no rate, a
/// connection reaches 5 Gbit/s.
pub(super) const MOST_BOUND: usize = 32 * 1024 * 1024;

/// What a rate should find waiting although the driver wakes late.
const SLACK: Duration = Duration::from_millis(5);
