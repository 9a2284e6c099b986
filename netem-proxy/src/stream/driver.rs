//! A thread that drives connections: waits, moves bytes, keeps deadlines.
//!
//! Each connection lives on one driver, so nothing on the data path is locked. Other threads send [`Command`]s, which
//! are done between two rounds. A round: wait for sockets, commands or the earliest deadline; note who is concerned;
//! give each of them its turn; note their next deadlines.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use units::{Clock, Timestamp};

use super::connection::{Bench, Connection, Ends, Over, Pumped};
use super::counters::{add, take_one};
use super::dial::{Dial, Dialled, Resolver};
use super::proxy::{CONFIRM_WITHIN, ConnectionInfo, ProxyShared};
use super::slots::{Key, Slots};
use super::toxic::ToxicError;
use crate::timing::{Interest, Lateness, Ready, TimingStats, Waiter, Waker};

/// What other threads ask of a driver.
pub(super) enum Command {
    Listen {
        proxy: Arc<ProxyShared>,
        listener: TcpListener,
    },
    Adopt {
        proxy: Arc<ProxyShared>,
        client: TcpStream,
        client_addr: SocketAddr,
    },
    Resolved {
        key: Key,
        addresses: Vec<SocketAddr>,
    },
    Configure {
        proxy: u64,
        ack: mpsc::Sender<()>,
    },
    Inspect {
        proxy: u64,
        reply: mpsc::Sender<Vec<ConnectionInfo>>,
    },
    Report {
        reply: mpsc::Sender<(Lateness, TimingStats)>,
    },
    Close {
        proxy: u64,
        ack: mpsc::Sender<()>,
    },
    Stop,
    /// A mistake in the code, to see what becomes of it.
    #[cfg(test)]
    Panic,
}

/// How to reach all drivers of an engine.
#[derive(Clone, Debug)]
pub(super) struct Drivers {
    mailboxes: Arc<[Mailbox]>,
}

#[derive(Clone, Debug)]
pub(super) struct Mailbox {
    commands: mpsc::Sender<Command>,
    waker: Waker,
    /// Connections, dialling ones included.
    load: Arc<AtomicUsize>,
}

impl Mailbox {
    /// Whether it will be looked at: not when the driver has ended, and with it everything that a command could concern.
    fn send(&self, command: Command) -> bool {
        let is_sent = self.commands.send(command).is_ok();
        if is_sent {
            self.waker.wake();
        }
        is_sent
    }
}

impl Drivers {
    pub(super) fn new(mailboxes: Vec<Mailbox>) -> Self {
        Self { mailboxes: mailboxes.into() }
    }

    pub(super) fn send(&self, driver: usize, command: Command) -> bool {
        self.mailboxes[driver % self.mailboxes.len()].send(command)
    }

    pub(super) fn broadcast(&self, command: impl Fn() -> Command) {
        for mailbox in self.mailboxes.iter() {
            mailbox.send(command());
        }
    }

    /// Sends a command to all and waits until all have done it.
    pub(super) fn confirm(&self, command: impl Fn(mpsc::Sender<()>) -> Command) -> Result<(), ToxicError> {
        let (ack, acks) = mpsc::channel();
        self.broadcast(|| command(ack.clone()));
        drop(ack);
        for _ in 0..self.mailboxes.len() {
            match acks.recv_timeout(CONFIRM_WITHIN) {
                Ok(()) => {}
                Err(mpsc::RecvTimeoutError::Timeout) => return Err(ToxicError::Unconfirmed),
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(ToxicError::Closed),
            }
        }
        Ok(())
    }

    fn connections(&self) -> usize {
        self.mailboxes.iter().map(|mailbox| mailbox.load.load(Ordering::Relaxed)).sum()
    }

    /// Where a new connection goes: to the least loaded, to `own` if that is one of them.
    fn place(&self, own: usize) -> usize {
        let load = |driver: usize| self.mailboxes[driver].load.load(Ordering::Relaxed);
        (0..self.mailboxes.len()).min_by_key(|&driver| (load(driver), driver != own)).unwrap_or(own)
    }
}

pub(super) struct Driver {
    number: usize,
    waiter: Waiter,
    commands: mpsc::Receiver<Command>,
    load: Arc<AtomicUsize>,
    bench: Bench,
    entries: Slots<Entry>,
    timers: BinaryHeap<Reverse<(Timestamp, Key)>>,
    /// Those who get a turn in this round.
    turns: Vec<Key>,
}

#[derive(PartialEq, Eq)]
enum Told {
    GoOn,
    Stop,
}

/// What a token stands for.
enum Entry {
    Listener { proxy: Arc<ProxyShared>, listener: TcpListener },
    Dialling { proxy: Arc<ProxyShared>, number: u64, client: TcpStream, client_addr: SocketAddr, dial: Dial },
    Open { connection: Box<Connection>, armed: Option<Timestamp>, has_turn: bool },
}

impl Entry {
    fn proxy(&self) -> &Arc<ProxyShared> {
        match self {
            Self::Listener { proxy, .. } | Self::Dialling { proxy, .. } => proxy,
            Self::Open { connection, .. } => &connection.proxy,
        }
    }
}

impl Driver {
    pub(super) fn new(number: usize, waiter: Waiter, clock: Clock) -> (Self, Mailbox) {
        let (sender, commands) = mpsc::channel();
        let load = Arc::new(AtomicUsize::new(0));
        let mailbox = Mailbox { commands: sender, waker: waiter.waker(), load: Arc::clone(&load) };
        let driver = Self {
            number,
            waiter,
            commands,
            load,
            bench: Bench::new(clock),
            entries: Slots::default(),
            timers: BinaryHeap::new(),
            turns: Vec::new(),
        };
        (driver, mailbox)
    }

    /// Until [`Command::Stop`].
    ///
    /// # Errors
    /// When the system does not let it wait.
    pub(super) fn run(mut self, drivers: &Drivers, resolver: &Resolver) -> io::Result<()> {
        let mut ready = Vec::new();
        loop {
            // 1. Wait.
            let deadline = if self.turns.is_empty() { self.next_deadline() } else { Some(Timestamp::ZERO) };
            self.waiter.wait(deadline, &mut ready)?;
            // 2. Commands.
            if self.on_commands(drivers, resolver) == Told::Stop {
                return Ok(());
            }
            // 3. Sockets.
            for event in &ready {
                self.on_ready(*event, drivers, resolver);
            }
            // 4. Deadlines.
            let now = self.bench.clock.now();
            while let Some(Reverse((at, key))) = self.timers.peek().copied()
                && at <= now
            {
                self.timers.pop();
                self.on_deadline(key, now, drivers, resolver);
            }
            // 5. Turns. A round of thousands takes long, and whoever sent a command waits for it.
            for turns in std::mem::take(&mut self.turns).chunks(TURNS_AT_ONCE) {
                turns.iter().for_each(|key| self.give_turn(*key));
                if self.on_commands(drivers, resolver) == Told::Stop {
                    return Ok(());
                }
            }
        }
    }

    /// The earliest deadline that still means something. Others are dropped on the way: a dial that has been answered would
    /// keep a spinning driver busy for half a minute.
    fn next_deadline(&mut self) -> Option<Timestamp> {
        while let Some(Reverse((at, key))) = self.timers.peek().copied() {
            let is_wanted = match self.entries.get(key) {
                None => false,
                Some(Entry::Open { armed, .. }) => *armed == Some(at),
                Some(Entry::Listener { .. } | Entry::Dialling { .. }) => true,
            };
            if is_wanted {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }

    fn on_commands(&mut self, drivers: &Drivers, resolver: &Resolver) -> Told {
        while let Ok(command) = self.commands.try_recv() {
            if matches!(command, Command::Stop) {
                return Told::Stop;
            }
            self.on_command(command, drivers, resolver);
        }
        Told::GoOn
    }

    fn on_command(&mut self, command: Command, drivers: &Drivers, resolver: &Resolver) {
        match command {
            Command::Listen { proxy, listener } => self.listen(proxy, listener),
            Command::Adopt { proxy, client, client_addr } => {
                self.adopt(&proxy, client, client_addr, drivers, resolver);
            }
            Command::Resolved { key, addresses } => self.on_resolved(key, addresses),
            Command::Configure { proxy, ack } => {
                self.configure(proxy);
                let _ = ack.send(());
            }
            Command::Inspect { proxy, reply } => {
                let _ = reply.send(self.inspect(proxy));
            }
            Command::Report { reply } => {
                let _ = reply.send((self.bench.lateness.clone(), self.waiter.stats()));
            }
            Command::Close { proxy, ack } => {
                self.close_all(proxy);
                let _ = ack.send(());
            }
            Command::Stop => unreachable!("the loop ends on it"),
            #[cfg(test)]
            Command::Panic => panic!("asked to"),
        }
    }

    fn listen(&mut self, proxy: Arc<ProxyShared>, listener: TcpListener) {
        let key = self.entries.insert(Entry::Listener { proxy, listener });
        let Some(Entry::Listener { listener, .. }) = self.entries.get(key) else { return };
        if let Err(error) = self.waiter.add(listener, key.token(0), Interest::READABLE) {
            tracing::error!(%error, "cannot watch a listener");
            self.entries.remove(key);
        }
    }

    fn on_ready(&mut self, event: Ready, drivers: &Drivers, resolver: &Resolver) {
        let (key, side) = Key::from_token(event.token);
        match self.entries.get_mut(key) {
            // Closed earlier in this round.
            None => {}
            Some(Entry::Listener { .. }) => self.accept(key, drivers, resolver),
            Some(Entry::Dialling { dial, .. }) => {
                // Only the upstream's socket is watched yet.
                let dialled = dial.proceed();
                self.on_dialled(key, dialled);
            }
            Some(Entry::Open { connection, has_turn, .. }) => {
                connection.on_ready(side, event.readable, event.writable, event.hangup);
                if !std::mem::replace(has_turn, true) {
                    self.turns.push(key);
                }
            }
        }
    }

    fn on_deadline(&mut self, key: Key, now: Timestamp, drivers: &Drivers, resolver: &Resolver) {
        match self.entries.get_mut(key) {
            None => {}
            Some(Entry::Listener { .. }) => self.resume_accepting(key, drivers, resolver),
            Some(Entry::Dialling { dial, .. }) if dial.deadline <= now => {
                self.on_dialled(key, Dialled::Refused);
            }
            Some(Entry::Open { armed, has_turn, .. }) if armed.is_some_and(|at| at <= now) => {
                *armed = None;
                if !std::mem::replace(has_turn, true) {
                    self.turns.push(key);
                }
            }
            // Another deadline has taken the place of this one.
            Some(Entry::Dialling { .. } | Entry::Open { .. }) => {}
        }
    }

    /// Takes what waits at the door, a few at a time so that others are not kept waiting.
    fn accept(&mut self, key: Key, drivers: &Drivers, resolver: &Resolver) {
        for _ in 0..ACCEPTS_AT_ONCE {
            let Some(Entry::Listener { proxy, listener }) = self.entries.get(key) else { return };
            let proxy = Arc::clone(proxy);
            match listener.accept() {
                Ok((client, client_addr)) => self.take_in(&proxy, client, client_addr, drivers, resolver),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The client has gone again.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    tracing::warn!(%error, proxy = proxy.name, "cannot accept; trying again shortly");
                    add(&proxy.tally.accept_pauses, 1);
                    return self.pause_accepting(key);
                }
            }
        }
    }

    fn pause_accepting(&mut self, key: Key) {
        let Some(Entry::Listener { listener, .. }) = self.entries.get(key) else { return };
        let _ = self.waiter.modify(listener, key.token(0), Interest::NONE);
        self.timers.push(Reverse((self.bench.clock.now() + ACCEPT_PAUSE, key)));
    }

    fn resume_accepting(&mut self, key: Key, drivers: &Drivers, resolver: &Resolver) {
        let Some(Entry::Listener { listener, .. }) = self.entries.get(key) else { return };
        let _ = self.waiter.modify(listener, key.token(0), Interest::READABLE);
        self.accept(key, drivers, resolver);
    }

    fn take_in(
        &mut self,
        proxy: &Arc<ProxyShared>,
        client: TcpStream,
        client_addr: SocketAddr,
        drivers: &Drivers,
        resolver: &Resolver,
    ) {
        if drivers.connections() >= MAX_CONNECTIONS {
            return add(&proxy.tally.over_limit, 1);
        }
        let driver = drivers.place(self.number);
        // Counted at once, so that the next one sees it.
        drivers.mailboxes[driver].load.fetch_add(1, Ordering::Relaxed);
        if driver == self.number {
            self.adopt(proxy, client, client_addr, drivers, resolver);
        } else {
            drivers.send(driver, Command::Adopt { proxy: Arc::clone(proxy), client, client_addr });
        }
    }

    /// A new connection: dials its upstream.
    fn adopt(
        &mut self,
        proxy: &Arc<ProxyShared>,
        client: TcpStream,
        client_addr: SocketAddr,
        drivers: &Drivers,
        resolver: &Resolver,
    ) {
        if proxy.closed.load(Ordering::Acquire) {
            return self.let_go();
        }
        let now = self.bench.clock.now();
        let number = proxy.next_connection.fetch_add(1, Ordering::Relaxed);
        add(&proxy.tally.total, 1);
        add(&proxy.tally.open, 1);
        let _ = client.set_nonblocking(true);
        let _ = client.set_nodelay(true);
        let dial = Dial::new(now);
        let deadline = dial.deadline;
        let proxy = Arc::clone(proxy);
        let upstream = proxy.upstream();
        let key = self.entries.insert(Entry::Dialling { proxy, number, client, client_addr, dial });
        if let Ok(address) = upstream.parse::<SocketAddr>() {
            return self.on_resolved(key, vec![address]);
        }
        self.timers.push(Reverse((deadline, key)));
        let (mailboxes, own) = (drivers.clone(), self.number);
        let tell = move |addresses| {
            mailboxes.send(own, Command::Resolved { key, addresses });
        };
        if !resolver.resolve(upstream, Box::new(tell)) {
            self.on_dialled(key, Dialled::Refused);
        }
    }

    fn on_resolved(&mut self, key: Key, addresses: Vec<SocketAddr>) {
        if let Some(Entry::Dialling { dial, .. }) = self.entries.get_mut(key) {
            let dialled = dial.start(addresses);
            if matches!(dialled, Dialled::Trying) {
                self.timers.push(Reverse((dial.deadline, key)));
            }
            self.on_dialled(key, dialled);
        }
    }

    fn on_dialled(&mut self, key: Key, dialled: Dialled) {
        match dialled {
            Dialled::Trying => self.watch_dial(key),
            Dialled::Connected(upstream, address) => self.open(key, upstream, address),
            Dialled::Refused => {
                // Closing is what the client sees: an end, as from Toxiproxy.
                if let Some(Entry::Dialling { proxy, .. }) = self.entries.remove(key) {
                    add(&proxy.tally.refused, 1);
                    take_one(&proxy.tally.open);
                    self.let_go();
                }
            }
        }
    }

    fn watch_dial(&mut self, key: Key) {
        let Some(Entry::Dialling { dial, .. }) = self.entries.get(key) else { return };
        let Some(socket) = dial.socket() else { return };
        // Spurious readiness leads here again with the same socket.
        match self.waiter.add(socket, key.token(UPSTREAM), EDGES) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::error!(%error, "cannot watch a socket");
                self.on_dialled(key, Dialled::Refused);
            }
            _ => {}
        }
    }

    /// Both ends are there.
    fn open(&mut self, key: Key, upstream: TcpStream, upstream_addr: SocketAddr) {
        let now = self.bench.clock.now();
        let _ = upstream.set_nodelay(true);
        let Some(Entry::Dialling { proxy, number, client, client_addr, .. }) = self.entries.take(key) else {
            return;
        };
        let ends = Ends { client, client_addr, upstream, upstream_addr };
        let connection = Box::new(Connection::new(proxy, number, ends, now));
        let watched = connection.streams().into_iter().enumerate().try_for_each(|(side, stream)| {
            match self.waiter.add(stream, key.token(side), EDGES) {
                // The dial has watched it already.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
                other => other,
            }
        });
        self.entries.put(key, Entry::Open { connection, armed: None, has_turn: true });
        match watched {
            Ok(()) => self.turns.push(key),
            Err(error) => {
                tracing::error!(%error, "cannot watch a socket");
                self.end(key, Over::Reset);
            }
        }
    }

    fn give_turn(&mut self, key: Key) {
        let Some(Entry::Open { connection, armed, has_turn }) = self.entries.get_mut(key) else { return };
        *has_turn = false;
        match connection.pump(&mut self.bench) {
            Pumped::Waits(None) => *armed = None,
            Pumped::Waits(Some(at)) => {
                if *armed != Some(at) {
                    *armed = Some(at);
                    self.timers.push(Reverse((at, key)));
                }
            }
            Pumped::Again => {
                *has_turn = true;
                self.turns.push(key);
            }
            Pumped::Over(over) => self.end(key, over),
        }
    }

    fn end(&mut self, key: Key, over: Over) {
        let Some(Entry::Open { connection, .. }) = self.entries.remove(key) else { return };
        let tally = &connection.proxy.tally;
        take_one(&tally.open);
        match over {
            Over::Done => {}
            Over::Cut => add(&tally.cut, 1),
            Over::Reset => {
                add(&tally.resets, 1);
                connection.arm_reset();
            }
        }
        self.let_go();
    }

    /// What is installed on a proxy has changed.
    fn configure(&mut self, proxy: u64) {
        let now = self.bench.clock.now();
        let mut plans = None;
        for (key, entry) in self.entries.iter_mut() {
            if let Entry::Open { connection, has_turn, .. } = entry
                && connection.proxy.id == proxy
            {
                let plans = plans.get_or_insert_with(|| connection.proxy.plans());
                connection.configure(now, plans);
                if !std::mem::replace(has_turn, true) {
                    self.turns.push(key);
                }
            }
        }
    }

    fn inspect(&self, proxy: u64) -> Vec<ConnectionInfo> {
        let of_proxy = |entry: &Entry| match entry {
            Entry::Open { connection, .. } if connection.proxy.id == proxy => Some(connection.info()),
            _ => None,
        };
        self.entries.iter().filter_map(|(_, entry)| of_proxy(entry)).collect()
    }

    fn close_all(&mut self, proxy: u64) {
        let of_proxy = self.entries.iter().filter(|(_, entry)| entry.proxy().id == proxy);
        let keys: Vec<Key> = of_proxy.map(|(key, _)| key).collect();
        for key in keys {
            if let Some(entry) = self.entries.remove(key)
                && !matches!(entry, Entry::Listener { .. })
            {
                take_one(&entry.proxy().tally.open);
                self.let_go();
            }
        }
    }

    /// One connection less.
    fn let_go(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

const UPSTREAM: usize = 1;

const EDGES: Interest = Interest { readable: true, writable: true, edge: true };

/// Connections of an engine, dialling ones included; more are closed at once and counted. Each takes two descriptors
/// and, with nothing installed, about a kilobyte.
pub const MAX_CONNECTIONS: usize = 16_384;

/// A burst of connections waits for the rest of the loop after so many.
const ACCEPTS_AT_ONCE: usize = 64;

/// Some hundred microseconds of work.
const TURNS_AT_ONCE: usize = 32;

/// Long enough for something to be closed, short enough to be overlooked.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
