//! A thread that goes before all ordinary ones.
//!
//! On a busy machine a thread that wakes at its deadline still waits for its turn. Under `SCHED_FIFO` it does not: p99
//! of release lateness falls from milliseconds to microseconds beside programs that use every core. The price is
//! that while it spins, nobody else has that core.

use std::io::{self, ErrorKind};

use nix::libc;

use super::Timing;

/// Whether real-time priority is sensible with this way to wait, on this machine.
///
/// # Errors
/// With [`Timing::Spin`] on two cores or fewer: the thread would never leave one of them to the programs under test.
pub fn check(timing: Timing) -> io::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if timing == Timing::Spin && cores <= LEAST_CORES {
        return Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!(
                "real-time priority with spinning would starve the rest of a machine with {cores} cores; wait with \
                 hybrid or sleep"
            ),
        ));
    }
    Ok(())
}

/// Gives the calling thread the lowest real-time priority, which is above all ordinary threads.
///
/// # Errors
/// When the process may not, with what to do about it.
pub fn enter() -> io::Result<()> {
    match set_fifo() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(io::Error::new(
            ErrorKind::PermissionDenied,
            "real-time priority is not permitted; run as root, or give the program CAP_SYS_NICE or a limit (ulimit -r 1)",
        )),
        result => result,
    }
}

#[expect(unsafe_code, reason = "no safe wrapper of sched_setscheduler among the crates used here")]
fn set_fifo() -> io::Result<()> {
    let priority = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the pointer is to a live `sched_param`, which the call only reads; 0 names the calling thread.
    match unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const priority)
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// One core for the thread, one for what it relays for, one for the rest.
const LEAST_CORES: usize = 2;

/// The lowest there is: this thread has to go before ordinary ones, not before the kernel's own.
const PRIORITY: i32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spinning_in_real_time_needs_more_than_two_cores() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(check(Timing::Spin).is_ok(), cores > LEAST_CORES);
        assert!(check(Timing::Hybrid).is_ok() && check(Timing::Sleep).is_ok());
    }

    #[test]
    fn entering_works_or_says_what_is_missing() {
        // In a thread of its own, which takes the priority with it.
        let entered = std::thread::spawn(enter).join().expect("no panic");
        if let Err(error) = entered {
            assert!(error.to_string().contains("CAP_SYS_NICE"), "{error}");
        }
    }
}
