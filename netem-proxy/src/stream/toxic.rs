//! What can be done to a byte stream, as values.
//!
//! Names, attributes and units are Toxiproxy's (<https://github.com/Shopify/toxiproxy#toxics>), so that its clients can
//! say them; [`super::chain`] does them. Numbers are signed because its JSON allows that; a negative span, rate or count
//! means zero.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rand::Rng as _;
use units::Seed;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Client to upstream.
    Upstream,
    /// Upstream to client.
    Downstream,
}

impl Direction {
    pub const BOTH: [Direction; 2] = [Direction::Upstream, Direction::Downstream];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Downstream => "downstream",
        }
    }

    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Upstream => Self::Downstream,
            Self::Downstream => Self::Upstream,
        }
    }

    pub(super) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One trouble for one direction of a proxy.
#[derive(Clone, Debug, PartialEq)]
pub struct Toxic {
    /// Unique within its proxy, over both directions.
    pub name: String,
    pub stream: Direction,
    /// Chance that a connection is affected, 0 to 1, drawn once for each connection; outside it is cut.
    pub toxicity: f32,
    pub kind: ToxicKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToxicKind {
    /// Each piece is under way for `latency_ms`, more or less by up to `jitter_ms` (uniform). Order is kept.
    Latency { latency_ms: i64, jitter_ms: i64 },
    /// At most so many times 1000 bytes a second; 0 lets nothing pass. `shared`: all connections of the proxy together.
    Bandwidth { rate_kbps: i64, shared: bool },
    /// Delays the end of the stream.
    SlowClose { delay_ms: i64 },
    /// Swallows everything, and closes the connection once nothing has come for so long; 0 is never.
    Timeout { timeout_ms: i64 },
    /// From the first byte or end on holds everything, and resets the connection (RST) so much later.
    ResetPeer { timeout_ms: i64 },
    /// Cuts pieces into slices, `average_size` give or take `size_variation` bytes, and pauses after each.
    Slicer { average_size: i64, size_variation: i64, delay_us: i64 },
    /// Closes the connection after so many bytes.
    LimitData { bytes: i64 },
    /// Changes nothing.
    Noop,
}

impl ToxicKind {
    /// As the HTTP API names it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::SlowClose { .. } => "slow_close",
            Self::Timeout { .. } => "timeout",
            Self::ResetPeer { .. } => "reset_peer",
            Self::Slicer { .. } => "slicer",
            Self::LimitData { .. } => "limit_data",
            Self::Noop => "noop",
        }
    }

    /// With every attribute zero; `None` for a name that is no toxic.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "latency" => Self::Latency { latency_ms: 0, jitter_ms: 0 },
            "bandwidth" => Self::Bandwidth { rate_kbps: 0, shared: false },
            "slow_close" => Self::SlowClose { delay_ms: 0 },
            "timeout" => Self::Timeout { timeout_ms: 0 },
            "reset_peer" => Self::ResetPeer { timeout_ms: 0 },
            "slicer" => Self::Slicer { average_size: 0, size_variation: 0, delay_us: 0 },
            "limit_data" => Self::LimitData { bytes: 0 },
            "noop" => Self::Noop,
            _ => return None,
        })
    }

    /// The attributes by name, in the order of Toxiproxy's documentation. `shared` is 0 or 1.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, i64)> {
        match *self {
            Self::Latency { latency_ms, jitter_ms } => vec![("latency", latency_ms), ("jitter", jitter_ms)],
            Self::Bandwidth { rate_kbps, shared } => {
                vec![("rate", rate_kbps), ("shared", i64::from(shared))]
            }
            Self::SlowClose { delay_ms } => vec![("delay", delay_ms)],
            Self::Timeout { timeout_ms } | Self::ResetPeer { timeout_ms } => vec![("timeout", timeout_ms)],
            Self::Slicer { average_size, size_variation, delay_us } => {
                vec![("average_size", average_size), ("size_variation", size_variation), ("delay", delay_us)]
            }
            Self::LimitData { bytes } => vec![("bytes", bytes)],
            Self::Noop => vec![],
        }
    }

    /// Sets one attribute by its name; `false` if this kind has none of that name.
    pub fn set_attribute(&mut self, attribute: &str, value: i64) -> bool {
        let place = match (self, attribute) {
            (Self::Latency { latency_ms, .. }, "latency") => latency_ms,
            (Self::Latency { jitter_ms, .. }, "jitter") => jitter_ms,
            (Self::Bandwidth { rate_kbps, .. }, "rate") => rate_kbps,
            (Self::Bandwidth { shared, .. }, "shared") => {
                *shared = value != 0;
                return true;
            }
            (Self::SlowClose { delay_ms }, "delay") => delay_ms,
            (Self::Timeout { timeout_ms } | Self::ResetPeer { timeout_ms }, "timeout") => timeout_ms,
            (Self::Slicer { average_size, .. }, "average_size") => average_size,
            (Self::Slicer { size_variation, .. }, "size_variation") => size_variation,
            (Self::Slicer { delay_us, .. }, "delay") => delay_us,
            (Self::LimitData { bytes }, "bytes") => bytes,
            _ => return false,
        };
        *place = value;
        true
    }
}

/// `latency:latency=100,jitter=10@downstream`, with `*0.5` at the end for a toxicity of one half.
///
/// The direction is `downstream` when not written, the name `<type>_<direction>` as in Toxiproxy.
impl FromStr for Toxic {
    type Err = ToxicError;

    fn from_str(text: &str) -> Result<Self, ToxicError> {
        let (rest, toxicity) = match text.rsplit_once('*') {
            Some((rest, number)) => (rest, number.trim().parse().map_err(|_| ToxicError::shape(text))?),
            None => (text, 1.0),
        };
        if !(0.0..=1.0).contains(&toxicity) {
            return Err(ToxicError::Toxicity { toxicity: toxicity.to_string() });
        }
        let (rest, stream) = match rest.rsplit_once('@').map(|(rest, stream)| (rest, stream.trim())) {
            None => (rest, Direction::Downstream),
            Some((rest, "upstream" | "up")) => (rest, Direction::Upstream),
            Some((rest, "downstream" | "down")) => (rest, Direction::Downstream),
            Some(_) => return Err(ToxicError::shape(text)),
        };
        let (kind_name, attributes) = rest.split_once(':').unwrap_or((rest, ""));
        let mut kind = ToxicKind::from_name(kind_name.trim())
            .ok_or_else(|| ToxicError::UnknownKind { kind: kind_name.trim().to_owned() })?;
        for attribute in attributes.split(',').filter(|attribute| !attribute.trim().is_empty()) {
            let (key, value) = attribute.split_once('=').ok_or_else(|| ToxicError::shape(text))?;
            let value = value.trim().parse().map_err(|_| ToxicError::shape(text))?;
            if !kind.set_attribute(key.trim(), value) {
                let known = kind.attributes().iter().map(|&(name, _)| name).collect::<Vec<_>>().join(", ");
                return Err(ToxicError::UnknownAttribute {
                    kind: kind.name(),
                    attribute: key.trim().to_owned(),
                    known,
                });
            }
        }
        Ok(Self { name: format!("{}_{stream}", kind.name()), stream, toxicity, kind })
    }
}

/// Why a text is no toxic, or a toxic cannot be installed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ToxicError {
    #[error(
        "\"{text}\" is not understood; write TYPE[:KEY=NUMBER,…][@upstream|@downstream][*TOXICITY], for example \
         latency:latency=100,jitter=10@downstream*0.5"
    )]
    Shape { text: String },
    #[error(
        "\"{kind}\" is not a toxic; the toxics are latency, bandwidth, slow_close, timeout, reset_peer, slicer, \
         limit_data and noop"
    )]
    UnknownKind { kind: String },
    #[error("{kind} has no attribute \"{attribute}\"; it has: {known}")]
    UnknownAttribute { kind: &'static str, attribute: String, known: String },
    #[error("a toxicity of {toxicity} is not a chance; write 0 to 1")]
    Toxicity { toxicity: String },
    /// The name is taken, in either direction.
    #[error("toxic already exists")]
    Exists,
    #[error("toxic not found")]
    NotFound,
    /// An update may change attributes, not the type.
    #[error("a {old} toxic cannot become a {new} toxic; remove it and add another")]
    KindChanged { old: &'static str, new: &'static str },
    /// [`super::MAX_TOXICS`] was reached.
    #[error("a proxy can have {limit} toxics at most; remove one first")]
    TooMany { limit: usize },
    /// The proxy was closed, or its engine stopped.
    #[error("the proxy is closed")]
    Closed,
    /// A driver did not confirm in time. The change is queued and will still be made.
    #[error("the change is not confirmed yet; the engine is overloaded")]
    Unconfirmed,
}

impl ToxicError {
    fn shape(text: &str) -> Self {
        Self::Shape { text: text.to_owned() }
    }
}

/// The draw that decides whether `toxic` affects a connection: it does if the draw is below the toxicity.
///
/// A function of its arguments alone, so that neighbours never re-roll it and a changed toxicity moves the line, not
/// the draw. `seed` is that of the connection and direction.
pub(super) fn roll(seed: &Seed, toxic: &str) -> f32 {
    const BITS: u32 = 24; // What an f32 holds exactly.
    let draw = seed.fork("toxicity").fork(toxic).rng().next_u64() >> (64 - BITS);
    draw as f32 / (1_u32 << BITS) as f32
}

pub(super) fn millis(number: i64) -> Duration {
    Duration::from_millis(count(number))
}

pub(super) fn micros(number: i64) -> Duration {
    Duration::from_micros(count(number))
}

pub(super) fn count(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_toxic_is_read_from_text() {
        let toxic: Toxic = "latency:latency=100,jitter=10@upstream*0.25".parse().expect("valid");
        assert_eq!(toxic.name, "latency_upstream");
        assert_eq!(toxic.kind, ToxicKind::Latency { latency_ms: 100, jitter_ms: 10 });
        assert_eq!((toxic.stream, toxic.toxicity), (Direction::Upstream, 0.25));
        let plain: Toxic = "noop".parse().expect("valid");
        assert_eq!((plain.stream, plain.toxicity), (Direction::Downstream, 1.0));
    }

    #[test]
    fn a_wrong_text_says_what_to_write() {
        for (text, start) in [
            ("latencx:latency=1", "\"latencx\" is not a toxic; the toxics are"),
            ("latency:delay=1", "latency has no attribute \"delay\"; it has: latency, jitter"),
            ("latency:latency=1@left", "\"latency:latency=1@left\" is not understood; write"),
            ("latency:latency=much", "\"latency:latency=much\" is not understood"),
            ("noop*2", "a toxicity of 2 is not a chance; write 0 to 1"),
        ] {
            let error = text.parse::<Toxic>().expect_err("wrong").to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn every_kind_can_be_named_and_filled_by_attribute() {
        for name in
            ["latency", "bandwidth", "slow_close", "timeout", "reset_peer", "slicer", "limit_data", "noop"]
        {
            let mut kind = ToxicKind::from_name(name).expect("known");
            assert_eq!(kind.name(), name);
            for (attribute, _) in kind.attributes() {
                assert!(kind.set_attribute(attribute, 1));
            }
            assert!(kind.attributes().iter().all(|&(_, value)| value == 1));
        }
    }

    #[test]
    fn rolls_are_uniform_and_repeatable() {
        let seed = Seed::root(1);
        let n = 20_000;
        let below =
            (0..n).filter(|n| roll(&seed.fork(&format!("connection/{n}")), "latency") < 0.3).count() as f64;
        // Five standard deviations of a binomial: sqrt(n p q) = 64.8.
        assert!((below - 6_000.0).abs() < 324.0, "{below}");
        assert_eq!(roll(&seed, "a"), roll(&seed, "a"));
        assert_ne!(roll(&seed, "a"), roll(&seed, "b"));
    }
}
