//! From what was written to what it means: one merged tree in, one checked [`Scenario`] out.
//!
//! Each section has a function that reads its keys, fills in defaults and checks what a single value cannot show
//! (names that must exist, spans that must fit). Most sections have files of their own.

use std::str::FromStr;
use std::time::Duration;

use chat_core::config::{CarrierHint, CongestionControl, Profile, TransportConfig};
use chat_core::connection::INITIAL_WINDOW;
use chat_core::wire::codec::Codec;
use units::{ByteCount, Seed};

use super::assertion::Names;
use super::baseline::{self, Baseline};
use super::drain::Base;
use super::error::{ScenarioError, suggest};
use super::raw::Node;
use super::read::{Fields, View};
use super::stream::{self, Stream, StreamHint};
use super::{
    AbortOn, Driver, Encryption, Kind, MeasureConfig, OutputConfig, RunConfig, RunOrder, Scenario,
    ServerConfig, Transport, assertion, group, link, measure, output, phase, redundancy, regression, schema,
    search, server, work,
};

/// Which assertions a scenario keeps.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Keep {
    /// Every one that is written: the scenario as a whole.
    All,
    /// Those whose `when` holds: a cell, in which every value is decided.
    Applicable,
}

/// Understands a merged tree. `[sweep]` is not read here, but by who makes the cells.
pub(crate) fn scenario(root: &Node, keep: Keep) -> Result<Scenario, ScenarioError> {
    let view = View { node: root, path: String::new() };
    let fields = view.fields(&schema::ROOT)?;
    check_version(&fields)?;
    let head = fields.need("scenario")?.fields(&schema::SCENARIO)?;
    let name = report_name(&head.need("name")?)?;
    let Protocol { transport, config, codec, encryption, baseline, stream } =
        fields.or("protocol", Protocol::default(), protocol)?;
    let run = fields.or("run", default_run(), run)?;
    let links = fields.or("link", Default::default(), link::read)?;
    let clients = group::read(&fields.need("clients")?, &links.keys().cloned().collect(), run.clients)?;
    let used = |link: &String| clients.iter().any(|group| group.link.as_ref() == Some(link));
    let base = base(links.iter().filter(|(name, _)| used(name)).map(|(_, link)| link.base_rtt()), &config);
    let phases = phase::read(&fields.need("phase")?, base)?;
    let weather = link::Weather { phases: &phases, seed: Seed::root(run.seed) };
    let link_names: Vec<String> = links.keys().cloned().collect();
    // Events are checked on links that nobody uses, too; only the others are kept.
    let links = links
        .into_iter()
        .map(|(name, link)| Ok((name.clone(), link.decide(&name, &weather)?)))
        .filter(|link| link.as_ref().is_err() || link.as_ref().is_ok_and(|(name, _)| used(name)))
        .collect::<Result<_, _>>()?;
    let workloads = fields.or("workload", Vec::new(), |view| work::read(view, &clients, &phases))?;
    let names = Names { clients: &clients, phases: &phases, workloads: &workloads, links: &link_names };
    let asserts = fields.or("assert", Vec::new(), |view| assertion::read(view, root, keep, &names))?;
    let baseline_gate = fields.get("baseline").map(|view| regression::read(&view, &names)).transpose()?;
    Ok(Scenario {
        title: head.or("title", name.clone(), |view| Ok(view.text()?.to_owned()))?,
        kind: head.or("kind", Kind::Custom, |view| view.choice(KINDS))?,
        tags: head.or("tags", Vec::new(), View::texts)?,
        name,
        server: fields.or("server", ServerConfig::default(), server::read)?,
        transport,
        protocol: config,
        codec,
        encryption,
        baseline,
        stream,
        links,
        clients,
        phases,
        workloads,
        asserts,
        search: fields.get("search").map(|view| search::read(&view, run.repeats)).transpose()?,
        baseline_gate,
        measure: fields.or("measure", MeasureConfig::default(), measure::read)?,
        output: fields.or("output", OutputConfig::default(), output::read)?,
        run,
    })
}

fn check_version(fields: &Fields<'_>) -> Result<(), ScenarioError> {
    let Some(version) = fields.get("schema") else {
        return Err(fields.error("schema is missing; begin the file with schema = 1"));
    };
    match version.whole()? {
        1 => Ok(()),
        other => Err(version.error(format!("{other} is not known here; this version reads schema = 1"))),
    }
}

fn report_name(view: &View<'_>) -> Result<String, ScenarioError> {
    let name = view.name()?;
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(view.error(format!("\"{name}\" has capitals; write {}", name.to_lowercase())));
    }
    Ok(name)
}

/// What `rtt` and `rto` mean in an expression: see [`Scenario::base_rtt`] and [`Scenario::base_rto`].
fn base(rtts: impl Iterator<Item = Duration>, config: &TransportConfig) -> Base {
    let rtt = rtts.max().unwrap_or_default();
    Base { rtt, rto: first_rto(rtt, config) }
}

/// The retransmission timeout after one sample of `rtt`: RFC 6298 section 2.2 gives SRTT + 4 (rtt / 2).
pub(super) fn first_rto(rtt: Duration, config: &TransportConfig) -> Duration {
    (rtt * 3).clamp(config.rto_min, config.rto_max)
}

fn default_run() -> RunConfig {
    RunConfig {
        driver: Driver::Real,
        seed: 42,
        repeats: 1,
        time_limit: Duration::from_secs(15 * 60),
        order: RunOrder::default(),
        cooldown: Duration::ZERO,
        abort_on: vec![AbortOn::ServerExit],
        clients: None,
    }
}

fn run(view: &View<'_>) -> Result<RunConfig, ScenarioError> {
    let fields = view.fields(&schema::RUN)?;
    let default = default_run();
    Ok(RunConfig {
        driver: fields.or("driver", default.driver, |view| {
            view.choice(&[("real", Driver::Real), ("virtual", Driver::Virtual)])
        })?,
        seed: fields.or("seed", default.seed, seed)?,
        repeats: fields.or("repeats", default.repeats, |view| view.count(1..=MAX_REPEATS))?,
        time_limit: fields.or("time_limit", default.time_limit, View::span)?,
        order: fields.or("order", default.order, |view| view.choice(ORDERS))?,
        cooldown: fields.or("cooldown", default.cooldown, View::duration)?,
        abort_on: fields.or("abort_on", default.abort_on, |view| {
            view.items()?.iter().map(|item| item.choice(ABORT_ON)).collect()
        })?,
        clients: fields.get("clients").map(|view| view.count(1..=group::MAX_CLIENTS)).transpose()?,
    })
}

/// TOML's numbers end at 2^63 - 1; the upper half of all seeds is written in quotes.
fn seed(view: &View<'_>) -> Result<u64, ScenarioError> {
    match view.node.as_text().and_then(|text| text.parse().ok()) {
        Some(seed) => Ok(seed),
        None => view.whole(),
    }
}

/// What `[protocol]` says.
#[derive(Clone, Default)]
struct Protocol {
    transport: Transport,
    config: TransportConfig,
    codec: Codec,
    encryption: Encryption,
    baseline: Baseline,
    stream: Stream,
}

fn protocol(view: &View<'_>) -> Result<Protocol, ScenarioError> {
    let fields = view.fields(&schema::PROTOCOL)?;
    let transport = fields.or("transport", Transport::default(), |view| {
        let choices = [Transport::Udp, Transport::Tcp, Transport::Tls, Transport::KernelTcp, Transport::Quic];
        view.choice(&choices.map(|transport| (transport.name(), transport)))
    })?;
    let stream = stream::read(&fields)?;
    let is_doubted = transport.is_stream() && stream.hint == StreamHint::Datagram;
    let profile = fields.or("profile", Profile::default(), from_str)?;
    let base = TransportConfig::new(profile);
    let config = TransportConfig {
        profile,
        congestion: fields.or("congestion", base.congestion, from_str::<CongestionControl>)?,
        mss: fields.or("mss", base.mss, |view| mss(view, transport))?,
        initial_cwnd: fields.or("initial_cwnd", base.initial_cwnd, |view| view.count(1..=MAX_WINDOW))?,
        initial_ssthresh: fields.or("initial_ssthresh", base.initial_ssthresh, |view| {
            if view.node.as_text() == Some("unlimited") {
                return Ok(None);
            }
            view.count(1..=MAX_WINDOW).map(Some)
        })?,
        initial_rto: fields.or("initial_rto", base.initial_rto, View::span)?,
        rto_min: fields.or("rto_min", base.rto_min, View::span)?,
        rto_max: fields.or("rto_max", base.rto_max, View::span)?,
        packet_threshold: fields
            .or("packet_threshold", base.packet_threshold, |view| view.count(1..=1000))?,
        time_threshold: fields.or("time_threshold", base.time_threshold, View::bool)?,
        max_ack_delay: fields.or("max_ack_delay", base.max_ack_delay, View::duration)?,
        max_attempts: fields.or("max_attempts", base.max_attempts, |view| view.count(1..=1000))?,
        redundancy: redundancy::read(&fields, base.redundancy)?,
        receive_window: fields.or("receive_window", base.receive_window, View::bytes)?,
        carrier_assumed: is_doubted.then_some(CarrierHint::Datagram),
        ..base
    };
    check_protocol(&fields, &config)?;
    let codec = fields.or("codec", Codec::default(), |view| {
        view.choice(&[("json", Codec::Json), ("binary", Codec::Binary)])
    })?;
    let encryption = fields.or("encryption", Encryption::Off, |view| encryption(view, transport))?;
    Ok(Protocol { transport, config, codec, encryption, baseline: baseline::read(&fields)?, stream })
}

/// Elsewhere it is decided by the transport, and a key that says otherwise would be a lie.
fn encryption(view: &View<'_>, transport: Transport) -> Result<Encryption, ScenarioError> {
    match (view.bool()?, transport) {
        (false, Transport::Tls | Transport::Quic) => {
            Err(view.error(format!("{} is always encrypted; remove the key", transport.name())))
        }
        (true, Transport::Tcp) => {
            Err(view.error("is for udp; write transport = \"tls\" for an encrypted stream".to_owned()))
        }
        (true, Transport::KernelTcp) => {
            Err(view.error("is for udp; the baseline kernel-tcp has no encryption".to_owned()))
        }
        (true, _) => Ok(Encryption::On),
        (false, _) => Ok(Encryption::Off),
    }
}

fn mss(view: &View<'_>, transport: Transport) -> Result<ByteCount, ScenarioError> {
    let mss = view.bytes()?;
    let max = match transport {
        Transport::Tcp | Transport::Tls => MAX_MSS,
        // The default is what fits into one datagram. Baselines have segments of their own.
        Transport::Udp | Transport::KernelTcp | Transport::Quic => TransportConfig::default().mss,
    };
    if !(MIN_MSS..=max).contains(&mss) {
        return Err(view.error(format!("{mss} is out of range; write {MIN_MSS} to {max}")));
    }
    Ok(mss)
}

fn check_protocol(fields: &Fields<'_>, config: &TransportConfig) -> Result<(), ScenarioError> {
    if config.rto_min > config.rto_max {
        let problem = "rto_min is above rto_max; raise rto_max or lower rto_min";
        return Err(fields
            .get("rto_min")
            .or(fields.get("rto_max"))
            .map_or(fields.error(problem), |v| v.error(problem)));
    }
    if config.receive_window.as_u64() < INITIAL_WINDOW {
        let problem = "is smaller than what a peer takes it to be before the first ack; write at least 64KiB";
        return Err(fields.get("receive_window").map_or(fields.error(problem), |view| view.error(problem)));
    }
    Ok(())
}

fn from_str<T: FromStr<Err = String>>(view: &View<'_>) -> Result<T, ScenarioError> {
    view.text()?.parse().map_err(|problem: String| view.error(problem))
}

/// The message for a reference to something that is not defined.
pub(crate) fn unknown_name<'a>(
    view: &View<'_>,
    what: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> ScenarioError {
    let name = view.node.describe();
    view.error(format!("{name} is no {what}; {}", suggest(name.trim_matches('"'), known)))
}

pub(super) const ORDERS: &[(&str, RunOrder)] =
    &[("interleaved", RunOrder::Interleaved), ("shuffled", RunOrder::Shuffled), ("listed", RunOrder::Listed)];

pub(super) const ABORT_ON: &[(&str, AbortOn)] =
    &[("server-exit", AbortOn::ServerExit), ("assert", AbortOn::Assert)];

pub(super) const KINDS: &[(&str, Kind)] = &[
    ("connectivity", Kind::Connectivity),
    ("throughput", Kind::Throughput),
    ("concurrency", Kind::Concurrency),
    ("loss", Kind::Loss),
    ("resilience", Kind::Resilience),
    ("custom", Kind::Custom),
];

/// Repeats of a cell. A thousand are far beyond what any statistic here needs; more is a typo.
const MAX_REPEATS: u32 = 1000;

/// A segment must hold its own header and some text.
const MIN_MSS: ByteCount = ByteCount(256);

/// On a byte stream a segment may be longer than a datagram, but one that takes long holds up all behind it.
const MAX_MSS: ByteCount = ByteCount(64 << 10);

/// Windows are products of segments and bytes; a million segments keeps them far from overflow.
const MAX_WINDOW: u64 = 1_000_000;
