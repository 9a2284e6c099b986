//! Delivery-rate sampling (draft-ietf-ccwg-bbr, section 4.1, after draft-cheng-iccrg-delivery-rate-estimation).
//!
//! Every packet remembers how much had been delivered when it left. When it is acknowledged, what was delivered in
//! between, over the longer of the time it took to send and the time it took to acknowledge, is one sample of the rate
//! that the path sustains. Controllers that do not need it still have it in their traces.

use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

/// What a packet remembers from the moment it left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes delivered by then.
    pub delivered: u64,
    /// When the last of them were.
    pub delivered_at: Timestamp,
    /// When the first packet of the flight that `delivered` ends was sent.
    pub first_sent_at: Timestamp,
    /// Bytes in flight, this packet included.
    pub tx_in_flight: u64,
    /// Bytes lost by then.
    pub lost: u64,
    /// The sender had too little to send, so the sample may be too low.
    pub app_limited: bool,
}

/// One sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateSample {
    /// `None` if the interval is too short to mean anything.
    pub delivery_rate: Option<Bitrate>,
    /// Bytes delivered over the interval.
    pub delivered: u64,
    pub interval: Duration,
    pub app_limited: bool,
    /// [`Delivery::delivered`] of the newest packet acknowledged.
    pub prior_delivered: u64,
    /// Bytes delivered, and lost, ever.
    pub total_delivered: u64,
    pub total_lost: u64,
    /// Bytes newly acknowledged and newly lost in this batch.
    pub newly_acked: u64,
    pub newly_lost: u64,
    /// Bytes in flight when the newest packet acknowledged was sent.
    pub tx_in_flight: u64,
    /// Bytes lost between its sending and now.
    pub lost: u64,
}

/// State of one connection.
#[derive(Clone, Debug, Default)]
pub struct RateSampler {
    delivered: u64,
    delivered_at: Timestamp,
    first_sent_at: Timestamp,
    lost: u64,
    /// Samples are application-limited until this much was delivered; 0: they are not.
    app_limited_until: u64,
    batch: Batch,
}

/// What the packets of the batch in hand have told so far.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    newest: Option<(Timestamp, Delivery)>,
    newly_acked: u64,
    newly_lost: u64,
}

impl RateSampler {
    /// A packet of `size` leaves while `prior_in_flight` are under way.
    pub fn on_sent(&mut self, now: Timestamp, size: ByteCount, prior_in_flight: ByteCount) -> Delivery {
        if prior_in_flight == ByteCount::ZERO {
            self.first_sent_at = now;
            self.delivered_at = now;
        }
        Delivery {
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            tx_in_flight: (prior_in_flight + size).as_u64(),
            lost: self.lost,
            app_limited: self.app_limited_until > 0,
        }
    }

    /// The sender had nothing more to send and room to send it, with `in_flight` under way.
    pub fn on_app_limited(&mut self, in_flight: ByteCount) {
        self.app_limited_until = (self.delivered + in_flight.as_u64()).max(1);
    }

    /// A packet was acknowledged.
    pub fn on_acked(&mut self, now: Timestamp, sent_at: Timestamp, size: ByteCount, delivery: Delivery) {
        self.delivered += size.as_u64();
        self.delivered_at = now;
        self.batch.newly_acked += size.as_u64();
        // The newest packet by sending time: what it remembers is the freshest.
        if self.batch.newest.is_none_or(|(newest, _)| sent_at >= newest) {
            self.batch.newest = Some((sent_at, delivery));
            self.first_sent_at = sent_at;
        }
    }

    /// A packet was declared lost.
    pub fn on_lost(&mut self, size: ByteCount) {
        self.lost += size.as_u64();
        self.batch.newly_lost += size.as_u64();
    }

    /// Ends the batch. `None` if nothing was acknowledged. An interval below `min_rtt` gives no rate: it tells of acks
    /// that were held back and came in one go.
    pub fn sample(&mut self, min_rtt: Option<Duration>) -> Option<RateSample> {
        let batch = std::mem::take(&mut self.batch);
        if self.app_limited_until > 0 && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let (sent_at, prior) = batch.newest?;
        let send_elapsed = sent_at.since(prior.first_sent_at);
        let ack_elapsed = self.delivered_at.since(prior.delivered_at);
        let interval = send_elapsed.max(ack_elapsed);
        let delivered = self.delivered - prior.delivered;
        let is_sound = !interval.is_zero() && min_rtt.is_none_or(|min| interval >= min);
        Some(RateSample {
            delivery_rate: if is_sound { rate(delivered, interval) } else { None },
            delivered,
            interval,
            app_limited: prior.app_limited,
            prior_delivered: prior.delivered,
            total_delivered: self.delivered,
            total_lost: self.lost,
            newly_acked: batch.newly_acked,
            newly_lost: batch.newly_lost,
            tx_in_flight: prior.tx_in_flight,
            lost: self.lost - prior.lost,
        })
    }

    /// Bytes delivered, ever.
    #[must_use]
    pub fn delivered(&self) -> u64 {
        self.delivered
    }
}

fn rate(bytes: u64, interval: Duration) -> Option<Bitrate> {
    let bits = u128::from(bytes) * 8 * 1_000_000_000 / interval.as_nanos().max(1);
    Bitrate::from_bits_per_second(u64::try_from(bits).unwrap_or(u64::MAX))
}
