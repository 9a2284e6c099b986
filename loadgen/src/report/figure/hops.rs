//! The hops that messages cross: from those who say them to the server, and from there to those who hear them.
//!
//! A scenario may put only its senders behind a link, or its two sides behind different ones. Theory needs to know: on one
//! lossy hop the first step of the stairs ends at 1 − p, on two at (1 − p)². Who says and hears is taken from the records,
//! which clients are behind which link from the scenario; where that is not one answer there is no theory.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use units::parse_duration;

use crate::records::{ClientRecord, RunFile};
use crate::report::theory::Hop;
use crate::result::{Cell, DirectionFacts, LinkFacts};

use super::input::quantile;

/// What messages of one cell go through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hops {
    /// From who speaks to the server.
    pub(super) up: Hop,
    /// From the server to who hears.
    pub(super) down: Hop,
    /// Of the connection of who speaks, without queues.
    pub(super) rtt_us: f64,
    /// First retransmission timeout of the hops, as far as it is known.
    pub(super) rto_us: Option<f64>,
    /// Whether who speaks and who hears is behind the same link, so that acknowledgements go the way of messages.
    pub(super) is_shared: bool,
    /// Bits a second on the way of the messages; `None` is unlimited.
    pub(super) rate_bps: Option<u64>,
}

impl Hops {
    /// `None`: they are not the same for all messages, or nobody knows.
    pub(super) fn of(scenario: &Value, cell: &Cell, runs: &[&RunFile]) -> Option<Self> {
        let is_moved = |path: &String| path.starts_with("clients.") && path.ends_with(".link");
        if cell.axes.keys().any(is_moved) {
            return None;
        }
        let behind = behind(scenario);
        let clients: Vec<&ClientRecord> = runs.iter().flat_map(|run| &run.clients).collect();
        let speakers = of_all(&behind, clients.iter().filter(|client| client.sent > 0));
        let hearers = of_all(&behind, clients.iter().filter(|client| client.delivered > 0));
        let is_told =
            clients.iter().any(|client| client.sent > 0) && clients.iter().any(|client| client.delivered > 0);
        let (up, down) = match (!is_told, cell.links.as_slice()) {
            // Without records of clients: all of them were behind the only link, or nobody can say.
            (true, [link]) if behind.values().all(|name| *name == Some(link.name.as_str())) => {
                (Some(link), Some(link))
            }
            (true, _) => return None,
            (false, links) => (find(links, speakers?)?, find(links, hearers?)?),
        };
        let (up_facts, down_facts) = (up.map(|link| &link.up), down.map(|link| &link.down));
        let rtt_us = up.map_or(0.0, |link| (link.up.delay_us + link.down.delay_us) as f64);
        Some(Self {
            up: hop(up_facts),
            down: hop(down_facts),
            rtt_us,
            is_shared: up == down,
            rto_us: rto(scenario, cell, up == down, rtt_us, &clients),
            rate_bps: [up_facts, down_facts].into_iter().flatten().filter_map(|facts| facts.rate_bps).min(),
        })
    }

    /// Whether something is lost on the way, and not everything.
    pub(super) fn is_lossy(&self) -> bool {
        let (up, down) = (self.up.loss, self.down.loss);
        up + down > 0.0 && up < 1.0 && down < 1.0
    }

    /// Loss of a hop that loses; `None` if both do, differently.
    pub(super) fn loss(&self) -> Option<f64> {
        match (self.up.loss, self.down.loss) {
            (up, down) if up == down || down == 0.0 => Some(up),
            (0.0, down) => Some(down),
            _ => None,
        }
    }

    /// How many of them lose.
    pub(super) fn lossy(&self) -> usize {
        usize::from(self.up.loss > 0.0) + usize::from(self.down.loss > 0.0)
    }

    pub(super) fn delay_us(&self) -> f64 {
        self.up.delay_us + self.down.delay_us
    }
}

/// The link of each group of clients, by the name of the group.
fn behind(scenario: &Value) -> BTreeMap<&str, Option<&str>> {
    let groups = scenario.get("clients").and_then(Value::as_array);
    let link = |group| -> Option<(&str, Option<&str>)> {
        let text = |key: &str| Value::get(group, key).and_then(Value::as_str);
        Some((text("name")?, text("link")))
    };
    groups.into_iter().flatten().filter_map(link).collect()
}

/// The one link that all of these are behind; `None` if they differ or there is nobody.
fn of_all<'a, 'b>(
    behind: &BTreeMap<&str, Option<&'a str>>,
    clients: impl Iterator<Item = &'b &'b ClientRecord>,
) -> Option<Option<&'a str>> {
    let links: BTreeSet<Option<&str>> =
        clients.map(|client| behind.get(client.group.as_str()).copied().flatten()).collect();
    if links.len() == 1 { links.first().copied() } else { None }
}

/// The facts of a link by name; those without a link are the inner `None`.
fn find<'a>(links: &'a [LinkFacts], name: Option<&str>) -> Option<Option<&'a LinkFacts>> {
    match name {
        None => Some(None),
        Some(name) => links.iter().find(|link| link.name == name).map(Some),
    }
}

fn hop(facts: Option<&DirectionFacts>) -> Hop {
    facts.map_or(Hop { loss: 0.0, delay_us: 0.0 }, |facts| Hop {
        loss: facts.loss,
        delay_us: facts.delay_us as f64,
    })
}

/// The median of what clients had at the end, where all are alike. Otherwise many of them are not on the way at all, and it is what
/// RFC 6298 makes of a path without jitter: the smoothed round trip of those who speak, and at least the smallest allowed.
fn rto(scenario: &Value, cell: &Cell, is_alike: bool, rtt_us: f64, clients: &[&ClientRecord]) -> Option<f64> {
    if is_alike {
        return cell.metrics.transport.rto_us.map(|us| us as f64);
    }
    let least = cell.axes.get("protocol.rto_min").or_else(|| scenario.get("protocol")?.get("rto_min"));
    let least_us = parse_duration(least?.as_str()?).ok()?.as_secs_f64() * 1e6;
    let mut trips: Vec<f64> = clients
        .iter()
        .filter(|client| client.sent > 0)
        .filter_map(|client| Some(client.srtt_us? as f64))
        .collect();
    trips.sort_by(f64::total_cmp);
    let trip = if trips.is_empty() { rtt_us } else { quantile(&trips, 0.5) };
    Some(least_us.max(trip))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::result::{Metrics, Verdict};

    fn link(name: &str, loss: f64) -> LinkFacts {
        let facts =
            DirectionFacts { loss, delay_us: 50_000, jitter_us: 0, rate_bps: None, spec: String::new() };
        LinkFacts { name: name.to_owned(), up: facts.clone(), down: facts }
    }

    fn client(group: &str, sent: u64, delivered: u64) -> ClientRecord {
        ClientRecord {
            group: group.to_owned(),
            sent,
            delivered,
            srtt_us: Some(101_000),
            ..ClientRecord::default()
        }
    }

    fn of(groups: Value, links: Vec<LinkFacts>, clients: Vec<ClientRecord>) -> Option<Hops> {
        let scenario = json!({ "clients": groups, "protocol": { "rto_min": "200ms" } });
        let mut metrics = Metrics::default();
        metrics.transport.rto_us = Some(345_000);
        let (axes, verdict) = (BTreeMap::new(), Verdict::Pass);
        let cell = Cell { axes, verdict, asserts: Vec::new(), links, metrics, repeats: Vec::new() };
        let run = RunFile { clients, ..RunFile::default() };
        Hops::of(&scenario, &cell, &[&run])
    }

    #[test]
    fn who_speaks_behind_a_link_to_who_is_not_crosses_it_once() {
        let groups = json!([{ "name": "sender", "link": "lossy" }, { "name": "receiver" }]);
        let hops =
            of(groups, vec![link("lossy", 0.1)], vec![client("sender", 5, 0), client("receiver", 0, 5)]);
        let hops = hops.expect("known");
        assert_eq!((hops.up.loss, hops.down.loss, hops.delay_us()), (0.1, 0.0, 50_000.0));
        assert_eq!((hops.rtt_us, hops.rto_us, hops.lossy()), (100_000.0, Some(200_000.0), 1));
        assert_eq!(hops.loss(), Some(0.1));
    }

    #[test]
    fn among_equals_both_ways_count_and_the_timeout_is_the_measured_one() {
        let groups = json!([{ "name": "chat", "link": "lossy" }]);
        let hops = of(groups, vec![link("lossy", 0.1)], vec![client("chat", 5, 5)]).expect("known");
        assert_eq!((hops.up, hops.down, hops.lossy()), (hops.down, hops.up, 2));
        assert_eq!(hops.rto_us, Some(345_000.0));
    }

    #[test]
    fn mixed_company_has_no_theory() {
        let groups = json!([{ "name": "lte", "link": "a" }, { "name": "home", "link": "b" }]);
        let links = || vec![link("a", 0.1), link("b", 0.0)];
        assert_eq!(of(groups.clone(), links(), vec![client("lte", 1, 1), client("home", 1, 1)]), None);
        // From one network to the other is one way.
        let hops = of(groups, links(), vec![client("lte", 1, 0), client("home", 0, 1)]).expect("known");
        assert_eq!((hops.up.loss, hops.down.loss), (0.1, 0.0));
    }
}
