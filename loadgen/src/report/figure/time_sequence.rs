//! The packets of the traced connection over time, for a figure that can be zoomed.
//!
//! A time–sequence plot of thousands of packets says nothing on paper; on a page it is where one looks up what happened
//! at a given moment. So this is data only: numbers of packets against time, with what was told of each. The events that
//! matter (losses, repeats, timeouts) are all kept up to their bound, acknowledgements are thinned.

use serde::Serialize;

use crate::record::{Side, TraceEvent, TraceRow};
use crate::report::saved::Saved;

use super::transport_trace::first_trace;

/// What was told of one connection, in order of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeSequence {
    pub cell: u32,
    pub repeat: u32,
    pub client: u32,
    pub side: Side,
    /// Whether acknowledgements were thinned to fit.
    pub is_thinned: bool,
    pub packets: Vec<PacketEvent>,
}

/// Something told of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PacketEvent {
    /// Since the first phase began.
    pub at_us: u64,
    pub packet: u64,
    pub event: TraceEvent,
    pub in_flight_bytes: u64,
}

/// The first traced connection of the first traced run; `None` if none was, or if nothing names a packet.
pub(super) fn of(saved: &Saved) -> Option<TimeSequence> {
    let (cell, repeat) = saved.traces.iter().map(|row| (row.cell, row.repeat)).min()?;
    let rows = first_trace(&saved.traces, cell, repeat);
    let first = rows.first()?;
    let event = |row: &&TraceRow| {
        let (at_us, event) = (row.at_us, row.event);
        Some(PacketEvent { at_us, packet: row.packet?, event, in_flight_bytes: row.in_flight_bytes })
    };
    let all: Vec<PacketEvent> = rows.iter().filter_map(event).collect();
    let (mut packets, acks): (Vec<PacketEvent>, Vec<PacketEvent>) =
        all.into_iter().partition(|packet| packet.event != TraceEvent::Metrics);
    packets.truncate(MOST_EVENTS);
    let every = acks.len().div_ceil(MOST_ACKS).max(1);
    packets.extend(acks.iter().step_by(every));
    packets.sort_by_key(|packet| packet.at_us);
    (!packets.is_empty()).then_some(TimeSequence {
        cell,
        repeat,
        client: first.client,
        side: first.side,
        is_thinned: every > 1,
        packets,
    })
}

/// About 100 KB on a page, which may have two megabytes in all.
const MOST_EVENTS: usize = 2_000;
const MOST_ACKS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::synthetic;

    #[test]
    fn losses_are_kept_and_acks_are_thinned() {
        let saved = synthetic::sawtooth();
        let sequence = of(&saved).expect("a trace");
        assert!(sequence.is_thinned && sequence.packets.len() <= MOST_EVENTS + MOST_ACKS);
        let lost = |event: TraceEvent| event == TraceEvent::Lost;
        let told = saved.traces.iter().filter(|row| lost(row.event)).count();
        assert_eq!(sequence.packets.iter().filter(|packet| lost(packet.event)).count(), told);
        assert!(sequence.packets.is_sorted_by_key(|packet| packet.at_us));
        assert_eq!(of(&Saved { traces: Vec::new(), ..saved }), None);
    }
}
