//! What a scenario may set of our own protocol on a byte stream (`tcp`, `tls`): what its links lose, and what its
//! connections believe of it.
//!
//! Read whatever the transport is, so that a sweep over `protocol.transport` sets them once for the cells they concern.

use super::error::ScenarioError;
use super::read::Fields;

/// Settings of `tcp` and `tls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stream {
    pub link: StreamLink,
    pub hint: StreamHint,
}

/// What a link carries, and so may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StreamLink {
    /// Frames of ours, on streams that are perfect: what a relay does that takes frames apart.
    #[default]
    Frames,
    /// Packets of the kernel's TCP underneath, which repairs what is lost (`netem-proxy run`). Real driver only.
    Packets,
}

/// What a connection takes for granted of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum StreamHint {
    /// That it repairs its own losses.
    #[default]
    Fifo,
    /// Nothing, as of datagrams: what is late is sent again, though the stream does the same. To measure what the hint
    /// is worth.
    Datagram,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Stream, ScenarioError> {
    let base = Stream::default();
    Ok(Stream {
        link: fields.or("stream-link", base.link, |view| view.choice(LINKS))?,
        hint: fields.or("stream-hint", base.hint, |view| view.choice(HINTS))?,
    })
}

/// The same, written out.
pub(super) fn decided(stream: Stream) -> String {
    let link = LINKS.iter().find(|(_, known)| *known == stream.link).map_or("", |(word, _)| word);
    let hint = HINTS.iter().find(|(_, known)| *known == stream.hint).map_or("", |(word, _)| word);
    format!("stream-link = \"{link}\"\nstream-hint = \"{hint}\"\n")
}

const LINKS: &[(&str, StreamLink)] = &[("frames", StreamLink::Frames), ("packets", StreamLink::Packets)];
const HINTS: &[(&str, StreamHint)] = &[("fifo", StreamHint::Fifo), ("datagram", StreamHint::Datagram)];
