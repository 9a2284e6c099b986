//! What holds without any chance: damage, order, conservation, and that equal runs are equal.

use std::time::Duration;

use units::{ByteCount, Seed, Timestamp};

use super::chance::share;
use super::feed::{Feed, Irregular, STEADY, feed};
use super::{Case, Measure};
use crate::journal::{Digest, RunDigest, Verdict, VerdictDigest};
use crate::link::{Ecn, Link, Meta, flip_bit};
use crate::profile::LinkProfile;
use crate::stats::chi_square;

/// Copies among those that survived loss.
pub(super) fn duplicates(case: &Case<'_>) -> Vec<Measure> {
    let seen = feed(case, STEADY);
    let extra = seen.copies as f64 - seen.counters.duplicated as f64;
    vec![
        share(seen.counters.duplicated, case.packets - seen.counters.dropped(), case.profile.duplicate.get()),
        Measure::exact("packets", 0.0, extra, 0.0).named("copies not counted"),
    ]
}

/// How many are damaged, in which bits, and that it is one bit each.
pub(super) fn corruption(case: &Case<'_>) -> Vec<Measure> {
    let seen = feed(case, STEADY);
    let bits = usize::try_from(STEADY.size.as_u64() * 8).expect("small");
    let mut places = vec![0_u64; bits];
    let mut wrong = 0;
    for &bit in &seen.corrupt_bits {
        match usize::try_from(bit).ok().and_then(|bit| places.get_mut(bit)) {
            Some(place) => *place += 1,
            None => wrong += 1,
        }
    }
    let mut packet = vec![0_u8; bits / 8];
    for bit in 0..bits as u64 {
        packet.fill(0);
        flip_bit(&mut packet, bit);
        wrong += u64::from(packet.iter().map(|byte| byte.count_ones()).sum::<u32>() != 1);
    }
    let damaged = seen.corrupt_bits.len() as f64;
    let expected = vec![damaged / bits as f64; bits];
    let fit = chi_square(&places, &expected);
    let mut measures = vec![
        share(seen.counters.corrupted, seen.counters.delivered, case.profile.corrupt.get()),
        Measure::exact("packets", 0.0, wrong as f64, 0.0).named("Hamming distance not 1"),
    ];
    measures.extend(fit.map(|fit| {
        let mean = seen.corrupt_bits.iter().map(|&bit| bit as f64).sum::<f64>() / damaged;
        let middle = (bits as f64 - 1.0) / 2.0;
        let tolerance = super::Z * bits as f64 / 12.0_f64.sqrt() / damaged.sqrt();
        Measure::chance("bit", middle, mean, tolerance, fit.p_value).named("position uniform")
    }));
    measures
}

/// How many are held back, by how much, and RFC 4737's count of the reordered.
pub(super) fn reorder(case: &Case<'_>) -> Vec<Measure> {
    let Some(reorder) = case.profile.reorder else { return Vec::new() };
    let seen = feed(case, STEADY);
    let delay = u64::try_from(case.profile.mean_delay().as_nanos()).unwrap_or(u64::MAX);
    let extra = u64::try_from(reorder.extra.as_nanos()).unwrap_or(u64::MAX);
    let held = seen.delays.iter().filter(|found| **found == Some(delay + extra)).count() as u64;
    let other =
        seen.delays.iter().flatten().filter(|&&found| found != delay && found != delay + extra).count();
    let gap = u64::try_from(STEADY.gap.as_nanos()).unwrap_or(u64::MAX);
    let mut order: Vec<(u64, usize)> = seen
        .delays
        .iter()
        .enumerate()
        .filter_map(|(packet, delay)| Some((packet as u64 * gap + (*delay)?, packet)))
        .collect();
    order.sort_unstable();
    // RFC 4737 section 3.3: reordered is a packet whose number is below the highest seen so far.
    let mut highest = 0;
    let mut reordered = 0_u64;
    for (_, packet) in &order {
        reordered += u64::from(*packet < highest);
        highest = highest.max(*packet);
    }
    vec![
        share(held, case.packets, reorder.p.get()),
        Measure::exact("packets", 0.0, other as f64, 0.0).named("neither held nor on time"),
        Measure::exact("packets", reordered as f64, seen.counters.reordered as f64, 0.0)
            .named("reordered (RFC 4737)"),
    ]
}

/// Every packet is accounted for at every look, whatever the link does.
pub(super) fn conservation(case: &Case<'_>) -> Vec<Measure> {
    let seen = feed(case, Feed { size: ByteCount(1250), gap: Duration::from_micros(700) });
    let counters = &seen.counters;
    let unaccounted = (counters.offered + counters.duplicated) as f64
        - (counters.delivered + counters.dropped() + counters.queued()) as f64;
    vec![
        Measure::exact("packets", 0.0, unaccounted, 0.0),
        Measure::exact("", 1.0, f64::from(u8::from(seen.is_balanced)), 0.0).named("balance at every look"),
    ]
}

/// The same verdicts from every build, thread and timing: the digest of fixed runs is the published one.
pub(super) fn determinism(_case: &Case<'_>) -> Vec<Measure> {
    let same = |digest: Digest| f64::from(u8::from(digest.to_string() == published_digest()));
    let elsewhere = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|n| scope.spawn(move || determinism_digest(POLLS[n]))).collect();
        threads.into_iter().map(|thread| thread.join().map_or(0.0, same)).fold(1.0, f64::min)
    });
    vec![
        Measure::exact("", 1.0, same(determinism_digest(1)), 0.0).named("published SHA-256"),
        Measure::exact("", 1.0, elsewhere, 0.0).named("in other threads, polled late"),
    ]
}

/// How many packets come in between two looks at the link: what a busy machine does to a driver.
const POLLS: [u64; 3] = [1, 17, 400];

/// The digest of fixed runs over every kind of link, with the driver looking once in `poll_every` packets.
#[must_use]
pub fn determinism_digest(poll_every: u64) -> Digest {
    let mut all = RunDigest::default();
    for spec in super::rows::DETERMINED {
        let profile: LinkProfile = spec.parse().expect("every row is a valid link; a test reads them all");
        all.add(spec, run_digest(&profile, poll_every));
    }
    all.digest()
}

fn run_digest(profile: &LinkProfile, poll_every: u64) -> Digest {
    let mut link = Link::new(profile.clone(), Seed::root(42)).with_events(true).without_delays();
    let mut irregular = Irregular(6);
    let mut digest = VerdictDigest::default();
    let mut now = Timestamp::ZERO;
    for packet in 1..=20_000_u64 {
        now += Duration::from_nanos(irregular.below(1_500_000));
        let ecn = if packet % 3 == 0 { Ecn::Capable } else { Ecn::NotCapable };
        let meta = Meta { size: ByteCount(40 + irregular.below(1461)), flow: irregular.below(4), ecn };
        link.handle(now, (), meta);
        while let Some(event) = link.poll_event() {
            digest.add(&Verdict::from(&event));
        }
        if packet % poll_every == 0 {
            take(&mut link, now, &mut digest);
        }
    }
    while link.counters().queued() > 0
        && let Some(next) = link.poll_timeout()
    {
        take(&mut link, next, &mut digest);
    }
    digest.digest()
}

fn take(link: &mut Link<()>, until: Timestamp, digest: &mut VerdictDigest) {
    while let Some(delivery) = link.poll_deliver(until) {
        digest.add(&Verdict::from(&delivery));
    }
    while let Some(event) = link.poll_event() {
        digest.add(&Verdict::from(&event));
    }
}

/// What [`determinism_digest`] must be.
///
/// A change of the model that is meant to change verdicts changes this number, in a commit that says so; every seed
/// that was published gives other results from then on.
#[must_use]
pub fn published_digest() -> &'static str {
    "044963dec3865cc59733817e6e8eaa228826206d6c2f60303dbd9ca07f69b879"
}
