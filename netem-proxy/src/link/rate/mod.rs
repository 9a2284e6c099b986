//! How the bottleneck serves: one packet after the other, at a rate.
//!
//! A server is asked two things: when the next packet may be taken out of the queue, and, for a packet that is taken,
//! when its last bit is sent. What was promised stays promised: a packet in service keeps its end when the rate
//! changes; those that wait meet the new rate. All arithmetic is in integers and carries its remainders, so rates hold
//! to the nanosecond for ever.

mod bucket;
mod constant;
mod trace;

use std::time::Duration;

use units::{ByteCount, Timestamp};

use crate::profile::RateModel;
use bucket::Bucket;
use constant::Constant;
use trace::Trace;

#[derive(Debug)]
pub(super) struct Server {
    kind: Kind,
    /// When the packet taken last is sent to its last bit.
    free_at: Timestamp,
    origin: Timestamp,
}

#[derive(Debug)]
enum Kind {
    /// Infinitely fast.
    Unlimited,
    Constant(Constant),
    Bucket(Bucket),
    Trace(Trace),
}

impl Server {
    pub(super) fn new(model: Option<&RateModel>) -> Self {
        let mut server = Self { kind: Kind::Unlimited, free_at: Timestamp::ZERO, origin: Timestamp::ZERO };
        server.configure(Timestamp::ZERO, model);
        server
    }

    /// Where the times of a trace count from.
    pub(super) fn set_origin(&mut self, origin: Timestamp) {
        self.origin = origin;
    }

    pub(super) fn configure(&mut self, now: Timestamp, model: Option<&RateModel>) {
        match (&mut self.kind, model) {
            (kind, None) => *kind = Kind::Unlimited,
            (Kind::Constant(constant), Some(RateModel::Constant { rate, overhead })) => {
                constant.configure(*rate, *overhead);
            }
            (kind, Some(RateModel::Constant { rate, overhead })) => {
                *kind = Kind::Constant(Constant::new(*rate, *overhead));
            }
            (Kind::Bucket(bucket), Some(RateModel::TokenBucket { rate, burst, peak })) => {
                bucket.configure(now, *rate, *burst, *peak);
            }
            (kind, Some(RateModel::TokenBucket { rate, burst, peak })) => {
                *kind = Kind::Bucket(Bucket::new(now, *rate, *burst, *peak));
            }
            (Kind::Trace(trace), Some(RateModel::Trace(recorded))) if trace.is_of(recorded) => {}
            (kind, Some(RateModel::Trace(recorded))) => *kind = Kind::Trace(Trace::new(recorded.clone())),
        }
    }

    /// Whether a packet that arrives `now` at an empty queue passes at once.
    #[inline]
    pub(super) fn is_free(&self, now: Timestamp) -> bool {
        matches!(self.kind, Kind::Unlimited) && self.free_at <= now
    }

    /// When the next packet may be taken, if one has begun to wait `now`.
    #[inline]
    pub(super) fn ready(&self, now: Timestamp) -> Timestamp {
        match &self.kind {
            Kind::Trace(trace) => trace.ready(now, self.free_at, self.origin),
            _ => now.max(self.free_at),
        }
    }

    /// When the packet after the one just taken may be taken, if it waits already.
    #[inline]
    pub(super) fn ready_again(&self) -> Timestamp {
        match &self.kind {
            Kind::Trace(trace) => trace.ready_again(self.origin),
            _ => self.free_at,
        }
    }

    /// Takes a packet at a time at which it was ready; returns when its last bit is sent.
    #[inline]
    pub(super) fn serve(&mut self, at: Timestamp, size: ByteCount) -> Timestamp {
        self.free_at = match &mut self.kind {
            Kind::Unlimited => at.max(self.free_at),
            Kind::Constant(constant) => constant.serve(at, self.free_at, size),
            Kind::Bucket(bucket) => bucket.serve(at, size),
            Kind::Trace(trace) => trace.serve(at, size, self.origin),
        };
        self.free_at
    }
}

/// `numerator / rate` in whole nanoseconds and the rest, for numerators that seldom need 128 bits.
fn divide(numerator: u128, rate: u64) -> (u64, u64) {
    match u64::try_from(numerator) {
        Ok(small) => (small / rate, small % rate),
        Err(_) => {
            let (quotient, rest) = (numerator / u128::from(rate), numerator % u128::from(rate));
            // The rest is below a rate of 64 bits.
            (u64::try_from(quotient).unwrap_or(u64::MAX), rest as u64)
        }
    }
}

/// What a bit weighs when rates are bits a second and times nanoseconds.
const NANOS: u128 = 1_000_000_000;

fn nanos(count: u64) -> Duration {
    Duration::from_nanos(count)
}
