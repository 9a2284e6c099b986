//! `[[workload]]`: who does what, and how often.

use std::time::Duration;

use chat_core::connection::{Delivery, Reliability};
use chat_core::wire::Order;
use units::Probability;

use super::{Arrival, Size, SpanLaw};

#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub name: String,
    pub kind: WorkloadKind,
    /// Indices into [`Scenario::clients`](super::Scenario::clients): who does it.
    pub groups: Vec<usize>,
    pub pace: Pace,
    /// Bytes of text, or of a file.
    pub size: Size,
    /// Anything but ordered and reliable is for rooms.
    pub delivery: Delivery,
    /// Of [`WorkloadKind::Churn`] alone.
    pub churn: Option<Churn>,
    /// Workloads with a weight share their clients: each client does one of them, dealt in proportion. Without a weight,
    /// every client of the groups does this one.
    pub weight: Option<f64>,
    /// Indices into [`Scenario::phases`](super::Scenario::phases), ascending: when it is done. Phases that drain are
    /// never among them.
    pub phases: Vec<usize>,
    /// Messages that a client may have under way in an open loop; one more is counted as throttled, not sent.
    pub max_in_flight: Option<u32>,
    /// A message that is not acknowledged after this long counts as lost, and a late arrival as late.
    pub timeout: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// To a room of the sender: every other member is a recipient. Written `room` or `group`.
    Room,
    /// To one other client, drawn for each message.
    Private,
    /// To every other client.
    Broadcast,
    /// A file to a room of the sender.
    File,
    /// Clients leave and come back.
    Churn,
    /// Clients change their status; all who see them are told.
    Presence,
    /// To the server, which answers.
    Ping,
    /// Connected, and nothing else.
    Idle,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Pace {
    /// When the schedule says, whatever came back. `per_second` is the mean of every process.
    Open { arrival: Arrival, per_second: f64, per: Per },
    /// Each client keeps this many messages unacknowledged, and thinks before it sends the next.
    Closed { in_flight: u32, think: SpanLaw },
    /// Nothing is sent: churn and idle.
    Still,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    Client,
    /// The rate is shared: each message comes from a client drawn by the seed.
    Total,
}

/// How clients come and go.
#[derive(Clone, Debug, PartialEq)]
pub struct Churn {
    /// From being welcomed to leaving.
    pub session: SpanLaw,
    /// From leaving to connecting again.
    pub off: SpanLaw,
    /// Share of departures without a word to the server.
    pub abrupt: Probability,
}

impl Workload {
    /// Whether a message of it may be given up before it has arrived, without that being a loss.
    #[must_use]
    pub fn may_give_up(&self) -> bool {
        self.delivery.order == Order::Latest || self.delivery.reliability != Reliability::Reliable
    }
}

impl WorkloadKind {
    /// As a scenario writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Room => "room",
            Self::Private => "private",
            Self::Broadcast => "broadcast",
            Self::File => "file",
            Self::Churn => "churn",
            Self::Presence => "presence",
            Self::Ping => "ping",
            Self::Idle => "idle",
        }
    }

    /// Whether it sends messages to other clients, which the ledger then expects to arrive.
    #[must_use]
    pub fn has_recipients(self) -> bool {
        matches!(self, Self::Room | Self::Private | Self::Broadcast | Self::File)
    }
}
