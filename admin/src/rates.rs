//! Rates from two polls of counters, over the time that really passed between them.

use chat_server::control::ServerStats;
use serde::Serialize;

use crate::show::bad_input;

/// What changed between two polls, per second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Rates {
    pub(crate) lines_in: f64,
    pub(crate) lines_out: f64,
    pub(crate) bytes_in: f64,
    pub(crate) bytes_out: f64,
    pub(crate) segments: f64,
    pub(crate) retransmits: f64,
    pub(crate) timeouts: f64,
    pub(crate) bad_input: f64,
}

impl Rates {
    /// `None` if the server was started anew in between, so that the counters do not belong together.
    pub(crate) fn between(earlier: &ServerStats, later: &ServerStats, elapsed_s: f64) -> Option<Self> {
        if later.uptime_s < earlier.uptime_s || elapsed_s <= 0.0 {
            return None;
        }
        let per_second = |counter: fn(&ServerStats) -> u64| {
            counter(later).saturating_sub(counter(earlier)) as f64 / elapsed_s
        };
        Some(Self {
            lines_in: per_second(|stats| stats.chat.lines_in),
            lines_out: per_second(|stats| stats.chat.lines_out),
            bytes_in: per_second(bytes_in),
            bytes_out: per_second(bytes_out),
            segments: per_second(|stats| stats.transport.segments_sent),
            retransmits: per_second(|stats| stats.transport.retransmits),
            timeouts: per_second(|stats| stats.transport.timeouts),
            bad_input: per_second(bad_total),
        })
    }
}

pub(crate) fn bytes_in(stats: &ServerStats) -> u64 {
    stats.net.stream_bytes_in + stats.net.datagram_bytes_in
}

pub(crate) fn bytes_out(stats: &ServerStats) -> u64 {
    stats.net.stream_bytes_out + stats.net.datagram_bytes_out
}

pub(crate) fn bad_total(stats: &ServerStats) -> u64 {
    bad_input(stats).iter().map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use chat_server::engine::{Engine, EngineConfig};
    use units::{Seed, Timestamp};

    use super::*;

    #[test]
    fn a_rate_is_a_difference_over_the_time_that_passed() {
        let (earlier, mut later) = (stats(1), stats(6));
        later.chat.lines_in = 50;
        later.net.datagram_bytes_in = 1000;
        let rates = Rates::between(&earlier, &later, 5.0).unwrap();
        assert_eq!((rates.lines_in, rates.bytes_in, rates.lines_out), (10.0, 200.0, 0.0));
    }

    #[test]
    fn a_server_that_started_anew_has_no_rates_yet() {
        assert_eq!(Rates::between(&stats(100), &stats(2), 5.0), None);
    }

    fn stats(uptime_s: u64) -> ServerStats {
        Engine::new(EngineConfig::new(Seed::root(1))).stats(Timestamp::from_secs(uptime_s))
    }
}
