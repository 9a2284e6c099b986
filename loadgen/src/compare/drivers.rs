//! `loadgen compare-drivers`: the same scenario on sockets and in virtual time.
//!
//! Both should tell the same story, but no test says that they do: with enough messages any two differ. What is shown is how
//! far the distributions part, where, and by how much at each quantile; a reader decides whether that matters.

use serde::Serialize;

use crate::records::RunFile;
use crate::stats::cluster::REPORTED;
use crate::stats::curve::{Distance, QuantileShift, Side, distance, quantile_shifts};

/// One cell in both drivers.
#[derive(Clone, Debug, PartialEq, Serialize)]
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

/// The same as text. Ends with a newline.
#[must_use]
pub fn drivers_text(rows: &[DriverRow]) -> String {
    let mut text = String::new();
    for row in rows {
        let cell = if row.axes.is_empty() { "all".to_owned() } else { super::cell_words(&row.axes) };
        text.push_str(&format!("Cell {cell}: {} deliveries real, {} virtual\n", row.real, row.simulated));
        if let Some(found) = row.distance {
            let at = found.at_us.map_or("what never arrived".to_owned(), milliseconds);
            text.push_str(&format!("  Kolmogorov-Smirnov distance {:.4} at {at}\n", found.d));
        }
        text.push_str(&format!(
            "  {:>8}  {:>12}  {:>12}  {}\n",
            "quantile", "real", "virtual", "virtual / real (95 %)"
        ));
        for shift in &row.shifts {
            let time = |us: Option<u64>| us.map_or("lost".to_owned(), milliseconds);
            let ratio = |ratio: Option<f64>| ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.3}"));
            text.push_str(&format!(
                "  {:>8}  {:>12}  {:>12}  {} ({} to {})\n",
                format!("p{}", (shift.q * 1e6).round() / 1e4),
                time(shift.a_us),
                time(shift.b_us),
                ratio(shift.ratio),
                ratio(shift.low),
                ratio(shift.high)
            ));
        }
    }
    text
}

fn milliseconds(us: u64) -> String {
    format!("{:.3} ms", us as f64 / 1e3)
}
