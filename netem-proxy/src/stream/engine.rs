//! The threads behind all stream proxies of a process.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::thread::JoinHandle;

use units::{Clock, Seed};

use super::dial::Resolver;
use super::driver::{Command, Driver, Drivers};
use super::listen::{self, OpenError};
use super::proxy::{CONFIRM_WITHIN, ProxyShared, StreamConfig, StreamProxy};
use crate::timing::{Lateness, Timing, TimingStats, Waiter};

/// How an [`Engine`] works.
#[derive(Clone, Copy, Debug)]
pub struct EngineConfig {
    /// Driver threads; `None` is one for each core, at least 1 and at most [`MOST_THREADS`].
    pub threads: Option<usize>,
    pub timing: Timing,
    pub clock: Clock,
    /// [`Engine::seed_for`] forks it by the name of a proxy.
    pub seed: Seed,
}

impl EngineConfig {
    #[must_use]
    pub fn new(clock: Clock, seed: Seed) -> Self {
        Self { threads: None, timing: Timing::default(), clock, seed }
    }
}

/// Threads that drive the connections of any number of proxies. A handle: clones mean the same engine, and it stops with
/// the last of them or by [`stop`](Self::stop).
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    drivers: Drivers,
    clock: Clock,
    seed: Seed,
    next_proxy: AtomicU64,
    threads: Mutex<Vec<JoinHandle<()>>>,
    failure: Failure,
}

/// Why a driver has ended that nobody stopped; of several the first.
type Failure = Arc<OnceLock<String>>;

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("seed", &self.inner.seed).finish_non_exhaustive()
    }
}

impl Engine {
    /// # Errors
    /// When the system gives no descriptors or threads.
    pub fn start(config: EngineConfig) -> io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = config.threads.unwrap_or(cores).clamp(1, MOST_THREADS);
        let resolver = Resolver::start()?;
        let failure = Failure::default();
        let mut mailboxes = Vec::new();
        let mut introductions = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            // A waiter stays in the thread it was made in, so each thread makes its own, and is told of the others.
            let (made, mailbox) = mpsc::channel();
            let (introduce, drivers) = mpsc::channel::<Drivers>();
            let resolver = resolver.clone();
            let failure = Arc::clone(&failure);
            let run = move || {
                let driver = Waiter::new(config.clock, config.timing).map(|waiter| {
                    let (driver, mailbox) = Driver::new(number, waiter, config.clock);
                    (mailbox, driver)
                });
                match driver {
                    Ok((mailbox, driver)) => {
                        let _ = made.send(Ok(mailbox));
                        // None come when another thread could not be made.
                        if let Ok(drivers) = drivers.recv() {
                            // Nothing of the driver is used after a panic.
                            let run = AssertUnwindSafe(|| driver.run(&drivers, &resolver));
                            note_end(&failure, number, catch_unwind(run));
                        }
                    }
                    Err(error) => drop(made.send(Err(error))),
                }
            };
            threads.push(std::thread::Builder::new().name(format!("stream-{number}")).spawn(run)?);
            mailboxes.push(mailbox.recv().map_err(io::Error::other)??);
            introductions.push(introduce);
        }
        let drivers = Drivers::new(mailboxes);
        for introduce in introductions {
            // Fails only for a thread that is gone, to which no command will come.
            let _ = introduce.send(drivers.clone());
        }
        let inner = Inner {
            drivers,
            clock: config.clock,
            seed: config.seed,
            next_proxy: AtomicU64::new(0),
            threads: Mutex::new(threads),
            failure,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The seed of a proxy of this name, for [`StreamConfig::seed`].
    #[must_use]
    pub fn seed_for(&self, name: &str) -> Seed {
        self.inner.seed.fork("proxy").fork(name)
    }

    /// Opens a proxy. Its address can be connected to when this returns.
    ///
    /// # Errors
    /// When the address is wrong or taken, or a toxic or profile cannot be installed. Nothing is left open then.
    pub fn open(&self, config: StreamConfig) -> Result<StreamProxy, OpenError> {
        let listener = listen::listen(&config.listen)?;
        let local_addr = listener.local_addr().map_err(|_| OpenError::Stopped)?;
        let id = self.inner.next_proxy.fetch_add(1, Ordering::Relaxed);
        let shared = Arc::new(ProxyShared::new(id, config, self.inner.clock)?);
        let proxy = StreamProxy::new(Arc::clone(&shared), self.inner.drivers.clone(), local_addr);
        // Listeners are spread; where a connection goes is decided when it comes.
        let driver = usize::try_from(id).unwrap_or(0);
        if self.inner.drivers.send(driver, Command::Listen { proxy: shared, listener }) {
            Ok(proxy)
        } else {
            Err(OpenError::Stopped)
        }
    }

    /// What ended one of the threads, if something did that nobody asked for: proxies and connections that it drove are
    /// gone, and the engine should be started anew.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.inner.failure.get().map(String::as_str)
    }

    /// Ends the first driver as a mistake in the code would.
    #[cfg(test)]
    pub(crate) fn break_driver(&self) {
        self.inner.drivers.send(0, Command::Panic);
        let threads = self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner);
        while !threads[0].is_finished() {
            std::thread::yield_now();
        }
    }

    /// How punctual all proxies together were, and what waiting has cost each thread.
    #[must_use]
    pub fn report(&self) -> (Lateness, Vec<TimingStats>) {
        let (reply, replies) = mpsc::channel();
        self.inner.drivers.broadcast(|| Command::Report { reply: reply.clone() });
        drop(reply);
        let mut lateness = Lateness::new();
        let mut stats = Vec::new();
        while let Ok((late, stat)) = replies.recv_timeout(CONFIRM_WITHIN) {
            lateness.merge(&late);
            stats.push(stat);
        }
        (lateness, stats)
    }

    /// Drops all connections of all proxies, frees their ports and waits for the threads.
    pub fn stop(self) {
        self.inner.stop();
    }
}

impl Inner {
    fn stop(&self) {
        self.drivers.broadcast(|| Command::Stop);
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            // A driver that panicked has been noted.
            let _ = thread.join();
        }
    }
}

fn note_end(failure: &OnceLock<String>, number: usize, end: std::thread::Result<io::Result<()>>) {
    let why = match end {
        Ok(Ok(())) => return,
        Ok(Err(error)) => format!("it cannot wait: {error}"),
        Err(panic) => {
            let text = panic.downcast_ref::<&str>().copied();
            let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
            format!("it panicked: {}", text.unwrap_or("without a word"))
        }
    };
    tracing::error!(
        number,
        why,
        "a stream driver has ended, and with it its connections; restart the program"
    );
    // Only the first is kept; the log has them all.
    let _ = failure.set(format!("stream driver {number} has ended: {why}"));
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// More threads than this only move connections between caches; a driver forwards some 10 Gbit/s.
pub const MOST_THREADS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_panics_is_noted_and_takes_no_more_proxies() {
        let config = EngineConfig { threads: Some(1), ..EngineConfig::new(Clock::start(), Seed::root(1)) };
        let engine = Engine::start(config).expect("threads and descriptors");
        assert_eq!(engine.failure(), None);
        engine.break_driver();
        assert_eq!(engine.failure(), Some("stream driver 0 has ended: it panicked: asked to"));
        let config = StreamConfig::new("late", "127.0.0.1:0", "127.0.0.1:1", Seed::root(1));
        assert!(matches!(engine.open(config), Err(OpenError::Stopped)));
    }
}
