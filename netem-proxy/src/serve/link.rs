//! One running link of `/v1/links`.
//!
//! A link is one of three shells with a profile for each direction. What it was told is kept word by word
//! ([`super::written`]), and compiled again on each change; what a request makes happen now (a blackout, a hold)
//! is a gate with a time, added to what was written, so that the model decides when it begins and ends, not a timer of
//! this server.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use units::{Clock, Seed, Timestamp, parse_duration};

use super::error::ApiError;
use super::plan::{Kind, LinkPlan, Place, Sharing};
use super::written::Written;
use crate::profile::{Gate, LinkProfile, Window};
use crate::proxy::{ProxyConfig, ProxyHandle, ProxySnapshot, datagrams, frames};
use crate::stream::{Engine, Share, StreamConfig, StreamCounters, StreamProfile, StreamProxy};
use crate::timing::Timing;

/// What links are started with.
#[derive(Clone, Debug)]
pub(super) struct Workshop {
    pub(super) engine: Engine,
    pub(super) seed: Seed,
    pub(super) timing: Timing,
    pub(super) clock: Clock,
}

#[derive(Debug)]
pub(super) struct RunningLink {
    pub(super) plan: LinkPlan,
    pub(super) local_addr: SocketAddr,
    /// Counts changes; the ETag.
    pub(super) revision: u64,
    /// Gone when a restart failed; the link then carries nothing until the next one.
    shell: Option<Shell>,
    clock: Clock,
    /// What times in its profile count from.
    origin: Timestamp,
    actions: Vec<Acted>,
}

#[derive(Debug)]
enum Shell {
    Packets(ProxyHandle),
    Stream(StreamProxy),
}

/// A gate that a request has added.
#[derive(Clone, Copy, Debug)]
struct Acted {
    gate: Gate,
    sides: Sides,
    ends: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Sides {
    Up,
    Down,
    #[default]
    Both,
}

/// The body of `POST /v1/links/{name}/actions`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct Action {
    action: ActionKind,
    #[serde(rename = "for")]
    duration: Option<String>,
    #[serde(default)]
    direction: Sides,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ActionKind {
    /// Nothing enters for a while.
    Blackout,
    /// What arrives waits for a while.
    Hold,
    /// Each flow comes from another address from now on: a NAT that forgot it.
    Rebind,
    /// Every flow is closed and forgotten.
    Reset,
}

impl RunningLink {
    pub(super) fn start(plan: LinkPlan, workshop: &Workshop) -> Result<Self, ApiError> {
        let origin = workshop.clock.now();
        let (up, down) = (plan.up.profile(), plan.down.profile());
        let (local_addr, shell) = open(&plan, up, down, workshop)?;
        tracing::info!(name = plan.name, listen = %local_addr, up = %plan.up, down = %plan.down, "started a link");
        let clock = workshop.clock;
        Ok(Self { plan, local_addr, revision: 1, shell: Some(shell), clock, origin, actions: Vec::new() })
    }

    /// Lets go of the port and every flow.
    pub(super) fn stop(self) {
        if let Some(shell) = self.shell {
            shell.stop();
        }
        tracing::info!(name = self.plan.name, listen = %self.local_addr, "stopped a link");
    }

    /// Gives it other profiles; flows go on.
    pub(super) fn configure(&mut self, up: Written, down: Written) -> Result<(), ApiError> {
        let old = (self.plan.up.clone(), self.plan.down.clone());
        (self.plan.up, self.plan.down) = (up, down);
        if let Err(error) = self.apply() {
            (self.plan.up, self.plan.down) = old;
            return Err(error);
        }
        self.revision += 1;
        Ok(())
    }

    /// Becomes another link under the same name. If that cannot be had, the link is as it was; when both want the same
    /// port it has been closed meanwhile, so it begins anew.
    pub(super) fn replace(&mut self, plan: LinkPlan, workshop: &Workshop) -> Result<(), ApiError> {
        let port = plan.place.listen.port();
        let wants_own_port = port != 0 && port == self.local_addr.port();
        if wants_own_port && let Some(shell) = self.shell.take() {
            shell.stop();
        }
        let new = match RunningLink::start(plan, workshop) {
            Ok(new) => new,
            Err(error) => {
                if wants_own_port && let Err(again) = self.reset(workshop) {
                    tracing::error!(name = self.plan.name, error = %again, "a link could not be brought back");
                }
                return Err(error);
            }
        };
        let revision = self.revision + 1;
        std::mem::replace(self, RunningLink { revision, ..new }).stop();
        Ok(())
    }

    pub(super) fn act(&mut self, action: &Action, workshop: &Workshop) -> Result<(), ApiError> {
        let now = self.clock.now().since(self.origin);
        let (gate, ends) = match action.action {
            ActionKind::Reset => return self.reset(workshop),
            ActionKind::Rebind if self.plan.place.kind != Kind::Datagrams => {
                let text = "action: only datagrams have an address that a NAT can forget; use reset";
                return Err(ApiError::bad_request(text));
            }
            ActionKind::Rebind => {
                if let Some(Shell::Packets(handle)) = &self.shell {
                    handle.rebind();
                }
                return Ok(());
            }
            kind => {
                let duration = action.duration()?;
                let at = now.saturating_sub(START_SLACK);
                let window = Window { at, duration: now + duration - at, every: None };
                let gate = if kind == ActionKind::Hold { Gate::Hold(window) } else { Gate::Blackout(window) };
                (gate, now + duration)
            }
        };
        self.actions.retain(|acted| acted.ends > now);
        if self.actions.len() >= MAX_ACTIONS {
            let text =
                format!("action: {MAX_ACTIONS} have been asked for; reset the link, or wait for one to end");
            return Err(ApiError::bad_request(text));
        }
        self.actions.push(Acted { gate, sides: action.direction, ends });
        if let Err(error) = self.apply() {
            self.actions.pop();
            return Err(error);
        }
        Ok(())
    }

    pub(super) fn counts(&self) -> Counts {
        match &self.shell {
            Some(Shell::Packets(handle)) => Counts::Packets(Box::new(handle.snapshot())),
            Some(Shell::Stream(proxy)) => Counts::Stream(proxy.counters()),
            None => Counts::Stream(StreamCounters::default()),
        }
    }

    /// Starts anew on the same port: flows are closed, counters and model time begin again.
    fn reset(&mut self, workshop: &Workshop) -> Result<(), ApiError> {
        if let Some(shell) = self.shell.take() {
            shell.stop();
        }
        self.actions.clear();
        self.origin = workshop.clock.now();
        let mut plan = self.plan.clone();
        plan.place.listen = self.local_addr;
        let (up, down) = (self.profile(Sides::Up), self.profile(Sides::Down));
        self.shell = Some(open(&plan, up, down, workshop)?.1);
        Ok(())
    }

    fn apply(&self) -> Result<(), ApiError> {
        let (up, down) = (self.profile(Sides::Up), self.profile(Sides::Down));
        match &self.shell {
            Some(Shell::Packets(handle)) => handle.configure(Some(up), Some(down)),
            Some(Shell::Stream(proxy)) => {
                let (up, down) = (stream_profile(up, "up")?, stream_profile(down, "down")?);
                proxy.configure(Some(up), Some(down))?;
            }
            None => return Err(ApiError::internal("the link is down; reset it")),
        }
        Ok(())
    }

    /// What was written for one side, and what requests have added to it.
    fn profile(&self, side: Sides) -> LinkProfile {
        let written = if side == Sides::Up { &self.plan.up } else { &self.plan.down };
        let mut profile = written.profile();
        let acted = self.actions.iter().filter(|acted| acted.sides == side || acted.sides == Sides::Both);
        for gate in acted.map(|acted| acted.gate) {
            profile.gates.push(gate);
            // Each step is a whole link, with the gates that are to be in force from then on.
            profile.schedule.iter_mut().for_each(|step| step.profile.gates.push(gate));
        }
        profile
    }
}

impl Shell {
    fn stop(self) {
        match self {
            Shell::Packets(handle) => drop(handle.stop()),
            Shell::Stream(proxy) => drop(proxy.close()),
        }
    }
}

impl Action {
    fn duration(&self) -> Result<Duration, ApiError> {
        const EXAMPLE: &str = "write for example {\"action\": \"blackout\", \"for\": \"2s\"}";
        let Some(text) = &self.duration else {
            return Err(ApiError::bad_request(format!("for: it is missing; {EXAMPLE}")));
        };
        let duration =
            parse_duration(text).map_err(|error| ApiError::bad_request(format!("for: {error}")))?;
        if duration.is_zero() {
            return Err(ApiError::bad_request(format!("for: it is zero; {EXAMPLE}")));
        }
        Ok(duration)
    }
}

/// What a link has counted: packets, or bytes where there are none.
#[derive(Clone, Debug)]
pub(super) enum Counts {
    Packets(Box<ProxySnapshot>),
    Stream(StreamCounters),
}

/// Refuses what the kind cannot do.
pub(super) fn check(plan: &LinkPlan) -> Result<(), ApiError> {
    if plan.place.kind == Kind::Stream {
        stream_profile(plan.up.profile(), "up")?;
        stream_profile(plan.down.profile(), "down")?;
    }
    Ok(())
}

fn stream_profile(profile: LinkProfile, at: &str) -> Result<StreamProfile, ApiError> {
    StreamProfile::new(profile).map_err(|error| ApiError::bad_request(format!("{at}: {error}")))
}

fn open(
    plan: &LinkPlan,
    up: LinkProfile,
    down: LinkProfile,
    workshop: &Workshop,
) -> Result<(SocketAddr, Shell), ApiError> {
    let Place { kind, listen, upstream_address, scope, seed, timing, .. } = plan.place;
    let seed = seed.map_or_else(|| workshop.seed.fork(&format!("link/{}", plan.name)), Seed::root);
    if kind == Kind::Stream {
        let config = StreamConfig {
            profile_up: stream_profile(up, "up")?,
            profile_down: stream_profile(down, "down")?,
            share: if scope == Sharing::Shared { Share::Rate } else { Share::Nothing },
            ..StreamConfig::new(&plan.name, &listen.to_string(), &plan.place.upstream, seed)
        };
        let proxy = workshop.engine.open(config).map_err(|error| in_use(&error))?;
        return Ok((proxy.local_addr(), Shell::Stream(proxy)));
    }
    let config = ProxyConfig {
        up,
        down,
        scope: scope.into(),
        seed,
        clock: workshop.clock,
        timing: timing.unwrap_or(workshop.timing),
        ..ProxyConfig::between(listen, upstream_address)
    };
    let started = match kind {
        Kind::Frames => frames::start_observed(config, None),
        _ => datagrams::start_observed(config, None),
    };
    let handle = started.map_err(|error| in_use(&error))?;
    Ok((handle.local_addr(), Shell::Packets(handle)))
}

fn in_use(error: &impl std::fmt::Display) -> ApiError {
    let text = format!("listen: {error}; choose another address, or leave it out for a free port");
    ApiError::new(axum::http::StatusCode::CONFLICT, text)
}

/// Gates that requests have added to one link. Each is looked at for every packet.
const MAX_ACTIONS: usize = 64;

/// A shell begins to count time when its thread runs, later than we began. An action must hold for whatever comes after it
/// was asked for, so its window opens earlier by more than a thread takes to start.
const START_SLACK: Duration = Duration::from_millis(50);
