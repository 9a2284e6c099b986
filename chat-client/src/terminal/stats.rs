//! The answer to `/stats`: how the connection is doing, seen from both ends.

use std::fmt;
use std::time::Duration;

use chat_client::session::Session;
use chat_core::connection::Stats;
use chat_core::trace::Metrics;
use serde::Deserialize;
use units::ByteCount;

/// One end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Snapshot {
    metrics: Metrics,
    stats: Stats,
    reconnects: u64,
}

impl Snapshot {
    pub(crate) fn of(session: &Session) -> Self {
        let connection = session.connection();
        Self { metrics: connection.metrics(), stats: *connection.stats(), reconnects: session.reconnects() }
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metrics, stats, reconnects } = self;
        writeln!(
            f,
            "  to the server:  round trip {}, timeout {}, window {}, {} in flight",
            span(metrics.srtt),
            span(Some(metrics.rto)),
            bytes(metrics.cwnd),
            bytes(metrics.in_flight)
        )?;
        writeln!(
            f,
            "                  {} packets sent, {} again, {} timeouts, {reconnects} reconnects",
            stats.segments_sent, stats.retransmits, stats.timeouts
        )
    }
}

/// The parts of the server's answer that are shown. Others may be there.
#[derive(Debug, Deserialize)]
struct Answer {
    you: You,
    server: Server,
}

#[derive(Debug, Deserialize)]
struct You {
    srtt_us: Option<u64>,
    rto_us: u64,
    cwnd_bytes: u64,
    in_flight_bytes: u64,
    transport: Transport,
}

#[derive(Debug, Deserialize)]
struct Transport {
    segments_sent: u64,
    retransmits: u64,
    timeouts: u64,
}

#[derive(Debug, Deserialize)]
struct Server {
    clients: u64,
    rooms: u64,
    uptime_s: f64,
}

/// What the server answered, in lines.
pub(crate) fn render(answer: &serde_json::Value) -> String {
    let Ok(Answer { you, server }) = Answer::deserialize(answer) else {
        return "  the server's answer is not one that this client knows\n".to_owned();
    };
    format!(
        "  from the server: round trip {}, timeout {}, window {}, {} in flight\n\
         \x20                 {} packets sent, {} again, {} timeouts\n\
         \x20 the server:     {} here, {} {}, up for {}\n",
        span(you.srtt_us.map(Duration::from_micros)),
        span(Some(Duration::from_micros(you.rto_us))),
        bytes(ByteCount(you.cwnd_bytes)),
        bytes(ByteCount(you.in_flight_bytes)),
        you.transport.segments_sent,
        you.transport.retransmits,
        you.transport.timeouts,
        server.clients,
        server.rooms,
        if server.rooms == 1 { "room" } else { "rooms" },
        uptime(server.uptime_s),
    )
}

/// To a tenth of a KiB; the exact number tells a person nothing.
fn bytes(count: ByteCount) -> String {
    match count.as_u64() {
        few @ ..1024 => format!("{few} B"),
        many => format!("{:.1} KiB", many as f64 / 1024.0),
    }
}

/// To a tenth of a millisecond.
fn span(span: Option<Duration>) -> String {
    match span {
        Some(span) if span < Duration::from_secs(1) => format!("{:.1} ms", span.as_secs_f64() * 1e3),
        Some(span) => format!("{:.2} s", span.as_secs_f64()),
        None => "not measured yet".to_owned(),
    }
}

fn uptime(seconds: f64) -> String {
    let minutes = (seconds / 60.0) as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_becomes_three_lines() {
        let answer = serde_json::json!({
            "reply_to": "alice-1",
            "you": {"srtt_us": 12_345, "rto_us": 200_000, "cwnd_bytes": 11_850, "in_flight_bytes": 0,
                "transport": {"segments_sent": 5, "retransmits": 1, "timeouts": 0, "new": 7}},
            "server": {"clients": 3, "rooms": 1, "uptime_s": 7384.2},
        });
        let lines = render(&answer);
        assert!(
            lines.contains("round trip 12.3 ms, timeout 200.0 ms, window 11.6 KiB, 0 B in flight"),
            "{lines}"
        );
        assert!(lines.ends_with("3 here, 1 room, up for 2 h 3 min\n"), "{lines}");
    }

    #[test]
    fn an_answer_of_another_shape_is_said_to_be_one() {
        assert!(render(&serde_json::json!({"you": 1})).contains("not one that this client knows"));
    }
}
