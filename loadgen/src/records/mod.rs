//! What one run leaves behind: everything that verdicts, comparisons and figures are made from.
//!
//! One run is one repeat of one cell of one arm. Its [`RunFile`] is written as soon as it ends, whole or not at all, to
//! `runs/c003-r1.json` (`runs/c003-r1-b.json` for arm B); an interrupted sweep is resumed by leaving out the runs whose file
//! is there and whose `plan` fits. `result.json` folds run files; `loadgen report` draws from both and from nothing else.
//!
//! A run file has a bounded size, however long the run: distributions instead of samples, intervals that are joined in
//! pairs when there are too many of them, the slowest few messages instead of all. Times are microseconds since the first phase began,
//! so two runs of one seed in virtual time give the same bytes; when and where a run took place stands in `result.json`.

mod fold;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::distribution::Distribution;
use crate::result::{LinkFacts, Messages, Metrics};

pub use fold::fold_cells;
pub(crate) use fold::pooled_quantiles;

/// Version of the form of run files.
pub const SCHEMA: u32 = 1;

/// `runs/c003-r1.json`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunFile {
    pub schema: u32,
    /// Index into `cells` of `result.json`.
    pub cell: u32,
    pub repeat: u32,
    /// 0 is A, or the only one; 1 is B of `--ab`.
    #[serde(default)]
    pub arm: u32,
    pub seed: u64,
    /// Path to value, as in `result.json`.
    pub axes: BTreeMap<String, serde_json::Value>,
    /// Hash of what was run: the effective scenario of this cell and arm, and the driver. A resumed sweep keeps the run
    /// only if its own plan has the same.
    pub plan: String,
    pub phases: Vec<PhaseSpan>,
    /// What was done to the links while it ran.
    pub weather: Vec<WeatherSpan>,
    pub links: Vec<LinkFacts>,
    pub metrics: Metrics,
    /// In the order of the scenario.
    pub workloads: Vec<WorkloadRecord>,
    /// Of all workloads together; `delivery` here is the headline.
    pub all: Latencies,
    /// From starting to connect to welcome, one for each attempt; an attempt that never succeeded is at infinity.
    pub connect: Distribution,
    /// Sessions that went on, or did not.
    #[serde(default)]
    pub sessions: SessionCounts,
    /// Time in the emulated links.
    #[serde(default)]
    pub link_delays: LinkDelays,
    /// One for each quantile that reports state, of `all.delivery`.
    pub quantiles: Vec<QuantileEstimate>,
    pub intervals: Intervals,
    /// By client index; at most [`MOST_CLIENTS`], evenly chosen.
    pub clients: Vec<ClientRecord>,
    /// The slowest deliveries of each workload, slowest first.
    pub exemplars: Vec<Exemplar>,
    pub recoveries: Vec<RecoveryRecord>,
    pub health: HealthRecord,
    /// Why the numbers say nothing about the system under test.
    pub invalid: Vec<String>,
    /// What failed beyond what assertions see.
    pub failures: Vec<String>,
    /// What a reader should know and no verdict depends on.
    pub warnings: Vec<String>,
}

/// What became of sessions whose clients left, or whose carriers broke; in all phases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// Clients that had left and were welcomed again.
    pub comebacks: u64,
    /// Sessions that went on by their token: of comebacks, and after carriers that broke.
    pub resumed: u64,
    /// Sessions that would have gone on, of clients that had not left, but the server had forgotten them: what was said
    /// meanwhile their clients have not heard, and what they said may be heard twice.
    pub forgotten: u64,
    /// Attempts to connect that the end of the run cut off: neither made nor lost, and not in `connect`.
    pub open: u64,
    /// Sessions at the server that waited for their clients when the run ended; `null`: nobody asked the server.
    pub orphans: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseSpan {
    pub name: String,
    pub from_us: u64,
    pub until_us: u64,
    /// Whether messages intended in it enter the statistics.
    pub recorded: bool,
}

/// A change of a link with a beginning and an end, such as a blackout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WeatherSpan {
    pub link: String,
    pub from_us: u64,
    pub until_us: u64,
    /// `blackout`, `loss=30%`: in the words of a SPEC.
    pub what: String,
}

/// The distributions of one workload or of all. Definitions in `docs/METRICS.md`; microseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Latencies {
    /// Intended to delivered: one sample for each expected pair, lost pairs at infinity.
    pub delivery: Distribution,
    /// Handed to the protocol to delivered.
    pub service: Distribution,
    /// Handed to the protocol to acknowledged: one sample for each message.
    pub ack_rtt: Distribution,
    /// Intended to delivered to the last recipient: one sample for each message with more than one recipient.
    pub completion: Distribution,
    /// First recipient to last recipient, of completed messages.
    pub skew: Distribution,
    /// Whole at its receiver to released in order.
    pub waiting: Distribution,
}

impl Latencies {
    /// Nothing more is to be recorded.
    pub fn compact(&mut self) {
        for distribution in [
            &mut self.delivery,
            &mut self.service,
            &mut self.ack_rtt,
            &mut self.completion,
            &mut self.skew,
            &mut self.waiting,
        ] {
            distribution.compact();
        }
    }

    /// As if everything had been recorded here.
    pub fn merge(&mut self, other: &Self) {
        for (sum, more) in [
            (&mut self.delivery, &other.delivery),
            (&mut self.service, &other.service),
            (&mut self.ack_rtt, &other.ack_rtt),
            (&mut self.completion, &other.completion),
            (&mut self.skew, &other.skew),
            (&mut self.waiting, &other.waiting),
        ] {
            sum.merge(more);
        }
    }
}

/// Model time of delivered packets in the links of a run, queueing included; all links together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkDelays {
    pub up: Distribution,
    pub down: Distribution,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WorkloadRecord {
    pub name: String,
    pub messages: Messages,
    pub latencies: Latencies,
    pub quantiles: Vec<QuantileEstimate>,
}

/// A percentile and how sure it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct QuantileEstimate {
    /// 0 to 1.
    pub q: f64,
    /// `null`: the rank falls among lost messages, or there are no samples.
    pub value_us: Option<u64>,
    /// Bounds of the 95 % interval, by bootstrap over messages; `null` above: infinite.
    pub low_us: Option<u64>,
    pub high_us: Option<u64>,
    /// What was resampled, and how many samples that is.
    pub messages: u64,
    pub deliveries: u64,
    /// Variance of the rank against that of independent samples: 1 without dependence.
    pub design_effect: f64,
    /// At least 10 / (1 − q) samples; otherwise the value is only shown marked.
    pub is_firm: bool,
}

/// The run in time. Latencies of an interval are of messages *intended* in it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Intervals {
    /// Length of each; doubled whenever there would be more than [`MOST_INTERVALS`].
    pub width_us: u64,
    /// Without gaps, from the beginning of the first phase.
    pub rows: Vec<Interval>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Messages the schedule asked for.
    pub intended: u64,
    pub sent: u64,
    pub throttled: u64,
    pub failed: u64,
    /// Pairs expected of messages intended in it, and those that never arrived.
    pub expected: u64,
    pub lost: u64,
    /// Pairs that arrived in it, and their text bytes.
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// On the emulated links, all headers included, retransmissions too.
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub retransmits: u64,
    /// Connected clients, and messages on their way, at its end.
    pub connected: u64,
    pub under_way: u64,
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub max_us: Option<u64>,
    /// Deliveries by latency: bin of [`latency_bin`] and count, ascending, bins without any left out.
    pub heat: Vec<(u16, u32)>,
    /// The generator's health: p99 of schedule lag, longest pause, share of one core, packets it lost itself.
    pub lag_p99_us: Option<u64>,
    pub hiccup_max_us: Option<u64>,
    pub cpu: Option<f64>,
    pub harness_drops: u64,
    /// What the server said at its end, as far as it can be asked.
    #[serde(default, skip_serializing_if = "ServerInterval::is_untold")]
    pub server: ServerInterval,
}

/// The server under test in an interval; `null` is what nobody can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerInterval {
    /// Share of one core, of a server that is a process of its own.
    pub cpu: Option<f64>,
    /// Its memory; the same.
    pub rss_bytes: Option<u64>,
    /// Sessions with a client, of a server that is part of the run.
    pub sessions: Option<u64>,
    /// Messages waiting in its fullest outbox; the same.
    pub outbox_max: Option<u64>,
}

impl ServerInterval {
    fn is_untold(&self) -> bool {
        *self == Self::default()
    }
}

/// One client, for fairness and outliers. Recorded phases only.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientRecord {
    pub client: u32,
    pub group: String,
    pub sent: u64,
    /// Pairs that it heard.
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Of what it heard, in a coarse histogram (see [`latency_bin`]).
    pub p50_us: Option<u64>,
    pub p99_us: Option<u64>,
    pub srtt_us: Option<u64>,
    pub reconnects: u64,
}

/// One slow delivery, taken apart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Exemplar {
    pub workload: String,
    pub message: u32,
    pub sender: u32,
    pub recipient: u32,
    pub size_bytes: u32,
    pub intended_us: u64,
    pub submitted_us: Option<u64>,
    pub acked_us: Option<u64>,
    /// `null`: never arrived.
    pub delivered_us: Option<u64>,
    /// Share of deliveries of its workload that were faster, 0 to 1.
    pub rank: f64,
    /// In order of time.
    pub steps: Vec<Step>,
}

/// Something that happened to a message on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub at_us: u64,
    pub hop: Hop,
    pub what: StepKind,
    /// Number of the packet on that hop's connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub packet: Option<u64>,
    /// Of what was lost or left again: why it counted as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// Of what has a length: how long it took from `at_us` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_us: Option<u64>,
}

/// Why a packet counted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// Three later ones were acknowledged.
    PacketThreshold,
    /// A later one was, and 9/8 of an RTT had passed.
    TimeThreshold,
    /// The retransmission timer went off.
    Timeout,
    /// The peer said that it came damaged.
    Damaged,
    /// Its carrier was replaced.
    Rebind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Hop {
    /// Sender to server.
    Up,
    /// Server to recipient.
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepKind {
    /// Waited for room in the congestion window.
    HeldByWindow,
    /// Waited for its turn at the pacing rate.
    HeldByPacing,
    /// Waited for room at the peer.
    HeldByPeer,
    /// Left for the first time.
    Sent,
    /// Left again after it counted as lost by three later acks.
    FastRetransmitted,
    /// Left again for another reason.
    Retransmitted,
    /// A copy left before anything was known to be lost.
    Copied,
    /// Left to ask for an ack of the tail.
    Probed,
    /// A transmission counted as lost.
    Lost,
    /// The retransmission or probe timer went off while it was under way.
    Timeout,
    /// A transmission that counted as lost was acknowledged after all.
    Spurious,
    /// It was whole at the receiver.
    Received,
    /// It waited at its receiver for what comes before it.
    HeldBack,
    /// It was passed on, in order.
    Released,
    Acked,
}

/// How soon clients heard something again after an outage.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryRecord {
    pub link: String,
    pub from_us: u64,
    pub until_us: u64,
    /// From the end of the outage to the first delivery; a client that heard nothing more is at infinity.
    pub times: Distribution,
}

/// How well the generator kept up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct HealthRecord {
    /// Handed to the protocol against the schedule.
    pub lag: Distribution,
    /// Pauses of a thread that wakes every millisecond.
    pub hiccups: Distribution,
    /// Seconds by thread or group of threads, user and system; empty in virtual time.
    pub cpu_s: BTreeMap<String, f64>,
    /// Warm-up that MSER-5 would cut, of the declared one; `null` when it cannot be said.
    pub warmup_needed_us: Option<u64>,
    pub warmup_declared_us: u64,
}

/// A cell in words: `loss.p=0.1 protocol.congestion=reno`; empty without a sweep. Paths are cut to their last two parts where
/// these tell them apart.
#[must_use]
pub fn axes_words(axes: &BTreeMap<String, serde_json::Value>) -> String {
    let short = |path: &str| -> String {
        let parts: Vec<&str> = path.split('.').collect();
        parts[parts.len().saturating_sub(2)..].join(".")
    };
    let word = |(path, value): (&String, &serde_json::Value)| {
        let is_clear = axes.keys().filter(|other| short(other) == short(path)).count() == 1;
        let path = if is_clear { short(path) } else { path.clone() };
        match value {
            serde_json::Value::String(text) => format!("{path}={text}"),
            value => format!("{path}={value}"),
        }
    };
    axes.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// Bin of a latency: 20 bins a decade from 10 µs on, so that a bin is 12 % wide. The first holds all below.
#[must_use]
pub fn latency_bin(us: u64) -> u16 {
    if us < FIRST_BIN_US {
        return 0;
    }
    let decades = (us as f64 / FIRST_BIN_US as f64).log10();
    1 + (decades * BINS_A_DECADE).floor().min(LAST_BIN - 1.0) as u16
}

/// Smallest and largest latency of a bin in microseconds; the last one is open upwards.
#[must_use]
pub fn bin_range(bin: u16) -> (f64, f64) {
    let edge = |bin: u16| FIRST_BIN_US as f64 * 10f64.powf(f64::from(bin) / BINS_A_DECADE);
    match bin {
        0 => (0.0, FIRST_BIN_US as f64),
        bin => (edge(bin - 1), edge(bin)),
    }
}

/// An hour of seconds; enough to see a shape, little enough to draw.
pub const MOST_INTERVALS: usize = 3_600;
/// More clients than this say nothing more about fairness.
pub const MOST_CLIENTS: usize = 2_000;

/// One more than the last bin of [`latency_bin`].
pub const LATENCY_BINS: u16 = 161;

const FIRST_BIN_US: u64 = 10;
const BINS_A_DECADE: f64 = 20.0;
/// Eight decades: the last bin begins at a quarter of an hour.
const LAST_BIN: f64 = 160.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_in_its_bin() {
        for us in [0, 9, 10, 11, 99, 100, 12_345, 1_000_000, 59_999_999] {
            let (low, high) = bin_range(latency_bin(us));
            assert!(
                low <= us as f64 * (1.0 + 1e-9) && (us as f64) < high * (1.0 + 1e-9),
                "{us}: {low}..{high}"
            );
        }
        assert!((0..10_000_000).step_by(997).map(latency_bin).is_sorted());
    }

    #[test]
    fn cells_are_named_as_shortly_as_is_clear() {
        let axes = |paths: &[&str]| paths.iter().map(|path| ((*path).to_owned(), "1%".into())).collect();
        assert_eq!(axes_words(&axes(&["link.lossy.both.loss.p", "run.seed"])), "loss.p=1% run.seed=1%");
        let ways = axes(&["link.l.down.loss.p", "link.l.up.loss.p"]);
        assert_eq!(axes_words(&ways), "link.l.down.loss.p=1% link.l.up.loss.p=1%");
        assert_eq!(axes_words(&BTreeMap::new()), "");
    }

    #[test]
    fn a_run_file_reads_back() {
        let mut run = RunFile { schema: SCHEMA, seed: 7, ..RunFile::default() };
        run.all.delivery.record(Some(1234));
        run.exemplars.push(Exemplar::default());
        let text = serde_json::to_string(&run).expect("plain data");
        assert_eq!(serde_json::from_str::<RunFile>(&text).expect("just written"), run);
    }
}
