//! `netem-proxy run`: a command behind a link.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

use super::WatchArgs;
use crate::cli::{BothArgs, TimingArgs};

#[derive(Debug, Args)]
#[command(after_help = EXAMPLE)]
pub(crate) struct RunArgs {
    /// From the command to the host (left to right), for example 'loss=1% delay=20ms rate=10Mbit/s'. Wins over the flags for both directions.
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    up: String,
    /// From the host to the command (right to left).
    #[arg(long, value_name = "SPEC", default_value = "none", hide_default_value = true)]
    down: String,
    /// Two-ended: what runs at the left end, by the shell. Its end is the end of the run.
    #[arg(long, value_name = "CMD", requires = "right", conflicts_with = "command")]
    left: Option<OsString>,
    /// Two-ended: what runs at the right end, by the shell. It starts first and is ended last.
    #[arg(long, value_name = "CMD", requires = "left")]
    right: Option<OsString>,
    /// Seed of all chance; the same seed gives the same fates. Default: a new one each time, printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// One link for all packets (the default), as a real line is.
    #[arg(long, conflicts_with = "per_flow")]
    shared: bool,
    /// A link for each flow, told apart by protocol, addresses and ports.
    #[arg(long)]
    per_flow: bool,
    /// The largest IP packet the devices take, 1280 to 65535 bytes. (--mtu has the link drop what is larger.)
    #[arg(long, value_name = "BYTES", default_value_t = 1500, value_parser = clap::value_parser!(u32).range(1280..=65_535))]
    device_mtu: u32,
    /// Let the kernel cut its data into packets itself; slower, and the same for the link.
    #[arg(long)]
    no_offload: bool,
    /// Print the report as one JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the report goes, instead of stderr.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What this process is, when it is not the first of its kind.
    #[arg(long, hide = true)]
    role: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, value_name = "CMD", required_unless_present = "left")]
    command: Vec<OsString>,
    #[command(flatten)]
    timing: TimingArgs,
    #[command(flatten)]
    watch: WatchArgs,
    #[command(flatten)]
    both: BothArgs,
}

const EXAMPLE: &str = "Examples:
  netem-proxy run --loss 1% --delay 20ms -- sh -c 'ping -c 5 $NETEM_BASE'
  netem-proxy run --up 'rate=10Mbit/s queue=50p' -- iperf3 -c 198.18.0.1
  netem-proxy run --delay 50ms --right 'iperf3 -s -1' --left 'iperf3 -c $NETEM_PEER'
The command finds the host at $NETEM_BASE (IPv6: $NETEM_BASE6). Exit code: that of the command (of the left one).";

#[cfg(target_os = "linux")]
pub(crate) use linux::run;

#[cfg(not(target_os = "linux"))]
pub(crate) fn run(_args: &RunArgs) -> Result<std::process::ExitCode, crate::cli::Failure> {
    let message =
        "run: it needs Linux (network namespaces and TUN devices); elsewhere use datagrams, frames or stream";
    Err(crate::cli::Failure::Usage(anyhow::anyhow!(message)))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::ffi::OsString;
    use std::fs::File;
    use std::io::Write as _;
    use std::process::ExitCode;
    use std::time::Duration;

    use anyhow::{Context, Result};
    use netem_proxy::profile::LinkProfile;
    use netem_proxy::proxy::Scope;
    use netem_proxy::timing::Timing;
    use netem_proxy::tun::keeper::{self, Role};
    use netem_proxy::tun::{Ends, Offload, Session, SessionConfig, privilege};
    use nix::sys::signal::Signal;
    use nix::sys::signalfd::{SfdFlags, SignalFd};
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, WaitOptions, pidfd_open, waitpid};
    use units::{Clock, Seed};

    use super::super::run_report;
    use super::{RunArgs, WatchArgs};
    use crate::cli::{Failure, new_seed, refuse_rebind};

    pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
        if let Some(role) = &args.role {
            let role: Role =
                role.parse().map_err(|error| Failure::Usage(anyhow::anyhow!("--role: {error}")))?;
            return Ok(ExitCode::from(role.play(&args.command)));
        }
        let plan = args.plan().map_err(Failure::Usage)?;
        let code = plan.carry_out().unwrap_or_else(|error| {
            tell_line!("error: {error:#}");
            keeper::OWN_FAILURE
        });
        Ok(ExitCode::from(code))
    }

    /// What the arguments mean.
    #[derive(Debug)]
    pub(in super::super) struct Plan {
        pub(in super::super) up: LinkProfile,
        pub(in super::super) down: LinkProfile,
        pub(in super::super) seed: u64,
        scope: Scope,
        timing: Timing,
        is_realtime: bool,
        watch: WatchArgs,
        mtu: u32,
        offload: Offload,
        ends: Ends,
        /// The guest's command, and for two-ended runs that of the base.
        command: Vec<OsString>,
        base_command: Option<Vec<OsString>>,
        pub(in super::super) as_json: bool,
        report: Option<std::path::PathBuf>,
    }

    impl RunArgs {
        fn plan(&self) -> Result<Plan> {
            let (up, down) = self.both.profiles(&self.up, &self.down)?;
            refuse_rebind(&[&up, &down], "run")?;
            let by_shell = |line: &OsString| vec!["sh".into(), "-c".into(), line.clone()];
            Ok(Plan {
                up,
                down,
                seed: self.seed.unwrap_or_else(new_seed),
                scope: if self.per_flow { Scope::PerFlow } else { Scope::Shared },
                timing: self.timing.timing,
                is_realtime: self.timing.realtime,
                watch: self.watch.clone(),
                mtu: self.device_mtu,
                offload: if self.no_offload { Offload::Off } else { Offload::On },
                ends: if self.right.is_some() { Ends::Isolated } else { Ends::Host },
                command: self.left.as_ref().map_or_else(|| self.command.clone(), by_shell),
                base_command: self.right.as_ref().map(by_shell),
                as_json: self.json,
                report: self.report.clone(),
            })
        }
    }

    impl Plan {
        fn carry_out(&self) -> Result<u8> {
            // Created first: a run whose report cannot be written should not be made.
            let mut report = match &self.report {
                Some(path) => {
                    let file = File::create(path);
                    Some(file.with_context(|| format!("--report: cannot write {}", path.display()))?)
                }
                None => None,
            };
            // Before the first thread: a user namespace is for processes with one.
            privilege::acquire(self.ends == Ends::Host)?;
            // Blocked from here on, in the threads and processes to come as well, so that none is lost on the way.
            let mask = keeper::signals();
            mask.thread_block().context("cannot block signals")?;
            let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
                .context("cannot read signals")?;

            let depth = std::env::var(DEPTH).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
            let clock = Clock::start();
            let watch = self.watch.start(clock, [&self.up, &self.down])?;
            let session = Session::start(SessionConfig {
                clock,
                up_observer: watch.observer(),
                down_observer: watch.observer(),
                up: self.up.clone(),
                down: self.down.clone(),
                scope: self.scope,
                timing: self.timing,
                is_realtime: self.is_realtime,
                mtu: self.mtu,
                offload: self.offload,
                depth,
                ..SessionConfig::new(Seed::root(self.seed), self.ends)
            })?;
            // With --json the report alone is on stderr; the seed is in it.
            if !self.as_json || self.report.is_some() {
                self.announce(&session);
            }

            let base = match &self.base_command {
                Some(command) => Some(start(&session, End::Base, command, depth)?),
                None => None,
            };
            let guest = start(&session, End::Guest, &self.command, depth)?;
            let code = wait_for(guest, &signals)?;
            if let Some(base) = base {
                end(base, &signals)?;
            }
            settle(&session, &signals);
            let outcome = session.stop().context("cannot read the counters")?;
            tell!("{}", watch.finish());
            let text = run_report::render(self, &outcome);
            match &mut report {
                Some(file) => file.write_all(text.as_bytes()).context("--report: cannot write it")?,
                None => tell!("{text}"),
            }
            Ok(code)
        }

        fn announce(&self, session: &Session) {
            let addresses = session.addresses();
            let (base, guest) = (addresses.base(), addresses.guest());
            let (base_name, guest_name) = match self.ends {
                Ends::Host => ("host", "command"),
                Ends::Isolated => ("right", "left"),
            };
            tell_line!("netem-proxy: seed {}, {guest_name} {}, {base_name} {}", self.seed, guest.v4, base.v4);
        }
    }

    #[derive(Clone, Copy, PartialEq, Eq)]
    enum End {
        Guest,
        Base,
    }

    /// Starts a command at one end, under a keeper, and says which process that is.
    fn start(session: &Session, end: End, command: &[OsString], depth: u16) -> Result<Pid> {
        let addresses = session.addresses();
        let (own, peer) = match end {
            End::Guest => (addresses.guest(), addresses.base()),
            End::Base => (addresses.base(), addresses.guest()),
        };
        let mut process = keeper::keeper_of(command);
        let variables = [
            ("NETEM_BASE", addresses.base().v4.to_string()),
            ("NETEM_BASE6", addresses.base().v6.to_string()),
            ("NETEM_GATEWAY", addresses.base().v4.to_string()),
            ("MAHIMAHI_BASE", addresses.base().v4.to_string()),
            ("NETEM_SELF", own.v4.to_string()),
            ("NETEM_SELF6", own.v6.to_string()),
            ("NETEM_PEER", peer.v4.to_string()),
            ("NETEM_PEER6", peer.v6.to_string()),
            (DEPTH, (depth + 1).to_string()),
        ];
        process.envs(variables);
        let spawn = move || process.spawn();
        let child = match end {
            End::Guest => session.in_guest(spawn),
            End::Base => session.in_base(spawn),
        };
        // Waited for by its number: the handle does nothing when it is dropped.
        Ok(Pid::from_child(&child.context("cannot start a process")?))
    }

    /// Waits for a process to end, and passes signals on to it meanwhile.
    fn wait_for(process: Pid, signals: &SignalFd) -> Result<u8> {
        let ended = pidfd_open(process, PidfdFlags::empty()).context("cannot watch the command")?;
        loop {
            let mut polled = [PollFd::new(signals, PollFlags::IN), PollFd::new(&ended, PollFlags::IN)];
            let _ = poll(&mut polled, None);
            if !polled[1].revents().is_empty() {
                return collect(process);
            }
            while let Some(signal) = keeper::next_signal(signals)? {
                if signal != Signal::SIGCHLD {
                    keeper::pass_on(process, signal);
                }
            }
        }
    }

    fn collect(process: Pid) -> Result<u8> {
        let (_, status) = waitpid(Some(process), WaitOptions::empty())
            .context("cannot collect the command")?
            .context("the command has not ended")?;
        let code = status.exit_status().and_then(|code| u8::try_from(code).ok());
        Ok(code.unwrap_or_else(|| keeper::code_of_signal(status.terminating_signal().unwrap_or_default())))
    }

    /// Asks the right end's command to end, and after a while makes it.
    fn end(process: Pid, signals: &SignalFd) -> Result<()> {
        let ended = pidfd_open(process, PidfdFlags::empty()).context("cannot watch the right command")?;
        keeper::pass_on(process, Signal::SIGTERM);
        for attempt in 0..=RIGHT_GRACE_STEPS {
            let mut polled = [PollFd::new(&ended, PollFlags::IN)];
            let _ = poll(&mut polled, Some(&timespec(STEP)));
            if !polled[0].revents().is_empty() {
                return collect(process).map(drop);
            }
            // A second Ctrl-C or kill is somebody in a hurry.
            let is_hurried = keeper::next_signal(signals)?.is_some_and(|signal| signal != Signal::SIGCHLD);
            if is_hurried || attempt == RIGHT_GRACE_STEPS {
                keeper::pass_on(process, keeper::CUT);
            }
        }
        collect(process).map(drop)
    }

    /// Lets the last words arrive: the ends of connections that the command has closed are still on their way, and
    /// without them its peers would wait for ever. Until nothing has moved for a while, but not for long.
    fn settle(session: &Session, signals: &SignalFd) {
        let mut before = session.progress();
        let mut quiet = 0;
        for _ in 0..SETTLE_STEPS {
            let _ = poll(&mut [PollFd::new(signals, PollFlags::IN)], Some(&timespec(STEP)));
            if matches!(keeper::next_signal(signals), Ok(Some(signal)) if signal != Signal::SIGCHLD) {
                return;
            }
            let now = session.progress();
            let is_quiet = now.is_idle && now == before;
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if quiet == QUIET_STEPS {
                return;
            }
            before = now;
        }
    }

    fn timespec(span: Duration) -> Timespec {
        Timespec::try_from(span).expect("a small span")
    }

    /// How many runs this one is inside of, for those that it starts.
    const DEPTH: &str = "NETEM_DEPTH";

    const STEP: Duration = Duration::from_millis(5);
    /// Two seconds to end after SIGTERM.
    const RIGHT_GRACE_STEPS: u32 = 400;
    /// One second: 1.5 round trips of a satellite link.
    const SETTLE_STEPS: u32 = 200;
    /// Nothing moved for 10 ms, more than a stack takes to answer.
    const QUIET_STEPS: u32 = 2;
}

#[cfg(target_os = "linux")]
pub(super) use linux::Plan;
