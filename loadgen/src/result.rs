//! The result of a run, as `result.json` writes it. Schema 1: names are fixed, more may be added.
//!
//! Times are microseconds, rates are per second, sizes are bytes. A latency percentile is `null` where it cannot be
//! stated: no samples, or the rank falls among messages that never arrived (a lost message is a sample at infinity).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// `result.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResult {
    pub schema: u32,
    pub verdict: Verdict,
    /// Why the verdict is not PASS; empty when it is.
    pub reasons: Vec<String>,
    pub run: RunInfo,
    /// The effective scenario, as data.
    pub scenario: serde_json::Value,
    /// What was set in A and in B: `protocol.congestion=reno`. Empty without arms.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arms: Vec<String>,
    pub cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    Pass,
    Fail,
    /// Too few samples to decide an assertion.
    Inconclusive,
    /// The generator or the machine was at fault, not the system under test.
    Invalid,
}

/// Who ran what, where and when: the only part of a virtual run's files that may differ between two runs of one seed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunInfo {
    pub id: String,
    pub command: String,
    pub seed: u64,
    /// `real` or `virtual`.
    pub driver: String,
    /// Version of loadgen, and of the source where it is known.
    pub revision: String,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// Wall-clock seconds.
    pub duration_s: f64,
    /// Host facts: cpu, cores, memory_bytes, kernel, load before.
    pub machine: BTreeMap<String, serde_json::Value>,
    /// Set when the run was interrupted and the report is partial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interrupted: Option<String>,
}

/// One point of the sweep (the only one, without a sweep).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Path to value, in the order of the sweep's axes by name.
    pub axes: BTreeMap<String, serde_json::Value>,
    pub verdict: Verdict,
    pub asserts: Vec<AssertResult>,
    /// Pooled over repeats: counts added, histograms merged.
    pub metrics: Metrics,
    /// What the links of this cell were set to, for tables and theory.
    pub links: Vec<LinkFacts>,
    pub repeats: Vec<Repeat>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Repeat {
    pub seed: u64,
    pub metrics: Metrics,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssertResult {
    pub id: String,
    pub expr: String,
    /// The measured left-hand side (for `a < b`) in the unit of the metric (µs for times), if it could be computed.
    pub value: Option<f64>,
    pub verdict: Verdict,
    /// One sentence when the verdict is not PASS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Whether the cell's verdict depends on it; a remark otherwise. Left out where it does.
    #[serde(default = "gates", skip_serializing_if = "is_gate")]
    pub gate: bool,
}

fn gates() -> bool {
    true
}

fn is_gate(gate: &bool) -> bool {
    *gate
}

/// The configured behaviour of one link, both directions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkFacts {
    pub name: String,
    pub up: DirectionFacts,
    pub down: DirectionFacts,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DirectionFacts {
    /// Mean loss probability, 0 to 1.
    pub loss: f64,
    /// Mean one-way delay.
    pub delay_us: u64,
    pub jitter_us: u64,
    /// Bits a second; `null` is unlimited.
    pub rate_bps: Option<u64>,
    /// The profile in the words of a link SPEC, e.g. `loss=10% delay=50ms`.
    pub spec: String,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    pub messages: Messages,
    pub latency: Latencies,
    #[serde(default)]
    pub delay_causes: DelayCauses,
    pub throughput: Throughput,
    pub transport: Transport,
    pub link: Links,
    #[serde(default)]
    pub wire: Wire,
    pub health: Health,
}

/// The ledger in numbers; only messages intended within recorded phases count.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Messages {
    /// Messages the schedule asked for.
    pub intended: u64,
    /// Messages handed to the protocol.
    pub sent: u64,
    /// Messages whose every byte the server acknowledged.
    pub acked: u64,
    /// Messages the protocol gave up on, with an event.
    pub failed: u64,
    /// Messages not sent because the sender was at its bound.
    pub throttled: u64,
    /// (message, recipient) pairs that should end as delivered: those that were not given up as their delivery allows.
    pub expected_deliveries: u64,
    pub delivered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    /// Pairs that did not arrive because their sender gave up, as their delivery allows.
    #[serde(default)]
    pub expired: u64,
    /// Pairs that did not arrive, of latest-only workloads, where a newer message did.
    #[serde(default)]
    pub superseded: u64,
    /// Pairs whose recipient left before it had heard them.
    #[serde(default)]
    pub excused: u64,
    /// Arrivals of pairs that had been given up by then: they are among the lost.
    #[serde(default)]
    pub late: u64,
}

impl Messages {
    /// Adds the messages of another workload or run.
    pub fn add(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.intended, other.intended),
            (&mut self.sent, other.sent),
            (&mut self.acked, other.acked),
            (&mut self.failed, other.failed),
            (&mut self.throttled, other.throttled),
            (&mut self.expected_deliveries, other.expected_deliveries),
            (&mut self.delivered, other.delivered),
            (&mut self.lost, other.lost),
            (&mut self.duplicated, other.duplicated),
            (&mut self.reordered, other.reordered),
            (&mut self.corrupted, other.corrupted),
            (&mut self.expired, other.expired),
            (&mut self.superseded, other.superseded),
            (&mut self.excused, other.excused),
            (&mut self.late, other.late),
        ] {
            *sum += more;
        }
    }

    /// Whether every expected pair has exactly one end, and every message too. What nobody sent is counted as corrupted
    /// in the sum of all workloads, so only a single workload adds up.
    #[must_use]
    pub fn is_conserved(&self) -> bool {
        self.expected_deliveries == self.delivered + self.corrupted + self.lost
            && self.intended == self.sent + self.throttled
    }
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// From intended to delivered, lost pairs at infinity. The headline.
    pub delivery: LatencySummary,
    /// From handed to the protocol to delivered.
    pub service: LatencySummary,
    /// From handed to the protocol to acknowledged by the server.
    pub ack_rtt: LatencySummary,
    /// From starting to connect to welcome.
    pub connect: LatencySummary,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct LatencySummary {
    pub count: u64,
    pub min_us: Option<u64>,
    pub mean_us: Option<f64>,
    pub p50_us: Option<u64>,
    pub p90_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub p99_9_us: Option<u64>,
    pub max_us: Option<u64>,
}

/// Where the time of recorded deliveries went, both hops together.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct DelayCauses {
    /// Deliveries that are taken apart.
    pub count: u64,
    /// Why there are none: the transport is not ours, or the server is not part of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_available: Option<String>,
    /// What ends told and nobody took in time; it is in the rest (`path_us`).
    #[serde(default)]
    pub forgotten: u64,
    pub all: CauseMeans,
    /// The slowest hundredth of them.
    pub slowest: CauseMeans,
}

/// Mean microseconds of each part; the parts add up to the latency. `null` without deliveries.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct CauseMeans {
    pub latency_us: Option<f64>,
    /// What the empty path takes.
    pub base_us: Option<f64>,
    /// Waiting for the congestion window.
    pub window_us: Option<f64>,
    /// Waiting for a turn at the pacing rate.
    pub pacing_us: Option<f64>,
    /// Waiting for the peer's receive window.
    pub flow_us: Option<f64>,
    /// From the first transmission to the one that was acknowledged.
    pub loss_us: Option<f64>,
    /// Whole at its receiver, waiting for what comes before it.
    pub order_us: Option<f64>,
    /// The rest: queues, jitter, and carriers that were down.
    pub path_us: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Throughput {
    pub sent_per_s: f64,
    pub delivered_per_s: f64,
    /// Message payload delivered, all recipients together.
    pub goodput_bytes_per_s: f64,
}

/// Sums over all connections, both ends; gauges are medians over clients' connections at the end of the run.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Transport {
    pub segments_sent: u64,
    pub retransmits: u64,
    pub fast_retransmits: u64,
    pub timeouts: u64,
    /// Times a probe timer went off, which `modern` has in its place, and packets sent to probe.
    #[serde(default)]
    pub probe_timeouts: u64,
    #[serde(default)]
    pub probes: u64,
    /// Retransmissions that turned out to be unnecessary: the packet had arrived.
    pub spurious: u64,
    pub dup_acks: u64,
    /// Copies sent before anything was known to be lost, and the bytes of their frames.
    #[serde(default)]
    pub redundant_segments: u64,
    #[serde(default)]
    pub redundant_bytes: u64,
    pub srtt_us: Option<u64>,
    pub rto_us: Option<u64>,
    pub cwnd_max_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Links {
    pub up: LinkDirection,
    pub down: LinkDirection,
    pub self_check: SelfCheck,
    /// One line for each check that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub self_check_reasons: Vec<String>,
}

/// Counters of one direction, all links added up. offered + duplicated = delivered + dropped_* + queued.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct LinkDirection {
    pub offered: u64,
    /// Of what the link sees: without UDP and IP headers for datagrams, with all headers for IP packets.
    #[serde(default)]
    pub offered_bytes: u64,
    pub delivered: u64,
    pub dropped_loss: u64,
    pub dropped_queue: u64,
    pub dropped_blackout: u64,
    /// Given up with a flow that was closed.
    #[serde(default)]
    pub dropped_closed: u64,
    /// Under way when the run ended.
    pub queued: u64,
    pub duplicated: u64,
    pub reordered: u64,
    pub corrupted: u64,
    /// Observed time in the link, queueing included.
    pub delay_p50_us: Option<u64>,
    pub delay_p99_us: Option<u64>,
}

/// What messages cost on the emulated links, with every header, acknowledgement and repeat, warm-up included. A packet
/// counts when it is sent, so one that is lost has cost its bytes too.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Wire {
    /// Messages handed to the protocol in the whole run, whose bytes these are.
    pub messages: u64,
    pub up_packets: u64,
    pub down_packets: u64,
    /// UDP and IPv4 headers, or TCP and IPv4 headers, included.
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub up_bytes_per_message: Option<f64>,
    pub down_bytes_per_message: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelfCheck {
    Pass,
    Fail,
    /// No link was emulated.
    #[default]
    None,
}

#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
pub struct Health {
    /// How late messages were handed to the protocol, against the schedule.
    pub schedule_lag_p50_us: Option<u64>,
    pub schedule_lag_p99_us: Option<u64>,
    /// Longest pause a 1 ms ticking thread saw: the machine was elsewhere.
    pub hiccup_max_us: Option<u64>,
    /// Packets lost by the harness itself (full socket buffers); any one makes a loss experiment INVALID.
    pub harness_drops: u64,
}
