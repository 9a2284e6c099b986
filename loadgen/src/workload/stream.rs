//! One stream of messages: the gaps between them, their sizes and their targets.
//!
//! Gaps, sizes, targets and (where a rate is shared) senders come from separate substreams, so that a scenario which
//! changes only its sizes keeps its arrival times to the nanosecond. Exponential and normal draws are `rand_distr`'s
//! ziggurats on ChaCha8; golden tests hold the first draws, because a published seed must keep its meaning.

use std::time::Duration;

use rand::RngExt;
use rand_distr::{Distribution, Exp1, StandardNormal};
use units::{Rng, Seed, Timestamp};

use super::Target;
use super::text::{MAX_TEXT, MIN_TEXT};
use crate::scenario::{Arrival, Pace, Size, Workload, WorkloadKind};

/// The messages of one client in one workload, or of a whole workload whose rate is shared.
#[derive(Debug)]
pub(super) struct Stream {
    /// Index into `Scenario::workloads`.
    pub(super) workload: u16,
    /// One, or all who share the rate; never empty.
    senders: Vec<u32>,
    kind: WorkloadKind,
    size: Size,
    pace: Pace,
    /// Clients of the scenario.
    clients: u32,
    seed: Seed,
    arrivals: Option<Arrivals>,
    /// Generators that this stream needs; a fixed size or a room draws nothing.
    sizes: Option<Rng>,
    targets: Option<Rng>,
    choice: Option<Rng>,
}

/// How a stream begins.
pub(super) enum Start {
    /// Its first message is due then.
    Open(Timestamp),
    /// It may send so many at once.
    Closed { in_flight: u32 },
}

#[derive(Debug)]
struct Arrivals {
    rng: Rng,
    /// Nanoseconds since the first phase began, of the last arrival.
    last: f64,
    /// Arrivals so far.
    count: u64,
    /// Nanoseconds, of the first arrival of evenly spaced ones.
    offset: f64,
    zero: Timestamp,
}

impl Stream {
    pub(super) fn new(index: u16, workload: &Workload, senders: Vec<u32>, clients: u32, seed: Seed) -> Self {
        let Workload { kind, size, pace, .. } = workload.clone();
        Self {
            workload: index,
            sizes: (!matches!(size, Size::Fixed(_))).then(|| seed.fork("size").rng()),
            targets: (kind == WorkloadKind::Private).then(|| seed.fork("target").rng()),
            choice: (senders.len() > 1).then(|| seed.fork("sender").rng()),
            arrivals: None,
            senders,
            kind,
            size,
            pace,
            clients,
            seed,
        }
    }

    /// Ties in time go to the lower client.
    pub(super) fn first_sender(&self) -> u32 {
        self.senders.first().copied().unwrap_or(u32::MAX)
    }

    pub(super) fn start(&mut self, at: Timestamp) -> Start {
        let per_second = match self.pace {
            Pace::Open { per_second, .. } => per_second,
            Pace::Closed { in_flight, .. } => return Start::Closed { in_flight },
            Pace::Still => return Start::Closed { in_flight: 0 },
        };
        let mut rng = self.seed.fork("arrival").rng();
        let offset = rng.random::<f64>() * NANOS / per_second;
        self.arrivals = Some(Arrivals { rng, last: 0.0, count: 0, offset, zero: at });
        Start::Open(self.next_arrival().unwrap_or(Timestamp::NEVER))
    }

    /// When the next message is due by the schedule; `None` for a closed loop, which has none.
    pub(super) fn next_arrival(&mut self) -> Option<Timestamp> {
        let (Pace::Open { arrival, per_second, .. }, Some(arrivals)) = (&self.pace, &mut self.arrivals)
        else {
            return None;
        };
        arrivals.last = match arrival {
            Arrival::Poisson => {
                let gap: f64 = Exp1.sample(&mut arrivals.rng);
                arrivals.last + gap * NANOS / per_second
            }
            // From the count and not by adding, so that a long run does not drift.
            Arrival::Constant => arrivals.offset + arrivals.count as f64 * NANOS / per_second,
            // A driver that cannot carry these out refuses the scenario before it is here.
            Arrival::Gamma { .. } | Arrival::Mmpp { .. } | Arrival::Burst { .. } | Arrival::Trace(_) => {
                f64::INFINITY
            }
        };
        arrivals.count += 1;
        // The cast saturates: a rate of once in a century ends up at the end of time.
        Some(arrivals.zero + Duration::from_nanos(arrivals.last as u64))
    }

    /// Sender, target and size of the next message.
    pub(super) fn draw(&mut self) -> (u32, Target, u32) {
        let sender = match &mut self.choice {
            Some(rng) => self.senders[rng.random_range(0..self.senders.len() as u64) as usize],
            None => self.first_sender(),
        };
        (sender, self.target(sender), self.size())
    }

    fn target(&mut self, sender: u32) -> Target {
        match (self.kind, &mut self.targets) {
            (WorkloadKind::Private, Some(rng)) => {
                // One of the others: the draw skips the sender. A scenario with a workload has at least two clients.
                let drawn = rng.random_range(0..self.clients - 1);
                Target::Client(if drawn >= sender { drawn + 1 } else { drawn })
            }
            (WorkloadKind::Broadcast, _) => Target::All,
            _ => Target::Room,
        }
    }

    fn size(&mut self) -> u32 {
        match (&self.size, &mut self.sizes) {
            (&Size::Uniform { min, max }, Some(rng)) => rng.random_range(min..=max),
            (&Size::LogNormal { median, p99 }, Some(rng)) => {
                let sigma = (f64::from(p99) / f64::from(median)).ln() / Z99;
                let z: f64 = StandardNormal.sample(rng);
                let bytes = f64::from(median) * (sigma * z).exp();
                (bytes.round() as u32).clamp(MIN_TEXT, MAX_TEXT)
            }
            (
                &Size::Fixed(size)
                | &Size::Uniform { min: size, .. }
                | &Size::LogNormal { median: size, .. }
                | &Size::Pareto { min: size, .. },
                _,
            ) => size,
            (Size::Trace(trace), _) => trace.bytes.first().copied().unwrap_or(MIN_TEXT),
        }
    }
}

const NANOS: f64 = 1e9;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;
