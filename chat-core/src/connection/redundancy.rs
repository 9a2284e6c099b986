//! When it pays to send a thing more than once.
//!
//! A chat line is lost with the path's loss rate and then comes a round trip late, or later. On a *thin* flow, which
//! sends far less than its share, sending it again before it is missed costs few bytes and saves that round trip
//! (Evensen, Petlund, Griwodz and Halvorsen, "Redundant bundling in TCP to reduce perceived latency for time-dependent
//! thin streams", 2008). On any other flow the same bytes would only make the queue longer. So copies are made only while
//! the flow is thin, the loss is real, and the queue does not grow; each gate has a lower bound to open than to close,
//! so that nothing flaps.
//!
//! The policy is a value: it is told what happened and answers with a [`Plan`]. It never sees a packet.

use std::time::Duration;

use units::{ByteCount, Timestamp};

use crate::config::{BundleConfig, Redundancy};
use crate::congestion::RttView;

/// What should be sent more than once just now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Send each retransmission a second time.
    pub(crate) echo: bool,
    /// Copies of each new segment.
    pub(crate) copies: u8,
    /// In which of the following packets, counted from that of the segment.
    pub(crate) offsets: [u8; COPIES_MAX],
    /// Copies that find no packet to ride in leave alone after this, for segments that are not held up by earlier ones …
    pub(crate) solo_eager: bool,
    /// … or for all.
    pub(crate) solo_all: bool,
    pub(crate) solo_delay: Duration,
    /// Bytes of the congestion window that copies leave free, at least.
    pub(crate) reserve: u64,
}

impl Plan {
    /// The largest offset in use.
    pub(crate) fn reach(&self) -> u64 {
        self.offsets[..usize::from(self.copies).min(COPIES_MAX)].iter().copied().max().map_or(0, u64::from)
    }
}

/// State of one connection.
#[derive(Debug)]
pub(crate) struct Policy {
    config: Redundancy,
    /// Share of packets lost, in units of 2^-16, and how many told of it, up to [`LOSS_MEMORY`].
    loss: u64,
    outcomes: u64,
    burst: BurstMeter,
    rate: RateMeter,
    /// The same without copies.
    new_rate: RateMeter,
    /// Bytes of copies in the packet that is being made.
    copied: u64,
    spacing: Spacing,
    is_real: bool,
    is_thin: bool,
    is_calm: bool,
    is_bursty: bool,
    is_sparse: bool,
    /// Until when nothing new is copied, because something new had to wait for the congestion window.
    crowded_until: Timestamp,
    /// The path has fallen silent.
    is_silent: bool,
    copies: u8,
}

impl Policy {
    pub(crate) fn new(config: Redundancy) -> Self {
        Self {
            config,
            loss: 0,
            outcomes: 0,
            burst: BurstMeter::default(),
            rate: RateMeter::default(),
            new_rate: RateMeter::default(),
            copied: 0,
            spacing: Spacing::default(),
            is_real: false,
            is_thin: true,
            is_calm: true,
            is_bursty: false,
            is_sparse: false,
            crowded_until: Timestamp::ZERO,
            is_silent: false,
            copies: 0,
        }
    }

    /// A numbered packet left; `carries_new`: with a segment that was never sent before.
    pub(crate) fn on_sent(&mut self, now: Timestamp, size: ByteCount, carries_new: bool) {
        self.rate.on_sent(now, size.as_u64() + CARRIER_BYTES);
        let copied = std::mem::take(&mut self.copied);
        self.new_rate.on_sent(now, size.as_u64().saturating_sub(copied));
        if carries_new {
            self.spacing.on_sent(now);
        }
    }

    /// So many bytes of the packet that leaves next are copies.
    pub(crate) fn on_copied(&mut self, bytes: u64) {
        self.copied += bytes;
    }

    /// Something waits for room in the congestion window: copies would take it away.
    pub(crate) fn on_crowded(&mut self, now: Timestamp, srtt: Option<Duration>) {
        self.crowded_until = now + srtt.unwrap_or(SPACING_MAX).saturating_mul(CROWDED_RTTS);
    }

    /// Whether acks are overdue: a burst of losses is going on. What is sent into it stays in flight until it is over, and
    /// copies would fill the window that new messages need to see its end.
    pub(crate) fn on_silence(&mut self, is_silent: bool) {
        self.is_silent = is_silent;
    }

    pub(crate) fn on_acked(&mut self) {
        self.on_outcome(0);
    }

    /// A packet was declared lost by the path, not for reasons of this end.
    pub(crate) fn on_lost(&mut self, packet: u64) {
        self.on_outcome(ONE);
        self.burst.on_lost(packet);
    }

    fn on_outcome(&mut self, value: u64) {
        // The mean of the first outcomes, then a moving one: the first loss of a long session weighs little.
        self.outcomes = (self.outcomes + 1).min(LOSS_MEMORY);
        let sum = self.loss * (self.outcomes.max(LOSS_MEMORY_MIN) - 1) + value;
        self.loss = sum / self.outcomes.max(LOSS_MEMORY_MIN);
    }

    /// What to do now. `packets_in_flight` are those under way, `cwnd` the congestion window.
    pub(crate) fn plan(
        &mut self,
        now: Timestamp,
        rtt: RttView,
        packets_in_flight: u64,
        cwnd: ByteCount,
    ) -> Plan {
        if self.config == Redundancy::Off {
            return Plan::default();
        }
        self.weigh(now, rtt, packets_in_flight);
        if !(self.is_real && self.is_thin && self.is_calm) {
            self.copies = 0;
            return Plan::default();
        }
        let config = match self.config {
            Redundancy::Bundle(config)
                if self.crowded_until <= now && !(self.is_bursty && self.is_silent) =>
            {
                config
            }
            _ => return Plan { echo: true, ..Plan::default() },
        };
        self.copies = self.copies_for_loss(&config);
        let new_in_flight = self.new_in_flight(now, rtt);
        // In a burst nothing is acknowledged for a while, and all that leaves stays in flight. The window must hold what is
        // new for a round trip more, or the flow falls silent and learns of the burst's end by a timer.
        let reserve = if self.is_bursty { new_in_flight } else { 0 };
        let offsets = match (self.is_bursty, self.copies) {
            // Spread, so that one burst does not take them all.
            (true, 3) => [2, 4, 6],
            (true, _) => [3, 6, 9],
            (false, _) => [1, 2, 3],
        };
        Plan {
            echo: true,
            copies: self.copies.min(self.copies_for_window(new_in_flight, reserve, cwnd)),
            offsets,
            solo_eager: !self.is_bursty,
            solo_all: self.is_sparse,
            solo_delay: config.solo_delay,
            reserve,
        }
    }

    /// Sets the gates, each with its hysteresis.
    fn weigh(&mut self, now: Timestamp, rtt: RttView, packets_in_flight: u64) {
        let config = match self.config {
            Redundancy::Bundle(config) => config,
            _ => BundleConfig::default(),
        };
        self.is_real = self.loss > if self.is_real { LOSS_REAL / 2 } else { LOSS_REAL };
        let rate = self.rate.bytes_per_second(now);
        let rate_max = config.rate_max.as_u64();
        let (rate_bound, flight_bound) =
            if self.is_thin { (rate_max, THIN_PACKETS) } else { (rate_max / 4 * 3, THIN_PACKETS / 2) };
        self.is_thin = rate < rate_bound && packets_in_flight <= flight_bound;
        if let (Some(smoothed), Some(min)) = (rtt.smoothed, rtt.min) {
            let queue = smoothed.saturating_sub(min);
            let bound = min / 2 + QUEUE_SLACK;
            self.is_calm = queue < if self.is_calm { bound } else { bound / 2 };
        }
        self.is_bursty = self.burst.mean() > if self.is_bursty { BURSTY / 8 * 7 } else { BURSTY };
        let sparse = config.solo_delay.saturating_mul(if self.is_sparse { 3 } else { 4 });
        self.is_sparse = self.spacing.mean() > sparse;
    }

    /// New bytes under way, if nothing got lost.
    fn new_in_flight(&mut self, now: Timestamp, rtt: RttView) -> u64 {
        let srtt = rtt.smoothed.unwrap_or(SPACING_MAX).as_micros() as u64;
        self.new_rate.bytes_per_second(now) * srtt / 1_000_000
    }

    /// The most copies with which the flow keeps the reserve: a window that copies fill delays what is new.
    fn copies_for_window(&self, new_in_flight: u64, reserve: u64, cwnd: ByteCount) -> u8 {
        let usable = cwnd.as_u64().saturating_sub(reserve.max(cwnd.as_u64() / 5));
        let times = usable.checked_div(new_in_flight).unwrap_or(u64::MAX);
        times.saturating_sub(1).min(COPIES_MAX as u64) as u8
    }

    /// The fewest copies that leave about [`RESIDUAL`] of the segments undelivered, if losses were independent.
    fn copies_for_loss(&self, config: &BundleConfig) -> u8 {
        let residual = |copies: u8| (0..copies).fold(self.loss, |left, _| left * self.loss / ONE);
        let most = config.copies_max.min(COPIES_MAX as u8);
        let mut copies = self.copies.clamp(1, most.max(1));
        while copies < most && residual(copies) > RESIDUAL * 3 {
            copies += 1;
        }
        while copies > 1 && residual(copies - 1) < RESIDUAL * 3 / 2 {
            copies -= 1;
        }
        copies.min(most)
    }
}

/// Mean number of packets lost in a row, in units of 1/256.
#[derive(Debug, Default)]
struct BurstMeter {
    last: u64,
    run: u64,
    mean: u64,
}

impl BurstMeter {
    fn on_lost(&mut self, packet: u64) {
        if self.run > 0 && packet == self.last + 1 {
            self.run += 1;
        } else {
            if self.run > 0 {
                let run = (self.run * 256).min(BURST_MAX);
                self.mean = if self.mean == 0 { 256 } else { self.mean };
                self.mean = (self.mean * (BURST_MEMORY - 1) + run) / BURST_MEMORY;
            }
            self.run = 1;
        }
        self.last = packet;
    }

    fn mean(&self) -> u64 {
        self.mean
    }
}

/// Bytes sent over about the last second.
#[derive(Debug, Default)]
struct RateMeter {
    slots: [u64; RATE_SLOTS],
    /// Number of the slot that is being filled, counted from the beginning of time.
    slot: u64,
}

impl RateMeter {
    fn on_sent(&mut self, now: Timestamp, bytes: u64) {
        self.turn(now);
        self.slots[(self.slot % RATE_SLOTS as u64) as usize] += bytes;
    }

    fn turn(&mut self, now: Timestamp) {
        let slot = now.as_nanos() / RATE_SLOT.as_nanos() as u64;
        for passed in (self.slot + 1..=slot).rev().take(RATE_SLOTS) {
            self.slots[(passed % RATE_SLOTS as u64) as usize] = 0;
        }
        self.slot = self.slot.max(slot);
    }

    fn bytes_per_second(&mut self, now: Timestamp) -> u64 {
        self.turn(now);
        self.slots.iter().sum()
    }
}

/// Mean time between packets with something new.
#[derive(Debug, Default)]
struct Spacing {
    last: Option<Timestamp>,
    mean: Duration,
}

impl Spacing {
    fn on_sent(&mut self, now: Timestamp) {
        if let Some(last) = self.last {
            let gap = now.since(last).min(SPACING_MAX);
            self.mean = (self.mean * 7 + gap) / 8;
        } else {
            // Nothing follows the first message of a session, as far as one can tell.
            self.mean = SPACING_MAX;
        }
        self.last = Some(now);
    }

    fn mean(&self) -> Duration {
        self.mean
    }
}

/// Copies of one segment, at most: four transmissions of which one arrives.
pub(crate) const COPIES_MAX: usize = 3;
/// One, as a share.
const ONE: u64 = 1 << 16;
/// Loss is real above 0.5 %: below it a copy of everything buys too little.
const LOSS_REAL: u64 = ONE / 200;
/// Share of segments that may still need a retransmission: 0.1 %.
const RESIDUAL: u64 = ONE / 1000;
/// How long a flow that had to wait for its window makes no copies of new segments: until the window has had the time to
/// grow.
const CROWDED_RTTS: u32 = 8;
/// Outcomes that the measured loss rests on: five seconds at 50 messages/s. It then knows 10 % within 1.3 %.
const LOSS_MEMORY: u64 = 256;
/// What a first loss is weighed against, so that one alone does not look like certain loss.
const LOSS_MEMORY_MIN: u64 = 32;
/// Packets under way in a thin flow, at most. Above, retransmissions are fast already.
const THIN_PACKETS: u64 = 48;
/// UDP and IPv4 headers, and the header of the datagram; they are part of what a copy costs.
const CARRIER_BYTES: u64 = 40;
/// How much the smoothed RTT may exceed half of the smallest one again: timers and ack delays of both ends.
const QUEUE_SLACK: Duration = Duration::from_millis(20);
/// Losses are bursty when 1.75 packets get lost in a row on average, in units of 1/256. Independent loss of 10 % gives 1.11, of 25 % 1.33.
const BURSTY: u64 = 448;
/// Runs that the mean rests on.
const BURST_MEMORY: u64 = 32;
/// An outage is no burst: longer runs count as eight.
const BURST_MAX: u64 = 8 * 256;
const RATE_SLOTS: usize = 8;
const RATE_SLOT: Duration = Duration::from_millis(125);
/// Longer gaps tell nothing more about the flow.
const SPACING_MAX: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    const WIDE: ByteCount = ByteCount(100_000);
    const MS: Duration = Duration::from_millis(1);
    const RTT: RttView = RttView {
        latest: None,
        smoothed: Some(Duration::from_millis(102)),
        min: Some(Duration::from_millis(100)),
    };

    /// A flow of a 300-byte packet every 20 ms, of which every `lose_every`-th gets lost, and `in_a_row` then.
    fn flow(policy: &mut Policy, packets: std::ops::Range<u64>, lose_every: u64, in_a_row: u64) -> Plan {
        for number in packets.clone() {
            let now = Timestamp::ZERO + MS * 20 * number as u32;
            policy.on_sent(now, ByteCount(300), true);
            if number % lose_every < in_a_row { policy.on_lost(number) } else { policy.on_acked() }
        }
        policy.plan(Timestamp::ZERO + MS * 20 * packets.end as u32, RTT, 5, WIDE)
    }

    fn bundling() -> Policy {
        Policy::new(Redundancy::Bundle(BundleConfig::default()))
    }

    #[test]
    fn nothing_is_copied_on_a_path_that_loses_nothing() {
        assert_eq!(flow(&mut bundling(), 1..1000, u64::MAX, 0), Plan::default());
        assert_eq!(flow(&mut Policy::new(Redundancy::Off), 1..1000, 5, 1), Plan::default());
    }

    #[test]
    fn more_loss_asks_for_more_copies() {
        // The residual of p^(K+1) is to be about 0.1 %: one copy to 5.5 %, two to 14 %, then three.
        for (lose_every, copies) in [(100, 1), (25, 1), (10, 2), (4, 3)] {
            let plan = flow(&mut bundling(), 1..2000, lose_every, 1);
            assert_eq!((plan.copies, plan.echo), (copies, true), "one lost of {lose_every}");
            assert_eq!(plan.offsets, [1, 2, 3]);
        }
    }

    #[test]
    fn bursts_spread_the_copies() {
        let plan = flow(&mut bundling(), 1..3000, 30, 3);
        assert_eq!((plan.copies, plan.offsets, plan.solo_eager), (2, [3, 6, 9], false));
    }

    #[test]
    fn a_thick_flow_or_a_growing_queue_closes_the_gate_and_it_opens_later_than_it_closed() {
        let mut policy = bundling();
        let now = Timestamp::ZERO + MS * 20 * 500;
        assert_eq!(flow(&mut policy, 1..500, 10, 1).copies, 2);
        let rtt = |ms: u32| RttView { smoothed: Some(MS * ms), ..RTT };
        assert_eq!(policy.plan(now, rtt(175), 5, WIDE), Plan::default(), "a queue of 75 ms on 100 ms");
        assert_eq!(policy.plan(now, rtt(150), 5, WIDE), Plan::default(), "still more than half of the bound");
        assert!(policy.plan(now, rtt(120), 5, WIDE).echo);
        for _ in 0..50 {
            policy.on_sent(now, ByteCount(1160), true);
        }
        assert_eq!(policy.plan(now, RTT, 5, WIDE), Plan::default(), "60 kB and the 15 kB/s before");
        assert!(policy.plan(now + MS * 1200, RTT, 5, WIDE).echo, "a second later");
    }

    #[test]
    fn one_loss_of_a_long_session_is_not_yet_real() {
        let mut policy = bundling();
        flow(&mut policy, 1..1000, u64::MAX, 0);
        policy.on_lost(1000);
        assert_eq!(policy.plan(Timestamp::ZERO + MS * 20_000, RTT, 5, WIDE), Plan::default());
        policy.on_lost(1010);
        assert!(policy.plan(Timestamp::ZERO + MS * 20_000, RTT, 5, WIDE).echo);
    }

    #[test]
    fn a_flow_that_waits_for_its_window_copies_nothing_new() {
        let mut policy = bundling();
        flow(&mut policy, 1..500, 10, 1);
        let now = Timestamp::ZERO + MS * 20 * 500;
        policy.on_crowded(now, RTT.smoothed);
        let plan = policy.plan(now + MS * 800, RTT, 5, WIDE);
        assert_eq!((plan.copies, plan.echo), (0, true));
        assert_eq!(policy.plan(now + MS * 820, RTT, 5, WIDE).copies, 2);
    }

    #[test]
    fn a_narrow_window_has_room_for_fewer_copies() {
        let mut policy = bundling();
        flow(&mut policy, 1..500, 10, 1);
        // 15 kB/s and 102 ms are 1,530 bytes under way, as measured over the last 7/8 to 1 s at least 1,310; each copy as
        // much again, and a fifth stays free.
        let now = Timestamp::ZERO + MS * 20 * 499;
        for (cwnd, copies) in [(100_000, 2), (6000, 2), (4500, 1), (3000, 0)] {
            assert_eq!(policy.plan(now, RTT, 5, ByteCount(cwnd)).copies, copies, "{cwnd}");
        }
    }

    #[test]
    fn messages_far_apart_are_copied_alone() {
        let mut policy = bundling();
        for number in 1..200_u64 {
            policy.on_sent(Timestamp::ZERO + MS * 250 * number as u32, ByteCount(300), true);
            if number.is_multiple_of(10) { policy.on_lost(number) } else { policy.on_acked() }
        }
        assert!(policy.plan(Timestamp::ZERO + MS * 250 * 200, RTT, 1, WIDE).solo_all);
    }
}
