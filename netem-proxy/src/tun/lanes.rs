//! The links of one direction: one for all packets, or one for each flow.

use std::collections::{BTreeSet, HashMap};

use units::{Seed, Timestamp};

use super::gather::Unit;
use crate::link::{Delivery, Link, LinkCounters, LinkEvent, new_delay_histogram};
use crate::pacer::{Direction, LinkId, LinkOpened, Observer};
use crate::profile::LinkProfile;
use crate::proxy::Scope;
use hdrhistogram::Histogram;

/// Several links with the calls of one.
#[derive(Debug)]
pub(super) struct Lanes {
    profile: LinkProfile,
    origin: Timestamp,
    seed: Seed,
    scope: Scope,
    direction: Direction,
    observer: Option<Box<dyn Observer<Unit>>>,
    links: Vec<Lane>,
    by_flow: HashMap<u64, usize>,
    /// When each link wants to be polled; the earliest first, ties by number.
    timers: BTreeSet<(Timestamp, usize)>,
}

#[derive(Debug)]
struct Lane {
    link: Link<Unit>,
    armed: Option<Timestamp>,
}

impl Lanes {
    pub(super) fn new(
        profile: LinkProfile,
        seed: Seed,
        scope: Scope,
        direction: Direction,
        origin: Timestamp,
        observer: Option<Box<dyn Observer<Unit>>>,
    ) -> Self {
        let mut lanes = Self {
            profile,
            origin,
            seed,
            scope,
            direction,
            observer,
            links: Vec::new(),
            by_flow: HashMap::new(),
            timers: BTreeSet::new(),
        };
        if scope == Scope::Shared {
            lanes.open("shared");
        }
        lanes
    }

    pub(super) fn handle(&mut self, now: Timestamp, unit: Unit) {
        let meta = unit.meta();
        let number = self.lane_of(meta.flow);
        let lane = &mut self.links[number];
        if let Some(observer) = &mut self.observer {
            // As the link takes it: a poll may have run events that are later than this packet's stamp.
            let at = lane.link.arrival_time(now);
            observer.on_arrival(id(number), at, lane.link.counters().offered + 1, &meta, &unit);
        }
        lane.link.handle(now, unit, meta);
        if let Some(observer) = &mut self.observer {
            report_drops(number, lane, observer.as_mut());
        }
        self.arm(number);
    }

    pub(super) fn poll_deliver(&mut self, now: Timestamp) -> Option<Delivery<Unit>> {
        while self.poll_timeout()? <= now {
            let number = if self.scope == Scope::Shared { 0 } else { self.timers.first()?.1 };
            let lane = &mut self.links[number];
            let delivery = lane.link.poll_deliver(now);
            if let Some(observer) = &mut self.observer {
                report_drops(number, lane, observer.as_mut());
                if let Some(delivery) = &delivery {
                    observer.on_delivery(id(number), delivery, now);
                }
            }
            self.arm(number);
            if delivery.is_some() {
                return delivery;
            }
        }
        None
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        match self.scope {
            Scope::Shared => self.links[0].link.poll_timeout(),
            Scope::PerFlow => self.timers.first().map(|(at, _)| *at),
        }
    }

    /// Gives up everything under way.
    pub(super) fn discard(&mut self, now: Timestamp) {
        for (number, lane) in self.links.iter_mut().enumerate() {
            lane.link.discard();
            if let Some(observer) = &mut self.observer {
                observer.on_discard(id(number), now);
            }
        }
        self.timers.clear();
        if let Some(observer) = &mut self.observer {
            observer.on_end(now);
        }
    }

    pub(super) fn counters(&self) -> LinkCounters {
        self.links.iter().fold(LinkCounters::default(), |sum, lane| sum + *lane.link.counters())
    }

    /// Flows seen; 1 if they share a link.
    pub(super) fn flows(&self) -> u64 {
        self.by_flow.len().max(1) as u64
    }

    pub(super) fn delays(&self) -> Histogram<u64> {
        let mut sum = new_delay_histogram();
        for lane in &self.links {
            sum.add(lane.link.delays()).expect("an auto-resizing histogram takes what its equal took");
        }
        sum
    }

    fn lane_of(&mut self, flow: u64) -> usize {
        if self.scope == Scope::Shared {
            return 0;
        }
        if let Some(&number) = self.by_flow.get(&flow) {
            return number;
        }
        if self.by_flow.len() == MAX_FLOWS {
            return (flow % MAX_FLOWS as u64) as usize;
        }
        let number = self.links.len();
        self.open(&format!("flow/{number}"));
        self.by_flow.insert(flow, number);
        number
    }

    fn open(&mut self, name: &str) {
        let side = match self.direction {
            Direction::Up => "up",
            Direction::Down => "down",
        };
        let seed = self.seed.fork(name).fork(side);
        if let Some(observer) = &mut self.observer {
            observer.on_open(&LinkOpened {
                id: id(self.links.len()),
                direction: self.direction,
                name: &format!("{name}/{side}"),
                seed,
                profile: &self.profile,
                origin: self.origin,
            });
        }
        let link = Link::new(self.profile.clone(), seed).with_origin(self.origin);
        self.links.push(Lane { link: link.with_events(self.observer.is_some()), armed: None });
    }

    fn arm(&mut self, number: usize) {
        if self.scope == Scope::Shared {
            return;
        }
        let lane = &mut self.links[number];
        let due = lane.link.poll_timeout();
        if due != lane.armed {
            lane.armed.map(|old| self.timers.remove(&(old, number)));
            due.map(|new| self.timers.insert((new, number)));
            lane.armed = due;
        }
    }
}

fn report_drops(number: usize, lane: &mut Lane, observer: &mut dyn Observer<Unit>) {
    while let Some(event) = lane.link.poll_event() {
        let event: LinkEvent<Unit> = event;
        observer.on_drop(id(number), &event);
    }
    let missed = lane.link.poll_events_missed();
    if missed > 0 {
        observer.on_missed_drops(id(number), missed);
    }
}

fn id(number: usize) -> LinkId {
    LinkId::new(number as u64)
}

/// Links with some 60 KiB each. Flows beyond it share the link of one that was there before.
const MAX_FLOWS: usize = 4096;
