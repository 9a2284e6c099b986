//! `latency.hlog`: delivery latency over time as an interval log, for HdrHistogram's log viewers.
//!
//! The format is HdrHistogram's log, a compressed V2 histogram a line, with tags. Values are nanoseconds, as the viewers
//! take them, and maxima milliseconds. Tag `r0` has a line for each interval of the first repeat, by intended time;
//! `r0/room-chat` has one line for all recorded messages of a workload.
//!
//! A run file keeps the latencies of an interval in bins (12 % wide) and those of the whole run to three digits. The
//! log deals the exact samples of each bin to the intervals that have samples there, in proportion: what an interval
//! shows is right to the width of a bin, and all intervals together are the run to three digits. Samples that only the
//! bins know (of a phase that is not recorded) stand at the middle of their bin. A histogram has no place for what never
//! arrived; a comment counts it. <https://github.com/HdrHistogram/HdrHistogram>

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::distribution::{self, Distribution, HIGHEST_US};
use crate::records::{RunFile, bin_range, latency_bin};
use crate::report::origin::Origin;
use crate::report::runs::{Pooled, Told};

/// The log of one cell and arm.
pub(super) fn write(told: &Told<'_>, origin: &Origin<'_>, pooled: &Pooled) -> String {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("[Histogram log format version 1.3]");
    builder.add_comment(&format!("[{}: delivery latency in nanoseconds]", origin.caption()));
    builder.add_comment(&format!("[Cell: {}]", told.cell(pooled.cell)));
    builder.add_comment(&format!("[Lost, in no histogram: {}]", pooled.all.delivery.lost()));
    builder.add_comment("[Intervals are right to 12 %, all of a run together to three digits]");
    let mut log = builder
        .with_max_value_divisor(1e6)
        .begin_log_with(&mut bytes, &mut serializer)
        .expect("writing to memory");
    let mut histogram = empty();
    for run in told.runs_of(pooled.cell, pooled.arm) {
        let mut line = |samples: &[(u64, u64)], from_us: u64, length_us: u64, tag: &str| {
            histogram.reset();
            samples.iter().for_each(|&(us, n)| histogram.saturating_record_n(us * 1_000, n));
            let tag: String = tag.chars().map(|c| if is_forbidden(c) { '-' } else { c }).collect();
            let (from, length) = (Duration::from_micros(from_us), Duration::from_micros(length_us));
            log.write_histogram(&histogram, from, length, Tag::new(&tag))
                .expect("a histogram of our bounds, to memory");
        };
        let width = run.intervals.width_us;
        for (index, samples) in deal(run).iter().enumerate() {
            line(samples, index as u64 * width, width, &format!("r{}", run.repeat));
        }
        let (from, until) = recorded(run);
        for workload in &run.workloads {
            let samples = exact(&workload.latencies.delivery);
            line(&samples, from, until - from, &format!("r{}/{}", run.repeat, workload.name));
        }
    }
    // Base64, numbers, and names that were text before.
    String::from_utf8(bytes).expect("a log is text")
}

/// Values and counts of each interval; see above.
fn deal(run: &RunFile) -> Vec<Vec<(u64, u64)>> {
    let rows = &run.intervals.rows;
    let mut dealt = vec![Vec::new(); rows.len()];
    // Of each bin: which intervals have how many samples left to be dealt.
    let mut wanted: BTreeMap<u16, Vec<(usize, u64)>> = BTreeMap::new();
    for (index, row) in rows.iter().enumerate() {
        for &(bin, n) in &row.heat {
            wanted.entry(bin).or_default().push((index, u64::from(n)));
        }
    }
    let mut known: BTreeMap<u16, Vec<(u64, u64)>> = BTreeMap::new();
    for (us, n) in exact(&run.all.delivery) {
        known.entry(latency_bin(us)).or_default().push((us, n));
    }
    for (bin, mut takers) in wanted {
        for &(us, n) in known.get(&bin).map(Vec::as_slice).unwrap_or_default() {
            hand_out(us, n, &mut takers, &mut dealt);
        }
        let (low, high) = bin_range(bin);
        let middle = (low.max(1.0) * high.min(HIGHEST_US as f64)).sqrt() as u64;
        for (index, left) in takers {
            if left > 0 {
                dealt[index].push((middle, left));
            }
        }
    }
    dealt
}

/// Gives `n` samples of one value to those who want some of its bin, in proportion to what they still want; what does
/// not divide goes to the first of them.
fn hand_out(us: u64, n: u64, takers: &mut [(usize, u64)], dealt: &mut [Vec<(u64, u64)>]) {
    let wanted: u64 = takers.iter().map(|&(_, left)| left).sum();
    let n = n.min(wanted);
    let (mut seen, mut given) = (0, 0);
    for (index, left) in takers {
        // Rounded on the running sum, so that all parts together are n.
        seen += *left;
        let share = (u128::from(n) * u128::from(seen)).div_ceil(u128::from(wanted.max(1))) as u64 - given;
        let share = share.min(*left);
        given += share;
        *left -= share;
        if share > 0 {
            dealt[*index].push((us, share));
        }
    }
}

fn exact(distribution: &Distribution) -> Vec<(u64, u64)> {
    // The middle of a slot, so that it stays in it.
    distribution.slots().map(|(us, count)| (distribution::middle(us), count)).collect()
}

/// From the first recorded phase to the last.
fn recorded(run: &RunFile) -> (u64, u64) {
    let phases = || run.phases.iter().filter(|phase| phase.recorded);
    let from = phases().map(|phase| phase.from_us).min().unwrap_or(0);
    (from, phases().map(|phase| phase.until_us).max().unwrap_or(from))
}

fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, HIGHEST_US * 1_000, 3).expect("constant bounds are sound")
}

/// In a tag of this format.
fn is_forbidden(c: char) -> bool {
    c == ',' || c.is_whitespace() || c.is_control()
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;
    use crate::report::synthetic::{self, Shape};

    fn read(text: &str) -> Vec<(String, Duration, Histogram<u64>)> {
        let mut lines = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            if let LogEntry::Interval(line) = entry.expect("a line of the format") {
                let bytes = STANDARD.decode(line.encoded_histogram()).expect("base64");
                let histogram = Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a histogram");
                lines.push((
                    line.tag().expect("a tag").as_str().to_owned(),
                    line.start_timestamp(),
                    histogram,
                ));
            }
        }
        lines
    }

    #[test]
    fn the_log_reads_back_and_adds_up_to_the_run() {
        let mut saved =
            synthetic::chat(&Shape { clients: 20, warmup_s: 0, steady_s: 10, ..Shape::default() }, 2);
        saved.runs[0].workloads[0].name = "room, chat\n#1".to_owned();
        let told = Told::of(&saved.result, &saved.runs);
        let text = write(&told, &Origin::of(&saved.result), &told.pooled[0]);
        let lines = read(&text);
        let run = &saved.runs[0];
        let intervals: Vec<_> = lines.iter().filter(|(tag, ..)| tag == "r0").collect();
        assert_eq!(intervals.len(), run.intervals.rows.len());
        assert!(intervals.iter().zip(&run.intervals.rows).all(|((.., histogram), row)| {
            histogram.len() == row.heat.iter().map(|&(_, n)| u64::from(n)).sum::<u64>()
        }));
        let mut sum = empty();
        intervals.iter().for_each(|(.., histogram)| sum.add(histogram).expect("the same bounds"));
        assert_eq!(sum.len(), run.all.delivery.count());
        for q in [0.1, 0.5, 0.9, 0.99, 0.999] {
            let (log, exact) = (
                sum.value_at_quantile(q) as f64 / 1e3,
                run.all.delivery.quantile(q).expect("arrived") as f64,
            );
            assert!((log / exact - 1.0).abs() < 2e-3, "{q}: {log} {exact}");
        }
        let workload = lines.iter().find(|(tag, ..)| tag == "r0/room--chat-#1").expect("a workload");
        assert_eq!(workload.2.len(), run.all.delivery.count());
        assert!(lines.iter().any(|(tag, ..)| tag == "r1"));
    }

    #[test]
    fn a_second_half_is_not_made_of_the_first() {
        let saved = synthetic::chat(&Shape { clients: 20, outages: vec![(6.0, 8.0)], ..Shape::default() }, 1);
        let told = Told::of(&saved.result, &saved.runs);
        let text = write(&told, &Origin::of(&saved.result), &told.pooled[0]);
        for (tag, start, histogram) in read(&text) {
            let row = &saved.runs[0].intervals.rows
                [(start.as_micros() as u64 / saved.runs[0].intervals.width_us) as usize];
            if let Some(p50) = row.p50_us.filter(|_| tag == "r0") {
                let ratio = histogram.value_at_quantile(0.5) as f64 / 1e3 / p50 as f64;
                assert!((0.85..1.18).contains(&ratio), "{start:?}: {ratio}");
            }
        }
    }
}
