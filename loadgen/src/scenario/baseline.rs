//! What a scenario may set of the transports that are not ours, for comparison.
//!
//! Keys that another transport would need are read and kept all the same: a sweep over `protocol.transport` sets them
//! once for the cells they concern.

use units::ByteCount;

use super::error::ScenarioError;
use super::read::{Fields, View};

/// Settings of `kernel-tcp` and `quic`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Baseline {
    pub tcp_congestion: TcpCongestion,
    pub mtu: Mtu,
    pub quic_congestion: QuicCongestion,
    pub quic_streams: QuicStreams,
}

/// Congestion control of the kernel's connections (`TCP_CONGESTION`, tcp(7)). Always set, at both ends: the default of
/// a machine may be any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum TcpCongestion {
    Reno,
    /// What most kernels begin with.
    #[default]
    Cubic,
    Bbr,
}

/// Largest IP packet on the emulated link of `kernel-tcp`, in bytes. With 1,252 a segment carries 1,200 bytes of payload
/// beside headers and time stamps, as much as a datagram of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mtu(pub u32);

/// Congestion control of `quinn-proto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QuicCongestion {
    Reno,
    /// Quinn's own default.
    #[default]
    Cubic,
    Bbr,
}

/// How messages share the streams of a QUIC connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum QuicStreams {
    /// All on one: in order, and one that is late holds up those behind it.
    #[default]
    One,
    /// Each on a stream of its own: no order, and none waits for another.
    Message,
}

impl TcpCongestion {
    /// As the kernel calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        word(TCP_CONGESTION, self)
    }
}

impl QuicCongestion {
    #[must_use]
    pub fn name(self) -> &'static str {
        word(QUIC_CONGESTION, self)
    }
}

impl QuicStreams {
    #[must_use]
    pub fn name(self) -> &'static str {
        word(QUIC_STREAMS, self)
    }
}

impl Default for Mtu {
    fn default() -> Self {
        Self(1500)
    }
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Baseline, ScenarioError> {
    let base = Baseline::default();
    Ok(Baseline {
        tcp_congestion: fields
            .or("tcp-congestion", base.tcp_congestion, |view| view.choice(TCP_CONGESTION))?,
        mtu: fields.or("mtu", base.mtu, mtu)?,
        quic_congestion: fields
            .or("quic-congestion", base.quic_congestion, |view| view.choice(QUIC_CONGESTION))?,
        quic_streams: fields.or("quic-streams", base.quic_streams, |view| view.choice(QUIC_STREAMS))?,
    })
}

/// The same, written out.
pub(super) fn decided(baseline: &Baseline) -> String {
    let Baseline { tcp_congestion, mtu, quic_congestion, quic_streams } = baseline;
    format!(
        "tcp-congestion = \"{}\"\nmtu = \"{}\"\nquic-congestion = \"{}\"\nquic-streams = \"{}\"\n",
        tcp_congestion.name(),
        ByteCount(mtu.0.into()),
        quic_congestion.name(),
        quic_streams.name()
    )
}

fn mtu(view: &View<'_>) -> Result<Mtu, ScenarioError> {
    let mtu = view.bytes()?;
    match u32::try_from(mtu.as_u64()) {
        Ok(bytes) if (MIN_MTU..=MAX_MTU).contains(&bytes) => Ok(Mtu(bytes)),
        _ => Err(view.error(format!(
            "{mtu} is out of range; write {} to {}",
            ByteCount(MIN_MTU.into()),
            ByteCount(MAX_MTU.into())
        ))),
    }
}

fn word<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    words.iter().find(|(_, known)| *known == value).map_or("", |(word, _)| word)
}

const TCP_CONGESTION: &[(&str, TcpCongestion)] =
    &[("reno", TcpCongestion::Reno), ("cubic", TcpCongestion::Cubic), ("bbr", TcpCongestion::Bbr)];
const QUIC_CONGESTION: &[(&str, QuicCongestion)] =
    &[("reno", QuicCongestion::Reno), ("cubic", QuicCongestion::Cubic), ("bbr", QuicCongestion::Bbr)];
const QUIC_STREAMS: &[(&str, QuicStreams)] = &[("one", QuicStreams::One), ("message", QuicStreams::Message)];

/// What every IPv4 host has to take (RFC 791 section 3.2).
const MIN_MTU: u32 = 576;
/// The length field of IPv4 ends here.
const MAX_MTU: u32 = 65_535;
