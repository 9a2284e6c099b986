//! From a record to numbers.
//!
//! A [`Recorder`] hears a run and passes the verdict on each (message, recipient) pair; this makes of what it leaves
//! behind the [`RunFile`] of the run, and the [`Metrics`] that `result.json` and assertions speak of. Latencies are HDR
//! histograms, which are merged over repeats; percentiles are never averaged. A lost pair is a sample at infinity. The
//! definitions are in `docs/METRICS.md`.

mod causes;
#[cfg(test)]
mod check;
mod latency;
mod links;
mod recorder;
mod standing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use chat_core::connection::Stats;
use units::Timestamp;

use crate::backend::RunRecord;
use crate::backend::waits::NotTold;
use crate::distribution::Distribution;
use crate::record::{DeliveryRow, Side, TraceEvent, TraceRow};
use crate::records::{self, HealthRecord, Intervals, LinkDelays, PhaseSpan, RunFile, SessionCounts};
use crate::result::{DelayCauses, Health, Metrics, Throughput, Transport};
use crate::scenario::{InvalidIf, Scenario};
use crate::stats::series::mser5;

use causes::Causes;
pub(crate) use latency::summarise;

pub use links::facts;
use recorder::Load;
pub use recorder::{Held, InLoad, Recorded, Recorder, Sample, ServerSample};
pub use standing::Standing;

/// One run while its numbers are made.
#[derive(Clone, Debug)]
struct Measured {
    metrics: Metrics,
    delivery: Distribution,
    service: Distribution,
    ack_rtt: Distribution,
    connect: Distribution,
    lag: Distribution,
    up_delays: Distribution,
    down_delays: Distribution,
    gauges: Gauges,
    causes: Causes,
    causes_untold: Option<NotTold>,
    waits_forgotten: u64,
    asked: u64,
    carried_out: u64,
    in_load: InLoad,
    recorded: Duration,
    /// Why the numbers say nothing about the system under test.
    invalid: Vec<String>,
    /// What failed beyond what assertions see.
    failures: Vec<String>,
}

/// Values of which the median is reported.
#[derive(Clone, Debug, Default)]
struct Gauges {
    srtt_us: Vec<u64>,
    rto_us: Vec<u64>,
}

/// One run, measured, with the rows to save.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Without `axes`, `seed` and `plan`, which the run itself does not know.
    pub run: RunFile,
    pub deliveries: Vec<DeliveryRow>,
    pub traces: Vec<TraceRow>,
}

/// Where the rows of a run belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunIndex {
    pub cell: u32,
    pub repeat: u32,
}

/// Measures one run.
#[must_use]
pub fn measure(scenario: &Scenario, record: RunRecord, at: RunIndex) -> Outcome {
    let recorded = &record.recorded;
    let mut metrics = Metrics { messages: recorded.messages.clone(), ..Metrics::default() };
    metrics.transport = transport(&record);
    metrics.health = Health {
        hiccup_max_us: record.hiccup.map(micros),
        harness_drops: record.harness_drops,
        ..Health::default()
    };
    metrics.link = links::links(scenario, &record);
    metrics.wire = links::wire(scenario, &record, &metrics.link);
    let (up_delays, down_delays) = links::delays(&record);
    let gauges = Gauges {
        srtt_us: record.ends.iter().filter_map(|end| end.srtt.map(micros)).collect(),
        rto_us: record.ends.iter().filter_map(|end| end.rto.map(micros)).collect(),
    };
    let mut measured = Measured {
        invalid: record.invalid.clone(),
        failures: record.failures.clone(),
        metrics,
        delivery: recorded.all.delivery.clone(),
        service: recorded.all.service.clone(),
        ack_rtt: recorded.all.ack_rtt.clone(),
        connect: recorded.connect.clone(),
        lag: recorded.lag.clone(),
        up_delays,
        down_delays,
        gauges,
        causes: recorded.causes.clone(),
        causes_untold: recorded.untold,
        waits_forgotten: recorded.waits_forgotten,
        asked: recorded.asked,
        carried_out: recorded.submitted + recorded.refused,
        in_load: recorded.in_load,
        recorded: Load::of(scenario).length(micros(record.ended.since(record.began))),
    };
    measured.find_faults(&scenario.measure.invalid_if);
    measured.summarise();
    let traces = trace_rows(&record, at);
    let (run, mut deliveries) = run_file(scenario, record, at, &measured);
    for row in &mut deliveries {
        (row.cell, row.repeat) = (at.cell, at.repeat);
    }
    Outcome { run, deliveries, traces }
}

/// What the run leaves behind, and its rows.
fn run_file(
    scenario: &Scenario,
    record: RunRecord,
    at: RunIndex,
    measured: &Measured,
) -> (RunFile, Vec<DeliveryRow>) {
    let ended = record.ended.since(record.began);
    let mut recorded = record.recorded;
    for client in &mut recorded.clients {
        client.srtt_us = record.ends.get(client.client as usize).and_then(|end| end.srtt.map(micros));
    }
    if recorded.sessions.forgotten > 0 {
        recorded.warnings.push(format!(
            "the server had forgotten {} sessions whose clients had not left: they have missed what was said meanwhile, and \
             what they said may have been heard twice",
            recorded.sessions.forgotten
        ));
    }
    let phases = phases(scenario, micros(ended));
    let needed = warmup_needed(&recorded.intervals, first_recorded_ends(&phases));
    let declared = warmup(scenario);
    let mut warnings = recorded.warnings;
    warnings.extend(record.traces.warning());
    if let Some(needed) = needed.filter(|&needed| scenario.measure.warmup_check && needed > declared) {
        warnings.push(format!(
            "latencies settle only after {:.0} s (MSER-5), and the warm-up ends after {:.0} s; make it longer",
            needed as f64 / 1e6,
            declared as f64 / 1e6
        ));
    }
    let run = RunFile {
        schema: records::SCHEMA,
        cell: at.cell,
        repeat: at.repeat,
        phases,
        weather: recorder::weather(scenario, ended),
        links: facts(scenario),
        metrics: measured.metrics.clone(),
        workloads: recorded.workloads,
        all: recorded.all,
        quantiles: recorded.quantiles,
        connect: recorded.connect,
        sessions: SessionCounts { orphans: record.orphans, ..recorded.sessions },
        link_delays: LinkDelays { up: measured.up_delays.clone(), down: measured.down_delays.clone() },
        intervals: recorded.intervals,
        clients: recorded.clients,
        exemplars: recorded.exemplars,
        recoveries: recorded.recoveries,
        health: HealthRecord {
            lag: recorded.lag,
            warmup_needed_us: needed,
            warmup_declared_us: declared,
            hiccups: record.hiccups_us.as_ref().map(Distribution::of).unwrap_or_default(),
            cpu_s: record.cpu_s.clone(),
        },
        invalid: measured.invalid.clone(),
        failures: measured.failures.clone(),
        warnings,
        ..RunFile::default()
    };
    (run, recorded.deliveries)
}

/// The phases as they were: one that was cut off or not reached ends with the run, and so does a drain when everything has
/// settled.
fn phases(scenario: &Scenario, ended_us: u64) -> Vec<PhaseSpan> {
    let mut at = 0;
    let spans = scenario.phases.iter().map(|phase| {
        let from_us = at;
        at += micros(phase.duration);
        let (from_us, until_us) = (from_us.min(ended_us), at.min(ended_us));
        PhaseSpan { name: phase.name.clone(), from_us, until_us, recorded: phase.record }
    });
    spans.collect()
}

/// Warm-up that MSER-5 would cut from the medians of the intervals up to `until_us`, those without one left out; `None` if it
/// cannot say.
fn warmup_needed(intervals: &Intervals, until_us: u64) -> Option<u64> {
    let whole = usize::try_from(until_us / intervals.width_us.max(1)).unwrap_or(usize::MAX);
    let rows = intervals.rows.iter().take(whole).enumerate();
    let (places, medians): (Vec<usize>, Vec<f64>) =
        rows.filter_map(|(place, row)| row.p50_us.map(|us| (place, us as f64))).unzip();
    let cut = mser5(&medians)?;
    // Nothing is cut: what came before the first median says nothing.
    let place = if cut == 0 { 0 } else { *places.get(cut)? };
    Some(place as u64 * intervals.width_us)
}

/// When the first recorded phase ends: beyond it, another load may be meant.
fn first_recorded_ends(phases: &[PhaseSpan]) -> u64 {
    phases.iter().find(|phase| phase.recorded).map_or(0, |phase| phase.until_us)
}

/// Time before the first recorded phase.
fn warmup(scenario: &Scenario) -> u64 {
    let before = scenario.phases.iter().take_while(|phase| !phase.record);
    before.map(|phase| micros(phase.duration)).sum()
}

impl Measured {
    /// Fills in what is computed from the distributions.
    fn summarise(&mut self) {
        let metrics = &mut self.metrics;
        metrics.latency.delivery = summarise(&self.delivery);
        metrics.latency.service = summarise(&self.service);
        metrics.latency.ack_rtt = summarise(&self.ack_rtt);
        metrics.latency.connect = summarise(&self.connect);
        metrics.delay_causes = DelayCauses {
            not_available: self.causes_untold.map(|why| why.to_string()),
            forgotten: self.waits_forgotten,
            ..self.causes.summarise()
        };
        metrics.health.schedule_lag_p50_us = self.lag.quantile(0.5);
        metrics.health.schedule_lag_p99_us = self.lag.quantile(0.99);
        let (up, down) = (&mut metrics.link.up, &mut metrics.link.down);
        (up.delay_p50_us, up.delay_p99_us) = (self.up_delays.quantile(0.5), self.up_delays.quantile(0.99));
        (down.delay_p50_us, down.delay_p99_us) =
            (self.down_delays.quantile(0.5), self.down_delays.quantile(0.99));
        // Without a link nothing was counted, which is not the same as nothing.
        let wire = &mut metrics.wire;
        let per_message = |bytes: u64| {
            (wire.messages > 0 && wire.up_packets + wire.down_packets > 0)
                .then(|| bytes as f64 / wire.messages as f64)
        };
        let (up, down) = (per_message(wire.up_bytes), per_message(wire.down_bytes));
        (wire.up_bytes_per_message, wire.down_bytes_per_message) = (up, down);
        metrics.transport.srtt_us = median(&mut self.gauges.srtt_us);
        metrics.transport.rto_us = median(&mut self.gauges.rto_us);
        let seconds = self.recorded.as_secs_f64();
        if seconds > 0.0 {
            metrics.throughput = Throughput {
                sent_per_s: self.in_load.sent as f64 / seconds,
                delivered_per_s: self.in_load.delivered as f64 / seconds,
                goodput_bytes_per_s: self.in_load.delivered_bytes as f64 / seconds,
            };
        }
    }

    /// Decides whether the generator or the machine was at fault.
    fn find_faults(&mut self, limits: &InvalidIf) {
        let share = self.carried_out as f64 / self.asked.max(1) as f64;
        if self.asked > 0 && share < limits.achieved_rate_below {
            self.invalid.push(format!(
                "only {:.1} % of the schedule was carried out, below {} %; lower the rate or free the machine",
                share * 100.0,
                limits.achieved_rate_below * 100.0
            ));
        }
        let lag = self.lag.quantile(0.99).map(Duration::from_micros);
        if !self.lag.is_empty() && lag.is_none_or(|lag| lag > limits.schedule_lag_p99) {
            let lag =
                lag.map_or("is infinite".to_owned(), |lag| format!("{:.1} ms", lag.as_secs_f64() * 1e3));
            self.invalid.push(format!(
                "the generator was late: p99 of schedule lag {lag}, above {} ms; lower the rate or free the machine",
                limits.schedule_lag_p99.as_secs_f64() * 1e3
            ));
        }
        let hiccup = Duration::from_micros(self.metrics.health.hiccup_max_us.unwrap_or(0));
        if hiccup > limits.hiccup_max {
            self.invalid.push(format!(
                "the machine paused for {:.0} ms, above {} ms; free the machine and run again",
                hiccup.as_secs_f64() * 1e3,
                limits.hiccup_max.as_secs_f64() * 1e3
            ));
        }
        let drops = self.metrics.health.harness_drops;
        if drops > limits.harness_drops {
            self.invalid
                .push(format!("the harness itself lost {drops} packets; lower the rate or free the machine"));
        }
        self.invalid
            .extend(self.metrics.link.self_check_reasons.iter().map(|reason| format!("link: {reason}")));
    }
}

fn transport(record: &RunRecord) -> Transport {
    let mut stats: Stats = record.server;
    record.ends.iter().for_each(|end| stats += &end.stats);
    Transport {
        segments_sent: stats.segments_sent,
        retransmits: stats.retransmits,
        fast_retransmits: stats.fast_retransmits,
        timeouts: stats.timeouts,
        probe_timeouts: stats.probe_timeouts,
        probes: stats.probes,
        spurious: stats.spurious,
        dup_acks: stats.dup_acks,
        redundant_segments: stats.redundant_segments,
        redundant_bytes: stats.redundant_bytes,
        srtt_us: None,
        rto_us: None,
        cwnd_max_bytes: record.ends.iter().map(|end| end.cwnd_max).max().unwrap_or(0),
    }
}

fn trace_rows(record: &RunRecord, at: RunIndex) -> Vec<TraceRow> {
    let mut rows: Vec<TraceRow> = Vec::with_capacity(record.traces.events().len());
    for &(client, side, event) in record.traces.events() {
        if event.at < record.began {
            continue;
        }
        let Some((kind, packet)) = trace_event(event.kind) else {
            continue;
        };
        let metrics = event.metrics;
        rows.push(TraceRow {
            cell: at.cell,
            repeat: at.repeat,
            client,
            side,
            at_us: micros(event.at.since(record.began)),
            event: kind,
            packet,
            cwnd_bytes: metrics.cwnd.as_u64(),
            ssthresh_bytes: metrics.ssthresh.map(|ssthresh| ssthresh.as_u64()),
            in_flight_bytes: metrics.in_flight.as_u64(),
            srtt_us: metrics.srtt.map(micros),
            rttvar_us: metrics.rttvar.map(micros),
            rto_us: micros(metrics.rto),
            min_rtt_us: metrics.min_rtt.map(micros),
            pacing_bps: metrics.pacing_rate.map(|rate| rate.bits_per_second()),
            delivery_bps: metrics.delivery_rate.map(|rate| rate.bits_per_second()),
        });
    }
    rows.sort_by_key(|row| (row.client, row.side == Side::Server, row.at_us));
    rows
}

/// The row of an event; `None` for what only the qlog holds: every packet and timer would swamp the table.
fn trace_event(kind: chat_core::trace::TraceKind) -> Option<(TraceEvent, Option<u64>)> {
    use chat_core::trace::{LossReason, TraceKind};
    Some(match kind {
        TraceKind::Sent { .. } | TraceKind::Received { .. } | TraceKind::Timer { .. } => return None,
        TraceKind::Acked => (TraceEvent::Metrics, None),
        TraceKind::Lost { packet, .. } => (TraceEvent::Lost, Some(packet)),
        TraceKind::Retransmitted { packet, reason: LossReason::PacketThreshold } => {
            (TraceEvent::FastRetransmit, Some(packet))
        }
        TraceKind::Retransmitted { packet, .. } => (TraceEvent::Retransmit, Some(packet)),
        TraceKind::Probed { packet } => (TraceEvent::Probe, Some(packet)),
        TraceKind::TimedOut { .. } => (TraceEvent::Timeout, None),
        // What follows shows in the metrics of the row.
        TraceKind::ProbeTimeout { .. }
        | TraceKind::Undone
        | TraceKind::PersistentCongestion
        | TraceKind::EcnFailed => (TraceEvent::Metrics, None),
        TraceKind::Spurious { packet } => (TraceEvent::Spurious, Some(packet)),
        TraceKind::Rebound => (TraceEvent::Rebind, None),
    })
}

fn median(values: &mut [u64]) -> Option<u64> {
    values.sort_unstable();
    values.get(values.len().checked_sub(1)? / 2).copied()
}

/// Whole microseconds.
pub(crate) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// Microseconds since the run began; what came before is at zero.
pub(crate) fn since_began(began: Timestamp, at: Timestamp) -> u64 {
    // In one go, not by way of a `Duration`: this is most of the arithmetic of a delivery.
    at.as_nanos().saturating_sub(began.as_nanos()) / 1_000
}
