//! The slowest few deliveries of each workload, kept whole.
//!
//! Their steps are what both ends told of the message: when it first left, when the transmission left that was
//! acknowledged in the end, when it was acknowledged, whole, and passed on. Transmissions in between are in the traces of
//! connections alone.

use std::time::Duration;

use units::Timestamp;

use super::ledger::{Message, Pair, State};
use crate::distribution::Distribution;
use crate::measure::since_began;
use crate::records::{Exemplar, Hop, Step, StepKind};

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
    /// Whether ends tell of waits.
    pub(super) is_told: bool,
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
    let Delivery { message, pair, .. } = delivery;
    let mut steps: Vec<(Timestamp, Hop, StepKind)> = Vec::new();
    let us = |us: u32| Duration::from_micros(us.into());
    if let (Some(submitted), true, true) = (message.submitted, delivery.is_told, message.acked.is_some()) {
        let left = submitted + us(message.up.window) + us(message.up.pacing) + us(message.up.flow);
        steps.push((left, Hop::Up, StepKind::Sent));
        if message.up.loss > 0 {
            steps.push((left + us(message.up.loss), Hop::Up, StepKind::Retransmitted));
        }
    }
    steps.extend(message.acked.map(|at| (at, Hop::Up, StepKind::Acked)));
    if pair.state == State::Delivered {
        if delivery.is_told {
            steps.push((pair.at - us(pair.down.order), Hop::Down, StepKind::Received));
        }
        steps.push((pair.at, Hop::Down, StepKind::Released));
    }
    steps.sort_by_key(|(at, ..)| *at);
    let step = |(at, hop, what)| Step { at_us: since_began(began, at), hop, what, packet: None };
    steps.into_iter().map(step).collect()
}

/// Enough to see how messages get lost, and few enough to leave room for the slow ones.
const MOST_LOST: usize = 3;
