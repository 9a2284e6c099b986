//! The slowest few deliveries of each workload, kept whole.
//!
//! Their steps are what both ends told of the message: what it waited for, when it first left, was whole, and was passed
//! on, and, of one that met trouble, each loss, timer and repetition with its packet.

use std::time::Duration;

use chat_core::trace::{LossReason, steps as trace};
use units::Timestamp;

use super::ledger::{Message, Pair, State, Waits};
use super::troubles::Troubles;
use crate::distribution::Distribution;
use crate::measure::since_began;
use crate::records::{Exemplar, Hop, Step, StepKind, Why};

/// Those of one workload.
#[derive(Clone, Debug)]
pub(super) struct Slowest {
    most: usize,
    /// Slowest first.
    arrived: Vec<(u64, Exemplar)>,
    /// The first of those that never arrived.
    lost: Vec<Exemplar>,
}

/// A delivery as the ledger tells it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery<'a> {
    pub(super) message: &'a Message,
    pub(super) recipient: u32,
    pub(super) pair: &'a Pair,
    /// Microseconds, and when; `None`: never.
    pub(super) arrived: Option<(u64, Timestamp)>,
    pub(super) troubles: &'a Troubles,
}

impl Slowest {
    pub(super) fn new(most: usize) -> Self {
        Self { most, arrived: Vec::with_capacity(most + 1), lost: Vec::with_capacity(MOST_LOST) }
    }

    /// Takes a delivery if it is among the slowest. Between two that took the same time the earlier stays.
    pub(super) fn offer(&mut self, began: Timestamp, delivery: Delivery<'_>) {
        let Some((latency, _)) = delivery.arrived else {
            if self.lost.len() < MOST_LOST && self.most > 0 {
                self.lost.push(exemplar(began, delivery));
            }
            return;
        };
        if self.most == 0 {
            return;
        }
        if self.arrived.len() == self.most {
            if self.arrived.last().is_some_and(|(slow, _)| latency <= *slow) {
                return;
            }
            self.arrived.pop();
        }
        let place = self.arrived.partition_point(|(slow, _)| *slow >= latency);
        self.arrived.insert(place, (latency, exemplar(began, delivery)));
    }

    /// Slowest first, those that never arrived before all others. `delivery` has all deliveries of the workload.
    pub(super) fn finish(self, workload: &str, delivery: &Distribution) -> impl Iterator<Item = Exemplar> {
        let count = delivery.count().max(1) as f64;
        let faster = |latency: u64| delivery.count_at_or_below(latency.saturating_sub(1)) as f64 / count;
        let all_finite = (delivery.count() - delivery.lost()) as f64 / count;
        let lost = self.lost.into_iter().map(|exemplar| Exemplar { rank: all_finite, ..exemplar });
        let arrived = self.arrived.into_iter();
        let arrived = arrived.map(|(latency, exemplar)| Exemplar { rank: faster(latency), ..exemplar });
        let all: Vec<Exemplar> = lost.chain(arrived).collect();
        let name = workload.to_owned();
        all.into_iter().map(move |exemplar| Exemplar { workload: name.clone(), ..exemplar })
    }
}

fn exemplar(began: Timestamp, delivery: Delivery<'_>) -> Exemplar {
    let Message { intent, submitted, acked, .. } = delivery.message;
    Exemplar {
        workload: String::new(),
        message: intent.id,
        sender: intent.sender,
        recipient: delivery.recipient,
        size_bytes: intent.size,
        intended_us: since_began(began, intent.intended),
        submitted_us: submitted.map(|at| since_began(began, at)),
        acked_us: acked.map(|at| since_began(began, at)),
        delivered_us: delivery.arrived.map(|(_, at)| since_began(began, at)),
        rank: 0.0,
        steps: steps(began, delivery),
    }
}

/// In order of time.
fn steps(began: Timestamp, delivery: Delivery<'_>) -> Vec<Step> {
    let Delivery { message, recipient, pair, troubles, .. } = delivery;
    let mut told = Told { began, hop: Hop::Up, steps: Vec::new() };
    let is_up_told = message.tells_waits && message.is_up_told;
    told.departure(message.submitted.filter(|_| is_up_told), message.up);
    told.troubles(troubles.get(message.intent.id, None));
    if let Some(at) = message.acked.filter(|_| !told.has(Hop::Up, StepKind::Acked)) {
        told.push(at, StepKind::Acked);
    }
    told.arrival(message.passed_on, message.up.order);
    told.hop = Hop::Down;
    told.departure(message.passed_on.filter(|_| pair.is_down_told), pair.down);
    told.troubles(troubles.get(message.intent.id, Some(recipient)));
    let arrived = (pair.state == State::Delivered).then_some(pair.at);
    if pair.is_down_told {
        told.arrival(arrived, pair.down.order);
    } else if let Some(at) = arrived {
        told.push(at, StepKind::Released);
    }
    told.steps.sort_by_key(|step| step.at_us);
    told.steps
}

/// Steps while they are put together.
struct Told {
    began: Timestamp,
    hop: Hop,
    steps: Vec<Step>,
}

impl Told {
    fn push(&mut self, at: Timestamp, what: StepKind) -> &mut Step {
        let at_us = since_began(self.began, at);
        self.steps.push(Step { at_us, hop: self.hop, what, packet: None, why: None, for_us: None });
        self.steps.last_mut().expect("one was just added")
    }

    fn has(&self, hop: Hop, what: StepKind) -> bool {
        self.steps.iter().any(|step| step.hop == hop && step.what == what)
    }

    /// It was queued at `queued`, waited, and left. How the waits took turns is not known; they are told one after the other.
    fn departure(&mut self, queued: Option<Timestamp>, waits: Waits) {
        let Some(mut at) = queued else {
            return;
        };
        for (us, what) in [
            (waits.window, StepKind::HeldByWindow),
            (waits.pacing, StepKind::HeldByPacing),
            (waits.flow, StepKind::HeldByPeer),
        ] {
            if us > 0 {
                self.push(at, what).for_us = Some(us.into());
                at += Duration::from_micros(us.into());
            }
        }
        self.push(at, StepKind::Sent);
    }

    /// What its sender tells in addition. The packet that it left in first is known from there.
    fn troubles(&mut self, troubles: &[trace::Step]) {
        for trouble in troubles {
            let at_us = since_began(self.began, trouble.at);
            let (what, why) = what_and_why(trouble.kind);
            let hop = self.hop;
            let first = self.steps.iter_mut().find(|step| {
                (step.hop, step.what, step.packet) == (hop, what, None)
                    && what == StepKind::Sent
                    && step.at_us.abs_diff(at_us) <= ROUNDING_US
            });
            match first {
                Some(first) => (first.at_us, first.packet) = (at_us, Some(trouble.packet)),
                None => {
                    let packet = Some(trouble.packet);
                    self.steps.push(Step { at_us, hop, what, packet, why, for_us: None });
                }
            }
        }
    }

    /// It was whole at its receiver, waited for what comes before it, and was passed on at `released`.
    fn arrival(&mut self, released: Option<Timestamp>, order_us: u32) {
        let Some(released) = released else {
            return;
        };
        let received = released - Duration::from_micros(order_us.into());
        self.push(received, StepKind::Received);
        if order_us > 0 {
            self.push(received, StepKind::HeldBack).for_us = Some(order_us.into());
        }
        self.push(released, StepKind::Released);
    }
}

fn what_and_why(kind: trace::StepKind) -> (StepKind, Option<Why>) {
    match kind {
        trace::StepKind::Sent => (StepKind::Sent, None),
        trace::StepKind::Lost(reason) => (StepKind::Lost, Some(why(reason))),
        trace::StepKind::Retransmitted(LossReason::PacketThreshold) => {
            (StepKind::FastRetransmitted, Some(Why::PacketThreshold))
        }
        trace::StepKind::Retransmitted(reason) => (StepKind::Retransmitted, Some(why(reason))),
        trace::StepKind::Copied => (StepKind::Copied, None),
        trace::StepKind::Probed => (StepKind::Probed, None),
        trace::StepKind::TimedOut => (StepKind::Timeout, None),
        trace::StepKind::Spurious => (StepKind::Spurious, None),
        trace::StepKind::Acked => (StepKind::Acked, None),
    }
}

fn why(reason: LossReason) -> Why {
    match reason {
        LossReason::PacketThreshold => Why::PacketThreshold,
        LossReason::TimeThreshold => Why::TimeThreshold,
        LossReason::Timeout => Why::Timeout,
        LossReason::Nack => Why::Damaged,
        LossReason::Rebind => Why::Rebind,
    }
}

/// Waits are whole microseconds each.
const ROUNDING_US: u64 = 5;
/// Enough to see how messages get lost, and few enough to leave room for the slow ones.
const MOST_LOST: usize = 3;
