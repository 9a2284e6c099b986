//! The wait itself: an epoll set, an absolute deadline, a spin at the end.

use std::fmt;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, epoll, eventfd, poll};
use rustix::io::Errno;
use units::{Clock, Timestamp};

use super::budget::{SpinPlan, Step};
use super::lateness::record_nanos;
use super::{Timing, TimingStats};

/// Waits, in one thread, for files, for other threads, and for a deadline.
pub struct Waiter {
    clock: Clock,
    epoll: OwnedFd,
    waker: Waker,
    plan: SpinPlan,
    stats: TimingStats,
    made: Timestamp,
    is_precise: bool,
}

impl fmt::Debug for Waiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter").field("plan", &self.plan).finish_non_exhaustive()
    }
}

/// What to be told of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Interest {
    pub readable: bool,
    pub writable: bool,
    /// Told once for each change, not for as long as it lasts. The file then has to be read until it would block.
    pub edge: bool,
}

impl Interest {
    pub const READABLE: Self = Self { readable: true, writable: false, edge: false };
    pub const WRITABLE: Self = Self { readable: false, writable: true, edge: false };
    pub const BOTH: Self = Self { readable: true, writable: true, edge: false };
    /// Only errors and hang-ups, which are always told.
    pub const NONE: Self = Self { readable: false, writable: false, edge: false };

    fn flags(self) -> epoll::EventFlags {
        let mut flags = epoll::EventFlags::empty();
        flags.set(epoll::EventFlags::IN, self.readable);
        flags.set(epoll::EventFlags::OUT, self.writable);
        flags.set(epoll::EventFlags::ET, self.edge);
        flags
    }
}

/// A file that can be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What [`Waiter::add`] was given.
    pub token: u64,
    /// A read will not block: there is input, an end or an error.
    pub readable: bool,
    /// A write will not block, if only because it fails.
    pub writable: bool,
    /// Both directions are gone, or there is an error to be read.
    pub hangup: bool,
}

/// Ends a wait from another thread. Cheap to clone; wakes that meet no wait end the next one, and many are one.
#[derive(Clone, Debug)]
pub struct Waker {
    shared: Arc<WakerShared>,
}

#[derive(Debug)]
struct WakerShared {
    eventfd: OwnedFd,
    /// Saves the system call when a wake is on its way already.
    is_pending: AtomicBool,
}

impl Waker {
    fn new() -> io::Result<Self> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { shared: Arc::new(WakerShared { eventfd, is_pending: AtomicBool::new(false) }) })
    }

    pub fn wake(&self) {
        if !self.shared.is_pending.swap(true, Ordering::AcqRel) {
            // Fails only when the counter is full, and then the wait ends anyhow.
            let _ = rustix::io::write(&self.shared.eventfd, &1_u64.to_ne_bytes());
        }
    }

    fn drain(&self) {
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.eventfd, &mut count);
        // A swap, not a store: either it sees a wake's swap, and with it the work that the wake announced, or that wake
        // sees `false` and writes again.
        self.shared.is_pending.swap(false, Ordering::AcqRel);
    }
}

impl Waiter {
    /// # Errors
    /// When the process has no file descriptors left.
    pub fn new(clock: Clock, timing: Timing) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        let data = epoll::EventData::new_u64(WAKE_TOKEN);
        epoll::add(&epoll, &waker.shared.eventfd, data, epoll::EventFlags::IN)?;
        Ok(Self {
            clock,
            epoll,
            waker,
            plan: SpinPlan::new(timing),
            stats: TimingStats::default(),
            made: clock.now(),
            is_precise: false,
        })
    }

    /// Watches a file. It has to be [removed](Self::remove) before it is closed if there are duplicates of it.
    ///
    /// # Errors
    /// When it is watched already or cannot be watched (a regular file), or the system has no room.
    ///
    /// # Panics
    /// When `token` is `u64::MAX`, which is the waker's.
    pub fn add(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        assert_ne!(token, WAKE_TOKEN, "u64::MAX is the waker's token");
        Ok(epoll::add(&self.epoll, fd.as_fd(), epoll::EventData::new_u64(token), interest.flags())?)
    }

    /// Changes what is told of a file, and arms an edge again.
    ///
    /// # Errors
    /// When it is not watched.
    pub fn modify(&self, fd: impl AsFd, token: u64, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, fd.as_fd(), epoll::EventData::new_u64(token), interest.flags())?)
    }

    /// # Errors
    /// When it is not watched.
    pub fn remove(&self, fd: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, fd.as_fd())?)
    }

    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Returns at the deadline, never before it unless something is ready or somebody woke it. `events` is replaced by what is ready,
    /// which is looked at even when the deadline has passed; it is empty after a wake or at the deadline.
    ///
    /// The first wait asks for precise timers for the calling thread.
    ///
    /// # Errors
    /// When the system refuses to wait, which it does not do for a set that is intact.
    pub fn wait(&mut self, deadline: Option<Timestamp>, events: &mut Vec<Ready>) -> io::Result<()> {
        events.clear();
        if !self.is_precise {
            request_precise_timers();
            self.is_precise = true;
        }
        let mut is_over = self.harvest(events)?;
        while !is_over {
            let Some(deadline) = deadline else {
                self.doze(None)?;
                is_over = self.harvest(events)?;
                continue;
            };
            let now = self.clock.now();
            match self.plan.step(now, deadline) {
                Step::Due => return Ok(()),
                Step::Spin => is_over = self.spin(now, deadline, events)?,
                Step::Approach(span) => {
                    self.doze(Some(span))?;
                    is_over = self.harvest(events)?;
                }
                Step::Sleep(span) => {
                    if self.doze(Some(span))? == Dozed::Through {
                        self.note_wake(now + span);
                    } else {
                        is_over = self.harvest(events)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// What waiting has cost so far.
    #[must_use]
    pub fn stats(&self) -> TimingStats {
        TimingStats { elapsed: self.clock.now().since(self.made), ..self.stats.clone() }
    }

    fn note_wake(&mut self, meant: Timestamp) {
        let now = self.clock.now();
        self.plan.on_wake(now.since(meant));
        self.stats.sleeps += 1;
        record_nanos(&mut self.stats.wake_latency, now, meant);
    }

    /// Looks at the set until the deadline is near, then at the clock alone.
    fn spin(&mut self, begun: Timestamp, deadline: Timestamp, events: &mut Vec<Ready>) -> io::Result<bool> {
        let mut is_over = false;
        let mut now = begun;
        while now < deadline && !is_over {
            if deadline.since(now) > LAST_LOOK {
                is_over = self.harvest(events)?;
            } else {
                std::hint::spin_loop();
            }
            now = self.clock.now();
        }
        self.plan.on_spin(now.since(begun));
        self.stats.spun += now.since(begun);
        Ok(is_over)
    }

    /// Sleeps until something is ready, or for `span`. `ppoll` of the set itself: it counts nanoseconds on every
    /// kernel, which `epoll_pwait2` does only since Linux 5.11.
    fn doze(&self, span: Option<Duration>) -> io::Result<Dozed> {
        let timeout = span.map(|span| Timespec {
            tv_sec: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: span.subsec_nanos().into(),
        });
        match poll(&mut [PollFd::new(&self.epoll, PollFlags::IN)], timeout.as_ref()) {
            Ok(0) => Ok(Dozed::Through),
            // A signal ends the sleep early; the caller looks at the clock.
            Ok(_) | Err(Errno::INTR) => Ok(Dozed::Woken),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes what is ready now. True if there was anything, a wake included.
    fn harvest(&self, events: &mut Vec<Ready>) -> io::Result<bool> {
        let mut buffer = [MaybeUninit::uninit(); EVENTS_AT_ONCE];
        let ready = match epoll::wait(&self.epoll, &mut buffer, Some(&NO_TIME)) {
            Ok((ready, _)) => ready,
            Err(Errno::INTR) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        for event in &*ready {
            let (flags, token) = (event.flags, event.data.u64());
            if token == WAKE_TOKEN {
                self.waker.drain();
                continue;
            }
            let hangup = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            events.push(Ready {
                token,
                readable: hangup || flags.contains(epoll::EventFlags::IN),
                writable: hangup || flags.contains(epoll::EventFlags::OUT),
                hangup,
            });
        }
        Ok(!ready.is_empty())
    }
}

#[derive(PartialEq, Eq)]
enum Dozed {
    Through,
    Woken,
}

/// Linux rounds the sleeps of ordinary threads up by as much as 50 µs to save power; this thread asks for 1 ns.
fn request_precise_timers() {
    if let Err(error) = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)) {
        tracing::warn!(%error, "cannot set the timer slack; deliveries will be about 50 µs later");
    }
}

const WAKE_TOKEN: u64 = u64::MAX;

const NO_TIME: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Told at one look; the rest waits for the next, so that no deadline waits for thousands of files.
const EVENTS_AT_ONCE: usize = 256;

/// A look at the set takes 0.2 to 1 µs, and several in a virtual machine that has just been woken; one begun closer to the
/// deadline than this could outlast it.
const LAST_LOOK: Duration = Duration::from_micros(5);

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn waiter(timing: Timing) -> (Clock, Waiter) {
        let clock = Clock::start();
        (clock, Waiter::new(clock, timing).expect("descriptors"))
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_not_before() {
        for timing in [Timing::Sleep, Timing::Hybrid, Timing::Spin] {
            let (clock, mut waiter) = waiter(timing);
            let mut events = Vec::new();
            for span in [Duration::ZERO, Duration::from_micros(50), Duration::from_millis(3)] {
                let deadline = clock.now() + span;
                waiter.wait(Some(deadline), &mut events).expect("a wait");
                assert!(clock.now() >= deadline && events.is_empty());
            }
            let stats = waiter.stats();
            match timing {
                Timing::Sleep => assert!(stats.spun.is_zero()),
                Timing::Hybrid => assert!(stats.spun <= stats.elapsed),
                Timing::Spin => assert!(!stats.spun.is_zero() && stats.sleeps == 0),
            }
        }
    }

    #[test]
    fn input_ends_a_wait_and_is_told_even_when_the_deadline_has_passed() {
        let (clock, mut waiter) = waiter(Timing::Hybrid);
        let (here, there) = UnixDatagram::pair().expect("a pair");
        waiter.add(&here, 7, Interest::READABLE).expect("added");
        let mut events = Vec::new();
        there.send(b"x").expect("sent");
        let far = clock.now() + Duration::from_secs(3600);
        let readable = Ready { token: 7, readable: true, writable: false, hangup: false };
        for deadline in [None, Some(far), Some(Timestamp::ZERO)] {
            waiter.wait(deadline, &mut events).expect("a wait");
            assert_eq!(events, [readable]);
        }
        waiter.modify(&here, 8, Interest::WRITABLE).expect("modified");
        waiter.wait(None, &mut events).expect("a wait");
        assert_eq!(events, [Ready { token: 8, readable: false, writable: true, hangup: false }]);
        waiter.remove(&here).expect("removed");
        waiter.wait(Some(Timestamp::ZERO), &mut events).expect("a wait");
        assert_eq!(events, []);
    }

    #[test]
    fn an_edge_is_told_once() {
        let (_, mut waiter) = waiter(Timing::Sleep);
        let (here, there) = UnixDatagram::pair().expect("a pair");
        waiter.add(&here, 1, Interest { edge: true, ..Interest::READABLE }).expect("added");
        there.send(b"x").expect("sent");
        let mut events = Vec::new();
        waiter.wait(None, &mut events).expect("a wait");
        assert_eq!(events.len(), 1);
        waiter.wait(Some(Timestamp::ZERO), &mut events).expect("a wait");
        assert_eq!(events, []);
    }

    #[test]
    fn another_thread_wakes_a_wait_and_a_wake_before_it_is_not_lost() {
        let (_, mut waiter) = waiter(Timing::Hybrid);
        let waker = waiter.waker();
        let mut events = Vec::new();
        waker.wake();
        waker.wake();
        waiter.wait(None, &mut events).expect("a wait");
        let thread = std::thread::spawn(move || waker.wake());
        waiter.wait(None, &mut events).expect("a wait");
        assert!(events.is_empty());
        thread.join().expect("no panic");
    }
}
