//! What it takes to make a network, and what to say when it is not there.
//!
//! Three things are needed: to make a network namespace (CAP_SYS_ADMIN), to make and configure a device
//! (CAP_NET_ADMIN, in the namespace where it is made), and to open `/dev/net/tun`. An ordinary user has the first two
//! inside a user namespace of his own, if the system allows these; but only for namespaces that belong to it, so not
//! for one end in the host's network.

use std::fs::OpenOptions;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{Gid, Uid};

use super::device::TUN_NODE;

/// A privilege that is missing, and how to get it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error(
        "/dev/net/tun is not there; load it with \"modprobe tun\", or in a container add --device /dev/net/tun"
    )]
    TunNode,
    #[error(
        "/dev/net/tun may not be opened by this user; use sudo, or chmod 0666 /dev/net/tun (Linux checks CAP_NET_ADMIN besides)"
    )]
    TunPermission,
    #[error(
        "CAP_NET_ADMIN and CAP_SYS_ADMIN are needed to make {0}; use sudo, or in a container add --cap-add NET_ADMIN --cap-add SYS_ADMIN --device /dev/net/tun"
    )]
    Capability(&'static str),
    #[error(
        "without root only two-ended runs are possible (--left CMD --right CMD): the other end here is the host's network, which needs CAP_NET_ADMIN; use sudo for this one"
    )]
    HostEnd,
    #[error(
        "user namespaces are not allowed to this user ({0}); use sudo, or allow them: sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns"
    )]
    UserNamespace(String),
    #[error("cannot make {what}: {cause}")]
    Other { what: &'static str, cause: String },
}

impl Missing {
    /// Why `what` could not be made.
    #[must_use]
    pub fn diagnose(error: &io::Error, what: &'static str) -> Self {
        // ENXIO and ENODEV: the node is there, the driver is not.
        const ENXIO: i32 = 6;
        const ENODEV: i32 = 19;
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::NotFound, _) | (_, Some(ENXIO | ENODEV)) => Self::TunNode,
            // Opening a file gives EACCES, making a device or a namespace EPERM; Rust calls both the same.
            (io::ErrorKind::PermissionDenied, _) if tun_node() == Err(Self::TunPermission) => {
                Self::TunPermission
            }
            (io::ErrorKind::PermissionDenied, _) => Self::Capability(what),
            _ => Self::Other { what, cause: error.to_string() },
        }
    }
}

/// Becomes root of a user namespace of its own if this process may not make networks otherwise.
///
/// Only for a process with one thread. `has_host_end` says that one end is the host's network, which is out of reach
/// from there.
///
/// # Errors
/// When there is no way; says what is missing.
pub fn acquire(has_host_end: bool) -> Result<(), Missing> {
    tun_node()?;
    if may_make_namespaces() {
        return Ok(());
    }
    if has_host_end {
        return Err(Missing::HostEnd);
    }
    let (user, group) = (Uid::effective(), Gid::effective());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| Missing::UserNamespace(error.to_string()))?;
    let map = |error: io::Error| Missing::UserNamespace(error.to_string());
    // Commands keep their user; a group may only be mapped once setgroups is given up (user_namespaces(7)).
    std::fs::write("/proc/self/setgroups", "deny").map_err(map)?;
    std::fs::write("/proc/self/uid_map", format!("{user} {user} 1")).map_err(map)?;
    std::fs::write("/proc/self/gid_map", format!("{group} {group} 1")).map_err(map)
}

/// Whether CAP_NET_ADMIN and CAP_SYS_ADMIN are there.
fn may_make_namespaces() -> bool {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    let needed = rustix::thread::CapabilitySet::NET_ADMIN | rustix::thread::CapabilitySet::SYS_ADMIN;
    effective.is_ok_and(|effective| effective.contains(needed))
}

fn tun_node() -> Result<(), Missing> {
    match OpenOptions::new().read(true).write(true).open(TUN_NODE) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Missing::TunPermission),
        Err(_) => Err(Missing::TunNode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_says_what_to_do() {
        let not_there = Missing::diagnose(&io::Error::from(io::ErrorKind::NotFound), "a TUN device");
        assert!(not_there.to_string().contains("--device /dev/net/tun"));
        let other = Missing::diagnose(&io::Error::from_raw_os_error(12), "a TUN device");
        assert!(other.to_string().starts_with("cannot make a TUN device: "));
        for message in [Missing::HostEnd, Missing::Capability("a network namespace"), Missing::TunPermission]
        {
            assert!(message.to_string().contains("sudo"), "{message}");
        }
    }
}
