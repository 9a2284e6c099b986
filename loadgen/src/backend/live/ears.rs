//! What everyone in a real run sees, on its way to the recorder.
//!
//! Clients put it into one of a few buffers, each behind a lock that is held for one push; the director has a buffer of
//! its own for the schedule. A thread swaps the buffers for empty ones, a hundred times a second, and tells the recorder.
//! So nobody who keeps time waits for a histogram, and memory is bounded: a buffer that is full drops what comes, which
//! makes the run INVALID.
//!
//! A recorder wants to hear of an intent before anything about its message, and of a submission before an arrival. The
//! clients' buffers are swapped before the director's, so every intent is there in time. A submission lies in another
//! buffer than the arrival that it caused, and may be swapped one turn later; so arrivals wait for one turn.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use chat_client::session::MessageId;
use chat_core::trace::waits::Waited;
use units::{Clock, Timestamp};

use crate::backend::{Cast, Latest, Moment};
use crate::measure::{Recorder, Sample};
use crate::seen::Seen;
use crate::workload::Intent;

/// Where everyone puts what they see.
#[derive(Debug)]
pub(super) struct Ears {
    shards: Vec<Mutex<Shard>>,
    director: Mutex<Directions>,
    server: Mutex<Vec<(Arc<str>, Waited)>>,
    /// Dropped because a buffer was full.
    left_out: AtomicU64,
    /// Intents of the schedule that the recorder had heard when everything was settled; [`NOT_SETTLED`] while it is not.
    settled: AtomicU64,
    /// The interval that ended last, until the director takes it.
    moment: Mutex<Option<Moment>>,
    /// What the director counted, and when.
    samples: Mutex<Vec<(Timestamp, Sample)>>,
    /// Packets that clients have sent again.
    repeats: AtomicU64,
}

/// What some of the clients saw, in the order of each of them.
#[derive(Debug, Default)]
struct Shard {
    seen: Vec<Seen>,
    waits: Vec<(u32, Waited)>,
    /// Message of the schedule, and its number in its author's session.
    names: Vec<(u32, MessageId)>,
}

#[derive(Debug, Default)]
struct Directions {
    began: Option<Timestamp>,
    intents: Vec<Intent>,
    /// One had no room.
    has_dropped: bool,
}

impl Ears {
    pub(super) fn new() -> Self {
        Self {
            shards: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            director: Mutex::default(),
            server: Mutex::default(),
            left_out: AtomicU64::new(0),
            settled: AtomicU64::new(NOT_SETTLED),
            moment: Mutex::default(),
            samples: Mutex::default(),
            repeats: AtomicU64::new(0),
        }
    }

    /// Client `index` saw something.
    pub(super) fn tell(&self, index: u32, seen: Seen) {
        self.push(index, |shard| &mut shard.seen, seen);
    }

    /// Both ends call message `message` of `client` by this number.
    pub(super) fn name(&self, client: u32, message: u32, number: MessageId) {
        self.push(client, |shard| &mut shard.names, (message, number));
    }

    /// `client` tells what a message waited for.
    pub(super) fn waited(&self, client: u32, waited: Waited) {
        self.push(client, |shard| &mut shard.waits, (client, waited));
    }

    /// The server tells of its ends, by the names of the users at the other.
    pub(super) fn server_waited(&self, told: impl IntoIterator<Item = (Arc<str>, Waited)>) {
        lock(&self.server).extend(told);
    }

    /// The director has counted, as it was at `at`; once for each interval.
    pub(super) fn sample(&self, at: Timestamp, sample: Sample) {
        lock(&self.samples).push((at, sample));
    }

    /// A client has sent so many packets again.
    pub(super) fn repeated(&self, count: u64) {
        if count > 0 {
            self.repeats.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Packets that clients have sent again so far.
    pub(super) fn repeats(&self) -> u64 {
        self.repeats.load(Ordering::Relaxed)
    }

    /// The first phase begins.
    pub(super) fn begin(&self, at: Timestamp) {
        lock(&self.director).began = Some(at);
    }

    /// The schedule asks for a message. Before its sender is asked for it.
    pub(super) fn intend(&self, intent: Intent) {
        let mut directions = lock(&self.director);
        if directions.intents.len() < MOST_WAITING && !directions.has_dropped {
            directions.intents.push(intent);
        } else {
            // Messages are counted without gaps, so what comes later would be taken for other messages.
            directions.has_dropped = true;
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Whether all of the `given` messages of the schedule are settled.
    pub(super) fn is_settled(&self, given: u64) -> bool {
        self.settled.load(Ordering::Acquire) == given
    }

    /// The interval that ended since this was asked last.
    pub(super) fn moment(&self) -> Option<Moment> {
        lock(&self.moment).take()
    }

    /// How much was dropped; the record is worth nothing then.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    fn push<T>(&self, client: u32, list: fn(&mut Shard) -> &mut Vec<T>, one: T) {
        let mut shard = lock(&self.shards[client as usize % SHARDS]);
        let list = list(&mut shard);
        if list.len() < MOST_WAITING {
            list.push(one);
        } else {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The thread that listens.
#[derive(Debug)]
pub(super) struct Listening {
    stop: Sender<()>,
    thread: JoinHandle<Recorder>,
}

impl Listening {
    pub(super) fn start(
        ears: Arc<Ears>,
        recorder: Recorder,
        latest: Latest,
        cast: &Cast,
        clock: Clock,
    ) -> Self {
        let users = (0..cast.clients()).map(|client| (cast.user(client), client)).collect();
        let listener = Listener {
            ears,
            recorder,
            users,
            spare: Vec::new(),
            held: Vec::new(),
            intents: 0,
            began: None,
            latest,
        };
        let (stop, stopped) = channel();
        Self { stop, thread: std::thread::spawn(move || listener.listen(clock, &stopped)) }
    }

    /// The recorder, when it has heard everything that was told until now; `None` if it failed.
    pub(super) fn stop(self) -> Option<Recorder> {
        drop(self.stop);
        self.thread.join().ok()
    }
}

struct Listener {
    ears: Arc<Ears>,
    recorder: Recorder,
    users: BTreeMap<String, u32>,
    /// Empty buffers.
    spare: Vec<Shard>,
    /// What was swapped in the last turn, without submissions.
    held: Vec<Shard>,
    intents: u64,
    began: Option<Timestamp>,
    latest: Latest,
}

impl Listener {
    fn listen(mut self, clock: Clock, stopped: &Receiver<()>) -> Recorder {
        // For whoever asks which thread uses a processor; without it the thread is as good.
        let _ = rustix::thread::set_name(c"recorder");
        let mut next_tick = clock.now();
        loop {
            let is_over = stopped.recv_timeout(TURN) != Err(RecvTimeoutError::Timeout);
            self.turn();
            if is_over {
                // What waits for one turn has it now.
                self.turn();
                return self.recorder;
            }
            let now = clock.now();
            if now >= next_tick {
                self.recorder.tick(now, None);
                next_tick = now + TICK;
                let moment = self.began.and_then(|began| self.latest.of(&self.recorder, began, now));
                if moment.is_some() {
                    *lock(&self.ears.moment) = moment;
                }
            }
        }
    }

    fn turn(&mut self) {
        let taken: Vec<Shard> = (0..SHARDS)
            .map(|shard| {
                std::mem::replace(&mut *lock(&self.ears.shards[shard]), self.spare.pop().unwrap_or_default())
            })
            .collect();
        let (began, intents) = {
            let mut directions = lock(&self.ears.director);
            (directions.began.take(), std::mem::take(&mut directions.intents))
        };
        let server = std::mem::take(&mut *lock(&self.ears.server));
        if let Some(began) = began {
            self.recorder.begin(began);
            self.began = Some(began);
        }
        for intent in intents {
            self.intents += 1;
            self.recorder.on(Seen::Intent(intent));
        }
        for shard in &taken {
            shard.names.iter().for_each(|(message, number)| self.recorder.on_named(*message, number.0));
            let first = shard.seen.iter().filter(|seen| comes_first(seen));
            first.for_each(|seen| self.recorder.on(*seen));
        }
        for mut shard in std::mem::replace(&mut self.held, taken) {
            // Before the acknowledgement: with it, a message may be done with.
            shard.waits.drain(..).for_each(|(client, waited)| self.recorder.on_client_wait(client, &waited));
            let rest = shard.seen.drain(..).filter(|seen| !comes_first(seen));
            rest.for_each(|seen| self.recorder.on(seen));
            shard.names.clear();
            self.spare.push(shard);
        }
        for (user, waited) in &server {
            self.recorder.on_server_wait(self.users.get(&**user).copied(), waited);
        }
        for (at, sample) in std::mem::take(&mut *lock(&self.ears.samples)) {
            self.recorder.tick(at, Some(sample));
        }
        let settled = if self.recorder.is_settled() { self.intents } else { NOT_SETTLED };
        self.ears.settled.store(settled, Ordering::Release);
    }
}

/// What a message begins with.
fn comes_first(seen: &Seen) -> bool {
    matches!(seen, Seen::Submitted { .. } | Seen::Refused { .. })
}

/// A push leaves nothing half done, so what a thread that panicked left behind is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Several times as many as threads that push, so that two seldom meet.
const SHARDS: usize = 16;
/// Of each kind in each buffer: at 20,000 messages a second to ten recipients each, five seconds without the listener.
const MOST_WAITING: usize = 65_536;
/// Soon enough for a drain to end and a display to move, and seldom enough to find some work each time.
const TURN: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_secs(1);
const NOT_SETTLED: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::waits::NotTold;
    use crate::scenario::load_str;
    use crate::seen::Arrival;
    use crate::workload::Target;

    #[test]
    fn what_is_told_by_many_is_heard_in_the_right_order() {
        let toml = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"a\", count = 3 }]\n\
             phase = [{ name = \"steady\", duration = \"9s\" }]\n\
             workload = [{ name = \"w\", arrival = { rate = \"1/s\" } }]\n";
        let scenario = load_str("t.toml", toml, &[]).expect("the scenario is sound").scenario;
        let cast = Arc::new(Cast::new(&scenario, String::new()));
        let recorder = Recorder::new(&scenario, Arc::clone(&cast), Err(NotTold::Baseline));
        let ears = Arc::new(Ears::new());
        let spare = Vec::new();
        let mut listener = Listener {
            ears: Arc::clone(&ears),
            recorder,
            users: BTreeMap::new(),
            spare,
            held: Vec::new(),
            intents: 0,
            began: None,
            latest: Latest::default(),
        };
        let at = Timestamp::from_secs(1);
        ears.begin(at);
        let intent = Intent {
            id: 0,
            workload: 0,
            sender: 2,
            target: Target::Room(0),
            intended: at,
            phase: 0,
            size: 40,
        };
        ears.intend(intent);
        let arrival = |recipient| Arrival { recipient, message: Some(0), at: at + TURN, intact: true };
        ears.tell(0, Seen::Arrived(arrival(0)));
        ears.tell(1, Seen::Arrived(arrival(1)));
        listener.turn();
        assert!(!ears.is_settled(1), "it is not even submitted");
        // The sender's buffer was swapped before it told.
        ears.tell(2, Seen::Submitted { message: 0, at });
        ears.tell(2, Seen::Acked { message: 0, at: at + TURN });
        listener.turn();
        listener.turn();
        assert!(ears.is_settled(1));
        let recorded = listener.recorder.finish(&scenario, at + TICK);
        assert_eq!((recorded.messages.delivered, recorded.messages.acked), (2, 1));
        assert_eq!(recorded.all.service.count(), 2);
        assert_eq!(ears.left_out(), 0);
    }

    #[test]
    fn a_schedule_that_had_no_room_has_no_gap() {
        let ears = Ears::new();
        let intent = |id| Intent {
            id,
            workload: 0,
            sender: 0,
            target: Target::Room(0),
            intended: Timestamp::ZERO,
            phase: 0,
            size: 40,
        };
        let full = MOST_WAITING as u32;
        (0..full + 1).for_each(|id| ears.intend(intent(id)));
        lock(&ears.director).intents.clear();
        ears.intend(intent(full + 1));
        assert!(
            lock(&ears.director).intents.is_empty(),
            "what follows a gap would be taken for what fell into it"
        );
        assert_eq!(ears.left_out(), 2);
    }

    #[test]
    fn a_full_buffer_is_no_secret() {
        let ears = Ears::new();
        let seen = Seen::Refused { message: 0 };
        (0..MOST_WAITING + 3).for_each(|_| ears.tell(5, seen));
        assert_eq!(ears.left_out(), 3);
    }
}
