//! What is judged: a folded run and its repeats, and where each metric finds its number in them.

use std::borrow::Cow;

use crate::distribution::Distribution;
use crate::records::{Latencies, RunFile};
use crate::result::Messages;
use crate::scenario::{MinSamples, Scenario};
use crate::stats::{jain_index, rank};

use super::names::{Fact, Latency, Measured, Metric, PerClient, Selectors, Share, Stat, number};

/// The numbers of one cell.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The repeats folded, or the only one.
    pub run: &'a RunFile,
    /// Each repeat, for what is asked over them.
    pub repeats: &'a [RunFile],
    /// Says which clients there are, and which link is whose.
    pub scenario: Option<&'a Scenario>,
}

/// `Err` is why there is none.
type Found<T> = Result<T, String>;

impl<'a> Subject<'a> {
    /// One repeat by itself.
    #[must_use]
    pub fn of_run(run: &'a RunFile, scenario: Option<&'a Scenario>) -> Self {
        Self { run, repeats: &[], scenario }
    }

    pub(crate) fn measure(&self, metric: &Metric, min_samples: MinSamples) -> Measured {
        if let Metric::Latency { stat, of, selectors } = metric {
            return self.latency(*stat, *of, selectors, min_samples);
        }
        let found = match metric {
            Metric::Path(path) => number(&self.data(), path).ok_or_else(|| "nothing was measured".to_owned()),
            Metric::Rate(share, selectors) => self.share(*share, selectors),
            Metric::Completion(selectors) => self.completion(selectors),
            Metric::Jain(of, selectors) => self.fairness(*of, selectors),
            Metric::Fact(fact) => self.fact(*fact),
            Metric::Told(name) => self.told(name),
            Metric::Latency { .. } => unreachable!("decided above"),
        };
        found.map_or_else(Measured::Missing, Measured::Value)
    }

    /// The interval that was recorded with a percentile of delivery latency, in microseconds; infinite bounds are `None`.
    pub(crate) fn interval(&self, metric: &Metric) -> Option<(Option<u64>, Option<u64>)> {
        let Metric::Latency { stat: Stat::Quantile(q), of: Latency::Delivery, selectors } = metric else {
            return None;
        };
        let run = self.run;
        let known = match &selectors.workload {
            Some(name) => &run.workloads.iter().find(|workload| workload.name == *name)?.quantiles,
            None => &run.quantiles,
        };
        let estimate = known.iter().find(|estimate| (estimate.q - q).abs() < 1e-9)?;
        Some((estimate.low_us, estimate.high_us))
    }

    fn latency(&self, stat: Stat, of: Latency, selectors: &Selectors, min: MinSamples) -> Measured {
        let found = match self.distribution(of, selectors) {
            Ok(found) => found,
            Err(why) => return Measured::Missing(why),
        };
        let have = found.count();
        if stat == Stat::Count {
            return Measured::Value(have as f64);
        }
        if have == 0 {
            return Measured::Missing("there are no samples".to_owned());
        }
        let need = needed(stat, min);
        if have < need {
            return Measured::TooFew { have, need };
        }
        let us = |us: Option<u64>| us.map_or(f64::INFINITY, |us| us as f64);
        Measured::Value(match stat {
            Stat::Count => have as f64,
            Stat::Min => us(found.range().map(|(min, _)| min)),
            Stat::Mean => found.mean().unwrap_or(f64::INFINITY),
            Stat::Quantile(q) => us(found.quantile(q)),
            Stat::Max => us(found.range().filter(|_| found.lost() == 0).map(|(_, max)| max)),
        })
    }

    fn distribution(&self, of: Latency, selectors: &Selectors) -> Found<Cow<'a, Distribution>> {
        let run = self.run;
        self.right_phase(selectors)?;
        if of == Latency::Recovery {
            return self.recovery(run, selectors).map(Cow::Owned);
        }
        match of {
            Latency::Connect => Ok(Cow::Borrowed(&run.connect)),
            Latency::Lag => Ok(Cow::Borrowed(&run.health.lag)),
            _ => {
                let known: &Latencies = match &selectors.workload {
                    Some(name) => {
                        let found = run.workloads.iter().find(|workload| workload.name == *name);
                        &found
                            .ok_or_else(|| format!("there is no workload \"{name}\" in this run"))?
                            .latencies
                    }
                    None => &run.all,
                };
                Ok(Cow::Borrowed(match of {
                    Latency::Service => &known.service,
                    Latency::AckRtt => &known.ack_rtt,
                    Latency::Completion => &known.completion,
                    Latency::Skew => &known.skew,
                    Latency::Waiting => &known.waiting,
                    _ => &known.delivery,
                }))
            }
        }
    }

    /// Statistics are of all recorded phases together, so a phase can be asked for where it is the only one.
    fn right_phase(&self, selectors: &Selectors) -> Found<()> {
        let Some(wanted) = &selectors.phase else {
            return Ok(());
        };
        let recorded: Vec<&str> =
            self.run.phases.iter().filter(|phase| phase.recorded).map(|phase| phase.name.as_str()).collect();
        if !recorded.contains(&wanted.as_str()) {
            return Err(format!("phase \"{wanted}\" is not recorded; recorded: {}", recorded.join(", ")));
        }
        if recorded.iter().any(|name| name != wanted) {
            let all = recorded.join(", ");
            return Err(format!(
                "phases {all} are recorded together; record only \"{wanted}\" to judge it alone"
            ));
        }
        Ok(())
    }

    fn recovery(&self, run: &RunFile, selectors: &Selectors) -> Found<Distribution> {
        let link_of = |clients: &String| {
            let groups = self.scenario.map(|scenario| scenario.clients.as_slice()).unwrap_or_default();
            let group = groups.iter().find(|group| group.name == *clients);
            group
                .and_then(|group| group.link.clone())
                .ok_or_else(|| format!("clients \"{clients}\" have no link"))
        };
        let of_clients = selectors.clients.as_ref().map(link_of).transpose()?;
        let wanted: Vec<&String> = of_clients.iter().chain(&selectors.link).collect();
        let mut sum = Distribution::default();
        for recovery in &run.recoveries {
            if wanted.iter().all(|link| **link == recovery.link) {
                sum.merge(&recovery.times);
            }
        }
        Ok(sum)
    }

    fn messages(&self, selectors: &Selectors) -> Found<Messages> {
        self.right_phase(selectors)?;
        let Some(name) = &selectors.workload else {
            return Ok(self.run.metrics.messages.clone());
        };
        let found = self.run.workloads.iter().find(|workload| workload.name == *name);
        Ok(found.ok_or_else(|| format!("there is no workload \"{name}\" in this run"))?.messages.clone())
    }

    fn share(&self, share: Share, selectors: &Selectors) -> Found<f64> {
        let messages = self.messages(selectors)?;
        let (part, whole) = match share {
            Share::ConnectOk => {
                let connect = &self.run.connect;
                (connect.count() - connect.lost(), connect.count())
            }
            Share::Delivered => (messages.delivered, messages.expected_deliveries),
            Share::Lost => (messages.lost, messages.expected_deliveries),
            Share::Sent => (messages.sent, messages.intended),
            Share::Acked => (messages.acked, messages.sent),
            Share::Throttled => (messages.throttled, messages.intended),
            Share::Failed => (messages.failed, messages.sent),
        };
        if whole == 0 { Err("there are no samples".to_owned()) } else { Ok(part as f64 / whole as f64) }
    }

    fn completion(&self, selectors: &Selectors) -> Found<f64> {
        let completion = self.distribution(Latency::Completion, selectors)?;
        if completion.is_empty() {
            return Err("no message had more than one recipient".to_owned());
        }
        Ok((completion.count() - completion.lost()) as f64 / completion.count() as f64)
    }

    fn fairness(&self, of: PerClient, selectors: &Selectors) -> Found<f64> {
        self.right_phase(selectors)?;
        if self.repeats.len() > 1 {
            // What differs between runs is not unfair.
            let one = |run| Subject::of_run(run, self.scenario).fairness(of, selectors);
            let each = self.repeats.iter().map(one).collect::<Found<Vec<f64>>>()?;
            return Ok(each.iter().sum::<f64>() / each.len() as f64);
        }
        let clients = self.run.clients.as_slice();
        if clients.is_empty() {
            return Err("no client has a row of its own; set measure.per_client".to_owned());
        }
        let wanted = |group: &str| selectors.clients.as_ref().is_none_or(|wanted| wanted == group);
        let shares: Vec<f64> = clients
            .iter()
            .filter(|client| wanted(&client.group))
            .map(|client| match of {
                PerClient::Goodput => client.delivered_bytes as f64,
                PerClient::Delivered => client.delivered as f64,
                PerClient::Sent => client.sent as f64,
            })
            .collect();
        if shares.iter().all(|share| *share == 0.0) {
            return Err("no client has anything to share".to_owned());
        }
        Ok(jain_index(&shares))
    }

    fn fact(&self, fact: Fact) -> Found<f64> {
        let links = self.run.links.as_slice();
        match fact {
            Fact::Rtt => {
                let trips = links.iter().map(|link| link.up.delay_us + link.down.delay_us);
                trips.max().map(|us| us as f64).ok_or_else(|| "no link is emulated".to_owned())
            }
            Fact::Capacity => {
                let rates = links.iter().flat_map(|link| [link.up.rate_bps, link.down.rate_bps]).flatten();
                rates.min().map(|bits| bits as f64 / 8.0).ok_or_else(|| "no link has a rate".to_owned())
            }
            Fact::Clients => self
                .scenario
                .map(|scenario| f64::from(scenario.client_count()))
                .ok_or_else(|| "the scenario is not at hand".to_owned()),
            Fact::Outages => Ok(self.run.recoveries.len() as f64),
        }
    }

    fn told(&self, name: &str) -> Found<f64> {
        fn find(at: &serde_json::Value, name: &str) -> Option<f64> {
            let fields = at.as_object()?;
            let is = |key: &str| key == name || key.strip_prefix(name).is_some_and(|unit| unit == "_bytes");
            let here = fields.iter().find(|(key, _)| is(key)).and_then(|(_, value)| value.as_f64());
            here.or_else(|| fields.values().find_map(|value| find(value, name)))
        }
        find(&self.data(), name).ok_or_else(|| "it was not sampled in this run".to_owned())
    }

    fn data(&self) -> serde_json::Value {
        serde_json::to_value(&self.run.metrics).unwrap_or_default()
    }
}

/// Samples that a statistic takes: ten beyond a quantile, or what the scenario asks for.
fn needed(stat: Stat, min: MinSamples) -> u64 {
    match (min, stat) {
        (MinSamples::AtLeast(need), _) => need.max(1),
        (MinSamples::Auto, Stat::Quantile(q)) => rank::samples_to_state(q),
        (MinSamples::Auto, _) => 1,
    }
}
