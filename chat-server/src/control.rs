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
    /// Messages waiting in the fullest outbox.
    pub outbox_max: u64,
    /// Present while weather is simulated, and after, for its counters.
    pub simulation: Option<SimulationStatus>,
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

/// Any answer but success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    pub error: String,
}

fn default_drain_s() -> f64 {
    10.0
}
