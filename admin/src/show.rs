//! The answers as text: one block of named lines, or one table.

use chat_server::control::{ClientInfo, ServerStats, SimulationStatus, plain_text};

use crate::text::{Align, bytes, count, micros, plural, share, span, table};

/// `stats`.
pub(crate) fn stats(stats: &ServerStats) -> String {
    let ServerStats { chat, transport, net, events, .. } = stats;
    let state = if stats.draining { "shutting down" } else { "running" };
    let lines = [
        ("server", format!("{state}, up {}", span(stats.uptime_s))),
        (
            "clients",
            format!(
                "{} connected, {} waiting to resume, {}, {}",
                count(stats.clients),
                count(stats.detached),
                plural(stats.peers, "connection"),
                plural(stats.rooms, "room")
            ),
        ),
        (
            "sessions",
            format!(
                "{} started, {} resumed, {} expired, {} kicked",
                count(events.sessions_started),
                count(events.sessions_resumed),
                count(events.sessions_expired),
                count(events.kicked)
            ),
        ),
        (
            "chat",
            format!(
                "{} in, {} out, {} refused",
                plural(chat.lines_in, "line"),
                plural(chat.lines_out, "line"),
                plural(chat.errors, "request")
            ),
        ),
        (
            "transport",
            format!(
                "{} sent, {} of them again ({}), {}",
                plural(transport.segments_sent, "segment"),
                count(transport.retransmits),
                share(transport.retransmits, transport.segments_sent),
                plural(transport.timeouts, "timeout")
            ),
        ),
        (
            "messages",
            format!(
                "{} sent, {} acknowledged, {} given up, fullest outbox {}",
                count(transport.messages_out),
                count(transport.messages_acked),
                count(transport.messages_failed),
                count(stats.outbox_max)
            ),
        ),
        (
            "tcp",
            format!("{} in, {} out", bytes(net.stream_bytes_in as f64), bytes(net.stream_bytes_out as f64)),
        ),
        (
            "udp",
            format!(
                "{} in ({} datagrams), {} out ({})",
                bytes(net.datagram_bytes_in as f64),
                count(net.datagrams_in),
                bytes(net.datagram_bytes_out as f64),
                count(net.datagrams_out)
            ),
        ),
        ("bad input", counted(&bad_input(stats))),
        ("limits hit", counted(&limits_hit(stats))),
        ("simulation", simulation(stats.simulation.as_ref())),
    ];
    lines.iter().map(|(name, text)| format!("{name:<NAME_WIDTH$}{text}\n")).collect()
}

/// What peers sent that no peer should.
pub(crate) fn bad_input(stats: &ServerStats) -> Vec<(&'static str, u64)> {
    let events = &stats.events;
    vec![
        ("malformed", events.malformed + stats.net.datagrams_malformed),
        ("bad checksums", events.bad_checksums),
        ("too long", events.frames_too_long),
        ("unknown types", stats.chat.unknown_types),
        ("before hello", events.hello_first),
        ("hello timeouts", events.hello_timeouts),
        ("hellos refused", events.hellos_refused),
        ("violations", events.violations),
    ]
}

fn limits_hit(stats: &ServerStats) -> Vec<(&'static str, u64)> {
    let (events, net) = (&stats.events, &stats.net);
    vec![
        ("slow consumers", events.slow_consumers),
        ("write queue full", net.write_queue_full),
        ("connections refused", events.peers_refused),
        ("accept errors", net.accept_errors),
        ("datagrams withheld", net.datagrams_withheld),
        ("datagram send errors", net.datagram_send_errors),
    ]
}

/// Pairs on as many lines as they need, aligned below each other.
fn counted(pairs: &[(&'static str, u64)]) -> String {
    let cells: Vec<String> =
        pairs.iter().map(|(name, number)| format!("{name} {}", count(*number))).collect();
    let rows: Vec<String> = cells
        .chunks(PAIRS_A_LINE)
        .map(|row| {
            let padded: Vec<String> = row.iter().map(|cell| format!("{cell:<PAIR_WIDTH$}")).collect();
            padded.concat().trim_end().to_owned()
        })
        .collect();
    rows.join(&format!("\n{:NAME_WIDTH$}", ""))
}

/// What the weather is, and what it has done.
pub(crate) fn simulation(status: Option<&SimulationStatus>) -> String {
    let Some(status) = status else {
        return "off".to_owned();
    };
    let now = weather(status);
    let SimulationStatus { counters, .. } = status;
    format!(
        "{now}; lost so far {} of {} up, {} of {} down",
        share(counters.up_dropped, counters.up_offered),
        count(counters.up_offered),
        share(counters.down_dropped, counters.down_offered),
        count(counters.down_offered)
    )
}

/// The weather alone: `10 % loss, 50 ms delay each way, ends in 12 s`.
pub(crate) fn weather(status: &SimulationStatus) -> String {
    if !status.active {
        return "off".to_owned();
    }
    let ends = status.ends_in_s.map_or(String::new(), |seconds| format!(", ends in {}", span(seconds)));
    // Rounded so that 7 does not print as 7.000000000000001.
    let loss = (status.loss_percent * 1e6).round() / 1e6;
    format!("{loss} % loss, {} ms delay each way{ends}", status.delay_ms)
}

/// `clients`.
pub(crate) fn clients(clients: &[ClientInfo]) -> String {
    if clients.is_empty() {
        return "no clients\n".to_owned();
    }
    let header = [
        ("ID", Align::Right),
        ("USER", Align::Left),
        ("ADDRESS", Align::Left),
        ("AGE", Align::Right),
        ("IDLE", Align::Right),
        ("RTT", Align::Right),
        ("CWND", Align::Right),
        ("QUEUED", Align::Right),
        ("AGAIN", Align::Right),
        ("ROOMS", Align::Left),
    ];
    let rows: Vec<Vec<String>> = clients.iter().map(client_row).collect();
    table(&header, &rows)
}

fn client_row(client: &ClientInfo) -> Vec<String> {
    vec![
        client.id.to_string(),
        plain_text(&client.user),
        client.address.as_deref().map_or_else(|| "(away)".to_owned(), plain_text),
        span(client.age_s),
        span(client.idle_s),
        client.srtt_us.map_or_else(|| "-".to_owned(), micros),
        bytes(client.cwnd_bytes as f64),
        count(client.queued_messages),
        share(client.transport.retransmits, client.transport.segments_sent),
        rooms(client),
    ]
}

/// The first few, and how many more.
fn rooms(client: &ClientInfo) -> String {
    let mut names: Vec<String> = client.rooms.iter().take(ROOMS_SHOWN).map(|room| plain_text(room)).collect();
    if client.rooms.len() > ROOMS_SHOWN {
        names.push(format!("+{}", client.rooms.len() - ROOMS_SHOWN));
    }
    names.join(" ")
}

const NAME_WIDTH: usize = 12;
const PAIRS_A_LINE: usize = 3;
const PAIR_WIDTH: usize = 25;
const ROOMS_SHOWN: usize = 3;
