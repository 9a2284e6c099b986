//! Controlled delay: drops at the head when packets have waited too long for too long (RFC 8289).
//!
//! <https://www.rfc-editor.org/rfc/rfc8289#section-5>. Times are the model's nanoseconds. The control law divides by a
//! square root in doubles; both operations are exactly rounded by IEEE 754, so they are the same on every machine.
//! Marking, which the document leaves open, is Linux': a marked packet goes out and counts as a drop.

use units::Timestamp;

use super::super::event::DropCause;
use super::line::{Line, Verdicts, Waiting};

/// What does not change from packet to packet.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Settings {
    pub(super) target_ns: u64,
    pub(super) interval_ns: u64,
    pub(super) ecn: bool,
}

#[derive(Debug, Default)]
pub(super) struct CoDel {
    /// When it is allowed to drop, if the wait stays above the target until then.
    first_above: Option<u64>,
    drop_next: u64,
    count: u32,
    last_count: u32,
    is_dropping: bool,
    /// The largest packet seen; a queue of not more than that is left alone.
    max_packet: u64,
}

impl CoDel {
    pub(super) fn on_enqueue(&mut self, bytes: u64) {
        self.max_packet = self.max_packet.max(bytes);
    }

    pub(super) fn dequeue<P>(
        &mut self,
        now: Timestamp,
        settings: Settings,
        line: &mut Line<P>,
        verdicts: &mut Verdicts<P>,
    ) -> Option<Waiting<P>> {
        let (mut first, mut may_drop) = self.take(now, settings, line);
        if self.is_dropping {
            if !may_drop {
                self.is_dropping = false;
            }
            while self.is_dropping && now.as_nanos() >= self.drop_next {
                let Some(mut victim) = first else { break };
                self.count = self.count.saturating_add(1);
                if verdicts.mark(settings.ecn, &mut victim.parcel) {
                    self.drop_next = control_law(self.drop_next, settings, self.count);
                    return Some(victim);
                }
                verdicts.drop(now, DropCause::CoDel, victim.parcel);
                (first, may_drop) = self.take(now, settings, line);
                if may_drop {
                    self.drop_next = control_law(self.drop_next, settings, self.count);
                } else {
                    self.is_dropping = false;
                }
            }
        } else if may_drop && let Some(mut victim) = first {
            if verdicts.mark(settings.ecn, &mut victim.parcel) {
                first = Some(victim);
            } else {
                verdicts.drop(now, DropCause::CoDel, victim.parcel);
                (first, _) = self.take(now, settings, line);
            }
            self.enter(now.as_nanos(), settings);
        }
        first
    }

    /// Begins to drop, at the pace of the last time if that was not long ago.
    fn enter(&mut self, now: u64, settings: Settings) {
        self.is_dropping = true;
        let delta = self.count.wrapping_sub(self.last_count);
        let was_recent =
            now < self.drop_next.saturating_add(settings.interval_ns.saturating_mul(RECENT_INTERVALS));
        self.count = if delta > 1 && was_recent { delta } else { 1 };
        self.drop_next = control_law(now, settings, self.count);
        self.last_count = self.count;
    }

    /// The next packet, and whether it waited too long.
    fn take<P>(
        &mut self,
        now: Timestamp,
        settings: Settings,
        line: &mut Line<P>,
    ) -> (Option<Waiting<P>>, bool) {
        let Some(first) = line.pop() else {
            self.first_above = None;
            return (None, false);
        };
        let now = now.as_nanos();
        let sojourn = now.saturating_sub(first.since.as_nanos());
        if sojourn < settings.target_ns || line.bytes() <= self.max_packet.max(SMALLEST_MAX_PACKET) {
            self.first_above = None;
            return (Some(first), false);
        }
        let allowed_from = *self.first_above.get_or_insert(now.saturating_add(settings.interval_ns));
        // In the call that set it this is false, unless the interval is zero.
        (Some(first), now >= allowed_from && settings.interval_ns > 0)
    }
}

fn control_law(from: u64, settings: Settings, count: u32) -> u64 {
    from.saturating_add((settings.interval_ns as f64 / f64::from(count).sqrt()) as u64)
}

/// RFC 8289 section 5.5 starts from this until larger packets are seen.
const SMALLEST_MAX_PACKET: u64 = 512;

/// How long ago, in intervals, dropping may have ended for its pace to be kept; RFC 8289 section 5.6.
const RECENT_INTERVALS: u64 = 16;
