//! The same messages over transports that are not ours, so that one report shows them side by side.
//!
//! What stands in for chat is as small as it can be: a [`Relay`](relay::Relay) that hands each message to those chat would
//! hand it to, and [`record`]s, the least framing that a byte stream needs. So what is measured is the transport, and
//! what it costs is not hidden in an application. Nothing here acknowledges: a transport that tells an application
//! nothing about delivery is not given a message to do so, because that message would cost bytes which it never asked
//! for. A closed loop goes on when the relay has read a message.
//!
//! `record` and `relay` are values only; `quic` wraps `quinn-proto` in the verbs of our own machines. The drivers are
//! [`quic_sim`] in virtual time, and beside the live driver's own stage `kernel` and `quic` on real sockets.

pub(super) mod quic;
pub(super) mod quic_sim;
pub(super) mod record;
pub(super) mod relay;
