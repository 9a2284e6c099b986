//! Packets for a link under test, and what came of them.

use std::time::Duration;

use units::{ByteCount, Timestamp};

use super::Case;
use crate::link::{Link, LinkCounters};

/// Sizes and gaps of the packets that are offered.
#[derive(Clone, Copy)]
pub(super) struct Feed {
    pub(super) size: ByteCount,
    pub(super) gap: Duration,
}

/// 100 Mbit/s of 1250 bytes.
pub(super) const STEADY: Feed = Feed { size: ByteCount(1250), gap: Duration::from_micros(100) };

/// What became of each packet, by number.
pub(super) struct Seen {
    /// Nanoseconds under way; `None` for a packet that was dropped.
    pub(super) delays: Vec<Option<u64>>,
    pub(super) copies: u64,
    /// Bits that were flipped.
    pub(super) corrupt_bits: Vec<u64>,
    pub(super) counters: LinkCounters,
    /// Whether the counters balanced whenever they were looked at.
    pub(super) is_balanced: bool,
}

impl Seen {
    /// Which packets did not arrive.
    pub(super) fn losses(&self) -> Vec<bool> {
        self.delays.iter().map(Option::is_none).collect()
    }

    /// Delays of those that did, in the order of their numbers.
    pub(super) fn delays(&self) -> Vec<f64> {
        self.delays.iter().flatten().map(|&nanos| nanos as f64).collect()
    }
}

/// Offers the case's packets evenly and waits for the last.
pub(super) fn feed(case: &Case<'_>, feed: Feed) -> Seen {
    let mut link = Link::new(case.link(), case.seed).without_delays();
    let count = usize::try_from(case.packets).expect("packets fit in memory");
    let mut seen = Seen {
        delays: vec![None; count],
        copies: 0,
        corrupt_bits: Vec::new(),
        counters: LinkCounters::default(),
        is_balanced: true,
    };
    let mut now = Timestamp::ZERO;
    for packet in 0..count {
        link.handle_packet(now, packet, feed.size);
        seen.take(&mut link, now);
        seen.is_balanced &= link.counters().balance_holds();
        now += feed.gap;
    }
    // Some links have events of their own without end; only those before the last packet leaves matter.
    while link.counters().queued() > 0
        && let Some(next) = link.poll_timeout()
    {
        seen.take(&mut link, next);
        seen.is_balanced &= link.counters().balance_holds();
    }
    seen.counters = *link.counters();
    seen
}

impl Seen {
    fn take(&mut self, link: &mut Link<usize>, until: Timestamp) {
        while let Some(delivery) = link.poll_deliver(until) {
            self.corrupt_bits.extend(delivery.corrupt);
            if delivery.copy {
                self.copies += 1;
            } else {
                let delay = delivery.due.since(delivery.arrived).as_nanos();
                self.delays[delivery.packet] = Some(u64::try_from(delay).unwrap_or(u64::MAX));
            }
        }
    }
}

/// A small generator for arrivals and sizes (SplitMix64), so that what is offered depends on nothing that is tested.
pub(super) struct Irregular(pub(super) u64);

impl Irregular {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    /// Uniform enough over `0..width`.
    pub(super) fn below(&mut self, width: u64) -> u64 {
        self.next() % width
    }
}
