//! The words of an assertion: which number of [`Metrics`] each one names.
//!
//! Names come from the serialised [`Metrics`] themselves, so a metric that is added there can be asserted at once and
//! no second list can drift from `result.json`.

use serde_json::Value;

use crate::result::Metrics;

/// A metric of an assertion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Metric {
    /// A dotted path into [`Metrics`], such as `messages.lost`.
    Path(String),
    /// `p99(delivery_latency)`.
    Latency { stat: Stat, of: &'static str },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stat {
    Count,
    Min,
    Mean,
    P50,
    P90,
    P99,
    P99_9,
    Max,
}

/// What a metric measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    /// Microseconds for times. Infinite for a percentile that falls among messages that never arrived.
    Value(f64),
    /// No sample at all.
    Missing,
    /// A percentile of fewer samples than it takes to state it.
    TooFew { have: u64, need: u64 },
}

impl Metric {
    /// `lost`, `messages.lost`, `schedule_lag_p99`: by full path, or by last words where they are unambiguous; `_us`
    /// may be left out. The error names the nearest.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let known = paths();
        let matches = |path: &str| {
            [path, path.trim_end_matches("_us")]
                .iter()
                .any(|path| *path == name || path.strip_suffix(name).is_some_and(|rest| rest.ends_with('.')))
        };
        let found = SECTIONS.iter().find_map(|section| {
            let mut found = known.iter().filter(|path| path.starts_with(section) && matches(path));
            // Two of one section (link.up.offered, link.down.offered) are ambiguous, which is as good as unknown.
            found.next().filter(|_| found.next().is_none())
        });
        let Some(path) = found else {
            let known = known.iter().filter_map(|path| short(path));
            return Err(format!("{name} is no metric; {}", nearest(name, known)));
        };
        Ok(Self::latency_of(path).unwrap_or_else(|| Self::Path(path.clone())))
    }

    /// `p99(delivery_latency)`.
    pub(crate) fn function(stat: &str, of: &str) -> Result<Self, String> {
        let stat = STATS.iter().find(|(name, ..)| *name == stat).ok_or_else(|| {
            format!("{stat}(…) is not recorded; {}", nearest(stat, STATS.iter().map(|(name, ..)| *name)))
        })?;
        let of = LATENCIES.iter().find(|(name, _)| *name == of).ok_or_else(|| {
            format!("{of} is no latency; {}", nearest(of, LATENCIES.iter().map(|(name, _)| *name)))
        })?;
        Ok(Self::Latency { stat: stat.1, of: of.1 })
    }

    /// `latency.delivery.p99_us` is the same as `p99(delivery_latency)`.
    fn latency_of(path: &str) -> Option<Self> {
        let (of, field) = path.strip_prefix("latency.")?.split_once('.')?;
        let of = LATENCIES.iter().find(|(_, section)| *section == of)?.1;
        let stat = STATS.iter().find(|(_, _, known, _)| *known == field)?.1;
        Some(Self::Latency { stat, of })
    }

    /// Whether the value is a time, in microseconds.
    pub(crate) fn is_time(&self) -> bool {
        match self {
            Self::Path(path) => path.ends_with("_us"),
            Self::Latency { stat, .. } => *stat != Stat::Count,
        }
    }

    pub(crate) fn measure(&self, metrics: &Metrics) -> Measured {
        let data = serde_json::to_value(metrics).unwrap_or_default();
        match self {
            Self::Path(path) => number(&data, path).map_or(Measured::Missing, Measured::Value),
            Self::Latency { stat, of } => latency(&data, *stat, of),
        }
    }
}

/// The shortest name of a metric that is no latency: without its section, where that is unambiguous.
fn short(path: &str) -> Option<&str> {
    match path.split_once('.')? {
        ("latency", _) => None,
        ("link", _) => Some(path),
        (_, rest) => Some(rest),
    }
}

fn latency(data: &Value, stat: Stat, of: &str) -> Measured {
    let Some((_, _, field, need)) = STATS.iter().find(|(_, known, ..)| *known == stat) else {
        return Measured::Missing;
    };
    let count = number(data, &format!("latency.{of}.count")).unwrap_or(0.0) as u64;
    // Where every pair was lost there is no finite sample, yet each of them is one at infinity.
    let lost = if of == "delivery" { number(data, "messages.lost").unwrap_or(0.0) as u64 } else { 0 };
    let samples = count.max(lost);
    if stat == Stat::Count {
        return Measured::Value(count as f64);
    }
    match samples {
        0 => Measured::Missing,
        have if have < *need => Measured::TooFew { have, need: *need },
        _ => Measured::Value(number(data, &format!("latency.{of}.{field}")).unwrap_or(f64::INFINITY)),
    }
}

fn number(data: &Value, path: &str) -> Option<f64> {
    path.split('.').try_fold(data, |at, key| at.get(key))?.as_f64()
}

/// Every number of [`Metrics`], as a dotted path.
fn paths() -> Vec<String> {
    fn walk(at: &Value, path: &str, found: &mut Vec<String>) {
        match at {
            Value::Object(fields) => {
                for (key, value) in fields {
                    walk(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, found);
                }
            }
            Value::Number(_) | Value::Null => found.push(path.to_owned()),
            _ => {}
        }
    }
    let mut found = Vec::new();
    walk(&serde_json::to_value(Metrics::default()).unwrap_or_default(), "", &mut found);
    found
}

/// Three near names and no more: the whole list is in the reference.
fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> String {
    let mut known: Vec<&str> = known.collect();
    known.sort_by_key(|name| (!name.ends_with(wrong), strsim::damerau_levenshtein(wrong, name)));
    format!("nearest: {}", known[..known.len().min(3)].join(", "))
}

/// Order in which a short name is looked for: `delivered` is that of the messages, not of a link.
const SECTIONS: [&str; 8] =
    ["messages.", "throughput.", "transport.", "wire.", "health.", "latency.", "link.", "delay_causes."];

/// Name, statistic, field of `LatencySummary`, and how many samples it takes: 10 beyond the quantile, 10 / (1 - q).
const STATS: [(&str, Stat, &str, u64); 9] = [
    ("count", Stat::Count, "count", 0),
    ("min", Stat::Min, "min_us", 1),
    ("mean", Stat::Mean, "mean_us", 1),
    ("p50", Stat::P50, "p50_us", 20),
    ("p90", Stat::P90, "p90_us", 100),
    ("p99", Stat::P99, "p99_us", 1_000),
    ("p99.9", Stat::P99_9, "p99_9_us", 10_000),
    ("p99_9", Stat::P99_9, "p99_9_us", 10_000),
    ("max", Stat::Max, "max_us", 1),
];

/// Name in assertions, section of `latency`.
const LATENCIES: [(&str, &str); 4] = [
    ("delivery_latency", "delivery"),
    ("service_latency", "service"),
    ("ack_rtt", "ack_rtt"),
    ("connect_latency", "connect"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn path(name: &str) -> String {
        match Metric::named(name) {
            Ok(Metric::Path(path)) => path,
            other => panic!("{name} is {other:?}"),
        }
    }

    #[test]
    fn short_names_mean_the_ledger_first() {
        assert_eq!(path("lost"), "messages.lost");
        assert_eq!(path("delivered"), "messages.delivered");
        assert_eq!(path("delivered_per_s"), "throughput.delivered_per_s");
        assert_eq!(path("schedule_lag_p99"), "health.schedule_lag_p99_us");
        assert_eq!(path("link.up.dropped_loss"), "link.up.dropped_loss");
    }

    #[test]
    fn a_latency_field_is_the_same_as_its_function() {
        let field = Metric::named("latency.delivery.p99_us");
        assert_eq!(field, Metric::function("p99", "delivery_latency"));
    }

    #[test]
    fn unknown_and_ambiguous_names_offer_the_nearest() {
        assert!(Metric::named("losst").unwrap_err().starts_with("losst is no metric; nearest: lost"));
        assert!(Metric::named("offered").unwrap_err().contains("link.up.offered"));
        assert!(
            Metric::function("p95", "ack_rtt").unwrap_err().starts_with("p95(…) is not recorded; nearest: p")
        );
        assert!(Metric::function("p99", "latency").unwrap_err().contains("delivery_latency"));
    }
}
