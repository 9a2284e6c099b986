//! One relayed connection: two sockets, and a lane in each direction.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::rc::Rc;

use rustix::io::Errno;
use socket2::{Domain, Socket, Type};
use units::ByteCount;

use super::half::{Input, Parsed, Writer};
use crate::link::Meta;
use crate::pacer::Direction;
use crate::proxy::credit::{Pool, Returned};
use crate::proxy::driver::{Core, FlowLinks};
use crate::proxy::parcel::{Outlet, Parcel};
use crate::timing::{Interest, Ready};

pub(super) struct Connection {
    pub(super) links: FlowLinks,
    client: Rc<TcpStream>,
    upstream: Rc<TcpStream>,
    pub(super) is_connected: bool,
    pub(super) up: Lane,
    pub(super) down: Lane,
}

/// One direction of a connection: from one socket through a link to the other.
pub(super) struct Lane {
    direction: Direction,
    pub(super) input: Input,
    pub(super) writer: Rc<Writer>,
    credit: Rc<Pool>,
    /// What the waiter tells of the socket that is read.
    is_read: bool,
}

impl Connection {
    pub(super) fn on_ready(
        &mut self,
        core: &mut Core,
        ready: Ready,
        end: End,
        scratch: &mut [u8],
    ) -> Result<(), Fault> {
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
    pub(super) fn resume(&mut self, core: &mut Core, end: End) -> Result<(), Fault> {
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
    pub(super) fn lane(&self, end: End) -> &Lane {
        match end {
            End::Client => &self.up,
            End::Upstream => &self.down,
        }
    }

    pub(super) fn socket(&self, end: End) -> &TcpStream {
        match end {
            End::Client => &self.client,
            End::Upstream => &self.upstream,
        }
    }

    pub(super) fn owns(&self, writer: &Rc<Writer>) -> bool {
        Rc::ptr_eq(&self.up.writer, writer) || Rc::ptr_eq(&self.down.writer, writer)
    }

    /// Tells the waiter what each socket is waited for.
    pub(super) fn watch(&self, core: &Core) {
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

    pub(super) fn is_over(&self) -> bool {
        self.input.has_ended() && self.writer.is_shut()
    }
}

/// Begins to connect to the upstream, and watches both sockets.
pub(super) fn connect(
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

pub(super) fn watch(core: &Core, socket: &impl AsFd, token: u64, interest: Interest) {
    if let Err(error) = core.waiter.modify(socket, token, interest) {
        tracing::warn!(%error, "cannot watch a socket");
    }
}

/// Which of a connection's two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Upstream,
}

/// The token of the listening socket; connections have others.
pub(super) const LISTENER: u64 = 0;

/// Slot and end in one number above [`LISTENER`]'s.
pub(super) fn token(slot: usize, end: End) -> u64 {
    2 * (slot as u64 + 1) + u64::from(end == End::Upstream)
}

pub(super) fn places(token: u64) -> (usize, End) {
    let end = if token.is_multiple_of(2) { End::Client } else { End::Upstream };
    ((token / 2) as usize - 1, end)
}

/// Why a connection ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
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
pub(super) const PREFIX: usize = 4;

/// Bytes of one direction of a connection that may be under way: four of the largest frames, or 100 ms at 300 Mbit/s.
/// Beyond it the sender is not read.
const CREDIT: usize = 4 << 20;

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
