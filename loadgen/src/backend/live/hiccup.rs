//! A thread that wants to wake every millisecond, and remembers how late it was at worst.
//!
//! What it misses is time in which nobody ran: a busy machine, a virtual machine that was elsewhere. The idea is
//! jHiccup's.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use units::Clock;

#[derive(Debug)]
pub(super) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Duration>,
}

impl Watch {
    pub(super) fn start(clock: Clock) -> Self {
        let (stop, stopped) = channel();
        Self { stop, thread: std::thread::spawn(move || watch(clock, &stopped)) }
    }

    /// The longest pause seen.
    pub(super) fn stop(self) -> Duration {
        drop(self.stop);
        self.thread.join().unwrap_or_default()
    }
}

fn watch(clock: Clock, stopped: &Receiver<()>) -> Duration {
    let mut longest = Duration::ZERO;
    loop {
        let before = clock.now();
        match stopped.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return longest,
        }
        longest = longest.max(clock.now().since(before).saturating_sub(TICK));
    }
}

const TICK: Duration = Duration::from_millis(1);
