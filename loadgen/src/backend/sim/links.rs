//! The links of a simulated run: laid before it, counted after it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use chat_core::TransportConfig;
use chat_core::path::Ecn;
use chat_server::engine::PeerId;
use hdrhistogram::Histogram;
use netem_proxy::link::{self, Delivery, Link, LinkCounters, new_delay_histogram, record_delay};
use units::{Seed, Timestamp};

use crate::backend::{BEFORE_THE_RUN, LinkRecord, NamedLink, RunPlan};
use crate::measure::Sample;
use crate::scenario::{Scenario, Scope, Transport};

/// One direction of a link, with what is entered for it in the heap.
pub(in crate::backend) struct SimLink {
    pub(in crate::backend) name: Rc<str>,
    pub(in crate::backend) link: Link<Parcel>,
    pub(in crate::backend) direction: Direction,
    pub(in crate::backend) wake: Option<Timestamp>,
    /// Model times of all links of this name and direction: one histogram, not 50 KiB for each client.
    delays: Rc<RefCell<Histogram<u64>>>,
}

/// What travels through a link.
#[derive(Clone)]
pub(in crate::backend) struct Parcel {
    pub(in crate::backend) client: usize,
    /// The peer it is from or for; a datagram to the server finds its peer when it arrives.
    pub(in crate::backend) peer: Option<PeerId>,
    pub(in crate::backend) bytes: Bytes,
    /// The mark that it carries, in a datagram.
    pub(in crate::backend) ecn: Ecn,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::backend) enum Direction {
    Up,
    Down,
}

/// What a simulated socket can: as a real one. Longer datagrams are searched for where a link says how long they may be;
/// a path without any bound would only be an Ethernet that nobody has asked for.
pub(in crate::backend) fn with_simulated_socket(
    scenario: &Scenario,
    config: TransportConfig,
) -> TransportConfig {
    if scenario.transport != Transport::Udp {
        return config;
    }
    let has_mtu = scenario.links.values().any(|link| link.up.mtu.is_some() || link.down.mtu.is_some());
    let plain = config.max_datagram;
    let capable = config.with_capable_socket();
    TransportConfig { max_datagram: if has_mtu { capable.max_datagram } else { plain }, ..capable }
}

impl SimLink {
    /// The next packet whose time has come.
    pub(in crate::backend) fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<Parcel>> {
        let delivery = self.link.poll_deliver(now)?;
        record_delay(&mut self.delays.borrow_mut(), delivery.due.since(delivery.arrived));
        Some(delivery)
    }
}

impl Parcel {
    /// Whether a queue may mark it (RFC 3168).
    pub(in crate::backend) fn markable(&self) -> link::Ecn {
        match self.ecn {
            Ecn::NotEct => link::Ecn::NotCapable,
            Ecn::Ect0 | Ecn::Ect1 => link::Ecn::Capable,
            Ecn::Ce => link::Ecn::Experienced,
        }
    }
}

/// Makes the links of a scenario, and tells each client its own. Seeds are named as the live emulator names them.
pub(in crate::backend) fn lay_links(plan: &RunPlan) -> (Vec<SimLink>, Vec<Option<(usize, usize)>>) {
    let scenario = &plan.scenario;
    let mut links = Vec::with_capacity(2 * scenario.client_count() as usize);
    let mut shared: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    let mut flows: BTreeMap<&str, u64> = BTreeMap::new();
    let mut common: BTreeMap<&str, Common> = BTreeMap::new();
    let mut of_client = Vec::new();
    for group in scenario.groups() {
        let Some(name) = scenario.clients[group].link.as_deref() else {
            of_client.push(None);
            continue;
        };
        // Blackouts are counted from the first phase, which has not begun: far away until then.
        let config = scenario.links[name].begun(BEFORE_THE_RUN);
        let common = common.entry(name).or_insert_with(|| Common::new(plan, name));
        let seed = common.seed;
        let flow = flows.entry(name).or_default();
        let seed = match config.scope {
            Scope::PerClient => seed.fork(&format!("flow/{flow}")),
            Scope::Shared => seed.fork("shared"),
        };
        *flow += 1;
        if config.scope == Scope::Shared
            && let Some(&pair) = shared.get(name)
        {
            of_client.push(Some(pair));
            continue;
        }
        let first = links.len();
        for (profile, direction, fork, delays) in [
            (config.up, Direction::Up, "up", &common.up_delays),
            (config.down, Direction::Down, "down", &common.down_delays),
        ] {
            let link = Link::new(profile, seed.fork(fork)).without_delays();
            let (name, delays) = (Rc::clone(&common.name), Rc::clone(delays));
            links.push(SimLink { name, link, direction, wake: None, delays });
        }
        shared.insert(name, (first, first + 1));
        of_client.push(Some((first, first + 1)));
    }
    (links, of_client)
}

/// What all links of one name share.
struct Common {
    name: Rc<str>,
    seed: Seed,
    up_delays: Rc<RefCell<Histogram<u64>>>,
    down_delays: Rc<RefCell<Histogram<u64>>>,
}

impl Common {
    fn new(plan: &RunPlan, name: &str) -> Self {
        let delays = || Rc::new(RefCell::new(new_delay_histogram()));
        let seed = plan.seed.fork(&format!("link/{name}"));
        Self { name: name.into(), seed, up_delays: delays(), down_delays: delays() }
    }
}

/// What all links have carried so far. `headers`: bytes around each packet that the link does not see.
pub(in crate::backend) fn sample(links: &[SimLink], headers: u64) -> Sample {
    let mut sample = Sample::default();
    for link in links {
        let counters = link.link.counters();
        let bytes = counters.offered_bytes + headers * counters.offered;
        match link.direction {
            Direction::Up => sample.up_bytes += bytes,
            Direction::Down => sample.down_bytes += bytes,
        }
    }
    sample
}

/// The first phase begins `now`: blackouts count from here.
pub(in crate::backend) fn begin_blackouts(links: &mut [SimLink], now: Timestamp) {
    for entry in links {
        let mut profile = entry.link.profile().clone();
        if profile.is_timed() {
            profile.shift(now.since(Timestamp::ZERO), BEFORE_THE_RUN);
            entry.link.configure(now, profile);
        }
    }
}

pub(in crate::backend) fn named_links(scenario: &Scenario, links: &[SimLink]) -> Vec<NamedLink> {
    let names = scenario.links.keys();
    names
        .map(|name| NamedLink {
            name: name.clone(),
            up: link_record(links, name, Direction::Up),
            down: link_record(links, name, Direction::Down),
        })
        .collect()
}

fn link_record(links: &[SimLink], name: &str, direction: Direction) -> LinkRecord {
    let mut counters = LinkCounters::default();
    let mut delays_us = None;
    for entry in links.iter().filter(|entry| &*entry.name == name && entry.direction == direction) {
        counters += *entry.link.counters();
        delays_us.get_or_insert_with(|| entry.delays.borrow().clone());
    }
    LinkRecord { counters, delays_us }
}
