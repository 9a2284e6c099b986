//! Runs of one cell together: what a table states for a cell.
//!
//! Histograms are added, percentiles never averaged. The interval of a pooled percentile is that of its messages; how much
//! runs differ from each other is another question, which their own percentiles answer beside it.

use crate::compare::Compared;
use crate::distribution::Distribution;
use crate::records::{Latencies, QuantileEstimate, RunFile, pooled_quantiles};
use crate::result::{Messages, RunResult};

/// What tables and the page are made from.
#[derive(Clone, Debug)]
pub(super) struct Told<'a> {
    pub(super) result: &'a RunResult,
    /// By cell, arm and repeat; none where `runs/` was not kept.
    pub(super) runs: &'a [RunFile],
    pub(super) pooled: Vec<Pooled>,
    /// What was done in each arm; one name without arms.
    pub(super) arms: Vec<String>,
    pub(super) comparison: Option<&'a Compared>,
}

impl<'a> Told<'a> {
    pub(super) fn of(result: &'a RunResult, runs: &'a [RunFile]) -> Self {
        let has_arms = runs.iter().any(|run| run.arm > 0);
        let name = |arm: usize, letter: &str| {
            let set = result.arms.get(arm);
            set.map_or_else(|| letter.to_owned(), |set| format!("{letter}: {set}"))
        };
        let arms = if has_arms { vec![name(0, "A"), name(1, "B")] } else { vec![name(0, "A")] };
        Self { result, runs, pooled: pool(runs), arms, comparison: None }
    }

    /// What it was set against.
    pub(super) fn with(self, comparison: Option<&'a Compared>) -> Self {
        Self { comparison, ..self }
    }

    pub(super) fn has_arms(&self) -> bool {
        self.arms.len() > 1
    }

    /// The letter of an arm; what was done in it stands once, in the comparison.
    pub(super) fn arm(&self, arm: u32) -> &'static str {
        ["A", "B"].get(arm as usize).copied().unwrap_or("?")
    }

    /// What tables call a cell.
    pub(super) fn cell(&self, cell: u32) -> String {
        self.result.cells.get(cell as usize).map_or_else(|| format!("cell {cell}"), super::origin::cell_name)
    }

    /// What is missing in a folder without run files, and what to do.
    pub(super) fn lacks_runs(&self) -> Option<String> {
        let text = format!(
            "There are no run files (runs/) here: curves, intervals of percentiles, workloads, plots over time and slow \
             messages are left out. Copy runs/ beside result.json, or run scenario.toml again (it was run by loadgen {}).",
            self.result.run.revision
        );
        self.runs.is_empty().then_some(text)
    }

    pub(super) fn is_swept(&self) -> bool {
        self.result.cells.len() > 1
    }

    pub(super) fn pooled_of(&self, cell: usize, arm: u32) -> Option<&Pooled> {
        self.pooled.iter().find(|pooled| (pooled.cell as usize, pooled.arm) == (cell, arm))
    }

    /// The runs of one cell and arm.
    pub(super) fn runs_of(&self, cell: u32, arm: u32) -> impl Iterator<Item = &'a RunFile> {
        self.runs.iter().filter(move |run| (run.cell, run.arm) == (cell, arm))
    }
}

/// All repeats of one arm of one cell.
#[derive(Clone, Debug)]
pub(super) struct Pooled {
    pub(super) cell: u32,
    pub(super) arm: u32,
    pub(super) repeats: usize,
    /// Messages intended.
    pub(super) messages: u64,
    pub(super) all: Curves,
    pub(super) quantiles: Vec<QuantileEstimate>,
    /// In the order of the scenario.
    pub(super) workloads: Vec<PooledWorkload>,
}

/// The distributions that tables and curves need.
#[derive(Clone, Debug, Default)]
pub(super) struct Curves {
    pub(super) delivery: Distribution,
    pub(super) service: Distribution,
    pub(super) ack_rtt: Distribution,
    pub(super) completion: Distribution,
    pub(super) connect: Distribution,
}

#[derive(Clone, Debug)]
pub(super) struct PooledWorkload {
    pub(super) name: String,
    pub(super) messages: Messages,
    pub(super) delivery: Distribution,
    pub(super) service: Distribution,
    pub(super) quantiles: Vec<QuantileEstimate>,
}

/// By cell and arm, in their order; `runs` are sorted so.
pub(super) fn pool(runs: &[RunFile]) -> Vec<Pooled> {
    runs.chunk_by(|a, b| (a.cell, a.arm) == (b.cell, b.arm)).map(Pooled::of).collect()
}

impl Pooled {
    fn of(runs: &[RunFile]) -> Self {
        let mut all = Curves::default();
        runs.iter().for_each(|run| all.add(&run.all, &run.connect));
        let messages = runs.iter().map(|run| run.metrics.messages.intended).sum();
        let parts: Vec<_> = runs.iter().map(|run| (run.quantiles.as_slice(), &run.all.delivery)).collect();
        Self {
            cell: runs.first().map_or(0, |run| run.cell),
            arm: runs.first().map_or(0, |run| run.arm),
            repeats: runs.len(),
            messages,
            quantiles: estimates(&parts, &all.delivery),
            workloads: workloads(runs),
            all,
        }
    }
}

impl Curves {
    fn add(&mut self, run: &Latencies, connect: &Distribution) {
        self.delivery.merge(&run.delivery);
        self.service.merge(&run.service);
        self.ack_rtt.merge(&run.ack_rtt);
        self.completion.merge(&run.completion);
        self.connect.merge(connect);
    }
}

fn workloads(runs: &[RunFile]) -> Vec<PooledWorkload> {
    let names = runs.first().map(|run| run.workloads.as_slice()).unwrap_or_default();
    // A single workload is what the cell is; pooling it again would say the same at the same cost.
    let several = if names.len() > 1 { names } else { &[] };
    several
        .iter()
        .map(|first| {
            let same = || runs.iter().flat_map(|run| &run.workloads).filter(|other| other.name == first.name);
            let mut messages = Messages::default();
            let (mut delivery, mut service) = (Distribution::default(), Distribution::default());
            for workload in same() {
                messages.add(&workload.messages);
                delivery.merge(&workload.latencies.delivery);
                service.merge(&workload.latencies.service);
            }
            let parts: Vec<_> = same().map(|it| (it.quantiles.as_slice(), &it.latencies.delivery)).collect();
            let quantiles = estimates(&parts, &delivery);
            PooledWorkload { name: first.name.clone(), messages, delivery, service, quantiles }
        })
        .collect()
}

/// Of a single run as it states them; of several as an assertion has them.
fn estimates(parts: &[(&[QuantileEstimate], &Distribution)], pooled: &Distribution) -> Vec<QuantileEstimate> {
    match parts {
        [(stated, _)] => stated.to_vec(),
        parts => pooled_quantiles(parts, pooled),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape};

    #[test]
    fn repeats_are_pooled_by_cell_and_arm() {
        let shape = Shape { clients: 20, steady_s: 5, ..Shape::default() };
        let saved = synthetic::arms(&shape, 3);
        let pooled = pool(&saved.runs);
        assert_eq!(
            pooled.iter().map(|pooled| (pooled.cell, pooled.arm)).collect::<Vec<_>>(),
            [(0, 0), (0, 1)]
        );
        for pooled in &pooled {
            assert_eq!(pooled.repeats, 3);
            let runs = saved.runs.iter().filter(|run| run.arm == pooled.arm);
            assert_eq!(pooled.all.delivery.count(), runs.map(|run| run.all.delivery.count()).sum::<u64>());
            for estimate in &pooled.quantiles {
                let value = estimate.value_us.expect("nothing was lost");
                assert_eq!(Some(value), pooled.all.delivery.quantile(estimate.q));
                assert!(estimate.low_us <= Some(value) && estimate.high_us.is_none_or(|high| high >= value));
            }
        }
    }

    #[test]
    fn one_run_is_as_it_states_itself() {
        let shape = Shape { clients: 10, steady_s: 3, ..Shape::default() };
        let saved = synthetic::chat(&shape, 1);
        assert_eq!(pool(&saved.runs)[0].quantiles, saved.runs[0].quantiles);
        assert!(pool(&[]).is_empty());
    }
}
