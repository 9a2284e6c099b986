//! Two ends with a link between them, and all that belongs to it, made and taken down as one.

use std::fmt;
use std::io;
use std::sync::Arc;

use units::{Clock, Seed};

use super::address::{Addresses, EndAddresses, Reservation};
use super::device::{Device, DeviceConfig, Offload};
use super::forwarder::{DirectionOutcome, Forwarder, ForwarderConfig, Progress};
use super::gather::Unit;
use super::namespace::Namespace;
use super::netlink::DeviceDrops;
use super::privilege::Missing;
use crate::pacer::{Direction, Observer};
use crate::profile::LinkProfile;
use crate::proxy::Scope;
use crate::timing::{Timing, realtime};

/// What a session is to be.
#[derive(Debug)]
pub struct SessionConfig {
    /// From the guest (the left end) to the base (the host, or the right end).
    pub up: LinkProfile,
    pub down: LinkProfile,
    pub seed: Seed,
    pub scope: Scope,
    pub clock: Clock,
    pub timing: Timing,
    /// Whether link threads go before all ordinary ones ([`realtime`]).
    pub is_realtime: bool,
    /// Bytes of an IP packet, 1280 to 65,535: at least what IPv6 asks of every link.
    pub mtu: u32,
    pub offload: Offload,
    pub ends: Ends,
    /// How many sessions this one is inside of, below [`DEPTHS`](super::address::DEPTHS).
    pub depth: u16,
    /// Watches the links, one for each direction.
    pub up_observer: Option<Box<dyn Observer<Unit>>>,
    pub down_observer: Option<Box<dyn Observer<Unit>>>,
}

impl SessionConfig {
    /// A link between a namespace and the host that does nothing yet.
    #[must_use]
    pub fn new(seed: Seed, ends: Ends) -> Self {
        Self {
            up: LinkProfile::default(),
            down: LinkProfile::default(),
            seed,
            scope: Scope::Shared,
            clock: Clock::start(),
            timing: Timing::default(),
            is_realtime: false,
            mtu: 1500,
            offload: Offload::On,
            ends,
            depth: 0,
            up_observer: None,
            down_observer: None,
        }
    }
}

/// What is at the base of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The namespace of the caller.
    Host,
    /// A namespace of its own.
    Isolated,
}

/// A running link between two network stacks.
#[derive(Debug)]
pub struct Session {
    guest: Namespace,
    base: Option<Namespace>,
    guest_device: Arc<Device>,
    base_device: Arc<Device>,
    up: Forwarder,
    down: Forwarder,
    addresses: Addresses,
    has_v6: bool,
    _reservation: Option<Reservation>,
}

/// What happened to the packets.
#[derive(Debug)]
pub struct SessionOutcome {
    pub up: DirectionOutcome,
    pub down: DirectionOutcome,
    /// At the device the guest sends into, and at the one the base sends into.
    pub guest_drops: DeviceDrops,
    pub base_drops: DeviceDrops,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// Something that only a privileged user may do.
    #[error("{0}")]
    Missing(#[from] Missing),
    /// All addresses are taken.
    #[error("{0}")]
    Addresses(io::Error),
    #[error("cannot start the threads of the link: {0}")]
    Threads(io::Error),
}

impl Session {
    /// Makes the namespaces and devices and begins to carry packets.
    ///
    /// # Errors
    /// Mostly a privilege that is missing; the message says which, and what to do.
    pub fn start(config: SessionConfig) -> Result<Self, SessionError> {
        if config.is_realtime {
            realtime::check(config.timing).map_err(SessionError::Threads)?;
        }
        let guest = Namespace::new().map_err(|error| Missing::diagnose(&error, "a network namespace"))?;
        let base = match config.ends {
            Ends::Host => None,
            Ends::Isolated => {
                Some(Namespace::new().map_err(|error| Missing::diagnose(&error, "a network namespace"))?)
            }
        };
        // Namespaces of our own are empty, so only beside the host's addresses something has to be reserved.
        let reservation = match base {
            None => Some(Reservation::take(config.depth).map_err(SessionError::Addresses)?),
            Some(_) => None,
        };
        let addresses = match &reservation {
            Some(reservation) => reservation.addresses,
            None => Addresses::numbered(config.depth, 0)
                .ok_or_else(|| SessionError::Addresses(io::Error::other("nested too deep")))?,
        };
        let device = |local: EndAddresses, peer: EndAddresses, is_default_route| DeviceConfig {
            local,
            peer,
            mtu: config.mtu,
            offload: config.offload,
            is_default_route,
        };
        let for_base = device(addresses.base(), addresses.guest(), false);
        let for_guest = device(addresses.guest(), addresses.base(), base.is_none());
        let base_device = match &base {
            None => Device::open(&for_base),
            Some(namespace) => namespace.run(move || Device::open(&for_base)),
        };
        let guest_device = guest.run(move || Device::open(&for_guest));
        let opened = |device: io::Result<Device>| {
            device.map_err(|error| Missing::diagnose(&error, "a TUN device with an address"))
        };
        let (base_device, guest_device) = (Arc::new(opened(base_device)?), Arc::new(opened(guest_device)?));

        let origin = config.clock.now();
        let forward = |direction, profile: LinkProfile, from: &Arc<Device>, to: &Arc<Device>, observer| {
            Forwarder::start(ForwarderConfig {
                direction,
                profile,
                seed: config.seed,
                scope: config.scope,
                clock: config.clock,
                origin,
                timing: config.timing,
                is_realtime: config.is_realtime,
                from: from.clone(),
                to: to.clone(),
                observer,
            })
            .map_err(SessionError::Threads)
        };
        let up = forward(Direction::Up, config.up, &guest_device, &base_device, config.up_observer)?;
        let down = forward(Direction::Down, config.down, &base_device, &guest_device, config.down_observer)?;
        let has_v6 = guest_device.has_v6() && base_device.has_v6();
        Ok(Self {
            guest,
            base,
            guest_device,
            base_device,
            up,
            down,
            addresses,
            has_v6,
            _reservation: reservation,
        })
    }

    /// Does something in the network of the guest, the left end.
    pub fn in_guest<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        self.guest.run(job)
    }

    /// Does something in the network of the base: the right end, or where the caller is.
    pub fn in_base<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        match &self.base {
            Some(namespace) => namespace.run(job),
            None => job(),
        }
    }

    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Whether IPv6 works at both ends.
    #[must_use]
    pub fn has_v6(&self) -> bool {
        self.has_v6
    }

    /// Of both directions together.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let (up, down) = (self.up.progress(), self.down.progress());
        Progress { is_idle: up.is_idle && down.is_idle, reads: up.reads + down.reads }
    }

    /// Ends it: what is under way is given up, then devices and namespaces go.
    ///
    /// # Errors
    /// When a thread of ours panicked, or a device vanished before it could be asked for its counters.
    pub fn stop(self) -> io::Result<SessionOutcome> {
        let (up, down) = (self.up.stop()?, self.down.stop()?);
        let drops = |device: Arc<Device>| {
            let device = Arc::into_inner(device).ok_or_else(|| io::Error::other("a device is still in use"));
            device.and_then(|mut device| device.drops())
        };
        Ok(SessionOutcome {
            up,
            down,
            guest_drops: drops(self.guest_device)?,
            base_drops: drops(self.base_device)?,
        })
    }
}

impl SessionOutcome {
    /// Packets lost on the way by us or by the kernel's queues, where no link decided it. The harness's own fault.
    #[must_use]
    pub fn lost_by_us(&self) -> u64 {
        self.up.io.io_overrun + self.down.io.io_overrun + self.kernel_drops()
    }

    /// Packets that waited in a device's queue until it was full.
    #[must_use]
    pub fn kernel_drops(&self) -> u64 {
        self.guest_drops.tx + self.base_drops.tx
    }

    /// Why the run does not show what it was meant to; empty if it does.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let early = self.up.lateness.early() + self.down.lateness.early();
        let unsplit = self.up.io.unsplit + self.down.io.unsplit;
        let balances = [self.up.counters, self.down.counters].iter().all(|c| c.balance_holds());
        let mut faults = Vec::new();
        let mut note = |is_so: bool, fault: Fault| faults.extend(is_so.then_some(fault));
        note(self.kernel_drops() > 0, Fault::KernelDrops(self.kernel_drops()));
        let overrun = self.up.io.io_overrun + self.down.io.io_overrun;
        note(overrun > 0, Fault::Overrun(overrun));
        note(early > 0, Fault::Early(early));
        note(unsplit > 0, Fault::Unsplit(unsplit));
        note(!balances, Fault::Unbalanced);
        note(self.up.ended_early || self.down.ended_early, Fault::EndedEarly);
        faults
    }
}

/// A reason not to trust a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Packets the kernel dropped before we could read them.
    KernelDrops(u64),
    /// Packets the kernel would not take from us.
    Overrun(u64),
    /// Packets released before they were due.
    Early(u64),
    /// Superpackets that met one fate as a whole.
    Unsplit(u64),
    /// Packets unaccounted for.
    Unbalanced,
    /// The link stopped before the run did.
    EndedEarly,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KernelDrops(n) => write!(f, "the kernel dropped {n} before they were read (overload)"),
            Self::Overrun(n) => write!(f, "the kernel did not take {n}"),
            Self::Early(n) => write!(f, "{n} left before they were due"),
            Self::Unsplit(n) => write!(f, "{n} superpackets could not be cut"),
            Self::Unbalanced => f.write_str("the counters do not add up"),
            Self::EndedEarly => f.write_str("the link stopped before the run did"),
        }
    }
}
