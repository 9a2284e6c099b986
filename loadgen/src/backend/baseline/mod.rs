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

use super::RunError;
use crate::scenario::{Driver, QuicCongestion, Scenario, Transport};

/// Whether `driver` can run `scenario` at all, so that a sweep is refused before its first cell has run.
///
/// # Errors
/// A transport that `driver` does not have; says what to do.
pub(crate) fn check(scenario: &Scenario, driver: Driver) -> Result<(), RunError> {
    let problem = match (scenario.transport, driver) {
        (Transport::KernelTcp, Driver::Virtual) => {
            "protocol.transport: kernel-tcp is this machine's kernel, which has only the wall clock; use --driver real"
                .to_owned()
        }
        (Transport::Quic, Driver::Virtual)
            if scenario.baseline.quic_congestion == QuicCongestion::Bbr =>
        {
            "protocol.quic-congestion: quinn's bbr draws from the system's random numbers, so a virtual run would not \
             repeat; use --driver real, or cubic or reno"
                .to_owned()
        }
        (Transport::KernelTcp, Driver::Real) => {
            let timed = |link: &crate::scenario::LinkConfig| link.up.is_timed() || link.down.is_timed();
            match scenario.links.iter().find(|(_, link)| timed(link)) {
                Some((name, _)) => format!(
                    "link.{name}.event: kernel-tcp has links without events; remove them or choose another transport"
                ),
                None => return Ok(()),
            }
        }
        _ => return Ok(()),
    };
    Err(RunError::Setup(problem))
}
