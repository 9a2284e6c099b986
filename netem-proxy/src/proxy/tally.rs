//! What shells count besides their links: everything that a socket can do to a packet.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters written by tasks and the pacing thread alike. Relaxed: each is read alone.
#[derive(Debug, Default)]
pub(super) struct Tally {
    flows: AtomicU64,
    flows_closed: AtomicU64,
    io_overrun: AtomicU64,
    malformed: AtomicU64,
    refused: AtomicU64,
    undeliverable: AtomicU64,
    back_pressure: AtomicU64,
}

/// The values at one moment; [`super::ProxySnapshot`] says what each means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TallySnapshot {
    pub flows: u64,
    pub flows_open: u64,
    pub io_overrun: u64,
    pub malformed: u64,
    pub refused: u64,
    pub undeliverable: u64,
    pub back_pressure: u64,
}

impl Tally {
    /// The number of the new flow, from 0.
    pub(super) fn open_flow(&self) -> u64 {
        self.flows.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn close_flow(&self) {
        add_one(&self.flows_closed);
    }

    pub(super) fn io_overrun(&self) {
        add_one(&self.io_overrun);
    }

    pub(super) fn malformed(&self) {
        add_one(&self.malformed);
    }

    pub(super) fn refused(&self) {
        add_one(&self.refused);
    }

    pub(super) fn undeliverable(&self) {
        add_one(&self.undeliverable);
    }

    pub(super) fn back_pressure(&self) {
        add_one(&self.back_pressure);
    }

    pub(super) fn snapshot(&self) -> TallySnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let flows_closed = read(&self.flows_closed);
        let flows = read(&self.flows);
        TallySnapshot {
            flows,
            flows_open: flows.saturating_sub(flows_closed),
            io_overrun: read(&self.io_overrun),
            malformed: read(&self.malformed),
            refused: read(&self.refused),
            undeliverable: read(&self.undeliverable),
            back_pressure: read(&self.back_pressure),
        }
    }
}

fn add_one(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
