//! A TCP relay for length-prefixed frames.
//!
//! A byte stream can be delayed but must not lose bytes, or nothing after the gap makes sense. A protocol of frames
//! (4-byte big-endian length, then the body) can lose, repeat, corrupt and reorder whole frames, and then its own
//! reliability is put to work. That is what this relay does; the length prefix itself is never touched.
//!
//! TCP underneath stays reliable and its own congestion control stays out of the picture: both connections are
//! local or fast compared with the link. A frame has arrived when its last byte has been read. The end of a stream is
//! passed on behind the last frame under way, each direction for itself.

mod connection;
mod half;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use units::Timestamp;

use super::credit::Returned;
use super::driver::{Core, Shell};
use super::parcel::{Outlet, Parcel, payload};
use super::{ProxyConfig, ProxyHandle, spawn};
use crate::link::Delivery;
use crate::pacer::{Carrier, LinkId, Observer};
use crate::timing::{Interest, Ready, Waiter};
use connection::{Connection, End, Fault, LISTENER, connect, places, watch};
pub(super) use half::Writer;

/// Starts a frame relay; returns when it listens.
///
/// # Errors
/// When the address cannot be bound, or the system refuses a thread.
pub async fn start(config: ProxyConfig) -> io::Result<ProxyHandle> {
    start_observed(config, None)
}

/// [`start`], with somebody who watches the links.
///
/// # Errors
/// As [`start`].
pub fn start_observed(
    config: ProxyConfig,
    observer: Option<Box<dyn Observer<Parcel>>>,
) -> io::Result<ProxyHandle> {
    let listener = listen(config.listen)?;
    let local_addr = listener.local_addr()?;
    let waiter = Waiter::new(config.clock, config.timing)?;
    waiter.add(&listener, LISTENER, Interest::READABLE)?;
    let relay = move |_: &mut Core| Relay::new(listener);
    spawn("frames", &config, local_addr, waiter, observer, relay)
}

struct Relay {
    listener: TcpListener,
    /// Set while accepting rests after a failure.
    accept_again: Option<Timestamp>,
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    returned: Returned,
    /// Writers with something new to write, each once.
    dirty: Vec<Rc<Writer>>,
    scratch: Vec<u8>,
}

impl Relay {
    fn new(listener: TcpListener) -> Self {
        Self {
            listener,
            accept_again: None,
            connections: Vec::new(),
            free: Vec::new(),
            returned: Returned::default(),
            dirty: Vec::new(),
            scratch: vec![0; READ_BUFFER],
        }
    }

    fn accept(&mut self, core: &mut Core) {
        for _ in 0..ACCEPTS_AT_ONCE {
            match self.listener.accept() {
                Ok((client, addr)) if self.connections.len() - self.free.len() < MAX_CONNECTIONS => {
                    self.open(core, client, addr);
                }
                Ok(_) => {
                    tracing::warn!(limit = MAX_CONNECTIONS, "too many connections; refused one");
                    core.tally.refused += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    // Out of file descriptors, or a client that left at once: neither ends the proxy.
                    tracing::warn!(%error, "cannot accept a connection");
                    self.accept_again = Some(core.clock.now() + ACCEPT_PAUSE);
                    watch(core, &self.listener, LISTENER, Interest::NONE);
                    return;
                }
            }
        }
    }

    fn open(&mut self, core: &mut Core, client: TcpStream, addr: SocketAddr) {
        let links = core.open_flow(Carrier::Frames, addr);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        match connect(core, client, slot, links, &self.returned) {
            Ok(connection) => self.connections[slot] = Some(connection),
            Err(error) => {
                refuse(core, &error);
                core.close_flow(links);
                self.free.push(slot);
            }
        }
    }

    fn close(&mut self, core: &mut Core, slot: usize) {
        let Some(connection) = self.connections.get_mut(slot).and_then(Option::take) else { return };
        self.free.push(slot);
        core.close_flow(connection.links);
        connection.up.writer.close();
        connection.down.writer.close();
        // Parcels in the link may hold the writers a while longer, and with them the sockets.
        for end in [End::Client, End::Upstream] {
            let socket = connection.socket(end);
            if let Err(error) = connection.lane(end).input.unwatch(|| core.waiter.remove(socket)) {
                tracing::warn!(%error, "cannot stop watching a socket");
            }
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    fn settle(&mut self, core: &mut Core, slot: usize, done: Result<(), Fault>) {
        match done {
            Ok(()) => {
                let is_over = |connection: &Connection| connection.up.is_over() && connection.down.is_over();
                if self.connections[slot].as_ref().is_some_and(is_over) {
                    self.close(core, slot);
                }
                return;
            }
            Err(Fault::Malformed(what)) => {
                tracing::warn!(what, "closed a connection that does not speak frames");
                core.tally.malformed += 1;
            }
            Err(Fault::Refused(error)) => refuse(core, &error),
            Err(Fault::Io(error)) => tracing::debug!(%error, "a connection broke"),
        }
        self.close(core, slot);
    }
}

impl Shell for Relay {
    fn on_ready(&mut self, core: &mut Core, ready: Ready) {
        if ready.token == LISTENER {
            return self.accept(core);
        }
        let (slot, end) = places(ready.token);
        // A connection may have ended in the same turn.
        let Some(Some(connection)) = self.connections.get_mut(slot) else { return };
        let done = connection.on_ready(core, ready, end, &mut self.scratch);
        self.settle(core, slot, done);
    }

    fn on_delivery(&mut self, core: &mut Core, delivery: Delivery<Parcel>) {
        let bytes = payload(&delivery);
        let Parcel { to, credit, .. } = delivery.packet;
        let Outlet::Writer(writer) = to else { unreachable!("a frame relay has no datagrams") };
        match writer.push(bytes, credit, delivery.due) {
            half::Pushed::First => self.dirty.push(writer),
            half::Pushed::Behind => {}
            half::Pushed::Closed => core.tally.undeliverable += 1,
        }
    }

    fn flush(&mut self, core: &mut Core) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for writer in dirty.drain(..) {
            let (slot, _) = places(writer.token());
            let done = writer.flush(core).map_err(Fault::Io);
            if let Some(Some(connection)) = self.connections.get(slot)
                && connection.owns(&writer)
            {
                connection.watch(core);
                self.settle(core, slot, done);
            }
        }
        self.dirty = dirty;
    }

    fn resume(&mut self, core: &mut Core) {
        // What goes on may push others' packets out of a common queue, and give them credit back.
        loop {
            let returned = std::mem::take(&mut *self.returned.borrow_mut());
            if returned.is_empty() {
                return;
            }
            for token in returned {
                let (slot, end) = places(token);
                // Its slot may have passed to another connection since; that one then just looks once too often.
                let Some(Some(connection)) = self.connections.get_mut(slot) else { continue };
                let done = if connection.is_connected { connection.resume(core, end) } else { Ok(()) };
                self.settle(core, slot, done);
            }
        }
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.accept_again
    }

    fn on_timeout(&mut self, core: &mut Core, _now: Timestamp) {
        self.accept_again = None;
        watch(core, &self.listener, LISTENER, Interest::READABLE);
    }

    fn rebind(&mut self, _core: &mut Core, _link: Option<LinkId>) {
        // A TCP connection does not survive another source port.
    }

    fn kernel_drops(&self) -> u64 {
        0 // TCP sends again what the kernel had no room for.
    }
}

/// As [`TcpListener::bind`], with a longer queue: thousands of clients may come at once.
fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn refuse(core: &mut Core, error: &io::Error) {
    tracing::warn!(%error, upstream = %core.upstream, "cannot connect to the upstream");
    core.tally.refused += 1;
}

/// Longest body, in bytes. What is above is taken for something that is not frames.
pub const MAX_FRAME: usize = 1 << 20;

/// Read at once; larger ones hold up the deadlines of others.
const READ_BUFFER: usize = 64 << 10;

/// Connections at a time. Ten times what a load test on one machine opens; each costs two file descriptors.
const MAX_CONNECTIONS: usize = 10_000;

/// Connections that may wait to be accepted; the kernel cuts this to its own limit.
const BACKLOG: i32 = 4096;

/// Accepted before others get their turn.
const ACCEPTS_AT_ONCE: usize = 64;

/// After a failed accept, so that a lack of file descriptors does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);
