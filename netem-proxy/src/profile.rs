//! What one direction of a link does to packets.
//!
//! A [`LinkProfile`] is checked when it is made, so the link never has to doubt it. It describes *one* direction; a
//! two-way path has two of them. Profiles are plain values: scenario files, command lines and the admin port all
//! build the same one.

use std::time::Duration;

use units::{Bitrate, ByteCount, Probability};

/// One direction of a link. The default changes nothing: no loss, no delay, no limit.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct LinkProfile {
    pub loss: LossModel,
    /// Chance that a packet that survived loss is carried twice.
    pub duplicate: Probability,
    /// Chance that one bit of a packet is flipped.
    pub corrupt: Probability,
    /// Serialisation rate of the bottleneck; `None` is infinitely fast.
    pub rate: Option<Bitrate>,
    /// What waits before the bottleneck. Without a rate nothing ever waits.
    pub queue: QueueLimit,
    pub delay: DelayModel,
    /// Whether jitter may let packets overtake each other.
    pub order: Order,
    /// Holds some packets back on purpose so that later ones overtake them.
    pub reorder: Option<Reorder>,
    /// Spans in which nothing passes.
    pub blackouts: Vec<Blackout>,
}

/// Which packets disappear before the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub enum LossModel {
    #[default]
    None,
    /// Each packet is lost independently.
    Bernoulli { p: Probability },
    /// Two states, good and bad; `p` is the chance to turn bad after a packet, `r` to turn good again.
    /// Mean loss is `loss_bad * p/(p+r) + loss_good * r/(p+r)`; the mean stay in bad is `1/r` packets.
    GilbertElliott { p: Probability, r: Probability, loss_bad: Probability, loss_good: Probability },
    /// Every `n`-th packet is lost: the textbook's periodic loss. `n` is at least 1.
    EveryNth { n: u64 },
}

/// How long a packet is under way after it left the bottleneck.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum DelayModel {
    Constant(Duration),
    /// Uniform on `base - jitter ..= base + jitter`; `jitter <= base`.
    Uniform {
        base: Duration,
        jitter: Duration,
    },
    /// Normal with mean `base` and standard deviation `jitter`, cut at zero.
    Normal {
        base: Duration,
        jitter: Duration,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QueueLimit {
    /// 1000 packets, as Linux' netem: large enough for 100 Mbit/s x 100 ms, small enough to see.
    #[default]
    Default,
    Infinite,
    Packets(u64),
    Bytes(ByteCount),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// A packet never leaves before one that arrived earlier; jitter turns into waiting.
    #[default]
    Fifo,
    /// Each packet takes its own delay, so jitter reorders (what netem does).
    Allow,
}

/// With chance `p` a packet takes `extra` longer and does not hold up those behind it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reorder {
    pub p: Probability,
    pub extra: Duration,
}

/// From `at` for `duration` every packet that arrives is dropped; again every `every`, if given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blackout {
    /// Since the link began.
    pub at: Duration,
    pub duration: Duration,
    pub every: Option<Duration>,
}

impl Default for DelayModel {
    fn default() -> Self {
        Self::Constant(Duration::ZERO)
    }
}
