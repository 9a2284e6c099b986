//! A proxy: an address to listen on, an upstream, and what happens in between.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use serde::Serialize;
use units::{Clock, Seed, Timestamp};

use super::chain::{Plan, SharedRate};
use super::counters::{DirectionCounters, StreamCounters, Tally};
use super::driver::{Command, Drivers};
use super::installed::{Installed, shared_rate};
use super::listen::OpenError;
use super::profile::{Share, StreamProfile, StreamProfileError};
use super::toxic::{Direction, Toxic, ToxicError, ToxicKind};

/// What [`super::Engine::open`] opens.
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// For logs.
    pub name: String,
    /// `host:port`; `:port` is every address of the machine, an empty text a free port of the loopback.
    pub listen: String,
    /// `host:port`; names are looked up for each connection, off the data path.
    pub upstream: String,
    /// Connection `n`, counted from 0 in order of arrival, draws from `connection/n/upstream` and `…/downstream`.
    pub seed: Seed,
    /// Client to upstream.
    pub profile_up: StreamProfile,
    /// Upstream to client.
    pub profile_down: StreamProfile,
    /// Whether the rates of the profiles are each connection's own or all connections' together.
    pub share: Share,
    /// Installed before the first connection is accepted.
    pub toxics: Vec<Toxic>,
}

impl StreamConfig {
    /// A proxy that changes nothing yet.
    #[must_use]
    pub fn new(name: &str, listen: &str, upstream: &str, seed: Seed) -> Self {
        Self {
            name: name.to_owned(),
            listen: listen.to_owned(),
            upstream: upstream.to_owned(),
            seed,
            profile_up: StreamProfile::default(),
            profile_down: StreamProfile::default(),
            share: Share::Nothing,
            toxics: Vec::new(),
        }
    }
}

/// An open proxy. Dropping it closes it.
///
/// Every change has reached all live connections when the method returns. The methods wait for the driver threads,
/// which never block, so that takes microseconds; at most [`CONFIRM_WITHIN`].
#[derive(Debug)]
pub struct StreamProxy {
    shared: Arc<ProxyShared>,
    drivers: Drivers,
    local_addr: SocketAddr,
}

/// A connection at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectionInfo {
    /// Counted from 0 in order of arrival.
    pub number: u64,
    pub client: SocketAddr,
    pub upstream: SocketAddr,
    pub up: DirectionCounters,
    pub down: DirectionCounters,
    /// Names of the toxics whose toxicity rolled this connection, upstream ones first.
    pub toxics: Vec<String>,
    /// Bytes of memory that wait in the relay, both directions.
    pub held: u64,
}

impl StreamProxy {
    pub(super) fn new(shared: Arc<ProxyShared>, drivers: Drivers, local_addr: SocketAddr) -> Self {
        Self { shared, drivers, local_addr }
    }

    /// Where clients connect.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Upstream ones first, then downstream ones, each in order of installation.
    #[must_use]
    pub fn toxics(&self) -> Vec<Toxic> {
        let plans = self.shared.plans();
        plans.iter().flat_map(|plan| &plan.toxics).map(|installed| installed.toxic.clone()).collect()
    }

    /// Adds a toxic behind those that are there.
    ///
    /// # Errors
    /// When the name is taken, the toxicity is no chance, there are too many, or the proxy is closed.
    pub fn add_toxic(&self, toxic: Toxic) -> Result<(), ToxicError> {
        self.change(|state| state.add(toxic))
    }

    /// Gives a toxic new attributes and toxicity. What it has drawn or counted stays.
    ///
    /// # Errors
    /// When there is no such toxic, it is of another type, the toxicity is no chance, or the proxy is closed.
    pub fn update_toxic(&self, name: &str, kind: ToxicKind, toxicity: f32) -> Result<(), ToxicError> {
        let now = self.shared.clock.now();
        self.change(|state| state.update(now, name, kind, toxicity))
    }

    /// Removes a toxic. What it holds goes on at once, in order.
    ///
    /// # Errors
    /// When there is no such toxic, or the proxy is closed.
    pub fn remove_toxic(&self, name: &str) -> Result<(), ToxicError> {
        self.change(|state| state.remove(name))
    }

    /// Removes all toxics, at one moment.
    ///
    /// # Errors
    /// When the proxy is closed.
    pub fn clear_toxics(&self) -> Result<(), ToxicError> {
        self.change(|state| {
            state.plans_mut().iter_mut().for_each(|plan| plan.toxics.clear());
            Ok(())
        })
    }

    /// Changes one or both directions, for live connections and those to come. Whether the rate is shared stays.
    ///
    /// # Errors
    /// When the rate is to be shared and cannot, or the proxy is closed.
    pub fn configure(&self, up: Option<StreamProfile>, down: Option<StreamProfile>) -> Result<(), OpenError> {
        let now = self.shared.clock.now();
        let mut refused = None;
        let changed = self.change(|state| {
            let share = state.share;
            for (plan, profile) in state.plans_mut().iter_mut().zip([up, down]) {
                if let Some(profile) = profile
                    && let Err(error) = set_profile(plan, now, profile, share)
                {
                    refused = Some(error);
                }
            }
            Ok(())
        });
        refused.map_or(Ok(()), Err)?;
        Ok(changed?)
    }

    #[must_use]
    pub fn upstream(&self) -> String {
        self.shared.state().upstream.to_string()
    }

    /// Where connections to come are dialled; live ones stay.
    pub fn set_upstream(&self, upstream: &str) {
        self.shared.state().upstream = Arc::from(upstream);
    }

    #[must_use]
    pub fn counters(&self) -> StreamCounters {
        self.shared.tally.snapshot()
    }

    /// The live connections, in order of arrival. A driver that does not answer within [`CONFIRM_WITHIN`] is left out.
    #[must_use]
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        let (reply, replies) = mpsc::channel();
        self.drivers.broadcast(|| Command::Inspect { proxy: self.shared.id, reply: reply.clone() });
        drop(reply);
        let mut found: Vec<ConnectionInfo> =
            std::iter::from_fn(|| replies.recv_timeout(CONFIRM_WITHIN).ok()).flatten().collect();
        found.sort_by_key(|connection| connection.number);
        found
    }

    /// Drops all connections and frees the port. Returns the last counts.
    pub fn close(self) -> StreamCounters {
        self.shut();
        self.counters()
    }

    fn shut(&self) {
        if self.shared.closed.swap(true, Ordering::AcqRel) {
            return;
        }
        // A driver that has not answered in time still closes its part as soon as it can.
        let _ = self.drivers.confirm(|ack| Command::Close { proxy: self.shared.id, ack });
    }

    fn change(&self, change: impl FnOnce(&mut State) -> Result<(), ToxicError>) -> Result<(), ToxicError> {
        if self.shared.closed.load(Ordering::Acquire) {
            return Err(ToxicError::Closed);
        }
        change(&mut self.shared.state())?;
        self.drivers.confirm(|ack| Command::Configure { proxy: self.shared.id, ack })
    }
}

impl Drop for StreamProxy {
    fn drop(&mut self) {
        self.shut();
    }
}

/// What the drivers and the handle of one proxy have in common.
#[derive(Debug)]
pub(super) struct ProxyShared {
    /// Never used again within an engine.
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) seed: Seed,
    pub(super) tally: Tally,
    pub(super) clock: Clock,
    /// The number of the next connection.
    pub(super) next_connection: AtomicU64,
    pub(super) closed: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(super) struct State {
    /// Replaced as a whole by a change, so that drivers hold it without a lock.
    plans: Arc<[Plan; 2]>,
    upstream: Arc<str>,
    share: Share,
    next_toxic: u64,
}

impl ProxyShared {
    pub(super) fn new(id: u64, config: StreamConfig, clock: Clock) -> Result<Self, OpenError> {
        let now = clock.now();
        let plan = || Plan { origin: now, ..Plan::default() };
        let mut plans = [plan(), plan()];
        for (plan, profile) in plans.iter_mut().zip([config.profile_up, config.profile_down]) {
            set_profile(plan, now, profile, config.share)?;
        }
        let mut state = State {
            plans: Arc::new(plans),
            upstream: Arc::from(config.upstream),
            share: config.share,
            next_toxic: 0,
        };
        config.toxics.into_iter().try_for_each(|toxic| state.add(toxic))?;
        Ok(Self {
            id,
            name: config.name,
            seed: config.seed,
            tally: Tally::default(),
            clock,
            next_connection: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            state: Mutex::new(state),
        })
    }

    pub(super) fn plans(&self) -> Arc<[Plan; 2]> {
        Arc::clone(&self.state().plans)
    }

    pub(super) fn upstream(&self) -> Arc<str> {
        Arc::clone(&self.state().upstream)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change replaces a whole value, so that a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn plans_mut(&mut self) -> &mut [Plan; 2] {
        Arc::make_mut(&mut self.plans)
    }

    fn add(&mut self, toxic: Toxic) -> Result<(), ToxicError> {
        check_toxicity(toxic.toxicity)?;
        if self.find(&toxic.name).is_some() {
            return Err(ToxicError::Exists);
        }
        if self.plans.iter().map(|plan| plan.toxics.len()).sum::<usize>() >= MAX_TOXICS {
            return Err(ToxicError::TooMany { limit: MAX_TOXICS });
        }
        let installed = Arc::new(Installed::new(self.next_toxic, toxic));
        self.next_toxic += 1;
        let direction = installed.toxic.stream.index();
        self.plans_mut()[direction].toxics.push(installed);
        Ok(())
    }

    fn update(
        &mut self,
        now: Timestamp,
        name: &str,
        kind: ToxicKind,
        toxicity: f32,
    ) -> Result<(), ToxicError> {
        check_toxicity(toxicity)?;
        let (direction, index) = self.find(name).ok_or(ToxicError::NotFound)?;
        let place = &mut self.plans_mut()[direction].toxics[index];
        let old = place.toxic.kind.name();
        if old != kind.name() {
            return Err(ToxicError::KindChanged { old, new: kind.name() });
        }
        let installed = place.updated(kind, toxicity);
        if let (Some(shared), Some(rate)) = (&installed.shared, shared_rate(&kind)) {
            shared.set_rate(now, rate);
        }
        *place = Arc::new(installed);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), ToxicError> {
        let (direction, index) = self.find(name).ok_or(ToxicError::NotFound)?;
        self.plans_mut()[direction].toxics.remove(index);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<(usize, usize)> {
        Direction::BOTH.into_iter().map(Direction::index).find_map(|direction| {
            let toxics = &self.plans[direction].toxics;
            let index = toxics.iter().position(|installed| installed.toxic.name == name)?;
            Some((direction, index))
        })
    }
}

fn check_toxicity(toxicity: f32) -> Result<(), ToxicError> {
    if (0.0..=1.0).contains(&toxicity) {
        Ok(())
    } else {
        Err(ToxicError::Toxicity { toxicity: toxicity.to_string() })
    }
}

fn set_profile(
    plan: &mut Plan,
    now: Timestamp,
    profile: StreamProfile,
    share: Share,
) -> Result<(), StreamProfileError> {
    if share == Share::Rate {
        let rate = profile.shareable_rate()?.map(|rate| rate.bits_per_second().div_ceil(8));
        match (&plan.shared_rate, rate) {
            (Some(shared), Some(rate)) => shared.set_rate(now, rate),
            (_, rate) => plan.shared_rate = rate.map(|rate| Arc::new(SharedRate::new(rate))),
        }
    }
    plan.profile = profile;
    Ok(())
}

/// Toxics of a proxy, both directions. Each costs every connection a few hundred bytes.
pub const MAX_TOXICS: usize = 64;

/// How long a change waits for the drivers, which answer between two rounds of their loop. Reached only when the machine
/// is overloaded for seconds.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(5);
