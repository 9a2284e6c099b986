//! The thread that carries packets in one direction: from one device, through the links, to the other device.
//!
//! One thread a direction and nothing shared between them: the two directions of a connection keep two processors
//! busy. A packet's time of arrival is when it was read; TUN devices have no kernel stamp.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;

use hdrhistogram::Histogram;
use serde::Serialize;
use units::{Clock, Seed, Timestamp};

use super::device::Device;
use super::frame::Frame;
use super::gather::{Gather, Outgoing, Unit};
use super::lanes::Lanes;
use super::pool::Pool;
use crate::link::LinkCounters;
use crate::pacer::{Direction, Observer};
use crate::profile::LinkProfile;
use crate::proxy::Scope;
use crate::timing::{Interest, Lateness, Ready, Timing, TimingStats, Waiter, Waker, realtime};

/// What a forwarding thread is given.
#[derive(Debug)]
pub(super) struct ForwarderConfig {
    pub(super) direction: Direction,
    pub(super) profile: LinkProfile,
    pub(super) seed: Seed,
    pub(super) scope: Scope,
    pub(super) clock: Clock,
    pub(super) origin: Timestamp,
    pub(super) timing: Timing,
    pub(super) is_realtime: bool,
    pub(super) from: Arc<Device>,
    pub(super) to: Arc<Device>,
    pub(super) observer: Option<Box<dyn Observer<Unit>>>,
}

/// What happened in one direction.
#[derive(Debug)]
pub struct DirectionOutcome {
    pub counters: LinkCounters,
    /// Model time under way of delivered packets, µs.
    pub delays: Histogram<u64>,
    /// Release minus due time of delivered packets.
    pub lateness: Lateness,
    pub timing: TimingStats,
    pub flows: u64,
    pub io: IoCounters,
    /// The thread ended before it was told to: its device was gone, or the system refused to wait.
    pub ended_early: bool,
}

/// How far a link has come, for those who wait for the end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Whether nothing is under way.
    pub is_idle: bool,
    /// Packets or superpackets that came in so far.
    pub reads: u64,
}

/// What the devices did, apart from the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
pub struct IoCounters {
    /// Reads that brought a packet or superpacket, and writes that took one.
    pub reads: u64,
    pub writes: u64,
    /// Packets that the link let through and the kernel did not take: lost by us.
    pub io_overrun: u64,
    /// Of these, packets the kernel called invalid. Damaged ones may be, and those are not in `io_overrun`.
    pub refused: u64,
    /// Superpackets that could not be cut and met one fate as a whole.
    pub unsplit: u64,
    /// Times that reading paused because too much was under way.
    pub back_pressure: u64,
}

/// A running forwarding thread.
#[derive(Debug)]
pub(super) struct Forwarder {
    shared: Arc<Shared>,
    waker: Waker,
    thread: JoinHandle<Option<DirectionOutcome>>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopping: AtomicBool,
    /// Whether nothing is under way.
    is_idle: AtomicBool,
    reads: AtomicU64,
}

impl Forwarder {
    pub(super) fn start(config: ForwarderConfig) -> io::Result<Self> {
        let shared = Arc::new(Shared { is_idle: true.into(), ..Shared::default() });
        let for_thread = shared.clone();
        let name = format!("link-{:?}", config.direction).to_lowercase();
        // A waiter belongs to its thread, so that is where it is made.
        let (report, made) = mpsc::sync_channel(1);
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let waiter = match Waiter::new(config.clock, config.timing) {
                Ok(waiter) => waiter,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return None;
                }
            };
            take_precedence();
            let precedence = if config.is_realtime { realtime::enter() } else { Ok(()) };
            let added = precedence.and_then(|()| waiter.add(&*config.from, 0, Interest::READABLE));
            let _ = report.send(added.map(|()| waiter.waker()));
            Some(Carriage::new(config, waiter, for_thread).run())
        })?;
        let waker = made.recv().map_err(|_| io::Error::other("a forwarding thread ended"))??;
        Ok(Self { shared, waker, thread })
    }

    pub(super) fn progress(&self) -> Progress {
        Progress {
            is_idle: self.shared.is_idle.load(Ordering::Relaxed),
            reads: self.shared.reads.load(Ordering::Relaxed),
        }
    }

    pub(super) fn stop(self) -> io::Result<DirectionOutcome> {
        self.shared.is_stopping.store(true, Ordering::Release);
        self.waker.wake();
        let outcome = self.thread.join().ok().flatten();
        outcome.ok_or_else(|| io::Error::other("a forwarding thread panicked"))
    }
}

/// What the thread owns.
struct Carriage {
    clock: Clock,
    from: Arc<Device>,
    to: Arc<Device>,
    waiter: Waiter,
    shared: Arc<Shared>,
    lanes: Lanes,
    pool: Pool,
    gather: Gather,
    head: Vec<u8>,
    lateness: Lateness,
    io: IoCounters,
}

enum Read {
    /// So many bytes.
    Some(usize),
    Nothing,
    /// Too much is under way; what comes has to wait in the kernel.
    Held,
    Gone,
}

impl Carriage {
    fn new(config: ForwarderConfig, waiter: Waiter, shared: Arc<Shared>) -> Self {
        let ForwarderConfig { direction, profile, seed, scope, origin, .. } = config;
        let gather = Gather::joining(config.to.joining());
        Self {
            clock: config.clock,
            from: config.from,
            to: config.to,
            waiter,
            shared,
            lanes: Lanes::new(profile, seed, scope, direction, origin, config.observer),
            pool: Pool::default(),
            gather,
            head: Vec::new(),
            lateness: Lateness::new(),
            io: IoCounters::default(),
        }
    }

    fn run(mut self) -> DirectionOutcome {
        let mut events: Vec<Ready> = Vec::new();
        let mut is_reading = true;
        while !self.shared.is_stopping.load(Ordering::Acquire) {
            // 1. Wait for a packet or a deadline. An error here would be an endless loop, so it ends the run.
            if self.waiter.wait(self.lanes.poll_timeout(), &mut events).is_err() {
                break;
            }
            // 2. to 4. Feed what is there, deliver what is due, at most so often before looking at the flag again.
            let mut last = Read::Nothing;
            for _ in 0..BATCHES {
                last = if events.is_empty() && is_reading { Read::Nothing } else { self.read_batch() };
                self.deliver();
                if !matches!(last, Read::Some(_)) {
                    break;
                }
            }
            // 5. A device that is not read must not wake us; it is read again when there is room.
            let is_held = matches!(last, Read::Held);
            if is_held == is_reading {
                is_reading = !is_held;
                self.io.back_pressure += u64::from(is_held);
                let interest = if is_reading { Interest::READABLE } else { Interest::NONE };
                if self.waiter.modify(&*self.from, 0, interest).is_err() {
                    break;
                }
            }
            if matches!(last, Read::Gone) {
                break;
            }
            self.shared.is_idle.store(self.lanes.poll_timeout().is_none(), Ordering::Relaxed);
            self.shared.reads.store(self.io.reads, Ordering::Relaxed);
        }
        let ended_early = !self.shared.is_stopping.load(Ordering::Acquire);
        self.lanes.discard(self.clock.now());
        DirectionOutcome {
            ended_early,
            counters: self.lanes.counters(),
            delays: self.lanes.delays(),
            lateness: self.lateness,
            timing: self.waiter.stats(),
            flows: self.lanes.flows(),
            io: self.io,
        }
    }

    /// Reads until there is no more, or as much as one write can carry: what arrives together may leave together.
    fn read_batch(&mut self) -> Read {
        let mut sum = 0;
        for _ in 0..BATCH_PACKETS {
            match self.read_one() {
                Read::Some(bytes) => sum += bytes,
                other => return other,
            }
            if sum >= BATCH_BYTES {
                break;
            }
        }
        Read::Some(sum)
    }

    fn read_one(&mut self) -> Read {
        if self.pool.is_exhausted() {
            return Read::Held;
        }
        let buffer = match self.pool.read(|buffer| self.from.read(buffer)) {
            Ok(buffer) => buffer,
            Err(error) if is_momentary(&error) => return Read::Nothing,
            Err(_) => return Read::Gone,
        };
        let now = self.clock.now();
        self.io.reads += 1;
        let frame = Rc::new(Frame::new(buffer));
        let length = frame.length();
        self.io.unsplit += u64::from(frame.is_unsplit());
        for number in 0..frame.count() {
            self.lanes.handle(now, Unit { frame: frame.clone(), number });
        }
        Read::Some(length)
    }

    fn deliver(&mut self) {
        let now = self.clock.now();
        while let Some(delivery) = self.lanes.poll_deliver(now) {
            self.lateness.record(now, delivery.due);
            if let Some(complete) = self.gather.push(delivery) {
                self.write(&complete);
            }
        }
        if let Some(complete) = self.gather.flush() {
            self.write(&complete);
        }
    }

    fn write(&mut self, outgoing: &Outgoing) {
        let payload = outgoing.compose(&mut self.head);
        self.io.writes += 1;
        let Err(error) = self.to.write(&self.head, payload) else { return };
        let is_invalid = error.kind() == io::ErrorKind::InvalidInput;
        self.io.refused += if is_invalid { outgoing.count() } else { 0 };
        // A bit flipped in the version makes a packet that is none: that is what damage does, not a fault of ours.
        if !(is_invalid && outgoing.is_damaged()) {
            self.io.io_overrun += outgoing.count();
        }
    }
}

/// A network does not wait for the programs that use it: where that is allowed, this thread goes before them. Without
/// it a receiver that wakes up for each packet takes the processor from us each time.
fn take_precedence() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the link runs at the priority of the commands");
    }
}

fn is_momentary(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// Batches between two looks at the clock of the waiter and at the flag that ends the run: a few milliseconds.
const BATCHES: usize = 16;

/// A packet that is due waits for the rest of the batch to be read: 64 small ones take some 40 µs. More than this
/// cannot be written as one.
const BATCH_PACKETS: usize = 64;
const BATCH_BYTES: usize = 64 << 10;

/// Well before ordinary programs (0), behind what the system itself holds urgent (-20).
const NICENESS: i32 = -15;
