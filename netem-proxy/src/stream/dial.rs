//! Reaching the upstream: names are looked up by threads of their own, connections are made without waiting.

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use units::Timestamp;

/// A connection on its way to the upstream: the addresses still to try, and the socket that is trying one.
#[derive(Debug)]
pub(super) struct Dial {
    addresses: VecDeque<SocketAddr>,
    current: Option<(TcpStream, SocketAddr)>,
    /// Gives up then, whatever is left.
    pub(super) deadline: Timestamp,
}

/// How far a dial has come.
#[derive(Debug)]
pub(super) enum Dialled {
    /// Watch [`Dial::socket`] until it is writable.
    Trying,
    Connected(TcpStream, SocketAddr),
    Refused,
}

impl Dial {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { addresses: VecDeque::new(), current: None, deadline: now + DIAL_WITHIN }
    }

    pub(super) fn socket(&self) -> Option<&TcpStream> {
        self.current.as_ref().map(|(socket, _)| socket)
    }

    /// The addresses are known: starts with the first.
    pub(super) fn start(&mut self, addresses: Vec<SocketAddr>) -> Dialled {
        self.addresses = addresses.into();
        self.next()
    }

    /// The socket is ready: connected, or refused.
    pub(super) fn proceed(&mut self) -> Dialled {
        let Some((socket, address)) = self.current.take() else { return Dialled::Trying };
        match socket.take_error() {
            Ok(None) if socket.peer_addr().is_ok() => Dialled::Connected(socket, address),
            Ok(None) => {
                self.current = Some((socket, address));
                Dialled::Trying
            }
            Ok(Some(_)) | Err(_) => self.next(),
        }
    }

    fn next(&mut self) -> Dialled {
        while let Some(address) = self.addresses.pop_front() {
            match connect(address) {
                // On the loopback the answer is there at once.
                Ok((socket, true)) => return Dialled::Connected(socket, address),
                Ok((socket, false)) => {
                    self.current = Some((socket, address));
                    return Dialled::Trying;
                }
                Err(error) => tracing::debug!(%address, %error, "cannot dial"),
            }
        }
        Dialled::Refused
    }
}

/// The socket, and whether it is connected already.
fn connect(address: SocketAddr) -> io::Result<(TcpStream, bool)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    let is_connected = match socket.connect(&address.into()) {
        Ok(()) => true,
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => false,
        Err(error) => return Err(error),
    };
    Ok((socket.into(), is_connected))
}

/// Looks names up, a few at a time.
#[derive(Clone, Debug)]
pub(super) struct Resolver {
    jobs: mpsc::SyncSender<Job>,
}

type Done = Box<dyn FnOnce(Vec<SocketAddr>) + Send>;

struct Job {
    name: Arc<str>,
    done: Done,
}

impl Resolver {
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::sync_channel::<Job>(LOOKUPS_WAITING);
        let queue = Arc::new(Mutex::new(queue));
        for number in 0..LOOKUPS_AT_ONCE {
            let queue = Arc::clone(&queue);
            let work = move || {
                // Ends when the last resolver handle is gone.
                loop {
                    let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { name, done }) = job else { return };
                    done(name.to_socket_addrs().map(Iterator::collect).unwrap_or_default());
                }
            };
            std::thread::Builder::new().name(format!("resolver-{number}")).spawn(work)?;
        }
        Ok(Self { jobs })
    }

    /// `done` is called with the addresses of `name`, none if it has none; `false` if too many are waiting already.
    pub(super) fn resolve(&self, name: Arc<str>, done: Done) -> bool {
        self.jobs.try_send(Job { name, done }).is_ok()
    }
}

/// Shorter than the two minutes after which Linux gives up, so that clients of a dead upstream learn it.
const DIAL_WITHIN: Duration = Duration::from_secs(30);

/// A name server that does not answer holds up a lookup for seconds; others go on meanwhile.
const LOOKUPS_AT_ONCE: usize = 4;

/// Connections whose upstream is being looked up; more are refused.
const LOOKUPS_WAITING: usize = 4096;
