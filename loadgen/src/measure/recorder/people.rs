//! What single clients saw: coarse records for fairness, and how soon they heard something again after an outage.

use std::collections::BTreeMap;
use std::time::Duration;

use netem_proxy::profile::{Gate, LinkProfile, Window};

use crate::distribution::Distribution;
use crate::measure::micros;
use crate::records::{ClientRecord, LATENCY_BINS, MOST_CLIENTS, RecoveryRecord, WeatherSpan, bin_range};
use crate::scenario::{LinkConfig, Scenario};

/// Records of at most [`MOST_CLIENTS`] clients, evenly chosen.
#[derive(Debug)]
pub(super) struct Clients {
    stride: u32,
    records: Vec<One>,
}

#[derive(Clone, Debug)]
struct One {
    sent: u64,
    delivered: u64,
    bytes: u64,
    reconnects: u64,
    latencies: Box<[u32]>,
}

impl Clients {
    pub(super) fn new(count: u32) -> Self {
        let stride = count.div_ceil(u32::try_from(MOST_CLIENTS).unwrap_or(u32::MAX)).max(1);
        let one = || One {
            sent: 0,
            delivered: 0,
            bytes: 0,
            reconnects: 0,
            latencies: vec![0; usize::from(LATENCY_BINS)].into_boxed_slice(),
        };
        Self { stride, records: std::iter::repeat_with(one).take(count.div_ceil(stride) as usize).collect() }
    }

    pub(super) fn sent(&mut self, client: u32) {
        if let Some(one) = self.get(client) {
            one.sent += 1;
        }
    }

    pub(super) fn delivered(&mut self, client: u32, bin: u16, bytes: u32) {
        if let Some(one) = self.get(client) {
            one.delivered += 1;
            one.bytes += u64::from(bytes);
            one.latencies[usize::from(bin)] += 1;
        }
    }

    pub(super) fn reconnected(&mut self, client: u32) {
        if let Some(one) = self.get(client) {
            one.reconnects += 1;
        }
    }

    pub(super) fn finish(self, scenario: &Scenario) -> Vec<ClientRecord> {
        let groups = scenario.groups();
        let stride = self.stride;
        let records = (0..).zip(self.records).map(|(place, one)| {
            let client: u32 = place * stride;
            let group = groups.get(client as usize).map(|&group| scenario.clients[group].name.clone());
            ClientRecord {
                client,
                group: group.unwrap_or_default(),
                sent: one.sent,
                delivered: one.delivered,
                delivered_bytes: one.bytes,
                p50_us: one.quantile(0.5),
                p99_us: one.quantile(0.99),
                srtt_us: None,
                reconnects: one.reconnects,
            }
        });
        records.collect()
    }

    fn get(&mut self, client: u32) -> Option<&mut One> {
        client.is_multiple_of(self.stride).then(|| self.records.get_mut((client / self.stride) as usize))?
    }
}

impl One {
    /// The middle of the bin, on the logarithmic scale.
    fn quantile(&self, q: f64) -> Option<u64> {
        let count: u64 = self.latencies.iter().map(|&count| u64::from(count)).sum();
        let rank = ((q * count as f64 - 1e-6).ceil() as u64).max(1);
        let mut below = 0;
        (0_u16..).zip(self.latencies.iter()).find_map(|(bin, &count)| {
            below += u64::from(count);
            let (low, high) = bin_range(bin);
            (below >= rank).then(|| (low.max(1.0) * high).sqrt() as u64)
        })
    }
}

/// When clients heard something after each outage of their link.
#[derive(Debug)]
pub(super) struct Recoveries {
    outages: Vec<(WeatherSpan, Distribution)>,
    /// Outages of each group, by index, in order of time.
    of_group: Vec<Vec<usize>>,
    groups: Vec<usize>,
    clients: Vec<Recovery>,
}

#[derive(Clone, Copy, Debug)]
struct Recovery {
    /// End of the next outage that it has not recovered from; the largest number without one.
    end: u64,
    /// Which of its group's that is.
    next: u32,
    has_heard: bool,
}

impl Recoveries {
    pub(super) fn new(scenario: &Scenario) -> Self {
        let horizon = scenario.phases.iter().map(|phase| phase.duration).sum();
        let mut outages = Vec::new();
        let mut of_link: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (name, link) in &scenario.links {
            for (from, until) in outages_of(link, horizon) {
                of_link.entry(name).or_default().push(outages.len());
                let span = WeatherSpan {
                    link: name.clone(),
                    from_us: micros(from),
                    until_us: micros(until),
                    what: "blackout".to_owned(),
                };
                outages.push((span, Distribution::default()));
            }
        }
        let groups = scenario.clients.iter();
        let of_group: Vec<Vec<usize>> = groups
            .map(|group| {
                group.link.as_ref().and_then(|link| of_link.get(link.as_str())).cloned().unwrap_or_default()
            })
            .collect();
        let groups = scenario.groups();
        let clients = groups.iter().map(|&group| {
            let first = of_group[group].first().map_or(u64::MAX, |&outage| outages[outage].0.until_us);
            Recovery { end: first, next: 0, has_heard: false }
        });
        Self { clients: clients.collect(), outages, of_group, groups }
    }

    /// `client` heard something.
    pub(super) fn heard(&mut self, client: u32, us: u64) {
        let Some(recovery) = self.clients.get_mut(client as usize) else {
            return;
        };
        recovery.has_heard = true;
        while recovery.end <= us {
            let of_group = &self.of_group[self.groups[client as usize]];
            self.outages[of_group[recovery.next as usize]].1.record(Some(us - recovery.end));
            recovery.next += 1;
            let next = of_group.get(recovery.next as usize);
            recovery.end = next.map_or(u64::MAX, |&outage| self.outages[outage].0.until_us);
        }
    }

    /// `us`: when the run was over. Clients that never heard anything have nothing to recover.
    pub(super) fn finish(mut self, us: u64) -> Vec<RecoveryRecord> {
        for (client, recovery) in self.clients.iter().enumerate().filter(|(_, one)| one.has_heard) {
            let rest = &self.of_group[self.groups[client]][recovery.next as usize..];
            for &outage in rest {
                let (span, times) = &mut self.outages[outage];
                if span.until_us <= us {
                    times.record(None);
                }
            }
        }
        let records = self.outages.into_iter().filter(|(span, _)| span.until_us <= us);
        records
            .map(|(span, times)| RecoveryRecord {
                link: span.link,
                from_us: span.from_us,
                until_us: span.until_us,
                times,
            })
            .collect()
    }
}

/// Spans of one link in which nothing passes at least one way.
fn outages_of(link: &LinkConfig, horizon: Duration) -> Vec<(Duration, Duration)> {
    let gates = link.up.gates.iter().chain(&link.down.gates);
    let windows = gates.filter_map(|gate| match gate {
        Gate::Blackout(window) | Gate::Hold(window) => Some(*window),
        Gate::Flap { .. } | Gate::Rebind { .. } => None,
    });
    let mut spans: Vec<(Duration, Duration)> =
        windows.flat_map(|window| times(window, horizon, MOST_RECOVERIES)).collect();
    spans.sort_unstable();
    let mut joined: Vec<(Duration, Duration)> = Vec::new();
    for (from, until) in spans {
        match joined.last_mut().filter(|last| last.1 >= from) {
            Some(last) => last.1 = last.1.max(until),
            None => joined.push((from, until)),
        }
    }
    joined.truncate(MOST_RECOVERIES);
    joined
}

/// What was done to every link while a run of length `span` went on.
pub(in crate::measure) fn weather(scenario: &Scenario, span: Duration) -> Vec<WeatherSpan> {
    let mut weather = Vec::new();
    for (name, link) in &scenario.links {
        let (up, down) = (spans(&link.up, span), spans(&link.down, span));
        for (way, spans, others) in [("up ", &up, &down), ("down ", &down, &up)] {
            for one in spans {
                let is_both = others.contains(one);
                if is_both && way == "down " {
                    continue;
                }
                let way = if is_both { "" } else { way };
                weather.push(WeatherSpan {
                    link: name.clone(),
                    from_us: micros(one.0),
                    until_us: micros(one.1.min(span)),
                    what: format!("{way}{}", one.2),
                });
            }
        }
    }
    weather.sort_by_key(|one| one.from_us);
    weather.truncate(MOST_SPANS);
    weather
}

fn spans(profile: &LinkProfile, horizon: Duration) -> Vec<(Duration, Duration, String)> {
    let mut spans = Vec::new();
    for gate in &profile.gates {
        let (window, what) = match gate {
            Gate::Blackout(window) => (*window, "blackout"),
            Gate::Hold(window) => (*window, "hold"),
            Gate::Rebind { at, every } => {
                (Window { at: *at, duration: Duration::ZERO, every: *every }, "rebind")
            }
            // Its turns are drawn as packets come.
            Gate::Flap { .. } => continue,
        };
        let times = times(window, horizon, MOST_SPANS).into_iter();
        spans.extend(times.map(|(from, until)| (from, until, what.to_owned())));
    }
    let steps = profile.schedule.iter().filter(|step| step.at <= horizon);
    let ends = profile.schedule.iter().skip(1).map(|step| step.at).chain([horizon]);
    // The end of an event is a step, too, and no weather.
    let changes = steps.zip(ends).filter(|(step, _)| !is_back_to_normal(profile, &step.profile));
    spans.extend(changes.map(|(step, end)| (step.at, end, step.set.clone())));
    spans
}

/// Whether a link is after a step as it was before the first.
fn is_back_to_normal(profile: &LinkProfile, after: &LinkProfile) -> bool {
    let bare =
        |profile: &LinkProfile| LinkProfile { gates: Vec::new(), schedule: Vec::new(), ..profile.clone() };
    bare(profile) == bare(after)
}

fn times(window: Window, horizon: Duration, most: usize) -> Vec<(Duration, Duration)> {
    let next = move |at: &Duration| window.every.map(|every| *at + every);
    let times = std::iter::successors(Some(window.at), next).take_while(|at| *at <= horizon).take(most);
    times.map(|at| (at, at + window.duration)).collect()
}

/// Outages of one link whose recoveries are told; each has a histogram of its own (144 KiB).
const MOST_RECOVERIES: usize = 50;
/// Spans in a record; more than a picture can show.
const MOST_SPANS: usize = 1_000;
