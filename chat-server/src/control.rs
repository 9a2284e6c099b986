//! What the admin port speaks: plain data, shared by the server and by the tools that ask it.

use std::sync::Arc;

use chat_core::connection::Stats;
use serde::{Deserialize, Serialize};

use crate::engine::{Counters, SimulationCounters};
use crate::hub::HubCounters;

/// `GET /v1/stats`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerStats {
    pub uptime_s: f64,
    /// Sessions with a live carrier.
    pub clients: u64,
    /// Sessions waiting for their client to come back.
    pub detached: u64,
    /// Open carriers, with or without a session.
    pub peers: u64,
    pub rooms: u64,
    pub draining: bool,
    pub chat: HubCounters,
    /// What happened to peers, bad input and slow consumers included.
    pub events: Counters,
    /// Sums over all sessions that ever were, this end.
    pub transport: Stats,
    /// What the sockets saw; all zero where there are none, in the simulator.
    pub net: NetCounters,
    /// Messages waiting in the fullest outbox.
    pub outbox_max: u64,
    /// Present while weather is simulated, and after, for its counters.
    pub simulation: Option<SimulationStatus>,
}

/// What the sockets saw; counts only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetCounters {
    pub stream_bytes_in: u64,
    /// Bytes given to stream connections to be written.
    pub stream_bytes_out: u64,
    pub datagrams_in: u64,
    pub datagram_bytes_in: u64,
    pub datagrams_out: u64,
    pub datagram_bytes_out: u64,
    /// Datagrams from nobody known that are not of this protocol; dropped without a reply.
    pub datagrams_malformed: u64,
    /// Datagrams of newcomers who do not encrypt, where they must; answered with an error.
    pub datagrams_unencrypted: u64,
    /// Sealed datagrams sent.
    pub datagrams_sealed: u64,
    /// Sealed datagrams that were opened.
    pub datagrams_opened: u64,
    /// Sealed datagrams that came again, or too late to tell; dropped.
    pub datagrams_replayed: u64,
    /// Sealed datagrams that the peer did not seal, or that were changed on the way; dropped.
    pub datagrams_forged: u64,
    /// Handshakes of TLS that failed, on TCP or UDP.
    pub handshakes_failed: u64,
    /// Datagrams not sent because an unproven address would have got more than three times what it sent.
    pub datagrams_withheld: u64,
    /// System calls that sent datagrams; one may take many.
    pub datagram_send_calls: u64,
    /// Datagrams that the kernel did not take.
    pub datagram_send_errors: u64,
    pub datagram_receive_errors: u64,
    /// Datagrams that the kernel dropped because this program did not read them in time.
    pub datagrams_overrun: u64,
    /// Address tokens given to strangers.
    pub retries_sent: u64,
    /// Strangers left without an answer: too many at once, or the answer would have been longer than what they sent.
    pub retries_withheld: u64,
    /// Strangers who gave their token back, and became peers.
    pub tokens_accepted: u64,
    /// Tokens that were forged, for another address or connection, or too old.
    pub tokens_refused: u64,
    /// Connections closed because too many bytes waited to be written to them.
    pub write_queue_full: u64,
    /// Accepts that failed for want of file descriptors or memory.
    pub accept_errors: u64,
    /// Trace events that nobody took in time.
    pub traces_dropped: u64,
}

/// The simulated weather now, and what it has done.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SimulationStatus {
    pub active: bool,
    pub loss_percent: f64,
    pub delay_ms: f64,
    /// Seconds until it ends by itself.
    pub ends_in_s: Option<f64>,
    pub counters: SimulationCounters,
}

/// One entry of `GET /v1/clients`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientInfo {
    pub id: u64,
    pub user: Arc<str>,
    /// `null` while the session waits for its client.
    pub address: Option<String>,
    pub connected: bool,
    pub age_s: f64,
    pub idle_s: f64,
    pub resumes: u64,
    pub rooms: Vec<Arc<str>>,
    pub srtt_us: Option<u64>,
    pub rto_us: u64,
    pub cwnd_bytes: u64,
    pub in_flight_bytes: u64,
    pub queued_messages: u64,
    pub queued_bytes: u64,
    pub transport: Stats,
}

/// `PUT /v1/simulation`: loss and delay on every live connection, in each direction.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationRequest {
    /// 0 to 100.
    pub loss_percent: f64,
    /// Not negative.
    pub delay_ms: f64,
    /// Ends by itself after so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_s: Option<f64>,
}

/// `POST /v1/broadcast`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BroadcastRequest {
    pub text: String,
}

/// `POST /v1/shutdown`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownRequest {
    /// How long to wait for acknowledgements at most.
    #[serde(default = "default_drain_s")]
    pub drain_s: f64,
}

/// Answer to `POST /v1/broadcast`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BroadcastReply {
    /// Sessions the text was queued for, waiting ones included.
    pub reached: u64,
}

/// Answer to `POST /v1/shutdown`, given before the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShutdownReply {
    pub drain_s: f64,
}

/// Any answer but success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    pub error: String,
}

fn default_drain_s() -> f64 {
    10.0
}

/// `text` as one line that no terminal interprets: control characters become spaces.
#[must_use]
pub fn plain_text(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || is_invisible(c) { ' ' } else { c }).collect()
}

/// Characters that turn the direction of the text around them, or are line ends to some terminals.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
