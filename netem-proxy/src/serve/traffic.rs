//! What proxies have carried.

use std::ops::AddAssign;

use super::proxy::ProxyView;
use crate::stream::{DirectionCounters, StreamCounters};

/// Bytes of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flow {
    /// Read from the sender.
    pub(super) received: u64,
    /// Written to the receiver.
    pub(super) sent: u64,
}

/// Totals of a proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Traffic {
    pub(super) upstream: Flow,
    pub(super) downstream: Flow,
}

#[derive(Clone, Debug)]
pub(super) struct ProxyTraffic {
    pub(super) view: ProxyView,
    pub(super) traffic: Traffic,
}

impl AddAssign for Flow {
    fn add_assign(&mut self, other: Self) {
        self.received += other.received;
        self.sent += other.sent;
    }
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.upstream += other.upstream;
        self.downstream += other.downstream;
    }
}

impl From<StreamCounters> for Traffic {
    fn from(counters: StreamCounters) -> Self {
        let flow = |counters: DirectionCounters| Flow { received: counters.received, sent: counters.sent };
        Self { upstream: flow(counters.up), downstream: flow(counters.down) }
    }
}
