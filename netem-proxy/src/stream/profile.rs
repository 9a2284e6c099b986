//! What a link can do to a byte stream.
//!
//! A TCP relay ends one connection and begins another, so nothing of the stream may be lost, doubled, changed or
//! reordered: the kernel has already said that it arrived. What is left of a link is time: a rate, delay and jitter in
//! order, and spans in which nothing passes. What a program sees when packets are lost is asked of the other shells.

use std::fmt;
use std::str::FromStr;

use units::{Bitrate, Probability};

use crate::profile::{
    Discipline, Gate, LinkProfile, LossModel, Order, Overhead, QueueLimit, QueueModel, RateModel, Step,
};
use crate::spec::SpecError;

/// One direction of a byte stream; see [`LinkProfile`] for the numbers. The default changes nothing.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct StreamProfile {
    written: LinkProfile,
}

impl StreamProfile {
    /// # Errors
    /// When the link does something that a byte stream cannot survive.
    pub fn new(profile: LinkProfile) -> Result<Self, StreamProfileError> {
        refuse(&profile)?;
        Ok(Self { written: profile })
    }

    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// As it was written.
    #[must_use]
    pub fn written(&self) -> &LinkProfile {
        &self.written
    }

    /// The constant rate, if it has one that connections can share.
    pub(super) fn shareable_rate(&self) -> Result<Option<Bitrate>, StreamProfileError> {
        // A step carries the whole link, so any rate it brings shows there.
        if self.written.schedule.iter().any(|step| step.profile.rate != self.written.rate) {
            return Err(StreamProfileError::RateNotShareable);
        }
        match &self.written.rate {
            None => Ok(None),
            Some(RateModel::Constant { rate, overhead }) if *overhead == Overhead::default() => {
                Ok(Some(*rate))
            }
            Some(_) => Err(StreamProfileError::RateNotShareable),
        }
    }

    /// For a [`crate::link::Link`]: nothing is dropped. The queue is as long as the relay's credit allows, and who
    /// meets a blackout waits.
    pub(super) fn for_link(&self, share: Share) -> LinkProfile {
        for_link(&self.written, share)
    }
}

fn for_link(written: &LinkProfile, share: Share) -> LinkProfile {
    let hold = |gate: &Gate| match gate {
        Gate::Blackout(window) => Gate::Hold(*window),
        other => *other,
    };
    let step = |step: &Step| Step { profile: Box::new(for_link(&step.profile, share)), ..step.clone() };
    LinkProfile {
        queue: QueueModel { limit: QueueLimit::Infinite, ..QueueModel::default() },
        gates: written.gates.iter().map(hold).collect(),
        rate: if share == Share::Rate { None } else { written.rate.clone() },
        schedule: written.schedule.iter().map(step).collect(),
        ..written.clone()
    }
}

/// What the connections of a proxy have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Share {
    /// Each connection has the whole profile to itself.
    #[default]
    Nothing,
    /// One rate for all connections, by direction; delay and jitter are each connection's own.
    Rate,
}

impl FromStr for StreamProfile {
    type Err = StreamProfileError;

    fn from_str(text: &str) -> Result<Self, StreamProfileError> {
        Self::new(text.parse()?)
    }
}

impl fmt::Display for StreamProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.written.fmt(f)
    }
}

/// Why a link cannot carry a byte stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamProfileError {
    #[error(
        "{key}: a TCP relay cannot {what}: the sender's kernel has already seen the bytes arrive; use `frames`, \
         `datagrams` or `run`"
    )]
    NotForStreams { key: &'static str, what: &'static str },
    #[error("queue: a full relay stops reading instead of dropping; leave the queue out")]
    Queue,
    #[error(
        "rate: only a constant rate without overhead or schedule can be shared; write for example rate=10Mbit/s"
    )]
    RateNotShareable,
    #[error(transparent)]
    Spec(#[from] SpecError),
}

fn refuse(profile: &LinkProfile) -> Result<(), StreamProfileError> {
    let is_set = |p: Probability| !p.is_zero();
    let refused = [
        (!matches!(profile.loss, LossModel::None), "loss", "lose"),
        (is_set(profile.duplicate), "duplicate", "duplicate"),
        (is_set(profile.corrupt), "corrupt", "corrupt"),
        (profile.reorder.is_some(), "reorder", "reorder"),
        (profile.order == Order::Allow, "order", "reorder"),
        (profile.mtu.is_some(), "mtu", "limit packets"),
        (profile.compat.is_some(), "compat", "imitate netem"),
        (profile.gates.iter().any(|gate| matches!(gate, Gate::Flap { .. })), "flap", "lose"),
        (profile.gates.iter().any(|gate| matches!(gate, Gate::Rebind { .. })), "rebind", "change addresses"),
    ];
    if let Some((_, key, what)) = refused.into_iter().find(|(is_refused, ..)| *is_refused) {
        return Err(StreamProfileError::NotForStreams { key, what });
    }
    let waits = matches!(profile.queue.limit, QueueLimit::Default | QueueLimit::Infinite);
    if !waits || profile.queue.discipline != Discipline::DropTail {
        return Err(StreamProfileError::Queue);
    }
    profile.schedule.iter().try_for_each(|step| refuse(&step.profile))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_cannot_survive_is_refused_with_another_way() {
        for spec in ["loss=1%", "duplicate=1%", "corrupt=1%", "reorder=1%/8ms", "delay=1ms order=allow"] {
            let error = spec.parse::<StreamProfile>().expect_err("refused").to_string();
            assert!(error.contains("a TCP relay cannot"), "{error}");
            assert!(error.contains("`frames`, `datagrams` or `run`"), "{error}");
        }
        let queue = "rate=1Mbit/s queue=10p".parse::<StreamProfile>().expect_err("refused");
        assert_eq!(queue, StreamProfileError::Queue);
    }

    #[test]
    fn what_a_schedule_brings_is_refused_as_well() {
        let mut profile = LinkProfile::default();
        let lossy: LinkProfile = "loss=1%".parse().expect("a link");
        profile.schedule.push(Step {
            at: std::time::Duration::from_secs(1),
            over: None,
            set: "loss=1%".to_owned(),
            profile: Box::new(lossy),
        });
        assert!(matches!(StreamProfile::new(profile), Err(StreamProfileError::NotForStreams { .. })));
    }

    #[test]
    fn a_rate_that_changes_is_not_shared() {
        for (text, is_refused) in [
            ("rate=1Mbit/s @1s(rate=2Mbit/s)", true),
            ("delay=1ms @1s(rate=2Mbit/s)", true),
            ("rate=1Mbit/s @1s(delay=2ms)", false),
            ("delay=1ms @1s(delay=2ms)", false),
        ] {
            let profile: StreamProfile = text.parse().expect("valid");
            assert_eq!(profile.shareable_rate().is_err(), is_refused, "{text}");
        }
    }

    #[test]
    fn a_blackout_is_a_stall_and_the_queue_never_drops() {
        let text = "delay=50ms jitter=5ms rate=1Mbit/s blackout=1s+2s";
        let profile: StreamProfile = text.parse().expect("valid");
        let link = profile.for_link(Share::Nothing);
        assert!(matches!(link.gates[..], [Gate::Hold(_)]));
        assert_eq!(link.queue.limit, QueueLimit::Infinite);
        assert_eq!(profile.to_string(), text);
        assert_eq!(profile.for_link(Share::Rate).rate, None);
    }
}
