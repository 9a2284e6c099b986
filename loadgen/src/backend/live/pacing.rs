//! The schedule of a live run, kept by a thread that does nothing else.
//!
//! Timers of an asynchronous runtime are a millisecond coarse, and a thread that also counts, prints or asks a server how
//! it is would be late by as much as that takes. So this one waits for the next intended time, precisely
//! ([`netem_proxy::timing`]), hands the message to the task of its sender, and waits again. All messages that are due at one
//! time are handed over in one turn.
//!
//! A closed loop means to send again when a message is settled, and who comes and goes is waited for; clients say so through
//! [`Told`], and the wait ends. Where the schedule waits for nothing nobody listens, and clients say nothing.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use netem_proxy::timing::{Timing, Waiter, Waker};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use units::{Clock, Timestamp};

use super::client::Order;
use super::ears::Ears;
use crate::backend::RunError;
use crate::scenario::{self, Pace, Scenario, WorkloadKind};
use crate::seen::Seen;
use crate::workload::{Intent, Step, Workload};

/// A schedule that waits to begin.
#[derive(Debug)]
pub(super) struct Pacing {
    clock: Clock,
    waiter: Waiter,
    told: Option<Told>,
    stop: Arc<AtomicBool>,
}

/// One that runs.
#[derive(Debug)]
pub(super) struct Running {
    waker: Waker,
    stop: Arc<AtomicBool>,
    given: Arc<AtomicU64>,
    is_through: Arc<AtomicBool>,
    /// Ends with why the run says nothing about the system under test.
    thread: JoinHandle<Vec<String>>,
}

/// What the schedule may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A message was acknowledged, has failed or was not taken.
    Settled(u32),
    /// A client that was to leave has left.
    Gone(u32),
    /// A client that came back is in its rooms again.
    Present(u32),
}

/// Where clients tell it. Holds no more than there are messages under way and clients.
#[derive(Clone, Debug)]
pub(super) struct Told {
    news: Arc<Mutex<Vec<News>>>,
    waker: Waker,
}

impl Told {
    pub(super) fn tell(&self, news: News) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(news);
        self.waker.wake();
    }

    fn take(&self, into: &mut Vec<News>) {
        into.clear();
        std::mem::swap(into, &mut self.news.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl Pacing {
    pub(super) fn new(scenario: &Scenario, clock: Clock) -> Result<Self, RunError> {
        let waiter = Waiter::new(clock, timing()).map_err(|error| unusable(&error))?;
        let told = scenario
            .workloads
            .iter()
            .any(waits)
            .then(|| Told { news: Arc::default(), waker: waiter.waker() });
        Ok(Self { clock, waiter, told, stop: Arc::default() })
    }

    /// `None`: nobody wants to know.
    pub(super) fn told(&self) -> Option<Told> {
        self.told.clone()
    }

    /// Begins with `workload`, which was started.
    pub(super) fn start(
        self,
        workload: Workload,
        orders: Vec<mpsc::Sender<Order>>,
        ears: Arc<Ears>,
    ) -> Result<Running, RunError> {
        let Self { clock, waiter, told, stop } = self;
        let (waker, given, is_through) = (waiter.waker(), Arc::default(), Arc::default());
        let turns = Turns {
            clock,
            workload,
            orders,
            ears,
            told,
            stop: Arc::clone(&stop),
            given: Arc::clone(&given),
            is_through: Arc::clone(&is_through),
            invalid: Vec::new(),
        };
        let thread = std::thread::Builder::new()
            .name("pacing".to_owned())
            .spawn(move || turns.run(waiter))
            .map_err(|error| unusable(&error))?;
        Ok(Running { waker, stop, given, is_through, thread })
    }
}

impl Running {
    /// Messages that the schedule has asked for, once it asks for no more.
    pub(super) fn given(&self) -> Option<u64> {
        self.is_through.load(Ordering::Acquire).then(|| self.given.load(Ordering::Acquire))
    }

    /// Ends the schedule and tells what was wrong with how it was kept.
    pub(super) fn stop(self) -> Result<Vec<String>, RunError> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().map_err(|_| RunError::Internal("the pacing thread has panicked".to_owned()))
    }
}

/// The thread's own.
struct Turns {
    clock: Clock,
    workload: Workload,
    orders: Vec<mpsc::Sender<Order>>,
    ears: Arc<Ears>,
    told: Option<Told>,
    stop: Arc<AtomicBool>,
    given: Arc<AtomicU64>,
    is_through: Arc<AtomicBool>,
    invalid: Vec<String>,
}

impl Turns {
    fn run(mut self, mut waiter: Waiter) -> Vec<String> {
        let (mut events, mut news) = (Vec::new(), Vec::new());
        while !self.stop.load(Ordering::Acquire) {
            let now = self.clock.now();
            if let Some(told) = &self.told {
                told.take(&mut news);
                news.iter().for_each(|&news| match news {
                    News::Settled(id) => self.workload.on_settled(now, id),
                    News::Gone(client) => self.workload.on_gone(now, client),
                    News::Present(client) => self.workload.on_present(now, client),
                });
            }
            while let Some(step) = self.workload.poll_step(now) {
                self.carry_out(now, step);
            }
            if now >= self.workload.load_ends() {
                self.is_through.store(true, Ordering::Release);
            }
            if let Err(error) = waiter.wait(self.workload.poll_timeout(), &mut events) {
                self.invalid.push(format!("the schedule could not be kept: {error}"));
                break;
            }
        }
        self.invalid
    }

    fn carry_out(&mut self, now: Timestamp, step: Step) {
        match step {
            Step::Send(intent) => self.give(now, intent),
            Step::Throttle(intent) => {
                self.intend(intent);
                self.ears.tell(intent.sender, Seen::Refused { message: intent.id });
            }
            Step::Leave { client, is_abrupt } => {
                self.order(client, Order::Leave { is_abrupt });
            }
            Step::Return { client } => {
                self.order(client, Order::Return);
            }
        }
    }

    fn intend(&mut self, intent: Intent) {
        self.ears.intend(intent);
        self.given.fetch_add(1, Ordering::Release);
    }

    fn give(&mut self, now: Timestamp, intent: Intent) {
        self.intend(intent);
        if !self.order(intent.sender, Order::Send(intent)) {
            self.ears.tell(intent.sender, Seen::Refused { message: intent.id });
            self.workload.on_settled(now, intent.id);
        }
    }

    /// Whether the task of `client` took it. One with thousands of orders waiting has not run: the generator's fault. One that
    /// has ended has lost its server for good, and says so itself.
    fn order(&mut self, client: u32, order: Order) -> bool {
        let outcome = self.orders[client as usize].try_send(order);
        if matches!(outcome, Err(TrySendError::Full(_))) && self.invalid.is_empty() {
            self.invalid.push(format!("the task of client {client} did not run; free the machine"));
        }
        outcome.is_ok()
    }
}

/// Whether the schedule of a workload depends on what becomes of it.
fn waits(workload: &scenario::Workload) -> bool {
    matches!(workload.pace, Pace::Closed { .. })
        || workload.max_in_flight.is_some()
        || matches!(workload.kind, WorkloadKind::Churn)
}

/// Spinning makes a hand-over some 30 us less late and takes a third of a processor, which on a small machine are the
/// clients' and the server's: on two, with 5,000 messages a second to nine members each, p99 of the schedule's lag was 3.2
/// and 1.3 ms with it, 1.1 and 0.9 ms without.
fn timing() -> Timing {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    if processors >= PROCESSORS_TO_SPIN { Timing::Hybrid } else { Timing::Sleep }
}

/// One each for pacing, clients, emulator and server.
const PROCESSORS_TO_SPIN: usize = 4;

fn unusable(error: &io::Error) -> RunError {
    RunError::Internal(format!("cannot start the pacing thread: {error}"))
}
