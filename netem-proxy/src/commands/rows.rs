//! The rows of a table of counters, the same for every shell.

use netem_proxy::link::LinkCounters;

pub(super) type Row = (&'static str, fn(&LinkCounters) -> u64);

/// What every table shows, zero or not.
const ALWAYS: [Row; 5] = [
    ("offered", |c| c.offered),
    ("delivered", |c| c.delivered),
    ("dropped: loss", |c| c.dropped_loss),
    ("dropped: queue full", |c| c.dropped_queue),
    ("dropped: at the end", |c| c.dropped_closed),
];

/// What is shown where it happened.
const IF_ANY: [Row; 15] = [
    ("dropped: loss on wire", |c| c.dropped_loss_wire),
    ("dropped: CoDel", |c| c.dropped_codel),
    ("dropped: PIE", |c| c.dropped_pie),
    ("dropped: RED", |c| c.dropped_red),
    ("dropped: FQ-CoDel", |c| c.dropped_fq),
    ("dropped: blackout", |c| c.dropped_blackout),
    ("dropped: flap", |c| c.dropped_flap),
    ("dropped: held too many", |c| c.dropped_hold),
    ("dropped: above MTU", |c| c.dropped_mtu),
    ("marked (ECN)", |c| c.ecn_marked),
    ("duplicated", |c| c.duplicated),
    ("corrupted", |c| c.corrupted),
    ("reordered", |c| c.reordered),
    ("under way", |c| c.queued),
    ("most in queue, packets", |c| c.queue_packets_max),
];

const BYTES: [Row; 2] = [("bytes offered", |c| c.offered_bytes), ("bytes delivered", |c| c.delivered_bytes)];

/// The rows for two directions: those that are always shown, and those in which something happened in either.
pub(super) fn rows<'a>(up: &'a LinkCounters, down: &'a LinkCounters) -> impl Iterator<Item = Row> + 'a {
    let happened = |(_, value): &Row| value(up) + value(down) > 0;
    ALWAYS.into_iter().chain(IF_ANY.into_iter().filter(happened)).chain(BYTES)
}
