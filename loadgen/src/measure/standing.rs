//! A run that goes on, as far as it is known.
//!
//! An assertion with `abort` is judged while its run goes on, on what is settled by then: messages that all recipients have
//! heard, that were given up, or that are overdue. What is under way is not lost yet. Only what a recorder adds up as it
//! goes is here; what is computed when a run ends (throughput, fairness, recoveries, counters of the transport) is not.

use crate::distribution::Distribution;
use crate::records::{RunFile, WorkloadRecord};
use crate::result::Messages;
use crate::scenario::Scenario;

use super::{facts, phases, summarise};

/// What is settled of recorded phases.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    /// In the order of the scenario.
    pub workloads: Vec<WorkloadRecord>,
    /// Counts that belong to no workload.
    pub unnamed: Messages,
    pub connect: Distribution,
    /// How late messages were handed to the protocol.
    pub lag: Distribution,
}

impl Standing {
    /// As a run that ended at `at_us` would tell it; what is not known before the end is empty.
    #[must_use]
    pub fn into_run_file(self, scenario: &Scenario, at_us: u64) -> RunFile {
        let mut run =
            RunFile { phases: phases(scenario, at_us), links: facts(scenario), ..RunFile::default() };
        let late = self.unnamed.late;
        run.metrics.messages = self.unnamed;
        for work in &self.workloads {
            run.metrics.messages.add(&work.messages);
            run.all.merge(&work.latencies);
        }
        run.metrics.messages.late = late;
        let latency = &mut run.metrics.latency;
        latency.delivery = summarise(&run.all.delivery);
        latency.service = summarise(&run.all.service);
        latency.ack_rtt = summarise(&run.all.ack_rtt);
        latency.connect = summarise(&self.connect);
        run.workloads = self.workloads;
        run.connect = self.connect;
        run.health.lag = self.lag;
        run
    }
}
