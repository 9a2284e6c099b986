//! The threads behind all stream proxies of a process.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
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
}

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
        let mut mailboxes = Vec::new();
        let mut introductions = Vec::new();
        let mut threads = Vec::new();
        for number in 0..count {
            // A waiter stays in the thread it was made in, so each thread makes its own, and is told of the others.
            let (made, mailbox) = mpsc::channel();
            let (introduce, drivers) = mpsc::channel::<Drivers>();
            let resolver = resolver.clone();
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
                            driver.run(&drivers, &resolver);
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
        self.inner.drivers.send(driver, Command::Listen { proxy: shared, listener });
        Ok(proxy)
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
            // A driver that panicked has said so on stderr.
            let _ = thread.join();
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// More threads than this only move connections between caches; a driver forwards some 10 Gbit/s.
pub const MOST_THREADS: usize = 4;
