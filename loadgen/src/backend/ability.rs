//! Which driver can run which scenario: asked before the first cell runs, so that nothing is measured that is not what
//! the file says.

use chat_core::connection::Delivery;
use netem_proxy::profile::{Gate, LinkProfile};
use netem_proxy::stream::StreamProfile;

use super::RunError;
use crate::scenario::{
    Driver, Encryption, LinkConfig, QuicCongestion, Scenario, ServerMode, Transport, WorkloadKind,
};

/// Whether `driver` can run `scenario` at all, so that a sweep is refused before its first cell has run.
///
/// # Errors
/// What `driver` does not have; says what to do.
pub(crate) fn check(scenario: &Scenario, driver: Driver) -> Result<(), RunError> {
    if scenario.transport != Transport::Udp
        && let Some(name) = rebound(scenario)
    {
        return Err(RunError::Setup(format!(
            "link.{name}.event.rebind: only datagrams of ours survive another address, and not {}; remove the key or \
             choose udp",
            scenario.transport.name()
        )));
    }
    let special = scenario.workloads.iter().find(|workload| workload.delivery != Delivery::default());
    if let Some(workload) = special.filter(|_| scenario.transport.is_baseline()) {
        return Err(RunError::Setup(format!(
            "workload.{}.delivery: {} delivers everything, in order; remove the key or choose another transport",
            workload.name,
            scenario.transport.name()
        )));
    }
    if let Some(problem) = beyond_a_relay(scenario).filter(|_| scenario.transport.is_baseline()) {
        return Err(RunError::Setup(problem));
    }
    if scenario.server.mode != ServerMode::InProcess {
        let only = match driver {
            Driver::Virtual => Some("virtual time has only a server of its own; use --driver real"),
            Driver::Real if scenario.transport.is_baseline() => Some("a baseline brings its own relay"),
            Driver::Real => None,
        };
        if let Some(reason) = only {
            return Err(RunError::Setup(format!("server.mode: {reason}; or leave [server] out")));
        }
    }
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
        (_, Driver::Real) if scenario.is_over_kernel_tcp() => {
            match timed(scenario) {
                Some(name) => format!(
                    "link.{name}.event: kernel-tcp has links without events, and so has stream-link = \"packets\"; remove \
                     them or choose another transport"
                ),
                None => return Ok(()),
            }
        }
        (Transport::Tcp, Driver::Virtual) if scenario.is_over_kernel_tcp() => {
            "protocol.stream-link: packets are those of this machine's kernel, which has only the wall clock; use --driver \
             real, or frames"
                .to_owned()
        }
        (Transport::Tls, Driver::Virtual) => {
            "protocol.transport: tls draws its keys from the system's random numbers, so a virtual run would not repeat; \
             use --driver real, or tcp"
                .to_owned()
        }
        (Transport::Udp, Driver::Virtual) if scenario.encryption == Encryption::On => {
            "protocol.encryption: keys come from the system's random numbers, so a virtual run would not repeat; use \
             --driver real, or leave it out"
                .to_owned()
        }
        (Transport::Tls, Driver::Real) => match opaque(scenario) {
            Some(problem) => problem,
            None => return Ok(()),
        },
        _ => return Ok(()),
    };
    Err(RunError::Setup(problem))
}

/// The first link on which addresses change.
fn rebound(scenario: &Scenario) -> Option<&str> {
    let rebinds =
        |profile: &LinkProfile| profile.gates.iter().any(|gate| matches!(gate, Gate::Rebind { .. }));
    let found = scenario.links.iter().find(|(_, link)| rebinds(&link.up) || rebinds(&link.down));
    found.map(|(name, _)| name.as_str())
}

/// What a scenario asks of clients or server that the relay of the baselines has not.
fn beyond_a_relay(scenario: &Scenario) -> Option<String> {
    let transport = scenario.transport.name();
    let hint = "a baseline only hands messages on; choose another transport";
    let kinds = [WorkloadKind::File, WorkloadKind::Churn, WorkloadKind::Presence];
    if let Some(work) = scenario.workloads.iter().find(|work| kinds.contains(&work.kind)) {
        let kind = work.kind.name();
        return Some(format!("workload.{}.kind: {transport} has no {kind}: {hint}", work.name));
    }
    let slow = scenario.clients.iter().find(|group| !group.stall.is_zero())?;
    Some(format!("clients.{}.reader: {transport} has no slow readers: {hint}", slow.name))
}

/// The first link with something that counts from the beginning of the run.
fn timed(scenario: &Scenario) -> Option<&str> {
    let timed = |link: &LinkConfig| link.up.is_timed() || link.down.is_timed();
    scenario.links.iter().find(|(_, link)| timed(link)).map(|(name, _)| name.as_str())
}

/// Why a relay of bytes cannot stand for a link: it sees no frames that it could lose.
fn opaque(scenario: &Scenario) -> Option<String> {
    if let Some(name) = timed(scenario) {
        return Some(format!(
            "link.{name}.event: tls has links without events; remove them or choose another transport"
        ));
    }
    let refused = |(name, link): (&String, &LinkConfig)| {
        let reason =
            [&link.up, &link.down].into_iter().find_map(|way| StreamProfile::new(way.clone()).err())?;
        let hint = "of tls the emulator sees only bytes; keep delay and rate, or choose tcp";
        Some(format!("link.{name}: {reason} ({hint})"))
    };
    scenario.links.iter().find_map(refused)
}
