//! Proportional integral controller, enhanced: drops on arrival with a chance that follows the delay (RFC 8033).
//!
//! <https://www.rfc-editor.org/rfc/rfc8033#section-4>, with the delay estimate by timestamps (section 5.3's
//! alternative to measuring the departure rate), the cap on the growth of the chance and the de-randomisation of
//! sections 5.4 and 5.5, and marking below a chance of 10 % (section 5.1). The controller is always on; switching it
//! off in idle times (section 5.2) is left out, since its chance falls to zero by itself. Doubles only meet
//! operations that IEEE 754 rounds exactly, so decisions are the same on every machine.

use units::Timestamp;

use super::line::Waiting;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) target_ns: u64,
    pub(super) update_ns: u64,
    pub(super) max_burst_ns: u64,
}

#[derive(Debug)]
pub(super) struct Pie {
    /// The chance, 0 to 1.
    chance: f64,
    /// Chances added up since the last drop.
    accumulated: f64,
    delay_ns: u64,
    old_delay_ns: u64,
    burst_ns: u64,
    next_update_ns: u64,
}

/// What to do with a packet that arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Early {
    Enqueue,
    Drop,
    /// It would be dropped, but the chance is still low enough to mark it.
    MarkOrDrop,
}

impl Pie {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            chance: 0.0,
            accumulated: 0.0,
            delay_ns: 0,
            old_delay_ns: 0,
            burst_ns: settings.max_burst_ns,
            next_update_ns: 0,
        }
    }

    /// `waiting_bytes` before this packet; `draw` uniform.
    pub(super) fn on_arrival(
        &mut self,
        now: Timestamp,
        settings: Settings,
        waiting_bytes: u64,
        draw: impl FnOnce() -> u64,
    ) -> Early {
        self.catch_up(now, settings);
        if self.burst_ns > 0 || !self.drops_early(settings, waiting_bytes, draw) {
            return Early::Enqueue;
        }
        self.accumulated = 0.0;
        if self.chance < MARKED_BELOW { Early::MarkOrDrop } else { Early::Drop }
    }

    fn drops_early(&mut self, settings: Settings, waiting_bytes: u64, draw: impl FnOnce() -> u64) -> bool {
        let is_short = self.old_delay_ns < settings.target_ns / 2 && self.chance < 0.2;
        if is_short || waiting_bytes <= 2 * MEAN_PACKET {
            return false;
        }
        if self.chance == 0.0 {
            self.accumulated = 0.0;
        }
        self.accumulated += self.chance;
        if self.accumulated < 0.85 {
            return false;
        }
        self.accumulated >= 8.5 || uniform(draw()) < self.chance
    }

    /// The queue was full: a drop like another.
    pub(super) fn on_full(&mut self) {
        self.accumulated = 0.0;
    }

    pub(super) fn on_departure<P>(
        &mut self,
        now: Timestamp,
        settings: Settings,
        departing: &Waiting<P>,
        still_waiting: usize,
    ) {
        self.catch_up(now, settings);
        let sojourn = now.as_nanos().saturating_sub(departing.since.as_nanos());
        self.delay_ns = if still_waiting == 0 { 0 } else { sojourn };
    }

    /// Runs the periodic updates up to `now`, each at its own time: nothing they depend on changed in between.
    fn catch_up(&mut self, now: Timestamp, settings: Settings) {
        let (now, period) = (now.as_nanos(), settings.update_ns.max(1));
        while self.next_update_ns <= now {
            if self.is_at_rest(settings) {
                let periods = (now - self.next_update_ns) / period + 1;
                self.next_update_ns = self.next_update_ns.saturating_add(periods.saturating_mul(period));
                return;
            }
            self.update(settings);
            self.next_update_ns = self.next_update_ns.saturating_add(period);
        }
    }

    /// Whether an update would change nothing.
    fn is_at_rest(&self, settings: Settings) -> bool {
        self.chance == 0.0
            && self.delay_ns == 0
            && self.old_delay_ns == 0
            && self.burst_ns == settings.max_burst_ns
    }

    fn update(&mut self, settings: Settings) {
        let seconds = |from: u64, to: u64| (to as f64 - from as f64) / 1e9;
        let step = ALPHA * seconds(settings.target_ns, self.delay_ns)
            + BETA * seconds(self.old_delay_ns, self.delay_ns);
        let mut step = step / damping(self.chance);
        if self.chance >= 0.1 && step > 0.02 {
            step = 0.02;
        }
        self.chance += step;
        if self.delay_ns == 0 && self.old_delay_ns == 0 {
            self.chance *= 0.98;
        }
        self.chance = self.chance.clamp(0.0, 1.0);

        let half = settings.target_ns / 2;
        self.burst_ns = self.burst_ns.saturating_sub(settings.update_ns);
        if self.chance == 0.0 && self.delay_ns < half && self.old_delay_ns < half {
            self.burst_ns = settings.max_burst_ns;
        }
        self.old_delay_ns = self.delay_ns;
    }
}

/// The smaller the chance, the smaller its steps: RFC 8033 section 4.2.
fn damping(chance: f64) -> f64 {
    match chance {
        c if c < 0.000_001 => 2048.0,
        c if c < 0.000_01 => 512.0,
        c if c < 0.000_1 => 128.0,
        c if c < 0.001 => 32.0,
        c if c < 0.01 => 8.0,
        c if c < 0.1 => 2.0,
        _ => 1.0,
    }
}

/// Uniform on [0, 1): exact in a double.
pub(super) fn uniform(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

/// Per second of deviation from the target: RFC 8033 section 4.2.
const ALPHA: f64 = 0.125;
/// Per second of change.
const BETA: f64 = 1.25;
/// RFC 8033 section 4.1 calls it MEAN_PKTSIZE and takes 1,024 in its example; two of them always pass.
const MEAN_PACKET: u64 = 1024;
/// RFC 8033 section 5.1, `mark_ecnth`.
const MARKED_BELOW: f64 = 0.1;
