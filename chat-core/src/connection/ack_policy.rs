//! When to acknowledge, and what: the receiving side of loss recovery.
//!
//! An ack leaves at once where the sender may be waiting for it (a gap, a duplicate, a congestion mark: RFC 9000 section
//! 13.2.1) and for every packet of a slow flow, whose sender learns of losses only by acks. Packets of a fast flow are
//! acknowledged by the pair or by the eight, and on a byte stream, where no ack is urgent, by the four.
//!
//! Ranges below what the peer is known to have read are dropped: when it acknowledges a packet in which an ack had
//! travelled. If nothing goes that way but acks, one of them is numbered now and then, and only if there are holes to
//! forget. Acks of acks are not numbered themselves before as many of them have left, so they cannot echo.

use std::time::Duration;

use units::Timestamp;

use super::{AckContent, AckRanges, ChannelWindows};
use crate::config::{CarrierHint, TransportConfig};
use crate::path::Ecn;
use crate::wire::EcnCounts;

/// What this end owes the peer in acknowledgements.
#[derive(Debug, Default)]
pub(super) struct AckState {
    pub(super) ranges: AckRanges,
    /// When the highest packet arrived.
    largest_at: Timestamp,
    /// Packets that arrived since the last ack left.
    unacknowledged: u32,
    /// When the next ack must leave at the latest; `None`: nothing to acknowledge.
    pub(super) deadline: Option<Timestamp>,
    /// Right edge of the receive window in the last ack.
    pub(super) window_told: u64,
    ecn: EcnCounts,
    last_arrival: Timestamp,
    /// Smoothed time between packets.
    interval: Duration,
    /// Acks that left without a packet number since one had any.
    unnumbered: u32,
}

impl AckState {
    /// An ack must leave at once.
    pub(super) fn demand(&mut self) {
        if !self.ranges.is_empty() {
            self.deadline = Some(Timestamp::ZERO);
        }
    }

    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// An ack leaves. `numbered`: in a packet that the peer will acknowledge.
    pub(super) fn on_sent(&mut self, window_end: u64, numbered: bool) {
        self.unacknowledged = 0;
        self.deadline = None;
        self.window_told = window_end;
        self.unnumbered = if numbered { 0 } else { self.unnumbered.saturating_add(1) };
    }

    /// Whether the next ack should have a number of its own.
    pub(super) fn wants_number(&self) -> bool {
        self.ranges.as_slice().len() > 1 && self.unnumbered >= UNNUMBERED_MAX
    }

    /// The peer has read an ack whose highest number was `largest`.
    pub(super) fn on_ack_of_ack(&mut self, largest: u64) {
        self.ranges.forget_up_to(largest);
    }

    /// The content of an ack that leaves now.
    pub(super) fn content(&self, now: Timestamp, window_end: u64) -> AckContent {
        let delay_us = u64::try_from(now.since(self.largest_at).as_micros()).unwrap_or(u64::MAX);
        let ecn = (!self.ecn.is_empty()).then_some(self.ecn);
        AckContent {
            ranges: self.ranges.clone(),
            window: Some(window_end),
            channels: ChannelWindows::new(),
            delay_us,
            ecn,
        }
    }

    /// Enters a packet and decides when its ack leaves; false if it was known.
    pub(super) fn on_arrival(
        &mut self,
        now: Timestamp,
        packet: u64,
        ecn: Ecn,
        config: &TransportConfig,
    ) -> bool {
        let expected = self.ranges.largest().map_or(1, |largest| largest + 1);
        if !self.ranges.insert(packet) {
            self.demand();
            return false;
        }
        self.ecn.count(ecn);
        if packet >= expected {
            self.largest_at = now;
        }
        self.note_interval(now);
        self.unacknowledged += 1;
        let is_urgent = packet != expected || ecn == Ecn::Ce || config.max_ack_delay.is_zero();
        let at_once = is_urgent || self.unacknowledged >= self.every(config.carrier);
        let deadline = if at_once { now } else { now + config.max_ack_delay };
        self.deadline = Some(self.deadline.map_or(deadline, |earlier| earlier.min(deadline)));
        true
    }

    /// How many packets share an ack.
    fn every(&self, carrier: CarrierHint) -> u32 {
        match carrier {
            CarrierHint::FifoStream => 4,
            CarrierHint::Datagram if self.interval > SLOW => 1,
            CarrierHint::Datagram if self.interval > FAST => 2,
            CarrierHint::Datagram => 8,
        }
    }

    /// Gain 1/8, like the smoothed RTT.
    fn note_interval(&mut self, now: Timestamp) {
        let interval = now.since(self.last_arrival).min(PAUSE);
        self.last_arrival = now;
        self.interval = (self.interval * 7 + interval) / 8;
    }
}

/// 200 packets a second: below that an ack for each costs less than the time it saves.
const SLOW: Duration = Duration::from_millis(5);
/// 2,000 packets a second: above that every eighth is still more than one in five milliseconds.
const FAST: Duration = Duration::from_micros(500);
/// A longer pause says no more than that the flow is slow; the average must not remember it for ever.
const PAUSE: Duration = Duration::from_millis(100);
/// RFC 9000 section 13.2.4 leaves the number open; other stacks take 16 to 24.
const UNNUMBERED_MAX: u32 = 20;

#[cfg(test)]
mod tests {
    use super::*;

    /// Acks that leave when `count` packets arrive in order, `gap` apart.
    fn acks(count: u64, gap: Duration, carrier: CarrierHint) -> usize {
        let config = TransportConfig { carrier, ..TransportConfig::default() };
        let mut state = AckState::default();
        let mut acks = 0;
        let mut now = Timestamp::from_secs(1);
        for packet in 1..=count {
            state.on_arrival(now, packet, Ecn::NotEct, &config);
            now += gap;
            if state.is_due(now - gap) || state.is_due(now) {
                acks += 1;
                state.on_sent(0, false);
            }
        }
        acks
    }

    #[test]
    fn slow_flows_are_acknowledged_packet_by_packet_and_fast_ones_together() {
        let ms = Duration::from_millis;
        assert_eq!(acks(100, ms(20), CarrierHint::Datagram), 100);
        assert!((500..540).contains(&acks(1000, ms(1), CarrierHint::Datagram)));
        assert!((125..160).contains(&acks(1000, Duration::from_micros(100), CarrierHint::Datagram)));
        assert!((250..260).contains(&acks(1000, ms(1), CarrierHint::FifoStream)));
    }

    #[test]
    fn a_gap_and_a_mark_are_told_at_once() {
        let config = TransportConfig { carrier: CarrierHint::FifoStream, ..TransportConfig::default() };
        let now = Timestamp::from_secs(1);
        let mut state = AckState::default();
        state.on_arrival(now, 1, Ecn::Ect0, &config);
        assert!(!state.is_due(now));
        state.on_arrival(now, 3, Ecn::Ect0, &config);
        assert!(state.is_due(now), "2 is missing");
        state.on_sent(0, false);
        state.on_arrival(now, 2, Ecn::Ect0, &config);
        assert!(state.is_due(now), "2 was waited for");
        state.on_sent(0, false);
        state.on_arrival(now, 4, Ecn::Ce, &config);
        assert!(state.is_due(now), "congestion");
        assert_eq!(state.content(now, 0).ecn, Some(EcnCounts { ect0: 3, ect1: 0, ce: 1 }));
    }

    #[test]
    fn an_ack_gets_a_number_only_when_there_is_something_to_forget() {
        let config = TransportConfig::default();
        let mut state = AckState::default();
        let ack = |state: &mut AckState, packet| {
            state.on_arrival(Timestamp::from_secs(packet), packet, Ecn::NotEct, &config);
            let numbered = state.wants_number();
            state.on_sent(0, numbered);
            numbered
        };
        assert!((1..100).all(|packet| !ack(&mut state, packet)), "no hole, no number");
        // Every second packet is lost from here on.
        let numbered = (101..201).filter(|half| ack(&mut state, half * 2 - 100)).count();
        assert!((4..=5).contains(&numbered), "{numbered} of 100");
    }
}
