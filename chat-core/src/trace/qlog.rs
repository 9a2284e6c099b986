//! Traces as qlog, for the tools of the QUIC world
//! (<https://datatracker.ietf.org/doc/draft-ietf-quic-qlog-main-schema/>,
//! <https://datatracker.ietf.org/doc/draft-ietf-quic-qlog-quic-events/>).
//!
//! The file is a JSON text sequence (RFC 7464): each record is a record separator, one JSON object, a line feed. Our
//! transport is not QUIC, but its recovery events mean the same and carry the same names, so that qvis and others draw
//! them; what QUIC has no word for is in the namespace `squall`. [`Dialect::Qvis`] writes the older names and puts
//! `qlog_version` first, because qvis looks at the first bytes of a file to tell what it is.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value, json};
use units::Timestamp;

use super::{LossReason, Metrics, TimerKind, TraceEvent, TraceKind};
use crate::congestion::State;

/// Which names are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// Those of the current drafts.
    #[default]
    Current,
    /// Those that qvis reads: qlog 0.3, `recovery:` and `transport:`.
    Qvis,
}

/// Whose connection a file is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// For people.
    pub title: String,
    /// The end that was observed, such as `alice` or `server`.
    pub name: String,
    pub is_client: bool,
}

/// Writes one trace: a header, then events in the order in which they are given.
#[derive(Clone, Debug)]
pub struct Writer {
    dialect: Dialect,
    last: Option<Metrics>,
}

impl Writer {
    /// Appends the header to `out`.
    pub fn begin(dialect: Dialect, subject: &Subject, out: &mut Vec<u8>) -> Self {
        let vantage =
            Vantage { name: &subject.name, kind: if subject.is_client { "client" } else { "server" } };
        match dialect {
            Dialect::Current => put_record(
                out,
                &Header {
                    file_schema: "urn:ietf:params:qlog:file:sequential",
                    serialization_format: "application/qlog+json-seq",
                    title: &subject.title,
                    trace: HeaderTrace {
                        title: &subject.title,
                        vantage_point: vantage,
                        event_schemas: &EVENT_SCHEMAS,
                        common_fields: json!({
                            "time_format": "relative_to_epoch",
                            "reference_time": { "clock_type": "monotonic", "epoch": "unknown" },
                        }),
                    },
                },
            ),
            Dialect::Qvis => put_record(
                out,
                &QvisHeader {
                    qlog_version: "0.3",
                    qlog_format: "JSON-SEQ",
                    title: &subject.title,
                    trace: QvisTrace {
                        vantage_point: vantage,
                        common_fields: json!({ "time_format": "relative", "reference_time": 0 }),
                    },
                },
            ),
        }
        Self { dialect, last: None }
    }

    /// Appends what `event` says: itself, then the metrics that changed with it.
    pub fn event(&mut self, event: &TraceEvent, out: &mut Vec<u8>) {
        if let Some((name, data)) = self.own(event) {
            self.put(event.at, name, data, out);
        }
        let before = self.last.replace(event.metrics);
        if before.is_none_or(|before| before.state != event.metrics.state) {
            let mut data = json!({ "new": state_name(event.metrics.state) });
            if let Some(before) = before {
                data["old"] = state_name(before.state).into();
            }
            self.put(event.at, "recovery:congestion_state_updated", data, out);
        }
        let changed = changed(before.as_ref(), &event.metrics);
        if !changed.is_empty() {
            self.put(event.at, "recovery:metrics_updated", Value::Object(changed), out);
        }
    }

    /// Appends that the network was changed from outside at `at`: another loss, delay or rate of the emulator.
    pub fn marker(&self, at: Timestamp, message: &str, out: &mut Vec<u8>) {
        self.put(at, "simulation:marker", json!({ "type": "network", "message": message }), out);
    }

    /// Appends what the emulator does, once at the beginning.
    pub fn scenario(&self, at: Timestamp, name: &str, details: Value, out: &mut Vec<u8>) {
        self.put(at, "simulation:scenario", json!({ "name": name, "details": details }), out);
    }

    fn own(&self, event: &TraceEvent) -> Option<(&'static str, Value)> {
        let header = |packet: u64| json!({ "packet_type": "1RTT", "packet_number": packet });
        Some(match event.kind {
            TraceKind::Sent { packet, size } => (
                "transport:packet_sent",
                json!({ "header": header(packet), "raw": { "length": size.as_u64() } }),
            ),
            TraceKind::Received { packet } => {
                ("transport:packet_received", json!({ "header": header(packet) }))
            }
            TraceKind::Lost { packet, reason } => {
                ("recovery:packet_lost", json!({ "header": header(packet), "trigger": trigger(reason) }))
            }
            TraceKind::Retransmitted { packet, reason } => (
                "recovery:marked_for_retransmit",
                json!({ "frames": [], "packet_number": packet, "trigger": trigger(reason) }),
            ),
            TraceKind::Timer { kind, set: Some(after) } => (
                "recovery:loss_timer_updated",
                json!({ "timer_type": timer_name(kind), "event_type": "set", "delta": ms(after) }),
            ),
            TraceKind::Timer { kind, set: None } => (
                "recovery:loss_timer_updated",
                json!({ "timer_type": timer_name(kind), "event_type": "cancelled" }),
            ),
            TraceKind::Probed { packet } => ("squall:probed", json!({ "packet_number": packet })),
            TraceKind::TimedOut { count } => (
                "recovery:loss_timer_updated",
                json!({ "timer_type": "pto", "event_type": "expired", "count": count }),
            ),
            TraceKind::ProbeTimeout { count } => (
                "recovery:loss_timer_updated",
                json!({ "timer_type": "pto", "event_type": "expired", "count": count }),
            ),
            TraceKind::Undone => ("squall:reduction_undone", json!({})),
            TraceKind::PersistentCongestion => ("squall:persistent_congestion", json!({})),
            TraceKind::EcnFailed => ("squall:ecn_failed", json!({})),
            TraceKind::Spurious { packet } => ("squall:spurious_loss", json!({ "packet_number": packet })),
            TraceKind::Rebound => ("squall:rebound", json!({})),
            TraceKind::Acked => return None,
        })
    }

    fn put(&self, at: Timestamp, name: &'static str, data: Value, out: &mut Vec<u8>) {
        let name = match self.dialect {
            Dialect::Qvis => name,
            Dialect::Current => current_name(name),
        };
        put_record(out, &Record { time: at.as_nanos() as f64 / 1e6, name, data });
    }
}

/// The names of the current drafts, by those of qlog 0.3.
fn current_name(name: &'static str) -> &'static str {
    match name {
        "transport:packet_sent" => "quic:packet_sent",
        "transport:packet_received" => "quic:packet_received",
        "recovery:packet_lost" => "quic:packet_lost",
        "recovery:marked_for_retransmit" => "quic:marked_for_retransmit",
        "recovery:loss_timer_updated" => "quic:timer_updated",
        "recovery:congestion_state_updated" => "quic:congestion_state_updated",
        "recovery:metrics_updated" => "quic:recovery_metrics_updated",
        other => other,
    }
}

/// The metrics that differ from `before`; all that are known if there is none.
fn changed(before: Option<&Metrics>, now: &Metrics) -> Map<String, Value> {
    let then = before.map(fields);
    let now = fields(now);
    let kept = now.into_iter().filter(|(name, value)| {
        !value.is_null() && then.as_ref().is_none_or(|then| then.get(*name) != Some(value))
    });
    kept.map(|(name, value)| (name.to_owned(), value)).collect()
}

fn fields(metrics: &Metrics) -> std::collections::BTreeMap<&'static str, Value> {
    let bytes = |count: units::ByteCount| Value::from(count.as_u64());
    [
        ("congestion_window", bytes(metrics.cwnd)),
        ("ssthresh", metrics.ssthresh.map_or(Value::Null, bytes)),
        ("bytes_in_flight", bytes(metrics.in_flight)),
        ("packets_in_flight", metrics.packets_in_flight.into()),
        ("latest_rtt", optional_ms(metrics.latest_rtt)),
        ("min_rtt", optional_ms(metrics.min_rtt)),
        ("smoothed_rtt", optional_ms(metrics.srtt)),
        ("rtt_variance", optional_ms(metrics.rttvar)),
        ("pto_count", metrics.pto_count.into()),
        ("pacing_rate", rate(metrics.pacing_rate)),
        ("delivery_rate", rate(metrics.delivery_rate)),
        ("rto_ms", ms(metrics.rto)),
    ]
    .into()
}

/// Bits a second, as qlog counts rates.
fn rate(rate: Option<units::Bitrate>) -> Value {
    rate.map_or(Value::Null, |rate| rate.bits_per_second().into())
}

fn optional_ms(span: Option<Duration>) -> Value {
    span.map_or(Value::Null, ms)
}

/// Milliseconds with three decimals, as qlog counts.
fn ms(span: Duration) -> Value {
    Value::from(span.as_micros() as f64 / 1e3)
}

fn trigger(reason: LossReason) -> &'static str {
    match reason {
        LossReason::PacketThreshold => "reordering_threshold",
        LossReason::TimeThreshold => "time_threshold",
        LossReason::Timeout => "pto_expired",
        LossReason::Nack => "squall_damaged",
        LossReason::Rebind => "squall_rebind",
    }
}

fn timer_name(kind: TimerKind) -> &'static str {
    match kind {
        TimerKind::Ack => "ack",
        TimerKind::Loss => "loss_timeout",
        TimerKind::Probe => "pto",
    }
}

fn state_name(state: State) -> &'static str {
    match state {
        State::SlowStart => "slow_start",
        State::ConservativeSlowStart => "conservative_slow_start",
        State::CongestionAvoidance => "congestion_avoidance",
        State::FastRecovery => "recovery",
        State::Startup => "bbr_startup",
        State::Drain => "bbr_drain",
        State::ProbeBwDown => "bbr_probe_bw_down",
        State::ProbeBwCruise => "bbr_probe_bw_cruise",
        State::ProbeBwRefill => "bbr_probe_bw_refill",
        State::ProbeBwUp => "bbr_probe_bw_up",
        State::ProbeRtt => "bbr_probe_rtt",
    }
}

fn put_record(out: &mut Vec<u8>, record: &impl Serialize) {
    out.push(RECORD_SEPARATOR);
    serde_json::to_writer(&mut *out, record).expect("writing to memory does not fail");
    out.push(b'\n');
}

#[derive(Serialize)]
struct Record {
    time: f64,
    name: &'static str,
    data: Value,
}

#[derive(Serialize)]
struct Header<'a> {
    file_schema: &'static str,
    serialization_format: &'static str,
    title: &'a str,
    trace: HeaderTrace<'a>,
}

#[derive(Serialize)]
struct HeaderTrace<'a> {
    title: &'a str,
    vantage_point: Vantage<'a>,
    event_schemas: &'static [&'static str],
    common_fields: Value,
}

#[derive(Serialize)]
struct QvisHeader<'a> {
    qlog_version: &'static str,
    qlog_format: &'static str,
    title: &'a str,
    trace: QvisTrace<'a>,
}

#[derive(Serialize)]
struct QvisTrace<'a> {
    vantage_point: Vantage<'a>,
    common_fields: Value,
}

#[derive(Serialize)]
struct Vantage<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// RFC 7464 section 2.
const RECORD_SEPARATOR: u8 = 0x1e;
/// Ours holds what the others have no word for.
const EVENT_SCHEMAS: [&str; 3] = [
    "urn:ietf:params:qlog:events:quic",
    "urn:ietf:params:qlog:events:simulation",
    "urn:squall:qlog:events:squall",
];

#[cfg(test)]
mod tests {
    use units::ByteCount;

    use super::*;

    fn metrics(cwnd: u64) -> Metrics {
        Metrics {
            cwnd: ByteCount(cwnd),
            ssthresh: None,
            in_flight: ByteCount(1200),
            packets_in_flight: 1,
            latest_rtt: Some(Duration::from_micros(50_125)),
            min_rtt: Some(Duration::from_millis(50)),
            srtt: Some(Duration::from_millis(50)),
            rttvar: Some(Duration::from_millis(25)),
            rto: Duration::from_millis(200),
            pto_count: 0,
            pacing_rate: units::Bitrate::from_bits_per_second(8_000_000),
            delivery_rate: None,
            state: State::SlowStart,
        }
    }

    fn written(dialect: Dialect, kinds: &[(TraceKind, u64)]) -> Vec<Value> {
        let subject = Subject { title: "a run".to_owned(), name: "alice".to_owned(), is_client: true };
        let mut out = Vec::new();
        let mut writer = Writer::begin(dialect, &subject, &mut out);
        for (at, &(kind, cwnd)) in (1..).zip(kinds) {
            let event = TraceEvent { at: Timestamp::from_micros(1500 * at), kind, metrics: metrics(cwnd) };
            writer.event(&event, &mut out);
        }
        writer.marker(Timestamp::from_secs(1), "loss=20%", &mut out);
        let text = String::from_utf8(out).unwrap();
        let records = text.split_terminator('\n');
        let parse = |record: &str| serde_json::from_str(record.strip_prefix('\u{1e}').unwrap()).unwrap();
        records.map(parse).collect()
    }

    fn names(records: &[Value]) -> Vec<&str> {
        records.iter().skip(1).map(|record| record["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_file_is_a_sequence_of_records_with_a_header() {
        let records = written(Dialect::Current, &[]);
        assert_eq!(records[0]["file_schema"], "urn:ietf:params:qlog:file:sequential");
        assert_eq!(records[0]["trace"]["vantage_point"]["type"], "client");
        assert_eq!(names(&records), ["simulation:marker"]);
        assert_eq!(records[1]["time"], 1000.0);
    }

    #[test]
    fn only_metrics_that_changed_are_written_again() {
        let sent = TraceKind::Sent { packet: 1, size: ByteCount(300) };
        let records = written(
            Dialect::Current,
            &[(sent, 12_000), (TraceKind::Acked, 12_000), (TraceKind::Acked, 13_200)],
        );
        assert_eq!(
            names(&records),
            [
                "quic:packet_sent",
                "quic:congestion_state_updated",
                "quic:recovery_metrics_updated",
                "quic:recovery_metrics_updated",
                "simulation:marker",
            ]
        );
        assert_eq!(records[1]["time"], 1.5);
        assert_eq!(records[3]["data"]["latest_rtt"], 50.125);
        assert_eq!(records[4]["data"], json!({ "congestion_window": 13_200 }));
    }

    #[test]
    fn every_trigger_of_a_loss_has_its_name() {
        let lost = |reason| (TraceKind::Lost { packet: 7, reason }, 12_000);
        let reasons = [LossReason::PacketThreshold, LossReason::TimeThreshold, LossReason::Timeout];
        let records = written(Dialect::Current, &reasons.map(lost));
        let lost = records.iter().filter(|record| record["name"] == "quic:packet_lost");
        let triggers: Vec<&str> = lost.map(|record| record["data"]["trigger"].as_str().unwrap()).collect();
        assert_eq!(triggers, ["reordering_threshold", "time_threshold", "pto_expired"]);
    }

    #[test]
    fn qvis_is_told_by_the_first_bytes_and_reads_the_older_names() {
        let subject = Subject { title: "t".to_owned(), name: "server".to_owned(), is_client: false };
        let mut out = Vec::new();
        Writer::begin(Dialect::Qvis, &subject, &mut out);
        assert!(out.starts_with(b"\x1e{\"qlog_version\":\"0.3\",\"qlog_format\":\"JSON-SEQ\""));
        let records = written(Dialect::Qvis, &[(TraceKind::Received { packet: 3 }, 12_000)]);
        assert_eq!(
            names(&records),
            [
                "transport:packet_received",
                "recovery:congestion_state_updated",
                "recovery:metrics_updated",
                "simulation:marker",
            ]
        );
    }
}
