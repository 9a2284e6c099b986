//! What a proxy counts, while it happens.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::toxic::Direction;

/// Totals of a proxy since it was opened; live, not only when a connection ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StreamCounters {
    pub up: DirectionCounters,
    pub down: DirectionCounters,
    /// Now.
    pub connections_open: u64,
    /// Accepted since the start.
    pub connections_total: u64,
    /// The upstream could not be reached, so the client was closed.
    pub refused: u64,
    /// Closed at once because the engine held [`super::MAX_CONNECTIONS`] connections.
    pub over_limit: u64,
    /// Connections ended by RST: by a toxic, or because the other side sent one.
    pub resets: u64,
    /// Connections ended by a toxic (`timeout`, `limit_data`) without RST, or because both ends were gone while a toxic
    /// kept what was left for ever (`timeout=0`, `rate=0`).
    pub cut: u64,
    /// Times accepting had to pause because the system had no descriptors left.
    pub accept_pauses: u64,
    /// Times a direction was not read because as much was held as its bound allows.
    pub back_pressure: u64,
}

/// Bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DirectionCounters {
    /// Read from the source.
    pub received: u64,
    /// Written to the destination.
    pub sent: u64,
}

impl StreamCounters {
    #[must_use]
    pub fn direction(&self, direction: Direction) -> DirectionCounters {
        match direction {
            Direction::Upstream => self.up,
            Direction::Downstream => self.down,
        }
    }
}

/// The counters of a proxy, written by all drivers. They order nothing, so every access is relaxed.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) received: [AtomicU64; 2],
    pub(super) sent: [AtomicU64; 2],
    pub(super) open: AtomicU64,
    pub(super) total: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) over_limit: AtomicU64,
    pub(super) resets: AtomicU64,
    pub(super) cut: AtomicU64,
    pub(super) accept_pauses: AtomicU64,
    pub(super) back_pressure: AtomicU64,
}

impl Tally {
    pub(super) fn snapshot(&self) -> StreamCounters {
        let direction = |direction: Direction| DirectionCounters {
            received: read(&self.received[direction.index()]),
            sent: read(&self.sent[direction.index()]),
        };
        StreamCounters {
            up: direction(Direction::Upstream),
            down: direction(Direction::Downstream),
            connections_open: read(&self.open),
            connections_total: read(&self.total),
            refused: read(&self.refused),
            over_limit: read(&self.over_limit),
            resets: read(&self.resets),
            cut: read(&self.cut),
            accept_pauses: read(&self.accept_pauses),
            back_pressure: read(&self.back_pressure),
        }
    }
}

pub(super) fn add(counter: &AtomicU64, number: u64) {
    if number > 0 {
        counter.fetch_add(number, Ordering::Relaxed);
    }
}

pub(super) fn take_one(counter: &AtomicU64) {
    counter.fetch_sub(1, Ordering::Relaxed);
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
