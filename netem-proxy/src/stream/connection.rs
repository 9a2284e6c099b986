//! One connection: two sockets, and a chain each way.
//!
//! Moves bytes and decides nothing. With nothing installed a direction is a read and a write on the same wake-up, from
//! one buffer that all connections of the thread use; else what is read passes the chain. What the destination does
//! not take waits in an outbox, and while that or the chain is full the source is not read: its own TCP window is
//! the back-pressure.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use socket2::SockRef;
use units::{Clock, Timestamp};

use super::chain::{Chain, End, Item, Plan};
use super::counters::add;
use super::proxy::{ConnectionInfo, ProxyShared};
use super::toxic::Direction;
use crate::timing::Lateness;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) proxy: Arc<ProxyShared>,
    number: u64,
    client_addr: SocketAddr,
    upstream_addr: SocketAddr,
    /// Client, upstream.
    sides: [Side; 2],
    /// By [`Direction::index`].
    flows: [Flow; 2],
}

#[derive(Debug)]
struct Side {
    stream: TcpStream,
    /// What the system said last; told at edges, so each stays until a call would block.
    readable: bool,
    writable: bool,
    hangup: bool,
    /// A write failed: whoever reads the end of this side learns that it was a reset.
    broken: bool,
}

#[derive(Debug)]
struct Flow {
    chain: Chain,
    outbox: VecDeque<Bytes>,
    outbox_bytes: usize,
    /// Nothing more will be read.
    read_ended: bool,
    /// What follows the outbox.
    end: Option<End>,
    /// The end was passed on.
    done: bool,
    /// The destination takes no more.
    dead: bool,
    is_full: bool,
    received: u64,
    sent: u64,
    polled: Timestamp,
}

/// What a driver lends to the connections it pumps.
#[derive(Debug)]
pub(super) struct Bench {
    pub(super) clock: Clock,
    pub(super) buffer: Box<[u8]>,
    pub(super) lateness: Lateness,
}

impl Bench {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, buffer: vec![0; BUFFER].into_boxed_slice(), lateness: Lateness::new() }
    }
}

/// What became of a connection by a [`Connection::pump`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pumped {
    /// To be pumped again at this time, if any, and when the system says that a side is ready.
    Waits(Option<Timestamp>),
    /// There is more to do; others come first.
    Again,
    Over(Over),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Both sides said all they had to.
    Done,
    /// A toxic closed it, or holds for ever what nobody waits for.
    Cut,
    Reset,
}

/// The two ends of a connection.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) client: TcpStream,
    pub(super) client_addr: SocketAddr,
    pub(super) upstream: TcpStream,
    pub(super) upstream_addr: SocketAddr,
}

impl Connection {
    pub(super) fn new(proxy: Arc<ProxyShared>, number: u64, ends: Ends, now: Timestamp) -> Self {
        let plans = proxy.plans();
        let seed = proxy.seed.fork(&format!("connection/{number}"));
        let flow = |direction: Direction| {
            Flow::new(Chain::new(seed.fork(direction.name()), &plans[direction.index()], now))
        };
        let flows = Direction::BOTH.map(flow);
        let sides = [ends.client, ends.upstream].map(Side::new);
        Self { number, client_addr: ends.client_addr, upstream_addr: ends.upstream_addr, sides, flows, proxy }
    }

    pub(super) fn streams(&self) -> [&TcpStream; 2] {
        [&self.sides[0].stream, &self.sides[1].stream]
    }

    /// The system says that a side is ready.
    pub(super) fn on_ready(&mut self, side: usize, readable: bool, writable: bool, hangup: bool) {
        let side = &mut self.sides[side];
        side.readable |= readable;
        side.writable |= writable;
        side.hangup |= hangup;
    }

    pub(super) fn configure(&mut self, now: Timestamp, plans: &[Plan; 2]) {
        for (flow, plan) in self.flows.iter_mut().zip(plans) {
            flow.chain.configure(now, plan);
        }
    }

    pub(super) fn info(&self) -> ConnectionInfo {
        let [up, down] = &self.flows;
        ConnectionInfo {
            number: self.number,
            client: self.client_addr,
            upstream: self.upstream_addr,
            up: up.counters(),
            down: down.counters(),
            toxics: self.flows.iter().flat_map(|flow| flow.chain.affecting().map(str::to_owned)).collect(),
            held: self.flows.iter().map(|flow| (flow.chain.held() + flow.outbox_bytes) as u64).sum(),
        }
    }

    /// Moves what can be moved, as long as there is something and it is this connection's turn.
    pub(super) fn pump(&mut self, bench: &mut Bench) -> Pumped {
        let mut again = false;
        for direction in Direction::BOTH {
            match self.pump_direction(direction, bench) {
                Ok(Turn::Waits) => {}
                Ok(Turn::Again) => again = true,
                Err(over) => return Pumped::Over(over),
            }
        }
        if let Some(over) = self.over() {
            return Pumped::Over(over);
        }
        if again {
            return Pumped::Again;
        }
        if self.is_abandoned() {
            return Pumped::Over(Over::Cut);
        }
        Pumped::Waits(self.flows.iter_mut().filter_map(Flow::timeout).min())
    }

    /// Makes the kernel send RST to both sides when they are closed.
    pub(super) fn arm_reset(&self) {
        for stream in self.streams() {
            // Fails only for a socket that is gone already.
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn over(&mut self) -> Option<Over> {
        let [up, down] = &self.flows;
        if up.done && down.done {
            return Some(Over::Done);
        }
        // One side takes no more and has no more to say.
        if (up.dead && (down.done || down.dead)) || (down.dead && up.done) {
            return Some(Over::Reset);
        }
        None
    }

    /// Whether both ends are gone, or one was reset, and nothing will move by itself: a toxic has swallowed the end, or
    /// holds it behind bytes that never leave. Nobody would notice the end of such a connection, so it would stay.
    fn is_abandoned(&mut self) -> bool {
        if !self.flows.iter_mut().all(Flow::is_stuck) {
            return false;
        }
        let [client, upstream] = &self.sides;
        let [up, down] = &self.flows;
        client.broken
            || upstream.broken
            || ((up.read_ended || client.has_sent_end()) && (down.read_ended || upstream.has_sent_end()))
    }

    fn pump_direction(&mut self, direction: Direction, bench: &mut Bench) -> Result<Turn, Over> {
        let (proxy, flow) = (&self.proxy, &mut self.flows[direction.index()]);
        let [client, upstream] = &mut self.sides;
        let (source, destination) = match direction {
            Direction::Upstream => (client, upstream),
            Direction::Downstream => (upstream, client),
        };
        let (received, sent) = (flow.received, flow.sent);
        let was_dead = flow.dead;
        if destination.learn_of_reset() {
            flow.die();
        }
        let mut turn = flow.pump(source, destination, bench, proxy);
        if flow.dead && !was_dead && turn.is_ok() {
            // The end of that side is to be read now, in the other direction.
            turn = Ok(Turn::Again);
        }
        add(&proxy.tally.received[direction.index()], flow.received - received);
        add(&proxy.tally.sent[direction.index()], flow.sent - sent);
        turn
    }
}

#[derive(PartialEq, Eq)]
enum Turn {
    Waits,
    Again,
}

impl Flow {
    fn new(chain: Chain) -> Self {
        Self {
            chain,
            outbox: VecDeque::new(),
            outbox_bytes: 0,
            read_ended: false,
            end: None,
            done: false,
            dead: false,
            is_full: false,
            received: 0,
            sent: 0,
            polled: Timestamp::ZERO,
        }
    }

    fn counters(&self) -> super::DirectionCounters {
        super::DirectionCounters { received: self.received, sent: self.sent }
    }

    /// Nothing to wait for while the outbox is stuck: when it empties, the chain is polled.
    fn timeout(&mut self) -> Option<Timestamp> {
        if self.done || self.dead || self.outbox_bytes >= OUTBOX_ENOUGH {
            None
        } else {
            self.chain.poll_timeout()
        }
    }

    /// Whether nothing leaves any more, unless something comes or is changed.
    fn is_stuck(&mut self) -> bool {
        let is_over = self.done || self.dead;
        is_over || (self.outbox.is_empty() && self.end.is_none() && self.chain.poll_timeout().is_none())
    }

    fn pump(
        &mut self,
        source: &mut Side,
        destination: &mut Side,
        bench: &mut Bench,
        proxy: &ProxyShared,
    ) -> Result<Turn, Over> {
        for _ in 0..ROUNDS {
            if self.done || self.dead {
                return Ok(Turn::Waits);
            }
            if self.chain.is_transparent() && self.end.is_none() {
                self.flush(destination);
                if !self.outbox.is_empty() || self.dead || !self.forward(source, destination, bench) {
                    return Ok(Turn::Waits);
                }
                continue;
            }
            self.collect(bench);
            self.flush(destination);
            if self.outbox.is_empty() && !self.dead {
                self.finish(destination)?;
            }
            // Reads last: if there is no room now, then because something is held, which a deadline or the destination
            // will move. To read first would leave an emptied chain with a source that nobody reads.
            let has_read = self.read(source, bench, proxy);
            // What could not be collected for a full outbox may go now.
            let has_more = self.outbox_bytes < OUTBOX_ENOUGH
                && self.chain.poll_timeout().is_some_and(|due| due <= self.polled);
            if !has_read && !has_more {
                return Ok(Turn::Waits);
            }
        }
        Ok(Turn::Again)
    }

    /// One read and one write, with nothing in between. Returns whether there may be more.
    fn forward(&mut self, source: &mut Side, destination: &mut Side, bench: &mut Bench) -> bool {
        if self.read_ended || !source.readable {
            return false;
        }
        match source.read(&mut bench.buffer) {
            Got::Nothing => false,
            Got::End(end) => {
                self.read_ended = true;
                self.end = Some(end);
                true
            }
            Got::Bytes(count) => {
                self.received += count as u64;
                let bytes = &bench.buffer[..count];
                let written = match destination.write(&[IoSlice::new(bytes)]) {
                    Ok(written) => written,
                    Err(Broken) => {
                        self.die();
                        return false;
                    }
                };
                self.sent += written as u64;
                if written < count {
                    self.outbox_bytes = count - written;
                    self.outbox.push_back(Bytes::copy_from_slice(&bytes[written..]));
                }
                true
            }
        }
    }

    /// One read into the chain, if there is room.
    fn read(&mut self, source: &mut Side, bench: &mut Bench, proxy: &ProxyShared) -> bool {
        if self.read_ended || !source.readable {
            return false;
        }
        let room = self.chain.bound().saturating_sub(self.chain.held() + self.outbox_bytes);
        // Once full, half of the smallest bound must be free again: a read of a few bytes costs as much as a large one.
        let wanted = if self.is_full { super::chain::LEAST_BOUND / 2 } else { 1 };
        if room < wanted {
            if !self.is_full {
                self.is_full = true;
                add(&proxy.tally.back_pressure, 1);
            }
            return false;
        }
        self.is_full = false;
        let item = match source.read(&mut bench.buffer[..room.min(CHUNK)]) {
            Got::Nothing => return false,
            Got::Bytes(count) => {
                self.received += count as u64;
                Item::Data(Bytes::copy_from_slice(&bench.buffer[..count]))
            }
            Got::End(end) => {
                self.read_ended = true;
                Item::End(end)
            }
        };
        if self.end.is_none() {
            self.chain.handle(bench.clock.now(), item);
        }
        true
    }

    /// What the chain releases goes to the outbox.
    fn collect(&mut self, bench: &mut Bench) {
        let now = bench.clock.now();
        while self.end.is_none()
            && self.outbox_bytes < OUTBOX_ENOUGH
            && let Some((due, item)) = self.chain.poll_output(now)
        {
            // What was due before it was looked for the last time waited for the destination, not for this thread.
            if due > self.polled {
                bench.lateness.record(now, due);
            }
            match item {
                Item::Data(bytes) => {
                    self.outbox_bytes += bytes.len();
                    self.outbox.push_back(bytes);
                }
                Item::End(end) => self.end = Some(end),
            }
        }
        self.polled = now;
    }

    fn flush(&mut self, destination: &mut Side) {
        let at_once = if self.chain.keeps_boundaries() { 1 } else { VECTORS };
        while !self.outbox.is_empty() && destination.writable {
            let mut slices = [IoSlice::new(&[]); VECTORS];
            let mut count = 0;
            for bytes in self.outbox.iter().take(at_once) {
                slices[count] = IoSlice::new(bytes);
                count += 1;
            }
            match destination.write(&slices[..count]) {
                Ok(written) => self.take_written(written),
                Err(Broken) => return self.die(),
            }
        }
    }

    fn take_written(&mut self, mut written: usize) {
        self.sent += written as u64;
        self.outbox_bytes -= written;
        while let Some(front) = self.outbox.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.outbox.pop_front();
        }
    }

    /// Passes the end on when everything before it has been written.
    fn finish(&mut self, destination: &Side) -> Result<(), Over> {
        match self.end {
            None => {}
            Some(End::Close) => return Err(Over::Cut),
            Some(End::Reset) => return Err(Over::Reset),
            Some(End::Eof) => {
                self.done = true;
                // Fails when the other side is gone, which its own end will say.
                let _ = destination.stream.shutdown(Shutdown::Write);
            }
        }
        Ok(())
    }

    /// The destination is gone; what it was to get goes nowhere.
    fn die(&mut self) {
        self.dead = true;
        self.outbox.clear();
        self.outbox_bytes = 0;
    }
}

enum Got {
    Bytes(usize),
    Nothing,
    End(End),
}

/// Writing failed for good.
struct Broken;

impl Side {
    fn new(stream: TcpStream) -> Self {
        // The first edge may have passed before the socket was watched, so both are tried.
        Self { stream, readable: true, writable: true, hangup: false, broken: false }
    }

    /// Whether the peer has reset the connection since the last time, which nobody may notice by reading: its end may
    /// have been read long ago.
    fn learn_of_reset(&mut self) -> bool {
        let is_reset = std::mem::take(&mut self.hangup) && matches!(self.stream.take_error(), Ok(Some(_)));
        if is_reset {
            self.broken = true;
            self.readable = true;
        }
        is_reset
    }

    /// Whether the peer's end has arrived, be it behind bytes that there is no room for. A system call, so it is asked
    /// only when nothing else moves; the arrival itself was an edge.
    fn has_sent_end(&self) -> bool {
        let mut asked = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let ended = PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR;
        poll(&mut asked, Some(&at_once)).is_ok() && asked[0].revents().intersects(ended)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Got {
        loop {
            return match (&self.stream).read(buffer) {
                Ok(0) if self.broken => Got::End(End::Reset),
                Ok(0) => Got::End(End::Eof),
                Ok(count) => Got::Bytes(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.readable = false;
                    Got::Nothing
                }
                Err(_) => Got::End(End::Reset),
            };
        }
    }

    /// Returns how much was taken; less than all means that the side is full.
    fn write(&mut self, slices: &[IoSlice<'_>]) -> Result<usize, Broken> {
        loop {
            return match (&self.stream).write_vectored(slices) {
                Ok(count) => Ok(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    Ok(0)
                }
                Err(_) => {
                    self.broken = true;
                    // Its end, or the error, can be read now, whether an edge says so or not.
                    self.readable = true;
                    Err(Broken)
                }
            };
        }
    }
}

/// One read on the fast path. A gigabyte takes 0.6 s of processor time with 16 KiB, 0.45 s with 128 KiB and 0.38 s with
/// 256 KiB (loaded 2-core machine); more would not stay in the second-level cache.
const BUFFER: usize = 128 * 1024;

/// One read into a chain, as in Toxiproxy.
const CHUNK: usize = 32 * 1024;

/// Reads of one direction before other connections get their turn.
const ROUNDS: usize = 16;

/// Slices of one write; the kernel takes up to 1024, and more than a few change nothing.
const VECTORS: usize = 32;

/// Taken out of the chain ahead of the destination; the rest stays where its bound counts it.
const OUTBOX_ENOUGH: usize = 256 * 1024;
