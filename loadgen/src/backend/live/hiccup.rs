//! A thread that wants to wake every millisecond, and remembers how late it was.
//!
//! What it misses is time in which nobody ran: a busy machine, a virtual machine that was elsewhere. The idea is
//! jHiccup's. It asks for precise timers and never spins, so an idle machine shows some 50 µs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram;
use netem_proxy::timing::{Timing, Waiter, Waker};
use units::Clock;

use crate::distribution;

#[derive(Debug)]
pub(super) struct Watch {
    waker: Waker,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Histogram<u64>>,
}

impl Watch {
    pub(super) fn start(clock: Clock) -> io::Result<Self> {
        let waiter = Waiter::new(clock, Timing::Sleep)?;
        let (waker, stop) = (waiter.waker(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("hiccups".to_owned())
            .spawn(move || watch(clock, waiter, &stopped))?;
        Ok(Self { waker, stop, thread })
    }

    /// How late it woke, in microseconds.
    pub(super) fn stop(self) -> Histogram<u64> {
        self.stop.store(true, Ordering::Release);
        self.waker.wake();
        self.thread.join().unwrap_or_else(|_| distribution::empty())
    }
}

fn watch(clock: Clock, mut waiter: Waiter, stop: &AtomicBool) -> Histogram<u64> {
    let (mut late_us, mut events) = (distribution::empty(), Vec::new());
    loop {
        let due = clock.now() + TICK;
        let outcome = waiter.wait(Some(due), &mut events);
        if outcome.is_err() || stop.load(Ordering::Acquire) {
            return late_us;
        }
        let late = clock.now().since(due).as_micros();
        late_us.saturating_record(u64::try_from(late).unwrap_or(u64::MAX));
    }
}

const TICK: Duration = Duration::from_millis(1);
