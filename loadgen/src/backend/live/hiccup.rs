//! A thread that wants to wake every millisecond, and remembers how late it was.
//!
//! What it misses is time in which nobody ran: a busy machine, a virtual machine that was elsewhere. The idea is
//! jHiccup's. It asks for precise timers and never spins, so an idle machine shows some 50 µs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use netem_proxy::timing::{Timing, Waiter, Waker};
use units::Clock;

use crate::distribution;

#[derive(Debug)]
pub(super) struct Watch {
    waker: Waker,
    told: Arc<Told>,
    thread: JoinHandle<Histogram<u64>>,
}

/// Between the thread and whoever asks it.
#[derive(Debug, Default)]
struct Told {
    stop: AtomicBool,
    /// What was seen so far is to be forgotten.
    begins: AtomicBool,
    /// Longest pause since somebody asked, in microseconds.
    longest_us: AtomicU64,
}

impl Watch {
    pub(super) fn start(clock: Clock) -> io::Result<Self> {
        let waiter = Waiter::new(clock, Timing::Sleep)?;
        let (waker, told) = (waiter.waker(), Arc::<Told>::default());
        let own = Arc::clone(&told);
        let thread = std::thread::Builder::new()
            .name("hiccups".to_owned())
            .spawn(move || watch(clock, waiter, &own))?;
        Ok(Self { waker, told, thread })
    }

    /// The first phase begins: pauses while clients joined were nobody's.
    pub(super) fn begin(&self) {
        self.told.begins.store(true, Ordering::Release);
    }

    /// The longest pause since this was asked last.
    pub(super) fn longest(&self) -> Duration {
        Duration::from_micros(self.told.longest_us.swap(0, Ordering::AcqRel))
    }

    /// How late it woke, in microseconds.
    pub(super) fn stop(self) -> Histogram<u64> {
        self.told.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().unwrap_or_else(|_| distribution::empty())
    }
}

fn watch(clock: Clock, mut waiter: Waiter, told: &Told) -> Histogram<u64> {
    let (mut late_us, mut events) = (distribution::empty(), Vec::new());
    loop {
        let due = clock.now() + TICK;
        let outcome = waiter.wait(Some(due), &mut events);
        if outcome.is_err() || told.stop.load(Ordering::Acquire) {
            return late_us;
        }
        if told.begins.swap(false, Ordering::AcqRel) {
            late_us.reset();
            told.longest_us.store(0, Ordering::Release);
            continue;
        }
        let late = u64::try_from(clock.now().since(due).as_micros()).unwrap_or(u64::MAX);
        late_us.saturating_record(late);
        told.longest_us.fetch_max(late, Ordering::AcqRel);
    }
}

const TICK: Duration = Duration::from_millis(1);
