//! The counters as Prometheus reads them: text format 0.0.4.
//!
//! One table names every number of [`ServerStats`] once, with its kind and its meaning; a test compares the table with
//! the fields, so a new counter cannot be forgotten. Format: <https://prometheus.io/docs/instrumenting/exposition_formats/>.

use std::fmt::Write as _;

use serde_json::Value;

use crate::control::ServerStats;

/// `stats` as a page of metrics.
pub(crate) fn render(stats: &ServerStats) -> String {
    let stats = serde_json::to_value(stats).unwrap_or_default();
    let mut page = String::new();
    for metric in METRICS {
        // What is not there (no simulation so far, no end of it) has no sample.
        let Some(value) = stats.pointer(metric.path).and_then(number) else {
            continue;
        };
        let (name, kind) = (metric.name(), metric.kind());
        // Writing to a string cannot fail.
        let _ = writeln!(page, "# HELP {name} {}\n# TYPE {name} {kind}\n{name} {value}", metric.help);
    }
    page
}

/// One number of the statistics.
struct Metric {
    /// JSON pointer into [`ServerStats`].
    path: &'static str,
    /// Without prefix; counters end in `_total`.
    name: &'static str,
    help: &'static str,
}

impl Metric {
    fn name(&self) -> String {
        format!("squall_{}", self.name)
    }

    fn kind(&self) -> &'static str {
        if self.name.ends_with("_total") { "counter" } else { "gauge" }
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Bool(yes) => Some(f64::from(u8::from(*yes))),
        other => other.as_f64(),
    }
}

const fn metric(path: &'static str, name: &'static str, help: &'static str) -> Metric {
    Metric { path, name, help }
}

const METRICS: &[Metric] = &[
    metric("/uptime_s", "uptime_seconds", "Seconds since the server's clock began."),
    metric("/clients", "clients", "Sessions with a live carrier."),
    metric("/detached", "detached_sessions", "Sessions waiting for their client to come back."),
    metric("/peers", "peers", "Open carriers, with or without a session."),
    metric("/rooms", "rooms", "Rooms."),
    metric("/draining", "draining", "1 while the server shuts down."),
    metric("/outbox_max", "outbox_max_messages", "Messages waiting in the fullest outbox."),
    metric("/chat/lines_in", "chat_lines_in_total", "Lines taken in: chat, private and broadcast."),
    metric("/chat/lines_out", "chat_lines_out_total", "Copies of lines handed on to recipients."),
    metric("/chat/errors", "chat_errors_total", "Requests answered with an error."),
    metric("/chat/unknown_types", "chat_unknown_types_total", "Messages of an unknown type."),
    metric("/events/peers_accepted", "peers_accepted_total", "Carriers accepted."),
    metric("/events/peers_refused", "peers_refused_total", "Carriers refused at the limit on peers."),
    metric("/events/sessions_started", "sessions_started_total", "Sessions started."),
    metric("/events/sessions_resumed", "sessions_resumed_total", "Sessions resumed on another carrier."),
    metric("/events/sessions_expired", "sessions_expired_total", "Sessions whose client did not come back."),
    metric(
        "/events/sessions_expired_messages",
        "sessions_expired_messages_total",
        "Messages that waited for those clients.",
    ),
    metric("/events/hellos_stale", "hellos_stale_total", "Late copies of hellos, not answered."),
    metric(
        "/events/hellos_refused",
        "hellos_refused_total",
        "Hellos refused: bad or taken name, wrong version.",
    ),
    metric("/events/hello_timeouts", "hello_timeouts_total", "Peers that did not say hello in time."),
    metric("/events/malformed", "malformed_frames_total", "Bodies that are no frames of this protocol."),
    metric("/events/frames_too_long", "frames_too_long_total", "Length prefixes above the limit."),
    metric("/events/bad_checksums", "bad_checksums_total", "Frames with a wrong checksum."),
    metric("/events/hello_first", "hello_first_total", "Frames before hello."),
    metric("/events/violations", "violations_total", "Acks or channels that break the protocol."),
    metric("/events/slow_consumers", "slow_consumers_total", "Sessions ended because they did not keep up."),
    metric(
        "/events/slow_consumer_messages",
        "slow_consumer_messages_total",
        "Messages that were waiting for slow consumers when their sessions ended.",
    ),
    metric("/events/kicked", "kicked_total", "Sessions ended by an operator."),
    metric("/events/path_challenges", "path_challenges_total", "Questions whether a peer has moved."),
    metric("/events/paths_moved", "paths_moved_total", "Peers that were followed to another address."),
    metric("/events/paths_failed", "paths_failed_total", "New addresses of peers that did not answer."),
    metric(
        "/events/paths_refuted",
        "paths_refuted_total",
        "New addresses of peers that answered from their old one.",
    ),
    metric("/transport/messages_out", "transport_messages_out_total", "Messages given to connections."),
    metric("/transport/messages_acked", "transport_messages_acked_total", "Messages acknowledged whole."),
    metric(
        "/transport/messages_failed",
        "transport_messages_failed_total",
        "Messages given up after the last attempt.",
    ),
    metric("/transport/messages_in", "transport_messages_in_total", "Messages received, once and in order."),
    metric(
        "/transport/segments_sent",
        "transport_segments_sent_total",
        "Segments sent, retransmissions included.",
    ),
    metric("/transport/retransmits", "transport_retransmits_total", "Segments sent again, probes included."),
    metric(
        "/transport/fast_retransmits",
        "transport_fast_retransmits_total",
        "Segments sent again because three later packets were acknowledged.",
    ),
    metric("/transport/timeouts", "transport_timeouts_total", "Times a retransmission timer fired."),
    metric("/transport/probes", "transport_probes_total", "Tail probes sent."),
    metric("/transport/packets_lost", "transport_packets_lost_total", "Packets declared lost."),
    metric(
        "/transport/spurious",
        "transport_spurious_total",
        "Packets declared lost and acknowledged after all.",
    ),
    metric("/transport/dup_acks", "transport_dup_acks_total", "Acks above a hole that did not move it."),
    metric("/transport/acks_sent", "transport_acks_sent_total", "Ack frames sent."),
    metric("/transport/packets_received", "transport_packets_received_total", "Numbered packets received."),
    metric("/transport/duplicate_packets", "transport_duplicate_packets_total", "Packets received twice."),
    metric(
        "/transport/duplicate_messages",
        "transport_duplicate_messages_total",
        "Messages received twice, dropped.",
    ),
    metric(
        "/transport/refused_no_room",
        "transport_refused_no_room_total",
        "Messages not taken: receive window full.",
    ),
    metric(
        "/transport/checksum_errors",
        "transport_checksum_errors_total",
        "Frames of sessions that came damaged.",
    ),
    metric(
        "/transport/span_stalls",
        "transport_span_stalls_total",
        "Times that sending stopped for an old message of a channel.",
    ),
    metric(
        "/transport/redundant_segments",
        "transport_redundant_segments_total",
        "Copies of segments sent before these were known to be lost.",
    ),
    metric("/transport/redundant_bytes", "transport_redundant_bytes_total", "Bytes of those copies."),
    metric("/transport/rescued", "transport_rescued_total", "Segments that a copy saved."),
    metric(
        "/transport/copies_withheld",
        "transport_copies_withheld_total",
        "Copies left out for want of room.",
    ),
    metric(
        "/transport/messages_outdated",
        "transport_messages_outdated_total",
        "Messages dropped because a newer one had arrived.",
    ),
    metric("/transport/ecn_ce", "transport_ecn_ce_total", "Datagrams marked by a congested router."),
    metric(
        "/transport/length_probes",
        "transport_length_probes_total",
        "Packets sent to find out how long a datagram a path carries.",
    ),
    metric(
        "/transport/black_holes",
        "transport_black_holes_total",
        "Times that a path stopped carrying the length it had carried.",
    ),
    metric("/transport/probe_timeouts", "transport_probe_timeouts_total", "Times the probe timer fired."),
    metric(
        "/transport/undone",
        "transport_undone_total",
        "Reductions of a window given back: each of their losses was spurious.",
    ),
    metric(
        "/transport/persistent_congestion",
        "transport_persistent_congestion_total",
        "Times that everything sent over a long time was lost.",
    ),
    metric(
        "/transport/ecn_ce_told",
        "transport_ecn_ce_told_total",
        "Packets that clients report as marked by a congested router.",
    ),
    metric(
        "/transport/ecn_failures",
        "transport_ecn_failures_total",
        "Paths that turned out to spoil ECN marks.",
    ),
    metric(
        "/transport/acks_numbered",
        "transport_acks_numbered_total",
        "Acks sent in a packet that is itself acknowledged.",
    ),
    metric("/transport/bytes_sent", "transport_bytes_sent_total", "Bytes of frame bodies sent."),
    metric(
        "/transport/trace_overflow",
        "transport_trace_overflow_total",
        "Trace events lost in connections.",
    ),
    metric("/net/stream_bytes_in", "stream_received_bytes_total", "Bytes received on TCP."),
    metric("/net/stream_bytes_out", "stream_sent_bytes_total", "Bytes given to TCP connections."),
    metric("/net/datagrams_in", "datagrams_received_total", "Datagrams received."),
    metric("/net/datagram_bytes_in", "datagram_received_bytes_total", "Bytes received in datagrams."),
    metric("/net/datagrams_out", "datagrams_sent_total", "Datagrams sent."),
    metric("/net/datagram_bytes_out", "datagram_sent_bytes_total", "Bytes sent in datagrams."),
    metric(
        "/net/datagrams_malformed",
        "datagrams_malformed_total",
        "Datagrams not of this protocol, dropped.",
    ),
    metric(
        "/net/datagrams_unencrypted",
        "datagrams_unencrypted_total",
        "Datagrams of newcomers who do not encrypt, where they must.",
    ),
    metric("/net/datagrams_sealed", "datagrams_sealed_total", "Sealed datagrams sent."),
    metric("/net/datagrams_opened", "datagrams_opened_total", "Sealed datagrams opened."),
    metric("/net/datagrams_replayed", "datagrams_replayed_total", "Sealed datagrams that came again."),
    metric("/net/datagrams_forged", "datagrams_forged_total", "Sealed datagrams that did not open."),
    metric("/net/handshakes_failed", "handshakes_failed_total", "Handshakes of TLS that failed."),
    metric(
        "/net/datagrams_withheld",
        "datagrams_withheld_total",
        "Datagrams not sent to addresses that had not proved themselves.",
    ),
    metric("/net/datagram_send_calls", "datagram_send_calls_total", "System calls that sent datagrams."),
    metric(
        "/net/datagrams_overrun",
        "datagrams_overrun_total",
        "Datagrams the kernel dropped at a full receive buffer.",
    ),
    metric("/net/retries_sent", "retries_sent_total", "Address tokens given to strangers."),
    metric("/net/retries_withheld", "retries_withheld_total", "Strangers left without an answer."),
    metric("/net/tokens_accepted", "tokens_accepted_total", "Strangers who proved their address."),
    metric("/net/tokens_refused", "tokens_refused_total", "Address tokens forged, misplaced or too old."),
    metric("/net/datagram_send_errors", "datagram_send_errors_total", "Datagrams the kernel did not take."),
    metric(
        "/net/datagram_receive_errors",
        "datagram_receive_errors_total",
        "Errors while receiving datagrams.",
    ),
    metric(
        "/net/write_queue_full",
        "write_queue_full_total",
        "Connections closed at the bound of their write queue.",
    ),
    metric("/net/accept_errors", "accept_errors_total", "Accepts that failed for want of resources."),
    metric("/net/traces_dropped", "traces_dropped_total", "Trace events that nobody took in time."),
    metric("/simulation/active", "simulation_active", "1 while weather is simulated."),
    metric("/simulation/loss_percent", "simulation_loss_percent", "Simulated loss in each direction."),
    metric("/simulation/delay_ms", "simulation_delay_milliseconds", "Simulated delay in each direction."),
    metric(
        "/simulation/ends_in_s",
        "simulation_ends_in_seconds",
        "Seconds until the simulation ends by itself.",
    ),
    metric(
        "/simulation/counters/up_offered",
        "simulation_up_offered_total",
        "Packets from clients that met the weather.",
    ),
    metric("/simulation/counters/up_dropped", "simulation_up_dropped_total", "Of these, dropped."),
    metric(
        "/simulation/counters/down_offered",
        "simulation_down_offered_total",
        "Packets to clients that met the weather.",
    ),
    metric("/simulation/counters/down_dropped", "simulation_down_dropped_total", "Of these, dropped."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use units::{Probability, Seed, Timestamp};

    use super::*;
    use crate::engine::{Engine, EngineConfig, Simulation};

    #[test]
    fn every_number_of_the_statistics_is_a_metric() {
        let stats = serde_json::to_value(stats()).unwrap();
        let mut fields = BTreeSet::new();
        collect("", &stats, &mut fields);
        let named: BTreeSet<String> = METRICS.iter().map(|metric| metric.path.to_owned()).collect();
        assert_eq!(fields, named);
    }

    #[test]
    fn every_sample_has_help_and_type_and_a_name_of_its_own() {
        let page = render(&stats());
        let samples: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(samples.len(), METRICS.len());
        for sample in &samples {
            let name = sample.split(' ').next().unwrap();
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            assert!(page.contains(&format!("# HELP {name} ")), "{name}");
            assert!(page.contains(&format!("# TYPE {name} {kind}\n")), "{name}");
        }
        let names: BTreeSet<&str> = METRICS.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), METRICS.len());
    }

    #[test]
    fn the_reference_lists_every_metric() {
        let reference = include_str!("../../../docs/ADMIN.md");
        for metric in METRICS {
            assert!(
                reference.contains(&format!("`{}`", metric.name())),
                "{} is not in ADMIN.md",
                metric.name()
            );
        }
    }

    fn stats() -> ServerStats {
        let mut engine = Engine::new(EngineConfig::new(Seed::root(1)));
        let duration = Some(std::time::Duration::from_secs(30));
        let simulation = Simulation { loss: Probability::ONE, delay: std::time::Duration::ZERO, duration };
        engine.simulate(Timestamp::ZERO, Some(simulation));
        engine.stats(Timestamp::ZERO)
    }

    fn collect(path: &str, value: &Value, fields: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    collect(&format!("{path}/{name}"), member, fields);
                }
            }
            _ => {
                fields.insert(path.to_owned());
            }
        }
    }
}
