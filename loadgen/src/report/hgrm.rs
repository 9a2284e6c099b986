//! `latency.hgrm`: delivery latency as a percentile distribution, for the viewers that read this format.
//!
//! The format is HdrHistogram's (`outputPercentileDistribution`): Value, Percentile, TotalCount, 1/(1-Percentile), in
//! milliseconds, five lines for each halving of what remains. Written from the exact samples of the first cell's
//! recorded pairs, all repeats together. Lost pairs count in every percentile; the distribution ends with the last
//! that arrived, and a comment says how many did not.
//! <https://hdrhistogram.github.io/HdrHistogram/plotFiles.html>

use crate::record::DeliveryRow;

use super::samples::{Rank, Samples};

pub(super) fn write(rows: &[DeliveryRow]) -> String {
    let samples = Samples::delivery(rows.iter().filter(|row| row.cell == 0));
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let arrived = samples.arrived_us();
    let mut level = 0.0;
    while let Some(Rank::Arrived(us)) = samples.at(level) {
        let at_or_below = arrived.partition_point(|&sample| sample <= us) as u64;
        // All that is left has this value: the last line says 1, whatever the level was.
        if at_or_below == samples.count() {
            text.push_str(&format!("{:12.3} {:2.12} {at_or_below:10}\n", us as f64 / 1e3, 1.0));
            break;
        }
        text.push_str(&format!(
            "{:12.3} {level:2.12} {at_or_below:10} {:14.2}\n",
            us as f64 / 1e3,
            1.0 / (1.0 - level)
        ));
        let halvings = (1.0 / (1.0 - level)).log2().floor() + 1.0;
        level += 1.0 / (LINES_A_HALVING * halvings.exp2());
    }
    text.push_str(&footer(&samples));
    text
}

fn footer(samples: &Samples) -> String {
    let arrived = samples.arrived_us();
    let n = arrived.len().max(1) as f64;
    let mean = arrived.iter().map(|&us| us as f64 / 1e3).sum::<f64>() / n;
    let variance = arrived.iter().map(|&us| (us as f64 / 1e3 - mean).powi(2)).sum::<f64>() / n;
    let max = arrived.last().map_or(0.0, |&us| us as f64 / 1e3);
    format!(
        "#[Mean    = {mean:12.3}, StdDeviation   = {:12.3}]\n#[Max     = {max:12.3}, Total count    = {:12}]\n\
         #[Lost    = {:12}]\n",
        variance.sqrt(),
        samples.count(),
        samples.lost(),
    )
}

/// As the Java tool writes by default.
const LINES_A_HALVING: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    fn lines(text: &str) -> Vec<Vec<f64>> {
        let data = text.lines().skip(2).filter(|line| !line.starts_with('#'));
        data.map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect()
    }

    #[test]
    fn the_distribution_rises_to_one_exactly_once() {
        let saved = synthetic::loss10(synthetic::Loss::None);
        let lines = lines(&write(&saved.deliveries));
        assert!(lines.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]));
        assert_eq!(lines.iter().filter(|line| line[1] == 1.0).count(), 1);
    }

    #[test]
    fn lost_pairs_keep_the_distribution_from_reaching_one() {
        let saved = synthetic::loss10(synthetic::Loss::TwoPercent);
        let text = write(&saved.deliveries);
        let last = lines(&text).pop().expect("lines");
        assert!(last[1] > 0.95 && last[1] < 0.99, "{last:?}");
        assert!(text.contains("#[Lost    = "), "{text}");
    }

    #[test]
    fn nothing_recorded_is_an_empty_distribution() {
        assert!(lines(&write(&[])).is_empty());
    }
}
