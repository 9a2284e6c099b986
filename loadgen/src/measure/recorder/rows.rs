//! Rows of `deliveries.csv`, for whoever wants single deliveries: the first so many of a run.

use units::Timestamp;

use super::ledger::{Message, Pair};
use crate::measure::causes::Parts;
use crate::measure::since_began;
use crate::record::{DeliveryRow, DeliveryStatus};
use crate::scenario::Scenario;

#[derive(Debug)]
pub(super) struct Rows {
    most: usize,
    /// With the place among the arrivals of its pair.
    rows: Vec<DeliveryRow>,
    left_out: u64,
    phases: Vec<(String, u8)>,
    workloads: Vec<String>,
}

impl Rows {
    pub(super) fn new(scenario: &Scenario, most: usize) -> Self {
        let phases = scenario.phases.iter();
        Self {
            most,
            rows: Vec::new(),
            left_out: 0,
            phases: phases.map(|phase| (phase.name.clone(), u8::from(phase.record))).collect(),
            workloads: scenario.workloads.iter().map(|workload| workload.name.clone()).collect(),
        }
    }

    pub(super) fn settled(
        &mut self,
        began: Timestamp,
        message: &Message,
        recipient: u32,
        pair: &Pair,
        parts: Option<Parts>,
    ) {
        let Some(status) = pair.state.status(pair.is_out_of_order) else {
            return;
        };
        let arrived = matches!(
            status,
            DeliveryStatus::Delivered | DeliveryStatus::OutOfOrder | DeliveryStatus::Corrupted
        );
        self.push(began, message, recipient, arrived.then_some(pair.at), status);
        if let (Some(parts), Some(row), true) = (parts, self.rows.last_mut(), self.left_out == 0) {
            parts.write(row);
        }
    }

    pub(super) fn again(&mut self, began: Timestamp, message: &Message, recipient: u32, at: Timestamp) {
        self.push(began, message, recipient, Some(at), DeliveryStatus::Duplicate);
    }

    /// By message, then recipient; a pair's duplicates follow it. And how many there was no room for.
    pub(super) fn finish(mut self) -> (Vec<DeliveryRow>, u64) {
        self.rows.sort_by_key(|row| {
            (row.message, row.recipient, row.status == DeliveryStatus::Duplicate, row.delivered_us)
        });
        // A second arrival may have come before the acknowledgement.
        for row in 1..self.rows.len() {
            let (before, rest) = self.rows.split_at_mut(row);
            if let (Some(first), Some(again)) = (before.last(), rest.first_mut())
                && again.status == DeliveryStatus::Duplicate
                && again.message == first.message
            {
                again.acked_us = first.acked_us;
            }
        }
        (self.rows, self.left_out)
    }

    fn push(
        &mut self,
        began: Timestamp,
        message: &Message,
        recipient: u32,
        delivered: Option<Timestamp>,
        status: DeliveryStatus,
    ) {
        if self.rows.len() >= self.most {
            self.left_out += 1;
            return;
        }
        let intent = &message.intent;
        let (phase, recorded) = self.phases.get(usize::from(intent.phase)).cloned().unwrap_or_default();
        let us = |at| since_began(began, at);
        self.rows.push(DeliveryRow {
            cell: 0,
            repeat: 0,
            phase,
            recorded,
            workload: self.workloads[usize::from(intent.workload)].clone(),
            message: intent.id,
            sender: intent.sender,
            recipient,
            size_bytes: intent.size,
            intended_us: us(intent.intended),
            submitted_us: message.submitted.map(us),
            acked_us: message.acked.map(us),
            delivered_us: delivered.map(us),
            status,
            wait_window_us: None,
            wait_pacing_us: None,
            wait_flow_us: None,
            wait_loss_us: None,
            wait_order_us: None,
        });
    }
}
