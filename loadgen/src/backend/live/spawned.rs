//! A server under test that is a process of its own, started for one run and stopped after it.
//!
//! It is told its address and a folder, and counts as ready when its TCP port takes a connection. What it prints goes to a
//! file in that folder; if it dies, the last line of it stands in the reason.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use units::Clock;

use crate::backend::RunError;
use crate::scenario::{ServerConfig, Stop};

/// The process. Dropping it kills what is left, and takes its folder away.
#[derive(Debug)]
pub(super) struct Spawned {
    child: Child,
    program: String,
    pub(super) address: SocketAddr,
    folder: Folder,
    stop: Stop,
    clock: Clock,
}

/// A folder of the run's own, gone with it.
#[derive(Debug)]
struct Folder(PathBuf);

impl Spawned {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// A command that cannot be started, or a server that does not listen in time, with what it said last.
    pub(super) fn start(config: &ServerConfig, clock: Clock) -> Result<Self, RunError> {
        let failed = |what: &str, error: &io::Error| RunError::Setup(format!("server: {what}: {error}"));
        let folder = Folder::new().map_err(|error| failed("cannot make a folder for it", &error))?;
        let address = match config.addr.filter(|addr| addr.port() != 0) {
            Some(address) => address,
            None => free_port(config.addr).map_err(|error| failed("no free port", &error))?,
        };
        let prepared = fs::write(folder.0.join(CONFIG), &config.config).and_then(|()| folder.log());
        let log = prepared.map_err(|error| failed("cannot write to its folder", &error))?;
        let words: Vec<String> = config.command.iter().map(|word| fill(word, &folder.0, address)).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Err(RunError::Setup("server.command: is empty; name a program".to_owned()));
        };
        let copy = log.try_clone().map_err(|error| failed("cannot write to its folder", &error))?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(copy)
            .spawn()
            .map_err(|error| RunError::Setup(format!("server.command: cannot start {program}: {error}")))?;
        let mut server = Self { child, program: program.clone(), address, folder, stop: config.stop, clock };
        server.wait_until_ready(config.ready_timeout)?;
        Ok(server)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// # Errors
    /// It has died.
    pub(super) fn check(&mut self) -> Result<(), RunError> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(RunError::ServerGone(self.obituary(status))),
            Err(error) => Err(RunError::Internal(format!("cannot ask for the server under test: {error}"))),
        }
    }

    /// Stops it as the scenario says. A server that takes too long to say goodbye is killed, and the reason is returned.
    pub(super) fn stop(mut self) -> Option<String> {
        if self.stop == Stop::Kill || self.child.try_wait().is_ok_and(|status| status.is_some()) {
            return None;
        }
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw)?;
        // One that ends in this moment needs no signal.
        let _ = kill_process(pid, Signal::TERM);
        let limit = self.clock.now() + GOODBYE;
        while self.clock.now() < limit {
            if self.child.try_wait().is_ok_and(|status| status.is_some()) {
                return None;
            }
            std::thread::park_timeout(PAUSE);
        }
        Some(format!(
            "the server under test ({}) did not stop within {GOODBYE:?} of SIGTERM and was killed",
            self.program
        ))
    }

    fn wait_until_ready(&mut self, patience: Duration) -> Result<(), RunError> {
        let limit = self.clock.now() + patience;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(RunError::ServerGone(self.obituary(status)));
            }
            if TcpStream::connect_timeout(&self.address, PAUSE).is_ok() {
                return Ok(());
            }
            if self.clock.now() >= limit {
                return Err(RunError::ServerGone(format!(
                    "the server under test ({}) does not listen on {} after {patience:?}{}; does its command contain {{addr}}? \
                     Slow servers need a longer server.ready_timeout",
                    self.program,
                    self.address,
                    self.last_words()
                )));
            }
            std::thread::park_timeout(PAUSE);
        }
    }

    fn obituary(&self, status: ExitStatus) -> String {
        format!("the server under test died ({}, {status}){}", self.program, self.last_words())
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.folder.0.join(LOG)).unwrap_or_default();
        let last = log.lines().rev().map(str::trim).find(|line| !line.is_empty());
        last.map_or_else(String::new, |line| {
            format!("; it said last: {}", line.chars().take(LINE).collect::<String>())
        })
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        // Fails only if it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Folder {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("squall-server-{}-{number}", std::process::id()));
        // Whoever made it before would know what is in it.
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn log(&self) -> io::Result<File> {
        File::create(self.0.join(LOG))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Puts in what only the run knows.
fn fill(word: &str, folder: &Path, address: SocketAddr) -> String {
    word.replace("{tmp}", &folder.display().to_string()).replace("{addr}", &address.to_string())
}

/// A port that is free now. Somebody else may take it before the server does; then the server says so.
fn free_port(at: Option<SocketAddr>) -> io::Result<SocketAddr> {
    TcpListener::bind(at.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))))?.local_addr()
}

/// The `config` table of the scenario, in the server's folder.
const CONFIG: &str = "server.toml";
const LOG: &str = "server.log";
/// As long as a server of ours may wait for acknowledgements.
const GOODBYE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(20);
/// Characters of what a server said last.
const LINE: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    fn config(script: &str) -> ServerConfig {
        let command = ["sh", "-c", script].map(str::to_owned).to_vec();
        ServerConfig { command, ready_timeout: Duration::from_millis(300), ..ServerConfig::default() }
    }

    #[test]
    fn words_of_the_command_are_filled_in() {
        let address = SocketAddr::from(([127, 0, 0, 1], 7));
        assert_eq!(fill("--listen={addr}", Path::new("/x"), address), "--listen=127.0.0.1:7");
        assert_eq!(fill("{tmp}/server.toml", Path::new("/x"), address), "/x/server.toml");
    }

    #[test]
    fn a_server_that_dies_is_told_with_its_last_words() {
        let error =
            Spawned::start(&config("echo no such thing; exit 3"), Clock::start()).expect_err("it died");
        let RunError::ServerGone(text) = error else { panic!("{error}") };
        assert!(text.contains("died (sh, exit status: 3)") && text.ends_with("no such thing"), "{text}");
    }

    #[test]
    fn a_server_that_does_not_listen_is_given_up() {
        let error = Spawned::start(&config("exec sleep 60"), Clock::start()).expect_err("nobody listens");
        assert!(error.to_string().contains("does not listen on 127.0.0.1:"), "{error}");
    }

    #[test]
    fn a_command_that_is_not_there_is_a_usage_error() {
        let config = ServerConfig { command: vec!["/nowhere/server".to_owned()], ..ServerConfig::default() };
        let error = Spawned::start(&config, Clock::start()).expect_err("no such program");
        assert!(matches!(&error, RunError::Setup(text) if text.contains("/nowhere/server")), "{error}");
    }
}
