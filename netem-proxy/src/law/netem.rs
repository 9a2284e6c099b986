//! Linux' `sch_netem` as it is: its recurrences in its own integer arithmetic, faults included.
//!
//! For comparing with measurements made under a kernel's netem, not for new ones: its correlation keeps neither the
//! mean of loss nor the width of jitter. Everything here is a pure function of 32-bit random numbers, so that the same
//! numbers give the same verdicts as in the kernel. Follows `net/sched/sch_netem.c` of Linux 6.18.y with the fixes of
//! 2026 to the four-state model, and the table generators of `iproute2`. What is left out: the kernel's generator
//! itself (`prandom_u32_state`), whose seed nobody else can know.

use units::Probability;

use super::{Unit, normal};

/// A share as `tc` sends it: parts of 2^32 - 1, rounded half to even.
#[must_use]
pub fn share(p: Probability) -> u32 {
    (p.get() * f64::from(u32::MAX)).round_ties_even() as u32
}

/// Whether something of chance `share` happens at `number`: the kernel's `share && share >= number`. A chance of zero
/// takes no number in the kernel, so callers ask [`is_never`] first.
#[must_use]
pub fn hits(share: u32, number: u32) -> bool {
    share != 0 && share >= number
}

/// Whether a stage is off, and takes no random number.
#[must_use]
pub fn is_never(share: u32) -> bool {
    share == 0
}

/// `get_crandom`: each number is mixed with the one before, `(1 - rho) fresh + rho last`.
///
/// The result is not uniform but bunched around the middle, which is why small chances become far smaller: 10 % with a
/// correlation of 25 % happens 1.75 % of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crandom {
    last: u32,
    rho: u32,
}

impl Crandom {
    /// `first` stands for the number before the first; the kernel draws it at random.
    #[must_use]
    pub fn new(correlation: Probability, first: u32) -> Self {
        Self { last: first, rho: share(correlation) }
    }

    /// Takes another correlation; the last number stays.
    pub fn configure(&mut self, correlation: Probability) {
        self.rho = share(correlation);
    }

    /// The next number, from a uniform one.
    pub fn next(&mut self, fresh: u32) -> u32 {
        if self.rho == 0 {
            return fresh;
        }
        let rho = u64::from(self.rho) + 1;
        // Neither product nor their sum passes 2^64: the weights add up to 2^32.
        let sum = u64::from(fresh) * ((1 << 32) - rho) + u64::from(self.last) * rho;
        self.last = (sum >> 32) as u32;
        self.last
    }
}

/// `loss_4state`, with the names of its parameters in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FourState {
    p13: u32,
    p31: u32,
    p32: u32,
    p14: u32,
    p23: u32,
    /// 1 received, 2 received within a burst, 3 lost within a burst, 4 lost alone.
    state: u8,
}

impl FourState {
    #[must_use]
    pub fn new(
        p13: Probability,
        p31: Probability,
        p32: Probability,
        p23: Probability,
        p14: Probability,
    ) -> Self {
        let [p13, p31, p32, p23, p14] = [p13, p31, p32, p23, p14].map(share);
        Self { p13, p31, p32, p14, p23, state: 1 }
    }

    /// Goes on where another chain is.
    #[must_use]
    pub fn resuming(self, before: Self) -> Self {
        Self { state: before.state, ..self }
    }

    /// Whether the next packet is lost. Sums wrap at 2^32 as in the kernel.
    pub fn next(&mut self, number: u32) -> bool {
        self.state = match self.state {
            1 if number < self.p14 => 4,
            1 if number < self.p13.wrapping_add(self.p14) => 3,
            2 if number < self.p23 => 3,
            2 => 2,
            3 if number < self.p32 => 2,
            3 if number < self.p31.wrapping_add(self.p32) => 1,
            3 => 3,
            _ => 1,
        };
        matches!(self.state, 3 | 4)
    }

    #[must_use]
    pub fn state(&self) -> u8 {
        self.state
    }
}

/// `loss_gilb_ell`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GilbertElliott {
    p: u32,
    r: u32,
    /// The kernel's h: the chance to *survive* the bad state.
    survives_bad: u32,
    loss_good: u32,
    is_bad: bool,
}

impl GilbertElliott {
    #[must_use]
    pub fn new(p: Probability, r: Probability, loss_bad: Probability, loss_good: Probability) -> Self {
        let survives_bad = u32::MAX - share(loss_bad);
        Self { p: share(p), r: share(r), survives_bad, loss_good: share(loss_good), is_bad: false }
    }

    /// Whether the next packet is lost: the first number turns the state, the second decides by the old one.
    pub fn next(&mut self, turn: u32, verdict: u32) -> bool {
        if self.is_bad {
            self.is_bad = turn >= self.r;
            verdict > self.survives_bad
        } else {
            self.is_bad = turn < self.p;
            verdict < self.loss_good
        }
    }

    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.is_bad
    }

    /// Goes on where another chain is.
    #[must_use]
    pub fn resuming(self, before: Self) -> Self {
        Self { is_bad: before.is_bad, ..self }
    }
}

/// `tabledist`: a delay in nanoseconds, which may be negative. `sigma` is cut to 2^31 - 1 ns (2.1 s), as in the kernel.
///
/// The number is used modulo the table's size, or modulo twice `sigma`: its *low* digits, which correlation leaves
/// almost uniform. So under a correlation the kernel's jitter is in truth nearly independent.
#[must_use]
pub fn tabledist(mu: i64, sigma: u64, number: u32, table: Option<&[i16]>) -> i64 {
    const SCALE: i64 = 8192;
    let sigma = i32::try_from(sigma).unwrap_or(i32::MAX);
    if sigma == 0 {
        return mu;
    }
    let wide = i64::from(sigma);
    let Some(table) = table.filter(|table| !table.is_empty()) else {
        let span = 2 * sigma.unsigned_abs();
        return i64::from(number % span) + mu - wide;
    };
    let t = i64::from(table[number as usize % table.len()]);
    let mut x = (wide % SCALE) * t;
    x += if x >= 0 { SCALE / 2 } else { -SCALE / 2 };
    x / SCALE + (wide / SCALE) * t + mu
}

/// The reordering of netem: after `gap - 1` packets in their turn, a packet may jump the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    gap: u32,
    reorder: u32,
    counter: u32,
}

impl Gap {
    /// `gap` 0 means never.
    #[must_use]
    pub fn new(gap: u32, reorder: Probability) -> Self {
        Self { gap, reorder: share(reorder), counter: 0 }
    }

    /// Takes other values; the count goes on.
    pub fn configure(&mut self, gap: u32, reorder: Probability) {
        *self = Self { counter: self.counter, ..Self::new(gap, reorder) };
    }

    /// Whether the next packet leaves at once, ahead of all others. `walk` moves only when the kernel's would.
    pub fn jumps(&mut self, walk: &mut Crandom, fresh: u32) -> bool {
        let stays = self.gap == 0 || self.counter < self.gap - 1 || self.reorder < walk.next(fresh);
        self.counter = if stays { self.counter.wrapping_add(1) } else { 0 };
        !stays
    }
}

/// The table that `tc` sends for `normal`: 4096 entries in 8192nds. Within one unit of the file that `iproute2` installs,
/// whose generator steps through the law in 0.00005.
#[must_use]
pub fn normal_table() -> Vec<i16> {
    (0..4096_u32).map(|k| entry(normal_quantile(k))).collect()
}

/// The table that `tc` sends for `pareto`: equal to the installed file.
#[must_use]
pub fn pareto_table() -> Vec<i16> {
    (0..4096_u32).map(|k| entry(pareto_quantile(k))).collect()
}

/// The table that `tc` sends for `paretonormal`: within one unit, except that its first entry is cut as in `normal`.
#[must_use]
pub fn pareto_normal_table() -> Vec<i16> {
    let mixed = |(normal, pareto): (i16, i16)| 0.25 * f64::from(normal) + 0.75 * f64::from(pareto);
    normal_table().into_iter().zip(pareto_table()).map(|pair| mixed(pair).round() as i16).collect()
}

fn normal_quantile(k: u32) -> f64 {
    normal::quantile(Unit::new((4.0 * f64::from(k) + 0.5) / 16_384.0))
}

/// Shape 3, divided by its variance of 3/4 instead of its deviation: the law of netem is 0.87 as wide as it says.
fn pareto_quantile(k: u32) -> f64 {
    let above = f64::from(65_536 - 16 * k) / 65_536.0;
    (1.0 / libm::cbrt(above) - 1.5) * (4.0 / 3.0)
}

/// The cast saturates: tables end at -4 and +4 deviations.
fn entry(deviations: f64) -> i16 {
    (deviations * 8192.0).round() as i16
}

/// How often something of chance `p` happens under a correlation, in the long run.
///
/// The stationary law of the recurrence solves `F(t) = E F((t - (1 - rho) U) / rho)`; it is iterated on 16,384 points
/// until it rests. Within 0.1 % of the true value, relative, for `p` of 1 % and more; below a few thousandths of a
/// percent it only says "hardly ever".
#[must_use]
pub fn true_share(p: Probability, correlation: Probability) -> f64 {
    let (p, rho) = (p.get(), correlation.get());
    if rho == 0.0 || p == 0.0 || p >= 1.0 {
        return p;
    }
    if rho >= 1.0 {
        // It repeats its first number for ever.
        return p;
    }
    Stationary::of(rho).below(p)
}

struct Stationary {
    /// F at k / POINTS.
    cdf: Vec<f64>,
}

impl Stationary {
    const POINTS: usize = 16_384;
    /// Each round shrinks the error by rho or more; 2000 rounds serve up to 0.99.
    const ROUNDS: usize = 2000;

    fn of(rho: f64) -> Self {
        let mut law = Self { cdf: (0..=Self::POINTS).map(|k| k as f64 / Self::POINTS as f64).collect() };
        for _ in 0..Self::ROUNDS {
            let next = law.step(rho);
            let moved = next.iter().zip(&law.cdf).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            law.cdf = next;
            if moved < 1e-13 {
                break;
            }
        }
        law
    }

    fn step(&self, rho: f64) -> Vec<f64> {
        let mut integral = Vec::with_capacity(self.cdf.len());
        let mut sum = 0.0;
        integral.push(sum);
        for pair in self.cdf.windows(2) {
            sum += f64::midpoint(pair[0], pair[1]) / Self::POINTS as f64;
            integral.push(sum);
        }
        // Beyond one, F is one.
        let area = |t: f64| match t {
            t if t <= 0.0 => 0.0,
            t if t >= 1.0 => sum + (t - 1.0),
            t => interpolate(&integral, t),
        };
        let weight = rho / (1.0 - rho);
        let at = |k: usize| {
            let t = k as f64 / Self::POINTS as f64;
            (weight * (area(t / rho) - area((t - (1.0 - rho)) / rho))).clamp(0.0, 1.0)
        };
        (0..=Self::POINTS).map(at).collect()
    }

    fn below(&self, t: f64) -> f64 {
        interpolate(&self.cdf, t)
    }
}

fn interpolate(values: &[f64], t: f64) -> f64 {
    let last = values.len() - 1;
    let place = t * last as f64;
    let left = (place as usize).min(last - 1);
    values[left] + (values[left + 1] - values[left]) * (place - left as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(value: f64) -> Probability {
        Probability::new(value / 100.0).expect("in range")
    }

    #[test]
    fn shares_are_those_of_tc() {
        assert_eq!(share(Probability::ZERO), 0);
        assert_eq!(share(Probability::ONE), u32::MAX);
        // rint(0.01 x 4294967295).
        assert_eq!(share(percent(1.0)), 42_949_673);
        assert_eq!(share(percent(25.0)), 1_073_741_824);
    }

    #[test]
    fn the_recurrence_in_the_kernels_integers() {
        let mut walk = Crandom::new(percent(25.0), 0);
        // rho + 1 = 1073741825: (2^32 - 1073741825) x 2^31 >> 32, then the same and 1073741825 x the last.
        assert_eq!(walk.next(1 << 31), 1_610_612_735);
        assert_eq!(walk.next(1 << 31), 2_013_265_919);
        assert_eq!(walk.next(0), 503_316_480);
        let mut plain = Crandom::new(Probability::ZERO, 7);
        assert_eq!(plain.next(99), 99);
        // Neither end overflows.
        let mut full = Crandom::new(Probability::ONE, u32::MAX);
        assert_eq!(full.next(u32::MAX), u32::MAX);
    }

    #[test]
    fn uniform_delays_count_from_below() {
        assert_eq!(tabledist(100, 10, 0, None), 90);
        assert_eq!(tabledist(100, 10, 19, None), 109);
        assert_eq!(tabledist(100, 10, 20, None), 90);
        assert_eq!(tabledist(100, 0, 12_345, None), 100);
        assert_eq!(
            tabledist(0, u64::MAX, u32::MAX, None),
            i64::from(u32::MAX % 4_294_967_294) - 2_147_483_647
        );
    }

    #[test]
    fn table_delays_round_away_from_zero() {
        let table = [-8192, 4096, 1];
        // sigma 10,000 = 8192 + 1808: one entry of 8192 is the whole of it.
        assert_eq!(tabledist(0, 10_000, 0, Some(&table)), -10_000);
        assert_eq!(tabledist(5, 10_000, 1, Some(&table)), 5_005);
        // (1808 x 1 + 4096) / 8192 = 0, and 1 from the whole part.
        assert_eq!(tabledist(0, 10_000, 2, Some(&table)), 1);
        assert_eq!(tabledist(0, 10_000, 3, Some(&table)), -10_000);
        assert_eq!(tabledist(7, 10_000, 3, Some(&[])), 3 - 10_000 + 7);
    }

    #[test]
    fn a_gap_lets_packets_jump_only_in_its_turn() {
        let mut gap = Gap::new(3, Probability::ONE);
        let mut walk = Crandom::new(Probability::ZERO, 0);
        let jumps: Vec<bool> = (0..9).map(|_| gap.jumps(&mut walk, 5)).collect();
        assert_eq!(jumps, [false, false, true, false, false, true, false, false, true]);
        let mut never = Gap::new(0, Probability::ONE);
        assert!((0..9).all(|_| !never.jumps(&mut walk, 5)));
    }

    #[test]
    fn the_four_states_follow_their_transitions() {
        let mut chain =
            FourState::new(percent(10.0), percent(30.0), percent(20.0), percent(40.0), percent(5.0));
        let at = |p: f64| share(percent(p));
        let steps = [
            (at(5.0) - 1, true, 4),
            (0, false, 1),
            (at(15.0) - 2, true, 3),
            (at(60.0), true, 3),
            (at(20.0) - 1, false, 2),
            (at(40.0), false, 2),
            (at(40.0) - 1, true, 3),
            (at(50.0) - 2, false, 1),
            (at(20.0), false, 1),
        ];
        for (number, is_lost, state) in steps {
            assert_eq!((chain.next(number), chain.state()), (is_lost, state), "{number}");
        }
    }

    #[test]
    fn gilbert_elliott_decides_by_the_old_state() {
        let mut chain = GilbertElliott::new(percent(10.0), percent(30.0), percent(80.0), Probability::ZERO);
        assert!(!chain.next(0, 0), "good loses nothing");
        assert!(chain.is_bad());
        assert!(chain.next(u32::MAX, share(percent(20.0)) + 1));
        assert!(!chain.next(0, share(percent(20.0)) - 1), "a fifth survives the bad state");
        assert!(!chain.is_bad());
    }

    #[test]
    fn the_tables_have_the_faults_that_were_measured() {
        let moments = |table: Vec<i16>| {
            let count = table.len() as f64;
            let value = |&entry: &i16| f64::from(entry) / 8192.0;
            let mean = table.iter().map(value).sum::<f64>() / count;
            let variance = table.iter().map(|entry| (value(entry) - mean).powi(2)).sum::<f64>() / count;
            (mean, variance.sqrt())
        };
        for (table, mean, deviation) in
            [(pareto_table(), -0.034, 0.820), (pareto_normal_table(), -0.025, 0.834)]
        {
            let found = moments(table);
            assert!((found.0 - mean).abs() < 0.001 && (found.1 - deviation).abs() < 0.001, "{found:?}");
        }
        let normal = normal_table();
        assert_eq!((normal[0], normal[4095]), (-32_768, 28_858));
        assert_eq!(pareto_table()[..4], [-5461, -5460, -5460, -5459]);
    }

    /// The files come with iproute2; where they are missing there is nothing to compare with.
    #[test]
    fn the_tables_are_those_that_tc_installs() {
        for (name, table) in
            [("normal", normal_table()), ("pareto", pareto_table()), ("paretonormal", pareto_normal_table())]
        {
            let directories =
                ["/usr/lib/x86_64-linux-gnu/tc", "/usr/lib/tc", "/usr/lib64/tc", "/usr/share/tc"];
            let found = directories
                .iter()
                .find_map(|directory| std::fs::read_to_string(format!("{directory}/{name}.dist")).ok());
            let Some(text) = found else {
                eprintln!("skipped: {name}.dist is not installed; iproute2 brings it");
                continue;
            };
            let theirs = crate::profile::DelayTable::parse(name, &text).expect("a table").quantiles;
            let off = table.iter().zip(&theirs).map(|(ours, theirs)| (i32::from(*ours) - theirs).abs());
            // The first of paretonormal is made from a normal deviation that the normal table cuts off.
            let (most, skip) = match name {
                "pareto" => (0, 0),
                "normal" => (1, 0),
                _ => (1, 1),
            };
            assert_eq!(theirs.len(), table.len());
            assert!(off.skip(skip).all(|off| off <= most), "{name}");
        }
    }

    #[test]
    fn the_stationary_law_gives_the_measured_shares() {
        // Measured over 2 x 10^8 draws of the kernel's recurrence.
        for (p, correlation, measured) in
            [(10.0, 25.0, 1.75), (10.0, 50.0, 0.11), (30.0, 25.0, 23.3), (50.0, 25.0, 50.0)]
        {
            let share = true_share(percent(p), percent(correlation)) * 100.0;
            assert!((share - measured).abs() < measured / 100.0 + 0.005, "{p} {correlation}: {share}");
        }
        let rare = true_share(percent(1.0), percent(25.0)) * 100.0;
        assert!((0.0002..0.0003).contains(&rare), "{rare}");
        assert_eq!(true_share(percent(10.0), Probability::ZERO), 0.1);
    }
}
