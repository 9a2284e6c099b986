//! What waits before the bottleneck, and who of it goes next or not at all.
//!
//! One discipline a file: [`codel`], [`pie`], [`red`], [`fq`]; drop-tail and drop-head need none. A discipline sees what
//! waits; limits also count the packet in service. Everything is decided at the model's times: arrival and taking.

mod codel;
mod fq;
mod limit;
mod line;
mod pie;
mod red;
#[cfg(test)]
mod tests;

use std::time::Duration;

use units::{Bitrate, Seed, Timestamp};

use super::draws::Draws;
use super::event::DropCause;
use super::parcel::Parcel;
use crate::profile::{Discipline, LinkProfile};
use codel::CoDel;
use fq::FqCoDel;
use limit::Limit;
use line::Line;
pub(super) use line::{Verdicts, Waiting};
use pie::Pie;
use red::Red;

#[derive(Debug)]
pub(super) struct Queue<P> {
    limit: Limit,
    ecn: bool,
    order: Order<P>,
    rule: Rule,
    /// For [`Rule::Pie`] and [`Rule::Red`]; copies have a lane of their own.
    draws: Draws<2>,
    flow_key: u64,
    pub(super) verdicts: Verdicts<P>,
}

/// How packets stand.
#[derive(Debug)]
enum Order<P> {
    Line(Line<P>),
    Flows(Box<FqCoDel<P>>),
}

/// Who is dropped.
#[derive(Debug)]
enum Rule {
    Tail,
    Head,
    CoDel(CoDel, codel::Settings),
    Pie(Pie, pie::Settings),
    Red(Red, red::Settings),
    Flows(codel::Settings),
}

impl<P> Queue<P> {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let flow_key = Draws::<1>::new(seed.fork("flows")).at(1, 0);
        let mut queue = Self {
            limit: limit(profile),
            ecn: false,
            order: Order::Line(Line::new()),
            rule: Rule::Tail,
            draws: Draws::new(seed.fork("early")),
            flow_key,
            verdicts: Verdicts::new(),
        };
        queue.configure(profile);
        queue
    }

    /// A lower limit drops nobody who waits already. A discipline that stays keeps what it learned; another one begins
    /// anew with the packets that wait.
    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        let (model, ecn) = (&profile.queue, profile.queue.ecn);
        self.limit = limit(profile);
        self.ecn = ecn;
        self.arrange(profile);
        let old = std::mem::replace(&mut self.rule, Rule::Tail);
        self.rule = match model.discipline {
            Discipline::DropTail => Rule::Tail,
            Discipline::DropHead => Rule::Head,
            Discipline::CoDel { target, interval } => {
                let state = if let Rule::CoDel(state, _) = old { state } else { CoDel::default() };
                Rule::CoDel(state, codel_settings(target, interval, ecn))
            }
            Discipline::Pie { target, update, max_burst } => {
                let settings = pie::Settings {
                    target_ns: nanos(target),
                    update_ns: nanos(update),
                    max_burst_ns: nanos(max_burst),
                };
                Rule::Pie(if let Rule::Pie(state, _) = old { state } else { Pie::new(settings) }, settings)
            }
            Discipline::Red { min, max, max_p, weight } => {
                let settings = red::Settings {
                    min: min.as_u64(),
                    max: max.as_u64(),
                    max_p: max_p.get(),
                    weight,
                    small_packet_ns: small_packet_ns(profile.bitrate()),
                };
                Rule::Red(if let Rule::Red(state, _) = old { state } else { Red::default() }, settings)
            }
            Discipline::FqCoDel { target, interval, .. } => {
                Rule::Flows(codel_settings(target, interval, ecn))
            }
        };
    }

    /// Puts what waits into the shape that the discipline wants.
    fn arrange(&mut self, profile: &LinkProfile) {
        let flows = match profile.queue.discipline {
            Discipline::FqCoDel { flows, quantum, .. } => Some((flows, quantum.as_u64())),
            _ => None,
        };
        match (&mut self.order, flows) {
            (Order::Line(_), None) => {}
            (Order::Flows(order), Some((flows, quantum))) if order.is_of(flows) => order.set_quantum(quantum),
            (order, Some((flows, quantum))) => {
                let waiting = order.drain();
                let mut flows = FqCoDel::new(flows, quantum, self.flow_key);
                waiting.into_iter().for_each(|one| flows.push(one));
                *order = Order::Flows(Box::new(flows));
            }
            (order @ Order::Flows(_), None) => {
                let waiting = order.drain();
                let mut line = Line::new();
                waiting.into_iter().for_each(|one| line.push(one));
                *order = Order::Line(line);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match &self.order {
            Order::Line(line) => line.len(),
            Order::Flows(flows) => flows.len(),
        }
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.order {
            Order::Line(line) => line.bytes(),
            Order::Flows(flows) => flows.bytes(),
        }
    }

    /// A packet arrives while `in_service` (packets, bytes) are being sent. Who is dropped for it stands in
    /// `verdicts`.
    pub(super) fn enqueue(&mut self, now: Timestamp, mut parcel: Parcel<P>, in_service: (u64, u64)) {
        let size = parcel.size().as_u64();
        let has_room = |queue: &Self| {
            let (packets, bytes) = (queue.len() as u64, queue.bytes());
            queue.limit.has_room(packets + in_service.0, bytes + in_service.1, size)
        };
        if let Some(cause) = self.drops_early(now, &mut parcel) {
            return self.verdicts.drop(now, cause, parcel);
        }
        if has_room(self) {
            return self.push(now, parcel);
        }
        match (&mut self.rule, &mut self.order) {
            (Rule::Head, Order::Line(_)) if self.limit.admits(size) => {
                while !has_room(self) {
                    let Order::Line(line) = &mut self.order else { break };
                    let Some(victim) = line.pop() else { break };
                    self.verdicts.drop(now, DropCause::Queue, victim.parcel);
                }
                if has_room(self) {
                    return self.push(now, parcel);
                }
                self.verdicts.drop(now, DropCause::Queue, parcel);
            }
            (Rule::Flows(_), Order::Flows(_)) if self.limit.admits(size) => {
                // It is in already when the longest is looked for: it may be the one to go.
                self.push(now, parcel);
                while !self.limit.has_room(
                    (self.len() as u64 + in_service.0).saturating_sub(1),
                    self.bytes() + in_service.1,
                    0,
                ) && self.len() > 0
                {
                    let Order::Flows(flows) = &mut self.order else { break };
                    flows.drop_from_longest(now, &mut self.verdicts);
                }
            }
            (rule, _) => {
                match rule {
                    Rule::Pie(pie, _) => pie.on_full(),
                    Rule::Red(red, _) => red.on_full(),
                    _ => {}
                }
                self.verdicts.drop(now, DropCause::Queue, parcel);
            }
        }
    }

    /// The packet to be sent next. Who was dropped before it stands in `verdicts`.
    pub(super) fn dequeue(&mut self, now: Timestamp) -> Option<Waiting<P>> {
        match (&mut self.order, &mut self.rule) {
            (Order::Line(line), Rule::CoDel(codel, settings)) => {
                codel.dequeue(now, *settings, line, &mut self.verdicts)
            }
            (Order::Flows(flows), Rule::Flows(settings)) => flows.pop(now, *settings, &mut self.verdicts),
            (Order::Line(line), rule) => {
                let first = line.pop()?;
                match rule {
                    Rule::Pie(pie, settings) => pie.on_departure(now, *settings, &first, line.len()),
                    Rule::Red(red, _) if line.is_empty() => red.on_empty(now),
                    _ => {}
                }
                Some(first)
            }
            (Order::Flows(_), _) => unreachable!("flows stand in flows under FQ-CoDel alone"),
        }
    }

    /// Gives up everything that waits.
    pub(super) fn clear(&mut self) {
        drop(self.order.drain());
    }

    fn push(&mut self, now: Timestamp, parcel: Parcel<P>) {
        let waiting = Waiting { since: now, parcel };
        if let Rule::CoDel(codel, _) = &mut self.rule {
            codel.on_enqueue(waiting.bytes());
        }
        match &mut self.order {
            Order::Line(line) => line.push(waiting),
            Order::Flows(flows) => flows.push(waiting),
        }
    }

    /// Whether the discipline drops a packet on arrival; it may mark it instead.
    fn drops_early(&mut self, now: Timestamp, parcel: &mut Parcel<P>) -> Option<DropCause> {
        let Order::Line(line) = &self.order else { return None };
        let (draws, number, lane) = (&mut self.draws, parcel.number, u64::from(parcel.copy));
        let draw = || draws.at(number, lane);
        let (may_mark, cause) = match &mut self.rule {
            Rule::Pie(pie, settings) => match pie.on_arrival(now, *settings, line.bytes(), draw) {
                pie::Early::Enqueue => return None,
                pie::Early::MarkOrDrop => (true, DropCause::Pie),
                pie::Early::Drop => (false, DropCause::Pie),
            },
            Rule::Red(red, settings) => match red.on_arrival(now, *settings, line.bytes(), draw) {
                red::Early::Enqueue => return None,
                red::Early::MarkOrDrop => (true, DropCause::Red),
                red::Early::Drop => (false, DropCause::Red),
            },
            _ => return None,
        };
        let is_marked = self.verdicts.mark(self.ecn && may_mark, parcel);
        (!is_marked).then_some(cause)
    }
}

impl<P> Order<P> {
    /// Takes everything out, in the order of arrival.
    fn drain(&mut self) -> Vec<Waiting<P>> {
        match self {
            Self::Line(line) => std::iter::from_fn(|| line.pop()).collect(),
            Self::Flows(flows) => flows.drain(),
        }
    }
}

fn limit(profile: &LinkProfile) -> Limit {
    Limit::new(profile.queue.limit, profile.bitrate(), profile.mean_delay())
}

fn codel_settings(target: Duration, interval: Duration, ecn: bool) -> codel::Settings {
    codel::Settings { target_ns: nanos(target), interval_ns: nanos(interval), ecn }
}

fn small_packet_ns(rate: Option<Bitrate>) -> u64 {
    rate.map_or(1, |rate| nanos(rate.transmit_time(units::ByteCount(red::SMALL_PACKET))))
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
