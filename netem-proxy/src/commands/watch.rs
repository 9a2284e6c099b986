//! `--log` and `--pcap`: who watches the links of a run, and what became of their files.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use netem_proxy::capture::{CaptureFile, Captured};
use netem_proxy::journal::{Journal, Portable};
use netem_proxy::pacer::{Observer, Observers};
use netem_proxy::profile::LinkProfile;
use units::Clock;

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Records")]
pub(crate) struct WatchArgs {
    /// Write the arrival log, from which `netem-proxy replay FILE` repeats every verdict.
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Capture packets at both sides of the link, with what became of each, as pcapng.
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
}

/// The files of a run, open.
#[derive(Debug)]
pub(crate) struct Watch {
    journal: Option<Journal>,
    capture: Option<CaptureFile>,
}

impl WatchArgs {
    /// Creates the files. `clock` is that of the drivers, `profiles` are what their links will be.
    ///
    /// # Errors
    /// When a file cannot be written, or a link cannot be recorded so that it can be replayed.
    pub(crate) fn start(&self, clock: Clock, profiles: [&LinkProfile; 2]) -> Result<Watch> {
        if self.log.is_some() {
            let recordable = |profile: &&LinkProfile| Portable::new(profile).map(drop);
            profiles.iter().try_for_each(recordable).context("--log")?;
        }
        let journal = self.log.as_deref().map(|path| {
            Journal::create(path).with_context(|| format!("--log: cannot write {}", path.display()))
        });
        let capture = self.pcap.as_deref().map(|path| {
            CaptureFile::create(path, clock)
                .with_context(|| format!("--pcap: cannot write {}", path.display()))
        });
        Ok(Watch { journal: journal.transpose()?, capture: capture.transpose()? })
    }
}

impl Watch {
    /// Who watches one driver; nobody if nothing was asked for.
    pub(crate) fn observer<P: Captured + 'static>(&self) -> Option<Box<dyn Observer<P>>> {
        let mut observers: Vec<Box<dyn Observer<P>>> = Vec::new();
        if let Some(journal) = &self.journal {
            observers.push(Box::new(journal.recorder()));
        }
        if let Some(capture) = &self.capture {
            observers.push(Box::new(capture.capture()));
        }
        Observers(observers).boxed()
    }

    /// Closes the files, once the drivers have stopped, and says what is in them: a line each, empty without files.
    pub(crate) fn finish(self) -> String {
        let mut out = String::new();
        if let Some(summary) = self.journal.map(Journal::finish) {
            let (path, arrivals, digest) = (summary.path.display(), summary.arrivals, summary.digest);
            let _ = writeln!(out, "log {path}: {arrivals} arrivals, verdicts {digest}");
            if let Some(fault) = summary.fault {
                let _ = writeln!(out, "warning: --log: {path} cannot be replayed to its end: {fault}");
            }
        }
        if let Some(summary) = self.capture.map(CaptureFile::finish) {
            let path = summary.path.display();
            let _ = writeln!(out, "pcap {path}: {} packets", summary.packets);
            if summary.lost > 0 {
                let _ = writeln!(
                    out,
                    "warning: --pcap: {} packets are missing from {path}: the disk was too slow",
                    summary.lost
                );
            }
            if let Some(fault) = summary.fault {
                let _ = writeln!(out, "warning: --pcap: {path} is not whole: {fault}");
            }
        }
        out
    }
}
