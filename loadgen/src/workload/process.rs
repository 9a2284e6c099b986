//! Arrival processes: when the next message is due, in nanoseconds of a stream's own clock ([`super::clock`]).
//!
//! Every process is stationary from its first moment on where that means anything: constant, gamma and burst begin at a
//! seeded place of their own within a gap, and MMPP in a state drawn by how long it stays there. Otherwise a thousand
//! clients would begin in step, and the beginning of a run would be another load than its middle. A recording is played
//! as it was recorded, by all alike. Exponential, normal and gamma draws are `rand_distr`'s on ChaCha8; golden tests hold
//! the first draws, because a published seed must keep its meaning.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_distr::{Distribution, Exp1, Gamma};
use units::Rng;

use crate::scenario::{Arrival, ArrivalTrace};

/// The due times of one stream, ascending.
#[derive(Debug)]
pub(super) struct Process {
    rng: Rng,
    law: Law,
    /// Of the last arrival, or of the last change of state.
    last: f64,
    /// Arrivals so far.
    count: u64,
}

#[derive(Debug)]
enum Law {
    Poisson {
        per_second: f64,
    },
    Constant {
        per_second: f64,
        offset: f64,
    },
    /// `begins`: where in a gap the clock begins, 0 to 1, until the first arrival.
    Gamma {
        gaps: Gamma<f64>,
        /// Gaps as they are met by somebody who comes at any time: longer ones more often.
        met: Gamma<f64>,
        begins: Option<f64>,
    },
    Mmpp(Switching),
    Burst {
        size: u64,
        every: f64,
        offset: f64,
    },
    Trace(Arc<ArrivalTrace>),
}

/// The two states of an MMPP.
#[derive(Debug)]
struct Switching {
    calm: State,
    busy: State,
    is_busy: bool,
    /// When the present state ends.
    until: f64,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// Mean gap and mean stay.
    gap: f64,
    stay: f64,
}

impl Process {
    /// `per_second` is the mean rate; bursts and recordings have their own.
    pub(super) fn new(arrival: &Arrival, per_second: f64, mut rng: Rng) -> Self {
        let gap = NANOS / per_second;
        // Every process takes it, so that each begins at the same place of its substream.
        let place: f64 = rng.random();
        let law = match arrival {
            Arrival::Poisson => Law::Poisson { per_second },
            Arrival::Constant => Law::Constant { per_second, offset: place * NANOS / per_second },
            Arrival::Gamma { cv } => gamma(*cv, gap, place),
            Arrival::Mmpp { factor, calm, busy } => {
                mmpp((*factor, *calm, *busy), per_second, place, &mut rng)
            }
            Arrival::Burst { count, every } => {
                let every = nanos(*every);
                Law::Burst { size: u64::from(*count).max(1), every, offset: place * every }
            }
            Arrival::Trace(trace) => Law::Trace(Arc::clone(trace)),
        };
        Self { rng, law, last: 0.0, count: 0 }
    }

    /// When the next message is due.
    pub(super) fn next(&mut self) -> f64 {
        let count = self.count;
        self.count += 1;
        let rng = &mut self.rng;
        self.last = match &mut self.law {
            Law::Poisson { per_second } => {
                let drawn: f64 = Exp1.sample(rng);
                self.last + drawn * NANOS / *per_second
            }
            // From the count and not by adding, so that a long run does not drift.
            Law::Constant { per_second, offset } => *offset + count as f64 * NANOS / *per_second,
            Law::Gamma { gaps, met, begins } => match begins.take() {
                Some(place) => place * met.sample(rng),
                None => self.last + gaps.sample(rng),
            },
            Law::Mmpp(switching) => switching.next(self.last, rng),
            Law::Burst { size, every, offset } => *offset + (count / *size) as f64 * *every,
            Law::Trace(trace) => {
                let length = trace.times.len().max(1) as u64;
                let (round, place) = (count / length, (count % length) as usize);
                let period = trace.times.last().map_or(f64::INFINITY, |last| nanos(*last));
                round as f64 * period + trace.times.get(place).map_or(f64::INFINITY, |at| nanos(*at))
            }
        };
        self.last
    }
}

impl Switching {
    /// One unit of exponential work is done at the rate of each state in turn until it is used up.
    fn next(&mut self, from: f64, rng: &mut Rng) -> f64 {
        let mut at = from;
        let mut work: f64 = Exp1.sample(rng);
        loop {
            let state = if self.is_busy { self.busy } else { self.calm };
            let due = at + work * state.gap;
            if due <= self.until {
                return due;
            }
            work -= (self.until - at) / state.gap;
            at = self.until;
            self.is_busy = !self.is_busy;
            let stay = if self.is_busy { self.busy.stay } else { self.calm.stay };
            let drawn: f64 = Exp1.sample(rng);
            self.until = at + drawn * stay;
        }
    }
}

/// Shape 1 / cv², scale gap · cv². The first arrival is the rest of a gap that is met at a uniform place; a gap is met in
/// proportion to its length, which raises the shape by one.
fn gamma(cv: f64, gap: f64, place: f64) -> Law {
    let (shape, scale) = (1.0 / (cv * cv), gap * cv * cv);
    match (Gamma::new(shape, scale), Gamma::new(shape + 1.0, scale)) {
        (Ok(gaps), Ok(met)) => Law::Gamma { gaps, met, begins: Some(place) },
        // Only without a rate: nothing is ever due.
        _ => Law::Constant { per_second: 1.0, offset: f64::INFINITY },
    }
}

fn mmpp((factor, calm, busy): (f64, Duration, Duration), per_second: f64, place: f64, rng: &mut Rng) -> Law {
    let (calm, busy) = (nanos(calm), nanos(busy));
    let cycle = calm + busy;
    let gap = NANOS / per_second;
    if gap > cycle * MOST_SWITCHES {
        return Law::Poisson { per_second };
    }
    // The mean of both rates, by time, is the rate that was asked for.
    let calm_gap = gap * (calm + factor * busy) / cycle;
    let is_busy = place < busy / cycle;
    let drawn: f64 = Exp1.sample(rng);
    Law::Mmpp(Switching {
        calm: State { gap: calm_gap, stay: calm },
        busy: State { gap: calm_gap / factor, stay: busy },
        is_busy,
        until: drawn * if is_busy { busy } else { calm },
    })
}

pub(super) fn nanos(span: Duration) -> f64 {
    span.as_nanos() as f64
}

pub(super) const NANOS: f64 = 1e9;

/// Where states change so often between two messages, their count is Poisson to four digits, and walking through all of
/// them would take long.
const MOST_SWITCHES: f64 = 1e4;

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
