//! `loadgen compare-drivers`: the same scenario on sockets and in virtual time.
//!
//! Both should tell the same story, but no test says that they do: with enough messages any two differ. What is shown is how
//! far the distributions part, where, and by how much at each quantile; a reader decides whether that matters.

use serde::{Deserialize, Serialize};

use crate::records::RunFile;
use crate::stats::cluster::REPORTED;
use crate::stats::curve::{Distance, QuantileShift, Side, distance, quantile_shifts};

/// One cell in both drivers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DriverRow {
    pub axes: std::collections::BTreeMap<String, serde_json::Value>,
    /// Expected deliveries, real and virtual.
    pub real: u64,
    pub simulated: u64,
    /// Of delivery latency; `null` without samples.
    pub distance: Option<Distance>,
    /// Virtual over real, at the quantiles that reports state.
    pub shifts: Vec<QuantileShift>,
}

/// Compares folded runs, one for each cell, by their axes; cells that only one has are left out.
#[must_use]
pub fn drivers(real: &[RunFile], simulated: &[RunFile]) -> Vec<DriverRow> {
    let pairs =
        real.iter().filter_map(|run| Some((run, simulated.iter().find(|other| other.axes == run.axes)?)));
    pairs.map(|(a, b)| row(a, b)).collect()
}

fn row(real: &RunFile, simulated: &RunFile) -> DriverRow {
    let effects = |run: &RunFile| -> Vec<f64> {
        let of =
            |q: &f64| run.quantiles.iter().find(|known| known.q == *q).map_or(1.0, |it| it.design_effect);
        REPORTED.iter().map(of).collect()
    };
    let (left, right) = (effects(real), effects(simulated));
    let side = |run, design_effects| {
        let run: &RunFile = run;
        let messages = run.quantiles.first().map_or(run.all.delivery.count(), |known| known.messages);
        Side { distribution: &run.all.delivery, messages, design_effects }
    };
    DriverRow {
        axes: real.axes.clone(),
        real: real.all.delivery.count(),
        simulated: simulated.all.delivery.count(),
        distance: distance(&real.all.delivery, &simulated.all.delivery),
        shifts: quantile_shifts(&side(real, &left), &side(simulated, &right)),
    }
}
