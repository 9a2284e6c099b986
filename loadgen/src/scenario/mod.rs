//! The one description of a run.
//!
//! A [`Scenario`] is what a file *means*: units parsed, defaults filled in, names resolved, everything checked. What was
//! *written* is `raw`; after the conversion nothing is checked again. A scenario only composes types owned by those
//! who act on them ([`LinkProfile`], [`TransportConfig`]).

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::config::TransportConfig;
use netem_proxy::profile::LinkProfile;

/// One run, without its sweep: every number is decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// `[a-z0-9_-]+`, names the report folder.
    pub name: String,
    /// Printed on every figure.
    pub title: String,
    pub kind: Kind,
    pub run: RunConfig,
    pub transport: Transport,
    pub protocol: TransportConfig,
    /// By name. A client group without a link talks to the server directly.
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

/// What carries frames between client and server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A byte stream; the emulator relays whole frames (`netem-proxy frames`).
    Tcp,
    /// Datagrams (`netem-proxy datagrams`).
    Udp,
}

/// Both directions of a named link.
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
    /// Clients are dealt to rooms in order: with size 10, clients 0 to 9 share the first room. At least 1.
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
    /// A failed gate fails the run; otherwise it is a remark.
    pub gate: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MeasureConfig {
    /// Connections whose transport trace is kept: those of the first so many clients.
    pub trace_clients: u32,
}

impl Scenario {
    /// Clients of all groups together; client indices count through the groups in order.
    #[must_use]
    pub fn client_count(&self) -> u32 {
        self.clients.iter().map(|group| group.count).sum()
    }
}
