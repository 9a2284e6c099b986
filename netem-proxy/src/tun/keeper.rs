//! The process between us and the command, so that nothing of the command outlives us.
//!
//! A command may leave processes behind, and whoever started it may be killed without a chance to clean up. So the
//! binary starts itself twice more. The **keeper** adopts whatever its descendants orphan (`PR_SET_CHILD_SUBREAPER`),
//! watches its parent, and when that dies, or the command ends, ends all of them. The **launcher** asks to be killed
//! when the keeper dies (`PR_SET_PDEATHSIG`), and then becomes the command, which keeps that wish. Doing this in
//! processes of their own, instead of between `fork` and `exec`, needs no unsafe code.
//!
//! Signals from other processes are passed on to the command. Those from the terminal are not: the terminal sends
//! them to the whole process group, so the command has them already.

use std::ffi::{OsStr, OsString};
use std::io;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, WaitOptions, WaitStatus, getpid, getppid, kill_process, pidfd_open, set_child_subreaper,
    set_parent_process_death_signal, waitpid,
};

/// What a process of this binary is besides its first one. Written as `keep:PID` and `launch:PID`, with the process
/// that has to be its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Keeper { parent: Pid },
    Launcher { parent: Pid },
}

impl std::str::FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is not a role of this program");
        let (role, pid) = text.split_once(':').ok_or_else(wrong)?;
        let parent = pid.parse().ok().and_then(Pid::from_raw).ok_or_else(wrong)?;
        match role {
            "keep" => Ok(Self::Keeper { parent }),
            "launch" => Ok(Self::Launcher { parent }),
            _ => Err(wrong()),
        }
    }
}

impl Role {
    /// Plays it. Returns the exit code; the launcher returns only if there is no such command.
    #[must_use]
    pub fn play(self, command: &[OsString]) -> u8 {
        let Some((program, arguments)) = command.split_first() else { return OWN_FAILURE };
        match self {
            Self::Launcher { parent } => launch(parent, program, arguments),
            Self::Keeper { parent } => keep(parent, command).unwrap_or_else(|error| {
                let _ = writeln!(io::stderr(), "error: cannot run \"{}\": {error}", program.display());
                OWN_FAILURE
            }),
        }
    }
}

/// The command that makes this binary the keeper of `command`, to be started as a child of this very thread's process.
#[must_use]
pub fn keeper_of(command: &[OsString]) -> Command {
    this_binary("keep", command)
}

/// Signals that are passed on, and the one that [`CUT`] is.
#[must_use]
pub fn signals() -> SigSet {
    SigSet::from_iter(PASSED_ON.into_iter().chain([CUT, Signal::SIGCHLD]))
}

/// The next signal that another process sent, if there is one. Those the kernel sent for the terminal are skipped.
///
/// # Errors
/// When the descriptor cannot be read.
pub fn next_signal(signals: &SignalFd) -> io::Result<Option<Signal>> {
    /// `SI_KERNEL`.
    const FROM_KERNEL: i32 = 0x80;
    while let Some(info) = signals.read_signal()? {
        let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
        match signal {
            Some(signal) if signal == Signal::SIGCHLD || info.ssi_code != FROM_KERNEL => {
                return Ok(Some(signal));
            }
            _ => {}
        }
    }
    Ok(None)
}

fn this_binary(role: &str, command: &[OsString]) -> Command {
    // Not its path: that may have been replaced since we started.
    let mut this = Command::new("/proc/self/exe");
    this.arg0("netem-proxy").args(["run", "--role"]).arg(format!("{role}:{}", getpid().as_raw_nonzero()));
    this.arg("--").args(command);
    this
}

fn launch(parent: Pid, program: &OsStr, arguments: &[OsString]) -> u8 {
    let _ = set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    // If the keeper died before it was asked to tell, it is too late to be told.
    if getppid() != Some(parent) {
        return OWN_FAILURE;
    }
    // Blocked signals are inherited; the command shall begin like any other.
    let _ = SigSet::empty().thread_set_mask();
    let error = Command::new(program).args(arguments).exec();
    let _ = writeln!(io::stderr(), "error: cannot run \"{}\": {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_EXECUTABLE }
}

fn keep(parent: Pid, command: &[OsString]) -> io::Result<u8> {
    set_child_subreaper(Some(getpid()))?;
    let parent_end = pidfd_open(parent, PidfdFlags::empty())?;
    if getppid() != Some(parent) {
        return Ok(OWN_FAILURE);
    }
    let mask = signals();
    mask.thread_block()?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let started = this_binary("launch", command).spawn()?;
    let child = Pid::from_child(&started);

    let mut code = None;
    while code.is_none() {
        let mut polled = [PollFd::new(&signals, PollFlags::IN), PollFd::new(&parent_end, PollFlags::IN)];
        let _ = poll(&mut polled, None);
        if !polled[1].revents().is_empty() {
            break;
        }
        while let Some(signal) = next_signal(&signals)? {
            match signal {
                Signal::SIGCHLD => code = code.or(reap(child)),
                CUT => {
                    end_all();
                    return Ok(code_of_signal(Signal::SIGKILL as i32));
                }
                signal => pass_on(child, signal),
            }
        }
    }
    match code {
        Some(_) => end_gently(&signals),
        None => end_all(),
    }
    Ok(code.unwrap_or(OWN_FAILURE))
}

/// Passes a signal on to a process, if it is still there.
pub fn pass_on(process: Pid, signal: Signal) {
    if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
        let _ = kill_process(process, signal);
    }
}

/// Collects everything that ended, and says with what code `child` did.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = waitpid(None, WaitOptions::NOHANG) {
        if pid == child {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code as u8,
        (_, Some(signal)) => code_of_signal(signal),
        _ => OWN_FAILURE,
    }
}

/// As a shell says it.
#[must_use]
pub fn code_of_signal(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}

/// Asks what the command left behind to end, waits a little, and then insists.
fn end_gently(signals: &SignalFd) {
    let left = descendants();
    for &process in &left {
        let _ = kill_process(process, rustix::process::Signal::TERM);
    }
    let mut waits = 0;
    while !left.is_empty() && waits < GRACE_STEPS && has_children() {
        let step = Timespec::try_from(GRACE_STEP).expect("a small span");
        let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&step));
        let _ = next_signal(signals);
        waits += 1;
    }
    end_all();
}

/// Kills all descendants. The orphans of those killed become ours, so it takes as many rounds as they are deep.
fn end_all() {
    for _ in 0..ROUNDS {
        for process in descendants() {
            let _ = kill_process(process, rustix::process::Signal::KILL);
        }
        // Killed children end soon; without children the work is done.
        if waitpid(None, WaitOptions::empty()).is_err() {
            return;
        }
    }
}

/// Whether anything is left, after collecting what ended.
fn has_children() -> bool {
    loop {
        match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// All processes below this one, from `/proc`.
fn descendants() -> Vec<Pid> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parents: Vec<(i32, i32)> = pids.filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
    let mut found = vec![getpid().as_raw_nonzero().get()];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks and parentheses; state and parent follow the last one.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

const PASSED_ON: [Signal; 6] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// To the keeper: end everything, now. A signal that nobody sends to a command on purpose.
pub const CUT: Signal = Signal::SIGPWR;

/// Exit codes as `env` and `timeout` have them.
pub const OWN_FAILURE: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// A second in all for what was left behind to end by itself.
const GRACE_STEP: Duration = Duration::from_millis(20);
const GRACE_STEPS: u32 = 50;

/// Processes killed at most; a chain of orphans longer than this is an attack, and ends with the machine's patience.
const ROUNDS: u32 = 100_000;
