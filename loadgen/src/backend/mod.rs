//! From a plan to a record: one scenario, run by one of two drivers.
//!
//! [`sim`] is a single-threaded event loop with a virtual clock; [`live`] is sockets, threads and the wall clock. Both
//! drive the same `Session`, `Engine` and `Link`, follow the same [`Workload`](crate::workload::Workload), and yield the
//! same [`RunRecord`]; everything after this module cannot tell which it was. Either can run a baseline instead of our
//! protocol (kernel TCP only the real one): `baseline` has what these need.

pub(crate) mod ability;
pub(crate) mod baseline;
pub mod live;
pub mod sim;
mod unready;
pub mod waits;

use std::net::SocketAddr;
use std::time::Duration;

use chat_client::session::{CarrierKind, Closed, MessageId, Session, SessionConfig, SessionEvent};
use chat_core::SendError;
use chat_core::connection::Delivery;
use chat_core::connection::Stats;
use chat_core::trace::TraceEvent;
use chat_server::engine::EngineConfig;
use hdrhistogram::Histogram;
use netem_proxy::link::LinkCounters;
use units::{Seed, Timestamp};

use crate::measure::{Recorded, Recorder, micros};
use crate::record::Side;
use crate::records::Interval;
use crate::scenario::{Encryption, Scenario, Transport};
pub use crate::seen::Arrival;
use crate::workload::{self, Intent, Target};

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
    pub traces: Vec<(u32, Side, TraceEvent)>,
    /// Every emulated link by its name in the scenario; all instances of one are added up.
    pub links: Vec<NamedLink>,
    /// Longest pause of a thread that wants to wake every millisecond.
    pub hiccup: Option<Duration>,
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
    Interval(Moment),
}

/// The interval that ended last.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// When it ended, since the first phase began.
    pub at_us: u64,
    pub width_us: u64,
    /// As it stands: messages under way may still come in.
    pub interval: Interval,
}

/// Finds intervals that have ended, each once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Latest {
    /// When the last one ended that was told.
    told_us: u64,
}

impl Latest {
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
        Some(Moment { at_us, width_us, interval })
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

/// Names of users and rooms, and who is meant to hear what.
#[derive(Clone, Debug)]
pub struct Cast {
    prefix: String,
    rooms: Vec<u32>,
    members: Vec<Vec<u32>>,
    /// Where each client stands among the members of its room.
    seats: Vec<u32>,
    clients: u32,
}

impl Cast {
    /// `prefix` keeps the names of several runs against one server apart.
    #[must_use]
    pub fn new(scenario: &Scenario, prefix: String) -> Self {
        let rooms = scenario.rooms();
        let mut members = vec![Vec::new(); rooms.iter().max().map_or(0, |&room| room as usize + 1)];
        let mut seats = Vec::with_capacity(rooms.len());
        for (client, &room) in (0..).zip(&rooms) {
            let members: &mut Vec<u32> = &mut members[room as usize];
            seats.push(u32::try_from(members.len()).expect("clients are counted in u32"));
            members.push(client);
        }
        Self { prefix, rooms, members, seats, clients: scenario.client_count() }
    }

    #[must_use]
    pub fn user(&self, client: u32) -> String {
        format!("{}c{client}", self.prefix)
    }

    /// The room that a client is in.
    #[must_use]
    pub fn room(&self, client: u32) -> String {
        format!("{}r{}", self.prefix, self.rooms[client as usize])
    }

    #[must_use]
    pub fn clients(&self) -> u32 {
        self.clients
    }

    /// Rooms that somebody is in.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.members.len()
    }

    /// Clients whose connections are traced.
    pub fn traced(&self, scenario: &Scenario) -> std::ops::Range<u32> {
        0..scenario.measure.trace_clients.min(self.clients)
    }

    /// Everyone who should hear a message: the membership when it is sent, its sender left out.
    pub fn recipients(&self, intent: &Intent) -> impl Iterator<Item = u32> + '_ {
        self.hearers(intent.sender, intent.target)
    }

    /// How many they are.
    #[must_use]
    pub fn audience(&self, intent: &Intent) -> usize {
        match intent.target {
            Target::Room => self.members[self.rooms[intent.sender as usize] as usize].len().saturating_sub(1),
            Target::Client(client) => usize::from(client != intent.sender),
            Target::All => (self.clients as usize).saturating_sub(1),
        }
    }

    /// How many seats the audience of a message has; its sender may have one of them, from which nobody listens.
    pub(crate) fn seats(&self, intent: &Intent) -> u32 {
        match intent.target {
            Target::Room => {
                let members = &self.members[self.rooms[intent.sender as usize] as usize];
                u32::try_from(members.len()).expect("clients are counted in u32")
            }
            Target::Client(_) => 1,
            Target::All => self.clients,
        }
    }

    /// The seat of `client` in the audience of a message; `None` for its sender and for whom it is not meant.
    pub(crate) fn seat(&self, intent: &Intent, client: u32) -> Option<u32> {
        if client == intent.sender || client >= self.clients {
            return None;
        }
        match intent.target {
            Target::Room => {
                let is_near = self.rooms[client as usize] == self.rooms[intent.sender as usize];
                is_near.then(|| self.seats[client as usize])
            }
            Target::Client(to) => (client == to).then_some(0),
            Target::All => Some(client),
        }
    }

    /// The seat from which nobody listens, if there is one.
    pub(crate) fn own_seat(&self, intent: &Intent) -> Option<u32> {
        match intent.target {
            Target::Room => Some(self.seats[intent.sender as usize]),
            Target::Client(to) => (to == intent.sender).then_some(0),
            Target::All => Some(intent.sender),
        }
    }

    /// Who has a seat, the sender too.
    pub(crate) fn at_seat(&self, intent: &Intent, seat: u32) -> u32 {
        match intent.target {
            Target::Room => self.members[self.rooms[intent.sender as usize] as usize][seat as usize],
            Target::Client(to) => to,
            Target::All => seat,
        }
    }

    /// The same, by sender and target.
    pub(crate) fn hearers(&self, sender: u32, target: Target) -> impl Iterator<Item = u32> + '_ {
        let everyone = match target {
            Target::Room => self.members[self.rooms[sender as usize] as usize].clone(),
            Target::Client(client) => vec![client],
            Target::All => (0..self.clients).collect(),
        };
        everyone.into_iter().filter(move |&client| client != sender)
    }
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
    config.hub.rooms = config.hub.rooms.max(cast.rooms());
    config
}

/// Hands a message of the schedule to its sender's session. `delivery` is that of its workload; rooms alone have a choice.
pub(crate) fn submit(
    session: &mut Session,
    now: Timestamp,
    cast: &Cast,
    intent: &Intent,
    delivery: Delivery,
) -> Result<MessageId, SendError> {
    let text = workload::text(intent.id, intent.size);
    match intent.target {
        Target::Room => session.say_with(now, &cast.room(intent.sender), &text, delivery),
        Target::Client(to) => session.say_private(now, &cast.user(to), &text),
        Target::All => session.broadcast(now, &text),
    }
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
