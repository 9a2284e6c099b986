//! A UDP relay with a table of flows.
//!
//! Each client address is a flow with its own connected socket to the upstream, so the upstream sees one peer for each
//! client and answers find their way back. A datagram keeps its boundaries, also when the kernel hands over several at
//! once; its size is that of its payload; it has arrived when the kernel got it (`stamp`). ECN bits pass, and
//! a mark of the link is set on them (RFC 3168).

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use quinn_udp::EcnCodepoint;
use units::{ByteCount, Timestamp};

use super::credit::{Pool, Returned};
use super::driver::{Core, FlowLinks, Shell};
use super::flows::FlowTable;
use super::parcel::{Outlet, Parcel, codepoint, ecn_of, payload};
use super::port::{Inbox, Outgoing, Port};
use super::stamp::Moment;
use super::{ProxyConfig, ProxyHandle, spawn};
use crate::link::{Delivery, Meta};
use crate::pacer::{Carrier, Direction, LinkId, Observer};
use crate::timing::{Interest, Ready, Waiter};

/// Starts a datagram relay; returns when it listens.
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
    let port = Port::bind(config.listen, None)?;
    let local_addr = port.local_addr()?;
    let idle_timeout = config.idle_timeout;
    let waiter = Waiter::new(config.clock, config.timing)?;
    waiter.add(&port, LISTENER, Interest::READABLE)?;
    let relay = move |core: &mut Core| Relay::new(core, Rc::new(port), local_addr, idle_timeout);
    spawn("datagrams", &config, local_addr, waiter, observer, relay)
}

/// One client address.
#[derive(Debug)]
pub(super) struct Flow {
    client: SocketAddr,
    /// Where the client sent to, if the listening socket has many addresses: answers come from there.
    local: Option<IpAddr>,
    links: FlowLinks,
    /// The one in use last; those before it are read until they have been silent for a while.
    upstreams: RefCell<Vec<Upstream>>,
    up: RefCell<Run>,
    down: RefCell<Run>,
}

/// A source port towards the upstream.
#[derive(Debug)]
struct Upstream {
    port: Rc<Port>,
    /// Tells it from the flow's others in a token.
    index: u64,
    active: Cell<Timestamp>,
    empty: Cell<Timestamp>,
}

/// Datagrams that left a link and wait for the end of the batch, in order.
#[derive(Debug, Default)]
struct Run {
    waiting: Vec<Leaving>,
}

#[derive(Debug)]
struct Leaving {
    bytes: Bytes,
    ecn: Option<EcnCodepoint>,
    due: Timestamp,
}

struct Relay {
    port: Rc<Port>,
    /// Whether the listening socket stands for all addresses of the machine.
    is_wildcard: bool,
    /// When it was last found empty.
    empty: Timestamp,
    flows: FlowTable<Rc<Flow>>,
    credit: Rc<Pool>,
    inbox: Inbox,
    /// Flows with something to send, each direction once.
    dirty: Vec<Outlet>,
    /// Datagrams of a run, one behind the other.
    scratch: Vec<u8>,
}

impl Relay {
    fn new(core: &Core, port: Rc<Port>, local_addr: SocketAddr, idle_timeout: Duration) -> Self {
        Self {
            port,
            is_wildcard: local_addr.ip().is_unspecified(),
            empty: core.clock.now(),
            flows: FlowTable::new(MAX_FLOWS, idle_timeout),
            credit: Pool::new(CREDIT, &Returned::default()),
            inbox: Inbox::new(),
            dirty: Vec::new(),
            scratch: Vec::new(),
        }
    }

    fn read_clients(&mut self, core: &mut Core) {
        let begun = core.clock.now();
        let Some(count) = read(&self.port, &mut self.inbox, core) else { return };
        let (moment, now) = (Moment::read(core.clock), core.clock.now());
        let mut earliest = self.empty;
        for index in 0..count {
            let (_, meta) = self.inbox.message(index);
            let (client, ecn, stride, len) = (meta.addr, meta.ecn, meta.stride, meta.len);
            let local = meta.dst_ip.filter(|_| self.is_wildcard);
            let arrived = moment.arrival(meta.timestamp, earliest, now);
            earliest = arrived;
            let Some((slot, flow)) = self.flow(core, client, local, now) else {
                // Refused, or no socket for it: counted.
                core.tally.io_overrun += count_of(len, stride);
                continue;
            };
            self.flows.touch(slot, arrived);
            let (bytes, _) = self.inbox.message(index);
            offer(core, &self.credit, &flow, Direction::Up, Message { bytes, stride, ecn, arrived });
        }
        self.empty = if count < BATCH { begun } else { earliest };
    }

    fn flow(
        &mut self,
        core: &mut Core,
        client: SocketAddr,
        local: Option<IpAddr>,
        now: Timestamp,
    ) -> Option<(usize, Rc<Flow>)> {
        if let Some(slot) = self.flows.find(client) {
            return self.flows.get(slot).map(|flow| (slot, Rc::clone(flow)));
        }
        if self.flows.is_full() {
            tracing::warn!(limit = MAX_FLOWS, "too many flows; refused one");
            return None;
        }
        let upstream = match open_upstream(core, self.flows.next_slot(), 0, now) {
            Ok(upstream) => upstream,
            Err(error) => {
                tracing::warn!(%error, "cannot open a socket to the upstream");
                return None;
            }
        };
        let flow = Rc::new(Flow {
            client,
            local,
            links: core.open_flow(Carrier::Datagrams, client),
            upstreams: RefCell::new(vec![upstream]),
            up: RefCell::default(),
            down: RefCell::default(),
        });
        Some((self.flows.insert(client, now, Rc::clone(&flow)), flow))
    }

    fn read_upstream(&mut self, core: &mut Core, slot: usize, index: u64) {
        // A flow may have ended in the same turn.
        let Some(flow) = self.flows.get(slot).map(Rc::clone) else { return };
        let upstreams = flow.upstreams.borrow();
        let Some(upstream) = upstreams.iter().find(|upstream| upstream.index == index) else { return };
        let begun = core.clock.now();
        let Some(count) = read(&upstream.port, &mut self.inbox, core) else { return };
        let (moment, now) = (Moment::read(core.clock), core.clock.now());
        let mut earliest = upstream.empty.get();
        for index in 0..count {
            let (bytes, meta) = self.inbox.message(index);
            let arrived = moment.arrival(meta.timestamp, earliest, now);
            earliest = arrived;
            let (stride, ecn) = (meta.stride, meta.ecn);
            offer(core, &self.credit, &flow, Direction::Down, Message { bytes, stride, ecn, arrived });
        }
        upstream.active.set(now);
        upstream.empty.set(if count < BATCH { begun } else { earliest });
        self.flows.touch(slot, now);
    }

    /// Sends what waits for one flow and direction, equal lengths together.
    fn send(&mut self, core: &mut Core, outlet: &Outlet) {
        let (flow, run) = match outlet {
            Outlet::ToUpstream(flow) => (flow, &flow.up),
            Outlet::ToClient(flow) => (flow, &flow.down),
            Outlet::Writer(_) => unreachable!("a datagram relay has no streams"),
        };
        let upstream = flow.upstream();
        let (port, destination, source) = match outlet {
            Outlet::ToUpstream(_) => (&*upstream, core.upstream, None),
            _ => (&*self.port, flow.client, flow.local),
        };
        let mut run = run.borrow_mut();
        let mut rest = run.waiting.as_slice();
        while let Some(first) = rest.first() {
            let len = run_len(rest, port.run_limit(first.bytes.len()));
            let (now, later) = rest.split_at(len);
            rest = later;
            let out = Outgoing { destination, contents: &first.bytes, segment: None, ecn: first.ecn, source };
            if len == 1 {
                send_one(core, port, &out, now);
                continue;
            }
            self.scratch.clear();
            now.iter().for_each(|leaving| self.scratch.extend_from_slice(&leaving.bytes));
            let whole = Outgoing { contents: &self.scratch, segment: Some(first.bytes.len()), ..out };
            if try_send(core, port, &whole, now).is_err() {
                // No offload for this path: each on its own, and its own error.
                for leaving in now {
                    let out = Outgoing { contents: &leaving.bytes, ..out };
                    send_one(core, port, &out, std::slice::from_ref(leaving));
                }
            }
        }
        run.waiting.clear();
    }

    fn close(&self, core: &mut Core, flow: &Flow) {
        for upstream in flow.upstreams.borrow().iter() {
            retire(core, upstream);
        }
        core.close_flow(flow.links);
    }
}

impl Shell for Relay {
    fn on_ready(&mut self, core: &mut Core, ready: Ready) {
        if ready.token == LISTENER {
            self.read_clients(core);
        } else {
            let (slot, index) = places(ready.token);
            self.read_upstream(core, slot, index);
        }
    }

    fn on_delivery(&mut self, _core: &mut Core, delivery: Delivery<Parcel>) {
        let leaving = Leaving { bytes: payload(&delivery), ecn: codepoint(&delivery), due: delivery.due };
        let to = delivery.packet.to;
        let is_first = match &to {
            Outlet::ToUpstream(flow) => flow.up.borrow_mut().push(leaving),
            Outlet::ToClient(flow) => flow.down.borrow_mut().push(leaving),
            Outlet::Writer(_) => unreachable!("a datagram relay has no streams"),
        };
        if is_first {
            self.dirty.push(to);
        }
    }

    fn flush(&mut self, core: &mut Core) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.drain(..).for_each(|outlet| self.send(core, &outlet));
        self.dirty = dirty;
    }

    fn resume(&mut self, _core: &mut Core) {
        // Nobody waits: UDP has nobody to push back, so a datagram without credit is dropped and counted.
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        self.flows.poll_timeout()
    }

    fn on_timeout(&mut self, core: &mut Core, now: Timestamp) {
        for flow in self.flows.expired(now) {
            self.close(core, &flow);
        }
        for flow in self.flows.iter() {
            flow.drain_old(core, now);
        }
    }

    fn rebind(&mut self, core: &mut Core, link: Option<LinkId>) {
        let now = core.clock.now();
        for slot in self.flows.occupied() {
            let Some(flow) = self.flows.get(slot) else { continue };
            let FlowLinks { up, down, .. } = flow.links;
            if link.is_none_or(|link| link == up || link == down) {
                flow.rebind(core, slot, now);
            }
        }
    }

    fn kernel_drops(&self) -> u64 {
        let upstreams = self.flows.iter().map(|flow| flow.kernel_drops());
        self.port.kernel_drops() + upstreams.sum::<u64>()
    }
}

impl Flow {
    fn upstream(&self) -> Rc<Port> {
        let upstreams = self.upstreams.borrow();
        Rc::clone(&upstreams.last().expect("a flow has a socket from its beginning to its end").port)
    }

    /// What a NAT does that has forgotten a flow: from now on its datagrams come from another port. Answers to the old
    /// one are still relayed until none has come for [`DRAIN`].
    fn rebind(&self, core: &mut Core, slot: usize, now: Timestamp) {
        let mut upstreams = self.upstreams.borrow_mut();
        let index = upstreams.last().map_or(0, |last| last.index + 1);
        match open_upstream(core, slot, index, now) {
            Ok(upstream) => upstreams.push(upstream),
            Err(error) => {
                tracing::warn!(%error, "cannot open another socket to the upstream; the flow keeps its own");
                return;
            }
        }
        core.tally.rebinds += 1;
        if upstreams.len() > MAX_UPSTREAMS {
            retire(core, &upstreams.remove(0));
        }
    }

    fn drain_old(&self, core: &mut Core, now: Timestamp) {
        let mut upstreams = self.upstreams.borrow_mut();
        let newest = upstreams.last().map_or(0, |last| last.index);
        upstreams.retain(|upstream| {
            let stays = upstream.index == newest || now.since(upstream.active.get()) < DRAIN;
            if !stays {
                retire(core, upstream);
            }
            stays
        });
    }

    fn kernel_drops(&self) -> u64 {
        self.upstreams.borrow().iter().map(|upstream| upstream.port.kernel_drops()).sum()
    }
}

impl Run {
    /// Whether it was empty before.
    fn push(&mut self, leaving: Leaving) -> bool {
        self.waiting.push(leaving);
        self.waiting.len() == 1
    }
}

/// What one read brought: a datagram, or several of `stride` bytes.
struct Message<'a> {
    bytes: &'a [u8],
    stride: usize,
    ecn: Option<EcnCodepoint>,
    arrived: Timestamp,
}

/// Hands the datagrams of a message to their link one by one, or counts them as overruns. Each is copied into memory of
/// its own: pieces of one buffer would keep all of it for as long as one of them is under way, and be charged for less.
fn offer(core: &mut Core, credit: &Rc<Pool>, flow: &Rc<Flow>, direction: Direction, message: Message<'_>) {
    let Message { bytes, stride, ecn, arrived } = message;
    let (link, to) = match direction {
        Direction::Up => (flow.links.up, Outlet::ToUpstream(Rc::clone(flow))),
        Direction::Down => (flow.links.down, Outlet::ToClient(Rc::clone(flow))),
    };
    for bytes in segments(bytes, stride) {
        let Some(credit) = credit.take(bytes.len()) else {
            core.tally.io_overrun += 1;
            continue;
        };
        let size = ByteCount(bytes.len() as u64);
        let meta = Meta { flow: flow.links.number, ecn: ecn_of(ecn), ..Meta::of_size(size) };
        let bytes = Bytes::copy_from_slice(bytes);
        let parcel = Parcel { bytes, protected: 0, ecn, to: to.clone(), credit };
        core.board.handle(link, arrived, parcel, meta);
    }
}

/// The datagrams of a message: one of no length at all, or pieces of `stride` of which the last may be shorter.
fn segments(bytes: &[u8], stride: usize) -> impl Iterator<Item = &[u8]> {
    let whole = bytes.is_empty().then_some(bytes);
    whole.into_iter().chain(bytes.chunks(stride.max(1)))
}

fn count_of(len: usize, stride: usize) -> u64 {
    len.div_ceil(stride.max(1)).max(1) as u64
}

/// How many of those waiting can leave as one: equally long, the last perhaps shorter, with equal ECN bits.
fn run_len(waiting: &[Leaving], limit: usize) -> usize {
    let Some((first, rest)) = waiting.split_first() else { return 0 };
    let mut len = 1;
    for next in rest.iter().take(limit - 1) {
        if next.ecn != first.ecn || next.bytes.len() > first.bytes.len() || next.bytes.is_empty() {
            break;
        }
        len += 1;
        if next.bytes.len() < first.bytes.len() {
            break;
        }
    }
    len
}

fn send_one(core: &mut Core, port: &Port, out: &Outgoing<'_>, leaving: &[Leaving]) {
    match try_send(core, port, out, leaving) {
        Ok(()) => {}
        Err(error) if is_full(&error) => core.tally.io_overrun += 1,
        Err(error) => {
            tracing::debug!(%error, "cannot send a datagram");
            core.tally.undeliverable += 1;
        }
    }
}

fn try_send(core: &mut Core, port: &Port, out: &Outgoing<'_>, leaving: &[Leaving]) -> io::Result<()> {
    let released = core.clock.now();
    let Core { tally, board, .. } = core;
    port.send(out, || tally.refused += 1)?;
    leaving.iter().for_each(|leaving| board.record_release(released, leaving.due));
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    let no_buffers = rustix::io::Errno::NOBUFS.raw_os_error();
    error.kind() == ErrorKind::WouldBlock || error.raw_os_error() == Some(no_buffers)
}

/// One batch. A connected socket reports an ICMP refusal of something it sent earlier as an error of the next read.
fn read(port: &Port, inbox: &mut Inbox, core: &mut Core) -> Option<usize> {
    match port.receive(inbox) {
        Ok(count) => Some(count),
        Err(error) => {
            match error.kind() {
                ErrorKind::WouldBlock => {}
                ErrorKind::ConnectionRefused => core.tally.refused += 1,
                _ => tracing::debug!(%error, "cannot read a datagram"),
            }
            None
        }
    }
}

fn open_upstream(core: &Core, slot: usize, index: u64, now: Timestamp) -> io::Result<Upstream> {
    let any = match core.upstream {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let port = Rc::new(Port::bind(any, Some(core.upstream))?);
    core.waiter.add(&*port, token(slot, index), Interest::READABLE)?;
    Ok(Upstream { port, index, active: Cell::new(now), empty: Cell::new(now) })
}

/// Closes a socket, once the last packet that is to leave by it has left.
fn retire(core: &mut Core, upstream: &Upstream) {
    core.tally.kernel_drops += upstream.port.kernel_drops();
    if let Err(error) = core.waiter.remove(&*upstream.port) {
        tracing::warn!(%error, "cannot stop watching a socket");
    }
}

const LISTENER: u64 = 0;

/// Slot and socket of a flow in one number above [`LISTENER`]'s.
fn token(slot: usize, index: u64) -> u64 {
    ((slot as u64 + 1) << 32) | (index & 0xFFFF_FFFF)
}

fn places(token: u64) -> (usize, u64) {
    ((token >> 32) as usize - 1, token & 0xFFFF_FFFF)
}

const BATCH: usize = quinn_udp::BATCH_SIZE;

/// Bytes under way in all flows of a proxy: two seconds at 1 Gbit/s. Beyond it datagrams are dropped and counted.
const CREDIT: usize = 256 << 20;

/// Client addresses at a time; each holds a socket and two links.
const MAX_FLOWS: usize = 8192;

/// Sockets of one flow; a NAT that changes its mind more often loses the oldest.
const MAX_UPSTREAMS: usize = 4;

/// How long an old source port waits for answers: longer than any round trip.
const DRAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_split_where_the_kernel_joined_it() {
        let split = |len: usize, stride| segments(&vec![0; len], stride).map(<[u8]>::len).collect::<Vec<_>>();
        assert_eq!(split(250, 100), [100, 100, 50]);
        assert_eq!(split(200, 100), [100, 100]);
        assert_eq!((split(7, 7), split(0, 0)), (vec![7], vec![0]));
        assert_eq!((count_of(250, 100), count_of(0, 0), count_of(7, 7)), (3, 1, 1));
    }

    #[test]
    fn a_run_ends_at_another_length_or_mark() {
        let leaving =
            |len: usize, ecn| Leaving { bytes: Bytes::from(vec![0; len]), ecn, due: Timestamp::ZERO };
        let plain = |lens: &[usize]| lens.iter().map(|len| leaving(*len, None)).collect::<Vec<_>>();
        assert_eq!(run_len(&plain(&[9, 9, 9]), 64), 3);
        assert_eq!(run_len(&plain(&[9, 9, 9]), 2), 2);
        assert_eq!(run_len(&plain(&[9, 5, 5]), 64), 2, "only the last may be shorter");
        assert_eq!(run_len(&plain(&[9, 10]), 64), 1);
        assert_eq!(run_len(&plain(&[9, 0]), 64), 1, "an empty datagram cannot end a run");
        assert_eq!(run_len(&[leaving(9, None), leaving(9, Some(EcnCodepoint::Ce))], 64), 1);
    }

    #[test]
    fn tokens_name_slot_and_socket() {
        for (slot, index) in [(0, 0), (0, 3), (8191, 1)] {
            assert_ne!(token(slot, index), LISTENER);
            assert_eq!(places(token(slot, index)), (slot, index));
        }
    }
}
