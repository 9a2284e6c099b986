//! The disciplines against straightforward readings of what they follow, decision by decision.
//!
//! The references below are written from the documents on their own: seconds in doubles, plain lists, no sharing with
//! the code under test. Both are given the same arrivals and departures; they must drop the same packets.

use std::collections::VecDeque;
use std::time::Duration;

use proptest::prelude::*;
use rand::Rng as _;
use units::{ByteCount, Probability, Rng, Seed, Timestamp};

use super::super::meta::{Ecn, Meta};
use super::super::parcel::{Fate, Parcel};
use super::*;
use crate::profile::{QueueLimit, QueueModel};

/// What happens to a queue: packets come, and the server takes one.
#[derive(Clone, Copy, Debug)]
enum Input {
    Arrive { at_ns: u64, size: u64 },
    Take { at_ns: u64 },
}

/// Bursts of arrivals against a server of a fixed time a packet, in waves that fill and empty the queue.
fn inputs(count: u64, seed: u64, service_ns: u64) -> Vec<Input> {
    let mut rng = Seed::root(seed).rng();
    let (mut now, mut next_take, mut inputs) = (0_u64, service_ns, Vec::new());
    for index in 0..count {
        // Load of 0.7 to 1.6 of the rate, in waves of 4,000 packets.
        let wave = (index / 4000) % 4;
        let mean_gap = service_ns * [9, 7, 12, 6][wave as usize] / 8;
        now += rng.next_u64() % (2 * mean_gap);
        while next_take <= now {
            inputs.push(Input::Take { at_ns: next_take });
            next_take += service_ns;
        }
        inputs.push(Input::Arrive { at_ns: now, size: 200 + rng.next_u64() % 1300 });
    }
    inputs
}

/// Numbers of the packets dropped, in order; numbers of those taken.
type Outcome = (Vec<u64>, Vec<u64>);

fn outcome(model: QueueModel, inputs: &[Input], seed: Seed) -> Outcome {
    let rate = units::Bitrate::from_bits_per_second(8_000_000).expect("not zero");
    let profile = LinkProfile { queue: model, ..LinkProfile::default() }.with_bitrate(rate);
    let mut queue: Queue<()> = Queue::new(&profile, seed);
    let (mut dropped, mut taken, mut number) = (Vec::new(), Vec::new(), 0);
    for input in inputs {
        match *input {
            Input::Arrive { at_ns, size } => {
                number += 1;
                queue.enqueue(Timestamp::from_nanos(at_ns), parcel(number, size, 0), (0, 0));
            }
            Input::Take { at_ns } => {
                taken.extend(queue.dequeue(Timestamp::from_nanos(at_ns)).map(|first| first.parcel.number));
            }
        }
        dropped.extend(queue.verdicts.dropped.drain(..).map(|(_, _, parcel)| parcel.number));
    }
    (dropped, taken)
}

fn parcel(number: u64, size: u64, flow: u64) -> Parcel<()> {
    Parcel {
        number,
        arrived: Timestamp::ZERO,
        meta: Meta { size: ByteCount(size), flow, ecn: Ecn::NotCapable },
        fate: Fate::default(),
        copy: false,
        mark: false,
        packet: (),
    }
}

fn queue_of(discipline: Discipline) -> QueueModel {
    QueueModel { discipline, limit: QueueLimit::Infinite, ecn: false }
}

/// RFC 8289 section 5, line by line.
#[derive(Default)]
struct CodelReference {
    queue: VecDeque<(f64, u64, u64)>,
    first_above_time: f64,
    drop_next: f64,
    count: i64,
    lastcount: i64,
    dropping: bool,
    maxpacket: u64,
}

impl CodelReference {
    const TARGET: f64 = 5e6;
    const INTERVAL: f64 = 100e6;

    fn dodequeue(&mut self, now: f64) -> (Option<(f64, u64, u64)>, bool) {
        let Some(packet) = self.queue.pop_front() else {
            self.first_above_time = 0.0;
            return (None, false);
        };
        let bytes: u64 = self.queue.iter().map(|(_, size, _)| size).sum();
        let mut ok_to_drop = false;
        if now - packet.0 < Self::TARGET || bytes <= self.maxpacket.max(512) {
            self.first_above_time = 0.0;
        } else if self.first_above_time == 0.0 {
            self.first_above_time = now + Self::INTERVAL;
        } else if now >= self.first_above_time {
            ok_to_drop = true;
        }
        (Some(packet), ok_to_drop)
    }

    fn control_law(t: f64, count: i64) -> f64 {
        // The model's clock ticks in nanoseconds.
        t + (Self::INTERVAL / (count as f64).sqrt()).floor()
    }

    fn dequeue(&mut self, now: f64, dropped: &mut Vec<u64>) -> Option<u64> {
        let (mut packet, mut ok_to_drop) = self.dodequeue(now);
        if self.dropping {
            if !ok_to_drop {
                self.dropping = false;
            }
            while now >= self.drop_next && self.dropping {
                dropped.push(packet.expect("allowed to drop").2);
                self.count += 1;
                (packet, ok_to_drop) = self.dodequeue(now);
                if ok_to_drop {
                    self.drop_next = Self::control_law(self.drop_next, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            dropped.push(packet.expect("allowed to drop").2);
            (packet, _) = self.dodequeue(now);
            self.dropping = true;
            let delta = self.count - self.lastcount;
            self.count = 1;
            if delta > 1 && now - self.drop_next < 16.0 * Self::INTERVAL {
                self.count = delta;
            }
            self.drop_next = Self::control_law(now, self.count);
            self.lastcount = self.count;
        }
        packet.map(|(_, _, number)| number)
    }
}

#[test]
fn codel_drops_what_the_pseudocode_drops() {
    for (seed, service_ns) in [(1, 1_000_000), (2, 300_000), (3, 4_000_000)] {
        let inputs = inputs(20_000, seed, service_ns);
        let mut reference = CodelReference::default();
        let (mut dropped, mut taken, mut number) = (Vec::new(), Vec::new(), 0);
        for input in &inputs {
            match *input {
                Input::Arrive { at_ns, size } => {
                    number += 1;
                    reference.maxpacket = reference.maxpacket.max(size);
                    reference.queue.push_back((at_ns as f64, size, number));
                }
                Input::Take { at_ns } => taken.extend(reference.dequeue(at_ns as f64, &mut dropped)),
            }
        }
        assert!(dropped.len() > 100, "the test has to make it drop: {}", dropped.len());
        assert_eq!(outcome(queue_of(Discipline::CODEL), &inputs, Seed::root(0)), (dropped, taken));
    }
}

/// RFC 8033 sections 4 and 5, in seconds.
struct PieReference {
    queue: VecDeque<(u64, u64, u64)>,
    drop_prob: f64,
    accu_prob: f64,
    qdelay: f64,
    qdelay_old: f64,
    burst_allowance: f64,
    next_update_ns: u64,
}

impl PieReference {
    const QDELAY_REF: f64 = 0.015;
    const T_UPDATE: f64 = 0.015;
    const MAX_BURST: f64 = 0.150;

    fn run_updates(&mut self, now_ns: u64) {
        while self.next_update_ns <= now_ns {
            self.next_update_ns += 15_000_000;
            let mut p = 0.125 * (self.qdelay - Self::QDELAY_REF) + 1.25 * (self.qdelay - self.qdelay_old);
            let bands =
                [(1e-6, 2048.0), (1e-5, 512.0), (1e-4, 128.0), (1e-3, 32.0), (1e-2, 8.0), (1e-1, 2.0)];
            p /= bands.iter().find(|(below, _)| self.drop_prob < *below).map_or(1.0, |(_, by)| *by);
            if self.drop_prob >= 0.1 && p > 0.02 {
                p = 0.02;
            }
            self.drop_prob += p;
            if self.qdelay == 0.0 && self.qdelay_old == 0.0 {
                self.drop_prob *= 0.98;
            }
            self.drop_prob = self.drop_prob.clamp(0.0, 1.0);
            self.burst_allowance = (self.burst_allowance - Self::T_UPDATE).max(0.0);
            let half = Self::QDELAY_REF / 2.0;
            if self.drop_prob == 0.0 && self.qdelay < half && self.qdelay_old < half {
                self.burst_allowance = Self::MAX_BURST;
            }
            self.qdelay_old = self.qdelay;
        }
    }

    fn drop_early(&mut self, u: f64) -> bool {
        // Ten periods of 15 ms are 150 ms but for the last bit of a double.
        if self.burst_allowance > 1e-9 {
            return false;
        }
        let bytes: u64 = self.queue.iter().map(|(_, size, _)| size).sum();
        if (self.qdelay_old < Self::QDELAY_REF / 2.0 && self.drop_prob < 0.2) || bytes <= 2 * 1024 {
            return false;
        }
        if self.drop_prob == 0.0 {
            self.accu_prob = 0.0;
        }
        self.accu_prob += self.drop_prob;
        if self.accu_prob < 0.85 {
            return false;
        }
        if self.accu_prob >= 8.5 || u < self.drop_prob {
            self.accu_prob = 0.0;
            return true;
        }
        false
    }
}

/// The number of a packet in the stage's stream, as a fraction; what the stage itself is documented to use.
fn fractions(seed: Seed) -> impl FnMut() -> f64 {
    let mut rng: Rng = seed.fork("early").rng();
    move || {
        let draw = rng.next_u64();
        rng.next_u64();
        (draw >> 11) as f64 / 9_007_199_254_740_992.0
    }
}

#[test]
fn pie_drops_what_the_pseudocode_drops() {
    for (seed, service_ns) in [(1, 1_000_000), (2, 300_000), (3, 2_000_000)] {
        let inputs = inputs(20_000, seed, service_ns);
        let mut next = fractions(Seed::root(seed));
        let mut reference = PieReference {
            queue: VecDeque::new(),
            drop_prob: 0.0,
            accu_prob: 0.0,
            qdelay: 0.0,
            qdelay_old: 0.0,
            burst_allowance: PieReference::MAX_BURST,
            next_update_ns: 0,
        };
        let (mut dropped, mut taken, mut number) = (Vec::new(), Vec::new(), 0);
        for input in &inputs {
            match *input {
                Input::Arrive { at_ns, size } => {
                    number += 1;
                    let u = next();
                    reference.run_updates(at_ns);
                    if reference.drop_early(u) {
                        dropped.push(number);
                    } else {
                        reference.queue.push_back((at_ns, size, number));
                    }
                }
                Input::Take { at_ns } => {
                    if let Some((since, _, number)) = reference.queue.pop_front() {
                        reference.run_updates(at_ns);
                        taken.push(number);
                        reference.qdelay = (at_ns - since) as f64 / 1e9;
                        if reference.queue.is_empty() {
                            reference.qdelay = 0.0;
                        }
                    }
                }
            }
        }
        assert!(dropped.len() > 100, "the test has to make it drop: {}", dropped.len());
        assert_eq!(outcome(queue_of(Discipline::PIE), &inputs, Seed::root(seed)), (dropped, taken));
    }
}

/// Floyd and Jacobson 1993, figure 2, with the gentle slope.
#[test]
fn red_drops_what_the_paper_drops() {
    let (min, max, max_p, weight) = (5_000.0, 15_000.0, 0.1, 0.002_f64);
    let model = queue_of(Discipline::Red {
        min: ByteCount(5000),
        max: ByteCount(15_000),
        max_p: Probability::new(max_p).expect("in range"),
        weight,
    });
    for seed in 1..=3 {
        let inputs = inputs(20_000, seed, 1_000_000);
        let mut next = fractions(Seed::root(seed));
        let (mut avg, mut count, mut q_time) = (0.0_f64, -1.0, None::<u64>);
        let mut queue: VecDeque<(u64, u64)> = VecDeque::new();
        let (mut dropped, mut taken, mut number) = (Vec::new(), Vec::new(), 0);
        for input in &inputs {
            match *input {
                Input::Arrive { at_ns, size } => {
                    number += 1;
                    let u = next();
                    let bytes: u64 = queue.iter().map(|(size, _)| size).sum();
                    match q_time.take() {
                        // 500 bytes at 8 Mbit/s take half a millisecond.
                        Some(since) if bytes == 0 => {
                            avg *=
                                (1.0 - weight).powi(i32::try_from((at_ns - since) / 500_000).expect("short"));
                        }
                        _ => avg += weight * (bytes as f64 - avg),
                    }
                    let pb = if avg < min {
                        count = -1.0;
                        0.0
                    } else if avg < max {
                        count += 1.0;
                        max_p * (avg - min) / (max - min)
                    } else if avg < 2.0 * max {
                        count += 1.0;
                        max_p + (1.0 - max_p) * (avg - max) / max
                    } else {
                        1.0
                    };
                    let pa = if count * pb < 1.0 { pb / (1.0 - count * pb) } else { 1.0 };
                    if pb > 0.0 && u < pa {
                        count = 0.0;
                        dropped.push(number);
                    } else {
                        queue.push_back((size, number));
                    }
                }
                Input::Take { at_ns } => {
                    if let Some((_, number)) = queue.pop_front() {
                        taken.push(number);
                        if queue.is_empty() {
                            q_time = Some(at_ns);
                        }
                    }
                }
            }
        }
        assert!(dropped.len() > 100, "the test has to make it drop: {}", dropped.len());
        assert_eq!(outcome(model.clone(), &inputs, Seed::root(seed)), (dropped, taken));
    }
}

/// Jain's index: one for equal shares, 1/n when one has everything.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

#[test]
fn flows_that_ask_for_different_shares_get_equal_ones() {
    let profile = LinkProfile {
        queue: QueueModel { discipline: Discipline::FQ_CODEL, limit: QueueLimit::Packets(500), ecn: false },
        ..LinkProfile::default()
    };
    let mut queue: Queue<()> = Queue::new(&profile, Seed::root(3));
    let (mut bytes, mut number) = ([0_u64; 8], 0);
    for step in 0..40_000_u64 {
        let now = Timestamp::from_micros(step * 1000);
        // Flow n sends n + 1 packets of its own size while the link takes about one and a half.
        for flow in 0..8_u64 {
            for _ in 0..=flow {
                number += 1;
                queue.enqueue(now, parcel(number, 300 + 150 * flow, flow), (0, 0));
            }
        }
        for half in 0..3 {
            if let Some(first) = queue.dequeue(now + Duration::from_micros(half * 300)) {
                bytes[first.parcel.meta.flow as usize] += first.parcel.size().as_u64();
            }
        }
        queue.verdicts.dropped.clear();
        assert!(queue.len() <= 500);
    }
    assert!(jain(&bytes) >= 0.99, "{bytes:?}");
}

#[test]
fn a_thin_flow_does_not_wait_behind_a_thick_one() {
    let profile = LinkProfile { queue: queue_of(Discipline::FQ_CODEL), ..LinkProfile::default() };
    let mut queue: Queue<()> = Queue::new(&profile, Seed::root(3));
    for number in 1..=100 {
        queue.enqueue(Timestamp::ZERO, parcel(number, 1500, 1), (0, 0));
    }
    assert_eq!(queue.dequeue(Timestamp::ZERO).map(|first| first.parcel.number), Some(1));
    queue.enqueue(Timestamp::from_millis(1), parcel(101, 100, 2), (0, 0));
    let next: Vec<u64> = (0..2)
        .filter_map(|_| queue.dequeue(Timestamp::from_millis(2)))
        .map(|first| first.parcel.number)
        .collect();
    assert!(next.contains(&101), "{next:?}");
}

#[test]
fn a_full_table_takes_from_the_longest_line() {
    let profile = LinkProfile {
        queue: QueueModel { discipline: Discipline::FQ_CODEL, limit: QueueLimit::Packets(4), ecn: false },
        ..LinkProfile::default()
    };
    let mut queue: Queue<()> = Queue::new(&profile, Seed::root(3));
    for (number, flow) in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)] {
        queue.enqueue(Timestamp::ZERO, parcel(number, 1000, flow), (0, 0));
    }
    let dropped: Vec<_> = queue.verdicts.dropped.drain(..).map(|(_, cause, p)| (p.number, cause)).collect();
    assert_eq!(dropped, [(1, DropCause::Fq)]);
}

#[test]
fn drop_head_makes_room_for_the_newest() {
    let profile = LinkProfile {
        queue: QueueModel { discipline: Discipline::DropHead, limit: QueueLimit::Packets(2), ecn: false },
        ..LinkProfile::default()
    };
    let mut queue: Queue<()> = Queue::new(&profile, Seed::root(3));
    for number in 1..=4 {
        queue.enqueue(Timestamp::ZERO, parcel(number, 1000, 0), (0, 0));
    }
    let left: Vec<u64> =
        std::iter::from_fn(|| queue.dequeue(Timestamp::ZERO)).map(|first| first.parcel.number).collect();
    assert_eq!(left, [3, 4]);
}

#[test]
fn what_can_be_marked_is_marked_and_stays() {
    let inputs = inputs(20_000, 1, 1_000_000);
    for discipline in [Discipline::CODEL, Discipline::PIE, Discipline::red(), Discipline::FQ_CODEL] {
        let profile = LinkProfile {
            queue: QueueModel { discipline, limit: QueueLimit::Infinite, ecn: true },
            ..LinkProfile::default()
        };
        let mut queue: Queue<()> = Queue::new(&profile, Seed::root(1));
        let (mut number, mut marked) = (0, 0);
        for input in &inputs {
            match *input {
                Input::Arrive { at_ns, size } => {
                    number += 1;
                    let mut parcel = parcel(number, size, 0);
                    parcel.meta.ecn = Ecn::Capable;
                    queue.enqueue(Timestamp::from_nanos(at_ns), parcel, (0, 0));
                }
                Input::Take { at_ns } => {
                    let first = queue.dequeue(Timestamp::from_nanos(at_ns));
                    marked += u64::from(first.is_some_and(|first| first.parcel.mark));
                }
            }
        }
        // PIE marks little here: its chance is soon above the 10 % to which it marks.
        assert!(marked > 10, "{discipline:?} marked {marked}");
        // The queue grows without bound under a load that does not listen, and then marking is not enough.
        let waiting =
            std::iter::from_fn(|| queue.dequeue(Timestamp::NEVER)).filter(|w| w.parcel.mark).count();
        assert!(queue.verdicts.marked >= marked && queue.verdicts.marked <= marked + waiting as u64);
    }
}

fn any_discipline() -> impl Strategy<Value = Discipline> {
    prop_oneof![
        Just(Discipline::DropTail),
        Just(Discipline::DropHead),
        Just(Discipline::CODEL),
        Just(Discipline::PIE),
        Just(Discipline::red()),
        Just(Discipline::FQ_CODEL),
    ]
}

proptest! {
    #[test]
    fn a_queue_never_holds_more_than_its_limit_and_loses_no_packet(
        disciplines in (any_discipline(), any_discipline()),
        packets in 1_u64..30,
        by_bytes in any::<bool>(),
        events in proptest::collection::vec((0_u64..3_000_000, 1_u64..3000, any::<bool>(), 0_u64..4), 1..300),
        change_at in 0_usize..300,
    ) {
        let limit = if by_bytes { QueueLimit::Bytes(ByteCount(packets * 1000)) } else { QueueLimit::Packets(packets) };
        let profile = |discipline| LinkProfile {
            queue: QueueModel { discipline, limit, ecn: false },
            ..LinkProfile::default()
        };
        let mut queue: Queue<()> = Queue::new(&profile(disciplines.0), Seed::root(1));
        let (mut now, mut arrived, mut left) = (Timestamp::ZERO, 0_u64, 0_u64);
        for (index, (gap, size, takes, flow)) in events.into_iter().enumerate() {
            now += Duration::from_nanos(gap);
            if index == change_at {
                queue.configure(&profile(disciplines.1));
            }
            if takes {
                left += u64::from(queue.dequeue(now).is_some());
            } else {
                arrived += 1;
                queue.enqueue(now, parcel(arrived, size, flow), (0, 0));
            }
            left += queue.verdicts.dropped.drain(..).count() as u64;
            prop_assert_eq!(arrived, left + queue.len() as u64);
            if by_bytes {
                prop_assert!(queue.bytes() <= packets * 1000);
            } else {
                prop_assert!(queue.len() as u64 <= packets);
            }
        }
    }
}
