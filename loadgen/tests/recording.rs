//! Whether recording touches the allocator once everything has its size. It stands alone in its binary, because it counts
//! what a thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use loadgen::backend::Cast;
use loadgen::backend::waits::NotTold;
use loadgen::measure::Recorder;
use loadgen::scenario::{Deliveries, load_str};
use loadgen::seen::{Arrival, Seen};
use loadgen::workload::{Intent, Target};
use units::Timestamp;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, and how often this thread has asked it.
struct Counting;

#[expect(unsafe_code, reason = "an allocator is one; each call goes on to the system's unchanged")]
// SAFETY: the counter is a thread local without destructor and never allocates.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Messages `from..until`, 20 µs apart: fifty thousand fit the first interval.
fn feed(recorder: &mut Recorder, from: u32, until: u32) {
    for id in from..until {
        let intended = Timestamp::from_micros(u64::from(id) * 20);
        let (sender, target) = (id % 100, Target::Room(0));
        recorder.on(Seen::Intent(Intent { id, workload: 0, sender, target, intended, phase: 0, size: 200 }));
        recorder.on(Seen::Submitted { message: id, at: intended });
        let room = sender / 10 * 10;
        for recipient in (room..room + 10).filter(|&client| client != sender) {
            let at = intended + Duration::from_micros(u64::from((id * 31 + recipient * 17) % 1000));
            recorder.on(Seen::Arrived(Arrival { recipient, message: Some(id), at, intact: true }));
        }
        recorder.on(Seen::Acked { message: id, at: intended + Duration::from_millis(1) });
    }
}

#[test]
fn a_delivery_in_the_steady_state_allocates_nothing() {
    let toml = "schema = 1\nscenario.name = \"t\"\nclients = [{ name = \"a\", count = 100, rooms = { size = 10 } }]\n\
         phase = [{ name = \"steady\", duration = \"10s\" }]\n\
         workload = [{ name = \"room\", arrival = { rate = \"1/s\" } }]\n";
    let mut scenario = load_str("t.toml", toml, &[]).expect("the scenario is sound").scenario;
    scenario.measure.deliveries = Deliveries::None;
    let cast = Arc::new(Cast::new(&scenario, String::new()));
    let mut recorder = Recorder::new(&scenario, cast, Err(NotTold::Baseline));
    feed(&mut recorder, 0, 20_000);
    let before = ALLOCATIONS.get();
    feed(&mut recorder, 20_000, 45_000);
    assert_eq!(ALLOCATIONS.get() - before, 0, "of 225,000 deliveries");
    let recorded = recorder.finish(&scenario, Timestamp::from_secs(2));
    assert_eq!((recorded.messages.delivered, recorded.messages.lost), (45_000 * 9, 0));
}
