//! What the emulated links did, and whether that is what they were set to.
//!
//! Every run checks its own emulator: observed against configured loss within a binomial interval, observed against
//! configured delay, and whether the counters add up. A run whose link fails its check is INVALID.

use netem_proxy::link::LinkCounters;
use netem_proxy::profile::{DelayModel, LinkProfile, LossModel, LossPlace};

use crate::backend::{LinkRecord, NamedLink, RunRecord};
use crate::result::{DirectionFacts, LinkDirection, LinkFacts, Links, SelfCheck, Wire};
use crate::scenario::Scenario;

use super::micros;
use crate::distribution::Distribution;

/// What the links of a cell are set to.
#[must_use]
pub fn facts(scenario: &Scenario) -> Vec<LinkFacts> {
    let direction = |profile: &LinkProfile| DirectionFacts {
        loss: profile.mean_loss(),
        delay_us: micros(profile.mean_delay()),
        jitter_us: micros(profile.jitter()),
        rate_bps: profile.bitrate().map(|rate| rate.bits_per_second()),
        spec: profile.to_string(),
    };
    let links = scenario.links.iter();
    links
        .map(|(name, link)| LinkFacts {
            name: name.clone(),
            up: direction(&link.up),
            down: direction(&link.down),
        })
        .collect()
}

/// Counters of all links, and the self-check.
pub(super) fn links(scenario: &Scenario, record: &RunRecord) -> Links {
    let mut links = Links::default();
    if record.links.is_empty() {
        return links;
    }
    let mut reasons = Vec::new();
    for NamedLink { name, up, down } in &record.links {
        let Some(config) = scenario.links.get(name) else {
            continue;
        };
        for (direction, observed, profile, sum) in
            [("up", up, &config.up, &mut links.up), ("down", down, &config.down, &mut links.down)]
        {
            add(sum, &observed.counters);
            reasons.extend(
                check(profile, observed).into_iter().map(|reason| format!("{name} {direction}: {reason}")),
            );
        }
    }
    links.self_check = if reasons.is_empty() { SelfCheck::Pass } else { SelfCheck::Fail };
    links.self_check_reasons = reasons;
    links
}

/// What the messages of a run cost on its links. Packets were counted without the headers that a link cannot see.
pub(super) fn wire(scenario: &Scenario, record: &RunRecord, links: &Links) -> Wire {
    let headers = scenario.transport.unseen_header_bytes();
    let bytes = |direction: &LinkDirection| direction.offered_bytes + headers * direction.offered;
    Wire {
        messages: record.recorded.submitted,
        up_packets: links.up.offered,
        down_packets: links.down.offered,
        up_bytes: bytes(&links.up),
        down_bytes: bytes(&links.down),
        ..Wire::default()
    }
}

/// Model time in the links, up and down.
pub(super) fn delays(record: &RunRecord) -> (Distribution, Distribution) {
    let mut sums = (Distribution::default(), Distribution::default());
    for link in &record.links {
        for (sum, one) in [(&mut sums.0, &link.up), (&mut sums.1, &link.down)] {
            if let Some(delays) = &one.delays_us {
                sum.merge(&Distribution::of(delays));
            }
        }
    }
    sums
}

fn add(sum: &mut LinkDirection, counters: &LinkCounters) {
    sum.offered += counters.offered;
    sum.offered_bytes += counters.offered_bytes;
    sum.delivered += counters.delivered;
    sum.dropped_loss += counters.dropped_loss;
    sum.dropped_queue += counters.dropped_queue;
    sum.dropped_blackout += counters.dropped_blackout;
    sum.dropped_closed += counters.dropped_closed;
    sum.queued += counters.queued();
    sum.duplicated += counters.duplicated;
    sum.reordered += counters.reordered;
    sum.corrupted += counters.corrupted;
}

fn check(profile: &LinkProfile, observed: &LinkRecord) -> Vec<String> {
    let counters = &observed.counters;
    let mut reasons = Vec::new();
    if !counters.balance_holds() {
        reasons.push(format!("packets do not add up: {counters:?}"));
    }
    reasons.extend(check_loss(profile, counters));
    if let (DelayModel::Constant(delay), None, true) =
        (&profile.delay, profile.bitrate(), !profile.is_timed())
        && let Some(median) = observed.delays_us.as_ref().filter(|delays| !delays.is_empty())
    {
        let (configured, median) = (micros(*delay), median.value_at_quantile(0.5));
        // Three digits of the histogram, and a microsecond of rounding.
        if median.abs_diff(configured) > configured / 500 + 1 {
            reasons.push(format!("median delay {median} µs, configured {configured} µs"));
        }
    }
    reasons
}

/// Whether the number of lost packets is one that the model gives in all but one of 100,000 runs.
fn check_loss(profile: &LinkProfile, counters: &LinkCounters) -> Option<String> {
    let model = &profile.loss;
    // What a blackout drops never reaches the loss stage, nor does what the queue drops before loss on the wire.
    let before = match profile.loss_at {
        LossPlace::Entry => 0,
        LossPlace::Wire => counters.dropped_queue,
    };
    let trials = counters.offered.saturating_sub(counters.dropped_blackout + before) as f64;
    // A schedule has other losses at other times, and nobody counts packets by them.
    if !profile.schedule.is_empty() {
        return None;
    }
    // A link without chance decides by its own packets' numbers; the sum over links shows nothing of that. What netem's
    // recurrences lose is known too roughly for a verdict.
    let is_netem = profile.compat.is_some();
    if is_netem || matches!(model, LossModel::EveryNth { .. } | LossModel::List(_) | LossModel::Trace(_)) {
        return None;
    }
    // Chains begin anew on each link, most in their good state, which the same margin covers for links of some traffic.
    let (p, inflation) = (profile.mean_loss(), model.variance_inflation().max(1.0));
    let expected = trials * p;
    let deviation = (trials * p * (1.0 - p) * inflation).sqrt();
    let off = (counters.dropped_loss as f64 - expected).abs();
    if off <= SIGMAS * deviation + 1.0 {
        return None;
    }
    let observed = counters.dropped_loss as f64 / trials.max(1.0) * 100.0;
    Some(format!(
        "lost {observed:.3} % of {trials} packets, configured {:.3} % (more than {SIGMAS} standard deviations off)",
        p * 100.0
    ))
}

/// Two-sided odds of about 1 in 100,000: a sweep has dozens of checks and should not fail by chance.
const SIGMAS: f64 = 4.4;
