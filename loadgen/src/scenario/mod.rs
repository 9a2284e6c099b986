//! The one description of a run.
//!
//! A [`Scenario`] is what a file *means*: units parsed, defaults filled in, names resolved, everything checked. What was
//! *written* is `raw`; after the conversion nothing is checked again. A scenario only composes types owned by those
//! who act on them ([`LinkProfile`], [`TransportConfig`]).
//!
//! The way from a file to a run: `raw` reads TOML with lines, `extends` merges what it inherits, `set` applies the
//! command line, `sweep` makes one tree for each cell, `parse` (with a file for each section) understands each tree,
//! `effective` prints what was decided. `schema` lists every key; [`load()`] does all of it.

mod arrival;
mod assertion;
mod baseline;
mod bounded;
mod direction;
mod drain;
mod effective;
mod error;
mod extends;
mod forecast;
mod group;
mod link;
mod load;
mod loss;
mod measure;
mod output;
mod parse;
mod phase;
mod raw;
mod read;
mod redundancy;
mod regression;
mod schema;
mod search;
mod seating;
mod server;
mod set;
mod size;
mod span;
mod stream;
mod sweep;
mod trace;
mod weather;
mod when;
mod work;

pub mod builtin;

use std::collections::BTreeMap;
use std::time::Duration;

use chat_core::config::TransportConfig;
use chat_core::wire::codec::Codec;
use netem_proxy::profile::LinkProfile;
use units::Seed;

pub use arrival::{Arrival, ArrivalTrace};
pub use assertion::{Assertion, MinSamples, OnMissing};
pub use baseline::{Baseline, Mtu, QuicCongestion, QuicStreams, TcpCongestion};
pub use error::{Place, ScenarioError};
pub use forecast::{CellForecast, Forecast, forecast};
pub use group::{ClientGroup, Popularity, Ramp, RampShape, Rooms, Seats};
pub use load::{Loaded, load, load_str};
pub use measure::{Deliveries, InvalidIf, MeasureConfig, PerClient};
pub use output::{Figures, Format, OutputConfig};
pub use phase::{Active, Activity, Phase};
pub use regression::{BaselineGate, Correction, Regress};
pub use schema::schema_json;
pub use search::{Search, SearchMethod, SearchUnit};
pub use server::{ServerConfig, ServerMode, Stop};
pub use size::{Size, SizeTrace};
pub use span::SpanLaw;
pub use stream::{Stream, StreamHint, StreamLink};
pub use sweep::CellPlan;
pub use work::{Churn, Pace, Per, Workload, WorkloadKind};

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
    pub server: ServerConfig,
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
    pub search: Option<Search>,
    pub baseline_gate: Option<BaselineGate>,
    pub measure: MeasureConfig,
    pub output: OutputConfig,
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
    /// In which order the runs of all cells follow each other.
    pub order: RunOrder,
    /// Between two real runs nothing happens for this long.
    pub cooldown: Duration,
    /// What ends everything before its end; what was measured by then is reported.
    pub abort_on: Vec<AbortOn>,
    /// What `share` of a client group is a share of.
    pub clients: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RunOrder {
    /// Each repeat goes through all cells, so that a machine that drifts does not favour one of them.
    #[default]
    Interleaved,
    /// Each repeat goes through all cells in an order of its own, drawn by the seed.
    Shuffled,
    /// All repeats of a cell, then the next cell.
    Listed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AbortOn {
    /// The server under test is gone.
    ServerExit,
    /// An assertion with `abort` has failed.
    Assert,
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

    /// The room of each client, by client index; the first one of those that are in several.
    ///
    /// Clients take their seats in order, across groups: one joins the room that is being filled until that room has
    /// as many members as the newcomer's group wants, then opens the next. A sender and a receiver group of one
    /// client each, with rooms of 2, therefore meet. Where nothing is drawn ([`Rooms::is_single`]) this is all of
    /// [`Scenario::memberships`].
    #[must_use]
    pub fn rooms(&self) -> Vec<u32> {
        let first = |rooms: Vec<u32>| rooms.first().copied().unwrap_or_default();
        seating::memberships(self, &Seed::root(self.run.seed)).into_iter().map(first).collect()
    }

    /// The rooms of each client, by client index, ascending, in a run of this seed. No client is in no room.
    ///
    /// Rooms by `size` with one room a client are filled in order. Rooms by `count` come behind these and are shared by
    /// all groups that count; those of a group by `size` with several rooms a client are its own. They are dealt in
    /// turn, or drawn by popularity from each client's own substream.
    #[must_use]
    pub fn memberships(&self, seed: &Seed) -> Vec<Vec<u32>> {
        seating::memberships(self, seed)
    }

    /// The longest round trip of an empty network: mean delays of a link, up and down, of the links in use. Zero without
    /// links.
    #[must_use]
    pub fn base_rtt(&self) -> Duration {
        self.links
            .values()
            .map(|link| link.up.mean_delay() + link.down.mean_delay())
            .max()
            .unwrap_or_default()
    }

    /// What the retransmission timeout is after one sample of [`Scenario::base_rtt`]: three times that, within
    /// `rto_min..=rto_max` (RFC 6298 section 2.2).
    #[must_use]
    pub fn base_rto(&self) -> Duration {
        parse::first_rto(self.base_rtt(), &self.protocol)
    }

    /// All phases together.
    #[must_use]
    pub fn span(&self) -> Duration {
        self.phases.iter().map(|phase| phase.duration).sum()
    }

    /// The longest time that any group takes to begin to connect.
    #[must_use]
    pub fn longest_ramp(&self) -> Duration {
        self.clients.iter().map(|group| group.ramp.over).max().unwrap_or_default()
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
