//! Does the bottleneck serve at its rate, and does its queue keep its limit?
//!
//! Nothing here is chance: each check computes what must come out by an independent and simpler way, and compares.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use units::{Bitrate, ByteCount, Timestamp};

use super::feed::Irregular;
use super::{Case, Measure};
use crate::link::{Ecn, Link, Meta};
use crate::profile::{DeliveryTrace, LinkProfile, QueueLimit, RateModel};
use crate::stats::jain_index;

/// A packet that was offered: when, and how large.
#[derive(Clone, Copy)]
struct Offer {
    at: Timestamp,
    size: u64,
}

/// When each packet left the link; `None` for one that was dropped.
fn departures(case: &Case<'_>, offers: &[Offer]) -> Vec<Option<Timestamp>> {
    let mut link = Link::new(case.link(), case.seed).without_delays();
    let mut left = vec![None; offers.len()];
    let mut take = |link: &mut Link<usize>, until: Timestamp| {
        while let Some(delivery) = link.poll_deliver(until) {
            left[delivery.packet] = Some(delivery.due);
        }
    };
    for (packet, offer) in offers.iter().enumerate() {
        link.handle_packet(offer.at, packet, ByteCount(offer.size));
        take(&mut link, offer.at);
    }
    while link.counters().queued() > 0
        && let Some(next) = link.poll_timeout()
    {
        take(&mut link, next);
    }
    left
}

/// Five seconds of packets that are all there from the beginning: their rate, and how far apart they are.
pub(super) fn constant(case: &Case<'_>) -> Vec<Measure> {
    let Some(RateModel::Constant { rate, overhead }) = case.profile.rate else { return Vec::new() };
    // An odd size, so that a packet rarely takes whole nanoseconds.
    const SIZE: u64 = 1249;
    // What the wire carries of it; cells are not tried here.
    let wire = SIZE.saturating_add_signed(i64::from(overhead.per_packet));
    let count = rate.bytes_in(Duration::from_secs(5)).as_u64() / wire + 2;
    let offers = vec![Offer { at: Timestamp::ZERO, size: SIZE }; usize::try_from(count).unwrap_or(0)];
    let left: Vec<Timestamp> = departures(case, &offers).into_iter().flatten().collect();
    let (Some(first), Some(last)) = (left.first(), left.last()) else { return Vec::new() };
    let bits = (left.len() - 1) as f64 * wire as f64 * 8.0;
    let configured = rate.bits_per_second() as f64;
    let measured = bits / last.since(*first).as_secs_f64();
    let mut gaps: Vec<Duration> = left.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    gaps.sort();
    let median = gaps[gaps.len() / 2].as_nanos() as f64 / 1e3;
    vec![
        Measure::exact("kbit/s", configured / 1e3, measured / 1e3, configured / 1e3 * RATE_TOLERANCE),
        Measure::exact("µs", wire as f64 * 8e6 / configured, median, NANOSECOND_US).named("spacing"),
        Measure::exact("packets", offers.len() as f64, left.len() as f64, 0.0).named("all served"),
    ]
}

/// 0.05 %, as promised.
const RATE_TOLERANCE: f64 = 0.0005;

/// Departures are whole nanoseconds; a little more than one for the rounding of the comparison itself.
const NANOSECOND_US: f64 = 0.001_001;

/// No window of any length holds more than rate times length, the burst and one packet; and in the long run the rate.
pub(super) fn bucket(case: &Case<'_>) -> Vec<Measure> {
    let Some(RateModel::TokenBucket { rate, burst, .. }) = case.profile.rate else { return Vec::new() };
    // Bursts and pauses: the bucket fills and empties.
    let mut irregular = Irregular(1);
    let (mut at, mut offers) = (Timestamp::ZERO, Vec::new());
    for _ in 0..200 {
        for _ in 0..irregular.below(400) {
            offers.push(Offer { at, size: 40 + irregular.below(1461) });
            at += Duration::from_nanos(irregular.below(20_000));
        }
        at += Duration::from_millis(irregular.below(300));
    }
    let left = departures(case, &offers);
    let mut sent: Vec<(Timestamp, u64)> =
        left.iter().zip(&offers).filter_map(|(left, offer)| Some(((*left)?, offer.size))).collect();
    sent.sort_by_key(|(at, _)| *at);
    let excess = worst_window(&sent, rate) / 8.0 - burst.as_u64() as f64 - 1500.0;
    vec![
        Measure::exact("bytes", 0.0, excess.max(0.0), 0.0).named("bytes above any window's bound"),
        Measure::exact("packets", offers.len() as f64, sent.len() as f64, 0.0).named("all served"),
    ]
}

/// The most bits that any window holds above rate times its length. With `f(j) = bits up to j - rate * t(j)`, a window
/// from i to j holds `f(j) - f(i)` and packet i itself above that.
fn worst_window(sent: &[(Timestamp, u64)], rate: Bitrate) -> f64 {
    let (mut bits, mut lowest, mut worst) = (0_i128, i128::MAX, 0_i128);
    for (at, size) in sent {
        // Bits times 10^9, so that all of it is whole.
        let served = i128::from(rate.bits_per_second()) * i128::from(at.as_nanos());
        lowest = lowest.min(bits - served);
        bits += i128::from(*size) * 8 * 1_000_000_000;
        worst = worst.max(bits - served - lowest);
    }
    worst as f64 / 1e9
}

/// Drop-tail against the textbook's recurrence, with sizes that take whole nanoseconds at 10 Mbit/s.
pub(super) fn drop_tail(case: &Case<'_>) -> Vec<Measure> {
    let Some(RateModel::Constant { rate, .. }) = case.profile.rate else { return Vec::new() };
    let mut irregular = Irregular(2);
    let mut at = Timestamp::ZERO;
    let offers: Vec<Offer> = (0..case.packets.min(200_000))
        .map(|_| {
            at += Duration::from_nanos(irregular.below(1_150_001));
            Offer { at, size: 40 + irregular.below(1461) }
        })
        .collect();
    let left = departures(case, &offers);
    let mut waiting: VecDeque<(Timestamp, u64)> = VecDeque::new();
    let (mut free, mut wrong, mut fullest) = (Timestamp::ZERO, 0, 0);
    for (offer, left) in offers.iter().zip(&left) {
        while waiting.front().is_some_and(|(gone, _)| *gone <= offer.at) {
            waiting.pop_front();
        }
        let bytes: u64 = waiting.iter().map(|(_, size)| size).sum();
        let has_room = match case.profile.queue.limit {
            QueueLimit::Packets(limit) => (waiting.len() as u64) < limit,
            QueueLimit::Bytes(limit) => bytes + offer.size <= limit.as_u64(),
            _ => true,
        };
        let expected = has_room.then(|| {
            free = free.max(offer.at) + rate.transmit_time(ByteCount(offer.size));
            waiting.push_back((free, offer.size));
            free
        });
        fullest = fullest.max(waiting.len());
        wrong += u64::from(expected != *left);
    }
    let dropped = left.iter().filter(|left| left.is_none()).count();
    vec![
        Measure::exact("packets", 0.0, wrong as f64, 0.0).named("not as the recurrence"),
        // The check is worth something only if the queue was full at times.
        Measure::exact("", 1.0, f64::from(u8::from(dropped > 100 && fullest > 5)), 0.0)
            .named("queue was full"),
    ]
}

/// A recorded link with every difficulty: several opportunities at once, none for a while, and a period.
pub(super) fn recorded() -> LinkProfile {
    let mut irregular = Irregular(3);
    let mut at = 0;
    let mut opportunities_ms: Vec<u64> = (0..2_000)
        .map(|_| {
            at += [0, 0, 1, 1, 2, 7][usize::try_from(irregular.below(6)).unwrap_or(0)];
            at
        })
        .collect();
    opportunities_ms.push(at + 3);
    let trace = DeliveryTrace { name: "irregular".to_owned(), opportunities_ms };
    let base: LinkProfile = "queue=infinite".parse().expect("a valid spec");
    LinkProfile { rate: Some(RateModel::Trace(Arc::new(trace))), ..base }
}

/// Against an independent reading of mahimahi's rules: at each opportunity 1504 bytes may leave, of one packet, of several
/// or of a part of one; what is not used is lost; a packet leaves when its last byte does.
pub(super) fn trace(case: &Case<'_>) -> Vec<Measure> {
    let Some(RateModel::Trace(trace)) = &case.profile.rate else { return Vec::new() };
    let mut irregular = Irregular(4);
    let mut at = Timestamp::ZERO;
    let offers: Vec<Offer> = (0..20_000)
        .map(|packet| {
            // Some 1.3 ms apart, with pauses; never on a whole millisecond, where the order would be a matter of taste.
            let pause = if packet % 500 == 0 { 200_000_000 } else { 0 };
            at += Duration::from_nanos(irregular.below(2_600_000) + pause);
            if at.as_nanos().is_multiple_of(1_000_000) {
                at += Duration::from_nanos(1);
            }
            Offer { at, size: 40 + irregular.below(1461) }
        })
        .collect();
    let left = departures(case, &offers);
    let period = trace.opportunities_ms.last().copied().unwrap_or(1).max(1);
    let times = (0_u64..).flat_map(|round| trace.opportunities_ms.iter().map(move |ms| round * period + ms));
    let mut expected = Vec::with_capacity(offers.len());
    let mut remaining: VecDeque<u64> = VecDeque::new();
    let mut arrived = 0;
    for ms in times {
        let now = Timestamp::from_millis(ms);
        while arrived < offers.len() && offers[arrived].at < now {
            remaining.push_back(offers[arrived].size);
            arrived += 1;
        }
        let mut budget = DeliveryTrace::OPPORTUNITY.as_u64();
        while let Some(rest) = remaining.front_mut() {
            let part = budget.min(*rest);
            budget -= part;
            *rest -= part;
            if *rest > 0 {
                break;
            }
            remaining.pop_front();
            expected.push(Some(now));
        }
        if expected.len() == offers.len() {
            break;
        }
    }
    let wrong = expected.iter().zip(&left).filter(|(a, b)| a != b).count();
    vec![Measure::exact("packets", 0.0, wrong as f64, 0.0).named("not as mahimahi counts")]
}

/// Flows that want more than their share, in very different amounts, and how equal what they get is.
pub(super) fn fairness(case: &Case<'_>) -> Vec<Measure> {
    const FLOWS: u64 = 8;
    let mut link = Link::new(case.link(), case.seed).without_delays();
    let rate = case.profile.bitrate().expect("fairness needs a rate");
    let mut got = [0.0; FLOWS as usize];
    let mut take = |link: &mut Link<usize>, until: Timestamp| {
        while let Some(delivery) = link.poll_deliver(until) {
            got[delivery.packet % FLOWS as usize] += SIZES[delivery.packet % FLOWS as usize] as f64;
        }
    };
    const SIZES: [u64; FLOWS as usize] = [1500, 200, 1000, 700, 1500, 90, 1200, 400];
    // Flow n sends n + 1 times its fair share of bytes, for twenty seconds.
    let fair = rate.bits_per_second() as f64 / 8.0 / FLOWS as f64;
    let mut next = [Timestamp::ZERO; FLOWS as usize];
    let end = Timestamp::from_secs(20);
    loop {
        let (flow, at) =
            next.iter().copied().enumerate().min_by_key(|(flow, at)| (*at, *flow)).expect("flows");
        if at >= end {
            break;
        }
        let meta = Meta { size: ByteCount(SIZES[flow]), flow: flow as u64, ecn: Ecn::NotCapable };
        take(&mut link, at);
        link.handle(at, flow, meta);
        let seconds = SIZES[flow] as f64 / (fair * (flow as f64 + 1.5));
        next[flow] = at + Duration::from_secs_f64(seconds);
    }
    take(&mut link, end);
    vec![
        Measure::exact("index", 1.0, jain_index(&got), 0.01).named("Jain's index"),
        Measure::exact("", 1.0, f64::from(u8::from(link.counters().balance_holds())), 0.0).named("balance"),
    ]
}

/// The queue is never longer than its limit, under any discipline.
pub(super) fn occupancy(case: &Case<'_>) -> Vec<Measure> {
    let QueueLimit::Packets(limit) = case.profile.queue.limit else { return Vec::new() };
    let mut link = Link::new(case.link(), case.seed).without_delays();
    let mut irregular = Irregular(5);
    let (mut at, mut worst, mut is_balanced) = (Timestamp::ZERO, 0, true);
    for packet in 0..case.packets.min(200_000) {
        // Twice what the link carries.
        at += Duration::from_nanos(irregular.below(1_000_000));
        let meta = Meta { size: ByteCount(1250), flow: irregular.below(5), ecn: Ecn::NotCapable };
        while link.poll_deliver(at).is_some() {}
        link.handle(at, packet, meta);
        // Without a delay, all that is under way is in the queue or in service.
        worst = worst.max(link.counters().queued());
        is_balanced &= link.counters().balance_holds();
    }
    vec![
        Measure::exact("packets", 0.0, worst.saturating_sub(limit) as f64, 0.0).named("above the limit"),
        Measure::exact("", 1.0, f64::from(u8::from(is_balanced)), 0.0).named("balance at every look"),
        Measure::exact("", 1.0, f64::from(u8::from(link.counters().dropped() > 100)), 0.0)
            .named("queue was full"),
    ]
}
