//! What the clients of all baselines have in common: when they begin, what they are asked for, what they note.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use units::{Clock, Timestamp};

use super::client::{ClientLog, Order};
use super::ears::Ears;
use super::reports::Reports;
use super::stage::ORDERS;
use crate::backend::baseline::record::Record;
use crate::backend::{EndRecord, RunPlan, arrival};
use crate::seen::Seen;
use crate::workload::{self, Intent};

/// The director's ear.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    pub(super) reports: Reports,
    pub(super) ears: Arc<Ears>,
}

impl Heard {
    /// The relay has read a message: it is settled as far as its sender goes.
    pub(super) fn on_received(&self, message: u32) {
        self.ears.tell(message, Seen::Received { message });
        self.reports.settled(message);
    }
}

/// A client of a baseline: its orders and its log.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) index: u32,
    /// Name of the link it is behind.
    pub(super) link: Option<String>,
    pub(super) start_at: Timestamp,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) log: ClientLog,
    clock: Clock,
    director: Heard,
    is_welcome: bool,
}

/// A seat for every client of the plan, and where to send its orders. Starts are spread over the ramp of each group.
pub(super) fn seats(plan: &RunPlan, clock: Clock, director: &Heard) -> Vec<(mpsc::Sender<Order>, Seat)> {
    let now = clock.now();
    let mut seats = Vec::new();
    for group in &plan.scenario.clients {
        for place in 0..group.count {
            let (orders, ordered) = mpsc::channel(ORDERS);
            let seat = Seat {
                index: u32::try_from(seats.len()).expect("clients are counted in u32"),
                link: group.link.clone(),
                start_at: now + group.start(place, &plan.seed),
                orders: ordered,
                log: ClientLog::new(EndRecord::default()),
                clock,
                director: director.clone(),
                is_welcome: false,
            };
            seats.push((orders, seat));
        }
    }
    seats
}

impl Seat {
    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Waits for the start, and notes it.
    pub(super) async fn begin(&mut self) {
        chat_client::net::wait(Some(self.start_at), self.clock).await;
        self.tell(Seen::Connecting { client: self.index, at: self.now() });
    }

    /// The first word to the relay.
    pub(super) fn join(&self) -> Bytes {
        Record::Join { client: self.index }.encode()
    }

    pub(super) fn on_record(&mut self, record: Record) {
        let now = self.now();
        match record {
            Record::Welcome if !self.is_welcome => {
                self.is_welcome = true;
                self.tell(Seen::Connected { client: self.index, at: now, is_resumed: false });
                self.director.reports.joined();
            }
            Record::Heard { text } => {
                self.tell(Seen::Arrived(arrival(self.index, now, &String::from_utf8_lossy(&text))));
            }
            // The relay says nothing else.
            Record::Welcome | Record::Join { .. } | Record::Say { .. } => {}
        }
    }

    /// Hands a message to the transport; `take` says whether it had room.
    pub(super) fn submit(&mut self, intent: &Intent, take: impl FnOnce(Bytes) -> bool) {
        let now = self.now();
        let text = workload::text(intent.id, intent.size).into();
        if take(Record::Say { target: intent.target, text }.encode()) {
            self.tell(Seen::Submitted { message: intent.id, at: now });
            return;
        }
        self.tell(Seen::Refused { message: intent.id });
        self.director.reports.settled(intent.id);
    }

    fn tell(&self, seen: Seen) {
        self.director.ears.tell(self.index, seen);
    }

    pub(super) fn problem(&mut self, what: &str, why: impl std::fmt::Display) {
        self.log.problems.push(format!("client {}: {what}: {why}", self.index));
    }
}
