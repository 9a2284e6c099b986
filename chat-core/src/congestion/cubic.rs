//! CUBIC's congestion avoidance (RFC 9438): growth by a cubic function of the time since the last reduction.
//!
//! The window rises fast towards where the last loss found it, lingers there, and then probes further, whatever the RTT
//! is. Where Reno would do better, it does as Reno does (section 4.3).
//!
//! All of it is integer arithmetic, so that a trace is the same on every machine: time is in microseconds, windows are in
//! bytes with the remainder of each division carried on, and the factors of the RFC are fractions (alpha is 9/17 exactly).
//! The time of the curve does not run while the window is not used (section 4.2), so that a pause earns nothing.

use std::time::Duration;

use units::Timestamp;

use super::avoidance::{Avoidance, AvoidanceAck, Ratio};

#[derive(Clone, Debug)]
pub struct Cubic {
    fast_convergence: bool,
    /// Where the curve is flat: the window at the last reduction, or a little less (section 4.7).
    w_max: u64,
    /// Window at the last reduction, `cwnd_prior`; 0 before one.
    prior: u64,
    /// The stage began without a reduction to climb back from: after a timeout (section 4.8), or after HyStart++.
    starts_flat: bool,
    epoch: Option<Epoch>,
}

/// One stage of congestion avoidance.
#[derive(Clone, Debug)]
struct Epoch {
    /// Window at which the curve is flat, and when it gets there, counted from the beginning.
    origin: u64,
    k_us: i64,
    /// How long the window was used since the beginning, and until when that was counted.
    elapsed: Duration,
    counted_to: Timestamp,
    /// What Reno would have by now.
    w_est: u64,
    /// What the divisions of the two growths have left over.
    w_est_rest: u64,
    rest: u64,
}

impl Cubic {
    /// `fast_convergence`: whether a falling maximum makes room at once (section 4.7).
    #[must_use]
    pub fn new(fast_convergence: bool) -> Self {
        Self { fast_convergence, w_max: 0, prior: 0, starts_flat: true, epoch: None }
    }

    /// The stage that the first ack after slow start or recovery begins (section 4.2).
    fn begin(&mut self, ack: &AvoidanceAck) -> Epoch {
        // cwnd_epoch is what the window is now, not what the reduction meant it to be.
        let climb = if self.starts_flat { 0 } else { self.w_max.saturating_sub(ack.cwnd) };
        let origin = if climb == 0 { ack.cwnd } else { self.w_max };
        if self.starts_flat && self.prior == 0 {
            self.prior = ack.cwnd;
        }
        Epoch {
            origin,
            k_us: time_to_climb_us(climb, ack.mss),
            elapsed: Duration::ZERO,
            counted_to: ack.now,
            w_est: ack.cwnd,
            w_est_rest: 0,
            rest: 0,
        }
    }
}

impl Epoch {
    /// W_cubic at `at` after the beginning, in bytes (equation 1).
    fn window_at(&self, at: Duration, mss: u64) -> u64 {
        let at_us = i64::try_from(at.as_micros()).unwrap_or(i64::MAX);
        let window = i128::from(self.origin) + cubic_bytes(at_us.saturating_sub(self.k_us), mss);
        u64::try_from(window.max(0)).unwrap_or(u64::MAX)
    }

    /// Section 4.3: one ack more of what Reno with CUBIC's reduction would do.
    fn grow_estimate(&mut self, bytes: u64, cwnd: u64, mss: u64, prior: u64) {
        // Having caught up with the window of the last reduction, it adds as much as Reno does.
        let alpha = if self.w_est < prior { ALPHA } else { Ratio::new(1, 1) };
        let unit = u128::from(alpha.denominator) * u128::from(cwnd);
        // The remainder is kept in 17ths, whichever alpha is in use.
        let scale = ALPHA.denominator / alpha.denominator;
        let grown = u128::from(bytes) * u128::from(mss) * u128::from(alpha.numerator * scale)
            + u128::from(self.w_est_rest);
        let unit = unit * u128::from(scale);
        self.w_est = self.w_est.saturating_add(u64::try_from(grown / unit).unwrap_or(u64::MAX));
        self.w_est_rest = u64::try_from(grown % unit).unwrap_or(0);
    }

    /// Sections 4.4 and 4.5: `(target - cwnd) / cwnd` for each segment acknowledged.
    fn grow_towards(&mut self, target: u64, cwnd: u64, bytes: u64) -> u64 {
        let target = target.clamp(cwnd, cwnd.saturating_add(cwnd / 2));
        let grown = u128::from(target - cwnd) * u128::from(bytes) + u128::from(self.rest);
        self.rest = u64::try_from(grown % u128::from(cwnd)).unwrap_or(0);
        cwnd.saturating_add(u64::try_from(grown / u128::from(cwnd)).unwrap_or(u64::MAX))
    }
}

impl Avoidance for Cubic {
    const ON_LOSS: Ratio = Ratio::new(7, 10);
    const ON_MARK: Ratio = Ratio::new(17, 20);

    fn on_reduction(&mut self, cwnd: u64, _mss: u64) {
        self.w_max =
            if self.fast_convergence && cwnd < self.w_max { FAST_CONVERGENCE.of(cwnd) } else { cwnd };
        self.prior = cwnd;
        self.starts_flat = false;
        self.epoch = None;
    }

    fn on_timeout(&mut self, cwnd: u64) {
        self.on_reduction(cwnd, 0);
        self.starts_flat = true;
    }

    fn on_slow_start_over(&mut self, cwnd: u64) {
        self.prior = cwnd;
        self.starts_flat = true;
        self.epoch = None;
    }

    fn on_ack(&mut self, ack: &AvoidanceAck) -> u64 {
        let (mut cwnd, mss) = (ack.cwnd.max(1), ack.mss.max(1));
        let mut epoch = match self.epoch.take() {
            Some(epoch) => epoch,
            None => self.begin(ack),
        };
        epoch.elapsed = epoch.elapsed.saturating_add(ack.now.since(epoch.counted_to));
        epoch.counted_to = epoch.counted_to.max(ack.now);
        let ahead = epoch.elapsed.saturating_add(ack.rtt.smoothed.unwrap_or_default());
        let (now, target) = (epoch.window_at(epoch.elapsed, mss), epoch.window_at(ahead, mss));
        // A stretched ack counts as the acks that it stands for.
        let mut left = ack.bytes;
        while left > 0 {
            let bytes = left.min(mss);
            left -= bytes;
            epoch.grow_estimate(bytes, cwnd, mss, self.prior);
            cwnd = epoch.grow_towards(target, cwnd, bytes);
            if now < epoch.w_est {
                // Section 4.3 has W_est alone here. Where the acks of a round come all at once, time stands still at the
                // beginning of the curve and that would lose the round, so we take the larger.
                cwnd = cwnd.max(epoch.w_est);
            }
        }
        self.epoch = Some(epoch);
        cwnd
    }

    fn on_unused(&mut self, now: Timestamp) {
        if let Some(epoch) = &mut self.epoch {
            epoch.counted_to = epoch.counted_to.max(now);
        }
    }

    fn reset(&mut self) {
        *self = Self::new(self.fast_convergence);
    }
}

/// C * t^3 for C = 0.4 segments per cubic second, in bytes.
fn cubic_bytes(t_us: i64, mss: u64) -> i128 {
    let t = i128::from(t_us.clamp(-MAX_TIME_US, MAX_TIME_US));
    t * t * t * i128::from(mss) * i128::from(C.numerator) / (i128::from(C.denominator) * CUBIC_US)
}

/// K: how long the curve takes to climb `bytes`, in microseconds (equation 2).
fn time_to_climb_us(bytes: u64, mss: u64) -> i64 {
    let cubed =
        u128::from(bytes).saturating_mul(u128::from(C.denominator)).saturating_mul(CUBIC_US.unsigned_abs())
            / (u128::from(C.numerator) * u128::from(mss.max(1)));
    i64::try_from(cube_root(cubed)).unwrap_or(i64::MAX)
}

/// The largest integer whose cube is at most `value`, one bit at a time from the top.
fn cube_root(value: u128) -> u64 {
    let mut root: u128 = 0;
    for bit in (0..=MAX_ROOT_BIT).rev() {
        let candidate = root | 1 << bit;
        if candidate * candidate * candidate <= value {
            root = candidate;
        }
    }
    u64::try_from(root).expect("it has at most 42 bits")
}

/// Section 5: 0.4, fair to Reno where it matters and still scalable.
const C: Ratio = Ratio::new(4, 10);
/// Section 4.3: 3 * (1 - beta) / (1 + beta) with beta = 0.7.
const ALPHA: Ratio = Ratio::new(9, 17);
/// Section 4.7: (1 + beta) / 2.
const FAST_CONVERGENCE: Ratio = Ratio::new(17, 20);
/// Cubic microseconds in a cubic second.
const CUBIC_US: i128 = 1_000_000_000_000_000_000;
/// 10,000 s: by then the curve has passed any window, and its cube still fits.
const MAX_TIME_US: i64 = 10_000_000_000;
/// The cube of a number of 42 bits fits into 126.
const MAX_ROOT_BIT: u32 = 41;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::congestion::RttView;

    const MSS: u64 = 1200;

    fn ack(now: Timestamp, cwnd: u64) -> AvoidanceAck {
        let rtt = RttView { smoothed: Some(Duration::from_millis(100)), ..RttView::default() };
        AvoidanceAck { now, bytes: MSS, cwnd, mss: MSS, rtt }
    }

    /// Acks of one round trip, spread over it.
    fn round(cubic: &mut Cubic, now: &mut Timestamp, mut cwnd: u64) -> u64 {
        let acks = cwnd / MSS;
        for _ in 0..acks {
            *now += Duration::from_millis(100) / u32::try_from(acks).unwrap();
            cwnd = cubic.on_ack(&ack(*now, cwnd));
        }
        cwnd
    }

    proptest! {
        #[test]
        fn the_cube_root_is_the_integer_below(value in any::<u128>()) {
            let value = value >> 2;
            let root = u128::from(cube_root(value));
            prop_assert!(root.pow(3) <= value);
            prop_assert!((root + 1).pow(3) > value);
        }

        #[test]
        fn the_curve_is_that_of_the_formula(t_us in -1_000_000_000_i64..1_000_000_000, mss in 100_u64..65_536) {
            let seconds = t_us as f64 / 1e6;
            let exact = 0.4 * seconds.powi(3) * mss as f64;
            // One byte of rounding, and what the f64 itself loses.
            prop_assert!((cubic_bytes(t_us, mss) as f64 - exact).abs() <= 1.0 + exact.abs() * 1e-12);
        }

        #[test]
        fn the_climb_takes_as_long_as_the_formula_says(bytes in 0_u64..1 << 40, mss in 100_u64..65_536) {
            let exact = (bytes as f64 / mss as f64 / 0.4).cbrt() * 1e6;
            prop_assert!((time_to_climb_us(bytes, mss) as f64 - exact).abs() <= 1.0 + exact * 1e-12);
        }
    }

    #[test]
    fn the_climb_is_counted_from_the_window_it_begins_with() {
        // Fast convergence: W_max is 0.85 * 2291, and K the time from 0.7 * 2291 to there, not from 0.7 * W_max.
        let mut cubic = Cubic::new(true);
        cubic.on_reduction(2560 * MSS, MSS);
        cubic.on_reduction(2291 * MSS, MSS);
        let cwnd = Cubic::ON_LOSS.of(2291 * MSS);
        cubic.on_ack(&ack(Timestamp::ZERO, cwnd));
        let epoch = cubic.epoch.expect("an ack began it");
        let (w_max, begin) = (0.85 * 2291.0, 0.7 * 2291.0);
        assert!((epoch.origin as f64 / MSS as f64 - w_max).abs() < 0.01, "{epoch:?}");
        assert!((epoch.k_us as f64 / 1e6 - ((w_max - begin) / 0.4_f64).cbrt()).abs() < 1e-4, "{epoch:?}");
    }

    #[test]
    fn a_maximum_that_rises_does_not_converge() {
        let mut cubic = Cubic::new(true);
        cubic.on_reduction(100 * MSS, MSS);
        cubic.on_reduction(110 * MSS, MSS);
        assert_eq!(cubic.w_max, 110 * MSS);
        cubic.on_reduction(100 * MSS, MSS);
        assert_eq!(cubic.w_max, 85 * MSS);
        let mut steady = Cubic::new(false);
        steady.on_reduction(110 * MSS, MSS);
        steady.on_reduction(100 * MSS, MSS);
        assert_eq!(steady.w_max, 100 * MSS);
    }

    #[test]
    fn in_a_small_window_it_does_as_reno_and_then_adds_a_segment_a_round() {
        // 20 segments at 10 ms: the curve needs seconds, Reno some twelve rounds at 9/17 segment for 6 segments.
        let mut cubic = Cubic::new(true);
        cubic.on_reduction(20 * MSS, MSS);
        let (mut cwnd, mut now, mut rounds) = (14 * MSS, Timestamp::ZERO, 0);
        let mut round = |cwnd: u64| {
            let mut cwnd = cwnd;
            for _ in 0..cwnd / MSS {
                now += Duration::from_millis(10) / u32::try_from(cwnd / MSS).unwrap();
                let rtt = RttView { smoothed: Some(Duration::from_millis(10)), ..RttView::default() };
                cwnd = cubic.on_ack(&AvoidanceAck { rtt, ..ack(now, cwnd) });
            }
            cwnd
        };
        while cwnd < 20 * MSS {
            cwnd = round(cwnd);
            rounds += 1;
        }
        assert!((11..=13).contains(&rounds), "{rounds}");
        let before = cwnd;
        for _ in 0..5 {
            cwnd = round(cwnd);
        }
        let gained = (cwnd - before) as f64 / MSS as f64;
        assert!((4.5..=5.5).contains(&gained), "alpha is 1 from cwnd_prior on: {gained}");
    }

    #[test]
    fn time_that_is_not_used_moves_nothing() {
        let grown = |pause: u64| {
            let mut cubic = Cubic::new(true);
            cubic.on_reduction(500 * MSS, MSS);
            let (mut cwnd, mut now) = (350 * MSS, Timestamp::ZERO);
            for _ in 0..10 {
                cwnd = round(&mut cubic, &mut now, cwnd);
            }
            now += Duration::from_secs(pause);
            cubic.on_unused(now);
            for _ in 0..10 {
                cwnd = round(&mut cubic, &mut now, cwnd);
            }
            cwnd
        };
        assert_eq!(grown(0), grown(3600));
    }

    #[test]
    fn after_a_timeout_it_starts_flat() {
        let mut cubic = Cubic::new(true);
        cubic.on_timeout(100 * MSS);
        cubic.on_ack(&ack(Timestamp::ZERO, 70 * MSS));
        let epoch = cubic.epoch.clone().expect("an ack began it");
        assert_eq!((epoch.k_us, epoch.origin, epoch.w_est / MSS), (0, 70 * MSS, 70));
        // The next loss is an ordinary one.
        cubic.on_reduction(80 * MSS, MSS);
        cubic.on_ack(&ack(Timestamp::ZERO, 56 * MSS));
        assert!(cubic.epoch.expect("an ack began it").k_us > 0);
    }

    #[test]
    fn one_ack_never_asks_for_more_than_half_again() {
        let mut cubic = Cubic::new(true);
        cubic.on_slow_start_over(10 * MSS);
        cubic.on_ack(&ack(Timestamp::ZERO, 10 * MSS));
        let later = Timestamp::from_secs(1000);
        let cwnd = cubic.on_ack(&ack(later, 10 * MSS));
        // A tenth of a window was acknowledged, so a tenth of the way to 1.5 windows.
        assert_eq!(cwnd, 10 * MSS + MSS / 2);
    }
}
