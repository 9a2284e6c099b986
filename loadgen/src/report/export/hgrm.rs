//! `latency.hgrm`: delivery latency as a percentile distribution, for the viewers that read this format.
//!
//! The format is HdrHistogram's (`outputPercentileDistribution`): Value, Percentile, TotalCount, 1/(1-Percentile), in
//! milliseconds, five lines for each halving of what remains. Written from the histograms of a cell, all repeats
//! together. Lost pairs count in every percentile; the distribution ends with the last that arrived, and a comment says
//! how many did not. <https://hdrhistogram.github.io/HdrHistogram/plotFiles.html>

use crate::distribution::Distribution;

pub(in crate::report) fn write(delivery: &Distribution) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut level = 0.0;
    while let Some(us) = delivery.quantile(level) {
        let at_or_below = delivery.count_at_or_below(us);
        // All that is left has this value: the last line says 1, whatever the level was.
        if at_or_below == delivery.count() {
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
    text.push_str(&footer(delivery));
    text
}

/// As HdrHistogram writes it, and how many are lost.
fn footer(delivery: &Distribution) -> String {
    let finite = delivery.to_histogram();
    let is_empty = finite.is_empty();
    let (mean, deviation) = if is_empty { (0.0, 0.0) } else { (finite.mean() / 1e3, finite.stdev() / 1e3) };
    let max = delivery.range().map_or(0.0, |(_, most)| most as f64 / 1e3);
    format!(
        "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]\n#[Max     = {max:12.3}, Total count    = {:12}]\n\
         #[Buckets = {:12}, SubBuckets     = {:12}]\n#[Lost    = {:12}]\n",
        delivery.count(),
        finite.buckets(),
        SUB_BUCKETS,
        delivery.lost(),
    )
}

/// As the Java tool writes by default.
const LINES_A_HALVING: f64 = 5.0;
/// Of a histogram of three digits: the power of two from 2 × 10³ on.
const SUB_BUCKETS: u32 = 2048;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic::{self, Shape};

    fn lines(text: &str) -> Vec<Vec<f64>> {
        let data = text.lines().skip(2).filter(|line| !line.starts_with('#'));
        data.map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect()
    }

    fn delivery(given_up: f64) -> Distribution {
        let saved = synthetic::chat(&Shape { clients: 20, given_up, ..Shape::default() }, 1);
        saved.runs[0].all.delivery.clone()
    }

    #[test]
    fn the_distribution_rises_to_one_exactly_once() {
        let lines = lines(&write(&delivery(0.0)));
        assert!(lines.is_sorted_by(|a, b| a[0] <= b[0] && a[1] < b[1] && a[2] <= b[2]));
        assert_eq!(lines.iter().filter(|line| line[1] == 1.0).count(), 1);
        assert!(
            lines
                .iter()
                .filter(|line| line[1] < 1.0)
                .all(|line| (line[3] * (1.0 - line[1]) - 1.0).abs() < 0.01)
        );
    }

    #[test]
    fn lost_pairs_keep_the_distribution_from_reaching_one() {
        let text = write(&delivery(0.02));
        let last = lines(&text).pop().expect("lines");
        assert!(last[1] > 0.95 && last[1] < 0.99, "{last:?}");
        assert!(text.contains("#[Lost    = "), "{text}");
    }

    #[test]
    fn nothing_recorded_is_an_empty_distribution() {
        assert!(lines(&write(&Distribution::default())).is_empty());
    }
}
