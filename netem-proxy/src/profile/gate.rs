//! Spans in which nothing passes, as values.

use std::time::Duration;

use super::{ProfileError, SHORTEST_PERIOD};

/// Something that stops packets at the entrance. Times count from the link's origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// What arrives is dropped; what is under way still arrives.
    Blackout(Window),
    /// What arrives waits and enters, in order, when the gate opens: a handover that buffers.
    Hold(Window),
    /// Up and down for exponential times of these means, beginning with up at the origin; dropped when down.
    Flap { up: Duration, down: Duration },
    /// The address of each flow changes at this time, and again every `every`: a NAT that forgot it.
    Rebind { at: Duration, every: Option<Duration> },
}

/// From `at` for `duration`; again every `every`, if given. Half-open: closed at its first instant, open at its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Since the link's origin: the beginning of the run, or of the proxy the link belongs to.
    pub at: Duration,
    pub duration: Duration,
    pub every: Option<Duration>,
}

impl Gate {
    pub(super) fn validate(&self) -> Result<(), ProfileError> {
        match self {
            Self::Blackout(window) => window.validate("blackout"),
            Self::Hold(window) => window.validate("hold"),
            Self::Flap { up, down } if *up.min(down) < SHORTEST_PERIOD => Err(ProfileError::ShortTurn),
            Self::Rebind { every: Some(every), .. } if every.is_zero() => {
                Err(ProfileError::RebindWithoutPeriod)
            }
            Self::Flap { .. } | Self::Rebind { .. } => Ok(()),
        }
    }
}

impl Window {
    fn validate(&self, key: &'static str) -> Result<(), ProfileError> {
        if self.duration.is_zero() {
            return Err(ProfileError::EmptyWindow { key });
        }
        match self.every {
            // A gate that is always closed, but for the first time, would hold packets for ever.
            Some(every) if self.duration > every || (key == "hold" && self.duration == every) => {
                Err(ProfileError::WindowAbovePeriod { key, duration: self.duration, every })
            }
            _ => Ok(()),
        }
    }
}
