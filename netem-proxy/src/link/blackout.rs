//! Spans in which nothing passes: a tunnel, a handover, a pulled cable.
//!
//! Only arrival counts: what was under way when the dark began still arrives, as on a path with buffers behind the
//! break. Spans are half-open, so a packet at the first instant is dropped and one at the last passes.

use std::time::Duration;

use crate::profile::{Gate, Window};

/// Whether a packet that arrives `elapsed` after the link's origin meets a blackout.
pub(super) fn covers(gates: &[Gate], elapsed: Duration) -> bool {
    gates.iter().any(|gate| matches!(gate, Gate::Blackout(window) if covers_one(window, elapsed)))
}

fn covers_one(blackout: &Window, elapsed: Duration) -> bool {
    let Some(since_first) = elapsed.checked_sub(blackout.at) else { return false };
    let since_begin = match blackout.every {
        // A period of zero does not pass validation; read as a single blackout it cannot divide by zero.
        Some(every) if every > Duration::ZERO => {
            Duration::from_nanos_u128(since_first.as_nanos() % every.as_nanos())
        }
        _ => since_first,
    };
    since_begin < blackout.duration
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_first_instant_is_dark_and_the_last_is_not() {
        let once = [Gate::Blackout(Window { at: 20 * MS, duration: 3 * MS, every: None })];
        let nano = Duration::from_nanos(1);
        assert!(!covers(&once, 20 * MS - nano));
        assert!(covers(&once, 20 * MS));
        assert!(covers(&once, 23 * MS - nano));
        assert!(!covers(&once, 23 * MS));
    }

    #[test]
    fn a_period_repeats_for_ever_but_not_before_the_first() {
        let again = [Gate::Blackout(Window { at: 20 * MS, duration: 3 * MS, every: Some(10 * MS) })];
        assert!(!covers(&again, 11 * MS));
        assert!(covers(&again, 32 * MS));
        assert!(!covers(&again, 33 * MS));
        assert!(covers(&again, 100_022 * MS));
    }

    #[test]
    fn any_of_several_is_enough() {
        let two = [
            Gate::Blackout(Window { at: MS, duration: MS, every: None }),
            Gate::Blackout(Window { at: 5 * MS, duration: MS, every: None }),
        ];
        assert!(covers(&two, MS) && covers(&two, 5 * MS) && !covers(&two, 3 * MS));
    }
}
