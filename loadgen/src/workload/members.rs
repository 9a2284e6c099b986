//! Who does which workload, and when.
//!
//! What a client does depends on its group, its place in it and the phases, never on how many clients there are
//! beside it: adding one changes nobody else's part.

use std::sync::Arc;

use units::Seed;

use super::clock::Clock;
use super::process::nanos;
use super::stream::Sender;
use crate::scenario::{Activity, ClientGroup, Pace, Scenario, Seats, Workload};

/// A client that does a workload.
pub(super) struct Member {
    pub(super) sender: Sender,
    /// Names its substreams: by group and place, which stay when a client is added elsewhere.
    pub(super) name: String,
}

/// The clients of workload `index`, ascending, and the clock of the workload as a whole.
pub(super) fn of(scenario: &Scenario, index: usize, seed: &Seed) -> (Vec<Member>, Arc<Clock>) {
    let work = &scenario.workloads[index];
    let whole = Arc::new(whole_clock(scenario, work));
    let mut first = 0;
    let mut members = Vec::new();
    for (number, group) in scenario.clients.iter().enumerate() {
        if work.groups.contains(&number) {
            let rooms = rooms_each(group);
            let deal = Deal::new(scenario, number, index);
            for place in (0..group.count).filter(|&place| deal.is_dealt(place)) {
                let clock = clock(scenario, work, group, place, &whole, seed);
                members.push(Member {
                    sender: Sender { client: first + place, rooms, clock },
                    name: format!("client/{}/{place}", group.name),
                });
            }
        }
        first += group.count;
    }
    (members, whole)
}

fn rooms_each(group: &ClientGroup) -> u16 {
    let rooms = match group.rooms.seats {
        Seats::Size(_) => group.rooms.per_client,
        Seats::Count(count) => group.rooms.per_client.min(count),
    };
    u16::try_from(rooms).unwrap_or(u16::MAX)
}

/// When anybody at all takes part.
fn whole_clock(scenario: &Scenario, work: &Workload) -> Clock {
    let mut clock = Clock::default();
    for (index, from, until) in spans(scenario) {
        let phase = &scenario.phases[index];
        let anybody = work.groups.iter().any(|&group| phase.clients.of(scenario.clients[group].count) > 0);
        if work.phases.contains(&index) && anybody {
            clock.run(from, until, speed(work, phase.rate));
        }
    }
    clock
}

/// When one client takes part: `whole` itself where that is in all of it.
fn clock(
    scenario: &Scenario,
    work: &Workload,
    group: &ClientGroup,
    place: u32,
    whole: &Arc<Clock>,
    seed: &Seed,
) -> Arc<Clock> {
    let mut own = Clock::default();
    let mut before = 0;
    for (index, from, until) in spans(scenario) {
        let phase = &scenario.phases[index];
        let active = phase.clients.of(group.count);
        // Those that this phase adds come by its ramp.
        let added = active.saturating_sub(before);
        let delay = match (phase.ramp, place.checked_sub(before)) {
            (Some(ramp), Some(newcomer)) if newcomer < added => {
                let newcomers = ClientGroup { count: added, ramp, ..group.clone() };
                nanos(newcomers.start(newcomer, &seed.fork(&format!("phase/{}", phase.name))))
            }
            _ => 0.0,
        };
        if work.phases.contains(&index) && place < active {
            own.run((from + delay).min(until), until, speed(work, phase.rate));
        }
        before = active;
    }
    if own == **whole { Arc::clone(whole) } else { Arc::new(own) }
}

/// The rate of a phase concerns open loops; others have none.
fn speed(work: &Workload, rate: f64) -> f64 {
    if matches!(work.pace, Pace::Open { .. }) { rate } else { 1.0 }
}

/// Index, beginning and end of each phase that sends, in nanoseconds.
fn spans(scenario: &Scenario) -> impl Iterator<Item = (usize, f64, f64)> {
    let mut from = 0.0;
    scenario.phases.iter().enumerate().filter_map(move |(index, phase)| {
        let begins = from;
        from += nanos(phase.duration);
        (phase.activity == Activity::Load).then_some((index, begins, from))
    })
}

/// Which places of a group do a workload that shares its clients with others.
///
/// Places are dealt one after the other to the workload that is furthest behind its weight, so that every stretch
/// of places has the proportions that were asked for, and a place keeps what it has when the group grows.
struct Deal {
    /// `None`: everybody does it.
    places: Option<Vec<bool>>,
}

impl Deal {
    fn new(scenario: &Scenario, group: usize, index: usize) -> Self {
        if scenario.workloads[index].weight.is_none() {
            return Self { places: None };
        }
        let sharing = |work: &Workload| work.weight.filter(|_| work.groups.contains(&group));
        let weights: Vec<f64> = scenario.workloads.iter().map(|work| sharing(work).unwrap_or(0.0)).collect();
        let total: f64 = weights.iter().sum();
        let mut dealt = vec![0.0; weights.len()];
        let mut next = |place: u32| {
            let behind = |at: usize| weights[at] * f64::from(place + 1) / total - dealt[at];
            let candidates = (0..weights.len()).filter(|&at| weights[at] > 0.0);
            // The first of those that are equally far behind.
            let chosen = candidates.reduce(|best, at| if behind(at) > behind(best) { at } else { best })?;
            dealt[chosen] += 1.0;
            Some(chosen)
        };
        let places = (0..scenario.clients[group].count).map(|place| next(place) == Some(index)).collect();
        Self { places: Some(places) }
    }

    fn is_dealt(&self, place: u32) -> bool {
        self.places.as_ref().is_none_or(|places| places.get(place as usize).copied().unwrap_or(false))
    }
}
