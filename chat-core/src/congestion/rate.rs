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

/// One sample: what the newest packet acknowledged tells, and the totals.
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

    /// Ends the batch. `None` if nothing was acknowledged or lost. An interval below `min_rtt` gives no rate: it tells of
    /// acks that were held back and came in one go (section 4.1.2.3). A batch of losses alone has only totals.
    pub fn sample(&mut self, min_rtt: Option<Duration>) -> Option<RateSample> {
        let batch = std::mem::take(&mut self.batch);
        if self.app_limited_until > 0 && self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let Some((sent_at, prior)) = batch.newest else {
            return (batch.newly_lost > 0).then(|| self.totals(&batch));
        };
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
            tx_in_flight: prior.tx_in_flight,
            lost: self.lost - prior.lost,
            ..self.totals(&batch)
        })
    }

    fn totals(&self, batch: &Batch) -> RateSample {
        RateSample {
            delivery_rate: None,
            delivered: 0,
            interval: Duration::ZERO,
            app_limited: self.app_limited_until > 0,
            prior_delivered: 0,
            total_delivered: self.delivered,
            total_lost: self.lost,
            newly_acked: batch.newly_acked,
            newly_lost: batch.newly_lost,
            tx_in_flight: 0,
            lost: 0,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: ByteCount = ByteCount(1000);

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn in_flight(packets: u64) -> ByteCount {
        ByteCount(packets * SIZE.as_u64())
    }

    fn bits(sample: &RateSample) -> Option<u64> {
        sample.delivery_rate.map(Bitrate::bits_per_second)
    }

    /// Sends `count` packets, one each `gap` milliseconds from `start` on, nothing being acknowledged meanwhile.
    fn send(sampler: &mut RateSampler, start: u64, gap: u64, count: u64) -> Vec<(Timestamp, Delivery)> {
        (0..count)
            .map(|i| (at(start + i * gap), sampler.on_sent(at(start + i * gap), SIZE, in_flight(i))))
            .collect()
    }

    fn ack(sampler: &mut RateSampler, now: u64, packet: (Timestamp, Delivery)) -> RateSample {
        sampler.on_acked(at(now), packet.0, SIZE, packet.1);
        sampler.sample(Some(ms(50))).expect("a packet was acknowledged")
    }

    #[test]
    fn steady_acks_measure_the_rate_of_the_bottleneck() {
        let mut sampler = RateSampler::default();
        // Sent every millisecond, delivered every two: 1,000 bytes in 2 ms are 4 Mbit/s.
        let packets = send(&mut sampler, 0, 1, 100);
        let first = ack(&mut sampler, 50, packets[0]);
        assert_eq!(bits(&first), Some(160_000), "one packet in 50 ms");
        let mut last = first;
        for (i, packet) in packets.iter().enumerate().skip(1) {
            last = ack(&mut sampler, 50 + 2 * i as u64, *packet);
        }
        // 100 packets over the 248 ms since the first was sent.
        assert_eq!((last.delivered, last.interval), (100_000, ms(248)));
        assert_eq!(bits(&last), Some(3_225_806));
    }

    #[test]
    fn compressed_acks_are_capped_by_the_rate_of_sending() {
        let mut sampler = RateSampler::default();
        // The first flight ends at 150 ms; then 50 packets leave, two milliseconds apart, and are acknowledged at once.
        let first = send(&mut sampler, 0, 1, 2);
        ack(&mut sampler, 100, first[0]);
        ack(&mut sampler, 101, first[1]);
        let flight: Vec<_> = (0..50)
            .map(|i| (at(102 + 2 * i), sampler.on_sent(at(102 + 2 * i), SIZE, in_flight(i + 1))))
            .collect();
        for packet in &flight {
            sampler.on_acked(at(300), packet.0, SIZE, packet.1);
        }
        let sample = sampler.sample(Some(ms(50))).expect("acknowledged");
        // 199 ms between the acks, 199 ms between the newest packet and the one that its flight began with.
        assert_eq!(sample.delivered, 50_000);
        assert!(sample.interval >= ms(199), "{:?}", sample.interval);
    }

    #[test]
    fn a_flight_delivered_faster_than_it_was_sent_counts_the_time_of_sending() {
        let mut sampler = RateSampler::default();
        let packets = send(&mut sampler, 0, 10, 11);
        ack(&mut sampler, 149, packets[0]);
        // The rest was held back somewhere and arrives within a millisecond.
        for packet in &packets[1..] {
            sampler.on_acked(at(150), packet.0, SIZE, packet.1);
        }
        let sample = sampler.sample(Some(ms(50))).expect("acknowledged");
        assert_eq!(sample.interval, ms(150), "the ack interval began when the flight did");
        assert_eq!(bits(&sample), Some(586_666));
    }

    #[test]
    fn an_interval_below_the_round_trip_gives_no_rate() {
        let mut sampler = RateSampler::default();
        let packets = send(&mut sampler, 0, 1, 2);
        sampler.on_acked(at(20), packets[1].0, SIZE, packets[1].1);
        let sample = sampler.sample(Some(ms(50))).expect("acknowledged");
        assert_eq!((sample.delivery_rate, sample.delivered), (None, 1000));
        assert!(sampler.sample(Some(ms(50))).is_none(), "an empty batch is no sample");
    }

    #[test]
    fn the_bubble_of_an_idle_application_lasts_until_it_has_left_the_pipe() {
        let mut sampler = RateSampler::default();
        let packets = send(&mut sampler, 0, 1, 10);
        sampler.on_app_limited(in_flight(10));
        let during = sampler.on_sent(at(20), SIZE, in_flight(10));
        assert!(!packets[9].1.app_limited && during.app_limited);
        for packet in &packets {
            ack(&mut sampler, 60, *packet);
        }
        assert!(
            sampler.on_sent(at(61), SIZE, in_flight(1)).app_limited,
            "what was in flight has arrived, not more"
        );
        assert!(ack(&mut sampler, 70, (at(20), during)).app_limited);
        assert!(!sampler.on_sent(at(71), SIZE, in_flight(1)).app_limited);
    }

    #[test]
    fn losses_are_counted_from_the_sending_of_the_packet_to_its_ack() {
        let mut sampler = RateSampler::default();
        let packets = send(&mut sampler, 0, 1, 10);
        sampler.on_lost(SIZE);
        let only_lost = sampler.sample(Some(ms(50))).expect("a loss has totals");
        assert_eq!((only_lost.newly_acked, only_lost.newly_lost, only_lost.total_lost), (0, 1000, 1000));
        let later = sampler.on_sent(at(20), SIZE, in_flight(9));
        sampler.on_lost(SIZE);
        let sample = ack(&mut sampler, 60, packets[9]);
        assert_eq!((sample.lost, sample.newly_lost, sample.tx_in_flight), (2000, 1000, 10_000));
        let sample = ack(&mut sampler, 71, (at(20), later));
        assert_eq!((sample.lost, sample.total_lost), (1000, 2000));
    }

    #[test]
    fn a_late_ack_of_an_older_packet_does_not_replace_the_newest_of_the_batch() {
        let mut sampler = RateSampler::default();
        let packets = send(&mut sampler, 0, 1, 3);
        sampler.on_acked(at(60), packets[2].0, SIZE, packets[2].1);
        sampler.on_acked(at(60), packets[0].0, SIZE, packets[0].1);
        let sample = sampler.sample(None).expect("acknowledged");
        assert_eq!((sample.tx_in_flight, sample.delivered), (3000, 2000));
    }
}
