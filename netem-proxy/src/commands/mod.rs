//! One file for each subcommand: its arguments, and what it does.

pub(crate) mod ctl;
pub(crate) mod import;
pub(crate) mod presets;
pub(crate) mod relay;
pub(crate) mod replay;
mod rows;
pub(crate) mod run;
#[cfg(target_os = "linux")]
mod run_report;
pub(crate) mod selfcheck;
pub(crate) mod serve;
mod signals;
pub(crate) mod stream;
mod watch;

pub(crate) use watch::WatchArgs;
