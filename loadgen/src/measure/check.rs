//! The oracle of the recorder: what became of each (message, recipient) pair, judged from a whole history, exactly and at
//! leisure. Only tests can afford to keep one.
//!
//! Once only: a second arrival is a duplicate. In order: within one conversation of one sender, a recipient hears
//! messages in the order in which they were meant. Nothing invented: a text that nobody sent, or that its recipient
//! should not have heard, is corrupt. Nothing lost: what was not heard by the end of the drain is.
//!
//! A workload may ask for less. What is unordered or latest-only is not held to an order. What did not arrive is excused
//! only if the record shows why: its sender said that it gave it up and was allowed to, or a newer message of its
//! latest-only workload did arrive. Both are counted on their own; anything else that is missing is lost.

use std::collections::BTreeMap;

use chat_core::connection::Reliability;
use chat_core::wire::Order as Promise;

use units::Timestamp;

use crate::backend::{Arrival, Cast};
use crate::record::{DeliveryRow, DeliveryStatus};
use crate::result::Messages;
use crate::scenario::Scenario;
use crate::workload::{Intent, Target};

use super::since_began;

/// Everything that was observed in a run.
#[derive(Clone, Debug)]
pub(super) struct History {
    pub(super) began: Timestamp,
    /// By message id.
    pub(super) messages: Vec<MessageRecord>,
    /// In order of time.
    pub(super) arrivals: Vec<Arrival>,
}

/// One message of the schedule.
#[derive(Clone, Copy, Debug)]
pub(super) struct MessageRecord {
    pub(super) intent: Intent,
    /// When it was handed to the protocol; `None`: the sender was at its bound (throttled).
    pub(super) submitted: Option<Timestamp>,
    pub(super) acked: Option<Timestamp>,
    pub(super) failed: bool,
}

pub(super) struct Checked {
    /// By message, then recipient; a pair's duplicates follow it.
    pub(super) rows: Vec<DeliveryRow>,
    pub(super) messages: Messages,
}

/// The messages of recorded phases.
pub(super) fn recorded<'a>(
    scenario: &'a Scenario,
    record: &'a History,
) -> impl Iterator<Item = &'a MessageRecord> {
    record.messages.iter().filter(|message| is_recorded(scenario, message))
}

pub(super) fn check(scenario: &Scenario, record: &History) -> Checked {
    let cast = Cast::new(scenario, String::new());
    let mut pairs: BTreeMap<(u32, u32), Pair> = BTreeMap::new();
    // Throttled ones too: a sender that refuses what it cannot carry must not look faster for it.
    for message in &record.messages {
        for recipient in cast.recipients(&message.intent) {
            pairs.insert((message.intent.id, recipient), Pair::default());
        }
    }
    let mut newest: BTreeMap<(u32, u32, Conversation), u32> = BTreeMap::new();
    // Newest message of each sender and latest-only workload that each recipient heard.
    let mut latest: BTreeMap<(u32, u32, u16), u32> = BTreeMap::new();
    let mut invented = 0;
    for arrival in &record.arrivals {
        let message = arrival.message.and_then(|id| record.messages.get(id as usize));
        let pair = arrival.message.and_then(|id| pairs.get_mut(&(id, arrival.recipient)));
        let (Some(message), Some(pair)) = (message, pair) else {
            invented += 1;
            continue;
        };
        let delivery = scenario.workloads[usize::from(message.intent.workload)].delivery;
        if delivery.order != Promise::Ordered {
            if arrival.intact {
                let key = (arrival.recipient, message.intent.sender, message.intent.workload);
                let newest = latest.entry(key).or_insert(message.intent.id);
                *newest = message.intent.id.max(*newest);
            }
            pair.arrivals.push((*arrival, Order::Right));
            continue;
        }
        let key = (arrival.recipient, message.intent.sender, Conversation::of(message.intent.target));
        let newest = newest.entry(key).or_insert(message.intent.id);
        let order = if message.intent.id < *newest { Order::Late } else { Order::Right };
        *newest = message.intent.id.max(*newest);
        pair.arrivals.push((*arrival, order));
    }
    let mut checked =
        Checked { rows: Vec::new(), messages: Messages { corrupted: invented, ..Messages::default() } };
    for (&(id, recipient), pair) in &pairs {
        let message = &record.messages[id as usize];
        let template = row(scenario, record, message, recipient);
        let counts = is_recorded(scenario, message);
        let newest = latest.get(&(recipient, message.intent.sender, message.intent.workload));
        let absence = absence(scenario, message, newest.copied());
        checked.add(pair, &template, message, counts, absence);
    }
    checked.count_messages(scenario, record);
    checked
}

#[derive(Default)]
struct Pair {
    arrivals: Vec<(Arrival, Order)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Right,
    Late,
}

/// Messages of one sender are in order against each other within one of these.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Conversation {
    Room(u16),
    File(u16),
    /// Private lines and broadcasts of one sender share a channel of its session, but reach a recipient on their own.
    Private,
    Broadcast,
    Oneself,
    Members,
}

impl Conversation {
    fn of(target: Target) -> Self {
        match target {
            Target::Room(place) => Self::Room(place),
            Target::File(place) => Self::File(place),
            Target::Oneself => Self::Oneself,
            Target::Members(_) => Self::Members,
            Target::Client(_) => Self::Private,
            Target::All => Self::Broadcast,
        }
    }
}

impl Checked {
    /// `absence` is what a pair without any arrival is.
    fn add(
        &mut self,
        pair: &Pair,
        template: &DeliveryRow,
        message: &MessageRecord,
        counts: bool,
        absence: DeliveryStatus,
    ) {
        let one = u64::from(counts);
        let is_expected = !pair.arrivals.is_empty() || absence.is_expected();
        self.messages.expected_deliveries += one * u64::from(is_expected);
        let mut arrivals = pair.arrivals.iter();
        let Some((first, order)) = arrivals.next() else {
            *match absence {
                DeliveryStatus::Expired => &mut self.messages.expired,
                DeliveryStatus::Superseded => &mut self.messages.superseded,
                _ => &mut self.messages.lost,
            } += one;
            self.rows.push(DeliveryRow { status: absence, ..template.clone() });
            return;
        };
        let status = if !first.intact {
            self.messages.corrupted += one;
            DeliveryStatus::Corrupted
        } else {
            self.messages.delivered += one;
            self.messages.reordered += u64::from(*order == Order::Late) * one;
            if *order == Order::Late { DeliveryStatus::OutOfOrder } else { DeliveryStatus::Delivered }
        };
        let began = message.intent.intended - std::time::Duration::from_micros(template.intended_us);
        let at = |arrival: &Arrival| Some(since_began(began, arrival.at));
        self.rows.push(DeliveryRow { status, delivered_us: at(first), ..template.clone() });
        for (again, _) in arrivals {
            self.messages.duplicated += one;
            let status = DeliveryStatus::Duplicate;
            self.rows.push(DeliveryRow { status, delivered_us: at(again), ..template.clone() });
        }
    }

    fn count_messages(&mut self, scenario: &Scenario, record: &History) {
        for message in recorded(scenario, record) {
            let messages = &mut self.messages;
            messages.intended += 1;
            messages.sent += u64::from(message.submitted.is_some());
            messages.throttled += u64::from(message.submitted.is_none());
            messages.acked += u64::from(message.acked.is_some());
            messages.failed += u64::from(message.failed);
        }
    }
}

/// What a message is for a recipient that did not hear it, where `newest` of its workload and sender was heard.
fn absence(scenario: &Scenario, message: &MessageRecord, newest: Option<u32>) -> DeliveryStatus {
    let workload = &scenario.workloads[usize::from(message.intent.workload)];
    let is_latest = workload.delivery.order == Promise::Latest;
    if is_latest && message.submitted.is_some() && newest.is_some_and(|newest| newest > message.intent.id) {
        DeliveryStatus::Superseded
    } else if message.failed && workload.delivery.reliability != Reliability::Reliable {
        DeliveryStatus::Expired
    } else {
        DeliveryStatus::Lost
    }
}

fn is_recorded(scenario: &Scenario, message: &MessageRecord) -> bool {
    scenario.phases.get(usize::from(message.intent.phase)).is_some_and(|phase| phase.record)
}

/// The row of a pair that has not arrived.
fn row(scenario: &Scenario, record: &History, message: &MessageRecord, recipient: u32) -> DeliveryRow {
    let intent = &message.intent;
    let phase = scenario.phases.get(usize::from(intent.phase));
    DeliveryRow {
        cell: 0,
        repeat: 0,
        phase: phase.map_or_else(String::new, |phase| phase.name.clone()),
        recorded: u8::from(is_recorded(scenario, message)),
        workload: scenario.workloads[usize::from(intent.workload)].name.clone(),
        message: intent.id,
        sender: intent.sender,
        recipient,
        size_bytes: intent.size,
        intended_us: since_began(record.began, intent.intended),
        submitted_us: message.submitted.map(|at| since_began(record.began, at)),
        acked_us: message.acked.map(|at| since_began(record.began, at)),
        delivered_us: None,
        status: DeliveryStatus::Lost,
        wait_window_us: None,
        wait_pacing_us: None,
        wait_flow_us: None,
        wait_loss_us: None,
        wait_order_us: None,
    }
}
