//! When a run is measured: its recorded phases.

use std::time::Duration;

use crate::measure::micros;
use crate::scenario::{Activity, Scenario};

/// What happened while a recorded phase went on, whichever message it was about: what rates are made of. A message that
/// arrives later has its latency, but was not carried in that time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InLoad {
    pub sent: u64,
    pub delivered: u64,
    /// Their text bytes.
    pub delivered_bytes: u64,
}

/// Spans of recorded phases, in microseconds since the first phase began; neighbours are joined.
#[derive(Clone, Debug)]
pub(in crate::measure) struct Load {
    spans: Vec<(u64, u64)>,
}

impl Load {
    pub(in crate::measure) fn of(scenario: &Scenario) -> Self {
        let mut at = Duration::ZERO;
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for phase in &scenario.phases {
            let (from, until) = (micros(at), micros(at + phase.duration));
            at += phase.duration;
            if !phase.record || phase.activity != Activity::Load {
                continue;
            }
            match spans.last_mut().filter(|last| last.1 == from) {
                Some(last) => last.1 = until,
                None => spans.push((from, until)),
            }
        }
        Self { spans }
    }

    pub(super) fn holds(&self, us: u64) -> bool {
        self.spans.iter().any(|&(from, until)| from <= us && us < until)
    }

    /// How long they are together, in a run that ended at `us`.
    pub(in crate::measure) fn length(&self, us: u64) -> Duration {
        let spans = self.spans.iter().map(|&(from, until)| until.min(us).saturating_sub(from));
        Duration::from_micros(spans.sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::load_str;

    #[test]
    fn neighbours_are_one_span_and_a_drain_is_none() {
        let toml = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"a\", count = 2 }]\n\
             phase = [{ name = \"warm\", duration = \"1s\", record = false }, { name = \"a\", duration = \"2s\" }, \
             { name = \"b\", duration = \"3s\" }, { name = \"drain\", drain = \"5s\" }]\n\
             workload = [{ name = \"w\", arrival = { rate = \"1/s\" } }]\n";
        let load = Load::of(&load_str("t.toml", toml, &[]).expect("the scenario is sound").scenario);
        assert_eq!(load.spans, [(1_000_000, 6_000_000)]);
        assert!(load.holds(1_000_000) && !load.holds(999_999) && !load.holds(6_000_000));
        assert_eq!(load.length(4_000_000), Duration::from_secs(3));
        assert_eq!(load.length(u64::MAX), Duration::from_secs(5));
    }
}
