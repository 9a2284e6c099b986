//! The words of an assertion: which number of a run each one names.
//!
//! Names of counters and gauges come from the serialised [`Metrics`] themselves, so a metric that is added there can be
//! asserted at once and no second list can drift from `result.json`. Latencies, shares and facts of the links have words
//! of their own; where their numbers come from is in `subject`.

use serde_json::Value;

use crate::result::Metrics;

/// A metric of an assertion.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Metric {
    /// A dotted path into [`Metrics`], such as `messages.lost`.
    Path(String),
    /// `p99(delivery_latency{workload='chat'})`.
    Latency { stat: Stat, of: Latency, selectors: Selectors },
    /// `rate(connect_ok)`.
    Rate(Share, Selectors),
    /// `completion(workload='all')`: messages that reached every recipient, of those that had more than one.
    Completion(Selectors),
    /// `jain(goodput_per_client)`.
    Jain(PerClient, Selectors),
    /// `rtt`.
    Fact(Fact),
    /// What a server or session tells where it is asked, such as `server_rss`.
    Told(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stat {
    Count,
    Min,
    Mean,
    /// 0 to 1, without its ends.
    Quantile(f64),
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Latency {
    Delivery,
    Service,
    AckRtt,
    Connect,
    Completion,
    Skew,
    Waiting,
    Lag,
    Recovery,
}

/// A statistic over repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Median,
    Mean,
    Min,
    Max,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    ConnectOk,
    Delivered,
    Lost,
    Sent,
    Acked,
    Throttled,
    Failed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PerClient {
    Goodput,
    Delivered,
    Sent,
}

/// What the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Longest round trip of any link, without queues: delay up and down.
    Rtt,
    /// Bytes a second of the narrowest direction of any link.
    Capacity,
    Clients,
    /// Outages that somebody had to recover from.
    Outages,
}

/// Which part of a run; empty is all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selectors {
    pub(crate) phase: Option<String>,
    pub(crate) workload: Option<String>,
    pub(crate) clients: Option<String>,
    pub(crate) link: Option<String>,
}

/// What a metric measured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Measured {
    /// Microseconds for times. Infinite for a percentile that falls among messages that never arrived.
    Value(f64),
    /// No sample at all, and why.
    Missing(String),
    /// A percentile of fewer samples than it takes to state it.
    TooFew { have: u64, need: u64 },
}

impl Stat {
    /// `p99`, `p99.9`, `p99_9`, `median`, `mean`, `min`, `max`, `count`.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if let Some((_, stat)) = STATS.iter().find(|(known, _)| *known == name) {
            return Ok(*stat);
        }
        let percent = name.strip_prefix('p').and_then(|digits| digits.replace('_', ".").parse::<f64>().ok());
        match percent {
            Some(percent) if percent > 0.0 && percent < 100.0 => Ok(Self::Quantile(percent / 100.0)),
            _ => Err(format!(
                "{name}(…) is no statistic; write a percentile such as p99 or p99.9, or {}",
                nearest(name, FUNCTIONS.into_iter())
            )),
        }
    }
}

impl Over {
    pub(crate) fn of(stat: Stat) -> Option<Self> {
        match stat {
            Stat::Quantile(0.5) => Some(Self::Median),
            Stat::Mean => Some(Self::Mean),
            Stat::Min => Some(Self::Min),
            Stat::Max => Some(Self::Max),
            _ => None,
        }
    }
}

impl Latency {
    pub(crate) fn named(name: &str) -> Option<Self> {
        LATENCIES.iter().find(|(known, ..)| *known == name).map(|(_, of, _)| *of)
    }

    pub(crate) fn unknown(name: &str) -> String {
        format!("{name} is no latency; {}", nearest(name, LATENCIES.iter().map(|(name, ..)| *name)))
    }
}

impl Share {
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = SHARES.iter().find(|(known, _)| *known == name);
        found.map(|(_, share)| *share).ok_or_else(|| {
            format!("rate({name}) is no share; {}", nearest(name, SHARES.iter().map(|(name, _)| *name)))
        })
    }
}

impl Selectors {
    /// Those that are set: key and name.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("phase", &self.phase),
            ("workload", &self.workload),
            ("clients", &self.clients),
            ("link", &self.link),
        ];
        all.into_iter().filter_map(|(key, name)| Some((key, name.as_deref()?)))
    }

    pub(crate) fn set(&mut self, key: &str, name: &str) -> Result<(), String> {
        let place = match key {
            "phase" => &mut self.phase,
            "workload" => &mut self.workload,
            "clients" => &mut self.clients,
            "link" => &mut self.link,
            _ => {
                let known = ["phase", "workload", "clients", "link"];
                return Err(format!("{key} selects nothing; {}", nearest(key, known.into_iter())));
            }
        };
        *place = Some(name.to_owned());
        Ok(())
    }
}

impl Metric {
    /// What it is asked of; `None` for those of the whole run.
    pub(crate) fn selectors(&self) -> Option<&Selectors> {
        match self {
            Self::Latency { selectors, .. }
            | Self::Rate(_, selectors)
            | Self::Completion(selectors)
            | Self::Jain(_, selectors) => Some(selectors),
            Self::Path(_) | Self::Fact(_) | Self::Told(_) => None,
        }
    }

    /// Refuses to be asked of a part by which it is not kept: the answer would be about something else.
    pub(crate) fn check_selectors(&self) -> Result<(), String> {
        let Some(selectors) = self.selectors() else { return Ok(()) };
        let kept: &[&str] = match self {
            Self::Latency { of: Latency::Connect | Latency::Lag, .. } | Self::Rate(Share::ConnectOk, _) => {
                &["phase"]
            }
            Self::Latency { of: Latency::Recovery, .. } => &["phase", "clients", "link"],
            Self::Jain(..) => &["phase", "clients"],
            _ => &["phase", "workload"],
        };
        let odd = selectors.all().find(|(key, _)| !kept.contains(key));
        odd.map_or(Ok(()), |(key, name)| {
            let kept = kept.join(" and ");
            Err(format!("{key}='{name}' selects nothing of it: it is kept by {kept} only; remove it"))
        })
    }

    /// `lost`, `messages.lost`, `schedule_lag_p99`: by full path, or by last words where they are unambiguous; `_us`
    /// may be left out. The error names the nearest.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        if let Some((_, fact)) = FACTS.iter().find(|(known, _)| *known == name) {
            return Ok(Self::Fact(*fact));
        }
        let name = if name == "goodput" { "goodput_bytes_per_s" } else { name };
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
        if let Some(path) = found {
            return Ok(Self::latency_of(path).unwrap_or_else(|| Self::Path(path.clone())));
        }
        if let Some(told) = TOLD.into_iter().find(|known| *known == name) {
            return Ok(Self::Told(told));
        }
        let words = known.iter().filter_map(|path| short(path)).chain(FACTS.iter().map(|(name, _)| *name));
        Err(format!("{name} is no metric; {}", nearest(name, words.chain(TOLD))))
    }

    pub(crate) fn jain(of: &str, selectors: Selectors) -> Result<Self, String> {
        let found = PER_CLIENT.iter().find(|(known, _)| *known == of).ok_or_else(|| {
            format!("jain({of}) is not known; {}", nearest(of, PER_CLIENT.iter().map(|(name, _)| *name)))
        })?;
        Ok(Self::Jain(found.1, selectors))
    }

    /// `latency.delivery.p99_us` is the same as `p99(delivery_latency)`.
    fn latency_of(path: &str) -> Option<Self> {
        let (of, field) = path.strip_prefix("latency.")?.split_once('.')?;
        let of = LATENCIES.iter().find(|(_, _, section)| *section == Some(of))?.1;
        let stat = Stat::named(field.trim_end_matches("_us")).ok()?;
        Some(Self::Latency { stat, of, selectors: Selectors::default() })
    }

    /// Whether the value is a time, in microseconds.
    pub(crate) fn is_time(&self) -> bool {
        match self {
            Self::Path(path) => path.ends_with("_us"),
            Self::Latency { stat, .. } => *stat != Stat::Count,
            Self::Fact(fact) => *fact == Fact::Rtt,
            Self::Rate(..) | Self::Completion(_) | Self::Jain(..) | Self::Told(_) => false,
        }
    }

    /// Whether more of it is better; of most things less is.
    pub(crate) fn wants_more(&self) -> bool {
        match self {
            Self::Path(path) => {
                MORE.iter().any(|known| path.ends_with(known)) || path.starts_with("throughput.")
            }
            Self::Latency { stat, .. } => *stat == Stat::Count,
            Self::Rate(share, _) => {
                matches!(share, Share::ConnectOk | Share::Delivered | Share::Sent | Share::Acked)
            }
            Self::Completion(_) | Self::Jain(..) => true,
            Self::Fact(fact) => matches!(fact, Fact::Capacity | Fact::Clients),
            Self::Told(name) => *name == "sessions_resumed",
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

pub(crate) fn number(data: &Value, path: &str) -> Option<f64> {
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

const STATS: [(&str, Stat); 5] = [
    ("count", Stat::Count),
    ("min", Stat::Min),
    ("mean", Stat::Mean),
    ("median", Stat::Quantile(0.5)),
    ("max", Stat::Max),
];

/// All that may stand before a parenthesis, besides percentiles.
const FUNCTIONS: [&str; 8] = ["count", "min", "mean", "median", "max", "rate", "completion", "jain"];

/// Name in assertions, and section of `latency`.
const LATENCIES: [(&str, Latency, Option<&str>); 9] = [
    ("delivery_latency", Latency::Delivery, Some("delivery")),
    ("service_latency", Latency::Service, Some("service")),
    ("ack_rtt", Latency::AckRtt, Some("ack_rtt")),
    ("connect_latency", Latency::Connect, Some("connect")),
    ("fanout_completion", Latency::Completion, None),
    ("fanout_skew", Latency::Skew, None),
    ("hol_delay", Latency::Waiting, None),
    ("schedule_lag", Latency::Lag, None),
    ("recovery_time", Latency::Recovery, None),
];

const SHARES: [(&str, Share); 7] = [
    ("connect_ok", Share::ConnectOk),
    ("delivered", Share::Delivered),
    ("lost", Share::Lost),
    ("sent", Share::Sent),
    ("acked", Share::Acked),
    ("throttled", Share::Throttled),
    ("failed", Share::Failed),
];

const PER_CLIENT: [(&str, PerClient); 3] = [
    ("goodput_per_client", PerClient::Goodput),
    ("delivered_per_client", PerClient::Delivered),
    ("sent_per_client", PerClient::Sent),
];

const FACTS: [(&str, Fact); 4] = [
    ("rtt", Fact::Rtt),
    ("capacity", Fact::Capacity),
    ("clients", Fact::Clients),
    ("outages", Fact::Outages),
];

/// Found among the metrics by its last word where a driver records it; otherwise there is no sample.
const TOLD: [&str; 3] = ["server_rss", "orphan_sessions", "sessions_resumed"];

/// Of these more is better.
const MORE: [&str; 4] = [".delivered", ".acked", ".sent", ".intended"];

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
        assert_eq!(path("rto"), "transport.rto_us");
    }

    #[test]
    fn a_latency_field_is_the_same_as_its_function() {
        let of = Latency::Delivery;
        let p99 = |stat| Ok(Metric::Latency { stat, of, selectors: Selectors::default() });
        assert_eq!(Metric::named("latency.delivery.p99_us"), p99(Stat::Quantile(0.99)));
        assert_eq!(Metric::named("latency.delivery.p99_9_us"), p99(Stat::Quantile(99.9 / 100.0)));
    }

    #[test]
    fn unknown_and_ambiguous_names_offer_the_nearest() {
        assert!(Metric::named("losst").unwrap_err().starts_with("losst is no metric; nearest: lost"));
        assert!(Metric::named("offered").unwrap_err().contains("link.up.offered"));
        assert!(Stat::named("medain").unwrap_err().contains("nearest: median"));
        assert!(Latency::unknown("latency").contains("delivery_latency"));
    }
}
