//! A TCP relay for length-prefixed frames.
//!
//! A byte stream can be delayed but must not lose bytes, or nothing after the gap makes sense. A protocol of frames
//! (4-byte big-endian length, then the body) can lose, repeat, corrupt and reorder whole frames, and then its own
//! reliability is put to work. That is what this relay does; the length prefix itself is never touched.
//!
//! TCP underneath stays reliable and its own congestion control stays out of the picture: both connections are
//! local or fast compared with the link. A frame has arrived when its last byte has been read. The end of a stream is
//! passed on behind the last frame under way, each direction for itself.

mod half;

use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use units::{ByteCount, Timestamp};

use super::credit::{Pool, Returned};
use super::driver::{Core, FlowLinks, Shell};
use super::parcel::{Outlet, Parcel, payload};
use super::{ProxyConfig, ProxyHandle, spawn};
use crate::link::{Delivery, Meta};
use crate::pacer::{Carrier, Direction, Observer};
use crate::timing::{Interest, Ready, Waiter};
pub(super) use half::Writer;
use half::{Input, Parsed};

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

struct Connection {
    links: FlowLinks,
    client: Rc<TcpStream>,
    upstream: Rc<TcpStream>,
    is_connected: bool,
    up: Lane,
    down: Lane,
}

/// One direction of a connection: from one socket through a link to the other.
struct Lane {
    direction: Direction,
    input: Input,
    writer: Rc<Writer>,
    credit: Rc<Pool>,
    /// What the waiter tells of the socket that is read.
    is_read: bool,
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

impl Connection {
    fn on_ready(&mut self, core: &mut Core, ready: Ready, end: End, scratch: &mut [u8]) -> Result<(), Fault> {
        if !self.is_connected {
            return self.on_connected(core, end);
        }
        let (reading, writing) = match end {
            End::Client => (&mut self.up, &self.down),
            End::Upstream => (&mut self.down, &self.up),
        };
        if ready.writable {
            writing.writer.flush(core)?;
        }
        if ready.readable && reading.is_read {
            reading.read(core, self.links, scratch)?;
        } else if ready.hangup {
            let socket = self.socket(end);
            if let Some(error) = socket.take_error()? {
                return Err(error.into());
            }
            // It has ended both ways and would be reported for as long as the other direction takes.
            self.lane(end).input.unwatch(|| core.waiter.remove(socket))?;
        }
        self.pass_on_ends()?;
        self.watch(core);
        Ok(())
    }

    fn on_connected(&mut self, core: &mut Core, end: End) -> Result<(), Fault> {
        if end == End::Client {
            // Nothing but a hang-up is told of it until then.
            return Err(Fault::Io(ErrorKind::ConnectionReset.into()));
        }
        if let Some(error) = self.upstream.take_error()? {
            return Err(Fault::Refused(error));
        }
        self.is_connected = true;
        (self.up.is_read, self.down.is_read) = (true, true);
        self.watch(core);
        Ok(())
    }

    /// Credit has come back, or the last frame under way is gone.
    fn resume(&mut self, core: &mut Core, end: End) -> Result<(), Fault> {
        let links = self.links;
        let lane = match end {
            End::Client => &mut self.up,
            End::Upstream => &mut self.down,
        };
        lane.feed(core, links)?;
        self.pass_on_ends()?;
        self.watch(core);
        Ok(())
    }

    fn pass_on_ends(&self) -> io::Result<()> {
        self.up.pass_on_end()?;
        self.down.pass_on_end()
    }

    /// The direction that begins there.
    fn lane(&self, end: End) -> &Lane {
        match end {
            End::Client => &self.up,
            End::Upstream => &self.down,
        }
    }

    fn socket(&self, end: End) -> &TcpStream {
        match end {
            End::Client => &self.client,
            End::Upstream => &self.upstream,
        }
    }

    fn owns(&self, writer: &Rc<Writer>) -> bool {
        Rc::ptr_eq(&self.up.writer, writer) || Rc::ptr_eq(&self.down.writer, writer)
    }

    /// Tells the waiter what each socket is waited for.
    fn watch(&self, core: &Core) {
        for (socket, reading, writing) in
            [(&self.client, &self.up, &self.down), (&self.upstream, &self.down, &self.up)]
        {
            let interest =
                Interest { readable: reading.is_read, writable: writing.writer.is_blocked(), edge: false };
            reading.input.note_interest(interest, |token| watch(core, &**socket, token, interest));
        }
    }
}

impl Lane {
    /// Reads once, up to what fits the scratch; the waiter comes back if there is more.
    fn read(&mut self, core: &mut Core, links: FlowLinks, scratch: &mut [u8]) -> Result<(), Fault> {
        self.input.read(scratch)?;
        self.feed(core, links)
    }

    /// Puts whole frames into the link for as long as there is credit.
    fn feed(&mut self, core: &mut Core, links: FlowLinks) -> Result<(), Fault> {
        let link = match self.direction {
            Direction::Up => links.up,
            Direction::Down => links.down,
        };
        loop {
            match self.input.parse()? {
                Parsed::Frame { len } => {
                    let Some(credit) = self.credit.take(len) else {
                        if self.is_read {
                            core.tally.back_pressure += 1;
                        }
                        self.is_read = false;
                        self.credit.wait(self.input.token());
                        return Ok(());
                    };
                    let bytes = self.input.take(len);
                    let arrived = core.clock.now();
                    let size = ByteCount(len as u64);
                    let to = Outlet::Writer(Rc::clone(&self.writer));
                    let parcel = Parcel { bytes, protected: PREFIX, ecn: None, to, credit };
                    let meta = Meta { flow: links.number, ..Meta::of_size(size) };
                    core.board.handle(link, arrived, parcel, meta);
                }
                Parsed::More => {
                    self.is_read = true;
                    return Ok(());
                }
                Parsed::End => {
                    self.is_read = false;
                    return Ok(());
                }
            }
        }
    }

    /// An end of stream follows the last frame under way.
    fn pass_on_end(&self) -> io::Result<()> {
        if !self.input.has_ended() || self.writer.is_shut() {
            return Ok(());
        }
        if self.credit.is_idle() {
            self.writer.shut()
        } else {
            self.credit.wait(self.input.token());
            Ok(())
        }
    }

    fn is_over(&self) -> bool {
        self.input.has_ended() && self.writer.is_shut()
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

    fn rebind(&mut self, _core: &mut Core) {
        // A TCP connection does not survive another source port.
    }

    fn kernel_drops(&self) -> u64 {
        0 // TCP sends again what the kernel had no room for.
    }
}

/// Begins to connect to the upstream, and watches both sockets.
fn connect(
    core: &Core,
    client: TcpStream,
    slot: usize,
    links: FlowLinks,
    returned: &Returned,
) -> io::Result<Connection> {
    client.set_nonblocking(true)?;
    client.set_nodelay(true)?;
    let socket = Socket::new(Domain::for_address(core.upstream), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    match socket.connect(&core.upstream.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    let (client, upstream) = (Rc::new(client), Rc::new(TcpStream::from(socket)));
    core.waiter.add(&*client, token(slot, End::Client), Interest::NONE)?;
    core.waiter.add(&*upstream, token(slot, End::Upstream), Interest::WRITABLE)?;
    let lane = |direction, from: &Rc<TcpStream>, to: &Rc<TcpStream>, end| {
        let input = Input::new(Rc::clone(from), token(slot, end));
        let writer = Rc::new(Writer::new(Rc::clone(to), token(slot, end)));
        Lane { direction, input, writer, credit: Pool::new(CREDIT, returned), is_read: false }
    };
    let up = lane(Direction::Up, &client, &upstream, End::Client);
    let down = lane(Direction::Down, &upstream, &client, End::Upstream);
    Ok(Connection { links, client, upstream, is_connected: false, up, down })
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

fn watch(core: &Core, socket: &impl std::os::fd::AsFd, token: u64, interest: Interest) {
    if let Err(error) = core.waiter.modify(socket, token, interest) {
        tracing::warn!(%error, "cannot watch a socket");
    }
}

/// Which of a connection's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Upstream,
}

const LISTENER: u64 = 0;

/// Slot and end in one number above [`LISTENER`]'s.
fn token(slot: usize, end: End) -> u64 {
    2 * (slot as u64 + 1) + u64::from(end == End::Upstream)
}

fn places(token: u64) -> (usize, End) {
    let end = if token.is_multiple_of(2) { End::Client } else { End::Upstream };
    ((token / 2) as usize - 1, end)
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
enum Fault {
    /// The peer does not speak frames.
    #[error("{0}")]
    Malformed(&'static str),
    /// Nobody listens there.
    #[error(transparent)]
    Refused(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Length of the length.
const PREFIX: usize = 4;

/// Longest body, in bytes. What is above is taken for something that is not frames.
pub const MAX_FRAME: usize = 1 << 20;

/// Bytes of one direction of a connection that may be under way: four of the largest frames, or 100 ms at 300 Mbit/s.
/// Beyond it the sender is not read.
const CREDIT: usize = 4 << 20;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_name_slot_and_end() {
        for (slot, end) in [(0, End::Client), (0, End::Upstream), (9_999, End::Upstream)] {
            assert_ne!(token(slot, end), LISTENER);
            assert_eq!(places(token(slot, end)), (slot, end));
        }
    }
}
