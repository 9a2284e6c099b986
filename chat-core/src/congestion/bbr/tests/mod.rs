//! BBR over a simulated bottleneck, in virtual time.
//!
//! | case of the draft's appendix | test |
//! |---|---|
//! | Exiting STARTUP on Bandwidth Plateau | `startup::exiting_startup_on_bandwidth_plateau` |
//! | Exiting STARTUP on Loss When Application-Limited | `startup::exiting_startup_on_loss_when_application_limited` |
//! | Exiting DRAIN Based on Inflight | `startup::exiting_drain_based_on_inflight` |
//! | Exiting DRAIN Based on Time | `startup::exiting_drain_based_on_time` |
//! | Exiting PROBE_UP on Bandwidth Plateau | `cycle::exiting_probe_up_on_bandwidth_plateau` |
//! | Exiting PROBE_UP on Loss When Application-Limited | `cycle::exiting_probe_up_on_loss_when_application_limited` |
//! | Never Exiting PROBE_UP (or STARTUP) When Application-Limited With No Loss | `startup::never_exiting_startup_…`, `cycle::never_exiting_probe_up_…` |
//! | Exiting PROBE_DOWN on Inflight | `cycle::exiting_probe_down_on_inflight` |
//! | Exiting PROBE_DOWN After Max Time | `cycle::exiting_probe_down_after_max_time` |
//! | Entering and Exiting PROBE_RTT | `round_trip::entering_and_exiting_probe_rtt` |
//! | Skipping PROBE_RTT Due to Application-Limited Sending | `round_trip::skipping_probe_rtt_due_to_application_limited_sending` |
//! | Achieving Expected STARTUP Bandwidth on a Link With Aggregation | `startup::achieving_expected_startup_bandwidth_…` |
//! | Achieving Expected Cruise Bandwidth on a Link With Aggregation | `cycle::achieving_expected_cruise_bandwidth_…` |
//! | Correctly Managing Sub-Packet BDPs | `cycle::correctly_managing_sub_packet_bdps` |
//! | Increasing Bandwidth 10x and Ensuring Full Bandwidth is Reached | `changes::increasing_bandwidth_10x_…` |
//! | Decreasing Bandwidth 10x and Ensuring Max Bandwidth Adapts Down | `changes::decreasing_bandwidth_10x_…` |
//! | Handling Token Bucket Policers | `changes::handling_token_bucket_policers` |
//! | Handling Spurious Fast Recovery | `changes::handling_spurious_fast_recovery` |
//! | Handling Spurious RTO Recovery | `changes::handling_spurious_rto_recovery` |
//! | Entering and Exiting PROBE_RTT During STARTUP | `round_trip::entering_and_exiting_probe_rtt_during_startup` |
//! | Handling Loss During PROBE_UP After inflight_longterm is Set | `cycle::handling_loss_during_probe_up_…` |
//! | Handling Application-Limited Sending During PROBE_REFILL | `cycle::handling_application_limited_sending_during_probe_refill` |
//!
//! Where a test departs from the case, a comment says so. Everything else here is ours: `shares` (throughput, queue and
//! fairness under random loss, marks and competitors) and `properties` (random operations, determinism).

mod changes;
mod cycle;
mod link;
mod path;
mod properties;
mod round_trip;
mod shares;
mod startup;

use self::link::{Link, MSS};
use units::Bitrate;

/// Whether `rate` is within `permille` thousandths of `expected`.
fn is_near(rate: u64, expected: Bitrate, permille: u64) -> bool {
    let expected = expected.bits_per_second();
    rate.abs_diff(expected) <= expected / 1000 * permille
}

fn packets(bytes: u64) -> u64 {
    bytes / MSS
}

/// One line about where `link` stands, for a failure.
fn describe(link: &Link) -> String {
    let bbr = link.bbr();
    format!(
        "{} {:?} round {} max_bw {} bw {} cwnd {} in flight {} longterm {} queued {} floor {}",
        link.now,
        bbr.state,
        bbr.rounds.count,
        bbr.max_bw.get(),
        bbr.bw,
        packets(bbr.cwnd),
        packets(bbr.in_flight),
        packets(bbr.inflight_longterm),
        packets(link.queued),
        bbr.loss_floor.permille(),
    )
}
