//! A bottleneck in virtual time: one queue, some flows, every packet acknowledged.
//!
//! Packets meet, in this order, random loss, a policer, a drop-tail queue served at the path's rate, and the round trip.
//! All of the path may change while it runs. It exercises controller and sampler as the connection does: paced, window
//! checked, losses after three later packets, application limits reported.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use rand::RngExt;
use units::{Bitrate, ByteCount, Rng, Seed, Timestamp};

pub(super) use super::path::{MSS, Path, Policer, mbits};
use crate::config::TransportConfig;
use crate::congestion::bbr::Bbr;
use crate::congestion::{
    AckBatch, AckedPacket, Controller, Delivery, LostPacket, RateSampler, RttView, SentPacket, State, Timeout,
};

/// What the application wants to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum App {
    Bulk,
    Rate(Bitrate),
    Silent,
}

#[derive(Debug)]
enum Control {
    Bbr(Box<Bbr>),
    Other(Box<dyn Controller>),
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Timestamp,
    delivery: Delivery,
}

#[derive(Debug)]
pub(super) struct Flow {
    control: Control,
    sampler: RateSampler,
    app: App,
    /// Bytes that an application with a rate may still send, and since when.
    budget_from: Timestamp,
    consumed: u64,
    sent: BTreeMap<u64, Sent>,
    pub(super) next: u64,
    pub(super) in_flight: u64,
    srtt: Option<Duration>,
    min_rtt: Option<Duration>,
    next_send: Timestamp,
    wake_at: Option<Timestamp>,
    last_progress: Timestamp,
    recover: u64,
    /// Packets of the recovery in hand that were declared lost and have not arrived after all.
    missing: BTreeSet<u64>,
    pub(super) delivered: u64,
    pub(super) packets_lost: u64,
    pub(super) spurious: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Depart,
    Ack { flow: usize, number: u64, marked: bool },
    Wake { flow: usize },
    Timer { flow: usize },
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) path: Path,
    pub(super) flows: Vec<Flow>,
    pub(super) now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, u64, Event)>>,
    sequence: u64,
    queue: VecDeque<(usize, u64, bool)>,
    pub(super) queued: u64,
    rng: Rng,
    /// Byte-nanoseconds queued since the last reset, and when that was.
    queue_area: u128,
    area_at: Timestamp,
    measured_from: Timestamp,
}

impl Flow {
    fn new(control: Control) -> Self {
        Self {
            control,
            sampler: RateSampler::default(),
            app: App::Bulk,
            budget_from: Timestamp::ZERO,
            consumed: 0,
            sent: BTreeMap::new(),
            next: 1,
            in_flight: 0,
            srtt: None,
            min_rtt: None,
            next_send: Timestamp::ZERO,
            wake_at: None,
            last_progress: Timestamp::ZERO,
            recover: 0,
            missing: BTreeSet::new(),
            delivered: 0,
            packets_lost: 0,
            spurious: 0,
        }
    }

    fn controller(&mut self) -> &mut dyn Controller {
        match &mut self.control {
            Control::Bbr(bbr) => bbr.as_mut(),
            Control::Other(other) => other.as_mut(),
        }
    }

    /// When the application has the next packet ready; `None`: never.
    fn ready_at(&self, now: Timestamp) -> Option<Timestamp> {
        match self.app {
            App::Bulk => Some(now),
            App::Silent => None,
            App::Rate(rate) => Some(self.budget_from + rate.transmit_time(ByteCount(self.consumed + MSS))),
        }
    }

    fn rtt_view(&self, latest: Option<Duration>) -> RttView {
        RttView { latest, smoothed: self.srtt, min: self.min_rtt }
    }
}

impl Link {
    /// One BBR flow, started at zero.
    pub(super) fn new(path: Path, seed: u64) -> Self {
        Self::with_config(path, &TransportConfig { seed, ..config() })
    }

    pub(super) fn with_config(path: Path, config: &TransportConfig) -> Self {
        let mut link = Self {
            path,
            flows: Vec::new(),
            now: Timestamp::ZERO,
            events: BinaryHeap::new(),
            sequence: 0,
            queue: VecDeque::new(),
            queued: 0,
            rng: Seed::root(config.seed).fork("link/loss").rng(),
            queue_area: 0,
            area_at: Timestamp::ZERO,
            measured_from: Timestamp::ZERO,
        };
        link.add(Control::Bbr(Box::new(Bbr::new(config))));
        link
    }

    pub(super) fn add_bbr(&mut self, seed: u64) {
        let config = TransportConfig { seed, ..config() };
        self.add(Control::Bbr(Box::new(Bbr::new(&config))));
    }

    pub(super) fn add_other(&mut self, controller: Box<dyn Controller>) {
        self.add(Control::Other(controller));
    }

    fn add(&mut self, control: Control) {
        self.flows.push(Flow::new(control));
        let flow = self.flows.len() - 1;
        self.flows[flow].last_progress = self.now;
        self.push(self.now, Event::Wake { flow });
    }

    pub(super) fn bbr(&self) -> &Bbr {
        let Control::Bbr(bbr) = &self.flows[0].control else { panic!("flow 0 is BBR") };
        bbr
    }

    pub(super) fn state(&self) -> State {
        self.bbr().state
    }

    pub(super) fn set_app(&mut self, app: App) {
        let now = self.now;
        let flow = &mut self.flows[0];
        flow.app = app;
        flow.budget_from = now;
        flow.consumed = 0;
        self.try_send(0);
    }

    /// The retransmission timer fires, as in the `classic` profile: all that is in flight counts as lost.
    pub(super) fn timeout(&mut self) {
        let flow = &mut self.flows[0];
        let timeout = Timeout {
            now: self.now,
            next_packet: flow.next,
            flight_size: ByteCount(flow.in_flight),
            repeated: false,
        };
        for number in std::mem::take(&mut flow.sent).into_keys() {
            flow.sampler.on_lost(ByteCount(MSS));
            flow.missing.insert(number);
        }
        flow.in_flight = 0;
        flow.recover = flow.next;
        flow.controller().on_timeout(&timeout);
        self.try_send(0);
    }

    /// The connection found that its path is another one.
    pub(super) fn new_path(&mut self) {
        self.flows[0].controller().on_new_path();
    }

    pub(super) fn run_for(&mut self, span: Duration) {
        let until = self.now + span;
        while self.events.peek().is_some_and(|Reverse((at, _, _))| *at <= until) {
            self.step();
        }
        self.advance(until);
    }

    /// Runs until `is_reached`, which is asked after every event. Panics after `limit` seconds without.
    pub(super) fn run_until(&mut self, limit: u64, what: &str, mut is_reached: impl FnMut(&Self) -> bool) {
        let until = self.now + Duration::from_secs(limit);
        while !is_reached(self) {
            assert!(self.now < until, "not within {limit} s: {what}; at {} in {:?}", self.now, self.state());
            self.step();
        }
    }

    pub(super) fn run_until_state(&mut self, state: State) {
        self.run_until(60, &format!("{state:?}"), |link| link.state() == state);
    }

    /// Begins a measurement here.
    pub(super) fn reset_measures(&mut self) {
        self.queue_area = 0;
        self.measured_from = self.now;
        for flow in &mut self.flows {
            flow.delivered = 0;
            flow.packets_lost = 0;
        }
    }

    /// Bits a second that arrived for `flow` since the measurement began.
    pub(super) fn goodput(&self, flow: usize) -> u64 {
        let nanos = self.now.since(self.measured_from).as_nanos().max(1);
        u64::try_from(u128::from(self.flows[flow].delivered) * 8_000_000_000 / nanos).expect("fits")
    }

    /// Mean queue since the measurement began, in bytes.
    pub(super) fn mean_queue(&self) -> u64 {
        let nanos = self.now.since(self.measured_from).as_nanos().max(1);
        u64::try_from(self.queue_area / nanos).expect("fits")
    }

    pub(super) fn step(&mut self) {
        let Some(Reverse((at, _, event))) = self.events.pop() else { panic!("the link has stalled") };
        self.advance(at);
        match event {
            Event::Depart => self.depart(),
            Event::Ack { flow, number, marked } => self.acks(flow, number, marked),
            Event::Wake { flow } => {
                self.flows[flow].wake_at = None;
                self.try_send(flow);
            }
            Event::Timer { flow } => self.timer(flow),
        }
    }

    fn advance(&mut self, at: Timestamp) {
        self.queue_area += u128::from(self.queued) * at.since(self.area_at).as_nanos();
        self.area_at = at;
        self.now = at;
    }

    fn push(&mut self, at: Timestamp, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at.max(self.now), self.sequence, event)));
    }

    fn wake(&mut self, flow: usize, at: Timestamp) {
        if self.flows[flow].wake_at.is_none_or(|wake_at| at < wake_at) {
            self.flows[flow].wake_at = Some(at);
            self.push(at, Event::Wake { flow });
        }
    }

    fn try_send(&mut self, index: usize) {
        loop {
            let now = self.now;
            let flow = &mut self.flows[index];
            if flow.in_flight + MSS > flow.controller().cwnd().as_u64() {
                return;
            }
            let ready_at = flow.ready_at(now);
            if ready_at.is_none_or(|at| at > now) {
                flow.sampler.on_app_limited(ByteCount(flow.in_flight));
                if let Some(at) = ready_at {
                    self.wake(index, at);
                }
                return;
            }
            if flow.next_send > now {
                let at = flow.next_send;
                self.wake(index, at);
                return;
            }
            self.send(index);
        }
    }

    fn send(&mut self, index: usize) {
        let now = self.now;
        let flow = &mut self.flows[index];
        let size = ByteCount(MSS);
        let prior_in_flight = ByteCount(flow.in_flight);
        if flow.in_flight == 0 {
            flow.last_progress = now;
        }
        let delivery = flow.sampler.on_sent(now, size, prior_in_flight);
        let number = flow.next;
        flow.next += 1;
        flow.consumed += MSS;
        flow.in_flight += MSS;
        flow.sent.insert(number, Sent { at: now, delivery });
        let app_limited = delivery.app_limited;
        flow.controller().on_sent(&SentPacket { at: now, number, size, prior_in_flight, app_limited });
        let srtt = flow.srtt;
        if let Some(rate) = flow.controller().pacing_rate(srtt) {
            flow.next_send = flow.next_send.max(now) + rate.transmit_time(size);
        }
        if prior_in_flight == ByteCount::ZERO {
            let timer = now + flow.patience();
            self.push(timer, Event::Timer { flow: index });
        }
        self.enqueue(index, number);
    }

    fn enqueue(&mut self, flow: usize, number: u64) {
        let now = self.now;
        let is_lost = !self.path.loss_behind_queue && self.draws_loss();
        if is_lost || self.path.policer.as_mut().is_some_and(|policer| !policer.admits(now, MSS)) {
            return;
        }
        // The packet in service does not occupy the buffer.
        if !self.queue.is_empty() && self.queued + MSS > self.path.buffer.max(MSS) + MSS {
            return;
        }
        let marked = self.path.mark_above.is_some_and(|threshold| self.queued > threshold);
        self.queue.push_back((flow, number, marked));
        self.queued += MSS;
        if self.queue.len() == 1 {
            self.push(now + self.path.rate.transmit_time(ByteCount(MSS)), Event::Depart);
        }
    }

    fn draws_loss(&mut self) -> bool {
        self.path.loss > 0 && self.rng.random_range(0..1000) < self.path.loss
    }

    fn depart(&mut self) {
        let (flow, number, marked) = self.queue.pop_front().expect("a departure has a packet");
        self.queued -= MSS;
        if !self.queue.is_empty() {
            self.push(self.now + self.path.rate.transmit_time(ByteCount(MSS)), Event::Depart);
        }
        if self.path.loss_behind_queue && self.draws_loss() {
            return;
        }
        let mut at = self.now + self.path.rtt;
        if let Some((numbers, extra)) = &self.path.held
            && numbers.contains(&number)
        {
            at += *extra;
        }
        if let Some(slot) = self.path.ack_slots {
            let slot = u64::try_from(slot.as_nanos()).expect("short");
            at = Timestamp::from_nanos(at.as_nanos().div_ceil(slot) * slot);
        }
        self.push(at, Event::Ack { flow, number, marked });
    }

    /// Everything acknowledged at this moment is one batch.
    fn acks(&mut self, index: usize, number: u64, marked: bool) {
        let mut numbers = vec![number];
        let mut marks = u64::from(marked);
        while let Some(Reverse((at, _, Event::Ack { flow, number, marked }))) = self.events.peek().copied()
            && at == self.now
            && flow == index
        {
            self.events.pop();
            numbers.push(number);
            marks += u64::from(marked);
        }
        numbers.sort_unstable();
        let now = self.now;
        self.flows[index].on_acks(now, &numbers, marks);
        self.try_send(index);
    }

    fn timer(&mut self, index: usize) {
        let flow = &mut self.flows[index];
        if flow.in_flight == 0 {
            return;
        }
        let due = flow.last_progress + flow.patience();
        if due > self.now {
            self.push(due, Event::Timer { flow: index });
            return;
        }
        let now = self.now;
        flow.last_progress = now;
        let prior = flow.in_flight;
        flow.settle(now, Vec::new(), u64::MAX, prior, None, 0);
        let timer = now + flow.patience();
        self.push(timer, Event::Timer { flow: index });
        self.try_send(index);
    }
}

impl Flow {
    /// Silence after which all that is in flight counts as lost.
    fn patience(&self) -> Duration {
        self.srtt.map_or(Duration::from_secs(1), |srtt| srtt * 3 + Duration::from_millis(10))
    }

    fn on_acks(&mut self, now: Timestamp, numbers: &[u64], marks: u64) {
        let prior = self.in_flight;
        let mut acked = Vec::new();
        let mut latest = None;
        for &number in numbers {
            let Some(sent) = self.sent.remove(&number) else {
                if self.missing.remove(&number) && self.missing.is_empty() {
                    self.spurious += 1;
                    self.controller().on_spurious(now);
                }
                continue;
            };
            self.in_flight -= MSS;
            self.delivered += MSS;
            latest = Some(now.since(sent.at));
            let (size, sent_at, delivery) = (ByteCount(MSS), sent.at, sent.delivery);
            acked.push(AckedPacket { number, size, sent_at, delivery });
        }
        let Some(rtt) = latest else { return };
        self.last_progress = now;
        self.srtt = Some(self.srtt.map_or(rtt, |srtt| (srtt * 7 + rtt) / 8));
        self.min_rtt = Some(self.min_rtt.map_or(rtt, |min| min.min(rtt)));
        let lost_below = numbers.last().map_or(0, |largest| largest.saturating_sub(2));
        self.settle(now, acked, lost_below, prior, latest, marks);
    }

    fn settle(
        &mut self,
        now: Timestamp,
        acked: Vec<AckedPacket>,
        lost_below: u64,
        prior: u64,
        latest: Option<Duration>,
        marks: u64,
    ) {
        for packet in &acked {
            self.sampler.on_acked(now, packet.sent_at, packet.size, packet.delivery);
        }
        let mut lost = Vec::new();
        while let Some(entry) = self.sent.first_entry()
            && *entry.key() < lost_below
        {
            let (number, sent) = entry.remove_entry();
            if number >= self.recover {
                self.recover = self.next;
                self.missing.clear();
            }
            self.missing.insert(number);
            self.in_flight -= MSS;
            self.packets_lost += 1;
            self.sampler.on_lost(ByteCount(MSS));
            let (size, sent_at, delivery) = (ByteCount(MSS), sent.at, sent.delivery);
            lost.push(LostPacket { number, size, sent_at, delivery });
        }
        let rate = self.sampler.sample(self.min_rtt);
        let batch = AckBatch {
            now,
            acked: &acked,
            lost: &lost,
            ecn_ce: marks,
            prior_in_flight: ByteCount(prior),
            in_flight: ByteCount(self.in_flight),
            next_packet: self.next,
            rtt: self.rtt_view(latest),
            rate,
        };
        self.controller().on_acks(&batch);
    }
}

pub(super) fn config() -> TransportConfig {
    TransportConfig { mss: ByteCount(MSS), ..TransportConfig::default() }
}
