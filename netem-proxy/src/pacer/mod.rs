//! The thread that keeps real time for links.
//!
//! A network emulator is as good as its timer. `tokio::time` rounds to milliseconds and is late by one or two; so
//! deliveries are timed by one dedicated thread: absolute deadlines on the monotonic clock, timer slack of 1 ns, sleep
//! to shortly before a deadline, spin the rest within a budget (`spin`). New input wakes it early. It owns the links
//! of a proxy (`board`), so there is no lock on the data path, and it measures its own lateness.
//!
//! Inputs arrive through a channel, from any task or thread; what links deliver goes to one closure, called in the
//! pacing thread, which must not block. The channel itself has no bound: senders hold a credit for what they put in
//! (`proxy::parcel`), so that back-pressure and overruns are theirs to see.

mod board;
mod observer;
mod spin;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::thread::JoinHandle;
use std::time::Duration;

use units::{ByteCount, Clock, Timestamp};

use crate::link::{Delivery, Link};
use crate::profile::LinkProfile;
use board::Board;
pub use board::{Direction, DirectionReport, LinkId, MAX_LATENESS_NS, PacerReport};
pub use observer::{Carrier, FlowOpened, LinkOpened, Observer};
use spin::SpinBudget;

/// A running pacing thread. Dropping it tells the thread to stop; [`stop`](Self::stop) also waits for its last report.
#[derive(Debug)]
pub struct Pacer<P> {
    handle: PacerHandle<P>,
    thread: Option<JoinHandle<PacerReport>>,
}

impl<P: Clone + Send + 'static> Pacer<P> {
    /// Starts the thread. `deliver` is called in it for every packet that a link lets out and must not block.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn spawn(clock: Clock, deliver: impl FnMut(Delivery<P>) + Send + 'static) -> io::Result<Self> {
        let (sender, inputs) = mpsc::channel();
        let worker = Worker { clock, inputs, board: Board::new(), spin: SpinBudget::default(), deliver };
        let thread = std::thread::Builder::new().name("pacer".to_owned()).spawn(move || worker.run())?;
        let handle = PacerHandle { inputs: sender, next_id: Arc::default() };
        Ok(Self { handle, thread: Some(thread) })
    }

    #[must_use]
    pub fn handle(&self) -> &PacerHandle<P> {
        &self.handle
    }

    /// Gives up what is under way (counted as `dropped_closed`), ends the thread and returns its last report; an empty
    /// one the second time.
    #[must_use]
    pub fn stop(&mut self) -> PacerReport {
        let _ = self.handle.inputs.send(Input::Stop);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl<P> Drop for Pacer<P> {
    fn drop(&mut self) {
        // The thread is not joined: a drop must not wait.
        let _ = self.handle.inputs.send(Input::Stop);
    }
}

/// Talks to a pacing thread; cheap to clone. After the thread has ended, everything is silently ignored.
pub struct PacerHandle<P> {
    inputs: mpsc::Sender<Input<P>>,
    next_id: Arc<AtomicU64>,
}

impl<P: Clone> PacerHandle<P> {
    /// Hands over a link. Until it is [closed](Self::close), packets may be sent to it.
    pub fn open(&self, direction: Direction, link: Link<P>) -> LinkId {
        let id = LinkId(self.next_id.fetch_add(1, Ordering::Relaxed));
        // The link's own histogram is of no use here: the board keeps one for each direction.
        self.send(Input::Open { id, direction, link: Box::new(link.without_delays()) });
        id
    }

    /// Offers a packet that arrived at `arrived`.
    pub fn send_packet(&self, id: LinkId, arrived: Timestamp, packet: P, size: ByteCount) {
        self.send(Input::Packet { id, arrived, packet, size });
    }

    /// Lets the link deliver what is under way, then retires it; its counters stay in the sums.
    pub fn close(&self, id: LinkId) {
        self.send(Input::Close { id });
    }

    /// Changes all links of one direction that are open now.
    pub fn configure(&self, direction: Direction, profile: LinkProfile) {
        self.send(Input::Configure { direction, profile: Box::new(profile) });
    }

    /// Counters and histograms so far. Waits for the thread, which takes well under a millisecond; empty if it ended.
    #[must_use]
    pub fn report(&self) -> PacerReport {
        let (reply, report) = mpsc::sync_channel(1);
        self.send(Input::Report { reply });
        report.recv().unwrap_or_default()
    }

    fn send(&self, input: Input<P>) {
        // Fails only after the thread has ended, when there is nobody left to tell.
        let _ = self.inputs.send(input);
    }
}

impl<P> Clone for PacerHandle<P> {
    fn clone(&self) -> Self {
        Self { inputs: self.inputs.clone(), next_id: self.next_id.clone() }
    }
}

impl<P> fmt::Debug for PacerHandle<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PacerHandle").finish_non_exhaustive()
    }
}

enum Input<P> {
    Open { id: LinkId, direction: Direction, link: Box<Link<P>> },
    Packet { id: LinkId, arrived: Timestamp, packet: P, size: ByteCount },
    Close { id: LinkId },
    Configure { direction: Direction, profile: Box<LinkProfile> },
    Report { reply: mpsc::SyncSender<PacerReport> },
    Stop,
}

struct Worker<P, F> {
    clock: Clock,
    inputs: mpsc::Receiver<Input<P>>,
    board: Board<P>,
    spin: SpinBudget,
    deliver: F,
}

enum Wake<P> {
    Input(Input<P>),
    Due,
    Ended,
}

impl<P: Clone, F: FnMut(Delivery<P>)> Worker<P, F> {
    fn run(mut self) -> PacerReport {
        request_precise_timers();
        loop {
            // 1. Wait for the next deadline or an input.
            // 2. Feed that input, and those that came with it, up to a bound so that deliveries never starve.
            match self.wait() {
                Wake::Due => {}
                Wake::Ended => break,
                Wake::Input(first) => {
                    if self.feed(first) == Flow::End {
                        break;
                    }
                }
            }
            let mut is_ended = false;
            for _ in 0..INPUTS_AT_ONCE {
                let Ok(input) = self.inputs.try_recv() else { break };
                is_ended |= self.feed(input) == Flow::End;
            }
            if is_ended {
                break;
            }
            // 3. Drain and 4. act on the outputs.
            while let Some(delivery) = self.board.poll_deliver(self.clock.now()) {
                (self.deliver)(delivery);
            }
            // 5. The board knows the next deadline.
        }
        self.board.discard();
        self.board.report()
    }

    fn feed(&mut self, input: Input<P>) -> Flow {
        match input {
            Input::Open { id, direction, link } => self.board.open(id, direction, *link),
            Input::Packet { id, arrived, packet, size } => {
                self.board.handle_packet(id, arrived, packet, size);
            }
            Input::Close { id } => self.board.close(id),
            Input::Configure { direction, profile } => {
                self.board.configure(self.clock.now(), direction, &profile);
            }
            Input::Report { reply } => {
                // Whoever asked may have given up waiting.
                let _ = reply.try_send(self.board.report());
            }
            Input::Stop => return Flow::End,
        }
        Flow::GoOn
    }

    fn wait(&mut self) -> Wake<P> {
        let Some(deadline) = self.board.poll_timeout() else {
            return self.inputs.recv().map_or(Wake::Ended, Wake::Input);
        };
        loop {
            let now = self.clock.now();
            let left = deadline.since(now);
            if left.is_zero() {
                return Wake::Due;
            }
            let margin = if self.spin.may_spin(now) { SPIN_MARGIN } else { Duration::ZERO };
            if left <= margin {
                return self.spin_until(now, deadline);
            }
            match self.inputs.recv_timeout(left - margin) {
                Ok(input) => return Wake::Input(input),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Wake::Ended,
            }
        }
    }

    fn spin_until(&mut self, begun: Timestamp, deadline: Timestamp) -> Wake<P> {
        let mut now = begun;
        let mut wake = Wake::Due;
        while now < deadline {
            match self.inputs.try_recv() {
                Ok(input) => {
                    wake = Wake::Input(input);
                    break;
                }
                Err(TryRecvError::Disconnected) => {
                    wake = Wake::Ended;
                    break;
                }
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
            }
            now = self.clock.now();
        }
        self.spin.spend(now.since(begun));
        wake
    }
}

#[derive(PartialEq, Eq)]
enum Flow {
    GoOn,
    End,
}

/// Linux rounds the sleeps of ordinary threads up by as much as 50 µs to save power; this thread asks for 1 ns.
#[cfg(target_os = "linux")]
fn request_precise_timers() {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::warn!(%error, "cannot set the timer slack; deliveries will be about 50 µs later");
    }
}

#[cfg(not(target_os = "linux"))]
fn request_precise_timers() {}

/// How long before a deadline sleeping gives way to spinning. Sleeps with 1 ns slack end 25 to 80 µs late (median and
/// 99th percentile on an idle machine); a longer margin buys little and costs processor time.
const SPIN_MARGIN: Duration = Duration::from_micros(60);

/// Inputs fed between two looks at the deadlines: at about 100 ns each, 25 µs.
const INPUTS_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use units::Seed;

    use super::*;

    #[test]
    fn packets_come_out_in_order_never_early_and_are_reported() {
        let clock = Clock::start();
        let (sender, outputs) = mpsc::channel();
        let pacer = Pacer::spawn(clock, move |delivery: Delivery<u32>| {
            let _ = sender.send((clock.now(), delivery));
        })
        .expect("a thread");
        let profile = "delay=3ms".parse().expect("a valid spec");
        let id = pacer.handle().open(Direction::Up, Link::new(profile, Seed::root(1)));
        for packet in 0..10 {
            pacer.handle().send_packet(id, clock.now(), packet, ByteCount(100));
        }
        for packet in 0..10 {
            let (at, delivery) = outputs.recv_timeout(Duration::from_secs(10)).expect("a delivery");
            assert_eq!(delivery.packet, packet);
            assert!(at >= delivery.due && delivery.due == delivery.arrived + Duration::from_millis(3));
        }
        let report = pacer.handle().report();
        assert_eq!((report.up.counters.delivered, report.lateness.len()), (10, 10));
        assert!(report.up.delays.max().abs_diff(3_000) <= 3, "three significant digits");
    }

    #[test]
    fn stopping_accounts_for_what_was_under_way() {
        let clock = Clock::start();
        let mut pacer = Pacer::spawn(clock, |_: Delivery<u32>| {}).expect("a thread");
        let profile = "delay=1h".parse().expect("a valid spec");
        let id = pacer.handle().open(Direction::Down, Link::new(profile, Seed::root(1)));
        pacer.handle().send_packet(id, clock.now(), 1, ByteCount(100));
        let counters = pacer.stop().down.counters;
        assert_eq!((counters.offered, counters.dropped_closed, counters.queued()), (1, 1, 0));
        assert!(counters.balance_holds());
    }
}
