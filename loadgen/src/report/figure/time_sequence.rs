//! The packets of the traced connection over time, for a figure that can be zoomed.
//!
//! A time–sequence plot of thousands of packets says nothing on paper; on a page it is where one looks up what happened
//! at a given moment. So this is data only: numbers of packets against time, with what was told of each. The events that
//! matter (losses, repeats, timeouts) are all kept up to their bound, where the figure ends; acknowledgements are thinned.

use serde::Serialize;

use crate::record::{Side, TraceEvent, TraceRow};
use crate::report::origin::Origin;
use crate::report::saved::Saved;

use super::input::Input;
use super::transport_trace::{first_trace, traced_run};

/// What was told of one connection, in order of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimeSequence {
    pub cell: u32,
    pub repeat: u32,
    pub client: u32,
    pub side: Side,
    /// Whether acknowledgements were thinned to fit.
    pub is_thinned: bool,
    /// From when on nothing is told, as there was too much before.
    pub cut_us: Option<u64>,
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

/// The connection of [`super::transport_trace`]; `None` if none was traced, or if nothing names a packet.
pub(super) fn of(saved: &Saved) -> Option<TimeSequence> {
    let origin = Origin::of(&saved.result);
    let (cell, repeat) = traced_run(&Input::of(saved, &origin))?;
    let rows = first_trace(&saved.traces, cell, repeat);
    let first = rows.first()?;
    let event = |row: &&TraceRow| {
        let (at_us, event) = (row.at_us, row.event);
        Some(PacketEvent { at_us, packet: row.packet?, event, in_flight_bytes: row.in_flight_bytes })
    };
    let all: Vec<PacketEvent> = rows.iter().filter_map(event).collect();
    let (mut packets, mut acks): (Vec<PacketEvent>, Vec<PacketEvent>) =
        all.into_iter().partition(|packet| packet.event != TraceEvent::Metrics);
    // Acknowledgements that went on alone would look like a time without loss.
    let cut = packets.get(MOST_EVENTS).map(|packet| packet.at_us);
    if let Some(until_us) = cut {
        packets.truncate(MOST_EVENTS);
        acks.retain(|ack| ack.at_us < until_us);
    }
    let every = acks.len().div_ceil(MOST_ACKS).max(1);
    packets.extend(acks.iter().step_by(every));
    packets.sort_by_key(|packet| packet.at_us);
    (!packets.is_empty()).then_some(TimeSequence {
        cell,
        repeat,
        client: first.client,
        side: first.side,
        is_thinned: every > 1,
        cut_us: cut,
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
