//! How long a packet is under way after the bottleneck.
//!
//! One draw a packet, put through the law's inverse ([`crate::law`]): whole nanoseconds, the same on every machine. With
//! a correlation the draw first moves a Gaussian copula, which keeps the law. Under `compat=netem` the kernel's integer
//! arithmetic decides instead, and its reordering too, because there a packet that jumps the queue has no delay.

use std::sync::Arc;
use std::time::Duration;

use rand::Rng as _;
use units::{Probability, Seed};

use super::draws::Draws;
pub(super) use crate::law::delay::scale;
use crate::law::netem::{self, Crandom, Gap};
use crate::law::{Copula, DelayLaw};
use crate::profile::{DelayModel, DelayTrace, LinkProfile, NetemCompat};

/// The delay stage.
#[derive(Debug)]
pub(super) struct Delay {
    draws: Draws<1>,
    rule: Rule,
    copula: Copula,
    /// Where the kernel's generators would begin: of delay, of reordering.
    first: [u32; 2],
}

#[derive(Debug)]
enum Rule {
    Law(DelayLaw),
    Trace(Arc<DelayTrace>),
    Netem(Box<NetemDelay>),
}

impl Delay {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let first = ["last", "last/reorder"].map(|name| seed.fork(name).rng().next_u32());
        Self {
            draws: Draws::new(seed),
            rule: Rule::new(profile, first),
            copula: Copula::new(profile.delay_correlation),
            first,
        }
    }

    /// Takes another law. The place that correlation remembers stays, and so does the state of netem's recurrences.
    pub(super) fn configure(&mut self, profile: &LinkProfile) {
        self.copula.configure(profile.delay_correlation);
        let before = std::mem::replace(&mut self.rule, Rule::new(profile, self.first));
        if let (Rule::Netem(before), Rule::Netem(now)) = (before, &mut self.rule) {
            now.keep_state(&before, profile);
        }
    }

    /// The delay of packet `number`, counted from 1, which arrived `at` after the link's origin; asked once for each
    /// packet, in order.
    pub(super) fn draw(&mut self, number: u64, at: Duration) -> Duration {
        match &mut self.rule {
            // Nothing is remembered, so nothing need be drawn.
            Rule::Law(law) if self.copula.is_idle() && law.is_constant() => law.of_draw(0),
            Rule::Law(law) if self.copula.is_idle() => law.of_draw(self.draws.at(number, 0)),
            Rule::Law(law) => law.of_normal(self.copula.next(self.draws.at(number, 0))),
            Rule::Trace(trace) => trace.at(at),
            Rule::Netem(netem) => netem.draw(self.draws.at(number, 0)),
        }
    }

    /// Where correlation stands, as a standard normal number; what a test or a log may look at.
    pub(super) fn state(&self) -> Option<f64> {
        self.copula.state()
    }
}

impl Rule {
    fn new(profile: &LinkProfile, first: [u32; 2]) -> Self {
        if let Some(compat) = &profile.compat
            && let Some(netem) = NetemDelay::new(profile, compat, first)
        {
            return Rule::Netem(Box::new(netem));
        }
        match &profile.delay {
            DelayModel::Trace(trace) => Rule::Trace(Arc::clone(trace)),
            model => DelayLaw::new(model)
                .map_or_else(|| unreachable!("every model but a recording has a law"), Rule::Law),
        }
    }
}

/// `tabledist` and the reordering of `netem_enqueue`.
#[derive(Debug)]
struct NetemDelay {
    mu: i64,
    sigma: u64,
    table: Option<Vec<i16>>,
    walk: Crandom,
    gap: Gap,
    reorder_walk: Crandom,
}

impl NetemDelay {
    /// `None` for laws that the kernel does not have.
    fn new(profile: &LinkProfile, compat: &NetemCompat, first: [u32; 2]) -> Option<Self> {
        let (base, jitter, table) = match &profile.delay {
            DelayModel::Constant(base) => (*base, Duration::ZERO, None),
            DelayModel::Uniform { base, jitter } => (*base, *jitter, None),
            DelayModel::Normal { base, jitter } => (*base, *jitter, Some(netem::normal_table())),
            DelayModel::Pareto { base, jitter } => (*base, *jitter, Some(netem::pareto_table())),
            DelayModel::ParetoNormal { base, jitter } => (*base, *jitter, Some(netem::pareto_normal_table())),
            DelayModel::Table { base, jitter, table } => {
                let entry = |&entry: &i32| entry.clamp(i16::MIN.into(), i16::MAX.into()) as i16;
                (*base, *jitter, Some(table.quantiles.iter().map(entry).collect()))
            }
            DelayModel::LogNormal { .. } | DelayModel::Exponential { .. } | DelayModel::Trace(_) => {
                return None;
            }
        };
        Some(Self {
            mu: i64::try_from(base.as_nanos()).unwrap_or(i64::MAX >> 1),
            sigma: u64::try_from(jitter.as_nanos()).unwrap_or(u64::MAX),
            table,
            walk: Crandom::new(correlation(profile), first[0]),
            gap: Gap::new(compat.gap, compat.reorder),
            reorder_walk: Crandom::new(compat.reorder_correlation, first[1]),
        })
    }

    fn keep_state(&mut self, before: &NetemDelay, profile: &LinkProfile) {
        let compat = profile.compat.unwrap_or_default();
        (self.walk, self.gap, self.reorder_walk) = (before.walk, before.gap, before.reorder_walk);
        self.walk.configure(correlation(profile));
        self.gap.configure(compat.gap, compat.reorder);
        self.reorder_walk.configure(compat.reorder_correlation);
    }

    /// The upper half of the draw is for the delay, the lower for reordering.
    fn draw(&mut self, draw: u64) -> Duration {
        if self.gap.jumps(&mut self.reorder_walk, draw as u32) {
            return Duration::ZERO;
        }
        // Without jitter the kernel takes no number.
        let number = if self.sigma == 0 { 0 } else { self.walk.next((draw >> 32) as u32) };
        let nanos = netem::tabledist(self.mu, self.sigma, number, self.table.as_deref());
        // What should have left before now leaves now.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

fn correlation(profile: &LinkProfile) -> Probability {
    Probability::new(profile.delay_correlation).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: Duration = Duration::from_millis(50);
    const JITTER: Duration = Duration::from_millis(5);

    fn draws(profile: &LinkProfile, count: u64) -> Vec<Duration> {
        let mut delay = Delay::new(profile, Seed::root(11));
        (1..=count).map(|number| delay.draw(number, Duration::ZERO)).collect()
    }

    fn of(delay: DelayModel) -> LinkProfile {
        LinkProfile { delay, ..LinkProfile::default() }
    }

    #[test]
    fn a_packet_has_the_same_delay_whatever_packets_were_asked_before() {
        let profile = of(DelayModel::Normal { base: BASE, jitter: JITTER });
        let all = draws(&profile, 100);
        let mut delay = Delay::new(&profile, Seed::root(11));
        for number in (3..=100).step_by(7) {
            assert_eq!(delay.draw(number, Duration::ZERO), all[number as usize - 1]);
        }
    }

    #[test]
    fn a_trace_goes_by_time() {
        let trace = DelayTrace::parse("x", "0s 20ms\n1s 50ms").expect("a trace");
        let mut delay = Delay::new(&of(DelayModel::Trace(trace.into())), Seed::root(1));
        let second = Duration::from_secs(1);
        assert_eq!(delay.draw(1, Duration::ZERO), Duration::from_millis(20));
        assert_eq!(delay.draw(2, second), BASE);
        assert_eq!(delay.draw(3, 9 * second), BASE);
    }

    #[test]
    fn a_correlation_of_zero_is_none_and_another_keeps_its_place() {
        let model = DelayModel::Normal { base: BASE, jitter: JITTER };
        let mut profile = of(model.clone());
        let plain = draws(&profile, 10);
        profile.delay_correlation = 0.5;
        let correlated = draws(&profile, 10);
        // The first of a correlated sequence is drawn from the law like any other.
        assert_eq!(plain[0].as_nanos().abs_diff(correlated[0].as_nanos()), 0);
        assert_ne!(plain[1..], correlated[1..]);
        let mut delay = Delay::new(&profile, Seed::root(11));
        delay.draw(1, Duration::ZERO);
        let place = delay.state();
        assert!(place.is_some());
        delay.configure(&of(model));
        assert_eq!(delay.state(), place);
    }

    #[test]
    fn absurd_spans_do_not_overflow() {
        for (base, jitter) in
            [(Duration::MAX, Duration::MAX), (Duration::ZERO, Duration::MAX), (Duration::MAX, Duration::ZERO)]
        {
            let table = Arc::new(crate::profile::DelayTable::normal());
            for model in [
                DelayModel::Uniform { base, jitter },
                DelayModel::Normal { base, jitter },
                DelayModel::LogNormal { base, jitter },
                DelayModel::Exponential { base, jitter },
                DelayModel::Pareto { base, jitter },
                DelayModel::ParetoNormal { base, jitter },
                DelayModel::Table { base, jitter, table },
            ] {
                for (delay_correlation, compat) in
                    [(0.0, None), (0.5, None), (0.5, Some(NetemCompat::default()))]
                {
                    let profile = LinkProfile {
                        delay: model.clone(),
                        delay_correlation,
                        compat,
                        ..LinkProfile::default()
                    };
                    draws(&profile, 100);
                    let _ = profile.mean_delay();
                }
            }
        }
    }

    #[test]
    fn packets_jump_the_queue_of_netem_in_their_gap() {
        let compat = NetemCompat { reorder: Probability::ONE, gap: 3, ..NetemCompat::default() };
        let profile = LinkProfile { compat: Some(compat), ..of(DelayModel::Constant(BASE)) };
        let now = Duration::ZERO;
        assert_eq!(draws(&profile, 6), [BASE, BASE, now, BASE, BASE, now]);
    }
}
