//! What the link is at which time: steps and ramps of a profile, counted from the origin.
//!
//! A step is an event at its own time. A ramp is a function of time that is looked at whenever a packet arrives or is
//! taken out of the queue, in steps of [`GRID`]; so nothing has to tick, and nothing depends on when somebody looked.

use std::time::Duration;

use crate::profile::LinkProfile;

/// A value on a ramp holds for so long. A delay that grows by a second within ten moves by 10 µs at a time; finer
/// would mean to set up the link anew for every packet of a fast one.
pub(super) const GRID: Duration = Duration::from_micros(100);

#[derive(Debug)]
pub(super) struct Timeline {
    profile: LinkProfile,
    changes: Vec<Change>,
    /// The first change not made yet.
    next: usize,
    /// The ramp under way, and the place on it that was last asked for.
    ramp: Option<(usize, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    at: Duration,
    step: usize,
    kind: Kind,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Jump,
    RampBegins,
    RampEnds,
}

impl Timeline {
    pub(super) fn new(profile: LinkProfile) -> Self {
        let mut changes = Vec::new();
        for (step, what) in profile.schedule.iter().enumerate() {
            match what.over {
                None => changes.push(Change { at: what.at, step, kind: Kind::Jump }),
                Some(over) => {
                    changes.push(Change { at: what.at, step, kind: Kind::RampBegins });
                    changes.push(Change { at: what.at.saturating_add(over), step, kind: Kind::RampEnds });
                }
            }
        }
        // A valid schedule is in order already.
        changes.sort_by_key(|change| change.at);
        Self { profile, changes, next: 0, ramp: None }
    }

    pub(super) fn profile(&self) -> &LinkProfile {
        &self.profile
    }

    /// Whether nothing changes any more.
    #[inline]
    pub(super) fn is_settled(&self) -> bool {
        self.next == self.changes.len() && self.ramp.is_none()
    }

    #[inline]
    pub(super) fn next_change(&self) -> Option<Duration> {
        self.changes.get(self.next).map(|change| change.at)
    }

    /// Makes the next change; what the link is from then on.
    pub(super) fn make_change(&mut self) -> Option<LinkProfile> {
        let change = *self.changes.get(self.next)?;
        self.next += 1;
        self.ramp = None;
        match change.kind {
            Kind::Jump | Kind::RampEnds => Some((*self.profile.schedule[change.step].profile).clone()),
            Kind::RampBegins => {
                self.ramp = Some((change.step, 0));
                Some(self.on_ramp(change.step, 0))
            }
        }
    }

    /// What the link is on a ramp at `elapsed`, if that is another place than the last one asked for.
    pub(super) fn move_on_ramp(&mut self, elapsed: Duration) -> Option<LinkProfile> {
        let (step, last) = self.ramp?;
        let since = elapsed.saturating_sub(self.profile.schedule[step].at);
        let place = u64::try_from(since.as_nanos() / GRID.as_nanos()).unwrap_or(u64::MAX);
        if place == last {
            return None;
        }
        self.ramp = Some((step, place));
        Some(self.on_ramp(step, place))
    }

    fn on_ramp(&self, step: usize, place: u64) -> LinkProfile {
        let schedule = &self.profile.schedule;
        let from = step.checked_sub(1).map_or(&self.profile, |before| &*schedule[before].profile);
        let passed = GRID.saturating_mul(u32::try_from(place).unwrap_or(u32::MAX));
        let over = schedule[step].over.unwrap_or_default();
        LinkProfile::between(from, &schedule[step].profile, passed, over)
    }
}
