//! What one direction of a link does to packets.
//!
//! A [`LinkProfile`] is checked where it is read ([`LinkProfile::validate`]; [`crate::spec`] does it), so the link need
//! not doubt it. It describes *one* direction; a two-way path has two of them. Profiles are plain values: scenario
//! files, command lines and the admin port all build the same one.

mod bottleneck;
pub mod compat;
mod delay;
mod gate;
mod loss;
mod schedule;

use std::time::Duration;

use units::{Bitrate, ByteCount, Probability, format_duration};

pub use bottleneck::{
    Cell, DeliveryTrace, Discipline, Overhead, QueueLimit, QueueModel, RateModel, TraceError,
};
pub use compat::NetemCompat;
pub use delay::{DelayModel, DelayTable, DelayTrace};
pub use gate::{Gate, Window};
pub use loss::{LossModel, LossPlace, LossTrace};
pub use schedule::Step;

/// One direction of a link. The default changes nothing: no loss, no delay, no limit.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LinkProfile {
    /// Spans in which nothing passes, or nothing enters.
    pub gates: Vec<Gate>,
    /// Larger packets are dropped.
    pub mtu: Option<ByteCount>,
    pub loss: LossModel,
    pub loss_at: LossPlace,
    /// Chance that a packet that survived loss is carried twice.
    pub duplicate: Probability,
    /// Chance that one bit of a packet is flipped.
    pub corrupt: Probability,
    /// How the bottleneck serves; `None` is infinitely fast.
    pub rate: Option<RateModel>,
    /// What waits before the bottleneck. Without a rate nothing ever waits.
    pub queue: QueueModel,
    pub delay: DelayModel,
    /// Correlation of successive delays, 0 to below 1. The law of each delay stays what it is (Gaussian copula).
    pub delay_correlation: f64,
    /// Whether jitter may let packets overtake each other.
    pub order: Order,
    /// Holds some packets back on purpose so that later ones overtake them.
    pub reorder: Option<Reorder>,
    /// Chance as Linux' netem makes it, instead of as configured.
    pub compat: Option<NetemCompat>,
    /// How the link changes over time; in order, ramps not overlapping.
    pub schedule: Vec<Step>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// A packet never leaves before one that arrived earlier; jitter turns into waiting.
    #[default]
    Fifo,
    /// Each packet takes its own delay, so jitter reorders (what netem does).
    Allow,
}

/// With chance `p` a packet takes `extra` longer and does not hold up those behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    pub p: Probability,
    pub extra: Duration,
}

impl LinkProfile {
    /// Share of offered packets that loss takes in the long run, 0 to 1. Full queues and blackouts come on top.
    #[must_use]
    pub fn mean_loss(&self) -> f64 {
        match &self.compat {
            Some(compat) => compat.mean_loss(&self.loss),
            None => self.loss.mean(),
        }
    }

    /// Mean time under way of a packet that neither waits before the bottleneck nor is held back by `reorder`.
    ///
    /// Under [`Order::Fifo`] with jitter, packets that follow closer than the jitter wait for slower ones, and the
    /// observed mean is above this.
    #[must_use]
    pub fn mean_delay(&self) -> Duration {
        self.delay.mean()
    }

    /// Half-width of uniform, standard deviation of normal jitter; zero for constant delay.
    #[must_use]
    pub fn jitter(&self) -> Duration {
        match self.delay {
            DelayModel::Constant(_) | DelayModel::Trace(_) => Duration::ZERO,
            DelayModel::Uniform { jitter, .. }
            | DelayModel::Normal { jitter, .. }
            | DelayModel::LogNormal { jitter, .. }
            | DelayModel::Exponential { jitter, .. }
            | DelayModel::Pareto { jitter, .. }
            | DelayModel::ParetoNormal { jitter, .. }
            | DelayModel::Table { jitter, .. } => jitter,
        }
    }

    /// The constant rate of the bottleneck, or the mean of a varying one; `None` if it is infinitely fast.
    #[must_use]
    pub fn bitrate(&self) -> Option<Bitrate> {
        match self.rate.as_ref()? {
            RateModel::Constant { rate, .. } | RateModel::TokenBucket { rate, .. } => Some(*rate),
            RateModel::Trace(trace) => trace.bitrate(),
        }
    }

    /// Limits the bottleneck to a constant rate.
    #[must_use]
    pub fn with_bitrate(self, rate: Bitrate) -> Self {
        Self { rate: Some(RateModel::Constant { rate, overhead: Overhead::default() }), ..self }
    }

    /// Whether anything of it counts from the link's origin.
    #[must_use]
    pub fn is_timed(&self) -> bool {
        let has_trace =
            matches!(self.rate, Some(RateModel::Trace(_))) || matches!(self.delay, DelayModel::Trace(_));
        !self.gates.is_empty() || !self.schedule.is_empty() || has_trace
    }

    /// Moves everything that counts from the link's origin by `later`, then by `earlier` the other way.
    pub fn shift(&mut self, later: Duration, earlier: Duration) {
        let moved = |at: Duration| (at + later).saturating_sub(earlier);
        for gate in &mut self.gates {
            match gate {
                Gate::Blackout(window) | Gate::Hold(window) => window.at = moved(window.at),
                Gate::Rebind { at, .. } => *at = moved(*at),
                Gate::Flap { .. } => {}
            }
        }
        for step in &mut self.schedule {
            step.at = moved(step.at);
            step.profile.shift(later, earlier);
        }
    }

    /// Refuses what each value allows but their combination does not.
    pub fn validate(&self) -> Result<(), ProfileError> {
        self.loss.validate()?;
        match &self.compat {
            // netem sends at once what its law puts before now.
            Some(compat) => compat.validate(self)?,
            None => self.delay.validate()?,
        }
        if !(0.0..1.0).contains(&self.delay_correlation) {
            return Err(ProfileError::Correlation);
        }
        if self.mtu == Some(ByteCount::ZERO) {
            return Err(ProfileError::NoMtu);
        }
        self.rate.as_ref().map_or(Ok(()), RateModel::validate)?;
        self.queue.validate()?;
        self.gates.iter().try_for_each(Gate::validate)?;
        schedule::validate(&self.schedule)
    }
}

/// What happens by itself again and again is gone through one by one after an idle time: at most so often, that an hour
/// takes milliseconds. No link flaps faster, and RFC 8033 updates every 15 ms.
const SHORTEST_PERIOD: Duration = Duration::from_millis(1);

/// Why a profile makes no sense. Each names its key in a link SPEC and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// A uniform delay would be negative at times.
    #[error(
        "jitter: {} is more than the delay of {}; lower it, raise the delay, or use dist=normal",
        format_duration(*jitter), format_duration(*base)
    )]
    JitterAboveDelay { base: Duration, jitter: Duration },
    /// `every` was 0.
    #[error("correlation: delays that are all alike need none; write 0% to below 100%")]
    Correlation,
    #[error("dist: a log-normal delay needs a mean above zero; add for example delay=50ms")]
    LogNormalWithoutDelay,
    #[error("dist: the table has no entries")]
    EmptyTable,
    #[error("delay: the trace has no steps")]
    EmptyDelayTrace,
    /// The mean length of a burst is below 1, or absurd.
    #[error("loss: a burst has at least one packet; write for example burst(2%,len=4)")]
    BurstLength,
    /// More losses than runs of that length can hold.
    #[error("loss: so many losses leave no packet between bursts; lower the rate or lengthen the bursts")]
    BurstsTooClose,
    #[error("loss: 4state: {pair} add up to more than 100%")]
    StateAboveOne { pair: &'static str },
    #[error("loss: list: write packet numbers from 1 up, ascending, for example list(3,7,20..25)")]
    LossList,
    #[error("loss: the trace has no packets")]
    EmptyLossTrace,
    /// A model that the kernel does not have.
    #[error("compat: netem has no {what}; leave out compat=netem, or that")]
    NotInNetem { what: &'static str },
    #[error("compat: packets that leave at once overtake others; add order=allow")]
    ReorderInFifo,
    #[error("loss: every(0) names no packet; write every(1) or more")]
    EveryZeroth,
    /// A Gilbert-Elliott chain that can leave neither state.
    #[error("loss: ge(p=0%,r=0%) never changes its state; give p or r a value, or write a plain loss=1%")]
    StuckChain,
    /// A queue without room for the packet in service.
    #[error("queue: a queue of 0 passes nothing; write queue=1p or more, or a blackout")]
    NoQueue,
    #[error("{key}: it has no duration; write for example {key}=20s+3s")]
    EmptyWindow { key: &'static str },
    #[error(
        "{key}: it lasts {}, more than its period of {} leaves room for; lengthen the period",
        format_duration(*duration), format_duration(*every)
    )]
    WindowAbovePeriod { key: &'static str, duration: Duration, every: Duration },
    #[error("flap: a mean turn has at least 1ms; write for example flap=up(10s)/down(1s)")]
    ShortTurn,
    #[error("queue: pie updates at most once in 1ms; leave update out for the default of 15ms")]
    ShortUpdate,
    #[error("rebind: a period of zero changes addresses all the time; write for example rebind=30s/60s")]
    RebindWithoutPeriod,
    #[error("mtu: nothing fits into 0 bytes; write for example mtu=1500B")]
    NoMtu,
    #[error("rate: a cell of 0 bytes carries nothing; write for example 8Mbit/s+cell(48B+5B)")]
    EmptyCell,
    #[error("rate: a bucket of 0 bytes never fills; write for example bucket(10Mbit/s,burst=64KiB)")]
    EmptyBucket,
    #[error("rate: a peak of {peak} is below the rate of {rate}; raise it or leave it out")]
    PeakBelowRate { rate: Bitrate, peak: Bitrate },
    #[error(
        "rate: the trace {name} has no opportunity or no period; its last line is its period in milliseconds"
    )]
    EmptyTrace { name: String },
    /// A time or count of a discipline that would divide by zero or never end.
    #[error("queue: {name} is zero; leave it out for the default")]
    ZeroInQueue { name: &'static str },
    #[error("queue: red needs min below max, not {min} and {max}; write for example red(min=30kB,max=90kB)")]
    RedBounds { min: ByteCount, max: ByteCount },
    #[error("queue: the weight of red is above 0 and at most 1; write for example weight=0.002")]
    RedWeight,
    #[error("schedule: the step at {} is not after the one before it has ended; write steps in order", format_duration(*at))]
    StepsOverlap { at: Duration },
    #[error("schedule: the step at {} changes over no time; leave out +0s", format_duration(*at))]
    EmptyRamp { at: Duration },
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    #[test]
    fn mean_loss_of_each_model() {
        let chain = |p, r, bad, good| LossModel::GilbertElliott {
            p: percent(p),
            r: percent(r),
            loss_bad: percent(bad),
            loss_good: percent(good),
        };
        for (model, mean) in [
            (LossModel::None, 0.0),
            (LossModel::Bernoulli { p: percent(10.0) }, 0.1),
            (chain(1.0, 9.0, 100.0, 0.0), 0.1),
            (chain(50.0, 50.0, 20.0, 10.0), 0.15),
            (chain(0.0, 0.0, 100.0, 1.0), 0.01),
            (LossModel::EveryNth { n: 4 }, 0.25),
        ] {
            let profile = LinkProfile { loss: model.clone(), ..LinkProfile::default() };
            assert!((profile.mean_loss() - mean).abs() < 1e-12, "{model:?}");
        }
    }

    #[test]
    fn the_cut_at_zero_raises_the_mean_of_normal_delay() {
        let mean = |base, jitter| DelayModel::Normal { base, jitter }.mean();
        // Half of N(0, 1) is cut: the rest has mean 1/sqrt(2 pi).
        let cut = mean(Duration::ZERO, 1000 * MS).as_secs_f64();
        assert!((cut - 0.398_942).abs() < 1e-6, "{cut}");
        let whole = mean(50 * MS, 5 * MS);
        assert!(whole.abs_diff(50 * MS) < Duration::from_nanos(100), "{whole:?}");
        assert_eq!(mean(50 * MS, Duration::ZERO), 50 * MS);
    }

    #[test]
    fn contradictions_are_refused() {
        let with = |change: fn(&mut LinkProfile)| {
            let mut profile = LinkProfile::default();
            change(&mut profile);
            profile.validate()
        };
        assert_eq!(LinkProfile::default().validate(), Ok(()));
        assert_eq!(
            with(|p| p.delay = DelayModel::Uniform { base: MS, jitter: 2 * MS }),
            Err(ProfileError::JitterAboveDelay { base: MS, jitter: 2 * MS })
        );
        assert_eq!(with(|p| p.delay = DelayModel::Normal { base: MS, jitter: 2 * MS }), Ok(()));
        assert_eq!(with(|p| p.loss = LossModel::EveryNth { n: 0 }), Err(ProfileError::EveryZeroth));
        assert_eq!(with(|p| p.queue.limit = QueueLimit::Packets(0)), Err(ProfileError::NoQueue));
        let blackout = |duration, every| Gate::Blackout(Window { at: MS, duration, every });
        assert_eq!(
            blackout(Duration::ZERO, None).validate(),
            Err(ProfileError::EmptyWindow { key: "blackout" })
        );
        assert_eq!(
            blackout(2 * MS, Some(MS)).validate(),
            Err(ProfileError::WindowAbovePeriod { key: "blackout", duration: 2 * MS, every: MS })
        );
        assert_eq!(
            with(|p| {
                p.loss = LossModel::GilbertElliott {
                    p: Probability::ZERO,
                    r: Probability::ZERO,
                    loss_bad: Probability::ONE,
                    loss_good: Probability::ZERO,
                };
            }),
            Err(ProfileError::StuckChain)
        );
    }
}
