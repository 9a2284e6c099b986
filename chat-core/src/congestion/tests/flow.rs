//! One flow that always has something to send, over a path that delays, loses and marks. Virtual time, no protocol: only
//! what a controller sees, so that what is measured is the controller.

use std::collections::VecDeque;
use std::time::Duration;

use units::{ByteCount, Timestamp};

use crate::config::TransportConfig;
use crate::congestion::{
    AckBatch, AckedPacket, Controller, Delivery, LostPacket, RttView, SentPacket, Timeout, build,
};

/// A sender, its controller, and the path. All packets are one segment.
pub(in crate::congestion) struct Flow {
    pub(in crate::congestion) controller: Box<dyn Controller>,
    pub(in crate::congestion) now: Timestamp,
    pub(in crate::congestion) mss: u64,
    /// Time from sending to the ack.
    pub(in crate::congestion) rtt: Duration,
    /// Most packets in flight that the application has a use for.
    pub(in crate::congestion) demand: u64,
    /// Packets that arrived.
    pub(in crate::congestion) delivered: u64,
    /// Timeouts: of the classic kind, or probes of a tail.
    pub(in crate::congestion) timeouts: u64,
    /// A timeout declares everything lost (RFC 6298), or sends a probe (RFC 9002).
    collapses: bool,
    next: u64,
    /// Packets whose fate is not known, in sending order.
    outstanding: VecDeque<Outstanding>,
    in_flight: u64,
    newest_acked: u64,
    /// How often the timer ran out in a row.
    backoff: u32,
}

#[derive(Clone, Copy, Debug)]
struct Outstanding {
    number: u64,
    sent_at: Timestamp,
    acked_at: Timestamp,
    fate: Fate,
}

/// What happens to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::congestion) enum Fate {
    Arrives,
    ArrivesMarked,
    IsLost,
}

impl Flow {
    pub(in crate::congestion) fn new(config: &TransportConfig, rtt: Duration) -> Self {
        Self {
            controller: build(config),
            now: Timestamp::ZERO,
            mss: config.mss.as_u64(),
            rtt,
            demand: u64::MAX,
            delivered: 0,
            timeouts: 0,
            collapses: !config.time_threshold,
            next: 1,
            outstanding: VecDeque::new(),
            in_flight: 0,
            newest_acked: 0,
            backoff: 0,
        }
    }

    /// Packets sent so far.
    pub(in crate::congestion) fn sent(&self) -> u64 {
        self.next - 1
    }

    /// The window, in segments.
    pub(in crate::congestion) fn window(&self) -> u64 {
        self.controller.cwnd().as_u64() / self.mss
    }

    /// Sends what the window and the application allow; `fate` decides for each packet by its number.
    pub(in crate::congestion) fn send(&mut self, fate: &mut dyn FnMut(u64) -> Fate) {
        while (self.in_flight + 1) * self.mss <= self.controller.cwnd().as_u64() || self.in_flight == 0 {
            if self.in_flight >= self.demand {
                return;
            }
            self.send_one(fate, self.in_flight + 1 == self.demand);
        }
    }

    fn send_one(&mut self, fate: &mut dyn FnMut(u64) -> Fate, app_limited: bool) {
        let number = self.next;
        self.next += 1;
        let prior_in_flight = ByteCount(self.in_flight * self.mss);
        let size = ByteCount(self.mss);
        self.in_flight += 1;
        let (sent_at, acked_at) = (self.now, self.now + self.rtt);
        self.outstanding.push_back(Outstanding { number, sent_at, acked_at, fate: fate(number) });
        self.controller.on_sent(&SentPacket { at: sent_at, number, size, prior_in_flight, app_limited });
    }

    /// Waits for one thing: an ack, the loss timer or the tail's timer; and sends what that lets go.
    pub(in crate::congestion) fn step(&mut self, fate: &mut dyn FnMut(u64) -> Fate) {
        self.send(fate);
        let arrival = self.outstanding.iter().position(|packet| packet.fate != Fate::IsLost);
        let by_time = self.loss_by_time();
        match (arrival, by_time) {
            (Some(index), due) if due.is_none_or(|due| self.outstanding[index].acked_at <= due) => {
                self.acknowledge(index, 1);
            }
            (_, Some(due)) => {
                self.now = self.now.max(due);
                self.settle(&[], 0, |front, _| front.sent_at <= due);
            }
            (_, None) => self.time_out(fate),
        }
        self.send(fate);
    }

    /// When the oldest packet is lost by the time threshold (RFC 9002 section 6.1.2): it needs a later one that arrived.
    fn loss_by_time(&self) -> Option<Timestamp> {
        let front = self.outstanding.front().filter(|front| front.number < self.newest_acked)?;
        (!self.collapses && front.fate == Fate::IsLost).then(|| front.sent_at + self.rtt * 9 / 8)
    }

    /// The packet at `index` and up to `count - 1` that arrive with it are acknowledged; those before it are lost if three
    /// later ones arrived.
    fn acknowledge(&mut self, index: usize, count: usize) {
        let (mut acked, mut marks) = (vec![], 0);
        self.now = self.now.max(self.outstanding[index].acked_at);
        let mut at = index;
        while acked.len() < count && at < self.outstanding.len() {
            let packet = self.outstanding[at];
            if packet.fate == Fate::IsLost || packet.acked_at > self.now {
                at += 1;
                continue;
            }
            self.outstanding.remove(at);
            marks += u64::from(packet.fate == Fate::ArrivesMarked);
            acked.push(self.acked(&packet));
        }
        self.newest_acked = acked.last().map_or(self.newest_acked, |packet| packet.number);
        self.delivered += acked.len() as u64;
        self.backoff = 0;
        // Numbers follow each other, so a gap of three is the packet threshold.
        self.settle(&acked, marks, |front, newest| front.number + 3 <= newest);
    }

    /// Declares what `is_lost` of the oldest packets says, and tells the controller.
    fn settle(&mut self, acked: &[AckedPacket], ecn_ce: u64, is_lost: impl Fn(&Outstanding, u64) -> bool) {
        let prior_in_flight = ByteCount(self.in_flight * self.mss);
        let mut lost = vec![];
        while let Some(front) = self.outstanding.front().copied() {
            if front.fate != Fate::IsLost || !is_lost(&front, self.newest_acked) {
                break;
            }
            self.outstanding.pop_front();
            lost.push(self.lost(&front));
        }
        self.in_flight -= (acked.len() + lost.len()) as u64;
        self.controller.on_acks(&AckBatch {
            now: self.now,
            acked,
            lost: &lost,
            ecn_ce,
            prior_in_flight,
            in_flight: ByteCount(self.in_flight * self.mss),
            next_packet: self.next,
            rtt: RttView { latest: Some(self.rtt), smoothed: Some(self.rtt), min: Some(self.rtt) },
            rate: None,
        });
    }

    /// A whole round trip: everything in flight is acknowledged in batches of `batch` packets, and only then are new ones
    /// sent. Losses of its first packets are seen before. Returns how many packets the round carried.
    pub(in crate::congestion) fn round(&mut self, batch: usize, fate: &mut dyn FnMut(u64) -> Fate) -> u64 {
        self.send(fate);
        let sent = self.in_flight;
        self.now += self.rtt;
        self.settle(&[], 0, |_, _| true);
        while let Some(index) = self.outstanding.iter().position(|packet| packet.fate != Fate::IsLost) {
            self.acknowledge(index, batch);
        }
        sent
    }

    /// The window is filled, and one RTT later `count` packets of it are acknowledged.
    pub(in crate::congestion) fn trickle(&mut self, count: usize) {
        self.send(&mut |_| Fate::Arrives);
        self.now += self.rtt;
        self.acknowledge(0, count);
    }

    /// RFC 6298 with two RTTs, or the probe of RFC 9002 after as long.
    fn time_out(&mut self, fate: &mut dyn FnMut(u64) -> Fate) {
        self.now += self.timeout();
        self.timeouts += 1;
        if self.collapses {
            let flight_size = ByteCount(self.in_flight * self.mss);
            let timeout =
                Timeout { now: self.now, next_packet: self.next, flight_size, repeated: self.backoff > 0 };
            self.outstanding.clear();
            self.in_flight = 0;
            self.controller.on_timeout(&timeout);
        } else {
            self.send_one(fate, false);
        }
        self.backoff = (self.backoff + 1).min(6);
    }

    fn timeout(&self) -> Duration {
        self.rtt * 2 * (1 << self.backoff)
    }

    fn acked(&self, packet: &Outstanding) -> AckedPacket {
        let (number, sent_at) = (packet.number, packet.sent_at);
        AckedPacket { number, size: ByteCount(self.mss), sent_at, delivery: Delivery::default() }
    }

    fn lost(&self, packet: &Outstanding) -> LostPacket {
        let (number, sent_at) = (packet.number, packet.sent_at);
        LostPacket { number, size: ByteCount(self.mss), sent_at, delivery: Delivery::default() }
    }
}
