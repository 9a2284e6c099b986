//! Laws of latency by their tails, and the quantiles that follow.

/// Share of samples above a value, both in microseconds.
pub(crate) type Later<'a> = &'a dyn Fn(f64) -> f64;

/// The value that a share 1 − q is above; `later` must fall from 1 to 0 within ten minutes.
pub(crate) fn quantile(later: Later<'_>, q: f64) -> f64 {
    let (mut low, mut high) = (0.0, 600e6);
    for _ in 0..80 {
        let middle = f64::midpoint(low, high);
        if later(middle) > 1.0 - q { low = middle } else { high = middle }
    }
    low
}

/// Of a run in which everything is stopped for `share` of the time and goes on after `stall_us`: who comes within the stall,
/// anywhere in it alike, waits for its end and then as long as anybody (`later`).
pub(crate) fn stalled(later: Later<'_>, share: f64, stall_us: f64, x: f64) -> f64 {
    let steps = 2_000;
    let within: f64 = (0..steps).map(|k| later(x - stall_us * (f64::from(k) + 0.5) / f64::from(steps))).sum();
    (1.0 - share) * later(x) + share * within / f64::from(steps)
}

/// Two delays, each even over `base` ± `half`, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TwoUniforms {
    pub(crate) base_us: f64,
    pub(crate) half_us: f64,
}

impl TwoUniforms {
    /// In units of the width of one of them, from the least possible sum: 0 to 2.
    fn place(self, x: f64) -> f64 {
        ((x - 2.0 * (self.base_us - self.half_us)) / (2.0 * self.half_us)).clamp(0.0, 2.0)
    }

    /// The sum has a triangle for a density.
    pub(crate) fn later(self, x: f64) -> f64 {
        let at = self.place(x);
        if at < 1.0 { 1.0 - at * at / 2.0 } else { (2.0 - at).powi(2) / 2.0 }
    }

    /// The first delay is shared by `n` recipients, the second is each one's own: the last of them. Integrated over the first,
    /// the n-th power of the second's law is xⁿ⁺¹ / (n + 1) up to one width, and from there on (x − 1) + (1 − (x − 1)ⁿ⁺¹) / (n + 1).
    pub(crate) fn last_later(self, n: i32, x: f64) -> f64 {
        let (at, more) = (self.place(x), n + 1);
        let done = if at < 1.0 {
            at.powi(more) / f64::from(more)
        } else {
            (at - 1.0) + (1.0 - (at - 1.0).powi(more)) / f64::from(more)
        };
        1.0 - done
    }
}

#[test]
fn the_laws_are_laws() {
    let sum = TwoUniforms { base_us: 60e3, half_us: 40e3 };
    assert!((quantile(&|x| sum.later(x), 0.5) - 120e3).abs() < 1.0);
    // 200 ms less √(2 · 0.01) of a width of 80.
    assert!((quantile(&|x| sum.later(x), 0.99) - (200e3 - 0.02_f64.sqrt() * 80e3)).abs() < 1.0);
    assert!((sum.last_later(1, 150e3) - sum.later(150e3)).abs() < 1e-12, "the last of one is that one");
    assert!(sum.last_later(10, 150e3) > sum.later(150e3));
    // A twentieth waits for 0 to 2 s, and on the mean 120 ms more: the slowest fifth of it from 1.72 s on.
    let p99 = quantile(&|x| stalled(&|x| sum.later(x), 0.05, 2e6, x), 0.99);
    assert!((p99 - 1.72e6).abs() < 1e3, "{p99}");
}
