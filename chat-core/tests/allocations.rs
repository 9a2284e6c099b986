//! Whether a connection in its steady state touches the allocator.
//!
//! Messages are prepared before, their content is shared, packets are written into one buffer and decoded into one value.
//! What remains is what the engine itself needs for each message: nothing. It stands alone in its binary, because it
//! counts what the whole process allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use bytes::BytesMut;
use chat_core::wire::{Packet, PacketForm, PacketWriter};
use chat_core::{Connection, Content, Delivery, MsgType, Outgoing, Priority, TransportConfig};
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

/// Two ends on a perfect path, and what they use again and again.
struct Path {
    now: Timestamp,
    ends: [Connection; 2],
    body: Vec<u8>,
    /// Where packets arrive; what nobody holds any more is used again.
    arrivals: BytesMut,
    packet: Packet,
    message: Outgoing,
    heard: u64,
}

impl Path {
    fn new() -> Self {
        let now = Timestamp::ZERO;
        let end = |name: &str| Connection::new(now, TransportConfig::default(), name.into(), 0);
        let message = Outgoing {
            msg_id: "alice-1".into(),
            msg_type: MsgType::Chat,
            sender: "alice".into(),
            content: Content::of(&"x".repeat(200)),
            timestamp_us: 1_577_836_800_000_000,
            priority: Priority::Chat,
            channel: 2,
            delivery: Delivery::default(),
        };
        let ends = [end("alice"), end("bob")];
        Self {
            now,
            ends,
            body: Vec::with_capacity(2048),
            arrivals: BytesMut::with_capacity(65_536),
            packet: Packet::default(),
            message,
            heard: 0,
        }
    }

    /// Ten milliseconds pass; one message is sent, and all that both ends have to say is told.
    fn step(&mut self) {
        self.now += Duration::from_millis(10);
        self.ends[0].send(self.now, self.message.clone()).expect("the queue is short");
        for from in [0, 1, 0, 1] {
            self.ends[from].handle_timeout(self.now);
            loop {
                self.body.clear();
                let writer = PacketWriter::new(&mut self.body, PacketForm::BinaryDatagram, 1185);
                if self.ends[from].poll_packet(self.now, writer) == 0 {
                    break;
                }
                self.arrivals.reserve(self.body.len());
                self.arrivals.extend_from_slice(&self.body);
                let raw = self.arrivals.split().freeze();
                let origin = Default::default();
                self.packet.decode_into(&raw, &origin).expect("what a connection sends is sound");
                self.ends[1 - from].handle_packet(self.now, &mut self.packet);
                // Taken before the next packet arrives, so that its bytes are free again.
                while let Some(event) = self.ends[1 - from].poll_event() {
                    self.heard += u64::from(matches!(event, chat_core::Event::Message(_)));
                }
            }
            self.now += Duration::from_millis(3);
        }
    }
}

#[test]
fn ten_thousand_messages_allocate_nothing() {
    let mut path = Path::new();
    for _ in 0..WARM_UP {
        path.step();
    }
    let (before, heard) = (ALLOCATIONS.get(), path.heard);
    for _ in 0..MESSAGES {
        path.step();
    }
    let allocations = ALLOCATIONS.get() - before;
    assert!(path.heard - heard >= MESSAGES - 1, "messages arrive: {}", path.heard - heard);
    assert_eq!(allocations, 0, "allocations for {MESSAGES} messages");
}

const WARM_UP: u64 = 5_000;
const MESSAGES: u64 = 10_000;
