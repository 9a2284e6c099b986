//! From a plan to a record: one scenario, run by one of two drivers.
//!
//! [`sim`] is a single-threaded event loop with a virtual clock; [`live`] is sockets, threads and the wall clock. Both
//! drive the same `Session`, `Engine` and `Link`, follow the same [`Workload`](crate::workload::Workload), and yield the
//! same [`RunRecord`]; everything after this module cannot tell which it was. Either can run a baseline instead of our
//! protocol (kernel TCP only the real one): `baseline` has what these need.

pub(crate) mod ability;
mod actor;
pub(crate) mod baseline;
mod cast;
mod hearing;
pub mod live;
pub mod sim;
mod traces;
mod train;
pub mod waits;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use chat_client::session::{CarrierKind, Closed, Session, SessionConfig, SessionEvent};
use chat_core::connection::Stats;
use chat_server::engine::EngineConfig;
use hdrhistogram::Histogram;
use netem_proxy::link::LinkCounters;
use units::{Seed, Timestamp};

use crate::measure::{Recorded, Recorder, Standing, micros};
use crate::records::Interval;
use crate::scenario::{Encryption, Scenario, Transport};
pub use crate::seen::Arrival;
use crate::workload;

pub use cast::Cast;
pub use traces::{MOST_TRACES, Traces};

/// One run of one cell.
#[derive(Clone, Debug)]
pub struct RunPlan {
    pub scenario: Scenario,
    pub seed: Seed,
    pub server: ServerAt,
}

/// Everything that was observed in one run.
#[derive(Clone, Debug)]
pub struct RunRecord {
    /// When the first phase began.
    pub began: Timestamp,
    /// When the last message was settled or given up.
    pub ended: Timestamp,
    /// Everything about messages, by the recorder that heard them.
    pub recorded: Recorded,
    /// Transport of each connection end at the end of the run.
    pub ends: Vec<EndRecord>,
    /// Server's transport counters, all sessions together.
    pub server: Stats,
    /// Transport traces of some clients, both ends.
    pub traces: Traces,
    /// Every emulated link by its name in the scenario; all instances of one are added up.
    pub links: Vec<NamedLink>,
    /// Longest pause of a thread that wants to wake every millisecond.
    pub hiccup: Option<Duration>,
    /// All its pauses, in microseconds; `None` in virtual time.
    pub hiccups_us: Option<Histogram<u64>>,
    /// Seconds that groups of threads of this process ran while the schedule did, by name; empty in virtual time.
    pub cpu_s: BTreeMap<String, f64>,
    /// Sessions of which the server still waits for the client; `None`: nobody asked it.
    pub orphans: Option<u64>,
    /// Packets lost by the harness itself.
    pub harness_drops: u64,
    /// Why the run says nothing about the system under test.
    pub invalid: Vec<String>,
    /// Why the system under test failed beyond what assertions see.
    pub failures: Vec<String>,
}

/// One client's end of its connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndRecord {
    pub stats: Stats,
    /// `None` where the transport does not tell.
    pub srtt: Option<Duration>,
    pub rto: Option<Duration>,
    pub cwnd_max: u64,
}

impl EndRecord {
    /// What a session of ours knows of its connection.
    fn of(session: &Session, cwnd_max: u64) -> Self {
        let metrics = session.connection().metrics();
        Self { stats: *session.connection().stats(), srtt: metrics.srtt, rto: Some(metrics.rto), cwnd_max }
    }
}

/// What the instances of one named link did.
#[derive(Clone, Debug, Default)]
pub struct NamedLink {
    pub name: String,
    /// Client to server.
    pub up: LinkRecord,
    pub down: LinkRecord,
}

/// One direction.
#[derive(Clone, Debug, Default)]
pub struct LinkRecord {
    pub counters: LinkCounters,
    /// Model time in the link, in microseconds; `None` without links.
    pub delays_us: Option<Histogram<u64>>,
}

/// Where the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerAt {
    /// Part of the run.
    InProcess,
    /// Already running; only the live driver can use it, and no link is put before it.
    External(SocketAddr),
}

/// What a driver tells of itself while it runs, to whoever watches. It is called on the thread that keeps the schedule, so it
/// must return at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Progress {
    /// Done so far, 0 to 1.
    Fraction(f64),
    /// An interval has ended.
    Interval(Box<Moment>),
}

/// What a driver hears when it tells of its progress. `Break` ends the run, which has failed then, and why.
pub type Heeded = ControlFlow<String>;

/// The interval that ended last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// When it ended, since the first phase began.
    pub at_us: u64,
    pub width_us: u64,
    /// As it stands: messages under way may still come in.
    pub interval: Interval,
    /// The run so far, where an assertion may end it.
    pub standing: Option<Box<Standing>>,
}

/// Finds intervals that have ended, each once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latest {
    /// When the last one ended that was told.
    told_us: u64,
    /// From when on somebody judges the run while it goes on; `None`: nobody.
    judged_from_us: Option<u64>,
}

impl Latest {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        let first = scenario.asserts.iter().filter_map(|assertion| assertion.abort_after).min();
        Self { told_us: 0, judged_from_us: first.map(micros) }
    }

    /// The interval that ended last before `now`, unless it was told.
    pub(crate) fn of(&mut self, recorder: &Recorder, began: Timestamp, now: Timestamp) -> Option<Moment> {
        let width_us = micros(recorder.interval()).max(1);
        let ended = micros(now.since(began)) / width_us;
        let at_us = ended * width_us;
        if at_us <= self.told_us {
            return None;
        }
        self.told_us = at_us;
        let last = usize::try_from(ended - 1).ok()?;
        let interval = recorder.ended_intervals(last, now).last()?;
        let is_judged = self.judged_from_us.is_some_and(|from_us| at_us >= from_us);
        let standing = is_judged.then(|| Box::new(recorder.standing()));
        Some(Moment { at_us, width_us, interval, standing })
    }
}

/// A run could not be carried out at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Setup(String),
    /// A defect of ours, or a machine that gives no threads.
    #[error("{0}")]
    Internal(String),
    /// The server that was to be measured is not there (any more).
    #[error("{0}")]
    ServerGone(String),
}

/// The text of an event, if it is a message that somebody sent.
pub(crate) fn heard(event: &SessionEvent) -> Option<&str> {
    match event {
        SessionEvent::Line { line, .. } => Some(&line.text),
        SessionEvent::Private { text, .. } | SessionEvent::Broadcast { text, .. } => Some(text),
        _ => None,
    }
}

/// What a heard text says about itself.
pub(crate) fn arrival(recipient: u32, at: Timestamp, text: &str) -> Arrival {
    let message = workload::parse_text(text);
    let intact = message.is_some_and(|id| workload::is_text(id, text));
    Arrival { recipient, message, at, intact }
}

/// Settings of client `index`'s session.
pub(crate) fn session_config(plan: &RunPlan, cast: &Cast, index: u32, unix_us_at_zero: u64) -> SessionConfig {
    let carrier = match plan.scenario.transport {
        Transport::Tcp | Transport::Tls => CarrierKind::Stream,
        Transport::Udp if plan.scenario.encryption == Encryption::On => CarrierKind::SealedDatagram,
        Transport::Udp => CarrierKind::Datagram,
        Transport::KernelTcp | Transport::Quic => unreachable!("baselines have no sessions of ours"),
    };
    SessionConfig {
        transport: plan.scenario.protocol.clone(),
        codec: plan.scenario.codec,
        unix_us_at_zero,
        ..SessionConfig::new(&cast.user(index), carrier, plan.seed.fork(&format!("session/{index}")))
    }
}

/// Settings of the server under test, the same for both drivers.
pub(crate) fn engine_config(plan: &RunPlan, cast: &Cast) -> EngineConfig {
    let mut config = EngineConfig::new(plan.seed.fork("server"));
    config.transport = plan.scenario.protocol.clone();
    config.trace_users = cast.traced(&plan.scenario).map(|client| cast.user(client)).collect();
    config.hub.text_bytes = config.hub.text_bytes.max(workload::MAX_TEXT as usize);
    // The bounds of a server for people; here the scenario says how many there are. Those who come back may meet their own
    // carrier, which is not closed yet.
    let clients = cast.clients() as usize;
    config.max_peers = config.max_peers.max(clients * 2);
    let (rooms_each, rooms) = cast.room_counts();
    config.hub.rooms_per_user = config.hub.rooms_per_user.max(rooms_each);
    config.hub.rooms = config.hub.rooms.max(rooms);
    config
}

/// A client that the server will not have, in words.
pub(crate) fn turned_away(client: u32, why: &Closed) -> String {
    match why {
        Closed::Quit => format!("client {client} quit"),
        Closed::Refused(error) => format!("client {client} was turned away: {}", error.text),
        Closed::Untrusted(reason) => format!("client {client} does not trust the server: {reason}"),
    }
}

/// Blackouts count from the first phase, which has not begun while clients join: until then they are this far away.
pub(crate) const BEFORE_THE_RUN: Duration = Duration::from_secs(1 << 30);
/// Joining takes a few round trips; beyond this, some client cannot, and the system under test has failed.
pub(crate) const JOIN_PATIENCE: Duration = Duration::from_secs(60);

/// Why a run that was stopped early says nothing; what was under way then counts as lost.
pub(crate) fn interrupted(after: Duration) -> String {
    format!("interrupted after {:.1} s; what was under way counts as lost", after.as_secs_f64())
}
