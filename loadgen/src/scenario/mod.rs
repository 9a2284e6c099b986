//! The one description of a run.
//!
//! A [`Scenario`] is what a file *means*: units parsed, defaults filled in, names resolved, everything checked. What was
//! *written* is `raw`; after the conversion nothing is checked again. A scenario only composes types owned by those
//! who act on them ([`LinkProfile`], [`TransportConfig`]).
//!
//! The way from a file to a run: `raw` reads TOML with lines, `extends` merges what it inherits, `set` applies the
//! command line, `sweep` makes one tree for each cell, `parse` (with `link` and `traffic`) understands each tree,
//! `effective` prints what was decided. `schema` lists every key; [`load()`] does all of it.

mod baseline;
mod effective;
mod error;
mod extends;
mod link;
mod load;
mod parse;
mod raw;
mod read;
mod redundancy;
mod schema;
mod set;
mod stream;
mod sweep;
mod traffic;
mod when;

pub mod builtin;

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::config::TransportConfig;
use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Order;
use chat_core::wire::codec::Codec;
use netem_proxy::profile::LinkProfile;

use crate::verdict::Expr;

pub use baseline::{Baseline, Mtu, QuicCongestion, QuicStreams, TcpCongestion};
pub use error::{Place, ScenarioError};
pub use load::{Loaded, load, load_str};
pub use schema::schema_json;
pub use stream::{Stream, StreamHint, StreamLink};
pub use sweep::CellPlan;

/// One run, without its sweep: every number is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `[a-z0-9_-]+`, names the report folder.
    pub name: String,
    /// Printed on every figure.
    pub title: String,
    pub kind: Kind,
    /// Free words to select scenarios by.
    pub tags: Vec<String>,
    pub run: RunConfig,
    pub transport: Transport,
    pub protocol: TransportConfig,
    /// What the sessions ask for; the server speaks both.
    pub codec: Codec,
    /// Datagrams of `udp` are sealed. TLS is a transport of its own, and QUIC knows nothing else.
    pub encryption: Encryption,
    /// Settings of the transports that are not ours; read whatever `transport` is, so that a sweep may vary it.
    pub baseline: Baseline,
    /// Settings of our protocol on streams; read whatever `transport` is.
    pub stream: Stream,
    /// By name; only links that a client group uses. A group without a link talks to the server directly.
    pub links: BTreeMap<String, LinkConfig>,
    pub clients: Vec<ClientGroup>,
    /// In order; the first begins when all clients have joined. At least one, the last may be a drain.
    pub phases: Vec<Phase>,
    pub workloads: Vec<Workload>,
    pub asserts: Vec<Assertion>,
    pub measure: MeasureConfig,
}

/// Which question family; picks the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Connectivity,
    Throughput,
    Concurrency,
    Loss,
    Resilience,
    Custom,
}

#[derive(Clone, Debug, PartialEq)]
pub struct RunConfig {
    pub driver: Driver,
    pub seed: u64,
    pub repeats: u32,
    /// A real run that takes longer is stopped and its verdict is INVALID; virtual time counts virtual seconds.
    pub time_limit: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Sockets, threads, wall clock.
    Real,
    /// The same machines in a single-threaded event loop with a virtual clock.
    Virtual,
}

/// What carries messages between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Transport {
    /// Our protocol on a byte stream; the emulator relays whole frames (`netem-proxy frames`), or carries the packets of
    /// the kernel's TCP underneath ([`StreamLink`]).
    Tcp,
    /// The same within TLS, real driver only; the emulator relays bytes, which it can delay but not lose.
    Tls,
    /// Our protocol on datagrams (`netem-proxy datagrams`).
    #[default]
    Udp,
    /// A baseline: the same messages on plain TCP of the kernel, whose packets meet the link (`netem-proxy run`).
    KernelTcp,
    /// A baseline: the same messages over QUIC, by `quinn-proto`, whose datagrams meet the link.
    Quic,
}

impl Transport {
    /// As a scenario writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::KernelTcp => "kernel-tcp",
            Self::Quic => "quic",
        }
    }

    /// Whether it is our protocol on a byte stream.
    #[must_use]
    pub fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }

    /// Whether a minimal relay stands in for chat, because the transport is not ours.
    #[must_use]
    pub fn is_baseline(self) -> bool {
        matches!(self, Self::KernelTcp | Self::Quic)
    }

    /// Bytes of headers around each unit that the emulated link counts and the link itself does not see: UDP and IPv4
    /// around a datagram (RFC 768, RFC 791). Packets of the kernel's TCP are counted with theirs. What carries a frame on
    /// a stream is unknown.
    #[must_use]
    pub fn unseen_header_bytes(self) -> u64 {
        match self {
            Self::Udp | Self::Quic => 28,
            Self::Tcp | Self::Tls | Self::KernelTcp => 0,
        }
    }
}

/// Whether datagrams of ours are sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Encryption {
    #[default]
    Off,
    On,
}

/// Both directions of a named link.
///
/// The `at` of each blackout counts from the beginning of the first phase, as written. A backend creates links before
/// clients connect, so it adds the time between the two ([`LinkConfig::begun`]).
#[derive(Clone, Debug, PartialEq)]
pub struct LinkConfig {
    /// Client to server.
    pub up: LinkProfile,
    /// Server to client.
    pub down: LinkProfile,
    pub scope: Scope,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every client has its own link of this kind.
    PerClient,
    /// All clients of the group share one bottleneck, queue and chain of chance.
    Shared,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ClientGroup {
    pub name: String,
    pub count: u32,
    /// Key into [`Scenario::links`].
    pub link: Option<String>,
    /// Clients are dealt to rooms in order ([`Scenario::rooms`]): with size 10, clients 0 to 9 share the first room.
    /// At least 1.
    pub room_size: u32,
    /// Connects are spread evenly over this span.
    pub ramp: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: String,
    pub duration: Duration,
    /// Whether messages intended in this phase enter the statistics.
    pub record: bool,
    pub activity: Activity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Workloads send.
    Load,
    /// Nothing new is sent; ends as soon as the ledger is settled, at the latest after the phase's duration.
    Drain,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub name: String,
    pub kind: WorkloadKind,
    /// Indices into [`Scenario::clients`]: who sends.
    pub groups: Vec<usize>,
    pub pace: Pace,
    pub size: Size,
    /// Anything but ordered and reliable is for rooms.
    pub delivery: Delivery,
}

impl Workload {
    /// Whether a message of it may be given up before it has arrived, without that being a loss.
    #[must_use]
    pub fn may_give_up(&self) -> bool {
        self.delivery.order == Order::Latest || self.delivery.reliability != Reliability::Reliable
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// To the sender's room: every other member is a recipient.
    Room,
    /// To one other client, drawn for each message.
    Private,
    /// To every other client.
    Broadcast,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Sent when the schedule says, whatever came back.
    Open { arrival: Arrival, per_second: f64, per: Per },
    /// Each client keeps this many messages unacknowledged.
    Closed { in_flight: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    Poisson,
    /// Evenly spaced, each client at its own seeded offset.
    Constant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Client,
    /// The rate is shared: each message comes from a client drawn by the seed.
    Total,
}

/// Bytes of message text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Size {
    Fixed(u32),
    Uniform {
        min: u32,
        max: u32,
    },
    /// By its median and 99th percentile.
    LogNormal {
        median: u32,
        p99: u32,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    pub id: String,
    /// As written: `p99(delivery_latency) < 1500ms`.
    pub expr: String,
    /// The same, understood.
    pub parsed: Expr,
    /// A failed gate fails the run; otherwise it is a remark.
    pub gate: bool,
    /// As written: `link.lossy.both.loss.p <= 10%`. Decided when the scenario is loaded: the scenario of a cell holds
    /// only the assertions that apply to it.
    pub when: Option<String>,
    pub on_missing: OnMissing,
}

/// The verdict of an assertion whose metric has no sample at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnMissing {
    /// The default: what was not measured did not pass.
    Fail,
    Inconclusive,
    /// For metrics that need not occur.
    Pass,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MeasureConfig {
    /// Connections whose transport trace is kept: those of the first so many clients.
    pub trace_clients: u32,
    /// Whether these traces are written as qlog too.
    pub qlog: bool,
}

impl Scenario {
    /// Whether links carry packets of this machine's kernel TCP.
    #[must_use]
    pub fn is_over_kernel_tcp(&self) -> bool {
        let is_under_ours = self.transport.is_stream() && self.stream.link == StreamLink::Packets;
        self.transport == Transport::KernelTcp || is_under_ours
    }

    /// Clients of all groups together; client indices count through the groups in order.
    #[must_use]
    pub fn client_count(&self) -> u32 {
        self.clients.iter().map(|group| group.count).sum()
    }

    /// The group of each client, by client index.
    #[must_use]
    pub fn groups(&self) -> Vec<usize> {
        let members =
            |(index, group): (usize, &ClientGroup)| std::iter::repeat_n(index, group.count as usize);
        self.clients.iter().enumerate().flat_map(members).collect()
    }

    /// The room of each client, by client index.
    ///
    /// Clients take their seats in order, across groups: one joins the room that is being filled until that room has
    /// as many members as the newcomer's group wants, then opens the next. A sender and a receiver group of one
    /// client each, with rooms of 2, therefore meet.
    #[must_use]
    pub fn rooms(&self) -> Vec<u32> {
        let (mut room, mut members) = (0, 0);
        let seat = |group: usize| {
            if members >= self.clients[group].room_size {
                (room, members) = (room + 1, 0);
            }
            members += 1;
            room
        };
        self.groups().into_iter().map(seat).collect()
    }
}

impl LinkConfig {
    /// The same link for a clock that starts `before` the first phase does: blackouts come that much later.
    #[must_use]
    pub fn begun(&self, before: Duration) -> Self {
        let mut link = self.clone();
        link.up.shift(before, Duration::ZERO);
        link.down.shift(before, Duration::ZERO);
        link
    }
}
