//! Whether the entrance is open: a tunnel, a handover, a pulled cable.
//!
//! Only entering counts: what was under way when the gate closed still arrives, as on a path with buffers behind the
//! break. Spans are half-open, so a packet at the first instant meets the closed gate and one at the last passes.

use std::time::Duration;

use units::Seed;

use super::draws::Draws;
use super::event::DropCause;
use crate::profile::{Gate, LinkProfile, Window};

/// What becomes of a packet at the entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passage {
    Open,
    Closed(DropCause),
    /// Waits until this long after the origin.
    Held(Duration),
}

#[derive(Debug)]
pub(super) struct Gates {
    gates: Vec<Gate>,
    flaps: Vec<Flap>,
    seed: Seed,
    /// Changes of address by this time are told, or are in `pending`.
    rebound: Duration,
    /// One of former gates that was not asked for while they were in force.
    pending: Option<Duration>,
}

impl Gates {
    pub(super) fn new(profile: &LinkProfile, seed: Seed) -> Self {
        let mut gates =
            Self { gates: Vec::new(), flaps: Vec::new(), seed, rebound: Duration::ZERO, pending: None };
        gates.configure(Duration::ZERO, profile);
        gates
    }

    /// Returns whether anything changed. A flap that stays the same goes on; another one is a function of the time since
    /// the origin like the first. Changes of address of the new gates that lie in the past have happened to nobody.
    pub(super) fn configure(&mut self, elapsed: Duration, profile: &LinkProfile) -> bool {
        if self.gates == profile.gates {
            return false;
        }
        self.pending = self.poll_rebind(elapsed);
        self.skip_rebinds(elapsed);
        self.gates.clone_from(&profile.gates);
        let means = self.gates.iter().filter_map(|gate| match *gate {
            Gate::Flap { up, down } => Some((up, down)),
            _ => None,
        });
        if !means.clone().eq(self.flaps.iter().map(|flap| (flap.up, flap.down))) {
            self.flaps = (0..)
                .zip(means)
                .map(|(index, (up, down))| Flap::new(up, down, self.seed.fork(&format!("{index}"))))
                .collect();
        }
        true
    }

    #[inline]
    pub(super) fn is_none(&self) -> bool {
        self.gates.is_empty()
    }

    /// For a packet that wants to enter `elapsed` after the origin. Times must not run backwards.
    pub(super) fn passage(&mut self, elapsed: Duration) -> Passage {
        let covering = |gate: &Gate| match gate {
            Gate::Blackout(window) => covers(window, elapsed).is_some(),
            _ => false,
        };
        if self.gates.iter().any(covering) {
            return Passage::Closed(DropCause::Blackout);
        }
        // Every flap is asked, so that each keeps up with time.
        let mut is_down = false;
        for flap in &mut self.flaps {
            is_down |= flap.is_down(elapsed);
        }
        if is_down {
            return Passage::Closed(DropCause::Flap);
        }
        let ends = self.gates.iter().filter_map(|gate| match gate {
            Gate::Hold(window) => covers(window, elapsed),
            _ => None,
        });
        ends.max().map_or(Passage::Open, Passage::Held)
    }

    /// Takes changes of address by `elapsed` as told: there was no flow yet.
    pub(super) fn skip_rebinds(&mut self, elapsed: Duration) {
        self.rebound = self.rebound.max(elapsed);
    }

    /// The latest change of address by `elapsed`, once.
    pub(super) fn poll_rebind(&mut self, elapsed: Duration) -> Option<Duration> {
        let former = self.pending.take_if(|at| *at <= elapsed);
        let latest = self.gates.iter().filter_map(|gate| match *gate {
            Gate::Rebind { at, every } => latest_of(at, every, elapsed),
            _ => None,
        });
        let latest = latest.max().filter(|&at| self.rebound < at);
        self.rebound = latest.unwrap_or(self.rebound);
        latest.max(former)
    }
}

/// When the window that covers `elapsed` ends; `None` if none does.
fn covers(window: &Window, elapsed: Duration) -> Option<Duration> {
    let begin = latest_of(window.at, window.every, elapsed)?;
    let end = begin.saturating_add(window.duration);
    (elapsed < end).then_some(end)
}

/// The latest of `at`, `at + every`, … that is not after `elapsed`.
fn latest_of(at: Duration, every: Option<Duration>, elapsed: Duration) -> Option<Duration> {
    let since_first = elapsed.checked_sub(at)?;
    match every {
        // A period of zero does not pass validation; read as a single time it cannot divide by zero.
        Some(every) if !every.is_zero() => {
            let into_period = Duration::from_nanos_u128(since_first.as_nanos() % every.as_nanos());
            Some(elapsed - into_period)
        }
        _ => Some(at),
    }
}

/// Up and down by turns, each for an exponential time. The n-th turn takes the n-th draw, so the whole course is a
/// function of the seed and the means.
#[derive(Debug)]
struct Flap {
    up: Duration,
    down: Duration,
    draws: Draws<1>,
    /// Turns begun; odd ones are up.
    turn: u64,
    /// When the present turn ends, since the origin.
    ends_ns: u64,
}

impl Flap {
    fn new(up: Duration, down: Duration, seed: Seed) -> Self {
        Self { up, down, draws: Draws::new(seed), turn: 0, ends_ns: 0 }
    }

    fn is_down(&mut self, elapsed: Duration) -> bool {
        let elapsed = saturating_nanos(elapsed);
        while self.ends_ns <= elapsed {
            self.turn += 1;
            let mean = if self.turn.is_multiple_of(2) { self.down } else { self.up };
            let span = exponential(self.draws.at(self.turn, 0), mean);
            self.ends_ns = self.ends_ns.saturating_add(span);
            if self.ends_ns == u64::MAX {
                break;
            }
        }
        self.turn.is_multiple_of(2)
    }
}

/// An exponential time in nanoseconds, at least [`SHORTEST_TURN_NS`]. `libm`'s logarithm is the same everywhere.
fn exponential(draw: u64, mean: Duration) -> u64 {
    // Uniform on (0, 1], so that its logarithm is finite.
    let uniform = ((draw >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let nanos = -libm::log(uniform) * saturating_nanos(mean) as f64;
    (nanos as u64).max(SHORTEST_TURN_NS)
}

/// Bounds the turns that have to be gone through after an idle time: a million a second.
const SHORTEST_TURN_NS: u64 = 1_000;

fn saturating_nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gates(gates: Vec<Gate>) -> Gates {
        Gates::new(&LinkProfile { gates, ..LinkProfile::default() }, Seed::root(1))
    }

    fn window(at: Duration, duration: Duration, every: Option<Duration>) -> Window {
        Window { at, duration, every }
    }

    #[test]
    fn the_first_instant_is_dark_and_the_last_is_not() {
        let mut once = gates(vec![Gate::Blackout(window(20 * MS, 3 * MS, None))]);
        let nano = Duration::from_nanos(1);
        assert_eq!(once.passage(20 * MS - nano), Passage::Open);
        assert_eq!(once.passage(20 * MS), Passage::Closed(DropCause::Blackout));
        assert_eq!(once.passage(23 * MS - nano), Passage::Closed(DropCause::Blackout));
        assert_eq!(once.passage(23 * MS), Passage::Open);
    }

    #[test]
    fn a_period_repeats_for_ever_but_not_before_the_first() {
        let mut again = gates(vec![Gate::Hold(window(20 * MS, 3 * MS, Some(10 * MS)))]);
        assert_eq!(again.passage(11 * MS), Passage::Open);
        assert_eq!(again.passage(32 * MS), Passage::Held(33 * MS));
        assert_eq!(again.passage(33 * MS), Passage::Open);
        assert_eq!(again.passage(100_022 * MS), Passage::Held(100_023 * MS));
    }

    #[test]
    fn any_of_several_is_enough_and_the_longest_hold_counts() {
        let mut two = gates(vec![
            Gate::Blackout(window(MS, MS, None)),
            Gate::Hold(window(5 * MS, MS, None)),
            Gate::Hold(window(5 * MS, 4 * MS, None)),
        ]);
        assert_eq!(two.passage(MS), Passage::Closed(DropCause::Blackout));
        assert_eq!(two.passage(3 * MS), Passage::Open);
        assert_eq!(two.passage(5 * MS), Passage::Held(9 * MS));
    }

    #[test]
    fn a_flap_is_down_for_its_share_of_time_and_in_turns_of_its_means() {
        let (up, down) = (90 * MS, 10 * MS);
        let mut flap = Flap::new(up, down, Seed::root(5));
        let (mut below, mut turns, steps) = (0_u32, 0_u32, 2_000_000_u32);
        let mut was_down = false;
        for step in 0..steps {
            let is_down = flap.is_down(MS * step);
            below += u32::from(is_down);
            turns += u32::from(is_down && !was_down);
            was_down = is_down;
        }
        // 20,000 cycles of mean 100 ms: the relative error of a sum of n exponentials is 1/sqrt(n), here 0.7 %; the
        // down share p has sd p(1-p)sqrt(2/n) = 0.0009.
        let share = f64::from(below) / f64::from(steps);
        assert!((share - 0.1).abs() < 5.0 * 0.0009, "{share}");
        // Turns shorter than a step may be missed: P(T < 1 ms) is about 5 %, each way.
        assert!((17_000..=20_800).contains(&turns), "{turns}");
    }

    #[test]
    fn a_flap_depends_on_time_alone() {
        let course = |step: u32| {
            let mut flap = Flap::new(5 * MS, 2 * MS, Seed::root(9));
            (0..1000).step_by(step as usize).map(|ms| (ms, flap.is_down(MS * ms))).collect::<Vec<_>>()
        };
        let fine = course(1);
        assert!(course(7).iter().all(|entry| fine.contains(entry)));
        assert!(!fine[0].1, "it begins up");
    }

    #[test]
    fn a_change_of_address_is_told_once_and_only_the_latest() {
        let mut gates = gates(vec![Gate::Rebind { at: 30 * MS, every: Some(60 * MS) }]);
        assert_eq!(gates.poll_rebind(29 * MS), None);
        assert_eq!(gates.poll_rebind(31 * MS), Some(30 * MS));
        assert_eq!(gates.poll_rebind(89 * MS), None);
        assert_eq!(gates.poll_rebind(1000 * MS), Some(990 * MS));
        assert_eq!(gates.poll_rebind(1000 * MS), None);
    }

    #[test]
    fn a_change_of_address_before_the_gates_is_not_told_but_one_not_asked_for_is() {
        let rebind = |at: u32| LinkProfile {
            gates: vec![Gate::Rebind { at: at * MS, every: None }],
            ..LinkProfile::default()
        };
        let mut gates = gates(Vec::new());
        gates.configure(50 * MS, &rebind(30));
        assert_eq!(gates.poll_rebind(60 * MS), None, "it lay in the past");
        gates.configure(70 * MS, &rebind(80));
        gates.configure(90 * MS, &rebind(100));
        assert_eq!(gates.poll_rebind(79 * MS), None);
        assert_eq!(gates.poll_rebind(95 * MS), Some(80 * MS));
        assert_eq!((gates.poll_rebind(105 * MS), gates.poll_rebind(105 * MS)), (Some(100 * MS), None));
    }
}
